//! Authorization details (RFC 9396): what exactly may be done, to which resource; with match and subset.
//!
//! The one place where access is compared with access. A request is taken apart into *atoms*, one location, one action and
//! one pattern each, and every atom must be covered by a single detail of the grant. Comparing patterns is conservative:
//! where containment is not evident the answer is no, and the property tests hold it against a brute-force model.
//!
//! To add a type: a module like `git`, a variant of [`AuthorizationDetail`], and the compiler names the rest.

mod git;
mod glob;
mod http;
mod path;
mod pattern;

use std::{collections::BTreeSet, convert::Infallible, fmt};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::{
    git::{GitAccess, GitAction, GitRepository},
    http::{HttpAccess, HttpApi, HttpMethod},
    path::{ApiPath, PathError, PathPattern},
    pattern::{PatternError, RefPattern},
};
use crate::{
    names::Collaborator,
    resource::{Repository, Resource},
};

/// The most details in one list, and the most entries in one list of a detail.
pub const MAX_ENTRIES: usize = 64;

/// The longest list that is read as a request's or a role's, in bytes of JSON: what is granted has to fit a token
/// ([`crate::jose::MAX_JWS`]), and comparing two lists takes time.
pub const MAX_DETAILS: usize = 8 * 1024;

/// Why a list of authorization details was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum DetailError {
    /// More than [`MAX_ENTRIES`] of something, or none.
    #[error("`{0}` needs 1 to {MAX_ENTRIES} entries")]
    Count(&'static str),
    /// `refs` belongs to actions that write.
    #[error("`refs` is needed exactly when `actions` has `push`, `create` or `delete`")]
    RefsAndActions,
}

/// What is asked for and not covered, for people.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0} is not covered")]
pub struct NotCovered(String);

impl NotCovered {
    /// What is not covered.
    pub fn what(&self) -> &str {
        &self.0
    }
}

/// One use of a resource, as a gate sees it.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// Of a git repository.
    Git(GitAccess<'a>),
    /// Of an HTTP API.
    Http(HttpAccess<'a>),
}

impl<'a> From<GitAccess<'a>> for Access<'a> {
    fn from(access: GitAccess<'a>) -> Self {
        Self::Git(access)
    }
}

impl<'a> From<HttpAccess<'a>> for Access<'a> {
    fn from(access: HttpAccess<'a>) -> Self {
        Self::Http(access)
    }
}

/// One authorization detail. Closed: an unknown `type`, or an unknown field, is refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AuthorizationDetail {
    /// Git repositories behind a gate.
    GitRepository(GitRepository),
    /// HTTP APIs behind a gate.
    HttpApi(HttpApi),
}

impl AuthorizationDetail {
    /// The `type` of each, as the metadata lists them (RFC 9396 section 10).
    pub const TYPES: [&'static str; 2] = ["git_repository", "http_api"];

    fn resources(&self) -> BTreeSet<Resource> {
        match self {
            Self::GitRepository(git) => git.locations().iter().map(Repository::resource).collect(),
            Self::HttpApi(api) => api.locations().clone(),
        }
    }

    fn allows(&self, access: &Access<'_>) -> bool {
        match (self, access) {
            (Self::GitRepository(git), Access::Git(access)) => git.allows(access),
            (Self::HttpApi(api), Access::Http(access)) => api.allows(access),
            (Self::GitRepository(_), Access::Http(_)) | (Self::HttpApi(_), Access::Git(_)) => false,
        }
    }

    /// Calls `found` with each atom of this detail that no one detail of `grant` covers.
    fn each_uncovered<E>(&self, grant: &[Self], mut found: impl FnMut(NotCovered) -> Result<(), E>) -> Result<(), E> {
        let mut judge =
            |covered: bool, atom: &dyn fmt::Display| if covered { Ok(()) } else { found(NotCovered(atom.to_string())) };
        match self {
            Self::GitRepository(asked) => asked.each_atom(|atom| {
                judge(
                    grant.iter().any(|given| matches!(given, Self::GitRepository(given) if given.covers(atom))),
                    &atom,
                )
            }),
            Self::HttpApi(asked) => asked.each_atom(|atom| {
                judge(grant.iter().any(|given| matches!(given, Self::HttpApi(given) if given.covers(atom))), &atom)
            }),
        }
    }
}

/// A list of authorization details. An empty list allows nothing.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Vec<AuthorizationDetail>")]
pub struct AuthorizationDetails(Vec<AuthorizationDetail>);

impl TryFrom<Vec<AuthorizationDetail>> for AuthorizationDetails {
    type Error = DetailError;

    fn try_from(details: Vec<AuthorizationDetail>) -> Result<Self, DetailError> {
        if details.len() > MAX_ENTRIES {
            return Err(DetailError::Count("authorization_details"));
        }
        Ok(Self(details))
    }
}

impl AuthorizationDetails {
    /// The list with the members of each detail in the order of their names, as what is hashed has them.
    pub(crate) fn in_order(&self) -> impl Serialize {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum InOrder<'a> {
            Git(git::InOrder<'a>),
            Http(http::InOrder<'a>),
        }
        let in_order = self.0.iter().map(|detail| match detail {
            AuthorizationDetail::GitRepository(git) => InOrder::Git(git.in_order()),
            AuthorizationDetail::HttpApi(api) => InOrder::Http(api.in_order()),
        });
        in_order.collect::<Vec<_>>()
    }
}

impl AuthorizationDetails {
    /// The details one by one.
    pub fn iter(&self) -> impl Iterator<Item = &AuthorizationDetail> {
        self.0.iter()
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every resource that is named.
    pub fn resources(&self) -> BTreeSet<Resource> {
        self.0.iter().flat_map(AuthorizationDetail::resources).collect()
    }

    /// Every repository that is named.
    pub fn repositories(&self) -> BTreeSet<&Repository> {
        self.0
            .iter()
            .filter_map(|detail| match detail {
                AuthorizationDetail::GitRepository(git) => Some(git.locations()),
                AuthorizationDetail::HttpApi(_) => None,
            })
            .flatten()
            .collect()
    }

    /// Whether one detail allows this use.
    pub fn allows<'a>(&self, access: impl Into<Access<'a>>) -> bool {
        let access = access.into();
        self.0.iter().any(|detail| detail.allows(&access))
    }

    /// Whether everything that `self` allows is allowed by `grant` too: `request ⊆ grant`.
    ///
    /// # Errors
    /// [`NotCovered`] names the first atom that is not.
    pub fn is_subset_of(&self, grant: &Self) -> Result<(), NotCovered> {
        self.0.iter().try_for_each(|detail| detail.each_uncovered(&grant.0, Err))
    }

    /// Everything that `self` allows and `grant` does not, each once.
    pub fn beyond(&self, grant: &Self) -> Vec<NotCovered> {
        let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
        for detail in &self.0 {
            let each: Result<(), Infallible> = detail.each_uncovered(&grant.0, |atom| {
                if seen.insert(atom.0.clone()) {
                    all.push(atom);
                }
                Ok(())
            });
            let Ok(()) = each;
        }
        all
    }

    /// What is left of these details at one resource.
    #[must_use]
    pub fn at_resource(&self, resource: &Resource) -> Self {
        self.keep(|detail| match detail {
            AuthorizationDetail::GitRepository(git) => {
                git.keep(|location| location.resource() == *resource).map(AuthorizationDetail::GitRepository)
            }
            AuthorizationDetail::HttpApi(api) => {
                api.keep(|location| location == resource).map(AuthorizationDetail::HttpApi)
            }
        })
    }

    /// What is left of these details for one repository.
    #[must_use]
    pub fn at_repository(&self, repository: &Repository) -> Self {
        self.keep(|detail| match detail {
            AuthorizationDetail::GitRepository(git) => {
                git.keep(|location| location == repository).map(AuthorizationDetail::GitRepository)
            }
            AuthorizationDetail::HttpApi(_) => None,
        })
    }

    fn keep(&self, left: impl Fn(&AuthorizationDetail) -> Option<AuthorizationDetail>) -> Self {
        Self(self.0.iter().filter_map(left).collect())
    }
}

/// Why `{user}` could not be substituted.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "collaborator `{0}` cannot stand for `{{user}}`: only letters, digits, `.`, `_`, `-`, `@`, `+`, beginning with a letter or digit"
)]
pub struct UserError(Collaborator);

/// `template` with every `{user}` replaced by the collaborator as one literal component: a name that holds a glob, a slash or
/// anything that git forbids in a ref is refused, never escaped.
pub fn substitute_user(template: &str, user: &Collaborator) -> Result<String, UserError> {
    const PLACE: &str = "{user}";
    if !template.contains(PLACE) {
        return Ok(template.to_owned());
    }
    let name = user.as_str();
    let literal = name.len() <= 100
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b'+'))
        && !name.contains("..")
        && !name.ends_with('.')
        && !name.ends_with(".lock");
    if literal { Ok(template.replace(PLACE, name)) } else { Err(UserError(user.clone())) }
}

#[cfg(test)]
mod tests;

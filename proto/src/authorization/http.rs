//! `http_api`: which APIs, by which methods, at which paths.
//!
//! The query is not looked at: what an API takes there is its own, so a path whose query decides about access is not given.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::{
    DetailError, MAX_ENTRIES,
    path::{ApiPath, PathPattern},
};
use crate::resource::Resource;

/// A method of RFC 9110 or RFC 5789. Closed: `CONNECT` and `TRACE` are nobody's to give, and others are not known here.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it")]
pub enum HttpMethod {
    Get,
    Head,
    Options,
    Post,
    Put,
    Patch,
    Delete,
}

impl fmt::Display for HttpMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        })
    }
}

/// One request to an API, as a gate sees it.
#[derive(Clone, Copy, Debug)]
pub struct HttpAccess<'a> {
    /// The API.
    pub resource: &'a Resource,
    /// What is done.
    pub method: HttpMethod,
    /// To what.
    pub path: &'a ApiPath,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    locations: BTreeSet<Resource>,
    actions: BTreeSet<HttpMethod>,
    paths: Vec<PathPattern>,
}

/// An `http_api` detail.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Wire")]
pub struct HttpApi {
    locations: BTreeSet<Resource>,
    actions: BTreeSet<HttpMethod>,
    paths: Vec<PathPattern>,
}

/// A detail with its members in the order of their names.
#[derive(Serialize)]
pub(super) struct InOrder<'a> {
    actions: &'a BTreeSet<HttpMethod>,
    locations: &'a BTreeSet<Resource>,
    paths: &'a [PathPattern],
    r#type: &'static str,
}

impl TryFrom<Wire> for HttpApi {
    type Error = DetailError;

    fn try_from(wire: Wire) -> Result<Self, DetailError> {
        Self::try_new(wire.locations, wire.actions, wire.paths)
    }
}

/// One location, one method, one pattern.
#[derive(Clone, Copy)]
pub(super) struct Atom<'a> {
    location: &'a Resource,
    action: HttpMethod,
    path: &'a PathPattern,
}

impl fmt::Display for Atom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of `{}` at `{}`", self.action, self.path, self.location)
    }
}

impl HttpApi {
    pub(super) fn in_order(&self) -> InOrder<'_> {
        let Self { locations, actions, paths } = self;
        InOrder { actions, locations, paths, r#type: "http_api" }
    }

    /// A detail; each list has something in it.
    pub fn try_new(
        locations: BTreeSet<Resource>,
        actions: BTreeSet<HttpMethod>,
        paths: Vec<PathPattern>,
    ) -> Result<Self, DetailError> {
        if locations.is_empty() || locations.len() > MAX_ENTRIES {
            return Err(DetailError::Count("locations"));
        }
        if actions.is_empty() {
            return Err(DetailError::Count("actions"));
        }
        if paths.is_empty() || paths.len() > MAX_ENTRIES {
            return Err(DetailError::Count("paths"));
        }
        Ok(Self { locations, actions, paths })
    }

    /// The APIs.
    pub fn locations(&self) -> &BTreeSet<Resource> {
        &self.locations
    }

    /// The methods as they are written: `HEAD` may be implied only.
    pub fn actions(&self) -> &BTreeSet<HttpMethod> {
        &self.actions
    }

    /// The patterns.
    pub fn paths(&self) -> &[PathPattern] {
        &self.paths
    }

    /// RFC 9110 section 9.3.2: what `HEAD` tells, `GET` tells as well.
    fn allows_action(&self, action: HttpMethod) -> bool {
        self.actions.contains(&action) || (action == HttpMethod::Head && self.actions.contains(&HttpMethod::Get))
    }

    pub(super) fn allows(&self, access: &HttpAccess<'_>) -> bool {
        self.locations.contains(access.resource)
            && self.allows_action(access.method)
            && self.paths.iter().any(|pattern| pattern.matches(access.path))
    }

    pub(super) fn covers(&self, atom: Atom<'_>) -> bool {
        self.locations.contains(atom.location)
            && self.allows_action(atom.action)
            && self.paths.iter().any(|given| atom.path.is_within(given))
    }

    /// Calls `check` with every atom. `HEAD` is covered wherever `GET` is, so it needs none of its own.
    pub(super) fn each_atom<'a, E>(&'a self, mut check: impl FnMut(Atom<'a>) -> Result<(), E>) -> Result<(), E> {
        for location in &self.locations {
            for action in self.actions.iter().copied() {
                for path in &self.paths {
                    check(Atom { location, action, path })?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn keep(&self, wanted: impl Fn(&Resource) -> bool) -> Option<Self> {
        let locations: BTreeSet<_> = self.locations.iter().filter(|location| wanted(location)).cloned().collect();
        (!locations.is_empty()).then(|| Self { locations, ..self.clone() })
    }
}

//! `git_repository`: which repositories, what may be done to them, and on which refs.
//!
//! Anything that writes implies `read`. Reading cannot be confined to refs: git serves objects by reachability.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::{DetailError, MAX_ENTRIES, pattern::RefPattern};
use crate::resource::Repository;

/// What may be done to a repository.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GitAction {
    /// Clone and fetch.
    Read,
    /// Update a ref that exists.
    Push,
    /// Make a ref.
    Create,
    /// Remove a ref.
    Delete,
}

impl fmt::Display for GitAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Push => "push",
            Self::Create => "create",
            Self::Delete => "delete",
        })
    }
}

/// One use of a repository, as a gate sees it.
#[derive(Clone, Copy, Debug)]
pub enum GitAccess<'a> {
    /// Clone or fetch, or the first half of any push.
    Read(&'a Repository),
    /// One command of a push. `action` is not `Read`.
    Write {
        /// The repository.
        repository: &'a Repository,
        /// What happens to the ref.
        action: GitAction,
        /// The full name of the ref, as bytes.
        reference: &'a [u8],
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    locations: BTreeSet<Repository>,
    actions: BTreeSet<GitAction>,
    #[serde(default)]
    refs: Vec<RefPattern>,
}

/// A `git_repository` detail.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Wire")]
pub struct GitRepository {
    locations: BTreeSet<Repository>,
    actions: BTreeSet<GitAction>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refs: Vec<RefPattern>,
}

/// A detail with its members in the order of their names.
#[derive(Serialize)]
pub(super) struct InOrder<'a> {
    actions: &'a BTreeSet<GitAction>,
    locations: &'a BTreeSet<Repository>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    refs: &'a [RefPattern],
    r#type: &'static str,
}

impl TryFrom<Wire> for GitRepository {
    type Error = DetailError;

    fn try_from(wire: Wire) -> Result<Self, DetailError> {
        Self::try_new(wire.locations, wire.actions, wire.refs)
    }
}

/// The smallest thing that can be asked for: one location, one action, one pattern.
#[derive(Clone, Copy)]
pub(super) struct Atom<'a> {
    location: &'a Repository,
    action: GitAction,
    refs: Option<&'a RefPattern>,
}

impl fmt::Display for Atom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refs {
            Some(refs) => write!(f, "`{}` of `{refs}` in `{}`", self.action, self.location),
            None => write!(f, "`{}` of `{}`", self.action, self.location),
        }
    }
}

impl GitRepository {
    pub(super) fn in_order(&self) -> InOrder<'_> {
        let Self { locations, actions, refs } = self;
        InOrder { actions, locations, refs, r#type: "git_repository" }
    }

    /// A detail; `refs` is needed exactly when an action writes.
    pub fn try_new(
        locations: BTreeSet<Repository>,
        actions: BTreeSet<GitAction>,
        refs: Vec<RefPattern>,
    ) -> Result<Self, DetailError> {
        if locations.is_empty() || locations.len() > MAX_ENTRIES {
            return Err(DetailError::Count("locations"));
        }
        if actions.is_empty() {
            return Err(DetailError::Count("actions"));
        }
        if refs.len() > MAX_ENTRIES {
            return Err(DetailError::Count("refs"));
        }
        if actions.iter().any(|action| *action != GitAction::Read) == refs.is_empty() {
            return Err(DetailError::RefsAndActions);
        }
        Ok(Self { locations, actions, refs })
    }

    /// The repositories.
    pub fn locations(&self) -> &BTreeSet<Repository> {
        &self.locations
    }

    /// The actions as they are written: `read` may be implied only.
    pub fn actions(&self) -> &BTreeSet<GitAction> {
        &self.actions
    }

    /// The patterns for everything that writes.
    pub fn refs(&self) -> &[RefPattern] {
        &self.refs
    }

    fn allows_action(&self, action: GitAction) -> bool {
        // A detail has at least one action, and each of them implies `read`.
        action == GitAction::Read || self.actions.contains(&action)
    }

    pub(super) fn allows(&self, access: &GitAccess<'_>) -> bool {
        match *access {
            GitAccess::Read(repository) => self.locations.contains(repository),
            GitAccess::Write { repository, action, reference } => {
                action != GitAction::Read
                    && self.locations.contains(repository)
                    && self.allows_action(action)
                    && self.refs.iter().any(|pattern| pattern.matches(reference))
            }
        }
    }

    pub(super) fn covers(&self, atom: Atom<'_>) -> bool {
        self.locations.contains(atom.location)
            && self.allows_action(atom.action)
            && atom.refs.is_none_or(|asked| self.refs.iter().any(|given| asked.is_within(given)))
    }

    /// Calls `check` with every atom: `read` of each location, and each writing action on each pattern of each location.
    pub(super) fn each_atom<'a, E>(&'a self, mut check: impl FnMut(Atom<'a>) -> Result<(), E>) -> Result<(), E> {
        for location in &self.locations {
            check(Atom { location, action: GitAction::Read, refs: None })?;
            for action in self.actions.iter().copied().filter(|action| *action != GitAction::Read) {
                for refs in &self.refs {
                    check(Atom { location, action, refs: Some(refs) })?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn keep(&self, wanted: impl Fn(&Repository) -> bool) -> Option<Self> {
        let locations: BTreeSet<_> = self.locations.iter().filter(|location| wanted(location)).cloned().collect();
        (!locations.is_empty()).then(|| Self { locations, ..self.clone() })
    }
}

//! What grants and invitations are looked for by, and what must not be left when somebody's or a project's are ended.

use std::fmt;

use daypass_proto::{
    admin_api::Sort,
    names::{Collaborator, DeviceId, GrantId, PhaseName, ProjectName, RoleName},
    time::Timestamp,
};

use super::Grant;

/// Which grants or invitations. What is left out narrows nothing.
#[derive(Clone, Debug)]
pub struct Find {
    /// Whose.
    pub collaborator: Option<Collaborator>,
    /// In which project.
    pub project: Option<ProjectName>,
    /// In which role.
    pub role: Option<RoleName>,
    /// For which phase of its project.
    pub phase: Option<PhaseName>,
    /// Of grants: which device uses it.
    pub device: Option<DeviceId>,
    /// Of invitations: which grant they carry.
    pub grant: Option<GrantId>,
    /// In one of these states, by their words; in any where there are none.
    pub states: Vec<&'static str>,
    /// Of grants: by what is known of their end.
    pub ends: Option<Ends>,
    /// Of grants: only those that gave a token.
    pub used: bool,
    /// In which order; the name decides among equals.
    pub sort: Sort,
    /// Only those whose names come after this one.
    pub after: Option<String>,
    /// Only those that come after this place in the order.
    pub beyond: Option<Position>,
    /// No more than so many.
    pub limit: u32,
}

impl Find {
    /// All, up to a limit.
    pub fn up_to(limit: u32) -> Self {
        Self {
            collaborator: None,
            project: None,
            role: None,
            phase: None,
            device: None,
            grant: None,
            states: Vec::new(),
            ends: None,
            used: false,
            sort: Sort::Id,
            after: None,
            beyond: None,
            limit,
        }
    }
}

/// What a grant's own end says of it. That of its phase may come before, and today's policy has that.
#[derive(Clone, Copy, Debug)]
pub enum Ends {
    /// It is after this: without that it cannot be in force.
    After(Timestamp),
    /// It is not, or the grant is for a phase: without either it cannot be over.
    By(Timestamp),
}

/// What a list is in the order of, at one place of it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Key {
    /// A word or a name.
    Text(String),
    /// A time.
    Time(Timestamp),
}

/// A place in a list.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Position {
    /// What stands there.
    pub key: Key,
    /// The name, which decides among equals.
    pub id: String,
}

impl Grant {
    /// Its place in a list in this order.
    pub fn place(&self, sort: Sort) -> Position {
        let key = match sort {
            Sort::Id => Key::Text(self.id.to_string()),
            Sort::Collaborator => Key::Text(self.collaborator.to_string()),
            Sort::Project => Key::Text(self.project.to_string()),
            Sort::Role => Key::Text(self.role.to_string()),
            Sort::State => Key::Text(self.state.as_str().to_owned()),
            Sort::Until => Key::Time(self.until),
        };
        Position { key, id: self.id.to_string() }
    }
}

/// Whose, or which, everything is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// A person: their devices, grants and invitations.
    Collaborator(Collaborator),
    /// A project: its grants and invitations.
    Project(ProjectName),
    /// A phase of a project: the grants and invitations that are for it.
    Phase(ProjectName, PhaseName),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Collaborator(name) => write!(f, "`{name}`"),
            Self::Project(name) => write!(f, "project `{name}`"),
            Self::Phase(project, name) => write!(f, "phase `{name}` of project `{project}`"),
        }
    }
}

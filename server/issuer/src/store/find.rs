//! What grants and invitations are looked for by, and what must not be left when somebody's or a project's are ended.

use std::fmt;

use daypass_proto::{
    admin_api::Sort,
    names::{Collaborator, DeviceId, GrantId, PhaseName, ProjectName, RoleName},
};

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
    /// In which order; the name decides among equals.
    pub sort: Sort,
    /// Only those whose names come after this one.
    pub after: Option<String>,
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
            sort: Sort::Id,
            after: None,
            limit,
        }
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

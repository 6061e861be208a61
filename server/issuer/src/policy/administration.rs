//! What every issuer has beside the files of its policy: the project and the roles whose grants reach the issuer's own admin API.
//!
//! A device is used for administration by a grant like any other: it ends, is suspended and revoked, and guardrails narrow it. What somebody may
//! decide there, `admin::authority` says, from who they are today.

use std::collections::BTreeSet;

use daypass_proto::{
    admin_api,
    names::{Collaborator, ProjectName, RoleName},
    resource::Resource,
};

use super::{Policy, Project, Role, project};

/// The project that administrators have their grants in. No file may be called so.
pub const PROJECT: &str = "administration";
/// The role in it.
pub const ADMINISTRATOR: &str = "administrator";
/// The role by which an owner's device is used to decide about their project. Every project has it, and no file may.
pub const OWNER: &str = "owner";

/// The project that administrators have their grants in.
pub fn is_administration(project: &ProjectName) -> bool {
    project.as_str() == PROJECT
}

/// The role by which an owner's device is used to decide.
pub fn is_owner(role: &RoleName) -> bool {
    role.as_str() == OWNER
}

/// Whose a role is that no file has.
#[derive(Clone, Debug)]
pub(super) enum BuiltIn {
    /// An administrator's: somebody who was made one on the issuer's machine.
    Administrator,
    /// An owner's of its project: one of these.
    Owner(BTreeSet<String>),
}

impl BuiltIn {
    /// Whether somebody can have the role at all.
    pub(super) fn fits(&self, who: &Collaborator) -> Result<(), String> {
        match self {
            Self::Owner(owners) if !owners.contains(who.as_str()) => {
                Err(format!("`{who}` is no owner of the project, and the role is for its owners"))
            }
            Self::Owner(_) | Self::Administrator => Ok(()),
        }
    }
}

/// Its file, if it had one.
fn written(resource: &Resource) -> Option<Project> {
    let text = format!(
        r#"
owners = ["nobody"]
[roles.{ADMINISTRATOR}]
token_lifetime = "5m"
longest_grant = "365d"
[[roles.{ADMINISTRATOR}.authorization_details]]
type = "http_api"
locations = ["{resource}"]
actions = ["GET", "POST"]
paths = ["{}**"]
"#,
        admin_api::PREFIX
    );
    let (_, mut project) = project::read(&format!("projects/{PROJECT}.toml"), &text).ok()?;
    // Nobody answers for it.
    project.owners.clear();
    for role in project.roles.values_mut() {
        role.built_in = Some(BuiltIn::Administrator);
    }
    Some(project)
}

impl Policy {
    /// With the roles that reach the admin API at this resource.
    #[must_use]
    pub fn with_administration(mut self, resource: &Resource) -> Self {
        for project in self.projects.values_mut() {
            let people = BuiltIn::Owner(project.owners.iter().cloned().collect());
            let role = written(resource).and_then(|written| written.roles.into_values().next());
            project.owner_role = role.map(|role| Role { built_in: Some(people), ..role });
        }
        self.administration = written(resource);
        self
    }

    /// The projects that somebody answers for.
    pub fn owned_by(&self, who: &Collaborator) -> BTreeSet<ProjectName> {
        let owns = |project: &Project| project.owners.iter().any(|owner| owner == who.as_str());
        self.projects().filter(|(_, project)| owns(project)).map(|(name, _)| name.clone()).collect()
    }
}

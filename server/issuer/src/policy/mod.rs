//! Policy: files that say what can be granted. They are read whole and checked before anything uses them, and one version of them, named
//! by its hash, is in force at a time.
//!
//! A role is a named set of authorization details with limits. It is never a grant: those are records. What a grant gives is
//! decided anew from today's role each time. Guardrails narrow that further. No policy means no access, and a broken one replaces nothing.

mod administration;
#[cfg(test)]
mod bad_input;
mod briefing;
mod detail;
mod diff;
mod examples;
mod fault;
mod fields;
mod files;
mod guarded;
mod guardrails;
mod project;
mod role;

use std::collections::{BTreeMap, BTreeSet};

use daypass_proto::{
    names::{ProjectName, RoleName},
    resource::Resource,
};
use jiff::tz::TimeZone;
use thiserror::Error;

use crate::token::trial;

pub use self::{
    administration::{ADMINISTRATOR, OWNER, PROJECT as ADMINISTRATION, is_administration, is_owner},
    briefing::{Piece, Placeholder, Template},
    diff::{About, Difference, Effect, Version, differences},
    examples::{Example, Expected},
    fault::Fault,
    files::{FOLDERS, Files, Partly},
    guarded::guarded,
    guardrails::{Action, Facts, Guardrails, Mode, Rule, Subject, Verdict},
    project::{Demand, Phase, Project},
    role::{Grace, Renewal, Role, Sensitivity},
};
pub(crate) use self::{
    diff::{limits, span},
    guardrails::word,
};

/// Everything that is wrong with a policy.
#[derive(Debug, Error)]
#[error("the policy has {} fault(s):{}", .0.len(), listed(.0))]
pub struct PolicyError(pub Vec<Fault>);

impl From<Partly> for PolicyError {
    fn from(Partly { files, mut faults }: Partly) -> Self {
        let others = Policy::checked(&files, &faults).err().map(|error| error.0);
        faults.extend(others.unwrap_or_default());
        Self(faults)
    }
}

/// The examples of a policy that come out otherwise than they must.
#[derive(Debug, Error)]
#[error("{} of the policy's examples come out otherwise:{}", .0.len(), listed(.0))]
pub struct ExamplesError(pub Vec<Fault>);

impl ExamplesError {
    /// Runs the examples that stand beside a policy.
    pub fn of(policy: &Policy) -> Result<(), Self> {
        let failing = trial::failing(policy);
        if failing.is_empty() { Ok(()) } else { Err(Self(failing)) }
    }
}

fn listed(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {}", fault.to_string().replace('\n', "\n  "))).collect()
}

/// Whether the file of this name has the briefing of that project.
fn is_briefing_of(file: &str, project: &ProjectName) -> bool {
    file.strip_prefix(files::PROJECTS).is_some_and(|file| file == format!("/{project}{}", files::BRIEFING))
}

/// One version of the policy, checked.
#[derive(Debug, Default)]
pub struct Policy {
    projects: BTreeMap<ProjectName, Project>,
    /// The project of those who administer, which no file has.
    administration: Option<Project>,
    guardrails: Guardrails,
    examples: Vec<Example>,
    hash: [u8; 32],
}

impl Policy {
    /// Checks the files of one version; names every fault at once.
    pub fn check(files: &Files) -> Result<Self, PolicyError> {
        Self::checked(files, &[])
    }

    /// The same, where other files could not be read: whatever follows from that alone is no fault.
    fn checked(files: &Files, unread: &[Fault]) -> Result<Self, PolicyError> {
        let mut faults = Vec::new();
        let mut projects = BTreeMap::new();
        let (briefings, own): (Vec<_>, Vec<_>) =
            files.within(files::PROJECTS).partition(|(name, _)| name.ends_with(files::BRIEFING));
        for (name, text) in own {
            match project::read(name, text) {
                Ok((project, _)) if is_administration(&project) => faults.push(Fault::of_file(
                    name,
                    "a project `administration` is there already: administrators have their grants in it; call this one otherwise",
                )),
                Ok((name, project)) => {
                    projects.insert(name, project);
                }
                Err(mut found) => faults.append(&mut found),
            }
        }
        let written = |file: &str| files.texts().contains_key(file) || unread.iter().any(|fault| fault.file == file);
        for (name, text) in briefings {
            match briefing::read(name, text) {
                Ok(text) => match projects.iter_mut().find(|(project, _)| is_briefing_of(name, project)) {
                    Some((_, project)) => project.briefing_text = Some(text),
                    // A project with faults of its own has its file.
                    None if written(&name.replace(files::BRIEFING, ".toml")) => {}
                    None => {
                        faults.push(Fault::of_file(name, "is the briefing of a project that has no file beside it"))
                    }
                },
                Err(mut found) => faults.append(&mut found),
            }
        }
        let guardrails = Guardrails::read(files).map_err(|mut found| faults.append(&mut found));
        let examples = examples::read(files).map_err(|mut found| faults.append(&mut found));
        match (guardrails, examples) {
            (Ok(guardrails), Ok(examples)) if faults.is_empty() => {
                Ok(Self { projects, administration: None, guardrails, examples, hash: files.hash() })
            }
            _ => Err(PolicyError(faults)),
        }
    }

    /// A project.
    pub fn project(&self, name: &ProjectName) -> Option<&Project> {
        let own = || self.administration.as_ref().filter(|_| is_administration(name));
        self.projects.get(name).or_else(own)
    }

    /// A role of a project.
    pub fn role(&self, project: &ProjectName, role: &RoleName) -> Option<&Role> {
        self.project(project)?.role(role)
    }

    /// The zone that a project's people mean by a date without one: this machine's where they do not say.
    pub fn zone(&self, project: &ProjectName) -> TimeZone {
        self.project(project).and_then(|project| project.time_zone.clone()).unwrap_or_else(TimeZone::system)
    }

    /// All projects.
    pub fn projects(&self) -> impl Iterator<Item = (&ProjectName, &Project)> {
        self.projects.iter()
    }

    /// The rules that narrow what grants and roles allow.
    pub fn guardrails(&self) -> &Guardrails {
        &self.guardrails
    }

    /// What it must allow and refuse, by its own word.
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// The version: SHA-256 over all files. All zero where no policy is in force.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The longest life of a token that any role gives, in seconds.
    pub fn longest_token(&self) -> i64 {
        self.roles().map(|role| role.token_lifetime).max().unwrap_or_default()
    }

    /// Every resource that a role names.
    pub fn resources(&self) -> BTreeSet<Resource> {
        self.roles().flat_map(Role::resources).collect()
    }

    fn roles(&self) -> impl Iterator<Item = &Role> {
        self.projects.values().flat_map(Project::roles).map(|(_, role)| role)
    }
}

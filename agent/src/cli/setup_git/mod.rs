//! `daypass setup git`: git asks our helper for your resources and for nothing else.
//!
//! Two files: one of our own with a section for each resource, and an include of it at the *end* of the git configuration, since git
//! keeps one list of helpers in the order of its files and an empty `helper =` drops only what stands before it. Everything is shown before it
//! is written, and `--undo` leaves the git configuration as it was.

mod content;
mod files;

use std::{collections::BTreeMap, path::PathBuf};

use daypass_proto::{
    enrolment::DeviceLife,
    local_api::{Enrolment, EnrolmentLife, Enrolments, ErrorCode, RefreshRequest, Status},
    resource::Resource,
};
use serde::Serialize;

use self::{
    content::HelperLine,
    files::{Change, Places},
};
use super::{arguments::SetupGit, failure::Failure, terminal::Terminal};
use crate::{
    git_config::{self, Git, GitConfigError},
    local_client::{LONG, LocalClient, SHORT, SYSTEM_SOCKET},
};

#[derive(Serialize)]
struct Report<'a> {
    written: bool,
    changes: &'a [Change],
    warnings: &'a [String],
}

pub(super) fn run(asked: &SetupGit, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let places = Places::of_this_user()?;
    if asked.undo {
        return carry_out(asked, &undo(&places)?, &[], &Git::default(), terminal);
    }
    let resources = resources(&enrolments(agent)?)?;
    let helper = HelperLine { program: helper_program()?, socket: other_socket(agent)? };
    let changes = setup(&places, &resources, &helper)?;
    let names: Vec<Resource> = resources.into_keys().collect();
    carry_out(asked, &changes, &names, &Git::default(), terminal)
}

/// As the issuers say now, since the approval may be a moment old; as the agent remembers, where they do not answer.
fn enrolments(agent: &LocalClient) -> Result<Vec<Enrolment>, Failure> {
    let refreshed: Result<Enrolments, _> = agent.post("/v1/enrolments/refresh", &RefreshRequest::default(), LONG);
    match refreshed {
        Ok(answer) => Ok(answer.enrolments),
        Err(refused) => {
            let known = agent.get::<Status>("/v1/status", SHORT)?.enrolments;
            if known.iter().any(|enrolment| !enrolment.resources.is_empty()) { Ok(known) } else { Err(refused.into()) }
        }
    }
}

/// This user's resources, and the file with the CA of each that needs one.
fn resources(enrolments: &[Enrolment]) -> Result<BTreeMap<Resource, Option<String>>, Failure> {
    let found: BTreeMap<_, _> = enrolments
        .iter()
        .flat_map(|enrolment| &enrolment.resources)
        .map(|local| (local.resource.clone(), local.ca_file.clone()))
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let pending = |life| life == EnrolmentLife::Device(DeviceLife::Pending);
    Err(if enrolments.is_empty() {
        Failure::new(
            ErrorCode::NotEnrolled,
            "there is no enrolment, so there is nothing to set up git for",
            "run `daypass enroll` first",
        )
    } else if enrolments.iter().all(|enrolment| pending(enrolment.state)) {
        Failure::new(
            ErrorCode::DevicePending,
            "the device waits for approval, and its resources are not known before that",
            "wait for it with `daypass status --refresh`, then run this again",
        )
    } else {
        Failure::new(
            ErrorCode::NotGranted,
            "no enrolment has a resource",
            "`daypass status --refresh` shows what is granted; ask an owner of the project",
        )
    })
}

/// The helper is installed beside `daypass`.
fn helper_program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().and_then(|path| path.canonicalize()).map_err(|error| {
        Failure::new(
            ErrorCode::Internal,
            format!("could not find the path of `daypass` itself: {error}"),
            "run it by its full path",
        )
    })?;
    let helper = own.with_file_name("git-credential-daypass");
    if helper.is_file() {
        return Ok(helper);
    }
    Err(Failure::new(
        ErrorCode::Configuration,
        format!("there is no `{}`", helper.display()),
        "install `git-credential-daypass` into the folder of `daypass`",
    ))
}

/// The socket, where git's helper would not find it by itself.
fn other_socket(agent: &LocalClient) -> Result<Option<PathBuf>, Failure> {
    if agent.socket() == std::path::Path::new(SYSTEM_SOCKET) {
        return Ok(None);
    }
    std::path::absolute(agent.socket()).map(Some).map_err(|error| {
        Failure::new(
            ErrorCode::Configuration,
            format!("the socket's path cannot be used: {error}"),
            "give it in full with `--socket`",
        )
    })
}

fn setup(
    places: &Places,
    resources: &BTreeMap<Resource, Option<String>>,
    helper: &HelperLine,
) -> Result<Vec<Change>, Failure> {
    let ours = content::sections(resources, helper)?;
    let git = places.read_git()?;
    let include = content::include(&places.ours)?;
    let without = content::without_include(git.as_deref().unwrap_or_default())?;
    let with = content::with_include(&without, &include);
    Ok(vec![
        Change::new(&places.ours, places.read_ours()?, Some(ours.clone()), ours),
        Change::new(&places.git, git, Some(with), include),
    ])
}

fn undo(places: &Places) -> Result<Vec<Change>, Failure> {
    let git = places.read_git()?;
    let without = git.as_deref().map(content::without_include).transpose()?;
    // A file that holds nothing but our lines was made by us.
    let without = without.filter(|rest| !rest.is_empty());
    let include = content::include(&places.ours)?;
    Ok(vec![
        Change::new(&places.git, git.clone(), if git.is_some() { without } else { None }, include),
        Change::new(&places.ours, places.read_ours()?, None, String::new()),
    ])
}

fn carry_out(
    asked: &SetupGit,
    changes: &[Change],
    resources: &[Resource],
    git: &Git<'_>,
    terminal: &mut dyn Terminal,
) -> Result<(), Failure> {
    let pending: Vec<&Change> = changes.iter().filter(|change| change.changes_something()).collect();
    if !terminal.json() {
        if pending.is_empty() {
            terminal.words(if asked.undo {
                "git is not set up for Daypass; there is nothing to undo"
            } else {
                "git is set up already"
            })?;
        }
        for change in changes.iter().filter(|change| asked.dry_run || change.changes_something()) {
            terminal.words(&change.describe(asked.undo))?;
        }
    }
    let write = !asked.dry_run && !pending.is_empty();
    if write && !asked.yes {
        match terminal.confirm(if asked.undo { "take this away?" } else { "write this?" }) {
            Some(true) => {}
            Some(false) => return Err(Failure::Declined),
            None => return Err(Failure::Unconfirmed("changing your git configuration asks first")),
        }
    }
    if write {
        // Words that git cannot read would make ours of no use, and git says only once what is wrong with them.
        if !asked.undo
            && let Err(error @ GitConfigError::Failed(_)) = git.helpers()
        {
            return Err(Failure::new(
                ErrorCode::Configuration,
                format!("git cannot read its configuration as it is, so nothing was written: {error}"),
                "repair what git names (`git config --list --show-origin` shows it), then run this again",
            ));
        }
        for change in &pending {
            change.apply()?;
        }
    }
    let warnings = if asked.dry_run || asked.undo { Vec::new() } else { remaining(resources, git) };
    if terminal.json() {
        return terminal.document(&Report { written: write, changes, warnings: &warnings });
    }
    for warning in &warnings {
        terminal.note(&format!("warning: {warning}"));
    }
    match (write, asked.undo) {
        (true, true) => terminal.words("done: git no longer asks Daypass"),
        (true, false) => terminal.words(
            "done: `git clone` and `git push` work for these resources; `daypass setup git --undo` takes it back",
        ),
        (false, _) => Ok(()),
    }
}

/// What stands after our include all the same: in a repository's own configuration, or in the environment.
fn remaining(resources: &[Resource], git: &Git<'_>) -> Vec<String> {
    let entries = match git.helpers() {
        Ok(entries) => entries,
        Err(error) => return vec![format!("could not check the result: {error}")],
    };
    resources
        .iter()
        .flat_map(|resource| {
            git_config::others(&entries, "https", resource.host_and_port(), None)
                .into_iter()
                .map(|other| format!("git would hand credentials for {resource} to the helper `{other}` too; `daypass doctor` says more"))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests;

//! `daypass-issuer policy …`: what can be granted, from a folder of files into force.

mod diff;
mod explain;
mod facts;
mod test;
mod version;

use std::path::{Path, PathBuf};

use daypass_proto::{encoding::Fixed, ledger::EventKind};
use serde_json::json;

use super::{
    CommandError, open, operator,
    output::{json as print_json, line, table},
};
use crate::{
    clock::Environment,
    config::Config,
    issuer::Issuer,
    policy::{ExamplesError, Files, Policy, PolicyError},
    store::{Change, Decision, PolicyVersion},
};

pub use version::VersionError;

/// How much of a version's hash is shown to people.
const SHORT: usize = 12;

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check a policy folder: every fault at once, each with its file and line. Changes nothing.
    Check(Folder),
    /// Check a policy folder, run its examples, and put it in force: all of it or nothing. A running issuer follows within seconds.
    Load(Folder),
    /// Run the examples that stand beside a policy, `tests/*.toml`: what it must allow and what it must refuse. Changes nothing.
    Test(Folder),
    /// Say in words who gains and who loses what from one version to another, and how many grants that touches. Changes nothing.
    Diff(diff::Args),
    /// Say why something is allowed or refused, rule by rule: for a device, a grant, or as if. Changes nothing.
    Explain(Box<explain::Args>),
    /// List the versions that were in force.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which folder.
#[derive(Debug, clap::Args)]
pub struct Folder {
    /// The policy folder [default: the configuration's `policy`]
    folder: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: &Path, environment: Environment, command: Command) -> Result<(), CommandError> {
    match command {
        Command::Check(args) => check(&folder(config, &args)?, args.json),
        Command::Load(args) => {
            let folder = folder(config, &args)?;
            load(&open(config, environment).await?, &folder, args.json).await
        }
        Command::Test(args) => {
            let here = Config::load(config).ok().map(|config| config.allow_software_keys);
            test::run(&folder(config, &args)?, here, args.json)
        }
        Command::Diff(args) => diff::run(config, environment, args).await,
        Command::Explain(args) => explain::run(config, environment, *args).await,
        Command::List { json } => list(&open(config, environment).await?, json).await,
    }
}

/// A folder that is named needs no configuration: policy is checked where it is written, too.
fn folder(config: &Path, args: &Folder) -> Result<PathBuf, CommandError> {
    args.folder.clone().map_or_else(|| Ok(Config::load(config)?.policy), Ok)
}

fn read(folder: &Path) -> Result<(Files, Policy), PolicyError> {
    let files = Files::read(folder).map_err(PolicyError)?;
    let policy = Policy::check(&files)?;
    Ok((files, policy))
}

fn check(folder: &Path, json: bool) -> Result<(), CommandError> {
    let read = read(folder);
    if json {
        print_json(&match &read {
            Ok((_, policy)) => json!({"ok": true, "version": hex::encode(policy.hash()), "faults": []}),
            Err(PolicyError(faults)) => json!({"ok": false, "faults": faults}),
        })?;
    }
    let (files, policy) = read?;
    if json {
        Ok(())
    } else {
        line(format!("all good: {}, version {}", counted(&files, &policy), hex::encode(policy.hash())))
    }
}

fn counted(files: &Files, policy: &Policy) -> String {
    format!("{} project(s) in {} file(s)", policy.projects().count(), files.len())
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Loaded {
    version: [u8; 32],
    counted: String,
    changed: bool,
}

/// Puts the policy in `folder` in force, if it has no fault and its own examples come out as they must.
pub(crate) async fn put_in_force(issuer: &Issuer, folder: &Path) -> Result<Loaded, CommandError> {
    let (files, policy) = read(folder)?;
    ExamplesError::of(&policy).map_err(|source| CommandError::NotLoaded { folder: folder.to_owned(), source })?;
    let before = issuer.store.newer_policy(0).await?;
    let (hash, counted) = (policy.hash(), counted(&files, &policy));
    if before.as_ref().is_some_and(|before| before.hash.0 == hash) {
        return Ok(Loaded { version: hash, counted, changed: false });
    }
    let event = issuer.environment.event(EventKind::PolicyLoaded).text("policy", hex::encode(hash));
    let event = match &before {
        Some(before) => event.text("before", hex::encode(before.hash.0)),
        None => event,
    };
    let event = issuer.environment.personal(event, "by", operator());
    let version = PolicyVersion {
        number: before.map_or(0, |before| before.number) + 1,
        hash: Fixed(hash),
        at: issuer.environment.now(),
        files,
    };
    issuer.store.decide(Decision::new(event).change(Change::SetPolicy(version))).await?;
    Ok(Loaded { version: hash, counted, changed: true })
}

async fn load(issuer: &Issuer, folder: &Path, json: bool) -> Result<(), CommandError> {
    let Loaded { version, counted, changed } = put_in_force(issuer, folder).await?;
    let version = hex::encode(version);
    if json {
        return print_json(&json!({"version": version, "changed": changed}));
    }
    line(if changed {
        format!("in force now: {counted}, version {version}")
    } else {
        format!("nothing to change: version {version} is in force already")
    })
}

async fn list(issuer: &Issuer, json: bool) -> Result<(), CommandError> {
    let versions = issuer.store.policies().await?;
    if json {
        let all: Vec<_> = versions
            .iter()
            .map(|version| json!({"number": version.number, "version": hex::encode(version.hash.0), "at": version.at, "files": version.files.len()}))
            .collect();
        return print_json(&all);
    }
    let newest = versions.len();
    let rows: Vec<Vec<String>> = versions
        .iter()
        .enumerate()
        .map(|(index, version)| {
            let state = if index + 1 == newest { "in force" } else { "-" };
            let hash: String = hex::encode(version.hash.0).chars().take(SHORT).collect();
            vec![
                version.number.to_string(),
                hash,
                version.at.to_string(),
                version.files.len().to_string(),
                state.to_owned(),
            ]
        })
        .collect();
    table(&["NUMBER", "VERSION", "IN FORCE FROM", "FILES", "STATE"], &rows)
}

#[cfg(test)]
mod tests;

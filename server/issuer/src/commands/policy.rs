//! `daypass-issuer policy …`: what can be granted, from a folder of files into force.

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
    policy::{Files, Policy, PolicyError},
    store::{Change, Decision, PolicyVersion},
};

/// How much of a version's hash is shown to people.
const SHORT: usize = 12;

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check a policy folder: every fault at once, each with its file and line. Changes nothing.
    Check(Folder),
    /// Check a policy folder and put it in force: all of it or nothing. A running issuer follows within seconds.
    Load(Folder),
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

/// Puts the policy in `folder` in force, if it has no fault.
pub(crate) async fn put_in_force(issuer: &Issuer, folder: &Path) -> Result<Loaded, CommandError> {
    let (files, policy) = read(folder)?;
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
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        fixture::{Made, event},
        store::DecideError,
    };

    fn write(made: &Made, text: &str) -> PathBuf {
        let folder = made.issuer.config.policy.clone();
        fs::write(folder.join("projects/apollo.toml"), text).unwrap();
        folder
    }

    fn owners(made: &Made) -> Vec<String> {
        made.issuer.policy().project(&"apollo".parse().unwrap()).unwrap().owners.clone()
    }

    #[tokio::test]
    async fn a_policy_counts_once_it_is_loaded_and_is_followed_without_a_restart() {
        let made = Made::new().await;
        let before = made.issuer.policy().hash();
        let text = fs::read_to_string(made.issuer.config.policy.join("projects/apollo.toml")).unwrap();
        let folder = write(&made, &text.replace("olga@", "oskar@"));
        made.issuer.reload_policy().await.unwrap();
        assert_eq!(owners(&made), ["olga@example.com"], "written is not loaded");
        put_in_force(&made.issuer, &folder).await.unwrap();
        made.issuer.reload_policy().await.unwrap();
        assert_eq!(owners(&made), ["oskar@example.com"]);
        let leaf = made.events("policy_loaded").await.pop().unwrap();
        assert!(
            leaf.contains(&hex::encode(before)) && leaf.contains(&hex::encode(made.issuer.policy().hash())),
            "{leaf}"
        );
        assert!(!leaf.contains(&operator()), "{leaf}");
        // Once more changes nothing.
        let events = made.events("policy_loaded").await.len();
        put_in_force(&made.issuer, &folder).await.unwrap();
        assert_eq!(made.events("policy_loaded").await.len(), events);
    }

    #[tokio::test]
    async fn a_broken_policy_never_replaces_a_good_one() {
        let made = Made::new().await;
        let before = made.issuer.policy().hash();
        let folder = write(&made, "owners = []");
        assert!(matches!(put_in_force(&made.issuer, &folder).await, Err(CommandError::Policy(_))));
        made.issuer.reload_policy().await.unwrap();
        assert_eq!(made.issuer.policy().hash(), before);
        // One that another program put there, which this one does not understand.
        let files: Files = [("projects/apollo.toml", "owners = 7")].into_iter().collect();
        let version = PolicyVersion { number: 2, hash: Fixed(files.hash()), at: made.now(), files };
        let decision = Decision::new(event(&made.issuer.environment));
        made.issuer.store.decide(decision.change(Change::SetPolicy(version))).await.unwrap();
        assert!(made.issuer.reload_policy().await.is_err());
        assert_eq!(made.issuer.policy().hash(), before);
    }

    #[tokio::test]
    async fn of_two_who_load_at_once_one_is_told() {
        let made = Made::new().await;
        let load = |number| {
            let files = Files::default();
            let version = PolicyVersion { number, hash: Fixed(files.hash()), at: made.now(), files };
            made.issuer.store.decide(Decision::new(event(&made.issuer.environment)).change(Change::SetPolicy(version)))
        };
        load(2).await.unwrap();
        let error = load(2).await.unwrap_err();
        assert!(matches!(error, DecideError::Conflict(_)), "{error}");
        assert_eq!(error.to_string(), "the policy in force is no longer as it was when this was decided");
        assert!(load(4).await.is_err());
    }
}

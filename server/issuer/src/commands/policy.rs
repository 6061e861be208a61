//! `daypass-issuer policy …`: what can be granted, from a folder of files into force.

mod diff;
mod explain;
mod facts;
mod test;
mod version;

use std::path::{Path, PathBuf};

use daypass_proto::names::ProposalId;
use daypass_service::file_argument;
use serde_json::json;

use super::{
    CommandError,
    arguments::reason,
    open, operator,
    output::{json as print_json, line, table, untrusted},
};
use crate::{
    actor::Actor,
    admin::{
        Versioned, acting, administrators,
        policy::{LoadError, Loaded, load as load_policy, withdraw as withdraw_proposal},
        versions,
    },
    clock::Environment,
    config::Config,
    issuer::Issuer,
    policy::{Files, Policy, PolicyError},
    store::{Proposal, ProposalLife},
};

pub use version::VersionError;

/// How much of a version's hash is shown to people.
const SHORT: usize = 12;

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check a policy folder: every fault at once, each with its file and line. Changes nothing.
    Check(Folder),
    /// Check a policy folder, run its examples, and put it in force: all of it or nothing. A running issuer follows within seconds. Where it touches owners, sensitivity or
    /// what is trusted of devices, it waits for an administrator, once there is one.
    Load(Folder),
    /// Run the examples that stand beside a policy, `tests/*.toml`: what it must allow and what it must refuse. Changes nothing.
    Test(Folder),
    /// Say in words who gains and who loses what from one version to another, and how many grants that touches. Changes nothing.
    Diff(diff::Args),
    /// Say why something is allowed or refused, rule by rule: for a device, a grant, or as if. Changes nothing.
    Explain(Box<explain::Args>),
    /// List what waits for an administrator, or waited.
    Proposals {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take back what waits for an administrator.
    Withdraw {
        /// Which.
        proposal: ProposalId,
        /// Why, for the ledger.
        #[arg(long, value_parser = reason)]
        reason: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the versions that were in force, who put them there, and what waits.
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
    #[arg(value_parser = file_argument())]
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
        Command::Proposals { json } => proposals(&open(config, environment).await?, json).await,
        Command::Withdraw { proposal, reason, json } => {
            withdraw(&open(config, environment).await?, &proposal, reason.as_deref(), json).await
        }
        Command::List { json } => list(&open(config, environment).await?, json).await,
    }
}

/// A folder that is named needs no configuration: policy is checked where it is written, too.
fn folder(config: &Path, args: &Folder) -> Result<PathBuf, CommandError> {
    args.folder.clone().map_or_else(|| Ok(Config::load(config)?.policy), Ok)
}

fn read(folder: &Path) -> Result<(Files, Policy), PolicyError> {
    let files = Files::read(folder).map_err(PolicyError::from)?;
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
pub(crate) struct Put {
    version: [u8; 32],
    counted: String,
    loaded: Loaded,
}

/// Puts the policy in `folder` in force, if it has no fault and its own examples come out as they must; or lets it wait.
pub(crate) async fn put_in_force(issuer: &Issuer, folder: &Path) -> Result<Put, CommandError> {
    let (files, policy) = read(folder)?;
    let (version, counted) = (policy.hash(), counted(&files, &policy));
    let loaded = load_policy(issuer, files, &Actor::account(operator())).await.map_err(|error| match error {
        LoadError::Examples(source) => CommandError::NotLoaded { folder: folder.to_owned(), source },
        other => other.into(),
    })?;
    Ok(Put { version, counted, loaded })
}

async fn load(issuer: &Issuer, folder: &Path, json: bool) -> Result<(), CommandError> {
    let Put { version, counted, loaded } = put_in_force(issuer, folder).await?;
    let version = hex::encode(version);
    if json {
        let waiting = match &loaded {
            Loaded::Waits(proposal) => Some(shown(proposal)),
            Loaded::InForce | Loaded::Unchanged => None,
        };
        let changed = matches!(loaded, Loaded::InForce);
        return print_json(&json!({"version": version, "changed": changed, "waiting": waiting}));
    }
    match loaded {
        Loaded::InForce => line(format!("in force now: {counted}, version {version}")),
        Loaded::Unchanged => line(format!("nothing to change: version {version} is in force already")),
        Loaded::Waits(proposal) => {
            line(format!("waits for an administrator: version {version}, as {}", proposal.id))?;
            for guarded in &proposal.guarded {
                line(format!("  {guarded}"))?;
            }
            line(format!(
                "the policy in force stays until one confirms it: `daypass admin policy confirm {}`",
                proposal.id
            ))?;
            if acting(&administrators(issuer).await?, issuer.environment.now()) == 0 {
                line(
                    "there is none who could now: `daypass-issuer admin bootstrap NAME` makes one, and the ledger says so",
                )?;
            }
            Ok(())
        }
    }
}

fn shown(proposal: &Proposal) -> serde_json::Value {
    json!({
        "proposal": proposal.id, "state": proposal.state, "version": hex::encode(proposal.hash.0), "at": proposal.at,
        "by": proposal.by, "guarded": proposal.guarded,
    })
}

async fn proposals(issuer: &Issuer, json: bool) -> Result<(), CommandError> {
    let all = issuer.store.proposals().await?;
    if json {
        return print_json(&all.iter().map(shown).collect::<Vec<_>>());
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|it| {
            let hash: String = hex::encode(it.hash.0).chars().take(SHORT).collect();
            let by = it.by.as_ref().map_or_else(|| "this machine".to_owned(), ToString::to_string);
            vec![it.id.to_string(), it.state.to_string(), hash, it.at.to_string(), by, it.guarded.join("; ")]
        })
        .collect();
    table(&["PROPOSAL", "STATE", "VERSION", "BROUGHT", "BY", "TOUCHES"], &rows)
}

async fn withdraw(issuer: &Issuer, id: &ProposalId, reason: Option<&str>, json: bool) -> Result<(), CommandError> {
    let proposal = withdraw_proposal(issuer, id, &Actor::account(operator()), reason).await?;
    if json {
        return print_json(&shown(&proposal));
    }
    line(format!("{id} is withdrawn; the policy in force stays"))
}

async fn list(issuer: &Issuer, json: bool) -> Result<(), CommandError> {
    let all = versions(issuer).await?;
    if json {
        let all: Vec<_> = all
            .iter()
            .map(|Versioned { version, by, by_device, proposal }| {
                json!({
                    "number": version.number, "version": hex::encode(version.hash.0), "at": version.at,
                    "files": version.files.len(), "by": by, "by_device": by_device, "proposal": proposal,
                })
            })
            .collect();
        return print_json(&all);
    }
    let newest = all.len();
    let rows: Vec<Vec<String>> = all
        .iter()
        .enumerate()
        .map(|(index, Versioned { version, by, proposal, .. })| {
            let state = if index + 1 == newest { "in force" } else { "-" };
            let hash: String = hex::encode(version.hash.0).chars().take(SHORT).collect();
            vec![
                version.number.to_string(),
                hash,
                version.at.to_string(),
                version.files.len().to_string(),
                state.to_owned(),
                by.as_deref().map_or_else(|| "-".to_owned(), untrusted),
                proposal.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            ]
        })
        .collect();
    table(&["NUMBER", "VERSION", "IN FORCE FROM", "FILES", "STATE", "BY", "CONFIRMED"], &rows)?;
    for waiting in issuer.store.proposals().await?.iter().filter(|found| found.state == ProposalLife::Waiting) {
        line(format!(
            "{} waits for an administrator since {}: `daypass-issuer policy proposals` shows what it touches",
            waiting.id, waiting.at
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! `daypass-issuer backup` and `restore`.

use std::path::{Path, PathBuf};

use daypass_proto::ledger::EventKind;
use daypass_service::file_argument;

use serde_json::json;

use super::{
    CommandError, operator,
    output::{json as print_json, line},
};
use crate::{
    backup::{Include, Restore, back_up, restore as put_back},
    clock::Environment,
    config::Config,
    store::{Decision, SqliteStore, Store as _},
};

/// Options of `backup`.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// The new file.
    #[arg(value_parser = file_argument())]
    file: PathBuf,
    /// Put the master key in: whoever has the file then has the issuer. Without it, keep the key elsewhere.
    #[arg(long)]
    with_master_key: bool,
    /// Put the root key in: whoever has the file then has everything.
    #[arg(long)]
    with_root_key: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `restore`.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// The backup.
    #[arg(value_parser = file_argument())]
    file: PathBuf,
    /// Put it in the place of a store that is there, which is kept beside under another name. Stop the issuer first.
    #[arg(long)]
    replace: bool,
    /// The newest checkpoint that somebody else has. Only where it shows that nothing is missing does the ledger keep its name; so does the one that
    /// lies beside the database.
    #[arg(long, value_name = "FILE", value_parser = file_argument())]
    checkpoint: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stderr, reason = "what has to be known whatever becomes of the output")]
fn warn(text: &str) {
    eprintln!("daypass-issuer: {text}");
}

pub(super) async fn make(path: &Path, args: &BackupArgs, environment: &Environment) -> Result<(), CommandError> {
    let config = Config::load(path)?;
    let include = Include { master_key: args.with_master_key, root_key: args.with_root_key };
    let event = environment
        .event(EventKind::BackupMade)
        .structure("with_master_key", &include.master_key)
        .structure("with_root_key", &include.root_key);
    let event = environment.personal(event, "by", operator());
    // It decides nothing, so a store that takes no writes is backed up all the same.
    let recorded = async { SqliteStore::open(&config.database, false).await?.decide(Decision::new(event)).await };
    let recorded = recorded.await;
    if let Err(error) = &recorded {
        warn(&format!("this backup stands in no event: {}", daypass_service::told(error)));
    }
    back_up(path, &config, environment.now(), include, &args.file).await?;
    let elsewhere: Vec<String> = [(include.master_key, &config.master_key), (include.root_key, &config.root_key)]
        .into_iter()
        .filter(|(inside, _)| !inside)
        .map(|(_, path)| path.display().to_string())
        .collect();
    if args.json {
        return print_json(&json!({"backup": args.file, "recorded": recorded.is_ok(), "not_included": elsewhere}));
    }
    line(format!("backed up to {}", args.file.display()))?;
    match elsewhere.is_empty() {
        true => line("  it has every key of this issuer: whoever has the file is the issuer"),
        false => line(format!("  not in it: {}; keep them elsewhere", elsewhere.join(", "))),
    }
}

pub(super) async fn restore(path: &Path, args: &RestoreArgs, environment: &Environment) -> Result<(), CommandError> {
    let order = Restore {
        from: &args.file,
        config: path,
        replace: args.replace,
        checkpoint: args.checkpoint.as_deref(),
        by: operator(),
    };
    let restored = put_back(environment, order).await?;
    if args.json {
        let new_ledger = restored.new_origin.as_ref().map(|(origin, why)| json!({"origin": origin, "why": why}));
        print_json(&json!({
            "made_at": restored.made_at, "written": restored.written, "kept": restored.kept, "former": restored.aside,
            "new_ledger": new_ledger, "keys_open": restored.no_key.is_none(),
        }))?;
    } else {
        line(format!("restored the backup of {}", restored.made_at))?;
        for written in &restored.written {
            line(format!("  written     {}", written.display()))?;
        }
        for kept in &restored.kept {
            line(format!("  kept        {}: it differs from the backup's", kept.display()))?;
        }
        if let Some(aside) = &restored.aside {
            line(format!("  former      {}", aside.display()))?;
        }
    }
    warn(&format!(
        "what was decided after {} is not in this store: look through `device list` for devices that were suspended or revoked since, and withdraw invitations that were used",
        restored.made_at
    ));
    if let Some((origin, why)) = &restored.new_origin {
        warn(&format!(
            "the ledger begins anew as `{origin}`, since {why}; whoever holds checkpoints of the former one is to be told"
        ));
    }
    if let Some(error) = &restored.no_key {
        warn(&daypass_service::told(error));
    }
    if args.json { Ok(()) } else { line("next: `daypass-issuer check`, then `daypass-issuer serve`") }
}

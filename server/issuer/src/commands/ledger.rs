//! `daypass-issuer ledger …`: how it stands, whether it is what was signed, and all of it in a file.

mod event;
mod list;
mod show;
mod which;

use std::{
    fs,
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use daypass_proto::{
    encoding::from_base64url,
    ledger::checkpoint::{CheckpointKey, MAX_CHECKPOINT, VerifiedCheckpoint},
    pin::Pin,
};
use daypass_service::file_argument;
use serde_json::json;

use super::{
    CommandError, open,
    output::{json as print_json, line},
};
use crate::{
    clock::Environment,
    config::Config,
    issuer::Issuer,
    ledger::{
        audit::{Judge, Report, audit_export, audit_store, certified_keys},
        export,
    },
    store::{SqliteStore, Store},
};

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Say how large the ledger is, what is signed, and what waits.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List events, oldest first.
    List(list::List),
    /// Show one event, and whether it is in the tree that was signed. Ends with 5 where it is not.
    Show(show::Show),
    /// Show the newest events, and what comes.
    Tail(list::Tail),
    /// Check every event against what was signed, and name the first that was touched. Ends with 5 where one was.
    Verify(Verify),
    /// Erase a person: values and salts of what tells of them go, and the tree verifies as before.
    ErasePerson(super::erase::Args),
    /// Write the store's file anew, so that nothing that was erased is left in its unused space. Decisions wait meanwhile.
    Compact {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write every event that a checkpoint covers, as JSON Lines; with a filter, those that fit, each with its proof.
    Export {
        #[command(flatten)]
        which: which::Which,
        /// The file to make; standard output when left out.
        #[arg(long, value_name = "FILE", value_parser = file_argument())]
        out: Option<PathBuf>,
        /// Print JSON about the file that was made.
        #[arg(long, requires = "out")]
        json: bool,
    },
}

/// How every database of SQLite begins (<https://www.sqlite.org/fileformat2.html>, section 1.3).
const SQLITE: &[u8] = b"SQLite format 3\0";

/// Options of `verify`.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// A copy of the database, instead of the configured one.
    #[arg(long, value_name = "FILE", conflicts_with = "export", value_parser = file_argument())]
    database: Option<PathBuf>,
    /// An export (`-` for standard input), instead of a database.
    #[arg(long, value_name = "FILE", value_parser = file_argument())]
    export: Option<PathBuf>,
    /// What to judge by: verifier keys (`name+hash+key`, one a line), or the issuer's root certificate in PEM. The configured root when
    /// left out.
    #[arg(long, value_name = "FILE", conflicts_with = "pin", value_parser = file_argument())]
    key: Option<PathBuf>,
    /// The pin of the issuer's root (SHA-256 of its key, hex or base64url), instead of a file.
    #[arg(long, value_name = "PIN", value_parser = pin)]
    pin: Option<Pin>,
    /// A checkpoint that you kept; may be given several times.
    #[arg(long, value_name = "FILE", value_parser = file_argument())]
    checkpoint: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn pin(text: &str) -> Result<Pin, String> {
    let bytes = hex::decode(text).ok().or_else(|| from_base64url(text));
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .map(Pin)
        .ok_or_else(|| "expected 32 bytes, hex or base64url".to_owned())
}

/// One event, as `ledger list --json` shows it.
pub(crate) fn event_json(entry: crate::store::Entry) -> serde_json::Value {
    event::Shown::of(entry).json()
}

pub(super) async fn run(config: &Path, environment: Environment, command: Command) -> Result<(), CommandError> {
    match command {
        Command::Status { json } => status(config, environment, json).await,
        Command::Verify(args) => verify(config, args).await,
        Command::List(args) => {
            let issuer = open(config, environment).await?;
            read_on(list::list(&issuer, &args, io::BufWriter::new(io::stdout())).await)
        }
        Command::Show(args) => read_on(show::run(&open(config, environment).await?, &args).await),
        Command::Tail(args) => {
            let stop = daypass_service::stop_signal().map_err(CommandError::Runtime)?;
            let issuer = open(config, environment).await?;
            read_on(list::tail(&issuer, &args, io::BufWriter::new(io::stdout()), &stop).await)
        }
        Command::Compact { json } => {
            let path = Config::load(config)?.database;
            SqliteStore::compact(&path).await?;
            if json {
                return print_json(&json!({"compacted": path}));
            }
            line(format!("wrote {} anew: its unused space has nothing of what was erased", path.display()))
        }
        Command::ErasePerson(args) => super::erase::run(&open(config, environment).await?, args).await,
        Command::Export { which, out, json } => {
            let issuer = open(config, environment).await?;
            match out {
                Some(path) => {
                    let failed = |source| CommandError::Make { path: path.clone(), source };
                    // It holds names of people.
                    use std::os::unix::fs::OpenOptionsExt as _;
                    let mut options = fs::OpenOptions::new();
                    let file = options.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
                    let mut file = io::BufWriter::new(file);
                    let size = write_export(&issuer, &which, &mut file).await?;
                    file.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)?;
                    if json {
                        return print_json(&json!({"export": path, "events": size}));
                    }
                    line(format!("exported {size} events to {}", path.display()))
                }
                None => {
                    let mut out = io::BufWriter::new(io::stdout());
                    write_export(&issuer, &which, &mut out).await.map(drop)
                }
            }
        }
    }
}

async fn write_export(issuer: &Issuer, which: &which::Which, to: &mut impl io::Write) -> Result<u64, CommandError> {
    let keyring = issuer.keyring();
    let (store, keys) = (issuer.store.as_ref(), keyring.checkpoint_keys());
    Ok(match which.is_everything() {
        true => export::export(store, keys, to).await?,
        false => export::export_part(store, keys, &which.filter(issuer.environment.now())?, to).await?,
    })
}

/// Whoever reads may have read enough.
fn read_on(done: Result<(), CommandError>) -> Result<(), CommandError> {
    match done {
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

async fn status(config: &Path, environment: Environment, json: bool) -> Result<(), CommandError> {
    let issuer = open(config, environment).await?;
    let state = issuer.store.ledger().await?;
    let newest = issuer.store.newest_checkpoint().await?;
    let backlog = issuer.store.backlog().await?;
    let waits = backlog.oldest.map(|oldest| issuer.environment.now().since(oldest).max(0));
    let events = state.as_ref().map_or(0, |state| state.head.size());
    let signed = newest.as_ref().map_or(0, |newest| newest.head.size());
    if json {
        return print_json(&json!({
            "origin": state.as_ref().map(|state| &state.origin), "events": events, "checkpoint_events": signed,
            "unnumbered_events": backlog.events, "integration_lag_seconds": waits.unwrap_or(0),
            "integrator": state.as_ref().and_then(|state| state.holder.as_ref()),
            "checkpoint": newest.as_ref().and_then(|newest| newest.note.as_ref()),
        }));
    }
    let Some(state) = state else { return line("the ledger has not begun; it does when the issuer serves") };
    line(format!("ledger       {}", state.origin))?;
    line(format!("events       {events} in the tree"))?;
    match waits {
        Some(age) => line(format!("waiting      {} for their number, the oldest since {age} s", backlog.events))?,
        None => line("waiting      none")?,
    }
    match &newest {
        Some(newest) => line(format!("checkpoint   over {signed} events, of {}", newest.at))?,
        None => line("checkpoint   none yet")?,
    }
    line(format!("integrator   {}", state.holder.as_deref().unwrap_or("none yet")))
}

fn read(path: &Path) -> Result<String, CommandError> {
    daypass_service::read_text(path).map_err(|source| CommandError::File { path: path.to_owned(), source })
}

/// A file with verifier keys or a root.
fn judge_of(path: &Path) -> Result<Judge, CommandError> {
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    let text = read(path)?;
    let form = || CommandError::FileForm {
        path: path.to_owned(),
        expected: "a certificate in PEM, or verifier keys of the form `name+hash+key`, one a line",
    };
    if text.contains("-----BEGIN") {
        let root = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| form())?;
        return Pin::of_certificate(&root).map(Judge::Pin).ok_or_else(form);
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Result<Vec<_>, _> =
        lines.map(|line| CheckpointKey::from_verifier_key(line).map(|(_, key)| key)).collect();
    keys.ok().filter(|keys| !keys.is_empty()).map(Judge::Keys).ok_or_else(form)
}

fn kept(paths: &[PathBuf], keys: &[CheckpointKey]) -> Result<Vec<VerifiedCheckpoint>, CommandError> {
    let one = |path: &PathBuf| {
        let text = read(path)?;
        let longest = text.len().min(MAX_CHECKPOINT + 1);
        VerifiedCheckpoint::verify_any(text.get(..longest).unwrap_or(&text), keys)
            .map_err(|source| CommandError::Kept { path: path.clone(), source })
    };
    paths.iter().map(one).collect()
}

async fn verify(config: &Path, args: Verify) -> Result<(), CommandError> {
    let judge = match (&args.key, args.pin) {
        (Some(path), _) => judge_of(path)?,
        (None, Some(pin)) => Judge::Pin(pin),
        (None, None) => judge_of(&Config::load(config)?.root_certificate)?,
    };
    let report = match (&args.export, &args.database) {
        (Some(path), _) if path.as_os_str() == "-" => {
            audit_export(io::stdin().lock(), judge, |keys| kept(&args.checkpoint, keys))?
        }
        (Some(path), _) => {
            let file =
                daypass_service::open_file(path).map_err(|source| CommandError::File { path: path.clone(), source })?;
            audit_export(BufReader::new(file), judge, |keys| kept(&args.checkpoint, keys))?
        }
        (None, database) => {
            let path = match database {
                Some(path) => copy_at(path)?,
                None => Config::load(config)?.database,
            };
            let store = SqliteStore::open_to_read(&path).await?;
            in_store(&store, judge, &args.checkpoint).await?
        }
    };
    tell(&report, args.json)?;
    match report.findings.len() {
        0 => Ok(()),
        found => Err(CommandError::Touched(found)),
    }
}

/// A copy of the database: what is none has nothing to do with the issuer's own store, of which the store's faults would tell.
fn copy_at(path: &Path) -> Result<PathBuf, CommandError> {
    let mut begin = Vec::new();
    let file = daypass_service::open_file(path).and_then(|file| {
        let magic = u64::try_from(SQLITE.len()).unwrap_or_default();
        io::Read::read_to_end(&mut io::Read::take(file, magic), &mut begin)
    });
    file.map_err(|source| CommandError::File { path: path.to_owned(), source })?;
    if begin != SQLITE {
        return Err(CommandError::FileForm { path: path.to_owned(), expected: "a copy of an issuer's database" });
    }
    Ok(path.to_owned())
}

async fn in_store(store: &dyn Store, judge: Judge, checkpoints: &[PathBuf]) -> Result<Report, CommandError> {
    let keys = match judge {
        Judge::Keys(keys) => keys,
        Judge::Pin(pin) => certified_keys(store, &pin).await?,
    };
    if keys.is_empty() {
        return Err(CommandError::NoCheckpointKey);
    }
    let kept = kept(checkpoints, &keys)?;
    Ok(audit_store(store, keys, kept).await?)
}

fn tell(report: &Report, json: bool) -> Result<(), CommandError> {
    if json {
        let findings: Vec<_> = report
            .findings
            .iter()
            .map(|finding| {
                let event = Some(finding.event()).filter(|event| *event != u64::MAX);
                json!({"finding": finding.word(), "event": event, "message": finding.to_string()})
            })
            .collect();
        return print_json(&json!({
            "origin": report.origin, "events": report.events, "erased_fields": report.erased,
            "checkpoints": report.checkpoints, "covered_events": report.covered,
            "unnumbered_events": report.unnumbered, "findings": findings,
        }));
    }
    line(format!("ledger        {}", report.origin))?;
    line(format!("events        {}, and {} erased personal fields", report.events, report.erased))?;
    line(format!("checkpoints   {} hold; they cover {} events", report.checkpoints, report.covered))?;
    if report.unnumbered > 0 {
        line(format!("waiting       {} events have no number yet, and nothing is said of them", report.unnumbered))?;
    }
    for finding in &report.findings {
        line(format!("finding       {finding}"))?;
    }
    if report.findings.is_empty() { line("all good") } else { Ok(()) }
}

//! The command line. Commands on the issuer's machine act on the store directly; they make the same decisions as the endpoints.

mod admin;
mod arguments;
mod backup;
mod briefing;
mod check;
mod clock;
mod device;
mod ek;
mod erase;
mod gate;
mod grant;
mod init;
mod invitation;
mod invite;
mod key;
mod ledger;
mod master;
mod notification;
mod offboard;
mod output;
mod policy;
mod request;
mod terms;

use std::{io::Write as _, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{CommandFactory as _, Parser, Subcommand};
use daypass_proto::{ledger::checkpoint::CheckpointError, names::Collaborator};
use thiserror::Error;

use crate::{
    actor::Actor,
    admin::{AdministratorError, policy::LoadError},
    approval::ApprovalError,
    backup::BackupError,
    briefing::BriefingError,
    certificates::CertificatesError,
    clock::Environment,
    config::{Config, ConfigError},
    device::{LifeError, SoftwareError},
    ending::EndError,
    gates::RegistryError,
    invitation::InviteError,
    issuer::{Issuer, StartError},
    keys::KeyError,
    ledger::{Source, audit::ExportError, export::WriteError},
    notification::{SinkError, Sinks},
    policy::{ExamplesError, PolicyError},
    replacement::ReplaceError,
    requests::RequestError,
    serve::RunError,
    store::{DecideError, StoreError},
    until::UntilError,
};
use daypass_service::file_argument;

pub(crate) use ledger::event_json;

#[cfg(test)]
pub(crate) use init::make_in;
#[cfg(test)]
pub(crate) use key::rotate;
#[cfg(test)]
pub(crate) use notification::tests::dead as dead_notification;
#[cfg(test)]
pub(crate) use policy::put_in_force;

/// The issuer of Daypass: temporary access for approved machines.
#[derive(Debug, Parser)]
#[command(name = "daypass-issuer", version, about, max_term_width = 100)]
pub struct Cli {
    /// The configuration file.
    #[arg(
        long,
        global = true,
        env = "DAYPASS_ISSUER_CONFIG",
        default_value = "/etc/daypass/issuer.toml",
        value_name = "FILE",
        value_parser = file_argument()
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new issuer: keys, configuration, store, a starter policy.
    Init(init::Args),
    /// Serve until stopped.
    Serve,
    /// Invite a collaborator: prints a single-use code for their machine.
    Invite(invite::Args),
    /// Look at devices, and decide about them.
    #[command(subcommand)]
    Device(device::Command),
    /// Look at grants, hold them back, end them.
    #[command(subcommand)]
    Grant(grant::Command),
    /// Look at what people ask for, longer or more, and answer it.
    #[command(subcommand)]
    Request(request::Command),
    /// Look at invitations, and take them back.
    #[command(subcommand)]
    Invitation(invitation::Command),
    /// End everything that a collaborator has: open invitations, grants, devices.
    Offboard(offboard::Person),
    /// End a project.
    #[command(subcommand)]
    Project(offboard::Command),
    /// End a phase of a project.
    #[command(subcommand)]
    Phase(offboard::PhaseCommand),
    /// Look at endorsement key certificates.
    #[command(subcommand)]
    Ek(ek::Command),
    /// Say who administers this issuer.
    #[command(subcommand)]
    Admin(admin::Command),
    /// Register gates.
    #[command(subcommand)]
    Gate(gate::Command),
    /// Check policy, and put it in force.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Look at the issuer's keys, and rotate them.
    #[command(subcommand)]
    Key(key::Command),
    /// Write everything that this issuer is into one file, while it serves.
    Backup(backup::BackupArgs),
    /// Put a backup in place. A store that is older than what was published begins a new ledger.
    Restore(backup::RestoreArgs),
    /// Look at this machine's time beside that of the newest decisions.
    #[command(subcommand)]
    Clock(clock::Command),
    /// Look at the ledger, check it, export it.
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Look at what could not be told, try it again, and try whether anybody is told.
    #[command(subcommand)]
    Notification(notification::Command),
    /// Check configuration, policy, keys and store, and name every loosening.
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    #[command(hide = true)]
    Man,
}

/// Why a command failed. Each has one exit code.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each says it in its message")]
pub enum CommandError {
    #[error("could not start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error("could not write the output")]
    Output(#[source] std::io::Error),
    #[error(transparent)]
    Init(#[from] init::InitError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("what would be asked for is not understood: {0}")]
    Ask(String),
    #[error("nothing is called `{0}` here")]
    NoSuch(String),
    #[error("nothing was ever granted to this device")]
    NoGrants,
    #[error(transparent)]
    Version(#[from] policy::VersionError),
    #[error(transparent)]
    Examples(#[from] ExamplesError),
    #[error("nothing was put in force; `daypass-issuer policy test {}` runs the policy's own examples", folder.display())]
    NotLoaded {
        folder: PathBuf,
        #[source]
        source: ExamplesError,
    },
    #[error(transparent)]
    Administrator(#[from] AdministratorError),
    #[error(transparent)]
    Load(LoadError),
    #[error(transparent)]
    Invite(#[from] InviteError),
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    #[error("nobody was invited, since it goes beyond the policy in force: {0}")]
    Exceeds(String),
    #[error("nobody was invited; answer `y`, or pass `--yes`")]
    NotInvited,
    #[error(transparent)]
    Life(#[from] LifeError),
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    #[error(transparent)]
    Briefing(#[from] BriefingError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    End(#[from] EndError),
    #[error("nothing was ended; pass `--yes` to end what was shown")]
    EndUnconfirmed,
    #[error(transparent)]
    Software(#[from] SoftwareError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Until(#[from] UntilError),
    #[error(transparent)]
    Duration(#[from] daypass_proto::duration::DurationError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error("could not read `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` is not {expected}", path.display())]
    FileForm { path: PathBuf, expected: &'static str },
    #[error(
        "`{}` is not a file of certificates in PEM or DER; read it from the TPM anew (`tpm2_getekcertificate`, `tpm2_nvread`), or get it anew from whoever made it",
        path.display()
    )]
    Certificates {
        path: PathBuf,
        #[source]
        source: CertificatesError,
    },
    #[error(
        "the code is `{expected}` here, and `{given}` was given: this may be another machine than the one you mean; do not approve it"
    )]
    Code { expected: String, given: String },
    #[error("nothing was decided; pass `--code XXXX-XXXX` with the code that the collaborator reads out, or `--yes`")]
    NotConfirmed,
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("the check found {0} problem(s)")]
    Check(usize),
    #[error("{0}")]
    Ek(ek::Refused),
    #[error("could not make `{}`", path.display())]
    Make {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Export(#[from] WriteError),
    #[error(transparent)]
    ReadExport(#[from] ExportError),
    #[error("`{}` cannot be compared with", path.display())]
    Kept {
        path: PathBuf,
        #[source]
        source: CheckpointError,
    },
    #[error(
        "the store has no checkpoint key that this root has certified; run `daypass-issuer key rotate checkpoint`, or name the right root"
    )]
    NoCheckpointKey,
    #[error(
        "`{0}` still has {1}; `daypass-issuer offboard {0}` ends it (a proposal: `policy withdraw`), and is to come before the person is erased"
    )]
    StillLive(Collaborator, String),
    #[error(
        "nothing in the ledger tells of `{0}`; write the name as their invitation has it, which `daypass-issuer invitation list` shows"
    )]
    NoTraces(Collaborator),
    #[error("{0} personal fields would be erased for good; pass `--yes`")]
    EraseUnconfirmed(u64),
    #[error("no event has that number, leaf hash or `jti`; `daypass-issuer ledger list` shows those that there are")]
    NoEvent,
    #[error("{}; `daypass-issuer notification list --dead` shows what is there", .0.as_ref().map_or_else(|| "there is nothing that is not tried any more".to_owned(), |id| format!("`{id}` is no message that is not tried any more")))]
    NoNotification(Option<String>),
    #[error("nobody is told of anything; name a webhook or a command in `[notification]` of the configuration")]
    NoSinks,
    #[error("{0} sink(s) did not take the message")]
    NotTaken(usize),
    #[error("the ledger is not what was signed ({0} finding(s))")]
    Touched(usize),
}

impl From<LoadError> for CommandError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Policy(error) => error.into(),
            LoadError::Examples(error) => error.into(),
            other => Self::Load(other),
        }
    }
}

impl CommandError {
    /// 1 for faults of ours or the machine's, 2 is the command line's own, 3 for what was refused, 4 for configuration, 5 for a ledger that was touched.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Runtime(_)
            | Self::Output(_)
            | Self::Run(_)
            | Self::Store(_)
            | Self::Decide(_)
            | Self::NotTaken(_)
            | Self::Make { .. }
            | Self::Export(_) => 1,
            Self::End(error) if error.is_fault() => 1,
            Self::Request(error) if error.is_fault() => 1,
            Self::Approval(error) | Self::Life(LifeError::Approval(error)) if error.is_fault() => 1,
            Self::Invite(InviteError::Decide(_)) => 1,
            Self::Replace(ReplaceError::Store(_) | ReplaceError::Invite(InviteError::Decide(_))) => 1,
            Self::Administrator(AdministratorError::Store(_) | AdministratorError::Decide(_)) => 1,
            Self::Load(LoadError::Store(_) | LoadError::Decide(_) | LoadError::Administrators(_)) => 1,
            Self::Load(LoadError::Policy(_) | LoadError::Examples(_)) => 4,
            Self::Load(_)
            | Self::Administrator(_)
            | Self::Invite(_)
            | Self::Replace(_)
            | Self::Exceeds(_)
            | Self::NotInvited
            | Self::Life(_)
            | Self::Approval(_)
            | Self::Request(_)
            | Self::Briefing(_)
            | Self::End(_)
            | Self::EndUnconfirmed
            | Self::Software(_)
            | Self::Registry(_)
            | Self::Until(_)
            | Self::Version(_)
            | Self::Ask(_)
            | Self::NoSuch(_)
            | Self::NoGrants
            | Self::Duration(_)
            | Self::File { .. }
            | Self::FileForm { .. }
            | Self::Certificates { .. }
            | Self::ReadExport(_)
            | Self::Kept { .. }
            | Self::NoCheckpointKey
            | Self::Code { .. }
            | Self::Ek(_)
            | Self::StillLive(..)
            | Self::NoTraces(_)
            | Self::EraseUnconfirmed(_)
            | Self::NoEvent
            | Self::NoNotification(_)
            | Self::NoSinks
            | Self::NotConfirmed => 3,
            Self::Backup(error) => error.exit_code(),
            Self::Init(_)
            | Self::Policy(_)
            | Self::Examples(_)
            | Self::NotLoaded { .. }
            | Self::Config(_)
            | Self::Start(_)
            | Self::Key(_)
            | Self::Sink(_)
            | Self::Check(_) => 4,
            Self::Touched(_) => 5,
        })
    }
}

/// Runs one command.
pub fn run(cli: Cli) -> Result<(), CommandError> {
    match &cli.command {
        Command::Completions { shell } => {
            // Into memory first: the generator panics where its reader goes away.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "daypass-issuer", &mut script);
            return std::io::stdout().write_all(&script).map_err(CommandError::Output);
        }
        Command::Man => {
            return clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout()).map_err(CommandError::Output);
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CommandError::Runtime)?;
    let environment = Environment::system();
    runtime.block_on(async {
        match cli.command {
            Command::Init(args) => init::run(&cli.config, &args, &environment).await,
            Command::Serve => serve(&cli.config, environment).await,
            Command::Backup(args) => backup::make(&cli.config, &args, &environment).await,
            Command::Restore(args) => backup::restore(&cli.config, &args, &environment).await,
            Command::Clock(command) => clock::run(&open(&cli.config, environment).await?, command).await,
            Command::Check { json } => check::run(&cli.config, environment, json).await,
            Command::Invite(args) => invite::run(&open(&cli.config, environment).await?, args).await,
            Command::Device(command) => device::run(&open(&cli.config, environment).await?, command).await,
            Command::Grant(command) => grant::run(&open(&cli.config, environment).await?, command).await,
            Command::Request(command) => request::run(&open(&cli.config, environment).await?, command).await,
            Command::Invitation(command) => invitation::run(&open(&cli.config, environment).await?, command).await,
            Command::Offboard(args) => offboard::person(&open(&cli.config, environment).await?, args).await,
            Command::Project(command) => offboard::project(&open(&cli.config, environment).await?, command).await,
            Command::Phase(command) => offboard::phase(&open(&cli.config, environment).await?, command).await,
            Command::Ek(ek::Command::Check(args)) => ek::check(&cli.config, &environment, &args),
            Command::Admin(command) => admin::run(&open(&cli.config, environment).await?, command).await,
            Command::Gate(command) => gate::run(&open(&cli.config, environment).await?, command).await,
            Command::Policy(command) => policy::run(&cli.config, environment, command).await,
            Command::Key(command) => key::run(&open(&cli.config, environment).await?, command).await,
            Command::Notification(command) => notification::run(&open(&cli.config, environment).await?, command).await,
            Command::Ledger(command) => ledger::run(&cli.config, environment, command).await,
            Command::Completions { .. } | Command::Man => Ok(()),
        }
    })
}

async fn open(config: &std::path::Path, environment: Environment) -> Result<Issuer, CommandError> {
    Ok(Issuer::open(Config::load(config)?, environment).await?)
}

async fn serve(config: &std::path::Path, environment: Environment) -> Result<(), CommandError> {
    daypass_service::log_to_stderr();
    let stop = daypass_service::stop_signal().map_err(CommandError::Runtime)?;
    let issuer = Arc::new(open(config, environment).await?);
    issuer.store_is_whole().await?;
    let sinks = Sinks::open(&issuer.config.notification)?;
    Ok(crate::serve::serve(issuer, sinks, stop).await?)
}

/// Who acts, for the ledger.
fn on_this_machine() -> Source {
    Actor::account(operator()).into()
}

/// The name of the account.
fn operator() -> String {
    let uid = nix::unistd::getuid();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name)
}

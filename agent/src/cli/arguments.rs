//! The command line. Its doc comments are what `--help` and the man pages say.

use std::path::PathBuf;

pub use super::admin::arguments::Admin;
use super::values::{file, issuer};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use daypass_proto::{
    arguments::{method, number, text},
    local_api::ProofProtection,
    names::{GrantId, ProjectName, RequestId, RoleName},
    resource::Resource,
};

const EXIT_CODES: &str = "Exit codes:
   0  done
   1  a fault of Daypass's own
   2  the command line was not understood, or asked for a confirmation that nobody can give
   3  the request was refused as malformed or unsafe
   4  no enrolment, or no such resource
   5  the invitation, or what the TPM proved, was not accepted
   6  the device waits for approval
   7  the device is suspended or revoked, or its certificate has expired
   8  nothing, or less than was asked for, is granted
   9  the clocks are too far apart
  10  the issuer or the gate cannot be reached
  11  the TPM cannot be used
  12  the agent cannot be reached
  13  configuration or state needs repair
  14  the issuer's ledger is not the one that this machine has seen before
  15  a token's event is not in the issuer's ledger
  16  the issuer was restored from a backup, and nobody here has accepted it";

/// Temporary access with keys that never leave this machine's TPM
///
/// The agent (`daypass agent`, usually a system service) keeps the keys; the other commands talk to it over its socket.
#[derive(Debug, Parser)]
#[command(name = "daypass", version, propagate_version = true, after_long_help = EXIT_CODES)]
pub struct Arguments {
    /// The agent's socket
    ///
    /// Without it: the `socket` of the configuration; then /run/daypass/agent.sock, which is root's and the service's; then that of an agent which
    /// you run yourself, $XDG_RUNTIME_DIR/daypass/agent.sock, or without that folder ~/.local/state/daypass/run/agent.sock. `daypass agent` opens it there.
    #[arg(long, global = true, env = "DAYPASS_SOCKET", value_name = "PATH", value_hint = ValueHint::FilePath, value_parser = file())]
    pub socket: Option<PathBuf>,
    /// The agent's configuration
    ///
    /// Without it: /etc/daypass/agent.toml.
    #[arg(long, global = true, env = "DAYPASS_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = file())]
    pub config: Option<PathBuf>,
    /// Answer with one JSON document on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What `daypass` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Enrol this machine with an invitation
    ///
    /// Running it again with the same invitation is safe: it takes up an enrolment that was interrupted, and leaves one that is complete as it is.
    /// Another invitation of an issuer that this machine is enrolled with is added to that enrolment, without new keys.
    Enroll(Enroll),
    /// Show the agent, its TPM, and your enrolments
    Status(StatusArguments),
    /// Ask for a later end of a grant
    ///
    /// An owner of the project decides; `daypass requests` shows what became of it. Nothing is extended by itself.
    Extend(Extend),
    /// Ask for another role in a project in which this machine has something already
    Request(RequestRole),
    /// Show what this machine asked for, and what became of it
    Requests(RequestsArguments),
    /// Read what you may do in a project, for how long, why no more, and how to ask for it
    ///
    /// Where the project asks for it, there is no token before it was accepted: `daypass briefing accept`.
    Briefing(BriefingArguments),
    /// Show your other devices, and report one as lost
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Show what was decided about this machine, its grants and its requests, and what comes to its end
    ///
    /// What is shown counts as read. The agent hears of it from the issuer by itself; this asks anew.
    Notices(NoticesArguments),
    /// Print an access token for a resource
    ///
    /// The token is bound to this machine's proof key: whoever sends it needs a proof from `daypass proof` for each request.
    Token(Token),
    /// Print the headers that prove one HTTP request
    ///
    /// For example: `daypass proof GET https://git.example.com/x | curl -H @- https://git.example.com/x`
    Proof(Proof),
    /// Set up other programs to use the agent
    #[command(subcommand)]
    Setup(SetupCommand),
    /// Check everything that access needs, and say how to repair what is broken
    Doctor,
    /// Look at the issuers' ledgers, which the agent follows by itself
    ///
    /// Every token names an event in its issuer's ledger. The agent checks that it is there, and that the ledger only grows.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Decide about devices, grants, invitations and people, as an owner of a project or an administrator of the issuer
    ///
    /// Each request goes to the issuer's admin API with a token and a proof by this machine's TPM; the ledger says who decided, and from which device.
    /// Whoever asks must have been invited as `owner` of a project, or made an administrator.
    Admin(Admin),
    /// Run the agent in the foreground
    Agent,
    /// Tell the agent which executables other users' processes run; needs `CAP_SYS_PTRACE` and nothing else
    ///
    /// Under systemd the socket unit opens the socket. What it sees goes to the issuer as evidence, and is no boundary.
    Inspector(Inspector),
    /// End an enrolment: tell the issuer and erase the keys
    Leave(Leave),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page, or write all of them into a folder
    Man {
        /// The folder
        #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath, value_parser = file())]
        out: Option<PathBuf>,
    },
}

/// `daypass inspector`.
#[derive(Args, Debug)]
pub struct Inspector {
    /// The user that the agent runs as: nobody else is answered
    #[arg(long, value_name = "USER", default_value = "daypass", value_parser = text)]
    pub asker: String,
    /// The socket, where no service manager opens it
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, value_parser = file())]
    pub listen: Option<PathBuf>,
}

/// `daypass enroll`.
#[derive(Args, Debug)]
pub struct Enroll {
    /// The invitation, `dpinv1_…`; without it, or with `-`, it is read from stdin, so that no other user sees it in the process list
    #[arg(value_name = "INVITATION")]
    pub invitation: Option<String>,
    /// Wait until the device is approved; without an invitation, wait for the enrolment that is pending already
    #[arg(long)]
    pub wait: bool,
    /// Whose enrolment to wait for, where several are pending
    #[arg(long, value_name = "URL", requires = "wait", conflicts_with = "invitation", value_parser = issuer)]
    pub issuer: Option<String>,
}

/// `daypass status`.
#[derive(Args, Debug)]
pub struct StatusArguments {
    /// Ask the issuers first, rather than show what the agent knows
    #[arg(long)]
    pub refresh: bool,
}

/// `daypass ledger …`.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Check now, and end with 14, 15 or 16 where something is wrong
    ///
    /// It has the issuer show its newest checkpoint, prove that it begins with the one that is kept, and prove each token's event.
    Check(OneLedger),
    /// Print the kept checkpoint, to be compared with what others were shown; `--json` has the evidence of findings as well
    ///
    /// It is a signed note: `daypass-issuer ledger verify --checkpoint` takes it.
    Show(OneLedger),
    /// Say that somebody has seen to what was found
    ///
    /// The evidence is kept. What the issuer shows now is followed from here.
    Accept {
        #[command(flatten)]
        of: OneLedger,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Which ledger.
#[derive(Args, Debug)]
pub struct OneLedger {
    /// Whose ledger, where there are several issuers
    #[arg(long, value_name = "URL", value_parser = issuer)]
    pub issuer: Option<String>,
}

/// `daypass briefing`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BriefingArguments {
    /// Which
    #[command(flatten)]
    pub of: OneBriefing,
    /// What to do with it; show it, where nothing else is said
    #[command(subcommand)]
    pub command: Option<BriefingCommand>,
}

/// `daypass briefing …`.
#[derive(Debug, Subcommand)]
pub enum BriefingCommand {
    /// Show it, ask, and accept it
    ///
    /// This machine's TPM signs which text was accepted, and the issuer keeps that; its hash is in the ledger.
    Accept {
        /// Which
        #[command(flatten)]
        of: OneBriefing,
        /// Do not ask: you have read it
        #[arg(long)]
        yes: bool,
    },
}

/// Whose briefing.
#[derive(Args, Debug)]
pub struct OneBriefing {
    /// The grant, or the project; all of this machine's where it is left out
    #[arg(value_name = "GRANT|PROJECT", value_parser = text)]
    pub name: Option<String>,
    /// The issuer, where several have something for this machine
    #[arg(long, value_name = "URL", value_parser = issuer)]
    pub issuer: Option<String>,
}

/// `daypass token`.
#[derive(Args, Debug)]
pub struct Token {
    /// The resource, such as `https://git.example.com/`
    #[arg(value_name = "RESOURCE")]
    pub resource: Resource,
    /// What the token is to allow, as a JSON list of authorization details; everything that is granted where it is left out
    #[arg(long, value_name = "JSON")]
    pub details: Option<String>,
    /// The life that the token must have left, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = |given: &str| number::<i64>(given, 0..=86_400))]
    pub min_ttl: Option<i64>,
    /// Who signs the proofs; what the project's role says where it is left out
    #[arg(long, value_enum)]
    pub protection: Option<Protection>,
}

/// Who signs the proofs of a token.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Protection {
    /// The key in the TPM, each time
    Hardware,
    /// A key in the agent's memory that the TPM vouched for, where the role allows it: for many requests
    Delegated,
}

impl From<Protection> for ProofProtection {
    fn from(protection: Protection) -> Self {
        match protection {
            Protection::Hardware => Self::Hardware,
            Protection::Delegated => Self::Delegated,
        }
    }
}

/// `daypass proof`.
#[derive(Args, Debug)]
pub struct Proof {
    /// The HTTP method
    #[arg(value_parser = method)]
    pub method: String,
    /// The URL
    #[arg(value_hint = ValueHint::Url, value_parser = text)]
    pub url: String,
    /// The nonce of the resource's `DPoP-Nonce` header
    #[arg(long, value_parser = text)]
    pub nonce: Option<String>,
    /// Who signs; what the project's role says where it is left out
    #[arg(long, value_enum)]
    pub protection: Option<Protection>,
}

/// `daypass setup …`.
#[derive(Debug, Subcommand)]
pub enum SetupCommand {
    /// Let git use the agent for your resources, and for nothing else
    ///
    /// Shows what it will write, asks, and writes: a file of its own in your configuration folder, and an include of that file at the
    /// end of your git configuration. Run it again after a new enrolment.
    Git(SetupGit),
}

/// `daypass setup git`.
#[derive(Args, Debug)]
pub struct SetupGit {
    /// Take the configuration away again
    #[arg(long)]
    pub undo: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Show what would be written, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `daypass extend`.
#[derive(Args, Debug)]
pub struct Extend {
    /// The grant, as `daypass status` shows it; needed where there are several
    #[arg(value_name = "GRANT")]
    pub grant: Option<GrantId>,
    /// The issuer, where several have something for this machine
    #[arg(long, value_name = "URL", value_parser = issuer)]
    pub issuer: Option<String>,
    /// The end
    #[command(flatten)]
    pub end: AskedEnd,
}

/// `daypass request`.
#[derive(Args, Debug)]
pub struct RequestRole {
    /// The project
    #[arg(long)]
    pub project: ProjectName,
    /// The role in it
    #[arg(long)]
    pub role: RoleName,
    /// The issuer, where several have such a project
    #[arg(long, value_name = "URL", value_parser = issuer)]
    pub issuer: Option<String>,
    /// The end
    #[command(flatten)]
    pub end: AskedEnd,
}

/// Until when something is asked for, and why.
#[derive(Args, Debug)]
pub struct AskedEnd {
    /// Until when: a date (the end of that day) or a time, in the project's time zone where it names none
    ///
    /// Without it and without `--for`: as long again as the grant was given for, and of another role as long as what is there.
    #[arg(long, value_name = "WHEN", conflicts_with = "length", value_parser = text)]
    pub until: Option<String>,
    /// For how long from now: `30d`, `8h`
    #[arg(long = "for", id = "length", value_name = "DURATION", value_parser = text)]
    pub length: Option<String>,
    /// Why: whoever decides reads it
    #[arg(long, value_name = "WORDS", value_parser = text)]
    pub reason: String,
}

/// `daypass requests`.
#[derive(Args, Debug)]
pub struct RequestsArguments {
    /// Take this one back
    #[arg(long, value_name = "REQUEST")]
    pub withdraw: Option<RequestId>,
}

/// `daypass device …`.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// Show every device that is enrolled for you, and what it is granted
    List,
    /// Report another device of yours as lost: it and all that it has end at once, for good
    ///
    /// It shows what will end, and asks. Only a new invitation brings the device back.
    Lost(LostDevice),
}

/// `daypass device lost`.
#[derive(Args, Debug)]
pub struct LostDevice {
    /// The device: its name, or what it calls itself where no other one of yours does
    #[arg(value_name = "DEVICE", value_parser = text)]
    pub device: String,
    /// What happened: it is kept in the issuer's ledger
    #[arg(long, value_name = "WORDS", value_parser = text)]
    pub reason: String,
    /// The issuer, where there are several
    #[arg(long, value_name = "URL", value_parser = issuer)]
    pub issuer: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// `daypass notices`.
#[derive(Args, Debug)]
pub struct NoticesArguments {
    /// Show what was read before as well
    #[arg(long)]
    pub all: bool,
}

/// `daypass leave`.
#[derive(Args, Debug)]
pub struct Leave {
    /// The issuer to leave; needed where there are several
    #[arg(long, value_name = "URL", value_parser = issuer)]
    pub issuer: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

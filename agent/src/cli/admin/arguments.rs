//! The command line of `daypass admin`.

use std::{num::NonZeroU32, path::PathBuf};

use clap::{
    Args, Subcommand, ValueHint,
    builder::{PossibleValuesParser, TypedValueParser},
};
use daypass_proto::{
    admin_api::{Narrower, Sort},
    arguments::{ValueError, number, text, word},
    enrolment::TrustTier,
    names::{
        Collaborator, DeviceId, GateName, GrantId, InvitationId, PhaseName, ProjectName, ProposalId, RequestId,
        RoleName,
    },
};

use crate::cli::values::{file, issuer, kind};

/// `daypass admin`.
#[derive(Args, Debug)]
pub struct Admin {
    /// Whose admin API, where there are several issuers
    #[arg(long, value_name = "URL", global = true, value_parser = issuer)]
    pub issuer: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub command: AdminCommand,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Look at devices, and decide about them
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Look at grants, approve them, hold them back, end them
    #[command(subcommand)]
    Grant(GrantCommand),
    /// Look at requests for longer, or for more, and answer them as an owner
    #[command(subcommand)]
    Request(RequestCommand),
    /// Invite somebody to a project of yours: prints a single-use code for their machine
    Invite(Invite),
    /// Look at invitations, and take them back
    #[command(subcommand)]
    Invitation(InvitationCommand),
    /// End everything that somebody has; for administrators
    Offboard {
        /// Whom
        collaborator: Collaborator,
        #[command(flatten)]
        how: How,
    },
    /// End a project
    #[command(subcommand)]
    Project(ProjectCommand),
    /// Look at the phases of projects, and end one
    #[command(subcommand)]
    Phase(PhaseCommand),
    /// Look at the policy's versions, bring another one, and confirm what others brought; for administrators
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Look at who administers the issuer; for administrators
    #[command(subcommand)]
    Administrator(AdministratorCommand),
    /// Look at gates, and take one out; for administrators
    #[command(subcommand)]
    Gate(GateCommand),
    /// Look at notifications that nobody has taken, try them again, or take them out; for administrators
    #[command(subcommand)]
    Notification(NotificationCommand),
    /// Look at the issuer's ledger
    #[command(subcommand)]
    Ledger(EventCommand),
}

/// `daypass admin device …`.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// List devices
    List {
        /// Only of this collaborator
        #[arg(long, value_name = "NAME")]
        collaborator: Option<Collaborator>,
        /// Only with grants in this project
        #[arg(long)]
        project: Option<ProjectName>,
        /// Only in this state: pending, approved, suspended or revoked; can be given again
        #[arg(long, value_name = "STATE", value_parser = text)]
        state: Vec<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show a device
    Show {
        /// Which
        device: DeviceId,
    },
    /// Approve a device whose code was compared. What it was invited to waits for its owners: `grant approve`
    Approve {
        /// Which
        device: DeviceId,
        /// The code that the collaborator reads out; a wrong one refuses
        #[arg(long, value_name = "XXXX-XXXX", value_parser = text)]
        code: String,
        /// Approve as an owner what it was invited to as well: shows it, and asks
        #[arg(long)]
        with_grants: bool,
        /// Do not ask
        #[arg(long, requires = "with_grants")]
        yes: bool,
        #[command(flatten)]
        why: Why,
    },
    /// Hold a device back: it gets nothing more, and what it has is refused
    Suspend {
        /// Which
        device: DeviceId,
        #[command(flatten)]
        why: Why,
    },
    /// Let a suspended device on again
    Resume {
        /// Which
        device: DeviceId,
        #[command(flatten)]
        why: Why,
    },
    /// End a device and its grants for good
    Revoke {
        /// Which
        device: DeviceId,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        yes: Yes,
    },
}

/// `daypass admin grant …`.
#[derive(Debug, Subcommand)]
pub enum GrantCommand {
    /// List grants
    List {
        #[command(flatten)]
        which: Which,
        /// Only of this device
        #[arg(long)]
        device: Option<DeviceId>,
    },
    /// Show a grant, what it gives, and whom it waits for
    Show {
        /// Which
        grant: GrantId,
    },
    /// Approve a grant, as an owner of its project
    Approve {
        /// Which
        grant: GrantId,
        #[command(flatten)]
        why: Why,
    },
    /// Hold a grant back
    Suspend {
        /// Which
        grant: GrantId,
        #[command(flatten)]
        why: Why,
    },
    /// Let a suspended grant on again
    Resume {
        /// Which
        grant: GrantId,
        #[command(flatten)]
        why: Why,
    },
    /// End a grant for good
    Revoke {
        /// Which
        grant: GrantId,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        yes: Yes,
    },
}

/// `daypass admin request …`.
#[derive(Debug, Subcommand)]
pub enum RequestCommand {
    /// List requests
    List {
        #[command(flatten)]
        which: Which,
        /// Only of this device
        #[arg(long)]
        device: Option<DeviceId>,
    },
    /// Show a request, and what was used, at gates and in tokens, beside what is granted
    Show {
        /// Which
        request: RequestId,
    },
    /// Approve a request as it is
    Approve {
        /// Which
        request: RequestId,
        #[command(flatten)]
        why: Why,
    },
    /// Approve less: an earlier end, or a role that gives less
    Narrow {
        /// Which
        request: RequestId,
        /// The end: before the one that was asked for
        #[arg(long, value_name = "WHEN", required_unless_present = "role", value_parser = text)]
        until: Option<String>,
        /// A role that gives less than the one that was asked for
        #[arg(long)]
        role: Option<RoleName>,
        #[command(flatten)]
        why: Why,
    },
    /// Refuse a request
    Refuse {
        /// Which
        request: RequestId,
        #[command(flatten)]
        why: Why,
    },
}

/// `daypass admin invitation …`.
#[derive(Debug, Subcommand)]
pub enum InvitationCommand {
    /// List invitations
    List {
        #[command(flatten)]
        which: Which,
    },
    /// Take an open invitation back, and its grant
    Withdraw {
        /// Which
        invitation: InvitationId,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        yes: Yes,
    },
}

/// `daypass admin project …`.
#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// End all grants and invitations of a project, and the devices that are left with nothing
    End {
        /// Which
        project: ProjectName,
        #[command(flatten)]
        how: How,
    },
}

/// `daypass admin phase …`.
#[derive(Debug, Subcommand)]
pub enum PhaseCommand {
    /// List phases, as the policy in force has them
    List {
        /// Only of this project
        #[arg(long)]
        project: Option<ProjectName>,
    },
    /// End all grants and invitations that are for a phase, and the devices that are left with nothing
    End {
        /// Of which project
        project: ProjectName,
        /// Which
        phase: PhaseName,
        #[command(flatten)]
        how: How,
    },
}

/// `daypass admin gate …`.
#[derive(Debug, Subcommand)]
pub enum GateCommand {
    /// List gates; they are registered on the issuer's machine
    List,
    /// Take a gate out: it learns nothing more, and serves nobody once what it knows is too old
    Remove {
        /// Which
        gate: GateName,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        yes: Yes,
    },
}

/// `daypass admin notification …`.
#[derive(Debug, Subcommand)]
pub enum NotificationCommand {
    /// List what sinks have not taken yet, the oldest first
    List {
        /// Only what is not tried any more
        #[arg(long)]
        dead: bool,
        #[command(flatten)]
        limit: Limit,
    },
    /// Try again what is not tried any more
    Retry {
        #[command(flatten)]
        which: WhichMessages,
    },
    /// Take out what is not tried any more: nobody is told of it
    Drop {
        #[command(flatten)]
        which: WhichMessages,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        yes: Yes,
    },
}

/// Which messages.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct WhichMessages {
    /// This one
    #[arg(value_name = "MESSAGE", value_parser = text)]
    pub message: Option<String>,
    /// All of them
    #[arg(long)]
    pub all: bool,
}

/// `daypass admin policy …`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// List the versions that were in force, who brought and who confirmed each, and what waits
    List,
    /// Put the policy in a folder in force; where it touches owners, sensitivity or what is trusted of devices, it waits for another administrator, and that ends with 0 as well
    Load {
        /// The folder, with `projects/`, `guardrails/` and `tests/`
        #[arg(value_hint = ValueHint::DirPath, value_parser = file())]
        folder: PathBuf,
    },
    /// List the policies that wait for another administrator, or waited, and what they change
    Proposals,
    /// Put a policy in force that somebody else brought
    Confirm {
        /// Which
        proposal: ProposalId,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        yes: Yes,
    },
    /// Take back a policy that waits
    Withdraw {
        /// Which
        proposal: ProposalId,
        #[command(flatten)]
        why: Why,
    },
}

/// `daypass admin administrator …`.
#[derive(Debug, Subcommand)]
pub enum AdministratorCommand {
    /// List the administrators
    List,
}

/// `daypass admin ledger …`.
#[derive(Debug, Subcommand)]
pub enum EventCommand {
    /// List events, the oldest first; an owner sees those about a project of theirs
    List {
        /// Only about this collaborator
        #[arg(long, value_name = "NAME")]
        collaborator: Option<Collaborator>,
        /// Only about this project
        #[arg(long)]
        project: Option<ProjectName>,
        /// Only about this device
        #[arg(long)]
        device: Option<DeviceId>,
        /// Only of this kind; docs/ledger.md has them all
        #[arg(long, value_parser = kind)]
        kind: Option<String>,
        /// Not before: a time (`2026-11-24T18:00:00Z`), a date (its begin, where the named project is or else the issuer), or how long ago (`2h`, `3d`)
        #[arg(long, value_name = "WHEN", value_parser = text)]
        since: Option<String>,
        /// Not after: a time, a date (its end there), or how long ago
        #[arg(long, value_name = "WHEN", value_parser = text)]
        until: Option<String>,
        /// Only events behind this one: the last of an earlier list
        #[arg(long, value_name = "EVENT", value_parser = |given: &str| number::<u64>(given, 0..=u64::MAX))]
        after: Option<u64>,
        #[command(flatten)]
        limit: Limit,
    },
}

/// `daypass admin invite`.
#[derive(Args, Debug)]
pub struct Invite {
    /// For whom; with `--replaces` it is whose device that is
    #[arg(required_unless_present = "replaces")]
    pub collaborator: Option<Collaborator>,
    /// The project
    #[arg(long, required_unless_present = "replaces")]
    pub project: Option<ProjectName>,
    /// The role in it
    #[arg(long, required_unless_present = "replaces")]
    pub role: Option<RoleName>,
    /// Invite whoever has this device to the same grants on another one: for the same time, with what is left of tokens, approved anew. Every grant that
    /// lives there must be in a project of yours. Each ends when its successor comes into force, and the device with the last of them
    #[arg(
        long,
        value_name = "DEVICE",
        conflicts_with_all = ["project", "role", "not_before", "phase", "uses", "networks", "trust_tiers", "secure_boot"]
    )]
    pub replaces: Option<DeviceId>,
    /// The hard end: a date (the end of that day where the project is), a time, or a duration such as `90d`; left out, that of the phase, or of what
    /// is replaced
    #[arg(long, value_name = "WHEN", required_unless_present_any = ["phase", "replaces"], value_parser = text)]
    pub until: Option<String>,
    #[command(flatten)]
    pub terms: Terms,
    /// How long the code can be used; the issuer's setting where it is left out
    #[arg(long, value_name = "DURATION", value_parser = text)]
    pub code_expires: Option<String>,
    /// Show what the invitation would allow, and what in it goes beyond the policy, and make none
    #[arg(long)]
    pub dry_run: bool,
    /// Do not show it first and ask; nobody is asked where no terminal is
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub why: Why,
}

/// What narrows the grant.
#[derive(Args, Debug)]
pub struct Terms {
    /// It gives nothing before: a date (the begin of that day where the project is), a time, or how long it takes until then
    #[arg(long, value_name = "WHEN", value_parser = text)]
    not_before: Option<String>,
    /// It is for this phase of the project, and ends with it at the latest
    #[arg(long)]
    phase: Option<PhaseName>,
    /// It gives so many tokens at most; the role's number where it has one
    #[arg(long, value_name = "NUMBER", value_parser = uses)]
    uses: Option<NonZeroU32>,
    /// It is used from this network only (`192.0.2.0/24`, or one address); can be given again
    #[arg(long = "from-network", value_name = "NETWORK", value_parser = text)]
    networks: Vec<String>,
    /// It is used by devices of this trust tier only; can be given again
    #[arg(long = "trust-tier", value_name = "TIER", value_parser = word::<TrustTier>)]
    trust_tiers: Vec<TrustTier>,
    /// It is used by devices only that boot with Secure Boot
    #[arg(long)]
    secure_boot: bool,
}

fn uses(given: &str) -> Result<NonZeroU32, ValueError> {
    let range = 1..=u64::from(u32::MAX);
    NonZeroU32::new(number(given, range.clone())?).ok_or(ValueError::Number(range))
}

impl From<&Terms> for Narrower {
    fn from(terms: &Terms) -> Self {
        let Terms { not_before, phase, uses, networks, trust_tiers, secure_boot } = terms;
        Self {
            not_before: not_before.clone(),
            phase: phase.clone(),
            uses: *uses,
            networks: networks.clone(),
            trust_tiers: trust_tiers.clone(),
            secure_boot: *secure_boot,
        }
    }
}

/// Which grants or invitations.
#[derive(Args, Debug)]
pub struct Which {
    /// Only of this collaborator
    #[arg(long, value_name = "NAME")]
    pub collaborator: Option<Collaborator>,
    /// Only in this project
    #[arg(long)]
    pub project: Option<ProjectName>,
    /// Only in this role
    #[arg(long)]
    pub role: Option<RoleName>,
    /// Only in this state; can be given again
    #[arg(long, value_name = "STATE", value_parser = text)]
    pub state: Vec<String>,
    /// In this order; `until` is the end, of an invitation that of its code
    #[arg(long, default_value_t = Sort::Id, value_parser = sort())]
    pub sort: Sort,
    #[command(flatten)]
    pub limit: Limit,
}

fn sort() -> impl TypedValueParser<Value = Sort> {
    PossibleValuesParser::new(Sort::ALL.map(Sort::as_str)).try_map(|word| word.parse::<Sort>())
}

/// How many.
#[derive(Args, Debug)]
pub struct Limit {
    /// No more than so many; standard error says where there are more
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = |given: &str| number::<u32>(given, 1..=1000))]
    pub limit: u32,
}

/// Why.
#[derive(Args, Debug)]
pub struct Why {
    /// Why, for the ledger
    #[arg(long, value_parser = text)]
    pub reason: Option<String>,
}

/// Whether to ask.
#[derive(Args, Debug)]
pub struct Yes {
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// How much is ended.
#[derive(Args, Debug)]
pub struct How {
    /// Why, for the ledger
    #[arg(long, value_parser = text)]
    pub reason: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

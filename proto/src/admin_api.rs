//! The issuer's admin API: what owners and administrators ask from their enrolled devices, and what they are answered.
//!
//! Each request comes over mTLS from an approved device, with a token for the API's own resource (the origin of that listener) and a DPoP proof for
//! this request. docs/admin-api.json describes every path; it is made from these types and from the issuer's table of routes. Refusals are those of
//! every other endpoint ([`crate::oauth_error::ErrorBody`]).

use std::{fmt, num::NonZeroU32, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access_request::AccessRequest,
    authorization::AuthorizationDetails,
    enrolment::{DeviceLife, TrustTier},
    names::{
        Collaborator, DeviceId, GateName, GrantId, InvitationId, PhaseName, ProjectName, ProposalId, RequestId,
        RoleName,
    },
    time::Timestamp,
};

/// What every path of it begins with, on the issuer's mTLS listener.
pub const PREFIX: &str = "/admin/v1/";
/// The longest policy that is taken, in bytes of the request.
pub const MAX_POLICY: usize = 1024 * 1024;
/// How many a list has where nothing else is asked for, and at most.
pub const LIST: u32 = 1000;

/// A decision with its reason, where somebody gives one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Decide {
    /// Why, for the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A device's approval.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveDevice {
    /// The code that the collaborator reads out; a wrong one refuses.
    pub code: String,
    /// Whether what the device was invited to is approved with it, as far as it is the caller's to approve. Otherwise each grant waits for its owners.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_grants: bool,
    /// Why, for the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The end of much.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Why, for the ledger.
    pub reason: String,
    /// Whether to end it; otherwise it is only said what would end.
    #[serde(default)]
    pub confirmed: bool,
}

/// The order of a list; the name decides among equals.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// By name.
    #[default]
    Id,
    /// By collaborator.
    Collaborator,
    /// By project.
    Project,
    /// By role.
    Role,
    /// By state.
    State,
    /// By end, the soonest first.
    Until,
}

impl Sort {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Id, Self::Collaborator, Self::Project, Self::Role, Self::State, Self::Until];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Collaborator => "collaborator",
            Self::Project => "project",
            Self::Role => "role",
            Self::State => "state",
            Self::Until => "until",
        }
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Sort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|sort| sort.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no order; there are {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// What narrows the grant of an invitation, as people write it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Narrower {
    /// It gives nothing before: a date (the begin of that day), a time, or how long it takes until then, in the project's zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// It is for this phase of the project, and ends with it at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhaseName>,
    /// It gives so many tokens at most; the role's number where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses: Option<NonZeroU32>,
    /// It is used from one of these networks only, such as `192.0.2.0/24`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// It is used by devices of one of these trust tiers only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust_tiers: Vec<TrustTier>,
    /// It is used by devices only that boot with Secure Boot.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub secure_boot: bool,
}

/// What a grant is bound to, beside its role and its hard end.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct Terms {
    /// It gives nothing before.
    pub not_before: Option<Timestamp>,
    /// The phase that it is for.
    pub phase: Option<PhaseName>,
    /// How many tokens it gives at most; null where that is not limited.
    pub uses: Option<u32>,
    /// For how many seconds after its hard end the role's narrower rights are left.
    pub grace: i64,
    /// It is used from one of these networks; from anywhere where there is none.
    pub networks: Vec<String>,
    /// It is used by devices of one of these trust tiers; of any where there is none.
    pub trust_tiers: Vec<TrustTier>,
    /// It is used by devices only that boot with Secure Boot.
    pub secure_boot: bool,
}

/// The end of everything of somebody.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Offboard {
    /// Whom. It stands here since a name may have characters that no path takes.
    pub collaborator: Collaborator,
    /// Why, for the ledger.
    pub reason: String,
    /// Whether to end it; otherwise it is only said what would end.
    #[serde(default)]
    pub confirmed: bool,
}

/// Messages that are not tried any more: one, or all of them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadNotifications {
    /// This one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// All of them.
    pub all: bool,
    /// Why, for the ledger; of those that are taken out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An invitation.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// For whom.
    pub collaborator: Collaborator,
    /// To which project.
    pub project: ProjectName,
    /// In which role.
    pub role: RoleName,
    /// The grant's hard end: a date, a time or a duration, in the project's zone; that of the phase where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What else it is bound to.
    #[serde(default)]
    pub terms: Narrower,
    /// How long the code can be used, such as `2d`; the issuer's setting where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_expires: Option<String>,
    /// Why, for the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only say what it would allow.
    #[serde(default)]
    pub dry_run: bool,
}

/// A replacement: whoever has the device is invited to the same grants on another one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplaceDevice {
    /// Whose device that is; refused where it is somebody else's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collaborator: Option<Collaborator>,
    /// The hard end: before those of what is replaced; a date, a time or a duration, in the project's zone. Theirs where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How long the code can be used, such as `2d`; the issuer's setting where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_expires: Option<String>,
    /// Why, for the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only say what it would carry over, and what in that goes beyond the policy.
    pub dry_run: bool,
}

/// A list.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct List<T> {
    /// What was found, in the order that was asked for.
    pub items: Vec<T>,
    /// Whether there is more than was asked for.
    pub more: bool,
}

/// A device.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Device {
    /// Its name.
    pub device: DeviceId,
    /// Where it is in its life.
    pub state: DeviceLife,
    /// Why, where somebody said.
    pub reason: Option<String>,
    /// For whom.
    pub collaborator: Collaborator,
    /// How well its TPM is known.
    pub trust_tier: TrustTier,
    /// What both sides show.
    pub comparison_code: Option<String>,
    /// What it calls itself.
    pub hostname: String,
    /// Its system, as it says.
    pub os: String,
    /// Secure Boot, as its event log says; null where that says nothing.
    pub secure_boot: Option<bool>,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// What it is granted, in projects that are theirs to see.
    pub grants: Vec<Grant>,
    /// How many grants it has in others.
    #[serde(default)]
    pub grants_elsewhere: usize,
}

/// A grant.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Grant {
    /// Its name.
    pub grant: GrantId,
    /// `requested`, `active`, `grace`, `used_up`, `suspended`, `revoked` or `ended`, whether somebody has marked it yet or not.
    pub state: String,
    /// Whose.
    pub collaborator: Collaborator,
    /// In which project.
    pub project: ProjectName,
    /// In which role.
    pub role: RoleName,
    /// The hard end.
    pub until: Timestamp,
    /// The device that uses it.
    pub device: Option<DeviceId>,
}

/// A grant with what its role gives today.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct GrantShown {
    /// The grant.
    #[serde(flatten)]
    pub grant: Grant,
    /// What it is bound to beside its role and its end.
    pub terms: Terms,
    /// How many tokens it gave.
    pub used: u32,
    /// What it gives; nothing where today's policy has no such role for them.
    #[schemars(with = "Vec<serde_json::Value>")]
    pub authorization_details: AuthorizationDetails,
    /// Whose place it takes when it comes into force, which ends that one.
    #[serde(default)]
    pub replaces: Option<GrantId>,
    /// Where it waits: who has approved it.
    #[serde(default)]
    pub approved_by: Vec<Collaborator>,
    /// Where it waits: whose approval is missing.
    pub waits_for: Vec<String>,
    /// Where it waits: how many approvals are missing.
    pub approvals_missing: u32,
    /// What was accepted of its briefings, the oldest first.
    #[serde(default)]
    pub acceptances: Vec<Acceptance>,
}

/// That somebody accepted a briefing, as their device signed it.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Acceptance {
    /// The hash of what was accepted, base64url; the ledger has it as `briefing`.
    pub briefing: String,
    /// SHA-256 over the signed acceptance, base64url, by which the ledger names it.
    pub acceptance: String,
    /// By which device.
    pub device: DeviceId,
    /// When.
    pub at: Timestamp,
    /// Whether that is the briefing as it is now; where it is not, and the project asks for one, it is to be accepted anew.
    pub current: bool,
}

/// Less than a request asks for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NarrowRequest {
    /// The end: before the one that was asked for; a date, a time or a duration, in the project's zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// A role that gives less than the one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// Why: said to whoever asked, and kept on the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A request, with what was used, at gates and in tokens, beside what is granted.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct RequestShown {
    /// The request.
    #[serde(flatten)]
    pub request: AccessRequest,
    /// Where it waits: how many approvals are missing.
    pub approvals_missing: u32,
    /// The grant that is to be extended, or all of that device in the project.
    pub grants: Vec<GrantUse>,
}

/// What of a grant is used.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct GrantUse {
    /// The grant.
    #[serde(flatten)]
    pub grant: Grant,
    /// Everything that it gives today, or gave a token for.
    pub scopes: Vec<ScopeUse>,
}

/// How much one thing that is granted, or was, is used.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct ScopeUse {
    /// The repository or API.
    pub location: String,
    /// What may be done there.
    pub action: String,
    /// Whether the role gives it today.
    pub granted: bool,
    /// How many tokens were issued for it.
    pub tokens: u64,
    /// When the last one was.
    pub last: Option<Timestamp>,
    /// What gates let through of it; none where no gate of this resource reports.
    #[serde(default)]
    pub gates: Option<AtGates>,
}

/// What gates let through, by their own reports.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize)]
pub struct AtGates {
    /// How many requests.
    pub requests: u64,
    /// When the last one was.
    pub last: Option<Timestamp>,
    /// When the first report about this resource came: what was before is not counted.
    pub since: Timestamp,
}

/// A request, after somebody decided about it.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct RequestDecided {
    /// The request.
    #[serde(flatten)]
    pub request: AccessRequest,
    /// How many approvals are missing.
    pub approvals_missing: u32,
    /// The grant that came of it, as it is now.
    pub granted: Option<Grant>,
}

/// An invitation.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Invitation {
    /// Its name.
    pub invitation: InvitationId,
    /// `open`, `used` or `withdrawn`.
    pub state: String,
    /// For whom.
    pub collaborator: Collaborator,
    /// To which project.
    pub project: ProjectName,
    /// In which role.
    pub role: RoleName,
    /// The grant that it carries.
    pub grant: GrantId,
    /// The end of its code.
    pub expires_at: Timestamp,
    /// Whether that is over.
    pub expired: bool,
    /// The device that used it.
    pub device: Option<DeviceId>,
}

/// What an invitation allows.
#[derive(Deserialize, JsonSchema, Serialize)]
pub struct Invited {
    /// The invitation; null where it was only asked what it would allow.
    pub invitation: Option<Invitation>,
    /// The code; null likewise. It works.
    pub code: Option<String>,
    /// The grant's hard end.
    pub until: Timestamp,
    /// What it is bound to beside its role and its end.
    pub terms: Terms,
    /// What the role gives.
    #[schemars(with = "Vec<serde_json::Value>")]
    pub authorization_details: AuthorizationDetails,
    /// Who can approve it.
    pub approved_by: Vec<String>,
    /// How many of them must.
    pub approvers: u32,
    /// What in it goes beyond the policy in force: such an invitation is not made.
    #[serde(default)]
    pub excess: Vec<String>,
}

/// What becomes of a device's grants.
#[derive(Deserialize, JsonSchema, Serialize)]
pub struct Replacement {
    /// The invitation; null where it was only asked what it would carry over.
    pub invitation: Option<Invitation>,
    /// The code; null likewise. It works.
    pub code: Option<String>,
    /// The device that gives way.
    pub device: DeviceId,
    /// Whose it is: who is invited.
    pub collaborator: Collaborator,
    /// Whether it ends with the last grant that has a successor.
    pub device_ends: bool,
    /// The successors.
    pub grants: Vec<Successor>,
    /// What gets none, of projects that are theirs to see.
    pub left: Vec<LeftGrant>,
}

/// A grant that takes another one's place.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Successor {
    /// The grant whose place it takes.
    pub replaces: GrantId,
    /// In which project.
    pub project: ProjectName,
    /// In which role.
    pub role: RoleName,
    /// The hard end.
    pub until: Timestamp,
    /// What it is bound to beside its role and its end.
    pub terms: Terms,
    /// How many tokens were given already, which count on.
    pub used: u32,
    /// What the role gives.
    #[schemars(with = "Vec<serde_json::Value>")]
    pub authorization_details: AuthorizationDetails,
    /// Who can approve it.
    pub approved_by: Vec<String>,
    /// How many of them must; null where the policy in force has no such role.
    pub approvers: Option<u32>,
    /// What in it goes beyond the policy in force: with anything here nobody is invited.
    pub excess: Vec<String>,
}

/// A grant that gets no successor.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct LeftGrant {
    /// The grant.
    #[serde(flatten)]
    pub grant: Grant,
    /// Why not: what follows "it".
    pub why: String,
}

/// What ended, or would end.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Ended {
    /// Whether it ended.
    pub ended: bool,
    /// Open invitations.
    pub invitations: Vec<InvitationId>,
    /// Requests that wait.
    #[serde(default)]
    pub requests: Vec<RequestId>,
    /// Grants that live.
    pub grants: Vec<GrantId>,
    /// Devices.
    pub devices: Vec<DeviceId>,
    /// Devices that stay, since they have other grants.
    pub staying: Vec<DeviceId>,
}

/// A phase of a project, as the policy in force has it.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Phase {
    /// Of which project.
    pub project: ProjectName,
    /// Its name.
    pub phase: PhaseName,
    /// Nothing that is granted for it counts before.
    pub begins: Option<Timestamp>,
    /// Nothing that is granted for it counts from here on.
    pub ends: Timestamp,
    /// `ahead`, `running` or `over`.
    pub state: String,
}

/// A gate.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Gate {
    /// Its name.
    pub gate: GateName,
    /// `added`, `enrolled` or `removed`.
    pub state: String,
    /// What it guards.
    pub resources: Vec<String>,
}

/// A message that a sink has not taken yet.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Notification {
    /// Its name, the same for every sink.
    pub message: String,
    /// For which sink.
    pub sink: String,
    /// The `type` of what is sent.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it is not tried any more.
    pub dead: bool,
    /// When what it tells of happened.
    pub happened_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    pub next_attempt_at: Timestamp,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// What is sent.
    pub payload: serde_json::Value,
}

/// How many messages something was done with.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Notifications {
    /// So many.
    pub notifications: u64,
}

/// Somebody who administers the issuer.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Administrator {
    /// Whom.
    pub collaborator: Collaborator,
    /// Whether they can decide now: a device of theirs is approved, and its grant active.
    pub acting: bool,
    /// The grants that they do it by.
    pub grants: Vec<Grant>,
    /// How they were made one, each time: on the issuer's machine, and nobody was asked.
    #[serde(default)]
    pub bootstraps: Vec<Bootstrap>,
}

/// How somebody was made an administrator, as the ledger has it.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Bootstrap {
    /// By which invitation.
    pub invitation: InvitationId,
    /// When.
    pub at: Timestamp,
    /// By which account of the issuer's machine; null where it was erased.
    pub by: Option<String>,
    /// Why, where somebody said.
    pub reason: Option<String>,
    /// How many administrators there were, of whom none was asked.
    pub administrators: u64,
}

/// A version of the policy.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct PolicyVersion {
    /// Counts up from 1.
    pub number: i64,
    /// Its hash.
    pub version: String,
    /// When it came into force.
    pub at: Timestamp,
    /// How many files it has.
    pub files: usize,
    /// Whether it is in force.
    pub in_force: bool,
    /// Who put it there: an administrator, or an account of the issuer's machine; null where it was erased, or a moment ago.
    #[serde(default)]
    pub by: Option<String>,
    /// From which device, where it was an administrator's.
    #[serde(default)]
    pub by_device: Option<DeviceId>,
    /// What was confirmed by that, where somebody else had brought it.
    #[serde(default)]
    pub proposal: Option<ProposalId>,
}

/// The policies that were in force, and those that may come.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Policies {
    /// The oldest first.
    pub items: Vec<PolicyVersion>,
    /// What waits for another administrator.
    pub waiting: Vec<Proposal>,
}

/// A policy that is to come into force.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LoadPolicy {
    /// The text of every file by its name in the policy folder, such as `projects/apollo.toml`.
    pub files: std::collections::BTreeMap<String, String>,
}

/// What came of a policy.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct LoadedPolicy {
    /// Its hash.
    pub version: String,
    /// Whether it came into force; it did not where it was already, or waits.
    pub changed: bool,
    /// Where it waits for another administrator.
    pub waiting: Option<Proposal>,
}

/// A policy that waits for another administrator, or waited.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Proposal {
    /// Its name.
    pub proposal: ProposalId,
    /// `waiting`, `confirmed` or `withdrawn`.
    pub state: String,
    /// The policy's hash.
    pub version: String,
    /// When it was brought.
    pub at: Timestamp,
    /// Who brought it; null where it came from the issuer's machine.
    pub by: Option<Collaborator>,
    /// What in it guards others: owners, sensitivity, what is trusted of devices.
    pub guarded: Vec<String>,
    /// Everything that it changes, in words, against the version that it was compared with.
    pub changes: Vec<String>,
}

/// An event of the ledger.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Event {
    /// Its number.
    pub event: Option<u64>,
    /// Its leaf's hash.
    pub leaf_hash: String,
    /// What happened; docs/ledger.md has every kind.
    pub kind: String,
    /// When.
    pub at: Option<Timestamp>,
    /// What tells of nobody.
    pub fields: serde_json::Map<String, serde_json::Value>,
    /// What tells of people; null where it was erased.
    pub personal: serde_json::Map<String, serde_json::Value>,
}

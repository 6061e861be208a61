//! The changes that a decision can make. Each carries its condition: where that no longer holds, the whole decision is refused.

use std::{fmt, sync::Arc};

use daypass_proto::{
    enrolment::DeviceLife,
    ledger::checkpoint::Origin,
    names::{Collaborator, DeviceId, GrantId, InvitationId, ProjectName, ProposalId, RequestId, RoleName},
    time::Timestamp,
};

use super::{
    Acceptance, Approvals, KnownDevice, Request, Scope, Seen,
    records::{
        CertificateRecord, Challenge, Device, Gate, GateLife, Grant, GrantLife, Holder, Invitation, InvitationLife,
        IssuedToken, KeyRecord, PolicyVersion, Proposal,
    },
};

/// One change to one record.
#[derive(Debug)]
pub enum Change {
    /// A new invitation.
    AddInvitation(Invitation),
    /// The invitation as it now is, if it is still in state `from`.
    Invitation {
        /// As it is to be.
        to: Invitation,
        /// As it must be.
        from: InvitationLife,
    },
    /// A new grant; one that takes another's place, if no other does.
    AddGrant(Grant),
    /// The grant as it now is, if it is still in state `from` and has the same end, and no other device: one that has a device keeps it. Only
    /// revoking does not ask for the end.
    Grant {
        /// As it is to be.
        to: Grant,
        /// As it must be.
        from: GrantLife,
    },
    /// What waits for approval as it now is, with one approval more, or new and without any.
    Approvals(Approvals),
    /// Nothing, if this has as many approvals; `None` where nothing was ever written down of it.
    RequireApprovals(String, Option<i64>),
    /// The grant with its briefing accepted, and the acceptance, if that is new. Only beside [`Change::RequireSeen`] of that grant.
    AcceptBriefing {
        /// As it is to be.
        to: Box<Grant>,
        /// The evidence.
        acceptance: Box<Acceptance>,
    },
    /// A new request, if no other waits about the same.
    AddRequest(Box<Request>),
    /// The request as it now is, if it still waits, and what would be given is still what was seen.
    Request {
        /// As it is to be.
        to: Box<Request>,
        /// As it must be.
        from: Box<Request>,
    },
    /// The grant with another end, if its state, its end and its uses are still those that were seen.
    Extend {
        /// As it is to be.
        to: Box<Grant>,
        /// As it must be.
        from: Box<Grant>,
    },
    /// A new device.
    AddDevice(Device),
    /// The device as it now is, if it is still in state `from`.
    Device {
        /// As it is to be.
        to: Box<Device>,
        /// As it must be.
        from: DeviceLife,
    },
    /// The device in another state, if it is still in state `from`; everything else of it stays as it is by then, with a newer posture, too.
    DeviceLife {
        /// Which.
        id: DeviceId,
        /// As it is to be.
        to: DeviceLife,
        /// Why.
        reason: Option<String>,
        /// As it must be.
        from: DeviceLife,
    },
    /// Nothing, if the device is in this state.
    RequireDevice(DeviceId, DeviceLife),
    /// Nothing, if the grant is in this state.
    RequireGrant(GrantId, GrantLife),
    /// Nothing, if certificate, device and grant stand in the store exactly as they were read.
    RequireSeen {
        /// The device, with the certificate that it presented.
        device: Arc<KnownDevice>,
        /// One of its grants.
        grant: Seen<Grant>,
    },
    /// Nothing, if there is nothing left of theirs that can give anybody anything: what comes before it here has ended all of it.
    RequireNothingLeft(Scope),
    /// Nothing, if somebody has a grant in this project that is active and not over: what comes before it here has not ended the last.
    RequireSomebody(ProjectName, Timestamp),
    /// Nothing, if no grant of this device lives.
    RequireNoGrant(DeviceId),
    /// Nothing, if no grant of this device lives in this role.
    RequireRoleFree(DeviceId, ProjectName, RoleName),
    /// A certificate that was issued.
    AddCertificate {
        /// SHA-256 of its DER.
        hash: [u8; 32],
        /// What is known of it.
        record: CertificateRecord,
    },
    /// Forgets every certificate of this holder.
    DropCertificates(Holder),
    /// A new challenge.
    AddChallenge(Challenge),
    /// Takes a challenge out, if it is still there.
    TakeChallenge(String),
    /// A token that is being issued, if its device has fewer than `most` that are live at `now`, or were revoked and gates are still told of.
    AddToken {
        /// The token.
        token: IssuedToken,
        /// When it is issued.
        now: Timestamp,
        /// How many a device may have.
        most: u32,
    },
    /// Marks a token as revoked, if it is there and was not.
    RevokeToken(String),
    /// Remembers a proof, if it was not seen before.
    RememberProof {
        /// Hash over key and `jti`.
        id: [u8; 32],
        /// Until when.
        until: Timestamp,
    },
    /// A new gate.
    AddGate(Gate),
    /// The gate as it now is, if it is still in state `from`.
    Gate {
        /// As it is to be.
        to: Gate,
        /// As it must be.
        from: GateLife,
    },
    /// The next version of the policy, if the one before it is in force still.
    SetPolicy(PolicyVersion),
    /// A policy that waits from now on.
    AddProposal(Proposal),
    /// The proposal as it now is, if it waits.
    Proposal(Proposal),
    /// A new key.
    AddKey(KeyRecord),
    /// Removes value and salt of everything that tells of this person, if nothing of theirs is live and it is so many fields.
    ErasePerson {
        /// Whom.
        name: Collaborator,
        /// How many fields were counted.
        fields: u64,
        /// By what time grants and codes are live.
        now: Timestamp,
    },
    /// Begins the ledger, if there is none.
    BeginLedger(Origin),
    /// Gives the ledger another name, as one that was restored must have: none of its checkpoints is promised under it yet, and whoever held
    /// the lease holds it no longer.
    RenameLedger {
        /// As it is to be called.
        to: Origin,
        /// As it must be called.
        from: Origin,
    },
    /// The end of a key, if it has none yet.
    RetireKey {
        /// Which.
        kid: String,
        /// From when it is no longer published.
        at: Timestamp,
    },
    /// Wraps every key anew, if all are under `from` and these are all.
    RewrapKeys {
        /// The name of the master key that they are under.
        from: String,
        /// The name of the one that they are to be under.
        to: String,
        /// All of them, as they are to be.
        keys: Vec<KeyRecord>,
    },
    /// Takes these messages, each of a sink, out of those that are not tried any more, if all of them are still there.
    DropNotifications(Vec<(String, String)>),
    /// Lets decisions be made by a clock that is behind: somebody says that it is right now, and was wrong before.
    AcceptClock {
        /// The time up to which there are decisions.
        from: Timestamp,
        /// The time that is right.
        to: Timestamp,
    },
}

/// What did not hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Condition {
    /// An invitation's state.
    Invitation(InvitationId),
    /// A grant's state.
    Grant(GrantId),
    /// A request that waits, and what it would be given.
    Request(RequestId),
    /// No other request waits about the same.
    OneRequest,
    /// What approvals something has.
    Approvals(String),
    /// A device's state.
    Device(DeviceId),
    /// A challenge is there.
    Challenge,
    /// A proof is new.
    ProofIsNew,
    /// An acceptance is new.
    AcceptanceIsNew,
    /// A device has room for a token.
    RoomForToken(DeviceId),
    /// A token is there and not revoked.
    TokenIsGood,
    /// A gate's state, or that its name is free.
    Gate(String),
    /// A key without an end.
    Key(String),
    /// All keys are under this master key.
    MasterKey(String),
    /// The time up to which there are decisions.
    Clock,
    /// A name is free.
    Name(String),
    /// What there is of a person.
    Person,
    /// Nothing is left of theirs.
    NothingLeft(Scope),
    /// Somebody has an active grant in a project.
    Somebody(ProjectName),
    /// No grant of a device lives.
    NoGrant(DeviceId),
    /// No grant of a device lives in a role.
    RoleFree(DeviceId, RoleName),
    /// The ledger has not begun, or has this name.
    Ledger,
    /// The policy that is in force.
    Policy,
    /// A proposal waits.
    Proposal(ProposalId),
    /// Messages that are not tried any more.
    Notifications,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invitation(id) => write!(f, "invitation `{id}`"),
            Self::Grant(id) => write!(f, "grant `{id}`"),
            Self::Request(id) => write!(f, "request `{id}`"),
            Self::OneRequest => f.write_str("the one request that waits about the same"),
            Self::Approvals(id) => write!(f, "what `{id}` has of approvals"),
            Self::Device(id) => write!(f, "device `{id}`"),
            Self::Challenge => f.write_str("the challenge"),
            Self::AcceptanceIsNew => f.write_str("what was accepted before"),
            Self::ProofIsNew => f.write_str("the memory of proofs"),
            Self::RoomForToken(id) => write!(f, "the room for tokens of device `{id}`"),
            Self::TokenIsGood => f.write_str("the token"),
            Self::Gate(name) => write!(f, "gate `{name}`"),
            Self::Key(kid) => write!(f, "key `{kid}`"),
            Self::MasterKey(id) => write!(f, "the master key `{id}`"),
            Self::Clock => f.write_str("the time of the newest decision"),
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Person => f.write_str("what there is of this person"),
            Self::NothingLeft(scope) => write!(f, "what there is of {scope}"),
            Self::Somebody(project) => write!(f, "who has a grant in project `{project}`"),
            Self::NoGrant(id) => write!(f, "what there is of device `{id}`"),
            Self::RoleFree(id, role) => write!(f, "what device `{id}` has in role `{role}`"),
            Self::Ledger => f.write_str("the ledger"),
            Self::Proposal(id) => write!(f, "proposal `{id}`"),
            Self::Policy => f.write_str("the policy in force"),
            Self::Notifications => f.write_str("what is not tried any more"),
        }
    }
}

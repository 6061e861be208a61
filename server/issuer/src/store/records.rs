//! What is stored, and the lives that records lead. Each life refuses every transition that its diagram does not have.

use std::collections::BTreeMap;

use daypass_proto::{
    encoding::{Bytes, Fixed},
    enrolment::{DeviceLife, Facts, TrustTier},
    jose::EcPublicKey,
    names::{Collaborator, DeviceId, GateName, GrantId, InvitationId, PhaseName, ProjectName, ProposalId, RoleName},
    resource::Resource,
    time::Timestamp,
    token::Posture,
};
use serde::{Deserialize, Serialize};

use crate::{
    network::Network,
    policy::{Files, Subject},
};

/// A life's word in the store and in lists.
macro_rules! life {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

life!(
    /// An invitation's life.
    ///
    /// ```text
    /// open ──► used        by the first TPM that completes activation
    ///   └────► withdrawn
    /// ```
    InvitationLife {
        /// Waiting for its machine.
        Open = "open",
        /// Bound to a device.
        Used = "used",
        /// Taken back.
        Withdrawn = "withdrawn",
    }
);

life!(
    /// A grant's life.
    ///
    /// ```text
    ///                ┌──────────────────┐
    ///                │                  ▼
    /// requested ──► active ◄──► grace ──► ended
    ///     │          │  ▲       │  ▲
    ///     │          ▼  │       ▼  │
    ///     │         (  suspended     )
    ///     └──► revoked ◄── (active, grace, suspended)
    /// ```
    ///
    /// From grace back to active goes who is given a later end.
    GrantLife {
        /// Waiting for approval.
        Requested = "requested",
        /// In force until its end.
        Active = "active",
        /// After its hard end: what its role leaves for a while.
        Grace = "grace",
        /// Held back.
        Suspended = "suspended",
        /// Ended before its time.
        Revoked = "revoked",
        /// Over.
        Ended = "ended",
    }
);

life!(
    /// A gate's life.
    GateLife {
        /// Registered, and its code not yet used.
        Added = "added",
        /// Has a certificate.
        Enrolled = "enrolled",
        /// Taken out.
        Removed = "removed",
    }
);

life!(
    /// What a key of the issuer is for.
    KeyPurpose {
        /// Signs access tokens.
        Token = "token",
        /// Signs device certificates.
        DeviceCa = "device_ca",
        /// Signs gate certificates.
        GateCa = "gate_ca",
        /// The issuer's own TLS certificate.
        Tls = "tls",
        /// Signs the ledger's checkpoints.
        Checkpoint = "checkpoint",
    }
);

/// Whether a device may go from one state to another.
///
/// ```text
/// pending ──► approved ◄──► suspended
///    │           │              │
///    └───────────┴──► revoked ◄─┘
/// ```
pub const fn device_may_become(from: DeviceLife, to: DeviceLife) -> bool {
    use DeviceLife::{Approved, Pending, Revoked, Suspended};
    matches!(
        (from, to),
        (Pending | Suspended, Approved) | (Approved, Suspended) | (Pending | Approved | Suspended, Revoked)
    )
}

impl GrantLife {
    /// Nothing more comes of it.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Revoked | Self::Ended)
    }

    /// It gives tokens, as far as its times and its device let it.
    pub const fn gives(self) -> bool {
        matches!(self, Self::Active | Self::Grace)
    }

    /// The states of what came into force at some time. One that was revoked does not say whether it ever did.
    pub const WERE_IN_FORCE: [Self; 4] = [Self::Active, Self::Grace, Self::Suspended, Self::Ended];
}

/// Whether a grant may go from one state to another: the arrows of [`GrantLife`]'s diagram, and no others. The store refuses what is not among them.
pub const fn grant_may_become(from: GrantLife, to: GrantLife) -> bool {
    use GrantLife::{Active, Ended, Grace, Requested, Revoked, Suspended};
    matches!(
        (from, to),
        (Requested | Suspended | Grace, Active)
            | (Active | Suspended, Grace)
            | (Active | Grace, Suspended | Ended)
            | (Requested | Active | Grace | Suspended, Revoked)
    )
}

/// An invitation.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Invitation {
    /// Its name in lists and in the ledger.
    pub id: InvitationId,
    /// The hash of its secret.
    pub secret_hash: Fixed<32>,
    /// For whom.
    pub collaborator: Collaborator,
    /// To which project.
    pub project: ProjectName,
    /// In which role.
    pub role: RoleName,
    /// For which phase of the project, where it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhaseName>,
    /// The grant that it carries; of several, the first.
    pub grant: GrantId,
    /// The others, where there are several: the grants of a device that is replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<GrantId>,
    /// The device that it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<DeviceId>,
    /// The end of the code.
    pub expires_at: Timestamp,
    /// The only EK that may use it, where it was registered beforehand.
    pub ek_hash: Option<Fixed<32>>,
    /// Where it is in its life.
    pub state: InvitationLife,
    /// The device that used it.
    pub device: Option<DeviceId>,
}

impl Invitation {
    /// The grants that it carries.
    pub fn grants(&self) -> impl Iterator<Item = &GrantId> {
        std::iter::once(&self.grant).chain(&self.further)
    }
}

/// The TPM keys of a device, as the issuer knows them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeviceKeys {
    /// The EK that activation went through.
    pub ek_hash: Fixed<32>,
    /// `TPMT_PUBLIC` of the AK.
    pub attestation_key: Bytes,
    /// `TPMT_PUBLIC` of the identity key.
    pub identity_key: Bytes,
    /// `TPMT_PUBLIC` of the proof key.
    pub proof_key: Bytes,
}

/// A device.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Device {
    /// Its name.
    pub id: DeviceId,
    /// For whom it was enrolled.
    pub collaborator: Collaborator,
    /// Where it is in its life.
    pub state: DeviceLife,
    /// Why it is there, where somebody said.
    pub reason: Option<String>,
    /// How well its TPM is known.
    pub tier: TrustTier,
    /// The TPM's keys; `None` for a software client.
    pub keys: Option<DeviceKeys>,
    /// The key of its client certificate.
    pub identity: EcPublicKey,
    /// The key that its tokens are bound to.
    pub proof: EcPublicKey,
    /// What both sides show.
    pub comparison_code: Option<String>,
    /// What was learned from the newest quote.
    pub posture: Posture,
    /// The PCRs of the SHA-256 bank that it quoted last.
    #[serde(default)]
    pub pcrs: BTreeMap<u8, Fixed<32>>,
    /// What it says of itself.
    pub facts: Facts,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
}

impl Device {
    /// What guardrails can ask about it.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            device: &self.id,
            collaborator: &self.collaborator,
            trust_tier: self.tier,
            secure_boot: self.posture.secure_boot,
            pcrs: &self.pcrs,
            os: &self.facts.os,
            agent_version: &self.facts.agent_version,
        }
    }

    /// Whether it is a software client.
    pub fn is_software(&self) -> bool {
        self.tier == TrustTier::Software
    }
}

/// A grant.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Grant {
    /// Its name.
    pub id: GrantId,
    /// Whose.
    pub collaborator: Collaborator,
    /// In which project.
    pub project: ProjectName,
    /// In which role.
    pub role: RoleName,
    /// The hard end.
    pub until: Timestamp,
    /// Where it is in its life.
    pub state: GrantLife,
    /// The device that uses it.
    pub device: Option<DeviceId>,
    /// When it was asked for, or the first one whose place it takes; not known of those from before this was kept.
    #[serde(default)]
    pub made_at: Option<Timestamp>,
    /// How many tokens were issued under it, where they are counted.
    #[serde(default)]
    pub used: u32,
    /// What it is bound to, beside role and end.
    #[serde(default)]
    pub terms: Terms,
    /// The hash of what its holder accepted, where the briefing was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub briefed: Option<Fixed<32>>,
    /// The one whose place it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaces>,
}

/// A grant on another device of the same person, which ends when this one comes into force.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Replaces {
    /// Which.
    pub grant: GrantId,
    /// Its device.
    pub device: DeviceId,
    /// Why, in the words of whoever invited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Grant {
    /// Whether it gives all that it gives now: neither held back nor over, nor in grace.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.state == GrantLife::Active && self.until > now
    }
}

/// What a grant is bound to, beside its role and its hard end. Each narrows; none does where nothing is said.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Terms {
    /// It gives nothing before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The phase of its project that it is for: it ends with it at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhaseName>,
    /// How many tokens it gives at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// For how many seconds after its hard end the role's narrower rights are left.
    #[serde(skip_serializing_if = "is_zero")]
    pub grace: i64,
    /// It is used from one of these networks; from anywhere where there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// It is used by a device whose TPM is known so; by any that the issuer serves where there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust_tiers: Vec<TrustTier>,
    /// It is used by a device that boots with Secure Boot.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub secure_boot: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(seconds: &i64) -> bool {
    *seconds == 0
}

life!(
    /// A proposal's life.
    ///
    /// ```text
    /// waiting ──► confirmed    by a second administrator: it is in force, or was
    ///    └──────► withdrawn
    /// ```
    ProposalLife {
        /// For a second administrator.
        Waiting = "waiting",
        /// It came into force.
        Confirmed = "confirmed",
        /// It will not.
        Withdrawn = "withdrawn",
    }
);

/// A policy that waits for a second administrator.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Proposal {
    /// Its name.
    pub id: ProposalId,
    /// Where it is in its life.
    pub state: ProposalLife,
    /// SHA-256 over the files.
    pub hash: Fixed<32>,
    /// The number of the version that it was compared with, and can follow; 0 where there was none.
    pub base: i64,
    /// When it was brought.
    pub at: Timestamp,
    /// Who brought it, where it was a person: not the one who confirms it.
    pub by: Option<Collaborator>,
    /// What in it guards others, in words.
    pub guarded: Vec<String>,
    /// What it says.
    pub files: Files,
}

/// One version of the policy, as it was put in force.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PolicyVersion {
    /// Counts up from 1; the highest is in force.
    pub number: i64,
    /// SHA-256 over the files.
    pub hash: Fixed<32>,
    /// When it was put in force.
    pub at: Timestamp,
    /// What it says.
    pub files: Files,
}

impl Challenge {
    /// The values that a verified quote over [`Challenge::pcrs`] has, by their PCR.
    pub fn quoted(&self, values: &[Fixed<32>]) -> BTreeMap<u8, Fixed<32>> {
        self.pcrs.iter().copied().zip(values.iter().copied()).collect()
    }
}

/// Who holds a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Holder {
    /// A device.
    Device(DeviceId),
    /// A gate.
    Gate(GateName),
}

impl Holder {
    /// The form in the store: the URI SAN of the certificate.
    pub fn uri(&self) -> String {
        match self {
            Self::Device(device) => device.client_id(),
            Self::Gate(gate) => gate.uri(),
        }
    }

    /// Back from the store.
    pub fn from_uri(uri: &str) -> Option<Self> {
        DeviceId::from_client_id(uri).map(Self::Device).or_else(|_| GateName::from_uri(uri).map(Self::Gate)).ok()
    }
}

/// What is known of a client certificate that was issued.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateRecord {
    /// For whom.
    pub holder: Holder,
    /// Its begin.
    pub not_before: Timestamp,
    /// Its end.
    pub not_after: Timestamp,
}

/// A challenge in flight. Single-use: answering takes it out.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Challenge {
    /// Its name.
    pub id: String,
    /// Its end.
    pub expires_at: Timestamp,
    /// The nonce.
    pub nonce: Fixed<32>,
    /// The PCRs that it asks for.
    pub pcrs: Vec<u8>,
    /// The hash of what was said so far.
    pub transcript: Fixed<32>,
    /// What it is for.
    pub kind: ChallengeKind,
}

/// What a challenge is for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChallengeKind {
    /// An enrolment.
    Enrolment {
        /// The invitation.
        invitation: Fixed<32>,
        /// What activation must give, hashed.
        secret_hash: Fixed<32>,
        /// The EKs that were sent, hashed, in order.
        ek_hashes: Vec<Fixed<32>>,
        /// How well the chosen EK is known.
        tier: TrustTier,
        /// The keys.
        keys: DeviceKeys,
        /// The CSR, DER.
        csr: Bytes,
    },
    /// A certificate renewal.
    Renewal {
        /// The device.
        device: DeviceId,
    },
}

/// A token that was issued; never the token itself.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// Its identifier.
    pub jti: String,
    /// To whom.
    pub device: DeviceId,
    /// Under which grant.
    pub grant: GrantId,
    /// What for.
    pub resource: Resource,
    /// Its end.
    pub expires_at: Timestamp,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// A gate.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Gate {
    /// Its name.
    pub name: GateName,
    /// The hash of its code's secret.
    pub secret_hash: Fixed<32>,
    /// The end of its code.
    pub code_expires_at: Timestamp,
    /// What it guards.
    pub resources: Vec<Resource>,
    /// The CA of its own certificate in PEM; `None` for the issuer's root.
    pub ca: Option<String>,
    /// Where it is in its life.
    pub state: GateLife,
}

/// A key of the issuer. The private half is wrapped under a key that is not in the store.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct KeyRecord {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// When it began to be published.
    pub created_at: Timestamp,
    /// From when it is used.
    pub active_from: Timestamp,
    /// From when it is no longer published.
    pub retire_at: Option<Timestamp>,
    /// The private key, PKCS#8, wrapped.
    pub wrapped: Bytes,
    /// The name of the master key that it is wrapped under; one for all keys of a store.
    pub master: String,
    /// Its certificate and those above it, DER.
    pub chain: Vec<Bytes>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_go_where_the_diagram_says() {
        use DeviceLife::{Approved, Pending, Revoked, Suspended};
        let all = [Pending, Approved, Suspended, Revoked];
        let allowed: Vec<_> = all
            .into_iter()
            .flat_map(|from| all.into_iter().map(move |to| (from, to)))
            .filter(|(from, to)| device_may_become(*from, *to))
            .collect();
        assert_eq!(
            allowed,
            [
                (Pending, Approved),
                (Pending, Revoked),
                (Approved, Suspended),
                (Approved, Revoked),
                (Suspended, Approved),
                (Suspended, Revoked)
            ]
        );
    }

    #[test]
    fn grants_go_where_the_diagram_says() {
        use GrantLife::{Active, Ended, Grace, Requested, Revoked, Suspended};
        let all = [Requested, Active, Grace, Suspended, Revoked, Ended];
        let allowed: Vec<_> = all
            .into_iter()
            .flat_map(|from| all.into_iter().map(move |to| (from, to)))
            .filter(|(from, to)| grant_may_become(*from, *to))
            .collect();
        assert_eq!(
            allowed,
            [
                (Requested, Active),
                (Requested, Revoked),
                (Active, Grace),
                (Active, Suspended),
                (Active, Revoked),
                (Active, Ended),
                (Grace, Active),
                (Grace, Suspended),
                (Grace, Revoked),
                (Grace, Ended),
                (Suspended, Active),
                (Suspended, Grace),
                (Suspended, Revoked)
            ]
        );
    }

    #[test]
    fn a_holder_comes_back_as_what_it_was() {
        for holder in [Holder::Device(DeviceId::from_random([1; 10])), Holder::Gate("g".parse().unwrap())] {
            assert_eq!(Holder::from_uri(&holder.uri()), Some(holder));
        }
        assert_eq!(Holder::from_uri("urn:other"), None);
    }
}

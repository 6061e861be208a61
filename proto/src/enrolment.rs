//! Enrolment, renewal and device state: the messages, and what both sides hash (docs/wire.md section 5).
//!
//! The transcript hash covers the begin request and its answer byte for byte, so nothing that either side said can be
//! exchanged on the way; `extraData` ties each TPM signature to that transcript, to its purpose and to the CSR.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    authorization::AuthorizationDetails,
    briefing::Standing,
    encoding::{Bytes, Fixed, base32, sha256},
    names::{Collaborator, DeviceId, EnrolmentId, GrantId, ProjectName, RenewalId, RoleName},
    resource::Resource,
    time::Timestamp,
    token::Protection,
};

/// The largest begin request, in bytes.
pub const MAX_BEGIN: usize = 256 * 1024;
/// The largest complete request, in bytes: an event log can be long.
pub const MAX_COMPLETE: usize = 4 * 1024 * 1024;
/// The most endorsement keys that a request may name.
pub const MAX_ENDORSEMENT_KEYS: usize = 4;

/// An endorsement key as the TPM's NV holds it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EndorsementKey {
    /// `TPMT_PUBLIC`.
    pub public: Bytes,
    /// The EK certificate, DER, where there is one.
    pub certificate: Option<Bytes>,
}

/// `POST /enrolment/v1/begin`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BeginRequest {
    /// The invitation's secret.
    pub secret: Fixed<16>,
    /// Every EK that the TPM has, 1 to [`MAX_ENDORSEMENT_KEYS`].
    pub endorsement_keys: Vec<EndorsementKey>,
    /// `TPMT_PUBLIC` of the AK.
    pub attestation_key: Bytes,
    /// `TPMT_PUBLIC` of the identity key.
    pub identity_key: Bytes,
    /// `TPMT_PUBLIC` of the proof key.
    pub proof_key: Bytes,
    /// PKCS#10 DER, signed by the identity key.
    pub csr: Bytes,
}

/// The challenge.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BeginAnswer {
    /// To be named in the complete request.
    pub enrolment: EnrolmentId,
    /// When the challenge ends.
    pub expires_at: Timestamp,
    /// Index of the EK that the credential was made for.
    pub endorsement_key: usize,
    /// `TPMS_ID_OBJECT` bytes, for `TPM2_ActivateCredential`.
    pub credential_blob: Bytes,
    /// Encrypted seed, for `TPM2_ActivateCredential`.
    pub encrypted_secret: Bytes,
    /// The nonce that every signature answers.
    pub nonce: Fixed<32>,
    /// The PCRs of the SHA-256 bank to be quoted, ascending.
    pub pcrs: Vec<u8>,
}

/// A TPM attestation and its signature.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// `TPMS_ATTEST`.
    pub attest: Bytes,
    /// `TPMT_SIGNATURE`.
    pub signature: Bytes,
}

/// What a machine says of itself: shown to whoever approves, believed by nobody.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Host name.
    pub hostname: String,
    /// Operating system and kernel.
    pub os: String,
    /// Version of the agent.
    pub agent_version: String,
}

/// `POST /enrolment/v1/complete`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CompleteRequest {
    /// The enrolment that begin opened.
    pub enrolment: EnrolmentId,
    /// What `TPM2_ActivateCredential` gave.
    pub activation_secret: Fixed<32>,
    /// `TPM2_Certify` of the identity key by the AK.
    pub identity_certification: Attestation,
    /// `TPM2_Certify` of the proof key by the AK.
    pub proof_certification: Attestation,
    /// `TPM2_Quote` by the AK.
    pub quote: Attestation,
    /// The quoted PCRs' values, in the order of the challenge.
    pub pcr_values: Vec<Fixed<32>>,
    /// The firmware's event log, where it can be read.
    pub event_log: Option<Bytes>,
    /// What the machine says of itself.
    pub facts: Facts,
}

/// The answer to a complete request.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CompleteAnswer {
    /// The device as it now is.
    #[serde(flatten)]
    pub device: DeviceState,
    /// The device certificate and the device CA, DER.
    pub certificate_chain: Vec<Bytes>,
    /// Certificates of the issuer's root, DER; the device keeps the one that the invitation's pin names.
    pub root_chain: Vec<Bytes>,
}

/// `POST /device/v1/invitations`: an approved device adds what another invitation of its collaborator carries (docs/wire.md section 5.9).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvitation {
    /// The invitation's secret.
    pub secret: Fixed<16>,
}

/// The answer: the same however often it is asked.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AcceptedInvitation {
    /// The device as it now is.
    #[serde(flatten)]
    pub device: DeviceState,
    /// The grants that the invitation carried.
    pub accepted: Vec<GrantId>,
}

/// How well the issuer knows which TPM it is talking to. Shown to whoever approves.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustTier {
    /// The EK certificate chains to a configured root.
    EkChain,
    /// The EK's hash was registered beforehand.
    EkRegistered,
    /// Neither; only where the issuer's configuration lets such a device be reviewed.
    EkUnknown,
    /// A virtual TPM: whoever runs the host holds its keys.
    Virtual,
    /// No TPM at all.
    Software,
}

/// A device's life at the issuer, as the device sees it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceLife {
    /// Enrolled, and waiting for somebody.
    Pending,
    /// May ask for tokens.
    Approved,
    /// Held back until somebody resumes it.
    Suspended,
    /// Ended for good.
    Revoked,
}

impl DeviceLife {
    /// The word, in JSON and elsewhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        }
    }
}

/// `GET /device/v1/state`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DeviceState {
    /// The device.
    pub device: DeviceId,
    /// Its OAuth `client_id`.
    pub client_id: String,
    /// Where it is in its life.
    pub state: DeviceLife,
    /// The issuer's identifier.
    pub issuer: String,
    /// The origin of the mTLS listener.
    pub mtls_url: String,
    /// For whom the device was enrolled.
    pub collaborator: Collaborator,
    /// What both sides show; `None` for a software client.
    pub comparison_code: Option<String>,
    /// How well its TPM is known.
    pub trust_tier: TrustTier,
    /// Who can approve it.
    pub waits_for: Vec<String>,
    /// The end of the certificate that was used, or just issued.
    pub certificate_not_after: Timestamp,
    /// The issuer's clock.
    pub server_time: Timestamp,
    /// What the device may ask tokens for; empty while pending.
    pub grants: Vec<GrantState>,
    /// Where the grants are used; empty while pending.
    pub resources: Vec<ResourceTrust>,
}

/// A grant as its holder sees it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct GrantState {
    /// The grant.
    pub grant: GrantId,
    /// Its project.
    pub project: ProjectName,
    /// Its role.
    pub role: RoleName,
    /// Where it is in its life: `requested`, `approved`, `active`, `grace`, `suspended`, `revoked`, `ended`.
    pub state: String,
    /// From when on it gives something, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins: Option<Timestamp>,
    /// Its hard end: its own or that of its phase, whichever comes first.
    pub until: Timestamp,
    /// The end of its grace, where something is left after its hard end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_until: Option<Timestamp>,
    /// How many tokens it gives in all, where they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// How many of them are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u32>,
    /// The proof protection that its role asks for.
    pub protection: Protection,
    /// What today's role gives under it now: in grace, what is left.
    pub authorization_details: AuthorizationDetails,
    /// How it stands with its briefing; `None` where there is none, and at issuers from before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub briefing: Option<Standing>,
}

/// Which CA a resource's own certificate chains to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ResourceTrust {
    /// The resource.
    pub resource: Resource,
    /// The CA in PEM; `None` for the issuer's root.
    pub ca: Option<String>,
}

/// The answer to `POST /device/v1/renewal/begin`, whose request is `{}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RenewalChallenge {
    /// To be named in the complete request.
    pub renewal: RenewalId,
    /// When the challenge ends.
    pub expires_at: Timestamp,
    /// The nonce that the quote answers.
    pub nonce: Fixed<32>,
    /// The PCRs of the SHA-256 bank to be quoted, ascending.
    pub pcrs: Vec<u8>,
}

/// `POST /device/v1/renewal/complete`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RenewalRequest {
    /// The renewal that begin opened.
    pub renewal: RenewalId,
    /// PKCS#10 DER with the same identity key.
    pub csr: Bytes,
    /// `TPM2_Quote` by the AK.
    pub quote: Attestation,
    /// The quoted PCRs' values, in the order of the challenge.
    pub pcr_values: Vec<Fixed<32>>,
    /// The firmware's event log, where it can be read.
    pub event_log: Option<Bytes>,
}

/// The answer to a renewal.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RenewalAnswer {
    /// The device certificate and the device CA, DER.
    pub certificate_chain: Vec<Bytes>,
}

/// What a TPM signature is for; part of what it signs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// Certifying the identity key.
    CertifyIdentity,
    /// Certifying the proof key.
    CertifyProof,
    /// Quoting at enrolment.
    Quote,
    /// Quoting at renewal.
    RenewalQuote,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::CertifyIdentity => b"daypass/v1/certify-identity",
            Self::CertifyProof => b"daypass/v1/certify-proof",
            Self::Quote => b"daypass/v1/quote",
            Self::RenewalQuote => b"daypass/v1/renewal-quote",
        }
    }
}

/// SHA-256 over the begin request and its answer, as they were sent, each behind its length (u64, big-endian).
pub fn transcript_hash(begin_request: &[u8], begin_answer: &[u8]) -> [u8; 32] {
    let length = |bytes: &[u8]| (bytes.len() as u64).to_be_bytes();
    sha256(&[&length(begin_request), begin_request, &length(begin_answer), begin_answer])
}

/// The `extraData` that a TPM signature must carry.
pub fn extra_data(purpose: Purpose, nonce: &[u8; 32], transcript: &[u8; 32], csr: &[u8]) -> [u8; 32] {
    sha256(&[purpose.label(), nonce, transcript, csr])
}

/// The code that both sides show: 40 bits over which TPM, which keys, and the issuer's nonce, as `XXXX-XXXX`.
/// `names` are the TPM names of AK, identity key and proof key, in this order.
pub fn comparison_code(ek_hashes: &[[u8; 32]], names: [&[u8]; 3], nonce: &[u8; 32]) -> String {
    let mut parts: Vec<&[u8]> = vec![b"daypass/v1/comparison"];
    parts.extend(ek_hashes.iter().map(<[u8; 32]>::as_slice));
    parts.extend(names);
    parts.push(nonce);
    let code = base32(sha256(&parts).get(..5).unwrap_or_default()).to_ascii_uppercase();
    match code.split_at_checked(4) {
        Some((first, second)) => format!("{first}-{second}"),
        None => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_keep_request_and_answer_apart() {
        assert_ne!(transcript_hash(b"ab", b"c"), transcript_hash(b"a", b"bc"));
    }

    #[test]
    fn purposes_are_apart() {
        let all = [Purpose::CertifyIdentity, Purpose::CertifyProof, Purpose::Quote, Purpose::RenewalQuote]
            .map(|purpose| extra_data(purpose, &[1; 32], &[2; 32], b"csr"));
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other != one));
        }
    }

    #[test]
    fn the_code_depends_on_each_part() {
        let code = |ek: u8, ak: u8, nonce: u8| comparison_code(&[[ek; 32]], [&[ak], &[2], &[3]], &[nonce; 32]);
        assert_eq!(code(0, 1, 0).len(), 9);
        assert_ne!(code(0, 1, 0), code(1, 1, 0));
        assert_ne!(code(0, 1, 0), code(0, 2, 0));
        assert_ne!(code(0, 1, 0), code(0, 1, 1));
    }
}

//! Enrolling, and renewing the certificate: what the agent does between an invitation and a device.
//!
//! The keys are on disk before the issuer hears of them, so that an enrolment that was interrupted anywhere, on either side, is the
//! same enrolment when it is run again.

use std::{fs, sync::Arc};

use aws_lc_rs::digest;
use daypass_proto::{
    attestation::{EkPublic, TpmPublic},
    encoding::{Bytes, Fixed},
    enrolment::{
        BeginAnswer, BeginRequest, CompleteAnswer, CompleteRequest, EndorsementKey, Facts, Purpose, RenewalAnswer,
        RenewalChallenge, RenewalRequest, comparison_code, extra_data, transcript_hash,
    },
    invitation::Code,
    oauth_error::Reason,
};
use rcgen::{CertificateParams, PublicKeyData, SignatureAlgorithm, SigningKey};
use reqwest::Client;

use crate::{
    clock::{Clock, Moment},
    error::AgentError,
    issuer::{self, der_signature},
    state::{Completed, Folder, Record},
    tpm::{Challenge, DeviceKeys, KeyFile, Tcti, Tpm, TpmConfig},
};

const JSON: &str = "application/json";
/// The firmware's event log of the first TPM.
const EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
/// The longest log that is sent, in bytes.
const MAX_EVENT_LOG: u64 = 2 * 1024 * 1024;

fn internal(attempted: &'static str) -> impl Fn(String) -> AgentError {
    move |why| AgentError::Internal { attempted, why }
}

/// The identity key as rcgen uses it, for the CSR.
struct CsrKey<'a> {
    tpm: &'a dyn Tpm,
    key: &'a KeyFile,
    point: Vec<u8>,
}

impl PublicKeyData for CsrKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for CsrKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let hash = digest::digest(&digest::SHA256, message);
        let hash = hash.as_ref().try_into().map_err(|_| rcgen::Error::RemoteKeyError)?;
        let signature = tokio::task::block_in_place(|| self.tpm.sign_blocking(self.key, hash));
        signature.map(|signature| der_signature(&signature)).map_err(|error| {
            tracing::warn!(%error, "the TPM did not sign the certificate request");
            rcgen::Error::RemoteKeyError
        })
    }
}

async fn csr(tpm: &Arc<dyn Tpm>, key: &KeyFile) -> Result<Vec<u8>, AgentError> {
    // The first use of the key: what is wrong with the TPM is said by the TPM, and not by a library that only sees a failed signature.
    tpm.sign(key, [0; 32]).await?;
    let (_, x, y) = TpmPublic::parse(key.public())
        .ok()
        .and_then(|public| public.ecc_point())
        .ok_or_else(|| internal("read the identity key")("it is not an ECC key".to_owned()))?;
    let signer = CsrKey { tpm: tpm.as_ref(), key, point: [&[4], &x[..], &y].concat() };
    let request = CertificateParams::default().serialize_request(&signer);
    request.map(|csr| csr.der().to_vec()).map_err(|error| internal("make the certificate request")(error.to_string()))
}

/// The event log, where this TPM is the one that the kernel logged for.
fn event_log(config: &TpmConfig) -> Option<Bytes> {
    let Tcti::Device(_) = config.tcti else { return None };
    // sysfs says a length of zero for it: read, then measure.
    let log = fs::read(EVENT_LOG).ok()?;
    (u64::try_from(log.len()).ok()? <= MAX_EVENT_LOG).then_some(Bytes(log))
}

fn facts() -> Facts {
    let name = nix::sys::utsname::uname();
    let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
    let (hostname, kernel) = match &name {
        Ok(name) => (text(name.nodename()), format!("{} {}", text(name.sysname()), text(name.release()))),
        Err(_) => (String::new(), String::new()),
    };
    Facts { hostname, os: kernel, agent_version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// What enrolment needs.
pub struct Enroller<'a> {
    /// The chip.
    pub tpm: &'a Arc<dyn Tpm>,
    /// How it is reached.
    pub config: &'a TpmConfig,
    /// The clock.
    pub clock: &'a dyn Clock,
    /// Where the enrolment is kept.
    pub folder: &'a Folder,
}

impl Enroller<'_> {
    /// Enrols with an invitation; can be run again after any interruption.
    ///
    /// An enrolment that is complete here stands, whatever invitation it was made with: to enrol once more would give it another comparison code, while
    /// somebody perhaps is comparing.
    pub async fn enrol(&self, code: &Code) -> Result<Record, AgentError> {
        let invitation = Fixed(code.secret.hash());
        let before = self.folder.record()?;
        if let Some(record) = &before
            && record.completed.is_some()
            && self.folder.keys()?.is_some()
        {
            return Ok(record.clone());
        }
        let enrolled = self.enrol_anew(code, invitation).await;
        if let Err(AgentError::Refused(body)) = &enrolled
            && is_final(body.daypass_reason)
        {
            match before.filter(|record| record.invitation != invitation) {
                // Begun with another invitation, which may be as good as ever.
                Some(other) => self.folder.save_record(&other)?,
                None => self.folder.erase()?,
            }
        }
        enrolled
    }

    async fn enrol_anew(&self, code: &Code, invitation: Fixed<32>) -> Result<Record, AgentError> {
        let keys = match self.folder.keys()? {
            Some(keys) => keys,
            None => {
                let keys = self.tpm.create_keys().await?;
                self.folder.save_keys(&keys)?;
                keys
            }
        };
        let mut record = Record { issuer: code.issuer().to_owned(), invitation, completed: None };
        self.folder.save_record(&record)?;
        record.completed = Some(self.prove(code, &keys).await?);
        self.folder.save_record(&record)?;
        Ok(record)
    }

    async fn prove(&self, code: &Code, keys: &DeviceKeys) -> Result<Completed, AgentError> {
        let client = issuer::pinned(code.pin)?;
        let csr = csr(self.tpm, &keys.identity).await?;
        let eks = self.tpm.endorsement_keys().await?;
        let request = BeginRequest {
            secret: Fixed(*code.secret.expose()),
            endorsement_keys: eks
                .iter()
                .map(|ek| EndorsementKey {
                    public: Bytes(ek.public.clone()),
                    certificate: ek.certificate.clone().map(Bytes),
                })
                .collect(),
            attestation_key: Bytes(keys.attestation.public().to_vec()),
            identity_key: Bytes(keys.identity.public().to_vec()),
            proof_key: Bytes(keys.proof.public().to_vec()),
            csr: Bytes(csr.clone()),
        };
        let begin = serde_json::to_vec(&request).map_err(|error| internal("write the request")(error.to_string()))?;
        let url = format!("{}/enrolment/v1/begin", code.issuer());
        let answered = issuer::bytes(&url, client.post(&url).header("content-type", JSON).body(begin.clone())).await?;
        let wrong = || AgentError::IssuerAnswer { url: url.clone(), status: 200 };
        let challenge: BeginAnswer = serde_json::from_slice(&answered).map_err(|_| wrong())?;
        let ek = eks.get(challenge.endorsement_key).ok_or_else(wrong)?;

        let transcript = transcript_hash(&begin, &answered);
        let extra = |purpose| extra_data(purpose, &challenge.nonce.0, &transcript, &csr);
        let answer = self
            .tpm
            .answer(
                keys,
                &Challenge {
                    endorsement_key: ek.public.clone(),
                    credential_blob: challenge.credential_blob.0.clone(),
                    encrypted_secret: challenge.encrypted_secret.0.clone(),
                    identity_extra: extra(Purpose::CertifyIdentity),
                    proof_extra: extra(Purpose::CertifyProof),
                    quote_extra: extra(Purpose::Quote),
                    pcrs: challenge.pcrs.clone(),
                },
            )
            .await?;
        let secret = answer.secret.as_slice().try_into().map_err(|_| wrong())?;
        let request = CompleteRequest {
            enrolment: challenge.enrolment.clone(),
            activation_secret: Fixed(secret),
            identity_certification: answer.identity,
            proof_certification: answer.proof,
            quote: answer.quote.attestation,
            pcr_values: answer.quote.values.into_iter().map(Fixed).collect(),
            event_log: event_log(self.config),
            facts: facts(),
        };
        let url = format!("{}/enrolment/v1/complete", code.issuer());
        let (before, wrong) = (self.clock.moment(), || AgentError::IssuerAnswer { url: url.clone(), status: 200 });
        let completed: CompleteAnswer = issuer::answer(&url, client.post(&url).json(&request)).await?;
        let Moment { now, since_boot } = self.clock.moment();
        let root = code.pin.find(&completed.root_chain).cloned().ok_or_else(wrong)?;
        let mut device = completed.device;
        // Each side computes the code; what the issuer says it is counts for nothing here.
        device.comparison_code = Some(own_code(&eks, keys, &challenge.nonce.0).ok_or_else(wrong)?);
        let clock_offset = (since_boot.saturating_sub(before.since_boot) < 2).then(|| device.server_time.since(now));
        Ok(Completed {
            root,
            chain: completed.certificate_chain,
            device,
            clock_offset,
            last_contact: now,
            follows_ledger: false,
            said: Vec::new(),
        })
    }

    /// Renews the device certificate over mTLS, with a fresh quote.
    pub async fn renew(&self, client: &Client, mtls_url: &str, keys: &DeviceKeys) -> Result<Vec<Bytes>, AgentError> {
        const EMPTY: &[u8] = b"{}";
        let csr = csr(self.tpm, &keys.identity).await?;
        let url = format!("{mtls_url}/device/v1/renewal/begin");
        let answered = issuer::bytes(&url, client.post(&url).header("content-type", JSON).body(EMPTY)).await?;
        let challenge: RenewalChallenge = serde_json::from_slice(&answered)
            .map_err(|_| AgentError::IssuerAnswer { url: url.clone(), status: 200 })?;
        let extra = extra_data(Purpose::RenewalQuote, &challenge.nonce.0, &transcript_hash(EMPTY, &answered), &csr);
        let quote = self.tpm.quote(&keys.attestation, &challenge.pcrs, extra).await?;
        let request = RenewalRequest {
            renewal: challenge.renewal,
            csr: Bytes(csr),
            quote: quote.attestation,
            pcr_values: quote.values.into_iter().map(Fixed).collect(),
            event_log: event_log(self.config),
        };
        let url = format!("{mtls_url}/device/v1/renewal/complete");
        let answer: RenewalAnswer = issuer::answer(&url, client.post(&url).json(&request)).await?;
        Ok(answer.certificate_chain)
    }
}

/// Whether an invitation was refused for good: nothing is left to take up, and keys that no issuer knows are of no use. Another machine's
/// invitation, an unknown EK: an issuer that changes its mind is met with new keys.
const fn is_final(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UnknownCode
            | Reason::CodeUsed
            | Reason::CodeExpired
            | Reason::CodeWithdrawn
            | Reason::EkMismatch
            | Reason::EkUntrusted
            | Reason::DeviceRevoked
    )
}

/// The comparison code, from what this side knows.
fn own_code(eks: &[crate::tpm::EndorsementKey], keys: &DeviceKeys, nonce: &[u8; 32]) -> Option<String> {
    let hashes =
        eks.iter().map(|ek| EkPublic::parse(&ek.public).map(|ek| ek.hash())).collect::<Result<Vec<_>, _>>().ok()?;
    let name = |key: &KeyFile| TpmPublic::parse(key.public()).map(|public| public.name());
    let (attestation, identity, proof) =
        (name(&keys.attestation).ok()?, name(&keys.identity).ok()?, name(&keys.proof).ok()?);
    Some(comparison_code(&hashes, [&attestation, &identity, &proof], nonce))
}

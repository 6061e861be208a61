//! Enrolment by hand: a client that is not our agent, with a real TPM, that says whatever a story has it say. What needs no freedom is done by
//! tpm2-tools, which we did not write.

mod endorsement;
mod tpm;

use std::{path::PathBuf, sync::Arc};

use daypass_proto::{
    encoding::{Bytes, Fixed},
    enrolment::{
        BeginAnswer, BeginRequest, CompleteAnswer, CompleteRequest, EndorsementKey, Facts, Purpose, RenewalChallenge,
        RenewalRequest, extra_data, transcript_hash,
    },
    invitation::{Code, CodeKind},
};
use rcgen::CertificateParams;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;

use self::tpm::Tpm;
pub use self::{
    endorsement::EkKind,
    tpm::{ATTESTS, HandKey, SIGNS},
};
use crate::{Answer, Chip, Failure, Issuer, Place, Raw, Request, Who};

/// What a machine without an agent has: its TPM, and three keys in it.
#[derive(Debug)]
pub struct ByHand<'a> {
    chip: &'a Chip,
    folder: PathBuf,
    /// The AK.
    pub attestation: HandKey,
    /// The identity key.
    pub identity: HandKey,
    /// The proof key.
    pub proof: HandKey,
}

/// An enrolment or a renewal whose challenge has come.
#[derive(Clone, Debug)]
pub struct Begun<T> {
    /// What was asked, as sent.
    pub sent: Vec<u8>,
    /// What was answered, as it came.
    pub came: Vec<u8>,
    /// The same, read.
    pub challenge: T,
    /// The certificate request of this exchange.
    pub csr: Vec<u8>,
}

impl<T> Begun<T> {
    /// The `extraData` that this challenge asks for.
    pub fn extra(&self, purpose: Purpose, nonce: &Fixed<32>) -> [u8; 32] {
        extra_data(purpose, &nonce.0, &transcript_hash(&self.sent, &self.came), &self.csr)
    }
}

impl Begun<BeginAnswer> {
    /// The same, for an enrolment.
    pub fn enrolment_extra(&self, purpose: Purpose) -> [u8; 32] {
        self.extra(purpose, &self.challenge.nonce)
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|error| Failure::unexpected("a message that can be written", error))
}

impl<'a> ByHand<'a> {
    /// Makes three keys of the right form in a TPM that is on and that nobody else uses.
    pub fn new(place: &Place, name: &str, chip: &'a Chip) -> Result<Self, Failure> {
        let folder = place.folder(&format!("{name}-by-hand"), Who::Agent, 0o700)?;
        let tpm = Tpm(chip.tcti());
        let (attestation, identity, proof) = (tpm.create(ATTESTS)?, tpm.create(SIGNS)?, tpm.create(SIGNS)?);
        Ok(Self { chip, folder, attestation, identity, proof })
    }

    /// One more key in this TPM.
    pub fn another_key(&self, attributes: u32) -> Result<HandKey, Failure> {
        Tpm(self.chip.tcti()).create(attributes)
    }

    /// A request for a certificate for this key.
    pub fn csr(&self, key: &HandKey) -> Result<Vec<u8>, Failure> {
        let request = CertificateParams::default().serialize_request(&key.csr_key()?);
        request.map(|csr| csr.der().to_vec()).map_err(|error| Failure::unexpected("a certificate request", error))
    }

    /// The begin request of an honest machine with these EKs.
    pub fn begin_request(&self, code: &str, eks: Vec<EndorsementKey>) -> Result<BeginRequest, Failure> {
        let code =
            Code::parse(CodeKind::Invitation, code).map_err(|error| Failure::unexpected("an invitation", error))?;
        Ok(BeginRequest {
            secret: Fixed(*code.secret.expose()),
            endorsement_keys: eks,
            attestation_key: Bytes(self.attestation.public().to_vec()),
            identity_key: Bytes(self.identity.public().to_vec()),
            proof_key: Bytes(self.proof.public().to_vec()),
            csr: Bytes(self.csr(&self.identity)?),
        })
    }

    /// An honest begin with one EK; the challenge must come.
    pub fn begin(&self, issuer: &Issuer, code: &str, kind: EkKind) -> Result<Begun<BeginAnswer>, Failure> {
        begun(issuer, &self.begin_request(code, vec![self.endorsement_key(kind)?])?)
    }

    /// The complete request of an honest machine.
    pub fn complete_request(&self, begun: &Begun<BeginAnswer>, secret: [u8; 32]) -> Result<CompleteRequest, Failure> {
        let extra = |purpose| begun.enrolment_extra(purpose);
        let pcrs = &begun.challenge.pcrs;
        let quote = self.attestation.quote(HashingAlgorithm::Sha256, pcrs, &extra(Purpose::Quote))?;
        Ok(CompleteRequest {
            enrolment: begun.challenge.enrolment.clone(),
            activation_secret: Fixed(secret),
            identity_certification: self.attestation.certify(&self.identity, &extra(Purpose::CertifyIdentity))?,
            proof_certification: self.attestation.certify(&self.proof, &extra(Purpose::CertifyProof))?,
            quote,
            pcr_values: self.pcr_values(pcrs)?,
            event_log: None,
            facts: Facts { hostname: "by-hand".to_owned(), ..Facts::default() },
        })
    }

    /// Begins and prepares everything that is honest; `change` says what is not.
    pub fn answer(
        &self,
        issuer: &Issuer,
        code: &str,
        change: impl FnOnce(&Begun<BeginAnswer>, &mut CompleteRequest) -> Result<(), Failure>,
    ) -> Result<Answer, Failure> {
        let begun = self.begin(issuer, code, EkKind::Rsa)?;
        let mut request = self.complete_request(&begun, self.activate(EkKind::Rsa, &begun.challenge)?)?;
        change(&begun, &mut request)?;
        complete(issuer, &request)
    }

    /// Enrols honestly.
    pub fn enrol(&self, issuer: &Issuer, code: &str) -> Result<HandDevice, Failure> {
        let answer = self.answer(issuer, code, |_, _| Ok(()))?.status(200)?;
        let completed: CompleteAnswer =
            serde_json::from_str(&answer.body).map_err(|_| answer.ran.clone().surprise("an enrolled device"))?;
        let chain = completed.certificate_chain.into_iter().map(|der| CertificateDer::from(der.0)).collect();
        Ok(HandDevice {
            device: completed.device.device.to_string(),
            certified: Arc::new(CertifiedKey::new(chain, Arc::new(self.identity.clone()))),
        })
    }

    /// The renewal request of an honest machine.
    pub fn renewal_request(&self, begun: &Begun<RenewalChallenge>) -> Result<RenewalRequest, Failure> {
        let extra = begun.extra(Purpose::RenewalQuote, &begun.challenge.nonce);
        let pcrs = &begun.challenge.pcrs;
        Ok(RenewalRequest {
            renewal: begun.challenge.renewal.clone(),
            csr: Bytes(begun.csr.clone()),
            quote: self.attestation.quote(HashingAlgorithm::Sha256, pcrs, &extra)?,
            pcr_values: self.pcr_values(pcrs)?,
            event_log: None,
        })
    }

    /// Asks for a renewal's challenge, which must come.
    pub fn begin_renewal(&self, issuer: &Issuer, device: &HandDevice) -> Result<Begun<RenewalChallenge>, Failure> {
        let sent = b"{}".to_vec();
        let (status, body) = device.post(issuer, "/device/v1/renewal/begin", &sent)?;
        match serde_json::from_str(&body) {
            Ok(challenge) if status == 200 => {
                Ok(Begun { sent, came: body.into_bytes(), challenge, csr: self.csr(&self.identity)? })
            }
            _ => Err(Failure::unexpected("a renewal's challenge", format!("{status}: {body}"))),
        }
    }
}

/// An enrolled device whose certificate's key is in a TPM.
#[derive(Debug)]
pub struct HandDevice {
    /// Its name.
    pub device: String,
    certified: Arc<CertifiedKey>,
}

impl HandDevice {
    /// Posts to the mTLS listener, signing the handshake in the TPM; gives status and body.
    pub fn post(&self, issuer: &Issuer, path: &str, body: &[u8]) -> Result<(u16, String), Failure> {
        let address = issuer.mtls_address();
        let connection = Raw::open_as(address, issuer.root(), Arc::clone(&self.certified))?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let (statuses, text) = connection.exchange(&[head.as_bytes(), body].concat())?;
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        match (statuses.first(), body) {
            (Some(status), Some(body)) => Ok((*status, body)),
            _ => Err(Failure::unexpected("an HTTP answer", text)),
        }
    }

    /// Completes a renewal.
    pub fn renew(&self, issuer: &Issuer, request: &RenewalRequest) -> Result<(u16, String), Failure> {
        self.post(issuer, "/device/v1/renewal/complete", &json(request)?)
    }
}

/// Posts to the public listener.
pub fn post(issuer: &Issuer, path: &str, body: Vec<u8>) -> Result<Answer, Failure> {
    let request = Request::new(Who::Bob, &format!("{}{path}", issuer.url()), issuer.root())?;
    request.header("Content-Type", "application/json").body(body).send()
}

/// Begins an enrolment, whatever comes of it.
pub fn try_begin(issuer: &Issuer, request: &BeginRequest) -> Result<Answer, Failure> {
    post(issuer, "/enrolment/v1/begin", json(request)?)
}

/// Begins an enrolment; the challenge must come.
pub fn begun(issuer: &Issuer, request: &BeginRequest) -> Result<Begun<BeginAnswer>, Failure> {
    let answer = try_begin(issuer, request)?.status(200)?;
    let challenge =
        serde_json::from_str(&answer.body).map_err(|_| answer.ran.clone().surprise("an enrolment's challenge"))?;
    Ok(Begun { sent: json(request)?, came: answer.body.into_bytes(), challenge, csr: request.csr.0.clone() })
}

/// Completes an enrolment, whatever comes of it.
pub fn complete(issuer: &Issuer, request: &CompleteRequest) -> Result<Answer, Failure> {
    post(issuer, "/enrolment/v1/complete", json(request)?)
}

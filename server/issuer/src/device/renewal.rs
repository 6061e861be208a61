//! Certificate renewal over mTLS, with a fresh quote (docs/wire.md section 5.5).

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use daypass_proto::{
    attestation::{DeviceKeySet, KeyError as DeviceKeyError, StatementError, verify_quote},
    encoding::Fixed,
    enrolment::{Purpose, RenewalAnswer, RenewalChallenge, RenewalRequest, extra_data, transcript_hash},
    json::read,
    ledger::EventKind,
    names::RenewalId,
    oauth_error::{OAuthError, Reason},
};
use daypass_service::Peer;
use thiserror::Error;

use super::issue_certificate;
use crate::{
    body::Body,
    caller::{CallerError, EnrolledDevice},
    error::Refusal,
    issuer::Issuer,
    keys::{KeyError, csr_key},
    ledger::Source,
    pace::TooMany,
    store::{Challenge, ChallengeKind, Change, DecideError, Decision, Device, StoreError},
};

/// The begin request: an empty object, hashed as these bytes.
const EMPTY: &[u8] = b"{}";

/// Why a renewal is refused.
#[derive(Debug, Error)]
pub enum RenewalError {
    /// The body.
    #[error("the request does not fit the format: {0}")]
    Malformed(String),
    /// The caller.
    #[error(transparent)]
    Caller(#[from] CallerError),
    /// A software client has no TPM to quote with.
    #[error("a software client's certificate is not renewed; register it again")]
    Software,
    /// Unknown, answered, too old, or another device's.
    #[error("the renewal challenge is unknown, was answered already, or is too old")]
    Challenge,
    /// The CSR.
    #[error(transparent)]
    Csr(KeyError),
    /// The CSR is for another key.
    #[error("the certificate signing request is not for this device's identity key")]
    CsrKey,
    /// The stored keys.
    #[error("the stored keys of this device do not read")]
    Keys(#[from] DeviceKeyError),
    /// The quote.
    #[error("the quote {0}")]
    Quote(#[from] StatementError),
    /// Our keys.
    #[error("could not issue the certificate")]
    Certificate(#[source] KeyError),
    /// Our own serialization.
    #[error("could not write the answer")]
    Answer(#[source] serde_json::Error),
    /// Too many challenges.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else was faster, or the store failed.
    #[error(transparent)]
    Decide(#[from] DecideError),
}

impl From<RenewalError> for Refusal {
    fn from(error: RenewalError) -> Self {
        use OAuthError::{AccessDenied, InvalidGrant, InvalidRequest};
        let description = error.to_string();
        match error {
            RenewalError::Malformed(_) => Self::malformed(description),
            RenewalError::Caller(error) => error.into(),
            RenewalError::Software => Self::new(
                AccessDenied,
                Reason::AttestationFailed,
                description,
                "run `daypass-issuer device register --software` again",
            ),
            RenewalError::Challenge => {
                Self::new(InvalidGrant, Reason::ChallengeExpired, description, "begin the renewal again")
            }
            RenewalError::Csr(_) | RenewalError::CsrKey => Self::new(
                InvalidRequest,
                Reason::AttestationFailed,
                description,
                "send a request for the enrolled identity key",
            ),
            RenewalError::Quote(_) => Self::new(
                AccessDenied,
                Reason::AttestationFailed,
                description,
                "run `daypass doctor`; if the TPM is well, report this",
            ),
            RenewalError::TooMany(error) => error.into(),
            RenewalError::Store(error) => error.into(),
            RenewalError::Decide(error) => error.into(),
            RenewalError::Certificate(error) => error.into(),
            other @ (RenewalError::Keys(_) | RenewalError::Answer(_)) => Self::internal(&other),
        }
    }
}

/// `POST /device/v1/renewal/begin`.
pub async fn begin(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    Body(body): Body,
) -> Result<axum::response::Response, Refusal> {
    use axum::response::IntoResponse as _;
    let bytes = open(&issuer, &peer, &body).await?;
    Ok(([(axum::http::header::CONTENT_TYPE, "application/json")], bytes).into_response())
}

async fn open(issuer: &Issuer, peer: &Peer, body: &[u8]) -> Result<Vec<u8>, RenewalError> {
    if body != EMPTY {
        return Err(RenewalError::Malformed("expected `{}`".to_owned()));
    }
    let caller = EnrolledDevice::identify_for_renewal(issuer, peer).await?;
    if caller.device().is_software() {
        return Err(RenewalError::Software);
    }
    let environment = &issuer.environment;
    let answer = RenewalChallenge {
        renewal: RenewalId::from_random(environment.random()),
        expires_at: environment.now().plus(issuer.config.challenge_lifetime),
        nonce: Fixed(environment.random()),
        pcrs: issuer.config.pcrs.clone(),
    };
    let bytes = serde_json::to_vec(&answer).map_err(RenewalError::Answer)?;
    let device = caller.device().id.clone();
    issuer.one_more(EventKind::RenewalBegun, &device)?;
    let event = environment
        .event(EventKind::RenewalBegun)
        .text("renewal", &answer.renewal)
        .number("expires_at", answer.expires_at.seconds());
    let event = environment.asked(environment.of_device(event, caller.device()), &peer.into());
    let challenge = Challenge {
        id: answer.renewal.to_string(),
        expires_at: answer.expires_at,
        nonce: answer.nonce,
        pcrs: answer.pcrs,
        transcript: Fixed(transcript_hash(body, &bytes)),
        kind: ChallengeKind::Renewal { device },
    };
    issuer.store.decide(Decision::new(event).change(Change::AddChallenge(challenge))).await?;
    Ok(bytes)
}

/// `POST /device/v1/renewal/complete`.
pub async fn complete(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    Body(body): Body,
) -> Result<Json<RenewalAnswer>, Refusal> {
    let request: RenewalRequest = read(&body).map_err(|error| Refusal::from(RenewalError::Malformed(error)))?;
    let caller = EnrolledDevice::identify_for_renewal(&issuer, &peer).await?;
    let device = caller.device().clone();
    let source = Source::from(&peer);
    match renew(&issuer, &device, &request, &source).await {
        Ok(answer) => Ok(Json(answer)),
        Err(error) => {
            let (environment, why) = (&issuer.environment, error.to_string());
            let unknown = matches!(error, RenewalError::Challenge);
            let refusal = Refusal::from(error);
            let event = environment.event(EventKind::CertificateRefused).text("renewal", &request.renewal);
            let event = environment.refused(environment.of_device(event, &device), refusal.reason(), &why);
            let mut spent = Decision::new(environment.asked(event, &source));
            if unknown {
                issuer.one_more(EventKind::CertificateRefused, &device.id)?;
            } else {
                // There are no more of these than challenges, which are counted where they are given.
                spent = spent.change(Change::TakeChallenge(request.renewal.to_string()));
            }
            if let Err(error) = issuer.store.decide(spent).await {
                tracing::warn!(error = %daypass_service::told(&error), "could not record a refused renewal");
            }
            Err(refusal)
        }
    }
}

async fn renew(
    issuer: &Issuer,
    device: &Device,
    request: &RenewalRequest,
    source: &Source,
) -> Result<RenewalAnswer, RenewalError> {
    let environment = &issuer.environment;
    let challenge = issuer
        .store
        .challenge(request.renewal.as_str())
        .await?
        .filter(|challenge| challenge.expires_at >= environment.now())
        .filter(|challenge| matches!(&challenge.kind, ChallengeKind::Renewal { device: own } if *own == device.id))
        .ok_or(RenewalError::Challenge)?;
    let keys = device.keys.as_ref().ok_or(RenewalError::Software)?;
    if csr_key(&request.csr.0).map_err(RenewalError::Csr)? != device.identity {
        return Err(RenewalError::CsrKey);
    }
    let set = DeviceKeySet::parse(&keys.attestation_key.0, &keys.identity_key.0, &keys.proof_key.0)?;
    let values: Vec<[u8; 32]> = request.pcr_values.iter().map(|value| value.0).collect();
    let extra = extra_data(Purpose::RenewalQuote, &challenge.nonce.0, &challenge.transcript.0, &request.csr.0);
    let log = request.event_log.as_ref().map(|log| log.0.as_slice());
    let quote = verify_quote(set.attestation(), &challenge.pcrs, &values, &extra, &request.quote, log)?;
    let pcrs = challenge.quoted(&request.pcr_values);
    let device = Device { posture: quote.posture(device.tier), pcrs, ..device.clone() };
    let certificate = issue_certificate(issuer, &device).map_err(RenewalError::Certificate)?;
    let event = environment
        .event(EventKind::CertificateRenewed)
        .text("renewal", &request.renewal)
        .number("not_after", certificate.not_after().seconds())
        .structure("posture", &device.posture);
    let event = environment.asked(environment.of_device(event, &device), source);
    let from = device.state;
    let decision = Decision::new(event)
        .change(Change::TakeChallenge(challenge.id))
        .change(Change::Device { to: Box::new(device), from })
        .change(certificate.change());
    issuer.store.decide(decision).await?;
    Ok(RenewalAnswer { certificate_chain: certificate.chain() })
}

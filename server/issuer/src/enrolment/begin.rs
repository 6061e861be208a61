//! `POST /enrolment/v1/begin`.

use axum::{
    Extension,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use daypass_proto::{
    attestation::{AssessedEk, DeviceKeySet, EkCertificateError},
    encoding::{Bytes, Fixed, sha256},
    enrolment::DeviceLife,
    enrolment::{BeginAnswer, BeginRequest, MAX_ENDORSEMENT_KEYS, TrustTier, transcript_hash},
    invitation::CodeSecret,
    ledger::EventKind,
    names::EnrolmentId,
    time::Timestamp,
};
use daypass_service::Peer;
use std::sync::Arc;

use super::{EnrolmentError, make_credential::make_credential};
use crate::{
    error::{Body, Refusal},
    issuer::Issuer,
    keys::csr_key,
    ledger::Source,
    store::{Challenge, ChallengeKind, Change, Decision, Device, DeviceKeys, Invitation, InvitationLife, device_word},
};

/// Judges the invitation, the keys and the EKs; answers with a challenge.
pub async fn begin(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    Body(body): Body,
) -> Result<Response, Refusal> {
    let answer = decide(&issuer, &(&peer).into(), &body).await?;
    // The bytes that were hashed are the bytes that leave.
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], answer).into_response())
}

async fn decide(issuer: &Issuer, source: &Source, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let request: BeginRequest =
        serde_json::from_slice(body).map_err(|error| EnrolmentError::Malformed(error.to_string()))?;
    if request.endorsement_keys.is_empty() || request.endorsement_keys.len() > MAX_ENDORSEMENT_KEYS {
        return Err(EnrolmentError::Malformed(format!("expected 1 to {MAX_ENDORSEMENT_KEYS} endorsement keys")).into());
    }
    let secret = CodeSecret::from_random(request.secret.0);
    let invitation = issuer.store.invitation_by_secret(secret.hash()).await?.ok_or(EnrolmentError::UnknownCode)?;
    match challenge(issuer, source, body, request, &invitation).await {
        Ok(answer) => Ok(answer),
        Err(error) => {
            // Whoever shows a code that is known is known by it; everybody else could fill the ledger.
            let (environment, why) = (&issuer.environment, error.to_string());
            let refusal = Refusal::from(error);
            let event = environment.of_invitation(environment.event(EventKind::EnrolmentRefused), &invitation);
            let event = environment.asked(environment.refused(event, refusal.reason(), &why), source);
            issuer.store.decide(Decision::new(event)).await?;
            Err(refusal)
        }
    }
}

async fn challenge(
    issuer: &Issuer,
    source: &Source,
    body: &[u8],
    request: BeginRequest,
    invitation: &Invitation,
) -> Result<Vec<u8>, EnrolmentError> {
    let environment = &issuer.environment;
    let now = environment.now();
    let earlier = usable(issuer, invitation, now).await?;

    let keys = DeviceKeySet::parse(&request.attestation_key.0, &request.identity_key.0, &request.proof_key.0)?;
    if csr_key(&request.csr.0).map_err(EnrolmentError::Csr)? != *keys.identity().point() {
        return Err(EnrolmentError::CsrKey);
    }
    let eks = request
        .endorsement_keys
        .iter()
        .map(|ek| {
            AssessedEk::assess(&ek.public.0, ek.certificate.as_ref().map(|der| der.0.as_slice()), &issuer.ek_roots, now)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (index, ek, tier) = choose(issuer, invitation, &eks)?;
    let device_keys = DeviceKeys {
        ek_hash: Fixed(ek.public().hash()),
        attestation_key: request.attestation_key.clone(),
        identity_key: request.identity_key.clone(),
        proof_key: request.proof_key.clone(),
    };
    if earlier.is_some_and(|device| device.keys.as_ref() != Some(&device_keys)) {
        return Err(EnrolmentError::CodeUsed);
    }

    let activation: [u8; 32] = environment.random();
    let [attestation_name, _, _] = keys.names();
    let credential = make_credential(environment, ek.public(), &attestation_name, &activation)?;
    let answer = BeginAnswer {
        enrolment: EnrolmentId::from_random(environment.random()),
        expires_at: now.plus(issuer.config.challenge_lifetime),
        endorsement_key: index,
        credential_blob: Bytes(credential.blob),
        encrypted_secret: Bytes(credential.secret),
        nonce: Fixed(environment.random()),
        pcrs: issuer.config.pcrs.clone(),
    };
    let bytes = serde_json::to_vec(&answer).map_err(EnrolmentError::Answer)?;
    let challenge = Challenge {
        id: answer.enrolment.to_string(),
        expires_at: answer.expires_at,
        nonce: answer.nonce,
        pcrs: answer.pcrs,
        transcript: Fixed(transcript_hash(body, &bytes)),
        kind: ChallengeKind::Enrolment {
            invitation: invitation.secret_hash,
            secret_hash: Fixed(sha256(&[&activation])),
            ek_hashes: eks.iter().map(|ek| Fixed(ek.public().hash())).collect(),
            tier,
            keys: device_keys,
            csr: request.csr,
        },
    };
    let event = environment
        .event(EventKind::EnrolmentBegun)
        .text("enrolment", &answer.enrolment)
        .text("grant", &invitation.grant)
        .text("role", &invitation.role)
        .number("expires_at", answer.expires_at.seconds())
        .structure("trust_tier", &tier);
    let event = environment.asked(environment.of_invitation(event, invitation), source);
    issuer.store.decide(Decision::new(event).change(Change::AddChallenge(challenge))).await?;
    Ok(bytes)
}

/// Whether the invitation can be used now; gives the device that it enrolled before, if any.
pub(super) async fn usable(
    issuer: &Issuer,
    invitation: &Invitation,
    now: Timestamp,
) -> Result<Option<Device>, EnrolmentError> {
    match invitation.state {
        InvitationLife::Withdrawn => Err(EnrolmentError::CodeWithdrawn),
        InvitationLife::Open if now > invitation.expires_at => {
            Err(EnrolmentError::CodeExpired { ended: invitation.expires_at, now })
        }
        InvitationLife::Open => {
            let known = issuer.projects.get(&invitation.project).and_then(|project| project.role(&invitation.role));
            known.map(|_| None).ok_or(EnrolmentError::PolicyMissing)
        }
        InvitationLife::Used => {
            let id = invitation.device.as_ref().ok_or(EnrolmentError::CodeUsed)?;
            let device = issuer.store.device(id).await?.ok_or(EnrolmentError::CodeUsed)?;
            match device.state {
                DeviceLife::Pending | DeviceLife::Approved => Ok(Some(device)),
                ended => Err(EnrolmentError::DeviceEnded(device_word(ended))),
            }
        }
    }
}

/// The EK to make the credential for: the one that the invitation names, else the best known.
fn choose<'a>(
    issuer: &Issuer,
    invitation: &Invitation,
    eks: &'a [AssessedEk],
) -> Result<(usize, &'a AssessedEk, TrustTier), EnrolmentError> {
    if let Some(registered) = invitation.ek_hash {
        let found = eks.iter().enumerate().find(|(_, ek)| ek.public().hash() == registered.0);
        return found.map(|(index, ek)| (index, ek, ek.tier(true))).ok_or(EnrolmentError::EkMismatch);
    }
    let of_tier =
        |wanted| eks.iter().enumerate().find(|(_, ek)| ek.tier(false) == wanted).map(|(index, ek)| (index, ek, wanted));
    let best = of_tier(TrustTier::EkChain).or_else(|| of_tier(TrustTier::Virtual));
    let unknown = || of_tier(TrustTier::EkUnknown).filter(|_| issuer.config.accept_unknown_ek);
    best.or_else(unknown).ok_or_else(|| {
        let why = eks.iter().find_map(AssessedEk::certificate_error).cloned();
        EnrolmentError::EkUntrusted(why.unwrap_or(EkCertificateError::Missing))
    })
}

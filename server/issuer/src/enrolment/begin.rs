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
    json::read,
    ledger::EventKind,
    names::EnrolmentId,
    time::Timestamp,
};
use daypass_service::Peer;
use std::sync::Arc;

use super::{EnrolmentError, make_credential::make_credential, record, refusal};
use crate::{
    body::Body,
    ending::carried,
    error::Refusal,
    issuer::Issuer,
    keys::csr_key,
    ledger::Source,
    store::{Challenge, ChallengeKind, Change, Decision, Device, DeviceKeys, Invitation, InvitationLife},
};

/// Judges the invitation, the keys and the EKs; answers with a challenge.
pub async fn begin(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    Body(body): Body,
) -> Result<Response, Refusal> {
    let answer = decide(&issuer, &Source::from(&peer), &body)
        .await
        .inspect_err(|error| tracing::info!(%error, "an enrolment was not begun"))?;
    // The bytes that were hashed are the bytes that leave.
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], answer).into_response())
}

async fn decide(issuer: &Issuer, source: &Source, body: &[u8]) -> Result<Vec<u8>, EnrolmentError> {
    let request: BeginRequest = read(body).map_err(EnrolmentError::Malformed)?;
    if request.endorsement_keys.is_empty() || request.endorsement_keys.len() > MAX_ENDORSEMENT_KEYS {
        return Err(EnrolmentError::Malformed(format!("expected 1 to {MAX_ENDORSEMENT_KEYS} endorsement keys")));
    }
    let secret = CodeSecret::from_random(request.secret.0);
    let invitation = issuer.store.invitation_by_secret(secret.hash()).await?.ok_or(EnrolmentError::UnknownCode)?;
    let answer = judge(issuer, source, &invitation, request, body).await;
    if let Err(error) = &answer
        && error.reason().is_some()
    {
        issuer.one_more(EventKind::EnrolmentRefused, &invitation.id)?;
        record(issuer, Decision::new(refusal(issuer, &invitation, source, error))).await;
    }
    answer
}

/// The request of somebody who holds an invitation.
async fn judge(
    issuer: &Issuer,
    source: &Source,
    invitation: &Invitation,
    request: BeginRequest,
    body: &[u8],
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
    issuer.one_more(EventKind::EnrolmentBegun, &invitation.id)?;
    let event = environment
        .event(EventKind::EnrolmentBegun)
        .text("enrolment", &answer.enrolment)
        .number("expires_at", answer.expires_at.seconds())
        .structure("trust_tier", &tier);
    let event = environment.asked(environment.of_invitation(event, invitation, &issuer.policy()), source);
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
            let (policy, carried) = (issuer.policy(), carried(issuer, invitation).await?);
            let known = carried.iter().any(|grant| policy.role(&grant.project, &grant.role).is_some());
            if known { Ok(None) } else { Err(EnrolmentError::PolicyMissing) }
        }
        InvitationLife::Used => {
            let id = invitation.device.as_ref().ok_or(EnrolmentError::CodeUsed)?;
            let device = issuer.store.device(id).await?.ok_or(EnrolmentError::CodeUsed)?;
            match device.state {
                DeviceLife::Pending | DeviceLife::Approved => Ok(Some(device)),
                ended => Err(EnrolmentError::DeviceEnded(ended.as_str())),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixture::Made,
        invitation::{Invite, invite},
        store::Terms,
    };

    fn request(secret: [u8; 16]) -> Vec<u8> {
        serde_json::to_vec(&BeginRequest {
            secret: Fixed(secret),
            endorsement_keys: vec![daypass_proto::enrolment::EndorsementKey {
                public: Bytes(vec![0; 4]),
                certificate: None,
            }],
            attestation_key: Bytes(vec![0; 4]),
            identity_key: Bytes(vec![0; 4]),
            proof_key: Bytes(vec![0; 4]),
            csr: Bytes(vec![0; 4]),
        })
        .unwrap()
    }

    #[tokio::test]
    async fn a_refusal_is_an_event_for_whoever_holds_an_invitation_and_for_nobody_else() {
        let made = Made::new().await;
        let issuer = &made.issuer;
        let asked = Invite {
            collaborator: "alice".parse().unwrap(),
            project: "apollo".parse().unwrap(),
            role: "developer".parse().unwrap(),
            until: made.now().plus(3600),
            terms: Terms::default(),
            code_expires_at: made.now().plus(60),
            ek_hash: None,
            reason: None,
            by: crate::actor::Actor::account("olga"),
        };
        let (store, environment) = (issuer.store.as_ref(), &issuer.environment);
        let pin = issuer.keyring().pin();
        let (invitation, code) =
            invite(store, environment, &issuer.policy(), &issuer.config.issuer_url, pin, asked).await.unwrap();
        let source = Source::Address([127, 0, 0, 1].into());
        for garbage in [&b"{}"[..], &request([7; 16])] {
            decide(issuer, &source, garbage).await.unwrap_err();
        }
        assert!(made.events("enrolment_refused").await.is_empty(), "strangers fill nothing");
        let held = request(*code.secret.expose());
        assert!(matches!(decide(issuer, &source, &held).await, Err(EnrolmentError::Keys(_))));
        made.pass(61);
        assert!(matches!(decide(issuer, &source, &held).await, Err(EnrolmentError::CodeExpired { .. })));
        let events = made.events("enrolment_refused").await;
        assert_eq!(events.len(), 2, "{events:?}");
        assert!(events.iter().all(|leaf| leaf.contains(&invitation.id.to_string())), "{events:?}");
        assert!(events.iter().any(|leaf| leaf.contains("code_expired")), "{events:?}");
    }
}

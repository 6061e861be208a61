//! `POST /enrolment/v1/complete`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Extension, Json, extract::State};
use daypass_proto::{
    attestation::{DeviceKeySet, Evidence, Expected, VerifiedAttestation, verify_enrolment},
    encoding::{Bytes, Fixed, sha256},
    enrolment::{CompleteAnswer, CompleteRequest, DeviceLife, TrustTier, comparison_code},
    json::read,
    ledger::{Event, EventKind},
    names::DeviceId,
};
use daypass_service::Peer;

use super::{
    EnrolmentError,
    begin::usable,
    bind::{Bound, bind, to_bind, used, with_refusals},
    record, refusal,
};
use crate::{
    body::Body,
    device::{Issued, device_state, issue_certificate},
    ending::Told,
    error::Refusal,
    issuer::Issuer,
    ledger::Source,
    store::{Challenge, ChallengeKind, Change, Decision, Device, DeviceKeys, Invitation},
};

/// Judges the answer to a challenge; makes the device.
pub async fn complete(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    Body(body): Body,
) -> Result<Json<CompleteAnswer>, Refusal> {
    let request: CompleteRequest = read(&body).map_err(|error| Refusal::from(EnrolmentError::Malformed(error)))?;
    let challenge = issuer
        .store
        .challenge(request.enrolment.as_str())
        .await?
        .filter(|challenge| challenge.expires_at >= issuer.environment.now())
        .ok_or(EnrolmentError::Challenge)?;
    let ChallengeKind::Enrolment { invitation, .. } = &challenge.kind else {
        return Err(EnrolmentError::Challenge.into());
    };
    let invitation = issuer.store.invitation_by_secret(invitation.0).await?.ok_or(EnrolmentError::UnknownCode)?;
    let source = Source::from(&peer);
    match decide(&issuer, &request, &challenge, invitation.clone(), &source).await {
        Ok(answer) => Ok(Json(answer)),
        Err(error) => {
            tracing::info!(%error, "an enrolment was refused");
            // Single-use: a wrong answer spends the challenge too. Where it is gone already, somebody else spent it.
            let event = refusal(&issuer, &invitation, &source, &error).text("enrolment", &challenge.id);
            let spent = Decision::new(event).change(Change::TakeChallenge(challenge.id.clone()));
            record(&issuer, spent).await;
            Err(error.into())
        }
    }
}

async fn decide(
    issuer: &Issuer,
    request: &CompleteRequest,
    challenge: &Challenge,
    invitation: Invitation,
    source: &Source,
) -> Result<CompleteAnswer, EnrolmentError> {
    let ChallengeKind::Enrolment { secret_hash, ek_hashes, tier, keys, csr, .. } = &challenge.kind else {
        return Err(EnrolmentError::Challenge);
    };
    if sha256(&[&request.activation_secret.0]) != secret_hash.0 {
        return Err(EnrolmentError::Activation);
    }
    let set = DeviceKeySet::parse(&keys.attestation_key.0, &keys.identity_key.0, &keys.proof_key.0)?;
    let values: Vec<[u8; 32]> = request.pcr_values.iter().map(|value| value.0).collect();
    let verified = verify_enrolment(
        &Expected {
            keys: &set,
            nonce: &challenge.nonce.0,
            transcript: &challenge.transcript.0,
            csr: &csr.0,
            pcrs: &challenge.pcrs,
        },
        &Evidence {
            identity: &request.identity_certification,
            proof: &request.proof_certification,
            quote: &request.quote,
            pcr_values: &values,
            event_log: request.event_log.as_ref(),
        },
    )?;

    let earlier = usable(issuer, &invitation, issuer.environment.now()).await?;
    let names = set.names();
    let hashes: Vec<[u8; 32]> = ek_hashes.iter().map(|hash| hash.0).collect();
    let code = comparison_code(&hashes, [&names[0], &names[1], &names[2]], &challenge.nonce.0);
    let pcrs = challenge.quoted(&request.pcr_values);
    let enrolled = Enrolled { verified: &verified, keys, tier: *tier, code, source, pcrs };
    let (device, certificate, decision) = match earlier {
        Some(device) => again(issuer, &invitation, device, &enrolled, request)?,
        None => first(issuer, invitation, &enrolled, request).await?,
    };
    let decision = decision.change(Change::TakeChallenge(challenge.id.clone())).change(certificate.change());
    if let Err(error) = issuer.store.decide(decision).await {
        return Err(EnrolmentError::from_race(issuer, error).await);
    }
    let state = device_state(issuer, &device, certificate.not_after()).await?;
    let root_chain = vec![Bytes(issuer.keyring().root().to_vec())];
    Ok(CompleteAnswer { device: state, certificate_chain: certificate.chain(), root_chain })
}

struct Enrolled<'a> {
    verified: &'a VerifiedAttestation,
    keys: &'a DeviceKeys,
    tier: TrustTier,
    code: String,
    pcrs: BTreeMap<u8, Fixed<32>>,
    source: &'a Source,
}

impl Enrolled<'_> {
    fn event(&self, issuer: &Issuer, invitation: &Invitation, device: &Device, certificate: &Issued) -> Event {
        let environment = &issuer.environment;
        let event = environment
            .event(EventKind::DeviceEnrolled)
            .text("device", &device.id)
            .text("state", device.state.as_str())
            .structure("trust_tier", &device.tier)
            .structure("posture", &device.posture)
            .text("comparison_code", &self.code)
            .number("not_after", certificate.not_after().seconds());
        let event = environment.of_invitation(event, invitation, &issuer.policy());
        environment.asked(environment.personal(event, "hostname", &device.facts.hostname), self.source)
    }

    fn apply(&self, device: &mut Device, request: &CompleteRequest) {
        device.comparison_code = Some(self.code.clone());
        device.posture = self.verified.quote().posture(self.tier);
        device.pcrs.clone_from(&self.pcrs);
        device.facts = request.facts.clone();
    }
}

/// The first completion: the invitation is bound, the device is made.
async fn first(
    issuer: &Issuer,
    invitation: Invitation,
    enrolled: &Enrolled<'_>,
    request: &CompleteRequest,
) -> Result<(Device, Issued, Decision), EnrolmentError> {
    let environment = &issuer.environment;
    // Only an EK that stood in this very invitation spares the person.
    let registered = invitation.ek_hash.is_some();
    let mut device = Device {
        id: DeviceId::from_random(environment.random()),
        collaborator: invitation.collaborator.clone(),
        state: if registered { DeviceLife::Approved } else { DeviceLife::Pending },
        reason: registered.then(|| "its EK hash stood in the invitation".to_owned()),
        tier: enrolled.tier,
        keys: Some(enrolled.keys.clone()),
        identity: *enrolled.verified.keys().identity().point(),
        proof: *enrolled.verified.keys().proof().point(),
        comparison_code: None,
        posture: enrolled.verified.quote().posture(enrolled.tier),
        pcrs: BTreeMap::new(),
        facts: request.facts.clone(),
        enrolled_at: environment.now(),
    };
    enrolled.apply(&mut device, request);
    // The device is let on by its EK, and its grants by the owners: they may have approved them while the code was under way.
    let mut bound = Vec::new();
    for grant in to_bind(issuer, &invitation).await? {
        bound.push(if registered { Bound::judge(issuer, &device, grant).await? } else { Bound::waits(grant) });
    }
    if bound.iter().any(|bound| bound.refused.is_some()) {
        // A person looks at it, and the guardrails are asked again.
        (device.state, device.reason) = (DeviceLife::Pending, None);
    }
    let certificate = issue_certificate(issuer, &device).map_err(EnrolmentError::Certificate)?;
    let told = Told { source: enrolled.source, rule: Some("ek_hash_in_invitation"), reason: None };
    let decision = Decision::new(enrolled.event(issuer, &invitation, &device, &certificate));
    let mut decision = with_refusals(issuer, decision, &device, &bound, &told);
    if device.state == DeviceLife::Approved {
        let approved = environment.of_device(environment.event(EventKind::DeviceApproved), &device);
        decision = decision.event(told.on(issuer, approved));
    }
    decision = used(decision, &invitation, &device).change(Change::AddDevice(device.clone()));
    let decision = bind(issuer, decision, &device, bound, &told).await?;
    Ok((device, certificate, decision))
}

/// The same machine with the same keys once more: an answer was lost, or the agent was killed.
fn again(
    issuer: &Issuer,
    invitation: &Invitation,
    mut device: Device,
    enrolled: &Enrolled<'_>,
    request: &CompleteRequest,
) -> Result<(Device, Issued, Decision), EnrolmentError> {
    if device.keys.as_ref() != Some(enrolled.keys) {
        return Err(EnrolmentError::CodeUsed);
    }
    enrolled.apply(&mut device, request);
    let certificate = issue_certificate(issuer, &device).map_err(EnrolmentError::Certificate)?;
    let event = enrolled.event(issuer, invitation, &device, &certificate).structure("again", &true);
    let from = device.state;
    Ok((device.clone(), certificate, Decision::new(event).change(Change::Device { to: Box::new(device), from })))
}

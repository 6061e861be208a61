//! Accepting.

use daypass_proto::{
    briefing::{self, AcceptRequest, Briefing, Expected, Standing},
    encoding::{Fixed, base64url},
    ledger::EventKind,
};

use super::{BriefingError, of};
use crate::{
    caller::ApprovedDevice,
    issuer::Issuer,
    ledger::Source,
    store::{Acceptance, Change, Decision, Grant, Seen},
};

/// Takes an acceptance of this device down, if it is of the briefing as it is now; gives the briefing. What was accepted already stays so, without a
/// second event.
pub async fn accept(
    issuer: &Issuer,
    caller: &ApprovedDevice,
    asked: &AcceptRequest,
    source: &Source,
) -> Result<Briefing, BriefingError> {
    issuer.one_more(EventKind::BriefingAccepted, &caller.device().id)?;
    match judged(issuer, caller, asked, source).await {
        Ok(briefing) => {
            // What is remembered of it was not briefed.
            caller.forget(issuer);
            Ok(briefing)
        }
        Err(error) => {
            if let Some((_, reason, _)) = error.reason() {
                let environment = &issuer.environment;
                let event = environment.event(EventKind::BriefingNotAccepted);
                let event = environment.of_device(event, caller.device());
                let event = environment.refused(event, reason, &error.to_string());
                issuer.store.decide(Decision::new(environment.asked(event, source))).await?;
            }
            Err(error)
        }
    }
}

async fn judged(
    issuer: &Issuer,
    caller: &ApprovedDevice,
    asked: &AcceptRequest,
    source: &Source,
) -> Result<Briefing, BriefingError> {
    let (environment, policy, now) = (&issuer.environment, issuer.policy(), issuer.environment.now());
    let found: Option<&Seen<Grant>> = caller.grants().iter().find(|grant| grant.id == asked.grant);
    let grant = found.ok_or_else(|| BriefingError::NoGrant(asked.grant.clone()))?;
    let shown = of(&policy, &issuer.config.issuer_url, grant, now)?;
    let expected = Expected {
        issuer: &issuer.config.issuer_url,
        grant: &grant.id,
        project: &grant.project,
        briefing: shown.briefing,
        text: &shown.text,
        proof_key: &caller.device().proof,
        now,
        skew: issuer.config.skew,
    };
    let acceptance = briefing::verify(&asked.acceptance, &expected)?;
    if shown.standing == Standing::Accepted {
        return Ok(shown);
    }
    let event = environment
        .event(EventKind::BriefingAccepted)
        .text("briefing", base64url(&shown.briefing.0))
        .text("acceptance", base64url(&acceptance.hash()));
    let event = environment.asked(environment.of_grant(event, grant, &policy), source);
    let change = Change::AcceptBriefing {
        to: Box::new(Grant { briefed: Some(shown.briefing), ..Grant::clone(grant) }),
        acceptance: Box::new(Acceptance {
            hash: Fixed(acceptance.hash()),
            grant: grant.id.clone(),
            device: caller.device().id.clone(),
            collaborator: grant.collaborator.clone(),
            at: now,
            briefing: shown.briefing,
            acceptance: asked.acceptance.clone(),
            text: Some(shown.text.clone()),
        }),
    };
    issuer.store.decide(Decision::new(event).change(caller.as_seen(grant)).change(change)).await?;
    Ok(Briefing { standing: Standing::Accepted, ..shown })
}

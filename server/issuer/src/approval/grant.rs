//! Grants that wait.

use daypass_proto::{enrolment::DeviceLife, ledger::EventKind, names::GrantId};

use super::{ApprovalError, Waiting, bar, guard};
use crate::{
    actor::Actor,
    device::Verb,
    ending::{GrantVerb, Told},
    invitation::within_limits,
    issuer::Issuer,
    ledger::Source,
    policy::Action,
    replacement::{Succession, succeed},
    store::{Change, Decision, Device, Grant, GrantLife},
};

/// A grant, after somebody approved it.
#[derive(Clone, Debug)]
pub struct Approved {
    /// As it is now.
    pub grant: Grant,
    /// What it has of approvals.
    pub waiting: Waiting,
}

/// Writes one person's approval down; with the last one that it takes, the grant comes into force, if its device was approved.
pub async fn approve(
    issuer: &Issuer,
    id: &GrantId,
    actor: &Actor,
    reason: Option<&str>,
) -> Result<Approved, ApprovalError> {
    let store = &issuer.store;
    let grant = store.grant(id).await?.ok_or_else(|| ApprovalError::NoGrant(id.clone()))?;
    let source = Source::Actor(actor.clone());
    let told = Told { source: &source, rule: None, reason };
    let device = match &grant.device {
        Some(device) => store.device(device).await?,
        None => None,
    };
    let ready = device.as_ref().is_some_and(|device| device.state == DeviceLife::Approved);
    let before = Waiting::of_grant(issuer, &grant).await?;
    let enough = before.is_some_and(|waiting| !waiting.record().given.is_empty() && waiting.missing() == 0);
    let judged = match judge(issuer, &grant, actor).await {
        // Of several owners who need not all approve, one does; the others are told.
        Ok(_) | Err(ApprovalError::Already(_)) if enough && !ready => Err(ApprovalError::Enough(grant.id.clone())),
        judged => judged,
    };
    // Where the machine is not known yet, it is asked once it comes into force.
    let judged = judged.and_then(|waiting| {
        let monitored = device.as_ref().map(|device| guard(issuer, Action::Approve, device, &grant)).transpose()?;
        Ok((waiting, monitored.unwrap_or_default()))
    });
    let (waiting, monitored) = match judged {
        Ok(judged) => judged,
        Err(error) => return Err(refused(issuer, &grant, &told, error).await),
    };
    let mut decision = approval(issuer, Decision::default(), &grant, &waiting, &told);
    if let Some(device) = device {
        decision = decision.change(Change::RequireDevice(device.id, device.state));
    }
    if !ready || waiting.missing() > 0 {
        // As it is: a machine that enrols meanwhile would be seen by neither.
        store.decide(decision.change(Change::Grant { to: grant.clone(), from: grant.state })).await?;
        return Ok(Approved { grant, waiting });
    }
    let (grant, succession) = Succession::of(issuer, grant).await?;
    decision = GrantVerb::Activate.noting(issuer, decision, grant.clone(), &told, &monitored);
    decision = succeed(issuer, decision, succession.into_iter().collect(), &told).await?;
    store.decide(decision).await?;
    Ok(Approved { grant: Grant { state: GrantLife::Active, ..grant }, waiting })
}

/// Whether this approval counts: the grant waits, today's policy gives it, and this person may.
async fn judge(issuer: &Issuer, grant: &Grant, actor: &Actor) -> Result<Waiting, ApprovalError> {
    if grant.state != GrantLife::Requested {
        return Err(ApprovalError::NotWaiting { grant: grant.id.clone(), state: grant.state });
    }
    let waiting = Waiting::under(issuer, grant, bar(&issuer.policy(), &grant.project, &grant.role)?).await?;
    given_today(issuer, grant, &waiting)?;
    waiting.approved_by(&issuer.environment, &issuer.config, actor)
}

/// Whether what waits could still come into force: its end is to come, and today's policy gives it, as long as it was asked for then.
fn given_today(issuer: &Issuer, grant: &Grant, waiting: &Waiting) -> Result<(), ApprovalError> {
    if grant.until <= issuer.environment.now() {
        return Err(ApprovalError::Over { grant: grant.id.clone(), until: grant.until });
    }
    let (policy, role, asked_at) = (issuer.policy(), (&grant.project, &grant.role), waiting.record().asked_at);
    within_limits(&policy, role, &grant.collaborator, grant.until, &grant.terms, asked_at)?;
    Ok(())
}

/// Whether a grant comes into force with this device, once that is let on: with the guardrails that would forbid it, were they enforced; or what speaks
/// against it today. Nothing where it lacks approvals.
pub fn comes(
    issuer: &Issuer,
    device: &Device,
    grant: &Grant,
    waiting: &Waiting,
) -> Option<Result<Vec<String>, ApprovalError>> {
    (waiting.missing() == 0).then(|| {
        given_today(issuer, grant, waiting)?;
        Ok(guard(issuer, Action::Approve, device, grant)?)
    })
}

fn approval(issuer: &Issuer, decision: Decision, grant: &Grant, waiting: &Waiting, told: &Told<'_>) -> Decision {
    let event = issuer.environment.event(EventKind::GrantApproved);
    let event = waiting.counted(issuer.environment.of_grant(event, grant, &issuer.policy()));
    decision.event(told.on(issuer, event)).change(waiting.change())
}

/// What becomes of a device's grants when the device itself is let on: those that have their approvals come into force. Somebody who approves the
/// device for an owner, or is one, approves what it waits for with it where they say so.
pub async fn follow(
    issuer: &Issuer,
    mut decision: Decision,
    device: &Device,
    grants: Vec<Grant>,
    verb: Verb,
    told: &Told<'_>,
) -> Result<Decision, ApprovalError> {
    let approves = matches!(verb, Verb::Approve { .. });
    let with_grants = verb == Verb::Approve { with_grants: true };
    let (mut successions, mut others, mut held) = (Vec::new(), false, None);
    for grant in grants.into_iter().filter(|grant| grant.state == GrantLife::Requested) {
        let actor = match told.source {
            Source::Actor(actor) if approves => actor.person().map(|_| actor),
            Source::Actor(_) | Source::Address(_) => None,
        };
        let judged = match actor {
            Some(actor) => Some(judge(issuer, &grant, actor).await),
            None => None,
        };
        let waiting = match (judged, actor) {
            (Some(Ok(waiting)), _) if with_grants => {
                decision = approval(issuer, decision, &grant, &waiting, told);
                Some(waiting)
            }
            (Some(Err(error)), Some(Actor::Machine { .. })) => return Err(refused(issuer, &grant, told, error).await),
            // Somebody who may approve devices need not be an owner.
            (judged, _) => {
                let waiting = Waiting::of_grant(issuer, &grant).await?;
                // Where nobody else need approve, whoever invited would be the only one who ever did.
                if let Some(Err(own @ ApprovalError::Own { .. })) = judged
                    && waiting.as_ref().is_some_and(|waiting| waiting.missing() == 0)
                {
                    return Err(refused(issuer, &grant, told, own).await);
                }
                if let Some(waiting) = &waiting {
                    decision = decision.change(waiting.unchanged());
                }
                waiting
            }
        };
        let id = grant.id.clone();
        let comes = match waiting.and_then(|waiting| comes(issuer, device, &grant, &waiting)) {
            Some(Ok(monitored)) => Some(Succession::of(issuer, grant.clone()).await.map(|given| (given, monitored))),
            Some(Err(error)) => Some(Err(error)),
            None => None,
        };
        decision = match comes {
            Some(Ok(((grant, succession), monitored))) => {
                (others, successions) = (true, successions.into_iter().chain(succession).collect());
                GrantVerb::Activate.noting(issuer, decision, grant, told, &monitored)
            }
            Some(Err(error @ ApprovalError::Guardrail(_))) if approves => {
                return Err(refused(issuer, &grant, told, error).await);
            }
            // A device that was held back goes on with what it had; and one grant that is over holds up no other.
            stays => {
                match stays {
                    Some(Err(error)) if approves => held = Some((grant, error)),
                    _ => others = true,
                }
                decision.change(Change::RequireGrant(id, GrantLife::Requested))
            }
        };
    }
    match held {
        Some((grant, error)) if !others => Err(refused(issuer, &grant, told, error).await),
        _ => Ok(succeed(issuer, decision, successions, told).await?),
    }
}

/// Writes down that somebody tried what was not theirs to do.
async fn refused(issuer: &Issuer, grant: &Grant, told: &Told<'_>, error: ApprovalError) -> ApprovalError {
    let Some(event) = error.event(&issuer.environment) else { return error };
    let event = issuer.environment.of_grant(event, grant, &issuer.policy());
    let event = issuer.environment.asked(event, told.source);
    match issuer.store.decide(Decision::new(event)).await {
        Ok(()) => error,
        Err(fault) => fault.into(),
    }
}

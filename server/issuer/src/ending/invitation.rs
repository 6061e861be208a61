//! Taking an invitation back.

use daypass_proto::{ledger::EventKind, names::InvitationId};

use super::{EndError, GrantVerb, Told};
use crate::{
    issuer::Issuer,
    store::{Change, Decision, Find, Grant, GrantLife, Invitation, InvitationLife, StoreError},
};

/// A decision with an open invitation's end on top.
pub(crate) fn on(issuer: &Issuer, decision: Decision, invitation: Invitation, told: &Told<'_>) -> Decision {
    let environment = &issuer.environment;
    let event = environment.event(EventKind::InvitationWithdrawn);
    let event = environment.of_invitation(event, &invitation, &issuer.policy());
    decision.event(told.on(issuer, event)).change(Change::Invitation {
        from: InvitationLife::Open,
        to: Invitation { state: InvitationLife::Withdrawn, ..invitation },
    })
}

/// The same, with the end of the grants that wait for it.
pub(crate) fn with_grants(
    issuer: &Issuer,
    decision: Decision,
    invitation: Invitation,
    grants: Vec<Grant>,
    told: &Told<'_>,
) -> Decision {
    let decision = on(issuer, decision, invitation, told);
    let waiting = grants.into_iter().filter(|grant| GrantVerb::Revoke.starts_from(grant.state));
    waiting.fold(decision, |decision, grant| GrantVerb::Revoke.on(issuer, decision, grant, told))
}

/// The open invitation that would carry nothing more without this grant; there is one at most.
pub(super) async fn open_of(issuer: &Issuer, grant: &Grant) -> Result<Vec<Invitation>, EndError> {
    let open = || Find { states: vec![InvitationLife::Open.as_str()], ..Find::up_to(1000) };
    let mut found = match &grant.replaces {
        None => issuer.store.find_invitations(&Find { grant: Some(grant.id.clone()), ..open() }).await?,
        Some(_) => {
            let theirs = Find { collaborator: Some(grant.collaborator.clone()), ..open() };
            issuer.store.find_invitations(&theirs).await?
        }
    };
    found.retain(|invitation| invitation.grants().any(|carried| *carried == grant.id));
    let Some(invitation) = found.pop() else { return Ok(Vec::new()) };
    let others = carried(issuer, &invitation).await?;
    let others = others.iter().any(|other| other.id != grant.id && other.state == GrantLife::Requested);
    Ok(if others { Vec::new() } else { vec![invitation] })
}

/// The grants that an invitation carries, or carried.
pub(crate) async fn carried(issuer: &Issuer, invitation: &Invitation) -> Result<Vec<Grant>, StoreError> {
    let mut all = Vec::new();
    for id in invitation.grants() {
        all.extend(issuer.store.grant(id).await?);
    }
    Ok(all)
}

/// Takes an open invitation back, and what it carries; gives it as it is now.
pub async fn withdraw(issuer: &Issuer, id: &InvitationId, told: &Told<'_>) -> Result<Invitation, EndError> {
    let invitation = issuer.store.invitation(id).await?.ok_or_else(|| EndError::NoInvitation(id.clone()))?;
    match (invitation.state, &invitation.device) {
        (InvitationLife::Open, _) => {}
        (InvitationLife::Used, Some(device)) => {
            return Err(EndError::Used { invitation: id.clone(), device: device.clone() });
        }
        (state @ (InvitationLife::Used | InvitationLife::Withdrawn), _) => {
            return Err(EndError::NotOpen { invitation: id.clone(), state });
        }
    }
    let grants = carried(issuer, &invitation).await?;
    issuer.store.decide(with_grants(issuer, Decision::default(), invitation.clone(), grants, told)).await?;
    Ok(Invitation { state: InvitationLife::Withdrawn, ..invitation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{actor::Actor, fixture::Made, ledger::Source};

    #[tokio::test]
    async fn a_withdrawn_code_takes_its_grant_with_it_and_only_an_open_one_is_withdrawn() {
        let made = Made::new().await;
        let invitation = made.invited("alice").await;
        let source = Source::from(Actor::account("olga"));
        let told = Told { source: &source, rule: None, reason: Some("sent to the wrong person") };
        withdraw(&made.issuer, &invitation.id, &told).await.unwrap();
        let store = &made.issuer.store;
        assert_eq!(store.grant(&invitation.grant).await.unwrap().unwrap().state, GrantLife::Revoked);
        for kind in ["invitation_withdrawn", "grant_revoked"] {
            assert_eq!(made.reasons(kind).await, ["sent to the wrong person"], "{kind}");
        }
        let again = withdraw(&made.issuer, &invitation.id, &told).await;
        assert!(matches!(again, Err(EndError::NotOpen { state: InvitationLife::Withdrawn, .. })), "{again:?}");
        let unknown = withdraw(&made.issuer, &InvitationId::from_random([9; 10]), &told).await;
        assert!(matches!(unknown, Err(EndError::NoInvitation(_))));
    }

    #[tokio::test]
    async fn a_used_invitation_is_not_withdrawn_and_its_device_is_named() {
        let made = Made::with_software().await;
        let (invitation, device) = (made.invited("alice").await, made.client().await.id);
        let used = Invitation { state: InvitationLife::Used, device: Some(device.clone()), ..invitation.clone() };
        let event = crate::fixture::event(&made.issuer.environment);
        let change = Change::Invitation { to: used, from: InvitationLife::Open };
        made.issuer.store.decide(Decision::new(event).change(change)).await.unwrap();
        let source = Source::from(Actor::account("olga"));
        let told = Told { source: &source, rule: None, reason: None };
        let error = withdraw(&made.issuer, &invitation.id, &told).await.unwrap_err().to_string();
        assert!(error.contains(&format!("`daypass-issuer device revoke {device}`")), "{error}");
    }
}

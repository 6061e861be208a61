//! Taking an invitation back.

use daypass_proto::{
    ledger::EventKind,
    names::{GrantId, InvitationId},
};

use super::{EndError, GrantVerb, Told};
use crate::{
    issuer::Issuer,
    store::{Change, Decision, Find, Invitation, InvitationLife},
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

/// The open invitation that carries this grant; there is one at most.
pub(super) async fn open_of(issuer: &Issuer, grant: &GrantId) -> Result<Vec<Invitation>, EndError> {
    let find = Find { grant: Some(grant.clone()), states: vec![InvitationLife::Open.as_str()], ..Find::up_to(1) };
    Ok(issuer.store.find_invitations(&find).await?)
}

/// Takes an open invitation back, and the grant that it carries; gives it as it is now.
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
    let mut decision = on(issuer, Decision::default(), invitation.clone(), told);
    if let Some(grant) = issuer.store.grant(&invitation.grant).await?
        && GrantVerb::Revoke.starts_from(grant.state)
    {
        decision = GrantVerb::Revoke.on(issuer, decision, grant, told);
    }
    issuer.store.decide(decision).await?;
    Ok(Invitation { state: InvitationLife::Withdrawn, ..invitation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{actor::Actor, fixture::Made, ledger::Source, store::GrantLife};

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

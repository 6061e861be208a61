//! What is decided about one grant.

use daypass_proto::{
    ledger::{Event, EventKind},
    names::GrantId,
};

use super::{EndError, decide_anew, invitation::open_of};
use crate::{
    grant::{Span, Standing},
    issuer::Issuer,
    ledger::Source,
    store::{Change, Decision, Grant, GrantLife, grant_may_become},
};

/// What is to happen to a grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GrantVerb {
    /// Its device was approved.
    Activate,
    /// Held back.
    Suspend,
    /// Let on again.
    Resume,
    /// Ended before its time.
    Revoke,
}

impl GrantVerb {
    /// Where it leads; resuming in grace leads there.
    const fn target(self) -> GrantLife {
        match self {
            Self::Activate | Self::Resume => GrantLife::Active,
            Self::Suspend => GrantLife::Suspended,
            Self::Revoke => GrantLife::Revoked,
        }
    }

    /// The states that it starts from: narrower than the diagram where two verbs share a target.
    pub fn starts_from(self, from: GrantLife) -> bool {
        let fits = match self {
            Self::Activate => from == GrantLife::Requested,
            Self::Resume => from == GrantLife::Suspended,
            Self::Suspend | Self::Revoke => true,
        };
        fits && grant_may_become(from, self.target())
    }

    const fn event(self) -> EventKind {
        match self {
            Self::Activate => EventKind::GrantActivated,
            Self::Suspend => EventKind::GrantSuspended,
            Self::Resume => EventKind::GrantResumed,
            Self::Revoke => EventKind::GrantRevoked,
        }
    }

    /// What it makes of a grant.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Activate => "activated",
            Self::Suspend => "suspended",
            Self::Resume => "resumed",
            Self::Revoke => "revoked",
        }
    }

    /// What to do where it does not start.
    pub(super) const fn instead(self, from: GrantLife) -> &'static str {
        match from {
            GrantLife::Requested => "it waits for approval; `revoke` ends it",
            GrantLife::Active | GrantLife::Grace => "`suspend` holds it back, `revoke` ends it",
            GrantLife::Suspended => "`resume` lets it on, `revoke` ends it",
            GrantLife::Revoked | GrantLife::Ended => "nothing brings it back: invite anew",
        }
    }

    /// A decision with this on top: the grant in its next state, and the event.
    pub fn on(self, issuer: &Issuer, decision: Decision, grant: Grant, told: &Told<'_>) -> Decision {
        self.noting(issuer, decision, grant, told, &[])
    }

    /// The same, with the guardrails that would have forbidden it, were they enforced.
    pub fn noting(
        self,
        issuer: &Issuer,
        decision: Decision,
        grant: Grant,
        told: &Told<'_>,
        monitored: &[String],
    ) -> Decision {
        let event = issuer.environment.event(self.event());
        let event = if monitored.is_empty() { event } else { event.structure("monitored", &monitored) };
        let event = match &grant.replaces {
            Some(replaces) if self == Self::Activate => event.text("replaces", &replaces.grant),
            _ => event,
        };
        let event = issuer.environment.of_grant(event, &grant, &issuer.policy());
        let state = self.lands(issuer, &grant);
        decision.event(told.on(issuer, event)).change(Change::Grant { from: grant.state, to: Grant { state, ..grant } })
    }

    /// Where it leads today: after its hard end a grant is let on in grace, or not at all.
    fn lands(self, issuer: &Issuer, grant: &Grant) -> GrantLife {
        match self {
            Self::Resume => standing(issuer, grant).life(),
            Self::Activate | Self::Suspend | Self::Revoke => self.target(),
        }
    }
}

/// What the events of a decision say about it.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// From where it comes.
    pub source: &'a Source,
    /// Of what it is a part.
    pub rule: Option<&'static str>,
    /// Why, in somebody's words, which may name people.
    pub reason: Option<&'a str>,
}

impl Told<'_> {
    /// The event with that.
    pub fn on(&self, issuer: &Issuer, event: Event) -> Event {
        let event = issuer.environment.asked(event, self.source);
        let event = match self.rule {
            Some(rule) => event.text("rule", rule),
            None => event,
        };
        match self.reason {
            Some(reason) => issuer.environment.personal(event, "why", reason),
            None => event,
        }
    }
}

/// Decides about one grant; gives it as it is now. A code that still waits for its machine ends with the grant that it carries.
pub async fn decide_grant(issuer: &Issuer, id: &GrantId, verb: GrantVerb, told: &Told<'_>) -> Result<Grant, EndError> {
    let is_stop = matches!(verb, GrantVerb::Revoke | GrantVerb::Suspend);
    decide_anew(issuer, is_stop, || prepare(issuer, id, verb, told)).await
}

/// What would be decided, and the grant as it would be then.
async fn prepare(
    issuer: &Issuer,
    id: &GrantId,
    verb: GrantVerb,
    told: &Told<'_>,
) -> Result<(Decision, Grant), EndError> {
    let grant = issuer.store.grant(id).await?.ok_or_else(|| EndError::NoGrant(id.clone()))?;
    if !verb.starts_from(grant.state) {
        return Err(EndError::Transition { grant: id.clone(), from: grant.state, verb });
    }
    let state = verb.lands(issuer, &grant);
    if state == GrantLife::Ended {
        return Err(EndError::Over { grant: id.clone(), until: grant.until });
    }
    let mut decision = verb.on(issuer, Decision::default(), grant.clone(), told);
    if verb == GrantVerb::Revoke {
        for invitation in open_of(issuer, &grant).await? {
            decision = super::invitation::on(issuer, decision, invitation, told);
        }
    }
    Ok((decision, Grant { state, ..grant }))
}

/// Where a grant is in its time.
pub fn standing(issuer: &Issuer, grant: &Grant) -> Standing {
    span(issuer, grant).at(issuer.environment.now())
}

/// A grant's times by today's policy, and by its record alone where that has nothing of it for now.
pub(super) fn span(issuer: &Issuer, grant: &Grant) -> Span {
    let policy = issuer.policy();
    let project = policy.project(&grant.project);
    let span = project.and_then(|project| Span::of(grant, project, project.role(&grant.role)?));
    span.unwrap_or_else(|| Span::recorded(grant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        actor::Actor,
        fixture::Made,
        store::{DecideError, InvitationLife, StoreError},
    };

    async fn act(made: &Made, id: &GrantId, verb: GrantVerb) -> Result<Grant, EndError> {
        let source = Source::from(Actor::account("olga"));
        decide_grant(&made.issuer, id, verb, &Told { source: &source, rule: None, reason: Some("audit") }).await
    }

    #[test]
    fn a_verb_starts_only_where_the_diagram_lets_it() {
        use GrantLife::{Active, Ended, Grace, Requested, Revoked, Suspended};
        for (verb, from) in [
            (GrantVerb::Activate, &[Requested][..]),
            (GrantVerb::Suspend, &[Active, Grace]),
            (GrantVerb::Resume, &[Suspended]),
            (GrantVerb::Revoke, &[Requested, Active, Grace, Suspended]),
        ] {
            for state in [Requested, Active, Grace, Suspended, Revoked, Ended] {
                assert_eq!(verb.starts_from(state), from.contains(&state), "{} from {state}", verb.word());
            }
        }
    }

    #[tokio::test]
    async fn a_grant_is_held_back_let_on_and_ended_and_every_event_says_why() {
        let made = Made::with_software().await;
        let device = made.client().await.id;
        let grant = made.issuer.store.grants_of(&device).await.unwrap().remove(0).id;
        for (verb, state, event) in [
            (GrantVerb::Suspend, GrantLife::Suspended, "grant_suspended"),
            (GrantVerb::Resume, GrantLife::Active, "grant_resumed"),
            (GrantVerb::Revoke, GrantLife::Revoked, "grant_revoked"),
        ] {
            let again = (verb == GrantVerb::Resume).then_some(GrantVerb::Suspend);
            if let Some(again) = again {
                let error = act(&made, &grant, again).await.unwrap_err().to_string();
                assert!(error.contains("is suspended, and cannot be suspended; `resume` lets it on"), "{error}");
            }
            assert_eq!(act(&made, &grant, verb).await.unwrap().state, state);
            assert_eq!(made.issuer.store.grant(&grant).await.unwrap().unwrap().state, state);
            assert_eq!(made.reasons(event).await, ["audit"]);
        }
        for verb in [GrantVerb::Activate, GrantVerb::Suspend, GrantVerb::Resume, GrantVerb::Revoke] {
            assert!(matches!(act(&made, &grant, verb).await, Err(EndError::Transition { .. })), "{}", verb.word());
        }
        let nobodys = GrantId::from_random([9; 10]);
        assert!(matches!(act(&made, &nobodys, GrantVerb::Revoke).await, Err(EndError::NoGrant(_))));
    }

    #[tokio::test]
    async fn a_hard_end_is_not_got_round_by_a_suspension() {
        let made = Made::with_software().await;
        let device = made.client().await.id;
        let grant = made.issuer.store.grants_of(&device).await.unwrap().remove(0).id;
        act(&made, &grant, GrantVerb::Suspend).await.unwrap();
        made.pass(3600);
        assert!(matches!(act(&made, &grant, GrantVerb::Resume).await, Err(EndError::Over { .. })));
    }

    #[tokio::test]
    async fn a_grant_that_waits_takes_its_code_with_it() {
        let made = Made::new().await;
        let invitation = made.invited("alice").await;
        act(&made, &invitation.grant, GrantVerb::Revoke).await.unwrap();
        let store = &made.issuer.store;
        let found = store.invitation_by_secret(invitation.secret_hash.0).await.unwrap().unwrap();
        assert_eq!(found.state, InvitationLife::Withdrawn);
        assert_eq!(made.events("invitation_withdrawn").await.len(), 1);
    }

    #[tokio::test]
    async fn the_store_itself_refuses_what_the_diagram_does_not_have() {
        use GrantLife::{Active, Ended, Grace, Requested, Revoked, Suspended};
        let made = Made::new().await;
        let invitation = made.invited("alice").await;
        let store = &made.issuer.store;
        let grant = store.grant(&invitation.grant).await.unwrap().unwrap();
        let goes = async |from, to| {
            let event = crate::fixture::event(&made.issuer.environment);
            let change = Change::Grant { to: Grant { state: to, ..grant.clone() }, from };
            store.decide(Decision::new(event).change(change)).await
        };
        for from in [Requested, Active, Grace, Suspended, Revoked, Ended] {
            for to in [Requested, Active, Grace, Suspended, Revoked, Ended] {
                // The condition comes after: of those that the diagram has, all but the first find the grant elsewhere.
                let refused = matches!(goes(from, to).await, Err(DecideError::Store(StoreError::Transition { .. })));
                assert_eq!(refused, from != to && !grant_may_become(from, to), "{from} to {to}");
            }
        }
    }
}

//! What people decide about a device: approve, suspend, resume, revoke; and what a device decides itself: leave.
//!
//! Endpoints and commands come here, so that each decision has one form, one set of conditions and one event.

use daypass_proto::{
    enrolment::DeviceLife,
    ledger::EventKind,
    names::DeviceId,
    oauth_error::{OAuthError, Reason},
};
use thiserror::Error;

use crate::{
    actor::Actor,
    approval::{self, ApprovalError},
    ending::{GrantVerb, Told, decide_anew},
    error::Refusal,
    issuer::Issuer,
    ledger::Source,
    store::{Change, DecideError, Decision, Device, Holder, StoreError, device_may_become},
};

/// What is to happen to a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// Somebody compared the code.
    Approve {
        /// Whether that person approves what it was invited to as well, as far as it is theirs.
        with_grants: bool,
    },
    /// Held back.
    Suspend,
    /// Let on again.
    Resume,
    /// Ended by somebody.
    Revoke,
    /// Ended by its user.
    Leave,
}

impl Verb {
    const fn target(self) -> DeviceLife {
        match self {
            Self::Approve { .. } | Self::Resume => DeviceLife::Approved,
            Self::Suspend => DeviceLife::Suspended,
            Self::Revoke | Self::Leave => DeviceLife::Revoked,
        }
    }

    /// The states that it starts from: narrower than the diagram where two verbs share a target.
    fn starts_from(self, from: DeviceLife) -> bool {
        let fits = match self {
            Self::Approve { .. } => from == DeviceLife::Pending,
            Self::Resume => from == DeviceLife::Suspended,
            Self::Suspend | Self::Revoke | Self::Leave => true,
        };
        fits && device_may_become(from, self.target())
    }

    const fn event(self) -> EventKind {
        match self {
            Self::Approve { .. } => EventKind::DeviceApproved,
            Self::Suspend => EventKind::DeviceSuspended,
            Self::Resume => EventKind::DeviceResumed,
            Self::Revoke => EventKind::DeviceRevoked,
            Self::Leave => EventKind::DeviceLeft,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Approve { .. } => "approved",
            Self::Suspend => "suspended",
            Self::Resume => "resumed",
            Self::Revoke => "revoked",
            Self::Leave => "left",
        }
    }
}

/// Why a device's life does not change.
#[derive(Debug, Error)]
pub enum LifeError {
    /// No such device.
    #[error("there is no device `{0}`; `daypass-issuer device list` shows them")]
    Unknown(DeviceId),
    /// Not from this state.
    #[error("device `{device}` is {}, and cannot be {}", from.as_str(), verb.word())]
    Transition {
        /// Which.
        device: DeviceId,
        /// Where it is.
        from: DeviceLife,
        /// What was asked.
        verb: Verb,
    },
    /// Its user approves it.
    #[error("device `{0}` is your own; somebody else must approve it")]
    Own(DeviceId),
    /// What it waits for is not approved with it.
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else was faster, or the store failed.
    #[error(transparent)]
    Decide(#[from] DecideError),
}

impl From<LifeError> for Refusal {
    fn from(error: LifeError) -> Self {
        match error {
            LifeError::Unknown(_) | LifeError::Transition { .. } | LifeError::Own(_) | LifeError::Approval(_) => {
                Self::new(OAuthError::AccessDenied, Reason::Conflict, error.to_string(), "ask for the device's state")
            }
            LifeError::Store(error) => error.into(),
            LifeError::Decide(error) => error.into(),
        }
    }
}

/// Decides; gives the device as it is now.
pub async fn decide(
    issuer: &Issuer,
    id: &DeviceId,
    verb: Verb,
    source: &Source,
    rule: Option<&'static str>,
    reason: Option<&str>,
) -> Result<Device, LifeError> {
    let is_stop = !matches!(verb, Verb::Approve { .. } | Verb::Resume);
    decide_anew(issuer, is_stop, || prepare(issuer, id, verb, source, rule, reason)).await
}

/// What would be decided, and the device as it would be then; for whoever has a condition of their own.
pub(super) async fn prepare(
    issuer: &Issuer,
    id: &DeviceId,
    verb: Verb,
    source: &Source,
    rule: Option<&'static str>,
    reason: Option<&str>,
) -> Result<(Decision, Device), LifeError> {
    let (store, environment) = (&issuer.store, &issuer.environment);
    let device = store.device(id).await?.ok_or_else(|| LifeError::Unknown(id.clone()))?;
    let from = device.state;
    if !verb.starts_from(from) {
        return Err(LifeError::Transition { device: id.clone(), from, verb });
    }
    if let (Verb::Approve { .. }, Source::Actor(Actor::Person { collaborator, .. })) = (verb, source)
        && *collaborator == device.collaborator
    {
        return Err(LifeError::Own(id.clone()));
    }
    // People write names into reasons.
    let event = environment.asked(environment.of_device(environment.event(verb.event()), &device), source);
    let event = match reason {
        Some(reason) => environment.personal(event, "why", reason),
        None => event,
    };
    let mut decision = Decision::new(match rule {
        Some(rule) => event.text("rule", rule),
        None => event,
    });
    let (grants, told) = (store.grants_of(id).await?, Told { source, rule: None, reason });
    match verb.target() {
        DeviceLife::Approved => {
            decision = approval::follow(issuer, decision, &device, grants, verb, &told).await?;
        }
        DeviceLife::Revoked => {
            for grant in grants.into_iter().filter(|grant| GrantVerb::Revoke.starts_from(grant.state)) {
                decision = GrantVerb::Revoke.on(issuer, decision, grant, &told);
            }
            // One that came to it meanwhile would live on without a device.
            decision = decision.change(Change::RequireNoGrant(id.clone()));
        }
        DeviceLife::Pending | DeviceLife::Suspended => {}
    }
    if verb.target() == DeviceLife::Revoked {
        // Its certificates stay known, so that it is told that it is revoked, and not that it is unknown.
        tracing::info!(holder = Holder::Device(id.clone()).uri(), "device revoked");
    }
    let (to, reason) = (verb.target(), reason.map(str::to_owned).or_else(|| Some(verb.word().to_owned())));
    decision = decision.change(Change::DeviceLife { id: id.clone(), to, reason: reason.clone(), from });
    Ok((decision, Device { state: to, reason, ..device }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture::Made, store::GrantLife};

    const APPROVE: Verb = Verb::Approve { with_grants: false };

    #[test]
    fn a_verb_starts_only_where_the_diagram_lets_it() {
        use DeviceLife::{Approved, Pending, Revoked, Suspended};
        for (verb, from) in [
            (APPROVE, &[Pending][..]),
            (Verb::Resume, &[Suspended]),
            (Verb::Suspend, &[Approved]),
            (Verb::Revoke, &[Pending, Approved, Suspended]),
            (Verb::Leave, &[Pending, Approved, Suspended]),
        ] {
            for state in [Pending, Approved, Suspended, Revoked] {
                assert_eq!(verb.starts_from(state), from.contains(&state), "{} from {state:?}", verb.word());
            }
        }
    }

    /// A device leaves by a request; everything else is somebody's command.
    fn source(verb: Verb) -> Source {
        match verb {
            Verb::Leave => Source::Address([127, 0, 0, 1].into()),
            _ => Source::from(Actor::account("olga")),
        }
    }

    async fn act(made: &Made, id: &DeviceId, verb: Verb) -> Result<Device, LifeError> {
        let issuer = &made.issuer;
        let rule = (verb == APPROVE).then_some("code_compared");
        decide(issuer, id, verb, &source(verb), rule, Some("left the project")).await
    }

    #[tokio::test]
    async fn suspension_can_be_taken_back_and_revocation_ends_the_grants() {
        let made = Made::with_software().await;
        let id = made.client().await.id;
        let store = &made.issuer.store;
        let grant = async || store.grants_of(&id).await.unwrap()[0].state;
        act(&made, &id, Verb::Suspend).await.unwrap();
        assert_eq!(store.device(&id).await.unwrap().unwrap().state, DeviceLife::Suspended);
        assert_eq!(grant().await, GrantLife::Active, "so that resuming gives back what was there");
        // Approval is not the way out of a suspension.
        let error = act(&made, &id, APPROVE).await.unwrap_err();
        assert!(matches!(error, LifeError::Transition { from: DeviceLife::Suspended, .. }));
        assert_eq!(error.to_string(), format!("device `{id}` is suspended, and cannot be approved"));
        act(&made, &id, Verb::Resume).await.unwrap();
        act(&made, &id, Verb::Revoke).await.unwrap();
        assert_eq!(grant().await, GrantLife::Revoked);
        assert_eq!(made.reasons("grant_revoked").await, ["left the project"], "the grants' events say why, too");
        for verb in [APPROVE, Verb::Suspend, Verb::Resume, Verb::Revoke, Verb::Leave] {
            assert!(matches!(act(&made, &id, verb).await, Err(LifeError::Transition { .. })), "{}", verb.word());
        }
        let nobody = DeviceId::from_random([9; 10]);
        assert!(matches!(act(&made, &nobody, Verb::Suspend).await, Err(LifeError::Unknown(_))));
    }
}

//! Approval: what waits for the owners of a project comes into force when enough of them have said so.
//!
//! ```text
//! asked for ──► approved by one owner ──► … by as many different ones as the role asks for ──► in force
//! ```
//!
//! Who may approve, and how many must, is decided at each approval by two versions of the policy: today's, and the one under which it was asked for.
//! The stricter of both holds, so that nobody undoes four eyes by editing the policy while something waits. Whoever asked, and whoever it is for, is
//! none of those who approve: ids are compared, never what somebody calls himself. An account on the issuer's machine is nobody; it decides for an
//! owner where the configuration lets it, and never where a role asks for two.

mod grant;
mod guard;
mod waiting;

use daypass_proto::{
    ledger::{Event, EventKind},
    names::{Collaborator, GrantId},
    time::Timestamp,
};
use thiserror::Error;

pub use self::{
    grant::{Approved, approve as approve_grant, comes, follow},
    guard::{Forbidden, guard},
    waiting::{Offered, Waiting, approvable, bar},
};
use crate::{
    clock::Environment,
    invitation::GrantError,
    store::{Condition, DecideError, GrantLife, StoreError},
};

/// Why something is not approved.
#[derive(Debug, Error)]
pub enum ApprovalError {
    /// No such grant.
    #[error("there is no grant `{0}`; `daypass-issuer grant list` shows them")]
    NoGrant(GrantId),
    /// It waits for nobody.
    #[error("grant `{grant}` is {state} and waits for no approval; `grant list --state requested` shows what does")]
    NotWaiting {
        /// Which.
        grant: GrantId,
        /// Where it is.
        state: GrantLife,
    },
    /// It would give nothing.
    #[error("grant `{grant}` would have ended at {until}; invite anew")]
    Over {
        /// Which.
        grant: GrantId,
        /// Its end.
        until: Timestamp,
    },
    /// Today's policy does not have it.
    #[error("today's policy does not give this any more: {0}")]
    Policy(#[from] GrantError),
    /// An account decides for nobody.
    #[error(
        "approval is the decision of an owner ({owners}): from an enrolled device of theirs, or here with `--on-behalf-of` and `--reason` where the configuration has `approve_on_behalf = true`"
    )]
    Nobody {
        /// Who may.
        owners: String,
    },
    /// The loosening is off.
    #[error(
        "approving on behalf of somebody is switched off; an owner approves from a device of theirs, or set `approve_on_behalf = true` in the configuration"
    )]
    OnBehalfOff,
    /// It is for two people.
    #[error(
        "the role asks for {approvers} approvers, and nobody approves that on behalf of somebody: each owner does it from a device of theirs"
    )]
    OnBehalfSensitive {
        /// How many.
        approvers: u32,
    },
    /// Somebody else's project.
    #[error("`{who}` is not among those who may approve this: {owners}")]
    NotOwner {
        /// Who.
        who: Collaborator,
        /// Those who may.
        owners: String,
    },
    /// Nobody approves their own.
    #[error("`{who}` asked for this, or it is for them; somebody else must approve it: {owners}")]
    Own {
        /// Who.
        who: Collaborator,
        /// Those who may, as far as they are others.
        owners: String,
    },
    /// Once is enough.
    #[error("`{0}` has approved this already; it waits for somebody else")]
    Already(Collaborator),
    /// It needs no more.
    #[error("grant `{0}` has all approvals that it takes, and waits for its machine")]
    Enough(GrantId),
    /// A guardrail of the policy.
    #[error(transparent)]
    Guardrail(#[from] Forbidden),
    /// It has nothing to go on with.
    #[error(
        "grant `{grant}` would take the place of `{replaces}`, which is {state}; where that one is let on again this one can be approved, and otherwise `daypass-issuer grant revoke {grant}` ends it: invite anew"
    )]
    Predecessor {
        /// Which.
        grant: GrantId,
        /// Whose place it would take.
        replaces: GrantId,
        /// Where that one is.
        state: String,
    },
    /// Somebody else decided in between.
    #[error(
        "{0} was changed by somebody else at the same time, and nothing was done; run the command again, which goes by what there is now"
    )]
    Changed(Condition),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The decision could not be made.
    #[error(transparent)]
    Decide(DecideError),
}

impl ApprovalError {
    /// Whether it is a fault of the store or of the clock, and not of what was asked.
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Decide(_))
    }

    /// The event that somebody tried what was not theirs to do, or what cannot be given, where it is one; whoever writes it says about what.
    pub(crate) fn event(&self, environment: &Environment) -> Option<Event> {
        let event = environment.event(EventKind::ApprovalRefused).text("rule", self.rule()?);
        Some(match self {
            Self::Guardrail(forbidden) => event.structure("rules", &forbidden.all),
            _ => event,
        })
    }

    /// What the ledger says of it, where somebody tried what was not theirs to do.
    const fn rule(&self) -> Option<&'static str> {
        match self {
            Self::OnBehalfOff => Some("approve_on_behalf_off"),
            Self::OnBehalfSensitive { .. } => Some("approve_on_behalf_sensitive"),
            Self::NotOwner { .. } => Some("not_an_owner"),
            Self::Own { .. } => Some("own_request"),
            Self::Guardrail(_) => Some("guardrail"),
            Self::Over { .. } => Some("over"),
            Self::Policy(_) => Some("policy"),
            Self::NoGrant(_)
            | Self::NotWaiting { .. }
            | Self::Nobody { .. }
            | Self::Already(_)
            | Self::Enough(_)
            | Self::Predecessor { .. }
            | Self::Changed(_)
            | Self::Store(_)
            | Self::Decide(_) => None,
        }
    }
}

impl From<DecideError> for ApprovalError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Conflict(condition) => Self::Changed(condition),
            error @ (DecideError::Clock { .. } | DecideError::Store(_)) => Self::Decide(error),
        }
    }
}

#[cfg(test)]
mod tests;

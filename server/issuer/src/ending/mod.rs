//! Ending what was given: one grant, one invitation, everything of a person, everything of a project.
//!
//! Each is one decision with its events: all of it is durable, or none of it happened. What is said to whoever decides is what is ended: where
//! somebody else decided in between, in whatever direction, the decision is refused as a conflict; the end of one device or grant is decided anew. Tokens need no end of their own: each is
//! looked up with its device and its grant whenever the issuer is asked, and gates are told of both.

mod anew;
mod everything;
mod grant;
mod invitation;
mod time;

use thiserror::Error;

pub(crate) use self::anew::decide_anew;
pub(crate) use self::everything::{device_with_nothing, is_of_everything};
pub(crate) use self::invitation::{carried, on as withdraw_with, with_grants as withdraw_all};
pub use self::{
    everything::{Ending, end_everything, look},
    grant::{GrantVerb, Told, decide_grant, standing},
    invitation::withdraw,
    time::mark_over,
};
use crate::store::{DecideError, GrantLife, InvitationLife, Scope, StoreError};
use daypass_proto::{
    names::{Collaborator, DeviceId, GrantId, InvitationId},
    time::Timestamp,
};

/// Why nothing is ended, or held back, or let on again.
#[derive(Debug, Error)]
pub enum EndError {
    /// No such grant.
    #[error("there is no grant `{0}`; `daypass-issuer grant list` shows them")]
    NoGrant(GrantId),
    /// No such invitation.
    #[error("there is no invitation `{0}`; `daypass-issuer invitation list` shows them")]
    NoInvitation(InvitationId),
    /// Nobody, or nothing, of that name ever had anything.
    #[error(
        "there never was anything of {0}; `daypass-issuer grant list` and `invitation list` show whose and where there is something"
    )]
    Unknown(Scope),
    /// Nobody of that name, and somebody of one that looks like it.
    #[error(
        "there never was anything of `{name}`, and there is of {}: whose name differs in small and capital letters alone is somebody else here",
        .alike.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
    )]
    Similar {
        /// As it was given.
        name: Collaborator,
        /// As it could be.
        alike: Vec<Collaborator>,
    },
    /// Not from this state.
    #[error("grant `{grant}` is {from}, and cannot be {}; {}", verb.word(), verb.instead(*from))]
    Transition {
        /// Which.
        grant: GrantId,
        /// Where it is.
        from: GrantLife,
        /// What was asked.
        verb: GrantVerb,
    },
    /// The hard end is hard.
    #[error("grant `{grant}` ended at {until}, and nothing brings it back; invite anew")]
    Over {
        /// Which.
        grant: GrantId,
        /// Its end.
        until: Timestamp,
    },
    /// Somebody used it.
    #[error(
        "invitation `{invitation}` was used by device `{device}`; `daypass-issuer device revoke {device}` ends what it gave"
    )]
    Used {
        /// Which.
        invitation: InvitationId,
        /// By whom.
        device: DeviceId,
    },
    /// It is over already.
    #[error("invitation `{invitation}` is {state} already")]
    NotOpen {
        /// Which.
        invitation: InvitationId,
        /// Where it is.
        state: InvitationLife,
    },
    /// More than one decision takes.
    #[error(
        "{scope} has more than {most} live grants, invitations or devices, which one decision does not take; nothing was ended. End some first (`daypass-issuer grant list`, `grant revoke`), or take the project out of the policy, which stops all its tokens"
    )]
    TooMany {
        /// Whose.
        scope: Scope,
        /// How many it takes.
        most: u32,
    },
    /// Somebody else decided in between.
    #[error(
        "{0} was changed by somebody else at the same time, and nothing was done; run the command again, which goes by what there is now"
    )]
    Changed(crate::store::Condition),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The decision could not be made.
    #[error(transparent)]
    Decide(DecideError),
}

impl EndError {
    /// Whether it is a fault of the store or of the clock, and not of what was asked.
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Decide(_))
    }
}

impl From<DecideError> for EndError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Conflict(condition) => Self::Changed(condition),
            error @ (DecideError::Clock { .. } | DecideError::Store(_)) => Self::Decide(error),
        }
    }
}

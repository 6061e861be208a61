//! Replacement: a device gives way to another of the same person, by a new invitation to the same grants.
//!
//! ```text
//! grant on the old device ── active ────────────────────────────► revoked, by the rule `replaced`
//!        ▲                                                            ▲ one decision
//! its successor ── requested ── approved as any grant is, device too ─┴──► active
//! ```
//!
//! Nothing becomes wider by it: a successor has the end of the one whose place it takes, or an earlier one, its terms and its begin, and it goes on
//! counting where that one was. Of each grant there is one live successor. Each takes its place by itself, when its own owners have approved it; the old
//! device ends with the last grant that lives there. A successor that never comes into force leaves the old one as it was.

mod look;
mod succeed;

use daypass_proto::{
    enrolment::DeviceLife,
    invitation::Code,
    names::{Collaborator, DeviceId, GrantId, InvitationId},
    time::Timestamp,
};
use thiserror::Error;

pub use self::look::{Carried, Replacement, look};
pub(crate) use self::succeed::{Succession, succeed};
use crate::{
    actor::Actor,
    ending::{Told, withdraw_all},
    invitation::{InviteError, Letter, write},
    issuer::Issuer,
    ledger::Source,
    store::{Change, Decision, Grant, GrantLife, Invitation, StoreError},
};

/// Why a device is not replaced.
#[derive(Debug, Error)]
pub enum ReplaceError {
    /// No such device.
    #[error("there is no device `{0}`; `device list` shows them")]
    NoDevice(DeviceId),
    /// Somebody else's.
    #[error(
        "device `{device}` is {theirs}'s, and a replacement is for the same person; leave the name out, or name another device"
    )]
    Whose {
        /// Which.
        device: DeviceId,
        /// Whose it is.
        theirs: Collaborator,
    },
    /// Not in use.
    #[error("device `{device}` is {}, and only an approved one is replaced; {}", state.as_str(), instead(*state))]
    State {
        /// Which.
        device: DeviceId,
        /// Where it is.
        state: DeviceLife,
    },
    /// Nothing on it goes on.
    #[error("no grant of device `{device}` has a successor{}; invite anew", told(left))]
    Nothing {
        /// Which.
        device: DeviceId,
        /// Each of its grants, and why.
        left: Vec<(Grant, String)>,
    },
    /// Later than what is replaced.
    #[error(
        "a replacement ends when what it replaces does, or before: {until} is later than {latest}; leave `until` out, and ask for an extension"
    )]
    Later {
        /// As asked.
        until: Timestamp,
        /// The last end among the grants.
        latest: Timestamp,
    },
    /// Somebody was invited to take its place.
    #[error(
        "invitation `{invitation}` replaces device `{device}` already; `invitation withdraw {invitation}` takes it back"
    )]
    Invited {
        /// Which.
        device: DeviceId,
        /// By which.
        invitation: InvitationId,
    },
    /// Another device waits to take its place.
    #[error(
        "grant `{grant}` waits on device `{successor}` to replace what `{device}` has already; approve it there, or end it with `grant revoke {grant}`, or the device with `device revoke {successor}`"
    )]
    Enrolled {
        /// Which.
        device: DeviceId,
        /// By which.
        successor: DeviceId,
        /// With what.
        grant: GrantId,
    },
    /// The invitation.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn instead(state: DeviceLife) -> &'static str {
    match state {
        DeviceLife::Pending => "approve it, or end it with `device revoke`, and invite anew",
        DeviceLife::Suspended => {
            "what was held back is not got round by another machine: `device resume` lets it on, or `revoke` ends it, and invite anew"
        }
        DeviceLife::Approved | DeviceLife::Revoked => "invite anew",
    }
}

fn told(left: &[(Grant, String)]) -> String {
    let each: Vec<String> = left.iter().map(|(grant, why)| format!("`{}` {why}", grant.id)).collect();
    if each.is_empty() { String::new() } else { format!(": {}", each.join("; ")) }
}

/// How a device is replaced.
pub struct Replace {
    /// The code's end; the last grant's end at the latest.
    pub code_expires_at: Timestamp,
    /// The only EK that may use it.
    pub ek_hash: Option<[u8; 32]>,
    /// Why.
    pub reason: Option<String>,
    /// Who invites.
    pub by: Actor,
}

/// Makes the invitation, with a successor for each grant that was shown; gives the code, which is stored as a hash only.
pub async fn replace(issuer: &Issuer, found: Replacement, how: Replace) -> Result<(Invitation, Code), ReplaceError> {
    let environment = &issuer.environment;
    if let Some(error) = found.carried.iter().find_map(Carried::first_excess) {
        return Err(InviteError::from(error).into());
    }
    let Replace { code_expires_at, ek_hash, reason, by } = how;
    let source = Source::Actor(by.clone());
    let told = Told { source: &source, rule: Some("replaced"), reason: reason.as_deref() };
    // The grants of a code that expired stand where the new ones are to stand.
    let before = found.expired.into_iter().fold(Decision::default(), |decision, (invitation, waiting)| {
        withdraw_all(issuer, decision, invitation, waiting, &told)
    });
    let mut grants = found.carried.iter().map(|carried| carried.successor(issuer, reason.as_deref()));
    let Some(grant) = grants.next() else {
        return Err(ReplaceError::Nothing { device: found.device.id, left: Vec::new() });
    };
    let further = grants.collect();
    let letter = Letter { grant, further, code_expires_at, ek_hash, reason: reason.clone(), by };
    let (pin, policy) = (issuer.keyring().pin(), issuer.policy());
    let (decision, invitation, code) = write(environment, &policy, &issuer.config.issuer_url, pin, letter)?;
    let decision = before.and(decision).change(Change::RequireDevice(found.device.id, DeviceLife::Approved));
    let decision = found
        .carried
        .into_iter()
        .fold(decision, |decision, carried| decision.change(Change::RequireGrant(carried.from.id, GrantLife::Active)));
    issuer.store.decide(decision).await.map_err(InviteError::from)?;
    Ok((invitation, code))
}

#[cfg(test)]
mod tests;

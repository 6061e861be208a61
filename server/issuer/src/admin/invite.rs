//! Invitations that an owner makes from their own device.
//!
//! What binds a code to one machine's EK hash is not among what can be asked for: such a machine needs no approval, and no certificate of its maker
//! either. Whoever may say that says it on the issuer's machine.

use daypass_proto::{admin_api as api, time::Timestamp};
use jiff::tz::TimeZone;

use super::{
    Operation,
    caller::Decider,
    error::AdminError,
    perform::reason,
    shown::{invitation, terms},
};
use crate::{
    approval::Offered,
    invitation::{Invite, InviteError, invite, judge_grant},
    issuer::Issuer,
    policy::Policy,
    store::Terms,
    until,
};

pub(super) fn malformed(what: &str, error: impl std::fmt::Display) -> AdminError {
    AdminError::Malformed(format!("`{what}`: {error}"))
}

/// How long the code can be used, in seconds.
pub(super) fn lifetime(issuer: &Issuer, asked: Option<&str>) -> Result<i64, AdminError> {
    let lifetime = asked.map(daypass_proto::duration::seconds).transpose();
    Ok(lifetime.map_err(|error| malformed("code_expires", error))?.unwrap_or(issuer.config.code_lifetime))
}

fn narrower(asked: &api::Narrower, now: Timestamp, zone: &TimeZone) -> Result<Terms, AdminError> {
    let networks = asked.networks.iter().map(|text| text.parse().map_err(|error| malformed("networks", error)));
    Ok(Terms {
        not_before: asked
            .not_before
            .as_deref()
            .map(|text| until::begin(text, now, zone))
            .transpose()
            .map_err(|error| malformed("not_before", error))?,
        phase: asked.phase.clone(),
        uses: asked.uses.map(Into::into),
        grace: 0,
        networks: networks.collect::<Result<_, _>>()?,
        trust_tiers: asked.trust_tiers.clone(),
        secure_boot: asked.secure_boot,
    })
}

/// The end that is asked for, or that of the phase.
fn end(asked: &api::Invite, policy: &Policy, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, AdminError> {
    match (&asked.until, &asked.terms.phase) {
        (Some(text), _) => until::until(text, now, zone).map_err(|error| malformed("until", error)),
        (None, None) => Err(AdminError::Malformed("`until` is needed where no phase is named".to_owned())),
        // That there is no such phase is said by what checks the grant.
        (None, Some(phase)) => {
            Ok(policy.project(&asked.project).and_then(|project| project.phase(phase)).map_or(now, |phase| phase.ends))
        }
    }
}

pub(super) async fn make(issuer: &Issuer, decider: &Decider, asked: api::Invite) -> Result<api::Invited, AdminError> {
    decider.standing.may_in(Operation::Invite, &asked.project)?;
    let (policy, now) = (issuer.policy(), issuer.environment.now());
    let zone = policy.zone(&asked.project);
    let (until, wanted) = (end(&asked, &policy, now, &zone)?, narrower(&asked.terms, now, &zone)?);
    let lifetime = lifetime(issuer, asked.code_expires.as_deref())?;
    let reason = asked.reason.as_deref().map(reason).transpose()?;
    let mut judged = judge_grant(&policy, (&asked.project, &asked.role), &asked.collaborator, until, &wanted, now);
    if asked.until.is_none() {
        judged.ends_with_its_phase();
    }
    let (role, asked_by) = ((&asked.project, &asked.role), decider.actor.person());
    let offered = Offered::of(&policy, role, &asked.collaborator, asked_by).map_err(InviteError::from)?;
    judged.excess.extend(offered.nobody);
    let excess = judged.excess.iter().map(ToString::to_string).collect();
    let given = terms(&judged.terms, policy.project(&asked.project), until);
    let (made, code) = if asked.dry_run {
        (None, None)
    } else {
        let wanted = Invite {
            collaborator: asked.collaborator,
            project: asked.project,
            role: asked.role,
            until,
            terms: wanted,
            code_expires_at: now.plus(lifetime),
            ek_hash: None,
            reason,
            by: decider.actor.clone(),
        };
        let (pin, store) = (issuer.keyring().pin(), issuer.store.as_ref());
        let (made, code) = invite(store, &issuer.environment, &policy, &issuer.config.issuer_url, pin, wanted).await?;
        (Some(invitation(&made, now)), Some(code.expose().as_str().to_owned()))
    };
    Ok(api::Invited {
        invitation: made,
        code,
        until,
        terms: given,
        authorization_details: offered.details,
        approved_by: offered.owners,
        approvers: offered.approvers,
        excess,
    })
}

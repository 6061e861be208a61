//! Whether what is asked for could be given now: by the role and the policy as they are today, and by what there is.

use daypass_proto::{
    names::{Collaborator, ProjectName, RoleName},
    time::Timestamp,
};

use super::RequestError;
use crate::{
    ending::standing,
    grant::Standing,
    invitation::{check_grant, limits},
    issuer::Issuer,
    policy::Renewal,
    store::{Grant, GrantLife, Terms},
};

/// Whether this grant could have this end; gives its terms then.
pub(super) fn extension(issuer: &Issuer, grant: &Grant, until: Timestamp) -> Result<Terms, RequestError> {
    let (now, policy) = (issuer.environment.now(), issuer.policy());
    let over = |state| RequestError::GrantOver { grant: grant.id.clone(), state };
    match grant.state {
        GrantLife::Active | GrantLife::Grace | GrantLife::Suspended => {}
        GrantLife::Requested | GrantLife::Revoked | GrantLife::Ended => return Err(over(grant.state)),
    }
    // Its time may be over without anybody having marked it yet.
    if standing(issuer, grant) == Standing::Over {
        return Err(over(GrantLife::Ended));
    }
    let (_, role) = limits(&policy, &grant.project, &grant.role)?;
    if role.renewal == Renewal::None {
        return Err(RequestError::NotRenewed(grant.role.clone()));
    }
    if until <= grant.until {
        return Err(RequestError::NotLater { until, ends: grant.until });
    }
    if let Some(total) = role.longest_total {
        // Of a grant from before this was kept, the earliest that it can have been made.
        let made_at = grant.made_at.unwrap_or_else(|| grant.until.plus(-role.longest_grant));
        let latest = made_at.plus(total);
        if until > latest {
            return Err(RequestError::TooLongInAll { role: grant.role.clone(), until, latest });
        }
    }
    Ok(check_grant(&policy, (&grant.project, &grant.role), &grant.collaborator, until, &grant.terms, now)?)
}

/// The end of a grant that is as long again as it was given for, as far as its role and its phase let it be.
pub(super) fn as_long_again(issuer: &Issuer, grant: &Grant) -> Result<Timestamp, RequestError> {
    let policy = issuer.policy();
    let (project, role) = limits(&policy, &grant.project, &grant.role)?;
    let made_at = grant.made_at.unwrap_or_else(|| grant.until.plus(-role.longest_grant));
    let wanted = grant.until.plus(grant.until.since(made_at));
    let phase = grant.terms.phase.as_ref().and_then(|phase| project.phase(phase));
    let bounds = [
        Some(issuer.environment.now().plus(role.longest_grant)),
        role.longest_total.map(|total| made_at.plus(total)),
        phase.map(|phase| phase.ends),
    ];
    Ok(bounds.into_iter().flatten().fold(wanted, Timestamp::min))
}

/// Whether somebody could have this role until then; gives the terms of such a grant.
pub(super) fn scopes(
    issuer: &Issuer,
    (project, role): (&ProjectName, &RoleName),
    collaborator: &Collaborator,
    until: Timestamp,
) -> Result<Terms, RequestError> {
    let now = issuer.environment.now();
    Ok(check_grant(&issuer.policy(), (project, role), collaborator, until, &Terms::default(), now)?)
}

//! Whether what is asked for could be given now: by the role and the policy as they are today, and by what there is.

use daypass_proto::{
    names::{ProjectName, RoleName},
    time::Timestamp,
};

use super::RequestError;
use crate::{
    ending::standing,
    grant::Standing,
    invitation::{GrantError, check_grant, limits},
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
    let (_, role) = known(limits(&policy, &grant.project, &grant.role))?;
    if role.renewal == Renewal::None {
        return Err(RequestError::NotRenewed(grant.role.clone()));
    }
    if until <= grant.until {
        return Err(RequestError::NotLater { until, ends: grant.until });
    }
    if let Some(total) = role.longest_total {
        let latest = made_at(issuer, grant)?.plus(total);
        if until > latest {
            return Err(RequestError::TooLongInAll { role: grant.role.clone(), until, latest });
        }
    }
    known(check_grant(&policy, (&grant.project, &grant.role), &grant.collaborator, until, &grant.terms, now))
}

/// When it was made; of a grant from before this was kept, the earliest that it can have been.
pub(super) fn made_at(issuer: &Issuer, grant: &Grant) -> Result<Timestamp, RequestError> {
    let (policy, made_at) = (issuer.policy(), grant.made_at);
    let (_, role) = known(limits(&policy, &grant.project, &grant.role))?;
    Ok(made_at.unwrap_or_else(|| grant.until.plus(-role.longest_grant)))
}

/// Whoever asks is told of no other project than their own.
fn known<T>(checked: Result<T, GrantError>) -> Result<T, RequestError> {
    checked.map_err(|error| match error {
        GrantError::Project(project, _) => RequestError::NotInPolicy(project),
        error => error.into(),
    })
}

/// The end of a grant that is as long again as it was given for, as far as its role and its phase let it be.
pub(super) fn as_long_again(issuer: &Issuer, grant: &Grant) -> Result<Timestamp, RequestError> {
    let policy = issuer.policy();
    let (project, role) = known(limits(&policy, &grant.project, &grant.role))?;
    let made_at = made_at(issuer, grant)?;
    let wanted = grant.until.plus(grant.until.since(made_at));
    let phase = grant.terms.phase.as_ref().and_then(|phase| project.phase(phase));
    let bounds = [
        Some(issuer.environment.now().plus(role.longest_grant)),
        role.longest_total.map(|total| made_at.plus(total)),
        phase.map(|phase| phase.ends),
    ];
    Ok(bounds.into_iter().flatten().fold(wanted, Timestamp::min))
}

/// States in which a grant gives somebody something to do with its project.
const LIVE: [GrantLife; 3] = [GrantLife::Active, GrantLife::Grace, GrantLife::Suspended];

/// Of the grants of a device, the one beside which it may have another role in the project: the one that ends last. Nobody asks for what is there.
pub(super) fn beside<'g>(
    grants: &'g [Grant],
    project: &ProjectName,
    role: &RoleName,
) -> Result<&'g Grant, RequestError> {
    let own = || grants.iter().filter(|grant| grant.project == *project && LIVE.contains(&grant.state));
    let last = own().max_by_key(|grant| grant.until).ok_or_else(|| RequestError::NoProject(project.clone()))?;
    match own().find(|grant| grant.role == *role) {
        Some(grant) => Err(RequestError::HasRole { role: role.clone(), grant: grant.id.clone() }),
        None => Ok(last),
    }
}

/// Whether whoever has this grant could have this role until then; gives the terms of the other grant. What the first is bound to binds the other:
/// its networks, its kinds of device, its phase and its begin. How often it is used is the role's own.
pub(super) fn scopes(issuer: &Issuer, has: &Grant, role: &RoleName, until: Timestamp) -> Result<Terms, RequestError> {
    let (now, terms) = (issuer.environment.now(), Terms { uses: None, grace: 0, ..has.terms.clone() });
    known(check_grant(&issuer.policy(), (&has.project, role), &has.collaborator, until, &terms, now))
}

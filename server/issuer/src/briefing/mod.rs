//! Briefings: what a collaborator is told of a grant before they use it, and that they accepted it.
//!
//! The owner's text and the policy's numbers make one text for each grant (`text`). Where the project asks for it, there is no token before the
//! device's proof key has signed that somebody accepted it (`accept`), and every token depends on it again: what is accepted are the `terms`, and
//! when they become others, it is asked for anew. Who decides by the roles that every project has, its owners and administrators, is briefed by nobody.

mod accept;
mod endpoints;
mod error;
mod text;

use daypass_proto::{
    briefing::{Briefing, Standing},
    encoding::{Fixed, sha256},
    names::{PhaseName, RoleName},
    time::Timestamp,
    token::Protection,
};
use serde::Serialize;

pub use self::{
    accept::accept,
    endpoints::{accepted, read},
    error::BriefingError,
};
use crate::{
    grant::{self, Span},
    network::Network,
    policy::{Demand, Policy, Project, Renewal, Role, Sensitivity},
    store::Grant,
};

/// What somebody accepts: the owner's words, and what the role gives with its numbers. Neither ends that move nor people's names are among it, nor the
/// words around them, so that an extension, another owner or another version of the issuer leave an acceptance as it is.
#[derive(Serialize)]
struct Terms<'a> {
    owners_text: Option<Fixed<32>>,
    role: &'a RoleName,
    authorization_details: serde_json::Value,
    token_lifetime: i64,
    longest_grant: i64,
    longest_total: Option<i64>,
    grace: i64,
    grace_details: serde_json::Value,
    renewal: Renewal,
    sensitivity: Sensitivity,
    protection: Protection,
    uses: Option<u32>,
    phase: &'a Option<PhaseName>,
    not_before: Option<Timestamp>,
    networks: &'a [Network],
    trust_tiers: &'a [daypass_proto::enrolment::TrustTier],
    secure_boot: bool,
}

/// The hash of what is accepted of this grant by today's policy; nothing where its role does not fit its collaborator.
pub(crate) fn terms(project: &Project, role: &Role, grant: &Grant) -> Option<Fixed<32>> {
    let json = |details: Result<_, String>| serde_json::to_value(details.ok()?).ok();
    let terms = Terms {
        owners_text: project.briefing_text.as_ref().map(crate::policy::Template::hash),
        role: &grant.role,
        authorization_details: json(role.details_for(&grant.collaborator))?,
        token_lifetime: role.token_lifetime,
        longest_grant: role.longest_grant,
        longest_total: role.longest_total,
        grace: grant::grace(role, grant),
        grace_details: json(role.grace_for(&grant.collaborator))?,
        renewal: role.renewal,
        sensitivity: role.sensitivity,
        protection: role.protection,
        uses: grant.uses(role),
        phase: &grant.terms.phase,
        not_before: grant.terms.not_before,
        networks: &grant.terms.networks,
        trust_tiers: &grant.terms.trust_tiers,
        secure_boot: grant.terms.secure_boot,
    };
    let mut json = serde_json::to_value(&terms).ok()?;
    json.sort_all_objects();
    Some(Fixed(sha256(&[b"daypass/v1/briefing", json.to_string().as_bytes()])))
}

/// Whether this grant gives no token for want of an acceptance.
pub(crate) fn is_missing(project: &Project, role: &Role, grant: &Grant) -> bool {
    let asked = project.briefing == Demand::Required && !role.is_built_in();
    asked && (grant.briefed.is_none() || grant.briefed != terms(project, role, grant))
}

fn is_over(grant: &Grant, span: &Span, now: Timestamp) -> bool {
    grant.state.is_over() || span.over <= now
}

/// How a grant stands with its briefing; nothing where it has none.
pub(crate) fn standing(policy: &Policy, grant: &Grant, now: Timestamp) -> Option<Standing> {
    let project = policy.project(&grant.project)?;
    let role = project.role(&grant.role).filter(|role| !role.is_built_in())?;
    if is_over(grant, &Span::of(grant, project, role)?, now) {
        return None;
    }
    Some(stands(project, grant, terms(project, role, grant)?))
}

/// How a grant stands with these terms.
fn stands(project: &Project, grant: &Grant, terms: Fixed<32>) -> Standing {
    match project.briefing {
        _ if grant.briefed == Some(terms) => Standing::Accepted,
        Demand::Required => Standing::Required,
        Demand::Offered => Standing::Offered,
    }
}

/// The briefing of a grant, as it is now.
pub(crate) fn of(policy: &Policy, issuer: &str, grant: &Grant, now: Timestamp) -> Result<Briefing, BriefingError> {
    let missing = || BriefingError::Missing(grant.project.clone());
    let project = policy.project(&grant.project).ok_or_else(missing)?;
    let role = project.role(&grant.role).ok_or_else(missing)?;
    if role.is_built_in() {
        return Err(BriefingError::None(grant.id.clone()));
    }
    let span = Span::of(grant, project, role).ok_or_else(missing)?;
    if is_over(grant, &span, now) {
        return Err(BriefingError::Over { grant: grant.id.clone(), state: grant.state });
    }
    let briefing = terms(project, role, grant).ok_or_else(missing)?;
    let facts = text::Facts { policy, issuer, project, role, grant, span };
    Ok(Briefing {
        grant: grant.id.clone(),
        project: grant.project.clone(),
        role: grant.role.clone(),
        standing: stands(project, grant, briefing),
        briefing,
        text: text::text(&facts).ok_or_else(missing)?,
    })
}

#[cfg(test)]
mod tests;

//! The decision, as a function of what is known: grant ∩ role ∩ request, and then the guardrails.
//!
//! Tokens are decided here, and so is every example and every question about a policy: there is no second opinion.

use std::{net::IpAddr, ops::Deref};

use daypass_proto::{
    authorization::AuthorizationDetails, caller::Evidence, resource::Resource, time::Timestamp, token::Protection,
};

use super::request::TokenError;
use crate::{
    policy::{Facts, Policy, Role, Rule, Subject, Verdict},
    store::{Grant, GrantLife},
};

/// What is asked, by whom, and all that the decision depends on.
pub(crate) struct Question<'a, G> {
    /// The device that asks.
    pub(crate) subject: Subject<'a>,
    /// What it is granted.
    pub(crate) grants: &'a [G],
    /// What the token is for.
    pub(crate) resource: &'a Resource,
    /// What is asked for there; everything that is granted, where nothing is named.
    pub(crate) asked: Option<&'a AuthorizationDetails>,
    /// Who signs the proofs.
    pub(crate) protection: Protection,
    /// Whether the proof's key is one that the TPM vouched for.
    pub(crate) delegated: bool,
    /// Where the request comes from.
    pub(crate) address: Option<IpAddr>,
    /// The clock.
    pub(crate) now: Timestamp,
    /// Who asked the agent, as it reports.
    pub(crate) caller: Option<&'a Evidence>,
}

/// What one grant gives for this request.
pub(crate) struct Covered<'a, G> {
    /// Which.
    pub(crate) grant: &'a G,
    /// Its role as it stands today.
    pub(crate) role: &'a Role,
    /// What the token would say.
    pub(crate) details: AuthorizationDetails,
}

impl<G: Deref<Target = Grant>> Covered<'_, G> {
    /// How long a token would live, in seconds: never beyond its grant.
    pub(crate) fn lifetime(&self, now: Timestamp) -> i64 {
        self.role.token_lifetime.min(self.grant.until.since(now))
    }
}

impl<'a, G: Deref<Target = Grant>> Question<'a, G> {
    /// Decides: what a token gives, and the rules that would refuse it, were they enforced.
    pub(crate) fn decide(&self, policy: &'a Policy) -> Result<(Covered<'a, G>, Vec<String>), TokenError> {
        let covered = self.cover(policy)?;
        let monitored = allowed(&self.guardrails(policy, &covered))?;
        Ok((covered, monitored))
    }

    /// What every guardrail says.
    pub(crate) fn guardrails<'p>(&self, policy: &'p Policy, covered: &Covered<'_, G>) -> Verdict<'p> {
        policy.guardrails().judge(&Facts {
            subject: &self.subject,
            project: &covered.grant.project,
            role: &covered.grant.role,
            role_protection: covered.role.protection,
            resource: self.resource,
            details: &covered.details,
            protection: self.protection,
            address: self.address,
            now: self.now,
            caller: self.caller,
        })
    }

    /// The first grant that gives what is asked for; otherwise the most telling reason why none does.
    pub(crate) fn cover(&self, policy: &'a Policy) -> Result<Covered<'a, G>, TokenError> {
        let Self { resource, now, .. } = *self;
        let mut refusal = TokenError::NoGrant(resource.clone());
        for grant in self.grants {
            let Some(role) = policy.role(&grant.project, &grant.role) else {
                refusal = TokenError::PolicyMissing(grant.project.clone());
                continue;
            };
            let Ok(given) = role.details_for(&grant.collaborator) else {
                refusal = TokenError::PolicyMissing(grant.project.clone());
                continue;
            };
            let given = given.at_resource(resource);
            if given.is_empty() {
                continue;
            }
            if grant.until <= now || grant.state == GrantLife::Ended {
                refusal = TokenError::GrantEnded { resource: resource.clone(), ended: grant.until, now };
                continue;
            }
            if grant.state != GrantLife::Active {
                continue;
            }
            if self.delegated && role.protection != Protection::Delegated {
                refusal = TokenError::DelegationNotAllowed { project: grant.project.clone(), role: grant.role.clone() };
                continue;
            }
            match self.asked {
                None => return Ok(Covered { grant, role, details: given }),
                Some(asked) if asked.is_empty() || asked.resources().iter().any(|named| named != resource) => {
                    return Err(TokenError::Details("must name locations at `resource`, and only there".to_owned()));
                }
                Some(asked) => match asked.is_subset_of(&given) {
                    Ok(()) => return Ok(Covered { grant, role, details: asked.clone() }),
                    Err(beyond) => refusal = TokenError::Exceeds(beyond),
                },
            }
        }
        Err(refusal)
    }
}

/// Whether the guardrails let it through; gives the rules that would not, were they enforced.
pub(crate) fn allowed(verdict: &Verdict<'_>) -> Result<Vec<String>, TokenError> {
    let names = |rules: &[&Rule]| rules.iter().map(|rule| rule.id.clone()).collect();
    match verdict.enforced.first() {
        None => Ok(names(&verdict.monitored)),
        Some(first) => Err(TokenError::Guardrail {
            rule: first.id.clone(),
            reason: first.reason.clone(),
            all: names(&verdict.enforced),
        }),
    }
}

//! The decision, as a function of what is known: grant ∩ role ∩ request, and then the guardrails.
//!
//! Tokens are decided here, and so is every example and every question about a policy: there is no second opinion.

use std::{net::IpAddr, ops::Deref};

use daypass_proto::{
    authorization::AuthorizationDetails, caller::Evidence, resource::Resource, time::Timestamp, token::Protection,
};

use super::request::TokenError;
use crate::{
    briefing,
    grant::{Span, Standing},
    policy::{Action, Facts, Policy, Role, Rule, Subject, Verdict},
    store::{Grant, GrantLife},
};

/// What is asked, by whom, and all that the decision depends on.
pub(crate) struct Question<'a, G> {
    /// What is decided; grants and roles say the same to each.
    pub(crate) action: Action,
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
    /// Whether it is supposed that briefings were accepted, as of grants that nobody made.
    pub(crate) briefed: bool,
}

/// What one grant gives for this request.
pub(crate) struct Covered<'a, G> {
    /// Which.
    pub(crate) grant: &'a G,
    /// Its role as it stands today.
    pub(crate) role: &'a Role,
    /// What the token would say.
    pub(crate) details: AuthorizationDetails,
    /// The end of that: of the grant, or of its grace.
    pub(crate) ends: Timestamp,
    /// How many tokens it gives, this one included, where they are counted.
    pub(crate) uses_left: Option<u32>,
}

impl<G: Deref<Target = Grant>> Covered<'_, G> {
    /// How long a token would live, in seconds: never beyond what its grant gives now.
    pub(crate) fn lifetime(&self, now: Timestamp) -> i64 {
        self.role.token_lifetime.min(self.ends.since(now))
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
            action: self.action,
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
        let mut refusal = TokenError::NoGrant(self.resource.clone());
        for grant in self.grants {
            match self.by(policy, grant) {
                Ok(covered) => return Ok(covered),
                // No other grant makes it a better request.
                Err(Some(error @ TokenError::Details(_))) => return Err(error),
                // What only waits for somebody to read is nearer than what is not there.
                Err(Some(_)) if matches!(refusal, TokenError::Unbriefed { .. }) => {}
                Err(Some(error)) => refusal = error,
                Err(None) => {}
            }
        }
        Err(refusal)
    }

    /// What this grant gives; otherwise why not, or nothing where it has nothing to do with what is asked.
    fn by(&self, policy: &'a Policy, grant: &'a G) -> Result<Covered<'a, G>, Option<TokenError>> {
        let Self { resource, now, .. } = *self;
        let missing = || TokenError::PolicyMissing(grant.project.clone());
        let project = policy.project(&grant.project).ok_or_else(missing)?;
        let role = project.role(&grant.role).ok_or_else(missing)?;
        let span = Span::of(grant, project, role).ok_or_else(missing)?;
        let given = role.details_for(&grant.collaborator).map_err(|_| missing())?.at_resource(resource);
        if given.is_empty() {
            return Err(None);
        }
        let standing = if grant.state == GrantLife::Ended { Standing::Over } else { span.at(now) };
        let ended = || TokenError::GrantEnded { resource: resource.clone(), ended: span.ends, now };
        if standing == Standing::Over {
            return Err(Some(ended()));
        }
        match grant.state {
            GrantLife::Active | GrantLife::Grace => {}
            GrantLife::Suspended => return Err(Some(TokenError::GrantSuspended(resource.clone()))),
            GrantLife::Requested | GrantLife::Revoked | GrantLife::Ended => return Err(None),
        }
        if let Standing::NotYet(begins) = standing {
            return Err(Some(TokenError::GrantNotYet { resource: resource.clone(), begins, now }));
        }
        let (given, ends) = if standing == Standing::Grace {
            (role.grace_for(&grant.collaborator).map_err(|_| missing())?.at_resource(resource), span.over)
        } else {
            (given, span.ends)
        };
        if given.is_empty() {
            return Err(Some(ended()));
        }
        let uses_left = grant.uses_left(role);
        if uses_left == Some(0) {
            return Err(Some(TokenError::GrantUsedUp { resource: resource.clone(), used: grant.used }));
        }
        if let Some(against) = grant.terms.against(&self.subject, self.address) {
            return Err(Some(TokenError::GrantElsewhere(against)));
        }
        if self.delegated && role.protection != Protection::Delegated {
            let (project, role) = (grant.project.clone(), grant.role.clone());
            return Err(Some(TokenError::DelegationNotAllowed { project, role }));
        }
        let details = match self.asked {
            None => given,
            Some(asked) if asked.is_empty() || asked.resources().iter().any(|named| named != resource) => {
                return Err(Some(TokenError::Details("must name locations at `resource`, and only there".to_owned())));
            }
            Some(asked) => match asked.is_subset_of(&given) {
                Ok(()) => asked.clone(),
                Err(beyond) if standing == Standing::Grace => {
                    return Err(Some(TokenError::BeyondGrace { ended: span.ends, over: span.over, now, beyond }));
                }
                Err(beyond) => return Err(Some(TokenError::Exceeds(beyond))),
            },
        };
        // Last, so that whoever is told to read it has everything else.
        if self.action == Action::Issue && !self.briefed && briefing::is_missing(project, role, grant) {
            let (project, grant) = (grant.project.clone(), grant.id.clone());
            return Err(Some(TokenError::Unbriefed { project, grant }));
        }
        Ok(Covered { grant, role, details, ends, uses_left })
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

//! What the guardrails say of a grant that is to come into force, or to get a later end.
//!
//! They are asked about all that the role gives, at each resource by itself, as they are asked for tokens there. Nobody's request is decided, so
//! that there is neither an address nor a caller: a rule about those names the decision that it is for.

use std::collections::BTreeMap;

use daypass_proto::token::Protection;
use thiserror::Error;

use crate::{
    issuer::Issuer,
    policy::{Action, Facts, Rule},
    store::{Device, Grant},
};

/// A guardrail forbids it.
#[derive(Debug, Error)]
#[error("the guardrail `{rule}` forbids it: {reason}")]
pub struct Forbidden {
    /// The rule.
    pub rule: String,
    /// What it says.
    pub reason: String,
    /// All the rules that forbid it.
    pub all: Vec<String>,
}

/// Asks the guardrails whether this grant may, with this device; gives the rules that would forbid it, were they enforced.
pub fn guard(issuer: &Issuer, action: Action, device: &Device, grant: &Grant) -> Result<Vec<String>, Forbidden> {
    let policy = issuer.policy();
    let Some(role) = policy.role(&grant.project, &grant.role) else { return Ok(Vec::new()) };
    // What cannot be read gives nothing, and tokens say so.
    let details = role.details_for(&grant.collaborator).unwrap_or_default();
    let subject = device.subject();
    let (mut enforced, mut monitored) = (BTreeMap::new(), BTreeMap::new());
    for resource in details.resources() {
        let verdict = policy.guardrails().judge(&Facts {
            action,
            subject: &subject,
            project: &grant.project,
            role: &grant.role,
            role_protection: role.protection,
            resource: &resource,
            details: &details.at_resource(&resource),
            protection: if device.is_software() { Protection::Software } else { role.protection },
            address: None,
            now: issuer.environment.now(),
            caller: None,
        });
        let named = |rule: &'_ Rule| (rule.id.clone(), rule.reason.clone());
        enforced.extend(verdict.enforced.into_iter().map(named));
        monitored.extend(verdict.monitored.into_iter().map(named));
    }
    match enforced.first_key_value() {
        None => Ok(monitored.into_keys().collect()),
        Some((rule, reason)) => {
            Err(Forbidden { rule: rule.clone(), reason: reason.clone(), all: enforced.keys().cloned().collect() })
        }
    }
}

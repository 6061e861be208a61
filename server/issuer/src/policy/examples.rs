//! Examples: `tests/*.toml`, what a policy must allow and what it must refuse.
//!
//! They stand beside the policy, are read with it, and are run before it comes into force: whoever changes a rule learns what else
//! that changes. How they come out is decided where tokens are ([`crate::token::decision`]).

use std::net::IpAddr;

use daypass_proto::{
    authorization::{AuthorizationDetails, MAX_DETAILS},
    caller::Evidence,
    encoding::Fixed,
    enrolment::TrustTier,
    names::{Collaborator, ProjectName, RoleName},
    oauth_error::Reason,
    time::Timestamp,
    token::Protection,
};
use toml::de::DeValue;

use super::{
    Action,
    detail::check_detail,
    fault::{Fault, Reading},
    fields::{self, Fields, Value},
    files::{EXAMPLES, Files},
    project::{self, USER},
};
use crate::token::trial::{Asker, Trial};

const ALLOW: &str = "allow";
const DENY: &str = "deny";
const PCRS: [&str; 24] = [
    "pcr0", "pcr1", "pcr2", "pcr3", "pcr4", "pcr5", "pcr6", "pcr7", "pcr8", "pcr9", "pcr10", "pcr11", "pcr12", "pcr13",
    "pcr14", "pcr15", "pcr16", "pcr17", "pcr18", "pcr19", "pcr20", "pcr21", "pcr22", "pcr23",
];

/// One example.
#[derive(Debug)]
pub struct Example {
    /// Where it stands; says nothing.
    pub at: Fault,
    /// Who asks for what, and how.
    pub trial: Trial,
    /// What must come of it.
    pub expected: Expected,
}

/// What must come of an example.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expected {
    /// It is allowed; where rules are named, exactly these would have refused it, were they enforced.
    Allowed(Option<Vec<String>>),
    /// It is refused, for this cause.
    Refused(Reason),
    /// It is refused, and this guardrail is among those that refuse it.
    Guardrail(String),
}

/// All examples; or every fault of theirs.
pub(super) fn read(files: &Files) -> Result<Vec<Example>, Vec<Fault>> {
    let (mut examples, mut faults) = (Vec::new(), Vec::new());
    for (name, text) in files.within(EXAMPLES) {
        let reading = Reading::new(name, text);
        let found = of_file(&reading);
        match reading.finish(Some(found)) {
            Ok(found) => examples.extend(found),
            Err(mut found) => faults.append(&mut found),
        }
    }
    if faults.is_empty() { Ok(examples) } else { Err(faults) }
}

fn of_file(reading: &Reading<'_>) -> Vec<Example> {
    let table = fields::parse(reading);
    let mut fields = Fields::of(reading, table.get_ref(), 0..0);
    let listed = [ALLOW, DENY].map(|key| (key, fields.get(key)));
    fields.finish();
    let mut examples = Vec::new();
    for (key, value) in listed {
        let Some(value) = value else { continue };
        examples.extend(fields::array(reading, key, value).iter().filter_map(|value| example(reading, key, value)));
    }
    if examples.is_empty() && reading.count() == 0 {
        reading.fault_of_file("has no example; write `[[allow]]` or `[[deny]]`");
    }
    examples
}

fn example<'t>(reading: &Reading<'t>, key: &str, value: &Value<'t>) -> Option<Example> {
    let before = reading.count();
    let mut fields = Fields::within(reading, value)?;
    let collaborator = fields.required("collaborator", parsed::<Collaborator>);
    let project = fields.required("project", parsed::<ProjectName>);
    let role = fields.required("role", parsed::<RoleName>);
    fields.must_have("ask");
    let asked = fields.get("ask").and_then(|value| asked(reading, value));
    let action = fields.optional("decision", fields::one_of::<Action>);
    let device = fields.get("device");
    let protection = fields.optional("protection", fields::one_of::<Protection>);
    let address = fields.optional("address", parsed::<IpAddr>);
    let now = fields.optional("at", time);
    let caller = fields.optional("caller", |value| {
        serde_json::from_value::<Evidence>(project::json(value.get_ref())).map_err(|error| error.to_string())
    });
    let expected = if key == ALLOW {
        Some(Expected::Allowed(fields.optional("monitored", fields::strings)))
    } else {
        let because = fields.optional("because", fields::one_of::<Reason>).map(Expected::Refused);
        let guardrail = fields.optional("guardrail", fields::string).map(Expected::Guardrail);
        match (because, guardrail) {
            (Some(one), None) | (None, Some(one)) => Some(one),
            _ => {
                let message = "say why it must be refused: either `guardrail`, with a rule's id, or `because`, with a cause such as `exceeds_grant`, `no_grant` or `policy_missing`";
                reading.fault(&value.span(), message);
                None
            }
        }
    };
    fields.finish();
    let device = device.and_then(|device| asker(reading, device));
    let (resource, asked) = asked?;
    let mut trial = Trial::of(collaborator?, project?, role?, resource, now);
    trial.asked = Some(asked);
    trial.action = action.unwrap_or_default();
    trial.address = address;
    trial.caller = caller;
    if let Some(protection) = protection {
        trial = trial.with_protection(protection);
    }
    if let Some(differs) = device {
        differs(&mut trial.asker);
    }
    if let Some(contradiction) = trial.contradiction() {
        reading.fault(&value.span(), contradiction);
    }
    let at = reading.told(&value.span(), "");
    (before == reading.count()).then_some(Example { at, trial, expected: expected? })
}

/// What is asked for, and where: one resource, as of one token.
fn asked<'t>(
    reading: &Reading<'t>,
    value: &Value<'t>,
) -> Option<(daypass_proto::resource::Resource, AuthorizationDetails)> {
    let before = reading.count();
    for detail in fields::array(reading, "ask", value) {
        check_detail(reading, detail);
    }
    if before != reading.count() {
        return None;
    }
    let text = project::json(value.get_ref()).to_string();
    let fault = |message: String| {
        reading.fault(&value.span(), format!("`ask`: {message}"));
        None
    };
    if text.contains(USER) {
        return fault(format!("`{USER}` stands for nobody here; write the collaborator's name"));
    }
    if text.len() > MAX_DETAILS {
        return fault(format!("over {MAX_DETAILS} bytes, which nobody can ask for"));
    }
    let details: AuthorizationDetails = match serde_json::from_str(&text) {
        Ok(details) => details,
        Err(error) => return fault(error.to_string()),
    };
    let mut resources = details.resources().into_iter();
    match (resources.next(), resources.next()) {
        (Some(resource), None) => Some((resource, details)),
        _ => fault("a token is for one resource: ask for something at one host".to_owned()),
    }
}

/// What differs from the usual device.
fn asker<'t>(reading: &Reading<'t>, value: &Value<'t>) -> Option<impl FnOnce(&mut Asker) + use<>> {
    let mut fields = Fields::within(reading, value)?;
    let tier = fields.optional("trust_tier", fields::one_of::<TrustTier>);
    let secure_boot = fields.optional("secure_boot", |value| match value.get_ref() {
        DeValue::Boolean(on) => Ok(Some(*on)),
        DeValue::String(text) if text == "unknown" => Ok(None),
        _ => Err("expected `true`, `false` or `\"unknown\"`".to_owned()),
    });
    let os = fields.optional("os", fields::plain);
    let version = fields.optional("agent_version", fields::plain);
    let pcrs: Vec<_> =
        (0..).zip(PCRS).filter_map(|(pcr, name)| Some((pcr, fields.optional(name, pcr_value)?))).collect();
    fields.finish();
    Some(move |asker: &mut Asker| {
        asker.trust_tier = tier.unwrap_or(asker.trust_tier);
        asker.secure_boot = secure_boot.unwrap_or(asker.secure_boot);
        if let Some(os) = os {
            asker.os = os;
        }
        if let Some(version) = version {
            asker.agent_version = version;
        }
        asker.pcrs.extend(pcrs);
    })
}

/// As guardrails see them: 64 small hexadecimal digits.
fn pcr_value(value: &Value<'_>) -> Result<Fixed<32>, String> {
    let text = fields::string(value)?;
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let small = text.bytes().all(digit).then(|| hex::decode(&text).ok()).flatten();
    small
        .and_then(|bytes| bytes.try_into().ok())
        .map(Fixed)
        .ok_or_else(|| "expected a SHA-256 in 64 small hexadecimal digits".to_owned())
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(value: &Value<'_>) -> Result<T, String> {
    fields::string(value)?.parse().map_err(|error: T::Err| error.to_string())
}

/// A moment, as a string or as TOML's own.
fn time(value: &Value<'_>) -> Result<Timestamp, String> {
    let text = match value.get_ref() {
        DeValue::Datetime(time) => time.to_string(),
        _ => fields::string(value)?,
    };
    let time: jiff::Timestamp =
        text.parse().map_err(|_| format!("`{text}` is no moment; write one such as `2027-01-31T18:00:00Z`"))?;
    Ok(Timestamp::from_seconds(time.as_second()))
}

#[cfg(test)]
mod tests;

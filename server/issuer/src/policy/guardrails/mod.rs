//! Guardrails: `guardrails/*.cedar`, rules that only narrow.
//!
//! Grant, role and request have said yes when a guardrail is asked: for each token, when a grant comes into force, and when it gets a later end. Every rule is a `forbid`, so adding one never opens anything, and
//! leaving one out never closes anything by surprise. A rule that cannot be decided counts as one that forbids.

mod depth;
mod facts;
mod schema;

use std::collections::BTreeMap;

use cedar_policy::{AuthorizationError, Authorizer, Effect, Policy, PolicyId, PolicySet, ValidationMode, Validator};
use daypass_proto::{redaction::glimpse, words::words};
use jiff::tz::TimeZone;
use miette::Diagnostic;
use serde_json::Value;

pub(crate) use self::facts::word;
pub use self::facts::{Action, Facts, Subject};
use super::{
    fault::{Fault, Reading},
    files::{Files, GUARDRAILS},
};

/// What grants, roles and requests have allowed when guardrails are asked.
const BASE: &str = "permit (principal, action, resource);";
const BASE_ID: &str = "base";

/// What a rule may say of itself.
const ID: &str = "id";
const REASON: &str = "reason";
const MODE: &str = "mode";
const BRIEFING: &str = "briefing";

/// Whether a rule counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// It is noted that it would have refused.
    Monitor,
    /// It refuses.
    Enforce,
}

/// One rule, as people speak of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Its `@id`.
    pub id: String,
    /// Its `@reason`: what whoever is refused reads.
    pub reason: String,
    /// Its `@mode`.
    pub mode: Mode,
    /// What every collaborator is told of it in a briefing; nothing where it says nothing.
    pub briefing: Option<String>,
    /// Its text, so that two versions of a policy can be compared.
    pub text: String,
    /// What it asks, however it is laid out: without annotations, comments and spaces.
    pub body: String,
    /// Whether it asks what is known of a device, or who signs its proofs.
    pub about_devices: bool,
}

/// The rules of one version of the policy.
#[derive(Debug, Default)]
pub struct Guardrails {
    set: PolicySet,
    rules: BTreeMap<PolicyId, Rule>,
    zones: Vec<(String, TimeZone)>,
}

/// What the guardrails say of one request.
#[derive(Debug, Default)]
pub struct Verdict<'a> {
    /// The rules that refuse it.
    pub enforced: Vec<&'a Rule>,
    /// The rules that would refuse it, were they enforced.
    pub monitored: Vec<&'a Rule>,
}

impl Guardrails {
    /// Reads and checks all rules against the facts that there are.
    pub(super) fn read(files: &Files) -> Result<Self, Vec<Fault>> {
        let (mut faults, mut found) = (Vec::new(), Found::default());
        for (name, text) in files.within(GUARDRAILS) {
            let reading = Reading::new(name, text);
            if depth::is_bounded(&reading) {
                found.zones_of(&reading);
                found.rules_of(&reading);
            }
            if let Err(mut more) = reading.finish(Some(())) {
                faults.append(&mut more);
            }
        }
        // A rule with a fault of its own is held to the schema as well.
        faults.extend(found.beyond_schema(files).unwrap_or_else(|internal| internal));
        faults.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        faults.dedup();
        if faults.is_empty() { found.put_together() } else { Err(faults) }
    }

    /// Asks every rule.
    pub fn judge(&self, facts: &Facts<'_>) -> Verdict<'_> {
        let mut verdict = Verdict::default();
        if self.rules.is_empty() {
            return verdict;
        }
        let forbidding: Vec<&PolicyId> = match facts.request(&self.zones) {
            Ok((request, entities)) => {
                let response = Authorizer::new().is_authorized(&request, &self.set, &entities);
                let (said, undecided) = (response.diagnostics().reason(), response.diagnostics().errors());
                let undecided = undecided.inspect(
                    |error| tracing::error!(%error, "a guardrail could not be decided, and counts as one that forbids"),
                );
                let said: Vec<PolicyId> = said
                    .cloned()
                    .chain(undecided.map(|AuthorizationError::PolicyEvaluationError(error)| error.policy_id().clone()))
                    .collect();
                self.rules.keys().filter(|id| said.contains(id)).collect()
            }
            Err(error) => {
                tracing::error!(
                    error,
                    "the facts of a request could not be put to the guardrails, so all of them forbid it"
                );
                self.rules.keys().collect()
            }
        };
        for rule in forbidding.into_iter().filter_map(|id| self.rules.get(id)) {
            match rule.mode {
                Mode::Enforce => verdict.enforced.push(rule),
                Mode::Monitor => verdict.monitored.push(rule),
            }
        }
        verdict
    }

    /// All rules, by their names.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values()
    }
}

/// What was read so far.
#[derive(Default)]
struct Found {
    rules: Vec<Read>,
    zones: Vec<(String, TimeZone)>,
    /// Zones that there are none of: they are told once, where they stand.
    no_zones: Vec<String>,
}

/// One rule as it was read.
struct Read {
    policy: Policy,
    /// Nothing where something is wrong with it.
    rule: Option<Rule>,
    file: String,
    /// Where in the file.
    at: usize,
}

impl Found {
    /// Every `local["Region/City"]` that a rule asks for: the schema has those, and no others.
    fn zones_of(&mut self, reading: &Reading<'_>) {
        for (at, _) in reading.text.match_indices(schema::LOCAL) {
            let start = at + schema::LOCAL.len();
            let name: String =
                reading.text.get(start..).unwrap_or_default().chars().take_while(|c| *c != '"').collect();
            if self.zones.iter().any(|(known, _)| *known == name) || self.no_zones.contains(&name) {
                continue;
            }
            match TimeZone::get(&name) {
                Ok(zone) => self.zones.push((name, zone)),
                Err(_) => {
                    reading
                        .fault(&(start..start), format!("`{name}` is no time zone; write one such as `Europe/Berlin`"));
                    self.no_zones.push(name);
                }
            }
        }
    }

    fn rules_of(&mut self, reading: &Reading<'_>) {
        let set: PolicySet = match reading.text.parse() {
            Ok(set) => set,
            Err(errors) => {
                let errors: cedar_policy::ParseErrors = errors;
                for error in errors.iter() {
                    reading.fault(&(place(error)..place(error)), told(error));
                }
                return;
            }
        };
        for template in set.templates() {
            reading.fault_of_file(format!("`{}` is a template; a guardrail has no slots", template.id()));
        }
        let mut policies: Vec<&Policy> = set.policies().collect();
        policies.sort_by_key(|policy| {
            policy.id().to_string().trim_start_matches("policy").parse::<usize>().unwrap_or_default()
        });
        let mut from = 0;
        for policy in policies {
            let text = policy.to_cedar().unwrap_or_default();
            let at = reading.text.get(from..).and_then(|rest| rest.find(&text)).map_or(from, |found| from + found);
            from = at + text.len();
            let rule = self.rule(reading, policy, at, text);
            // By its name, where it has one that no other has.
            let id = rule
                .as_ref()
                .map_or_else(|| format!("{}, rule {}", reading.file, self.rules.len()), |rule| rule.id.clone());
            self.rules.push(Read { policy: policy.new_id(PolicyId::new(id)), rule, file: reading.file.to_owned(), at });
        }
    }

    fn rule(&self, reading: &Reading<'_>, policy: &Policy, at: usize, text: String) -> Option<Rule> {
        let before = reading.count();
        let fault = |message: String| reading.fault(&(at..at), message);
        if policy.effect() != Effect::Forbid {
            fault("a guardrail only narrows: write `forbid … unless …` instead of `permit`; what is allowed is for roles to say".to_owned());
        }
        for (name, _) in policy.annotations().filter(|(name, _)| ![ID, REASON, MODE, BRIEFING].contains(name)) {
            fault(format!("`@{name}` is not known here; known are `@{ID}`, `@{REASON}`, `@{MODE}`, `@{BRIEFING}`"));
        }
        let id = policy.annotation(ID).unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if id.is_empty() || id.len() > 64 || !id.bytes().all(plain) || id == BASE_ID {
            fault(format!(
                "the rule needs an `@{ID}(\"…\")` of small letters, digits and `-`, by which events and people name it"
            ));
        } else if self.rules.iter().filter_map(|read| read.rule.as_ref()).any(|rule| rule.id == id) {
            fault(format!("there is another rule with the `@{ID}` `{id}`"));
        }
        let reason = policy.annotation(REASON).unwrap_or_default();
        if reason.len() > 400 {
            fault(format!("`@{REASON}(\"…\")` has at most 400 bytes; whoever is refused reads it"));
        } else if let Err(error) = words(reason) {
            fault(format!("the rule needs an `@{REASON}(\"…\")`, which whoever is refused reads, and it {error}"));
        }
        let mode = match policy.annotation(MODE) {
            None | Some("enforce") => Mode::Enforce,
            Some("monitor") => Mode::Monitor,
            Some(other) => {
                fault(format!("`@{MODE}(\"{}\")`: expected `monitor` or `enforce`", glimpse(other)));
                Mode::Enforce
            }
        };
        let briefing = policy.annotation(BRIEFING);
        if briefing.is_some_and(|briefing| briefing.len() > 400) {
            fault(format!("`@{BRIEFING}(\"…\")` has at most 400 bytes; collaborators read it in their briefing"));
        } else if let Some(Err(error)) = briefing.map(words) {
            fault(format!(
                "`@{BRIEFING}(\"…\")` is what collaborators read of the rule in their briefing, and it {error}"
            ));
        }
        (reading.count() == before).then(|| Rule {
            briefing: briefing.map(str::to_owned),
            id: id.to_owned(),
            reason: reason.to_owned(),
            mode,
            about_devices: policy.to_json().map_or(true, |json| asks_about_devices(&json)),
            body: body(policy).unwrap_or_else(|| text.clone()),
            text,
        })
    }

    /// Holds every rule to the facts that there are, so that none is undecided later: what asks for others.
    fn beyond_schema(&self, files: &Files) -> Result<Vec<Fault>, Vec<Fault>> {
        let internal = |error: &dyn std::fmt::Display| vec![Fault::of_file(GUARDRAILS, error.to_string())];
        if self.rules.is_empty() {
            return Ok(Vec::new());
        }
        let plain = |name: &&String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-_/".contains(&byte));
        let zones = self.zones.iter().map(|(name, _)| name).chain(self.no_zones.iter().filter(plain));
        let schema = schema::schema(zones.map(String::as_str)).map_err(|message| internal(&message))?;
        let mut set = PolicySet::new();
        for read in &self.rules {
            set.add(read.policy.clone()).map_err(|error| internal(&error))?;
        }
        let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
        let found = result.validation_errors().map(|error| (error.policy_id(), error as &dyn Diagnostic));
        let warned = result.validation_warnings().map(|warning| (warning.policy_id(), warning as &dyn Diagnostic));
        let mut faults = Vec::new();
        for (id, diagnostic) in found.chain(warned) {
            let Some(Read { file, at, .. }) = self.rules.iter().find(|read| read.policy.id() == id) else { continue };
            let text = files.within(GUARDRAILS).find(|(name, _)| name == file).map_or("", |(_, text)| text);
            let reading = Reading::new(file, text);
            // The place that is told is one in the file that the rule was parsed from.
            let place = diagnostic.labels().and_then(|mut labels| labels.next()).map_or(*at, |label| label.offset());
            reading.fault(&(place..place), told(diagnostic));
            faults.extend(reading.finish::<()>(None).err().unwrap_or_default());
        }
        Ok(faults)
    }

    /// All rules, none of which has a fault.
    fn put_together(self) -> Result<Guardrails, Vec<Fault>> {
        let internal = |error: &dyn std::fmt::Display| vec![Fault::of_file(GUARDRAILS, error.to_string())];
        let mut set = PolicySet::new();
        let mut rules = BTreeMap::new();
        for Read { policy, rule, .. } in self.rules {
            let Some(rule) = rule else { continue };
            rules.insert(policy.id().clone(), rule);
            set.add(policy).map_err(|error| internal(&error))?;
        }
        if rules.is_empty() {
            return Ok(Guardrails::default());
        }
        let base = Policy::parse(Some(PolicyId::new(BASE_ID)), BASE).map_err(|error| internal(&error))?;
        set.add(base).map_err(|error| internal(&error))?;
        Ok(Guardrails { set, rules, zones: self.zones })
    }
}

/// Whether a fact about devices is asked for anywhere in a rule, in Cedar's JSON form of it: there `principal.os`, `principal["os"]` and
/// `principal has os` each name the attribute in one place, whatever stands before it.
fn asks_about_devices(json: &Value) -> bool {
    match json {
        Value::Object(members) => members.iter().any(|(name, value)| {
            let asks = matches!(name.as_str(), "." | "has");
            let attribute = value.get("attr").and_then(Value::as_str);
            (asks && attribute.is_none_or(schema::is_about_devices)) || asks_about_devices(value)
        }),
        Value::Array(values) => values.iter().any(asks_about_devices),
        _ => false,
    }
}

/// A rule without what it says of itself.
fn body(policy: &Policy) -> Option<String> {
    let mut json = policy.to_json().ok()?;
    json.as_object_mut()?.remove("annotations");
    json.sort_all_objects();
    Some(json.to_string())
}

/// Where in the text a diagnostic points.
fn place(diagnostic: &dyn Diagnostic) -> usize {
    diagnostic.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset())
}

/// A diagnostic's words, with its help.
fn told(diagnostic: &dyn Diagnostic) -> String {
    let help = diagnostic.help().map(|help| format!("; {help}")).unwrap_or_default();
    format!("{diagnostic}{help}").replace('\n', " ")
}

#[cfg(test)]
mod tests;

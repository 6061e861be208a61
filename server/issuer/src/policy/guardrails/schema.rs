//! What a rule can ask about. The schema is made from the facts, so that no rule asks for something that is never there.

use std::fmt::Write as _;

use cedar_policy::Schema;

use super::Action;

/// How a rule asks for the time at a place.
pub(super) const LOCAL: &str = "local[\"";
/// PCRs of the SHA-256 bank.
pub(super) const PCRS: std::ops::Range<u8> = 0..24;

/// Whether an attribute says what is known of a device and its TPM, what runs on it, or who signs its proofs. No other attribute has one of these names.
pub(super) fn is_about_devices(attribute: &str) -> bool {
    matches!(attribute, "trust_tier" | "secure_boot" | "os" | "agent_version" | "protection")
        || attribute.starts_with("pcr")
}

const HEAD: &str = r#"entity Collaborator;
entity Project;
entity Role in [Project] {
    protection: String,
};
// Who asks: a device, in its collaborator.
entity Device in [Collaborator] {
    trust_tier: String,
    secure_boot?: Bool,
    os: String,
    agent_version: String,
"#;

const TYPES: &str = r#"};
type Local = {
    // 1 is Monday.
    weekday: Long,
    hour: Long,
    // Minutes since midnight.
    minute_of_day: Long,
    // 2027-01-31
    date: String,
};
type Process = {
    executable?: String,
    sha256?: String,
    unit?: String,
};
type Caller = {
    peer: Process,
    via: Set<Process>,
};
"#;

const CONTEXT: &str = r#"    now: datetime,
    local: Locals,
    address?: ipaddr,
    // What it is for, and what is asked for.
    resource: String,
    locations: Set<String>,
    actions: Set<String>,
    // `hardware`, `delegated` or `software`: who signs the proofs.
    protection: String,
    // As the agent reports it: evidence, and no boundary.
    caller?: Caller,
    risk: Long,
"#;

/// The schema as text, for people and for editors.
pub fn text<'a>(zones: impl Iterator<Item = &'a str>) -> String {
    let mut text = HEAD.to_owned();
    for pcr in PCRS {
        let _ = writeln!(text, "    pcr{pcr}?: String,");
    }
    text.push_str(TYPES);
    text.push_str("type Locals = {\n");
    for zone in zones {
        let _ = writeln!(text, "    \"{zone}\": Local,");
    }
    text.push_str("};\n");
    // One context for all of them, so that a rule that leaves the action open is asked about each.
    let actions = Action::ALL.map(Action::as_str).join(", ");
    let _ = writeln!(
        text,
        "action {actions} appliesTo {{\n  principal: Device,\n  resource: Role,\n  context: {{\n{CONTEXT}  }}\n}};"
    );
    text
}

pub(super) fn schema<'a>(zones: impl Iterator<Item = &'a str>) -> Result<Schema, String> {
    let (schema, _) =
        Schema::from_cedarschema_str(&text(zones)).map_err(|error| format!("the schema does not read: {error}"))?;
    Ok(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The attributes of a part of the schema, from its first line to its last.
    fn attributes<'a>(schema: &'a str, from: &str, to: &str) -> Vec<&'a str> {
        let part = schema.split_once(from).unwrap().1.split_once(to).unwrap().0;
        let lines = part.lines().filter_map(|line| line.trim().split_once(':'));
        lines.map(|(name, _)| name.trim_end_matches('?')).filter(|name| !name.starts_with("//")).collect()
    }

    #[test]
    fn what_is_known_of_devices_is_told_from_what_a_request_is_about() {
        let schema = text(std::iter::empty());
        let device = attributes(&schema, "entity Device in [Collaborator] {", "};");
        assert_eq!(device.len(), 4 + PCRS.len());
        for name in device {
            assert!(is_about_devices(name), "{name}");
        }
        let mut others = attributes(&schema, "type Local = {", "};");
        others.extend(attributes(&schema, "type Process = {", "};"));
        others.extend(attributes(&schema, "type Caller = {", "};"));
        others.extend(attributes(&schema, "context: {", "}"));
        assert!(others.len() > 15, "{others:?}");
        for name in others {
            assert_eq!(is_about_devices(name), name == "protection", "{name}");
        }
    }
}

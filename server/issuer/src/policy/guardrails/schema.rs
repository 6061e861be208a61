//! What a rule can ask about. The schema is made from the facts, so that no rule asks for something that is never there.

use std::fmt::Write as _;

use cedar_policy::Schema;

use super::Action;

/// How a rule asks for the time at a place.
pub(super) const LOCAL: &str = "local[\"";
/// PCRs of the SHA-256 bank.
pub(super) const PCRS: std::ops::Range<u8> = 0..24;

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

//! Projects and roles: `projects/<project>.toml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use daypass_proto::{
    names::{Collaborator, PhaseName, ProjectName, RoleName},
    time::Timestamp,
};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use toml::de::DeValue;

use super::{
    administration,
    briefing::Template,
    fault::{Fault, Reading},
    fields::{self, Fields, Value},
    role::{self, Role, Sensitivity},
};
use crate::until::Edge;

/// Somebody to put into templates, only to see that they parse.
pub(super) const PROBE: &str = "probe";
/// Stands for the collaborator.
pub(super) const USER: &str = "{user}";

/// A project.
#[derive(Debug)]
pub struct Project {
    /// Who answers for it and approves.
    pub owners: Vec<String>,
    /// How to reach them.
    pub contact: Option<String>,
    /// Where its dates end, where somebody says so.
    pub time_zone: Option<TimeZone>,
    /// Whether its briefing must have been accepted before there is a token.
    pub briefing: Demand,
    /// What its owners wrote for the briefing.
    pub briefing_text: Option<Template>,
    pub(super) phases: BTreeMap<PhaseName, Phase>,
    pub(super) roles: BTreeMap<RoleName, Role>,
    /// The role that every project has and no file.
    pub(super) owner_role: Option<Role>,
}

impl Project {
    /// A role of this project.
    pub fn role(&self, name: &RoleName) -> Option<&Role> {
        self.roles.get(name).or_else(|| self.owner_role.as_ref().filter(|_| administration::is_owner(name)))
    }

    /// A phase of this project.
    pub fn phase(&self, name: &PhaseName) -> Option<&Phase> {
        self.phases.get(name)
    }

    /// All phases.
    pub fn phases(&self) -> impl Iterator<Item = (&PhaseName, &Phase)> {
        self.phases.iter()
    }

    /// All roles.
    pub fn roles(&self) -> impl Iterator<Item = (&RoleName, &Role)> {
        self.roles.iter()
    }
}

/// Whether a project's briefing must have been read.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// Whoever wants reads it.
    #[default]
    Offered,
    /// There is no token before it was accepted.
    Required,
}

/// A phase of a project: what is granted for it ends with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Phase {
    /// Nothing that is granted for it counts before.
    pub begins: Option<Timestamp>,
    /// Nothing that is granted for it counts from here on.
    pub ends: Timestamp,
}

/// The project in the file `name`, whose content is `text`; or every fault of it.
pub(super) fn read(name: &str, text: &str) -> Result<(ProjectName, Project), Vec<Fault>> {
    let reading = Reading::new(name, text);
    let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let project_name = stem.parse().map_err(|error| reading.fault_of_file(format!("the file name: {error}"))).ok();
    let table = fields::parse(&reading);
    let mut fields = Fields::of(&reading, table.get_ref(), 0..0);
    fields.must_have("owners");
    let before = reading.count();
    let owners = fields.get("owners").map(|value| owners(&reading, value));
    let all_owners_read = reading.count() == before;
    let contact = fields.optional("contact", fields::plain);
    let time_zone = fields
        .optional("time_zone", |value| crate::until::zone(&fields::string(value)?).map_err(|error| error.to_string()));
    let briefing = fields.optional("briefing", fields::one_of).unwrap_or_default();
    let phases = fields.get("phases").map(|value| phases(&reading, value, time_zone.as_ref())).unwrap_or_default();
    fields.must_have("roles");
    let roles = fields.get("roles").map(|value| roles(&reading, value)).unwrap_or_default();
    fields.finish();
    if let (Some(owners), true) = (&owners, all_owners_read) {
        enough_owners(&reading, owners, &roles, table.get_ref());
    }
    let project = owners.map(|owners| Project {
        owners,
        contact,
        time_zone,
        briefing,
        briefing_text: None,
        phases,
        roles,
        owner_role: None,
    });
    reading.finish(project_name.zip(project))
}

/// The owners, each of whom could have a device of theirs, and is there once.
fn owners(reading: &Reading<'_>, value: &Value<'_>) -> Vec<String> {
    let before = reading.count();
    let listed = fields::array(reading, "owners", value);
    if reading.count() == before && listed.is_empty() {
        reading.fault(&value.span(), "`owners`: is empty: somebody must be able to approve");
    }
    let mut owners = Vec::new();
    for entry in listed {
        let owner = fields::string(entry).and_then(|owner| match owner.parse::<Collaborator>() {
            Err(error) => Err(error.to_string()),
            Ok(_) if owners.contains(&owner) => Err(format!("`{owner}` is there twice")),
            Ok(_) => Ok(owner),
        });
        match owner {
            Ok(owner) => owners.push(owner),
            Err(message) => reading.fault(&entry.span(), format!("`owners`: {message}")),
        }
    }
    owners
}

fn roles(reading: &Reading<'_>, value: &Value<'_>) -> BTreeMap<RoleName, Role> {
    let DeValue::Table(table) = value.get_ref() else {
        reading.fault(&value.span(), "`roles`: expected tables such as `[roles.developer]`");
        return BTreeMap::new();
    };
    if table.is_empty() {
        reading.fault(&value.span(), "`roles`: there is no role");
    }
    let mut roles = BTreeMap::new();
    for (name, value) in table {
        let parsed =
            name.get_ref().parse().map_err(|error| reading.fault(&name.span(), format!("the role's name: {error}")));
        if parsed.as_ref().is_ok_and(administration::is_owner) {
            let message =
                "a role `owner` is there already in every project: its owners decide by it; call this one otherwise";
            reading.fault(&name.span(), message);
        }
        if let (Ok(name), Some(role)) = (parsed, role::read(reading, value)) {
            roles.insert(name, role);
        }
    }
    roles
}

fn phases(reading: &Reading<'_>, value: &Value<'_>, zone: Option<&TimeZone>) -> BTreeMap<PhaseName, Phase> {
    let DeValue::Table(table) = value.get_ref() else {
        reading.fault(&value.span(), "`phases`: expected tables such as `[phases.build]`");
        return BTreeMap::new();
    };
    let mut phases = BTreeMap::new();
    for (name, value) in table {
        let parsed =
            name.get_ref().parse().map_err(|error| reading.fault(&name.span(), format!("the phase's name: {error}")));
        if let (Ok(name), Some(phase)) = (parsed, phase(reading, value, zone)) {
            phases.insert(name, phase);
        }
    }
    phases
}

fn phase(reading: &Reading<'_>, value: &Value<'_>, zone: Option<&TimeZone>) -> Option<Phase> {
    let mut fields = Fields::within(reading, value)?;
    let begins = fields.optional("begins", |value| edge(value, zone, Edge::Begin));
    let ends = fields.required("ends", |value| match (edge(value, zone, Edge::End)?, begins) {
        (ends, Some(begins)) if ends <= begins => Err("is not after `begins`".to_owned()),
        (ends, _) => Ok(ends),
    });
    fields.finish();
    Some(Phase { begins, ends: ends? })
}

/// A moment, or the edge of a day. The same policy means the same time on every machine, so that a day needs a zone.
fn edge(value: &Value<'_>, zone: Option<&TimeZone>, edge: Edge) -> Result<Timestamp, String> {
    let text = match value.get_ref() {
        DeValue::Datetime(time) => time.to_string(),
        _ => fields::string(value)?,
    };
    // Where both zones say the same, it says its own.
    let there = |zone: &TimeZone| crate::until::moment(&text, zone, edge).map_err(|error| error.to_string());
    let found = there(zone.unwrap_or(&TimeZone::UTC))?;
    if zone.is_none() && there(&TimeZone::fixed(jiff::tz::offset(1)))? != found {
        return Err(format!("`{text}` needs a zone: set `time_zone` in this file, or write `{text}[Europe/Berlin]`"));
    }
    Ok(found)
}

/// A role that nobody could ever be approved for is a fault of its project.
fn enough_owners(
    reading: &Reading<'_>,
    owners: &[String],
    roles: &BTreeMap<RoleName, Role>,
    table: &toml::de::DeTable<'_>,
) {
    let different: BTreeSet<&String> = owners.iter().collect();
    let sensitive = roles.iter().find(|(_, role)| role.sensitivity == Sensitivity::Sensitive);
    if let (Some((name, role)), Some(listed)) = (sensitive, table.get("owners"))
        && different.len() < role.sensitivity.approvers()
    {
        let message =
            format!("`owners`: role `{name}` is sensitive, so that two owners must approve, and there is one");
        reading.fault(&listed.span(), message);
    }
}

/// The same value as JSON. None of our formats has fractions or dates; they become strings, and are refused as such.
pub(super) fn json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => Json::from(text.as_ref()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Json::from(number.as_str()), Json::from),
        DeValue::Float(number) => Json::from(number.as_str()),
        DeValue::Boolean(truth) => Json::from(*truth),
        DeValue::Datetime(time) => Json::from(time.to_string()),
        DeValue::Array(array) => array.iter().map(|value| json(value.get_ref())).collect(),
        DeValue::Table(table) => {
            let members = table.iter().map(|(name, value)| (name.get_ref().to_string(), json(value.get_ref())));
            Json::Object(members.collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::{Files, Policy};

    const GOOD: &str = r#"
owners = ["olga@example.com"]
[roles.developer]
token_lifetime = "10m"
longest_grant = "90d"
[[roles.developer.authorization_details]]
type = "git_repository"
locations = ["https://h/team/app"]
actions = ["push", "create"]
refs = ["refs/heads/{user}/**"]
"#;

    fn load(text: &str) -> Result<Policy, Vec<String>> {
        let files: Files = [("projects/apollo.toml", text)].into_iter().collect();
        Policy::check(&files).map_err(|error| error.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_role_gives_each_their_own() {
        let policy = load(GOOD).unwrap();
        let role = policy.project(&"apollo".parse().unwrap()).unwrap().role(&"developer".parse().unwrap()).unwrap();
        let details = role.details_for(&"alice".parse().unwrap()).unwrap();
        assert!(serde_json::to_string(&details).unwrap().contains("refs/heads/alice/**"));
        assert!(role.details_for(&"a/b".parse().unwrap()).is_err());
        assert_eq!(policy.resources().len(), 1);
    }

    /// One thing made wrong each: the line that is named, and a word of what is said.
    #[test]
    fn every_fault_has_its_line() {
        for (from, to, line, word) in [
            ("[\"olga@example.com\"]", "[]", 2, "is empty"),
            ("[\"olga@example.com\"]", "\"olga\"", 2, "expected an array"),
            ("owners =", "owner =", 1, "`owners` is missing"),
            ("developer]\n", "dev eloper]\n", 3, "expected"),
            ("10m", "2h", 4, "an hour at most"),
            ("\"10m\"", "10", 4, "this is an integer"),
            ("90d", "soon", 5, "not a duration"),
            ("longest_grant", "longest_grunt", 5, "not known here"),
            ("[[roles", "protection = \"software\"\n[[roles", 6, "no role's to give"),
            ("[[roles", "protection = \"soft\"\n[[roles", 6, "unknown variant"),
            ("git_repository", "svn", 7, "expected one of"),
            ("type =", "tipe =", 6, "`type` is missing"),
            ("https://", "http://", 8, "https"),
            ("\"create\"", "\"force\"", 9, "unknown variant"),
            ("refs/heads/{user}/**", "{user}/**", 10, "literal namespace"),
            ("refs = [\"refs/heads/{user}/**\"]", "", 6, "`refs` is needed"),
            ("[roles.developer]", "[grants]\n[roles.developer]", 3, "`grants` is not known"),
            ("[roles.developer]", "[roles.developer", 3, "table"),
            ("[[roles", "renewal = \"auto\"\n[[roles", 6, "unknown variant"),
            ("[roles.developer]", "briefing = \"must\"\n[roles.developer]", 3, "unknown variant"),
            ("[roles.developer]", "briefing = true\n[roles.developer]", 3, "`briefing`"),
            ("[[roles", "longest_total = \"30d\"\n[[roles", 6, "shorter than `longest_grant`"),
            ("[[roles", "longest_total = \"365d\"\nrenewal = \"none\"\n[[roles", 6, "nothing is extended"),
            ("[[roles", "uses = 0\n[[roles", 6, "from 1 on"),
            ("[[roles", "uses = \"once\"\n[[roles", 6, "from 1 on"),
            ("[[roles", "sensitivity = \"high\"\n[[roles", 6, "unknown variant"),
            ("[[roles", "sensitivity = \"sensitive\"\n[[roles", 2, "two owners must approve, and there is one"),
            ("[[roles", "grace = \"7d\"\n[[roles", 6, "expected a table"),
            ("[[roles", "grace = { for = \"7d\" }\n[[roles", 6, "`authorization_details` is missing"),
            ("[[roles", "grace = { authorization_details = [] }\n[[roles", 6, "`for` is missing"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let faults = load(&text).unwrap_err();
            let named = format!("projects/apollo.toml:{line}: ");
            assert!(faults.iter().any(|fault| fault.starts_with(&named) && fault.contains(word)), "{to}: {faults:#?}");
            assert!(faults.iter().all(|fault| fault.contains("\n    ")), "the line itself: {faults:#?}");
        }
    }

    const GRACE: &str = r#"
[roles.developer.grace]
for = "7d"
[[roles.developer.grace.authorization_details]]
type = "git_repository"
locations = ["https://h/team/app"]
actions = ["push"]
refs = ["refs/heads/{user}/**"]
"#;

    #[test]
    fn grace_is_for_a_while_and_never_wider_than_its_role() {
        let with = format!("{GOOD}{GRACE}");
        let policy = load(&with).unwrap();
        let role = policy.project(&"apollo".parse().unwrap()).unwrap().role(&"developer".parse().unwrap()).unwrap();
        let alice = "alice".parse().unwrap();
        assert_eq!(role.grace.as_ref().unwrap().seconds, 7 * 86_400);
        role.grace_for(&alice).unwrap().is_subset_of(&role.details_for(&alice).unwrap()).unwrap();
        assert!(!role.grace_for(&alice).unwrap().is_empty());
        for (from, to, line, word) in [
            ("team/app\"]\nactions = [\"push\"]", "team/other\"]\nactions = [\"push\"]", 12, "beyond the role"),
            ("actions = [\"push\"]", "actions = [\"delete\"]", 12, "beyond the role"),
            // Theirs alone, and so more than the role gives to everybody else.
            ("{user}", "probe", 12, "beyond the role"),
            ("{user}", "another", 12, "beyond the role"),
            ("\"7d\"", "\"91d\"", 13, "longer than the grant"),
            ("\"7d\"", "\"soon\"", 13, "not a duration"),
            ("\"git_repository\"", "\"svn\"", 15, "expected one of"),
            ("for =", "fore =", 13, "`fore` is not known"),
        ] {
            let text = format!("{GOOD}{}", GRACE.replacen(from, to, 1));
            assert_ne!(text, with, "{from}");
            let faults = load(&text).unwrap_err();
            let named = format!("projects/apollo.toml:{line}: ");
            assert!(faults.iter().any(|fault| fault.starts_with(&named) && fault.contains(word)), "{to}: {faults:#?}");
        }
    }

    #[test]
    fn a_phase_has_an_end_in_somebody_s_zone() {
        let with = |head: &str, phase: &str| {
            let phase = format!("[phases.build]\n{phase}\n[roles.developer]");
            format!("{head}{}", GOOD.replace("[roles.developer]", &phase))
        };
        let ends = |text: &str| {
            let policy = load(text)?;
            let phase = *policy.project(&"apollo".parse().unwrap()).unwrap().phase(&"build".parse().unwrap()).unwrap();
            Ok::<_, Vec<String>>((phase.begins.map(|begins| begins.to_string()), phase.ends.to_string()))
        };
        const BERLIN: &str = "time_zone = \"Europe/Berlin\"";
        for (head, phase, begins, end) in [
            (BERLIN, "ends = 2027-01-31", None, "2027-01-31T22:59:59Z"),
            (BERLIN, "ends = \"2027-01-31\"", None, "2027-01-31T22:59:59Z"),
            // Summer time begins in between.
            (BERLIN, "begins = 2027-03-28\nends = 2027-03-28", Some("2027-03-27T23:00:00Z"), "2027-03-28T21:59:59Z"),
            (BERLIN, "ends = \"2027-01-31[America/New_York]\"", None, "2027-02-01T04:59:59Z"),
            ("", "ends = \"2027-01-31[America/New_York]\"", None, "2027-02-01T04:59:59Z"),
            ("", "ends = 2027-01-31T18:00:00+01:00", None, "2027-01-31T17:00:00Z"),
        ] {
            assert_eq!(
                ends(&with(head, phase)).unwrap(),
                (begins.map(str::to_owned), end.to_owned()),
                "{head} {phase}"
            );
        }
        for (head, phase, word) in [
            ("", "ends = 2027-01-31", "needs a zone: set `time_zone`"),
            ("", "ends = 2027-01-31T18:00:00", "needs a zone"),
            ("", "", "`ends` is missing"),
            (BERLIN, "ends = \"soon\"", "neither a date"),
            (BERLIN, "ends = \"90d\"", "neither a date"),
            (BERLIN, "ends = 12", "this is an integer"),
            (BERLIN, "ends = \"2027-01-31[Europe/Atlantis]\"", "not the name of a time zone"),
            (BERLIN, "begins = 2027-02-01\nends = 2027-01-31", "is not after `begins`"),
            (BERLIN, "ends = 2027-01-31\nowner = 1", "`owner` is not known"),
        ] {
            let faults = ends(&with(head, phase)).unwrap_err();
            assert!(faults.iter().any(|fault| fault.contains(word)), "{phase}: {faults:#?}");
        }
        assert!(load(&GOOD.replace("[roles.developer]", "phases = 3\n[roles.developer]")).is_err());
        assert!(load(&with(BERLIN, "ends = 2027-01-31").replace("phases.build", "phases.\"Build it\"")).is_err());
    }

    #[test]
    fn limits_that_nobody_names_are_the_careful_ones() {
        use crate::policy::{Renewal, Sensitivity};
        let policy = load(GOOD).unwrap();
        let role = policy.project(&"apollo".parse().unwrap()).unwrap().role(&"developer".parse().unwrap()).unwrap();
        assert!(role.grace.is_none() && role.uses.is_none() && role.longest_total.is_none());
        assert_eq!((role.renewal, role.sensitivity), (Renewal::Ask, Sensitivity::Normal));
        let two = GOOD.replace("[\"olga", "[\"oskar@example.com\", \"olga");
        let sensitive = two.replace("longest", "sensitivity = \"sensitive\"\nlongest");
        assert!(load(&sensitive).is_ok());
        // The same owner twice is one.
        assert!(load(&sensitive.replace("oskar", "olga")).is_err());
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let text = GOOD
            .replace("10m", "2h")
            .replace("90d", "soon")
            .replace("https://", "http://")
            .replace("\"olga@example.com\"", "");
        let faults = load(&text).unwrap_err();
        let lines: Vec<&str> = faults.iter().filter_map(|fault| fault.split(':').nth(1)).collect();
        assert_eq!(lines, ["2", "4", "5", "8"], "{faults:#?}");
    }

    #[test]
    fn a_role_that_no_token_holds_is_refused() {
        let many = (0..200).map(|n| format!("\"https://h/team/{n}{}\"", "x".repeat(60))).collect::<Vec<_>>().join(",");
        let faults = load(&GOOD.replace("\"https://h/team/app\"", &many)).unwrap_err();
        assert!(faults.iter().any(|fault| fault.contains("split the role")), "{faults:?}");
    }

    #[test]
    fn what_is_cut_is_never_wider() {
        for cut in 1..GOOD.trim_end().len() {
            if let Ok(policy) = load(&GOOD[..cut]) {
                assert!(policy.resources().len() <= 1);
            }
        }
        assert!(load(&format!("owners = [\"x\"]\n{GOOD}")).unwrap_err()[0].contains("duplicate key"));
    }
}

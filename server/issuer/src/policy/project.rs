//! Projects and roles: `projects/<project>.toml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use daypass_proto::{
    authorization::{AuthorizationDetail, AuthorizationDetails, GitRepository, HttpApi, MAX_DETAILS, substitute_user},
    names::{Collaborator, ProjectName, RoleName},
    resource::Resource,
    token::Protection,
};
use jiff::tz::TimeZone;
use serde::{Deserialize as _, de::IntoDeserializer as _};
use serde_json::{Map, Value as Json};
use toml::{Spanned, de::DeValue};

use super::{
    fault::{Fault, Reading},
    fields::{self, Fields, Value},
};

/// The longest life of a token, in seconds: minutes, not hours.
const MAX_TOKEN_LIFETIME: i64 = daypass_proto::delegation::LONGEST;
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
    pub(super) roles: BTreeMap<RoleName, Role>,
}

impl Project {
    /// A role of this project.
    pub fn role(&self, name: &RoleName) -> Option<&Role> {
        self.roles.get(name)
    }

    /// All roles.
    pub fn roles(&self) -> impl Iterator<Item = (&RoleName, &Role)> {
        self.roles.iter()
    }
}

/// A role.
#[derive(Debug)]
pub struct Role {
    /// The longest life of a token, in seconds.
    pub token_lifetime: i64,
    /// The longest life of a grant, in seconds.
    pub longest_grant: i64,
    /// The least that must sign the proofs: [`Protection::Delegated`] opts in to delegated keys, and takes the proof key as well.
    pub protection: Protection,
    /// The authorization details as JSON text, with `{user}` in it.
    pub(super) template: String,
}

impl Role {
    /// What the role gives to `collaborator`.
    pub fn details_for(&self, collaborator: &Collaborator) -> Result<AuthorizationDetails, String> {
        let text = substitute_user(&self.template, collaborator).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// Every resource that it names.
    pub(super) fn resources(&self) -> BTreeSet<Resource> {
        let details = PROBE.parse().ok().and_then(|probe| self.details_for(&probe).ok());
        details.map(|details| details.resources()).unwrap_or_default()
    }
}

/// The project in the file `name`, whose content is `text`; or every fault of it.
pub(super) fn read(name: &str, text: &str) -> Result<(ProjectName, Project), Vec<Fault>> {
    let reading = Reading::new(name, text);
    let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let project_name = stem.parse().map_err(|error| reading.fault_of_file(format!("the file name: {error}"))).ok();
    let table = fields::parse(&reading);
    let mut fields = Fields::of(&reading, table.get_ref(), 0..0);
    let owners = fields.required("owners", |value| {
        let owners = fields::strings(value)?;
        if owners.is_empty() { Err("is empty: somebody must be able to approve".to_owned()) } else { Ok(owners) }
    });
    let contact = fields.optional("contact", fields::string);
    let time_zone = fields
        .optional("time_zone", |value| crate::until::zone(&fields::string(value)?).map_err(|error| error.to_string()));
    fields.must_have("roles");
    let roles = fields.get("roles").map(|value| roles(&reading, value)).unwrap_or_default();
    fields.finish();
    let project = owners.map(|owners| Project { owners, contact, time_zone, roles });
    reading.finish(project_name.zip(project))
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
        if let (Ok(name), Some(role)) = (parsed, role(reading, value)) {
            roles.insert(name, role);
        }
    }
    roles
}

fn role(reading: &Reading<'_>, value: &Value<'_>) -> Option<Role> {
    let mut fields = Fields::within(reading, value)?;
    let token_lifetime = fields.required("token_lifetime", |value| match fields::duration(value)? {
        seconds if seconds > MAX_TOKEN_LIFETIME => Err("a token lives for an hour at most".to_owned()),
        seconds => Ok(seconds),
    });
    let longest_grant = fields.required("longest_grant", fields::duration);
    let protection = fields.optional("protection", |value| match fields::one_of(value)? {
        Protection::Software => {
            Err("`hardware`, or `delegated` where policy opts in; `software` is no role's to give".to_owned())
        }
        protection => Ok(protection),
    });
    fields.must_have("authorization_details");
    let details = fields.get("authorization_details");
    fields.finish();
    let details = details?;
    let faults = reading.count();
    for detail in fields::array(reading, "authorization_details", details) {
        check_detail(reading, detail);
    }
    let each_is_good = faults == reading.count();
    let template = json(details.get_ref()).to_string();
    if template.len() > MAX_DETAILS {
        let message =
            format!("`authorization_details`: over {MAX_DETAILS} bytes, which no token holds; split the role");
        reading.fault(&details.span(), message);
    }
    let role = Role {
        token_lifetime: token_lifetime?,
        longest_grant: longest_grant?,
        protection: protection.unwrap_or(Protection::Hardware),
        template,
    };
    // Whatever is wrong with the list as a whole; each detail was looked at by itself.
    let whole = PROBE.parse().map_err(|error: daypass_proto::names::NameError| error.to_string());
    if let Err(message) = whole.and_then(|probe| role.details_for(&probe))
        && each_is_good
    {
        reading.fault(&details.span(), format!("`authorization_details`: {message}"));
        return None;
    }
    Some(role)
}

/// Looks at one detail as it would be for somebody, so that a fault is told with its own line.
pub(super) fn check_detail<'t>(reading: &Reading<'t>, detail: &Value<'t>) {
    let probed = with_probe(detail);
    let DeValue::Table(mut table) = probed.get_ref().clone() else {
        return reading.fault(&detail.span(), "expected a table with a `type`");
    };
    let Some(kind) = table.remove("type") else {
        return reading
            .fault(&detail.span(), format!("`type` is missing: one of `{}`", AuthorizationDetail::TYPES.join("`, `")));
    };
    let rest = Spanned::new(probed.span(), DeValue::Table(table)).into_deserializer();
    let read = match fields::string(&kind).as_deref() {
        Ok("git_repository") => GitRepository::deserialize(rest).map(drop),
        Ok("http_api") => HttpApi::deserialize(rest).map(drop),
        _ => {
            return reading
                .fault(&kind.span(), format!("`type`: expected one of `{}`", AuthorizationDetail::TYPES.join("`, `")));
        }
    };
    if let Err(error) = read {
        reading.fault(&error.span().unwrap_or(detail.span()), error.message());
    }
}

/// The same value with somebody's name for `{user}`.
fn with_probe<'t>(value: &Value<'t>) -> Value<'t> {
    let inner = match value.get_ref() {
        DeValue::String(text) => DeValue::String(text.replace(USER, PROBE).into()),
        DeValue::Array(array) => DeValue::Array(array.iter().map(with_probe).collect()),
        DeValue::Table(table) => {
            DeValue::Table(table.iter().map(|(name, value)| (name.clone(), with_probe(value))).collect())
        }
        other => other.clone(),
    };
    Spanned::new(value.span(), inner)
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
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let faults = load(&text).unwrap_err();
            let named = format!("projects/apollo.toml:{line}: ");
            assert!(faults.iter().any(|fault| fault.starts_with(&named) && fault.contains(word)), "{to}: {faults:#?}");
            assert!(faults.iter().all(|fault| fault.contains("\n    ")), "the line itself: {faults:#?}");
        }
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

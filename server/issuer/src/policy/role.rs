//! Roles: what can be granted, and its limits.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Mutex, PoisonError},
};

use daypass_proto::{
    authorization::{AuthorizationDetails, MAX_DETAILS, substitute_user},
    names::{Collaborator, NameError},
    resource::Resource,
    token::Protection,
};
use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use super::{
    administration::BuiltIn,
    detail::check_detail,
    fault::Reading,
    fields::{self, Fields, Value},
    project::{PROBE, json},
};

/// The longest life of a token, in seconds: minutes, not hours.
const MAX_TOKEN_LIFETIME: i64 = daypass_proto::delegation::LONGEST;

/// A role.
#[derive(Debug)]
pub struct Role {
    /// The longest life of a token, in seconds.
    pub token_lifetime: i64,
    /// The longest life of a grant, in seconds: until its hard end, from when it is made or extended.
    pub longest_grant: i64,
    /// The longest life of a grant with all its extensions, in seconds from when it was made, where there is a limit.
    pub longest_total: Option<i64>,
    /// What is left after the hard end, where something is.
    pub grace: Option<Grace>,
    /// Whether a grant can be extended.
    pub renewal: Renewal,
    /// How many tokens a grant gives at most, where they are counted.
    pub uses: Option<u32>,
    /// How many must approve.
    pub sensitivity: Sensitivity,
    /// The least that must sign the proofs: [`Protection::Delegated`] opts in to delegated keys, and takes the proof key as well.
    pub protection: Protection,
    /// The authorization details, with `{user}` in them.
    pub(super) template: Template,
    /// Whose it is, where no file has it.
    pub(super) built_in: Option<BuiltIn>,
}

/// What is left for a while after a grant's hard end: less than the role gives, or as much.
#[derive(Debug)]
pub struct Grace {
    /// For how long, in seconds.
    pub seconds: i64,
    /// The authorization details, with `{user}` in them.
    pub(super) template: Template,
}

/// For how many people a template is kept as it was read for them.
const MOST: usize = 4096;

/// Authorization details as JSON text, with `{user}` in it; and what was read from it for whom, since they ask for a token again and again.
pub(super) struct Template {
    text: String,
    read: Mutex<HashMap<Collaborator, AuthorizationDetails>>,
}

impl Template {
    pub(super) fn new(text: String) -> Self {
        Self { text, read: Mutex::default() }
    }

    /// The text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn for_user(&self, collaborator: &Collaborator) -> Result<AuthorizationDetails, String> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(details) = read.get(collaborator) {
            return Ok(details.clone());
        }
        let details = details(&self.text, collaborator)?;
        if read.len() >= MOST {
            read.clear();
        }
        read.insert(collaborator.clone(), details.clone());
        Ok(details)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// Whether a grant can be extended.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Renewal {
    /// Its hard end never moves.
    None,
    /// Whoever has it asks, and an owner decides anew each time.
    #[default]
    Ask,
}

/// How much a role can do, and so how many must approve it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensitivity {
    /// One owner.
    #[default]
    Normal,
    /// Two different owners.
    Sensitive,
}

impl Sensitivity {
    /// How many owners must approve.
    pub const fn approvers(self) -> usize {
        match self {
            Self::Normal => 1,
            Self::Sensitive => 2,
        }
    }
}

impl Role {
    /// What the role gives to `collaborator`.
    pub fn details_for(&self, collaborator: &Collaborator) -> Result<AuthorizationDetails, String> {
        self.built_in.as_ref().map_or(Ok(()), |built_in| built_in.fits(collaborator))?;
        self.template.for_user(collaborator)
    }

    /// Whether no file has it: owners and administrators decide by it, and nobody is briefed for that.
    pub const fn is_built_in(&self) -> bool {
        self.built_in.is_some()
    }

    /// How many must approve a grant in it, beside its device: nobody where the role itself says whose it is.
    pub fn approvers(&self) -> u32 {
        if self.built_in.is_some() { 0 } else { u32::try_from(self.sensitivity.approvers()).unwrap_or(u32::MAX) }
    }

    /// What it leaves to `collaborator` after the hard end: nothing where there is no grace, and never more than it gave before.
    pub fn grace_for(&self, collaborator: &Collaborator) -> Result<AuthorizationDetails, String> {
        let Some(grace) = &self.grace else { return Ok(AuthorizationDetails::default()) };
        let (left, before) = (grace.template.for_user(collaborator)?, self.details_for(collaborator)?);
        left.is_subset_of(&before).map_err(|beyond| format!("it goes beyond the role: {beyond}"))?;
        Ok(left)
    }

    /// Whether it gives `collaborator` no more than another role does, in any of its limits; in words, what it gives more. How long a grant lasts is
    /// not asked: whoever grants says so.
    pub fn gives_no_more_than(&self, other: &Self, collaborator: &Collaborator) -> Result<(), String> {
        let (gives, may) = (self.details_for(collaborator)?, other.details_for(collaborator)?);
        gives.is_subset_of(&may).map_err(|beyond| beyond.to_string())?;
        let (leaves, may) = (self.grace_for(collaborator)?, other.grace_for(collaborator)?);
        leaves.is_subset_of(&may).map_err(|beyond| format!("in its grace, {beyond}"))?;
        let seconds = |role: &Self| role.grace.as_ref().map_or(0, |grace| grace.seconds);
        let uses = |role: &Self| role.uses.unwrap_or(u32::MAX);
        let more = [
            (seconds(self) > seconds(other), "a longer grace"),
            (uses(self) > uses(other), "more uses"),
            (self.token_lifetime > other.token_lifetime, "tokens that live longer"),
            (self.protection != other.protection && self.protection != Protection::Hardware, "weaker proofs"),
        ];
        more.into_iter().find_map(|(is, what)| is.then_some(what)).map_or(Ok(()), |what| Err(what.to_owned()))
    }

    /// Whether it gives more than another role did, or for longer: what two people approved by, where it is sensitive.
    pub(super) fn is_looser_than(&self, other: &Self) -> bool {
        let somebody = PROBE.parse().ok();
        let more = somebody.is_none_or(|somebody| self.gives_no_more_than(other, &somebody).is_err());
        // Where there is no limit, it is the widest.
        let total = |role: &Self| role.longest_total.unwrap_or(i64::MAX);
        more || self.longest_grant > other.longest_grant
            || total(self) > total(other)
            || (other.renewal, self.renewal) == (Renewal::None, Renewal::Ask)
    }

    /// Every resource that it names.
    pub(super) fn resources(&self) -> BTreeSet<Resource> {
        let details = PROBE.parse().ok().and_then(|probe| self.details_for(&probe).ok());
        details.map(|details| details.resources()).unwrap_or_default()
    }
}

fn details(template: &str, collaborator: &Collaborator) -> Result<AuthorizationDetails, String> {
    let text = substitute_user(template, collaborator).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// The role in this table; whatever is wrong with it is put down. A role with faults is read to its end, and its project is refused.
pub(super) fn read(reading: &Reading<'_>, value: &Value<'_>) -> Option<Role> {
    let mut fields = Fields::within(reading, value)?;
    let token_lifetime = fields.required("token_lifetime", |value| match fields::duration(value)? {
        seconds if seconds > MAX_TOKEN_LIFETIME => Err("a token lives for an hour at most".to_owned()),
        seconds => Ok(seconds),
    });
    let longest_grant = fields.required("longest_grant", fields::duration);
    let longest_total = fields.optional("longest_total", |value| match (fields::duration(value)?, longest_grant) {
        (total, Some(one)) if total < one => {
            Err("is shorter than `longest_grant`, which a grant has before it is ever extended".to_owned())
        }
        (total, _) => Ok(total),
    });
    let protection = fields.optional("protection", |value| match fields::one_of(value)? {
        Protection::Software => {
            Err("`hardware`, or `delegated` where policy opts in; `software` is no role's to give".to_owned())
        }
        protection => Ok(protection),
    });
    let renewal = fields.optional("renewal", fields::one_of).unwrap_or_default();
    if let (Renewal::None, Some(_), Some(total)) = (renewal, longest_total, fields.get("longest_total")) {
        reading.fault(&total.span(), "`longest_total`: nothing is extended where `renewal` is `none`; leave it out");
    }
    let uses = fields.optional("uses", uses);
    let sensitivity = fields.optional("sensitivity", fields::one_of).unwrap_or_default();
    let grace = fields.get("grace");
    fields.must_have("authorization_details");
    let given = fields.get("authorization_details");
    fields.finish();
    let grace = grace.map(|value| read_grace(reading, value, longest_grant));
    let template = given.and_then(|given| template(reading, given));
    let is_good = template.is_some();
    let role = Role {
        token_lifetime: token_lifetime.unwrap_or_default(),
        longest_grant: longest_grant.unwrap_or_default(),
        longest_total,
        grace: grace.flatten(),
        renewal,
        uses,
        sensitivity,
        protection: protection.unwrap_or(Protection::Hardware),
        template: Template::new(template.unwrap_or_default()),
        built_in: None,
    };
    if is_good {
        narrower(reading, value, &role);
    }
    Some(role)
}

fn uses(value: &Value<'_>) -> Result<u32, String> {
    match value.get_ref() {
        DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix()).ok().filter(|uses| *uses > 0),
        _ => None,
    }
    .ok_or_else(|| "expected how many tokens a grant gives: a whole number from 1 on".to_owned())
}

fn read_grace(reading: &Reading<'_>, value: &Value<'_>, longest_grant: Option<i64>) -> Option<Grace> {
    let mut fields = Fields::within(reading, value)?;
    let seconds = fields.required("for", |value| match (fields::duration(value)?, longest_grant) {
        (seconds, Some(longest)) if seconds > longest => Err("is longer than the grant itself".to_owned()),
        (seconds, _) => Ok(seconds),
    });
    fields.must_have("authorization_details");
    let given = fields.get("authorization_details");
    fields.finish();
    let template = Template::new(template(reading, given?)?);
    Some(Grace { seconds: seconds.unwrap_or_default(), template })
}

/// The details as JSON text, if each is good, and all of them are.
fn template(reading: &Reading<'_>, value: &Value<'_>) -> Option<String> {
    let before = reading.count();
    for detail in fields::array(reading, "authorization_details", value) {
        check_detail(reading, detail);
    }
    let each_is_good = before == reading.count();
    let template = json(value.get_ref()).to_string();
    if template.len() > MAX_DETAILS {
        let message =
            format!("`authorization_details`: over {MAX_DETAILS} bytes, which no token holds; split the role");
        reading.fault(&value.span(), message);
    }
    if !each_is_good {
        return None;
    }
    // Whatever is wrong with the list as a whole; each detail was looked at by itself.
    let whole = PROBE.parse().map_err(|error: NameError| error.to_string());
    if let Err(message) = whole.and_then(|probe| details(&template, &probe)) {
        reading.fault(&value.span(), format!("`authorization_details`: {message}"));
        return None;
    }
    Some(template)
}

/// Puts down a grace that gives somebody what the role does not. Two names, so that a pattern that happens to fit one of them is seen.
fn narrower(reading: &Reading<'_>, value: &Value<'_>, role: &Role) {
    let DeValue::Table(table) = value.get_ref() else { return };
    let Some(grace) = table.get("grace") else { return };
    let beyond = [PROBE, "another"].iter().find_map(|name| role.grace_for(&name.parse().ok()?).err());
    if let Some(message) = beyond {
        reading.fault(&grace.span(), format!("`grace`: {message}"));
    }
}

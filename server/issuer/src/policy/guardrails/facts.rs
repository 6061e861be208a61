//! What is known of a request when the guardrails are asked.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression as Value,
};
use daypass_proto::{
    authorization::{AuthorizationDetail, AuthorizationDetails},
    caller::{Evidence, Process},
    encoding::Fixed,
    enrolment::TrustTier,
    names::{Collaborator, DeviceId, ProjectName, RoleName},
    resource::Resource,
    time::Timestamp,
    token::Protection,
};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// The device that asks, and whose it is. Everything is borrowed: most requests meet no rule, and then nothing is built.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its name.
    pub device: &'a DeviceId,
    /// Its collaborator.
    pub collaborator: &'a Collaborator,
    /// How well its TPM is known.
    pub trust_tier: TrustTier,
    /// Secure Boot, where the event log says something of it.
    pub secure_boot: Option<bool>,
    /// The PCRs that it quoted last, SHA-256.
    pub pcrs: &'a BTreeMap<u8, Fixed<32>>,
    /// As it says itself.
    pub os: &'a str,
    /// As it says itself.
    pub agent_version: &'a str,
}

/// What is decided.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A token.
    #[default]
    Issue,
    /// A grant comes into force.
    Approve,
    /// A grant gets a later end.
    Renew,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Issue, Self::Approve, Self::Renew];

    /// Its word in rules and examples.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::Approve => "approve",
            Self::Renew => "renew",
        }
    }
}

/// Everything that a rule can ask about.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// What is decided.
    pub action: Action,
    /// Who asks.
    pub subject: &'a Subject<'a>,
    /// In which project.
    pub project: &'a ProjectName,
    /// In which role.
    pub role: &'a RoleName,
    /// What the role takes.
    pub role_protection: Protection,
    /// What the token is for.
    pub resource: &'a Resource,
    /// What is asked for.
    pub details: &'a AuthorizationDetails,
    /// Who signs the proofs.
    pub protection: Protection,
    /// Where the request comes from.
    pub address: Option<IpAddr>,
    /// The clock.
    pub now: Timestamp,
    /// Who asked the agent, as it reports.
    pub caller: Option<&'a Evidence>,
}

/// Nothing rates requests yet.
const RISK: i64 = 0;

impl Facts<'_> {
    /// The facts in Cedar's form.
    pub(super) fn request(&self, zones: &[(String, TimeZone)]) -> Result<(Request, Entities), String> {
        let action = uid("Action", self.action.as_str())?;
        let (principal, resource) =
            (uid("Device", self.subject.device.as_str())?, uid("Role", &format!("{}/{}", self.project, self.role))?);
        let context = Context::from_pairs(self.context(zones)?).map_err(|error| error.to_string())?;
        let request = Request::new(principal.clone(), action, resource.clone(), context, None)
            .map_err(|error| error.to_string())?;
        Ok((request, self.entities(principal, resource)?))
    }

    fn entities(&self, principal: EntityUid, resource: EntityUid) -> Result<Entities, String> {
        let subject = self.subject;
        let mut attributes = HashMap::from([
            ("trust_tier".to_owned(), text(&word(&subject.trust_tier))),
            ("os".to_owned(), text(subject.os)),
            ("agent_version".to_owned(), text(subject.agent_version)),
        ]);
        attributes.extend(subject.secure_boot.map(|on| ("secure_boot".to_owned(), Value::new_bool(on))));
        attributes.extend(
            subject.pcrs.iter().map(|(pcr, value)| (format!("pcr{pcr}"), Value::new_string(hex::encode(value.0)))),
        );
        let (collaborator, project) =
            (uid("Collaborator", subject.collaborator.as_str())?, uid("Project", self.project.as_str())?);
        let role = HashMap::from([("protection".to_owned(), text(&word(&self.role_protection)))]);
        let of = |uid, attributes, parent| {
            Entity::new(uid, attributes, HashSet::from([parent])).map_err(|error| error.to_string())
        };
        let all = [
            of(principal, attributes, collaborator.clone())?,
            of(resource, role, project.clone())?,
            Entity::with_uid(collaborator),
            Entity::with_uid(project),
        ];
        Entities::from_entities(all, None).map_err(|error| error.to_string())
    }

    fn context(&self, zones: &[(String, TimeZone)]) -> Result<Vec<(String, Value)>, String> {
        let time = jiff::Timestamp::from_second(self.now.seconds()).map_err(|error| error.to_string())?;
        let locals = zones
            .iter()
            .map(|(name, zone)| Ok((name.clone(), local(time, zone)?)))
            .collect::<Result<Vec<_>, String>>()?;
        let (locations, actions) = self.named();
        let mut pairs = vec![
            ("now".to_owned(), Value::new_datetime(time.to_string())),
            ("local".to_owned(), record(locals)?),
            ("locations".to_owned(), Value::new_set(locations)),
            ("actions".to_owned(), Value::new_set(actions)),
            ("resource".to_owned(), text(self.resource.as_str())),
            ("protection".to_owned(), text(&word(&self.protection))),
            ("risk".to_owned(), Value::new_long(RISK)),
        ];
        // An IPv4 address that came over an IPv6 socket is the address that people write.
        pairs.extend(
            self.address.map(|address| ("address".to_owned(), Value::new_ip(address.to_canonical().to_string()))),
        );
        if let Some(caller) = self.caller {
            let via = caller.via.iter().map(process).collect::<Result<Vec<_>, _>>()?;
            let caller = vec![("peer".to_owned(), process(&caller.peer)?), ("via".to_owned(), Value::new_set(via))];
            pairs.push(("caller".to_owned(), record(caller)?));
        }
        Ok(pairs)
    }

    /// The locations and the actions that are asked for.
    fn named(&self) -> (Vec<Value>, Vec<Value>) {
        let (mut locations, mut actions) = (Vec::new(), Vec::new());
        for detail in self.details.iter() {
            match detail {
                AuthorizationDetail::GitRepository(git) => {
                    locations.extend(git.locations().iter().map(said));
                    actions.extend(git.actions().iter().map(said));
                }
                AuthorizationDetail::HttpApi(api) => {
                    locations.extend(api.locations().iter().map(said));
                    actions.extend(api.actions().iter().map(said));
                }
            }
        }
        (locations, actions)
    }
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, String> {
    let kind: EntityTypeName = kind.parse().map_err(|error: cedar_policy::ParseErrors| error.to_string())?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

fn text(text: &str) -> Value {
    Value::new_string(text.to_owned())
}

fn said(value: &impl ToString) -> Value {
    Value::new_string(value.to_string())
}

fn record(fields: Vec<(String, Value)>) -> Result<Value, String> {
    Value::new_record(fields).map_err(|error| error.to_string())
}

/// The word that a value has on the wire.
pub(crate) fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn local(time: jiff::Timestamp, zone: &TimeZone) -> Result<Value, String> {
    let there = jiff::ZonedDateTime::new(time, zone.clone());
    let (hour, minute) = (i64::from(there.hour()), i64::from(there.minute()));
    record(vec![
        ("weekday".to_owned(), Value::new_long(i64::from(there.weekday().to_monday_one_offset()))),
        ("hour".to_owned(), Value::new_long(hour)),
        ("minute_of_day".to_owned(), Value::new_long(hour * 60 + minute)),
        ("date".to_owned(), text(&there.date().to_string())),
    ])
}

fn process(process: &Process) -> Result<Value, String> {
    let known =
        [("executable", word(&process.executable)), ("sha256", word(&process.sha256)), ("unit", word(&process.unit))];
    // What is unavailable is not there, so that a rule has to say what it makes of that.
    record(
        known
            .into_iter()
            .filter(|(_, value)| !value.is_empty() && value != "unavailable")
            .map(|(name, value)| (name.to_owned(), text(&value)))
            .collect(),
    )
}

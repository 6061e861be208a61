//! What is told: the vocabulary of messages, and how each is made of what happened.
//!
//! A message says who must look at what, and no more: names of projects, roles, grants and devices, the collaborator whom it is about, and the owners who
//! are to act. No code, no comparison code, no token, no address, no reason in somebody's words: whoever may see those finds them by the event's number.

use daypass_proto::{encoding::sha256, ledger::EventKind, time::Timestamp};
use serde_json::{Map, Value, json};

use crate::{
    ending::is_of_everything,
    policy::Policy,
    store::{Entry, Grant},
};

/// A member of `data`.
struct Member {
    name: &'static str,
    schema: fn() -> Value,
    meaning: &'static str,
}

const fn text(name: &'static str, meaning: &'static str) -> Member {
    Member { name, schema: || json!({"type": "string"}), meaning }
}

const fn list(name: &'static str, meaning: &'static str) -> Member {
    Member { name, schema: || json!({"type": "array", "items": {"type": "string"}}), meaning }
}

const fn number(name: &'static str, meaning: &'static str) -> Member {
    Member { name, schema: || json!({"type": "integer", "minimum": 0}), meaning }
}

const ISSUER: Member = text("issuer", "the issuer's URL");
const EVENT: Member = number("event", "the number of the event: `daypass-issuer ledger show NUMBER`");
const COLLABORATOR: Member = text("collaborator", "about whom");
const COLLABORATORS: Member =
    list("collaborators", "those who lost something, by name: the first 20; `people` says how many there are");
const PEOPLE: Member = number("people", "how many people lost something");
const GRANTS: Member = number("grants", "how many grants were ended");
const DEVICES: Member = number("devices", "how many devices were ended");
const INVITATIONS: Member = number("invitations", "how many open invitations were taken back");
const REQUESTS: Member = number("requests", "how many requests that waited lapsed");
const OWNERS: Member = list("owners", "the project's owners, who are to act");
const PROJECT: Member = text("project", "the project");
const PHASE: Member = text("phase", "the phase of the project");
const ROLE: Member = text("role", "the role in the project");
const GRANT: Member = text("grant", "the grant");
const DEVICE: Member = text("device", "the device");
const REQUEST: Member = text("request", "the request");
const WANTED: Member = text("wanted", "what was asked for: `extension` or `scopes`");
const POLICY: Member = text("policy", "the version of the policy that waits, hex");
const PROPOSAL: Member = text("proposal", "the name of what waits");
const UNTIL: Member = text("until", "the grant's hard end, or the one that is asked for, RFC 3339");
const AHEAD: Member = number("ahead", "how long before the end this was to be said, in seconds, as configured");
const HOW: Member = text(
    "how",
    "of what ended: `time`, `grace` where narrower rights are left for a while, `revoked`, `left` where the device ended itself, `lost` where its user reported that from another one; of everything: `collaborator_offboarded`, `project_ended`, `phase_ended`; of a request: `approved`, `narrowed`, `refused`, `withdrawn`, `lapsed`",
);
const RULES: Member = list("rules", "the guardrails that forbade it, by their `@id`");
const RESOURCE: Member = text("resource", "what the token was asked for");

/// The kinds, each with its word, what it says, and its members: those that are always there, and those that may be.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $meaning:literal, [$($must:ident),*], [$($may:ident),*];)+) => {
        /// What is told.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Kind { $($(#[$doc])* $variant),+ }

        impl Kind {
            /// All of them.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// Its word: the `type` of the payload.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }

            const fn musts(self) -> &'static [Member] {
                match self { $(Self::$variant => &[$($must),*]),+ }
            }

            const fn mays(self) -> &'static [Member] {
                match self { $(Self::$variant => &[$($may),*]),+ }
            }
        }
    };
}

kinds! {
    /// A device is to be approved.
    DevicePending = "device.pending", "a device is enrolled, and waits until an owner compares the code and approves",
        [ISSUER, EVENT, DEVICE, GRANT, PROJECT, ROLE], [COLLABORATOR, OWNERS];
    /// A device was approved.
    DeviceApproved = "device.approved", "a device was approved, and its collaborator can begin",
        [ISSUER, EVENT, DEVICE], [COLLABORATOR];
    /// A collaborator asks for something.
    RequestPending = "request.pending", "a collaborator asks for more, or for longer, and waits for an owner",
        [ISSUER, EVENT, REQUEST, WANTED, PROJECT, ROLE, UNTIL, DEVICE], [GRANT, COLLABORATOR, OWNERS];
    /// What a collaborator asked for is decided.
    RequestAnswered = "request.answered", "what a collaborator asked for was answered, taken back, or lapsed",
        [ISSUER, EVENT, REQUEST, WANTED, HOW, PROJECT, ROLE, UNTIL, DEVICE], [GRANT, COLLABORATOR, OWNERS];
    /// An approval is missing.
    ApprovalPending = "approval.pending", "something was approved by one person and waits for another, or was accepted on a machine that is enrolled and waits for its owners",
        [ISSUER, EVENT, PROJECT, ROLE, UNTIL], [REQUEST, WANTED, GRANT, DEVICE, COLLABORATOR, OWNERS];
    /// A policy is to be confirmed.
    PolicyPending = "policy.pending", "a policy touches what guards others, and waits for an administrator who did not bring it",
        [ISSUER, EVENT, POLICY, PROPOSAL], [];
    /// A grant's end comes.
    GrantEnding = "grant.ending", "a grant's end is near; whoever needs it longer asks now",
        [ISSUER, GRANT, PROJECT, ROLE, UNTIL, AHEAD, COLLABORATOR, OWNERS], [DEVICE];
    /// A grant has ended.
    GrantEnded = "grant.ended", "a grant is over, by its time or before it",
        [ISSUER, EVENT, GRANT, PROJECT, ROLE, UNTIL, HOW], [DEVICE, COLLABORATOR, OWNERS];
    /// Everything of somebody or something has ended.
    EverythingEnded = "everything.ended", "everything of a collaborator, a project or a phase was ended by one decision; no grant, device or request that ended with it has a message of its own",
        [ISSUER, EVENT, HOW, GRANTS, DEVICES, INVITATIONS, REQUESTS, PEOPLE], [COLLABORATOR, COLLABORATORS, PROJECT, PHASE, OWNERS];
    /// A device has ended.
    DeviceEnded = "device.ended", "a device is revoked, or has ended itself",
        [ISSUER, EVENT, DEVICE, HOW], [COLLABORATOR];
    /// A guardrail refused.
    AccessRefused = "access.refused", "a guardrail refused a token; said once an hour for each device and rules",
        [ISSUER, EVENT, DEVICE, RULES], [RESOURCE, COLLABORATOR];
    /// Somebody tries whether it arrives.
    Test = "test", "somebody ran `daypass-issuer notification test`",
        [ISSUER], [];
}

/// A message before it goes to any sink.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// When it happened.
    pub(super) at: Timestamp,
    /// What the identifier is made of: nothing else has it.
    key: String,
    data: Map<String, Value>,
}

impl Message {
    fn new(kind: Kind, at: Timestamp, key: String, issuer_url: &str) -> Self {
        Self { kind, at, key, data: Map::new() }.with("issuer", issuer_url)
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }

    fn maybe(self, name: &str, value: Option<Value>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Its name: the same however often it is made of the same thing.
    pub(super) fn id(&self) -> String {
        let hash = sha256(&[b"daypass/v1/notification", self.key.as_bytes()]);
        format!("msg_{}", hex::encode(hash.into_iter().take(16).collect::<Vec<u8>>()))
    }

    /// About whom.
    pub(super) fn collaborator(&self) -> Option<&str> {
        self.data.get("collaborator").and_then(Value::as_str)
    }

    /// What stands in `data` by this name.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.data.get(name)
    }

    /// What is sent.
    pub(super) fn payload(&self) -> String {
        let mut payload =
            json!({"type": self.kind.as_str(), "timestamp": self.at.to_string(), "data": self.data.clone()});
        payload.sort_all_objects();
        payload.to_string()
    }
}

/// The kinds of events that may be told of.
pub(super) const EVENTS: [EventKind; 17] = [
    EventKind::RequestMade,
    EventKind::RequestApproved,
    EventKind::RequestRefused,
    EventKind::RequestWithdrawn,
    EventKind::RequestLapsed,
    EventKind::PolicyProposed,
    EventKind::GrantApproved,
    EventKind::GrantGraceBegun,
    EventKind::DeviceEnrolled,
    EventKind::InvitationAccepted,
    EventKind::DeviceApproved,
    EventKind::GrantEnded,
    EventKind::EverythingEnded,
    EventKind::GrantRevoked,
    EventKind::DeviceRevoked,
    EventKind::DeviceLeft,
    EventKind::TokenRefused,
];

/// What an event is told as, if anybody is told of it.
pub(super) fn of_event(entry: &Entry, issuer_url: &str) -> Option<Message> {
    let leaf: Value = serde_json::from_slice(&entry.leaf).ok()?;
    let field = |name: &str| leaf.get("fields")?.get(name).cloned();
    let number = |name: &str| field(name).and_then(|value| value.as_i64());
    let is = |name: &str, value: &str| field(name).is_some_and(|found| found == value);
    let rule = field("rule");
    let rule = rule.as_ref().and_then(Value::as_str);
    let (kind, how) = match entry.kind.parse().ok()? {
        EventKind::EverythingEnded => (Kind::EverythingEnded, rule),
        // One decision is one message, however much it ended.
        _ if rule.is_some_and(is_of_everything) => return None,
        // The same machine once more waits for what it waited for before.
        EventKind::DeviceEnrolled if is("state", "pending") && field("again").is_none() => (Kind::DevicePending, None),
        EventKind::DeviceApproved => (Kind::DeviceApproved, None),
        // What a machine took that is enrolled waits for nobody else. The last one that was missing puts the grant in force, and then nothing waits.
        EventKind::GrantApproved | EventKind::RequestApproved | EventKind::InvitationAccepted
            if number("approvals") < number("approvers") =>
        {
            (Kind::ApprovalPending, None)
        }
        EventKind::RequestMade => (Kind::RequestPending, None),
        EventKind::RequestApproved if is("rule", "narrowed") => (Kind::RequestAnswered, Some("narrowed")),
        EventKind::RequestApproved => (Kind::RequestAnswered, Some("approved")),
        EventKind::RequestRefused => (Kind::RequestAnswered, Some("refused")),
        EventKind::RequestWithdrawn => (Kind::RequestAnswered, Some("withdrawn")),
        EventKind::RequestLapsed => (Kind::RequestAnswered, Some("lapsed")),
        EventKind::PolicyProposed => (Kind::PolicyPending, None),
        // Its narrower rights are left for a while.
        EventKind::GrantGraceBegun => (Kind::GrantEnded, Some("grace")),
        EventKind::GrantEnded => (Kind::GrantEnded, Some("time")),
        EventKind::GrantRevoked => (Kind::GrantEnded, Some("revoked")),
        EventKind::DeviceRevoked if is("rule", "reported_lost") => (Kind::DeviceEnded, Some("lost")),
        EventKind::DeviceRevoked => (Kind::DeviceEnded, Some("revoked")),
        EventKind::DeviceLeft => (Kind::DeviceEnded, Some("left")),
        EventKind::TokenRefused if is("reason", "guardrail") => (Kind::AccessRefused, None),
        _ => return None,
    };
    let personal = |name: &str| entry.personal.get(name).map(|(_, value)| value.as_str());
    let message = Message::new(kind, entry.at, format!("event/{}", hex::encode(&entry.leaf_hash)), issuer_url);
    let mut message = message.with("event", entry.number()?).maybe("how", how.map(Value::from));
    for member in kind.musts().iter().chain(kind.mays()) {
        let value = match member.name {
            "collaborator" => personal("collaborator").map(Value::from),
            "collaborators" => personal("collaborators").and_then(|list| serde_json::from_str(list).ok()),
            "owners" => personal("owner").and_then(|list| serde_json::from_str(list).ok()),
            "until" => field("until")
                .and_then(|until| until.as_i64())
                .map(|until| Timestamp::from_seconds(until).to_string().into()),
            "issuer" | "event" | "how" => continue,
            name => field(name),
        };
        message = message.maybe(member.name, value);
    }
    Some(message)
}

/// That a grant's end comes.
pub(super) fn of_end(grant: &Grant, ahead: i64, now: Timestamp, policy: &Policy, issuer_url: &str) -> Message {
    let owners = policy.project(&grant.project).map(|project| project.owners.clone()).unwrap_or_default();
    let key = format!("end/{}/{}/{ahead}", grant.id, grant.until.seconds());
    Message::new(Kind::GrantEnding, now, key, issuer_url)
        .with("grant", grant.id.to_string())
        .with("project", grant.project.to_string())
        .with("role", grant.role.to_string())
        .with("until", grant.until.to_string())
        .with("ahead", ahead)
        .with("collaborator", grant.collaborator.to_string())
        .with("owners", owners)
        .maybe("device", grant.device.as_ref().map(|device| device.to_string().into()))
}

/// For trying a sink: identifier and payload.
pub fn test_message(random: [u8; 16], now: Timestamp, issuer_url: &str) -> (String, String) {
    let message = Message::new(Kind::Test, now, format!("test/{}", hex::encode(random)), issuer_url);
    (message.id(), message.payload())
}

/// The schema of payloads (JSON Schema, draft 2020-12).
pub fn json_schema() -> Value {
    let kinds: Vec<Value> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let all = kind.musts().iter().chain(kind.mays());
            let properties: Map<String, Value> = all
                .map(|member| {
                    let mut schema = (member.schema)();
                    if let Some(schema) = schema.as_object_mut() {
                        schema.insert("description".to_owned(), member.meaning.into());
                    }
                    (member.name.to_owned(), schema)
                })
                .collect();
            json!({
                "description": kind.meaning(),
                "properties": {
                    "type": {"const": kind.as_str()},
                    "timestamp": {"type": "string", "format": "date-time", "description": "when it happened"},
                    "data": {
                        "type": "object",
                        "properties": properties,
                        "required": kind.musts().iter().map(|member| member.name).collect::<Vec<_>>(),
                        "additionalProperties": false,
                    },
                },
            })
        })
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Daypass notification",
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "oneOf": kinds,
        "unevaluatedProperties": false,
    })
}

/// The same for people.
pub fn markdown() -> String {
    let names =
        |members: &[Member]| members.iter().map(|member| format!("`{}`", member.name)).collect::<Vec<_>>().join(", ");
    let mut text = "| `type` | says that | `data` always has | and may have |\n|---|---|---|---|\n".to_owned();
    let mut members: Vec<&Member> = Vec::new();
    for kind in Kind::ALL {
        text.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            kind.as_str(),
            kind.meaning(),
            names(kind.musts()),
            names(kind.mays())
        ));
        for member in kind.musts().iter().chain(kind.mays()) {
            if members.iter().all(|known| known.name != member.name) {
                members.push(member);
            }
        }
    }
    text.push_str("\n| member | says |\n|---|---|\n");
    for member in members {
        text.push_str(&format!("| `{}` | {} |\n", member.name, member.meaning));
    }
    text
}

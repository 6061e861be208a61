//! The vocabulary: what each kind of event says, and what of it tells of a person.
//!
//! It is one table. The store holds every event against it, and `docs/ledger.md` and `docs/ledger-events.schema.json` are written from it; tests
//! hold both to it.

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{Event, EventKind, VERSION};

/// The form of a field's value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// A string.
    Text,
    /// A whole number; times are seconds since 1970.
    Number,
    /// `true` or `false`.
    Flag,
    /// A JSON object.
    Object,
    /// A list of strings.
    List,
}

impl Form {
    const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Flag => "flag",
            Self::Object => "object",
            Self::List => "list",
        }
    }

    fn holds(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_i64(),
            Self::Flag => value.is_boolean(),
            Self::Object => value.is_object(),
            Self::List => value.as_array().is_some_and(|all| all.iter().all(Value::is_string)),
        }
    }

    fn schema(self) -> Value {
        match self {
            Self::Text => json!({"type": "string"}),
            Self::Number => json!({"type": "integer"}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Object => json!({"type": "object"}),
            Self::List => json!({"type": "array", "items": {"type": "string"}}),
        }
    }
}

/// A field. A name means the same in every kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its form; of a personal field, that of the value beside the leaf, which is text.
    pub form: Form,
    /// Whether it tells of a person: then the leaf has `SHA-256(salt ‖ value)`.
    pub personal: bool,
    /// What it says.
    pub meaning: &'static str,
}

const fn plain(name: &'static str, form: Form, meaning: &'static str) -> Field {
    Field { name, form, personal: false, meaning }
}

const fn text(name: &'static str, meaning: &'static str) -> Field {
    plain(name, Form::Text, meaning)
}

const fn number(name: &'static str, meaning: &'static str) -> Field {
    plain(name, Form::Number, meaning)
}

const fn personal(name: &'static str, meaning: &'static str) -> Field {
    Field { name, form: Form::Text, personal: true, meaning }
}

// Who.
const COLLABORATOR: Field = personal("collaborator", "for whom");
const OWNER: Field = personal("owner", "the project's owners at that time, a JSON list");
const BY: Field = personal("by", "who decided: the account on the issuer's machine that ran the command");
const CALLER: Field =
    personal("caller", "who asked the agent, as the agent reports it: JSON, docs/wire.md section 6.2");
const HOSTNAME: Field = personal("hostname", "what the machine calls itself");
const DEVICE: Field = text("device", "the device");
const GATE: Field = text("gate", "the gate");
// From where.
const ADDRESS: Field = personal("address", "from where: the IP address at the other end of the connection");
// What.
const AGAIN: Field = plain("again", Form::Flag, "the same machine once more, after an answer was lost");
const ACTIVE_FROM: Field = number("active_from", "from when the key is used");
const CODE: Field = text("comparison_code", "what both sides show");
const DELEGATION: Field =
    text("delegation", "the `jti` of the delegation, where the proof was made by a delegated key");
const DETAILS: Field =
    personal("authorization_details", "what is granted, or was asked for: JSON; refs and paths name people");
const ENROLMENT: Field = text("enrolment", "the enrolment in flight");
const ERASED: Field = number("erased_fields", "how many values and salts were removed");
const EXP: Field = number("exp", "the token's end");
const EXPIRES_AT: Field = number("expires_at", "the end of the code or the challenge");
const GRANT: Field = text("grant", "the grant");
const INVITATION: Field = text("invitation", "the invitation");
const ISSUER: Field = text("issuer", "the issuer's URL");
const JKT: Field = text("jkt", "the thumbprint of the key that the token is bound to");
const JTI: Field = text("jti", "the token's identifier");
const KID: Field = text("kid", "the key");
const LIFETIME: Field = number("lifetime", "the token's life, in seconds");
const NOT_AFTER: Field = number("not_after", "the end of the certificate");
const ORIGIN: Field = text("origin", "the ledger's name");
const POSTURE: Field = plain("posture", Form::Object, "what was learned from the quote");
const PROJECT: Field = text("project", "the project");
const PROTECTION: Field = text("protection", "who signs the proofs: `hardware`, `delegated` or `software`");
const PURPOSE: Field = text("purpose", "what the key is for");
const RENEWAL: Field = text("renewal", "the renewal in flight");
const RESOURCE: Field = text("resource", "the one resource that the token is for");
const RESOURCES: Field = plain("resources", Form::List, "what the gate guards");
const RETIRE_AT: Field = number("retire_at", "from when the key is no longer published");
const ROLE: Field = text("role", "the role in the project: the rule that gives what is given");
const SETTING: Field = text("setting", "the setting");
const STATE: Field = text("state", "where the device is in its life afterwards");
const TIER: Field = text("trust_tier", "how well the TPM is known");
const TOKEN_HASH: Field = text(
    "token_hash",
    "SHA-256 over the token's claims without `daypass.leaf`, as JSON with sorted keys and no white space",
);
const UNTIL: Field = number("until", "the grant's hard end");
const SOFTWARE: Field = text("version", "the version of the program");
// Why.
const POLICY: Field = text("policy", "the version of the policy: SHA-256 over its files, hex");
const REASON: Field = text("reason", "the code of the refusal, docs/wire.md section 4");
const RULE: Field = text("rule", "what decided without a reason of somebody's own, or how somebody decided");
const WHY: Field = personal("why", "the reason in words; they name people, and what was sent");

/// Where an event of a kind comes from, which says who must be named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// A command on the issuer's machine: `by` is there.
    Command,
    /// A request: `address` is there.
    Request,
    /// A command or a request: one of the two is there.
    Either,
    /// A command, or the issuer by itself: `by` may be there.
    Issuer,
}

impl Source {
    const fn fields(self) -> &'static [Field] {
        match self {
            Self::Command | Self::Issuer => &[BY],
            Self::Request => &[ADDRESS],
            Self::Either => &[BY, ADDRESS],
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Request => "request",
            Self::Either => "command or request",
            Self::Issuer => "issuer",
        }
    }
}

/// What a kind says.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What happened.
    pub meaning: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// What is always there.
    pub required: &'static [Field],
    /// What may be there.
    pub optional: &'static [Field],
}

impl Entry {
    /// The fields that must be there, those of the source with them.
    fn musts(&self) -> impl Iterator<Item = Field> {
        let own: &'static [Field] = match self.source {
            Source::Command | Source::Request => self.source.fields(),
            Source::Either | Source::Issuer => &[],
        };
        self.required.iter().chain(own).copied()
    }

    /// Every field that there can be.
    fn all(&self) -> impl Iterator<Item = Field> {
        self.required.iter().chain(self.source.fields()).chain(self.optional).copied()
    }
}

/// An event that is not in the vocabulary.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("an event of kind `{}` does not fit the vocabulary: field `{field}` {what}", kind.as_str())]
pub struct Misfit {
    kind: EventKind,
    field: String,
    what: &'static str,
}

/// What this kind says.
pub const fn entry(kind: EventKind) -> Entry {
    use EventKind as K;
    use Source::{Command, Either, Issuer, Request};
    const GRANTED: &[Field] = &[GRANT, PROJECT, ROLE, UNTIL, POLICY, COLLABORATOR, OWNER];
    const GATE_CERTIFIED: &[Field] = &[GATE, RESOURCES, NOT_AFTER];
    let (meaning, source, required, optional): (_, _, &'static [Field], &'static [Field]) = match kind {
        K::IssuerInitialised => ("an issuer was made", Command, &[ISSUER], &[]),
        K::IssuerStarted => ("the issuer began to serve", Issuer, &[SOFTWARE], &[]),
        K::LooseningEnabled => ("the issuer serves with a setting that loosens a rule", Issuer, &[SETTING], &[]),
        K::PolicyLoaded => ("this policy decides from here on", Issuer, &[POLICY], &[]),
        K::KeyCreated => ("a key of the issuer was made", Command, &[KID, PURPOSE, ACTIVE_FROM], &[]),
        K::KeyRetired => ("a key of the issuer got an end", Command, &[KID, PURPOSE, RETIRE_AT], &[]),
        K::LedgerBegun => ("a ledger began", Issuer, &[ORIGIN], &[]),
        K::Invited => (
            "somebody was invited, and the grant waits",
            Command,
            &[INVITATION, GRANT, PROJECT, ROLE, UNTIL, EXPIRES_AT, POLICY, COLLABORATOR, OWNER, DETAILS],
            &[RULE],
        ),
        K::InvitationWithdrawn => {
            ("an invitation was taken back", Command, &[INVITATION, GRANT, PROJECT, ROLE, COLLABORATOR], &[WHY])
        }
        K::EnrolmentBegun => (
            "a machine showed a good code and its keys, and got a challenge",
            Request,
            &[ENROLMENT, INVITATION, GRANT, PROJECT, ROLE, TIER, EXPIRES_AT, COLLABORATOR],
            &[],
        ),
        K::EnrolmentRefused => (
            "a machine that showed a known code, or answered a challenge, was refused",
            Request,
            &[REASON, WHY, COLLABORATOR, INVITATION, PROJECT],
            &[ENROLMENT],
        ),
        K::DeviceEnrolled => (
            "a machine proved its keys, and is a device",
            Request,
            &[DEVICE, STATE, TIER, POSTURE, CODE, NOT_AFTER, COLLABORATOR, HOSTNAME],
            &[INVITATION, GRANT, PROJECT, ROLE, AGAIN],
        ),
        K::SoftwareDeviceRegistered => (
            "a client with keys in files was registered, with its grant",
            Command,
            &[DEVICE, GRANT, PROJECT, ROLE, UNTIL, POLICY, NOT_AFTER, COLLABORATOR, OWNER, DETAILS],
            &[],
        ),
        K::DeviceApproved => ("a device may use its grants", Either, &[DEVICE, COLLABORATOR, RULE], &[WHY]),
        K::DeviceSuspended => ("a device was held back", Command, &[DEVICE, COLLABORATOR], &[RULE, WHY]),
        K::DeviceResumed => ("a device was let on again", Command, &[DEVICE, COLLABORATOR], &[RULE, WHY]),
        K::DeviceRevoked => ("a device was ended", Command, &[DEVICE, COLLABORATOR], &[RULE, WHY]),
        K::DeviceLeft => ("a device ended itself", Request, &[DEVICE, COLLABORATOR], &[RULE, WHY]),
        K::RenewalBegun => (
            "a device asked for its next certificate, and got a challenge",
            Request,
            &[DEVICE, RENEWAL, EXPIRES_AT, COLLABORATOR],
            &[],
        ),
        K::CertificateRenewed => {
            ("a device got its next certificate", Request, &[DEVICE, RENEWAL, POSTURE, NOT_AFTER, COLLABORATOR], &[])
        }
        K::CertificateRefused => {
            ("a device did not get its next certificate", Request, &[DEVICE, RENEWAL, REASON, WHY, COLLABORATOR], &[])
        }
        K::GrantActivated => ("a grant came into force", Either, GRANTED, &[DEVICE, RULE]),
        K::GrantSuspended => ("a grant was held back", Command, GRANTED, &[DEVICE, RULE, WHY]),
        K::GrantResumed => ("a grant was let on again", Command, GRANTED, &[DEVICE, RULE, WHY]),
        K::GrantRevoked => ("a grant was ended before its time", Either, GRANTED, &[DEVICE, RULE, WHY]),
        K::GrantEnded => ("a grant's time is over", Issuer, GRANTED, &[DEVICE, RULE]),
        K::TokenIssued => (
            "a token was issued",
            Request,
            &[
                JTI,
                TOKEN_HASH,
                DEVICE,
                GRANT,
                PROJECT,
                ROLE,
                UNTIL,
                RESOURCE,
                POLICY,
                JKT,
                EXP,
                LIFETIME,
                PROTECTION,
                COLLABORATOR,
                OWNER,
                DETAILS,
            ],
            &[DELEGATION, CALLER],
        ),
        K::TokenRefused => (
            "a token was asked for and refused",
            Request,
            &[DEVICE, REASON, WHY, POLICY, COLLABORATOR],
            &[RESOURCE, DETAILS, CALLER],
        ),
        K::TokenRevoked => (
            "a device ended a token of its own",
            Request,
            &[JTI, TOKEN_HASH, DEVICE, GRANT, PROJECT, RESOURCE, EXP, COLLABORATOR],
            &[],
        ),
        K::GateAdded => ("a gate was registered", Command, &[GATE, RESOURCES, EXPIRES_AT], &[]),
        K::GateEnrolled => ("a gate got its first certificates", Request, GATE_CERTIFIED, &[]),
        K::GateRenewed => ("a gate got its next certificates", Request, GATE_CERTIFIED, &[]),
        K::GateRefused => ("a gate that is known did not get certificates", Request, &[GATE, REASON, WHY], &[]),
        K::GateRemoved => ("a gate was taken out", Command, &[GATE], &[]),
        K::PersonErased => ("a person was erased from the ledger; who, it does not say", Command, &[ERASED], &[WHY]),
    };
    Entry { meaning, source, required, optional }
}

/// Whether an event says what its kind says: nothing that is missing, nothing beyond, each field in its form and in its place.
pub fn fits(event: &Event) -> Result<(), Misfit> {
    let entry = entry(event.kind);
    let misfit = |field: &str, what| Misfit { kind: event.kind, field: field.to_owned(), what };
    let there = |field: &Field| match field.personal {
        true => event.personal.contains_key(field.name),
        false => event.fields.contains_key(field.name),
    };
    if let Some(field) = entry.musts().find(|field| !there(field)) {
        return Err(misfit(field.name, "is missing"));
    }
    if entry.source == Source::Either && !entry.source.fields().iter().any(there) {
        return Err(misfit(BY.name, "is missing, and so is `address`"));
    }
    let known = |name: &str, personal| entry.all().find(|field| field.name == name && field.personal == personal);
    for (name, value) in &event.fields {
        let field = known(name, false).ok_or_else(|| misfit(name, "does not belong there"))?;
        if !field.form.holds(value) {
            return Err(misfit(name, "has another form"));
        }
    }
    match event.personal.keys().find(|name| known(name, true).is_none()) {
        Some(name) => Err(misfit(name, "does not belong there")),
        None => Ok(()),
    }
}

fn object(musts: &[Field], all: &[Field], schema: impl Fn(&Field) -> Value) -> Value {
    let required: Vec<&str> = musts.iter().map(|field| field.name).collect();
    let properties: Map<String, Value> = all
        .iter()
        .map(|field| {
            let mut value = schema(field);
            if let Some(value) = value.as_object_mut() {
                value.insert("description".to_owned(), json!(field.meaning));
            }
            (field.name.to_owned(), value)
        })
        .collect();
    json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties})
}

/// The JSON Schema of a leaf.
pub fn json_schema() -> Value {
    let kinds: Vec<Value> = EventKind::ALL
        .into_iter()
        .map(|kind| {
            let entry = entry(kind);
            let split = |fields: &mut dyn Iterator<Item = Field>| -> (Vec<Field>, Vec<Field>) {
                fields.partition(|field| field.personal)
            };
            let ((must_personal, must), (all_personal, all)) = (split(&mut entry.musts()), split(&mut entry.all()));
            let commitment = |_: &Field| json!({"$ref": "#/$defs/commitment"});
            let mut personal = object(&must_personal, &all_personal, commitment);
            if let (Source::Either, Some(personal)) = (entry.source, personal.as_object_mut()) {
                let any = entry.source.fields().iter().map(|field| json!({"required": [field.name]})).collect();
                personal.insert("anyOf".to_owned(), Value::Array(any));
            }
            json!({
                "title": kind, "description": entry.meaning,
                "properties": {
                    "kind": {"const": kind},
                    "fields": object(&must, &all, |field| field.form.schema()),
                    "personal": personal,
                },
            })
        })
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:daypass:ledger-event:{VERSION}"),
        "title": "A leaf of the Daypass ledger",
        "type": "object",
        "additionalProperties": false,
        "required": ["v", "id", "kind", "at", "fields", "personal"],
        "properties": {
            "v": {"const": VERSION, "description": "the version of the vocabulary"},
            "id": {"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$", "description": "random, so that no two leaves are alike"},
            "kind": {"enum": EventKind::ALL.as_slice(), "description": "what happened"},
            "at": {"type": "integer", "description": "when, in seconds since 1970"},
            "fields": {"description": "what tells of nobody"},
            "personal": {"description": "SHA-256(salt (32) ‖ value) of what tells of a person, base64url; salt and value stand beside the leaf"},
        },
        "oneOf": kinds,
        "$defs": {"commitment": {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"}},
    })
}

/// The vocabulary for people, in Markdown.
pub fn markdown() -> String {
    let list = |fields: Vec<Field>, optional: bool| -> Vec<String> {
        let mark = if optional { "?" } else { "" };
        fields.iter().map(|field| format!("`{}`{mark}", field.name)).collect()
    };
    let mut text =
        String::from("| kind | what happened | comes from | fields | personal fields |\n|---|---|---|---|---|\n");
    let mut fields: Vec<Field> = Vec::new();
    for kind in EventKind::ALL {
        let entry = entry(kind);
        let musts: Vec<Field> = entry.musts().collect();
        let column = |personal: bool| {
            let of = |must: bool| -> Vec<Field> {
                entry.all().filter(|field| field.personal == personal && musts.contains(field) == must).collect()
            };
            let mut names = list(of(true), false);
            names.extend(list(of(false), true));
            names.join(", ")
        };
        let (kind, meaning, source) = (kind.as_str(), entry.meaning, entry.source.word());
        text += &format!("| `{kind}` | {meaning} | {source} | {} | {} |\n", column(false), column(true));
        fields.extend(entry.all());
    }
    fields.sort_by_key(|field| field.name);
    fields.dedup();
    text += "\n| field | form | it says |\n|---|---|---|\n";
    for field in fields {
        let form = if field.personal { "personal" } else { field.form.word() };
        text += &format!("| `{}` | {form} | {} |\n", field.name, field.meaning);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::PathBuf};

    use super::*;
    use crate::time::Timestamp;

    fn docs(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
    }

    /// Holds a file to what it is made from; with `DAYPASS_WRITE_DOCS` set, writes it.
    fn is_up_to_date(name: &str, made: impl FnOnce(&str) -> String) {
        let is = fs::read_to_string(docs(name)).unwrap_or_default();
        let ought = made(&is);
        if std::env::var_os("DAYPASS_WRITE_DOCS").is_some() {
            fs::write(docs(name), &ought).unwrap();
        } else {
            assert!(
                is == ought,
                "docs/{name} is not what the vocabulary says; run this test with DAYPASS_WRITE_DOCS=1"
            );
        }
    }

    #[test]
    fn the_schema_is_up_to_date() {
        is_up_to_date("ledger-events.schema.json", |_| {
            format!("{}\n", serde_json::to_string_pretty(&json_schema()).unwrap())
        });
    }

    #[test]
    fn the_tables_are_up_to_date() {
        const BEGIN: &str = "<!-- The vocabulary: begin. Written by a test of proto::ledger::vocabulary. -->\n";
        const END: &str = "<!-- The vocabulary: end. -->\n";
        is_up_to_date("ledger.md", |is| {
            let (before, rest) = is.split_once(BEGIN).expect("docs/ledger.md has the place for its tables");
            let (_, after) = rest.split_once(END).expect("and where it ends");
            format!("{before}{BEGIN}\n{}\n{END}{after}", markdown())
        });
    }

    #[test]
    fn a_name_means_the_same_everywhere_and_stands_once_in_a_kind() {
        let mut known: BTreeMap<&str, Field> = BTreeMap::new();
        for kind in EventKind::ALL {
            let mut here = Vec::new();
            for field in entry(kind).all() {
                assert_eq!(*known.entry(field.name).or_insert(field), field);
                assert!(!here.contains(&field.name), "{} twice in {}", field.name, kind.as_str());
                here.push(field.name);
            }
        }
    }

    #[test]
    fn whoever_asks_is_named_and_so_is_whoever_it_is_about() {
        for kind in EventKind::ALL {
            let entry = entry(kind);
            let has = |name| entry.required.iter().any(|field| field.name == name);
            assert!(
                !(has("device") || has("grant") || has("invitation")) || has("collaborator"),
                "{}: nobody could be found by it, or erased from it",
                kind.as_str()
            );
            assert!(!has("reason") || has("why"), "{}", kind.as_str());
        }
    }

    fn whole(kind: EventKind) -> Event {
        entry(kind).musts().fold(Event::new([0; 16], kind, Timestamp::from_seconds(1)), |event, field| {
            match (field.personal, field.form) {
                (true, _) => event.personal(field.name, [1; 32], "x"),
                (false, Form::Text) => event.text(field.name, "x"),
                (false, Form::Number) => event.number(field.name, 1),
                (false, Form::Flag) => event.structure(field.name, &true),
                (false, Form::Object) => event.structure(field.name, &json!({})),
                (false, Form::List) => event.structure(field.name, &["x"]),
            }
        })
    }

    #[test]
    fn an_event_that_says_less_more_or_something_else_does_not_fit() {
        for kind in EventKind::ALL {
            let event = match entry(kind).source {
                Source::Either => {
                    assert_eq!(fits(&whole(kind)).unwrap_err().what, "is missing, and so is `address`");
                    whole(kind).personal("address", [1; 32], "x")
                }
                _ => whole(kind),
            };
            assert_eq!(fits(&event), Ok(()));
            for field in entry(kind).musts() {
                let mut less = event.clone();
                let gone = less.fields.remove(field.name).is_some() || less.personal.remove(field.name).is_some();
                assert!(gone);
                assert_eq!(fits(&less).unwrap_err().what, "is missing");
            }
            assert_eq!(fits(&event.clone().text("extra", "x")).unwrap_err().what, "does not belong there");
            assert_eq!(fits(&event.clone().personal("extra", [1; 32], "x")).unwrap_err().what, "does not belong there");
            // What tells of a person has no place in the open.
            assert_eq!(fits(&event.clone().text("collaborator", "x")).unwrap_err().what, "does not belong there");
        }
        let other_form = whole(EventKind::GateAdded).text("expires_at", "soon");
        assert_eq!(
            fits(&other_form).unwrap_err().to_string(),
            "an event of kind `gate_added` does not fit the vocabulary: field `expires_at` has another form"
        );
    }

    #[test]
    fn the_word_of_a_kind_is_the_one_in_the_leaf() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!(
            "token_isued".parse::<EventKind>().unwrap_err().to_string(),
            "`token_isued` is no kind of event; docs/ledger.md has them all"
        );
    }
}

//! The vocabulary: what each kind of event says, and what of it tells of a person.
//!
//! It is one table. The store holds every event against it, and `docs/ledger.md` and `docs/ledger-events.schema.json` are written from it; tests
//! hold both to it.

mod documents;
mod fields;
mod kinds;

use serde_json::{Value, json};
use thiserror::Error;

use self::fields::{ADDRESS, BY, BY_DEVICE, ON_BEHALF_OF};
pub use self::{
    documents::{json_schema, markdown},
    kinds::entry,
};
use super::{Event, EventKind};

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

/// Where an event of a kind comes from, which says who must be named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// Somebody's decision, by a command on the issuer's machine or from an enrolled device: `by` is there.
    Command,
    /// A request: `address` is there.
    Request,
    /// A command or a request: one of the two is there.
    Either,
    /// A command, or the issuer by itself: `by` may be there.
    Issuer,
}

impl Source {
    /// Those by which it is known; all of them for [`Source::Command`] and [`Source::Request`].
    const fn fields(self) -> &'static [Field] {
        match self {
            Self::Command | Self::Issuer => &[BY],
            Self::Request => &[ADDRESS],
            Self::Either => &[BY, ADDRESS],
        }
    }

    /// How it is known who decided.
    const fn further(self) -> &'static [Field] {
        match self {
            Self::Command => &[BY_DEVICE, ADDRESS, ON_BEHALF_OF],
            Self::Either => &[BY_DEVICE, ON_BEHALF_OF],
            Self::Request | Self::Issuer => &[],
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
        let source = self.source.fields().iter().chain(self.source.further());
        self.required.iter().chain(source).chain(self.optional).copied()
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;
    use crate::time::Timestamp;

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
        let bare = Event::new([0; 16], kind, Timestamp::from_seconds(1));
        entry(kind).musts().fold(bare, |event, field| with(event, &field))
    }

    fn with(event: Event, field: &Field) -> Event {
        match (field.personal, field.form) {
            (true, _) => event.personal(field.name, [1; 32], "x"),
            (false, Form::Text) => event.text(field.name, "x"),
            (false, Form::Number) => event.number(field.name, 1),
            (false, Form::Flag) => event.structure(field.name, &true),
            (false, Form::Object) => event.structure(field.name, &json!({})),
            (false, Form::List) => event.structure(field.name, &["x"]),
        }
    }

    /// Judges events by [`fits`], and their leaves by the schema that is shipped: both must say the same.
    struct Judges {
        schemas: boon::Schemas,
        schema: boon::SchemaIndex,
    }

    impl Judges {
        fn new() -> Self {
            let shipped =
                serde_json::from_str(&fs::read_to_string(documents::tests::docs("ledger-events.schema.json")).unwrap())
                    .unwrap();
            let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
            compiler.add_resource("urn:shipped", shipped).unwrap();
            let schema = compiler.compile("urn:shipped", &mut schemas).unwrap();
            Self { schemas, schema }
        }

        /// What does not fit; `None` where everything does.
        fn judge(&self, event: &Event) -> Option<&'static str> {
            let fits = fits(event);
            let leaf: Value = serde_json::from_slice(&event.leaf()).unwrap();
            let valid = self.schemas.validate(&leaf, self.schema);
            assert_eq!(fits.is_ok(), valid.is_ok(), "{fits:?} {valid:?}");
            fits.err().map(|misfit| misfit.what)
        }
    }

    #[test]
    fn an_event_that_says_less_more_or_something_else_does_not_fit() {
        let judges = Judges::new();
        for kind in EventKind::ALL {
            let event = match entry(kind).source {
                Source::Either => {
                    assert_eq!(judges.judge(&whole(kind)), Some("is missing, and so is `address`"));
                    whole(kind).personal("address", [1; 32], "x")
                }
                _ => whole(kind),
            };
            assert_eq!(judges.judge(&event), None);
            let fullest = entry(kind).all().fold(event.clone(), |event, field| with(event, &field));
            assert_eq!(judges.judge(&fullest), None);
            for field in entry(kind).musts() {
                let mut less = event.clone();
                let gone = less.fields.remove(field.name).is_some() || less.personal.remove(field.name).is_some();
                assert!(gone);
                assert_eq!(judges.judge(&less), Some("is missing"));
                if !field.personal {
                    assert_eq!(judges.judge(&event.clone().structure(field.name, &1.5)), Some("has another form"));
                }
            }
            for extra in [event.clone().text("extra", "x"), event.clone().personal("extra", [1; 32], "x")] {
                assert_eq!(judges.judge(&extra), Some("does not belong there"));
            }
            // What tells of a person has no place in the open.
            assert_eq!(judges.judge(&event.clone().text("collaborator", "x")), Some("does not belong there"));
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

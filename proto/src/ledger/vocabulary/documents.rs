//! The vocabulary as it is published: as JSON Schema, and as tables for people.

use serde_json::{Map, Value, json};

use super::{Field, Source, entry};
use crate::ledger::{EventKind, VERSION};

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
    let mut schema = json!({
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
    });
    // The same text in every build: a library may keep the order in which members came.
    schema.sort_all_objects();
    schema
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
pub(super) mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    pub(in crate::ledger::vocabulary) fn docs(name: &str) -> PathBuf {
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
            let mut schema = json_schema();
            schema.sort_all_objects();
            format!("{}\n", serde_json::to_string_pretty(&schema).unwrap())
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
}

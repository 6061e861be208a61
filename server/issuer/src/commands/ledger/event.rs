//! One event, as it is shown: what its leaf says, and what stands beside it.

use std::collections::BTreeMap;

use daypass_proto::{encoding::base64url, ledger::leaf_hash, time::Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{commands::output::untrusted_up_to, store::Entry};

/// The longest value in a table's last column, in characters, and the longest that `show` shows.
const SHORT: usize = 120;
const LONG: usize = 4096;

/// What says most of an event, besides whom and what it is about.
const TELLING: [&str; 8] = ["reason", "rule", "gate", "resource", "setting", "purpose", "origin", "policy"];

/// A leaf's text, or what can be read of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Leaf {
    kind: String,
    at: Option<Timestamp>,
    fields: Map<String, Value>,
    personal: BTreeMap<String, Value>,
}

/// An event to be shown.
#[derive(Debug)]
pub(super) struct Shown {
    number: Option<u64>,
    hash: [u8; 32],
    leaf: Leaf,
    /// The values that were not erased.
    values: BTreeMap<String, String>,
}

impl Shown {
    /// Goes by the leaf, which is in the tree, and not by what stands beside it.
    pub(super) fn of(entry: Entry) -> Self {
        Self {
            number: entry.number(),
            hash: leaf_hash(&entry.leaf),
            leaf: serde_json::from_slice(&entry.leaf).unwrap_or_default(),
            values: entry.personal.into_iter().map(|(name, (_, value))| (name, value)).collect(),
        }
    }

    /// As it is once this field is erased.
    #[cfg(test)]
    pub(super) fn erase(&mut self, name: &str) {
        self.values.remove(name);
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// As an object; a personal field that was erased is null.
    pub(super) fn json(&self) -> Value {
        let personal: Map<String, Value> = self
            .leaf
            .personal
            .keys()
            .map(|name| (name.clone(), self.values.get(name).map_or(Value::Null, |value| json!(value))))
            .collect();
        json!({
            "event": self.number, "leaf_hash": base64url(&self.hash), "kind": self.leaf.kind, "at": self.leaf.at,
            "fields": self.leaf.fields, "personal": personal,
        })
    }

    fn time(&self) -> String {
        self.leaf.at.map_or("(does not read)".to_owned(), |at| at.to_string())
    }

    fn field(&self, name: &str) -> Option<String> {
        self.leaf.fields.get(name).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }

    fn personal(&self, name: &str) -> Option<&str> {
        let committed = self.leaf.personal.contains_key(name);
        committed.then(|| self.values.get(name).map_or("(erased)", String::as_str))
    }

    /// A row of a table: under [`HEADING`].
    pub(super) fn row(&self) -> [String; 7] {
        let or_none = |text: Option<&str>| untrusted_up_to(SHORT, text.unwrap_or("-"));
        let mut telling: Vec<String> =
            TELLING.iter().filter_map(|name| Some(format!("{name}={}", self.field(name)?))).take(2).collect();
        for name in ["by", "on_behalf_of"] {
            telling.extend(self.personal(name).map(|who| format!("{name}={who}")));
        }
        [
            self.number.map(|number| number.to_string()).unwrap_or_default(),
            self.time(),
            untrusted_up_to(SHORT, &self.leaf.kind),
            or_none(self.personal("collaborator")),
            or_none(self.field("project").as_deref()),
            or_none(self.field("device").as_deref()),
            untrusted_up_to(SHORT, &telling.join(" ")),
        ]
    }

    /// Everything, line by line.
    pub(super) fn lines(&self) -> Vec<String> {
        let head = [
            ("event", self.number.map_or("has no number yet".to_owned(), |number| number.to_string())),
            ("kind", self.leaf.kind.clone()),
            ("time", self.time()),
            ("leaf hash", base64url(&self.hash)),
        ];
        let fields = self.leaf.fields.keys().map(|name| (name.as_str(), self.field(name).unwrap_or_default()));
        let personal = self.leaf.personal.keys();
        let personal = personal.map(|name| (name.as_str(), self.personal(name).unwrap_or_default().to_owned()));
        let line = |(name, value): (&str, String)| {
            format!("{:<22}{}", untrusted_up_to(SHORT, name), untrusted_up_to(LONG, &value))
        };
        head.into_iter().chain(fields).chain(personal).map(line).collect()
    }
}

/// What stands above [`Shown::row`], and how wide: rows are printed as they are read, so no column can wait for its widest.
pub(super) const HEADING: [(&str, usize); 7] =
    [("EVENT", 9), ("TIME", 20), ("KIND", 26), ("COLLABORATOR", 24), ("PROJECT", 16), ("DEVICE", 20), ("WHAT", 0)];

/// A row as a line.
pub(super) fn padded(row: &[impl AsRef<str>; 7]) -> String {
    let cells: Vec<String> =
        row.iter().zip(HEADING).map(|(cell, (_, width))| format!("{:<width$}", cell.as_ref())).collect();
    cells.join("  ").trim_end().to_owned()
}

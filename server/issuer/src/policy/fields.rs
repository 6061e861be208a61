//! Reading TOML field by field, so that every fault of a file is told at once, each with its line.

use std::ops::Range;

use daypass_proto::words::words;
use serde::{Deserialize, de::IntoDeserializer as _};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::fault::Reading;

/// A value with its place.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// Parses a whole file; whatever is no TOML is put down.
pub(super) fn parse<'t>(reading: &Reading<'t>) -> Spanned<DeTable<'t>> {
    let (table, errors) = DeTable::parse_recoverable(reading.text);
    for error in errors {
        reading.fault(&error.span().unwrap_or_default(), error.message());
    }
    table
}

/// The fields of one table. What is not asked for is unknown, and said to be.
pub(super) struct Fields<'r, 't> {
    reading: &'r Reading<'t>,
    table: &'r DeTable<'t>,
    /// Where the table begins.
    at: Range<usize>,
    known: Vec<&'static str>,
}

impl<'r, 't> Fields<'r, 't> {
    pub(super) fn of(reading: &'r Reading<'t>, table: &'r DeTable<'t>, at: Range<usize>) -> Self {
        Self { reading, table, at, known: Vec::new() }
    }

    /// The fields of a value that must be a table.
    pub(super) fn within(reading: &'r Reading<'t>, value: &'r Value<'t>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Self::of(reading, table, value.span())),
            other => {
                reading.fault(&value.span(), format!("expected a table, and this is {}", kind(other)));
                None
            }
        }
    }

    /// The field as it stands.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'r Value<'t>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// A field that may be left out.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value<'t>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.get(key)?;
        read(value).map_err(|message| self.reading.fault(&value.span(), format!("`{key}`: {message}"))).ok()
    }

    /// A field that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value<'t>) -> Result<T, String>,
    ) -> Option<T> {
        self.must_have(key);
        self.optional(key, read)
    }

    /// Says so where the field is missing.
    pub(super) fn must_have(&self, key: &'static str) {
        if !self.table.contains_key(key) {
            self.reading.fault(&self.at, format!("`{key}` is missing"));
        }
    }

    /// Puts down every field that nobody asked for.
    pub(super) fn finish(self) {
        for name in self.table.keys().filter(|name| !self.known.contains(&name.get_ref().as_ref())) {
            let known = self.known.join("`, `");
            self.reading.fault(&name.span(), format!("`{}` is not known here; known are `{known}`", name.get_ref()));
        }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// A string.
pub(super) fn string(value: &Value<'_>) -> Result<String, String> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(format!("expected a string, and this is {}", kind(other))),
    }
}

/// A line of words.
pub(super) fn plain(value: &Value<'_>) -> Result<String, String> {
    words(&string(value)?).map(str::to_owned).map_err(|error| error.to_string())
}

/// One of the words of an enumeration of ours.
pub(super) fn one_of<'t, T: Deserialize<'t>>(value: &Value<'t>) -> Result<T, String> {
    T::deserialize(value.clone().into_deserializer()).map_err(|error| error.message().to_owned())
}

/// A list of strings.
pub(super) fn strings(value: &Value<'_>) -> Result<Vec<String>, String> {
    match value.get_ref() {
        DeValue::Array(array) => array.iter().map(string).collect(),
        other => Err(format!("expected an array of strings, and this is {}", kind(other))),
    }
}

/// A duration in seconds.
pub(super) fn duration(value: &Value<'_>) -> Result<i64, String> {
    daypass_proto::duration::seconds(&string(value)?).map_err(|error| error.to_string())
}

/// The entries of an array.
pub(super) fn array<'r, 't>(reading: &Reading<'t>, key: &str, value: &'r Value<'t>) -> &'r [Value<'t>] {
    if let DeValue::Array(array) = value.get_ref() {
        array
    } else {
        reading.fault(&value.span(), format!("`{key}`: expected an array, and this is {}", kind(value.get_ref())));
        &[]
    }
}

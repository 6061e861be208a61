//! One authorization detail in a policy's file: each entry of it is looked at by itself, so that one fault hides no other.

use daypass_proto::{
    authorization::{
        AuthorizationDetail, DetailError, GitAction, GitRepository, HttpApi, HttpMethod, MAX_ENTRIES, PathPattern,
        RefPattern,
    },
    resource::{Repository, Resource},
};
use serde::{Deserialize as _, de::DeserializeOwned, de::IntoDeserializer as _};
use toml::{Spanned, de::DeValue};

use super::{
    fault::Reading,
    fields::{self, Fields, Value},
    project::{PROBE, USER},
};

const LOCATIONS: &str = "locations";
const ACTIONS: &str = "actions";
const REFS: &str = "refs";
const PATHS: &str = "paths";

/// Which type it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Git,
    Http,
}

impl Kind {
    fn read(value: &Value<'_>) -> Result<Self, String> {
        match fields::string(value).as_deref() {
            Ok("git_repository") => Ok(Self::Git),
            Ok("http_api") => Ok(Self::Http),
            _ => Err(format!("expected one of `{}`", AuthorizationDetail::TYPES.join("`, `"))),
        }
    }

    /// Its lists, and whether each must have something.
    const fn lists(kind: Option<Self>) -> &'static [(&'static str, bool)] {
        match kind {
            Some(Self::Git) => &[(LOCATIONS, true), (ACTIONS, true), (REFS, false)],
            Some(Self::Http) => &[(LOCATIONS, true), (ACTIONS, true), (PATHS, true)],
            None => &[(LOCATIONS, true), (ACTIONS, true), (REFS, false), (PATHS, false)],
        }
    }

    /// What is wrong with an entry. Where nobody knows the type, an entry is wrong that no type takes.
    fn entry(kind: Option<Self>, list: &str, value: &Value<'_>) -> Result<(), String> {
        match (list, kind) {
            (LOCATIONS, Some(Self::Git)) => taken::<Repository>(value),
            (LOCATIONS, Some(Self::Http)) => taken::<Resource>(value),
            (LOCATIONS, None) => taken::<Repository>(value).or_else(|_| taken::<Resource>(value)),
            (ACTIONS, Some(Self::Git)) => taken::<GitAction>(value),
            (ACTIONS, Some(Self::Http)) => taken::<HttpMethod>(value),
            (ACTIONS, None) => taken::<GitAction>(value)
                .or_else(|git| taken::<HttpMethod>(value).map_err(|http| format!("{git}; {http}"))),
            (REFS, _) => taken::<RefPattern>(value),
            _ => taken::<PathPattern>(value),
        }
    }

    /// What is wrong with all of it together.
    fn whole(self, detail: Value<'_>) -> Result<(), toml::de::Error> {
        let detail = detail.into_deserializer();
        match self {
            Self::Git => GitRepository::deserialize(detail).map(drop),
            Self::Http => HttpApi::deserialize(detail).map(drop),
        }
    }

    /// A location that is good.
    const fn probe(self) -> &'static str {
        match self {
            Self::Git => "https://probe.example/probe",
            Self::Http => "https://probe.example/",
        }
    }
}

fn taken<T: DeserializeOwned>(value: &Value<'_>) -> Result<(), String> {
    T::deserialize(value.clone().into_deserializer()).map(drop).map_err(|error| error.message().to_owned())
}

/// Looks at one detail as it would be for somebody, so that a fault is told with its own line.
pub(super) fn check_detail<'t>(reading: &Reading<'t>, detail: &Value<'t>) {
    let probed = with_probe(detail);
    let Some(mut fields) = Fields::within(reading, &probed) else { return };
    let kind = fields.required("type", Kind::read);
    let mut faulty = Vec::new();
    for (key, needed) in Kind::lists(kind) {
        let before = reading.count();
        if *needed {
            fields.must_have(key);
        }
        if let Some(value) = fields.get(key) {
            check_list(reading, kind, key, *needed, value);
        }
        if reading.count() != before {
            faulty.push(*key);
        }
    }
    let before = reading.count();
    fields.finish();
    if reading.count() != before {
        return;
    }
    let (Some(kind), DeValue::Table(table)) = (kind, probed.get_ref()) else { return };
    let mut table = table.clone();
    table.remove("type");
    // How actions and refs go together has nothing to do with where.
    if faulty == [LOCATIONS]
        && let Some(locations) = table.get_mut(LOCATIONS)
    {
        let probe = Spanned::new(locations.span(), DeValue::String(kind.probe().into()));
        *locations = Spanned::new(locations.span(), DeValue::Array([probe].into_iter().collect()));
    } else if !faulty.is_empty() {
        return;
    }
    // What is wrong with a list as a whole has no place of its own, but its name.
    let place = |message: &str| {
        let name = message.strip_prefix('`').and_then(|rest| rest.split_once('`')).map(|(name, _)| name);
        name.and_then(|name| table.get(name)).map(Spanned::span)
    };
    if let Err(error) = kind.whole(Spanned::new(probed.span(), DeValue::Table(table.clone()))) {
        let at = place(error.message()).or_else(|| error.span()).unwrap_or(detail.span());
        reading.fault(&at, error.message());
    }
}

fn check_list<'t>(reading: &Reading<'t>, kind: Option<Kind>, key: &'static str, needed: bool, value: &Value<'t>) {
    let before = reading.count();
    let entries = fields::array(reading, key, value);
    if reading.count() == before && (needed && entries.is_empty() || entries.len() > MAX_ENTRIES) {
        reading.fault(&value.span(), DetailError::Count(key).to_string());
    }
    for entry in entries {
        if let Err(message) = Kind::entry(kind, key, entry) {
            reading.fault(&entry.span(), format!("`{key}`: {message}"));
        }
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

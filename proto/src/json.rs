//! JSON with one reading. Of two members with one name some readers take the first and some the last (RFC 8259 section 4); JOSE and JWT leave it
//! to the reader whether to refuse them (RFC 7515 section 4, RFC 7519 section 4). Here they are refused, at any depth and known or not.

use std::{collections::HashSet, fmt};

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Reads `T` from JSON in which no object names a member twice.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice::<Unique>(bytes)?;
    serde_json::from_slice(bytes)
}

/// Reads `T` from the object that somebody sent, in which no object names a member twice; or what is wrong with it, by the member's name.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    // Of a list, `serde` takes the members by their places; nobody means that.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err("expected a JSON object".to_owned());
    }
    serde_json::from_slice::<Unique>(bytes).map_err(|error| fault(&error))?;
    // That nothing stands behind it was seen above.
    let reader = &mut serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let (path, wrong) = (error.path().to_string(), fault(error.inner()));
        if is_ours(&path) { format!("`{path}`: {wrong}") } else { wrong }
    })
}

/// Whether a path is one that a person would write; a name in it may be a code, too.
fn is_ours(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.[]".contains(&byte);
    path != "." && path.bytes().all(plain) && path.split(['.', '[']).all(|part| part.len() <= MAX_NAME)
}

/// The longest that is said of somebody's text, in characters.
const MAX_FAULT: usize = 200;

/// The longest unknown name that is shown, in bytes: codes and tokens are longer.
const MAX_NAME: usize = 32;

/// What a reader found wrong with somebody's text, for an error that leaves or is written down: names of members, and no texts that stood there, since
/// one of them may be a code or a token in the wrong place. Short and printable: an error is no place for a megabyte.
pub fn fault(error: &dyn fmt::Display) -> String {
    let text = nameless(error.to_string());
    // serde shows a text that it met between quotation marks.
    let shown = match text.split_once('"') {
        Some((before, rest)) => format!("{before}\"…\"{}", rest.rsplit_once('"').map_or("", |(_, behind)| behind)),
        None => text,
    };
    shown.chars().take(MAX_FAULT).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Without the name of a member or variant that is not known, where it is none that a person would write: it may be a code, too.
fn nameless(text: String) -> String {
    let Some((kind, rest)) =
        ["unknown field `", "unknown variant `"].into_iter().find_map(|kind| Some((kind, text.strip_prefix(kind)?)))
    else {
        return text;
    };
    // The names that are expected are ours, and hold no such mark.
    let (name, behind) = rest.rsplit_once("`, expected ").unwrap_or((rest, "nothing"));
    let plain = name.len() <= MAX_NAME && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    format!("{kind}{}`, expected {behind}", if plain { name } else { "…" })
}

const TWICE: &str = "a member stands there twice";

/// Any JSON value whose objects name each member once.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unique, A::Error> {
        while items.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unique, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            members.next_value::<Unique>()?;
            if names.contains(&name) {
                let twice = if is_ours(&name) { format!("`{name}` stands there twice") } else { TWICE.to_owned() };
                return Err(A::Error::custom(twice));
            }
            names.insert(name);
        }
        Ok(Unique)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_fault_shows_names_and_no_texts() {
        let read =
            |text: &str| fault(&serde_json::from_str::<std::collections::BTreeMap<String, u8>>(text).unwrap_err());
        let wrong = read(r#"{"a":"dpinv1_\"secret"}"#);
        assert!(wrong.starts_with("invalid type: string \"…\", expected u8") && !wrong.contains("secret"), "{wrong}");
        assert!(read("[]").contains("expected a map"));
        assert_eq!(fault(&format!("missing field `{}", "x".repeat(100_000))).chars().count(), MAX_FAULT);
        assert_eq!(fault(&"a\nb\u{7f}\""), "a\u{fffd}b\u{fffd}\"…\"");
    }

    #[test]
    fn an_unknown_name_is_shown_where_it_is_one() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Known {
            #[serde(rename = "a")]
            _a: Option<Choice>,
        }
        #[derive(Debug, serde::Deserialize)]
        enum Choice {
            One,
        }
        let read = |text: &str| fault(&serde_json::from_str::<Known>(text).unwrap_err());
        assert!(read(r#"{"more":1}"#).starts_with("unknown field `more`, expected `a` at"));
        for hidden in [r#"{"dpinv1_Secret0":1}"#, r#"{"a":"dpinv1_Secret0"}"#, r#"{"dpinv1_Secret0`, expected `x":1}"#]
        {
            let shown = read(hidden);
            assert!(
                shown.starts_with("unknown ") && !shown.contains("dpinv1") && shown.contains("expected `"),
                "{shown}"
            );
        }
        assert!(matches!(serde_json::from_str::<Known>(r#"{"a":"One"}"#).unwrap()._a, Some(Choice::One)));
    }

    #[test]
    fn what_is_wrong_is_told_by_its_name_unless_that_may_be_a_code() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Outer {
            #[serde(rename = "inner")]
            _inner: Vec<Inner>,
        }
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Inner {
            #[serde(rename = "number")]
            _number: u8,
        }
        let wrong = |text: &str| read::<Outer>(text.as_bytes()).map(drop).unwrap_err();
        for (text, begins) in [
            (r#"{"inner":[{"number":1},{"number":"x"}]}"#, "`inner[1].number`: invalid type: string"),
            (r#"{"inner":1}"#, "`inner`: invalid type"),
            (r#"{"inner":[{}]}"#, "`inner[0]`: missing field `number`"),
            ("{}", "missing field `inner`"),
            ("[[]]", "expected a JSON object"),
            ("", "expected a JSON object"),
            (r#"{"inner":[],"inner":[]}"#, "`inner` stands there twice"),
            (r#"{"inner":[],"DPinv1_secret":[],"DPinv1_secret":[]}"#, "a member stands there twice"),
            (r#"{"inner":[{"number":1}],"dpinv1_Secret0":1}"#, "unknown field `…`"),
        ] {
            let told = wrong(text);
            assert!(told.starts_with(begins) && !told.to_lowercase().contains("secret"), "{told}");
        }
        read::<Outer>(br#"{"inner":[{"number":1}]}"#).unwrap();
        read::<Outer>(br#"{"inner":[]} x"#).unwrap_err();
    }

    #[test]
    fn each_member_once_at_any_depth() {
        for good in [r#"{"a":[1,-1,1.5,"x",null,true,{"a":{}}],"b":{"a":1}}"#, "1", "[]", r#"{"a":1,"A":1}"#] {
            assert_eq!(from_slice::<Value>(good.as_bytes()).unwrap(), serde_json::from_str::<Value>(good).unwrap());
        }
        for bad in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"b":{"a":1,"a":2}}]"#, r#"{"a":1} x"#, ""] {
            assert!(from_slice::<Value>(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(from_slice::<Value>("[".repeat(100_000).as_bytes()).is_err(), "no depth without end");
    }
}

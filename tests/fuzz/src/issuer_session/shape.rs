//! Good requests, altered where they have parts: a search that changes bytes of a request seldom gets beyond the first check.
//!
//! An input is a list of requests: which template, how many alterations, and each of those in four bytes: in which part, what, at which
//! place, and how. Parts that are signed are altered before they are signed.

use daypass_proto::{
    encoding::{base64url, from_base64url},
    jose::SoftwareKey,
};
use serde_json::{Map, Value, json};

/// Requests of one input, and alterations of one request.
const MOST: usize = 3;
const MOST_ALTERATIONS: u8 = 4;
/// Kinds of alterations.
pub(super) const KINDS: u8 = 12;

/// What is altered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Part {
    Body,
    Head,
    ProofHeader,
    ProofClaims,
    DelegationHeader,
    DelegationClaims,
    Identity,
    Proof,
    Quote,
}

const PARTS: [Part; 9] = [
    Part::Body,
    Part::Head,
    Part::ProofHeader,
    Part::ProofClaims,
    Part::DelegationHeader,
    Part::DelegationClaims,
    Part::Identity,
    Part::Proof,
    Part::Quote,
];

/// What there is to alter in which template, for the seeds.
pub(super) const PARTS_OF: &[(u8, &[Part])] = &[
    (0, &[Part::Body]),
    (1, &[Part::Body, Part::Identity, Part::Proof, Part::Quote]),
    (3, &[Part::Body, Part::Head, Part::ProofHeader, Part::ProofClaims]),
    (4, &[Part::Body, Part::ProofClaims, Part::DelegationHeader, Part::DelegationClaims]),
    (5, &[Part::Body, Part::Quote]),
    (6, &[Part::Body]),
    (8, &[Part::Body]),
];

/// One request.
pub(super) struct Shaped {
    pub(super) template: u8,
    pub(super) alter: Alterations,
}

/// The requests of an input.
pub(super) fn read(mut input: &[u8]) -> Vec<Shaped> {
    let mut all = Vec::new();
    while let Some(([template, count], rest)) = input.split_first_chunk::<2>() {
        let (own, behind) = rest.split_at(rest.len().min(usize::from(count % (MOST_ALTERATIONS + 1)) * 4));
        let alterations = own.as_chunks::<4>().0.iter().map(|bytes| Alteration::read(*bytes)).collect();
        all.push(Shaped { template: *template, alter: Alterations(alterations) });
        input = behind;
        if all.len() == MOST {
            break;
        }
    }
    all
}

/// An input that [`read`] reads so.
pub(super) fn written(requests: &[(u8, &[[u8; 4]])]) -> Vec<u8> {
    let one = |(template, alterations): &(u8, &[[u8; 4]])| {
        [&[*template, u8::try_from(alterations.len()).unwrap()][..], alterations.as_flattened()].concat()
    };
    requests.iter().flat_map(one).collect()
}

#[derive(Clone, Copy, Debug)]
struct Alteration {
    part: Part,
    kind: u8,
    place: usize,
    how: u8,
}

impl Alteration {
    fn read([part, kind, place, how]: [u8; 4]) -> Self {
        let part = PARTS[usize::from(part) % PARTS.len()];
        Self { part, kind: kind % KINDS, place: usize::from(place), how }
    }
}

/// Everything that is altered in one request.
pub(super) struct Alterations(Vec<Alteration>);

impl Alterations {
    /// Nothing.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    fn of(&self, part: Part) -> impl Iterator<Item = &Alteration> {
        self.0.iter().filter(move |alteration| alteration.part == part)
    }

    /// A JWS over this input, whose header and claims are altered first.
    pub(super) fn signed(&self, key: &SoftwareKey, input: String, header: Part, claims: Part) -> String {
        let parts = [header, claims].into_iter().zip(input.split('.')).map(|(part, text)| {
            if self.of(part).next().is_none() {
                return text.to_owned();
            }
            let mut value = from_base64url(text).and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap();
            self.of(part).for_each(|alteration| alter_json(&mut value, alteration));
            base64url(value.to_string().as_bytes())
        });
        let input = parts.collect::<Vec<_>>().join(".");
        key.sign_input(&input).unwrap()
    }

    /// A statement that is altered before it is signed: 0 of the identity key, 1 of the proof key, 2 a quote.
    pub(super) fn statement(&self, which: usize, mut bytes: Vec<u8>) -> Vec<u8> {
        let part = [Part::Identity, Part::Proof, Part::Quote][which];
        self.of(part).for_each(|alteration| alter_bytes(&mut bytes, alteration));
        bytes
    }

    /// The request with its head and body altered.
    pub(super) fn request(&self, text: &[u8]) -> Vec<u8> {
        let Some(end) = text.windows(2).position(|window| window == b"\n\n").filter(|_| !self.0.is_empty()) else {
            return text.to_vec();
        };
        let (head, body) = (&text[..end + 1], &text[end + 2..]);
        [&self.head(head)[..], b"\n", &self.body(body)].concat()
    }

    fn head(&self, head: &[u8]) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = head.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        for alteration in self.of(Part::Head) {
            let headers = lines.len() - 1;
            if headers == 0 {
                continue;
            }
            let at = 1 + alteration.place % headers;
            match alteration.kind {
                0 => drop(lines.remove(at)),
                1 => lines.push(lines[at].clone()),
                2 => lines[at].insert(0, b'x'),
                // The line feed stays.
                _ => {
                    let length = lines[at].len() - 1;
                    let byte = &mut lines[at][usize::from(alteration.how) % length];
                    *byte = if alteration.kind.is_multiple_of(2) { b' ' } else { b'~' };
                }
            }
        }
        lines.concat()
    }

    fn body(&self, body: &[u8]) -> Vec<u8> {
        if self.of(Part::Body).next().is_none() {
            return body.to_vec();
        }
        if let Ok(mut value) = serde_json::from_slice::<Value>(body) {
            self.of(Part::Body).for_each(|alteration| alter_json(&mut value, alteration));
            return value.to_string().into_bytes();
        }
        let text = String::from_utf8_lossy(body).into_owned();
        let mut fields: Vec<String> = text.split('&').map(str::to_owned).collect();
        self.of(Part::Body).for_each(|alteration| alter_fields(&mut fields, alteration));
        fields.join("&").into_bytes()
    }
}

/// Values that programs stumble over.
fn odd(how: u8) -> Value {
    let all = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1.5),
        json!(""),
        json!("A"),
        json!("AA"),
        json!("\u{0}\u{e9}"),
        json!([]),
        json!({}),
        json!("https://other.example.com/"),
        json!("none"),
    ];
    all[usize::from(how) % all.len()].clone()
}

/// Every place in a value, by its pointer; the value itself is the first.
fn places(value: &Value) -> Vec<String> {
    fn walk(value: &Value, at: &str, found: &mut Vec<String>) {
        found.push(at.to_owned());
        match value {
            Value::Array(all) => all.iter().enumerate().for_each(|(n, one)| walk(one, &format!("{at}/{n}"), found)),
            Value::Object(all) => all.iter().for_each(|(name, one)| walk(one, &format!("{at}/{name}"), found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}

fn alter_json(value: &mut Value, alteration: &Alteration) {
    let places = places(value);
    let at = &places[alteration.place % places.len()];
    let other = value.pointer(&places[usize::from(alteration.how) % places.len()]).cloned().unwrap_or_default();
    if alteration.kind == 0 {
        return remove(value, at);
    }
    let Some(here) = value.pointer_mut(at) else { return };
    match (alteration.kind, here) {
        (1, here) => *here = odd(alteration.how),
        (2, here) => *here = other,
        (3, here) => *here = json!([here.take()]),
        (4, Value::Object(all)) => drop(all.insert("more".to_owned(), other)),
        (4, Value::Array(all)) => all.push(other),
        (5, Value::Array(all)) => all.reverse(),
        (5, Value::Number(number)) => {
            // A little earlier or later, as times go.
            let by = (i64::from(alteration.how) - 128) * 4;
            *number = number.as_i64().unwrap_or_default().saturating_add(by).into();
        }
        (6, Value::String(text)) => *text = text.to_uppercase(),
        (7, Value::String(text)) => text.push(char::from(alteration.how)),
        (8, Value::String(text)) => text.truncate(usize::from(alteration.how).min(text.len())),
        // What stands there in base64url is altered as what it is.
        (_, Value::String(text)) => {
            if let Some(mut bytes) = from_base64url(text) {
                alter_bytes(&mut bytes, alteration);
                *text = base64url(&bytes);
            }
        }
        _ => {}
    }
}

fn remove(value: &mut Value, at: &str) {
    let Some((parent, name)) = at.rsplit_once('/') else { return *value = Value::Object(Map::new()) };
    match value.pointer_mut(parent) {
        Some(Value::Object(all)) => drop(all.remove(name)),
        Some(Value::Array(all)) => {
            if let Ok(at) = name.parse::<usize>() {
                all.remove(at);
            }
        }
        _ => {}
    }
}

fn alter_bytes(bytes: &mut Vec<u8>, alteration: &Alteration) {
    let at = alteration.place % bytes.len().max(1);
    match alteration.kind % 6 {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, alteration.how),
        2 if at < bytes.len() => bytes[at] = alteration.how,
        3 if at < bytes.len() => bytes[at] ^= 1 << (alteration.how % 8),
        4 if at < bytes.len() => drop(bytes.remove(at)),
        5 => bytes.extend(std::iter::repeat_n(alteration.how, at)),
        _ => {}
    }
}

fn alter_fields(fields: &mut Vec<String>, alteration: &Alteration) {
    let (at, to) = (alteration.place % fields.len(), usize::from(alteration.how) % fields.len());
    let other = fields[to].clone();
    match alteration.kind {
        0 if fields.len() > 1 => drop(fields.remove(at)),
        1 => fields.push(other),
        2 => fields.swap(at, to),
        // A value in another's place.
        3 => {
            let name = fields[at].split('=').next().unwrap_or_default().to_owned();
            fields[at] = format!("{name}={}", other.split_once('=').map_or("", |(_, value)| value));
        }
        4 => fields.push(format!("more={other}")),
        5 => fields[at] = fields[at].split('=').next().unwrap_or_default().to_owned(),
        6 => fields[at].push_str("%00"),
        7 => fields[at] = fields[at].replacen("%22", "%27", 1),
        // Authorization details and evidence are JSON in a field.
        kind => {
            let Some((name, value)) = fields[at].split_once('=') else { return };
            let Some(mut value) = json_of(value) else { return };
            alter_json(&mut value, &Alteration { kind: kind - 8, place: usize::from(alteration.how), ..*alteration });
            fields[at] = format!("{name}={}", percent_encoded(&value.to_string()));
        }
    }
}

fn json_of(field: &str) -> Option<Value> {
    let (mut bytes, mut rest) = (Vec::new(), field.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    serde_json::from_slice(&bytes).ok().filter(|value: &Value| value.is_array() || value.is_object())
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

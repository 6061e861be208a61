//! JSON that parts of Daypass and programs on a machine send each other, each read as the receiver reads it.
//!
//! What is accepted is written as JSON that is accepted and says the same.

use crate::{choice, seed};
use daypass_agent::state::Record;
use daypass_gate::trust::GateState;
use daypass_proto::{
    authorization::{
        ApiPath, AuthorizationDetail, AuthorizationDetails, GitAccess, GitAction, GitRepository, HttpAccess, HttpApi,
    },
    briefing, caller, enrolment, gate_api,
    ledger::{
        api::{Inclusion, Log},
        beginning::Beginning,
    },
    local_api,
    oauth_error::ErrorBody,
};
use serde::{Serialize, de::DeserializeOwned};

/// One message, of the kind that the first letter names.
pub fn run(input: &[u8]) {
    let Some((kind, json)) = choice(input, KINDS) else { return };
    read(kind, json);
}

fn same<T: DeserializeOwned + Serialize>(json: &[u8]) -> bool {
    let Ok(message) = serde_json::from_slice::<T>(json) else { return false };
    let written = serde_json::to_value(&message).unwrap();
    let again: T = serde_json::from_value(written.clone()).expect("what is written reads");
    assert_eq!(serde_json::to_value(&again).unwrap(), written);
    true
}

const KINDS: u8 = 32;

/// Whether it was accepted.
fn read(kind: u8, json: &[u8]) -> bool {
    match kind {
        0 => same::<enrolment::BeginRequest>(json),
        1 => same::<enrolment::BeginAnswer>(json),
        2 => same::<enrolment::CompleteRequest>(json),
        3 => same::<enrolment::CompleteAnswer>(json),
        4 => same::<enrolment::DeviceState>(json),
        5 => same::<enrolment::RenewalChallenge>(json),
        6 => same::<enrolment::RenewalRequest>(json),
        7 => same::<enrolment::RenewalAnswer>(json),
        8 => same::<gate_api::EnrolRequest>(json),
        9 => same::<gate_api::RenewRequest>(json),
        10 => same::<gate_api::GateCertificates>(json),
        11 => revocations(json),
        12 => same::<ErrorBody>(json),
        13 => same::<caller::Evidence>(json),
        14 => same::<caller::Process>(json),
        15 => same::<local_api::Status>(json),
        16 => same::<local_api::EnrolRequest>(json),
        17 => same::<local_api::RefreshRequest>(json),
        18 => same::<local_api::LeaveRequest>(json),
        19 => same::<local_api::TokenRequest>(json),
        20 => same::<local_api::ProofRequest>(json),
        21 => same::<local_api::GitCredentialRequest>(json),
        22 => same::<local_api::GitEraseRequest>(json),
        23 => same::<local_api::GitCredential>(json),
        24 => same::<Record>(json),
        25 => same::<GateState>(json),
        26 => details(json),
        27 => log(json),
        28 => same::<Inclusion>(json),
        30 => same::<briefing::AcceptRequest>(json),
        31 => same::<local_api::BriefingAccepted>(json),
        _ => same::<local_api::ledger::Ledgers>(json),
    }
}

/// What an issuer says of its ledger; each beginning as whoever holds a checkpoint reads it.
fn log(json: &[u8]) -> bool {
    if let Ok(log) = serde_json::from_slice::<Log>(json) {
        for leaf in &log.beginnings {
            let _ = Beginning::read(&leaf.0);
        }
    }
    let _ = Beginning::read(json);
    same::<Log>(json)
}

/// `asked LF granted`, or one list alone.
/// What gates must refuse, in whatever pieces it comes.
fn revocations(lines: &[u8]) -> bool {
    let read = |lines: &[u8], piece: usize| {
        let mut reader = gate_api::RevocationReader::default();
        lines.chunks(piece).try_for_each(|piece| reader.take(piece)).and_then(|()| reader.finish())
    };
    let whole = read(lines, lines.len().max(1));
    assert_eq!(read(lines, 7).is_ok(), whole.is_ok());
    let Ok(whole) = whole else { return false };
    let written: Vec<u8> = whole.clone().into_blocks().flat_map(Result::unwrap).collect();
    assert_eq!(read(&written, 64).as_ref(), Ok(&whole), "what is written reads");
    true
}

fn details(json: &[u8]) -> bool {
    let mut lines = json.splitn(2, |byte| *byte == b'\n');
    let list = |json: &[u8]| serde_json::from_slice::<AuthorizationDetails>(json).ok();
    let Some(asked) = lines.next().and_then(list) else { return false };
    assert!(same::<AuthorizationDetails>(&serde_json::to_vec(&asked).unwrap()));
    assert!(asked.is_subset_of(&asked).is_ok());
    for resource in asked.resources() {
        assert!(asked.at_resource(&resource).is_subset_of(&asked).is_ok());
    }
    let Some(granted) = lines.next().and_then(list) else { return true };
    if asked.is_subset_of(&granted).is_err() {
        return true;
    }
    for detail in asked.iter() {
        match detail {
            AuthorizationDetail::GitRepository(detail) => repositories(detail, &asked, &granted),
            AuthorizationDetail::HttpApi(detail) => apis(detail, &asked, &granted),
        }
    }
    true
}

fn repositories(detail: &GitRepository, asked: &AuthorizationDetails, granted: &AuthorizationDetails) {
    for repository in detail.locations() {
        assert!(granted.allows(GitAccess::Read(repository)));
        for name in detail.refs().iter().map(one_of) {
            for action in [GitAction::Push, GitAction::Create, GitAction::Delete] {
                let access = GitAccess::Write { repository, action, reference: name.as_bytes() };
                assert!(!asked.allows(access) || granted.allows(access), "{action} of {name}");
            }
        }
    }
}

fn apis(detail: &HttpApi, asked: &AuthorizationDetails, granted: &AuthorizationDetails) {
    for resource in detail.locations() {
        for path in detail.paths().iter().filter_map(|pattern| one_of(pattern).parse::<ApiPath>().ok()) {
            for method in detail.actions().iter().copied() {
                let access = HttpAccess { resource, method, path: &path };
                assert!(asked.allows(access) && granted.allows(access), "{method} of {path}");
            }
        }
    }
}

/// One name that the pattern matches.
fn one_of(pattern: &impl ToString) -> String {
    pattern.to_string().replace("**", "x/y").replace('*', "z")
}

/// One of each kind. A list, so that a kind without a good value cannot go unnoticed.
pub fn seeds() -> Vec<Vec<u8>> {
    let details = r#"[{"type":"git_repository","locations":["https://h/team/app"],"actions":["push","create"],"refs":["refs/heads/alice/**"]},{"type":"http_api","locations":["https://h/"],"actions":["GET","POST"],"paths":["/v1/**"]}]"#;
    let narrow = r#"[{"type":"git_repository","locations":["https://h/team/app"],"actions":["push"],"refs":["refs/heads/alice/x*"]},{"type":"http_api","locations":["https://h/"],"actions":["HEAD"],"paths":["/v1/items/*"]}]"#;
    let (b16, b32) = ("AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let signed = r#"{"attest":"AAAA","signature":"AAAA"}"#;
    let device = format!(
        r#""device":"dev-0123456789abcdef","client_id":"urn:daypass:device:dev-0123456789abcdef","state":"approved","issuer":"https://i","mtls_url":"https://i:8444","collaborator":"alice","comparison_code":"ABCD-EFGH","trust_tier":"ek_chain","waits_for":["olga"],"certificate_not_after":1,"server_time":1,"grants":[{{"grant":"gr-0123456789abcdef","project":"apollo","role":"developer","state":"active","until":1,"protection":"hardware","authorization_details":{details}}}],"resources":[{{"resource":"https://h/","ca":null}}]"#
    );
    let process = r#"{"executable":"/usr/bin/git","sha256":"unavailable","unit":"cron.service"}"#;
    let gate = r#""name":"front","issuer":"https://i","mtls_url":"https://i:8444""#;
    let values = [
        format!(
            r#"{{"secret":"{b16}","endorsement_keys":[{{"public":"AAAA","certificate":null}}],"attestation_key":"AA","identity_key":"AA","proof_key":"AA","csr":"AA"}}"#
        ),
        format!(
            r#"{{"enrolment":"enr-0123456789abcdef","expires_at":1,"endorsement_key":0,"credential_blob":"AA","encrypted_secret":"AA","nonce":"{b32}","pcrs":[0,7]}}"#
        ),
        format!(
            r#"{{"enrolment":"enr-0123456789abcdef","activation_secret":"{b32}","identity_certification":{signed},"proof_certification":{signed},"quote":{signed},"pcr_values":["{b32}"],"event_log":null,"facts":{{"hostname":"h","os":"o","agent_version":"1"}}}}"#
        ),
        format!(r#"{{{device},"certificate_chain":["AA"],"root_chain":["AA"]}}"#),
        format!("{{{device}}}"),
        format!(r#"{{"renewal":"ren-0123456789abcdef","expires_at":1,"nonce":"{b32}","pcrs":[0]}}"#),
        format!(
            r#"{{"renewal":"ren-0123456789abcdef","csr":"AA","quote":{signed},"pcr_values":["{b32}"],"event_log":"AA"}}"#
        ),
        r#"{"certificate_chain":["AA","AAAA"]}"#.to_owned(),
        format!(r#"{{"secret":"{b16}","client_csr":"AA","server_csr":"AA"}}"#),
        r#"{"client_csr":"AA","server_csr":null}"#.to_owned(),
        format!(
            r#"{{{gate},"resources":["https://h/"],"root_chain":["AA"],"client_chain":["AA"],"server_chain":["AA"]}}"#
        ),
        concat!(
            r#"{"line":"begin","as_of":1,"resources":["https://h/"]}"#,
            "\n",
            r#"{"line":"token","jti":"j","reason":"device_revoked"}"#,
            "\n",
            r#"{"line":"device","device":"dev-0123456789abcdef","reason":"device_suspended"}"#,
            "\n",
            r#"{"line":"grant","grant":"gr-0123456789abcdef","reason":"grant_ended"}"#,
            "\n",
            r#"{"line":"end","dead":3}"#,
            "\n",
        )
        .to_owned(),
        r#"{"error":"access_denied","error_description":"d","daypass_reason":"device_suspended","daypass_next_step":"n"}"#
            .to_owned(),
        format!(r#"{{"identified_by":"peer_pidfd","peer":{process},"via":[{process}]}}"#),
        process.to_owned(),
        r#"{"version":"1","now":1,"tpm":{"tcti":"t","available":false,"description":null,"problem":{"error":"tpm_fault","message":"m","next_step":"n"}},"inspector":true,"enrolments":[{"issuer":"https://i","state":"interrupted","device":null,"collaborator":null,"comparison_code":null,"trust_tier":"virtual","waits_for":[],"certificate_not_after":1,"clock_offset":-1,"last_contact":1,"grants":[],"resources":[{"resource":"https://h/","ca_file":"/f"}],"tokens":[{"resource":"https://h/","expires_at":1}],"problem":null}]}"#
            .to_owned(),
        r#"{"invitation":"dpinv1_x"}"#.to_owned(),
        r#"{"issuer":"https://i"}"#.to_owned(),
        r#"{"issuer":"https://i"}"#.to_owned(),
        format!(
            r#"{{"resource":"https://h/","authorization_details":{details},"min_ttl":30,"protection":"delegated"}}"#
        ),
        r#"{"method":"GET","url":"https://h/x","nonce":"n","protection":"hardware"}"#.to_owned(),
        r#"{"protocol":"https","host":"h","path":"team/app","wwwauth":["Daypass nonce=\"n\""],"authtype":true}"#
            .to_owned(),
        r#"{"protocol":"https","host":"h","path":"team/app","secret":"a~b"}"#.to_owned(),
        r#"{"authtype":"Daypass","credential":"c","expires_at":1}"#.to_owned(),
        format!(
            r#"{{"issuer":"https://i","invitation":"{b32}","completed":{{"root":"AA","chain":["AA"],"device":{{{device}}},"clock_offset":null,"last_contact":1}}}}"#
        ),
        format!(r#"{{{gate},"root":"AA","client":{{"chain":["AA"],"key":[1,2,3]}},"server":null}}"#),
        format!("{narrow}\n{details}"),
        r#"{"origin":"i/ledger/a","merge_delay":30,"keys":[{"verifier_key":"k","chain":["AA"]}],"beginnings":["AA"]}"#.to_owned(),
        format!(r#"{{"leaf_index":1,"tree_size":2,"hashes":["{b32}"],"checkpoint":"n"}}"#),
        r#"{"ledgers":[{"issuer":"https://i","origin":"i/ledger/a","size":1,"checkpoint":"n","checked_at":1,"outstanding":1,"outstanding_since":1,"unkept":0,"unchecked":{"since":1,"problem":{"error":"internal","message":"m","next_step":"n"}},"unsaved":null,"findings":[{"number":1,"kind":"fork","found_at":1,"accepted_at":null,"message":"m","next_step":"n"}],"more_findings":0}]}"#.to_owned(),
        r#"{"grant":"gr-0123456789abcdef","acceptance":"a.b.c"}"#.to_owned(),
        format!(r#"{{"issuer":"https://i","grant":"gr-0123456789abcdef","project":"apollo","briefing":"{b32}","text":"{b32}"}}"#),
    ];
    assert_eq!(values.len(), usize::from(KINDS));
    (b'a'..).zip(values).map(|(letter, json)| seed(letter, json)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// JSON that is wrong in one place each: a member left out, doubled, of another type, or one too many. Each with what was done.
    fn bent(json: &Value) -> Vec<(String, String)> {
        let mut out = Vec::new();
        bend(json, &mut |changed, what| out.push((changed, what)));
        out
    }

    fn bend(value: &Value, give: &mut dyn FnMut(String, String)) {
        match value {
            Value::Object(members) => {
                let write = |members: &[(String, String)]| {
                    let members: Vec<String> =
                        members.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
                    format!("{{{}}}", members.join(","))
                };
                let plain: Vec<(String, String)> =
                    members.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
                for (at, (name, member)) in plain.iter().enumerate() {
                    let twice = [&plain[..], &[(name.clone(), member.clone())]].concat();
                    give(write(&twice), format!("`{name}` twice"));
                    for other in ["[[1]]", "{\"a\":{}}", "1e400"] {
                        let mut changed = plain.clone();
                        changed[at].1 = other.to_owned();
                        give(write(&changed), format!("`{name}` is {other}"));
                    }
                    bend(&members[name], &mut |inner, what| {
                        let mut changed = plain.clone();
                        changed[at].1 = inner;
                        give(write(&changed), what);
                    });
                }
            }
            Value::Array(items) => {
                if let Some(first) = items.first() {
                    bend(first, &mut |inner, what| give(format!("[{inner}]"), what));
                }
            }
            _ => {}
        }
    }

    /// Every kind of message, with every member doubled or of a type that it never has, and cut everywhere.
    #[test]
    fn what_is_bent_is_refused() {
        for message in seeds() {
            let (kind, json) = choice(&message, KINDS).unwrap();
            assert!(read(kind, json), "{}", String::from_utf8_lossy(json));
            let first = json.split(|byte| *byte == b'\n').next().unwrap();
            for cut in 0..first.len() {
                assert!(!read(kind, &first[..cut]), "kind {kind} cut at {cut}");
            }
            let mut foreign = json.to_vec();
            let at = json.iter().position(|byte| byte.is_ascii_lowercase()).unwrap();
            foreign[at] = 0xff;
            assert!(!read(kind, &foreign), "kind {kind} is no UTF-8");
            let value: Value = serde_json::from_slice(first).unwrap();
            let all = bent(&value);
            assert!(!all.is_empty());
            for (changed, what) in all {
                assert!(!read(kind, changed.as_bytes()), "kind {kind}: {what}: {changed}");
            }
        }
    }

    /// Where the format is ours and the sender may be a stranger, a member that is not known is refused (docs/wire.md).
    #[test]
    fn what_is_not_known_is_refused_in_requests() {
        for message in seeds() {
            let (kind, json) = choice(&message, KINDS).unwrap();
            if !matches!(kind, 0 | 2 | 6 | 8 | 9 | 13 | 14 | 16..=22) {
                continue;
            }
            let text = std::str::from_utf8(json).unwrap();
            let more = format!("{},\"more\":1}}", &text[..text.len() - 1]);
            assert!(!read(kind, more.as_bytes()), "kind {kind}: {more}");
        }
    }
}

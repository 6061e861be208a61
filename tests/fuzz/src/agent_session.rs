//! Requests to the local API of a running agent with one enrolment, whose issuer and gate nobody can reach.

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use aws_lc_rs::rand::SystemRandom;
use axum::{Router, extract::ConnectInfo};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use daypass_agent::{
    agent::Agent,
    api,
    caller::Caller,
    clock::Clock,
    config::Config,
    state::{Folder, Record},
    tpm::{Answer, Challenge, ChallengeAnswer, DeviceKeys, EndorsementKey, KeyFile, Quote, Tpm, TpmError},
};
use daypass_proto::{
    encoding::base64url,
    invitation::{Code, CodeKind, CodeSecret},
    local_api::ErrorAnswer,
    pin::Pin,
    time::Timestamp,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer};
use serde_json::json;

use crate::{
    framing::RUNTIME,
    keys::{Role, certifying, pair, sized, tpm_public},
    places::fill,
    requests::{ask, request},
};

const UID: u32 = 1000;
/// Nobody listens there.
const NOWHERE: &str = "https://127.0.0.1:1";

struct Scene {
    routes: Router,
    _folder: tempfile::TempDir,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let state: PathBuf = folder.path().join("state");
    enrolled(&state);
    let text = format!("socket = \"s\"\nstate_dir = {:?}\n", state.display().to_string());
    let config = Config::parse(&text, &folder.path().join("agent.toml")).unwrap();
    let agent = Agent::open(config, Arc::new(Still), Arc::new(Keys)).unwrap();
    Scene { routes: api::routes(Arc::new(agent)), _folder: folder }
});

/// A time that stands still.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000)
    }

    fn since_boot(&self) -> i64 {
        1000
    }
}

/// Signs, and can do nothing else.
struct Keys;

fn nothing<'a, T: Send + 'a>() -> Answer<'a, T> {
    Box::pin(async { Err(TpmError::Hangs) })
}

impl Tpm for Keys {
    fn describe(&self) -> Answer<'_, String> {
        Box::pin(async { Ok("keys".to_owned()) })
    }
    fn check<'a>(&'a self, _: Option<&'a DeviceKeys>) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }
    fn endorsement_keys(&self) -> Answer<'_, Vec<EndorsementKey>> {
        nothing()
    }
    fn create_keys(&self) -> Answer<'_, DeviceKeys> {
        nothing()
    }
    fn answer<'a>(&'a self, _: &'a DeviceKeys, _: &'a Challenge) -> Answer<'a, ChallengeAnswer> {
        nothing()
    }
    fn quote<'a>(&'a self, _: &'a KeyFile, _: &'a [u8], _: [u8; 32]) -> Answer<'a, Quote> {
        nothing()
    }
    fn sign<'a>(&'a self, key: &'a KeyFile, digest: [u8; 32]) -> Answer<'a, [u8; 64]> {
        Box::pin(async move { self.sign_blocking(key, digest) })
    }
    fn sign_blocking(&self, _: &KeyFile, digest: [u8; 32]) -> Result<[u8; 64], TpmError> {
        Ok(pair(5).sign(&SystemRandom::new(), &digest).unwrap().as_ref().try_into().unwrap())
    }
}

/// Writes the state of an enrolment with one grant.
fn enrolled(state: &std::path::Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&certifying(2)).unwrap().der().to_vec();
    let leaf = CertificateParams::default().signed_by(&certifying(4), &Issuer::new(params, certifying(2))).unwrap();
    let details = json!([{"type": "git_repository", "locations": ["https://127.0.0.1:2/team/app"], "actions": ["push"], "refs": ["refs/heads/**"]}]);
    let record: Record = serde_json::from_value(json!({
        "issuer": NOWHERE, "invitation": base64url(&[1; 32]),
        "completed": {
            "root": base64url(&root), "chain": [base64url(leaf.der()), base64url(&root)], "clock_offset": 0, "last_contact": 1_800_000_000,
            "device": {
                "device": "dev-0123456789abcdef", "client_id": "urn:daypass:device:dev-0123456789abcdef", "state": "approved",
                "issuer": NOWHERE, "mtls_url": NOWHERE, "collaborator": "alice", "comparison_code": null, "trust_tier": "ek_chain",
                "waits_for": [], "certificate_not_after": 1_900_000_000, "server_time": 1_800_000_000,
                "grants": [{"grant": "gr-0123456789abcdef", "project": "apollo", "role": "developer", "state": "active", "until": 1_900_000_000,
                    "protection": "delegated", "authorization_details": details}],
                "resources": [{"resource": "https://127.0.0.1:2/", "ca": null}],
            },
        },
    }))
    .unwrap();
    let folder = Folder::new(state, UID, NOWHERE);
    folder.save_record(&record).unwrap();
    let keys = [(Role::Attestation, 3), (Role::Signing, 4), (Role::Signing, 5)]
        .map(|(role, byte)| key_file(&tpm_public(role, byte)));
    let [attestation, identity, proof] = keys;
    folder.save_keys(&DeviceKeys { attestation, identity, proof }).unwrap();
}

fn key_file(public: &[u8]) -> KeyFile {
    let octets = |content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap();
        let head = if length < 0x80 { vec![0x04, length] } else { vec![0x04, 0x81, length] };
        [head, content.to_vec()].concat()
    };
    let content = [
        &[0x06, 0x06, 0x67, 0x81, 0x05, 0x0a, 0x01, 0x03, 0xa0, 0x03, 0x01, 0x01, 0xff][..],
        &[0x02, 0x05, 0x00, 0x81, 0x00, 0x00, 0x01],
        &octets(&sized(public)),
        &octets(&sized(&[7; 130])),
    ]
    .concat();
    let octet = u8::try_from(content.len()).unwrap();
    let lines: Vec<String> = STANDARD
        .encode([&[0x30, 0x81, octet][..], &content].concat())
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    KeyFile::from_pem(&format!(
        "-----BEGIN TSS2 PRIVATE KEY-----\n{}\n-----END TSS2 PRIVATE KEY-----\n",
        lines.join("\n")
    ))
    .unwrap()
}

/// One request.
pub fn run(input: &[u8]) {
    let secret = CodeSecret::from_random([9; 16]);
    let code = Code::try_new(CodeKind::Invitation, Pin([3; 32]), secret, NOWHERE).unwrap().expose();
    let text = fill(input, |name| (name == "invitation").then(|| code.as_bytes().to_vec()));
    let Some(mut request) = request(&text) else { return };
    // The enrolment is wanted for the next input, too.
    if request.uri().path() == "/v1/leave" && text.windows(9).any(|window| window == b"127.0.0.1") {
        return;
    }
    request.extensions_mut().insert(ConnectInfo(Caller { uid: Some(UID), peer: None }));
    let answer = RUNTIME.block_on(ask(&SCENE.routes, request));
    // The answer to HEAD has no body (RFC 9110 section 9.3.2).
    if !answer.status().is_success() && !text.starts_with(b"HEAD ") {
        let refusal: ErrorAnswer = serde_json::from_slice(answer.body()).expect("a refusal says why");
        assert_eq!(refusal.error.status(), answer.status().as_u16());
        // Elsewhere it would be the name of a resource or an issuer.
        let secret =
            text.starts_with(b"POST /v1/enrolments\n") || text.starts_with(b"POST /v1/git-credentials/erase\n");
        assert!(!(secret && refusal.message.contains(&code[..30])), "no invitation is thrown back");
    }
}

/// Each endpoint.
pub fn seeds() -> Vec<Vec<u8>> {
    let requests = [
        ("GET", "/v1/status", ""),
        ("POST", "/v1/enrolments", r#"{"invitation":"<invitation>"}"#),
        ("POST", "/v1/enrolments", r#""<invitation>""#),
        ("POST", "/v1/enrolments/refresh", r#"{"issuer":"https://i"}"#),
        ("POST", "/v1/leave", r#"{"issuer":"https://i"}"#),
        ("POST", "/v1/tokens", r#"{"resource":"https://127.0.0.1:2/","min_ttl":30,"protection":"delegated"}"#),
        (
            "POST",
            "/v1/tokens",
            r#"{"resource":"https://127.0.0.1:2/","authorization_details":[{"type":"git_repository","locations":["https://127.0.0.1:2/team/app"],"actions":["read"]}]}"#,
        ),
        (
            "POST",
            "/v1/proofs",
            r#"{"method":"GET","url":"https://127.0.0.1:2/x?y","nonce":"n","protection":"hardware"}"#,
        ),
        (
            "POST",
            "/v1/git-credentials",
            r#"{"protocol":"https","host":"127.0.0.1:2","path":"team/app.git","wwwauth":["Daypass realm=\"https://127.0.0.1:2/\", nonce=\"n\""],"authtype":true}"#,
        ),
        ("POST", "/v1/git-credentials/erase", r#"{"protocol":"https","host":"127.0.0.1:2","secret":"a~b"}"#),
        ("DELETE", "/v1/status", "x"),
    ];
    requests.map(|(method, target, body)| format!("{method} {target}\nHost: daypass\n\n{body}").into_bytes()).to_vec()
}

//! Requests to a running issuer, on both listeners, from a stranger, an approved device and a gate.
//!
//! The first letter says from whom. `<secret>`, `<proof>` and so on stand for what is good here and now: an open invitation, an answered
//! challenge, a proof for the token endpoint.

use std::sync::{
    Arc, LazyLock, Mutex,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use axum::Router;
use clap::Parser as _;
use daypass_issuer::{
    clock::{Clock, Entropy, Environment},
    commands::{Cli, run as command},
    config::Config,
    device::{Registration, register_software},
    gates,
    invitation::{Invite, invite},
    issuer::Issuer,
    serve::{mtls_routes, public_routes},
};
use daypass_proto::{
    delegation::{self, DelegatedKey, delegation_input},
    dpop,
    encoding::{base64url, sha256},
    enrolment::{Purpose, extra_data, transcript_hash},
    jose::SoftwareKey,
    oauth_error::ErrorBody,
    time::Timestamp,
};
use daypass_service::Peer;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    choice,
    framing::RUNTIME,
    keys::{Role, attest, csr, pair, public, sized, software, tpm_public, tpm_signature},
    places::fill,
    requests::{ask, request},
    seed,
};

/// After so many inputs a new issuer is made: every decision is written down.
const INPUTS: u64 = 20_000;
/// What is drawn in 32 bytes, such as the secret of a credential that only the right TPM can open: here there is none.
const DRAWN: [u8; 32] = [7; 32];
const RESOURCE: &str = "https://git.example.com/";
const PROJECT: &str = include_str!("../../../server/issuer/project.toml.example");

struct Hands {
    start: Timestamp,
    seconds: AtomicI64,
    drawn: AtomicU64,
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        self.start.plus(self.seconds.load(Ordering::Relaxed))
    }

    fn since_boot(&self) -> i64 {
        self.seconds.load(Ordering::Relaxed)
    }
}

impl Entropy for Hands {
    fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() == DRAWN.len() {
            return bytes.copy_from_slice(&DRAWN);
        }
        // Never the same twice.
        bytes.fill(0);
        let count = self.drawn.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        for (byte, value) in bytes.iter_mut().rev().zip(count.iter().rev()) {
            *byte = *value;
        }
    }
}

struct Scene {
    issuer: Arc<Issuer>,
    public: Router,
    mtls: Router,
    hands: Arc<Hands>,
    secret: String,
    gate_secret: String,
    device: (String, Arc<CertificateDer<'static>>),
    gate: Arc<CertificateDer<'static>>,
    proof: SoftwareKey,
    inputs: u64,
    _folder: TempDir,
}

fn folder() -> TempDir {
    // In memory, where there is such a place: every decision waits for the disk.
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl Scene {
    fn new() -> Self {
        let folder = folder();
        let at = folder.path().join("issuer.toml");
        let line = ["daypass-issuer", "--config", at.to_str().unwrap(), "init", "--url", "https://localhost:8443"];
        command(Cli::parse_from(line)).unwrap();
        std::fs::write(folder.path().join("projects/apollo.toml"), PROJECT).unwrap();
        let text = std::fs::read_to_string(&at).unwrap();
        let text = text
            .replace("allow_software_keys = false", "allow_software_keys = true")
            .replace("accept_unknown_ek = false", "accept_unknown_ek = true");
        let config = Config::parse(&text, &at).unwrap();
        assert_eq!(config.loosenings().len(), 2);
        let start = Environment::system().now();
        let hands = Arc::new(Hands { start, seconds: AtomicI64::new(1), drawn: AtomicU64::new(1) });
        let environment =
            Environment::new(Arc::clone(&hands) as Arc<dyn Clock>, Arc::clone(&hands) as Arc<dyn Entropy>);
        RUNTIME.block_on(Self::open(config, environment, hands, folder))
    }

    async fn open(config: Config, environment: Environment, hands: Arc<Hands>, folder: TempDir) -> Self {
        let issuer = Arc::new(Issuer::open(config, environment).await.unwrap());
        let (store, environment, pin) = (issuer.store.as_ref(), &issuer.environment, issuer.keyring().pin());
        let now = environment.now();
        let (collaborator, project, role) =
            ("alice".parse().unwrap(), "apollo".parse().unwrap(), "developer".parse().unwrap());
        let until = now.plus(86_400 * 30);
        let software_csr = csr(8);
        let by = "fuzz".to_owned();
        let registration =
            Registration { collaborator, project, role, until, csr: &software_csr, proof: public(9), by };
        let (device, chain) = register_software(&issuer, registration).await.unwrap();
        let invitation = Invite {
            collaborator: "bob".parse().unwrap(),
            project: "apollo".parse().unwrap(),
            role: "developer".parse().unwrap(),
            until,
            code_expires_at: until,
            ek_hash: None,
            by: "olga".to_owned(),
        };
        let url = &issuer.config.issuer_url;
        let (_, code) = invite(store, environment, &issuer.projects, url, pin, invitation).await.unwrap();
        let mut secrets = Vec::new();
        for name in ["front", "back"] {
            let registration = gates::Registration {
                name: name.parse().unwrap(),
                resources: vec![RESOURCE.parse().unwrap()],
                ca: None,
                code_expires_at: until,
                by: "olga".to_owned(),
            };
            let code = gates::add(store, environment, url, pin, registration).await.unwrap();
            secrets.push(base64url(code.secret.expose()));
        }
        let public = public_routes(Arc::clone(&issuer));
        let body = json!({"secret": secrets[0], "client_csr": base64url(&csr(10)), "server_csr": null});
        let enrol = request(format!("POST /gate/v1/enrol\n\n{body}").as_bytes()).unwrap();
        let answer: Value = serde_json::from_slice(ask(&public, enrol).await.body()).unwrap();
        let chain_of_gate = daypass_proto::encoding::from_base64url(answer["client_chain"][0].as_str().unwrap());
        Self {
            mtls: mtls_routes(Arc::clone(&issuer)),
            public,
            hands,
            secret: base64url(code.secret.expose()),
            gate_secret: secrets[1].clone(),
            device: (device.id.client_id(), Arc::new(chain[0].clone().into())),
            gate: Arc::new(chain_of_gate.unwrap().into()),
            proof: software(9),
            inputs: 0,
            issuer,
            _folder: folder,
        }
    }

    fn proof(&self, key: &SoftwareKey) -> String {
        let mut jti = [0; 16];
        self.hands.fill(&mut jti);
        let claims = dpop::Claims {
            jti: base64url(&jti),
            htm: "POST".to_owned(),
            htu: self.issuer.config.mtls_endpoint("/oauth/token"),
            iat: self.hands.now(),
            ath: None,
            nonce: None,
        };
        key.sign_input(&dpop::proof_input(key.public(), &claims).unwrap()).unwrap()
    }

    fn delegation(&self) -> String {
        let mut jti = [0; 16];
        self.hands.fill(&mut jti);
        let claims = delegation::Claims {
            aud: self.issuer.config.issuer_url.clone(),
            resource: RESOURCE.parse().unwrap(),
            cnf: DelegatedKey { jwk: public(11) },
            exp: self.hands.now().plus(300),
            jti: base64url(&jti),
        };
        self.proof.sign_input(&delegation_input(&claims).unwrap()).unwrap()
    }

    fn ask(&self, from: u8, text: &[u8]) -> Option<http::Response<Vec<u8>>> {
        let mut request = request(text)?;
        let (routes, certificate) = match from {
            0 => (&self.public, None),
            1 => (&self.mtls, Some(Arc::clone(&self.device.1))),
            _ => (&self.mtls, Some(Arc::clone(&self.gate))),
        };
        request.extensions_mut().insert(Peer { address: ([192, 0, 2, 1], 1).into(), certificate });
        Some(RUNTIME.block_on(ask(routes, request)))
    }

    fn token(&self) -> Option<String> {
        let form = fill(TOKEN.as_bytes(), |name| self.simple(name));
        let answer: Value = serde_json::from_slice(self.ask(1, &form)?.body()).ok()?;
        answer["access_token"].as_str().map(str::to_owned)
    }

    fn simple(&self, name: &str) -> Option<Vec<u8>> {
        Some(
            match name {
                "secret" => self.secret.clone(),
                "gate_secret" => self.gate_secret.clone(),
                "client_id" => self.device.0.clone(),
                "proof" => self.proof(&self.proof),
                "delegated_proof" => self.proof(&software(11)),
                "delegation" => self.delegation(),
                "csr" => base64url(&csr(4)),
                "ek" => base64url(&tpm_public(Role::Ek, 1)),
                "ak" => base64url(&tpm_public(Role::Attestation, 3)),
                "identity" => base64url(&tpm_public(Role::Signing, 4)),
                "proof_key" => base64url(&tpm_public(Role::Signing, 5)),
                "drawn" => base64url(&DRAWN),
                "zeros" => base64url(&[0; 32]),
                _ => return None,
            }
            .into_bytes(),
        )
    }

    /// Begins an enrolment, and answers its challenge as the right TPM does: the complete request's parts by name.
    fn answered(&self) -> Option<Answered> {
        let text = fill(BEGIN.as_bytes(), |name| self.simple(name));
        let begun = text.windows(2).position(|window| window == b"\n\n").map(|at| &text[at + 2..])?;
        let answer = self.ask(0, &text)?;
        let challenge: Value = serde_json::from_slice(answer.body()).ok()?;
        let enrolment = challenge["enrolment"].as_str()?.to_owned();
        let transcript = transcript_hash(begun, answer.body());
        let extra = |purpose| extra_data(purpose, &DRAWN, &transcript, &csr_of(begun));
        let certified = |role, byte| {
            let area = tpm_public(role, byte);
            let name = sized(&[&[0x00, 0x0b][..], &sha256(&[&area])].concat());
            [name.clone(), name].concat()
        };
        let selection = [0, 0, 0, 1, 0x00, 0x0b, 3, 0xff, 0, 0];
        let quoted = [&selection[..], &sized(&sha256(&[&[0; 32 * 8]]))].concat();
        let statements = [
            attest(0x8017, &extra(Purpose::CertifyIdentity), &certified(Role::Signing, 4)),
            attest(0x8017, &extra(Purpose::CertifyProof), &certified(Role::Signing, 5)),
            attest(0x8018, &extra(Purpose::Quote), &quoted),
        ];
        let ak = pair(3);
        let signatures = statements.each_ref().map(|attest| tpm_signature(&ak, attest));
        Some(Answered { enrolment, statements, signatures })
    }
}

fn csr_of(begun: &[u8]) -> Vec<u8> {
    let begun: Value = serde_json::from_slice(begun).unwrap();
    daypass_proto::encoding::from_base64url(begun["csr"].as_str().unwrap()).unwrap()
}

struct Answered {
    enrolment: String,
    statements: [Vec<u8>; 3],
    signatures: [Vec<u8>; 3],
}

impl Answered {
    fn part(&self, name: &str) -> Option<String> {
        let at = |name: &str| ["identity", "proof", "quote"].iter().position(|known| *known == name);
        if name == "enrolment" {
            return Some(self.enrolment.clone());
        }
        let (what, kind) = name.rsplit_once('_')?;
        let at = at(what)?;
        match kind {
            "attest" => Some(base64url(&self.statements[at])),
            "signature" => Some(base64url(&self.signatures[at])),
            _ => None,
        }
    }
}

static SCENE: LazyLock<Mutex<Scene>> = LazyLock::new(|| Mutex::new(Scene::new()));

/// One request.
pub fn run(input: &[u8]) {
    let Some((from, rest)) = choice(input, 3) else { return };
    let mut scene = SCENE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    scene.inputs += 1;
    if scene.inputs > INPUTS {
        *scene = Scene::new();
    }
    if scene.inputs.is_multiple_of(20) {
        scene.hands.seconds.fetch_add(1, Ordering::Relaxed);
    }
    if scene.inputs.is_multiple_of(1000) {
        RUNTIME.block_on(scene.issuer.store.sweep(scene.hands.now())).unwrap();
    }
    let mut answered = None;
    let text = fill(rest, |name| {
        if let Some(value) = scene.simple(name) {
            return Some(value);
        }
        if name == "token" {
            return scene.token().map(String::into_bytes);
        }
        if name == "enrolment" || name.ends_with("_attest") || name.ends_with("_signature") {
            answered = answered.take().or_else(|| scene.answered());
            return answered.as_ref()?.part(name).map(String::into_bytes);
        }
        None
    });
    // The device is wanted for the next input, too.
    if text.starts_with(b"POST /device/v1/leave") {
        return;
    }
    let Some(answer) = scene.ask(from, &text) else { return };
    let status = answer.status();
    assert!(!status.is_server_error(), "a fault of the issuer's own: {}", String::from_utf8_lossy(answer.body()));
    // The answer to HEAD has no body (RFC 9110 section 9.3.2).
    if !status.is_success() && !text.starts_with(b"HEAD ") {
        let refusal: ErrorBody = serde_json::from_slice(answer.body()).expect("a refusal says why");
        assert!(!refusal.error_description.is_empty() && !refusal.daypass_next_step.is_empty());
    }
}

const BEGIN: &str = r#"POST /enrolment/v1/begin

{"secret":"<secret>","endorsement_keys":[{"public":"<ek>","certificate":null}],"attestation_key":"<ak>","identity_key":"<identity>","proof_key":"<proof_key>","csr":"<csr>"}"#;

const COMPLETE: &str = r#"POST /enrolment/v1/complete

{"enrolment":"<enrolment>","activation_secret":"<drawn>","identity_certification":{"attest":"<identity_attest>","signature":"<identity_signature>"},"proof_certification":{"attest":"<proof_attest>","signature":"<proof_signature>"},"quote":{"attest":"<quote_attest>","signature":"<quote_signature>"},"pcr_values":["<zeros>","<zeros>","<zeros>","<zeros>","<zeros>","<zeros>","<zeros>","<zeros>"],"event_log":"AAAA","facts":{"hostname":"h","os":"o","agent_version":"1"}}"#;

const TOKEN: &str = "POST /oauth/token
Content-Type: application/x-www-form-urlencoded
DPoP: <proof>

grant_type=client_credentials&client_id=<client_id>&resource=https%3A%2F%2Fgit.example.com%2F";

/// Evidence of a caller of whom nothing is known.
const CALLER: &str = "%7B%22identified_by%22%3A%22nothing%22%2C%22peer%22%3A%7B%22executable%22%3A%22unavailable%22%2C%22sha256%22%3A%22unavailable%22%2C%22unit%22%3A%22unavailable%22%7D%2C%22via%22%3A%5B%5D%7D";

/// Each endpoint.
pub fn seeds() -> Vec<Vec<u8>> {
    let form = "Content-Type: application/x-www-form-urlencoded";
    let details = "%5B%7B%22type%22%3A%22git_repository%22%2C%22locations%22%3A%5B%22https%3A%2F%2Fgit.example.com%2Fteam%2Fapp%22%5D%2C%22actions%22%3A%5B%22read%22%5D%7D%5D";
    let delegated = TOKEN.replace("<proof>", "<delegated_proof>");
    vec![
        seed(b'a', "GET /.well-known/oauth-authorization-server\n\n"),
        seed(b'a', "GET /jwks\n\n"),
        seed(b'a', "GET /healthz\n\n"),
        seed(b'a', "DELETE /jwks\n\n"),
        seed(b'a', BEGIN),
        seed(b'a', COMPLETE),
        seed(
            b'a',
            r#"POST /gate/v1/enrol

{"secret":"<gate_secret>","client_csr":"<csr>","server_csr":"<csr>"}"#,
        ),
        seed(b'b', TOKEN),
        seed(b'b', format!("{TOKEN}&authorization_details={details}&daypass_caller={CALLER}")),
        seed(b'b', format!("{delegated}&daypass_delegation=<delegation>")),
        seed(b'b', "GET /device/v1/state\n\n"),
        seed(b'b', "POST /device/v1/renewal/begin\n\n{}"),
        seed(
            b'b',
            r#"POST /device/v1/renewal/complete

{"renewal":"ren-0123456789abcdef","csr":"<csr>","quote":{"attest":"<quote_attest>","signature":"<quote_signature>"},"pcr_values":[],"event_log":null}"#,
        ),
        seed(b'b', format!("POST /oauth/revoke\n{form}\n\ntoken=<token>&token_type_hint=access_token")),
        seed(b'c', format!("POST /oauth/introspect\n{form}\n\ntoken=<token>")),
        seed(b'c', "GET /gate/v1/revocations\n\n"),
        seed(
            b'c',
            r#"POST /gate/v1/renew

{"client_csr":"<csr>","server_csr":null}"#,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_served() {
        let scene = Scene::new();
        let statuses = |text: &str, from| {
            let answered = scene.answered().unwrap();
            let text = fill(text.as_bytes(), |name| {
                scene.simple(name).or_else(|| answered.part(name).map(String::into_bytes))
            });
            let answer = scene.ask(from, &text).unwrap();
            (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
        };
        for (text, from) in [(BEGIN, 0), (COMPLETE, 0), (COMPLETE, 0), (TOKEN, 1)] {
            let (status, body) = statuses(text, from);
            assert_eq!(status, 200, "{body}");
        }
        assert!(scene.token().is_some());
    }
    /// Status and cause of what a device is told.
    fn told(scene: &Scene, from: u8, text: &[u8]) -> (u16, String) {
        let answer = scene.ask(from, &fill(text, |name| scene.simple(name))).unwrap();
        let refusal: ErrorBody = serde_json::from_slice(answer.body()).unwrap();
        let reason = serde_json::to_value(refusal.daypass_reason).unwrap();
        (answer.status().as_u16(), reason.as_str().unwrap().to_owned())
    }

    #[test]
    fn forms_that_are_not_plain_are_refused() {
        let scene = Scene::new();
        let malformed = (400, "malformed".to_owned());
        let details = |text: &str| format!("{TOKEN}&authorization_details={text}");
        for (what, text) in [
            ("a field twice", format!("{TOKEN}&resource=https%3A%2F%2Fother.example.com%2F")),
            ("a field missing", TOKEN.replace("&resource=https%3A%2F%2Fgit.example.com%2F", "")),
            ("another type", TOKEN.replace("x-www-form-urlencoded", "json")),
            ("no UTF-8", details("%FF%FE")),
            ("no list", details("%7B%7D")),
            ("cut off", details("%5B%7B%22type%22")),
            ("too much", details(&format!("%5B%5D{}", "%20".repeat(9 * 1024)))),
            ("evidence that is none", format!("{TOKEN}&daypass_caller=%7B%7D")),
            ("too much evidence", format!("{TOKEN}&daypass_caller={CALLER}{}", "%20".repeat(17 * 1024))),
            ("a number for a resource", TOKEN.replace("https%3A%2F%2Fgit.example.com%2F", "1")),
            ("a long resource", TOKEN.replace("git.example", &"a".repeat(3000))),
        ] {
            assert_eq!(told(&scene, 1, text.as_bytes()), malformed, "{what}");
        }
        let twice = TOKEN.replace("DPoP: <proof>", "DPoP: <proof>\nDPoP: <proof>");
        assert_eq!(told(&scene, 1, twice.as_bytes()), (400, "proof_invalid".to_owned()));
        let long = format!("{TOKEN}&more={}", "x".repeat(64 * 1024));
        assert!(!matches!(
            scene.ask(1, &fill(long.as_bytes(), |name| scene.simple(name))).unwrap().status().as_u16(),
            200..400
        ));
    }

    #[test]
    fn bodies_that_are_not_plain_are_refused() {
        let scene = Scene::new();
        let malformed = (400, "malformed".to_owned());
        for (what, text) in [
            ("a member twice", BEGIN.replace("{\"secret\"", "{\"csr\":\"AA\",\"secret\"")),
            ("a member more", BEGIN.replace("{\"secret\"", "{\"more\":1,\"secret\"")),
            ("another type", BEGIN.replace("\"<csr>\"", "7")),
            ("a secret of another length", BEGIN.replace("<secret>", "AAAA")),
            ("padding", BEGIN.replace("<csr>", "AA==")),
            ("no endorsement key", BEGIN.replace("[{\"public\":\"<ek>\",\"certificate\":null}]", "[]")),
            ("too many", BEGIN.replace("[{", &format!("[{}{{", "{\"public\":\"AA\",\"certificate\":null},".repeat(4)))),
            ("cut off", BEGIN.replace("\"csr\":\"<csr>\"}", "")),
            ("nothing", "POST /enrolment/v1/begin\n\n".to_owned()),
        ] {
            assert_eq!(told(&scene, 0, text.as_bytes()), malformed, "{what}");
        }
        let no_utf8 = [&b"POST /enrolment/v1/begin\n\n{\"secret\":\""[..], b"\xff\"}"].concat();
        assert_eq!(told(&scene, 0, &no_utf8), malformed);
        let large = |path: &str, size: usize| format!("POST {path}\n\n{}", " ".repeat(size)).into_bytes();
        for (path, limit) in [
            ("/enrolment/v1/begin", 256 * 1024),
            ("/enrolment/v1/complete", 4 * 1024 * 1024),
            ("/gate/v1/enrol", 64 * 1024),
        ] {
            assert_eq!(told(&scene, 0, &large(path, limit)), malformed, "{path}");
            assert_eq!(told(&scene, 0, &large(path, limit + 1)), (413, "too_large".to_owned()), "{path}");
        }
        // What somebody sends in the wrong place is not thrown back.
        let answer = scene.ask(0, b"POST /gate/v1/enrol\n\n{\"secret\":1,\"client_csr\":\"dpinv1_x\"}").unwrap();
        assert!(!String::from_utf8_lossy(answer.body()).contains("dpinv1_"));
    }
}

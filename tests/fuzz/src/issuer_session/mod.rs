//! Requests to a running issuer, on both listeners, from a stranger, an approved device, a gate and a device that waits for approval.
//!
//! The first letter says from whom. `<secret>`, `<proof>` and so on stand for what is good here and now: an open invitation, an answered
//! challenge, a proof for the token endpoint. Behind the letter `e` stand no bytes of a request, but requests that are good, and what is
//! altered in them (`shape`): in their members, and in what was signed, before it is signed. So most inputs get beyond the first check.

mod shape;

use std::sync::{
    Arc, LazyLock, Mutex,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use axum::Router;
use clap::Parser as _;
use daypass_issuer::{
    actor::Actor,
    clock::{Clock, Entropy, Environment},
    commands::{Cli, run as command},
    config::Config,
    device::{Registration, register_software},
    gates,
    invitation::{Invite, invite},
    issuer::Issuer,
    serve::{mtls_routes, public_routes},
    store::Terms,
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
use daypass_service::{ClientCertificate, Peer};
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
use shape::{Alterations, Part, Shaped};

/// After so many requests a new issuer is made: every decision is written down.
const REQUESTS: u64 = 20_000;
/// So long it is from one request to the next, in seconds: nobody is held up for being refused too often.
const BETWEEN: i64 = 60;
/// What is drawn in 32 bytes, such as the secret of a credential that only the right TPM can open: here there is none.
const DRAWN: [u8; 32] = [7; 32];
const RESOURCE: &str = "https://git.example.com/";
const PROJECT: &str = include_str!("../../../../server/issuer/project.toml.example");

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
    device: (String, Arc<ClientCertificate>),
    gate: Arc<ClientCertificate>,
    pending: Option<Arc<ClientCertificate>>,
    proof: SoftwareKey,
    csr: Vec<u8>,
    requests: u64,
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
        let project = PROJECT.replace("protection = \"hardware\"", "protection = \"delegated\"");
        std::fs::write(folder.path().join("policy/projects/apollo.toml"), project).unwrap();
        command(Cli::parse_from(["daypass-issuer", "--config", at.to_str().unwrap(), "policy", "load"])).unwrap();
        let text = std::fs::read_to_string(&at).unwrap();
        let text = text
            .replace("allow_software_keys = false", "allow_software_keys = true")
            .replace("accept_unknown_ek = false", "accept_unknown_ek = true")
            // They outlive this issuer.
            .replace("device_certificate_lifetime = \"7d\"", "device_certificate_lifetime = \"90d\"");
        let config = Config::parse(&text, &at).unwrap();
        assert_eq!(config.loosenings().len(), 2);
        let start = Environment::system().now();
        let hands = Arc::new(Hands { start, seconds: AtomicI64::new(1), drawn: AtomicU64::new(1) });
        let environment =
            Environment::new(Arc::clone(&hands) as Arc<dyn Clock>, Arc::clone(&hands) as Arc<dyn Entropy>);
        let mut scene = RUNTIME.block_on(Self::open(config, environment, hands, folder));
        scene.pending = scene.enrolled();
        scene
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
            terms: Terms::default(),
            code_expires_at: until,
            ek_hash: None,
            reason: None,
            by: Actor::account("olga"),
        };
        let url = &issuer.config.issuer_url;
        let (_, code) = invite(store, environment, &issuer.policy(), url, pin, invitation).await.unwrap();
        let mut secrets = Vec::new();
        for name in ["front", "back"] {
            let registration = gates::Registration {
                name: name.parse().unwrap(),
                resources: vec![RESOURCE.parse().unwrap()],
                ca: None,
                code_expires_at: until,
                by: Actor::account("olga"),
            };
            let code = gates::add(&issuer, registration).await.unwrap();
            secrets.push(base64url(code.secret.expose()));
        }
        let public = public_routes(Arc::clone(&issuer));
        let body = json!({"secret": secrets[0], "client_csr": base64url(&csr(10)), "server_csr": null});
        let mut enrol = request(format!("POST /gate/v1/enrol\n\n{body}").as_bytes()).unwrap();
        enrol.extensions_mut().insert(Peer { address: ([192, 0, 2, 1], 1).into(), certificate: None });
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
            pending: None,
            proof: software(9),
            csr: csr(4),
            requests: 0,
            issuer,
            _folder: folder,
        }
    }

    fn proof(&self, key: &SoftwareKey, alter: &Alterations) -> String {
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
        alter.signed(key, dpop::proof_input(key.public(), &claims).unwrap(), Part::ProofHeader, Part::ProofClaims)
    }

    fn delegation(&self, alter: &Alterations) -> String {
        let mut jti = [0; 16];
        self.hands.fill(&mut jti);
        let claims = delegation::Claims {
            aud: self.issuer.config.issuer_url.clone(),
            resource: RESOURCE.parse().unwrap(),
            cnf: DelegatedKey { jwk: public(11) },
            exp: self.hands.now().plus(300),
            jti: base64url(&jti),
        };
        let input = delegation_input(&claims).unwrap();
        alter.signed(&self.proof, input, Part::DelegationHeader, Part::DelegationClaims)
    }

    fn ask(&self, from: u8, text: &[u8]) -> Option<http::Response<Vec<u8>>> {
        let mut request = request(text)?;
        let (routes, certificate) = match from {
            0 => (&self.public, None),
            1 => (&self.mtls, Some(Arc::clone(&self.device.1))),
            2 => (&self.mtls, Some(Arc::clone(&self.gate))),
            _ => (&self.mtls, self.pending.clone()),
        };
        request.extensions_mut().insert(Peer { address: ([192, 0, 2, 1], 1).into(), certificate });
        Some(RUNTIME.block_on(ask(routes, request)))
    }

    fn token(&self) -> Option<String> {
        let form = fill(TOKEN.as_bytes(), |name| self.simple(name, &Alterations::none()));
        let answer: Value = serde_json::from_slice(self.ask(1, &form)?.body()).ok()?;
        answer["access_token"].as_str().map(str::to_owned)
    }

    fn simple(&self, name: &str, alter: &Alterations) -> Option<Vec<u8>> {
        Some(
            match name {
                "secret" => self.secret.clone(),
                "gate_secret" => self.gate_secret.clone(),
                "client_id" => self.device.0.clone(),
                "proof" => self.proof(&self.proof, alter),
                "delegated_proof" => self.proof(&software(11), alter),
                "delegation" => self.delegation(alter),
                "csr" => base64url(&self.csr),
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

    /// What a request's names stand for, with what is made for it alone.
    fn filled(&self, text: &[u8], alter: &Alterations) -> Vec<u8> {
        let (mut answered, mut renewed) = (None, None);
        fill(text, |name| {
            if let Some(value) = self.simple(name, alter) {
                return Some(value);
            }
            if name == "token" {
                return self.token().map(String::into_bytes);
            }
            if let Some(name) = name.strip_prefix("renewal_") {
                renewed = renewed.take().or_else(|| self.renewed(alter));
                return renewed.as_ref()?.part(name).map(String::into_bytes);
            }
            if name == "enrolment" || name.ends_with("_attest") || name.ends_with("_signature") {
                answered = answered.take().or_else(|| self.answered(alter));
                return answered.as_ref()?.part(name).map(String::into_bytes);
            }
            None
        })
    }

    /// Enrols the TPM of these keys; nobody approves it.
    fn enrolled(&self) -> Option<Arc<ClientCertificate>> {
        let answer = self.ask(0, &self.filled(COMPLETE.as_bytes(), &Alterations::none()))?;
        let answer: Value = serde_json::from_slice(answer.body()).ok()?;
        let certificate = daypass_proto::encoding::from_base64url(answer["certificate_chain"][0].as_str()?)?;
        Some(Arc::new(certificate.into()))
    }

    /// Begins the renewal of its certificate, and answers as the TPM does.
    fn renewed(&self, alter: &Alterations) -> Option<Answered> {
        let answer = self.ask(3, b"POST /device/v1/renewal/begin\n\n{}")?;
        let challenge: Value = serde_json::from_slice(answer.body()).ok()?;
        let renewal = challenge["renewal"].as_str()?.to_owned();
        let transcript = transcript_hash(b"{}", answer.body());
        let extra = extra_data(Purpose::RenewalQuote, &DRAWN, &transcript, &self.csr);
        Some(Answered::new(renewal, vec![alter.statement(2, attest(0x8018, &extra, &quoted()))]))
    }

    /// Begins an enrolment, and answers its challenge as the right TPM does: the complete request's parts by name.
    fn answered(&self, alter: &Alterations) -> Option<Answered> {
        let text = fill(BEGIN.as_bytes(), |name| self.simple(name, &Alterations::none()));
        let begun = text.windows(2).position(|window| window == b"\n\n").map(|at| &text[at + 2..])?;
        let answer = self.ask(0, &text)?;
        let challenge: Value = serde_json::from_slice(answer.body()).ok()?;
        let enrolment = challenge["enrolment"].as_str()?.to_owned();
        let transcript = transcript_hash(begun, answer.body());
        let extra = |purpose| extra_data(purpose, &DRAWN, &transcript, &self.csr);
        let certified = |role, byte| {
            let area = tpm_public(role, byte);
            let name = sized(&[&[0x00, 0x0b][..], &sha256(&[&area])].concat());
            [name.clone(), name].concat()
        };
        let statements = [
            attest(0x8018, &extra(Purpose::Quote), &quoted()),
            attest(0x8017, &extra(Purpose::CertifyIdentity), &certified(Role::Signing, 4)),
            attest(0x8017, &extra(Purpose::CertifyProof), &certified(Role::Signing, 5)),
        ];
        let statements = [2, 0, 1].into_iter().zip(statements).map(|(at, made)| alter.statement(at, made)).collect();
        Some(Answered::new(enrolment, statements))
    }
}

/// The body of a quote over the PCRs of a machine that has measured nothing.
fn quoted() -> Vec<u8> {
    let selection = [0, 0, 0, 1, 0x00, 0x0b, 3, 0xff, 0, 0];
    [&selection[..], &sized(&sha256(&[&[0; 32 * 8]]))].concat()
}

/// An answered challenge.
struct Answered {
    challenge: String,
    /// Quote, identity, proof.
    statements: Vec<Vec<u8>>,
    signatures: Vec<Vec<u8>>,
}

impl Answered {
    fn new(challenge: String, statements: Vec<Vec<u8>>) -> Self {
        let ak = pair(3);
        let signatures = statements.iter().map(|attest| tpm_signature(&ak, attest)).collect();
        Self { challenge, statements, signatures }
    }

    fn part(&self, name: &str) -> Option<String> {
        if matches!(name, "enrolment" | "id") {
            return Some(self.challenge.clone());
        }
        let (what, kind) = name.rsplit_once('_').unwrap_or(("quote", name));
        let at = ["quote", "identity", "proof"].iter().position(|known| *known == what)?;
        match kind {
            "attest" => self.statements.get(at).map(|bytes| base64url(bytes)),
            "signature" => self.signatures.get(at).map(|bytes| base64url(bytes)),
            _ => None,
        }
    }
}

static SCENE: LazyLock<Mutex<Scene>> = LazyLock::new(|| Mutex::new(Scene::new()));

/// One request as it stands, or some that are good but for what is altered in them.
pub fn run(input: &[u8]) {
    let Some((from, rest)) = choice(input, 5) else { return };
    let mut scene = SCENE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if from < 4 {
        return one(&mut scene, from, rest, &Alterations::none());
    }
    for Shaped { template, alter } in shape::read(rest) {
        let (from, text) = TEMPLATES[usize::from(template) % TEMPLATES.len()];
        one(&mut scene, from, text.as_bytes(), &alter);
    }
}

fn one(scene: &mut Scene, from: u8, text: &[u8], alter: &Alterations) {
    scene.requests += 1;
    if scene.requests > REQUESTS {
        *scene = Scene::new();
    }
    scene.hands.seconds.fetch_add(BETWEEN, Ordering::Relaxed);
    if scene.requests.is_multiple_of(1000) {
        RUNTIME.block_on(scene.issuer.store.sweep(scene.hands.now())).unwrap();
    }
    let text = alter.request(&scene.filled(text, alter));
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
    if status.is_success() && text.starts_with(b"POST ") {
        scene.given(from, answer.body());
    }
}

impl Scene {
    /// Whatever was altered: nobody is given what is not his.
    fn given(&self, from: u8, body: &[u8]) {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return };
        if let Some(token) = body["access_token"].as_str() {
            assert_eq!(from, 1, "only an approved device gets a token");
            let claims = token.split('.').nth(1).and_then(daypass_proto::encoding::from_base64url).unwrap();
            let claims: Value = serde_json::from_slice(&claims).unwrap();
            let holder = claims["cnf"]["jkt"].as_str().unwrap();
            assert!(
                [9, 11].iter().any(|key| public(*key).thumbprint() == holder),
                "a token for a key that nobody vouched for"
            );
            assert_eq!((claims["client_id"].as_str(), claims["aud"].as_str()), (Some(&*self.device.0), Some(RESOURCE)));
            let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
            assert!(iat == self.hands.now().seconds() && exp > iat && exp - iat <= 3600, "{claims}");
        }
        if let Some(state) = body["device"]["state"].as_str() {
            assert_eq!(state, "pending", "nobody approves");
        }
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

const TOKEN_WITH_ALL: &str = "POST /oauth/token
Content-Type: application/x-www-form-urlencoded
DPoP: <proof>

grant_type=client_credentials&client_id=<client_id>&resource=https%3A%2F%2Fgit.example.com%2F&authorization_details=%5B%7B%22type%22%3A%22git_repository%22%2C%22locations%22%3A%5B%22https%3A%2F%2Fgit.example.com%2Fteam%2Fapp%22%5D%2C%22actions%22%3A%5B%22read%22%5D%7D%5D";

const DELEGATED: &str = "POST /oauth/token
Content-Type: application/x-www-form-urlencoded
DPoP: <delegated_proof>

grant_type=client_credentials&client_id=<client_id>&resource=https%3A%2F%2Fgit.example.com%2F&daypass_delegation=<delegation>";

const RENEW: &str = r#"POST /device/v1/renewal/complete

{"renewal":"<renewal_id>","csr":"<csr>","quote":{"attest":"<renewal_attest>","signature":"<renewal_signature>"},"pcr_values":["<zeros>","<zeros>","<zeros>","<zeros>","<zeros>","<zeros>","<zeros>","<zeros>"],"event_log":null}"#;

const REVOKE: &str = "POST /oauth/revoke
Content-Type: application/x-www-form-urlencoded

token=<token>&token_type_hint=access_token&client_id=<client_id>";

const INTROSPECT: &str = "POST /oauth/introspect
Content-Type: application/x-www-form-urlencoded

token=<token>";

const ENROL_GATE: &str = r#"POST /gate/v1/enrol

{"secret":"<gate_secret>","client_csr":"<csr>","server_csr":"<csr>"}"#;

const RENEW_GATE: &str = r#"POST /gate/v1/renew

{"client_csr":"<csr>","server_csr":null}"#;

/// Requests that are good, each from whom it is good.
const TEMPLATES: [(u8, &str); 11] = [
    (0, BEGIN),
    (0, COMPLETE),
    (1, TOKEN),
    (1, TOKEN_WITH_ALL),
    (1, DELEGATED),
    (3, RENEW),
    (1, REVOKE),
    (2, INTROSPECT),
    (0, ENROL_GATE),
    (2, RENEW_GATE),
    (3, TOKEN),
];

/// Evidence of a caller of whom nothing is known.
const CALLER: &str = "%7B%22identified_by%22%3A%22nothing%22%2C%22peer%22%3A%7B%22executable%22%3A%22unavailable%22%2C%22sha256%22%3A%22unavailable%22%2C%22unit%22%3A%22unavailable%22%7D%2C%22via%22%3A%5B%5D%7D";

/// Each endpoint, and each good request with something altered in each of its parts.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        seed(b'a', "GET /.well-known/oauth-authorization-server\n\n"),
        seed(b'a', "GET /jwks\n\n"),
        seed(b'a', "GET /healthz\n\n"),
        seed(b'a', "DELETE /jwks\n\n"),
        seed(b'a', BEGIN),
        seed(b'a', COMPLETE),
        seed(b'a', ENROL_GATE),
        seed(b'b', TOKEN),
        seed(b'b', format!("{TOKEN_WITH_ALL}&daypass_caller={CALLER}")),
        seed(b'b', DELEGATED),
        seed(b'b', "GET /device/v1/state\n\n"),
        seed(b'b', "POST /device/v1/renewal/begin\n\n{}"),
        seed(b'b', REVOKE),
        seed(b'c', INTROSPECT),
        seed(b'c', "GET /gate/v1/revocations\n\n"),
        seed(b'c', RENEW_GATE),
        seed(b'd', RENEW),
        seed(b'd', "GET /device/v1/state\n\n"),
    ];
    for template in 0..u8::try_from(TEMPLATES.len()).unwrap() {
        seeds.push(seed(b'e', shape::written(&[(template, &[])])));
    }
    for (template, parts) in shape::PARTS_OF {
        for part in *parts {
            for kind in 0..shape::KINDS {
                for place in 2..5 {
                    seeds.push(seed(b'e', shape::written(&[(*template, &[[*part as u8, kind, place, 1]])])));
                }
            }
        }
    }
    // Enrolled twice by one invitation; a token, and its end.
    seeds.push(seed(b'e', shape::written(&[(1, &[]), (1, &[]), (5, &[])])));
    seeds.push(seed(b'e', shape::written(&[(2, &[]), (6, &[]), (7, &[])])));
    seeds
}

#[cfg(test)]
mod tests;

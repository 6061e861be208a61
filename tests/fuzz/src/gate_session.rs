//! A connection to a running gate: framing, `hyper`, route, credential, nonce, coverage, command list, refusal.
//!
//! `<presentation>`, `<basic>` and so on stand for credentials that are good for `team/app` here and now. Behind the gate stands nothing.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use daypass_gate::{
    config::{Config, REFERENCE},
    gate::Gate,
    nonce::{Nonces, Scope},
    proxy,
    trust::{GateState, IssuerClient},
};
use daypass_proto::{
    dpop::{self, token_hash},
    encoding::base64url,
    gate_api::Revocations,
    jose::{Header, SoftwareKey},
    presentation::{key_binding_input, present},
    time::Timestamp,
};
use daypass_service::{Clock, Peer, framing::Framing};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::{
    framing::RUNTIME,
    keys::{certifying, pkcs8, software},
    places::fill,
};

const ISSUER: &str = "https://127.0.0.1:1";
const RESOURCE: &str = "https://git.example.com/";
const REPOSITORY: &str = "https://git.example.com/team/app";
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

struct Scene {
    gate: Arc<Gate>,
    issuer: SoftwareKey,
    holder: SoftwareKey,
}

/// Goes on by a second every hundred inputs, so that memories forget.
struct Counting(AtomicI64);

impl Clock for Counting {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + self.0.load(Ordering::Relaxed) / 100)
    }

    fn since_boot(&self) -> i64 {
        self.0.load(Ordering::Relaxed) / 100
    }
}

static CLOCK: LazyLock<Arc<Counting>> = LazyLock::new(|| Arc::new(Counting(AtomicI64::new(0))));

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let certificate = rcgen::CertificateParams::default().self_signed(&certifying(2)).unwrap();
    let der = base64url(certificate.der());
    let state: GateState = serde_json::from_value(json!({
        "name": "front", "issuer": ISSUER, "mtls_url": ISSUER, "root": der,
        "client": {"chain": [der], "key": pkcs8(2)}, "server": null,
    }))
    .unwrap();
    let config =
        Config::parse(&REFERENCE.replace("unix:/run", "unix:/nonexistent"), Path::new("/etc/daypass/gate.toml"));
    let client = IssuerClient::new(&state).unwrap();
    let gate =
        Gate::new(config.unwrap(), ISSUER.to_owned(), CLOCK.clone(), Nonces::new(&[7; 32], &[8; 32], true), client);
    let issuer = software(3);
    gate.view().learn_keys(vec![("k".to_owned(), *issuer.public())]);
    Scene { gate: Arc::new(gate), issuer, holder: software(4) }
});

impl Scene {
    fn token(&self) -> String {
        let (now, device) = (self.gate.now().seconds(), "dev-0123456789abcdef");
        let jwk = self.holder.public();
        let claims = json!({
            "iss": ISSUER, "sub": "alice", "aud": RESOURCE, "client_id": format!("urn:daypass:device:{device}"),
            "iat": now, "nbf": now, "exp": now + 60, "jti": "j", "cnf": {"jwk": jwk, "jkt": jwk.thumbprint()},
            "authorization_details": [{"type": "git_repository", "locations": [REPOSITORY], "actions": ["push", "create"], "refs": ["refs/heads/alice/**"]}],
            "daypass": {"device": device, "grant": "gr-0123456789abcdef", "grant_until": now + 60, "project": "apollo", "protection": "hardware",
                "posture": {"trust_tier": "ek_chain", "secure_boot": null, "event_log": "absent"}, "leaf": base64url(&[0; 32])},
        });
        self.issuer.sign(&Header { typ: "at+jwt", kid: Some("k"), jwk: None }, &claims).unwrap()
    }

    fn presentation(&self) -> String {
        let nonce = self.gate.fresh_nonce(Scope::Presentation(REPOSITORY), CLIENT);
        let token = self.token();
        let input = key_binding_input(&token, &REPOSITORY.parse().unwrap(), &nonce, self.gate.now()).unwrap();
        present(&token, &self.holder.sign_input(&input).unwrap())
    }

    /// Token and proof for `GET` of the advertisement, in two headers.
    fn dpop(&self) -> String {
        let token = self.token();
        let nonce = self.gate.fresh_nonce(Scope::Dpop(RESOURCE), CLIENT);
        let claims = dpop::Claims {
            jti: nonce.clone(),
            htm: "GET".to_owned(),
            htu: format!("{REPOSITORY}.git/info/refs"),
            iat: self.gate.now(),
            ath: Some(token_hash(&token)),
            nonce: Some(nonce),
        };
        let proof = self.holder.sign_input(&dpop::proof_input(self.holder.public(), &claims).unwrap()).unwrap();
        format!("Authorization: DPoP {token}\r\nDPoP: {proof}")
    }
}

/// One connection.
pub fn run(input: &[u8]) {
    let scene = &*SCENE;
    CLOCK.0.fetch_add(1, Ordering::Relaxed);
    let now = scene.gate.now();
    let resources = vec![RESOURCE.parse().unwrap()];
    scene.gate.view().learn_revocations(Revocations::none(now, resources), scene.gate.moment());
    let mut bytes = fill(input, |name| {
        Some(match name {
            "presentation" => scene.presentation().into_bytes(),
            "basic" => STANDARD.encode(format!("daypass:{}", scene.presentation())).into_bytes(),
            "dpop" => scene.dpop().into_bytes(),
            "token" => scene.token().into_bytes(),
            _ => return None,
        })
    });
    // As a connection of the gate does it.
    if let Err((good, _)) = Framing::default().see(&bytes) {
        bytes.truncate(good);
        bytes.push(0);
    }
    let answer = RUNTIME.block_on(serve(&scene.gate, bytes));
    assert!(!answer.windows(13).any(|window| window.starts_with(b"HTTP/1.1 500 ")), "a fault of the gate's own");
}

async fn serve(gate: &Arc<Gate>, bytes: Vec<u8>) -> Vec<u8> {
    let peer = Peer { address: SocketAddr::new(CLIENT, 1), certificate: None };
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let gate = Arc::clone(gate);
        async move { Ok::<_, Infallible>(proxy::handle(gate, request).await.unwrap()) }
    });
    let (mut ours, theirs) = tokio::io::duplex(1024 * 1024);
    let stream = TokioIo::new(tokio::io::join(std::io::Cursor::new(bytes), theirs));
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .max_buf_size(64 * 1024)
        .serve_connection(stream, service);
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(async { drop(connection.await) }, ours.read_to_end(&mut answer));
    read.unwrap();
    answer
}

/// Requests of git, refused and passed on.
pub fn seeds() -> Vec<Vec<u8>> {
    let (one, two) = ("1".repeat(40), "2".repeat(40));
    let pkt = |line: &str| format!("{:04x}{line}", line.len() + 4);
    let push = |name: &str| format!("{}0000PACK", pkt(&format!("{one} {two} {name}\0 report-status side-band-64k")));
    let host = "Host: git.example.com";
    let get = |service: &str, more: &str| {
        format!("GET /team/app.git/info/refs?service={service} HTTP/1.1\r\n{host}\r\n{more}\r\n\r\n")
    };
    let post = |credential: &str, body: &str| {
        format!(
            "POST /team/app/git-receive-pack HTTP/1.1\r\n{host}\r\nAuthorization: {credential}\r\nContent-Type: application/x-git-receive-pack-request\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let texts = [
        get("git-upload-pack", "Accept: */*"),
        get("git-upload-pack", "Authorization: Basic <basic>"),
        get("git-receive-pack", "Authorization: Daypass <presentation>\r\nGit-Protocol: version=2"),
        get("git-upload-pack", "<dpop>"),
        get("git-upload-pack", "Authorization: Bearer <token>"),
        post("Daypass <presentation>", &push("refs/heads/alice/x")),
        post("Daypass <presentation>", &push("refs/heads/main")),
        post("Basic <basic>", "0000"),
        post("Daypass <presentation>", &pkt("push-cert")),
        format!(
            "POST /team/app/git-upload-pack HTTP/1.1\r\n{host}\r\nAuthorization: Daypass <presentation>\r\nContent-Type: application/x-git-upload-pack-request\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\x1f\u{8}\u{8}\r\n0\r\n\r\n"
        ),
    ];
    texts.into_iter().map(String::into_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where nothing stands behind it, 502 is as far as a request comes.
    #[test]
    fn the_seeds_come_as_far_as_they_should() {
        let scene = &*SCENE;
        let statuses: Vec<String> = seeds()
            .iter()
            .map(|seed| {
                let bytes = fill(seed, |name| match name {
                    "presentation" => Some(scene.presentation().into_bytes()),
                    "basic" => Some(STANDARD.encode(format!("daypass:{}", scene.presentation())).into_bytes()),
                    "dpop" => Some(scene.dpop().into_bytes()),
                    "token" => Some(scene.token().into_bytes()),
                    _ => None,
                });
                run(b"");
                let answer = RUNTIME.block_on(serve(&scene.gate, bytes));
                String::from_utf8_lossy(&answer[9..12]).into_owned()
            })
            .collect();
        assert_eq!(statuses, ["401", "502", "502", "502", "401", "502", "200", "200", "400", "502"]);
    }
}

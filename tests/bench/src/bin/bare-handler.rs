//! The least that a token could cost: TLS as the issuer has it, `hyper`, one proof verified, one token signed. Nothing is looked up, decided or
//! written down. `bench token` starts this and asks it what it asks the issuer.

use std::{convert::Infallible, error::Error, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use daypass_issuer::clock::Environment;
use daypass_proto::{
    authorization::AuthorizationDetails,
    dpop,
    encoding::{Fixed, base64url},
    enrolment::TrustTier,
    jose::{Header, SoftwareKey},
    names::{DeviceId, GrantId},
    time::Skew,
    token::{AccessTokenClaims, Confirmation, DaypassClaims, EventLogState, Posture, Protection, TYP},
};
use daypass_service::{ClientCertificates, server_config};
use daypass_tests::{new_key, say};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Failed = Box<dyn Error + Send + Sync>;

/// Verifies proofs and signs tokens, and does nothing else.
#[derive(Debug, Parser)]
#[command(name = "bare-handler")]
struct Arguments {
    listen: SocketAddr,
    certificate: PathBuf,
    key: PathBuf,
    /// A client's certificate, with its CA's behind it
    client: PathBuf,
    /// What proofs must be for
    url: String,
}

struct Handler {
    url: String,
    skew: Skew,
    key: SoftwareKey,
    environment: Environment,
    details: AuthorizationDetails,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("bare-handler: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failed> {
    let chain = CertificateDer::pem_file_iter(&arguments.certificate)?.collect::<Result<Vec<_>, _>>()?;
    let authority = CertificateDer::pem_file_iter(&arguments.client)?.last().ok_or("no client CA")??;
    let key = PrivateKeyDer::from_pem_file(&arguments.key)?;
    let tls = TlsAcceptor::from(server_config(chain, key, ClientCertificates::Required(vec![authority]))?);
    let handler = Arc::new(Handler {
        url: arguments.url,
        skew: Skew::try_new(30).ok_or("no such skew")?,
        key: new_key()?.0,
        environment: Environment::system(),
        details: serde_json::from_str(
            r#"[{"type":"git_repository","locations":["https://git.example.com/team/app"],"actions":["push"],"refs":["refs/heads/alice/**"]}]"#,
        )?,
    });
    // As the issuer's is.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = TcpListener::bind(arguments.listen).await?;
        loop {
            let (stream, _) = socket.accept().await?;
            stream.set_nodelay(true)?;
            let (tls, handler) = (tls.clone(), Arc::clone(&handler));
            tokio::spawn(async move {
                // Whoever only looked whether somebody listens says no hello.
                let Ok(stream) = tls.accept(stream).await else { return };
                let service = service_fn(move |request| answer(Arc::clone(&handler), request));
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

async fn answer(handler: Arc<Handler>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(Into::into);
    let proof = head.headers.get("dpop").and_then(|proof| proof.to_str().ok()).unwrap_or_default();
    let answer = match body.and_then(|_| handler.token(proof)) {
        Ok(token) => {
            let text = format!(r#"{{"access_token":"{token}","token_type":"DPoP","expires_in":300}}"#);
            Response::builder().header("content-type", "application/json").body(Full::from(text))
        }
        Err(error) => Response::builder().status(StatusCode::BAD_REQUEST).body(Full::from(error.to_string())),
    };
    Ok(answer.unwrap_or_default())
}

impl Handler {
    fn token(&self, proof: &str) -> Result<String, Failed> {
        let now = self.environment.now();
        let expected = dpop::Expected { method: "POST", url: &self.url, token: None, now, skew: self.skew };
        let proof = dpop::verify(proof, &expected)?;
        let device = DeviceId::from_random([1; 10]);
        let claims = AccessTokenClaims {
            iss: "https://issuer.example.com".to_owned(),
            sub: "alice@example.com".parse()?,
            aud: "https://git.example.com/".parse()?,
            client_id: device.client_id(),
            iat: now,
            nbf: now,
            exp: now.plus(300),
            jti: base64url(&self.environment.random::<16>()),
            cnf: Confirmation::of(*proof.key()),
            authorization_details: self.details.clone(),
            daypass: DaypassClaims {
                device,
                grant: GrantId::from_random([2; 10]),
                grant_until: now.plus(30 * 86_400),
                project: "apollo".parse()?,
                phase: None,
                protection: Protection::Software,
                posture: Posture {
                    trust_tier: TrustTier::Software,
                    secure_boot: None,
                    event_log: EventLogState::Absent,
                },
                leaf: Fixed(self.environment.random()),
            },
        };
        Ok(self.key.sign(&Header { typ: TYP, kid: Some("k"), jwk: None }, &claims)?)
    }
}

//! The least that a token could cost: TLS as the issuer has it, `hyper`, one proof verified, one token signed. Nothing is looked up or decided. `bench
//! token` starts this and asks it what it asks the issuer: once as it is, and once with each token written to a file and on the disk before the answer.

use std::{
    convert::Infallible, error::Error, fs::File, io, net::SocketAddr, os::unix::fs::FileExt as _, path::PathBuf,
    process::ExitCode, sync::Arc,
};

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
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
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
    /// Where each token is written, and synchronised, before it is answered
    #[arg(long)]
    log: Option<PathBuf>,
}

/// The size of that file, in bytes: it is written over and over, so that nothing but its content ever changes.
const LOG: u64 = 16 << 20;
/// How many tokens one write takes at most: as many as the issuer's store commits at once.
const BATCH: usize = 64;

/// A token, and whoever waits until it is on the disk.
type Written = (String, oneshot::Sender<()>);

/// Writes whatever waits in one piece.
fn write_log(file: &File, mut queue: mpsc::Receiver<Written>) -> io::Result<()> {
    let (mut at, mut batch) = (0, Vec::with_capacity(BATCH));
    while queue.blocking_recv_many(&mut batch, BATCH) > 0 {
        let bytes: Vec<u8> = batch.iter().flat_map(|(token, _)| token.bytes()).collect();
        let length = u64::try_from(bytes.len()).unwrap_or(LOG);
        if at + length > LOG {
            at = 0;
        }
        file.write_all_at(&bytes, at)?;
        file.sync_data()?;
        at += length;
        for (_, waiting) in batch.drain(..) {
            // Whoever asked may be gone.
            let _ = waiting.send(());
        }
    }
    Ok(())
}

/// Starts the one thread that writes to it.
fn open_log(path: &PathBuf) -> io::Result<mpsc::Sender<Written>> {
    let file = File::create(path)?;
    file.write_all_at(&vec![0; usize::try_from(LOG).unwrap_or_default()], 0)?;
    file.sync_all()?;
    let (sender, queue) = mpsc::channel(1024);
    std::thread::spawn(move || {
        if let Err(error) = write_log(&file, queue) {
            say(&format!("bare-handler: {error}"));
        }
    });
    Ok(sender)
}

struct Handler {
    url: String,
    skew: Skew,
    key: SoftwareKey,
    environment: Environment,
    details: AuthorizationDetails,
    log: Option<mpsc::Sender<Written>>,
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
        log: arguments.log.as_ref().map(open_log).transpose()?,
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
    let token = match body.and_then(|_| handler.token(proof)) {
        Ok(token) => handler.write(token).await,
        refused => refused,
    };
    let answer = match token {
        Ok(token) => {
            let text = format!(r#"{{"access_token":"{token}","token_type":"DPoP","expires_in":300}}"#);
            Response::builder().header("content-type", "application/json").body(Full::from(text))
        }
        Err(error) => Response::builder().status(StatusCode::BAD_REQUEST).body(Full::from(error.to_string())),
    };
    Ok(answer.unwrap_or_default())
}

impl Handler {
    async fn write(&self, token: String) -> Result<String, Failed> {
        if let Some(log) = &self.log {
            let (waiting, written) = oneshot::channel();
            log.send((token.clone(), waiting)).await?;
            written.await?;
        }
        Ok(token)
    }

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

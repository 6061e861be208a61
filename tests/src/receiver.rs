//! The receiver of an issuer's webhook: somebody else's server, which says yes or no as the story wants.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::Duration,
};

use aws_lc_rs::hmac;
use daypass_proto::encoding::base64url;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{Failure, Loopback, ensure};

/// What a message may have at most, in bytes.
const LONGEST: u64 = 64 * 1024;

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The status that it was answered with.
    pub answered: u16,
    /// Its name.
    pub id: String,
    /// When it was sent, as it says.
    pub timestamp: i64,
    /// Its signatures.
    pub signature: String,
    /// Its body.
    pub body: String,
}

/// A server that keeps what it gets.
#[derive(Debug)]
pub struct Receiver {
    /// Where the webhook goes.
    pub url: String,
    /// The CA of its certificate, PEM.
    pub ca: String,
    key: [u8; 24],
    status: Arc<AtomicU16>,
    got: Arc<Mutex<Vec<Delivery>>>,
}

impl Receiver {
    /// One that says yes; it ends with the story's process.
    pub fn start() -> Result<Self, Failure> {
        let mut secret = [0; 24];
        aws_lc_rs::rand::fill(&mut secret).map_err(|error| Failure::unexpected("randomness", error))?;
        let address = Loopback::next();
        let fault = || Failure::machine("start a receiver");
        let listener = TcpListener::bind((address.ip(), 0)).map_err(fault())?;
        let at = listener.local_addr().map_err(fault())?;
        let made = |error: rcgen::Error| Failure::unexpected("a certificate", error);
        let pair = KeyPair::generate().map_err(made)?;
        let certificate = CertificateParams::new(vec![address.ip().to_string()])
            .and_then(|it| it.self_signed(&pair))
            .map_err(made)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key))
            .map_err(|error| Failure::unexpected("a TLS configuration", error))?;
        let (status, got) = (Arc::new(AtomicU16::new(204)), Arc::new(Mutex::new(Vec::new())));
        let (tls, answers, keeps) = (Arc::new(tls), Arc::clone(&status), Arc::clone(&got));
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                // Whoever breaks off comes again, or not; what came whole is kept.
                let _ = serve(stream, &tls, &answers, &keeps);
            }
        });
        let url = format!("https://{at}/hooks/daypass");
        Ok(Self { url, ca: certificate.pem(), key: secret, status, got })
    }

    /// The secret, as the issuer's file has it.
    pub fn secret(&self) -> String {
        format!("whsec_{}", standard(&self.key))
    }

    /// From here on it answers with this.
    pub fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// What came so far, of this type.
    pub fn got(&self, kind: &str) -> Vec<Delivery> {
        let got = self.got.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = format!("\"type\":\"{kind}\"");
        got.iter().filter(|delivery| delivery.body.contains(&wanted)).cloned().collect()
    }

    /// Goes on only if this was signed with the secret, over what came and when it was sent.
    pub fn verify(&self, delivery: &Delivery) -> Result<(), Failure> {
        let signed = format!("{}.{}.{}", delivery.id, delivery.timestamp, delivery.body);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.key), signed.as_bytes());
        ensure(delivery.signature == format!("v1,{}", standard(tag.as_ref())), "a good signature", &delivery.signature)
    }
}

/// Base64 as RFC 4648 section 4 has it.
fn standard(bytes: &[u8]) -> String {
    let mut text = base64url(bytes).replace('-', "+").replace('_', "/");
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

fn serve(
    stream: TcpStream,
    tls: &Arc<ServerConfig>,
    status: &AtomicU16,
    got: &Mutex<Vec<Delivery>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let connection = ServerConnection::new(Arc::clone(tls)).map_err(std::io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        (&mut reader).take(LONGEST).read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => headers.extend(line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()))),
        }
    }
    let header = |name: &str| {
        headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let mut body = String::new();
    (&mut reader).take(header("content-length").parse().unwrap_or(0).min(LONGEST)).read_to_string(&mut body)?;
    let answered = status.load(Ordering::SeqCst);
    got.lock().unwrap_or_else(PoisonError::into_inner).push(Delivery {
        answered,
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp").parse().unwrap_or_default(),
        signature: header("webhook-signature"),
        body,
    });
    let stream = reader.get_mut();
    write!(stream, "HTTP/1.1 {answered} Said\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    stream.flush()?;
    stream.conn.send_close_notify();
    stream.flush()
}

//! Talking to the issuer, over TLS under its root and nothing else.

use std::{sync::Arc, time::Duration};

use daypass_proto::{
    gate_api::{
        EnrolRequest, GateCertificates, RenewRequest, RevocationReader, Revocations, RevocationsError, UsageReport,
    },
    jose::EcPublicKey,
    oauth_error::{ErrorBody, Reason},
    pin::{Pin, PinnedRootVerifier},
    tls_fault::OutsideItsTime,
};
use reqwest::{Client, RequestBuilder, Response};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;

use super::state::GateState;

/// How long one exchange with the issuer may take, and how long it may be silent in the middle of one.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the list of what is dead may take to arrive.
const LIST_TIMEOUT: Duration = Duration::from_secs(40);
/// The largest answer that is collected, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// Why the issuer gave nothing.
#[derive(Debug, Error)]
pub enum IssuerError {
    /// Not reached, or not the issuer.
    #[error("could not reach the issuer at `{url}`")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Its certificate is not in its time by this machine's clock.
    #[error(
        "the certificate of `{url}` {times}, and this machine's clock says {}; set whichever of the two clocks is wrong",
        .times.now()
    )]
    CertificateTime {
        /// Where.
        url: String,
        /// Its end or begin, and the clock here.
        times: OutsideItsTime,
    },
    /// It refused.
    #[error("the issuer refused: {}; {}", .0.error_description, .0.daypass_next_step)]
    Refused(Box<ErrorBody>),
    /// Something else answered, or a version that says other things.
    #[error("`{url}` answered with something that is not of this protocol (status {status})")]
    Answer {
        /// Where.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The list of what is dead.
    #[error("could not read which tokens are dead")]
    List(#[source] RevocationsError),
    /// TLS could not be configured.
    #[error("could not configure TLS")]
    Tls(#[source] rustls::Error),
    /// The HTTP client could not be configured.
    #[error("could not configure the HTTP client")]
    Client(#[source] reqwest::Error),
}

impl IssuerError {
    /// Whether it was what was said that was refused, so that saying it again helps nothing.
    pub fn is_about_what_was_said(&self) -> bool {
        use Reason::{Malformed, NotTheirs, TooLarge};
        matches!(self, Self::Refused(body) if matches!(body.daypass_reason, Malformed | NotTheirs | TooLarge))
    }

    /// What is wrong with the time, here or there, where that is why: with both times, since nobody can tell from here which is the wrong one.
    pub fn about_time(&self) -> Option<String> {
        match self {
            Self::CertificateTime { times, .. } => {
                Some(format!("the issuer's certificate {times}, and this gate's clock says {}", times.now()))
            }
            Self::Refused(body) => match body.daypass_reason {
                Reason::CertificateExpired | Reason::CertificateNotYet | Reason::IssuerClock => {
                    Some(format!("the issuer says that {}", body.error_description))
                }
                _ => None,
            },
            Self::Unreachable { .. } | Self::Answer { .. } | Self::List(_) | Self::Tls(_) | Self::Client(_) => None,
        }
    }
}

fn client(tls: ClientConfig) -> Result<Client, IssuerError> {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .read_timeout(TIMEOUT)
        .build()
        .map_err(IssuerError::Client)
}

async fn answer<T: DeserializeOwned>(url: &str, request: RequestBuilder) -> Result<T, IssuerError> {
    let response = send(url, request).await?;
    let status = response.status();
    if !status.is_success() {
        return refusal(url, response).await;
    }
    let body = collect(url, response).await?;
    serde_json::from_slice(&body).map_err(|_| IssuerError::Answer { url: url.to_owned(), status: status.as_u16() })
}

async fn send(url: &str, request: RequestBuilder) -> Result<Response, IssuerError> {
    request.send().await.map_err(|source| match OutsideItsTime::find(&source) {
        Some(times) => IssuerError::CertificateTime { url: url.to_owned(), times },
        None => IssuerError::Unreachable { url: url.to_owned(), source },
    })
}

async fn refusal<T>(url: &str, response: Response) -> Result<T, IssuerError> {
    let status = response.status().as_u16();
    let body = collect(url, response).await?;
    let refusal = serde_json::from_slice(&body).map_err(|_| IssuerError::Answer { url: url.to_owned(), status })?;
    Err(IssuerError::Refused(Box::new(refusal)))
}

async fn collect(url: &str, mut response: Response) -> Result<Vec<u8>, IssuerError> {
    let failed = |source| IssuerError::Unreachable { url: url.to_owned(), source };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(IssuerError::Answer { url: url.to_owned(), status: response.status().as_u16() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The first contact: only the pin of the gate code is known.
pub(super) async fn enrol(issuer: &str, pin: Pin, request: &EnrolRequest) -> Result<GateCertificates, IssuerError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(IssuerError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedRootVerifier::new(pin, provider)))
        .with_no_client_auth();
    let url = format!("{issuer}/gate/v1/enrol");
    answer(&url, client(tls)?.post(&url).json(request)).await
}

/// The issuer, for a gate that is enrolled.
pub struct IssuerClient {
    client: Client,
    issuer: String,
    mtls_url: String,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kid: String,
    #[serde(flatten)]
    key: EcPublicKey,
}

impl IssuerClient {
    /// From the gate's certificate.
    pub fn new(state: &GateState) -> Result<Self, IssuerError> {
        let mut roots = RootCertStore::empty();
        roots.add(state.root.0.clone().into()).map_err(IssuerError::Tls)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(state.client.key.to_vec()));
        let chain = state.client.chain.iter().map(|der| der.0.clone().into()).collect();
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(IssuerError::Tls)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(IssuerError::Tls)?;
        Ok(Self { client: client(tls)?, issuer: state.issuer.clone(), mtls_url: state.mtls_url.clone() })
    }

    /// The keys that sign tokens, by `kid`.
    pub async fn keys(&self) -> Result<Vec<(String, EcPublicKey)>, IssuerError> {
        let url = format!("{}/jwks", self.issuer);
        let jwks: Jwks = answer(&url, self.client.get(&url)).await?;
        Ok(jwks.keys.into_iter().map(|jwk| (jwk.kid, jwk.key)).collect())
    }

    /// Which tokens are dead.
    pub async fn revocations(&self) -> Result<Revocations, IssuerError> {
        let url = format!("{}/gate/v1/revocations", self.mtls_url);
        let failed = |source| IssuerError::Unreachable { url: url.clone(), source };
        let response = send(&url, self.client.get(&url).timeout(LIST_TIMEOUT)).await?;
        if !response.status().is_success() {
            return refusal(&url, response).await;
        }
        let (mut response, mut reader) = (response, RevocationReader::default());
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            reader.take(&chunk).map_err(IssuerError::List)?;
        }
        reader.finish().map_err(IssuerError::List)
    }

    /// Tells what was let through.
    pub async fn tell_usage(&self, report: &UsageReport) -> Result<(), IssuerError> {
        let url = format!("{}/gate/v1/usage", self.mtls_url);
        let response = send(&url, self.client.post(&url).json(report)).await?;
        if response.status().is_success() { Ok(()) } else { refusal(&url, response).await }
    }

    /// The next certificates.
    pub async fn renew(&self, request: &RenewRequest) -> Result<GateCertificates, IssuerError> {
        let url = format!("{}/gate/v1/renew", self.mtls_url);
        answer(&url, self.client.post(&url).json(request)).await
    }
}

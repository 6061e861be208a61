//! Talking to an issuer: first with nothing but a pin, then over mTLS with the identity key in the TPM.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;
use daypass_proto::{
    oauth_error::ErrorBody,
    pin::{Pin, PinnedRootVerifier},
    tls_fault::{OutsideItsTime, certificate_fault, tls_fault},
};
use reqwest::{Client, RequestBuilder};
use rustls::{
    ClientConfig, OtherError, RootCertStore, SignatureAlgorithm, SignatureScheme,
    crypto::aws_lc_rs as provider,
    sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey},
};
use serde::de::DeserializeOwned;

use crate::{
    error::AgentError,
    state::Completed,
    tpm::{KeyFile, Tpm, TpmError},
};

/// How long one exchange may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// The longest refusal, in bytes.
const MAX_REFUSAL: usize = 16 * 1024;

/// The identity key as rustls uses it. The private half stays in the TPM.
#[derive(Clone)]
struct IdentityKey {
    tpm: Arc<dyn Tpm>,
    key: KeyFile,
}

impl std::fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdentityKey(in the TPM)")
    }
}

impl SigningKey for IdentityKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for IdentityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let hash = digest::digest(&digest::SHA256, message);
        let failed = |why: String| rustls::Error::General(why);
        let hash: [u8; 32] = hash.as_ref().try_into().map_err(|_| failed("a digest of another length".to_owned()))?;
        // A handshake is synchronous; the runtime moves its other work aside meanwhile.
        // The TPM's own error goes along, so that nobody takes it for the network's.
        let signature = tokio::task::block_in_place(|| self.tpm.sign_blocking(&self.key, hash))
            .map_err(|error| rustls::Error::Other(OtherError(Arc::new(error))))?;
        Ok(der_signature(&signature))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

/// `r ‖ s` as `ECDSA-Sig-Value` (RFC 3279 section 2.2.3), which X.509 and TLS want.
pub fn der_signature(fixed: &[u8; 64]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let trimmed: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign = trimmed.first().is_none_or(|first| *first >= 0x80);
        let content = if sign { [&[0], &trimmed[..]].concat() } else { trimmed };
        // At most 33 bytes: the short form of the length.
        [&[2, u8::try_from(content.len()).unwrap_or(0)], &content[..]].concat()
    };
    let (r, s) = fixed.split_at(32);
    let body = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(body.len()).unwrap_or(0)], &body[..]].concat()
}

fn internal(attempted: &'static str) -> impl Fn(rustls::Error) -> AgentError {
    move |error| AgentError::Internal { attempted, why: error.to_string() }
}

fn build(tls: ClientConfig) -> Result<Client, AgentError> {
    Client::builder()
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| AgentError::Internal { attempted: "configure the HTTP client", why: error.to_string() })
}

fn tls() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, AgentError> {
    ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(internal("configure TLS"))
}

/// Trusts exactly the root with this pin.
pub fn pinned(pin: Pin) -> Result<Client, AgentError> {
    let verifier = PinnedRootVerifier::new(pin, Arc::new(provider::default_provider()));
    build(tls()?.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// Trusts these CAs (DER), and shows no certificate: for gates.
pub fn trusting(authorities: Vec<Vec<u8>>) -> Result<Client, AgentError> {
    build(tls()?.with_root_certificates(roots(authorities)?).with_no_client_auth())
}

/// Trusts the issuer's root, and shows the device certificate.
pub fn mutual(completed: &Completed, identity: &KeyFile, tpm: &Arc<dyn Tpm>) -> Result<Client, AgentError> {
    let chain = completed.chain.iter().map(|der| der.0.clone().into()).collect();
    let key = IdentityKey { tpm: Arc::clone(tpm), key: identity.clone() };
    let certified = CertifiedKey::new(chain, Arc::new(key));
    let config = tls()?
        .with_root_certificates(roots(vec![completed.root.0.clone()])?)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    build(config)
}

fn roots(authorities: Vec<Vec<u8>>) -> Result<RootCertStore, AgentError> {
    let mut store = RootCertStore::empty();
    for authority in authorities {
        store.add(authority.into()).map_err(internal("read a CA"))?;
    }
    Ok(store)
}

/// Why the identity key did not sign the handshake, where that is why a connection failed: no fault of the network's.
fn tpm_fault(error: &reqwest::Error) -> Option<TpmError> {
    let rustls::Error::Other(OtherError(fault)) = tls_fault(error)? else { return None };
    fault.downcast_ref::<TpmError>().cloned()
}

/// An exchange that failed because of a certificate that is not in its time by this machine's clock, which is the likelier to be wrong.
pub fn outside_its_time(url: &str, error: &reqwest::Error) -> Option<AgentError> {
    let times = OutsideItsTime::find(error)?;
    Some(AgentError::CertificateTime { url: url.to_owned(), times })
}

/// An error of the HTTP client, with its cause.
pub fn why(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        source = error.source();
    }
    if text.is_empty() { "no answer in time".to_owned() } else { text }
}

/// Sends a request to the issuer; gives the answer's body.
pub async fn bytes(url: &str, request: RequestBuilder) -> Result<Vec<u8>, AgentError> {
    bytes_within(url, request, MAX_ANSWER).await
}

/// The same for an answer of at most `limit` bytes; a refusal may be as long as one of ours ever is.
pub async fn bytes_within(url: &str, request: RequestBuilder, limit: usize) -> Result<Vec<u8>, AgentError> {
    let failed = |error: reqwest::Error| {
        if let Some(error) = outside_its_time(url, &error) {
            error
        } else if let Some(error) = tpm_fault(&error) {
            error.into()
        } else if certificate_fault(&error).is_some() {
            AgentError::WrongIssuer(url.to_owned())
        } else {
            AgentError::IssuerUnreachable { url: url.to_owned(), why: why(&error) }
        }
    };
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    let wrong = || AgentError::IssuerAnswer { url: url.to_owned(), status: status.as_u16() };
    let limit = if status.is_success() { limit } else { limit.max(MAX_REFUSAL) };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > limit {
            return Err(wrong());
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return Ok(body);
    }
    let refusal: ErrorBody = serde_json::from_slice(&body).map_err(|_| wrong())?;
    Err(AgentError::Refused(Box::new(refusal)))
}

/// Sends a request to the issuer; gives the answer, read.
pub async fn answer<T: DeserializeOwned>(url: &str, request: RequestBuilder) -> Result<T, AgentError> {
    let body = bytes(url, request).await?;
    serde_json::from_slice(&body).map_err(|_| AgentError::IssuerAnswer { url: url.to_owned(), status: 200 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers one request with this body.
    fn answering(status: &str, body: &str) -> String {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            // Whoever has read enough hangs up.
            let _ = stream.write_all(answer.as_bytes());
        });
        url
    }

    #[tokio::test]
    async fn an_answer_beyond_its_limit_is_not_kept() {
        let plain = tls().unwrap().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let client = Client::builder().tls_backend_preconfigured(plain).build().unwrap();
        let ask = async |status: &str, body: String, limit| {
            let url = answering(status, &body);
            bytes_within(&url, client.get(&url), limit).await
        };
        assert_eq!(ask("200", "a".repeat(100), 100).await.unwrap().len(), 100);
        assert!(matches!(ask("200", "a".repeat(101), 100).await, Err(AgentError::IssuerAnswer { status: 200, .. })));
        let refusal = |padding: usize| {
            let words = "a".repeat(padding);
            format!(
                r#"{{"error":"invalid_request","error_description":"{words}","daypass_reason":"leaf_unknown","daypass_next_step":""}}"#
            )
        };
        assert!(
            matches!(ask("404", refusal(1000), 100).await, Err(AgentError::Refused(_))),
            "a refusal has a limit of its own"
        );
        assert!(matches!(ask("404", refusal(MAX_REFUSAL), 100).await, Err(AgentError::IssuerAnswer { .. })));
    }

    #[test]
    fn signatures_in_der() {
        let mut fixed = [0; 64];
        (fixed[31], fixed[32]) = (1, 0x80);
        let der = der_signature(&fixed);
        assert_eq!(&der[..5], [0x30, 2 + 1 + 2 + 33, 2, 1, 1]);
        assert_eq!(&der[5..9], [2, 33, 0, 0x80]);
    }
}

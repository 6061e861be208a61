//! The webhook, signed as Standard Webhooks says (standardwebhooks.com, `v1`): HMAC-SHA-256 over `id.timestamp.body`.

use std::{fmt::Write as _, path::Path, sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use daypass_proto::time::Timestamp;
use daypass_service::read_file;
use reqwest::{Client, header::CONTENT_TYPE, redirect::Policy};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs::default_provider};
use url::Url;

use super::{
    settings::WebhookSettings,
    sink::{SendError, SinkError},
};
use crate::{
    certificates::{MAX_FILE, certificates},
    keys::read_secret_or_credential,
};

/// The file name that systemd gives the credential.
const CREDENTIAL: &str = "daypass-webhook-secret";
/// How long an attempt may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How many secrets sign at once: the old one and the new one, while receivers change.
const MOST_SECRETS: usize = 4;

/// The webhook.
pub struct Webhook {
    client: Client,
    url: Url,
    secrets: Vec<hmac::Key>,
}

impl Webhook {
    pub(super) fn open(settings: &WebhookSettings) -> Result<Self, SinkError> {
        let text = read_secret_or_credential(CREDENTIAL, &settings.secret)?;
        let secrets = secrets(&text).ok_or_else(|| SinkError::SecretForm(settings.secret.clone()))?;
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(SinkError::Tls)?
            .with_root_certificates(roots(settings.ca.as_deref())?)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            // A message goes to whom the configuration names, and to nobody that he names.
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .build()
            .map_err(SinkError::Client)?;
        Ok(Self { client, url: settings.url.clone(), secrets })
    }

    pub(super) async fn send(&self, id: &str, at: Timestamp, payload: &str) -> Result<(), SendError> {
        let response = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", at.seconds())
            .header("webhook-signature", signature(&self.secrets, id, at, payload))
            .body(payload.to_owned())
            .send()
            .await
            // The URL may be a secret.
            .map_err(|error| SendError::Unreachable(error.without_url()))?;
        if response.status().is_success() { Ok(()) } else { Err(SendError::Status(response.status().as_u16())) }
    }
}

/// The value of `webhook-signature`: one for each secret.
fn signature(secrets: &[hmac::Key], id: &str, at: Timestamp, payload: &str) -> String {
    let signed = format!("{id}.{}.{payload}", at.seconds());
    let mut text = String::new();
    for secret in secrets {
        let separator = if text.is_empty() { "" } else { " " };
        // Writing to a string does not fail.
        let _ = write!(text, "{separator}v1,{}", STANDARD.encode(hmac::sign(secret, signed.as_bytes())));
    }
    text
}

/// A secret in each line.
fn secrets(text: &[u8]) -> Option<Vec<hmac::Key>> {
    let text = std::str::from_utf8(text).ok()?;
    let all: Option<Vec<hmac::Key>> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let bytes = STANDARD.decode(line.strip_prefix("whsec_")?).ok()?;
            (24..=64).contains(&bytes.len()).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        })
        .collect();
    all.filter(|all| (1..=MOST_SECRETS).contains(&all.len()))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, SinkError> {
    let mut store = RootCertStore::empty();
    match ca {
        Some(path) => {
            let bytes = read_file(path, MAX_FILE).map_err(|source| SinkError::Ca { path: path.to_owned(), source })?;
            let all = certificates(&bytes).map_err(|source| SinkError::CaForm { path: path.to_owned(), source })?;
            for der in all {
                store.add(der.into()).map_err(SinkError::Tls)?;
            }
        }
        None => {
            // Some of what a system has may not read; without any, nobody would be believed.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(SinkError::NoRoots);
            }
        }
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector that the reference implementations of Standard Webhooks are tested with.
    #[test]
    fn the_published_signature() {
        let one = secrets(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let sign = |secrets: &[hmac::Key], payload| {
            signature(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", Timestamp::from_seconds(1_614_265_330), payload)
        };
        const PUBLISHED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(&one, r#"{"test": 2432232314}"#), PUBLISHED);
        assert_ne!(sign(&one, r#"{"test": 2432232315}"#), PUBLISHED);
        let two =
            secrets(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n\nwhsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
        let both = sign(&two.unwrap(), r#"{"test": 2432232314}"#);
        assert!(both.starts_with(&format!("{PUBLISHED} v1,")), "{both}");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let short = format!("whsec_{}", STANDARD.encode([0; 23]));
        let long = format!("whsec_{}", STANDARD.encode([0; 65]));
        let many = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n".repeat(5);
        for bad in ["", "\n", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_?", &short, &long, &many] {
            assert!(secrets(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(secrets(&[0xff]).is_none());
    }
}

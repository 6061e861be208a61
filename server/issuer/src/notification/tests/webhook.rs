//! The webhook against a server that is there, redirects, refuses, or is somebody else.

use std::{
    convert::Infallible,
    fs,
    future::Future,
    os::unix::fs::PermissionsExt as _,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use aws_lc_rs::hmac;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use daypass_proto::time::Timestamp;
use daypass_service::{ClientCertificates, Limits, Listener, server_config};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_util::sync::CancellationToken;

use super::super::{SendError, Settings, SinkError, Sinks, WebhookSettings, run};
use crate::fixture::Made;

const KEY: [u8; 32] = [7; 32];

type Seen = Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>;

#[derive(Clone)]
struct Receiver {
    seen: Seen,
    answer: (StatusCode, Option<&'static str>),
}

impl tower_service::Service<Request<Incoming>> for Receiver {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let Self { seen, answer: (status, location) } = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            seen.lock().unwrap().push((parts.uri.to_string(), parts.headers, body));
            let response = Response::builder().status(status);
            let response = match location {
                Some(location) => response.header(header::LOCATION, location),
                None => response,
            };
            Ok(response.body(Full::new(Bytes::from_static(b"secrets of the receiver"))).unwrap())
        })
    }
}

/// A receiver that runs until it is dropped.
struct Running {
    folder: tempfile::TempDir,
    seen: Seen,
    settings: Settings,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn receiver(status: StatusCode, location: Option<&'static str>) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let pair = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&pair).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    let tls = server_config(vec![certificate.der().clone()], key, ClientCertificates::None).unwrap();
    let listener = Listener::bind("127.0.0.1:0", tls, Limits::default()).await.unwrap();
    let url = format!("https://{}/hooks/daypass?team=1", listener.address().unwrap());
    let (seen, stop) = (Seen::default(), CancellationToken::new());
    tokio::spawn(listener.serve(Receiver { seen: Arc::clone(&seen), answer: (status, location) }, stop.clone()));
    let (secret, ca) = (folder.path().join("secret"), folder.path().join("ca.pem"));
    fs::write(&secret, format!("whsec_{}\n", STANDARD.encode(KEY))).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&ca, certificate.pem()).unwrap();
    let webhook = WebhookSettings { url: url.parse().unwrap(), secret, ca: Some(ca) };
    let settings = Settings { webhook: Some(webhook), attempts: 3, ..Settings::default() };
    Running { folder, seen, settings, stop }
}

async fn send(settings: &Settings) -> Result<(), SendError> {
    let sinks = Sinks::open(settings).unwrap();
    sinks.iter().next().unwrap().send("msg_1", Timestamp::from_seconds(1_790_000_000), "{\"type\":\"test\"}").await
}

#[tokio::test]
async fn it_arrives_signed() {
    let running = receiver(StatusCode::NO_CONTENT, None).await;
    send(&running.settings).await.unwrap();
    let (path, headers, body) = running.seen.lock().unwrap().remove(0);
    assert_eq!((path.as_str(), &body[..]), ("/hooks/daypass?team=1", &b"{\"type\":\"test\"}"[..]));
    assert_eq!(headers["webhook-id"], "msg_1");
    assert_eq!(headers["webhook-timestamp"], "1790000000");
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    let signature = headers["webhook-signature"].to_str().unwrap().strip_prefix("v1,").unwrap();
    let signature = STANDARD.decode(signature).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &KEY);
    hmac::verify(&key, b"msg_1.1790000000.{\"type\":\"test\"}", &signature).unwrap();
}

#[tokio::test]
async fn only_a_success_is_one_and_nobody_is_sent_elsewhere() {
    for status in [StatusCode::FOUND, StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT] {
        let elsewhere = receiver(status, Some("/other")).await;
        let error = send(&elsewhere.settings).await.unwrap_err();
        assert!(matches!(error, SendError::Status(found) if found == status.as_u16()), "{error}");
        assert_eq!(elsewhere.seen.lock().unwrap().len(), 1);
    }
    let broken = receiver(StatusCode::INTERNAL_SERVER_ERROR, None).await;
    let error = send(&broken.settings).await.unwrap_err();
    assert!(!daypass_service::told(&error).contains("secrets of the receiver"));
}

#[tokio::test]
async fn who_is_not_believed_gets_nothing_and_the_url_is_not_told() {
    let running = receiver(StatusCode::OK, None).await;
    let other = receiver(StatusCode::OK, None).await;
    let mut settings = running.settings.clone();
    settings.webhook.as_mut().unwrap().ca = other.settings.webhook.as_ref().unwrap().ca.clone();
    let error = send(&settings).await.unwrap_err();
    let told = daypass_service::told(&error);
    assert!(told.contains("certificate") && !told.contains("hooks/daypass"), "{told}");
    assert!(running.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_used_is_said_before_anything_is_served() {
    let running = receiver(StatusCode::OK, None).await;
    let webhook = running.settings.webhook.clone().unwrap();
    let open = |webhook: &WebhookSettings| {
        Sinks::open(&Settings { webhook: Some(webhook.clone()), ..Settings::default() }).map(drop)
    };
    fs::set_permissions(&webhook.secret, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(open(&webhook), Err(SinkError::Secret(_))));
    fs::set_permissions(&webhook.secret, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&webhook.secret, "password").unwrap();
    let error = open(&webhook).unwrap_err();
    assert!(matches!(error, SinkError::SecretForm(_)) && !error.to_string().contains("password"), "{error}");
    fs::write(&webhook.secret, format!("whsec_{}", STANDARD.encode(KEY))).unwrap();
    open(&webhook).unwrap();
    let no_ca = WebhookSettings { ca: Some(running.folder.path().join("none")), ..webhook.clone() };
    assert!(matches!(open(&no_ca), Err(SinkError::Ca { .. })));
    let wrong_ca = WebhookSettings { ca: Some(webhook.secret.clone()), ..webhook };
    assert!(matches!(open(&wrong_ca), Err(SinkError::CaForm { .. })));
}

/// Both sinks at once, as the program runs them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_hangs_holds_up_neither_the_other_nor_any_decision() {
    let running = receiver(StatusCode::OK, None).await;
    let webhook = running.settings.webhook.clone().unwrap();
    let hook = running.folder.path().join("hook");
    fs::write(&hook, "#!/bin/sh\nsleep 600\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o700)).unwrap();
    let text = format!(
        "[notification]\n[notification.webhook]\nurl = \"{}\"\nsecret = \"{}\"\nca = \"{}\"\n\
         [notification.command]\nrun = [\"{}\"]\ntimeout = \"5m\"\n",
        webhook.url,
        webhook.secret.display(),
        webhook.ca.unwrap().display(),
        hook.display()
    );
    let made =
        Made::with(&[("allow_software_keys = false", "allow_software_keys = true"), ("# [notification]\n", &text)])
            .await;
    let (issuer, stop) = (Arc::clone(&made.issuer), CancellationToken::new());
    let sinks = Sinks::open(&issuer.config.notification).unwrap();
    let telling = tokio::spawn(run(Arc::clone(&issuer), sinks, stop.clone()));
    // Its grant ends in an hour, which is told at once.
    made.client().await;
    let arrived = async {
        while running.seen.lock().unwrap().is_empty() {
            made.client().await;
            crate::ledger::integrate(&issuer).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), arrived).await.unwrap();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), telling).await.unwrap().unwrap();
    let waiting = issuer.store.waiting().await.unwrap();
    assert!(waiting.iter().any(|sink| sink.sink == "command" && sink.waiting > 0), "{waiting:?}");
}

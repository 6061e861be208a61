use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
};

use axum::{
    body::{Body, Bytes},
    http::{Request, StatusCode},
    response::Response,
};
use daypass_proto::{encoding::base64url, enrolment::DeviceLife};
use daypass_service::Peer;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower_service::Service as _;

use super::*;
use crate::{
    body::tests::slow,
    fixture::{Made, request},
    invitation::{Invite, invite},
    store::{Change, Decision, Device, Terms},
};

/// Each request comes from an address of its own: what one alone may take is less than what all together may.
async fn send(router: &Router, path: &str, body: impl Into<Body>) -> Response {
    static SENT: AtomicU32 = AtomicU32::new(0);
    let address = Ipv4Addr::from_bits(SENT.fetch_add(1, Ordering::Relaxed));
    let peer = Peer { address: (address, 1).into(), certificate: None };
    router.clone().call(Request::post(path).extension(peer).body(body.into()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn strangers_fill_one_room_and_no_other() {
    let made = Made::new().await;
    let router = public_routes(Arc::clone(&made.issuer));
    let complete = "/enrolment/v1/complete";
    let mut held = Vec::new();
    for _ in 0..LARGE / MAX_COMPLETE {
        let (chunks, body) = slow();
        chunks.send(Bytes::from(vec![b' '; MAX_COMPLETE])).unwrap();
        let router = router.clone();
        held.push((chunks, tokio::spawn(async move { send(&router, complete, body).await.status() })));
    }
    while send(&router, complete, vec![b' '; 1]).await.status() != StatusCode::SERVICE_UNAVAILABLE {
        tokio::task::yield_now().await;
    }
    // Enrolments begin meanwhile, and what has come is judged when it is whole.
    assert_eq!(send(&router, "/enrolment/v1/begin", "{}").await.status(), StatusCode::BAD_REQUEST);
    for (chunks, answer) in held {
        drop(chunks);
        assert_eq!(answer.await.unwrap(), StatusCode::BAD_REQUEST);
    }
    assert_eq!(send(&router, complete, vec![b' '; 1]).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn every_endpoint_that_takes_a_body_has_its_bounds() {
    let made = Made::new().await;
    let (public, mtls) = (public_routes(Arc::clone(&made.issuer)), mtls_routes(Arc::clone(&made.issuer)));
    for (router, path, most) in [
        (&public, "/enrolment/v1/begin", MAX_BEGIN),
        (&public, "/enrolment/v1/complete", MAX_COMPLETE),
        (&public, "/gate/v1/enrol", MAX_BODY),
        (&mtls, token::PATH, MAX_BODY),
        (&mtls, "/oauth/introspect", MAX_BODY),
        (&mtls, "/oauth/revoke", MAX_BODY),
        (&mtls, "/device/v1/leave", MAX_BODY),
        (&mtls, "/device/v1/renewal/begin", MAX_BODY),
        (&mtls, "/device/v1/renewal/complete", MAX_COMPLETE),
        (&mtls, "/gate/v1/renew", MAX_BODY),
        (&mtls, "/gate/v1/usage", MAX_BODY),
        (&mtls, "/admin/v1/invitations", MAX_BODY),
        (&mtls, "/admin/v1/policy", MAX_POLICY),
    ] {
        let answer = send(router, path, vec![b' '; most + 1]).await;
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("\"too_large\""), "{path}");
        assert_ne!(send(router, path, vec![b' '; most]).await.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}");
    }
}

/// Status, cause, and when to try again.
async fn refused(answer: Response) -> (u16, String, Option<String>) {
    let again = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    (status, body["daypass_reason"].as_str().unwrap().to_owned(), again)
}

async fn code(made: &Made) -> String {
    let issuer = &made.issuer;
    let invitation = Invite {
        collaborator: "bob".parse().unwrap(),
        project: "apollo".parse().unwrap(),
        role: "developer".parse().unwrap(),
        until: made.now().plus(86_400),
        terms: Terms::default(),
        code_expires_at: made.now().plus(86_400),
        ek_hash: None,
        reason: None,
        by: crate::actor::Actor::account("olga"),
    };
    let (store, pin) = (issuer.store.as_ref(), issuer.keyring().pin());
    let url = &issuer.config.issuer_url;
    let (_, code) = invite(store, &issuer.environment, &issuer.policy(), url, pin, invitation).await.unwrap();
    base64url(code.secret.expose())
}

#[tokio::test]
async fn whoever_holds_an_invitation_fills_no_ledger_with_refusals() {
    let made = Made::new().await;
    let (code, other) = (code(&made).await, code(&made).await);
    let begin = |code: &str| {
        json!({"secret": code, "endorsement_keys": [{"public": "AA", "certificate": null}], "attestation_key": "AA",
            "identity_key": "AA", "proof_key": "AA", "csr": "AA"})
        .to_string()
    };
    let router = public_routes(Arc::clone(&made.issuer));
    let events = async || made.events("enrolment_refused").await.len();
    let judged = (403, "attestation_failed".to_owned(), None);
    let held_up = |seconds: u32| (429, "slow_down".to_owned(), Some(seconds.to_string()));
    let ask = async |code: &str| refused(send(&router, "/enrolment/v1/begin", begin(code)).await).await;
    for _ in 0..60 {
        assert_eq!(ask(&code).await, judged);
    }
    assert_eq!(events().await, 60);
    for _ in 0..50 {
        assert_eq!(ask(&code).await, held_up(60));
    }
    made.pass(59);
    assert_eq!(ask(&code).await, held_up(1));
    assert_eq!(events().await, 60);
    made.pass(1);
    assert_eq!(ask(&code).await, judged);
    assert_eq!(ask(&code).await, held_up(60));
    // Nobody else is held up.
    assert_eq!(ask(&other).await, judged);
    assert_eq!(events().await, 62);
    assert_eq!(made.issuer.held_up(), 52);
}

#[tokio::test]
async fn a_device_that_nobody_approved_fills_no_ledger_with_refusals() {
    let made = Made::with_software().await;
    let (device, certificate) = made.registered("alice", "developer", 3600, request().0).await;
    let from = device.state;
    let pending = Device { state: DeviceLife::Pending, ..device };
    let event = crate::fixture::event(&made.issuer.environment);
    let change = Change::Device { to: Box::new(pending), from };
    made.issuer.store.decide(Decision::new(event).change(change)).await.unwrap();
    let router = mtls_routes(Arc::clone(&made.issuer));
    let peer = Peer { address: ([192, 0, 2, 1], 1).into(), certificate: Some(certificate) };
    let ask = async |path: &str, body: &str| {
        let request = Request::post(path).extension(peer.clone()).body(Body::from(body.to_owned())).unwrap();
        refused(router.clone().call(request).await.unwrap()).await
    };
    for (path, body, kind, reason) in [
        (token::PATH, "x", "token_refused", "device_pending"),
        (
            "/device/v1/renewal/complete",
            r#"{"renewal":"ren-0123456789abcdef","csr":"AA","quote":{"attest":"AA","signature":"AA"},"pcr_values":[],"event_log":null}"#,
            "certificate_refused",
            "challenge_expired",
        ),
    ] {
        let mut judged = 0;
        for _ in 0..100 {
            match ask(path, body).await {
                (429, reason, Some(_)) => assert_eq!(reason, "slow_down"),
                (_, told, None) => {
                    assert!(told == reason || told == "malformed", "{told}");
                    judged += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((judged, made.events(kind).await.len()), (60, 60), "{path}");
    }
}

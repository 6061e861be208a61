//! What the endpoints take from a device, and what not.

use serde_json::{Value, json};

use crate::fixture::{Made, calling::Caller};
use daypass_proto::{enrolment::DeviceLife, words};

const REQUESTS: &str = "/device/v1/requests";
const WITHDRAW: &str = "/device/v1/requests/withdraw";

#[tokio::test]
async fn a_device_asks_lists_and_takes_back_its_own_and_no_other_ones() {
    let made = Made::with_software().await;
    let (alices, bobs) = (Caller::of(&made, "alice").await, Caller::of(&made, "bob").await);
    let (status, asked) = alices.post(REQUESTS, &Caller::extension(&alices.grant, "2d")).await;
    assert_eq!((status, &asked["state"], &asked["collaborator"]), (200, &json!("requested"), &json!("alice")));
    assert_eq!(alices.get(REQUESTS).await.1["requests"].as_array().unwrap().len(), 1);
    assert_eq!(bobs.get(REQUESTS).await, (200, json!({"requests": []})));
    // Another device's grant, and its request, are as unknown as what never was.
    let (status, reason) = bobs.refused(REQUESTS, &Caller::extension(&alices.grant, "2d")).await;
    assert_eq!((status, reason.as_str()), (403, "no_grant"));
    let mut answers = Vec::new();
    for request in [asked["request"].as_str().unwrap(), "req-0000000000000000"] {
        let (status, answer) = bobs.post(WITHDRAW, &json!({"request": request})).await;
        answers.push((status, answer.to_string().replace(request, "X")));
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].1.contains("not_found"), "{answers:?}");
    assert_eq!(alices.get(REQUESTS).await.1["requests"][0]["state"], "requested");
    let withdrawn = alices.post(WITHDRAW, &json!({"request": asked["request"]})).await;
    assert_eq!((withdrawn.0, &withdrawn.1["state"]), (200, &json!("withdrawn")));
    assert_eq!(alices.refused(WITHDRAW, &json!({"request": asked["request"]})).await.1, "conflict");
}

#[tokio::test]
async fn an_ended_grant_is_not_extended() {
    let made = Made::with_software().await;
    let alices = Caller::of(&made, "alice").await;
    made.pass(3600);
    let refused = alices.refused(REQUESTS, &Caller::extension(&alices.grant, "2d")).await;
    assert_eq!(refused, (403, "grant_ended".to_owned()));
    assert_eq!(made.events("request_not_taken").await.len(), 1);
    assert_eq!(made.events("request_made").await.len(), 0);
}

#[tokio::test]
async fn bodies_that_are_none_are_refused_with_their_cause_and_take_nothing_down() {
    let made = Made::with_software().await;
    let alices = Caller::of(&made, "alice").await;
    let good = Caller::extension(&alices.grant, "2d");
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for body in [
        json!(null),
        json!([]),
        json!({}),
        with("reason", json!("")),
        with("reason", json!("x".repeat(words::LONGEST + 1))),
        with("reason", json!(7)),
        with("until", json!("soon")),
        with("until", json!("1m")),
        with("until", json!("x".repeat(10_000))),
        with("what", json!("everything")),
        with("what", json!({"wanted": "extension", "grant": "gr-1"})),
        with("what", json!({"wanted": "extension", "grant": alices.grant.id, "role": "owner"})),
        with("collaborator", json!("olga@example.com")),
    ] {
        assert_eq!(alices.refused(REQUESTS, &body).await, (400, "malformed".to_owned()), "{body}");
    }
    for bytes in [&b""[..], b"{", b"\xff\xfe", b"{\"what\":1}{}"] {
        let (status, answer) = alices.post_bytes(REQUESTS, bytes.to_vec()).await;
        assert_eq!((status, &answer["daypass_reason"]), (400, &json!("malformed")), "{bytes:?}");
    }
    let (status, answer) = alices.post_bytes(REQUESTS, vec![b' '; 65 * 1024]).await;
    assert_eq!((status, &answer["daypass_reason"]), (413, &json!("too_large")));
    for body in [json!({}), json!({"request": "x"}), json!({"request": "req-0000000000000000", "why": 1})] {
        assert_eq!(alices.refused(WITHDRAW, &body).await, (400, "malformed".to_owned()), "{body}");
    }
    assert_eq!(alices.get(REQUESTS).await.1, json!({"requests": []}));
    assert_eq!(alices.post(REQUESTS, &good).await.0, 200, "what they were made of was good");
}

#[tokio::test]
async fn a_device_that_may_not_ask_is_told_why() {
    let made = Made::with_software().await;
    let alices = Caller::of(&made, "alice").await;
    alices.becomes(DeviceLife::Suspended).await;
    let good = Caller::extension(&alices.grant, "2d");
    assert_eq!(alices.refused(REQUESTS, &good).await, (403, "device_suspended".to_owned()));
    assert_eq!(alices.get(REQUESTS).await.0, 403);
    alices.becomes(DeviceLife::Revoked).await;
    assert_eq!(alices.refused(REQUESTS, &good).await, (403, "device_revoked".to_owned()));
    assert_eq!(made.events("request_made").await.len(), 0);
}

#[tokio::test]
async fn too_many_are_held_up_and_another_device_is_not() {
    let made = Made::with_software().await;
    let (alices, bobs) = (Caller::of(&made, "alice").await, Caller::of(&made, "bob").await);
    let soon = Caller::extension(&alices.grant, "1m");
    let mut slow = 0;
    for _ in 0..70 {
        slow += usize::from(alices.refused(REQUESTS, &soon).await == (429, "slow_down".to_owned()));
    }
    assert_eq!(slow, 10);
    assert_eq!(bobs.post(REQUESTS, &Caller::extension(&bobs.grant, "2d")).await.0, 200);
}

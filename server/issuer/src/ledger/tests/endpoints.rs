//! What anybody is told.

use axum::{
    body::to_bytes,
    extract::{Query, State},
    http::Uri,
    response::IntoResponse,
};
use daypass_proto::{
    ledger::{
        api::{Consistency, Inclusion, Log},
        beginning::Beginning,
        checkpoint::{CheckpointKey, VerifiedCheckpoint},
        tree::{verify_consistency, verify_inclusion},
    },
    oauth_error::{ErrorBody, Reason},
};
use serde::de::DeserializeOwned;

use super::*;

fn query<T: DeserializeOwned>(query: &str) -> Result<Query<T>, axum::extract::rejection::QueryRejection> {
    Query::try_from_uri(&format!("https://issuer/?{query}").parse::<Uri>().unwrap())
}

async fn answer(response: impl IntoResponse) -> (u16, Vec<u8>) {
    let response = response.into_response();
    (response.status().as_u16(), to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec())
}

async fn inclusion(issuer: &Arc<Issuer>, text: &str) -> Result<Inclusion, (u16, Reason)> {
    told(answer(super::super::inclusion(State(Arc::clone(issuer)), query(text)).await).await)
}

async fn consistency(issuer: &Arc<Issuer>, text: &str) -> Result<Consistency, (u16, Reason)> {
    told(answer(super::super::consistency(State(Arc::clone(issuer)), query(text)).await).await)
}

fn told<T: DeserializeOwned>((status, body): (u16, Vec<u8>)) -> Result<T, (u16, Reason)> {
    if status == 200 {
        return Ok(serde_json::from_slice(&body).unwrap());
    }
    Err((status, serde_json::from_slice::<ErrorBody>(&body).unwrap().daypass_reason))
}

#[tokio::test]
async fn a_leaf_is_proved_under_a_checkpoint_that_the_root_s_pin_leads_to() {
    let made = Made::new().await;
    let hash = decide(&made.issuer, 1).await;
    assert_eq!(inclusion_of(&made, &hash).await, Err((404, Reason::LeafNotYet)), "no checkpoint at all");
    catch_up(&made.issuer).await;
    made.pass(1);
    let later = decide(&made.issuer, 2).await;
    let pin = made.issuer.keyring().pin();
    let issuer = made.issuer;
    assert_eq!(inclusion(&issuer, &format!("leaf={}", text(&later))).await, Err((404, Reason::LeafNotYet)));
    assert_eq!(inclusion(&issuer, &format!("leaf={}", text(&[1; 32]))).await, Err((404, Reason::LeafUnknown)));
    // From the pin to the key, from the key to the checkpoint, from the checkpoint to the leaf.
    let log: Log = told(answer(super::super::log(State(Arc::clone(&issuer))).await).await).unwrap();
    let key = CheckpointKey::certified(&log.keys[0].chain[0].0, &log.keys[0].chain, &pin).unwrap();
    assert_eq!(CheckpointKey::from_verifier_key(&log.keys[0].verifier_key), Ok((log.origin.clone(), key)));
    let found = inclusion(&issuer, &format!("leaf={}", text(&hash))).await.unwrap();
    let note = found.checkpoint.unwrap();
    let first = VerifiedCheckpoint::verify(&note, &log.origin, &[key]).unwrap();
    verify_inclusion(first.head(), found.leaf_index, hash, &found.hashes).unwrap();
    assert_eq!(found.tree_size, first.head().size());
    let (status, newest) = answer(super::super::checkpoint(State(Arc::clone(&issuer))).await).await;
    assert_eq!((status, newest), (200, note.into_bytes()));
    // And from one checkpoint to the next.
    catch_up(&issuer).await;
    let (_, newest) = answer(super::super::checkpoint(State(Arc::clone(&issuer))).await).await;
    let second = VerifiedCheckpoint::verify(&String::from_utf8(newest).unwrap(), &log.origin, &[key]).unwrap();
    let (old, new) = (first.head().size(), second.head().size());
    assert!(new > old);
    let proof = consistency(&issuer, &format!("first={old}&second={new}")).await.unwrap();
    verify_consistency(first.head(), second.head(), &proof.hashes).unwrap();
    let found = inclusion(&issuer, &format!("leaf={}&size={old}", text(&hash))).await.unwrap();
    verify_inclusion(first.head(), found.leaf_index, hash, &found.hashes).unwrap();
    assert!(found.checkpoint.is_none());
    assert_eq!(inclusion(&issuer, &format!("leaf={}&size={old}", text(&later))).await, Err((404, Reason::LeafNotYet)));
}

#[tokio::test]
async fn how_the_ledger_came_by_its_name_is_published_and_stands_in_the_tree() {
    let made = Made::new().await;
    catch_up(&made.issuer).await;
    let issuer = made.issuer;
    let log: Log = told(answer(super::super::log(State(Arc::clone(&issuer))).await).await).unwrap();
    let [leaf] = log.beginnings.as_slice() else { panic!("{log:?}") };
    let begun = Beginning::read(&leaf.0).unwrap();
    assert_eq!((&begun.origin, &begun.continues), (&log.origin, &None));
    assert!(inclusion(&issuer, &format!("leaf={}", text(&leaf_hash(&leaf.0)))).await.is_ok());
    // One that has no number yet is not there to be proved.
    let event = issuer.environment.event(EventKind::LedgerBegun).text("origin", "issuer/ledger/next");
    issuer.store.decide(Decision::new(event)).await.unwrap();
    let log: Log = told(answer(super::super::log(State(Arc::clone(&issuer))).await).await).unwrap();
    assert_eq!(log.beginnings.len(), 1);
    catch_up(&issuer).await;
    let log: Log = told(answer(super::super::log(State(Arc::clone(&issuer))).await).await).unwrap();
    let names: Vec<_> = log.beginnings.iter().map(|leaf| Beginning::read(&leaf.0).unwrap().origin).collect();
    assert_eq!((names.len(), names[1].as_str()), (2, "issuer/ledger/next"), "oldest first");
}

async fn inclusion_of(made: &Made, hash: &[u8; 32]) -> Result<Inclusion, (u16, Reason)> {
    let again = Issuer::open(crate::config::Config::load(&made.config).unwrap(), made.issuer.environment.clone());
    inclusion(&Arc::new(again.await.unwrap()), &format!("leaf={}", text(hash))).await
}

#[tokio::test]
async fn a_query_that_asks_for_nothing_there_is_malformed() {
    let made = Made::new().await;
    let hash = text(&decide(&made.issuer, 1).await);
    catch_up(&made.issuer).await;
    let size = made.issuer.store.ledger().await.unwrap().unwrap().head.size();
    let issuer = made.issuer;
    let malformed = Err((400, Reason::Malformed));
    for bad in [
        String::new(),
        "leaf=AA".to_owned(),
        format!("leaf={hash}&more=1"),
        format!("leaf={hash}&size=-1"),
        format!("leaf={hash}&size={}", size + 1),
        format!("leaf={hash}&size={}", u64::MAX),
    ] {
        assert_eq!(inclusion(&issuer, &bad).await.map(|found| found.leaf_index), malformed, "{bad}");
    }
    for bad in [
        "first=1".to_owned(),
        format!("first=0&second={size}"),
        "first=2&second=1".to_owned(),
        format!("first=1&second={}", size + 1),
        format!("first=1&second={size}&third=1"),
    ] {
        assert_eq!(consistency(&issuer, &bad).await.map(|found| found.first), malformed, "{bad}");
    }
    assert!(consistency(&issuer, &format!("first={size}&second={size}")).await.unwrap().hashes.is_empty());
}

#[tokio::test]
async fn the_lag_is_a_metric() {
    let made = Made::new().await;
    catch_up(&made.issuer).await;
    let measured =
        async || super::super::metrics::measured(&made.issuer).await.unwrap().map(|(name, _, value)| (name, value));
    let size = measured().await[0].1;
    assert!(size > 0);
    assert_eq!(
        measured().await,
        [
            ("daypass_ledger_events", size),
            ("daypass_ledger_checkpoint_events", size),
            ("daypass_ledger_unnumbered_events", 0),
            ("daypass_ledger_integration_lag_seconds", 0),
            ("daypass_requests_held_up", 0),
            ("daypass_gate_uses_dropped", 0),
        ]
    );
    decide(&made.issuer, 1).await;
    made.pass(7);
    decide(&made.issuer, 2).await;
    assert_eq!(measured().await[2..4].iter().map(|(_, value)| *value).collect::<Vec<_>>(), [2, 7]);
    let (status, text) = answer(super::super::metrics(State(made.issuer)).await).await;
    let text = String::from_utf8(text).unwrap();
    assert_eq!(status, 200);
    assert!(
        text.contains(
            "# TYPE daypass_ledger_integration_lag_seconds gauge\ndaypass_ledger_integration_lag_seconds 7\n"
        ),
        "{text}"
    );
}

//! The ledger over a real store: numbering, leases, promises, and what a dishonest operator does with SQL.

mod audit;
mod endpoints;
mod order;

use std::{path::PathBuf, sync::Arc};

use daypass_proto::{
    encoding::base64url,
    ledger::{Event, EventKind, leaf_hash},
};

use super::integrator::Integrator;
use crate::{
    fixture::Made,
    issuer::Issuer,
    store::{Decision, Store},
};

/// Where the one issuer of a test runs.
const HERE: &str = "here/127.0.0.1:8443";

/// An event with something to tell of a person.
fn event(issuer: &Issuer, number: u64) -> Event {
    let event = issuer.environment.event(EventKind::DeviceSuspended).text("device", format!("dev-{number}"));
    let event = issuer.environment.personal(event, "collaborator", format!("person-{number}@example.com"));
    issuer.environment.personal(event, "by", "olga")
}

/// Decides something; gives the leaf hash.
async fn decide(issuer: &Issuer, number: u64) -> [u8; 32] {
    let event = event(issuer, number);
    let hash = leaf_hash(&event.leaf());
    issuer.store.decide(Decision::new(event)).await.unwrap();
    hash
}

async fn catch_up(issuer: &Issuer) {
    Integrator::new(issuer, HERE.to_owned()).catch_up().await.unwrap();
}

/// What is numbered, in order.
async fn numbered(store: &dyn Store) -> Vec<[u8; 32]> {
    let entries = store.entries(0, 100_000).await.unwrap();
    assert!(entries.iter().zip(0..).all(|(entry, number)| entry.sequence == number), "without a gap");
    entries.into_iter().map(|entry| entry.leaf_hash.try_into().unwrap()).collect()
}

fn database(made: &Made) -> PathBuf {
    made.issuer.config.database.clone()
}

/// A connection beside the issuer's, as an operator has it.
async fn beside(path: &std::path::Path) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions as _;
    sqlx::sqlite::SqliteConnectOptions::new().filename(path).foreign_keys(false).connect().await.unwrap()
}

fn text(hash: &[u8; 32]) -> String {
    base64url(hash)
}

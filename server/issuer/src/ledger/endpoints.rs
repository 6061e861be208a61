//! What the ledger answers to anybody: checkpoints, proofs, keys. A leaf hash tells nothing to whoever does not know the event already.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use daypass_proto::{
    encoding::Fixed,
    ledger::{
        api::{Consistency, Inclusion, Log, LogKey, MAX_BEGINNINGS, MERGE_DELAY},
        tree,
    },
    oauth_error::{OAuthError, Reason},
};
use serde::Deserialize;

use super::{LedgerError, tiles::with_tiles};
use crate::{
    error::Refusal,
    issuer::Issuer,
    store::{LedgerState, Place},
};

/// Why there is no answer.
#[derive(Debug)]
pub enum ProofError {
    /// The query.
    Query(String),
    /// No event has this leaf hash.
    Unknown,
    /// Not in a checkpoint yet.
    NotYet,
    /// The ledger.
    Ledger(LedgerError),
}

impl<E: Into<LedgerError>> From<E> for ProofError {
    fn from(error: E) -> Self {
        Self::Ledger(error.into())
    }
}

impl IntoResponse for ProofError {
    fn into_response(self) -> Response {
        let not_found = |reason, what: &str, next: &str| {
            Refusal::new(OAuthError::InvalidRequest, reason, what, next).with_status(StatusCode::NOT_FOUND)
        };
        match self {
            Self::Query(what) => Refusal::malformed(what).into_response(),
            Self::Unknown => not_found(
                Reason::LeafUnknown,
                "no event of this ledger has that leaf hash",
                "if a token names it, the ledger was tampered with: tell the owner of the project",
            )
            .into_response(),
            Self::NotYet => not_found(Reason::LeafNotYet, "no checkpoint covers it yet", "try again in a moment")
                .with_retry_after(1)
                .into_response(),
            Self::Ledger(LedgerError::Store(error)) => Refusal::from(error).into_response(),
            Self::Ledger(error) => Refusal::internal(&error).into_response(),
        }
    }
}

async fn ledger(issuer: &Issuer) -> Result<LedgerState, ProofError> {
    issuer.store.ledger().await?.ok_or(ProofError::NotYet)
}

/// `GET /ledger/v1/checkpoint`.
pub async fn checkpoint(State(issuer): State<Arc<Issuer>>) -> Result<Response, ProofError> {
    let newest = issuer.store.newest_checkpoint().await?.and_then(|checkpoint| checkpoint.note);
    let note = newest.ok_or(ProofError::NotYet)?;
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, note).into_response())
}

/// The query of `GET /ledger/v1/inclusion`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InclusionQuery {
    leaf: Fixed<32>,
    size: Option<u64>,
}

/// `GET /ledger/v1/inclusion`.
pub async fn inclusion(
    State(issuer): State<Arc<Issuer>>,
    query: Result<Query<InclusionQuery>, QueryRejection>,
) -> Result<Json<Inclusion>, ProofError> {
    let Query(InclusionQuery { leaf, size }) = query.map_err(|error| ProofError::Query(error.body_text()))?;
    let leaf_index = match issuer.store.place_of(leaf.0).await? {
        Place::Unknown => return Err(ProofError::Unknown),
        Place::Unnumbered => return Err(ProofError::NotYet),
        Place::Numbered(index) => index,
    };
    let (tree_size, checkpoint) = match size {
        Some(size) => (size, None),
        None => {
            let newest = issuer.store.newest_checkpoint().await?.ok_or(ProofError::NotYet)?;
            (newest.head.size(), newest.note)
        }
    };
    let head = ledger(&issuer).await?.head;
    if tree_size > head.size() {
        return Err(ProofError::Query(format!("`size` is {tree_size}, and the ledger has {} events", head.size())));
    }
    if leaf_index >= tree_size {
        return Err(ProofError::NotYet);
    }
    let proof = |tiles: &tree::Tiles| tree::prove_inclusion(&head, tiles, tree_size, leaf_index);
    let hashes = with_tiles(issuer.store.as_ref(), proof).await?;
    Ok(Json(Inclusion { leaf_index, tree_size, hashes, checkpoint }))
}

/// The query of `GET /ledger/v1/consistency`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyQuery {
    first: u64,
    second: u64,
}

/// `GET /ledger/v1/consistency`.
pub async fn consistency(
    State(issuer): State<Arc<Issuer>>,
    query: Result<Query<ConsistencyQuery>, QueryRejection>,
) -> Result<Json<Consistency>, ProofError> {
    let Query(ConsistencyQuery { first, second }) = query.map_err(|error| ProofError::Query(error.body_text()))?;
    let head = ledger(&issuer).await?.head;
    if first == 0 || first > second || second > head.size() {
        let size = head.size();
        return Err(ProofError::Query(format!("`first` and `second` must be sizes from 1 to {size}, in this order")));
    }
    let proof = |tiles: &tree::Tiles| tree::prove_consistency(&head, tiles, first, second);
    let hashes = with_tiles(issuer.store.as_ref(), proof).await?;
    Ok(Json(Consistency { first, second, hashes }))
}

/// `GET /ledger/v1/log`.
pub async fn log(State(issuer): State<Arc<Issuer>>) -> Result<Json<Log>, ProofError> {
    let origin = ledger(&issuer).await?.origin;
    let keyring = issuer.keyring();
    let keys = keyring
        .checkpoint_keys()
        .iter()
        .map(|(key, chain)| LogKey { verifier_key: key.verifier_key(&origin), chain: chain.clone() })
        .collect();
    let beginnings = issuer.store.beginnings(MAX_BEGINNINGS).await?.into_iter().map(Into::into).collect();
    Ok(Json(Log { origin, merge_delay: MERGE_DELAY, keys, beginnings }))
}

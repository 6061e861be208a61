//! `GET /metrics`: how far the ledger is behind, and how telling goes, for Prometheus and whoever reads its text format.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use crate::{
    error::Refusal,
    issuer::Issuer,
    store::{Backlog, StoreError},
};

/// What is measured, each with its help text.
pub(super) async fn measured(issuer: &Issuer) -> Result<[(&'static str, &'static str, i64); 6], StoreError> {
    let store = &issuer.store;
    let Backlog { events: waiting, oldest } = store.backlog().await?;
    let integrated = store.ledger().await?.map_or(0, |ledger| ledger.head.size());
    let signed = store.newest_checkpoint().await?.map_or(0, |checkpoint| checkpoint.head.size());
    let lag = oldest.map_or(0, |oldest| issuer.environment.now().since(oldest).max(0));
    let dropped = store.reporting().await?.iter().fold(0, |sum: u64, gate| sum.saturating_add(gate.dropped));
    let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Ok([
        ("daypass_ledger_events", "Events in the tree.", gauge(integrated)),
        ("daypass_ledger_checkpoint_events", "Events that the newest checkpoint covers.", gauge(signed)),
        ("daypass_ledger_unnumbered_events", "Events that wait for their number.", gauge(waiting)),
        ("daypass_ledger_integration_lag_seconds", "Age of the oldest event that waits for its number.", lag),
        (
            "daypass_requests_held_up",
            "Requests since the start that were answered 429, because who sent them was refused too often.",
            gauge(issuer.held_up()),
        ),
        (
            "daypass_gate_uses_dropped",
            "Requests that gates let through and could not count, by their own reports.",
            gauge(dropped),
        ),
    ])
}

/// The endpoint.
pub async fn metrics(State(issuer): State<Arc<Issuer>>) -> Result<Response, Refusal> {
    let mut text = String::new();
    for (name, help, value) in measured(&issuer).await? {
        // Writing to a string does not fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
    }
    text.push_str(&crate::notification::metrics_text(&issuer).await?);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

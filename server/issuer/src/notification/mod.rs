//! Notifications: whoever something waits for is told, and nobody has to poll.
//!
//! ```text
//! event with a number ──► message for each sink ──► tried until it is taken ──► gone
//! a grant's end comes ──►        (store)                    └─── too often ──► dead, for a person to look at
//! ```
//!
//! Events are committed with what they decide, and get their numbers in an order without gaps. So a cursor over those numbers finds every one, however
//! the issuer ended, and no decision waits for it: a token is issued with the same writes whether anybody is told or not. The cursor moves in the same
//! transaction that keeps the messages. A message is sent at least once; its name stays the same, by which a receiver knows it again.
//!
//! Any number of issuers may run this on one store: a lease says whose turn it is, as with the ledger's integrator.

mod backoff;
mod command;
mod dead;
mod message;
mod metrics;
mod settings;
mod sink;
mod teller;
mod webhook;

pub use self::{
    dead::drop_dead,
    message::{Kind, json_schema, markdown, test_message},
    metrics::Counters,
    settings::{CommandSettings, Settings, WebhookSettings},
    sink::{SendError, Sink, SinkError, Sinks},
    teller::run,
};
pub(crate) use self::{metrics::text as metrics_text, settings::Raw};

#[cfg(test)]
mod tests;

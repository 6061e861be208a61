//! The ledger: what is done with events after they have happened.
//!
//! ```text
//! decision ──► row without a number ──► number and leaf in the tree ──► checkpoint promised ──► signed
//!   (commits)        store              integrator, under its lease       compare-and-set       key of its own
//! ```
//!
//! A number that were taken before the commit would let a reader pass over whoever commits late. So rows commit without one, and the one
//! `integrator` numbers what it finds. Whoever commits late is found later, and gets a later number.
//!
//! `audit` is the other side: it believes nothing of what is stored, and names the first event that is not what was signed.

pub mod audit;
mod endpoints;
pub mod export;
mod integrator;
mod metrics;
mod telling;
mod tiles;

use daypass_proto::ledger::{checkpoint::CheckpointError, tree::TreeError};
use thiserror::Error;

pub use self::{
    endpoints::{checkpoint, consistency, inclusion, log},
    integrator::run,
    metrics::metrics,
    telling::Source,
};
pub(crate) use self::{integrator::place, tiles::with_tiles};
use crate::store::{DecideError, StoreError};

/// Why the ledger cannot go on, or answer.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its first event.
    #[error("could not begin the ledger")]
    Begin(#[from] DecideError),
    /// The tree in the store is not what it was.
    #[error("the ledger's tree cannot be used; run `daypass-issuer ledger verify`")]
    Tree(#[from] TreeError),
    /// A checkpoint could not be made.
    #[error("could not sign a checkpoint of the ledger")]
    Checkpoint(#[from] CheckpointError),
}

/// Numbers what waits, and signs it.
#[cfg(test)]
pub(crate) async fn integrate(issuer: &crate::issuer::Issuer) {
    integrator::Integrator::new(issuer, "here/127.0.0.1:8443".to_owned()).catch_up().await.unwrap();
}

#[cfg(test)]
mod tests;

//! The one that numbers events, grows the tree and signs its heads.
//!
//! Any number of issuers may run this on one store: a lease says whose turn it is, and its epoch stands in the condition of every
//! write, so that whoever slept through the end of his lease writes nothing. Each step is one transaction and begins from what is
//! stored. So a power cut at any moment leaves a step undone or done, and whoever comes next goes on from there:
//!
//! ```text
//! events without a number ──► integrate ──► tree larger than promised ──► promise ──► promise without a note ──► sign, seal
//! ```
//!
//! Only what is promised in the store is signed. There is one promise of each size, so there is one checkpoint of each size.

use std::{sync::Arc, time::Duration};

use daypass_proto::{
    ledger::{EventKind, checkpoint::Origin, tree},
    time::Timestamp,
};
use daypass_service::told;
use tokio_util::sync::CancellationToken;

use super::{LedgerError, tiles::with_tiles};
use crate::{
    issuer::Issuer,
    store::{Change, DecideError, Decision, Integration, LedgerState},
};

/// How long a lease lasts without work. When an issuer dies, another one waits no longer than this; the promised merge delay has room for it.
const LEASE: i64 = 10;
/// How often events are looked for.
const PAUSE: Duration = Duration::from_millis(200);
/// How long nothing is tried after a fault.
const FAULT_PAUSE: Duration = Duration::from_secs(2);
/// How many events are integrated in one transaction: decisions wait behind it for a few milliseconds at most.
const BATCH: u32 = 512;

/// What a round came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Round {
    /// There is nothing to do.
    Idle,
    /// Something was done, and there may be more.
    Worked,
    /// It is somebody else's turn.
    NotOurs,
}

/// The integrator of one issuer.
pub struct Integrator<'a> {
    issuer: &'a Issuer,
    holder: String,
    lease: Option<(i64, Timestamp)>,
    signed_at: Option<Timestamp>,
}

impl<'a> Integrator<'a> {
    /// For an issuer at `holder`, a place where one runs at a time.
    pub fn new(issuer: &'a Issuer, holder: String) -> Self {
        Self { issuer, holder, lease: None, signed_at: None }
    }

    /// One step at most of each kind.
    pub async fn round(&mut self) -> Result<Round, LedgerError> {
        let store = &self.issuer.store;
        let Some(mut state) = store.ledger().await? else {
            self.begin().await?;
            return Ok(Round::Worked);
        };
        let events = store.unnumbered(BATCH).await?;
        let unsealed = store.unsealed_checkpoint().await?.is_some();
        let can_sign = self.issuer.keyring().checkpoint().is_some();
        let to_sign = can_sign && (unsealed || state.head.size() > state.promised);
        if events.is_empty() && !to_sign {
            return Ok(Round::Idle);
        }
        let Some(epoch) = self.lease(&mut state).await? else { return Ok(Round::NotOurs) };
        let caught_up = events.len() < BATCH as usize;
        if !events.is_empty() {
            let leaves: Vec<[u8; 32]> = events.iter().map(|event| event.leaf_hash).collect();
            let extension = with_tiles(store.as_ref(), |tiles| tree::extend(&state.head, tiles, &leaves)).await?;
            let lease_until = self.issuer.environment.now().plus(LEASE);
            let (from, to) = (state.head, extension.head);
            let integration = Integration { epoch, from, to, events, tiles: extension.tiles, lease_until };
            if !store.integrate(integration).await? {
                return Ok(self.lost());
            }
            self.lease = Some((epoch, lease_until));
            state.head = to;
        }
        // One checkpoint a second is enough for everybody; while there is a backlog too.
        let now = self.issuer.environment.now();
        if can_sign && (unsealed || (state.head.size() > state.promised && self.signed_at != Some(now))) {
            return self.sign(&state, epoch, unsealed, now).await;
        }
        Ok(if caught_up { Round::Idle } else { Round::Worked })
    }

    /// A store from before there was a tree.
    async fn begin(&self) -> Result<(), LedgerError> {
        let environment = &self.issuer.environment;
        let origin = Origin::of_issuer(&self.issuer.config.issuer_url, environment.random())?;
        let event = environment.event(EventKind::LedgerBegun).text("origin", &origin);
        match self.issuer.store.decide(Decision::new(event).change(Change::BeginLedger(origin))).await {
            // Another issuer was quicker.
            Ok(()) | Err(DecideError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The epoch to write under; `None` where the lease is somebody else's.
    async fn lease(&mut self, state: &mut LedgerState) -> Result<Option<i64>, LedgerError> {
        let store = &self.issuer.store;
        let now = self.issuer.environment.now();
        if let Some((epoch, until)) = self.lease
            && epoch == state.epoch
            && now < until
        {
            return Ok(Some(epoch));
        }
        let until = now.plus(LEASE);
        let Some(epoch) = store.take_lease(&self.holder, now, until).await? else {
            self.lease = None;
            return Ok(None);
        };
        self.lease = Some((epoch, until));
        // What was read before may be somebody else's doing since.
        match store.ledger().await? {
            Some(fresh) => *state = fresh,
            None => return Ok(None),
        }
        Ok(Some(epoch))
    }

    /// Promises the tree as it is, unless a promise is open, and keeps the promise.
    async fn sign(
        &mut self,
        state: &LedgerState,
        epoch: i64,
        unsealed: bool,
        now: Timestamp,
    ) -> Result<Round, LedgerError> {
        let store = &self.issuer.store;
        if !unsealed && !store.promise_checkpoint(epoch, state.head, now).await? {
            return Ok(self.lost());
        }
        let keyring = self.issuer.keyring();
        let (Some(signer), Some(promised)) = (keyring.checkpoint(), store.unsealed_checkpoint().await?) else {
            return Ok(Round::Worked);
        };
        let note = signer.sign(&promised.origin, &promised.head)?;
        // Another one may have sealed it meanwhile: with the same words.
        store.seal_checkpoint(promised, note).await?;
        self.signed_at = Some(now);
        Ok(Round::Worked)
    }

    fn lost(&mut self) -> Round {
        self.lease = None;
        Round::NotOurs
    }

    /// Works until there is nothing left that is ours to do.
    pub async fn catch_up(&mut self) -> Result<(), LedgerError> {
        while self.round().await? == Round::Worked {}
        Ok(())
    }
}

/// The place that this issuer runs at: nobody else can listen there.
pub(crate) fn place(issuer: &Issuer) -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    format!("{}/{}", host.to_string_lossy(), issuer.config.public_listen)
}

/// Integrates until `stop`, and then once more: what was decided last has its number when the issuer is gone.
pub async fn run(issuer: Arc<Issuer>, stop: CancellationToken) {
    let mut integrator = Integrator::new(&issuer, place(&issuer));
    if issuer.keyring().checkpoint().is_none() {
        tracing::error!("there is no key for the ledger's checkpoints; run `daypass-issuer key rotate checkpoint`");
    }
    loop {
        let last = stop.is_cancelled();
        let pause = match integrator.catch_up().await {
            Ok(()) => PAUSE,
            Err(error) => {
                tracing::error!(error = %told(&error), "could not integrate events into the ledger; they wait in the store");
                FAULT_PAUSE
            }
        };
        if last {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

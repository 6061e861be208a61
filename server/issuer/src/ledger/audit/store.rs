//! Auditing a store, live or a copy. It is read by pages and tiles; nothing of it is kept.

use std::collections::VecDeque;

use daypass_proto::{
    ledger::{
        checkpoint::{CheckpointKey, VerifiedCheckpoint},
        tree::{Frontier, TILE_WIDTH, TileId},
    },
    pin::Pin,
};

use super::{Audit, Columns, Event, Finding, Report, acceptances::Told};
use crate::store::{CheckpointRecord, Entry, KeyPurpose, LedgerState, LedgerStore, Store, StoreError};

/// How many rows are read at once.
const PAGE: u32 = 512;

/// The checkpoint keys in a store that the root with this pin has certified.
pub async fn certified_keys<S: Store + ?Sized>(store: &S, pin: &Pin) -> Result<Vec<CheckpointKey>, StoreError> {
    let keys = store.keys(KeyPurpose::Checkpoint).await?;
    Ok(keys
        .iter()
        .filter_map(|key| key.chain.first().and_then(|own| CheckpointKey::certified(&own.0, &key.chain, pin).ok()))
        .collect())
}

/// Audits a store. What is integrated meanwhile is left out.
pub async fn audit_store<S: Store + ?Sized>(
    store: &S,
    keys: Vec<CheckpointKey>,
    kept: Vec<VerifiedCheckpoint>,
) -> Result<Report, StoreError> {
    let state = begun(store).await?;
    let unnumbered = store.backlog().await?.events;
    let mut reading = Reading {
        store,
        audit: Audit::new(state.origin.clone(), keys, kept),
        events: VecDeque::new(),
        checkpoints: VecDeque::new(),
        largest: 0,
        levels: Vec::new(),
        told: Told::default(),
    };
    reading.events(state.head.size()).await?;
    reading.strays().await?;
    reading.later_checkpoints().await?;
    if reading.largest < state.promised {
        let why = "was promised, and is not there".to_owned();
        reading.audit.find(Finding::Checkpoint { size: state.promised, why });
    }
    if reading.audit.size() == state.head.size() && !reading.audit.makes(&state.head) {
        reading.audit.find(Finding::Head);
    }
    reading.told.rest(store, &mut reading.audit, state.head.size()).await?;
    Ok(reading.audit.finish(state.head.size(), unnumbered))
}

async fn begun<S: LedgerStore + ?Sized>(store: &S) -> Result<LedgerState, StoreError> {
    store.ledger().await?.ok_or(StoreError::Ledger("it has not begun"))
}

struct Reading<'a, S: ?Sized> {
    store: &'a S,
    audit: Audit,
    events: VecDeque<Entry>,
    checkpoints: VecDeque<CheckpointRecord>,
    /// The largest checkpoint that was seen.
    largest: u64,
    /// Of each level of tiles, what its newest one has so far.
    levels: Vec<Frontier>,
    /// Accepted briefings.
    told: Told,
}

impl<S: Store + ?Sized> Reading<'_, S> {
    /// Every number of the tree, with or without its event.
    async fn events(&mut self, size: u64) -> Result<(), StoreError> {
        let width = TILE_WIDTH as u64;
        let mut hashes = daypass_proto::ledger::tree::Tiles::default();
        for number in 0..size {
            let id = TileId { level: 0, index: number / width };
            if number.is_multiple_of(width) {
                hashes = self.store.tiles(&[id]).await?;
            }
            let tree = hashes.hash(id, usize::try_from(number % width).unwrap_or(usize::MAX));
            if self.events.is_empty() {
                self.events = self.store.entries(number, PAGE).await?.into();
            }
            let event = self.events.pop_front_if(|next| next.sequence == number);
            if event.is_none() && tree.is_none() {
                // Neither is there, whatever size the ledger claims: this is the end, and what is missing is named.
                self.audit.step(number, None, None);
                return Ok(());
            }
            self.audit.step(number, event.as_ref().map(event_of).as_ref(), tree);
            if let Some(event) = &event {
                self.told.event(self.store, &mut self.audit, event).await?;
            }
            if let Some(hash) = tree {
                self.above(hash).await?;
            }
            self.signed().await?;
        }
        Ok(())
    }

    /// The tiles above the leaf hashes hold what those below make.
    async fn above(&mut self, mut hash: [u8; 32]) -> Result<(), StoreError> {
        for level in 0.. {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Frontier::default());
            }
            let Some(tile) = self.levels.get_mut(usize::from(level)) else { return Ok(()) };
            tile.push(hash);
            let width = TILE_WIDTH as u64;
            if !tile.size().is_multiple_of(width) {
                return Ok(());
            }
            hash = tile.root();
            *tile = Frontier::default();
            let leaves = self.audit.size();
            let number = (leaves >> (8 * u32::from(level + 1))).saturating_sub(1);
            let id = TileId { level: level + 1, index: number / width };
            let stored = self.store.tiles(&[id]).await?;
            if stored.hash(id, usize::try_from(number % width).unwrap_or(usize::MAX)) != Some(hash) {
                self.audit.find(Finding::Tile(id));
            }
        }
        Ok(())
    }

    /// The checkpoints of the size that has been reached.
    async fn signed(&mut self) -> Result<(), StoreError> {
        let size = self.audit.size();
        if self.checkpoints.is_empty() {
            if self.largest == u64::MAX {
                return Ok(());
            }
            self.checkpoints = self.store.checkpoints(self.largest.saturating_add(1), PAGE).await?.into();
        }
        while let Some(checkpoint) = self.checkpoints.pop_front_if(|next| next.head.size() <= size) {
            self.largest = checkpoint.head.size();
            if let Some(note) = &checkpoint.note {
                self.audit.checkpoint(note, Some(&checkpoint.head));
            }
        }
        Ok(())
    }

    /// Rows with a number that the tree does not reach.
    async fn strays(&mut self) -> Result<(), StoreError> {
        let mut from = begun(self.store).await?.head.size();
        loop {
            let page = self.store.entries(from, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            // Integrated between the two looks; no tree has the number after the last.
            let now = begun(self.store).await?.head.size();
            for entry in page.iter().filter(|entry| entry.sequence >= now) {
                self.audit.step(entry.sequence, Some(&event_of(entry)), None);
            }
            from = last.sequence.saturating_add(1).max(now);
        }
    }

    /// Checkpoints over more than there is.
    async fn later_checkpoints(&mut self) -> Result<(), StoreError> {
        let beyond = self.store.checkpoints(begun(self.store).await?.head.size().saturating_add(1), 1).await?;
        let now = begun(self.store).await?.head.size();
        for checkpoint in beyond.into_iter().filter(|checkpoint| checkpoint.head.size() > now) {
            self.largest = self.largest.max(checkpoint.head.size());
            match &checkpoint.note {
                Some(note) => self.audit.checkpoint(note, Some(&checkpoint.head)),
                None => self.audit.compare(&checkpoint.head, false),
            }
        }
        Ok(())
    }
}

fn event_of(entry: &Entry) -> Event<'_> {
    Event {
        leaf: &entry.leaf,
        personal: entry
            .personal
            .iter()
            .map(|(name, (salt, value))| (name.as_str(), salt.as_slice(), value.as_str()))
            .collect(),
        columns: Some(Columns {
            kind: &entry.kind,
            at: entry.at.seconds(),
            device: entry.device.as_deref(),
            project: entry.project.as_deref(),
            by_collaborator: entry.by_collaborator,
        }),
    }
}

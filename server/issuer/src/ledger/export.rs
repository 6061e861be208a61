//! Writing an export: what [`super::audit`] reads, and anybody else (docs/wire.md section 10).

use std::{collections::BTreeMap, io::Write};

use daypass_proto::{
    encoding::{Bytes, Fixed},
    ledger::{
        api::{EXPORT_VERSION, ExportedEvent, ExportedField, Line, LogKey, ProvedEvent},
        checkpoint::{CheckpointKey, Origin},
        tree::{TILE_WIDTH, TileId, Tiles, prove_inclusion},
    },
};
use thiserror::Error;

use super::{LedgerError, tiles::with_more_tiles};
use crate::store::{CheckpointRecord, Entry, Filter, Side, Store, StoreError};

/// How many rows are read at once.
const PAGE: u32 = 512;

/// Why an export is not whole.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Where it goes.
    #[error("could not write the export")]
    Write(#[from] std::io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part is proved under a checkpoint, and there is none.
    #[error("nothing of the ledger is signed yet; try again in a moment, while the issuer serves")]
    Unsigned,
    /// The tree.
    #[error(transparent)]
    Tree(#[from] LedgerError),
    /// A row that no export can carry.
    #[error("event {0} does not fit together and cannot be exported; run `daypass-issuer ledger verify`")]
    Event(u64),
}

fn write(to: &mut impl Write, line: &Line) -> Result<(), WriteError> {
    serde_json::to_writer(&mut *to, line).map_err(std::io::Error::from)?;
    Ok(to.write_all(b"\n")?)
}

/// Writes everything up to the newest checkpoint; gives how many events those are.
pub async fn export<S: Store + ?Sized>(
    store: &S,
    keys: &[(CheckpointKey, Vec<Bytes>)],
    to: &mut impl Write,
) -> Result<u64, WriteError> {
    let state = store.ledger().await?.ok_or(StoreError::Ledger("it has not begun"))?;
    let size = store.newest_checkpoint().await?.map_or(0, |newest| newest.head.size());
    let keys = log_keys(keys, &state.origin);
    write(to, &Line::Ledger { version: EXPORT_VERSION, origin: state.origin, keys, size })?;
    let mut checkpoints: std::collections::VecDeque<CheckpointRecord> = store.checkpoints(1, PAGE).await?.into();
    let (mut next, mut hashes) = (0, Tiles::default());
    while next < size {
        let page = store.entries(next, PAGE).await?;
        if page.is_empty() {
            return Err(WriteError::Event(next));
        }
        for entry in page.into_iter().take_while(|entry| entry.sequence < size) {
            let sequence = entry.sequence;
            let id = TileId { level: 0, index: sequence / TILE_WIDTH as u64 };
            if sequence != next {
                return Err(WriteError::Event(next));
            }
            if sequence.is_multiple_of(TILE_WIDTH as u64) {
                hashes = store.tiles(&[id]).await?;
            }
            let at = usize::try_from(sequence % TILE_WIDTH as u64).unwrap_or(usize::MAX);
            let hash = hashes.hash(id, at).ok_or(WriteError::Event(sequence))?;
            write(to, &Line::Event(exported(entry, hash).ok_or(WriteError::Event(sequence))?))?;
            next = sequence + 1;
            while let Some(checkpoint) = checkpoints.pop_front_if(|checkpoint| checkpoint.head.size() <= next) {
                if let Some(note) = checkpoint.note {
                    write(to, &Line::Checkpoint { note })?;
                }
                if checkpoints.is_empty() {
                    checkpoints = store.checkpoints(checkpoint.head.size() + 1, PAGE).await?.into();
                }
            }
        }
    }
    to.flush()?;
    Ok(size)
}

/// Writes what fits `filter`, each event with its proof under the newest checkpoint; gives how many those are.
pub async fn export_part<S: Store + ?Sized>(
    store: &S,
    keys: &[(CheckpointKey, Vec<Bytes>)],
    filter: &Filter,
    to: &mut impl Write,
) -> Result<u64, WriteError> {
    let newest = store.newest_checkpoint().await?.ok_or(WriteError::Unsigned)?;
    let (size, checkpoint) = (newest.head.size(), newest.note.ok_or(WriteError::Unsigned)?);
    let state = store.ledger().await?.ok_or(StoreError::Ledger("it has not begun"))?;
    let keys = log_keys(keys, &newest.origin);
    write(to, &Line::Part { version: EXPORT_VERSION, origin: newest.origin, keys, checkpoint })?;
    let mut within = store.span(filter).await?;
    within.end = within.end.min(size);
    let (mut tiles, mut near, mut events) = (Tiles::default(), 0, 0);
    loop {
        let page = store.listed(filter, within.clone(), Side::First, PAGE).await?;
        let Some(last) = page.last() else { break };
        within.start = last.sequence + 1;
        for entry in page {
            let sequence = entry.sequence;
            // Those that are near one another have their tiles in common.
            if sequence / TILE_WIDTH as u64 != near {
                (tiles, near) = (Tiles::default(), sequence / TILE_WIDTH as u64);
            }
            let prove = |tiles: &Tiles| prove_inclusion(&state.head, tiles, size, sequence);
            let proof = with_more_tiles(store, &mut tiles, prove).await?;
            let personal = personal(entry.personal).ok_or(WriteError::Event(sequence))?;
            write(to, &Line::Proved(ProvedEvent { sequence, leaf: Bytes(entry.leaf), personal, proof }))?;
            events += 1;
        }
    }
    to.flush()?;
    Ok(events)
}

fn exported(entry: Entry, hash: [u8; 32]) -> Option<ExportedEvent> {
    let (sequence, personal) = (entry.sequence, personal(entry.personal)?);
    Some(ExportedEvent { sequence, hash: Fixed(hash), leaf: Bytes(entry.leaf), personal })
}

fn personal(fields: BTreeMap<String, (Vec<u8>, String)>) -> Option<BTreeMap<String, ExportedField>> {
    fields
        .into_iter()
        .map(|(name, (salt, value))| Some((name, ExportedField { salt: Fixed(salt.try_into().ok()?), value })))
        .collect()
}

fn log_keys(keys: &[(CheckpointKey, Vec<Bytes>)], origin: &Origin) -> Vec<LogKey> {
    keys.iter().map(|(key, chain)| LogKey { verifier_key: key.verifier_key(origin), chain: chain.clone() }).collect()
}

//! The Merkle tree over the leaves: heads, proofs and tiles (RFC 6962 section 2.1; C2SP `tlog-tiles`).
//!
//! The hashing and the proofs are the library's (`tlog_tiles`, the Go checksum database's code in Rust). Here stand the types that
//! keep its limits, and the way in without I/O: whoever wants a proof hands over the [`Tiles`] that are there, and is told which are
//! [missing](TreeError::Missing). What comes out of tiles has been checked against the head: a tile that was touched gives no proof.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tlog_tiles::{
    Error as TlogError, Hash, HashReader, Tile, check_record, check_tree, node_hash, prove_record, prove_tree,
    stored_hash_index, stored_hashes_for_record_hash, sub_tree_index, tree_hash,
};

use crate::encoding::Fixed;

/// No tree is larger: a number in JSON is exact up to here, and the library's arithmetic is far from its ends.
pub const MAX_SIZE: u64 = 1 << 53;
/// A full tile has 2 to the power of this many hashes.
pub const TILE_HEIGHT: u8 = 8;
/// The hashes of a full tile.
pub const TILE_WIDTH: usize = 1 << TILE_HEIGHT;
/// No proof in a tree of [`MAX_SIZE`] has more hashes.
pub const MAX_PROOF: usize = 64;

/// What a tree is at one size: how many leaves, and the hash over them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "RawHead")]
pub struct Head {
    size: u64,
    root: Fixed<32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHead {
    size: u64,
    root: Fixed<32>,
}

impl TryFrom<RawHead> for Head {
    type Error = TreeError;

    fn try_from(raw: RawHead) -> Result<Self, TreeError> {
        Self::try_new(raw.size, raw.root.0)
    }
}

impl Head {
    /// Of `size` leaves.
    pub fn try_new(size: u64, root: [u8; 32]) -> Result<Self, TreeError> {
        let good = size <= MAX_SIZE && (size > 0 || root == Self::empty().root.0);
        if good { Ok(Self { size, root: Fixed(root) }) } else { Err(TreeError::Size) }
    }

    /// Of no leaves: the hash of nothing.
    pub fn empty() -> Self {
        Self { size: 0, root: Fixed(tlog_tiles::EMPTY_HASH.0) }
    }

    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hash over them.
    pub fn root(&self) -> [u8; 32] {
        self.root.0
    }
}

/// Why a proof does not hold, or the tree cannot be read.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum TreeError {
    /// The proof does not lead from the one to the other.
    #[error("the proof does not hold")]
    Proof,
    /// An index or size that the tree does not have.
    #[error("the tree has no such leaf or size")]
    Size,
    /// More tiles are needed. Perhaps others after these: whoever reads them asks again until it is enough.
    #[error("the tiles {0:?} are missing")]
    Missing(Vec<TileId>),
    /// What the tiles hold is not what the head says.
    #[error("the stored tree does not lead to its own root: it was altered or damaged")]
    Altered,
}

fn hashes(proof: &[Fixed<32>]) -> Vec<Hash> {
    proof.iter().map(|hash| Hash(hash.0)).collect()
}

fn fixed(proof: Vec<Hash>) -> Vec<Fixed<32>> {
    proof.into_iter().map(|hash| Fixed(hash.0)).collect()
}

/// Checks that the leaf with this hash stands at `index` in the tree `head` (RFC 6962 section 2.1.1).
pub fn verify_inclusion(head: &Head, index: u64, leaf_hash: [u8; 32], proof: &[Fixed<32>]) -> Result<(), TreeError> {
    if index >= head.size {
        return Err(TreeError::Size);
    }
    if proof.len() > MAX_PROOF {
        return Err(TreeError::Proof);
    }
    check_record(&hashes(proof), head.size, Hash(head.root.0), index, Hash(leaf_hash)).map_err(|_| TreeError::Proof)
}

/// Checks that the tree `new` begins with all that was in the tree `old` (RFC 6962 section 2.1.2). The empty tree proves nothing of anything, and is refused.
pub fn verify_consistency(old: &Head, new: &Head, proof: &[Fixed<32>]) -> Result<(), TreeError> {
    if old.size == 0 || old.size > new.size {
        return Err(TreeError::Size);
    }
    if proof.len() > MAX_PROOF {
        return Err(TreeError::Proof);
    }
    check_tree(&hashes(proof), new.size, Hash(new.root.0), old.size, Hash(old.root.0)).map_err(|_| TreeError::Proof)
}

/// Where a tile stands: the `index`-th of those whose hashes cover 256 to the power of `level` leaves each.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TileId {
    /// 0 for leaf hashes.
    pub level: u8,
    /// From the left.
    pub index: u64,
}

/// Tiles that were read. Each may be wider than a smaller tree needs: the narrower tile is its beginning.
#[derive(Clone, Debug, Default)]
pub struct Tiles(BTreeMap<TileId, Vec<u8>>);

impl Tiles {
    /// Takes a tile in.
    pub fn insert(&mut self, id: TileId, hashes: Vec<u8>) {
        self.0.insert(id, hashes);
    }

    /// Takes others in; gives how many there are now.
    pub fn absorb(&mut self, mut others: Self) -> usize {
        self.0.append(&mut others.0);
        self.0.len()
    }

    /// The hash at this place of a tile, where tile and hash are there: **not checked**.
    pub fn hash(&self, id: TileId, at: usize) -> Option<[u8; 32]> {
        self.0.get(&id)?.get(at * 32..(at + 1) * 32)?.try_into().ok()
    }

    /// Does `work` on a reader of these tiles. What it gives is **not checked**.
    fn read<T>(&self, work: impl FnOnce(&Source<'_>) -> Result<T, TlogError>) -> Result<T, TreeError> {
        let source = Source { tiles: self, missing: RefCell::default() };
        let done = work(&source);
        let missing = source.missing.into_inner();
        if missing.is_empty() {
            done.map_err(|_| TreeError::Altered)
        } else {
            Err(TreeError::Missing(missing.into_iter().collect()))
        }
    }
}

struct Source<'a> {
    tiles: &'a Tiles,
    missing: RefCell<BTreeSet<TileId>>,
}

impl HashReader for Source<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, TlogError> {
        let mut found = Vec::with_capacity(indexes.len());
        for index in indexes {
            let tile = Tile::from_index(TILE_HEIGHT, *index);
            let id = TileId { level: tile.level(), index: tile.level_index() };
            match self.tiles.0.get(&id) {
                // One that is too short is not missing: asking again would bring no more.
                Some(hashes) => found.push(tile.hash_at_index(hashes, *index)?),
                None => {
                    self.missing.borrow_mut().insert(id);
                }
            }
        }
        // Every answer must have all of them; the caller looks at `missing` first.
        if found.len() == indexes.len() { Ok(found) } else { Err(TlogError::InvalidTile) }
    }
}

fn altered(_: TreeError) -> TreeError {
    TreeError::Altered
}

/// The proof that leaf `index` stands in the tree of `size` leaves, which is `head` or one before it.
pub fn prove_inclusion(head: &Head, tiles: &Tiles, size: u64, index: u64) -> Result<Vec<Fixed<32>>, TreeError> {
    if index >= size {
        return Err(TreeError::Size);
    }
    let tree = head_at(head, tiles, size)?;
    let (proof, leaf) = tiles.read(|reader| {
        // Both before either fails: so that all that is missing is named at once.
        let (proof, leaf) = (prove_record(size, index, reader), reader.read_hashes(&[stored_hash_index(0, index)]));
        Ok((proof?, leaf?))
    })?;
    let (proof, leaf) = (fixed(proof), leaf.first().ok_or(TreeError::Altered)?.0);
    verify_inclusion(&tree, index, leaf, &proof).map_err(altered)?;
    Ok(proof)
}

/// The proof that the tree of `second` leaves, which is `head` or one before it, begins with the tree of `first`.
pub fn prove_consistency(head: &Head, tiles: &Tiles, first: u64, second: u64) -> Result<Vec<Fixed<32>>, TreeError> {
    if first == 0 || first > second {
        return Err(TreeError::Size);
    }
    let (old, new) = (head_at(head, tiles, first)?, head_at(head, tiles, second)?);
    let proof = fixed(tiles.read(|reader| prove_tree(second, first, reader))?);
    verify_consistency(&old, &new, &proof).map_err(altered)?;
    Ok(proof)
}

/// The tree of `size` leaves, which is `head` or one before it.
pub fn head_at(head: &Head, tiles: &Tiles, size: u64) -> Result<Head, TreeError> {
    if size > head.size {
        return Err(TreeError::Size);
    }
    if size == head.size || size == 0 {
        return Ok(if size == 0 { Head::empty() } else { *head });
    }
    let (root, proof) = tiles.read(|reader| {
        let (root, proof) = (tree_hash(size, reader), prove_tree(head.size, size, reader));
        Ok((root?, proof?))
    })?;
    let old = Head::try_new(size, root.0)?;
    verify_consistency(&old, head, &fixed(proof)).map_err(altered)?;
    Ok(old)
}

/// What a tree becomes with more leaves.
#[derive(Clone, Debug)]
pub struct Extension {
    /// The new head.
    pub head: Head,
    /// The tiles to be written; each replaces the narrower one that may be there.
    pub tiles: Vec<(TileId, Vec<u8>)>,
}

/// The hashes of complete subtrees by the library's numbers.
#[derive(Default)]
struct Known(HashMap<u64, Hash>);

impl HashReader for Known {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, TlogError> {
        indexes.iter().map(|index| self.0.get(index).copied().ok_or(TlogError::IndexesNotInTree)).collect()
    }
}

/// The tiles at the right edge of a tree, which its next leaf changes: the partial one of each level.
fn edge(size: u64) -> impl Iterator<Item = (TileId, u64)> {
    (0..64 / TILE_HEIGHT).filter_map(move |level| {
        let hashes = size >> (level * TILE_HEIGHT);
        let (index, width) = (hashes >> TILE_HEIGHT, hashes & (TILE_WIDTH as u64 - 1));
        (width > 0).then_some((TileId { level, index }, width))
    })
}

/// Appends leaves. The tiles at the right edge of `head` are needed, and are checked against it first: nothing is ever built on what
/// was altered.
pub fn extend(head: &Head, tiles: &Tiles, leaves: &[[u8; 32]]) -> Result<Extension, TreeError> {
    let size = u64::try_from(leaves.len()).ok().and_then(|more| head.size.checked_add(more));
    let size = size.filter(|size| *size <= MAX_SIZE).ok_or(TreeError::Size)?;
    let mut known = Known::default();
    if head.size > 0 {
        // The hashes of the tiles at the edge, and the roots of complete subtrees, which are made of exactly those: so the head's root speaks for each.
        let wanted: Vec<u64> = edge(head.size)
            .flat_map(|(id, width)| {
                let begin = id.index << TILE_HEIGHT;
                (0..width).map(move |at| stored_hash_index(id.level * TILE_HEIGHT, begin + at))
            })
            .chain(sub_tree_index(0, head.size, Vec::new()))
            .collect();
        let found = tiles.read(|reader| reader.read_hashes(&wanted))?;
        known.0.extend(wanted.into_iter().zip(found));
        if tree_hash(head.size, &known).ok() != Some(Hash(head.root.0)) {
            return Err(TreeError::Altered);
        }
    }
    for (number, leaf) in (head.size..).zip(leaves) {
        let new = stored_hashes_for_record_hash(number, Hash(*leaf), &known).map_err(|_| TreeError::Altered)?;
        known.0.extend((stored_hash_index(0, number)..).zip(new));
    }
    let root = tree_hash(size, &known).map_err(|_| TreeError::Altered)?;
    let tiles = Tile::new_tiles(TILE_HEIGHT, head.size, size)
        .into_iter()
        .map(|tile| {
            let data = tile.read_data(&known).map_err(|_| TreeError::Altered)?;
            Ok((TileId { level: tile.level(), index: tile.level_index() }, data))
        })
        .collect::<Result<_, TreeError>>()?;
    Ok(Extension { head: Head::try_new(size, root.0)?, tiles })
}

/// A tree that is read once, from its first leaf on, in memory for one path: for whoever checks all of it.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    size: u64,
    /// The roots of the complete subtrees, largest first, each with the logarithm of its size.
    roots: Vec<(u32, Hash)>,
}

impl Frontier {
    /// Appends a leaf.
    pub fn push(&mut self, leaf_hash: [u8; 32]) {
        self.size += 1;
        let (mut level, mut hash) = (0, Hash(leaf_hash));
        while let Some((_, left)) = self.roots.pop_if(|(other, _)| *other == level) {
            hash = node_hash(left, hash);
            level += 1;
        }
        self.roots.push((level, hash));
    }

    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root over them.
    pub fn root(&self) -> [u8; 32] {
        let mut hashes = self.roots.iter().rev().map(|(_, hash)| *hash);
        let smallest = hashes.next().unwrap_or(tlog_tiles::EMPTY_HASH);
        hashes.fold(smallest, |right, left| node_hash(left, right)).0
    }
}

#[cfg(test)]
pub(crate) mod tests;

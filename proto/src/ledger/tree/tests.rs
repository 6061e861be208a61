//! The tree against the published values, and against an implementation that is not ours (`ct-merkle`).

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::ledger::leaf_hash;

/// transparency-dev's reference leaves.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

/// A tree as the issuer keeps it: its head, and the tiles.
#[derive(Clone, Default)]
struct Kept {
    head: Option<Head>,
    tiles: Tiles,
}

impl Kept {
    fn head(&self) -> Head {
        self.head.unwrap_or(Head::empty())
    }

    fn extend(&mut self, leaves: &[[u8; 32]]) {
        let extension = extend(&self.head(), &self.tiles, leaves).unwrap();
        self.head = Some(extension.head);
        for (id, hashes) in extension.tiles {
            self.tiles.insert(id, hashes);
        }
    }
}

fn leaf(number: u64) -> [u8; 32] {
    leaf_hash(&number.to_be_bytes())
}

fn kept(size: u64) -> Kept {
    let mut kept = Kept::default();
    kept.extend(&(0..size).map(leaf).collect::<Vec<_>>());
    kept
}

fn foreign(size: u64) -> MemoryBackedTree<Sha256, [u8; 8]> {
    let mut tree = MemoryBackedTree::new();
    for number in 0..size {
        tree.push(number.to_be_bytes());
    }
    tree
}

fn proof(bytes: &[u8]) -> Vec<Fixed<32>> {
    bytes.chunks(32).map(|hash| Fixed(hash.try_into().unwrap())).collect()
}

#[test]
fn the_reference_roots() {
    let roots = ["6e340b9c", "fac54203", "aeb6bcfe", "d37ee418", "4e3bbb1f", "76e67dad", "ddb89be4", "5dc9da79"];
    let (mut kept, mut frontier) = (Kept::default(), Frontier::default());
    assert_eq!(frontier.root(), Head::empty().root());
    assert!(hex::encode(Head::empty().root()).starts_with("e3b0c442"));
    for (text, root) in LEAVES.iter().zip(roots) {
        let leaf = leaf_hash(&hex::decode(text).unwrap());
        kept.extend(&[leaf]);
        frontier.push(leaf);
        assert!(hex::encode(kept.head().root()).starts_with(root), "{root}");
        assert_eq!((frontier.size(), frontier.root()), (kept.head().size(), kept.head().root()));
    }
    let last = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";
    assert_eq!(hex::encode(kept.head().root()), last);
}

/// Where published vectors lie beside the project.
pub(crate) fn vectors(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let folder = std::env::var_os("DAYPASS_VECTORS").map_or_else(beside, PathBuf::from).join(name);
    let found = folder.exists();
    if !found {
        println!(
            "skipped: the published vectors `{name}` are not beside this project (DAYPASS_VECTORS names another folder)"
        );
    }
    found.then_some(folder)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Reads every vector of a folder; gives how many were taken and refused.
fn run(folder: &str, check: impl Fn(&serde_json::Value) -> Option<bool>) -> Option<[usize; 2]> {
    let mut paths = Vec::new();
    files(&vectors("merkle")?.join(folder), &mut paths);
    let mut seen = [0, 0];
    for path in paths {
        let vector: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        // A hash in a proof that is not 32 bytes long is no hash: there is nothing to ask about it.
        let good = check(&vector).unwrap_or(false);
        assert_eq!(good, !vector["wantErr"].as_bool().unwrap(), "{}", path.display());
        seen[usize::from(!good)] += 1;
    }
    Some(seen)
}

fn hash(value: &serde_json::Value) -> Option<[u8; 32]> {
    STANDARD.decode(value.as_str()?).ok()?.try_into().ok()
}

/// Some of the roots are mere words, which only have to be the same or not. Nothing is no word.
fn root(value: &serde_json::Value) -> Option<[u8; 32]> {
    let word =
        || value.as_str().filter(|text| !text.is_empty()).map(|text| crate::encoding::sha256(&[text.as_bytes()]));
    hash(value).or_else(word)
}

fn given_proof(value: &serde_json::Value) -> Option<Vec<Fixed<32>>> {
    value.as_array().map_or(Some(Vec::new()), |all| all.iter().map(|one| hash(one).map(Fixed)).collect())
}

#[test]
fn published_inclusion_vectors() {
    let seen = run("inclusion", |vector| {
        let head = Head::try_new(vector["treeSize"].as_u64()?, root(&vector["root"])?).ok()?;
        let leaf = root(&vector["leafHash"])?;
        Some(verify_inclusion(&head, vector["leafIdx"].as_u64()?, leaf, &given_proof(&vector["proof"])?).is_ok())
    });
    assert!(seen.is_none_or(|seen| seen == [6, 92]), "{seen:?}");
}

#[test]
fn published_consistency_vectors() {
    let seen = run("consistency", |vector| {
        let head = |size: &str, name: &str| Head::try_new(vector[size].as_u64()?, root(&vector[name])?).ok();
        let (old, new) = (head("size1", "root1")?, head("size2", "root2")?);
        Some(verify_consistency(&old, &new, &given_proof(&vector["proof"])?).is_ok())
    });
    assert!(seen.is_none_or(|seen| seen == [6, 92]), "{seen:?}");
}

#[test]
fn proofs_are_those_of_another_implementation() {
    // Over the edge of a tile, and of a tile of tiles.
    for size in (1..70).chain([255, 256, 257, 511, 600]) {
        let (kept, foreign) = (kept(size), foreign(size));
        let head = kept.head();
        assert_eq!(head.root()[..], foreign.root().as_bytes()[..]);
        for index in [0, size / 3, size / 2, size - 1] {
            let ours = prove_inclusion(&head, &kept.tiles, size, index).unwrap();
            assert_eq!(ours, proof(foreign.prove_inclusion(index as usize).as_bytes()), "{index} of {size}");
            verify_inclusion(&head, index, leaf(index), &ours).unwrap();
        }
        for first in [1, size / 3, size / 2, size - 1].into_iter().filter(|first| (1..size).contains(first)) {
            let ours = prove_consistency(&head, &kept.tiles, first, size).unwrap();
            let theirs = foreign.prove_consistency((size - first) as usize);
            assert_eq!(ours, proof(theirs.as_bytes()), "{first} to {size}");
            let old = head_at(&head, &kept.tiles, first).unwrap();
            verify_consistency(&old, &head, &ours).unwrap();
        }
    }
}

#[test]
fn a_tree_of_tiles_of_tiles() {
    let size = 256 * 256 + 300;
    let mut grown = kept(65_000);
    grown.extend(&(65_000..size).map(leaf).collect::<Vec<_>>());
    let head = grown.head();
    assert_eq!(head, kept(size).head(), "in two steps or one");
    assert!(grown.tiles.0.contains_key(&TileId { level: 2, index: 0 }));
    for index in [0, 65_535, 65_536, size - 1] {
        let path = prove_inclusion(&head, &grown.tiles, size, index).unwrap();
        verify_inclusion(&head, index, leaf(index), &path).unwrap();
    }
}

#[test]
fn what_is_missing_is_named_and_nothing_else() {
    let all = kept(10_000);
    let head = all.head();
    let mut some = Tiles::default();
    let path = loop {
        match prove_inclusion(&head, &some, 9_000, 5) {
            Ok(path) => break path,
            Err(TreeError::Missing(ids)) => {
                assert!(ids.iter().all(|id| !some.0.contains_key(id)), "asked for again: {ids:?}");
                some.0.extend(ids.into_iter().map(|id| (id, all.tiles.0[&id].clone())));
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert!(some.0.len() < 6, "{} of {} tiles", some.0.len(), all.tiles.0.len());
    verify_inclusion(&head_at(&head, &all.tiles, 9_000).unwrap(), 5, leaf(5), &path).unwrap();
    assert!(matches!(extend(&head, &Tiles::default(), &[leaf(1)]), Err(TreeError::Missing(_))));
}

#[test]
fn nothing_is_proved_from_or_built_on_an_altered_tile() {
    let good = kept(700);
    let head = good.head();
    for id in good.tiles.0.keys() {
        let mut bad = good.tiles.clone();
        *bad.0.get_mut(id).unwrap().last_mut().unwrap() ^= 1;
        let index = (id.index * 256 + 255).min(699);
        assert_eq!(prove_inclusion(&head, &bad, 700, index), Err(TreeError::Altered), "{id:?}");
        let mut short = good.tiles.clone();
        short.0.get_mut(id).unwrap().pop();
        assert_eq!(prove_inclusion(&head, &short, 700, index), Err(TreeError::Altered), "{id:?}");
    }
    let mut bad = good.tiles.clone();
    *bad.0.get_mut(&TileId { level: 0, index: 2 }).unwrap().first_mut().unwrap() ^= 1;
    assert_eq!(extend(&head, &bad, &[leaf(700)]).err(), Some(TreeError::Altered));
}

#[test]
fn what_a_tree_does_not_have_is_refused() {
    let kept = kept(10);
    let (head, tiles) = (kept.head(), &kept.tiles);
    let five = head_at(&head, tiles, 5).unwrap();
    assert_eq!(prove_inclusion(&head, tiles, 10, 10), Err(TreeError::Size));
    assert_eq!(prove_inclusion(&head, tiles, 11, 0), Err(TreeError::Size));
    assert_eq!(prove_consistency(&head, tiles, 6, 5), Err(TreeError::Size));
    assert_eq!(prove_consistency(&head, tiles, 0, 5), Err(TreeError::Size));
    assert_eq!(prove_consistency(&head, tiles, 5, 11), Err(TreeError::Size));
    assert_eq!(head_at(&head, tiles, 11).err(), Some(TreeError::Size));
    assert_eq!(verify_inclusion(&head, 10, leaf(10), &[]), Err(TreeError::Size));
    assert_eq!(verify_consistency(&head, &five, &[]), Err(TreeError::Size));
    assert_eq!(verify_consistency(&Head::empty(), &five, &[]), Err(TreeError::Size));
    let long = vec![Fixed([0; 32]); MAX_PROOF + 1];
    assert_eq!(verify_inclusion(&head, 0, leaf(0), &long), Err(TreeError::Proof));
    assert_eq!(verify_consistency(&five, &head, &long), Err(TreeError::Proof));
    assert!(Head::try_new(MAX_SIZE + 1, [0; 32]).is_err());
    assert!(Head::try_new(0, [0; 32]).is_err());
    assert!(
        serde_json::from_str::<Head>(r#"{"size":0,"root":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#).is_err()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_it_grows_it_is_the_same_tree(steps in prop::collection::vec(1_u64..200, 1..8)) {
        let (mut grown, mut frontier) = (Kept::default(), Frontier::default());
        let mut heads = Vec::new();
        for step in steps {
            let begin = grown.head().size();
            let leaves: Vec<_> = (begin..begin + step).map(leaf).collect();
            grown.extend(&leaves);
            leaves.into_iter().for_each(|leaf| frontier.push(leaf));
            prop_assert_eq!(grown.head(), Head::try_new(frontier.size(), frontier.root()).unwrap());
            heads.push(grown.head());
        }
        let head = grown.head();
        prop_assert_eq!(head, kept(head.size()).head());
        for old in heads {
            let path = prove_consistency(&head, &grown.tiles, old.size(), head.size()).unwrap();
            prop_assert_eq!(verify_consistency(&old, &head, &path), Ok(()));
        }
    }

    #[test]
    fn no_proof_panics(size in 0..=MAX_SIZE, index in any::<u64>(), other in any::<u64>(), hashes in prop::collection::vec(any::<[u8; 32]>(), 0..70)) {
        let path: Vec<_> = hashes.into_iter().map(Fixed).collect();
        if let Ok(head) = Head::try_new(size, [1; 32]) {
            prop_assert!(verify_inclusion(&head, index, [2; 32], &path).is_err());
            prop_assert!(verify_inclusion(&head, size / 2, [2; 32], &path).is_err());
            if let Ok(old) = Head::try_new(other % (size + 1), [3; 32]) {
                prop_assert!(verify_consistency(&old, &head, &path).is_err());
            }
            let _ = prove_inclusion(&head, &Tiles::default(), size, index);
            let _ = prove_consistency(&head, &Tiles::default(), other, size);
            let _ = head_at(&head, &Tiles::default(), other);
            let _ = extend(&head, &Tiles::default(), &[[0; 32]]);
        }
    }
}

//! One check of a ledger: the newest checkpoint by its signature, the way from the kept one to it, the leaves that were promised.
//!
//! ```text
//! keys under the root ──► newest checkpoint, signed ──► begins with the kept one ──► has each promised leaf ──► is kept
//! ```
//!
//! What the issuer cannot have done honestly is a finding. What keeps the check from being made is an error, and the check is made later.

use daypass_proto::{
    encoding::{Bytes, Fixed},
    ledger::{
        api::{Consistency, LONGEST_MERGE_DELAY, LogKey, MAX_BEGINNINGS, MERGE_DELAY},
        beginning::Beginning,
        checkpoint::{CheckpointKey, VerifiedCheckpoint},
        leaf_hash,
        tree::{verify_consistency, verify_inclusion},
    },
    local_api::ledger::Evidence,
    oauth_error::Reason,
    pin::Pin,
    token::Promise,
};

use super::{continuity::trail, finding::What, memory::Kept, source::Source};
use crate::error::AgentError;

/// How many leaves are asked for in one check; the others have their turn in the next.
pub(super) const BATCH: usize = 256;
/// The longest leaf of a beginning that is looked at, in bytes: it is kept as evidence.
const MAX_BEGINNING: usize = 4096;
/// The longest key that is taken, with its two certificates, in bytes: it is kept with each finding, and what is kept has an end. Ours have some 1000.
const MAX_KEY: usize = 16 * 1024;

/// A promised leaf that the tree does not have.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) promise: Promise,
    pub(super) why: String,
    /// Whether the issuer says that there is no such event, and not something that contradicts itself.
    pub(super) unknown: bool,
    pub(super) evidence: Evidence,
}

/// What a check came to.
#[derive(Debug)]
pub(super) struct Checked {
    /// To be kept from now on; `None` where nothing new was shown that could be.
    pub(super) kept: Option<(VerifiedCheckpoint, LogKey)>,
    /// Whether there was a checkpoint that could be believed; where there was none, nothing else was looked at.
    pub(super) signed: bool,
    /// What is wrong with the ledger itself.
    pub(super) found: Vec<(What, Evidence)>,
    /// Leaves that are there.
    pub(super) shown: Vec<Fixed<32>>,
    /// Leaves that are recorded, the issuer says, and not covered by the newest checkpoint.
    pub(super) not_yet: Vec<Fixed<32>>,
    /// Leaves that are not there.
    pub(super) missing: Vec<Missing>,
    /// How long a leaf may not be covered, in seconds.
    pub(super) merge_delay: i64,
    /// Why the check ended before its end, where it did.
    pub(super) broke_off: Option<AgentError>,
}

/// What the issuer showed, its signature verified.
struct Shown {
    checkpoint: VerifiedCheckpoint,
    key: LogKey,
    beginnings: Vec<Bytes>,
}

/// Checks the ledger. An error where it cannot be checked now.
pub(super) async fn check<S: Source>(
    source: &S,
    pin: &Pin,
    kept: Option<&Kept>,
    promises: &[Promise],
) -> Result<Checked, AgentError> {
    let log = source.log().await?;
    let note = source.checkpoint().await?;
    let mut checked = Checked {
        kept: None,
        signed: true,
        found: Vec::new(),
        shown: Vec::new(),
        not_yet: Vec::new(),
        missing: Vec::new(),
        merge_delay: log.merge_delay.clamp(MERGE_DELAY, LONGEST_MERGE_DELAY),
        broke_off: None,
    };
    let keys: Vec<(CheckpointKey, LogKey)> = log.keys.into_iter().filter_map(|key| certified(key, pin)).collect();
    let shown = match signed(&note, keys) {
        Ok((checkpoint, key)) => Shown { checkpoint, key, beginnings: log.beginnings },
        Err(why) => {
            let evidence = Evidence {
                kept: kept.map(|kept| kept.checkpoint.note().to_owned()),
                shown: Some(note),
                keys: kept.map(|kept| kept.key.clone()).into_iter().collect(),
                ..Evidence::default()
            };
            checked.found.push((What::BadSignature { why }, evidence));
            checked.signed = false;
            return Ok(checked);
        }
    };
    let origin = shown.checkpoint.origin();
    let unseen = kept.is_none_or(|kept| kept.checkpoint.origin() != origin);
    if *origin != log.origin || (unseen && shown.checkpoint.head().size() == 0) {
        // Restored between the two answers, or begun this moment.
        return Err(AgentError::LedgerUnsettled);
    }
    if let Some(kept) = kept {
        checked.found.extend(compare(source, kept, &shown).await?);
    }
    for promise in promises.iter().take(BATCH) {
        match look_up(source, &shown, *promise).await {
            Ok(Place::Shown) => checked.shown.push(promise.leaf),
            Ok(Place::NotYet) => checked.not_yet.push(promise.leaf),
            Ok(Place::Missing(missing)) => checked.missing.push(*missing),
            Err(error) => {
                checked.broke_off = Some(error);
                break;
            }
        }
    }
    // The same tree once more is no news.
    // An empty one is no news either, and would make what was seen before forgotten.
    let is_new = shown.checkpoint.head().size() > 0
        && (unseen || kept.is_none_or(|kept| kept.checkpoint.head() != shown.checkpoint.head()));
    checked.kept = is_new.then_some((shown.checkpoint, shown.key));
    Ok(checked)
}

/// The key, and what has to be kept to show it to others: its certificate and the root. Whatever else came with it is left, so that no
/// issuer makes evidence too large to keep.
fn certified(mut key: LogKey, pin: &Pin) -> Option<(CheckpointKey, LogKey)> {
    let root = pin.find(&key.chain)?.clone();
    key.chain.truncate(1);
    let own = key.chain.first()?;
    let public = CheckpointKey::certified(&own.0, &[&own.0, &root.0], pin).ok()?;
    key.chain.push(root);
    let length = key.chain.iter().fold(key.verifier_key.len(), |sum, part| sum.saturating_add(part.0.len()));
    (length <= MAX_KEY).then_some((public, key))
}

/// The checkpoint, and the key that signed it.
fn signed(note: &str, keys: Vec<(CheckpointKey, LogKey)>) -> Result<(VerifiedCheckpoint, LogKey), String> {
    let all: Vec<CheckpointKey> = keys.iter().map(|(key, _)| *key).collect();
    let checkpoint = VerifiedCheckpoint::verify_any(note, &all).map_err(|error| error.to_string())?;
    let signer = keys.into_iter().find(|(key, _)| VerifiedCheckpoint::verify_any(note, &[*key]).is_ok());
    signer.map(|(_, key)| (checkpoint, key)).ok_or_else(|| "is signed by no checkpoint key that is known".to_owned())
}

fn both(kept: &Kept, shown: &Shown) -> Evidence {
    let mut keys = vec![kept.key.clone()];
    if kept.key != shown.key {
        keys.push(shown.key.clone());
    }
    Evidence {
        kept: Some(kept.checkpoint.note().to_owned()),
        shown: Some(shown.checkpoint.note().to_owned()),
        keys,
        ..Evidence::default()
    }
}

/// Whether what is shown comes from what was kept.
async fn compare<S: Source>(source: &S, kept: &Kept, shown: &Shown) -> Result<Option<(What, Evidence)>, AgentError> {
    let (old, new) = (kept.checkpoint.head(), shown.checkpoint.head());
    let (from, to) = (old.size(), new.size());
    if kept.checkpoint.origin() != shown.checkpoint.origin() {
        return renamed(source, kept, shown).await;
    }
    let what = if to < from {
        What::RolledBack { from, to }
    } else if to == from {
        if old.root() == new.root() {
            return Ok(None);
        }
        What::Fork { size: to }
    } else {
        return Ok(match grown(source, kept, shown).await? {
            Ok(()) => None,
            Err((why, proof)) => Some((What::Inconsistent { from, to, why }, Evidence { proof, ..both(kept, shown) })),
        });
    };
    Ok(Some((what, both(kept, shown))))
}

/// The issuer's words as they may stand in a log and on a terminal.
fn printable(words: &str) -> String {
    words.chars().take(200).filter(|c| !c.is_control()).collect()
}

/// What is wrong with the way from one head to a larger one, and the proof that does not hold.
type NotGrown = (String, Option<Vec<Fixed<32>>>);

/// Whether the shown tree begins with the kept one.
async fn grown<S: Source>(source: &S, kept: &Kept, shown: &Shown) -> Result<Result<(), NotGrown>, AgentError> {
    let (old, new) = (kept.checkpoint.head(), shown.checkpoint.head());
    let Consistency { hashes, .. } = match source.consistency(old.size(), new.size()).await {
        Ok(proof) => proof,
        // It has signed both sizes: there is nothing to refuse.
        Err(AgentError::Refused(body)) if matches!(body.daypass_reason, Reason::Malformed | Reason::NotFound) => {
            return Ok(Err((format!("it refuses to prove it ({})", printable(&body.error_description)), None)));
        }
        Err(error) => return Err(error),
    };
    Ok(verify_consistency(old, new, &hashes).map_err(|error| (error.to_string(), Some(hashes))))
}

/// A ledger of another name: restored, by the issuer's own word in the shown tree, or from nowhere.
async fn renamed<S: Source>(source: &S, kept: &Kept, shown: &Shown) -> Result<Option<(What, Evidence)>, AgentError> {
    let (from, to) = (kept.checkpoint.origin().clone(), shown.checkpoint.origin().clone());
    let leaves: Vec<&Bytes> = shown
        .beginnings
        .iter()
        .rev()
        .take(MAX_BEGINNINGS as usize)
        .filter(|leaf| leaf.0.len() <= MAX_BEGINNING && Beginning::read(&leaf.0).is_some())
        .rev()
        .collect();
    let beginnings: Vec<Beginning> = leaves.iter().filter_map(|leaf| Beginning::read(&leaf.0)).collect();
    let other = |why: &str, evidence| {
        Ok(Some((What::OtherLedger { from: from.clone(), to: to.clone(), why: why.to_owned() }, evidence)))
    };
    let Some(trail) = trail(&beginnings, &from, &to) else {
        return other("nothing in it says how it came from there", both(kept, shown));
    };
    let (Some(leaf), Some(beginning)) = (leaves.get(trail.index), beginnings.get(trail.index)) else {
        return other("nothing in it says how it came from there", both(kept, shown));
    };
    let evidence = Evidence { beginning: Some((*leaf).clone()), ..both(kept, shown) };
    // The admission has to stand in the tree, or it is nobody's.
    let admitted = Promise { leaf: Fixed(leaf_hash(&leaf.0)), issued: beginning.at };
    match look_up(source, shown, admitted).await? {
        Place::Shown => {}
        Place::NotYet => return Err(AgentError::LedgerUnsettled),
        Place::Missing(_) => return other("the event that says how it came from there is not in it", evidence),
    }
    let size = kept.checkpoint.head().size();
    let common = trail.common.min(size);
    if common == size
        && let Err((why, proof)) = grown(source, kept, shown).await?
    {
        let why = format!("it says that it begins with what this machine had seen, and it does not: {why}");
        return other(&why, Evidence { proof, ..evidence });
    }
    let (at, made_at) = (beginning.at, beginning.made_at);
    Ok(Some((
        What::Restored { from, to, at, made_at, kept: size, common, waiting: Vec::new(), lost: Vec::new() },
        evidence,
    )))
}

enum Place {
    Shown,
    NotYet,
    Missing(Box<Missing>),
}

/// Where a leaf is in the shown tree.
async fn look_up<S: Source>(source: &S, shown: &Shown, promise: Promise) -> Result<Place, AgentError> {
    let head = shown.checkpoint.head();
    let evidence = |proof| Evidence {
        shown: Some(shown.checkpoint.note().to_owned()),
        keys: vec![shown.key.clone()],
        leaves: vec![promise.leaf],
        proof,
        ..Evidence::default()
    };
    let missing = |why: &str, unknown, proof| {
        Ok(Place::Missing(Box::new(Missing { promise, why: why.to_owned(), unknown, evidence: evidence(proof) })))
    };
    let found = match source.inclusion(promise.leaf, head.size()).await {
        Ok(found) => found,
        Err(AgentError::Refused(body)) => {
            return match body.daypass_reason {
                Reason::LeafUnknown => missing("the issuer says that there is no such event", true, None),
                Reason::LeafNotYet => Ok(Place::NotYet),
                Reason::Malformed | Reason::NotFound => missing("the issuer refuses to prove it", false, None),
                _ => Err(AgentError::Refused(body)),
            };
        }
        Err(error) => return Err(error),
    };
    match verify_inclusion(head, found.leaf_index, promise.leaf.0, &found.hashes) {
        Ok(()) => Ok(Place::Shown),
        Err(error) => missing(&format!("what the issuer shows as proof is none: {error}"), false, Some(found.hashes)),
    }
}

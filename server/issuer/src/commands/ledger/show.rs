//! `daypass-issuer ledger show`: one event, what stands beside it, and whether it is in the tree that was signed.

use std::str::FromStr;

use daypass_proto::{
    encoding::{Fixed, from_base64url},
    ledger::{
        checkpoint::{CheckpointKey, VerifiedCheckpoint},
        tree,
    },
};
use serde_json::{Value, json};

use super::event::Shown;
use crate::{
    commands::{
        CommandError,
        output::{json as print_json, line},
    },
    issuer::Issuer,
    ledger::{LedgerError, with_tiles},
    token::jti,
};

/// Options of `show`.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Show {
    /// Which: its number, its leaf hash (base64url or hex), or a token's identifier (`jti`) for the event that issued it.
    #[arg(value_name = "EVENT")]
    event: Wanted,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How somebody names an event.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Wanted {
    Number(u64),
    Hash([u8; 32]),
    Token(String),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        let bytes = hex::decode(text).ok().or_else(|| from_base64url(text)).unwrap_or_default();
        if let Ok(hash) = bytes.try_into() {
            return Ok(Self::Hash(hash));
        }
        match jti::made_at(text) {
            Some(_) => Ok(Self::Token(text.to_owned())),
            None => Err("expected an event's number, a leaf hash, or a token's `jti`".to_owned()),
        }
    }
}

/// Whether the event is in the tree that was signed.
#[derive(Debug)]
enum Standing {
    /// It has no number yet.
    Waits,
    /// It has one, and no checkpoint covers it yet.
    Unsigned,
    /// It is.
    Proved { checkpoint: VerifiedCheckpoint, note: String, hashes: Vec<Fixed<32>> },
    /// It is not.
    Touched(String),
}

impl Standing {
    fn json(&self) -> Value {
        match self {
            Self::Waits => json!({"state": "unnumbered"}),
            Self::Unsigned => json!({"state": "unsigned"}),
            Self::Proved { checkpoint, note, hashes } => {
                json!({"state": "proved", "tree_size": checkpoint.head().size(), "hashes": hashes, "checkpoint": note})
            }
            Self::Touched(why) => json!({"state": "touched", "message": why}),
        }
    }

    fn line(&self) -> String {
        let said = match self {
            Self::Waits => "it is not in the tree yet".to_owned(),
            Self::Unsigned => "it is in the tree, and no checkpoint covers it yet".to_owned(),
            Self::Proved { checkpoint, hashes, .. } => format!(
                "proved by {} hashes, under the checkpoint over {} events of {}",
                hashes.len(),
                checkpoint.head().size(),
                checkpoint.origin()
            ),
            Self::Touched(why) => format!("NOT WHAT WAS SIGNED: {why}; run `daypass-issuer ledger verify`"),
        };
        format!("{:<22}{said}", "inclusion")
    }
}

/// An event with all that is said of it.
struct Found {
    event: Shown,
    standing: Standing,
}

async fn find(issuer: &Issuer, wanted: &Wanted) -> Result<Found, CommandError> {
    let store = &issuer.store;
    let entry = match wanted {
        Wanted::Number(number) => store.entries(*number, 1).await?.pop().filter(|entry| entry.sequence == *number),
        Wanted::Hash(hash) => store.event(hash).await?,
        Wanted::Token(jti) => match jti::made_at(jti) {
            Some(at) => match store.issuing(jti, at).await? {
                Some(hash) => store.event(&hash).await?,
                None => None,
            },
            None => None,
        },
    };
    let entry = entry.ok_or(CommandError::NoEvent)?;
    let (number, named) = (entry.number(), entry.leaf_hash.clone());
    let event = Shown::of(entry);
    let standing = match number {
        _ if named != event.hash() => Standing::Touched("the row is found by a hash that is not its leaf's".to_owned()),
        Some(number) => standing(issuer, number, event.hash()).await?,
        None => Standing::Waits,
    };
    Ok(Found { event, standing })
}

/// Proves the leaf under the newest checkpoint, whose signature is checked too.
async fn standing(issuer: &Issuer, number: u64, hash: [u8; 32]) -> Result<Standing, CommandError> {
    let store = issuer.store.as_ref();
    let newest = store.newest_checkpoint().await?;
    let Some(note) = newest.and_then(|newest| newest.note) else { return Ok(Standing::Unsigned) };
    let keyring = issuer.keyring();
    let keys: Vec<CheckpointKey> = keyring.checkpoint_keys().iter().map(|(key, _)| *key).collect();
    let checkpoint = match VerifiedCheckpoint::verify_any(&note, &keys) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return Ok(Standing::Touched(format!("the newest checkpoint does not hold: {error}"))),
    };
    let head = *checkpoint.head();
    if number >= head.size() {
        return Ok(Standing::Unsigned);
    }
    let tree = store.ledger().await?.map_or(head, |ledger| ledger.head);
    match with_tiles(store, |tiles| tree::prove_inclusion(&tree, tiles, head.size(), number)).await {
        Ok(hashes) => Ok(match tree::verify_inclusion(&head, number, hash, &hashes) {
            Ok(()) => Standing::Proved { checkpoint, note, hashes },
            Err(_) => Standing::Touched("another leaf stands in its place".to_owned()),
        }),
        Err(LedgerError::Store(error)) => Err(error.into()),
        Err(error) => Ok(Standing::Touched(format!("the tree does not lead to the checkpoint ({error})"))),
    }
}

pub(super) async fn run(issuer: &Issuer, args: &Show) -> Result<(), CommandError> {
    let Found { event, standing } = find(issuer, &args.event).await?;
    if args.json {
        let mut shown = event.json();
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("inclusion".to_owned(), standing.json());
        }
        print_json(&shown)?;
    } else {
        for text in event.lines() {
            line(text)?;
        }
        line(standing.line())?;
    }
    match standing {
        Standing::Touched(_) => Err(CommandError::Touched(1)),
        Standing::Waits | Standing::Unsigned | Standing::Proved { .. } => Ok(()),
    }
}

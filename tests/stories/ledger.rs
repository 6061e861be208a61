//! The ledger: no token without its event, whatever happens to the issuer, and nothing changed unseen.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use daypass_proto::{
    encoding::{Fixed, from_base64url},
    ledger::{
        api::{self, Consistency, Inclusion, Log},
        checkpoint::{CheckpointKey, VerifiedCheckpoint},
        tree::{verify_consistency, verify_inclusion},
    },
    pin::Pin,
};
use daypass_tests::{
    Failure, Issuer, Place, Programs, Raw, Ready, Service, SoftwareClient, SoftwareKeys, Story, Who, a_moment, ensure,
    eventually, now,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde::de::DeserializeOwned;

use crate::software::{GIT, PROJECT};

/// How often the issuer is killed, where nobody says (`DAYPASS_KILLS`).
const KILLS: usize = 100;
/// How many ask for tokens while it is.
const ASKERS: usize = 4;

fn serving(place: &Place) -> Result<Issuer, Failure> {
    let mut issuer = Issuer::init(place, "issuer", &Programs::find()?, None, &[])?;
    issuer.configure("allow_software_keys = false", "allow_software_keys = true")?;
    // Here they are asked for without end.
    issuer.configure("tokens_per_device = 1000", "tokens_per_device = 100000")?;
    issuer.write_project("apollo", PROJECT)?;
    issuer.serve()?;
    Ok(issuer)
}

/// A token's leaf hash.
fn leaf_of(token: &str) -> Option<[u8; 32]> {
    let claims = token.split('.').nth(1).and_then(from_base64url)?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    serde_json::from_value::<Fixed<32>>(claims.pointer("/daypass/leaf")?.clone()).ok().map(|leaf| leaf.0)
}

/// Somebody who believes the issuer's root and nothing else.
struct Observer {
    address: SocketAddr,
    root: PathBuf,
    connection: Option<Raw>,
}

impl Observer {
    fn new(issuer: &Issuer) -> Self {
        Self { address: issuer.public_address(), root: issuer.root().to_owned(), connection: None }
    }

    /// `None` where the issuer is away.
    fn ask(&mut self, path: &str) -> Option<(u16, String)> {
        if self.connection.is_none() {
            self.connection = Raw::open(self.address, &self.root, None).ok();
        }
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        let answer = self.connection.as_mut()?.ask(request.as_bytes());
        if answer.is_none() {
            self.connection = None;
        }
        answer
    }

    fn told<T: DeserializeOwned>(&mut self, path: &str) -> Result<Option<T>, Failure> {
        match self.ask(path) {
            Some((200, body)) => match serde_json::from_str(&body) {
                Ok(told) => Ok(Some(told)),
                Err(error) => Err(Failure::unexpected(format!("an answer to {path}"), format!("{error}: {body}"))),
            },
            // Not in a checkpoint yet.
            Some((404, body)) if body.contains("leaf_not_yet") => Ok(None),
            Some((status, body)) => {
                Err(Failure::unexpected(format!("an answer to {path}"), format!("{status} {body}")))
            }
            None => Ok(None),
        }
    }

    /// The keys, by way of the root.
    fn keys(&mut self) -> Result<(Log, Vec<CheckpointKey>), Failure> {
        let log: Log = eventually("the ledger's keys", || self.told(api::LOG))?;
        let pin = pin_of(&self.root)?;
        let keys = log.keys.iter().map(|key| {
            let own = key.chain.first().map(|own| own.0.clone()).unwrap_or_default();
            CheckpointKey::certified(&own, &key.chain, &pin)
        });
        let keys = keys.collect::<Result<_, _>>().map_err(|error| Failure::unexpected("certified keys", error))?;
        Ok((log, keys))
    }

    /// Asks until a checkpoint covers the leaf, and checks the way from one to the other.
    fn includes(&mut self, leaf: [u8; 32], log: &Log, keys: &[CheckpointKey]) -> Result<VerifiedCheckpoint, Failure> {
        let path = format!("{}?leaf={}", api::INCLUSION, daypass_proto::encoding::base64url(&leaf));
        let found: Inclusion = eventually("the leaf under a checkpoint", || self.told(&path))?;
        let note = found.checkpoint.unwrap_or_default();
        let checkpoint = VerifiedCheckpoint::verify(&note, &log.origin, keys)
            .map_err(|error| Failure::unexpected("a good checkpoint", error))?;
        verify_inclusion(checkpoint.head(), found.leaf_index, leaf, &found.hashes)
            .map_err(|error| Failure::unexpected("a proof that holds", error))?;
        Ok(checkpoint)
    }

    /// Checks that the one grew from the other.
    fn consistent(&mut self, old: &VerifiedCheckpoint, new: &VerifiedCheckpoint) -> Story {
        let path = format!("{}?first={}&second={}", api::CONSISTENCY, old.head().size(), new.head().size());
        let found: Consistency = eventually("a consistency proof", || self.told(&path))?;
        verify_consistency(old.head(), new.head(), &found.hashes)
            .map_err(|error| Failure::unexpected("one ledger", format!("{error}: {} and {}", old.note(), new.note())))
    }
}

fn pin_of(root: &Path) -> Result<Pin, Failure> {
    let der = CertificateDer::from_pem_file(root).map_err(|error| Failure::unexpected("a root", error))?;
    Pin::of_certificate(&der).ok_or_else(|| Failure::unexpected("a root with a pin", "none"))
}

#[test]
fn an_issuer_whose_configuration_is_a_bare_name_signs_as_well() -> Story {
    let place = Place::new()?;
    let issuer = Issuer::init(&place, "issuer", &Programs::find()?, None, &[])?;
    let named = issuer.act(["serve"]).env("DAYPASS_ISSUER_CONFIG", "issuer.toml");
    let _serving = Service::new("issuer", named, Ready::Says, issuer.folder()).start()?;
    eventually("a checkpoint", || {
        let status = issuer.run(["ledger", "status", "--json"])?.json()?;
        Ok(status["checkpoint"].is_string().then_some(()))
    })
}

#[test]
fn a_token_s_event_is_in_the_tree_and_everybody_can_check_it() -> Story {
    let place = Place::new()?;
    let mut issuer = serving(&place)?;
    let client = SoftwareKeys::new(&place, "client", Who::Server)?.register(&issuer, "apollo", "developer")?;
    let mut observer = Observer::new(&issuer);
    let (log, keys) = observer.keys()?;
    let leaf = |token: String| leaf_of(&token).ok_or_else(|| Failure::unexpected("a leaf in the token", token));
    let first = observer.includes(leaf(client.token(GIT, now())?)?, &log, &keys)?;
    // A minute later, another token.
    let later = leaf(client.token(GIT, now())?)?;
    let second = observer.includes(later, &log, &keys)?;
    ensure(second.head().size() > first.head().size(), "a tree that grew", second.note())?;
    observer.consistent(&first, &second)?;
    let (status, body) = observer.ask("/metrics").unwrap_or_default();
    ensure(status == 200 && body.contains("daypass_ledger_integration_lag_seconds "), "the lag as a metric", body)?;
    issuer.run(["ledger", "status"])?.says(&["in the tree", log.origin.as_str()])?;

    // Whoever has a copy, an export or the live store needs the root and nothing else.
    let kept = issuer.put("kept.txt", first.note())?.display().to_string();
    issuer.run(["ledger", "verify", "--checkpoint", &kept])?.says(&["all good"])?;
    let export = issuer.folder().join("export.jsonl").display().to_string();
    issuer.run(["ledger", "export", "--out", &export])?;
    issuer.act(["ledger", "export", "--out", &export]).run()?.refused(&["could not make"])?.code(1)?;
    let pin = pin_of(issuer.root())?.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let nobody = |arguments: &[&str]| {
        let nothing = issuer.folder().join("nothing.toml");
        issuer.act(["ledger", "verify"]).args(arguments).env("DAYPASS_ISSUER_CONFIG", nothing).run()
    };
    nobody(&["--export", &export, "--pin", &pin, "--checkpoint", &kept])?.succeeded()?.says(&["all good"])?;
    let verifier_key = log.keys.first().map(|key| key.verifier_key.clone()).unwrap_or_default();
    let key = issuer.put("ledger.key", format!("{verifier_key}\n"))?.display().to_string();
    nobody(&["--export", &export, "--key", &key])?.succeeded()?.says(&["all good"])?;
    let root = issuer.root().display().to_string();
    nobody(&["--database", &issuer.store().display().to_string(), "--key", &root])?.succeeded()?.says(&["all good"])?;
    nobody(&["--export", &export, "--pin", &"00".repeat(32)])?.refused(&["none of the checkpoint keys"])?.code(3)?;
    nobody(&["--export", &export, "--key", &kept])?
        .refused(&["is not a certificate in PEM, or verifier keys"])?
        .code(3)?;

    // One letter of one event, and one of a checkpoint that somebody says he kept.
    let text = std::fs::read_to_string(&export).map_err(Failure::machine("read the export"))?;
    let event = text.lines().nth(3).unwrap_or_default();
    let (before, leaf) = event.split_once("\"leaf\":\"").unwrap_or_default();
    let touched = text.replace(event, &format!("{before}\"leaf\":\"f{}", leaf.get(1..).unwrap_or_default()));
    let touched = issuer.put("touched.jsonl", touched)?.display().to_string();
    nobody(&["--export", &touched, "--pin", &pin])?.refused(&["was changed", "finding", "event 2"])?.code(5)?;
    let forged = issuer.put("forged.txt", first.note().replacen("\n", "\n1", 1))?.display().to_string();
    nobody(&["--export", &export, "--pin", &pin, "--checkpoint", &forged])?
        .refused(&["cannot be compared with"])?
        .code(3)?;

    // A new key signs on, and what the old one signed still holds.
    issuer.run(["key", "rotate", "checkpoint"])?;
    issuer.stop()?;
    issuer.serve()?;
    let mut observer = Observer::new(&issuer);
    let (log, both) = observer.keys()?;
    ensure(both.len() == 2, "two keys", format!("{both:?}"))?;
    let third = observer.includes(leaf_of(&client.token(GIT, now())?).unwrap_or_default(), &log, &both)?;
    observer.consistent(&second, &third)?;
    ensure(VerifiedCheckpoint::verify_any(third.note(), &keys).is_err(), "the new key's signature", third.note())?;
    issuer.run(["ledger", "verify", "--checkpoint", &kept])?.says(&["all good"])?;
    Ok(())
}

/// What the askers saw while the issuer was killed again and again.
#[derive(Default)]
struct Seen {
    leaves: Mutex<Vec<[u8; 32]>>,
    notes: Mutex<BTreeMap<u64, String>>,
    forks: Mutex<Vec<String>>,
    cut_off: AtomicUsize,
    over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    /// Asks for tokens until it is over; what counts is what came back whole.
    fn ask(&self, client: &SoftwareClient, address: SocketAddr) -> Story {
        let mut connection = None;
        while !self.over.load(Ordering::SeqCst) {
            if connection.is_none() {
                connection = Raw::open(address, client.ca(), Some((&client.certificate, &client.key))).ok();
            }
            let Some(open) = &mut connection else {
                a_moment(Duration::from_millis(5));
                continue;
            };
            match open.ask(&client.raw_token_request(GIT, now())?) {
                Some((200, body)) => {
                    let answer: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
                    let token = answer.get("access_token").and_then(|token| token.as_str()).unwrap_or_default();
                    let leaf = leaf_of(token).ok_or_else(|| Failure::unexpected("a token with its leaf", &body))?;
                    lock(&self.leaves).push(leaf);
                }
                Some((status, body)) => return Err(Failure::unexpected("a token", format!("{status} {body}"))),
                None => {
                    self.cut_off.fetch_add(1, Ordering::SeqCst);
                    connection = None;
                }
            }
        }
        Ok(())
    }

    /// Collects checkpoints until it is over.
    fn watch(&self, mut observer: Observer) {
        while !self.over.load(Ordering::SeqCst) {
            if let Some((200, note)) = observer.ask(api::CHECKPOINT)
                && let Ok((_, head)) = daypass_proto::ledger::checkpoint::peek(&note)
            {
                let mut notes = lock(&self.notes);
                let first = notes.entry(head.size()).or_insert_with(|| note.clone());
                if *first != note {
                    lock(&self.forks).push(format!("{first}\n{note}"));
                }
            }
            a_moment(Duration::from_millis(10));
        }
    }
}

/// A sequence that is the same for the same seed (splitmix64).
struct Moments(u64);

impl Moments {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn killed_at_any_moment_it_leaves_no_token_without_its_event_and_goes_on_by_itself() -> Story {
    let kills = setting("DAYPASS_KILLS").and_then(|kills| usize::try_from(kills).ok()).unwrap_or(KILLS);
    let seed = setting("DAYPASS_SEED").unwrap_or_else(|| u64::from(std::process::id()) ^ now().unsigned_abs());
    println!("{kills} kills with DAYPASS_SEED={seed} (DAYPASS_KILLS for another number)");
    let mut moments = Moments(seed);
    let place = Place::new()?;
    let mut issuer = serving(&place)?;
    let mut clients = Vec::new();
    for number in 0..ASKERS {
        let keys = SoftwareKeys::new(&place, &format!("client-{number}"), Who::Server)?;
        clients.push(keys.register(&issuer, "apollo", "developer")?);
    }
    let (log, keys) = Observer::new(&issuer).keys()?;
    let (seen, mtls, watcher) = (Seen::default(), issuer.mtls_address(), Observer::new(&issuer));
    thread::scope(|scope| -> Story {
        let askers: Vec<_> = clients.iter().map(|client| scope.spawn(|| seen.ask(client, mtls))).collect();
        scope.spawn(|| seen.watch(watcher));
        let killed = (|| -> Story {
            for kill in 1..=kills {
                // Any moment: while it starts to answer, between two rounds of the integrator, in the middle of one.
                a_moment(Duration::from_micros(moments.next(500_000)));
                issuer.kill();
                // As it lies there, and not only after somebody has tidied up.
                if kill % 10 == 0 {
                    issuer.run(["ledger", "verify"])?.says(&["all good"])?;
                }
                issuer.serve()?;
            }
            Ok(())
        })();
        seen.over.store(true, Ordering::SeqCst);
        for asker in askers {
            asker.join().map_err(|_| Failure::unexpected("an asker that ends", "a panic"))??;
        }
        killed
    })?;
    let (leaves, notes) = (lock(&seen.leaves).clone(), lock(&seen.notes).clone());
    let forks = lock(&seen.forks).join("\n");
    let cut_off = seen.cut_off.load(Ordering::SeqCst);
    println!("{} tokens, {} checkpoints seen, {cut_off} answers cut off", leaves.len(), notes.len());
    ensure(forks.is_empty(), "one checkpoint of each size", forks)?;
    ensure(leaves.len() > kills && cut_off > kills / 4 && notes.len() > 2, "some load", leaves.len())?;
    let mut observer = Observer::new(&issuer);
    for leaf in &leaves {
        observer.includes(*leaf, &log, &keys)?;
    }
    let mut before: Option<VerifiedCheckpoint> = None;
    for note in notes.values() {
        let checkpoint = VerifiedCheckpoint::verify(note, &log.origin, &keys)
            .map_err(|error| Failure::unexpected("a good checkpoint", error))?;
        if let Some(before) = &before {
            observer.consistent(before, &checkpoint)?;
        }
        before = Some(checkpoint);
    }
    let first = notes.values().next().cloned().unwrap_or_default();
    let kept = issuer.put("kept.txt", first)?.display().to_string();
    issuer.stop()?;
    issuer.run(["ledger", "verify", "--checkpoint", &kept])?.says(&["all good"])?;
    issuer.run(["ledger", "status"])?.says(&["waiting      none"])?;
    Ok(())
}

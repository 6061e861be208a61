//! Numbers, leases and promises.

use daypass_proto::ledger::{
    checkpoint::{Origin, VerifiedCheckpoint},
    tree::{Frontier, Head, Tiles, extend},
};

use super::{
    super::{audit::audit_store, integrator::Round},
    *,
};
use crate::store::{Backlog, Change, Integration, Place, SqliteStore, Unnumbered};

#[tokio::test]
async fn events_get_their_numbers_in_the_order_in_which_they_were_written() {
    let made = Made::new().await;
    let issuer = &made.issuer;
    let mut written = Vec::new();
    for number in 0..20 {
        written.push(decide(issuer, number).await);
    }
    assert_eq!(issuer.store.place_of(written[0]).await.unwrap(), Place::Unnumbered);
    catch_up(issuer).await;
    let all = numbered(issuer.store.as_ref()).await;
    assert_eq!(all[all.len() - 20..], written, "after those of `init`");
    let mut frontier = Frontier::default();
    all.iter().for_each(|hash| frontier.push(*hash));
    let state = issuer.store.ledger().await.unwrap().unwrap();
    assert_eq!((state.head.size(), state.head.root()), (frontier.size(), frontier.root()));
    assert_eq!(issuer.store.place_of(written[0]).await.unwrap(), Place::Numbered(state.head.size() - 20));
    assert_eq!(issuer.store.place_of([0; 32]).await.unwrap(), Place::Unknown);
}

#[tokio::test]
async fn whoever_commits_late_is_not_passed_over() {
    let made = Made::new().await;
    let issuer = &made.issuer;
    catch_up(issuer).await;
    let before = issuer.store.ledger().await.unwrap().unwrap();
    // Two writers at once. The late one has written its row, and has not committed when the integrator looks.
    let quick = decide(issuer, 1).await;
    let mut connection = beside(&database(&made)).await;
    let late = event(issuer, 2);
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
    sqlx::query("INSERT INTO events (leaf_hash, kind, at, leaf) VALUES ($1, 'invited', 0, $2)")
        .bind(leaf_hash(&late.leaf()).to_vec())
        .bind(late.leaf())
        .execute(&mut connection)
        .await
        .unwrap();
    let events = issuer.store.unnumbered(10).await.unwrap();
    let leaves = hashes(&events);
    assert_eq!(leaves, [quick], "a row that is not committed is not seen");
    // It commits before the integrator, who will not have seen it.
    sqlx::raw_sql("COMMIT").execute(&mut connection).await.unwrap();
    let tiles = whole_tree(issuer).await;
    let extension = extend(&before.head, &tiles, &leaves).unwrap();
    let until = issuer.environment.now().plus(10);
    let epoch = issuer.store.take_lease(HERE, issuer.environment.now(), until).await.unwrap().unwrap();
    let integration = Integration {
        epoch,
        from: before.head,
        to: extension.head,
        events,
        tiles: extension.tiles,
        lease_until: until,
    };
    assert!(issuer.store.integrate(integration).await.unwrap());
    // The numbers have gone past it, and it gets the next.
    let late = leaf_hash(&late.leaf());
    assert_eq!(issuer.store.place_of(late).await.unwrap(), Place::Unnumbered);
    catch_up(issuer).await;
    let all = numbered(issuer.store.as_ref()).await;
    assert_eq!(all[usize::try_from(before.head.size()).unwrap()..], [quick, late]);
}

fn hashes(events: &[Unnumbered]) -> Vec<[u8; 32]> {
    events.iter().map(|event| event.leaf_hash).collect()
}

async fn whole_tree(issuer: &Issuer) -> Tiles {
    use daypass_proto::ledger::tree::TileId;
    issuer.store.tiles(&[TileId { level: 0, index: 0 }]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_of_two_processes_while_two_integrate() {
    let made = Made::new().await;
    // With a checkpoint, without which an audit says that nothing is signed.
    catch_up(&made.issuer).await;
    let path = database(&made);
    let issuer = made.issuer;
    let other = Arc::new(SqliteStore::open(&path, false).await.unwrap());
    let writers: Vec<_> = (0..8_u64)
        .map(|writer| {
            let (issuer, other) = (Arc::clone(&issuer), Arc::clone(&other));
            tokio::spawn(async move {
                let mut written = Vec::new();
                for number in 0..60 {
                    let event = event(&issuer, writer * 1000 + number);
                    written.push(leaf_hash(&event.leaf()));
                    let store: &dyn Store = if writer % 2 == 0 { issuer.store.as_ref() } else { other.as_ref() };
                    store.decide(Decision::new(event)).await.unwrap();
                }
                written
            })
        })
        .collect();
    // Both run under one name, so they take the lease from each other all the time: what is left is the fence.
    let writing = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let integrators: Vec<_> = (0..2)
        .map(|_| {
            let (issuer, writing) = (Arc::clone(&issuer), Arc::clone(&writing));
            tokio::spawn(async move {
                let mut integrator = Integrator::new(&issuer, HERE.to_owned());
                let mut lost = 0;
                while writing.load(std::sync::atomic::Ordering::SeqCst) {
                    lost += usize::from(integrator.round().await.unwrap() == Round::NotOurs);
                    tokio::task::yield_now().await;
                }
                lost
            })
        })
        .collect();
    // And somebody audits what is there, again and again.
    let keyring = issuer.keyring();
    let keys: Vec<_> = keyring.checkpoint_keys().iter().map(|(key, _)| *key).collect();
    let mut audits = 0;
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) || audits == 0 {
        let report = audit_store(issuer.store.as_ref(), keys.clone(), Vec::new()).await.unwrap();
        assert_eq!(report.findings, [], "{report:?}");
        audits += 1;
    }
    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    writing.store(false, std::sync::atomic::Ordering::SeqCst);
    for integrator in integrators {
        integrator.await.unwrap();
    }
    catch_up(&issuer).await;
    let mut all = numbered(issuer.store.as_ref()).await;
    let mut frontier = Frontier::default();
    all.iter().for_each(|hash| frontier.push(*hash));
    assert_eq!(issuer.store.ledger().await.unwrap().unwrap().head.root(), frontier.root());
    all.sort_unstable();
    assert!(written.iter().all(|hash| all.binary_search(hash).is_ok()));
    all.dedup();
    assert_eq!(all.len() as u64, frontier.size());
    assert_eq!(issuer.store.backlog().await.unwrap(), Backlog::default());
}

#[tokio::test]
async fn a_lease_that_is_over_writes_nothing() {
    let made = Made::new().await;
    let issuer = &made.issuer;
    let store = issuer.store.as_ref();
    let (mut first, mut second) =
        (Integrator::new(issuer, "first".to_owned()), Integrator::new(issuer, "second".to_owned()));
    decide(issuer, 1).await;
    assert_eq!(first.round().await.unwrap(), Round::Worked);
    first.catch_up().await.unwrap();
    decide(issuer, 2).await;
    assert_eq!(second.round().await.unwrap(), Round::NotOurs, "the lease is the first one's");
    // The first falls asleep before it writes.
    let asleep = store.ledger().await.unwrap().unwrap();
    let events = store.unnumbered(10).await.unwrap();
    let extension = extend(&asleep.head, &whole_tree(issuer).await, &hashes(&events)).unwrap();
    made.pass(11);
    decide(issuer, 3).await;
    assert_ne!(second.round().await.unwrap(), Round::NotOurs);
    second.catch_up().await.unwrap();
    let after = store.ledger().await.unwrap().unwrap();
    assert!(after.epoch > asleep.epoch && after.holder.as_deref() == Some("second"));
    let integrate = |epoch, from: Head| Integration {
        epoch,
        from,
        to: extension.head,
        events: events.clone(),
        tiles: extension.tiles.clone(),
        lease_until: made.now().plus(1000),
    };
    assert!(!store.integrate(integrate(asleep.epoch, asleep.head)).await.unwrap(), "the epoch is over");
    assert!(!store.integrate(integrate(after.epoch, asleep.head)).await.unwrap(), "the tree is another");
    assert!(!store.integrate(integrate(after.epoch, after.head)).await.unwrap(), "the events have their numbers");
    assert!(!store.promise_checkpoint(asleep.epoch, after.head, made.now()).await.unwrap());
    assert_eq!(store.ledger().await.unwrap().unwrap(), after, "nothing of it has happened");
    decide(issuer, 4).await;
    assert_eq!(first.round().await.unwrap(), Round::NotOurs);
}

#[tokio::test]
async fn an_issuer_that_was_killed_does_not_wait_for_itself() {
    let made = Made::new().await;
    decide(&made.issuer, 1).await;
    catch_up(&made.issuer).await;
    decide(&made.issuer, 2).await;
    // The same place, the same second, another run.
    let mut again = Integrator::new(&made.issuer, HERE.to_owned());
    again.catch_up().await.unwrap();
    assert_eq!(made.issuer.store.backlog().await.unwrap().events, 0);
}

#[tokio::test]
async fn there_is_one_checkpoint_of_each_size_and_a_promise_is_kept() {
    let made = Made::new().await;
    let issuer = &made.issuer;
    let store = issuer.store.as_ref();
    decide(issuer, 1).await;
    catch_up(issuer).await;
    let newest = store.newest_checkpoint().await.unwrap().unwrap();
    let keyring = issuer.keyring();
    let keys: Vec<_> = keyring.checkpoint_keys().iter().map(|(key, _)| *key).collect();
    let verified = VerifiedCheckpoint::verify(newest.note.as_ref().unwrap(), &newest.origin, &keys).unwrap();
    let state = store.ledger().await.unwrap().unwrap();
    assert_eq!((verified.head(), state.promised), (&state.head, state.head.size()));
    assert!(!store.promise_checkpoint(state.epoch, state.head, made.now()).await.unwrap(), "promised already");
    assert!(!store.seal_checkpoint(newest.clone(), "another".to_owned()).await.unwrap(), "sealed already");
    // Another event, and the power goes between promise and signature.
    made.pass(1);
    decide(issuer, 2).await;
    let mut integrator = Integrator::new(issuer, HERE.to_owned());
    integrator.catch_up().await.unwrap();
    made.pass(1);
    decide(issuer, 3).await;
    let mut cut = Integrator::new(issuer, HERE.to_owned());
    // One that cannot sign integrates and promises nothing.
    let mut connection = beside(&database(&made)).await;
    sqlx::raw_sql("UPDATE keys SET purpose = 'hidden' WHERE purpose = 'checkpoint'")
        .execute(&mut connection)
        .await
        .unwrap();
    issuer.reload_keys().await.unwrap();
    cut.catch_up().await.unwrap();
    let state = store.ledger().await.unwrap().unwrap();
    assert!(state.head.size() > state.promised);
    assert!(store.promise_checkpoint(state.epoch, state.head, made.now()).await.unwrap());
    assert_eq!(store.unsealed_checkpoint().await.unwrap().unwrap().head, state.head);
    assert_ne!(store.newest_checkpoint().await.unwrap().unwrap().head, state.head);
    sqlx::raw_sql("UPDATE keys SET purpose = 'checkpoint' WHERE purpose = 'hidden'")
        .execute(&mut connection)
        .await
        .unwrap();
    issuer.reload_keys().await.unwrap();
    // More happens before anybody comes to sign it: what was promised is signed all the same, as it was promised.
    made.pass(1);
    decide(issuer, 4).await;
    catch_up(issuer).await;
    made.pass(1);
    catch_up(issuer).await;
    assert_eq!(store.unsealed_checkpoint().await.unwrap(), None);
    let all = store.checkpoints(0, 100).await.unwrap();
    let kept = all.iter().find(|checkpoint| checkpoint.head == state.head).unwrap();
    VerifiedCheckpoint::verify(kept.note.as_ref().unwrap(), &kept.origin, &keys).unwrap();
    assert!(all.is_sorted_by(|a, b| a.head.size() < b.head.size()));
}

#[tokio::test]
async fn a_new_key_signs_on_and_the_old_one_is_still_known() {
    let made = Made::new().await;
    let issuer = &made.issuer;
    catch_up(issuer).await;
    let old = issuer.keyring().checkpoint().unwrap().public();
    crate::commands::rotate(issuer, crate::store::KeyPurpose::Checkpoint).await.unwrap();
    issuer.reload_keys().await.unwrap();
    let keyring = issuer.keyring();
    let new = keyring.checkpoint().unwrap().public();
    assert_ne!(new, old);
    let known: Vec<_> = keyring.checkpoint_keys().iter().map(|(key, _)| *key).collect();
    assert_eq!(known.len(), 2);
    made.pass(1);
    catch_up(issuer).await;
    let all = issuer.store.checkpoints(0, 10).await.unwrap();
    let by =
        |at: usize, key| VerifiedCheckpoint::verify(all[at].note.as_ref().unwrap(), &all[at].origin, &[key]).is_ok();
    assert!(by(0, old) && !by(0, new) && by(all.len() - 1, new) && !by(all.len() - 1, old));
    let report = audit_store(issuer.store.as_ref(), known, Vec::new()).await.unwrap();
    assert_eq!(report.findings, []);
}

#[tokio::test]
async fn nothing_is_built_on_a_tree_that_was_altered() {
    let made = Made::new().await;
    catch_up(&made.issuer).await;
    let mut connection = beside(&database(&made)).await;
    sqlx::raw_sql("UPDATE ledger_tiles SET hashes = zeroblob(length(hashes))").execute(&mut connection).await.unwrap();
    decide(&made.issuer, 1).await;
    made.pass(1);
    let before = made.issuer.store.ledger().await.unwrap();
    let mut integrator = Integrator::new(&made.issuer, HERE.to_owned());
    assert!(matches!(integrator.catch_up().await, Err(super::super::LedgerError::Tree(_))));
    let after = made.issuer.store.ledger().await.unwrap();
    assert_eq!(after.map(|state| (state.head, state.promised)), before.map(|state| (state.head, state.promised)));
}

#[tokio::test]
async fn a_store_from_before_the_ledger_gets_one() {
    let made = Made::new().await;
    let mut connection = beside(&database(&made)).await;
    sqlx::raw_sql("DELETE FROM ledger").execute(&mut connection).await.unwrap();
    catch_up(&made.issuer).await;
    let state = made.issuer.store.ledger().await.unwrap().unwrap();
    assert!(state.origin.as_str().starts_with("localhost:8443/ledger/"));
    let kinds: Vec<_> = made.issuer.store.entries(0, 100).await.unwrap().into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "ledger_begun").count(), 2, "`init`'s, and the new one");
    assert!(state.head.size() == kinds.len() as u64 && state.promised == state.head.size());
}

#[tokio::test]
async fn an_event_that_no_tile_can_carry_is_refused_with_its_decision() {
    let made = Made::new().await;
    let large = made.issuer.environment.event(EventKind::IssuerStarted).text("version", "x".repeat(0xffff));
    let refused = made.issuer.store.decide(Decision::new(large)).await;
    let error = crate::store::StoreError::EventTooLarge(0);
    assert!(
        matches!(&refused, Err(crate::store::DecideError::Store(found)) if std::mem::discriminant(found) == std::mem::discriminant(&error)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_ledger_under_another_name_promises_anew_and_knows_nobody_s_lease() {
    let made = Made::new().await;
    let issuer = &made.issuer;
    let store = issuer.store.as_ref();
    catch_up(issuer).await;
    let (before, old) = (store.ledger().await.unwrap().unwrap(), store.newest_checkpoint().await.unwrap().unwrap());
    let to: Origin = "localhost/ledger/new".parse().unwrap();
    let rename = |from: &Origin| {
        let change = Change::RenameLedger { to: to.clone(), from: from.clone() };
        store.decide(Decision::new(event(issuer, 1)).change(change))
    };
    assert!(rename(&to).await.is_err(), "not its name");
    rename(&before.origin).await.unwrap();
    assert!(store.newest_checkpoint().await.unwrap().is_none(), "none of the new name");
    assert!(!store.promise_checkpoint(before.epoch, before.head, made.now()).await.unwrap(), "a lease from before");
    made.pass(1);
    Integrator::new(issuer, "elsewhere".to_owned()).catch_up().await.unwrap();
    let new = store.newest_checkpoint().await.unwrap().unwrap();
    assert_eq!((&new.origin, new.head.size()), (&to, old.head.size() + 1));
    let begin = Change::BeginLedger(to.clone());
    assert!(store.decide(Decision::new(event(issuer, 2)).change(begin)).await.is_err(), "there is one");
}

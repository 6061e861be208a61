//! The suite that every engine passes.

use daypass_proto::{
    encoding::Fixed,
    ledger::EventKind,
    names::{GrantId, InvitationId},
    time::Timestamp,
};

use super::*;
use crate::clock::Environment;

async fn store() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("s.db"), true).await.unwrap();
    (folder, store)
}

fn event() -> Event {
    Environment::system().event(EventKind::Invited)
}

fn grant(n: u8) -> Grant {
    Grant {
        id: GrantId::from_random([n; 10]),
        collaborator: "alice".parse().unwrap(),
        project: "apollo".parse().unwrap(),
        role: "developer".parse().unwrap(),
        until: Timestamp::from_seconds(10),
        state: GrantLife::Requested,
        device: None,
    }
}

async fn events(folder: &tempfile::TempDir) -> i64 {
    let pool = sqlx::SqlitePool::connect_with(
        sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("s.db")).read_only(true),
    )
    .await
    .unwrap();
    sqlx::query_scalar("SELECT COUNT(*) FROM events").fetch_one(&pool).await.unwrap()
}

#[tokio::test]
async fn a_decision_happens_whole_or_not_at_all() {
    let (folder, store) = store().await;
    store.decide(Decision::new(event()).change(Change::AddGrant(grant(1)))).await.unwrap();
    // The second change fails, so the first and the event must not stand.
    let twice = Decision::new(event()).change(Change::AddGrant(grant(2))).change(Change::AddGrant(grant(1)));
    assert!(matches!(store.decide(twice).await, Err(DecideError::Conflict(Condition::Name(_)))));
    assert!(store.grant(&grant(2).id).await.unwrap().is_none());
    assert_eq!(events(&folder).await, 1);
}

#[tokio::test]
async fn of_two_who_decide_at_once_one_wins() {
    let (_folder, store) = store().await;
    store.decide(Decision::new(event()).change(Change::AddGrant(grant(1)))).await.unwrap();
    let to = |state| Change::Grant { to: Grant { state, ..grant(1) }, from: GrantLife::Requested };
    let (one, other) = tokio::join!(
        store.decide(Decision::new(event()).change(to(GrantLife::Active))),
        store.decide(Decision::new(event()).change(to(GrantLife::Revoked))),
    );
    assert!(one.is_ok() != other.is_ok());
}

#[tokio::test]
async fn a_batch_gives_each_its_own_answer() {
    let (_folder, store) = store().await;
    let store = std::sync::Arc::new(store);
    let tasks: Vec<_> = (0..40_u8)
        .map(|n| {
            let store = std::sync::Arc::clone(&store);
            // Every grant is added twice.
            tokio::spawn(async move {
                store.decide(Decision::new(event()).change(Change::AddGrant(grant(n / 2)))).await.is_ok()
            })
        })
        .collect();
    let mut good = 0;
    for task in tasks {
        good += usize::from(task.await.unwrap());
    }
    assert_eq!(good, 20);
}

#[tokio::test]
async fn a_challenge_and_a_proof_are_taken_once() {
    let (_folder, store) = store().await;
    let challenge = Challenge {
        id: "enr-1".into(),
        expires_at: Timestamp::from_seconds(100),
        nonce: Fixed([0; 32]),
        pcrs: vec![0],
        transcript: Fixed([0; 32]),
        kind: ChallengeKind::Renewal { device: DeviceId::from_random([1; 10]) },
    };
    store.decide(Decision::new(event()).change(Change::AddChallenge(challenge))).await.unwrap();
    let take = || Decision::new(event()).change(Change::TakeChallenge("enr-1".into()));
    store.decide(take()).await.unwrap();
    assert!(matches!(store.decide(take()).await, Err(DecideError::Conflict(Condition::Challenge))));
    let proof =
        || Decision::new(event()).change(Change::RememberProof { id: [1; 32], until: Timestamp::from_seconds(50) });
    store.decide(proof()).await.unwrap();
    assert!(matches!(store.decide(proof()).await, Err(DecideError::Conflict(Condition::ProofIsNew))));
    store.sweep(Timestamp::from_seconds(51)).await.unwrap();
    store.decide(proof()).await.unwrap();
}

#[tokio::test]
async fn a_store_survives_being_opened_again() {
    let (folder, store) = store().await;
    let invitation = Invitation {
        id: InvitationId::from_random([1; 10]),
        secret_hash: Fixed([9; 32]),
        collaborator: "alice".parse().unwrap(),
        project: "apollo".parse().unwrap(),
        role: "developer".parse().unwrap(),
        grant: grant(1).id,
        expires_at: Timestamp::from_seconds(5),
        ek_hash: None,
        state: InvitationLife::Open,
        device: None,
    };
    store.decide(Decision::new(event()).change(Change::AddInvitation(invitation))).await.unwrap();
    drop(store);
    let again = SqliteStore::open(&folder.path().join("s.db"), false).await.unwrap();
    assert!(again.invitation_by_secret([9; 32]).await.unwrap().is_some());
    assert!(again.invitation_by_secret([8; 32]).await.unwrap().is_none());
    assert!(SqliteStore::open(&folder.path().join("missing.db"), false).await.is_err());
}

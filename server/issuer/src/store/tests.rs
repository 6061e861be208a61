//! The suite that every engine passes.

use daypass_proto::{
    encoding::Fixed,
    gate_api::FLOW_OUTLIVES_TOKEN,
    ledger::EventKind,
    names::{GrantId, InvitationId},
    time::{Skew, Timestamp},
};

use super::*;
use crate::{clock::Environment, fixture::Made};

async fn store() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("s.db"), true).await.unwrap();
    (folder, store)
}

fn event() -> Event {
    crate::fixture::event(&Environment::system())
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
    let rows: Vec<(i64,)> = query(folder, "SELECT COUNT(*) FROM events").await;
    rows[0].0
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
    let store = Arc::new(store);
    let tasks: Vec<_> = (0..40_u8)
        .map(|n| {
            let store = Arc::clone(&store);
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

async fn query<T>(folder: &tempfile::TempDir, sql: &'static str) -> Vec<T>
where
    T: for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> + Send + Unpin,
{
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("s.db")).read_only(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query_as(sql).fetch_all(&pool).await.unwrap()
}

#[tokio::test]
async fn an_event_row_is_its_leaf_and_a_person_can_be_erased_from_it() {
    let (folder, store) = store().await;
    let environment = Environment::system();
    let event = environment.personal(event(), "by", "alice@example.com");
    let leaf = event.leaf();
    store.decide(Decision::new(event).change(Change::AddGrant(grant(1)))).await.unwrap();
    type Row = (Vec<u8>, Vec<u8>, String, Option<i64>);
    let rows: Vec<Row> = query(&folder, "SELECT leaf_hash, leaf, kind, sequence FROM events").await;
    let [(hash, stored, kind, sequence)] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(stored, &leaf);
    assert_eq!(hash[..], daypass_proto::ledger::leaf_hash(&leaf));
    assert_eq!((kind.as_str(), sequence), ("issuer_started", &None), "no number when it commits");
    assert!(!String::from_utf8_lossy(stored).contains("alice"), "the person stands beside the leaf, not in it");
    let fields: Vec<(String, Vec<u8>, String)> = query(&folder, "SELECT name, salt, value FROM personal_fields").await;
    let [(name, salt, value)] = fields.as_slice() else { panic!("{fields:?}") };
    assert_eq!((name.as_str(), salt.len(), value.as_str()), ("by", 32, "alice@example.com"));
}

#[tokio::test]
async fn nobody_else_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, store) = store().await;
    store.decide(Decision::new(event()).change(Change::AddGrant(grant(1)))).await.unwrap();
    for name in ["s.db", "s.db-wal", "s.db-shm"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

#[tokio::test]
async fn what_a_decision_requires_must_be_so() {
    let made = Made::with_software().await;
    let device = made.client().await;
    let store = &made.issuer.store;
    let grant = store.grants_of(&device.id).await.unwrap().remove(0);
    let try_it = async |change| store.decide(Decision::new(event()).change(change)).await;
    try_it(Change::RequireDevice(device.id.clone(), DeviceLife::Approved)).await.unwrap();
    try_it(Change::RequireGrant(grant.id.clone(), GrantLife::Active)).await.unwrap();
    for (change, condition) in [
        (Change::RequireDevice(device.id.clone(), DeviceLife::Pending), Condition::Device(device.id.clone())),
        (Change::RequireGrant(grant.id.clone(), GrantLife::Requested), Condition::Grant(grant.id.clone())),
        (
            Change::Device { to: Box::new(device.clone()), from: DeviceLife::Suspended },
            Condition::Device(device.id.clone()),
        ),
        (Change::AddDevice(device.clone()), Condition::Name(device.id.to_string())),
        (Change::RetireKey { kid: "none".into(), at: made.now() }, Condition::Key("none".into())),
        (Change::TakeChallenge("none".into()), Condition::Challenge),
    ] {
        let refused = try_it(change).await;
        assert!(matches!(&refused, Err(DecideError::Conflict(found)) if *found == condition), "{refused:?}");
    }
}

#[tokio::test]
async fn a_key_is_retired_once() {
    let made = Made::new().await;
    let store = &made.issuer.store;
    let kid = store.keys(KeyPurpose::Token).await.unwrap()[0].kid.clone();
    let retire = |at| Decision::new(event()).change(Change::RetireKey { kid: kid.clone(), at });
    store.decide(retire(made.now().plus(5))).await.unwrap();
    assert!(matches!(store.decide(retire(made.now().plus(500))).await, Err(DecideError::Conflict(_))));
    assert_eq!(store.keys(KeyPurpose::Token).await.unwrap()[0].retire_at, Some(made.now().plus(5)));
}

#[tokio::test]
async fn what_is_dead_is_named_for_as_long_as_a_request_can_be_using_it() {
    let made = Made::with_software().await;
    let device = made.client().await;
    let store = &made.issuer.store;
    let grant = store.grants_of(&device.id).await.unwrap().remove(0);
    let resource: Resource = "https://git.example.com/".parse().unwrap();
    let expires_at = made.now().plus(600);
    for jti in ["kept", "revoked"] {
        let token = IssuedToken {
            jti: jti.into(),
            device: device.id.clone(),
            grant: grant.id.clone(),
            resource: resource.clone(),
            expires_at,
            revoked: false,
        };
        store.decide(Decision::new(event()).change(Change::AddToken(token))).await.unwrap();
    }
    let dead = async |software| store.dead(std::slice::from_ref(&resource), made.now(), software).await.unwrap();
    let become_ = async |from: &Device, state| {
        let to = Device { state, ..from.clone() };
        let change = Change::Device { to: Box::new(to.clone()), from: from.state };
        store.decide(Decision::new(event()).change(change)).await.unwrap();
        to
    };
    assert_eq!(dead(true).await, Dead::default());
    assert_eq!(dead(false).await, Dead { devices: vec![(device.id.clone(), DeviceEnd::Software)], ..Dead::default() });
    store.decide(Decision::new(event()).change(Change::RevokeToken("revoked".into()))).await.unwrap();
    let token = || vec!["revoked".to_owned()];
    assert_eq!(dead(true).await, Dead { tokens: token(), ..Dead::default() });
    let suspended = become_(&device, DeviceLife::Suspended).await;
    let devices = |life| vec![(device.id.clone(), DeviceEnd::Life(life))];
    let all = Dead { tokens: token(), devices: devices(DeviceLife::Suspended), ..Dead::default() };
    assert_eq!(dead(true).await, all);
    assert_eq!(dead(false).await, all, "the state is said before the kind of keys");
    let ended = Grant { state: GrantLife::Ended, ..grant.clone() };
    store.decide(Decision::new(event()).change(Change::Grant { to: ended, from: GrantLife::Active })).await.unwrap();
    become_(&suspended, DeviceLife::Revoked).await;
    let all = Dead { tokens: token(), devices: devices(DeviceLife::Revoked), grants: vec![grant.id.clone()] };
    assert_eq!(dead(true).await, all);
    let elsewhere: Resource = "https://other.example.com/".parse().unwrap();
    assert_eq!(store.dead(&[elsewhere], made.now(), true).await.unwrap(), Dead::default(), "not this gate's business");
    // A request may go on when its token has ended, at a gate whose clock is behind: so long they are all named, and the token is kept.
    made.pass(600 + FLOW_OUTLIVES_TOKEN + Skew::MAX_SECONDS - 1);
    store.sweep(made.now()).await.unwrap();
    assert_eq!(dead(true).await, all);
    made.pass(2);
    assert_eq!(dead(true).await, Dead::default());
    store.sweep(made.now()).await.unwrap();
    assert!(store.token("kept").await.unwrap().is_none());
}

#[tokio::test]
async fn a_certificate_is_remembered_beyond_its_end_so_that_its_holder_learns_of_it() {
    let (_folder, store) = store().await;
    let holder = Holder::Device(DeviceId::from_random([1; 10]));
    let not_after = Timestamp::from_seconds(1000);
    let record = CertificateRecord { holder: holder.clone(), not_before: Timestamp::from_seconds(500), not_after };
    let add = Change::AddCertificate { hash: [3; 32], record: record.clone() };
    store.decide(Decision::new(event()).change(add)).await.unwrap();
    store.sweep(not_after.plus(86_400)).await.unwrap();
    assert_eq!(store.certificate([3; 32]).await.unwrap(), Some(record));
    assert_eq!(store.certificate([4; 32]).await.unwrap(), None);
    store.decide(Decision::new(event()).change(Change::DropCertificates(holder))).await.unwrap();
    assert_eq!(store.certificate([3; 32]).await.unwrap(), None);
}

#[tokio::test]
async fn a_second_process_writes_beside_the_first() {
    let (folder, server) = store().await;
    let command = SqliteStore::open(&folder.path().join("s.db"), false).await.unwrap();
    let add = |store: SqliteStore, first: u8| async move {
        for n in first..first + 20 {
            store.decide(Decision::new(event()).change(Change::AddGrant(grant(n)))).await.unwrap();
        }
    };
    tokio::join!(add(server, 0), add(command, 100));
    assert_eq!(events(&folder).await, 40);
}

#[tokio::test]
async fn an_event_that_is_not_in_the_vocabulary_is_refused_with_its_decision() {
    let (folder, store) = store().await;
    let bare = Environment::system().event(EventKind::Invited);
    let refused = store.decide(Decision::new(bare).change(Change::AddGrant(grant(1)))).await;
    assert!(matches!(refused, Err(DecideError::Store(StoreError::Vocabulary(_)))), "{refused:?}");
    assert!(store.grant(&grant(1).id).await.unwrap().is_none());
    assert_eq!(events(&folder).await, 0);
}

//! The suite that every engine passes.

use daypass_proto::{
    encoding::Fixed,
    gate_api::FLOW_OUTLIVES_TOKEN,
    ledger::{Event, EventKind},
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
        made_at: None,
        used: 0,
        terms: Terms::default(),
        replaces: None,
        briefed: None,
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
async fn of_what_is_written_together_only_what_is_at_fault_is_refused() {
    let made = Made::with_software().await;
    let (good, suspended) = (made.client().await, made.client().await);
    let store = made.issuer.store.as_ref();
    let to = Device { state: DeviceLife::Suspended, ..suspended.clone() };
    let change = Change::Device { to: Box::new(to), from: DeviceLife::Approved };
    let event = || crate::fixture::event(&made.issuer.environment);
    store.decide(Decision::new(event()).change(change)).await.unwrap();
    let token = |device: &Device, n: u8| {
        Decision::new(made.issuer.environment.event(EventKind::LooseningEnabled).text("setting", "s"))
            .change(Change::RequireDevice(device.id.clone(), DeviceLife::Approved))
            .change(Change::RememberProof { id: [n; 32], until: made.now().plus(60) })
            .change(Change::AddToken {
                token: IssuedToken {
                    jti: format!("t{n}"),
                    device: device.id.clone(),
                    grant: grant(1).id,
                    resource: "https://git.example.com/".parse().unwrap(),
                    expires_at: made.now().plus(60),
                    revoked: false,
                },
                now: made.now(),
                most: 6,
            })
    };
    let huge = || Decision::new(event().text("version", "x".repeat(MAX_LEAF)));
    let early = Event::new([1; 16], EventKind::IssuerStarted, made.now().plus(-1000)).text("version", "x");
    // Each three wait together and come in one batch.
    let (one, again, two) =
        tokio::join!(store.decide(token(&good, 1)), store.decide(token(&good, 1)), store.decide(token(&good, 2)));
    assert!(one.is_ok() && two.is_ok());
    assert!(matches!(again, Err(DecideError::Conflict(Condition::ProofIsNew))));
    let (three, other, four) =
        tokio::join!(store.decide(token(&good, 3)), store.decide(token(&suspended, 5)), store.decide(token(&good, 4)));
    assert!(three.is_ok() && four.is_ok());
    assert!(matches!(other, Err(DecideError::Conflict(Condition::Device(id))) if id == suspended.id));
    let (large, clock, five) =
        tokio::join!(store.decide(huge()), store.decide(Decision::new(early)), store.decide(token(&good, 5)));
    assert!(matches!(large, Err(DecideError::Store(StoreError::EventTooLarge(_)))));
    assert!(matches!(clock, Err(DecideError::Clock { .. })));
    assert!(five.is_ok(), "its proof was not remembered when it was refused");
    let (six, seven, eight) =
        tokio::join!(store.decide(token(&good, 6)), store.decide(token(&good, 7)), store.decide(token(&good, 8)));
    assert!(six.is_ok(), "there is room for one more");
    for full in [seven, eight] {
        assert!(matches!(full, Err(DecideError::Conflict(Condition::RoomForToken(id))) if id == good.id));
    }
    assert_eq!(made.events("loosening_enabled").await.len(), 6, "what is refused leaves nothing");
    for jti in ["t1", "t2", "t3", "t4", "t5"] {
        assert_eq!(store.token(jti).await.unwrap().map(|token| token.device), Some(good.id.clone()), "{jti}");
    }
}

#[tokio::test]
async fn what_was_seen_of_a_device_holds_for_as_long_as_none_of_it_changed() {
    let made = Made::with_software().await;
    let (store, event) = (made.issuer.store.as_ref(), || crate::fixture::event(&made.issuer.environment));
    let device = made.client().await;
    let record = CertificateRecord {
        holder: Holder::Device(device.id.clone()),
        not_before: made.now(),
        not_after: made.now().plus(60),
    };
    let certify = || Decision::new(event()).change(Change::AddCertificate { hash: [1; 32], record: record.clone() });
    store.decide(certify()).await.unwrap();
    let seen = async || match store.presented([1; 32]).await.unwrap() {
        Some(Presented::Device(known)) => known,
        _ => panic!("a device"),
    };
    let require = |known: &Arc<KnownDevice>| {
        Decision::new(event()).change(Change::RequireSeen { device: Arc::clone(known), grant: known.grants[0].clone() })
    };
    let first = seen().await;
    store.decide(require(&first)).await.unwrap();
    store.decide(require(&first)).await.unwrap();
    let old = Device::clone(&first.device);
    let held = Grant::clone(&first.grants[0]);
    let reason = Device { reason: Some("still approved".to_owned()), ..old.clone() };
    let longer = Grant { until: held.until.plus(1), ..held.clone() };
    let changes = [
        Decision::new(event()).change(Change::Device { to: Box::new(reason), from: DeviceLife::Approved }),
        Decision::new(event()).change(Change::Extend { to: Box::new(longer), from: Box::new(held) }),
        Decision::new(event()).change(Change::DropCertificates(record.holder.clone())),
    ];
    let mut known = first;
    for change in changes {
        store.decide(require(&known)).await.unwrap();
        store.decide(change).await.unwrap();
        let refused = store.decide(require(&known)).await;
        assert!(matches!(refused, Err(DecideError::Conflict(Condition::Device(id))) if id == device.id));
        // Beside others that wait with it, too.
        let other = Decision::new(event()).change(Change::RequireDevice(device.id.clone(), DeviceLife::Approved));
        let (refused, other) = tokio::join!(store.decide(require(&known)), store.decide(other));
        assert!(refused.is_err() && other.is_ok());
        if store.presented([1; 32]).await.unwrap().is_some() {
            known = seen().await;
        }
    }
    assert!(store.presented([1; 32]).await.unwrap().is_none(), "the last change was seen as well");
}

#[tokio::test]
async fn active_grants_that_are_over_are_found_by_their_end() {
    let (_folder, store) = store().await;
    let until = |seconds| Timestamp::from_seconds(seconds);
    let active = |n, end| Grant { state: GrantLife::Active, until: until(end), ..grant(n) };
    // One of them waits for approval still.
    for new in [active(1, 30), active(2, 10), active(3, 20), Grant { until: until(10), ..grant(4) }] {
        store.decide(Decision::new(event()).change(Change::AddGrant(new))).await.unwrap();
    }
    let over = async |now, limit| -> Vec<GrantId> {
        let grants = store.grants_over(until(now), limit).await.unwrap();
        grants.into_iter().map(|grant| grant.id).collect()
    };
    assert!(over(9, 9).await.is_empty());
    assert_eq!(over(20, 9).await, [grant(2).id, grant(3).id], "those that ended first before others");
    assert_eq!(over(30, 2).await, [grant(2).id, grant(3).id], "no more than asked for");
    // One is given more time, and one is ended.
    let longer = Change::Extend { to: Box::new(active(2, 40)), from: Box::new(active(2, 10)) };
    let ended = Change::Grant { to: Grant { state: GrantLife::Ended, ..active(3, 20) }, from: GrantLife::Active };
    store.decide(Decision::new(event()).change(longer).change(ended)).await.unwrap();
    assert_eq!(over(39, 9).await, [grant(1).id]);
    // Nobody ends what was given more time since they read it, or takes back a use that was counted.
    let refused = async |to: Grant| {
        let stale = Change::Grant { to, from: GrantLife::Active };
        let refused = store.decide(Decision::new(event()).change(stale)).await;
        assert!(matches!(refused, Err(DecideError::Conflict(Condition::Grant(_)))), "{refused:?}");
    };
    refused(Grant { state: GrantLife::Ended, ..active(2, 10) }).await;
    let used = Change::Grant { to: Grant { used: 1, ..active(1, 30) }, from: GrantLife::Active };
    store.decide(Decision::new(event()).change(used)).await.unwrap();
    refused(Grant { state: GrantLife::Suspended, ..active(1, 30) }).await;
    assert_eq!(over(40, 9).await, [grant(1).id, grant(2).id]);
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
        phase: None,
        grant: grant(1).id,
        further: Vec::new(),
        replaces: None,
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
async fn who_writes_what_was_read_before_it_changed_undoes_nothing() {
    let made = Made::with_software().await;
    let device = made.client().await;
    let store = &made.issuer.store;
    let held = store.grants_of(&device.id).await.unwrap().remove(0);
    let try_it = async |change| store.decide(Decision::new(event()).change(change)).await;
    let longer = Grant { until: held.until.plus(60), ..held.clone() };
    try_it(Change::Extend { to: Box::new(longer.clone()), from: Box::new(held.clone()) }).await.unwrap();
    // A suspension read the end before.
    for state in [GrantLife::Suspended, GrantLife::Grace] {
        let stale = try_it(Change::Grant { to: Grant { state, ..held.clone() }, from: GrantLife::Active }).await;
        assert!(matches!(stale, Err(DecideError::Conflict(Condition::Grant(_)))), "{state} {stale:?}");
    }
    let (to, from) = (Grant { state: GrantLife::Suspended, ..longer.clone() }, GrantLife::Active);
    try_it(Change::Grant { to, from }).await.unwrap();
    // What ends it does not have to know its end.
    let (to, from) = (Grant { state: GrantLife::Revoked, ..held }, GrantLife::Suspended);
    try_it(Change::Grant { to, from }).await.unwrap();
    // The device quoted anew, and then somebody suspends it who looked before.
    let mut quoted = device.clone();
    quoted.posture.secure_boot = Some(false);
    try_it(Change::Device { to: Box::new(quoted), from: DeviceLife::Approved }).await.unwrap();
    let suspend = |from| Change::DeviceLife {
        id: device.id.clone(),
        to: DeviceLife::Suspended,
        reason: Some("an \"audit\"".to_owned()),
        from,
    };
    assert!(matches!(try_it(suspend(DeviceLife::Pending)).await, Err(DecideError::Conflict(Condition::Device(_)))));
    try_it(suspend(DeviceLife::Approved)).await.unwrap();
    let is = store.device(&device.id).await.unwrap().unwrap();
    assert_eq!(
        (is.state, is.posture.secure_boot, is.reason.as_deref()),
        (DeviceLife::Suspended, Some(false), Some("an \"audit\""))
    );
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
        let add = Change::AddToken { token, now: made.now(), most: 2 };
        store.decide(Decision::new(event()).change(add)).await.unwrap();
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
    let token = Dead { tokens: vec!["revoked".to_owned()], ..Dead::default() };
    assert_eq!(dead(true).await, token);
    let only = |end| Dead { devices: vec![(device.id.clone(), end)], ..Dead::default() };
    assert_eq!(dead(false).await, only(DeviceEnd::Software), "its device's end says it all");
    let suspended = become_(&device, DeviceLife::Suspended).await;
    let all = only(DeviceEnd::Life(DeviceLife::Suspended));
    assert_eq!(dead(true).await, all);
    assert_eq!(dead(false).await, all, "the state is said before the kind of keys");
    let back = become_(&suspended, DeviceLife::Approved).await;
    assert_eq!(dead(true).await, token, "it is not forgotten with a device that comes back");
    let ended = Grant { state: GrantLife::Ended, ..grant.clone() };
    store.decide(Decision::new(event()).change(Change::Grant { to: ended, from: GrantLife::Active })).await.unwrap();
    assert_eq!(dead(true).await, Dead { grants: vec![grant.id.clone()], ..Dead::default() });
    become_(&back, DeviceLife::Revoked).await;
    let all = Dead { grants: vec![grant.id.clone()], ..only(DeviceEnd::Life(DeviceLife::Revoked)) };
    assert_eq!(dead(true).await, all);
    let elsewhere: Resource = "https://other.example.com/".parse().unwrap();
    assert_eq!(store.dead(&[elsewhere], made.now(), true).await.unwrap(), Dead::default(), "not this gate's business");
    // A request may go on when its token has ended, at a gate whose clock is behind: so long they are all named, and the token is kept.
    made.pass(600 + FLOW_OUTLIVES_TOKEN + Skew::MAX_SECONDS - 1);
    store.sweep(made.now()).await.unwrap();
    assert_eq!(dead(true).await, all);
    // It is said for up to an hour longer than need be.
    made.pass(3600 + 2);
    assert_eq!(dead(true).await, Dead::default());
    store.sweep(made.now()).await.unwrap();
    assert!(store.token("kept").await.unwrap().is_none());
}

#[tokio::test]
async fn a_grant_is_named_as_dead_for_its_own_tokens_and_keeps_its_device_so_that_they_are_found() {
    let made = Made::with_software().await;
    let (device, other) = (made.client().await, made.client().await);
    let store = &made.issuer.store;
    let own = store.grants_of(&device.id).await.unwrap().remove(0);
    let unused = Grant { state: GrantLife::Active, device: Some(device.id.clone()), ..grant(7) };
    let waiting = grant(8);
    let resource: Resource = "https://git.example.com/".parse().unwrap();
    let token = IssuedToken {
        jti: "t".into(),
        device: device.id.clone(),
        grant: own.id.clone(),
        resource: resource.clone(),
        expires_at: made.now().plus(600),
        revoked: false,
    };
    let add = Decision::new(event())
        .change(Change::AddGrant(unused.clone()))
        .change(Change::AddGrant(waiting.clone()))
        .change(Change::AddToken { token, now: made.now(), most: 1 });
    store.decide(add).await.unwrap();
    let to = async |grant: &Grant, device: Option<&Device>, state| {
        let to = Grant { state, device: device.map(|device| device.id.clone()), ..grant.clone() };
        store.decide(Decision::new(event()).change(Change::Grant { to, from: grant.state })).await
    };
    for elsewhere in [Some(&other), None] {
        let refused = to(&own, elsewhere, GrantLife::Active).await;
        assert!(matches!(refused, Err(DecideError::Conflict(Condition::Grant(id))) if id == own.id));
    }
    to(&waiting, Some(&device), GrantLife::Active).await.unwrap();
    to(&unused, Some(&device), GrantLife::Ended).await.unwrap();
    let dead = async || store.dead(std::slice::from_ref(&resource), made.now(), true).await.unwrap().grants;
    assert!(dead().await.is_empty(), "nobody has a token under it");
    to(&own, Some(&device), GrantLife::Ended).await.unwrap();
    assert_eq!(dead().await, [own.id]);
}

#[tokio::test]
async fn a_device_has_room_for_so_many_tokens_and_revoking_makes_none() {
    let (_folder, store) = store().await;
    let (now, life, most) = (Timestamp::from_seconds(100_000), 600, 3);
    let resource: Resource = "https://git.example.com/".parse().unwrap();
    let add = async |device: u8, jti: &str, now: Timestamp| {
        let token = IssuedToken {
            jti: jti.into(),
            device: DeviceId::from_random([device; 10]),
            grant: grant(1).id,
            resource: resource.clone(),
            expires_at: now.plus(life),
            revoked: false,
        };
        match store.decide(Decision::new(event()).change(Change::AddToken { token, now, most })).await {
            Ok(()) => true,
            Err(DecideError::Conflict(Condition::RoomForToken(_))) => false,
            Err(error) => panic!("{error}"),
        }
    };
    let revoke = async |jti: &str| store.decide(Decision::new(event()).change(Change::RevokeToken(jti.into()))).await;
    for jti in ["a", "b", "c"] {
        assert!(add(1, jti, now).await);
    }
    assert!(!add(1, "d", now).await);
    assert!(add(2, "other", now).await, "each device has its own room");
    for jti in ["a", "b"] {
        revoke(jti).await.unwrap();
    }
    assert!(!add(1, "d", now).await, "a revoked one is named to gates for as long");
    // What has ended by itself makes room, once nobody can revoke it any more.
    let ended = now.plus(life);
    assert!(!add(1, "d", ended).await);
    let over = ended.plus(Skew::MAX_SECONDS);
    assert!(add(1, "d", over).await);
    assert!(!add(1, "e", over).await, "`a` and `b` still count");
    let dead = store.dead(std::slice::from_ref(&resource), over, true).await.unwrap();
    assert_eq!(dead.tokens.len(), 2);
    let forgotten = ended.plus(FLOW_OUTLIVES_TOKEN + Skew::MAX_SECONDS);
    assert!(add(1, "e", forgotten).await);
}

#[tokio::test]
async fn a_token_is_revoked_once() {
    let (_folder, store) = store().await;
    let revoke = || Decision::new(event()).change(Change::RevokeToken("t".into()));
    let refused = async || matches!(store.decide(revoke()).await, Err(DecideError::Conflict(Condition::TokenIsGood)));
    assert!(refused().await, "there is none");
    let token = IssuedToken {
        jti: "t".into(),
        device: DeviceId::from_random([1; 10]),
        grant: grant(1).id,
        resource: "https://git.example.com/".parse().unwrap(),
        expires_at: Timestamp::from_seconds(500),
        revoked: false,
    };
    let add = Change::AddToken { token, now: Timestamp::from_seconds(1), most: 1 };
    store.decide(Decision::new(event()).change(add)).await.unwrap();
    store.decide(revoke()).await.unwrap();
    assert!(refused().await);
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
    assert_eq!(*store.presented([3; 32]).await.unwrap().unwrap().certificate(), record);
    assert!(store.presented([4; 32]).await.unwrap().is_none());
    store.decide(Decision::new(event()).change(Change::DropCertificates(holder))).await.unwrap();
    assert!(store.presented([3; 32]).await.unwrap().is_none());
}

#[tokio::test]
async fn a_certificate_brings_its_own_device_along_with_the_grants_of_that_device() {
    let made = Made::with_software().await;
    let (first, second) = (made.client().await, made.client().await);
    let store = made.issuer.store.as_ref();
    let more = Grant { device: Some(first.id.clone()), ..grant(1) };
    // A gate may be called as if a device's name stood where one begins in the URI of a device.
    let gate = Holder::Gate(format!("ab{}", first.id).parse().unwrap());
    let nobody = Holder::Device(DeviceId::from_random([9; 10]));
    let mut decision = Decision::new(event()).change(Change::AddGrant(more));
    for (n, holder) in [(1, Holder::Device(first.id.clone())), (2, gate.clone()), (3, nobody)] {
        let record = CertificateRecord { holder, not_before: made.now(), not_after: made.now() };
        decision = decision.change(Change::AddCertificate { hash: [n; 32], record });
    }
    store.decide(decision).await.unwrap();
    let Some(Presented::Device(known)) = store.presented([1; 32]).await.unwrap() else { panic!("a device") };
    assert_eq!(known.device.id, first.id);
    assert_eq!(known.grants.len(), 2, "in whatever state, and none of another's");
    assert!(known.grants.iter().all(|grant| grant.device.as_ref() == Some(&first.id)));
    assert_eq!(store.grants_of(&second.id).await.unwrap().len(), 1);
    let known = store.presented([2; 32]).await.unwrap();
    assert!(matches!(known, Some(Presented::Other(certificate)) if certificate.holder == gate));
    assert!(matches!(store.presented([3; 32]).await.unwrap(), Some(Presented::Other(_))));
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

#[tokio::test]
async fn used_proofs_and_live_tokens_are_known_after_a_restart_and_to_every_program() {
    let (folder, store) = store().await;
    let path = folder.path().join("s.db");
    let environment = Environment::system();
    let now = environment.now();
    // Two tokens are the most that this device may have; each has a proof.
    let token = |n: u8| {
        let token = IssuedToken {
            jti: format!("t{n}"),
            device: DeviceId::from_random([1; 10]),
            grant: grant(1).id,
            resource: "https://git.example.com/".parse().unwrap(),
            expires_at: now.plus(60),
            revoked: false,
        };
        let issued = environment.event(EventKind::TokenIssued).text("jti", &token.jti);
        let issued = issued.text("device", &token.device).text("resource", &token.resource).text("jkt", "k");
        let issued = issued.text("grant", &token.grant).text("project", "p").text("role", "r").text("policy", "");
        let issued = issued.number("until", 1).number("exp", token.expires_at.seconds()).number("lifetime", 60);
        let issued = issued.text("token_hash", "").text("protection", "software");
        let people = ["collaborator", "owner", "address", "authorization_details"];
        let issued = people.into_iter().fold(issued, |event, name| environment.personal(event, name, "[]"));
        Decision::new(issued)
            .change(Change::RememberProof { id: [n; 32], until: now.plus(60) })
            .change(Change::AddToken { token, now, most: 2 })
    };
    let proof = |n: u8| Decision::new(event()).change(Change::RememberProof { id: [n; 32], until: now.plus(60) });
    // Not all that it changes can go the quick way.
    let counted = |n: u8| token(n).change(Change::AddGrant(grant(n)));
    let refused = |result: Result<(), DecideError>, by: &Condition| {
        assert!(matches!(&result, Err(DecideError::Conflict(condition)) if condition == by), "{result:?}");
    };
    let full = Condition::RoomForToken(DeviceId::from_random([1; 10]));
    store.decide(token(1)).await.unwrap();
    let other = SqliteStore::open(&path, false).await.unwrap();
    refused(other.decide(proof(1)).await, &Condition::ProofIsNew);
    other.decide(counted(2)).await.unwrap();
    // The first has not written since, and knows all the same.
    refused(store.decide(proof(2)).await, &Condition::ProofIsNew);
    refused(store.decide(token(3)).await, &full);
    refused(store.decide(counted(3)).await, &full);
    refused(other.decide(token(3)).await, &full);
    refused(other.decide(counted(3)).await, &full);
    store.decide(proof(3)).await.unwrap();
    store.close().await;
    other.close().await;
    let again = SqliteStore::open(&path, false).await.unwrap();
    for n in [1, 2, 3] {
        refused(again.decide(proof(n)).await, &Condition::ProofIsNew);
    }
    refused(again.decide(token(4)).await, &full);
    // What is forgotten takes no number with it that comes again: whoever follows would miss what has it.
    let third = SqliteStore::open(&path, false).await.unwrap();
    third.decide(proof(5)).await.unwrap();
    again.sweep(now.plus(1000)).await.unwrap();
    third.decide(proof(6)).await.unwrap();
    refused(again.decide(proof(6)).await, &Condition::ProofIsNew);
}

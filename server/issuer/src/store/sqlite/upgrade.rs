//! A store that an older program made reads the same after its schema was brought up to date.

use daypass_proto::{
    access_request::{RequestLife, Wanted},
    encoding::Fixed,
    names::{GrantId, ProposalId, RequestId},
    time::Timestamp,
};
use serde::Serialize;
use sqlx::{
    ConnectOptions as _, Connection as _, SqliteConnection,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use super::{SqliteStore, lock};
use crate::{
    fixture::{Made, event},
    store::{
        Approvals, Bar, Change, Condition, DecideError, Decision, Device, Filter, Grant, GrantLife, IssuedToken,
        LedgerStore as _, NotificationStore as _, Place, Presented, Proposal, ProposalLife, Request, Side, Store as _,
        StoreError,
    },
};

/// How many of the events that are there, and were, have a number.
const NUMBERED: i64 = 39_900;

/// Where stores stood that others go on from: before their tables were made anew, before grants had a grace, and before devices were replaced.
const FORMER: [i64; 3] = [11, 15, 22];

/// What came later into the records of grants.
const LATER: &str = "'$.terms', '$.used', '$.made_at', '$.replaces', '$.briefed'";

/// What each of the tables has, in an order of its own.
const CONTENTS: [&str; 7] = [
    "SELECT json_array(jti, device, grant_id, resource, expires_at, revoked) FROM tokens ORDER BY 1",
    "SELECT json_array(hex(id), remember_until) FROM proofs_seen ORDER BY 1",
    "SELECT json_array(hex(hash), holder, not_before, not_after) FROM certificates ORDER BY 1",
    "SELECT json_array(id, state, device, body) FROM grants ORDER BY 1",
    "SELECT json_array(id, state, software, body) FROM devices ORDER BY 1",
    "SELECT json_array(hex(leaf_hash), sequence, kind, at, hex(leaf), device, project) FROM events ORDER BY rowid",
    "SELECT json_array(collaborator, sequence) FROM event_collaborators ORDER BY 1",
];
/// What the tables have that were there by 22.
const BY_22: [&str; 5] = [
    "SELECT json_array(id, given, body) FROM approvals ORDER BY 1",
    "SELECT json_array(id, state, subject, device, body, collaborator, project, role, ends_at) FROM requests ORDER BY 1",
    "SELECT json_array(id, state, at, body) FROM proposals ORDER BY 1",
    "SELECT json_array(next, epoch, holder, lease_until) FROM notifying",
    "SELECT json_array(id, sink, kind, place, created_at, due_at, attempts, dead, error, collaborator, payload) FROM notifications ORDER BY 1",
];
/// What stands beside events, before and after it was found by their rows.
const FIELDS: [&str; 2] = [
    "SELECT json_array(hex(e.leaf_hash), p.name, hex(p.salt), p.value) FROM personal_fields p JOIN events e ON e.leaf_hash = p.leaf_hash ORDER BY 1",
    "SELECT json_array(hex(e.leaf_hash), p.name, hex(p.salt), p.value) FROM personal_fields p JOIN events e ON e.id = p.event ORDER BY 1",
];

async fn contents(connection: &mut SqliteConnection, fields: &'static str, former: i64) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let more = if former >= 22 { &BY_22[..] } else { &[] };
    for sql in CONTENTS.iter().chain([&fields]).chain(more).copied() {
        all.push(sqlx::query_scalar(sql).fetch_all(&mut *connection).await.unwrap());
    }
    all
}

#[tokio::test]
async fn a_store_of_an_older_program_reads_the_same() {
    for former in FORMER {
        reads_the_same(former).await;
    }
}

fn text(record: &impl Serialize) -> String {
    serde_json::to_string(record).unwrap()
}

/// What waits in a store of 22: a request with an approval, a policy, and a message.
async fn waits(
    old: &mut SqliteConnection,
    made: &Made,
    device: &Device,
    grant: &Grant,
) -> (Request, Approvals, Proposal) {
    let now = made.now();
    let request = Request {
        id: RequestId::from_random([3; 10]),
        what: Wanted::Extension { grant: grant.id.clone() },
        device: device.id.clone(),
        collaborator: device.collaborator.clone(),
        project: grant.project.clone(),
        role: grant.role.clone(),
        until: now.plus(9000),
        given_role: grant.role.clone(),
        given_until: now.plus(8000),
        reason: "the audit takes longer".to_owned(),
        state: RequestLife::Requested,
        asked_at: now,
        decided_at: None,
        answer: None,
    };
    let bar = Bar { owners: ["olga@example.com".to_owned()].into(), approvers: 2 };
    let approvals = Approvals::new(request.id.to_string(), Some(device.collaborator.clone()), now, bar);
    let proposal = Proposal {
        id: ProposalId::from_random([4; 10]),
        state: ProposalLife::Waiting,
        hash: Fixed([5; 32]),
        base: 0,
        at: now,
        by: Some("otto@example.com".parse().unwrap()),
        guarded: vec!["owners of apollo".to_owned()],
        files: Default::default(),
    };
    let bind = sqlx::query(
        "INSERT INTO requests (id, state, subject, device, body) VALUES ($1, 'requested', $2, $3, json_remove($4, '$.decided_at', '$.answer'))",
    );
    let bind =
        bind.bind(request.id.to_string()).bind(request.subject()).bind(device.id.to_string()).bind(text(&request));
    bind.execute(&mut *old).await.unwrap();
    let bind =
        sqlx::query("INSERT INTO approvals VALUES ($1, 0, $2)").bind(request.id.to_string()).bind(text(&approvals));
    bind.execute(&mut *old).await.unwrap();
    let bind = sqlx::query("INSERT INTO proposals VALUES ($1, 'waiting', $2, $3)").bind(proposal.id.to_string());
    bind.bind(now.seconds()).bind(text(&proposal)).execute(&mut *old).await.unwrap();
    sqlx::query("INSERT INTO notifying VALUES (1, 39899, 7, 'there', 5)").execute(&mut *old).await.unwrap();
    let bind = sqlx::query(
        "INSERT INTO notifications VALUES ('msg_1', 'webhook', 'device.ended', 12, $1, $1, 3, 0, 'status 500', $2, '{}')",
    );
    bind.bind(now.seconds()).bind(device.collaborator.to_string()).execute(old).await.unwrap();
    (request, approvals, proposal)
}

async fn reads_the_same(former: i64) {
    let (made, folder) = (Made::with_software().await, tempfile::tempdir().unwrap());
    let device = made.client().await;
    let grant = made.issuer.store.grants_of(&device.id).await.unwrap().remove(0);
    let (path, now) = (folder.path().join("s.db"), made.now());

    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut old = options.clone().journal_mode(SqliteJournalMode::Wal).connect().await.unwrap();
    let mut migrator: Migrator = sqlx::migrate!("migrations/sqlite");
    migrator.migrations.to_mut().retain(|migration| migration.version <= former);
    migrator.run(&mut old).await.unwrap();
    let write = async |old: &mut SqliteConnection, sql: String| {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(old).await.unwrap();
    };
    let (device_body, grant_body) = (serde_json::to_string(&device).unwrap(), serde_json::to_string(&grant).unwrap());
    let columns = "devices (id, state, software, body)";
    write(&mut old, format!("INSERT INTO {columns} VALUES ('{}', 'approved', 1, '{device_body}')", device.id)).await;
    let over = GrantId::from_random([2; 10]);
    for (id, state) in [(&grant.id, "active"), (&over, "revoked")] {
        let body = format!("json_remove(json_set('{grant_body}', '$.id', '{id}', '$.state', '{state}'), {LATER})");
        let columns = "grants (id, state, device, body)";
        write(&mut old, format!("INSERT INTO {columns} VALUES ('{id}', '{state}', '{}', {body})", device.id)).await;
    }
    // Who ended shortly before still has a token.
    let (token, end) = (format!("over{:018}", 0), now.plus(60).seconds());
    write(
        &mut old,
        format!(
            "INSERT INTO tokens VALUES ('{token}', '{}', '{over}', 'https://git.example.com/', {end}, 0)",
            device.id
        ),
    )
    .await;
    write(&mut old, "BEGIN".to_owned()).await;
    // Identifiers in no order, as those of older programs were.
    for n in 0..300 {
        let (key, end) = ((n * 7919) % 65_536, now.plus(n).seconds());
        let (token, id) = (format!("{key:05}{:017}", 0), format!("zeroblob(30) || x'{key:04x}'"));
        write(
            &mut old,
            format!(
                "INSERT INTO tokens VALUES ('{token}', '{}', '{}', 'https://git.example.com/', {end}, {})",
                device.id,
                grant.id,
                n % 2
            ),
        )
        .await;
        write(&mut old, format!("INSERT INTO proofs_seen VALUES (CAST({id} AS BLOB), {end})")).await;
        write(
            &mut old,
            format!("INSERT INTO certificates VALUES (CAST({id} AS BLOB), '{}', {n}, {end})", device.id.client_id()),
        )
        .await;
    }
    // Events with and without a number, of which the hashes come in no order.
    write(&mut old, format!("INSERT INTO ledger VALUES (1, 'here/ledger/1', {NUMBERED}, zeroblob(32), 0, NULL, 0, 0)"))
        .await;
    for n in 0..40_000_i64 {
        let (hash, row) = (format!("CAST(zeroblob(28) || x'{:08x}' AS BLOB)", (n * 7919) % 65_537), n - 1);
        let number = if n < NUMBERED { n.to_string() } else { "NULL".to_owned() };
        if n % 100 != 0 && (n + 1) % 100 != 0 && n < NUMBERED {
            continue;
        }
        write(
            &mut old,
            format!(
                "INSERT INTO events VALUES ({hash}, {number}, 'token_issued', {}, x'{n:08x}', 'dev-{row}', 'apollo')",
                now.seconds()
            ),
        )
        .await;
        for (name, value) in [("collaborator", device.collaborator.as_str()), ("owner", "[]"), ("on_behalf_of", "olga")]
        {
            write(&mut old, format!("INSERT INTO personal_fields VALUES ({hash}, '{name}', zeroblob(32), '{value}')"))
                .await;
        }
        if n < NUMBERED {
            write(&mut old, format!("INSERT INTO event_collaborators VALUES ('{}', {n})", device.collaborator)).await;
        }
    }
    write(&mut old, "COMMIT".to_owned()).await;
    let waiting = if former >= 22 { Some(waits(&mut old, &made, &device, &grant).await) } else { None };
    let before = contents(&mut old, FIELDS[0], former).await;
    assert!(before.iter().all(|rows| !rows.is_empty()));
    old.close().await.unwrap();

    // Who only reads it says what to do.
    let refused = SqliteStore::open_to_read(&path).await.err();
    assert!(matches!(refused, Some(StoreError::Earlier(_))), "{refused:?}");
    // Nothing is made anew under somebody who has it open.
    let other = lock::share(&path).unwrap();
    let refused = SqliteStore::open(&path, false).await.err();
    assert!(matches!(refused, Some(StoreError::InUse(_))), "{refused:?}");
    drop(other);

    let store = SqliteStore::open(&path, false).await.unwrap();
    let mut new = options.create_if_missing(false).read_only(true).connect().await.unwrap();
    assert_eq!(contents(&mut new, FIELDS[1], former).await, before);
    SqliteStore::examine(&path).await.unwrap();

    let hash = |key: u16| {
        let mut hash = [0; 32];
        hash[30..].copy_from_slice(&key.to_be_bytes());
        hash
    };
    let token = store.token(&format!("{:05}{:017}", 7919, 0)).await.unwrap().unwrap();
    assert_eq!((&token.device, &token.grant, token.revoked), (&device.id, &grant.id, true));
    let Some(Presented::Device(known)) = store.presented(hash(7919)).await.unwrap() else { panic!("a device") };
    assert_eq!((known.certificate.not_before, known.grants.len()), (Timestamp::from_seconds(1), 2));
    let decide = async |change| store.decide(Decision::new(event(&made.issuer.environment)).change(change)).await;
    let again = decide(Change::RememberProof { id: hash(7919), until: now.plus(1) }).await;
    assert!(matches!(again, Err(DecideError::Conflict(Condition::ProofIsNew))), "{again:?}");
    // Events are found by their hashes in every block, and without a number; and what is beside them.
    for (n, place) in [
        (0, Place::Numbered(0)),
        (16_400, Place::Numbered(16_400)),
        (39_899, Place::Numbered(39_899)),
        (NUMBERED, Place::Unnumbered),
        (1, Place::Unknown),
    ] {
        let mut hash = [0; 32];
        hash[28..].copy_from_slice(&u32::try_from((n * 7919) % 65_537).unwrap().to_be_bytes());
        assert_eq!(store.place_of(hash).await.unwrap(), place, "{n}");
        let personal = store.event(&hash).await.unwrap().map(|entry| entry.personal.len());
        assert_eq!(personal, (place != Place::Unknown).then_some(3));
    }
    // Lists of a person go from block to block, from either end.
    let filter = Filter { collaborator: Some(device.collaborator.clone()), ..Filter::default() };
    let listed = async |within, side, limit| {
        let found = store.listed(&filter, within, side, limit).await.unwrap();
        found.into_iter().map(|entry| entry.sequence).collect::<Vec<_>>()
    };
    let numbers: Vec<u64> = (0..NUMBERED as u64).filter(|n| n % 100 == 0 || (n + 1) % 100 == 0).collect();
    assert_eq!(listed(0..u64::MAX, Side::First, 9_999).await, numbers);
    assert_eq!(listed(0..u64::MAX, Side::Last, 200).await, numbers[numbers.len() - 200..]);
    assert_eq!(listed(16_300..16_500, Side::First, 9).await, [16_300, 16_399, 16_400, 16_499]);
    assert_eq!(listed(16_300..16_400, Side::Last, 1).await, [16_399]);
    let events = before[5].len() as u64;
    assert_eq!(store.traces(&"olga".parse().unwrap(), now).await.unwrap().fields, events);
    assert_eq!(store.traces(&device.collaborator, now).await.unwrap().fields, events);
    // The tokens that live are counted.
    let add = |jti: &str, most| Change::AddToken {
        token: IssuedToken { jti: jti.to_owned(), revoked: false, ..token.clone() },
        now,
        most,
    };
    let full = decide(add("full", 301)).await;
    assert!(matches!(full, Err(DecideError::Conflict(Condition::RoomForToken(_)))), "{full:?}");
    decide(add("one more", 302)).await.unwrap();
    let dead = async || store.dead(std::slice::from_ref(&token.resource), now, true).await.unwrap();
    assert_eq!((dead().await.tokens.len(), dead().await.grants), (150, vec![over.clone()]));
    let past: Vec<_> = store.grants_over(grant.until, 9).await.unwrap().into_iter().map(|grant| grant.id).collect();
    assert_eq!(past, std::slice::from_ref(&grant.id));
    let ended = Grant { state: GrantLife::Ended, ..grant.clone() };
    decide(Change::Grant { to: ended, from: GrantLife::Active }).await.unwrap();
    let all = std::collections::BTreeSet::from_iter(dead().await.grants);
    assert_eq!((dead().await.tokens.len(), all), (0, [grant.id, over].into()));
    // What waited waits, and goes on.
    let Some((request, approvals, proposal)) = waiting else { return };
    assert_eq!(store.request(&request.id).await.unwrap().as_ref(), Some(&request));
    assert_eq!(store.approvals(request.id.as_str()).await.unwrap(), Some(approvals));
    assert_eq!(store.proposal(&proposal.id).await.unwrap(), Some(proposal));
    let cursor = store.notifying().await.unwrap().unwrap();
    assert_eq!((cursor.next, cursor.epoch), (39_899, 7));
    let due = store.due("webhook", now, 9).await.unwrap();
    assert_eq!((due.len(), due[0].place, due[0].attempts), (1, 12, 3));
    let to = Request { state: RequestLife::Refused, decided_at: Some(now), ..request.clone() };
    decide(Change::Request { to: Box::new(to.clone()), from: Box::new(request) }).await.unwrap();
    assert_eq!(store.request(&to.id).await.unwrap(), Some(to));
}

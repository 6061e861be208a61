//! A store that an older program made reads the same after its schema was brought up to date.

use daypass_proto::time::Timestamp;
use sqlx::{
    ConnectOptions as _, Connection as _, SqliteConnection,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use super::{SqliteStore, lock};
use crate::{
    fixture::{Made, event},
    store::{
        Change, Condition, DecideError, Decision, Filter, Grant, GrantLife, IssuedToken, LedgerStore as _, Place,
        Presented, Side, Store as _, StoreError,
    },
};

/// How many of the events that are there, and were, have a number.
const NUMBERED: i64 = 39_900;

/// The first version whose tables are others.
const REBUILT: i64 = 12;

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
/// What stands beside events, before and after it was found by their rows.
const FIELDS: [&str; 2] = [
    "SELECT json_array(hex(e.leaf_hash), p.name, hex(p.salt), p.value) FROM personal_fields p JOIN events e ON e.leaf_hash = p.leaf_hash ORDER BY 1",
    "SELECT json_array(hex(e.leaf_hash), p.name, hex(p.salt), p.value) FROM personal_fields p JOIN events e ON e.id = p.event ORDER BY 1",
];

async fn contents(connection: &mut SqliteConnection, fields: &'static str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for sql in CONTENTS.into_iter().chain([fields]) {
        all.push(sqlx::query_scalar(sql).fetch_all(&mut *connection).await.unwrap());
    }
    all
}

#[tokio::test]
async fn a_store_of_an_older_program_reads_the_same() {
    let (made, folder) = (Made::with_software().await, tempfile::tempdir().unwrap());
    let device = made.client().await;
    let grant = made.issuer.store.grants_of(&device.id).await.unwrap().remove(0);
    let (path, now) = (folder.path().join("s.db"), made.now());

    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut old = options.clone().journal_mode(SqliteJournalMode::Wal).connect().await.unwrap();
    let mut migrator: Migrator = sqlx::migrate!("migrations/sqlite");
    migrator.migrations.to_mut().retain(|migration| migration.version < REBUILT);
    migrator.run(&mut old).await.unwrap();
    let write = async |old: &mut SqliteConnection, sql: String| {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(old).await.unwrap();
    };
    let (device_body, grant_body) = (serde_json::to_string(&device).unwrap(), serde_json::to_string(&grant).unwrap());
    write(&mut old, format!("INSERT INTO devices VALUES ('{}', 'approved', 1, '{device_body}')", device.id)).await;
    write(
        &mut old,
        format!(
            "INSERT INTO grants (id, state, device, body) VALUES ('{}', 'active', '{}', '{grant_body}')",
            grant.id, device.id
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
    let before = contents(&mut old, FIELDS[0]).await;
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
    assert_eq!(contents(&mut new, FIELDS[1]).await, before);
    SqliteStore::examine(&path).await.unwrap();

    let hash = |key: u16| {
        let mut hash = [0; 32];
        hash[30..].copy_from_slice(&key.to_be_bytes());
        hash
    };
    let token = store.token(&format!("{:05}{:017}", 7919, 0)).await.unwrap().unwrap();
    assert_eq!((&token.device, &token.grant, token.revoked), (&device.id, &grant.id, true));
    let Some(Presented::Device(known)) = store.presented(hash(7919)).await.unwrap() else { panic!("a device") };
    assert_eq!((known.certificate.not_before, known.grants.len()), (Timestamp::from_seconds(1), 1));
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
    let full = decide(add("full", 300)).await;
    assert!(matches!(full, Err(DecideError::Conflict(Condition::RoomForToken(_)))), "{full:?}");
    decide(add("one more", 301)).await.unwrap();
    let dead = async || store.dead(std::slice::from_ref(&token.resource), now, true).await.unwrap();
    assert_eq!((dead().await.tokens.len(), dead().await.grants), (150, Vec::new()));
    let over: Vec<_> = store.grants_over(grant.until, 9).await.unwrap().into_iter().map(|grant| grant.id).collect();
    assert_eq!(over, std::slice::from_ref(&grant.id));
    let ended = Grant { state: GrantLife::Ended, ..grant.clone() };
    decide(Change::Grant { to: ended, from: GrantLife::Active }).await.unwrap();
    assert_eq!((dead().await.tokens.len(), dead().await.grants), (0, vec![grant.id]));
}

//! A store that an older program made reads the same after its schema was brought up to date.

use daypass_proto::time::Timestamp;
use sqlx::{
    ConnectOptions as _, Connection as _, SqliteConnection,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use super::{SqliteStore, lock};
use crate::{
    clock::Environment,
    fixture::{Made, event},
    store::{Change, Condition, DecideError, Decision, Grant, GrantLife, Presented, Store as _, StoreError},
};

/// The first version whose tables are others.
const REBUILT: i64 = 12;

/// What each of the tables has, in an order of its own.
const CONTENTS: [&str; 5] = [
    "SELECT json_array(jti, device, grant_id, resource, expires_at, revoked) FROM tokens ORDER BY 1",
    "SELECT json_array(hex(id), remember_until) FROM proofs_seen ORDER BY 1",
    "SELECT json_array(hex(hash), holder, not_before, not_after) FROM certificates ORDER BY 1",
    "SELECT json_array(id, state, device, body) FROM grants ORDER BY 1",
    "SELECT json_array(id, state, software, body) FROM devices ORDER BY 1",
];

async fn contents(connection: &mut SqliteConnection) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for sql in CONTENTS {
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
    let before = contents(&mut old).await;
    assert!(before.iter().all(|rows| !rows.is_empty()));
    old.close().await.unwrap();

    // Nothing is made anew under somebody who has it open.
    let other = lock::share(&path).unwrap();
    let refused = SqliteStore::open(&path, false).await.err();
    assert!(matches!(refused, Some(StoreError::InUse(_))), "{refused:?}");
    drop(other);

    let store = SqliteStore::open(&path, false).await.unwrap();
    let mut new = options.create_if_missing(false).read_only(true).connect().await.unwrap();
    assert_eq!(contents(&mut new).await, before);
    SqliteStore::examine(&path).await.unwrap();

    let hash = |key: u16| {
        let mut hash = [0; 32];
        hash[30..].copy_from_slice(&key.to_be_bytes());
        hash
    };
    let token = store.token(&format!("{:05}{:017}", 7919, 0)).await.unwrap().unwrap();
    assert_eq!((token.device, token.grant, token.revoked), (device.id.clone(), grant.id.clone(), true));
    let Some(Presented::Device(known)) = store.presented(hash(7919)).await.unwrap() else { panic!("a device") };
    assert_eq!((known.certificate.not_before, known.grants.len()), (Timestamp::from_seconds(1), 1));
    let decide = async |change| store.decide(Decision::new(event(&Environment::system())).change(change)).await;
    let again = decide(Change::RememberProof { id: hash(7919), until: now.plus(1) }).await;
    assert!(matches!(again, Err(DecideError::Conflict(Condition::ProofIsNew))), "{again:?}");
    let dead = async || store.dead(std::slice::from_ref(&token.resource), now, true).await.unwrap();
    assert_eq!((dead().await.tokens.len(), dead().await.grants), (150, Vec::new()));
    let over: Vec<_> = store.grants_over(grant.until, 9).await.unwrap().into_iter().map(|grant| grant.id).collect();
    assert_eq!(over, std::slice::from_ref(&grant.id));
    let ended = Grant { state: GrantLife::Ended, ..grant.clone() };
    decide(Change::Grant { to: ended, from: GrantLife::Active }).await.unwrap();
    assert_eq!((dead().await.tokens.len(), dead().await.grants), (0, vec![grant.id]));
}

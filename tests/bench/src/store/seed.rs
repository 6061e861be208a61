//! Filling a store in bulk: rows straight into the tables of an issuer that does not run yet, and a tree that fits them.
//!
//! Leaves are real ones of a shorter kind than most, so that ten million fit into a few gigabytes; what is looked up and what is indexed is of full size.

use std::path::Path;

use daypass_issuer::{
    clock::Environment,
    store::{Device, Grant, GrantLife, Holder, Terms},
};
use daypass_proto::{
    enrolment::{DeviceLife, Facts, TrustTier},
    jose::EcPublicKey,
    ledger::{
        Event, EventKind, leaf_hash,
        tree::{Head, Tiles, extend},
    },
    time::Timestamp,
    token::{EventLogState, Posture},
};
use daypass_tests::{Failure, new_key};
use serde::Serialize;
use sqlx::{
    ConnectOptions as _, Connection as _, QueryBuilder, Sqlite, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{
    population::{Population, RESOURCE},
    sql,
};

/// Rows in one statement.
const ROWS: usize = 500;
/// Leaves by which the tree grows at a time: with a power of 256, no tile below it is ever left half full.
const LEAVES: u64 = 65_536;
/// The engine's cache while seeding, in KiB: an index that fits in it is not read from the disk again for every row.
const CACHE: &str = "-1500000";

/// Fills the database of an issuer that was made by `init` and has not served yet.
pub(crate) async fn seed(database: &Path, population: Population, environment: &Environment) -> Result<(), Failure> {
    // What is seeded is not there, or all of it: whoever is interrupted throws it away. So nothing needs a journal meanwhile.
    let options = SqliteConnectOptions::new()
        .filename(database)
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        .pragma("cache_size", CACHE);
    let mut connection = options.connect().await.map_err(sql)?;
    sqlx::raw_sql("BEGIN").execute(&mut connection).await.map_err(sql)?;
    let now = environment.now();
    seed_grants(&mut connection, population.grants, now).await?;
    seed_events(&mut connection, population.events, now).await?;
    sqlx::raw_sql("COMMIT; PRAGMA journal_mode = WAL").execute(&mut connection).await.map_err(sql)?;
    connection.close().await.map_err(sql)
}

async fn insert<T>(
    connection: &mut SqliteConnection,
    into: &str,
    rows: &[T],
    row: impl Fn(sqlx::query_builder::Separated<'_, Sqlite, &'static str>, &T),
) -> Result<(), Failure> {
    for rows in rows.chunks(ROWS) {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("INSERT INTO ");
        query.push(into).push(" ");
        query.push_values(rows, &row);
        query.build().execute(&mut *connection).await.map_err(sql)?;
    }
    Ok(())
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn device(number: u64, key: EcPublicKey, now: Timestamp) -> Result<Device, Failure> {
    Ok(Device {
        id: Population::device(number),
        collaborator: collaborator(number)?,
        state: DeviceLife::Approved,
        reason: None,
        tier: TrustTier::EkChain,
        keys: None,
        identity: key,
        proof: key,
        comparison_code: None,
        posture: Posture {
            trust_tier: TrustTier::EkChain,
            secure_boot: Some(true),
            event_log: EventLogState::Replayed,
        },
        pcrs: std::collections::BTreeMap::new(),
        facts: Facts::default(),
        enrolled_at: now,
    })
}

fn collaborator(number: u64) -> Result<daypass_proto::names::Collaborator, Failure> {
    format!("c{number}@example.com").parse().map_err(|error| Failure::unexpected("a collaborator", error))
}

fn name<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error| Failure::unexpected("a name", error))
}

async fn seed_grants(connection: &mut SqliteConnection, count: u64, now: Timestamp) -> Result<(), Failure> {
    let key = *new_key()?.0.public();
    let until = now.plus(30 * 86_400);
    let numbers: Vec<u64> = (0..count).collect();
    for numbers in numbers.chunks(ROWS * 100) {
        let mut devices = Vec::with_capacity(numbers.len());
        let mut grants = Vec::with_capacity(numbers.len());
        for number in numbers {
            devices.push(device(*number, key, now)?);
            grants.push(Grant {
                id: Population::grant(*number),
                collaborator: collaborator(*number)?,
                project: name("apollo")?,
                role: name("developer")?,
                until,
                state: GrantLife::Active,
                device: Some(Population::device(*number)),
                made_at: Some(now),
                used: 0,
                terms: Terms::default(),
                replaces: None,
                briefed: None,
            });
        }
        insert(connection, "devices (id, state, software, body)", &devices, |mut row, device| {
            row.push_bind(device.id.to_string()).push("'approved'").push("0").push_bind(json(device));
        })
        .await?;
        insert(connection, "grants (id, state, device, body)", &grants, |mut row, grant| {
            let device = grant.device.as_ref().map(ToString::to_string);
            row.push_bind(grant.id.to_string()).push("'active'").push_bind(device).push_bind(json(grant));
        })
        .await?;
        insert(connection, "certificates (hash, holder, not_before, not_after)", numbers, |mut row, number| {
            row.push_bind(Population::hash("certificate", *number).to_vec())
                .push_bind(Holder::Device(Population::device(*number)).uri())
                .push_bind(now.seconds())
                .push_bind(until.seconds());
        })
        .await?;
        let tokens = "tokens (jti, device, grant_id, resource, expires_at, revoked)";
        insert(connection, tokens, numbers, |mut row, number| {
            row.push_bind(Population::jti(*number))
                .push_bind(Population::device(*number).to_string())
                .push_bind(Population::grant(*number).to_string())
                .push_bind(RESOURCE)
                .push_bind(now.plus(240).seconds())
                .push("0");
        })
        .await?;
        // Written with a token about once an hour: here each device has just had one.
        let holders = "token_holders (device, resource, grant_id, until)";
        insert(connection, holders, numbers, |mut row, number| {
            row.push_bind(Population::device(*number).to_string())
                .push_bind(RESOURCE)
                .push_bind(Population::grant(*number).to_string())
                .push_bind(now.plus(240 + 3600).seconds());
        })
        .await?;
        insert(connection, "proofs_seen (id, remember_until)", numbers, |mut row, number| {
            row.push_bind(Population::hash("proof", *number).to_vec()).push_bind(now.plus(120).seconds());
        })
        .await?;
    }
    Ok(())
}

async fn seed_events(connection: &mut SqliteConnection, count: u64, now: Timestamp) -> Result<(), Failure> {
    let begun = now.plus(-30 * 86_400);
    let (mut head, mut tiles) = (Head::empty(), Tiles::default());
    while head.size() < count {
        let from = head.size();
        let rows: Vec<(u64, i64, Vec<u8>, [u8; 32])> = (from..count.min(from + LEAVES))
            .map(|number| {
                let at = begun.plus(i64::try_from(number / 8).unwrap_or_default());
                let mut id = [0; 16];
                id.iter_mut().zip(Population::hash("event", number)).for_each(|(byte, value)| *byte = value);
                let event = Event::new(id, EventKind::TokenIssued, at)
                    .text("jti", Population::jti(number))
                    .text("device", Population::device(number))
                    .text("grant", Population::grant(number));
                let leaf = event.leaf();
                let hash = leaf_hash(&leaf);
                (number, at.seconds(), leaf, hash)
            })
            .collect();
        insert(
            connection,
            "events (leaf_hash, sequence, kind, at, leaf)",
            &rows,
            |mut row, (number, at, leaf, hash)| {
                row.push_bind(hash.to_vec())
                    .push_bind(i64::try_from(*number).unwrap_or(i64::MAX))
                    .push("'token_issued'")
                    .push_bind(*at)
                    .push_bind(leaf.clone());
            },
        )
        .await?;
        let hashes: Vec<[u8; 32]> = rows.iter().map(|(.., hash)| *hash).collect();
        let extension = extend(&head, &tiles, &hashes).map_err(|error| Failure::unexpected("a tree", error))?;
        let into = "ledger_tiles (level, tile, hashes)";
        let wide: Vec<_> = extension.tiles.iter().filter(|(_, hashes)| !hashes.is_empty()).collect();
        for (id, _) in &wide {
            // The partial one of before.
            sqlx::query("DELETE FROM ledger_tiles WHERE level = $1 AND tile = $2")
                .bind(i64::from(id.level))
                .bind(i64::try_from(id.index).unwrap_or(i64::MAX))
                .execute(&mut *connection)
                .await
                .map_err(sql)?;
        }
        insert(connection, into, &wide, |mut row, (id, hashes)| {
            row.push_bind(i64::from(id.level))
                .push_bind(i64::try_from(id.index).unwrap_or(i64::MAX))
                .push_bind(hashes.clone());
        })
        .await?;
        (head, tiles) = (extension.head, Tiles::default());
        extension.tiles.into_iter().for_each(|(id, hashes)| tiles.insert(id, hashes));
    }
    let done = sqlx::query("UPDATE ledger SET size = $1, root = $2 WHERE id = 1 AND size = 0")
        .bind(i64::try_from(head.size()).unwrap_or(i64::MAX))
        .bind(head.root().to_vec())
        .execute(connection)
        .await
        .map_err(sql)?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(Failure::unexpected("a ledger without a tree", "another")) }
}

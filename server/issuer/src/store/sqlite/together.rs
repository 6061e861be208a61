//! What most decisions are made of, written for many of them by one statement of each kind: a statement is a way to the connection's thread and back,
//! which costs more than the row.
//!
//! Conditions are counted. Where a count is not what it must be, somebody's condition did not hold; nothing says whose, so the caller takes all of it
//! back and goes one by one. The same statements serve there, for one decision at a time.

use daypass_proto::{
    enrolment::DeviceLife,
    ledger::{self, api::MAX_LEAF},
    names::{DeviceId, GrantId},
    time::{Skew, Timestamp},
};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, query_builder::Separated};

use super::USED_AFTER_END;
use crate::store::{
    Change, Condition, Decision, Grant, GrantLife, IssuedToken, KnownDevice, Seen, StoreError, records::device_state,
};

/// How many rows one statement inserts, of at most six values each: an engine takes 32,766 values.
const ROWS: usize = 2000;

/// Changes and events, by where they go.
#[derive(Default)]
pub(super) struct Rows<'a> {
    seen: Vec<(&'a KnownDevice, &'a Seen<Grant>)>,
    devices: Vec<(&'a DeviceId, DeviceLife)>,
    grants: Vec<(&'a GrantId, GrantLife)>,
    proofs: Vec<(&'a [u8; 32], Timestamp)>,
    tokens: Vec<Token<'a>>,
    events: Vec<Event<'a>>,
}

struct Token<'a> {
    token: &'a IssuedToken,
    now: Timestamp,
    most: u32,
    /// How many of the same device stand before it here: the table does not have them yet when they are counted.
    before: usize,
}

struct Event<'a> {
    event: &'a ledger::Event,
    leaf: Vec<u8>,
    hash: [u8; 32],
}

/// Whether all that this decision changes can be written together with others.
pub(super) fn fits(decision: &Decision) -> bool {
    decision.changes.iter().all(|change| Rows::default().take(change).is_some())
}

impl<'a> Rows<'a> {
    /// All that these decisions change.
    pub(super) fn of(decisions: impl IntoIterator<Item = &'a Decision>) -> Result<Self, StoreError> {
        let mut rows = Self::default();
        for decision in decisions {
            for change in &decision.changes {
                let _ = rows.take(change);
            }
            rows.take_events(&decision.events)?;
        }
        Ok(rows)
    }

    /// One change alone, with its condition; `None` where it is written in another way.
    pub(super) fn alone(change: &'a Change) -> Option<(Self, Condition)> {
        let mut rows = Self::default();
        let condition = rows.take(change)?;
        Some((rows, condition))
    }

    /// Events alone.
    pub(super) fn events(events: &'a [ledger::Event]) -> Result<Self, StoreError> {
        let mut rows = Self::default();
        rows.take_events(events)?;
        Ok(rows)
    }

    fn take(&mut self, change: &'a Change) -> Option<Condition> {
        Some(match change {
            Change::RequireSeen { device, grant } => {
                self.seen.push((device, grant));
                Condition::Device(device.device.id.clone())
            }
            Change::RequireDevice(id, state) => {
                self.devices.push((id, *state));
                Condition::Device(id.clone())
            }
            Change::RequireGrant(id, state) => {
                self.grants.push((id, *state));
                Condition::Grant(id.clone())
            }
            Change::RememberProof { id, until } => {
                self.proofs.push((id, *until));
                Condition::ProofIsNew
            }
            Change::AddToken { token, now, most } => {
                let before = self.tokens.iter().filter(|other| other.token.device == token.device).count();
                self.tokens.push(Token { token, now: *now, most: *most, before });
                Condition::RoomForToken(token.device.clone())
            }
            _ => return None,
        })
    }

    fn take_events(&mut self, events: &'a [ledger::Event]) -> Result<(), StoreError> {
        for event in events {
            let leaf = event.leaf();
            if leaf.len() > MAX_LEAF {
                return Err(StoreError::EventTooLarge(leaf.len()));
            }
            ledger::vocabulary::fits(event).map_err(StoreError::Vocabulary)?;
            let hash = ledger::leaf_hash(&leaf);
            self.events.push(Event { event, leaf, hash });
        }
        Ok(())
    }

    /// The time up to which decisions were made, and whether every device and grant is in the state that it must be in.
    pub(super) async fn holds(&self, connection: &mut SqliteConnection) -> Result<(Timestamp, bool), sqlx::Error> {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT (SELECT floor FROM clock) AS floor, ");
        let mut required = 0;
        required += count_those(&mut query, ("devices", "id", "state"), &self.devices, |mut row, (id, state)| {
            row.push_bind(id.as_str()).push_bind(device_state(*state));
        });
        required += count_those(&mut query, ("grants", "id", "state"), &self.grants, |mut row, (id, state)| {
            row.push_bind(id.as_str()).push_bind(state.as_str());
        });
        required += count_those(&mut query, ("certificates", "hash", "holder"), &self.seen, |mut row, (known, _)| {
            row.push_bind(known.certificate_hash.as_slice()).push_bind(known.certificate.holder.uri());
        });
        required += count_those(&mut query, ("devices", "id", "body"), &self.seen, |mut row, (known, _)| {
            row.push_bind(known.device.id.as_str()).push_bind(&*known.device.text);
        });
        required += count_those(&mut query, ("grants", "id", "body"), &self.seen, |mut row, (_, grant)| {
            row.push_bind(grant.id.as_str()).push_bind(&*grant.text);
        });
        // No key is there twice, so no count is larger than it must be, and the sum is right where each of them is.
        query.push("0 AS found");
        let row = query.build().fetch_one(connection).await?;
        let found: i64 = row.try_get("found")?;
        Ok((Timestamp::from_seconds(row.try_get("floor")?), usize::try_from(found) == Ok(required)))
    }

    /// Writes everything; `false` where a proof was seen before, or a device has no room for a token. Whatever stands there after that or after an error must be taken back, so no statement
    /// keeps what it would need for taking back only its own rows (`OR FAIL`, `OR IGNORE`).
    pub(super) async fn write(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let proofs = "proofs_seen (id, remember_until)";
        let new = insert(connection, "OR IGNORE", proofs, &self.proofs, |mut row, (id, until)| {
            row.push_bind(id.as_slice()).push_bind(until.seconds());
        });
        if new.await? != self.proofs.len() {
            return Ok(false);
        }
        if self.add_tokens(connection).await? != self.tokens.len() {
            return Ok(false);
        }
        let events = "events (leaf_hash, kind, at, leaf, device, project)";
        insert(connection, "OR FAIL", events, &self.events, |mut row, Event { event, leaf, hash }| {
            row.push_bind(hash.as_slice())
                .push_bind(event.kind().as_str())
                .push_bind(event.at().seconds())
                .push_bind(leaf.as_slice())
                .push_bind(event.text_of("device"))
                .push_bind(event.text_of("project"));
        })
        .await?;
        let personal: Vec<_> = self
            .events
            .iter()
            .flat_map(|event| {
                event.event.personal_fields().iter().map(move |(name, field)| (&event.hash, *name, field))
            })
            .collect();
        let fields = "personal_fields (leaf_hash, name, salt, value)";
        insert(connection, "OR FAIL", fields, &personal, |mut row, (hash, name, field)| {
            row.push_bind(hash.as_slice())
                .push_bind(*name)
                .push_bind(field.salt.as_slice())
                .push_bind(field.value.as_str());
        })
        .await?;
        Ok(true)
    }

    /// Adds those that there is room for, and says how many.
    async fn add_tokens(&self, connection: &mut SqliteConnection) -> Result<usize, sqlx::Error> {
        if self.tokens.is_empty() {
            return Ok(0);
        }
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
            "INSERT OR FAIL INTO tokens (jti, device, grant_id, resource, expires_at, revoked) \
             SELECT column1, column2, column3, column4, column5, 0 FROM (",
        );
        query.push_values(&self.tokens, |mut row, Token { token, now, most, before }| {
            row.push_bind(token.jti.as_str())
                .push_bind(token.device.as_str())
                .push_bind(token.grant.as_str())
                .push_bind(token.resource.as_str())
                .push_bind(token.expires_at.seconds())
                .push_bind(now.plus(-Skew::MAX_SECONDS).seconds())
                .push_bind(now.plus(-USED_AFTER_END).seconds())
                .push_bind(i64::from(*most) - i64::try_from(*before).unwrap_or(i64::MAX));
        });
        // Whatever can still be revoked counts as live, so that revoking makes no room.
        query.push(
            ") AS given WHERE (SELECT COUNT(*) FROM tokens t WHERE t.device = column2 AND t.expires_at > column6) \
             + (SELECT COUNT(*) FROM tokens t WHERE t.device = column2 AND t.revoked <> 0 AND t.expires_at > column7 AND t.expires_at <= column6) \
             < column8",
        );
        let done = query.build().execute(connection).await?;
        Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
    }
}

/// Adds to a sum how many of `required` are in a table: those of which one row has both values, each as often as it is required. Gives how many that must be.
fn count_those<'a, T>(
    query: &mut QueryBuilder<Sqlite>,
    (table, key, value): (&'static str, &'static str, &'static str),
    required: &'a [T],
    row: impl Fn(Separated<'_, Sqlite, &'static str>, &'a T),
) -> usize {
    if !required.is_empty() {
        query.push("(SELECT COUNT(*) FROM (").push_values(required, row);
        // A cross join is done in the order in which it is written.
        query.push(") AS given CROSS JOIN ").push(table).push(" AS found WHERE found.").push(key);
        query.push(" = given.column1 AND found.").push(value).push(" = given.column2) + ");
    }
    required.len()
}

/// Inserts rows, and says how many.
async fn insert<'a, T>(
    connection: &mut SqliteConnection,
    conflict: &'static str,
    into: &'static str,
    rows: &'a [T],
    row: impl Fn(Separated<'_, Sqlite, &'static str>, &'a T),
) -> Result<usize, sqlx::Error> {
    let mut inserted = 0;
    // One decision can end thousands of grants, and a statement has room for so many values.
    for rows in rows.chunks(ROWS) {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("INSERT ");
        query.push(conflict).push(" INTO ").push(into).push(" ");
        query.push_values(rows, &row);
        let done = query.build().execute(&mut *connection).await?;
        inserted = usize::saturating_add(inserted, usize::try_from(done.rows_affected()).unwrap_or(usize::MAX));
    }
    Ok(inserted)
}

//! What most decisions are made of, written for many of them by one statement of each kind: a statement is a way to the connection's thread and back,
//! which costs more than the row.
//!
//! Conditions are counted. Where a count is not what it must be, somebody's condition did not hold; nothing says whose, so the caller takes all of it
//! back and goes one by one. The same statements serve there, for one decision at a time.

use daypass_proto::{
    enrolment::DeviceLife,
    ledger::{self, api::MAX_LEAF},
    names::{DeviceId, GrantId},
    time::Timestamp,
};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, query_builder::Separated};

use crate::store::{Change, Condition, Decision, GrantLife, IssuedToken, StoreError, records::device_state};

/// Changes and events, by where they go.
#[derive(Default)]
pub(super) struct Rows<'a> {
    devices: Vec<(&'a DeviceId, DeviceLife)>,
    grants: Vec<(&'a GrantId, GrantLife)>,
    proofs: Vec<(&'a [u8; 32], Timestamp)>,
    tokens: Vec<&'a IssuedToken>,
    events: Vec<Event<'a>>,
}

struct Event<'a> {
    event: &'a ledger::Event,
    kind: String,
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

    /// One change alone, with the condition that it has; `None` where it is written in another way.
    pub(super) fn alone(change: &'a Change) -> Option<(Self, Option<Condition>)> {
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

    fn take(&mut self, change: &'a Change) -> Option<Option<Condition>> {
        Some(match change {
            Change::RequireDevice(id, state) => {
                self.devices.push((id, *state));
                Some(Condition::Device(id.clone()))
            }
            Change::RequireGrant(id, state) => {
                self.grants.push((id, *state));
                Some(Condition::Grant(id.clone()))
            }
            Change::RememberProof { id, until } => {
                self.proofs.push((id, *until));
                Some(Condition::ProofIsNew)
            }
            Change::AddToken(token) => {
                self.tokens.push(token);
                None
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
            let kind = serde_json::to_value(event.kind()).ok().and_then(|kind| kind.as_str().map(str::to_owned));
            let hash = ledger::leaf_hash(&leaf);
            self.events.push(Event { event, kind: kind.unwrap_or_default(), leaf, hash });
        }
        Ok(())
    }

    /// The time up to which decisions were made, and whether every device and grant is in the state that it must be in.
    pub(super) async fn holds(&self, connection: &mut SqliteConnection) -> Result<(Timestamp, bool), sqlx::Error> {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT (SELECT floor FROM clock) AS floor, ");
        let devices = self.devices.iter().map(|(id, state)| (id.as_str(), device_state(*state)));
        count(&mut query, "devices", devices);
        query.push(" AS devices, ");
        count(&mut query, "grants", self.grants.iter().map(|(id, state)| (id.as_str(), state.as_str())));
        query.push(" AS grants");
        let row = query.build().fetch_one(connection).await?;
        let met = |name: &str, required: usize| {
            Ok::<_, sqlx::Error>(usize::try_from(row.try_get::<i64, _>(name)?) == Ok(required))
        };
        let holds = met("devices", self.devices.len())? && met("grants", self.grants.len())?;
        Ok((Timestamp::from_seconds(row.try_get("floor")?), holds))
    }

    /// Writes everything; `false` where a proof was seen before.
    pub(super) async fn write(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let proofs = "proofs_seen (id, remember_until)";
        let new = insert(connection, proofs, &self.proofs, " ON CONFLICT DO NOTHING", |mut row, (id, until)| {
            row.push_bind(id.as_slice()).push_bind(until.seconds());
        });
        if new.await? != self.proofs.len() {
            return Ok(false);
        }
        let tokens = "tokens (jti, device, grant_id, resource, expires_at, revoked)";
        insert(connection, tokens, &self.tokens, "", |mut row, token| {
            row.push_bind(token.jti.as_str())
                .push_bind(token.device.as_str())
                .push_bind(token.grant.as_str())
                .push_bind(token.resource.as_str())
                .push_bind(token.expires_at.seconds())
                .push("0");
        })
        .await?;
        insert(connection, "events (leaf_hash, kind, at, leaf)", &self.events, "", |mut row, event| {
            row.push_bind(event.hash.as_slice())
                .push_bind(event.kind.as_str())
                .push_bind(event.event.at().seconds())
                .push_bind(event.leaf.as_slice());
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
        insert(connection, fields, &personal, "", |mut row, (hash, name, field)| {
            row.push_bind(hash.as_slice())
                .push_bind(*name)
                .push_bind(field.salt.as_slice())
                .push_bind(field.value.as_str());
        })
        .await?;
        Ok(true)
    }
}

/// How many of `required` are there: (name, state), each as often as it is required.
fn count<'a>(
    query: &mut QueryBuilder<Sqlite>,
    table: &'static str,
    required: impl ExactSizeIterator<Item = (&'a str, &'static str)>,
) {
    if required.len() == 0 {
        query.push("0");
        return;
    }
    query.push("(SELECT COUNT(*) FROM (");
    query.push_values(required, |mut row, (id, state)| {
        row.push_bind(id.to_owned()).push_bind(state);
    });
    // A cross join is done in the order in which it is written.
    query.push(") AS given CROSS JOIN ").push(table);
    query.push(" AS found WHERE found.id = given.column1 AND found.state = given.column2)");
}

/// Inserts rows, and says how many.
async fn insert<'a, T>(
    connection: &mut SqliteConnection,
    into: &'static str,
    rows: &'a [T],
    ending: &'static str,
    row: impl Fn(Separated<'_, Sqlite, &'static str>, &'a T),
) -> Result<usize, sqlx::Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("INSERT INTO ");
    query.push(into).push(" ");
    query.push_values(rows, row);
    query.push(ending);
    let done = query.build().execute(connection).await?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
}

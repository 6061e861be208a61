//! What most decisions are made of, written for many of them by one statement of each kind, and by two messages to the connection's thread: the
//! conditions, and what is written where they hold. A message is a way there and back, which costs more than a row.
//!
//! Conditions are counted. Where a count is not what it must be, somebody's condition did not hold; nothing says whose, so the caller takes all of it
//! back and goes one by one. The same statements serve there, for one decision at a time.

use daypass_proto::{
    enrolment::DeviceLife,
    ledger::{Sealed, api::MAX_LEAF, vocabulary},
    names::{DeviceId, GrantId},
    time::{Skew, Timestamp},
};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use super::{
    USED_AFTER_END,
    message::{Cells, Message},
};
use crate::store::{
    Change, Condition, Decision, Grant, GrantLife, IssuedToken, KnownDevice, Seen, StoreError, records::device_state,
};

/// Changes and events, by where they go.
#[derive(Default)]
pub(super) struct Rows<'a> {
    seen: Vec<(&'a KnownDevice, &'a Seen<Grant>)>,
    devices: Vec<(&'a DeviceId, DeviceLife)>,
    grants: Vec<(&'a GrantId, GrantLife)>,
    proofs: Vec<(&'a [u8; 32], Timestamp)>,
    tokens: Vec<Token<'a>>,
    events: Vec<&'a Sealed>,
}

struct Token<'a> {
    token: &'a IssuedToken,
    now: Timestamp,
    most: u32,
    /// How many of the same device stand before it here: the table does not have them yet when they are counted.
    before: usize,
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
    pub(super) fn events(events: &'a [Sealed]) -> Result<Self, StoreError> {
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

    fn take_events(&mut self, events: &'a [Sealed]) -> Result<(), StoreError> {
        for event in events {
            let size = event.leaf().len();
            if size > MAX_LEAF {
                return Err(StoreError::EventTooLarge(size));
            }
            vocabulary::fits(event.event()).map_err(StoreError::Vocabulary)?;
            self.events.push(event);
        }
        Ok(())
    }

    /// The time up to which decisions were made, and whether every condition holds: every device and grant is in the state that it must be in, no proof
    /// was seen before, and each token has room. Proofs and tokens stand in the store afterwards; where something does not hold or fails, whatever
    /// stands there must be taken back, so no statement keeps what it would need for taking back only its own rows (`OR FAIL`, `OR IGNORE`).
    pub(super) async fn hold(&self, connection: &mut SqliteConnection) -> Result<(Timestamp, bool), sqlx::Error> {
        let mut message = Message::default();
        let required = self.count_required(message.query());
        message.insert(true, "OR IGNORE", "proofs_seen (id, remember_until)", &self.proofs, |mut row, (id, until)| {
            row.push_bind(id.as_slice()).push_bind(until.seconds());
        });
        if !self.tokens.is_empty() {
            self.add_tokens(message.write(Some(self.tokens.len())));
        }
        let (row, written) = message.send(connection).await?;
        let row = row.ok_or(sqlx::Error::RowNotFound)?;
        let found: i64 = row.try_get("found")?;
        let holds = written && usize::try_from(found) == Ok(required);
        Ok((Timestamp::from_seconds(row.try_get("floor")?), holds))
    }

    /// Asks for the store's time, and how many of the devices and grants are as they must be; gives how many must.
    fn count_required(&self, query: &mut QueryBuilder<Sqlite>) -> usize {
        query.push("SELECT (SELECT floor FROM clock) AS floor, ");
        let mut required = 0;
        required += count_those(query, ("devices", "id", "state"), &self.devices, |mut row, (id, state)| {
            row.push_bind(id.as_str()).push_bind(device_state(*state));
        });
        required += count_those(query, ("grants", "id", "state"), &self.grants, |mut row, (id, state)| {
            row.push_bind(id.as_str()).push_bind(state.as_str());
        });
        required += count_those(query, ("certificates", "hash", "holder"), &self.seen, |mut row, (known, _)| {
            row.push_bind(known.certificate_hash.as_slice()).push_bind(known.certificate.holder.uri());
        });
        required += count_those(query, ("devices", "id", "body"), &self.seen, |mut row, (known, _)| {
            row.push_bind(known.device.id.as_str()).push_bind(&*known.device.text);
        });
        required += count_those(query, ("grants", "id", "body"), &self.seen, |mut row, (_, grant)| {
            row.push_bind(grant.id.as_str()).push_bind(&*grant.text);
        });
        // No key is there twice, so no count is larger than it must be, and the sum is right where each of them is.
        query.push("0 AS found");
        required
    }

    /// Adds those that there is room for.
    fn add_tokens(&self, query: &mut QueryBuilder<Sqlite>) {
        query.push(
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
    }

    /// Writes the events.
    pub(super) async fn write(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let mut message = Message::default();
        let events = "events (leaf_hash, kind, at, leaf, device, project)";
        message.insert(false, "OR FAIL", events, &self.events, |mut row, sealed| {
            let event = sealed.event();
            row.push_bind(sealed.hash().as_slice())
                .push_bind(event.kind().as_str())
                .push_bind(event.at().seconds())
                .push_bind(sealed.leaf())
                .push_bind(event.text_of("device"))
                .push_bind(event.text_of("project"));
        });
        let personal: Vec<_> = self
            .events
            .iter()
            .flat_map(|sealed| {
                sealed.event().personal_fields().iter().map(move |(name, field)| (sealed.hash(), *name, field))
            })
            .collect();
        let fields = "personal_fields (leaf_hash, name, salt, value)";
        message.insert(false, "OR FAIL", fields, &personal, |mut row, (hash, name, field)| {
            row.push_bind(hash.as_slice())
                .push_bind(*name)
                .push_bind(field.salt.as_slice())
                .push_bind(field.value.as_str());
        });
        message.send(connection).await.map(drop)
    }
}

/// Adds to a sum how many of `required` are in a table: those of which one row has both values, each as often as it is required. Gives how many that must be.
fn count_those<'a, T>(
    query: &mut QueryBuilder<Sqlite>,
    (table, key, value): (&'static str, &'static str, &'static str),
    required: &'a [T],
    row: impl Fn(Cells<'_>, &'a T),
) -> usize {
    if !required.is_empty() {
        query.push("(SELECT COUNT(*) FROM (").push_values(required, row);
        // A cross join is done in the order in which it is written.
        query.push(") AS given CROSS JOIN ").push(table).push(" AS found WHERE found.").push(key);
        query.push(" = given.column1 AND found.").push(value).push(" = given.column2) + ");
    }
    required.len()
}

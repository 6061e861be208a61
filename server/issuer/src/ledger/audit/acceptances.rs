//! Acceptances of briefings that the store keeps, held against the events that tell of them.
//!
//! An event has the hash of what a device signed, and what is signed has the hash of the text that was read: so whatever of a record was touched is found by its
//! event. A record without an event was never decided. An event without its record is one whose person was erased, or the evidence is gone.

use std::collections::BTreeSet;

use daypass_proto::{
    briefing::{Claims, text_hash},
    encoding::{from_base64url, sha256},
    ledger::EventKind,
};
use serde_json::Value;

use super::{Audit, Finding};
use crate::store::{Acceptance, Entry, Filter, Side, Store, StoreError};

/// How many are read at once.
const PAGE: u32 = 512;
/// How far apart record and event may be: both times are read one after the other, in seconds.
const APART: i64 = 60;

/// The acceptances of which an event tells.
#[derive(Default)]
pub(super) struct Told(BTreeSet<Vec<u8>>);

/// What was signed. Whose signature it has was looked at when it was taken, and the ledger has its hash since.
fn claims(signed: &str) -> Option<Claims> {
    serde_json::from_slice(&from_base64url(signed.split('.').nth(1)?)?).ok()
}

/// What an event says of an acceptance.
struct Said<'a> {
    acceptance: Vec<u8>,
    fields: &'a Value,
    at: i64,
    collaborator: Option<&'a str>,
}

impl<'a> Said<'a> {
    fn of(leaf: &'a Value, entry: &'a Entry) -> Option<Self> {
        let fields = leaf.get("fields")?;
        Some(Self {
            acceptance: from_base64url(fields.get("acceptance")?.as_str()?)?,
            fields,
            at: leaf.get("at")?.as_i64()?,
            collaborator: entry.personal.get("collaborator").map(|(_, value)| value.as_str()),
        })
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    /// What in a record is not as it was decided.
    fn against(&self, kept: &Acceptance) -> Option<&'static str> {
        let signed = sha256(&[kept.acceptance.as_bytes()])[..] == self.acceptance;
        let claims = claims(&kept.acceptance);
        let text = kept.text.as_ref().map(|text| text_hash(text));
        let good = [
            ("signed", signed),
            ("grant", self.field("grant") == Some(kept.grant.as_str())),
            ("device", self.field("device") == Some(kept.device.as_str())),
            ("briefing", self.field("briefing").and_then(from_base64url).as_deref() == Some(&kept.briefing.0)),
            ("collaborator", self.collaborator.is_none_or(|whose| whose == kept.collaborator.as_str())),
            ("at", (0..=APART).contains(&self.at.saturating_sub(kept.at.seconds()))),
            ("text", text.is_none_or(|text| claims.is_some_and(|claims| claims.text == text))),
        ];
        good.into_iter().find_map(|(field, good)| (!good).then_some(field))
    }
}

impl Told {
    /// An event; of those that tell of an acceptance, what is kept of it is looked at.
    pub(super) async fn event<S: Store + ?Sized>(
        &mut self,
        store: &S,
        audit: &mut Audit,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        if entry.kind != EventKind::BriefingAccepted.as_str() {
            return Ok(());
        }
        let leaf: Value = serde_json::from_slice(&entry.leaf).unwrap_or_default();
        let Some(said) = Said::of(&leaf, entry) else { return Ok(()) };
        let wrong = match store.acceptance(&said.acceptance).await {
            Ok(Some(kept)) => said.against(&kept),
            // Erased with whom it told of.
            Ok(None) if said.collaborator.is_none() => None,
            Ok(None) => Some("hash"),
            Err(StoreError::Damaged(_)) => Some("row"),
            Err(other) => return Err(other),
        };
        if let Some(field) = wrong {
            audit.find(Finding::Acceptance { event: entry.sequence, field });
        }
        self.0.insert(said.acceptance);
        Ok(())
    }

    /// All events up to `size` were looked at: what is kept has one of them, or one that came since.
    pub(super) async fn rest<S: Store + ?Sized>(
        mut self,
        store: &S,
        audit: &mut Audit,
        size: u64,
    ) -> Result<(), StoreError> {
        let mut untold = Vec::new();
        let mut after = Vec::new();
        loop {
            let page = store.acceptances_after(&after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(last);
            untold.extend(page.into_iter().filter(|hash| !self.0.contains(hash)));
        }
        if untold.is_empty() {
            return Ok(());
        }
        // Those without a number first: what gets one meanwhile is found either way.
        let kind = EventKind::BriefingAccepted;
        let mut later = Vec::new();
        for hash in store.unnumbered_of(kind).await? {
            later.extend(store.event(&hash).await?);
        }
        let filter = Filter { kind: Some(kind), ..Filter::default() };
        let end = store.span(&filter).await?.end.max(size);
        later.extend(store.listed(&filter, size..end, Side::First, u32::MAX).await?);
        for entry in &later {
            let leaf: Value = serde_json::from_slice(&entry.leaf).unwrap_or_default();
            self.0.extend(Said::of(&leaf, entry).map(|said| said.acceptance));
        }
        for hash in untold.into_iter().filter(|hash| !self.0.contains(hash)) {
            audit.find(Finding::Untold { acceptance: hex::encode(hash) });
        }
        Ok(())
    }
}

//! Who did something, as the ledger has it: records do not name them, so that whoever is erased there is erased here.

use std::collections::BTreeMap;

use daypass_proto::{
    ledger::EventKind,
    names::{Collaborator, DeviceId, InvitationId, ProposalId},
    time::Timestamp,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    issuer::Issuer,
    store::{Filter, PolicyVersion, Side, StoreError},
};

/// An event, as far as it tells of somebody's deed.
#[derive(Deserialize)]
struct Leaf {
    at: Timestamp,
    fields: Map<String, Value>,
}

struct Deed {
    leaf: Leaf,
    personal: BTreeMap<String, (Vec<u8>, String)>,
}

impl Deed {
    fn field<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.leaf.fields.get(name).and_then(Value::as_str).and_then(|text| text.parse().ok())
    }

    fn said(&self, name: &str) -> Option<String> {
        self.personal.get(name).map(|(_, value)| value.clone())
    }
}

/// All events of a kind, the oldest first: also those that have no number yet, so that what was done a moment ago is seen.
async fn deeds(issuer: &Issuer, kind: EventKind) -> Result<Vec<Deed>, StoreError> {
    // These first: what gets its number meanwhile is found either way, and counted once.
    let waiting = issuer.store.unnumbered_of(kind).await?;
    let filter = Filter { kind: Some(kind), ..Filter::default() };
    let span = issuer.store.span(&filter).await?;
    let mut found = issuer.store.listed(&filter, span, Side::First, u32::MAX).await?;
    for hash in waiting {
        if !found.iter().any(|entry| entry.leaf_hash == hash) {
            found.extend(issuer.store.event(&hash).await?);
        }
    }
    let read = found
        .into_iter()
        .filter_map(|entry| Some(Deed { leaf: serde_json::from_slice(&entry.leaf).ok()?, personal: entry.personal }));
    Ok(read.collect())
}

/// A version of the policy, and who put it in force.
#[derive(Clone, Debug)]
pub struct Versioned {
    /// The version.
    pub version: PolicyVersion,
    /// The account or the administrator; none where they were erased.
    pub by: Option<String>,
    /// From which device, where it was an administrator's.
    pub by_device: Option<DeviceId>,
    /// What was confirmed by that.
    pub proposal: Option<ProposalId>,
}

/// All versions that were in force, the oldest first.
pub async fn versions(issuer: &Issuer) -> Result<Vec<Versioned>, StoreError> {
    let mut loads = deeds(issuer, EventKind::PolicyLoaded).await?.into_iter().peekable();
    let mut all = Vec::new();
    for version in issuer.store.policies().await? {
        // Each has one event, in the same order.
        let hash = hex::encode(version.hash.0);
        let deed = loads.next_if(|deed| deed.field::<String>("policy").is_some_and(|policy| policy == hash));
        let deed = deed.as_ref();
        all.push(Versioned {
            version,
            by: deed.and_then(|deed| deed.said("by")),
            by_device: deed.and_then(|deed| deed.field("by_device")),
            proposal: deed.and_then(|deed| deed.field("proposal")),
        });
    }
    Ok(all)
}

/// An invitation that made somebody an administrator.
#[derive(Clone, Debug)]
pub struct Bootstrapped {
    /// The invitation.
    pub invitation: InvitationId,
    /// When.
    pub at: Timestamp,
    /// The account that did it.
    pub by: Option<String>,
    /// Why, where somebody said.
    pub why: Option<String>,
    /// How many administrators there were, of whom none was asked.
    pub administrators: u64,
}

/// How those who administer were made administrators, by the ledger.
pub async fn bootstraps(issuer: &Issuer) -> Result<BTreeMap<Collaborator, Vec<Bootstrapped>>, StoreError> {
    let mut all: BTreeMap<Collaborator, Vec<Bootstrapped>> = BTreeMap::new();
    for deed in deeds(issuer, EventKind::AdministratorBootstrapped).await? {
        let whom = deed.said("collaborator").and_then(|name| name.parse().ok());
        let (Some(whom), Some(invitation)) = (whom, deed.field("invitation")) else { continue };
        all.entry(whom).or_default().push(Bootstrapped {
            invitation,
            at: deed.leaf.at,
            by: deed.said("by"),
            why: deed.said("why"),
            administrators: deed.leaf.fields.get("administrators").and_then(Value::as_u64).unwrap_or_default(),
        });
    }
    Ok(all)
}

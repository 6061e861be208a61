//! A successor comes into force, and the one whose place it takes ends.

use std::collections::BTreeSet;

use daypass_proto::{
    enrolment::DeviceLife,
    ledger::EventKind,
    names::{DeviceId, GrantId},
};

use crate::{
    approval::ApprovalError,
    ending::{Told, device_with_nothing, standing},
    grant::Standing,
    issuer::Issuer,
    store::{Change, Decision, Grant, GrantLife, Replaces, StoreError},
};

/// A grant that is to come into force, with the one whose place it takes.
#[derive(Debug)]
pub(crate) struct Succession {
    by: GrantId,
    replaces: Replaces,
    from: Grant,
}

impl Succession {
    /// The grant as it comes into force, going on where the one before it was; refused where that one gives nothing to go on with.
    pub(crate) async fn of(issuer: &Issuer, grant: Grant) -> Result<(Grant, Option<Self>), ApprovalError> {
        let Some(replaces) = grant.replaces.clone() else { return Ok((grant, None)) };
        let gone = |state: &str| ApprovalError::Predecessor {
            grant: grant.id.clone(),
            replaces: replaces.grant.clone(),
            state: state.to_owned(),
        };
        let from = issuer.store.grant(&replaces.grant).await?.ok_or_else(|| gone("gone"))?;
        match (from.state, standing(issuer, &from)) {
            (GrantLife::Active, Standing::Full | Standing::NotYet(_)) => {}
            (GrantLife::Active, Standing::Grace | Standing::Over) => return Err(gone("over")),
            (state, _) => return Err(gone(state.as_str())),
        }
        let device = issuer.store.device(&replaces.device).await?;
        if device.is_none_or(|device| device.state != DeviceLife::Approved) {
            return Err(gone("on a device that is held back or ended"));
        }
        let grant = Grant { used: from.used.max(grant.used), ..grant };
        Ok((grant.clone(), Some(Self { by: grant.id, replaces, from })))
    }
}

/// The decision, with the end of what these take the place of. A device on which nothing lives any more ends with it.
pub(crate) async fn succeed(
    issuer: &Issuer,
    mut decision: Decision,
    all: Vec<Succession>,
    told: &Told<'_>,
) -> Result<Decision, StoreError> {
    let ending: BTreeSet<GrantId> = all.iter().map(|one| one.from.id.clone()).collect();
    let devices: BTreeSet<DeviceId> = all.iter().map(|one| one.replaces.device.clone()).collect();
    let reason = all.iter().find_map(|one| one.replaces.reason.clone());
    let told = Told { source: told.source, rule: Some("replaced"), reason: reason.as_deref().or(told.reason) };
    for Succession { by, from, .. } in all {
        let event = issuer.environment.event(EventKind::GrantRevoked).text("successor", by);
        let event = issuer.environment.of_grant(event, &from, &issuer.policy());
        let to = Grant { state: GrantLife::Revoked, ..from.clone() };
        // A token that it gave, or an end that was moved, since it was read would be lost.
        let change = Change::Extend { to: Box::new(to), from: Box::new(from) };
        decision = decision.event(told.on(issuer, event)).change(change);
    }
    for id in devices {
        let grants = issuer.store.grants_of(&id).await?;
        let left = grants.iter().any(|grant| !grant.state.is_over() && !ending.contains(&grant.id));
        let device = issuer.store.device(&id).await?;
        decision = match device {
            // Whoever holds it back at the same moment is not got round.
            Some(device) if !left => {
                device_with_nothing(issuer, decision, &device, DeviceLife::Approved, "replaced", &told)
            }
            _ => decision.change(Change::RequireDevice(id, DeviceLife::Approved)),
        };
    }
    Ok(decision)
}

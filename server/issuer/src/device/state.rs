//! A device's state as the device itself sees it (docs/wire.md section 5.4).

use std::collections::BTreeSet;

use daypass_proto::{
    enrolment::{DeviceLife, DeviceState, GrantState, ResourceTrust},
    time::Timestamp,
};

use crate::{
    approval::Waiting,
    briefing,
    issuer::Issuer,
    policy::Policy,
    store::{Device, GateLife, Grant, GrantLife, StoreError},
};

/// The state, with the end of the certificate in use. A pending device sees no grants and no resources.
pub async fn device_state(issuer: &Issuer, device: &Device, not_after: Timestamp) -> Result<DeviceState, StoreError> {
    let grants = issuer.store.grants_of(&device.id).await?;
    let policy = issuer.policy();
    let waits_for = waits_for(issuer, device, &grants, &policy).await?;
    let approved = device.state == DeviceLife::Approved;
    let visible: Vec<GrantState> =
        if approved { grants.into_iter().map(|grant| grant_state(&policy, grant)).collect() } else { Vec::new() };
    let resources = visible.iter().flat_map(|grant| grant.authorization_details.resources()).collect::<BTreeSet<_>>();
    // The admin API is no resource of tools': the agent itself goes there.
    let resources = resources.into_iter().filter(|resource| *resource != issuer.config.admin);
    let gates = issuer.store.gates().await?;
    let resources = resources
        .map(|resource| {
            let gate = gates.iter().find(|gate| gate.state != GateLife::Removed && gate.resources.contains(&resource));
            ResourceTrust { ca: gate.and_then(|gate| gate.ca.clone()), resource }
        })
        .collect();
    Ok(DeviceState {
        device: device.id.clone(),
        client_id: device.id.client_id(),
        state: device.state,
        issuer: issuer.config.issuer_url.clone(),
        mtls_url: issuer.config.mtls_url.clone(),
        collaborator: device.collaborator.clone(),
        comparison_code: device.comparison_code.clone(),
        trust_tier: device.tier,
        waits_for,
        certificate_not_after: not_after,
        server_time: issuer.environment.now(),
        grants: visible,
        resources,
    })
}

/// Whom the device waits for: while it is pending, the owners of what it was invited to; afterwards, those who may still approve what waits.
async fn waits_for(
    issuer: &Issuer,
    device: &Device,
    grants: &[Grant],
    policy: &Policy,
) -> Result<Vec<String>, StoreError> {
    let mut owners = BTreeSet::new();
    match device.state {
        DeviceLife::Pending => {
            let projects = grants.iter().filter_map(|grant| policy.project(&grant.project));
            owners.extend(projects.flat_map(|project| project.owners.clone()));
        }
        DeviceLife::Approved => {
            for grant in grants.iter().filter(|grant| grant.state == GrantLife::Requested) {
                owners.extend(Waiting::of_grant(issuer, grant).await?.iter().flat_map(Waiting::open_to));
            }
        }
        DeviceLife::Suspended | DeviceLife::Revoked => {}
    }
    Ok(owners.into_iter().collect())
}

fn grant_state(policy: &Policy, grant: Grant) -> GrantState {
    let role = policy.role(&grant.project, &grant.role);
    GrantState {
        briefing: briefing::standing(policy, &grant),
        authorization_details: role.and_then(|role| role.details_for(&grant.collaborator).ok()).unwrap_or_default(),
        protection: role.map_or(daypass_proto::token::Protection::Hardware, |role| role.protection),
        grant: grant.id,
        project: grant.project,
        role: grant.role,
        state: grant.state.to_string(),
        until: grant.until,
    }
}

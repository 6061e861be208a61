//! A device's state as the device itself sees it (docs/wire.md section 5.4).

use std::collections::BTreeSet;

use daypass_proto::{
    enrolment::{DeviceLife, DeviceState, GrantState, ResourceTrust},
    time::Timestamp,
};

use crate::{
    approval::Waiting,
    briefing,
    grant::{Span, Standing},
    issuer::Issuer,
    policy::Policy,
    store::{Device, GateLife, Grant, GrantLife, StoreError},
};

/// The state, with the end of the certificate in use. A pending device sees no grants and no resources.
pub async fn device_state(issuer: &Issuer, device: &Device, not_after: Timestamp) -> Result<DeviceState, StoreError> {
    let grants = issuer.store.grants_of(&device.id).await?;
    let (policy, now) = (issuer.policy(), issuer.environment.now());
    let waits_for = waits_for(issuer, device, &grants, &policy).await?;
    let approved = device.state == DeviceLife::Approved;
    let visible: Vec<GrantState> =
        if approved { grants.into_iter().map(|grant| grant_state(&policy, grant, now)).collect() } else { Vec::new() };
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
        server_time: now,
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

/// What time did to it is said at once, whether somebody has marked it yet or not.
fn grant_state(policy: &Policy, grant: Grant, now: Timestamp) -> GrantState {
    let project = policy.project(&grant.project);
    let role = project.and_then(|project| project.role(&grant.role));
    let span = project.zip(role).and_then(|(project, role)| Span::of(&grant, project, role));
    let span = span.unwrap_or_else(|| Span::recorded(&grant));
    let state = match grant.state {
        GrantLife::Active | GrantLife::Grace => span.at(now).life(),
        decided => decided,
    };
    let details = role.and_then(|role| match (state, span.at(now)) {
        (GrantLife::Grace, Standing::Grace) => role.grace_for(&grant.collaborator).ok(),
        _ => role.details_for(&grant.collaborator).ok(),
    });
    let uses = role.and_then(|role| grant.uses(role));
    GrantState {
        briefing: briefing::standing(policy, &grant, now),
        authorization_details: details.unwrap_or_default(),
        protection: role.map_or(daypass_proto::token::Protection::Hardware, |role| role.protection),
        begins: grant.made_at.max(span.begins),
        until: span.ends,
        grace_until: (span.over > span.ends).then_some(span.over),
        uses,
        uses_left: uses.map(|uses| uses.saturating_sub(grant.used)),
        state: state.to_string(),
        grant: grant.id,
        project: grant.project,
        role: grant.role,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Made;

    const GRACE: &str = r#"[roles.developer.grace]
for = "1h"
[[roles.developer.grace.authorization_details]]
type = "git_repository"
locations = ["https://git.example.com/team/app"]
actions = ["read"]

[roles.reader]"#;

    #[tokio::test]
    async fn a_device_sees_what_time_did_to_its_grant_before_anybody_marks_it() {
        let made = Made::with_software().await;
        let developer = "[roles.developer]\n";
        made.edit_policy(&[(developer, "[roles.developer]\nuses = 10\n"), ("[roles.reader]", GRACE)]).await;
        let device = made.client().await;
        let begin = made.now();
        let seen = async || device_state(&made.issuer, &device, begin).await.unwrap().grants.remove(0);
        let full = seen().await;
        assert_eq!((full.state.as_str(), full.begins, full.until), ("active", Some(begin), begin.plus(3600)));
        assert_eq!((full.grace_until, full.uses, full.uses_left), (Some(begin.plus(7200)), Some(10), Some(10)));
        made.pass(3599);
        assert_eq!(seen().await, full);
        made.pass(1);
        let left = seen().await;
        assert_eq!((left.state.as_str(), left.until), ("grace", full.until));
        assert_ne!(left.authorization_details, full.authorization_details);
        assert!(left.authorization_details.is_subset_of(&full.authorization_details).is_ok());
        made.pass(3600);
        assert_eq!(seen().await.state, "ended");
    }

    #[tokio::test]
    async fn a_phase_that_ends_first_is_the_end() {
        let made = Made::with_software().await;
        let device = made.client().await;
        let grant = made.issuer.store.grants_of(&device.id).await.unwrap().remove(0);
        let text = |ends: i64| {
            let project = std::fs::read_to_string(made.issuer.config.policy.join("projects/apollo.toml")).unwrap();
            let at = made.now().plus(ends);
            project.replacen("[roles.developer]", &format!("[phases.build]\nends = {at}\n[roles.developer]"), 1)
        };
        made.project(&text(60)).await;
        let terms = crate::store::Terms { phase: "build".parse().ok(), ..grant.terms.clone() };
        let seen = grant_state(&made.issuer.policy(), Grant { terms, ..grant.clone() }, made.now());
        assert_eq!((seen.until, seen.grace_until), (made.now().plus(60), None));
        assert_eq!(grant_state(&made.issuer.policy(), grant.clone(), made.now()).until, grant.until);
    }
}

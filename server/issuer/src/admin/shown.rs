//! Records as the admin API shows them.

use daypass_proto::{admin_api as api, encoding::base64url, time::Timestamp};

use super::{Operation, Standing, error::AdminError};
use crate::{
    approval::Waiting,
    briefing::terms as terms_now,
    ending::Ending,
    issuer::Issuer,
    policy::{Policy, Version, differences},
    store::{Device, Gate, Grant, GrantLife, Invitation, Proposal, Terms},
};

pub(super) fn grant(issuer: &Issuer, grant: &Grant) -> api::Grant {
    api::Grant {
        grant: grant.id.clone(),
        state: grant.shown(&issuer.policy(), issuer.environment.now()).to_string(),
        collaborator: grant.collaborator.clone(),
        project: grant.project.clone(),
        role: grant.role.clone(),
        until: grant.until,
        device: grant.device.clone(),
    }
}

pub(super) fn terms(terms: &Terms) -> api::Terms {
    api::Terms {
        not_before: terms.not_before,
        phase: terms.phase.clone(),
        uses: terms.uses,
        grace: terms.grace,
        networks: terms.networks.iter().map(ToString::to_string).collect(),
        trust_tiers: terms.trust_tiers.clone(),
        secure_boot: terms.secure_boot,
    }
}

pub(super) async fn grant_shown(issuer: &Issuer, found: &Grant) -> Result<api::GrantShown, AdminError> {
    let policy = issuer.policy();
    let role = policy.role(&found.project, &found.role);
    let authorization_details = role.and_then(|role| role.details_for(&found.collaborator).ok()).unwrap_or_default();
    let waiting = match found.state {
        GrantLife::Requested => Waiting::of_grant(issuer, found).await?,
        _ => None,
    };
    Ok(api::GrantShown {
        grant: grant(issuer, found),
        terms: terms(&found.terms),
        used: found.used,
        authorization_details,
        replaces: found.replaces.as_ref().map(|replaces| replaces.grant.clone()),
        approved_by: waiting.iter().flat_map(|waiting| &waiting.record().given).map(|it| it.by.clone()).collect(),
        waits_for: waiting.as_ref().map(Waiting::open_to).unwrap_or_default(),
        approvals_missing: waiting.as_ref().map_or(0, Waiting::missing),
        acceptances: accepted(issuer, found).await?,
    })
}

/// What was accepted of a grant's briefings.
async fn accepted(issuer: &Issuer, found: &Grant) -> Result<Vec<api::Acceptance>, AdminError> {
    let policy = issuer.policy();
    let project = policy.project(&found.project);
    let now = project.and_then(|project| terms_now(project, project.role(&found.role)?, found));
    let kept = issuer.store.acceptances(&found.id).await?;
    let told = kept.into_iter().map(|kept| api::Acceptance {
        briefing: base64url(&kept.briefing.0),
        acceptance: base64url(&kept.hash.0),
        device: kept.device,
        at: kept.at,
        current: now == Some(kept.briefing),
    });
    Ok(told.collect())
}

/// As whoever asks may see it: an administrator all of it, an owner what it is granted in their projects.
pub(super) async fn device(issuer: &Issuer, standing: &Standing, device: &Device) -> Result<api::Device, AdminError> {
    let grants = issuer.store.grants_of(&device.id).await?;
    Ok(device_with(issuer, standing, device, &grants))
}

pub(super) fn device_with(issuer: &Issuer, standing: &Standing, device: &Device, grants: &[Grant]) -> api::Device {
    let seen = |grant: &&Grant| standing.may_in(Operation::GrantShow, &grant.project).is_ok();
    let seen: Vec<api::Grant> = grants.iter().filter(seen).map(|it| grant(issuer, it)).collect();
    api::Device {
        device: device.id.clone(),
        state: device.state,
        reason: device.reason.clone(),
        collaborator: device.collaborator.clone(),
        trust_tier: device.tier,
        comparison_code: device.comparison_code.clone(),
        hostname: device.facts.hostname.clone(),
        os: device.facts.os.clone(),
        secure_boot: device.posture.secure_boot,
        enrolled_at: device.enrolled_at,
        grants_elsewhere: grants.len().saturating_sub(seen.len()),
        grants: seen,
    }
}

pub(super) fn invitation(invitation: &Invitation, now: Timestamp) -> api::Invitation {
    api::Invitation {
        invitation: invitation.id.clone(),
        state: invitation.state.to_string(),
        collaborator: invitation.collaborator.clone(),
        project: invitation.project.clone(),
        role: invitation.role.clone(),
        grant: invitation.grant.clone(),
        expires_at: invitation.expires_at,
        expired: invitation.expires_at < now,
        device: invitation.device.clone(),
    }
}

pub(super) async fn proposal(issuer: &Issuer, found: &Proposal) -> Result<api::Proposal, AdminError> {
    let versions = issuer.store.policies().await?;
    let base = versions.into_iter().find(|version| version.number == found.base).map(|version| version.files);
    let old = base.unwrap_or_default();
    let changes = match (Policy::check(&old), Policy::check(&found.files)) {
        (Ok(before), Ok(after)) => {
            let old = Version { files: &old, policy: &before };
            differences(old, Version { files: &found.files, policy: &after })
                .into_iter()
                .map(|difference| format!("{}: {}", difference.about, difference.text))
                .collect()
        }
        _ => vec!["one of both versions is not understood by this program; read them".to_owned()],
    };
    Ok(api::Proposal {
        proposal: found.id.clone(),
        state: found.state.to_string(),
        version: hex::encode(found.hash.0),
        at: found.at,
        by: found.by.clone(),
        guarded: found.guarded.clone(),
        changes,
    })
}

pub(super) fn gate(gate: &Gate) -> api::Gate {
    api::Gate {
        gate: gate.name.clone(),
        state: gate.state.to_string(),
        resources: gate.resources.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn ended(ending: &Ending, ended: bool) -> api::Ended {
    api::Ended {
        ended,
        invitations: ending.invitations.iter().map(|it| it.id.clone()).collect(),
        requests: ending.requests.iter().map(|it| it.id.clone()).collect(),
        grants: ending.grants.iter().map(|it| it.id.clone()).collect(),
        devices: ending.devices.iter().map(|it| it.id.clone()).collect(),
        staying: ending.staying.clone(),
    }
}

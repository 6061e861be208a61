//! Software clients: keys in files, for development, interoperability and load tests. Off unless the configuration says otherwise, and
//! then shown in every listing and stamped into every token.

use std::collections::BTreeMap;

use daypass_proto::{
    enrolment::{DeviceLife, Facts, TrustTier},
    jose::EcPublicKey,
    ledger::EventKind,
    names::{Collaborator, DeviceId, GrantId, ProjectName, RoleName},
    time::Timestamp,
    token::{EventLogState, Posture},
};
use thiserror::Error;

use super::issue_certificate;
use crate::{
    approval::{Forbidden, bar, guard},
    invitation::{GrantError, check_grant},
    issuer::Issuer,
    keys::{KeyError, csr_key},
    policy::Action,
    store::{Change, DecideError, Decision, Device, Grant, GrantLife, Terms},
};

/// Why no software client is registered.
#[derive(Debug, Error)]
pub enum SoftwareError {
    /// The setting is off.
    #[error(
        "software keys are switched off; set `allow_software_keys = true` in the configuration, for development only"
    )]
    Off,
    /// The CSR.
    #[error(transparent)]
    Csr(KeyError),
    /// One key in two roles.
    #[error("the proof key is the key of the certificate signing request; use two keys")]
    NotDistinct,
    /// Project, role or end.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// Nobody else would have said yes.
    #[error(
        "role `{0}` is sensitive: two owners must approve it, and a software client is registered by one account; take another role"
    )]
    Sensitive(RoleName),
    /// A guardrail of the policy.
    #[error(transparent)]
    Guardrail(#[from] Forbidden),
    /// Our keys.
    #[error("could not issue the certificate")]
    Certificate(#[source] KeyError),
    /// The store.
    #[error(transparent)]
    Decide(#[from] DecideError),
}

/// What is to be registered.
pub struct Registration<'a> {
    /// For whom.
    pub collaborator: Collaborator,
    /// In which project.
    pub project: ProjectName,
    /// In which role.
    pub role: RoleName,
    /// Until when.
    pub until: Timestamp,
    /// PKCS#10 DER of the client key.
    pub csr: &'a [u8],
    /// The proof key.
    pub proof: EcPublicKey,
    /// Who registers it.
    pub by: String,
}

/// Registers a software client with an active grant; gives the device and its chain (leaf, device CA), DER.
pub async fn register(
    issuer: &Issuer,
    registration: Registration<'_>,
) -> Result<(Device, Vec<Vec<u8>>), SoftwareError> {
    if !issuer.config.allow_software_keys {
        return Err(SoftwareError::Off);
    }
    let environment = &issuer.environment;
    let identity = csr_key(registration.csr).map_err(SoftwareError::Csr)?;
    if identity == registration.proof {
        return Err(SoftwareError::NotDistinct);
    }
    let terms = check_grant(
        &issuer.policy(),
        (&registration.project, &registration.role),
        &registration.collaborator,
        registration.until,
        &Terms::default(),
        environment.now(),
    )?;
    // It is in force at once, by whoever may use the issuer's files: the same loosening, and the same limit, as approving for an owner.
    if bar(&issuer.policy(), &registration.project, &registration.role)?.approvers > 1 {
        return Err(SoftwareError::Sensitive(registration.role));
    }
    let device = Device {
        id: DeviceId::from_random(environment.random()),
        collaborator: registration.collaborator.clone(),
        state: DeviceLife::Approved,
        reason: Some("registered with software keys".to_owned()),
        tier: TrustTier::Software,
        keys: None,
        identity,
        proof: registration.proof,
        comparison_code: None,
        posture: Posture { trust_tier: TrustTier::Software, secure_boot: None, event_log: EventLogState::Absent },
        pcrs: BTreeMap::new(),
        facts: Facts::default(),
        enrolled_at: environment.now(),
    };
    let grant = Grant {
        id: GrantId::from_random(environment.random()),
        collaborator: registration.collaborator,
        project: registration.project,
        role: registration.role,
        until: registration.until,
        state: GrantLife::Active,
        device: Some(device.id.clone()),
        made_at: Some(environment.now()),
        used: 0,
        terms,
        replaces: None,
        briefed: None,
    };
    let monitored = guard(issuer, Action::Approve, &device, &grant)?;
    let certificate = issue_certificate(issuer, &device).map_err(SoftwareError::Certificate)?;
    let event =
        environment.event(EventKind::SoftwareDeviceRegistered).number("not_after", certificate.not_after().seconds());
    let event = if monitored.is_empty() { event } else { event.structure("monitored", &monitored) };
    let projects = &issuer.policy();
    let event = environment.with_details(environment.of_grant(event, &grant, projects), &grant, projects);
    let decision = Decision::new(environment.personal(event, "by", &registration.by))
        .change(Change::AddDevice(device.clone()))
        .change(Change::AddGrant(grant))
        .change(certificate.change());
    issuer.store.decide(decision).await?;
    Ok((device, certificate.chain().into_iter().map(|der| der.0).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Made, request};

    async fn ask(made: &Made, change: impl FnOnce(&mut Registration<'_>)) -> Result<Device, SoftwareError> {
        let (_, csr) = request();
        let mut registration = Registration {
            collaborator: "alice".parse().unwrap(),
            project: "apollo".parse().unwrap(),
            role: "developer".parse().unwrap(),
            until: made.now().plus(60),
            csr: &csr,
            proof: request().0,
            by: "olga".to_owned(),
        };
        change(&mut registration);
        register(&made.issuer, registration).await.map(|(device, _)| device)
    }

    #[tokio::test]
    async fn software_keys_are_off_unless_somebody_switched_them_on() {
        let made = Made::new().await;
        assert!(matches!(ask(&made, |_| ()).await, Err(SoftwareError::Off)));
        assert!(made.issuer.store.devices(None).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_software_client_says_so_and_is_held_to_the_role() {
        let made = Made::with_software().await;
        let device = ask(&made, |_| ()).await.unwrap();
        assert!(device.is_software() && device.keys.is_none());
        assert_eq!(device.posture.trust_tier, TrustTier::Software);
        let too_long = ask(&made, |asked| asked.until = made.now().plus(91 * 86_400)).await;
        assert!(matches!(too_long, Err(SoftwareError::Grant(GrantError::TooLong { .. }))));
        let garbage = ask(&made, |asked| asked.csr = b"no request").await;
        assert!(matches!(garbage, Err(SoftwareError::Csr(_))));
    }

    #[tokio::test]
    async fn a_software_client_gets_no_sensitive_role() {
        let made = Made::with_software().await;
        let two = ("owners = [\"olga@example.com\"]", "owners = [\"olga@example.com\", \"oskar@example.com\"]");
        made.edit_policy(&[two, ("token_lifetime", "sensitivity = \"sensitive\"\ntoken_lifetime")]).await;
        let refused = ask(&made, |_| ()).await;
        assert!(matches!(refused, Err(SoftwareError::Sensitive(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn one_key_cannot_be_both_identity_and_proof() {
        let made = Made::with_software().await;
        let (key, csr) = request();
        let registration = Registration {
            collaborator: "alice".parse().unwrap(),
            project: "apollo".parse().unwrap(),
            role: "developer".parse().unwrap(),
            until: made.now().plus(60),
            csr: &csr,
            proof: key,
            by: "olga".to_owned(),
        };
        assert!(matches!(register(&made.issuer, registration).await, Err(SoftwareError::NotDistinct)));
    }
}

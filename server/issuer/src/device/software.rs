//! Software clients: keys in files, for development, interoperability and load tests. Off unless the configuration says otherwise, and
//! then shown in every listing and stamped into every token.

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
    invitation::{GrantError, check_grant},
    issuer::Issuer,
    keys::{KeyError, csr_key},
    store::{Change, DecideError, Decision, Device, Grant, GrantLife},
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
    check_grant(
        &issuer.projects,
        &registration.project,
        &registration.role,
        &registration.collaborator,
        registration.until,
        environment.now(),
    )?;
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
    };
    let certificate = issue_certificate(issuer, &device).map_err(SoftwareError::Certificate)?;
    let event =
        environment.event(EventKind::SoftwareDeviceRegistered).text("device", &device.id).text("grant", &grant.id);
    let decision = Decision::new(environment.personal(event, "collaborator", &device.collaborator))
        .change(Change::AddDevice(device.clone()))
        .change(Change::AddGrant(grant))
        .change(certificate.change());
    issuer.store.decide(decision).await?;
    Ok((device, certificate.chain().into_iter().map(|der| der.0).collect()))
}

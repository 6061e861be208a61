//! Who is calling on the mTLS listener. Asked on every request: a resumed session restores the certificate and runs no verifier,
//! so a suspended device's open connection is of no use to it.
//!
//! The answers are types: an endpoint that takes an [`ApprovedDevice`] cannot be reached by a pending one.

use std::sync::Arc;

use daypass_proto::{
    enrolment::DeviceLife,
    names::DeviceId,
    oauth_error::{OAuthError, Reason},
    time::Timestamp,
};
use daypass_service::Peer;
use thiserror::Error;

use crate::{
    error::Refusal,
    issuer::Issuer,
    store::{
        CertificateRecord, Change, Device, Gate, GateLife, Grant, Holder, KnownDevice, Presented, Seen, StoreError,
    },
};

/// Why a caller is not served.
#[derive(Debug, Error)]
pub enum CallerError {
    /// No certificate of ours.
    #[error("the client certificate is not one that this endpoint knows")]
    Unknown,
    /// A device where gates are served.
    #[error("device `{0}` is enrolled, and this endpoint serves gates only")]
    NotAGate(String),
    /// A gate where devices are served.
    #[error("gate `{0}` is registered, and this endpoint serves devices only")]
    NotADevice(String),
    /// Its time is over.
    #[error("the client certificate ended at {ended}, and it is {now}")]
    Expired {
        /// The end.
        ended: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
    /// Its time has not come: this issuer's clock was put back.
    #[error("the client certificate begins at {begins}, and it is {now}")]
    NotYet {
        /// The begin.
        begins: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
    /// The device is not yet approved.
    #[error("device `{0}` waits for approval")]
    Pending(String),
    /// The device is suspended.
    #[error("device `{0}` is suspended")]
    Suspended(String),
    /// The device is revoked.
    #[error("device `{0}` is revoked")]
    Revoked(String),
    /// Software keys are off.
    #[error("device `{0}` has software keys, and they are switched off at this issuer")]
    SoftwareOff(String),
    /// The gate was removed.
    #[error("gate `{0}` was removed")]
    GateRemoved(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CallerError {
    /// The device that it is about, where one is known.
    pub fn device(&self) -> Option<DeviceId> {
        match self {
            Self::Pending(id) | Self::Suspended(id) | Self::Revoked(id) | Self::SoftwareOff(id) => id.parse().ok(),
            // The words name it; which listener it meant, says nothing of what it may.
            Self::NotAGate(_) | Self::NotADevice(_) => None,
            Self::Unknown | Self::Expired { .. } | Self::NotYet { .. } | Self::GateRemoved(_) | Self::Store(_) => None,
        }
    }
}

impl From<CallerError> for Refusal {
    fn from(error: CallerError) -> Self {
        use OAuthError::{AccessDenied, InvalidClient};
        let description = error.to_string();
        let (code, reason, next_step) = match error {
            CallerError::Unknown => {
                (InvalidClient, Reason::CertificateUnknown, "enrol this machine with a new invitation")
            }
            CallerError::NotAGate(_) => {
                (AccessDenied, Reason::CertificateUnknown, "ask the endpoints for devices; docs/wire.md lists both")
            }
            CallerError::NotADevice(_) => {
                (AccessDenied, Reason::CertificateUnknown, "ask the endpoints for gates; docs/wire.md lists both")
            }
            CallerError::Expired { .. } => (
                InvalidClient,
                Reason::CertificateExpired,
                "the agent renews it by itself; a gate is registered anew with `daypass-issuer gate add`",
            ),
            CallerError::NotYet { .. } => (
                InvalidClient,
                Reason::CertificateNotYet,
                "ask the issuer's administrator to check the issuer's clock; it was ahead before, or is behind now",
            ),
            CallerError::Pending(_) => {
                (AccessDenied, Reason::DevicePending, "ask an owner of the project to compare the code and approve")
            }
            CallerError::Suspended(_) => {
                (AccessDenied, Reason::DeviceSuspended, "ask an owner of the project why, and to resume the device")
            }
            CallerError::Revoked(_) => {
                (AccessDenied, Reason::DeviceRevoked, "ask an owner of the project for a new invitation")
            }
            CallerError::SoftwareOff(_) => (AccessDenied, Reason::SoftwareKeysOff, "enrol a machine with a TPM"),
            CallerError::GateRemoved(_) => {
                (AccessDenied, Reason::CertificateUnknown, "register the gate again with `daypass-issuer gate add`")
            }
            CallerError::Store(error) => return error.into(),
        };
        Self::new(code, reason, description, next_step)
    }
}

/// A device that is neither suspended nor revoked, with the certificate that it used.
#[derive(Debug)]
pub struct EnrolledDevice(Arc<KnownDevice>);

impl EnrolledDevice {
    /// Whoever calls, if it is such a device.
    pub async fn identify(issuer: &Issuer, peer: &Peer) -> Result<Self, CallerError> {
        let presented = presented(issuer, peer).await?;
        in_its_time(issuer, presented.certificate())?;
        Self::of(issuer, presented)
    }

    /// Whoever calls to have its certificate renewed, which may be outside its time: a laptop that lay in a drawer attests anew with
    /// its AK, and needs nobody for it.
    pub async fn identify_for_renewal(issuer: &Issuer, peer: &Peer) -> Result<Self, CallerError> {
        Self::of(issuer, presented(issuer, peer).await?)
    }

    fn of(issuer: &Issuer, presented: Presented) -> Result<Self, CallerError> {
        let known = match presented {
            Presented::Device(known) => known,
            Presented::Other(CertificateRecord { holder: Holder::Gate(name), .. }) => {
                return Err(CallerError::NotADevice(name.to_string()));
            }
            Presented::Other(CertificateRecord { holder: Holder::Device(_), .. }) => return Err(CallerError::Unknown),
        };
        served(&known.device, issuer.config.allow_software_keys)?;
        Ok(Self(known))
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The end of the certificate that was used.
    pub fn not_after(&self) -> Timestamp {
        self.0.certificate.not_after
    }

    /// The device as an approved one.
    pub fn approved(self) -> Result<ApprovedDevice, CallerError> {
        approved(self.device())?;
        Ok(ApprovedDevice(self.0))
    }
}

/// Whether a device is served at all.
fn served(device: &Device, software_allowed: bool) -> Result<(), CallerError> {
    let id = || device.id.to_string();
    if device.is_software() && !software_allowed {
        return Err(CallerError::SoftwareOff(id()));
    }
    match device.state {
        DeviceLife::Pending | DeviceLife::Approved => Ok(()),
        DeviceLife::Suspended => Err(CallerError::Suspended(id())),
        DeviceLife::Revoked => Err(CallerError::Revoked(id())),
    }
}

fn approved(device: &Device) -> Result<(), CallerError> {
    match device.state {
        DeviceLife::Approved => Ok(()),
        _ => Err(CallerError::Pending(device.id.to_string())),
    }
}

/// Whether a device may ask for tokens, whoever presents its certificate.
pub fn may_ask(device: &Device, software_allowed: bool) -> Result<(), CallerError> {
    served(device, software_allowed)?;
    approved(device)
}

/// A device that may ask for tokens: it was approved when it was looked up. Whether it still is when a token is issued, the decision itself
/// requires ([`Self::as_seen`]).
#[derive(Debug)]
pub struct ApprovedDevice(Arc<KnownDevice>);

impl ApprovedDevice {
    /// Whoever calls, looked up, if it is approved.
    pub async fn identify(issuer: &Issuer, peer: &Peer) -> Result<Self, CallerError> {
        EnrolledDevice::identify(issuer, peer).await?.approved()
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The end of the certificate that was used.
    pub fn not_after(&self) -> Timestamp {
        self.0.certificate.not_after
    }

    /// Its grants, in whatever state.
    pub fn grants(&self) -> &[Seen<Grant>] {
        &self.0.grants
    }

    /// The condition under which something may be decided for this device and one of its grants.
    pub fn as_seen(&self, grant: &Seen<Grant>) -> Change {
        Change::RequireSeen { device: Arc::clone(&self.0), grant: grant.clone() }
    }

    /// Whoever calls, if it is remembered and its certificate is in its time. Good for decisions that carry [`Self::as_seen`], and for no refusal.
    pub fn remembered(issuer: &Issuer, peer: &Peer) -> Option<Self> {
        let known = issuer.remembered.get(&peer.certificate.as_ref()?.hash())?;
        in_its_time(issuer, &known.certificate).ok().map(|()| Self(known))
    }

    /// Remembers it for its next request.
    pub fn remember(&self, issuer: &Issuer) {
        issuer.remembered.put(&self.0);
    }

    /// Looks it up anew at its next request.
    pub fn forget(&self, issuer: &Issuer) {
        issuer.remembered.forget(&self.0.certificate_hash);
    }
}

/// A gate that is registered and enrolled.
#[derive(Debug)]
pub struct EnrolledGate(Gate);

impl EnrolledGate {
    /// Whoever calls, if it is such a gate.
    pub async fn identify(issuer: &Issuer, peer: &Peer) -> Result<Self, CallerError> {
        let presented = presented(issuer, peer).await?;
        in_its_time(issuer, presented.certificate())?;
        let name = match &presented.certificate().holder {
            Holder::Gate(name) => name.clone(),
            Holder::Device(id) => return Err(CallerError::NotAGate(id.to_string())),
        };
        let gate = issuer.store.gate(&name).await?.ok_or(CallerError::Unknown)?;
        if gate.state == GateLife::Enrolled { Ok(Self(gate)) } else { Err(CallerError::GateRemoved(name.to_string())) }
    }

    /// The gate.
    pub fn gate(&self) -> &Gate {
        &self.0
    }
}

async fn presented(issuer: &Issuer, peer: &Peer) -> Result<Presented, CallerError> {
    let certificate = peer.certificate.as_ref().ok_or(CallerError::Unknown)?;
    issuer.store.presented(certificate.hash()).await?.ok_or(CallerError::Unknown)
}

fn in_its_time(issuer: &Issuer, certificate: &CertificateRecord) -> Result<(), CallerError> {
    let now = issuer.environment.now();
    if now > certificate.not_after {
        return Err(CallerError::Expired { ended: certificate.not_after, now });
    }
    if now < certificate.not_before {
        return Err(CallerError::NotYet { begins: certificate.not_before, now });
    }
    Ok(())
}

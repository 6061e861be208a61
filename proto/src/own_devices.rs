//! A collaborator's devices, as each of them sees them, and the loss of one that another reports (docs/wire.md section 5.8).

use serde::{Deserialize, Serialize};

use crate::{
    enrolment::{DeviceLife, TrustTier},
    names::{DeviceId, GrantId, ProjectName, RoleName},
    time::Timestamp,
};

/// The answer to `GET /device/v1/devices`: those of the device's collaborator that are not revoked.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct OwnDevices {
    /// By name.
    pub devices: Vec<OwnDevice>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OwnDevice {
    /// Which.
    pub device: DeviceId,
    /// Whether it is the one that asks.
    pub this: bool,
    /// Where it is in its life.
    pub state: DeviceLife,
    /// What it called itself when it was enrolled.
    pub hostname: String,
    /// How well its TPM is known.
    pub trust_tier: TrustTier,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// What it has, and what would end with it.
    pub grants: Vec<OwnGrant>,
}

/// A grant of one of them that is not over.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OwnGrant {
    /// Which.
    pub grant: GrantId,
    /// Its project.
    pub project: ProjectName,
    /// Its role.
    pub role: RoleName,
    /// Where it is in its life.
    pub state: String,
    /// Its hard end.
    pub until: Timestamp,
}

/// `POST /device/v1/devices/lost`: ends another device of the same collaborator, and all that it has. The answer is the device as it is then, with the
/// grants that ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lost {
    /// Which.
    pub device: DeviceId,
    /// What happened: as [`crate::words`] has it.
    pub reason: String,
}

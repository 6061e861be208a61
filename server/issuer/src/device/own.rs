//! A collaborator's own devices, and the loss of one, reported from another.
//!
//! `GET /device/v1/devices`, `POST /device/v1/devices/lost`. Whoever reports is an approved device of the same collaborator, and still is when it is decided.
//! What is reported ends as `device revoke` ends it; the events name the device that reported it. Somebody else's device is as unknown as one that
//! never was.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use daypass_proto::{
    enrolment::DeviceLife,
    json,
    ledger::EventKind,
    names::{DeviceId, GrantId},
    oauth_error::{OAuthError, Reason},
    own_devices::{Lost, OwnDevice, OwnDevices, OwnGrant},
    words::{WordsError, words},
};
use daypass_service::Peer;
use thiserror::Error;

use super::{
    life::{LifeError, Verb, prepare},
    was_let_in,
};
use crate::{
    actor::Actor,
    body::Body,
    caller::{ApprovedDevice, CallerError},
    ending::decide_anew,
    error::Refusal,
    issuer::Issuer,
    ledger::Source,
    pace::TooMany,
    store::{Change, Condition, DecideError, Decision, Device, Grant, GrantLife, Scope, StoreError},
};

/// How many a device is told of.
const TOLD: u32 = 200;
/// What these decisions say of how they came about.
const RULE: &str = "reported_lost";

/// Why nothing is ended.
#[derive(Debug, Error)]
pub enum LostError {
    /// The body.
    #[error("the report does not fit the format: {0}")]
    Malformed(String),
    /// No words, or too many.
    #[error("a reason {0}")]
    Reason(#[from] WordsError),
    /// The caller.
    #[error(transparent)]
    Caller(#[from] CallerError),
    /// No such device; or somebody else's.
    #[error("there is no device `{0}` of yours")]
    NoDevice(DeviceId),
    /// The one that reports.
    #[error("device `{0}` is the one that reports it, and is not lost")]
    This(DeviceId),
    /// It is over.
    #[error("device `{0}` is revoked already, and nothing of it is left to end")]
    Over(DeviceId),
    /// Somebody else decided in between.
    #[error("{0} was changed by somebody else at the same time, and nothing was done; look again at what there is now")]
    Changed(Condition),
    /// Too many that gave nothing.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What ends a device did not.
    #[error(transparent)]
    Life(LifeError),
    /// The decision could not be made.
    #[error(transparent)]
    Decide(DecideError),
}

impl LostError {
    fn reason(&self) -> Option<(OAuthError, Reason, &'static str)> {
        use OAuthError::InvalidRequest;
        const LIST: &str = "`daypass device list` shows yours";
        match self {
            Self::Malformed(_) => Some((
                InvalidRequest,
                Reason::Malformed,
                "update the agent, or the issuer, so that both are of one version",
            )),
            Self::Reason(_) => Some((InvalidRequest, Reason::Malformed, "say in a few words what happened")),
            Self::NoDevice(_) => Some((InvalidRequest, Reason::NotFound, LIST)),
            Self::This(_) => {
                Some((InvalidRequest, Reason::Conflict, "`daypass leave` ends this machine's own enrolment"))
            }
            Self::Over(_) | Self::Changed(_) => Some((InvalidRequest, Reason::Conflict, LIST)),
            Self::Caller(_) | Self::TooMany(_) | Self::Store(_) | Self::Life(_) | Self::Decide(_) => None,
        }
    }
}

impl From<DecideError> for LostError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Conflict(condition) => Self::Changed(condition),
            error @ (DecideError::Clock { .. } | DecideError::Store(_)) => Self::Decide(error),
        }
    }
}

impl From<LostError> for Refusal {
    fn from(error: LostError) -> Self {
        if let Some((code, reason, next_step)) = error.reason() {
            return Self::new(code, reason, error.to_string(), next_step);
        }
        match error {
            LostError::Caller(error) => error.into(),
            LostError::TooMany(error) => error.into(),
            LostError::Store(error) => error.into(),
            LostError::Life(error) => error.into(),
            LostError::Decide(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

/// The collaborator's devices.
pub async fn list(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<OwnDevices>, Refusal> {
    let caller = ApprovedDevice::identify(&issuer, &peer).await?;
    let this = caller.device();
    let mut devices = Vec::new();
    if !was_let_in(caller.grants().iter().map(|grant| grant.state)) {
        devices.push(shown(&issuer, this.clone(), &this.id, lives).await?);
        return Ok(Json(OwnDevices { devices }));
    }
    for device in issuer.store.devices_of(&Scope::Collaborator(this.collaborator.clone()), TOLD).await? {
        devices.push(shown(&issuer, device, &this.id, lives).await?);
    }
    Ok(Json(OwnDevices { devices }))
}

/// One of them is lost.
pub async fn lost(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    Body(body): Body,
) -> Result<Json<OwnDevice>, Refusal> {
    let caller = ApprovedDevice::identify(&issuer, &peer).await?;
    let told: Lost = json::read(&body).map_err(LostError::Malformed)?;
    let (device, over) = report(&issuer, caller.device(), &told, &Source::from(&peer)).await?;
    let ended = |grant: &Grant| grant.state == GrantLife::Revoked && !over.contains(&grant.id);
    Ok(Json(shown(&issuer, device, &caller.device().id, ended).await?))
}

/// Ends the device that is reported, by this approved one. Gives which of its grants had been revoked before.
pub(super) async fn report(
    issuer: &Issuer,
    reporter: &Device,
    told: &Lost,
    source: &Source,
) -> Result<(Device, Vec<GrantId>), LostError> {
    let ended = end(issuer, reporter, told, source).await;
    if let Err(error) = &ended
        && let Some((_, reason, _)) = error.reason()
    {
        issuer.one_more(EventKind::DeviceLossRefused, &reporter.id)?;
        let environment = &issuer.environment;
        let event = environment.of_device(environment.event(EventKind::DeviceLossRefused), reporter);
        let event = environment.refused(event, reason, &error.to_string());
        issuer.store.decide(Decision::new(environment.asked(event, source))).await?;
    }
    ended
}

async fn end(
    issuer: &Issuer,
    reporter: &Device,
    told: &Lost,
    source: &Source,
) -> Result<(Device, Vec<GrantId>), LostError> {
    decide_anew(issuer, true, || judge(issuer, reporter, told, source)).await
}

/// What would be decided, and what is told of it.
async fn judge(
    issuer: &Issuer,
    reporter: &Device,
    told: &Lost,
    source: &Source,
) -> Result<(Decision, (Device, Vec<GrantId>)), LostError> {
    let reason = words(&told.reason)?;
    let unknown = || LostError::NoDevice(told.device.clone());
    if told.device == reporter.id {
        return Err(LostError::This(told.device.clone()));
    }
    let found = issuer.store.device(&told.device).await?;
    let found = found.filter(|device| device.collaborator == reporter.collaborator).ok_or_else(unknown)?;
    if !was_let_in(issuer.store.grants_of(&reporter.id).await?.iter().map(|grant| grant.state)) {
        return Err(unknown());
    }
    if found.state == DeviceLife::Revoked {
        return Err(LostError::Over(found.id));
    }
    // Whose it is comes first: nothing of somebody else's device is read.
    let mut over = issuer.store.grants_of(&found.id).await?;
    over.retain(|grant| grant.state == GrantLife::Revoked);
    let by = Source::Actor(Actor::Person {
        collaborator: reporter.collaborator.clone(),
        device: reporter.id.clone(),
        address: source.address().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()),
    });
    let prepared = prepare(issuer, &found.id, Verb::Revoke, &by, Some(RULE), Some(reason)).await;
    let (decision, ended) = prepared.map_err(|error| match error {
        // Between the two looks.
        LifeError::Transition { device, .. } => LostError::Over(device),
        other => LostError::Life(other),
    })?;
    let decision = decision.change(Change::RequireDevice(reporter.id.clone(), DeviceLife::Approved));
    Ok((decision, (ended, over.into_iter().map(|grant| grant.id).collect())))
}

/// A grant that is not over.
const fn lives(grant: &Grant) -> bool {
    !grant.state.is_over()
}

/// A device with those of its grants that are meant.
async fn shown(
    issuer: &Issuer,
    device: Device,
    this: &DeviceId,
    is_meant: impl Fn(&Grant) -> bool,
) -> Result<OwnDevice, StoreError> {
    let grants = issuer.store.grants_of(&device.id).await?;
    Ok(OwnDevice {
        this: device.id == *this,
        state: device.state,
        hostname: device.facts.hostname,
        trust_tier: device.tier,
        enrolled_at: device.enrolled_at,
        grants: grants
            .into_iter()
            .filter(is_meant)
            .map(|grant| OwnGrant {
                grant: grant.id,
                project: grant.project,
                role: grant.role,
                state: grant.state.to_string(),
                until: grant.until,
            })
            .collect(),
        device: device.id,
    })
}

#[cfg(test)]
mod tests;

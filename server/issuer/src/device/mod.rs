//! Devices after enrolment: their state, their certificates, and what people decide about them.

mod certificate;
mod comparison;
mod endpoints;
mod life;
mod notices;
mod own;
mod renewal;
mod software;
mod state;

pub use self::{
    certificate::{Issued, issue_certificate},
    comparison::{ComparisonError, compare},
    endpoints::{leave, state},
    life::{LifeError, Verb, decide as decide_life},
    own::{LostError, list as list_own, lost},
    renewal::{begin as begin_renewal, complete as complete_renewal},
    software::{Registration, SoftwareError, register as register_software},
    state::device_state,
};
use crate::store::GrantLife;

/// Whether any of a device's grants was ever in force: then an owner has said that it is whose it says. Whoever invites somebody can let a machine on in
/// their name alone. One that was revoked does not say which.
pub(crate) fn was_let_in(mut grants: impl Iterator<Item = GrantLife>) -> bool {
    grants.any(|state| GrantLife::WERE_IN_FORCE.contains(&state))
}

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

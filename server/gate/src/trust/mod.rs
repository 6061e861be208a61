//! What the gate takes from the issuer: its own certificates, the keys that sign tokens, and which tokens are dead.

mod client;
mod enrol;
mod state;
mod view;

pub use self::{
    client::{IssuerClient, IssuerError},
    enrol::{EnrolError, enrol, renew},
    state::{GateState, StateError, nonce_key},
    view::{Freshness, Moment, View},
};

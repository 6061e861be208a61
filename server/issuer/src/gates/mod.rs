//! Gates: registered by an administrator, enrolled by a one-time code, and told which of their tokens are dead
//! (docs/wire.md section 8).

mod enrol;
mod registry;
mod revocations;
mod usage;

pub use self::{
    enrol::{enrol, renew},
    registry::{Registration, RegistryError, add, remove},
    revocations::revocations,
    usage::usage,
};

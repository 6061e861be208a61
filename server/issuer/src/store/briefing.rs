//! What is remembered of accepted briefings.

use daypass_proto::{
    encoding::Fixed,
    names::{Collaborator, DeviceId, GrantId},
    time::Timestamp,
};
use serde::Serialize;

/// An acceptance: evidence that stays when the grant is over, until the person is erased.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Acceptance {
    /// SHA-256 over the signed acceptance, by which the ledger names it.
    pub hash: Fixed<32>,
    /// Of which grant's briefing.
    pub grant: GrantId,
    /// By which device.
    pub device: DeviceId,
    /// Whose it is.
    pub collaborator: Collaborator,
    /// When.
    pub at: Timestamp,
    /// The hash of what was accepted.
    pub briefing: Fixed<32>,
    /// The acceptance, as the device's proof key signed it.
    pub acceptance: String,
    /// The text that was shown; `None` where somebody whom it names was erased.
    pub text: Option<String>,
}

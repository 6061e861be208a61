//! What gates let through, as they counted it.

use daypass_proto::{gate_api::UsageReport, names::GateName, time::Timestamp};

/// A report, by a gate that may say so: every location is of a resource that it guards.
#[derive(Debug)]
pub struct GateReport {
    /// By which gate.
    pub gate: GateName,
    /// What it says.
    pub said: UsageReport,
    /// When it came.
    pub at: Timestamp,
}

/// Since when a gate reports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reporting {
    /// Which.
    pub gate: GateName,
    /// When its first report came.
    pub since: Timestamp,
    /// How many requests it let through and could not count.
    pub dropped: u64,
}

/// Requests of one kind under a grant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CountedUse {
    /// Where.
    pub location: String,
    /// What was done.
    pub action: String,
    /// How many requests.
    pub count: u64,
    /// When the last one was.
    pub last: Timestamp,
}

//! Comparing the code that both sides show, before a device is approved.

use daypass_proto::ledger::EventKind;
use thiserror::Error;

use crate::{
    issuer::Issuer,
    ledger::Source,
    store::{DecideError, Decision, Device},
};

/// Why a code does not approve.
#[derive(Debug, Error)]
pub enum ComparisonError {
    /// Another one. What was given is the caller's to show.
    #[error("the code is `{expected}` here")]
    Differs {
        /// What the device shows.
        expected: String,
    },
    /// The store.
    #[error(transparent)]
    Decide(#[from] DecideError),
}

/// Compares. Another machine than the one that is meant may have enrolled: whoever looks into that wants to know when it was noticed.
pub async fn compare(issuer: &Issuer, device: &Device, given: &str, source: &Source) -> Result<(), ComparisonError> {
    let expected = device.comparison_code.as_deref().unwrap_or_default();
    if fits(expected, given) {
        return Ok(());
    }
    let environment = &issuer.environment;
    let event = environment.event(EventKind::ApprovalRefused).text("rule", "code_differs");
    let event = environment.asked(environment.of_device(event, device), source);
    issuer.store.decide(Decision::new(event)).await?;
    Err(ComparisonError::Differs { expected: expected.to_owned() })
}

/// A device without a code has nothing to compare, and an empty code compares nothing.
fn fits(expected: &str, given: &str) -> bool {
    !expected.is_empty() && given.eq_ignore_ascii_case(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_that_both_sides_show_approves() {
        assert!(fits("AB12-CD34", "ab12-cd34"));
        for (expected, given) in [("AB12-CD34", "AB12-CD35"), ("AB12-CD34", ""), ("AB12-CD34", "AB12"), ("", "")] {
            assert!(!fits(expected, given), "{expected} {given}");
        }
    }
}

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
    #[error("that is not the code of this machine")]
    Differs,
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
    Err(ComparisonError::Differs)
}

/// A device without a code has nothing to compare, and an empty code compares nothing. It is read out and typed: hyphens, blanks and the size of
/// letters are no part of it.
fn fits(expected: &str, given: &str) -> bool {
    let typed = |code: &str| -> String {
        let letters = code.chars().filter(|c| *c != '-' && !c.is_whitespace());
        letters.map(|c| c.to_ascii_uppercase()).collect()
    };
    let (expected, given) = (typed(expected), typed(given));
    !expected.is_empty() && expected == given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_that_both_sides_show_approves() {
        for given in ["AB12-CD34", "ab12-cd34", "AB12CD34", " ab12 cd34 ", "AB-12-CD-34"] {
            assert!(fits("AB12-CD34", given), "{given}");
        }
        for (expected, given) in [
            ("AB12-CD34", "-"),
            ("-", "-"),
            ("AB12-CD34", "AB12-CD34-5"),
            ("AB12-CD34", "AB12_CD34"),
            ("AB12-CD34", "AB12-CD35"),
            ("AB12-CD34", ""),
            ("AB12-CD34", "AB12"),
            ("", ""),
        ] {
            assert!(!fits(expected, given), "{expected} {given}");
        }
    }
}

//! `daypass-issuer policy test`: the examples that stand beside a policy.

use std::path::Path;

use serde_json::json;

use super::{CommandError, line, print_json, read};
use crate::policy::{Example, ExamplesError, Expected};

/// Runs them. They are the policy's own; `software_allowed` is this issuer's, where there is one.
pub(super) fn run(folder: &Path, software_allowed: Option<bool>, json: bool) -> Result<(), CommandError> {
    let (_, policy) = read(folder)?;
    let (count, version) = (policy.examples().len(), hex::encode(policy.hash()));
    let result = ExamplesError::of(&policy);
    let with_software =
        |example: &&Example| example.trial.is_software() && matches!(example.expected, Expected::Allowed(_));
    let not_served = match software_allowed {
        Some(false) => policy.examples().iter().filter(with_software).count(),
        _ => 0,
    };
    if json {
        let failed = result.as_ref().err().map_or(&[][..], |error| &error.0);
        print_json(
            &json!({"ok": failed.is_empty(), "version": version, "examples": count, "failed": failed, "not_served": not_served}),
        )?;
    }
    result?;
    if not_served > 0 && !json {
        line(format!(
            "{not_served} example(s) are allowed with software keys, and this issuer serves none (`allow_software_keys`): it refuses them all the same"
        ))?;
    }
    match count {
        _ if json => Ok(()),
        0 => line("there is no example; write what this policy must allow and refuse into `tests/*.toml`"),
        _ => line(format!("all good: {count} example(s) come out as they must, version {version}")),
    }
}

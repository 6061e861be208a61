//! `daypass-issuer policy test`: the examples that stand beside a policy.

use std::path::Path;

use serde_json::json;

use super::{CommandError, line, print_json, read};
use crate::policy::ExamplesError;

pub(super) fn run(folder: &Path, json: bool) -> Result<(), CommandError> {
    let (_, policy) = read(folder)?;
    let (count, version) = (policy.examples().len(), hex::encode(policy.hash()));
    let result = ExamplesError::of(&policy);
    if json {
        let failed = result.as_ref().err().map_or(&[][..], |error| &error.0);
        print_json(&json!({"ok": failed.is_empty(), "version": version, "examples": count, "failed": failed}))?;
    }
    result?;
    match count {
        _ if json => Ok(()),
        0 => line("there is no example; write what this policy must allow and refuse into `tests/*.toml`"),
        _ => line(format!("all good: {count} example(s) come out as they must, version {version}")),
    }
}

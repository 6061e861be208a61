//! Policy in force: what a guardrail does to those who ask.

use std::fs;

use daypass_tests::{Failure, Story, ensure, eventually};
use serde_json::Value;

use crate::software::{GIT, Scene, scene};

const RULE: &str = r#"
@id("office-network")
@reason("come from the office network")
@mode("monitor")
forbid (principal, action, resource in Project::"apollo")
unless { context has address && context.address.isInRange(ip("192.0.2.0/24")) };
"#;

/// Puts this guardrail in force, and waits until the running issuer follows: until `is_so`.
fn guard(scene: &Scene, rule: &str, is_so: impl Fn() -> Result<bool, Failure>) -> Story {
    let path = scene.issuer.folder().join("policy/guardrails/all.cedar");
    fs::write(path, rule).map_err(Failure::machine("write a guardrail"))?;
    scene.issuer.run(["policy", "load"])?;
    eventually("the issuer to follow its policy", || Ok(is_so()?.then_some(())))
}

fn newest(scene: &Scene, kind: &str) -> Result<Value, Failure> {
    let leaves =
        scene.issuer.sql(&format!("SELECT leaf FROM events WHERE kind = '{kind}' ORDER BY rowid DESC LIMIT 1"))?;
    let leaf = leaves.first().ok_or_else(|| Failure::unexpected(kind, "no event"))?;
    serde_json::from_str(leaf).map_err(|error| Failure::unexpected("a leaf", error.to_string()))
}

#[test]
fn a_guardrail_is_watched_and_then_enforced_without_a_restart() -> Story {
    let scene = scene()?;
    let client = scene.client("robot")?;
    client.token(GIT, scene.clock.now())?;
    let before = newest(&scene, "token_issued")?;
    ensure(before["fields"].get("monitored").is_none(), "nothing to note", &before)?;
    guard(&scene, RULE, || {
        client.token(GIT, scene.clock.now())?;
        Ok(newest(&scene, "token_issued")?["fields"]["monitored"] == serde_json::json!(["office-network"]))
    })?;
    guard(&scene, &RULE.replace("monitor", "enforce"), || Ok(client.ask(GIT, scene.clock.now(), &[])?.status == 403))?;
    let told = client.ask(GIT, scene.clock.now(), &[])?.status(403)?.json()?;
    ensure(
        told["error"] == "access_denied"
            && told["daypass_reason"] == "guardrail"
            && told["error_description"].as_str().is_some_and(|text| text.contains("come from the office network")),
        "the rule's own reason",
        &told,
    )?;
    let refused = newest(&scene, "token_refused")?;
    let version = scene.issuer.run(["policy", "list", "--json"])?.json()?[2]["version"].clone();
    ensure(
        refused["fields"]["rules"] == serde_json::json!(["office-network"]) && refused["fields"]["policy"] == version,
        "an event with rule and policy",
        &refused,
    )?;
    // From where the rule lets them come, they come.
    guard(&scene, &RULE.replace("monitor", "enforce").replace("192.0.2.0/24", "127.0.0.0/8"), || {
        Ok(client.ask(GIT, scene.clock.now(), &[])?.status == 200)
    })
}

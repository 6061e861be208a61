//! A policy and its tools: tried before it counts, compared with what is in force, and asked why.

use std::fs;

use daypass_tests::{Failure, Story, ensure};
use serde_json::Value;

use crate::software::{GIT, PROJECT, Scene, scene};

const EXAMPLES: &str = r#"
[[allow]]
collaborator = "alice"
project = "apollo"
role = "developer"
ask = [{ type = "git_repository", locations = ["https://git.example.com/team/app"], actions = ["push"], refs = ["refs/heads/alice/x"] }]

[[deny]]
collaborator = "alice"
project = "apollo"
role = "developer"
ask = [{ type = "git_repository", locations = ["https://git.example.com/team/app"], actions = ["push"], refs = ["refs/heads/main"] }]
because = "exceeds_grant"
"#;

const RULE: &str = r#"
@id("office-network")
@reason("come from the office network")
forbid (principal, action, resource in Project::"apollo")
unless { context has address && context.address.isInRange(ip("192.0.2.0/24")) };
"#;

fn write(scene: &Scene, name: &str, text: &str) -> Story {
    fs::write(scene.issuer.folder().join("policy").join(name), text).map_err(Failure::machine("write a policy"))
}

#[test]
fn a_careless_change_is_caught_by_the_example_beside_it() -> Story {
    let scene = scene()?;
    write(&scene, "tests/apollo.toml", EXAMPLES)?;
    scene.issuer.run(["policy", "test"])?.says(&["2 example(s) come out as they must"])?;
    scene.issuer.run(["policy", "load"])?;
    let in_force = |scene: &Scene| -> Result<Value, Failure> {
        Ok(scene.issuer.act(["check", "--json"]).run()?.json()?["policy_version"].clone())
    };
    let before = in_force(&scene)?;
    // Somebody means well.
    write(&scene, "projects/apollo.toml", &PROJECT.replace("/**\"]", "/**\", \"refs/heads/*\"]"))?;
    let told = [
        "tests/apollo.toml:8",
        "`alice` as `developer` of `apollo` should be refused with `exceeds_grant`, and is allowed",
    ];
    scene.issuer.act(["policy", "test"]).run()?.refused(&told)?.code(4)?;
    scene
        .issuer
        .act(["policy", "load"])
        .run()?
        .refused(&["nothing was put in force", "policy test", told[1]])?
        .code(4)?;
    ensure(in_force(&scene)? == before, "what was in force stays", &before)?;
    let json = scene.issuer.act(["policy", "test", "--json"]).run()?.json()?;
    ensure(
        json["ok"] == false && json["examples"] == 2 && json["failed"][0]["line"] == 8,
        "the same for programs",
        &json,
    )?;
    // A name that is misspelt is a fault, and not an example that nobody runs.
    write(&scene, "tests/apollo.toml", &EXAMPLES.replace("because", "becuase"))?;
    scene
        .issuer
        .act(["policy", "check"])
        .run()?
        .refused(&["tests/apollo.toml:13", "`becuase` is not known here"])?
        .code(4)?;
    Ok(())
}

#[test]
fn what_a_change_gives_and_takes_is_told_before_it_counts() -> Story {
    let scene = scene()?;
    let client = scene.client("robot")?;
    let wider = PROJECT.replace("[\"push\"]", "[\"push\", \"create\"]").replace("5m", "2m");
    write(&scene, "projects/apollo.toml", &wider)?;
    write(&scene, "guardrails/all.cedar", RULE)?;
    let folder = scene.issuer.folder().join("policy").display().to_string();
    let told = scene.issuer.run(["policy", "diff", "in-force", &folder])?;
    told.says(&[
        "role `developer` of `apollo` (1 grant(s))",
        "+ `create` of `refs/heads/{user}/**` in `https://git.example.com/team/app`",
        "- tokens live for 2m at most, and did for 5m",
        "guardrail `office-network` (1 grant(s))",
        "- the rule is new, enforced: come from the office network",
    ])?;
    scene.issuer.run(["policy", "load"])?;
    scene.issuer.run(["policy", "diff", "in-force", &folder])?.says(&["no difference"])?;
    // The other way round, by the hash of what was in force before.
    let first = scene.issuer.run(["policy", "list", "--json"])?.json()?[0]["version"].clone();
    let first: String = first.as_str().unwrap_or_default().chars().take(8).collect();
    let json = scene.issuer.run(["policy", "diff", "in-force", &first, "--json"])?.json()?;
    let effects: Vec<_> = json["differences"].as_array().into_iter().flatten().map(|told| &told["effect"]).collect();
    ensure(effects == ["loses", "gains", "gains"] && json["differences"][0]["grants"] == 1, "the reverse", &json)?;
    scene.issuer.act(["policy", "diff", "in-force", "ffff"]).run()?.refused(&["policy list"])?.code(3)?;
    drop(client);
    Ok(())
}

#[test]
fn what_is_explained_is_what_happens() -> Story {
    let scene = scene()?;
    let client = scene.client("robot")?;
    client.token(GIT, scene.clock.now())?;
    let device = scene.issuer.run(["device", "list", "--json"])?.json()?[0]["device"].clone();
    let device = device.as_str().ok_or_else(|| Failure::unexpected("a device", "none"))?.to_owned();
    let explain = |more: &[&str]| -> Result<Value, Failure> {
        let arguments = [&["policy", "explain", "--device", &device, "--json"], more].concat();
        scene.issuer.run(arguments)?.json()
    };
    let told = explain(&[])?;
    ensure(told["allowed"] == true && told["lifetime"] == 300, "a token, as it was given", &told)?;
    write(&scene, "guardrails/all.cedar", RULE)?;
    scene.issuer.run(["policy", "load"])?;
    daypass_tests::eventually("the issuer to follow its policy", || {
        Ok((client.ask(GIT, scene.clock.now(), &[])?.status == 403).then_some(()))
    })?;
    let told = explain(&["--address", "127.0.0.1"])?;
    let answer = client.ask(GIT, scene.clock.now(), &[])?.status(403)?.json()?;
    ensure(
        told["allowed"] == false
            && told["reason"] == answer["daypass_reason"]
            && told["guardrails"][0]["forbids"] == true,
        "the same cause, and the rule",
        &told,
    )?;
    let told = explain(&["--address", "192.0.2.7"])?;
    ensure(told["allowed"] == true, "from the office", &told)?;
    // Under what was in force before, and for somebody who was never invited.
    let somebody = ["policy", "explain", "--collaborator", "mallory", "--project", "apollo", "--role", "developer"];
    let push = ["--location", "https://git.example.com/team/app", "--action", "push", "--ref", "refs/heads/alice/x"];
    scene.issuer.run([&somebody[..], &push].concat())?.says(&[
        "does not give it",
        "not asked",
        "refused (`exceeds_grant`)",
    ])?;
    scene.issuer.run(["device", "suspend", &device])?;
    let told = explain(&["--address", "192.0.2.7"])?;
    ensure(
        told["allowed"] == false && told["device"].as_str().is_some_and(|text| text.contains("is suspended")),
        "not served",
        &told,
    )?;
    scene.issuer.run(["policy", "explain", "--device", &device])?.says(&["refused: device", "office-network"])?;
    Ok(())
}

#[test]
fn a_guardrail_that_is_nested_to_end_the_program_is_a_fault_like_others() -> Story {
    let scene = scene()?;
    let before = scene.issuer.run(["policy", "list", "--json"])?.text();
    for deep in [
        "true && ".repeat(100_000) + "true",
        "(".repeat(100_000) + "true" + &")".repeat(100_000),
        "[".repeat(100_000) + &"]".repeat(100_000),
        "principal".to_owned() + &".a".repeat(100_000),
    ] {
        let rule = format!("@id(\"deep\")\n@reason(\"x\")\nforbid (principal, action, resource) when {{ {deep} }};\n");
        write(&scene, "guardrails/all.cedar", &rule)?;
        for command in ["check", "load", "test"] {
            let refused = scene.issuer.act(["policy", command]).run()?;
            refused.refused(&["guardrails/all.cedar:3", "the rule is too deep"])?.code(4)?;
        }
    }
    ensure(scene.issuer.run(["policy", "list", "--json"])?.text() == before, "what was in force stays", &before)
}

//! A policy that touches what guards others: brought by one administrator, put in force by another.

use std::{collections::BTreeMap, path::Path};

use daypass_tests::{Failure, Machine, OWNER, PROJECT, Ran, Story, Who, World, ensure};
use serde_json::{Value, json};

use crate::owners::{lets_on, word};

const RULE: &str = "@id(\"tpm\")\n@reason(\"a TPM that is one\")\nforbid (principal, action, resource) when { principal.trust_tier == \"virtual\" };\n";

fn file(folder: &Path, name: &str, text: &str) -> Story {
    let path = folder.join(name);
    let parent = path.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).map_err(Failure::machine("make a folder of a policy"))?;
    std::fs::write(&path, text).map_err(Failure::machine("write a policy"))
}

/// Versions with their `by`, as an administrator sees them; and what waits.
fn listed(desk: &Machine) -> Result<(Vec<Value>, Vec<Value>), Failure> {
    let ran = desk.daypass(["admin", "policy", "list", "--json"]).run()?.succeeded()?;
    let list =
        |name: &str| Ok::<_, Failure>(ran.json()?.get(name).and_then(Value::as_array).cloned().unwrap_or_default());
    Ok((list("items")?, list("waiting")?))
}

fn administrator(world: &World, name: &str, who: &str) -> Result<Machine, Failure> {
    let made = world.issuer.run(["admin", "bootstrap", who, "--reason", "one of two", "--json"])?;
    let desk = Machine::start(world, name, Who::Alice)?;
    lets_on(&world.issuer, &desk, &word(&made, "/code")?, who)?;
    Ok(desk)
}

#[test]
fn what_one_administrator_brings_another_puts_in_force_or_not() -> Story {
    let world = World::start()?;
    let issuer = &world.issuer;
    let project = std::fs::read_to_string(issuer.project(PROJECT)).map_err(Failure::machine("read a project"))?;
    let in_force = issuer.folder().join("policy");
    file(&in_force, "guardrails/tpm.cedar", &RULE.replace("virtual", "software"))?;
    // Before there is an administrator there is nobody to ask.
    issuer.run(["policy", "load"])?.says(&["in force now"])?;
    let (ada, bob) = (administrator(&world, "desk", "ada")?, administrator(&world, "bench", "bob")?);
    let administrators = ada.daypass(["admin", "administrator", "list", "--json"]).run()?.succeeded()?.json()?;
    let administrators = administrators["items"].as_array().cloned().unwrap_or_default();
    let made = |it: &Value| it["acting"] == true && it["bootstraps"][0]["reason"] == "one of two";
    ensure(administrators.len() == 2 && administrators.iter().all(made), "both, and how", json!(administrators))?;
    ensure(administrators[1]["bootstraps"][0]["administrators"] == 1, "that ada was there", json!(administrators))?;

    // Another owner, a role that takes two, a rule about devices that goes: each touches what guards others.
    let mine = world.place.folder("mine", Who::Alice, 0o755)?;
    file(&mine, "guardrails/tpm.cedar", RULE)?;
    let wider = project.replace(&format!("\"{OWNER}\""), &format!("\"{OWNER}\", \"mallory@example.com\""));
    file(
        &mine,
        "projects/apollo.toml",
        &wider.replace("[roles.reader]", "[roles.reader]\nsensitivity = \"sensitive\""),
    )?;
    let folder = mine.display().to_string();
    let load = |desk: &Machine| -> Result<Ran, Failure> {
        desk.daypass(["admin", "policy", "load", &folder, "--json"]).run()?.succeeded()
    };
    let loaded = load(&ada)?;
    let guarded = loaded.json()?["waiting"]["guarded"].to_string();
    for what in ["mallory@example.com", "becomes sensitive", "guardrail `tpm`"] {
        ensure(guarded.contains(what), what, &guarded)?;
    }
    let proposal = word(&loaded, "/waiting/proposal")?;
    let (versions, waiting) = listed(&ada)?;
    let newest = versions.last().cloned().unwrap_or_default();
    ensure(
        newest["in_force"] == true && newest["version"] != loaded.json()?["version"],
        "the former version",
        &newest,
    )?;
    ensure(waiting.len() == 1 && waiting[0]["by"] == "ada", "what ada brought", json!(waiting))?;
    issuer.run(["policy", "list"])?.says(&[&proposal, "waits for an administrator"])?;
    let confirm = |desk: &Machine, id: &str| desk.daypass(["admin", "policy", "confirm", id, "--yes"]).run();
    confirm(&ada, &proposal)?.refused(&["another administrator must confirm it"])?;
    bob.daypass(["admin", "policy", "confirm", &proposal]).run()?.says(&["mallory@example.com", "--yes"])?.code(2)?;
    confirm(&bob, &proposal)?.succeeded()?.says(&["in force now"])?;
    confirm(&bob, &proposal)?.refused(&["is confirmed already"])?;
    let newest = listed(&bob)?.0.last().cloned().unwrap_or_default();
    ensure(newest["by"] == "bob" && newest["proposal"] == json!(proposal), "bob, for that proposal", &newest)?;
    issuer.run(["policy", "list"])?.says(&["bob", &proposal])?;

    // What is refused stays out, and an account on the issuer's machine cannot go around it.
    file(&mine, "guardrails/tpm.cedar", "")?;
    let again = load(&ada)?;
    let refused = word(&again, "/waiting/proposal")?;
    let withdraw = ["admin", "policy", "withdraw", &refused, "--reason", "devices matter"];
    bob.daypass(withdraw).run()?.succeeded()?.says(&["is withdrawn"])?;
    confirm(&bob, &refused)?.refused(&["is withdrawn already"])?;
    file(&in_force, "guardrails/tpm.cedar", "")?;
    issuer.run(["policy", "load"])?.says(&["waits for an administrator", "is gone"])?;
    let (versions, _) = listed(&ada)?;
    ensure(versions.last() == Some(&newest), "no other version", json!(versions))?;

    // What guards nobody comes into force by one; what would end the issuer does not.
    file(&mine, "guardrails/tpm.cedar", RULE)?;
    file(&mine, "projects/apollo.toml", &world_with(&wider, "token_lifetime = \"4m\""))?;
    ensure(load(&ada)?.json()?["changed"] == true, "in force", &folder)?;
    let deep = RULE.replace("principal.trust_tier", &format!("{}principal.trust_tier", "true && ".repeat(100_000)));
    file(&mine, "guardrails/tpm.cedar", &deep)?;
    ada.daypass(["admin", "policy", "load", &folder]).run()?.refused(&["the rule is too deep"])?;
    listed(&ada).map(drop)
}

/// The project with its sensitive reader and another lifetime.
fn world_with(project: &str, lifetime: &str) -> String {
    let sensitive = project.replace("[roles.reader]", "[roles.reader]\nsensitivity = \"sensitive\"");
    sensitive.replace("token_lifetime = \"5m\"", lifetime)
}

/// A folder of this policy with many files, near the limit of what goes through an agent.
#[test]
fn a_policy_of_a_megabyte_goes_through_an_agent_and_a_larger_one_says_where_to_load_it() -> Story {
    let world = World::start()?;
    let ada = administrator(&world, "desk", "ada")?;
    let mine = world.place.folder("mine", Who::Alice, 0o755)?;
    let project = std::fs::read_to_string(world.issuer.project(PROJECT)).map_err(Failure::machine("read a project"))?;
    file(&mine, "projects/apollo.toml", &project)?;
    let sizes: BTreeMap<&str, usize> = [("fits", 900 * 1024), ("does-not", 1100 * 1024)].into();
    let folder = mine.display().to_string();
    let load = |size: usize| -> Result<Ran, Failure> {
        for part in 0..4 {
            let comment = format!("// {}\n{RULE}", "x".repeat(size / 4)).replace("tpm", &format!("tpm-{part}"));
            file(&mine, &format!("guardrails/g{part}.cedar"), &comment)?;
        }
        ada.daypass(["admin", "policy", "load", &folder]).run()
    };
    load(sizes["fits"])?.succeeded()?.says(&["in force now"])?;
    load(sizes["does-not"])?.refused(&["can be sent", "daypass-issuer policy load"]).map(drop)
}

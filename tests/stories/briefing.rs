//! Briefings: whoever joins a project that asks for it reads what they may do, and says yes with the key of their machine, before there is anything.

use std::fs;

use daypass_tests::{Failure, Issuer, Machine, PROJECT, Ran, Story, Who, World, ensure, eventually};
use serde_json::{Value, json};

const TEXT: &str = "Welcome, {{collaborator}}. You have this until {{until}}.\n\n{{asking}}\n";

fn write_text(issuer: &Issuer, text: &str) -> Story {
    let file = issuer.folder().join("policy/projects/apollo.briefing.md");
    fs::write(file, text).map_err(Failure::machine("write a briefing"))
}

/// A world whose project asks for its briefing.
fn world() -> Result<World, Failure> {
    World::build(false, |issuer, _| {
        write_text(issuer, TEXT)?;
        let file = issuer.folder().join("policy/projects/apollo.toml");
        let text = fs::read_to_string(file).map_err(Failure::machine("read the project"))?;
        issuer.write_project(PROJECT, &format!("briefing = \"required\"\n{text}"))
    })
}

fn leaves(world: &World, kind: &str) -> Result<Vec<Value>, Failure> {
    let leaves = world.issuer.sql(&format!("SELECT leaf FROM events WHERE kind = '{kind}' ORDER BY rowid"))?;
    let read =
        |leaf: &String| serde_json::from_str(leaf).map_err(|error| Failure::unexpected("a leaf", error.to_string()));
    leaves.iter().map(read).collect()
}

/// A token that the agent does not have yet.
fn fresh_token(laptop: &Machine, world: &World) -> Result<Ran, Failure> {
    laptop.daypass(["token", &world.gate.resource(), "--min-ttl", "3600"]).run()
}

#[test]
fn git_gets_nothing_before_the_briefing_was_read_and_accepted() -> Story {
    let world = world()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "developer")?;
    let clone = || laptop.person.clones(&world.clone_url(), "app", &[]).run();
    clone()?
        .refused(&["the briefing of project `apollo` must be read", "next step: run `daypass briefing accept gr-"])?;
    laptop.daypass(["status"]).run()?.succeeded()?.says(&["waits for you: no token before its briefing was read"])?;

    let shown = laptop.daypass(["briefing"]).run()?.succeeded()?;
    shown.says(&[
        "Welcome, alice. You have this until 2",
        "for 90d from now at most",
        "daypass request --project apollo --role reader",
        "## What you may do",
        "read, push, create, delete on `refs/heads/alice/**`",
        "Each token lives for 5m at most",
        "Questions: `the chat channel apollo`",
        "there is no token before you accept it",
    ])?;
    let listed = laptop.daypass(["briefing", PROJECT, "--json"]).run()?.succeeded()?.json()?;
    let briefing = listed.pointer("/briefings/0").cloned().unwrap_or_default();
    ensure(briefing["standing"] == "required", "that it is required", &listed)?;
    let grant = briefing["grant"].as_str().unwrap_or_default().to_owned();

    // Nobody says yes by not being there.
    laptop.daypass(["briefing", "accept"]).run()?.refused(&["accepting asks first"])?.code(2)?;
    clone()?.refused(&["must be read"])?;
    laptop
        .daypass(["briefing", "accept", &grant, "--yes"])
        .run()?
        .succeeded()?
        .says(&["Welcome, alice", "TPM signed it"])?;
    clone()?.succeeded()?;
    laptop.daypass(["briefing"]).run()?.succeeded()?.says(&["you have accepted it"])?;

    let events = leaves(&world, "briefing_accepted")?;
    let one = events.first().cloned().unwrap_or_default();
    ensure(
        events.len() == 1
            && one["fields"]["briefing"] == briefing["briefing"]
            && one["fields"]["grant"] == json!(grant),
        "one event with what was accepted",
        json!(events),
    )?;
    let kept = world.issuer.run(["grant", "briefing", &grant, "--json"])?.json()?;
    ensure(
        kept["acceptances"][0]["hash"] == one["fields"]["acceptance"]
            && kept["acceptances"][0]["text"] == briefing["text"],
        "the evidence, by the hash that the ledger has",
        &kept,
    )?;
    world.issuer.run(["grant", "briefing", &grant])?.says(&["signed by the device's proof key", "Welcome, alice"])?;

    // Other words are read anew; what somebody has lives to its end.
    write_text(&world.issuer, &format!("{TEXT}\nNo force pushes.\n"))?;
    world.issuer.run(["policy", "load"])?;
    eventually("the issuer to follow its policy", || {
        let asked = fresh_token(&laptop, &world)?;
        Ok(asked.complaints().contains("briefing of project").then_some(()))
    })?;
    laptop.daypass(["briefing", "accept", "--yes"]).run()?.succeeded()?.says(&["No force pushes."])?;
    let asked = fresh_token(&laptop, &world)?;
    ensure(!asked.complaints().contains("briefing"), "a token, if a shorter one than that", &asked)?;
    ensure(leaves(&world, "briefing_accepted")?.len() == 2, "two events", "another number")?;
    eventually("the ledger to have its checkpoint", || {
        Ok(world.issuer.act(["ledger", "verify"]).run()?.succeeded().is_ok().then_some(()))
    })
}

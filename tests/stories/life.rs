//! How what was granted comes to its end: by use, and with the phase that it was for.

use std::fs;

use daypass_tests::{Failure, Machine, PROJECT, Story, Who, World, ensure};
use serde_json::{Value, json};

use crate::conformance::introspected;

fn active(world: &World, token: &str) -> Result<bool, Failure> {
    Ok(introspected(world, token)?.get("active") == Some(&json!(true)))
}

fn listed(world: &World, more: &[&str]) -> Result<Vec<Value>, Failure> {
    let listed = world.issuer.act(["grant", "list", "--json"]).args(more).run()?.succeeded()?;
    listed.json()?.as_array().cloned().ok_or_else(|| listed.surprise("a list"))
}

#[test]
fn a_grant_that_is_used_up_is_shown_so_and_what_it_gave_lives_on() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.enrol(&world.issuer.invite("alice", PROJECT, "developer", &["--uses", "1"])?)?;
    let device = world.issuer.approve("alice")?;
    ensure(listed(&world, &["--state", "active"])?.len() == 1, "an active grant", &device)?;
    let token = laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?.text().trim().to_owned();

    let details =
        json!([{"type": "git_repository", "locations": [world.repository()], "actions": ["read"]}]).to_string();
    let another = laptop.daypass(["token", &world.gate.resource(), "--details", &details]).run()?;
    another.refused(&["gave 1 token(s), which is all that it gives"])?;
    ensure(active(&world, &token)?, "the one token that it gave", &device)?;
    for (state, count) in [("used_up", 1), ("active", 0), ("ended", 0)] {
        let found = listed(&world, &["--state", state])?;
        ensure(found.len() == count, format!("{count} grants that are {state}"), format!("{found:?}"))?;
    }
    ensure(listed(&world, &[])?[0]["state"] == "used_up", "its state in the list", &device)?;
    world.issuer.run(["grant", "list"])?.says(&["used_up"])?;
    world.issuer.run(["device", "show", &device])?.says(&["as developer, used_up until"])?;
    // Nothing goes on from it.
    let replaced = world.issuer.act(["invite", "--replaces", &device]).run()?;
    replaced.code(3)?.says(&["is used up", "invite anew"]).map(drop)
}

#[test]
fn a_phase_ends_and_what_is_for_the_whole_project_goes_on() -> Story {
    let world = World::with_software_keys(false)?;
    let text = fs::read_to_string(world.issuer.project(PROJECT)).map_err(Failure::machine("read a project"))?;
    let phased = text.replacen("[roles.", "[phases.build]\nends = 2099-01-31T00:00:00Z\n\n[roles.", 1);
    world.issuer.write_project(PROJECT, &phased)?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.enrol(&world.issuer.invite("alice", PROJECT, "developer", &["--phase", "build"])?)?;
    let device = world.issuer.approve("alice")?;
    let whole = world.software_client("whole", "developer")?;
    let code = world.issuer.invite("bob", PROJECT, "reader", &["--phase", "build"])?;
    let ends = laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?.text().trim().to_owned();
    let goes_on = whole.token(&world.gate.resource(), world.now())?;

    let end = |phase: &str, more: &[&str]| {
        world.issuer.act(["phase", "end", PROJECT, phase, "--reason", "it was shipped"]).args(more).run()
    };
    end("build", &[])?.code(3)?.says(&[
        "1 open invitation(s), 0 request(s) that wait, 2 grant(s), 1 device(s)",
        &device,
        "--yes",
    ])?;
    end("biuld", &["--yes"])?.code(3)?.says(&["`biuld`"])?;
    ensure(active(&world, &ends)?, "a phase that goes on", &device)?;
    end("build", &["--yes"])?.succeeded()?.says(&["the policy still has phase `build`", "[phases.build]"])?;
    ensure(!active(&world, &ends)? && active(&world, &goes_on)?, "the end of the phase alone", &device)?;
    let details =
        json!([{"type": "git_repository", "locations": [world.repository()], "actions": ["read"]}]).to_string();
    laptop.daypass(["token", &world.gate.resource(), "--details", &details]).run()?.refused(&["revoked"])?;
    whole.token(&world.gate.resource(), world.now())?;
    let late = Machine::start(&world, "late", Who::Bob)?;
    late.daypass(["enroll"]).input(code).run()?.refused(&["withdrawn"])?;
    let events = world
        .issuer
        .sql("SELECT leaf FROM events WHERE kind IN ('grant_revoked', 'device_revoked', 'invitation_withdrawn')")?;
    let told = events.iter().filter(|leaf| leaf.contains("phase_ended")).count();
    ensure((events.len(), told) == (4, 4), "the rule in each event", format!("{events:?}"))?;
    end("build", &[])?.succeeded()?.says(&["there is nothing to end"]).map(drop)
}

//! A replacement laptop: a new invitation for the same grants, after which the old one has nothing.

use daypass_tests::{Failure, Machine, PROJECT, Ran, Story, Who, World, ensure, eventually, on_behalf_of};
use serde_json::{Value, json};

use crate::owners::{two_owners, word};

/// Who owns the project beside [`OWNER`].
const OTHER: &str = "otto@example.com";

fn replace(world: &World, device: &str, more: &[&str]) -> Result<Ran, Failure> {
    world.issuer.act(["invite", "--replaces", device, "--reason", "a broken hinge"]).args(more).run()
}

/// The one device that waits.
fn waiting(world: &World) -> Result<String, Failure> {
    let listed = world.issuer.run(["device", "list", "--state", "pending", "--json"])?;
    let device = listed.json()?.pointer("/0/device").and_then(Value::as_str).map(str::to_owned);
    device.ok_or_else(|| listed.surprise("a device that waits"))
}

fn grants(world: &World, more: &[&str]) -> Result<Value, Failure> {
    world.issuer.act(["grant", "list", "--json"]).args(more).run()?.succeeded()?.json()
}

#[test]
fn a_replacement_laptop_goes_on_where_the_old_one_was() -> Story {
    let world = World::start()?;
    let old = Machine::start(&world, "old", Who::Alice)?;
    let device = old.join(&world, "alice", "developer")?;
    old.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    let before = grants(&world, &["--device", &device])?[0].clone();

    // What it would be is shown, and nothing is made.
    let shown = replace(&world, &device, &["--dry-run"])?.succeeded()?;
    shown.says(&[
        &format!("this would invite alice to replace {device}, with 1 grant(s)"),
        "it waits for approval by olga@example.com",
        &format!("each grant of {device} ends when its successor comes into force, and the device with the last"),
        "nothing was made",
    ])?;
    for (more, code, words) in [
        (&["bob"][..], 3, "is alice's, and a replacement is for the same person"),
        (&["--until", "300d"], 3, "a replacement ends when what it replaces does, or before"),
        (&["--project", PROJECT], 2, "cannot be used with"),
        (&["--uses", "3"], 2, "cannot be used with"),
    ] {
        replace(&world, &device, more)?.code(code)?.says(&[words])?;
    }
    ensure(grants(&world, &["--state", "requested"])? == json!([]), "nothing made", &device)?;

    let made = replace(&world, &device, &["--json"])?.succeeded()?.json()?;
    let code = made["code"].as_str().unwrap_or_default().to_owned();
    replace(&world, &device, &[])?.code(3)?.says(&["replaces device", "invitation withdraw"])?;
    let new = Machine::start(&world, "new", Who::Bob)?;
    new.enrol(&code)?;
    let successor = waiting(&world)?;
    // The old one works until the new one does.
    old.person.git("app", ["fetch"]).run()?.succeeded()?;
    replace(&world, &device, &[])?.code(3)?.says(&[&format!("device revoke {successor}")])?;
    let approved = [&["device", "approve", &successor, "--yes"][..], &on_behalf_of("olga@example.com")].concat();
    world.issuer.run(approved)?.says(&["is active until"])?;
    new.daypass(["setup", "git", "--yes"]).run()?.succeeded()?;
    new.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    eventually("the gate to refuse the old laptop", || {
        let fetched = old.person.git("app", ["fetch"]).run()?;
        Ok(fetched.succeeded().is_err().then_some(()))
    })?;
    // Another token than the one that the agent has.
    let details =
        json!([{"type": "git_repository", "locations": [world.repository()], "actions": ["read"]}]).to_string();
    old.daypass(["token", &world.gate.resource(), "--details", &details]).run()?.refused(&["revoked"])?;

    let after = grants(&world, &["--device", &successor])?[0].clone();
    for same in ["until", "made_at", "role", "terms", "collaborator"] {
        ensure(after[same] == before[same], format!("the same `{same}`"), format!("{before} {after}"))?;
    }
    ensure(after["replaces"] == before["grant"] && after["state"] == "active", "a successor", &after)?;
    let shown = world.issuer.run(["device", "show", &device, "--json"])?.json()?;
    ensure(shown["state"] == "revoked" && shown["reason"] == "replaced", "an end of the old one", &shown)?;
    eventually("the events with their numbers", || {
        let told = |kind: &str| -> Result<bool, Failure> {
            let listed = world.issuer.run(["ledger", "list", "--kind", kind, "--json"])?.text();
            let last: Value =
                listed.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
            Ok(last["fields"]["rule"] == "replaced" && last["personal"]["why"] == "a broken hinge")
        };
        Ok((told("grant_revoked")? && told("device_revoked")?).then_some(()))
    })
}

#[test]
fn an_owner_replaces_a_laptop_from_their_own_machine_and_another_owner_approves_it() -> Story {
    let world = World::start()?;
    let [olga, otto] = two_owners(&world, |text| text)?;
    let old = Machine::start(&world, "old", Who::Alice)?;
    let device = old.join(&world, "alice", "developer")?;
    let before = grants(&world, &["--device", &device])?[0].clone();

    let invite = |more: &[&str]| olga.daypass(["admin", "invite", "--replaces", &device]).args(more).run();
    invite(&["--dry-run"])?.succeeded()?.says(&[
        &format!("this would invite alice to replace {device}, with 1 grant(s)"),
        &format!("waits for 1 of {OTHER}"),
        "and the device with the last",
        "nothing was made",
    ])?;
    invite(&["--until", "300d"])?.refused(&["or before"])?;
    invite(&["--project", PROJECT])?.code(2)?.says(&["cannot be used with"])?;
    ensure(grants(&world, &["--state", "requested"])? == json!([]), "nothing made", &device)?;
    // Nor by whoever has it, who owns nothing.
    old.daypass(["admin", "invite", "--replaces", &device, "--yes"]).run()?.refused(&[])?;

    let made = invite(&["--yes", "--reason", "a broken hinge", "--json"])?.succeeded()?;
    invite(&["--yes"])?.refused(&["replaces device"])?;
    let new = Machine::start(&world, "new", Who::Alice)?;
    new.enrol(&word(&made, "/code")?)?;
    let shown = new.daypass(["status", "--refresh", "--json"]).run()?.succeeded()?;
    let code = word(&shown, "/enrolments/0/comparison_code")?;
    let successor = waiting(&world)?;
    olga.daypass(["admin", "device", "approve", &successor, "--code", &code]).run()?.succeeded()?;
    let grant = word(&made, "/invitation/grant")?;
    let approve = ["admin", "grant", "approve", &grant];
    olga.daypass(approve).run()?.refused(&["somebody else must approve it"])?;
    otto.daypass(approve).run()?.succeeded()?.says(&["is now active"])?;

    let after = grants(&world, &["--device", &successor])?[0].clone();
    for same in ["until", "made_at", "role", "terms", "collaborator"] {
        ensure(after[same] == before[same], format!("the same `{same}`"), format!("{before} {after}"))?;
    }
    new.daypass(["token", &world.gate.resource()]).run()?.succeeded()?;
    let shown = world.issuer.run(["device", "show", &device, "--json"])?.json()?;
    ensure(shown["state"] == "revoked" && shown["reason"] == "replaced", "an end of the old one", &shown)
}

#[test]
fn of_two_who_replace_a_laptop_at_once_one_does_and_a_withdrawn_code_leaves_it_alone() -> Story {
    let world = World::start()?;
    let old = Machine::start(&world, "old", Who::Alice)?;
    let device = old.join(&world, "alice", "developer")?;
    let asked: Vec<_> = (0..6).map(|_| world.issuer.act(["invite", "--replaces", &device, "--json"]).start()).collect();
    let mut winners = Vec::new();
    for one in asked {
        let ran = one.finish()?;
        match ran.json() {
            Ok(made) => winners.push(made),
            Err(_) => {
                let told = ran.code(3)?;
                let lost =
                    ["run the command again", "invitation withdraw"].map(|words| told.clone().says(&[words]).is_ok());
                ensure(lost.contains(&true), "word of who won", &told)?;
            }
        }
    }
    ensure(winners.len() == 1, "one invitation", format!("{winners:?}"))?;
    let invitation = winners[0]["invitation"].as_str().unwrap_or_default();
    world.issuer.run(["invitation", "withdraw", invitation, "--yes"])?.says(&["is now withdrawn"])?;
    let new = Machine::start(&world, "new", Who::Bob)?;
    new.daypass(["enroll"]).input(winners[0]["code"].as_str().unwrap_or_default()).run()?.refused(&["withdrawn"])?;
    old.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded().map(drop)
}

#[test]
fn an_invitation_shows_everything_that_goes_beyond_the_policy_and_makes_nothing() -> Story {
    let world = World::start()?;
    let text = std::fs::read_to_string(world.issuer.project(PROJECT)).map_err(Failure::machine("read a project"))?;
    let limited = text.replace("[roles.developer]\n", "[roles.developer]\nuses = 3\n");
    world.issuer.write_project(PROJECT, &limited)?;
    let invite = |who: &str, more: &[&str]| {
        world.issuer.act(["invite", who, "--project", PROJECT, "--role", "developer"]).args(more).run()
    };
    let beyond = ["--until", "4000d", "--uses", "9"];
    for more in [&beyond[..], &[&beyond[..], &["--dry-run"]].concat()] {
        let shown = invite("alice", more)?.code(3)?;
        let shown = shown.says(&["allows until", "9 tokens are more than role `developer` allows, which is 3"])?;
        shown.says(&["would be allowed: `--until ", "--uses 3`", "it waits for approval by", "nobody was invited"])?;
    }
    let told = invite("a/../b", &[&beyond[..], &["--json"]].concat())?.code(3)?;
    let excess = told.json()?["excess"].as_array().map_or(0, Vec::len);
    ensure(excess == 3, "three ways in which it goes beyond", &told)?;
    ensure(grants(&world, &[])? == json!([]), "nothing made", "something")?;
    // What it says would be allowed is.
    let nearest = invite("alice", &[&beyond[..], &["--dry-run", "--json"]].concat())?.code(3)?.json()?;
    let nearest = nearest["nearest"].as_str().unwrap_or_default().to_owned();
    let nearest: Vec<&str> = nearest.split(' ').collect();
    let allowed = invite("alice", &nearest)?;
    allowed.succeeded()?.says(&["invited alice to apollo as developer"]).map(drop)
}

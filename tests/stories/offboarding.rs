//! Ending what was given: one command, everything beneath it, and the next request is refused.

use std::{fs, time::Duration};

use daypass_tests::{
    Failure, Machine, PROJECT, REPOSITORY, Ran, SoftwareClient, SoftwareKeys, Story, Who, World, ensure, eventually,
};
use serde_json::{Value, json};

use crate::conformance::introspected;

const REFS: &str = "team/app.git/info/refs?service=git-upload-pack";

fn at_the_gate(world: &World, client: &SoftwareClient, token: &str) -> Result<u16, Failure> {
    let (nonce, now) = (world.nonce(REPOSITORY, "git-upload-pack", None)?, world.now());
    let made = SoftwareClient::forge_presentation(client.proof(), token, &world.repository(), &nonce, now, |_| {})?;
    Ok(world.request(REFS)?.header("Authorization", &format!("Daypass {made}")).send()?.status)
}

fn active(world: &World, token: &str) -> Result<bool, Failure> {
    Ok(introspected(world, token)?.get("active") == Some(&json!(true)))
}

/// The reasons and rules of the events of this kind, as the ledger lists them.
fn told(world: &World, kind: &str, count: usize) -> Result<Vec<(Value, Value)>, Failure> {
    eventually(&format!("{count} events of kind {kind} with their numbers"), || {
        let listed = world.issuer.run(["ledger", "list", "--kind", kind, "--json"])?.text();
        let events: Vec<Value> = listed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let at = |it: &Value, place| it.pointer(place).cloned().unwrap_or_default();
        let told = events.iter().map(|it| (at(it, "/personal/why"), at(it, "/fields/rule"))).collect();
        Ok((events.len() == count).then_some(told))
    })
}

#[test]
fn a_collaborator_is_offboarded_and_the_next_request_is_refused() -> Story {
    let world = World::with_software_keys(false)?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let device = laptop.join(&world, "alice", "developer")?;
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    let token = laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?.text().trim().to_owned();
    let code = world.issuer.invite("alice", PROJECT, "reader", &[])?;
    let other = world.software_client("other", "reader")?;
    let others = other.token(&world.gate.resource(), world.now())?;

    // Nobody is at a terminal, and nobody said yes: it is told, and nothing ends.
    let offboard =
        |more: &[&str]| world.issuer.act(["offboard", "alice", "--reason", "contract over"]).args(more).run();
    let shown = offboard(&[])?.code(3)?.says(&[
        &device,
        "1 open invitation(s), 0 request(s) that wait, 2 grant(s), 1 device(s)",
        "--yes",
    ])?;
    let shown_json = offboard(&["--json"])?.code(3)?.json()?;
    ensure(shown_json["ended"] == false && shown_json["devices"] == json!([device]), "what would end", &shown)?;
    laptop.person.git("app", ["fetch"]).run()?.succeeded()?;
    ensure(active(&world, &token)?, "a token that lives", &token)?;

    let ended = offboard(&["--yes", "--json"])?.succeeded()?;
    ensure(ended.json()?["ended"] == true, "an end", &ended)?;
    ensure(!active(&world, &token)?, "no token that lives, from the next request on", &ended)?;
    // Another token than the one that the agent has.
    let details =
        json!([{"type": "git_repository", "locations": [world.repository()], "actions": ["read"]}]).to_string();
    laptop.daypass(["token", &world.gate.resource(), "--details", &details]).run()?.refused(&["revoked"])?;
    eventually("the gate to refuse the laptop", || {
        let fetched = laptop.person.git("app", ["fetch"]).run()?;
        Ok(fetched.succeeded().is_err().then_some(()))
    })?;
    let second = Machine::start(&world, "second", Who::Bob)?;
    second.daypass(["enroll"]).input(code).run()?.refused(&["withdrawn"])?;
    // Others go on.
    ensure(active(&world, &others)?, "somebody else's token", &ended)?;
    let status = at_the_gate(&world, &other, &others)?;
    ensure(status == 200, "somebody else's access", status)?;

    let expected = (json!("contract over"), json!("collaborator_offboarded"));
    for (kind, count) in [("invitation_withdrawn", 1), ("grant_revoked", 2), ("device_revoked", 1)] {
        let told = told(&world, kind, count)?;
        ensure(told.iter().all(|it| *it == expected), format!("reason and rule of {kind}"), format!("{told:?}"))?;
    }
    offboard(&[])?.succeeded()?.says(&["nothing to end of `alice`"])?;
    let misspelt = world.issuer.act(["offboard", "alcie", "--reason", "x", "--yes"]).run()?;
    misspelt.code(3)?.says(&["`alcie`", "grant list"])?;
    let wordless = world.issuer.act(["offboard", "alice", "--reason", " ", "--yes"]).run()?;
    wordless.code(2)?.says(&["a reason is empty"]).map(drop)
}

#[test]
fn a_grant_is_held_back_let_on_again_and_ended() -> Story {
    let world = World::with_software_keys(false)?;
    let client = world.software_client("client", "developer")?;
    let token = client.token(&world.gate.resource(), world.now())?;
    let list = |more: &[&str]| -> Result<Value, Failure> {
        world.issuer.act(["grant", "list", "--json"]).args(more).run()?.succeeded()?.json()
    };
    let grant = list(&["--device", &client.device])?[0]["grant"].as_str().unwrap_or_default().to_owned();
    let decide = |verb: &str| -> Result<Ran, Failure> {
        let yes: &[&str] = if verb == "revoke" { &["--yes"] } else { &[] };
        world.issuer.act(["grant", verb, &grant, "--reason", "an audit", "--json"]).args(yes).run()
    };
    ensure(at_the_gate(&world, &client, &token)? == 200, "access", &grant)?;

    decide("suspend")?.succeeded()?.says(&["suspended"])?;
    ensure(!active(&world, &token)?, "no token that lives under a suspended grant", &grant)?;
    client.ask(&world.gate.resource(), world.now(), &[])?.status(403)?.says(&["grant_suspended"])?;
    world.until_refused(|| at_the_gate(&world, &client, &token))?;
    decide("suspend")?.code(3)?.says(&["is suspended, and cannot be suspended", "`resume`"])?;

    decide("resume")?.succeeded()?.says(&["active"])?;
    ensure(active(&world, &token)?, "the token again", &grant)?;
    eventually("the gate to let the grant on again", || {
        Ok((at_the_gate(&world, &client, &token)? == 200).then_some(()))
    })?;

    let unsure = world.issuer.act(["grant", "revoke", &grant]).run()?.code(3)?;
    unsure.says(&["as developer", "nothing was ended", "--yes"])?;
    ensure(active(&world, &token)?, "what nobody said yes to", &grant)?;
    decide("revoke")?.succeeded()?.says(&["revoked"])?;
    ensure(!active(&world, &token)?, "no token that lives under a revoked grant", &grant)?;
    world.until_refused(|| at_the_gate(&world, &client, &token))?;
    for verb in ["suspend", "resume", "revoke"] {
        decide(verb)?.code(3)?.says(&["is revoked, and cannot be", "invite anew"])?;
    }
    for kind in ["grant_suspended", "grant_resumed", "grant_revoked"] {
        let told = told(&world, kind, 1)?;
        ensure(told[0].0 == "an audit", format!("the reason of {kind}"), format!("{told:?}"))?;
    }
    let length = |more: &[&str]| Ok::<_, Failure>(list(more)?.as_array().map_or(0, Vec::len));
    world.software_client("second", "reader")?;
    for (filter, count) in [
        (&["--state", "revoked"][..], 1),
        (&["--state", "revoked", "--state", "active", "--sort", "until"], 2),
        (&["--role", "reader"], 1),
        (&["--project", "gemini"], 0),
        (&["--collaborator", "software-client"], 2),
        (&["--limit", "1"], 1),
    ] {
        let found = length(filter)?;
        ensure(found == count, format!("{count} grants with {filter:?}"), found)?;
    }
    world.issuer.act(["grant", "list", "--limit", "1"]).run()?.succeeded()?.says(&["there are more than these 1"])?;
    world.issuer.act(["grant", "list", "--state", "dead"]).run()?.code(2)?.says(&["expected requested"]).map(drop)
}

#[test]
fn a_project_ends_and_another_goes_on() -> Story {
    let world = World::with_software_keys(false)?;
    let text = fs::read_to_string(world.issuer.project(PROJECT)).map_err(Failure::machine("read a project"))?;
    world.issuer.write_project("gemini", &text)?;
    let ended = world.software_client("ended", "developer")?;
    let kept = SoftwareKeys::new(&world.place, "kept", Who::Server)?.register(&world.issuer, "gemini", "developer")?;
    let token = |client: &SoftwareClient| client.token(&world.gate.resource(), world.now());
    // The running issuer follows the policy that has the second project.
    let keeps = eventually("a token of the second project", || Ok(token(&kept).ok()))?;
    let ends = token(&ended)?;
    world.issuer.invite("bob", PROJECT, "reader", &[])?;

    let end = |more: &[&str]| world.issuer.act(["project", "end", PROJECT, "--reason", "launched"]).args(more).run();
    end(&[])?.code(3)?.says(&["1 open invitation(s), 0 request(s) that wait, 2 grant(s), 1 device(s)"])?;
    ensure(active(&world, &ends)?, "a project that goes on", &ends)?;
    // The policy is not touched, and that is said.
    end(&["--yes"])?.succeeded()?.says(&["the policy still has project `apollo`", "policy load"])?;
    ensure(!active(&world, &ends)? && active(&world, &keeps)?, "the end of one project alone", &keeps)?;
    world.until_refused(|| at_the_gate(&world, &ended, &ends))?;
    ensure(at_the_gate(&world, &kept, &keeps)? == 200, "access to the other", &keeps)?;
    let told = told(&world, "grant_revoked", 2)?;
    let expected = (json!("launched"), json!("project_ended"));
    ensure(told.iter().all(|it| *it == expected), "reason and rule", format!("{told:?}"))?;

    fs::remove_file(world.issuer.project(PROJECT)).map_err(Failure::machine("remove a project"))?;
    world.issuer.run(["policy", "load"])?;
    end(&["--json"])?.succeeded()?.says(&["\"project_in_policy\": false", "\"ended\": false"])?;
    let invite = ["invite", "carol", "--project", PROJECT, "--role", "reader", "--until", "1d"];
    world.issuer.act(invite).run()?.code(3)?.says(&["there is no project `apollo`"]).map(drop)
}

#[test]
fn of_many_that_offboard_at_once_one_does_it_and_the_others_are_told() -> Story {
    let world = World::with_software_keys(false)?;
    let client = world.software_client("client", "developer")?;
    world.issuer.invite("software-client", PROJECT, "reader", &[])?;
    let offboard = ["offboard", "software-client", "--reason", "over", "--yes"];
    let asked: Vec<_> = (0..6).map(|_| world.issuer.act(offboard).start()).collect();
    let mut winners = 0;
    for one in asked {
        let ran = one.finish()?;
        if ran.text().contains("ended of `software-client`") {
            winners += 1;
        } else if ran.text().contains("nothing to end") {
            ran.succeeded()?;
        } else {
            ran.code(3)?.says(&["at the same time", "run the command again"])?;
        }
    }
    ensure(winners == 1, "one who ended it", winners)?;
    told(&world, "device_revoked", 1)?;
    told(&world, "invitation_withdrawn", 1)?;
    told(&world, "grant_revoked", 2)?;
    client.ask(&world.gate.resource(), world.now(), &[])?.status(403)?.says(&["device_revoked"]).map(drop)
}

#[test]
fn a_lost_laptop_is_ended_with_all_beneath_it() -> Story {
    let world = World::with_software_keys(true)?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let device = laptop.join(&world, "alice", "developer")?;
    let token = laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?.text().trim().to_owned();
    let ended =
        world.issuer.run(["device", "revoke", &device, "--reason", "lost on a train", "--yes", "--json"])?.json()?;
    ensure(ended["grants"][0]["state"] == "revoked", "its grant revoked", &ended)?;
    ensure(!active(&world, &token)?, "no token that lives", &device)?;
    for kind in ["device_revoked", "grant_revoked"] {
        let told = told(&world, kind, 1)?;
        ensure(told[0].0 == "lost on a train", format!("the reason of {kind}"), format!("{told:?}"))?;
    }
    // Its certificate renews no more, neither in time nor when its time is over.
    world.advance(Duration::from_secs(400 * 24 * 3600))?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.refused(&["revoked"]).map(drop)
}

#[test]
fn a_withdrawn_invitation_enrols_nobody() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let code = world.issuer.invite("alice", PROJECT, "developer", &[])?;
    let listed = world.issuer.run(["invitation", "list", "--state", "open", "--json"])?.json()?;
    let name = listed[0]["invitation"].as_str().unwrap_or_default().to_owned();
    let withdraw = || world.issuer.act(["invitation", "withdraw", &name, "--reason", "wrong address", "--yes"]).run();
    withdraw()?.succeeded()?.says(&["is now withdrawn"])?;
    laptop.daypass(["enroll"]).input(code).run()?.refused(&["withdrawn"])?;
    withdraw()?.code(3)?.says(&["is withdrawn already"])?;
    let told = told(&world, "invitation_withdrawn", 1)?;
    ensure(told[0].0 == "wrong address", "the reason", format!("{told:?}"))?;
    // One that was used names its device.
    let device = laptop.join(&world, "alice", "developer")?;
    let used = world.issuer.run(["invitation", "list", "--state", "used", "--json"])?.json()?;
    let name = used[0]["invitation"].as_str().unwrap_or_default().to_owned();
    let refused = world.issuer.act(["invitation", "withdraw", &name, "--yes"]).run()?;
    refused.code(3)?.says(&[&format!("device revoke {device}")]).map(drop)
}

#[test]
fn of_a_code_that_is_used_while_it_is_taken_back_one_comes_about() -> Story {
    let world = World::start()?;
    for (round, pause) in [0, 20, 60, 120].into_iter().enumerate() {
        let who = format!("guest-{round}");
        let laptop = Machine::start(&world, &who, Who::Alice)?;
        let code = world.issuer.invite(&who, PROJECT, "developer", &[])?;
        let listed = world.issuer.run(["invitation", "list", "--collaborator", &who, "--json"])?.json()?;
        let name = listed[0]["invitation"].as_str().unwrap_or_default().to_owned();
        let enrolling = laptop.daypass(["enroll"]).input(code).start();
        std::thread::sleep(Duration::from_millis(pause));
        let withdrawn = world.issuer.act(["invitation", "withdraw", &name, "--yes"]).run()?;
        let enrolled = enrolling.finish()?;
        let listed = world.issuer.run(["invitation", "list", "--collaborator", &who, "--json"])?.json()?;
        let devices = world.issuer.devices()?.iter().filter(|device| device["collaborator"] == who.as_str()).count();
        match listed[0]["state"].as_str() {
            Some("withdrawn") => {
                withdrawn.succeeded()?;
                enrolled.refused(&["withdrawn"])?;
                ensure(devices == 0, "no device", devices)?;
            }
            Some("used") => {
                enrolled.succeeded()?;
                withdrawn.code(3)?;
                ensure(devices == 1, "one device", devices)?;
            }
            _ => return Err(Failure::unexpected("a code that was used or taken back", format!("{listed}"))),
        }
    }
    Ok(())
}

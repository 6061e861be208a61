//! Whoever has access hears what was decided about it, and ends a machine that they lost.

use daypass_tests::{
    Failure, Machine, OWNER, PROJECT, Ran, Request, Story, Who, World, ensure, eventually, on_behalf_of,
};
use serde_json::{Value, json};

/// What `daypass notices` shows, once it shows this.
fn told(machine: &Machine, words: &str) -> Result<Ran, Failure> {
    eventually(&format!("a notice with `{words}`"), || {
        let shown = machine.daypass(["notices"]).run()?.succeeded()?;
        Ok(shown.text().contains(words).then_some(shown))
    })
}

fn grant_of(world: &World, collaborator: &str) -> Result<String, Failure> {
    let listed = world.issuer.run(["grant", "list", "--collaborator", collaborator, "--json"])?;
    let grant = listed.json()?.pointer("/0/grant").and_then(Value::as_str).map(str::to_owned);
    grant.ok_or_else(|| listed.surprise("a grant"))
}

#[test]
fn what_was_decided_is_new_once_and_kept_as_read() -> Story {
    let world = World::start()?;
    let mut laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let bobs = Machine::start(&world, "bobs", Who::Bob)?;
    laptop.join(&world, "alice", "developer")?;
    bobs.join(&world, "bob", "reader")?;
    told(&laptop, "this machine was approved")?;
    eventually("the grant, now or before", || {
        let all = laptop.daypass(["notices", "--all"]).run()?.succeeded()?.text();
        Ok(all.contains("(apollo as developer) is active until").then_some(()))
    })?;
    laptop.daypass(["notices"]).run()?.succeeded()?.says(&["nothing new"])?;

    let asked = laptop.daypass(["extend", "--for", "30d", "--reason", "not done", "--json"]).run()?.succeeded()?;
    let request = asked.json()?["request"].as_str().unwrap_or_default().to_owned();
    world.issuer.act(["request", "refuse", &request]).args(on_behalf_of(OWNER)).run()?.succeeded()?;
    told(&laptop, &format!("request {request} was refused: said so on the phone"))?;
    let grant = grant_of(&world, "alice")?;
    world.issuer.run(["grant", "suspend", &grant, "--reason", "under suspicion"])?;
    eventually("a status that says that there is something new", || {
        let status = laptop.daypass(["status", "--refresh"]).run()?.succeeded()?;
        Ok(status.text().contains("notices      1 new: `daypass notices` shows them").then_some(()))
    })?;
    laptop.stop_agent()?;
    laptop.start_agent()?;
    told(&laptop, &format!("grant {grant} (apollo as developer) was suspended"))?
        .says_nothing_of(&["suspicion", OWNER])?;
    laptop.daypass(["notices"]).run()?.succeeded()?.says(&["nothing new"])?;
    let all = laptop.daypass(["notices", "--json"]).run()?.succeeded()?.json()?;
    let kept = all.pointer("/issuers/0/notices").and_then(Value::as_array).cloned().unwrap_or_default();
    ensure(kept.len() >= 4 && kept.iter().all(|notice| notice["read"] == json!(true)), "all of it, read", &all)?;
    let others = bobs.daypass(["notices", "--all"]).run()?.succeeded()?;
    others.says_nothing_of(&["refused", "suspended", &grant, "alice"])?;
    Ok(())
}

/// Enrols and approves one more machine of somebody who has one.
fn joins_too(world: &World, machine: &Machine, collaborator: &str) -> Result<String, Failure> {
    machine.enrol(&world.issuer.invite(collaborator, PROJECT, "developer", &[])?)?;
    let pending = world.issuer.run(["device", "list", "--state", "pending", "--json"])?;
    let device = pending.json()?.pointer("/0/device").and_then(Value::as_str).map(str::to_owned);
    let device = device.ok_or_else(|| pending.surprise("a device that waits"))?;
    world.issuer.run([&["device", "approve", &device, "--yes"][..], &on_behalf_of(OWNER)].concat())?;
    Ok(device)
}

#[test]
fn a_lost_laptop_is_reported_from_another_machine_of_its_user() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let desk = Machine::start(&world, "desk", Who::Alice)?;
    let bobs = Machine::start(&world, "bobs", Who::Bob)?;
    let lost = laptop.join(&world, "alice", "developer")?;
    let here = joins_too(&world, &desk, "alice")?;
    desk.daypass(["setup", "git", "--yes"]).run()?.succeeded()?;
    bobs.join(&world, "bob", "reader")?;
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    desk.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    let listed = desk.daypass(["device", "list"]).run()?.succeeded()?;
    listed.says(&[&lost, &here, "this machine", "apollo as developer, active until"])?;

    let report = |machine: &Machine, device: &str, more: &[&str]| {
        machine.daypass(["device", "lost", device, "--reason", "left on the train"]).args(more).run()
    };
    report(&desk, &here, &["--yes"])?.refused(&["is this machine", "daypass leave"])?.code(3)?;
    report(&bobs, &lost, &["--yes"])?.refused(&["you have no device"])?.code(3)?;
    // Whoever asks the agent past its own command is told no more by the issuer.
    let body = json!({"issuer": world.issuer.url(), "lost": {"device": lost, "reason": "mine now"}}).to_string();
    let asked = Request::local(bobs.person.who(), &bobs.socket(), "/v1/devices/lost")?.body(body).send()?;
    asked.status(403)?.says(&["there is no device", "of yours"])?;
    report(&desk, &lost, &[])?.refused(&["asks first"])?.code(2)?.says(&["this ends, for good", &lost])?;
    laptop.person.git("app", ["fetch"]).run()?.succeeded()?;

    report(&desk, &lost, &["--yes"])?.succeeded()?.says(&["ended", "revoked", "apollo as developer, revoked until"])?;
    // Gates hear of it within seconds.
    eventually("a fetch that is refused", || {
        Ok(laptop.person.git("app", ["fetch"]).run()?.refused(&["daypass: "]).is_ok().then_some(()))
    })?;
    laptop.daypass(["token", &world.gate.resource(), "--min-ttl", "299"]).run()?.refused(&["is revoked"])?.code(7)?;
    report(&desk, &lost, &["--yes"])?.refused(&["you have no device"])?;
    desk.person.git("app", ["fetch"]).run()?.succeeded()?;
    eventually("the event, with the device that reported it", || {
        let events = world.issuer.run(["ledger", "list", "--kind", "device_revoked", "--json"])?.text();
        Ok((events.contains(&here) && events.contains("reported_lost")).then_some(()))
    })
}

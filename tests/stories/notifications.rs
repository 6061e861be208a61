//! Whoever something waits for is told, and nobody polls: also when the issuer is killed in between.

use std::fs;

use daypass_tests::{Delivery, Failure, Issuer, Machine, PROJECT, Receiver, Story, Who, World, ensure, eventually};
use serde_json::{Value, json};

/// A world whose issuer tells a script, which does what `script` says in the folder of the issuer.
fn world(script: &str) -> Result<World, Failure> {
    World::build(false, |issuer, _| {
        let hook = issuer.put("hook", format!("#!/bin/sh\ncd {}\n{script}\n", issuer.folder().display()))?;
        executable(&hook)?;
        let section = format!("[notification]\nattempts = 2\n[notification.command]\nrun = [\"{}\"]\n", hook.display());
        issuer.configure("# [notification]\n", &section)
    })
}

fn executable(path: &std::path::Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(Failure::machine("make a script executable"))
}

/// What the script wrote down of messages of this type.
fn got(issuer: &Issuer, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(issuer.folder().join("got")).unwrap_or_default();
    let all = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    all.filter(|message: &Value| message["type"] == kind).collect()
}

fn one(issuer: &Issuer, kind: &str) -> Result<Value, Failure> {
    eventually(&format!("a message of type {kind}"), || {
        let mut all = got(issuer, kind);
        Ok((all.len() == 1).then(|| all.remove(0)))
    })
}

#[test]
fn an_owner_is_told_of_a_device_and_of_its_end_and_a_kill_loses_nothing() -> Story {
    let mut world = world("cat >> got; echo >> got")?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let code = world.issuer.invite("alice", PROJECT, "developer", &[])?;
    laptop.enrol(&code)?;
    let pending = one(&world.issuer, "device.pending")?;
    let device = world.issuer.device_of("alice")?;
    let data = &pending["data"];
    ensure(data["device"] == json!(device) && data["collaborator"] == "alice", "the device that waits", &pending)?;
    ensure(data["owners"].as_array().is_some_and(|owners| !owners.is_empty()), "who is to act", &pending)?;
    let shown = world.issuer.run(["ledger", "show", &data["event"].to_string(), "--json"])?.text();
    ensure(shown.contains("device_enrolled"), "the event that it tells of", &shown)?;

    // Decided while nobody serves, and told by whoever serves next.
    world.issuer.kill();
    world.issuer.approve("alice")?;
    world.issuer.serve()?;
    ensure(one(&world.issuer, "device.approved")?["data"]["device"] == json!(device), "the approval", &device)?;
    world.issuer.run(["offboard", "alice", "--reason", "contract over", "--yes"])?;
    let ended = one(&world.issuer, "everything.ended")?;
    let how = &ended["data"]["how"];
    ensure(how == "collaborator_offboarded" && !ended.to_string().contains("contract"), "the end alone", &ended)?;
    ensure(got(&world.issuer, "device.pending").len() == 1, "nothing twice", &ended)?;
    let left = world.issuer.run(["notification", "list", "--json"])?.json()?;
    ensure(left == json!([]), "nothing that waits", &left)
}

#[test]
fn what_is_not_taken_waits_and_a_person_looks_at_it() -> Story {
    let world = world("test -e open || { echo no mail today >&2; exit 1; }; cat >> got; echo >> got")?;
    world.issuer.act(["notification", "test"]).run()?.code(1)?.says(&["command", "no mail today"])?;
    let _laptop = Machine::start(&world, "laptop", Who::Alice)?.join(&world, "alice", "developer")?;
    // The second attempt is the last, ten seconds later at most.
    let dead = eventually("messages that are not tried any more", || {
        let dead = world.issuer.run(["notification", "list", "--dead", "--json"])?.json()?;
        Ok(dead.as_array().is_some_and(|all| all.len() >= 2).then_some(dead))
    })?;
    ensure(dead[0]["attempts"] == 2 && dead[0]["type"] == "device.pending", "its attempts", &dead)?;
    world.issuer.act(["check"]).run()?.code(4)?.says(&["notification(s) were not taken by the command"])?;
    world.issuer.put("open", "")?;
    world.issuer.run(["notification", "test"])?.says(&["took"])?;
    world.issuer.run(["notification", "retry", "--all"])?;
    one(&world.issuer, "device.pending")?;
    world.issuer.act(["notification", "drop", "msg_none"]).run()?.code(3)?.says(&["msg_none"])?;
    Ok(())
}

#[test]
fn a_webhook_gets_signed_messages_again_after_a_fault_and_what_is_dead_when_a_person_says_so() -> Story {
    let receiver = Receiver::start()?;
    let world = World::build(false, |issuer, _| {
        issuer.put("webhook.secret", format!("{}\n", receiver.secret()))?;
        issuer.put("hooks-ca.pem", &receiver.ca)?;
        let section = format!(
            "[notification]\nattempts = 2\n[notification.webhook]\nurl = \"{}\"\nsecret = \"webhook.secret\"\nca = \"hooks-ca.pem\"\n",
            receiver.url
        );
        issuer.configure("# [notification]\n", &section)
    })?;
    let came = |kind: &str, status: u16| {
        eventually(&format!("`{kind}` answered with {status}"), || {
            Ok(receiver.got(kind).into_iter().find(|delivery| delivery.answered == status))
        })
    };
    receiver.answers(500);
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.enrol(&world.issuer.invite("alice", PROJECT, "developer", &[])?)?;
    let first = came("device.pending", 500)?;
    // Until it is tried again, it is listed with what was answered.
    let waits = world.issuer.run(["notification", "list", "--json"])?.json()?;
    let error = waits[0]["error"].as_str().unwrap_or_default();
    ensure(waits[0]["dead"] == false && error.contains("500"), "one that waits, and why", &waits)?;
    receiver.answers(204);
    let second = came("device.pending", 204)?;
    ensure(second.id == first.id && second.body == first.body, "the same message", &second.body)?;
    ensure((daypass_tests::now() - second.timestamp).abs() < 60, "the time of the attempt", second.timestamp)?;
    for delivery in [&first, &second] {
        receiver.verify(delivery)?;
    }
    let forged = Delivery { body: second.body.replace("alice", "mallory"), ..second };
    ensure(receiver.verify(&forged).is_err(), "no good signature of what was changed", &forged.body)?;

    receiver.answers(503);
    world.issuer.approve("alice")?;
    let dead = eventually("a message that is not tried any more", || {
        let dead = world.issuer.run(["notification", "list", "--dead", "--json"])?.json()?;
        Ok((dead[0]["type"] == "device.approved").then_some(dead))
    })?;
    let error = dead[0]["error"].as_str().unwrap_or_default();
    ensure(dead[0]["attempts"] == 2 && error.contains("503"), "two attempts, and why", &dead)?;
    world.issuer.act(["check"]).run()?.code(4)?.says(&["notification(s) were not taken by the webhook"])?;
    receiver.answers(200);
    let message = dead[0]["message"].as_str().unwrap_or_default();
    world.issuer.run(["notification", "retry", message])?.says(&["1 notification(s) tried again"])?;
    let taken = came("device.approved", 200)?;
    receiver.verify(&taken)?;
    ensure(taken.id == message, "the message that was dead", &taken.id)?;
    // However much a person loses by one decision, it is one message.
    for role in ["developer", "reader"] {
        world.issuer.invite("alice", PROJECT, role, &[])?;
    }
    world.issuer.run(["offboard", "alice", "--reason", "contract over", "--yes"])?;
    let ended = came("everything.ended", 200)?;
    receiver.verify(&ended)?;
    let data = serde_json::from_str::<Value>(&ended.body).unwrap_or_default()["data"].take();
    let counts = ["grants", "devices", "invitations", "people"].map(|name| data[name].as_u64());
    ensure(counts == [Some(3), Some(1), Some(2), Some(1)], "how much ended", &data)?;
    ensure(data["collaborator"] == "alice" && !ended.body.contains("contract"), "whose, and not why", &data)?;
    // Decided later, and told later: nothing of the former is behind it.
    let guest = world.issuer.invite("bob", PROJECT, "reader", &[]).and_then(|_| {
        world.issuer.act(["grant", "list", "--collaborator", "bob", "--json"]).run()?.succeeded()?.json()
    })?;
    let grant = guest[0]["grant"].as_str().unwrap_or_default();
    world.issuer.run(["grant", "revoke", grant, "--reason", "a mistake", "--yes"])?;
    let single = came("grant.ended", 200)?;
    ensure(
        single.body.contains(grant) && receiver.got("grant.ended").len() == 1,
        "the one that ended by itself",
        &single.body,
    )?;
    let others = (receiver.got("device.ended").len(), receiver.got("everything.ended").len());
    ensure(others == (0, 1), "one message of one decision", format!("{others:?}"))?;
    let left = eventually("an empty list", || {
        let left = world.issuer.run(["notification", "list", "--json"])?.json()?;
        Ok((left == json!([])).then_some(left))
    })?;
    ensure(receiver.got("device.pending").len() == 2, "nothing once more", &left)
}

//! Enrolment: who may, who may not, and what each is told.

use std::time::Duration;

use daypass_tests::{
    Failure, Issuer, Machine, Maker, OWNER, PROJECT, Place, Programs, Story, Who, World, ensure, on_behalf_of,
};

fn machine(world: &World) -> Result<Machine, Failure> {
    Machine::start(world, "laptop", Who::Alice)
}

#[test]
fn each_bad_invitation_has_its_own_error() -> Story {
    let world = World::with_clock()?;
    let laptop = machine(&world)?;
    let enroll = |code: &str| laptop.daypass(["enroll", code]).run();
    let code = world.issuer.invite("alice", PROJECT, "developer", &[])?;

    let truncated = code.get(..code.len() - 7).unwrap_or_default();
    let mut told = vec![enroll(truncated)?.refused(&[])?.code(5)?.complaints()];
    told.push(enroll("hello")?.refused(&[])?.code(5)?.complaints());
    // A code for a gate is none for a machine.
    let answer = world.issuer.run(["gate", "add", "second", "--resource", "https://second.example.com/", "--json"])?;
    let gate = answer.json()?.get("code").and_then(|code| code.as_str()).unwrap_or_default().to_owned();
    told.push(enroll(&gate)?.refused(&[])?.code(5)?.complaints());
    // Expired.
    let short = world.issuer.invite("carol", PROJECT, "developer", &["--code-expires", "10m"])?;
    world.advance(Duration::from_secs(660))?;
    told.push(enroll(&short)?.refused(&["expired"])?.code(5)?.complaints());
    // The same code works for the first machine, again for the same machine, and for no other.
    enroll(&code)?.succeeded()?;
    enroll(&code)?.succeeded()?;
    let other = Machine::start(&world, "other", Who::Bob)?;
    told.push(other.daypass(["enroll", &code]).run()?.refused(&[])?.code(5)?.complaints());
    let count = told.len();
    told.sort();
    told.dedup();
    ensure(told.len() == count, "another message for each", told.join("\n"))
}

#[test]
fn a_server_that_is_not_the_invitations_issuer_is_not_spoken_to() -> Story {
    let world = World::start()?;
    let laptop = machine(&world)?;
    // Another issuer takes the place of the one that made the code.
    let mut impostor = Issuer::init(&world.place, "impostor", &world.programs, None, &[&world.maker])?;
    impostor.serve()?;
    let code = world.issuer.invite("alice", PROJECT, "developer", &[])?;
    let forged = readdressed(&code, &impostor.url())?;
    laptop.daypass(["enroll", &forged]).run()?.refused(&[])?.code(5)?;
    ensure(impostor.devices()?.is_empty(), "no device at the impostor", "one")?;
    laptop.daypass(["enroll", &code]).run()?.succeeded()?;
    Ok(())
}

/// The same pin and secret at another address, with a good checksum.
fn readdressed(code: &str, url: &str) -> Result<String, Failure> {
    use daypass_proto::encoding::{base64url, from_base64url, sha256};
    let bytes = code.strip_prefix("dpinv1_").and_then(from_base64url).unwrap_or_default();
    let Some(head) = bytes.get(..48) else { return Err(Failure::unexpected("a code", code)) };
    let mut forged = head.to_vec();
    forged.extend_from_slice(url.as_bytes());
    let checksum = sha256(&[b"dpinv1_", &forged]);
    forged.extend_from_slice(checksum.get(..4).unwrap_or_default());
    Ok(format!("dpinv1_{}", base64url(&forged)))
}

#[test]
fn a_tpm_of_an_unknown_maker_is_refused_unless_it_was_named() -> Story {
    let world = World::start()?;
    let unknown = Maker::new(&world.place, "unknown")?;
    let mut laptop = Machine::new(&world.place, "laptop", Who::Alice, &unknown, None)?;
    laptop.chip.start()?;
    laptop.start_agent()?;
    let code = world.issuer.invite("alice", PROJECT, "developer", &[])?;
    laptop.daypass(["enroll", &code]).run()?.refused(&[])?.code(5)?;
    ensure(world.issuer.devices()?.is_empty(), "no device", "one")
}

#[test]
fn a_machine_whose_ek_hash_was_in_the_invitation_is_approved_by_it_and_its_grant_by_the_owner() -> Story {
    let world = World::start()?;
    let laptop = machine(&world)?;
    let code = world.issuer.invite("alice", PROJECT, "developer", &[])?;
    laptop.enrol(&code)?;
    let device = world.issuer.device_of("alice")?;
    let shown = world.issuer.run(["device", "show", &device, "--json"])?.json()?;
    let hash = shown.get("ek_hash").and_then(|hash| hash.as_str()).unwrap_or_default().to_owned();
    laptop.daypass(["leave", "--yes"]).run()?.succeeded()?;

    // Another machine cannot use such a code.
    let bound = world.issuer.invite("carol", PROJECT, "developer", &["--ek-hash", &hash])?;
    let grants = world.issuer.run(["grant", "list", "--collaborator", "carol", "--json"])?.json()?;
    let grant = grants.pointer("/0/grant").and_then(|grant| grant.as_str()).unwrap_or_default().to_owned();
    world
        .issuer
        .run([&["grant", "approve", &grant][..], &on_behalf_of(OWNER)].concat())?
        .says(&["waits for its device"])?;
    let other = Machine::start(&world, "other", Who::Bob)?;
    other.daypass(["enroll", &bound]).run()?.refused(&[])?.code(5)?;
    laptop.enrol(&bound)?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?;
    Ok(())
}

#[test]
fn wait_waits_for_the_approval() -> Story {
    let world = World::start()?;
    let laptop = machine(&world)?;
    let code = world.issuer.invite("alice", PROJECT, "developer", &[])?;
    let waiting = laptop.daypass(["enroll", "--wait", &code]).start();
    daypass_tests::eventually("the device at the issuer", || Ok(world.issuer.device_of("alice").ok()))?;
    world.issuer.approve("alice")?;
    waiting.finish()?.succeeded()?.says(&["approved"])?;
    Ok(())
}

#[test]
fn enrolment_can_be_run_again_after_either_side_was_killed() -> Story {
    let mut world = World::start()?;
    let mut laptop = machine(&world)?;
    let code = world.issuer.invite("alice", PROJECT, "developer", &[])?;
    world.issuer.kill();
    laptop.daypass(["enroll", &code]).run()?.refused(&[])?.code(10)?;
    world.issuer.serve()?;
    // Killed at once, and a little later each time: before, between and after the steps.
    for step in 0..6_u64 {
        let running = laptop.daypass(["enroll", &code]).start();
        daypass_tests::a_moment(Duration::from_millis(40 * step));
        if step % 2 == 0 {
            laptop.kill_agent();
            running.finish()?;
            laptop.start_agent()?;
        } else {
            world.issuer.kill();
            running.finish()?;
            world.issuer.serve()?;
        }
    }
    laptop.enrol(&code)?;
    world.issuer.approve("alice")?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?;
    Ok(())
}

#[test]
fn without_a_tpm_the_cause_is_named() -> Story {
    let place = Place::new()?;
    let maker = Maker::new(&place, "maker")?;
    let mut laptop = Machine::new(&place, "laptop", Who::Alice, &maker, None)?;
    laptop.configure("device:/nonexistent/tpmrm0")?;
    laptop.start_agent()?;
    let mut issuer = Issuer::init(&place, "issuer", &Programs::find()?, None, &[])?;
    issuer.serve()?;
    laptop.daypass(["doctor"]).run()?.refused(&["TPM"])?;
    let status = laptop.daypass(["status", "--json"]).run()?;
    ensure(status.text().contains("tpm_missing") || status.text().contains("tpm_"), "the TPM as the cause", &status)
}

#[test]
fn leaving_tells_the_issuer_and_erases_the_keys() -> Story {
    let world = World::start()?;
    let laptop = machine(&world)?;
    let device = laptop.join(&world, "alice", "developer")?;
    laptop.daypass(["leave", "--yes"]).run()?.succeeded()?;
    let shown = world.issuer.run(["device", "show", &device])?;
    shown.says(&["revoked"])?;
    let keys = laptop.state_files()?;
    ensure(
        !keys.iter().any(|(path, _)| path.extension().is_some_and(|kind| kind == "tss" || kind == "pem")),
        "no key files",
        format!("{:?}", keys.iter().map(|(path, _)| path).collect::<Vec<_>>()),
    )?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.refused(&[])?.code(4)?;
    // The storage root key is everybody's, and stays.
    laptop.chip.tool("tpm2_getcap")?.arg("handles-persistent").run()?.succeeded()?.says(&["0x81000001"])?;
    Ok(())
}

#[test]
fn certificates_are_renewed_ahead_of_their_end() -> Story {
    let world = World::with_clock()?;
    let mut laptop = machine(&world)?;
    laptop.join(&world, "alice", "developer")?;
    let end = || -> Result<i64, Failure> {
        let status = laptop.daypass(["status", "--json"]).run()?.succeeded()?.json()?;
        Ok(status.pointer("/enrolments/0/certificate_not_after").and_then(|end| end.as_i64()).unwrap_or_default())
    };
    let first = end()?;
    // Five of its seven days.
    world.advance(Duration::from_secs(5 * 24 * 3600))?;
    laptop.stop_agent()?;
    laptop.start_agent()?;
    let end = || -> Result<i64, Failure> {
        let status = laptop.daypass(["status", "--json"]).run()?.succeeded()?.json()?;
        Ok(status.pointer("/enrolments/0/certificate_not_after").and_then(|end| end.as_i64()).unwrap_or_default())
    };
    daypass_tests::eventually("a later end", || Ok((end()? > first).then_some(())))?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?;
    Ok(())
}

/// The comparison code on a machine.
fn shown_code(laptop: &Machine) -> Result<String, Failure> {
    let status = laptop.daypass(["status", "--json"]).run()?.succeeded()?;
    let code =
        status.json()?.pointer("/enrolments/0/comparison_code").and_then(|code| code.as_str().map(str::to_owned));
    code.ok_or_else(|| status.surprise("a comparison code"))
}

#[test]
fn enrolling_again_keeps_the_code_that_somebody_may_be_comparing() -> Story {
    let world = World::start()?;
    let mut laptop = machine(&world)?;
    let code = world.issuer.invite("alice", PROJECT, "developer", &[])?;
    laptop.enrol(&code)?.says(&["daypass enroll --wait"])?;
    let first = shown_code(&laptop)?;
    laptop.enrol(&code)?.says(&[&first])?;
    ensure(shown_code(&laptop)? == first, "the same code", first.as_str())?;

    // The agent lost power after the issuer had recorded the completion, and before it had itself.
    laptop.kill_agent();
    for (path, content) in laptop.state_files()? {
        if path.ends_with("enrolment.json") {
            let mut record: serde_json::Value =
                serde_json::from_slice(&content).map_err(|error| Failure::unexpected("a record", error))?;
            record["completed"] = serde_json::Value::Null;
            std::fs::write(&path, record.to_string()).map_err(Failure::machine("write the record"))?;
        }
    }
    laptop.start_agent()?;
    laptop.daypass(["status"]).run()?.succeeded()?.says(&["interrupted"])?;
    laptop.enrol(&code)?;
    let second = shown_code(&laptop)?;

    // What this machine shows now is what the issuer compares with.
    let device = world.issuer.device_of("alice")?;
    world.issuer.run(["device", "show", &device])?.says(&[&second])?;
    let waiting = laptop.daypass(["enroll", "--wait"]).start();
    world.issuer.run([&["device", "approve", &device, "--code", &second][..], &on_behalf_of(OWNER)].concat())?;
    waiting.finish()?.succeeded()?.says(&["approved"])?;
    // Enrolled and approved: the same invitation once more changes nothing.
    laptop.enrol(&code)?.says(&["approved"])?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?;
    // And it tells what has become of the device since.
    world.issuer.run(["device", "suspend", &device])?;
    laptop.daypass(["enroll", &code]).run()?.refused(&["suspended"])?.code(7)?;
    Ok(())
}

#[test]
fn an_invitation_that_is_refused_for_good_leaves_nothing_behind() -> Story {
    let world = World::with_clock()?;
    let laptop = machine(&world)?;
    let nothing = |machine: &Machine| {
        let files = machine.state_files()?;
        let paths: Vec<_> = files.iter().map(|(path, _)| path).collect();
        ensure(files.is_empty(), "an empty state folder", format!("{paths:?}"))?;
        machine.daypass(["status"]).run()?.succeeded()?.says(&["enrolments none"]).map(drop)
    };
    let good = world.issuer.invite("alice", PROJECT, "developer", &[])?;
    let short = world.issuer.invite("carol", PROJECT, "developer", &["--code-expires", "10m"])?;
    world.advance(Duration::from_secs(660))?;
    laptop.daypass(["enroll", &short]).run()?.refused(&["expired"])?.code(5)?;
    nothing(&laptop)?;
    laptop.enrol(&good)?;
    let other = Machine::start(&world, "other", Who::Bob)?;
    other.daypass(["enroll", &good]).run()?.refused(&[])?.code(5)?;
    nothing(&other)?;
    // The first machine's is as it was.
    laptop.enrol(&good)?.says(&["waits for"])?;
    Ok(())
}

#[test]
fn who_is_not_reached_is_not_said_to_have_been_told() -> Story {
    let world = World::start()?;
    let laptop = machine(&world)?;
    let nowhere = readdressed(&world.issuer.invite("alice", PROJECT, "developer", &[])?, "https://nohost.invalid")?;
    laptop
        .daypass(["enroll", &nowhere])
        .run()?
        .refused(&["could not reach the issuer", "next step: check the network"])?
        .code(10)?
        .says_nothing_of(&["live tokens"])?;
    let left = laptop.daypass(["leave", "--yes"]).run()?.succeeded()?;
    left.says(&["the issuer was not told"])?.says_nothing_of(&["has ended this device's access"])?;
    laptop.daypass(["enroll", "--wait"]).run()?.refused(&["no enrolment waits"])?.code(4)?;
    Ok(())
}

#[test]
fn of_two_machines_that_use_one_code_at_once_one_enrols_and_the_other_is_told() -> Story {
    let world = World::start()?;
    let machines = [Machine::start(&world, "laptop", Who::Alice)?, Machine::start(&world, "desk", Who::Bob)?];
    for round in 0..3 {
        let code = world.issuer.invite(&format!("dave{round}"), PROJECT, "reader", &[])?;
        let both = machines.each_ref().map(|machine| machine.daypass(["enroll", &code, "--json"]).start());
        let mut enrolled = Vec::new();
        for (machine, started) in machines.iter().zip(both) {
            let ran = started.finish()?;
            match ran.code {
                Some(0) => enrolled.push(machine),
                _ => drop(ran.code(5)?.says(&["used", "next_step"])?),
            }
        }
        let [machine] = enrolled.as_slice() else {
            return Err(Failure::unexpected("one machine that enrolled", enrolled.len()));
        };
        let devices = world.issuer.devices()?;
        let of_code = devices.iter().filter(|device| device["collaborator"] == format!("dave{round}")).count();
        ensure(of_code == 1, "one device", of_code)?;
        machine.daypass(["leave", "--yes"]).run()?.succeeded()?;
    }
    Ok(())
}

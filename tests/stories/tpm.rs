//! A TPM with faults: what the agent says, what it still hands out, and that it goes on when the fault is over.

use daypass_tests::{
    Failure, Fault, FaultyTpm, Machine, PROJECT, REPOSITORY, Ran, Relay, Request, Story, Who, World, ensure,
    eventually, tpm_command as command, tpm_response as response,
};

/// Words for faults of the network, which none of these is.
const NETWORK: [&str; 3] = ["could not reach", "network", "issuer_unreachable"];
const MEANWHILE: &str = "live tokens are handed out; new tokens, and proofs by the TPM, wait for it";

/// A machine with a fault-injecting proxy between its agent and its TPM.
fn machine(world: &World) -> Result<(Machine, FaultyTpm), Failure> {
    let mut laptop = Machine::new(&world.place, "laptop", Who::Alice, &world.maker, world.clock.as_ref())?;
    laptop.chip.start()?;
    let proxy = FaultyTpm::before(&laptop.chip)?;
    laptop.configure(&proxy.tcti())?;
    laptop.start_agent()?;
    Ok((laptop, proxy))
}

fn joined(world: &World) -> Result<(Machine, FaultyTpm), Failure> {
    let (laptop, proxy) = machine(world)?;
    laptop.join(world, "alice", "developer")?;
    Ok((laptop, proxy))
}

fn token(world: &World, laptop: &Machine) -> Result<Ran, Failure> {
    laptop.daypass(["token", &world.gate.resource()]).run()
}

fn proof(world: &World, laptop: &Machine) -> Result<Ran, Failure> {
    laptop.daypass(["proof", "GET", &world.gate.url(REPOSITORY)]).run()
}

/// A program of tpm2-tools on the machine, beside the agent.
fn tool(laptop: &Machine, proxy: &FaultyTpm, line: &str) -> Story {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    let act = laptop.chip.tool(name)?.args(words).env("TPM2TOOLS_TCTI", proxy.tcti()).within(laptop.state());
    act.run()?.succeeded().map(drop)
}

/// With a live token in the agent's hands and a fault in the TPM.
fn is_told_and_lived_with(world: &World, laptop: &Machine, words: &[&str]) -> Story {
    token(world, laptop)?.succeeded()?;
    laptop
        .daypass(["status"])
        .run()?
        .succeeded()?
        .says(words)?
        .says(&["next step", MEANWHILE])?
        .says_nothing_of(&NETWORK)?;
    laptop.daypass(["doctor"]).run()?.refused(words)?.code(11)?.says(&["next step"])?.says_nothing_of(&NETWORK)?;
    proof(world, laptop)?.refused(words)?.code(11)?.says(&["next step"])?.says_nothing_of(&NETWORK)?;
    token(world, laptop)?.succeeded()?;
    Ok(())
}

fn is_over(world: &World, laptop: &Machine) -> Story {
    proof(world, laptop)?.succeeded()?;
    laptop.daypass(["status"]).run()?.succeeded()?.says_nothing_of(&["cannot be used", "problem", MEANWHILE])?;
    Ok(())
}

/// A way to bring a fault about, and the words for it.
type Case<'a> = (&'a dyn Fn(), &'a [&'a str]);

fn each_is_told_and_lived_with(world: &World, laptop: &Machine, proxy: &FaultyTpm, cases: &[Case<'_>]) -> Story {
    for (fault, words) in cases {
        // Fresh, so that it outlives the case on any machine.
        laptop.daypass(["token", "--min-ttl", "240", &world.gate.resource()]).run()?.succeeded()?;
        fault();
        is_told_and_lived_with(world, laptop, words)?;
        proxy.lift();
        is_over(world, laptop)?;
    }
    Ok(())
}

#[test]
fn live_tokens_are_served_while_the_tpm_puts_off_or_refuses() -> Story {
    let world = World::start()?;
    let (laptop, proxy) = joined(&world)?;
    let sign = |code| proxy.fail(command::SIGN, Fault::Code(code));
    let cases: [Case<'_>; 7] = [
        (&|| sign(response::RETRY), &["puts it off to sign", "not able to start"]),
        (&|| sign(response::YIELDED), &["puts it off to sign", "suspended operation"]),
        (&|| proxy.fail_all(Fault::Code(response::TESTING)), &["puts it off", "self-tests"]),
        (&|| sign(response::NV_RATE), &["puts it off to sign", "wearout"]),
        (&|| sign(response::LOCKOUT), &["refuses to sign", "lockout"]),
        (&|| sign(response::OBJECT_MEMORY), &["no room to sign", "other programs"]),
        (&|| proxy.fail_all(Fault::Code(response::FAILURE)), &["failure mode"]),
    ];
    each_is_told_and_lived_with(&world, &laptop, &proxy, &cases)
}

#[test]
fn live_tokens_are_served_while_the_tpm_is_lost_or_stalls() -> Story {
    let world = World::start()?;
    let (mut laptop, proxy) = joined(&world)?;
    let cases: [Case<'_>; 4] = [
        (&|| proxy.fail_all(Fault::Cut), &["lost the TPM"]),
        (&|| proxy.fail_all(Fault::Truncate), &["lost the TPM"]),
        (&|| proxy.fail_all(Fault::Oversize), &["lost the TPM"]),
        (&|| proxy.fail_all(Fault::Stall), &["did not answer within"]),
    ];
    each_is_told_and_lived_with(&world, &laptop, &proxy, &cases)?;
    laptop.chip.kill();
    is_told_and_lived_with(&world, &laptop, &["TPM", &proxy.tcti()])?;
    laptop.chip.start()?;
    is_over(&world, &laptop)
}

#[test]
fn proofs_by_a_delegated_key_go_on_without_the_tpm() -> Story {
    let world = World::build(false, |issuer, gate| {
        let role = format!(
            "[roles.robot]\ntoken_lifetime = \"5m\"\nlongest_grant = \"90d\"\nprotection = \"delegated\"\n\
             [[roles.robot.authorization_details]]\ntype = \"git_repository\"\nlocations = [\"{}\"]\nactions = [\"read\"]\n",
            gate.url(REPOSITORY)
        );
        issuer.write_project(PROJECT, &format!("owners = [\"olga@example.com\"]\n{role}"))
    })?;
    let (laptop, proxy) = machine(&world)?;
    laptop.join(&world, "alice", "robot")?;
    proof(&world, &laptop)?.succeeded()?;
    proxy.fail_all(Fault::Code(response::FAILURE));
    proof(&world, &laptop)?.succeeded()?;
    laptop.daypass(["status"]).run()?.succeeded()?.says(&["failure mode", MEANWHILE])?;
    Ok(())
}

#[test]
fn a_handshake_that_the_tpm_does_not_sign_is_no_network_error() -> Story {
    let world = World::start()?;
    let (mut laptop, proxy) = joined(&world)?;
    // Without a connection to the issuer that could be used again.
    laptop.stop_agent()?;
    laptop.start_agent()?;
    proxy.fail(command::SIGN, Fault::Code(response::FAILURE));
    let words = &["failure mode", "next step"];
    laptop.daypass(["status", "--refresh"]).run()?.says(words)?.says_nothing_of(&NETWORK)?;
    token(&world, &laptop)?.refused(words)?.code(11)?.says_nothing_of(&NETWORK)?;
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.refused(&["failure mode"])?;
    proxy.lift();
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    is_over(&world, &laptop)
}

#[test]
fn a_device_that_the_agent_may_not_open_is_no_network_error() -> Story {
    let world = World::start()?;
    let (mut laptop, proxy) = joined(&world)?;
    laptop.stop_agent()?;
    // Nobody but root makes a device, so a folder that nobody enters stands before its place: the kernel says the same.
    let folder = laptop.folder().join("closed");
    std::fs::create_dir(&folder).map_err(Failure::machine("make a folder around the device"))?;
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&folder, closed).map_err(Failure::machine("close it to everybody"))?;
    let device = folder.join("tpmrm0");
    laptop.configure(&format!("device:{}", device.display()))?;
    laptop.start_agent()?;
    let words: &[&str] = &["may not use the TPM", &device.display().to_string(), "group `tss`"];
    laptop.daypass(["status"]).run()?.succeeded()?.says(words)?.says_nothing_of(&NETWORK)?;
    laptop.daypass(["status", "--refresh"]).run()?.says(words)?.says_nothing_of(&NETWORK)?;
    laptop.daypass(["doctor"]).run()?.refused(words)?.code(11)?.says_nothing_of(&NETWORK)?;
    token(&world, &laptop)?.refused(words)?.code(11)?.says_nothing_of(&NETWORK)?;
    laptop.stop_agent()?;
    laptop.configure(&proxy.tcti())?;
    laptop.start_agent()?;
    is_over(&world, &laptop)
}

#[test]
fn an_owners_password_is_named_before_enrolment_and_hinders_nothing_after() -> Story {
    let world = World::start()?;
    let (mut laptop, proxy) = machine(&world)?;
    let code = world.issuer.invite("alice", PROJECT, "developer", &[])?;
    tool(&laptop, &proxy, "tpm2_changeauth -c owner secret")?;
    let words = &["the owner hierarchy has a password", "0x81000001", "tpm2_evictcontrol"];
    laptop.daypass(["doctor"]).run()?.refused(words)?;
    laptop.daypass(["enroll", &code]).run()?.refused(words)?.code(11)?;
    tool(&laptop, &proxy, "tpm2_changeauth -c owner -p secret")?;
    laptop.enrol(&code)?;
    world.issuer.approve("alice")?;
    for hierarchy in ["owner", "endorsement", "lockout"] {
        tool(&laptop, &proxy, &format!("tpm2_changeauth -c {hierarchy} secret"))?;
    }
    laptop.stop_agent()?;
    laptop.start_agent()?;
    token(&world, &laptop)?.succeeded()?;
    is_over(&world, &laptop)
}

#[test]
fn a_cleared_tpm_is_named_while_live_tokens_go_on() -> Story {
    let world = World::start()?;
    let (laptop, proxy) = joined(&world)?;
    token(&world, &laptop)?.succeeded()?;
    tool(&laptop, &proxy, "tpm2_clear")?;
    let words = &["cleared after its keys were made"];
    is_told_and_lived_with(&world, &laptop, words)?;
    // The way out that it names.
    laptop.daypass(["leave", "--yes"]).run()?.succeeded()?;
    laptop.enrol(&world.issuer.invite("alice", PROJECT, "developer", &[])?)?;
    laptop.daypass(["status"]).run()?.succeeded()?.says_nothing_of(words)?.says(&["pending"])?;
    Ok(())
}

#[test]
fn a_state_folder_on_another_machine_says_where_it_is_not() -> Story {
    let world = World::start()?;
    let (laptop, _proxy) = joined(&world)?;
    let mut other = Machine::new(&world.place, "other", Who::Alice, &world.maker, None)?;
    other.chip.start()?;
    other.take_state_of(&laptop)?;
    other.start_agent()?;
    let words = &["were made by another TPM", "daypass leave"];
    other.daypass(["status"]).run()?.succeeded()?.says(words)?.says_nothing_of(&NETWORK)?;
    other.daypass(["doctor"]).run()?.refused(words)?.code(11)?.says_nothing_of(&NETWORK)?;
    token(&world, &other)?.refused(words)?.code(11)?.says_nothing_of(&NETWORK)?;
    Ok(())
}

#[test]
fn another_program_that_puts_its_keys_in_place_of_ours_hinders_nobody() -> Story {
    let world = World::start()?;
    let (laptop, proxy) = joined(&world)?;
    proof(&world, &laptop)?.succeeded()?;
    // A bare TPM gives the handles that our keys had to the next who asks; none of those can sign.
    tool(&laptop, &proxy, "tpm2_flushcontext -t")?;
    for _ in 0..3 {
        tool(&laptop, &proxy, "tpm2_createprimary -C n -G ecc -c theirs.ctx")?;
    }
    is_over(&world, &laptop)
}

#[test]
fn connections_are_kept_and_sessions_resumed_so_that_a_request_costs_no_signature() -> Story {
    let mut relay = None;
    let world = World::build(false, |issuer, _| {
        let line = Relay::before(issuer.mtls_address())?;
        issuer.configure(
            &format!("mtls_url = \"{}\"", issuer.mtls_url()),
            &format!("mtls_url = \"https://{}\"", line.address()),
        )?;
        relay = Some(line);
        Ok(())
    })?;
    let Some(relay) = relay else { return Err(Failure::unexpected("a relay", "none")) };
    let (laptop, proxy) = joined(&world)?;
    let signed = || proxy.seen(command::SIGN);
    let refreshed = || -> Result<bool, Failure> {
        let request = Request::local(Who::Alice, &laptop.socket(), "/v1/enrolments/refresh")?;
        let answer = request.header("Content-Type", "application/json").body("{}").send()?.status(200)?.json()?;
        Ok(answer.pointer("/enrolments/0/problem").is_some_and(serde_json::Value::is_null))
    };
    ensure(refreshed()?, "an answer of the issuer's", "none")?;
    let (before, connections) = (signed(), relay.taken());
    for _ in 0..10 {
        ensure(refreshed()?, "an answer of the issuer's", "none")?;
    }
    ensure(signed() == before, "no signature for ten requests", signed() - before)?;
    ensure(relay.taken() == connections, "no new connection for ten requests", relay.taken() - connections)?;

    // A token costs the proof, and nothing beside it.
    for branch in 0..5 {
        let details = format!(
            r#"[{{"type":"git_repository","locations":["{}"],"actions":["push"],"refs":["refs/heads/alice/{branch}"]}}]"#,
            world.repository()
        );
        laptop.daypass(["token", "--details", &details, &world.gate.resource()]).run()?.succeeded()?;
    }
    ensure(signed() == before + 5, "five signatures for five tokens", signed() - before)?;

    // New connections, and the same sessions.
    for _ in 0..3 {
        let connections = relay.taken();
        relay.cut();
        eventually("an answer over a new connection", || {
            Ok((refreshed()? && relay.taken() > connections).then_some(()))
        })?;
    }
    ensure(signed() == before + 5, "no signature for three resumed sessions", signed() - before - 5)?;
    // The control: an issuer that starts anew knows none of them.
    let mut world = world;
    world.issuer.kill();
    world.issuer.serve()?;
    eventually("an answer of the new issuer", || Ok(refreshed()?.then_some(())))?;
    ensure(signed() > before + 5, "a signature for a new session", signed() - before - 5)
}

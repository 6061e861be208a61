//! The main path: invited, enrolled, approved; clone, commit, push. Then what a thief meets.

use std::time::Duration;

use daypass_tests::{
    Failure, Machine, OWNER, PROJECT, Programs, REPOSITORY, Request, SoftwareClient, Story, Who, World, ensure,
    new_key, on_behalf_of,
};

const REFS: &str = "team/app.git/info/refs?service=git-upload-pack";

fn whole_path(laptop: &Machine, world: &World, folder: &str) -> Story {
    laptop.person.clones(&world.clone_url(), folder, &[]).run()?.succeeded()?;
    laptop.person.commits(folder, &format!("{folder}.md"), "found out\n")?;
    let branch = format!("refs/heads/alice/{folder}");
    laptop.person.git(folder, ["push", "origin", &format!("HEAD:{branch}")]).run()?.succeeded()?;
    let refs = world.upstream.refs(REPOSITORY)?;
    ensure(refs.contains(&branch), branch, refs)
}

#[test]
fn an_approved_machine_clones_and_pushes() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let code = world.issuer.invite("alice", PROJECT, "developer", &[])?;
    let enrolled = laptop.enrol(&code)?;
    let device = world.issuer.device_of("alice")?;
    let shown = world.issuer.run(["device", "show", &device, "--json"])?.json()?;
    let comparison = shown.get("comparison_code").and_then(|code| code.as_str()).unwrap_or("?").to_owned();
    enrolled.says(&[&comparison, "olga@example.com"])?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.refused(&["approv"])?.code(6)?;
    world.issuer.act(["device", "approve", &device, "--code", "0000-0000"]).run()?.refused(&["another machine"])?;
    world.issuer.run([&["device", "approve", &device, "--code", &comparison][..], &on_behalf_of(OWNER)].concat())?;
    laptop.daypass(["setup", "git", "--yes"]).run()?.succeeded()?;
    whole_path(&laptop, &world, "app")
}

#[test]
fn with_a_git_that_knows_authtype_and_with_one_that_does_not() -> Story {
    let world = World::start()?;
    let mut laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "developer")?;
    let person = laptop.person.clone();
    for (with, folder) in [(true, "new"), (false, "old")] {
        match Programs::git_with_authtype(with) {
            Some(git) => {
                laptop.person = person.with_git(git);
                whole_path(&laptop, &world, folder)?;
            }
            None => daypass_tests::say(&format!(
                "skipped: a git {} 2.46 is not on this machine",
                if with { "of at least" } else { "before" }
            )),
        }
    }
    Ok(())
}

#[test]
fn a_copied_token_opens_nothing() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "developer")?;
    let token = laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?.text().trim().to_owned();
    let request = || world.request(REFS);
    request()?.header("Authorization", &format!("Bearer {token}")).send()?.status(401)?;
    request()?.header("Authorization", &format!("DPoP {token}")).send()?.status(401)?;
    let (key, _) = new_key()?;
    let nonce = request()?.send()?.header("DPoP-Nonce").unwrap_or_default().to_owned();
    let proof = SoftwareClient::forge_proof(&key, "GET", &world.gate.url(REFS), world.now(), |claims| {
        claims.ath = Some(daypass_proto::dpop::token_hash(&token));
        claims.nonce = Some(nonce.clone());
    })?;
    request()?.header("Authorization", &format!("DPoP {token}")).header("DPoP", &proof).send()?.status(401)?;
    // The laptop itself proves it.
    let proved = laptop.daypass(["proof", "GET", &world.gate.url(REFS), "--nonce", &nonce]).run()?.succeeded()?;
    let mut own = request()?;
    for line in proved.text().lines().filter(|line| line.contains(": ")) {
        own = own.with(["-H", line]);
    }
    own.send()?.status(200)?;
    own.send()?.status(401)?;
    Ok(())
}

#[test]
fn a_captured_git_credential_is_good_for_nobody_elsewhere_and_for_nobody_later() -> Story {
    let world = World::with_clock()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "developer")?;
    let trace = laptop.person.home().join("trace");
    laptop
        .person
        .clones(&world.clone_url(), "app", &[])
        .env("GIT_TRACE_CURL", &trace)
        .env("GIT_TRACE_REDACT", "0")
        .run()?
        .succeeded()?;
    let log = laptop.person.reads("trace")?;
    let captured = log.lines().find_map(|line| Some(line.split_once("uthorization: ")?.1.trim().to_owned()));
    let Some(captured) = captured else { return Err(Failure::unexpected("a credential", log)) };
    let replay = || Ok::<_, Failure>(world.request(REFS)?.header("Authorization", &captured));
    replay()?.from_address("127.66.66.66").send()?.status(401)?;
    world.advance(Duration::from_secs(600))?;
    replay()?.send()?.status(401)?;
    // And the laptop goes on.
    laptop.person.git("app", ["fetch"]).run()?.succeeded()?;
    Ok(())
}

#[test]
fn a_copied_state_folder_is_useless_on_another_tpm() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "developer")?;
    let mut thief = Machine::start(&world, "thief", Who::Bob)?;
    thief.stop_agent()?;
    thief.take_state_of(&laptop)?;
    thief.start_agent()?;
    thief.daypass(["token", &world.gate.resource()]).run()?.refused(&["TPM"])?.code(11)?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?;
    Ok(())
}

#[test]
fn a_push_outside_the_grant_is_refused_by_name() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "developer")?;
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    laptop.person.commits("app", "a.md", "a\n")?;
    let before = world.upstream.refs(REPOSITORY)?;
    laptop.person.git("app", ["push", "origin", "HEAD:main"]).run()?.refused(&["rejected", "main", "not granted"])?;
    let after = world.upstream.refs(REPOSITORY)?;
    ensure(before == after, before, after)?;
    // A repository that nobody granted: git is told nothing that opens it.
    let other = world.gate.url("team/secret.git");
    laptop.person.clones(&other, "secret", &[]).run()?.refused(&[])?;
    Ok(())
}

#[test]
fn a_suspended_device_is_cut_off_and_told_so() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let device = laptop.join(&world, "alice", "developer")?;
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    world.issuer.run(["device", "suspend", &device, "--reason", "lost"])?;
    let fetch = laptop.person.git("app", ["fetch"]);
    let took = world.until_refused(|| Ok(if fetch.run()?.code == Some(0) { 200 } else { 403 }))?;
    ensure(took <= Duration::from_secs(6), "a refusal within five seconds", format!("{took:?}"))?;
    fetch.run()?.refused(&["suspended"])?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.refused(&["suspended"])?.code(7)?;
    world.issuer.run(["device", "resume", &device])?;
    daypass_tests::eventually("a fetch that works again", || Ok(fetch.run()?.succeeded().ok()))?;
    world.issuer.run(["device", "revoke", &device, "--yes"])?;
    world.until_refused(|| Ok(if fetch.run()?.code == Some(0) { 200 } else { 403 }))?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.refused(&["revoked"])?.code(7)?;
    Ok(())
}

#[test]
fn only_the_gate_reaches_the_git_server() -> Story {
    if Who::skip_unless_chosen("the folder of the git server's socket") {
        return Ok(());
    }
    let world = World::start()?;
    let request =
        Request::local(Who::Bob, &world.upstream.socket(), "/team/app.git/info/refs?service=git-upload-pack")?;
    request.act().run()?.refused(&[])?;
    Ok(())
}

#[test]
fn a_grant_ends_when_it_was_said_to() -> Story {
    let world = World::with_clock()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let code = world.issuer.invite("alice", PROJECT, "developer", &["--until", "2h"])?;
    laptop.enrol(&code)?;
    world.issuer.approve("alice")?;
    // A token ends with its grant, not five minutes later.
    world.advance(Duration::from_secs(2 * 3600 - 120))?;
    let status = || laptop.daypass(["token", &world.gate.resource(), "--json", "--min-ttl", "1"]).run();
    let expires = status()?.succeeded()?.json()?;
    let expires = expires.get("expires_at").and_then(|end| end.as_i64()).unwrap_or_default();
    ensure(expires <= world.now() + 121, "a token that ends with the grant", expires - world.now())?;
    world.advance(Duration::from_secs(180))?;
    status()?.refused(&["grant"])?.code(8)?;
    world
        .issuer
        .act(["invite", "alice", "--project", PROJECT, "--role", "developer", "--until", "91d"])
        .run()?
        .refused(&["at most"])?;
    Ok(())
}

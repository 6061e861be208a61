//! One machine, two projects: a second invitation of the same issuer is added to the enrolment that is there.

use daypass_tests::{
    Failure, Gate, Machine, OTHER_REPOSITORY, PROJECT, Story, Who, World, ensure, eventually, on_behalf_of,
};
use serde_json::Value;

/// Who owns the second project.
const OTTO: &str = "otto@example.com";
/// The second project.
const GEMINI: &str = "gemini";

/// A second project, about a repository at both gates.
fn gemini(world: &World, second: &Gate) -> Story {
    let (here, there) = (world.gate.url(OTHER_REPOSITORY), second.url(OTHER_REPOSITORY));
    let text = format!(
        r#"owners = ["{OTTO}"]
contact = "the chat channel gemini"

[roles.developer]
token_lifetime = "5m"
longest_grant = "90d"
[[roles.developer.authorization_details]]
type = "git_repository"
locations = ["{here}", "{there}"]
actions = ["push", "create"]
refs = ["refs/heads/{{user}}/**"]
"#
    );
    world.issuer.write_project(GEMINI, &text)
}

/// The agent's key files.
fn keys(laptop: &Machine) -> Result<Vec<Vec<u8>>, Failure> {
    let mut files = laptop.state_files()?;
    files.retain(|(path, _)| path.extension().is_some_and(|extension| extension == "tss"));
    files.sort();
    Ok(files.into_iter().map(|(_, content)| content).collect())
}

/// The same secret and address with another pin, and a good checksum.
fn repinned(code: &str) -> Result<String, Failure> {
    use daypass_proto::encoding::{base64url, from_base64url, sha256};
    let mut bytes = code.strip_prefix("dpinv1_").and_then(from_base64url).unwrap_or_default();
    bytes.truncate(bytes.len().saturating_sub(4));
    let Some(first) = bytes.first_mut() else { return Err(Failure::unexpected("a code", code)) };
    *first ^= 1;
    let checksum = sha256(&[b"dpinv1_", &bytes]);
    bytes.extend_from_slice(checksum.get(..4).unwrap_or_default());
    Ok(format!("dpinv1_{}", base64url(&bytes)))
}

#[test]
fn a_machine_that_is_enrolled_accepts_another_project_and_works_for_both() -> Story {
    let world = World::start()?;
    let mut second = Gate::new(&world.place, "second", &world.programs, None, &world.upstream)?;
    second.enrol(&world.issuer)?;
    second.serve()?;
    gemini(&world, &second)?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let device = laptop.join(&world, "alice", "developer")?;
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    let before = keys(&laptop)?;
    ensure(before.len() == 3, "three keys", before.len())?;

    // Somebody else's code is of no use on it, and stays good for them.
    let carols = world.issuer.invite("carol", GEMINI, "developer", &[])?;
    let refused =
        laptop.daypass(["enroll"]).input(carols.as_str()).run()?.refused(&["for somebody else than alice"])?.code(5)?;
    ensure(!refused.complaints().contains("carol"), "nobody's name", &refused)?;
    // A code that is none of this issuer's any more.
    let taken_back =
        world.issuer.run(["invite", "alice", "--project", GEMINI, "--role", "developer", "--until", "7d", "--json"])?;
    let part = |name: &str| -> Result<String, Failure> {
        let word = taken_back.json()?[name].as_str().map(str::to_owned);
        word.ok_or_else(|| taken_back.clone().surprise(name))
    };
    world.issuer.run(["invitation", "withdraw", &part("invitation")?, "--yes"])?;
    laptop.daypass(["enroll"]).input(part("code")?).run()?.refused(&["withdrawn"])?.code(5)?;

    // One with another root, as of an issuer that somebody set up at the same address.
    let code = world.issuer.invite("alice", GEMINI, "developer", &[])?;
    laptop.daypass(["enroll"]).input(repinned(&code)?).run()?.refused(&["it names another root"])?.code(5)?;

    // It is added, without new keys, and waits for the owner of its project.
    let waits = format!("waits for  {OTTO}");
    laptop.enrol(&code)?.says(&[
        &format!(
            "is enrolled with {} already, and the invitation is added to it: {device} for alice",
            world.issuer.url()
        ),
        "gemini as developer, waits for approval",
        &waits,
    ])?;
    ensure(keys(&laptop)? == before, "the same keys", "others")?;
    ensure(world.issuer.device_of("alice")? == device, "the same device", "another")?;
    laptop.daypass(["token", &second.resource()]).run()?.refused(&["nothing is granted"])?;
    laptop.person.git("app", ["fetch"]).run()?.succeeded()?;
    let waiting = laptop.daypass(["enroll", "--wait", &code]).start();
    let grants = world.issuer.run(["grant", "list", "--collaborator", "alice", "--project", GEMINI, "--json"])?;
    let grants = grants.json()?;
    let waits = |grant: &&Value| grant["state"] == "requested" && grant["device"] == device.as_str();
    let grant = grants.as_array().and_then(|all| all.iter().find(waits)).and_then(|grant| grant["grant"].as_str());
    let grant = grant.ok_or_else(|| Failure::unexpected("a grant that waits on the laptop", &grants))?;
    world.issuer.run([&["grant", "approve", grant][..], &on_behalf_of(OTTO)].concat())?.says(&["is active until"])?;
    waiting.finish()?.succeeded()?.says(&["gemini as developer, active until"])?;

    // Both projects, at both gates; git learns of the second one.
    laptop.daypass(["setup", "git", "--yes"]).run()?.succeeded()?.says(&[&second.resource()])?;
    for resource in [world.gate.resource(), second.resource()] {
        laptop.daypass(["token", &resource]).run()?.succeeded()?;
    }
    for (url, folder) in [
        (world.clone_url(), "again"),
        (world.gate.url(&format!("{OTHER_REPOSITORY}.git")), "here"),
        (second.url(&format!("{OTHER_REPOSITORY}.git")), "there"),
    ] {
        laptop.person.clones(&url, folder, &[]).run()?.succeeded()?;
        laptop.person.commits(folder, "notes", folder)?;
        laptop.person.git(folder, ["push", "origin", &format!("HEAD:refs/heads/alice/{folder}")]).run()?.succeeded()?;
    }
    let status = laptop.daypass(["status", "--refresh", "--json"]).run()?.succeeded()?.json()?;
    let projects: Vec<_> = status["enrolments"][0]["grants"].as_array().into_iter().flatten().collect();
    let of = |project: &str| projects.iter().any(|grant| grant["project"] == project && grant["state"] == "active");
    ensure(status["enrolments"].as_array().map(Vec::len) == Some(1) && of(PROJECT) && of(GEMINI), "both", &status)?;

    // The code is spent, for everybody else.
    let other = Machine::start(&world, "other", Who::Bob)?;
    other.daypass(["enroll"]).input(code.as_str()).run()?.refused(&["was used already"])?.code(5)?;
    other.daypass(["enroll"]).input(carols.as_str()).run()?.succeeded()?.says(&["for carol"])?;
    eventually("the event with its number", || {
        let listed = world.issuer.run(["ledger", "list", "--kind", "invitation_accepted", "--json"])?.text();
        Ok((listed.lines().count() == 1 && listed.contains(&device)).then_some(()))
    })
}

#[test]
fn an_enrolment_that_is_over_takes_no_invitation_and_says_what_to_do() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let device = laptop.join(&world, "alice", "developer")?;
    let code = world.issuer.invite("alice", PROJECT, "reader", &[])?;
    world.issuer.run(["device", "suspend", &device])?;
    laptop.daypass(["enroll"]).input(code.as_str()).run()?.refused(&["is suspended", "ask an owner"])?.code(7)?;
    world.issuer.run(["device", "revoke", &device, "--yes"])?;
    laptop
        .daypass(["enroll"])
        .input(code.as_str())
        .run()?
        .refused(&["takes no invitation", "run `daypass leave`"])?
        .code(7)?;
    laptop.daypass(["leave", "--yes"]).run()?.succeeded()?;
    laptop.enrol(&code)?.says(&["enrolled dev-", "waits for"]).map(drop)
}

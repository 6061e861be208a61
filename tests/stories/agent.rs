//! The agent on a machine with several users, several issuers, and a TPM that goes away.

use std::{fs, os::unix::fs::PermissionsExt as _};

use daypass_tests::{
    Act, Failure, Issuer, Machine, PROJECT, Person, Programs, Ready, Request, Service, Story, Who, World, ensure,
};

fn joined(world: &World) -> Result<Machine, Failure> {
    let laptop = Machine::start(world, "laptop", Who::Alice)?;
    laptop.join(world, "alice", "developer")?;
    Ok(laptop)
}

#[test]
fn it_recovers_when_the_tpm_is_killed_and_comes_back() -> Story {
    let world = World::start()?;
    let mut laptop = joined(&world)?;
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    laptop.chip.kill();
    laptop.person.git("app", ["fetch"]).run()?.refused(&[])?;
    laptop.chip.start()?;
    laptop.person.git("app", ["fetch"]).run()?.succeeded()?;
    Ok(())
}

#[test]
fn it_survives_a_restart_of_its_own() -> Story {
    let world = World::start()?;
    let mut laptop = joined(&world)?;
    laptop.kill_agent();
    laptop.daypass(["status"]).run()?.refused(&[])?.code(12)?;
    laptop.start_agent()?;
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    laptop.stop_agent()?;
    let log = laptop.agent_log();
    ensure(log.contains("serving") && !log.contains('\u{1b}'), "a log without colours", &log)?;
    ensure(!log.contains("tss_esapi"), "no errors of the binding's that are none", &log)
}

#[test]
fn it_serves_on_the_socket_that_a_service_manager_hands_over() -> Story {
    let world = World::start()?;
    let mut laptop = Machine::new(&world.place, "laptop", Who::Alice, &world.maker, None)?;
    laptop.chip.start()?;
    // Another path than the configuration's: what is opened there was not opened by the agent.
    let handed = laptop.folder().join("run/handed.sock");
    let act = Act::new(Programs::system("systemd-socket-activate")?, Who::Agent)
        .arg(format!("--listen={}", handed.display()))
        .arg(format!("--setenv=DAYPASS_CONFIG={}", laptop.configuration().display()))
        .arg(world.programs.built("daypass"))
        .arg("agent")
        .within(laptop.folder());
    // Whether somebody accepts is found out by connecting, which is what starts the agent.
    let mut agent = Service::new("agent", act, Ready::Socket(handed.clone()), laptop.folder()).start()?;
    // `SocketMode=0666` of the unit; this small manager has 0644 for all.
    fs::set_permissions(&handed, fs::Permissions::from_mode(0o666)).map_err(Failure::machine("open the socket"))?;
    let daypass = |arguments: &[&str]| laptop.daypass(arguments).env("DAYPASS_SOCKET", &handed).run();
    daypass(&["enroll", &world.issuer.invite("alice", PROJECT, "developer", &[])?])?.succeeded()?;
    world.issuer.approve("alice")?;
    daypass(&["token", &world.gate.resource()])?.succeeded()?;
    ensure(!laptop.socket().exists(), "no socket of the agent's own", laptop.socket().display())?;
    agent.stop()?;
    ensure(handed.exists(), "the service manager's socket left alone", handed.display())
}

#[test]
fn two_users_of_one_agent_do_not_see_each_other() -> Story {
    if Who::skip_unless_chosen("two users of one agent") {
        return Ok(());
    }
    let world = World::start()?;
    let laptop = joined(&world)?;
    let bob = Person::new(&world.place, "bob-home", Who::Bob)?.with_env("DAYPASS_SOCKET", laptop.socket());
    let daypass = |arguments: &[&str]| bob.act(world.programs.built("daypass")).args(arguments).run();
    let status = daypass(&["status", "--json"])?.succeeded()?;
    status.clone().says_nothing_of(&["alice", "dev-"])?;
    daypass(&["token", &world.gate.resource()])?.refused(&[])?.code(4)?;
    bob.clones(&world.clone_url(), "app", &[]).env("GIT_SSL_CAINFO", world.issuer.root()).run()?.refused(&[])?;
    // With an enrolment of his own he has his own, and Alice keeps hers.
    let code = world.issuer.invite("bob", PROJECT, "reader", &[])?;
    daypass(&["enroll", &code])?.succeeded()?;
    world.issuer.approve("bob")?;
    daypass(&["token", &world.gate.resource()])?.succeeded()?;
    daypass(&["status", "--json"])?.succeeded()?.says(&["bob"])?.says_nothing_of(&["alice"])?;
    laptop.daypass(["status", "--json"]).run()?.succeeded()?.says(&["alice"])?.says_nothing_of(&["bob"])?;
    Ok(())
}

#[test]
fn two_issuers_on_one_laptop() -> Story {
    let world = World::start()?;
    let laptop = joined(&world)?;
    let mut second = Issuer::init(&world.place, "second", &world.programs, None, &[&world.maker])?;
    let resource = "https://git.second.example.com/";
    second.write_project("zeus", &PROJECT_OF_SECOND.replace("{resource}", resource))?;
    second.run(["gate", "add", "gate", "--resource", resource])?;
    second.serve()?;
    let code = second.invite("alice.smith", "zeus", "reader", &[])?;
    laptop.enrol(&code)?;
    second.approve_for("zoe@example.com", "alice.smith")?;
    laptop.daypass(["token", resource]).run()?.succeeded()?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?;
    laptop.daypass(["status", "--json"]).run()?.succeeded()?.says(&[
        &second.url(),
        &world.issuer.url(),
        "alice.smith",
    ])?;
    // Two of them: which one to leave has to be said.
    laptop.daypass(["leave", "--yes"]).run()?.refused(&[])?;
    laptop.daypass(["leave", "--yes", "--issuer", &second.url()]).run()?.succeeded()?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?;
    Ok(())
}

const PROJECT_OF_SECOND: &str = r#"
owners = ["zoe@example.com"]
[roles.reader]
token_lifetime = "5m"
longest_grant = "90d"
[[roles.reader.authorization_details]]
type = "git_repository"
locations = ["{resource}team/app"]
actions = ["read"]
"#;

#[test]
fn the_local_api_is_there_for_curl() -> Story {
    let world = World::start()?;
    let laptop = joined(&world)?;
    let local = |path: &str| Request::local(Who::Alice, &laptop.socket(), path);
    local("/v1/status")?.send()?.status(200)?.says(&["\"enrolments\"", "alice"])?;
    let body = format!(r#"{{"resource":"{}","min_ttl":60}}"#, world.gate.resource());
    let answer =
        local("/v1/tokens")?.header("Content-Type", "application/json").body(body.clone()).send()?.status(200)?;
    let first = answer.json()?;
    // The same token again: it is kept while it lives.
    let second =
        local("/v1/tokens")?.header("Content-Type", "application/json").body(body).send()?.status(200)?.json()?;
    ensure(first.get("access_token") == second.get("access_token"), "the same token", &second)?;
    local("/v1/nothing")?.send()?.status(404)?.says(&["\"error\"", "\"next_step\""])?;
    let malformed = local("/v1/tokens")?.header("Content-Type", "application/json").body("{\"resource\":1}").send()?;
    malformed.status(400)?.says(&["malformed"])?;
    Ok(())
}

#[test]
fn many_askers_share_one_request() -> Story {
    let world = World::start()?;
    let laptop = joined(&world)?;
    let asking: Vec<_> = (0..8).map(|_| laptop.daypass(["token", &world.gate.resource()]).start()).collect();
    let mut tokens = Vec::new();
    for one in asking {
        tokens.push(one.finish()?.succeeded()?.text());
    }
    tokens.dedup();
    ensure(tokens.len() == 1, "one token for all", tokens.len())
}

#[test]
fn live_tokens_outlive_the_issuers_absence() -> Story {
    let mut world = World::start()?;
    let laptop = joined(&world)?;
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    world.issuer.kill();
    laptop.person.git("app", ["fetch"]).run()?.succeeded()?;
    world.issuer.serve()?;
    Ok(())
}

#[test]
fn it_listens_where_the_command_line_says() -> Story {
    let world = World::start()?;
    let mut laptop = Machine::new(&world.place, "laptop", Who::Alice, &world.maker, None)?;
    laptop.chip.start()?;
    for (name, by_variable) in [("option.sock", false), ("variable.sock", true)] {
        let socket = laptop.folder().join("run").join(name);
        let act = laptop.agent_act();
        let act = if by_variable { act.env("DAYPASS_SOCKET", &socket) } else { act.arg("--socket").arg(&socket) };
        let mut agent = Service::new(name, act, Ready::Socket(socket.clone()), laptop.folder()).start()?;
        laptop.daypass(["status"]).env("DAYPASS_SOCKET", &socket).run()?.succeeded()?;
        ensure(!laptop.socket().exists(), "nothing at the configuration's socket", laptop.socket().display())?;
        agent.stop()?;
    }
    Ok(())
}

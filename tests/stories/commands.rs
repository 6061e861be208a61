//! What issuer and gate say to programs: JSON from commands, errors in one form, logs without colours.

use std::time::Duration;

use daypass_tests::{Act, Failure, PROJECT, Place, Programs, Ran, Request, SoftwareKeys, Story, Who, World, ensure};
use serde_json::{Value, json};

use crate::software::{Scene, scene};

fn field(ran: &Ran, pointer: &str, expected: &Value) -> Story {
    let answer = ran.json()?;
    ensure(answer.pointer(pointer) == Some(expected), format!("`{pointer}`: {expected}"), answer)
}

#[test]
fn what_commands_decide_they_also_say_in_json() -> Story {
    let world = World::with_software_keys(false)?;
    let issuer = |arguments: &[&str]| world.issuer.act(arguments).arg("--json").run();
    let keys = SoftwareKeys::new(&world.place, "client", Who::Server)?;
    let arguments = keys.registration(PROJECT, "developer")?;
    let registered = issuer(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?.succeeded()?;
    let answer = registered.json()?;
    let certificate = answer.pointer("/certificate_chain/0").and_then(Value::as_str).unwrap_or_default();
    ensure(certificate.starts_with("-----BEGIN CERTIFICATE-----"), "a certificate", &registered)?;
    let device = answer.get("device").and_then(Value::as_str).unwrap_or_default();
    for (verb, state) in [("suspend", "suspended"), ("resume", "approved"), ("revoke", "revoked")] {
        let yes: &[&str] = if verb == "revoke" { &["--yes"] } else { &[] };
        let done = issuer(&[&["device", verb, device], yes].concat())?.succeeded()?;
        field(&done, "/state", &json!(state))?;
        field(&done, "/device", &json!(device))?;
    }
    let checked = issuer(&["check"])?.succeeded()?;
    field(&checked, "/ok", &json!(true))?;
    field(&checked, "/loosenings", &json!(["allow_software_keys", "approve_on_behalf"]))?;
    let checked = world.gate.act(["check", "--json"]).run()?.succeeded()?;
    field(&checked, "/resources/0/resource", &json!(world.gate.resource()))?;
    field(&checked, "/loosenings/0", &json!("allow_software_keys"))?;
    // What is wrong is there too, and the exit code is as without.
    world.issuer.run(["gate", "add", "second", "--resource", "https://second.example.com/"])?;
    field(&issuer(&["gate", "remove", "second", "--yes"])?.succeeded()?, "/gate", &json!("second"))?;
    issuer(&["gate", "remove", "gate", "--yes"])?.succeeded()?;
    let gate_is_gone = issuer(&["check"])?.refused(&["1 problem(s)"])?.code(4)?;
    field(&gate_is_gone, "/ok", &json!(false))
}

#[test]
fn what_keeps_an_issuer_alive_is_said_in_json() -> Story {
    let mut scene = scene()?;
    let at = |scene: &Scene, name: &str| scene.issuer.folder().join(name).display().to_string();
    let issuer = |scene: &Scene, arguments: &[&str]| scene.issuer.act(arguments).arg("--json").run();
    let text = |ran: &Ran, pointer: &str| -> Result<String, Failure> {
        let answer = ran.json()?;
        let text = answer.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| Failure::unexpected(format!("a text at `{pointer}`"), answer))
    };

    // So that its keys are in their time when the clock is put back.
    scene.clock.advance(Duration::from_secs(3600))?;
    let before = issuer(&scene, &["key", "list"])?.succeeded()?.json()?;
    let rotated = issuer(&scene, &["key", "rotate", "token"])?.succeeded()?;
    field(&rotated, "/purpose", &json!("token"))?;
    let old = before.pointer("/0/kid").cloned().unwrap_or_default();
    field(&rotated, "/retired", &json!([old]))?;
    let kid = text(&rotated, "/kid")?;
    let after = issuer(&scene, &["key", "list"])?.succeeded()?.json()?;
    let listed = after.as_array().into_iter().flatten().find(|key| key.get("kid") == Some(&json!(kid)));
    let from = listed.and_then(|key| key.get("active_from")).cloned().unwrap_or_default();
    field(&rotated, "/active_from", &from)?;
    let master = issuer(&scene, &["key", "rotate", "master"])?.succeeded()?;
    field(&master, "/purpose", &json!("master"))?;
    for file in ["/file", "/former_file"] {
        let file = text(&master, file)?;
        ensure(std::path::Path::new(&file).is_file(), "a key in its file", file)?;
    }

    let shown = issuer(&scene, &["clock", "show"])?.succeeded()?;
    field(&shown, "/ok", &json!(true))?;
    scene.clock.shift(-1800)?;
    let wrong = issuer(&scene, &["clock", "show"])?.refused(&["decisions were made until"])?;
    field(&wrong, "/ok", &json!(false))?;
    let wrong = wrong.json()?;
    let time = |name: &str| wrong.get(name).and_then(Value::as_i64).unwrap_or_default();
    ensure(time("now") > 0 && time("decisions_until") > time("now") + 1700, "both times", &wrong)?;
    field(&issuer(&scene, &["clock", "accept"])?.succeeded()?, "/accepted", &json!(true))?;
    field(&issuer(&scene, &["clock", "accept"])?.succeeded()?, "/accepted", &json!(false))?;

    let export = at(&scene, "ledger.jsonl");
    let exported = issuer(&scene, &["ledger", "export", "--out", &export])?.succeeded()?;
    field(&exported, "/export", &json!(export))?;
    let lines = std::fs::read_to_string(&export).map_err(Failure::machine("read the export"))?;
    let events = lines.lines().filter(|line| line.contains("\"sequence\"")).count();
    field(&exported, "/events", &json!(events))?;
    // Without a file, the output is JSON already, and the export's own.
    issuer(&scene, &["ledger", "export"])?.refused(&["--out"])?.code(2)?;

    let backup = at(&scene, "now.backup");
    let made = issuer(&scene, &["backup", &backup])?.succeeded()?;
    field(&made, "/backup", &json!(backup))?;
    field(&made, "/recorded", &json!(true))?;
    field(&made, "/not_included", &json!([at(&scene, "master.key"), at(&scene, "root.key")]))?;
    scene.issuer.stop()?;
    let published = format!("{}.checkpoint", scene.issuer.store().display());
    std::fs::remove_file(&published).map_err(Failure::machine("remove the checkpoint"))?;
    let restored = issuer(&scene, &["restore", &backup, "--replace"])?.succeeded()?;
    field(&restored, "/keys_open", &json!(true))?;
    field(&restored, "/written", &json!([scene.issuer.store()]))?;
    ensure(std::path::Path::new(&text(&restored, "/former")?).is_file(), "the former store", &restored)?;
    field(&restored, "/new_ledger/why", &json!("it is not known what was published"))?;
    let origin = scene.issuer.sql("SELECT origin FROM ledger")?.join("");
    field(&restored, "/new_ledger/origin", &json!(origin))
}

/// Every command of a program that does something and ends, as its help lists them.
fn commands_of(program: &str, path: Vec<String>) -> Result<Vec<(Vec<String>, String)>, Failure> {
    let act = Act::new(Programs::find()?.built(program), Who::Server).args(&path).arg("--help");
    let help = act.run()?.succeeded()?.text();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Further lines of a description stand farther to the right.
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    let mut below = Vec::new();
    for name in names.filter(|name| !["help", "serve", "completions"].contains(name)) {
        below.extend(commands_of(program, path.iter().cloned().chain([name.to_owned()]).collect())?);
    }
    Ok(if below.is_empty() { vec![(path, help)] } else { below })
}

#[test]
fn every_command_of_issuer_and_gate_speaks_to_programs() -> Story {
    for (program, least) in [("daypass-issuer", 20), ("daypass-gate", 3)] {
        let commands = commands_of(program, Vec::new())?;
        ensure(commands.len() >= least, format!("the commands of {program}"), commands.len())?;
        for (path, help) in commands {
            ensure(help.contains("--json"), format!("`--json` of {program} {}", path.join(" ")), help)?;
        }
    }
    Ok(())
}

#[test]
fn what_is_made_is_named_in_json() -> Story {
    let place = Place::new()?;
    let programs = Programs::find()?;
    let folder = place.folder("made", Who::Server, 0o700)?;
    let act = |program: &str, file: &str, arguments: &[&str]| {
        let at = folder.join(file);
        let act = Act::new(programs.built(program), Who::Server).arg("--config").arg(&at).args(arguments).arg("--json");
        field(&act.run()?.succeeded()?, "/configuration", &json!(at))
    };
    act("daypass-issuer", "issuer.toml", &["init", "--url", "https://localhost:8443"])?;
    act("daypass-gate", "gate.toml", &["init"])
}

#[test]
fn an_issuer_that_no_command_would_take_is_not_made() -> Story {
    let place = Place::new()?;
    let folder = place.folder("made", Who::Server, 0o700)?;
    let init = |more: &[&str]| {
        let act = Act::new(Programs::find()?.built("daypass-issuer"), Who::Server);
        let at = folder.join("issuer.toml");
        act.arg("--config").arg(at).args(["init", "--url", "https://localhost:8443"]).args(more).run()
    };
    init(&["--mtls-url", "https://localhost:8443"])?.refused(&["mtls_url", "must differ"])?.code(4)?;
    let left = std::fs::read_dir(&folder).map_err(Failure::machine("list the folder"))?.count();
    ensure(left == 0, "nothing made", left)?;
    init(&["--mtls-url", "https://localhost:8444"])?.succeeded()?;
    Ok(())
}

#[test]
fn what_is_not_there_is_refused_in_the_form_of_every_refusal() -> Story {
    let world = World::with_software_keys(false)?;
    let client = world.software_client("client", "developer")?;
    let public = |path: &str| Request::new(Who::Bob, &format!("{}{path}", world.issuer.url()), world.issuer.root());
    let mtls = |path: &str| client.request(&format!("{}{path}", world.issuer.mtls_url()));
    for (request, status, allowed) in [
        (public("/nowhere")?, 404, None),
        (mtls("/nowhere")?, 404, None),
        (public("/jwks")?.with(["-X", "DELETE"]), 405, Some("GET,HEAD")),
        (public("/enrolment/v1/begin")?, 405, Some("POST")),
        (mtls("/oauth/token")?, 405, Some("POST")),
        (mtls("/device/v1/renewal/complete")?, 405, Some("POST")),
    ] {
        let answer = request.send()?.status(status)?;
        let told = answer.json()?;
        for name in ["error", "error_description", "daypass_reason", "daypass_next_step"] {
            let text = told.get(name).and_then(Value::as_str).unwrap_or_default();
            ensure(!text.is_empty(), format!("a `{name}`"), &answer.ran)?;
        }
        ensure(answer.header("allow") == allowed, format!("the methods {allowed:?}"), &answer.ran)?;
    }
    Ok(())
}

#[test]
fn logs_in_files_have_no_colours() -> Story {
    let world = World::start()?;
    for (folder, name) in [(world.issuer.folder(), "issuer"), (world.gate.folder(), "gate")] {
        let at = folder.join(format!("{name}.log"));
        let log = std::fs::read_to_string(&at).map_err(Failure::machine(format!("read `{}`", at.display())))?;
        ensure(log.contains("INFO"), "a log", &log)?;
        ensure(!log.contains('\u{1b}'), "no escape sequences", format!("{log:?}"))?;
    }
    Ok(())
}

#[test]
fn a_code_is_good_for_no_longer_than_its_grant() -> Story {
    let world = World::start()?;
    let invite = |until: &str| {
        let more = ["--project", PROJECT, "--role", "developer", "--until", until, "--json"];
        world.issuer.run(["invite", "alice"].iter().chain(&more))?.json()
    };
    let short = invite("3d")?;
    ensure(short.get("expires_at") == short.get("until"), "a code that ends with its grant", &short)?;
    let long = invite("30d")?;
    ensure(long.get("expires_at") != long.get("until"), "a code that ends before its grant", &long)
}

/// Whatever a person names is a regular file, or is refused by name: a pipe would be waited for, a device read for ever.
#[test]
fn no_program_waits_for_what_is_no_file() -> Story {
    let world = World::with_software_keys(false)?;
    let folder = world.place.folder("odd", Who::Server, 0o755)?;
    let pipe = folder.join("pipe.pem");
    Act::new(Programs::system("mkfifo")?, Who::Server).arg(&pipe).run()?.succeeded()?;
    let pipe = pipe.display().to_string();
    let (a_pipe, a_device) = ("it is a pipe, and no regular file", "it is a device, and no regular file");
    for (arguments, words) in [
        (vec!["ek", "check", &pipe], a_pipe),
        (vec!["ek", "check", "/dev/zero"], a_device),
        (vec!["ledger", "verify", "--export", &pipe], a_pipe),
        (vec!["ledger", "verify", "--key", &pipe], a_pipe),
        (vec!["restore", &pipe], a_pipe),
        (vec!["gate", "add", "second", "--resource", "https://second.example.com/", "--ca", &pipe], a_pipe),
    ] {
        world.issuer.act(arguments).run()?.refused(&[words])?;
    }
    let mut registration =
        SoftwareKeys::new(&world.place, "client", Who::Server)?.registration(PROJECT, "developer")?;
    if let Some(csr) = registration.iter_mut().skip_while(|argument| *argument != "--csr").nth(1) {
        csr.clone_from(&pipe);
    }
    world.issuer.act(registration).run()?.refused(&[a_pipe])?;
    for program in ["daypass-issuer", "daypass-gate"] {
        let act = Act::new(Programs::find()?.built(program), Who::Server).args(["--config", &pipe, "check"]);
        act.run()?.refused(&[a_pipe])?.code(4)?;
    }
    let agent = Act::new(Programs::find()?.built("daypass"), Who::Server).args(["agent", "--config", &pipe]);
    agent.run()?.refused(&["it is a named pipe, and no regular file"])?.code(13)?;
    // And what the configurations name.
    let certificate = format!("tls_certificate = \"{pipe}\"\ntls_key = \"{pipe}\"\n");
    world.gate.configure("listen =", &format!("{certificate}listen ="))?;
    world.gate.act(["check"]).run()?.refused(&[a_pipe])?;
    let link = world.issuer.folder().join("ek_roots/pipe.pem");
    Act::new(Programs::system("ln")?, Who::Server).args(["-s", &pipe]).arg(&link).run()?.succeeded()?;
    world.issuer.act(["check"]).run()?.refused(&["pipe.pem", a_pipe])?;
    Ok(())
}

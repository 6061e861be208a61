//! Nothing secret is left behind: not in a log, an error, an argument, an environment, a file, nor a core dump.
//!
//! One story goes the whole way with every program logging all it can, and then reads everything that was written. What it looks for are
//! the values themselves, in every form, and the shapes of those that it cannot know.

use std::{
    fs,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use daypass_proto::{
    encoding::{Bytes, Fixed},
    invitation::{Code, CodeKind},
};
use daypass_tests::{
    Act, Failure, Home, Machine, PROJECT, Process, Programs, REPOSITORY, Ran, Ready, Recording, Request, Secrets,
    Service, SoftwareClient, Story, Watch, Who, World, Written, ensure, eventually, written_below,
};
use serde::{Deserialize, de::DeserializeOwned};

const REFS: &str = "team/app.git/info/refs?service=git-upload-pack";

/// What a machine is known by, in the words of the list of secrets.
const INVITATION: &str = "an invitation";
const GATE_CODE: &str = "a gate code";
const TOKEN: &str = "an access token";
const PRESENTATION: &str = "a presentation";
const SOFTWARE: &str = "a software client's token";
const GATE_KEY: &str = "a gate's private key";
const ISSUER_KEY: &str = "an issuer's private key";
const MASTER: &str = "the master key";
const NONCE: &str = "the nonce key";

fn world() -> Result<World, Failure> {
    World::build(false, |issuer, gate| {
        issuer.configure("allow_software_keys = false", "allow_software_keys = true")?;
        gate.configure("allow_software_keys = false", "allow_software_keys = true")?;
        let project = fs::read_to_string(issuer.project(PROJECT)).map_err(Failure::machine("read the project"))?;
        let robot = project.split("[roles.reader]").nth(1).unwrap_or_default().replace("roles.reader", "roles.robot");
        issuer.write_project(PROJECT, &format!("{project}\n[roles.robot]\nprotection = \"delegated\"{robot}"))
    })
}

fn text(ran: &Ran, pointer: &str) -> Result<String, Failure> {
    let json = ran.json()?;
    let text = json.pointer(pointer).and_then(|text| text.as_str());
    text.map(str::to_owned).ok_or_else(|| ran.clone().surprise(pointer))
}

/// Invites and enrols, the code coming by standard input as the printed next step has it.
fn joins(world: &World, laptop: &Machine, collaborator: &str, role: &str) -> Result<(String, String), Failure> {
    let code = world.issuer.invite(collaborator, PROJECT, role, &[])?;
    let enrolled = laptop.daypass(["enroll"]).input(format!("{code}\n")).run()?.succeeded()?;
    enrolled.says_nothing_of(&[&code])?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.refused(&["approv"])?;
    let device = world.issuer.approve(collaborator)?;
    laptop.daypass(["setup", "git", "--yes"]).run()?.succeeded()?;
    Ok((code, device))
}

/// What a person does with git, with all of git's traces on.
fn works(world: &World, laptop: &Machine) -> Story {
    let mut traced = laptop.person.clone();
    for (variable, file) in [
        ("GIT_TRACE", "trace"),
        ("GIT_TRACE_CURL", "trace-curl"),
        ("GIT_TRACE_PACKET", "trace-packet"),
        ("GIT_TRACE2_EVENT", "trace2"),
    ] {
        traced = traced.with_env(variable, laptop.person.home().join(file));
    }
    traced.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    traced.commits("app", "a.md", "found out\n")?;
    traced.git("app", ["push", "origin", "HEAD:refs/heads/alice/a"]).run()?.succeeded()?;
    traced.git("app", ["push", "origin", "HEAD:main"]).run()?.refused(&["not granted"])?;
    traced.clones(&world.gate.url("team/secret.git"), "secret", &[]).run()?.refused(&[])?;
    Ok(())
}

/// The credential that git sends, as whoever switches git's redaction off sees it.
fn credential(world: &World, laptop: &Machine) -> Result<String, Failure> {
    let trace = laptop.person.home().join("unredacted");
    let act = laptop.person.clones(&world.clone_url(), "again", &[]);
    act.env("GIT_TRACE_CURL", &trace).env("GIT_TRACE_REDACT", "0").run()?.succeeded()?;
    let log = laptop.person.reads("unredacted")?;
    fs::remove_file(&trace).map_err(Failure::machine("remove the trace"))?;
    let header = log.lines().find_map(|line| line.split_once("uthorization: ")?.1.trim().split_once(' '));
    header.map(|(_, credential)| credential.to_owned()).ok_or_else(|| Failure::unexpected("a credential", log))
}

/// A software client gets a token and uses it in both ways; and is refused with both.
fn software(world: &World) -> Result<(SoftwareClient, String), Failure> {
    let client = world.software_client("client", "developer")?;
    let token = client.token(&world.gate.resource(), world.now())?;
    let wrong = SoftwareClient::forge_proof(client.proof(), "GET", client.token_endpoint(), world.now(), |_| {})?;
    client.token_request(&wrong, &world.gate.resource(), &[])?.send()?.status(400)?;
    let nonce = world.nonce(REPOSITORY, "git-upload-pack", None)?;
    let repository = world.repository();
    let good = SoftwareClient::forge_presentation(client.proof(), &token, &repository, &nonce, world.now(), |_| {})?;
    let send = |value: &str| world.request(REFS)?.header("Authorization", value).send();
    send(&format!("Daypass {good}"))?.status(200)?;
    let bad = good.get(..good.len() - 2).unwrap_or_default();
    for refused in [format!("Daypass {bad}"), format!("Bearer {token}"), format!("DPoP {token}"), token.clone()] {
        send(&refused)?.status(401)?;
    }
    misplaces(world, &client, &token)?;
    misplaces(world, &client, &world.issuer.invite("carol", PROJECT, "developer", &[])?)?;
    Ok((client, token))
}

/// What a client does that mixes up its variables: a secret stands where something else should, and comes back in an error.
fn misplaces(world: &World, client: &SoftwareClient, secret: &str) -> Story {
    let details =
        |field: &str| format!(r#"[{{"type":"git_repository","locations":["x"],"actions":["read"],{field}}}]"#);
    for (name, value) in [
        ("grant_type", secret.to_owned()),
        ("client_id", secret.to_owned()),
        ("resource", secret.to_owned()),
        ("resource", format!("https://git.example.com/{secret}")),
        ("resource", format!("https://{secret}/")),
        ("authorization_details", secret.to_owned()),
        ("authorization_details", format!(r#"[{{"type":"{secret}"}}]"#)),
        ("authorization_details", details(&format!(r#""{secret}":1"#))),
        ("authorization_details", details(&format!(r#""refs":["{secret}"]"#))),
        ("authorization_details", details("\"x\":1").replace(r#""x"]"#, &format!(r#""https://h/{secret}"]"#))),
        ("daypass_delegation", secret.to_owned()),
        ("daypass_caller", secret.to_owned()),
        ("daypass_caller", format!(r#"{{"identified_by":"{secret}"}}"#)),
    ] {
        let proof = SoftwareClient::forge_proof(client.proof(), "POST", client.token_endpoint(), world.now(), |_| {})?;
        let answer = client.token_request(&proof, &world.gate.resource(), &[(name, &value)])?.send()?;
        ensure((400..500).contains(&answer.status), format!("a refusal of {name}"), &answer.ran)?;
    }
    let proof = SoftwareClient::forge_proof(client.proof(), "POST", client.token_endpoint(), world.now(), |claims| {
        claims.htm = secret.to_owned();
        claims.htu = secret.to_owned();
    })?;
    client.token_request(&proof, &world.gate.resource(), &[])?.send()?.status(400)?;
    client.request(&format!("{}/{secret}?{secret}", world.issuer.mtls_url()))?.send()?.status(404)?;
    for target in [
        format!("{REFS}&access_token={secret}"),
        format!("{secret}.git/info/refs?service=git-upload-pack"),
        format!("team/{secret}"),
    ] {
        let answer = world.request(&target)?.send()?;
        ensure((400..500).contains(&answer.status), "a refusal", &answer.ran)?;
    }
    let odd = |name: &str, value: &str| world.request(REFS)?.header(name, value).send();
    odd("Authorization", &format!("{secret} x"))?.status(401)?;
    odd("Git-Protocol", secret)?.status(401)?;
    world.request(REFS)?.with(["--user", &format!("{secret}:x")]).send()?.status(401)?;
    Ok(())
}

/// The same at the local API.
fn misplaces_locally(laptop: &Machine, secret: &str) -> Story {
    for (path, body) in [
        ("tokens", format!(r#"{{"resource":"{secret}"}}"#)),
        ("tokens", format!(r#"{{"resource":"https://{secret}/"}}"#)),
        ("tokens", format!(r#"{{"{secret}":1}}"#)),
        ("proofs", format!(r#"{{"method":"{secret}","url":"https://h/"}}"#)),
        ("proofs", format!(r#"{{"method":"GET","url":"https://git.example.com/{secret}"}}"#)),
        ("enrolments", format!(r#"{{"invitation":"{}"}}"#, secret.get(..secret.len() - 3).unwrap_or_default())),
        ("enrolments/refresh", format!(r#"{{"issuer":"{secret}"}}"#)),
        ("leave", format!(r#"{{"issuer":"{secret}"}}"#)),
        (
            "git-credentials",
            format!(
                r#"{{"protocol":"https","host":"{secret}","path":"{secret}","wwwauth":["{secret}"],"authtype":true}}"#
            ),
        ),
        (
            "git-credentials/erase",
            format!(r#"{{"protocol":"https","host":"{secret}","path":"x","secret":"{secret}"}}"#),
        ),
        (secret, secret.to_owned()),
    ] {
        Request::local(laptop.person.who(), &laptop.socket(), &format!("/v1/{path}"))?.body(body).send()?;
    }
    Ok(())
}

/// Tokens and proofs at the command line, and by the local API.
fn asks(world: &World, laptop: &Machine, more: &[&str]) -> Result<Vec<String>, Failure> {
    let resource = world.gate.resource();
    let token = laptop.daypass(["token", &resource]).args(more).run()?.succeeded()?.text().trim().to_owned();
    let same = laptop.daypass(["token", &resource, "--json"]).args(more).run()?.succeeded()?;
    let proved = laptop.daypass(["proof", "GET", &world.gate.url(REFS)]).args(more).run()?.succeeded()?.text();
    let parts = proved.lines().filter_map(|line| line.rsplit(' ').next()).map(str::to_owned);
    let body = format!(r#"{{"resource":"{resource}"}}"#);
    let local = Request::local(laptop.person.who(), &laptop.socket(), "/v1/tokens")?.body(body).send()?.status(200)?;
    let local = local.json()?.get("access_token").and_then(|token| token.as_str()).unwrap_or_default().to_owned();
    laptop.daypass(["status", "--json"]).run()?.succeeded()?;
    // Whatever it finds on this machine.
    laptop.daypass(["doctor"]).run()?;
    Ok([token, text(&same, "/access_token")?, local].into_iter().chain(parts).collect())
}

#[derive(Deserialize)]
struct WrappedKey {
    kid: String,
    wrapped: Bytes,
}

#[derive(Deserialize)]
struct HashedSecret {
    secret_hash: Fixed<32>,
}

/// Every JSON object in the store that begins so. Whatever was deleted still stands in free pages and in the log.
fn records<T: DeserializeOwned>(store: &[u8], beginning: &str) -> Vec<T> {
    let text = String::from_utf8_lossy(store);
    let at = text.match_indices(beginning).filter_map(|(at, _)| text.get(at..));
    at.filter_map(|rest| serde_json::Deserializer::from_str(rest).into_iter().next()?.ok()).collect()
}

fn unwrap(master: &[u8], key: &WrappedKey) -> Option<Vec<u8>> {
    let opener = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, master).ok()?);
    let (nonce, sealed) = key.wrapped.0.split_at_checked(NONCE_LEN)?;
    let mut opened = sealed.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    Some(opener.open_in_place(nonce, Aad::from(key.kid.as_bytes()), &mut opened).ok()?.to_vec())
}

/// The private half of a P-256 key in PKCS#8 (RFC 5915: behind version and length), or of an Ed25519 one (RFC 8410 section 7: a string in a
/// string).
fn scalar(pkcs8: &[u8]) -> Option<&[u8]> {
    let behind = |mark: &[u8]| Some(pkcs8.windows(mark.len()).position(|window| window == mark)? + mark.len());
    let at = behind(&[2, 1, 1, 4, 32]).or_else(|| behind(&[4, 34, 4, 32]))?;
    pkcs8.get(at..at + 32)
}

fn add_code(secrets: &mut Secrets, name: &str, kind: CodeKind, code: &str) -> Story {
    let parsed = Code::parse(kind, code).map_err(|error| Failure::unexpected("a code", error))?;
    secrets.add(name, code.as_bytes());
    secrets.add(name, parsed.secret.expose());
    Ok(())
}

/// Keys in files: the master key, the nonce key, the gate's, and what the master key opens.
fn add_keys(secrets: &mut Secrets, world: &World, state: &Path) -> Result<usize, Failure> {
    let read = |path: &Path| fs::read(path).map_err(Failure::machine(format!("read `{}`", path.display())));
    let master = read(&world.issuer.folder().join("master.key"))?;
    secrets.add(MASTER, &master);
    secrets.add(NONCE, &read(&state.join("nonce.key"))?);
    let gate: serde_json::Value =
        serde_json::from_slice(&read(&state.join("gate.json"))?).map_err(|error| Failure::unexpected("JSON", error))?;
    for whose in ["/client/key", "/server/key"] {
        let key: Vec<u8> =
            gate.pointer(whose).and_then(|key| serde_json::from_value(key.clone()).ok()).unwrap_or_default();
        let scalar = scalar(&key).ok_or_else(|| Failure::unexpected("a gate's key", whose))?;
        secrets.add(GATE_KEY, scalar);
    }
    let store = world.issuer.store_bytes()?;
    let mut opened = 0;
    for key in records::<WrappedKey>(&store, "{\"kid\":") {
        let der =
            unwrap(&master, &key).ok_or_else(|| Failure::unexpected("a key that the master key opens", &key.kid))?;
        secrets.add(ISSUER_KEY, scalar(&der).ok_or_else(|| Failure::unexpected("a key of a known kind", &key.kid))?);
        opened += 1;
    }
    // The issuer itself kept only hashes of what the TPMs were to open.
    let hashes = records::<HashedSecret>(&brace_before(&store, "\"secret_hash\":"), "{\"secret_hash\":");
    for hash in &hashes {
        secrets.add_hash("an activation secret", hash.secret_hash.0);
    }
    ensure(!hashes.is_empty(), "the hash of an activation secret", "none")?;
    Ok(opened)
}

/// Lets a member in the middle of an object be read as an object of its own.
fn brace_before(store: &[u8], member: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(store);
    let ends = text.split(member).skip(1).filter_map(|rest| rest.get(..45));
    ends.map(|value| format!("{{{member}{value}}}\n")).collect::<String>().into()
}

/// Everything that the story has written: files, output, arguments, environments.
fn all_written(world: &World, heard: Vec<Ran>, seen: Vec<Written>) -> Result<Vec<Written>, Failure> {
    // curl is the thief's hand: what stands on its command line was put there by the story.
    let is_curl = |name: &str| name.contains("of curl ") || name.contains("/curl ");
    let mut written = written_below(world.place.path())?;
    for Ran { shown, stdout, stderr, .. } in heard {
        let named = |what: &str, bytes| Written { place: format!("{what} of {shown}"), bytes, mode: None };
        written.extend([named("stdout", stdout), named("stderr", stderr), named("arguments", shown.clone().into())]);
    }
    written.extend(seen);
    written.retain(|one| !(is_curl(&one.place) && one.place.starts_with("arguments")));
    Ok(written)
}

#[test]
fn a_whole_run_leaves_no_secret_behind() -> Story {
    let recording = Recording::begin();
    let mut world = world()?;
    let watch = Watch::begin(world.place.path());
    let mut laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let robot = Machine::start(&world, "robot", Who::Bob)?;
    let (first, device) = joins(&world, &laptop, "alice", "developer")?;
    let (second, _) = joins(&world, &robot, "bob", "robot")?;
    // A code that is used already, at another machine; and one that nobody ever uses.
    robot.daypass(["enroll"]).input(first.clone()).run()?.refused(&[])?;
    let unused = world.issuer.run(["gate", "add", "other", "--resource", "https://other.example.com/", "--json"])?;
    works(&world, &laptop)?;
    let presentation = credential(&world, &laptop)?;
    let mut tokens = asks(&world, &laptop, &[])?;
    tokens.extend(asks(&world, &robot, &["--protection", "delegated"])?);
    for secret in tokens.iter().take(1).chain([&presentation, &first]) {
        misplaces_locally(&laptop, secret)?;
    }
    let (_, software) = software(&world)?;
    world.issuer.run(["key", "rotate", "token"])?;
    world.issuer.run(["device", "suspend", &device, "--reason", "lost"])?;
    // One that the agent does not hold yet.
    let reading = format!(r#"[{{"type":"git_repository","locations":["{}"],"actions":["read"]}}]"#, world.repository());
    laptop.daypass(["token", &world.gate.resource(), "--details", &reading]).run()?.refused(&["suspended"])?;
    let fetch = laptop.person.git("app", ["fetch"]);
    eventually("a refusal at the gate", || Ok(fetch.run()?.succeeded().is_err().then_some(())))?;
    world.issuer.run(["device", "resume", &device])?;
    laptop.stop_agent()?;
    laptop.start_agent()?;
    eventually("a fetch that works again", || Ok(fetch.run()?.succeeded().ok()))?;
    world.issuer.run(["device", "revoke", &device, "--yes"])?;
    robot.daypass(["leave", "--yes"]).run()?.succeeded()?;
    // What they hold in memory is written by nobody, at the end either.
    laptop.stop_agent()?;
    world.gate.stop()?;
    world.issuer.stop()?;

    let heard = recording.heard();
    let mut secrets = Secrets::new();
    add_code(&mut secrets, INVITATION, CodeKind::Invitation, &first)?;
    add_code(&mut secrets, INVITATION, CodeKind::Invitation, &second)?;
    let carol = heard.iter().find(|ran| ran.shown.contains("invite carol ")).map(|ran| text(ran, "/code"));
    add_code(&mut secrets, INVITATION, CodeKind::Invitation, &carol.transpose()?.unwrap_or_default())?;
    add_code(&mut secrets, GATE_CODE, CodeKind::Gate, &text(&unused, "/code")?)?;
    let added = heard.iter().find(|ran| ran.shown.contains("gate add gate ")).map(|ran| text(ran, "/code"));
    add_code(&mut secrets, GATE_CODE, CodeKind::Gate, &added.transpose()?.unwrap_or_default())?;
    for token in &tokens {
        secrets.add(TOKEN, token.as_bytes());
        secrets.add(TOKEN, token.rsplit('.').next().unwrap_or_default().as_bytes());
    }
    secrets.add(PRESENTATION, presentation.as_bytes());
    secrets.add(SOFTWARE, software.as_bytes());
    let state = world.gate.folder().join("gate-state");
    let opened = add_keys(&mut secrets, &world, &state)?;
    ensure(opened >= 5, "four keys of the issuer, and the new one", opened)?;

    let written = all_written(&world, heard, watch.seen()?)?;
    let at = |path: &str| world.place.path().join(path).display().to_string();
    let (root, master) = (at("issuer/root.key"), at("issuer/master.key"));
    let (nonce, gate) = (at("gate/gate-state/nonce.key"), at("gate/gate-state/gate.json"));
    let (client, proof) = (at("client/client.key"), at("client/proof.key"));
    let maker = [at("maker/ca.key"), at("maker/swtpm-localca-rootca-privkey.pem")];
    let closed = |secret, place| Home { secret, place, mode: Some(0o600) };
    let said = |secret, place| Home { secret, place, mode: None };
    let homes = [
        closed("a private key", &root),
        closed(MASTER, &master),
        closed(NONCE, &nonce),
        closed(GATE_KEY, &gate),
        closed("a private key", &gate),
        // The software client's, and those of the maker of the TPMs.
        closed("a private key", &client),
        closed("a private key", &proof),
        said("a private key", &maker[0]),
        said("a private key", &maker[1]),
        // Where it was asked for.
        said(INVITATION, "stdout of daypass-issuer invite alice *"),
        said(INVITATION, "stdout of daypass-issuer invite bob *"),
        said(INVITATION, "stdout of daypass-issuer invite carol *"),
        said("a code", "stdout of daypass-issuer invite *"),
        said(GATE_CODE, "stdout of daypass-issuer gate add *"),
        said("a code", "stdout of daypass-issuer gate add *"),
        said(TOKEN, "stdout of daypass token *"),
        said("something signed", "stdout of daypass token *"),
        said(TOKEN, "stdout of daypass proof *"),
        said("something signed", "stdout of daypass proof *"),
        // The token endpoint's answer to the software client, and the agent's to the local API.
        said(SOFTWARE, "stdout of curl *"),
        said(TOKEN, "stdout of curl *"),
        said("something signed", "stdout of curl *"),
    ];
    let files = ["issuer.log", "gate.log", "agent.log", "issuer.db", "trace-curl", "trace2"];
    let processes = ["environment of", "/daypass agent", "/daypass-gate serve", "/daypass-issuer serve"];
    // What these programs close to their own user, only root can look into.
    let all = if Who::can_be_chosen() {
        processes.as_slice()
    } else {
        daypass_tests::say("partly skipped: the environments of closed programs need root; run the tests as root");
        &[]
    };
    for what in files.iter().chain(all) {
        ensure(written.iter().any(|one| one.place.contains(what)), format!("{what} among what was read"), "not")?;
    }
    for log in ["issuer.log", "gate.log", "agent.log"] {
        let told = |one: &Written| one.place.ends_with(log) && one.bytes.windows(5).any(|word| word == b"TRACE");
        ensure(written.iter().any(told), format!("{log} with all that there is to log"), "less")?;
    }
    ensure(secrets.count() >= 10, "ten kinds of secrets", secrets.count())?;
    secrets.stand_only(&written, &homes)?;

    // And it would have been seen.
    let token = tokens.first().cloned().unwrap_or_default();
    let hex: String = token.bytes().map(|byte| format!("{byte:02x}")).collect();
    let planted = Written { place: "a planted log".to_owned(), bytes: format!("debug: {hex}").into(), mode: None };
    let opened = written.iter().find(|one| one.place == master).cloned();
    let opened = opened.map(|file| Written { mode: Some(0o640), ..file });
    let spoilt: Vec<Written> =
        written.into_iter().filter(|one| one.place != master).chain([planted]).chain(opened).collect();
    match secrets.stand_only(&spoilt, &homes) {
        Err(failure) => {
            let told = failure.to_string();
            let both = told.contains("a planted log") && told.contains("(mode 640)");
            ensure(both, "what was planted, and a file that was opened to others", told)
        }
        Ok(()) => Err(Failure::unexpected("what was planted", "nothing")),
    }
}

/// May a process of the same user open this of another's?
fn opens(process: &Process, what: &str, who: Who) -> Result<bool, Failure> {
    let shell = Act::new("/bin/sh", who).args(["-c", &format!(": < /proc/{}/{what}", process.pid())]);
    Ok(shell.run()?.code == Some(0))
}

fn core_limit(process: &Process) -> Result<String, Failure> {
    let limits =
        fs::read_to_string(format!("/proc/{}/limits", process.pid())).map_err(Failure::machine("read limits"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap_or_default();
    Ok(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Goes on only if nobody reads this process's memory, alive or dead.
fn is_closed(name: &str, process: &Process, who: Who) -> Story {
    // A program that waits for its input says nothing when it has come so far.
    eventually(&format!("{name} with its memory closed"), || {
        let closed = !opens(process, "mem", who)? && !opens(process, "environ", who)?;
        Ok((core_limit(process)?.starts_with("0 0") && closed).then_some(()))
    })
}

#[test]
fn no_program_leaves_a_core_or_lets_its_own_user_read_its_memory() -> Story {
    let world = World::start()?;
    let mut laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let (daypass, helper) = (world.programs.built("daypass"), world.programs.built("git-credential-daypass"));
    let waiting = |name: &str, act: Act| -> Result<(Process, UnixStream), Failure> {
        let (ours, theirs) = UnixStream::pair().map_err(Failure::machine("make a pair of sockets"))?;
        let service = Service::new(name, act, Ready::AtOnce, laptop.folder());
        Ok((service.start_with_input(Some(OwnedFd::from(theirs)))?, ours))
    };
    // The check itself: a program that closes nothing is open to its user. (Its `mem` may be closed by the machine's own rules.)
    let (open, _open) = waiting("cat", Act::new(Programs::system("cat")?, Who::Alice))?;
    eventually("a program that is open", || Ok(opens(&open, "environ", Who::Alice)?.then_some(())))?;

    let (enrol, _enrol) = waiting("enrol", laptop.person.act(daypass).arg("enroll"))?;
    is_closed("daypass", &enrol, Who::Alice)?;
    let (get, _get) = waiting("get", laptop.person.act(helper).arg("get"))?;
    is_closed("git-credential-daypass", &get, Who::Alice)?;
    let agent = laptop.agent().ok_or_else(|| Failure::unexpected("an agent", "none"))?;
    is_closed("the agent", agent, Who::Agent)?;
    agent.signal(nix::sys::signal::Signal::SIGABRT);
    eventually("the agent's end", || Ok(agent.ended().then_some(())))?;
    ensure(!agent.dumped_core(), "no core", "one")?;
    let gate = world.gate.process().ok_or_else(|| Failure::unexpected("a gate", "none"))?;
    is_closed("the gate", gate, Who::Server)?;
    let mut world = world;
    let issuer = world.issuer.process().ok_or_else(|| Failure::unexpected("an issuer", "none"))?;
    is_closed("the issuer", issuer, Who::Server)
}

#[test]
fn a_secret_in_the_wrong_argument_is_not_repeated() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "reader")?;
    let token = laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?.text().trim().to_owned();
    let code = world.issuer.invite("bob", PROJECT, "reader", &[])?;
    for secret in [&token, &code] {
        let url = format!("https://{secret}/");
        for arguments in [
            ["token", secret.as_str(), "--json"],
            ["token", &url, "--json"],
            ["proof", "GET", secret],
            ["proof", secret, "https://git.example.com/"],
            ["leave", "--issuer", secret],
            ["enroll", "--wait", secret.get(1..).unwrap_or_default()],
            [secret, "x", "y"],
        ] {
            let shorter = secret.get(1..).unwrap_or_default();
            laptop.daypass(arguments).run()?.refused(&[])?.says_nothing_of(&[secret, shorter])?;
        }
        for arguments in [["device", "show", secret], ["device", "approve", secret], ["key", "rotate", secret]] {
            world.issuer.act(arguments).run()?.refused(&[])?.says_nothing_of(&[secret])?;
        }
        let invite = ["invite", secret, "--project", secret, "--role", secret, "--until", secret];
        world.issuer.act(invite).run()?.refused(&[])?.says_nothing_of(&[secret])?;
        world.gate.act([secret]).run()?.refused(&[])?.says_nothing_of(&[secret])?;
        world.gate.act(["enrol", secret]).run()?.refused(&[])?.says_nothing_of(&[secret])?;
    }
    Ok(())
}

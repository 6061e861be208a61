//! What the agent reports of whoever asks it: evidence, and no boundary.

use daypass_tests::{Failure, Machine, Request, Story, Who, World, ensure};
use serde_json::Value;

fn joined(world: &World) -> Result<Machine, Failure> {
    let laptop = Machine::start(world, "laptop", Who::Alice)?;
    laptop.join(world, "alice", "developer")?;
    Ok(laptop)
}

/// Every report that stands in the issuer's store beside its events.
fn reports(world: &World) -> Result<Vec<Value>, Failure> {
    let values = world.issuer.sql("SELECT value FROM personal_fields WHERE name = 'caller' ORDER BY event")?;
    let read = |value: &String| {
        serde_json::from_str(value).map_err(|error| Failure::unexpected("a report", error.to_string()))
    };
    values.iter().map(read).collect()
}

fn executable(process: Option<&Value>) -> String {
    let text = process.and_then(|process| process.get("executable")?.as_str());
    text.unwrap_or("nothing").to_owned()
}

fn token_id(token: &str) -> String {
    let payload = token.split('.').nth(1).and_then(daypass_proto::encoding::from_base64url).unwrap_or_default();
    let claims: Value = serde_json::from_slice(&payload).unwrap_or_default();
    claims.get("jti").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A token as `daypass` gets it, and one as curl does.
fn two_tokens(world: &World, laptop: &Machine) -> Result<(String, String), Failure> {
    let resource = world.gate.resource();
    let first = laptop.daypass(["token", &resource]).run()?.succeeded()?.text().trim().to_owned();
    let body = format!(r#"{{"resource":"{resource}"}}"#);
    let second = Request::local(laptop.person.who(), &laptop.socket(), "/v1/tokens")?.body(body).send()?.status(200)?;
    let second = second.json()?.get("access_token").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok((token_id(&first), token_id(&second)))
}

#[test]
fn what_an_unprivileged_agent_cannot_see_is_unavailable_and_nothing_fails() -> Story {
    let world = World::start()?;
    let laptop = joined(&world)?;
    let (first, second) = two_tokens(&world, &laptop)?;
    let reports = reports(&world)?;
    let report = reports.last().ok_or_else(|| Failure::unexpected("a report", "none"))?;
    ensure(report.get("identified_by").and_then(Value::as_str) != Some("nothing"), "a process", report)?;
    let seen: Vec<String> = reports.iter().map(|report| executable(report.get("peer"))).collect();
    if Who::can_be_chosen() {
        // Another uid's executable: the kernel does not say.
        ensure(seen.iter().all(|seen| seen == "unavailable"), "unavailable", report)?;
        ensure(first == second, "one token for both, who look alike", format!("{first} {second}"))?;
    } else {
        // Of one's own processes it does, but for those that close their memory, as all of ours do.
        ensure(seen.iter().any(|seen| seen.ends_with("/curl")), "the executable of a process of one's own", report)?;
        ensure(first != second, "a token for each", first)?;
    }
    Ok(())
}

#[test]
fn the_inspector_sees_git_behind_the_helper() -> Story {
    if Who::skip_unless_chosen("the inspector") {
        return Ok(());
    }
    let world = World::start()?;
    let mut laptop = joined(&world)?;
    laptop.install_inspector()?;
    laptop.daypass(["status", "--json"]).run()?.succeeded()?.says(&["\"inspector\": true"])?;
    let (first, second) = two_tokens(&world, &laptop)?;
    ensure(first != second, "what one program got is not handed to another", &first)?;
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;

    let reports = reports(&world)?;
    let of = |name: &str| {
        let behind = format!("/{name}");
        reports.iter().rev().find(|report| executable(report.get("peer")).ends_with(&behind)).cloned()
    };
    for name in ["daypass", "curl", "git-credential-daypass"] {
        let report =
            of(name).ok_or_else(|| Failure::unexpected(format!("a report of {name}"), format!("{reports:?}")))?;
        let hash = report.pointer("/peer/sha256").and_then(Value::as_str).unwrap_or_default();
        ensure(hash.len() == 64, "the hash of its executable", &report)?;
        let via = report.get("via").and_then(Value::as_array).cloned().unwrap_or_default();
        let through: Vec<String> = via.iter().map(|process| executable(Some(process))).collect();
        match name {
            // Not ours: it asks for itself.
            "curl" => ensure(through.is_empty(), "nothing behind it", &report)?,
            "git-credential-daypass" => {
                ensure(through.iter().any(|path| path.contains("git")), "git behind our helper", &report)?;
            }
            _ => ensure(!through.is_empty(), "whoever started it", &report)?,
        }
    }

    // Without it things are unavailable again, and go on.
    laptop.kill_inspector();
    laptop.daypass(["status"]).run()?.succeeded()?.says(&["inspector"])?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?;
    Ok(())
}

#[test]
fn a_report_that_does_not_read_is_refused() -> Story {
    let world =
        World::build(false, |issuer, _| issuer.configure("allow_software_keys = false", "allow_software_keys = true"))?;
    let client = world.software_client("client", "developer")?;
    let (resource, now) = (world.gate.resource(), world.now());
    let none = r#"{"executable":"unavailable","sha256":"unavailable","unit":"unavailable"}"#;
    let good = format!(r#"{{"identified_by":"nothing","peer":{none},"via":[]}}"#);
    client.ask(&resource, now, &[("daypass_caller", &good)])?.status(200)?;
    // RFC 6749 section 3.2: a field without a value is one that was left out.
    client.ask(&resource, now, &[("daypass_caller", "")])?.status(200)?;
    client.ask(&resource, now, &[])?.status(200)?;
    for bad in ["x", "{}", &good.replace("nothing", "magic"), &format!("{good}{}", " ".repeat(20_000))] {
        client.ask(&resource, now, &[("daypass_caller", bad)])?.status(400)?.says(&["daypass_caller"])?;
    }
    Ok(())
}

//! Deciding from one's own machine: the first administrator, an owner, and what each of them reaches.

use daypass_tests::{Failure, Machine, OWNER, PROJECT, Ran, Story, Who, World, ensure};
use serde_json::{Value, json};

/// The code that a machine shows.
fn code_of(machine: &Machine) -> Result<String, Failure> {
    let status = machine.daypass(["status", "--refresh", "--json"]).run()?.succeeded()?;
    let code = status.json()?.pointer("/enrolments/0/comparison_code").and_then(Value::as_str).map(str::to_owned);
    code.ok_or_else(|| status.surprise("a code to compare"))
}

fn word(answer: &Ran, place: &str) -> Result<String, Failure> {
    let word = answer.json()?.pointer(place).and_then(Value::as_str).map(str::to_owned);
    word.ok_or_else(|| answer.clone().surprise(place))
}

#[test]
fn the_first_administrator_lets_an_owner_on_who_decides_about_their_project() -> Story {
    let world = World::start()?;
    let issuer = &world.issuer;
    // Nobody is there yet: the issuer's machine makes the first.
    issuer
        .act(["invite", "ada", "--project", "administration", "--role", "administrator", "--until", "7d"])
        .run()?
        .refused(&["admin bootstrap"])?;
    let made = issuer.act(["admin", "bootstrap", "ada", "--reason", "first", "--json"]).run()?.succeeded()?;
    let desk = Machine::start(&world, "desk", Who::Alice)?;
    desk.enrol(&word(&made, "/code")?)?;
    desk.daypass(["admin", "administrator", "list"]).run()?.refused(&["waits for approval"])?;
    let device = issuer.device_of("ada")?;
    let code = code_of(&desk)?;
    issuer.act(["device", "approve", &device, "--code", &code]).run()?.succeeded()?;
    let listed = desk.daypass(["admin", "administrator", "list", "--json"]).run()?.succeeded()?;
    let first = listed.json()?["items"][0].clone();
    ensure(first["collaborator"] == "ada" && first["acting"] == true, "an administrator", &listed)?;
    // Another bootstrap is possible, and loud.
    let again = issuer.act(["admin", "bootstrap", "carol"]).run()?.succeeded()?;
    again.says(&["warning: there are 1 administrator(s) already"])?;
    issuer.act(["admin", "remove", "ada", "--reason", "x", "--yes"]).run()?.refused(&["last administrator"])?;

    // An owner's device: invited here, let on by the administrator from another machine.
    let invited = issuer.invite(OWNER, PROJECT, "owner", &[])?;
    let office = Machine::start(&world, "office", Who::Bob)?;
    office.enrol(&invited)?;
    let owners = issuer.device_of(OWNER)?;
    desk.daypass(["admin", "device", "approve", &owners, "--code", "AAAA-AAAA"])
        .run()?
        .refused(&["not the code of this machine"])?;
    let code = code_of(&office)?;
    office.daypass(["admin", "device", "approve", &owners, "--code", &code]).run()?.refused(&["waits for approval"])?;
    desk.daypass(["admin", "device", "approve", &owners, "--code", &code]).run()?.succeeded()?.says(&["approved"])?;

    // A collaborator: the owner compares, approves, sees and ends; the administrator gives nothing in a project that is not theirs.
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.enrol(&issuer.invite("dave", PROJECT, "developer", &[])?)?;
    let daves = issuer.device_of("dave")?;
    let shown = desk.daypass(["admin", "grant", "list", "--collaborator", "dave", "--json"]).run()?.succeeded()?;
    let grant = word(&shown, "/items/0/grant")?;
    desk.daypass(["admin", "grant", "approve", &grant]).run()?.refused(&["for the owners of a project"])?;
    let code = code_of(&laptop)?;
    let approve = ["admin", "device", "approve", &daves, "--code", &code, "--reason", "knows him"];
    // Nobody is there to see what it would give.
    office.daypass(approve).arg("--with-grants").run()?.code(2)?.says(&["as developer", "--yes"])?;
    let approved = office.daypass(approve).run()?.succeeded()?;
    approved.says(&["is requested: `daypass admin grant approve"])?;
    let another = Machine::start(&world, "tablet", Who::Alice)?;
    another.enrol(&issuer.invite("erin", PROJECT, "developer", &[])?)?;
    let (erins, code) = (issuer.device_of("erin")?, code_of(&another)?);
    let both = ["admin", "device", "approve", &erins, "--code", &code, "--with-grants", "--yes"];
    office.daypass(both).run()?.succeeded()?.says(&["as developer is active"])?;
    let resource = world.gate.resource();
    laptop.daypass(["token", &resource]).run()?.refused(&["nothing is granted"])?;
    office.daypass(["admin", "grant", "approve", &grant]).run()?.succeeded()?.says(&["is now active"])?;
    let token = laptop.daypass(["token", &resource]).run()?.succeeded()?.text().trim().to_owned();
    ensure(crate::conformance::introspected(&world, &token)?["active"] == true, "a token that lives", &token)?;
    // Nobody is there to ask, so it is only shown.
    let unsure = office.daypass(["admin", "grant", "revoke", &grant]).run()?.code(2)?;
    unsure.says(&["as developer", "--yes"])?;
    let ended = office.daypass(["admin", "grant", "revoke", &grant, "--yes", "--reason", "done"]).run()?.succeeded()?;
    let ended = ended.says(&["is now revoked"])?;
    ensure(
        crate::conformance::introspected(&world, &token)? == json!({"active": false}),
        "no token that lives",
        &ended,
    )?;
    office.daypass(["admin", "policy", "list"]).run()?.refused(&["only an administrator"])?;
    laptop.daypass(["admin", "grant", "list"]).run()?.code(8)?;

    // Who decided, and from which machine, is on the ledger; so is what was refused.
    let events = issuer.act(["ledger", "list", "--kind", "grant_revoked", "--json"]);
    let listed = daypass_tests::eventually("the event with its number", || {
        let listed = events.run()?.succeeded()?.text();
        Ok((!listed.trim().is_empty()).then_some(listed))
    })?;
    let event: Value = serde_json::from_str(listed.trim()).unwrap_or_default();
    ensure(event["fields"]["by_device"] == json!(owners) && event["personal"]["by"] == OWNER, "who decided", &listed)?;
    let refused = issuer.act(["ledger", "list", "--kind", "administration_refused", "--json"]).run()?.succeeded()?;
    refused.says(&["grant_approve", "not_theirs", "code_differs"])?;

    // The agent goes to the admin API itself, and hands out nothing for it.
    let admin = issuer.mtls_url();
    for command in [["token", &admin].as_slice(), &["proof", "POST", &format!("{admin}/oauth/token")]] {
        desk.daypass(command).run()?.code(8)?;
    }
    Ok(())
}

//! Two owners, each at their own machine, decide what one of them alone must not.

use daypass_tests::{
    Failure, Issuer, Machine, OWNER, PROJECT, Ran, Story, Who, World, ensure, eventually, on_behalf_of,
};
use serde_json::{Value, json};

/// Who owns the project beside [`OWNER`].
const OTHER: &str = "otto@example.com";

pub(crate) fn word(answer: &Ran, place: &str) -> Result<String, Failure> {
    let word = answer.json()?.pointer(place).and_then(Value::as_str).map(str::to_owned);
    word.ok_or_else(|| answer.clone().surprise(place))
}

/// Enrols a machine by this code, and lets it on with its code compared on the issuer's machine.
pub(crate) fn lets_on(issuer: &Issuer, machine: &Machine, code: &str, who: &str) -> Story {
    machine.enrol(code)?;
    let shown = machine.daypass(["status", "--refresh", "--json"]).run()?.succeeded()?;
    let code = word(&shown, "/enrolments/0/comparison_code")?;
    issuer.run(["device", "approve", &issuer.device_of(who)?, "--code", &code]).map(drop)
}

/// Two owners of the sample project, whose text is changed by `also`, each at their own machine.
pub(crate) fn two_owners(world: &World, also: impl FnOnce(String) -> String) -> Result<[Machine; 2], Failure> {
    let issuer = &world.issuer;
    let text = std::fs::read_to_string(issuer.project(PROJECT)).map_err(Failure::machine("read a project"))?;
    issuer
        .write_project(PROJECT, &also(text.replace(&format!("\"{OWNER}\""), &format!("\"{OWNER}\", \"{OTHER}\""))))?;
    let office = |name: &str, owner: &str| -> Result<Machine, Failure> {
        let machine = Machine::start(world, name, Who::Bob)?;
        lets_on(issuer, &machine, &issuer.invite(owner, PROJECT, "owner", &[])?, owner)?;
        Ok(machine)
    };
    Ok([office("office", OWNER)?, office("attic", OTHER)?])
}

#[test]
fn what_a_sensitive_role_gives_and_its_extension_take_two_owners() -> Story {
    let world = World::start()?;
    let issuer = &world.issuer;
    let sensitive = "[roles.developer]\nsensitivity = \"sensitive\"";
    let [olga, otto] = two_owners(&world, |text| text.replace("[roles.developer]", sensitive))?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    lets_on(issuer, &laptop, &issuer.invite("dave", PROJECT, "developer", &["--until", "2d"])?, "dave")?;

    let waiting = olga.daypass(["admin", "grant", "list", "--collaborator", "dave", "--json"]).run()?.succeeded()?;
    let grant = word(&waiting, "/items/0/grant")?;
    let approve = |owner: &Machine, what: &str, id: &str| owner.daypass(["admin", what, "approve", id]).run();
    approve(&olga, "grant", &grant)?.succeeded()?.says(&["waits for 1 more, of otto@example.com"])?;
    approve(&olga, "grant", &grant)?.refused(&["has approved this already"])?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.refused(&["nothing is granted"])?;
    approve(&otto, "grant", &grant)?.succeeded()?.says(&["is now active"])?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?;

    // What it got by two is not prolonged by one, nor by an account for one.
    laptop.daypass(["extend", "--for", "30d", "--reason", "the audit takes longer"]).run()?.succeeded()?;
    let listed = olga.daypass(["admin", "request", "list", "--state", "requested", "--json"]).run()?.succeeded()?;
    let request = word(&listed, "/items/0/request")?;
    let shown = eventually("what the token was for", || {
        let shown = olga.daypass(["admin", "request", "show", &request, "--json"]).run()?.succeeded()?;
        let scopes = shown.json()?.pointer("/grants/0/scopes").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(scopes.iter().any(|scope| scope["tokens"].as_u64() >= Some(1)).then_some(shown))
    })?;
    ensure(shown.json()?["approvals_missing"] == 2, "two approvals missing", &shown)?;
    issuer.act(["request", "approve", &request]).args(on_behalf_of(OWNER)).run()?.refused(&["2 approvers"])?;
    laptop.daypass(["admin", "request", "approve", &request]).run()?.code(8)?;
    let until = || -> Result<i64, Failure> {
        let listed = issuer.run(["grant", "list", "--collaborator", "dave", "--json"])?;
        let until = listed.json()?.pointer("/0/until").and_then(Value::as_i64);
        until.ok_or_else(|| listed.surprise("an end"))
    };
    let before = until()?;
    let narrow = ["admin", "request", "narrow", &request, "--until", "14d", "--reason", "two weeks will do"];
    olga.daypass(narrow).run()?.succeeded()?.says(&["waits for 1 more, of otto@example.com"])?;
    ensure(until()? == before, "the same end", before)?;
    approve(&olga, "request", &request)?.refused(&["has approved this already"])?;
    approve(&otto, "request", &request)?.succeeded()?.says(&["is now narrowed", "is active until"])?;
    ensure(until()? > before + 10 * 86_400, "a later end", until()?)?;
    approve(&otto, "request", &request)?.refused(&["waits for nobody"])?;
    laptop.daypass(["requests"]).run()?.succeeded()?.says(&["is narrowed", "two weeks will do"])?;

    // Nobody decides their own: an owner's request waits for the other.
    let ask = ["request", "--project", PROJECT, "--role", "reader", "--reason", "to look", "--json"];
    let own = word(&olga.daypass(ask).run()?.succeeded()?, "/request")?;
    for verb in ["approve", "refuse"] {
        olga.daypass(["admin", "request", verb, &own]).run()?.refused(&["own"])?;
    }
    let refused = otto.daypass(["admin", "request", "refuse", &own, "--reason", "look at mine", "--json"]).run()?;
    ensure(refused.succeeded()?.json()?["state"] == json!("refused"), "refused", &own)?;
    olga.daypass(["requests"]).run()?.succeeded()?.says(&["is refused", "look at mine"]).map(drop)
}

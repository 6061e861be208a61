//! Longer, or more: whoever needs it asks, an owner sees what was used and decides, and nothing is extended by itself.

use daypass_tests::{Failure, Machine, OWNER, PROJECT, Ran, Story, Who, World, ensure, eventually, on_behalf_of};
use serde_json::{Value, json};

fn text(ran: &Ran, pointer: &str) -> Result<String, Failure> {
    let found = ran.json()?.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| ran.clone().surprise(pointer))
}

fn say(world: &World, verb: &str, request: &str, more: &[&str]) -> Result<Ran, Failure> {
    world.issuer.act(["request", verb, request]).args(on_behalf_of(OWNER)).args(more).run()
}

#[test]
fn an_extension_is_asked_for_looked_at_and_narrowed() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "developer")?;
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    let extend = |more: &[&str]| laptop.daypass(["extend", "--reason", "the audit takes longer"]).args(more).run();
    extend(&["--for", "91d"])?.refused(&["allows until"])?.code(8)?;
    extend(&["--until", "soon"])?.refused(&["is not an end"])?;
    laptop.daypass(["extend", "--for", "30d"]).run()?.refused(&["--reason"])?.code(2)?;
    extend(&["--for", "30d"])?.succeeded()?.says(&["is requested", "waits for    olga@example.com"])?;
    extend(&["--for", "20d"])?.refused(&["waits already"])?;

    let listed = world.issuer.run(["request", "list", "--state", "requested", "--json"])?;
    let request = text(&listed, "/0/request")?;
    // What was used is read from the ledger, where an event has its number a moment after it was decided.
    let shown = eventually("what the clone's token was for", || {
        let shown = world.issuer.run(["request", "show", &request, "--json"])?;
        let scopes = shown.json()?.pointer("/grants/0/scopes").and_then(Value::as_array).cloned().unwrap_or_default();
        let used = |action: &str| {
            let of = scopes.iter().find(|scope| scope.pointer("/scope/action") == Some(&json!(action)));
            of.and_then(|scope| scope.pointer("/used/tokens")).and_then(Value::as_u64)
        };
        let at_gates = |action: &str| {
            let of = scopes.iter().find(|scope| scope.pointer("/scope/action") == Some(&json!(action)));
            of.and_then(|scope| scope.pointer("/used/gates/requests")).and_then(Value::as_u64)
        };
        let in_tokens = used("push") >= Some(1) && used("delete") >= Some(1);
        if !in_tokens || at_gates("read") < Some(1) {
            return Ok(None);
        }
        // The gate knows that nothing was pushed.
        ensure(at_gates("push") == Some(0) && at_gates("delete") == Some(0), "no push at gates", &shown)?;
        Ok(Some(shown))
    })?;
    let before = shown.json()?.pointer("/grants/0/until").cloned();
    world.issuer.run(["request", "show", &request])?.says(&[
        "the audit takes longer",
        "IN TOKENS",
        "AT GATES",
        "push",
    ])?;

    let unnamed = world.issuer.act(["request", "approve", &request]).run()?;
    unnamed.refused(&["is the decision of an owner"])?.code(3)?;
    say(&world, "narrow", &request, &["--until", "40d"])?.refused(&["no narrowing"])?.code(3)?;
    let narrowed = say(&world, "narrow", &request, &["--until", "14d", "--json"])?.succeeded()?;
    ensure(narrowed.json()?.pointer("/request/state") == Some(&json!("narrowed")), "narrowed", &narrowed)?;
    say(&world, "approve", &request, &[])?.refused(&["is narrowed, and waits for nobody"])?.code(3)?;
    let grants = world.issuer.run(["grant", "list", "--json"])?;
    let after = grants.json()?.pointer("/0/until").cloned();
    ensure(after.as_ref().and_then(Value::as_i64) > before.as_ref().and_then(Value::as_i64), "a later end", &grants)?;
    laptop.daypass(["requests"]).run()?.succeeded()?.says(&[
        "is narrowed",
        "narrowed to  developer until",
        "said so on the phone",
    ])?;
    Ok(())
}

#[test]
fn another_role_is_asked_for_in_the_same_way_and_taken_back() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "reader")?;
    let ask = ["request", "--project", PROJECT, "--role", "developer", "--reason", "to fix what I found", "--json"];
    let asked = laptop.daypass(ask).run()?.succeeded()?;
    let request = text(&asked, "/request")?;
    laptop.daypass(["requests", "--withdraw", &request]).run()?.succeeded()?.says(&["is withdrawn"])?;
    say(&world, "approve", &request, &[])?.refused(&["is withdrawn"])?.code(3)?;

    let again = text(&laptop.daypass(ask).run()?.succeeded()?, "/request")?;
    say(&world, "approve", &again, &[])?.succeeded()?.says(&["is now approved", "as developer) is active until"])?;
    laptop.daypass(["status", "--refresh"]).run()?.succeeded()?.says(&["as developer, active", "as reader, active"])?;
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    laptop.person.commits("app", "notes.md", "fixed\n")?;
    laptop.person.git("app", ["push", "origin", "HEAD:refs/heads/alice/fix"]).run()?.succeeded()?;
    Ok(())
}

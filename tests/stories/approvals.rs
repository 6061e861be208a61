//! Who says yes: somebody to the device, and the project's owners to what it gets.

use daypass_tests::{Failure, Machine, OWNER, PROJECT, Ran, Story, Who, World, ensure, eventually, on_behalf_of};

/// The one grant of somebody.
fn grant_of(world: &World, collaborator: &str) -> Result<String, Failure> {
    let listed = world.issuer.run(["grant", "list", "--collaborator", collaborator, "--json"])?;
    let grant = listed.json()?.pointer("/0/grant").and_then(|grant| grant.as_str()).map(str::to_owned);
    grant.ok_or_else(|| listed.surprise("a grant"))
}

fn approve(world: &World, grant: &str, more: &[&str]) -> Result<Ran, Failure> {
    world.issuer.act(["grant", "approve", grant]).args(more).run()
}

/// How many events of this kind there are.
fn events(world: &World, kind: &str, count: usize) -> Result<String, Failure> {
    eventually(&format!("{count} events of kind {kind} with their numbers"), || {
        let listed = world.issuer.run(["ledger", "list", "--kind", kind, "--json"])?.text();
        Ok((listed.lines().count() == count).then_some(listed))
    })
}

#[test]
fn an_approved_machine_gets_nothing_before_an_owner_approves_what_it_gets() -> Story {
    let world = World::start()?;
    world.issuer.configure("approve_on_behalf = true", "approve_on_behalf = false")?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let shown = world.issuer.run([
        "invite",
        "alice",
        "--project",
        PROJECT,
        "--role",
        "developer",
        "--until",
        "7d",
        "--dry-run",
    ])?;
    shown.says(&["it waits for approval by olga@example.com", "the machine waits for approval, too"])?;
    laptop.enrol(&world.issuer.invite("alice", PROJECT, "developer", &[])?)?;
    let (device, grant) = (world.issuer.device_of("alice")?, grant_of(&world, "alice")?);

    // Whoever compares the code says yes to the machine; that gives it nothing.
    let approved = world.issuer.run(["device", "approve", &device, "--yes"])?;
    approved.says(&[&grant, "waits for 1 approval(s) by its owners: olga@example.com"])?;
    laptop.daypass(["status", "--refresh"]).run()?.succeeded()?.says(&["requested"])?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.refused(&["nothing is granted"])?;
    let waiting = laptop.daypass(["enroll", "--wait"]).start();

    // An account on the issuer's machine is no owner, and decides for none unless somebody let it.
    approve(&world, &grant, &[])?
        .refused(&["is the decision of an owner (olga@example.com)", "approve_on_behalf"])?
        .code(3)?;
    approve(&world, &grant, &["--on-behalf-of", OWNER])?.refused(&["--reason"])?.code(2)?;
    approve(&world, &grant, &on_behalf_of(OWNER))?.refused(&["is switched off"])?.code(3)?;
    world.issuer.configure("approve_on_behalf = false", "approve_on_behalf = true")?;
    world.issuer.run(["check"])?.says(&["approve_on_behalf"])?;
    for (who, words) in [("mallory@example.com", "is not among those who may approve"), ("alice", "not among")] {
        approve(&world, &grant, &on_behalf_of(who))?.refused(&[words])?.code(3)?;
    }
    approve(&world, &grant, &on_behalf_of(OWNER))?.succeeded()?.says(&["is active until"])?;
    waiting.finish()?.succeeded()?.says(&["approved"])?;
    laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?;
    approve(&world, &grant, &on_behalf_of(OWNER))?.refused(&["is active and waits for no approval"])?.code(3)?;

    let events_of = events(&world, "grant_approved", 1)?;
    ensure(
        events_of.contains("on_behalf_of") && events_of.contains("said so on the phone"),
        "who and why",
        &events_of,
    )?;
    let refused = events(&world, "approval_refused", 3)?;
    ensure(
        refused.matches("not_an_owner").count() == 2 && refused.contains("approve_on_behalf_off"),
        "each attempt",
        &refused,
    )?;
    let shown = world.issuer.run(["grant", "show", &grant, "--json"])?;
    let by = shown.json()?.pointer("/approvals/0/by").cloned();
    ensure(by == Some(OWNER.into()), "who approved", &shown)
}

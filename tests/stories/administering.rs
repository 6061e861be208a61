//! What owners and administrators look at and end from their own machines: phases, gates, people with any name, notifications, and the ledger by its times.

use daypass_tests::{Failure, Machine, OWNER, PROJECT, Story, Who, World, ensure, eventually};
use serde_json::{Value, json};

use crate::owners::{lets_on, word};

#[test]
fn a_phase_a_gate_and_somebody_with_an_odd_name_are_ended_from_ones_own_machine() -> Story {
    let world = World::start()?;
    let issuer = &world.issuer;
    let text = std::fs::read_to_string(issuer.project(PROJECT)).map_err(Failure::machine("read a project"))?;
    // Whoever invites does not approve it.
    let two = format!("{OWNER}\", \"otto@example.com");
    let phase = "[phases.build]\nends = \"2099-12-31[Europe/Berlin]\"\n\n[roles.developer]";
    issuer.write_project(PROJECT, &text.replace("[roles.developer]", phase).replace(OWNER, &two))?;
    let made = issuer.run(["admin", "bootstrap", "ada", "--json"])?;
    let desk = Machine::start(&world, "desk", Who::Alice)?;
    lets_on(issuer, &desk, &word(&made, "/code")?, "ada")?;
    let office = Machine::start(&world, "office", Who::Bob)?;
    lets_on(issuer, &office, &issuer.invite(OWNER, PROJECT, "owner", &[])?, OWNER)?;

    // An owner binds an invitation to a phase, to uses and to a network, and sees it in what they approve.
    let invite = |who: &str, more: &[&str]| {
        let line = ["admin", "invite", who, "--project", PROJECT, "--role", "reader", "--json"];
        office.daypass(line).args(more).run()?.succeeded()
    };
    let narrow = ["--phase", "build", "--until", "2d", "--uses", "7", "--from-network", "127.0.0.0/8"];
    let invited = invite("dave", &narrow)?;
    let grant = word(&invited, "/invitation/grant")?;
    let shown = office.daypass(["admin", "grant", "show", &grant]).run()?.succeeded()?;
    shown.says(&["phase           build", "tokens          7 at most", "from            127.0.0.0/8"])?;
    let listed = office.daypass(["admin", "phase", "list"]).run()?.succeeded()?;
    listed.says(&["PROJECT", "apollo   build  running"])?;
    let end = ["admin", "phase", "end", PROJECT, "build", "--reason", "it is built"];
    office.daypass(end).run()?.code(2)?.says(&["1 open invitation(s)", "--yes"])?;
    office.daypass(end).args(["--yes"]).run()?.succeeded()?.says(&["ended of phase `build`"])?;
    let state = word(&office.daypass(["admin", "grant", "show", &grant, "--json"]).run()?.succeeded()?, "/state")?;
    ensure(state == "revoked", "a grant that ended with its phase", &state)?;

    // A name that no path would take.
    let odd = "erin/../x;y?z";
    invite(odd, &["--until", "2d"])?;
    let offboard = ["admin", "offboard", odd, "--reason", "left"];
    office.daypass(offboard).args(["--yes"]).run()?.refused(&["only an administrator"])?;
    desk.daypass(offboard).args(["--yes"]).run()?.succeeded()?.says(&["1 open invitation(s)"])?;

    // Who is told of nothing has no notifications; they are an administrator's to look at.
    desk.daypass(["admin", "notification", "list"]).run()?.succeeded()?.says(&["MESSAGE"])?;
    desk.daypass(["admin", "notification", "retry", "--all"]).run()?.succeeded()?.says(&["0 notification(s)"])?;
    desk.daypass(["admin", "notification", "drop", "msg_1", "--yes"]).run()?.refused(&["not tried any more"])?;
    office.daypass(["admin", "notification", "list"]).run()?.refused(&["only an administrator"])?;

    // A gate that is taken out is told nothing more.
    let gates = desk.daypass(["admin", "gate", "list", "--json"]).run()?.succeeded()?;
    let gate = word(&gates, "/items/0/gate")?;
    ensure(gates.json()?["items"][0]["state"] == "enrolled", "an enrolled gate", &gates)?;
    desk.daypass(["admin", "gate", "remove", &gate]).run()?.code(2)?.says(&[&world.gate.resource()])?;
    let remove = ["admin", "gate", "remove", &gate, "--yes", "--reason", "moved"];
    desk.daypass(remove).run()?.succeeded()?.says(&["is now removed"])?;
    let again = issuer.act(["gate", "add", "own", "--resource", &issuer.mtls_url()]).run()?;
    again.refused(&["is this issuer itself"])?;

    // Who did it, when: found by times.
    let found = |more: &[&str]| -> Result<Vec<Value>, Failure> {
        let line = ["admin", "ledger", "list", "--kind", "gate_removed", "--json"];
        let ran = desk.daypass(line).args(more).run()?.succeeded()?;
        Ok(ran.json()?["items"].as_array().cloned().unwrap_or_default())
    };
    let events = eventually("the event with its number", || {
        let events = found(&["--since", "1h"])?;
        Ok((!events.is_empty()).then_some(events))
    })?;
    ensure(
        events[0]["personal"]["why"] == "moved" && events[0]["personal"]["by"] == json!("ada"),
        "who and why",
        json!(events),
    )?;
    ensure(found(&["--until", "1h"])?.is_empty(), "nothing an hour ago", json!(events))
}

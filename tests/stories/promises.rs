//! The token's promise: the agent looks whether its tokens' events stand in the issuer's ledger, and whether the ledger only grows. First with an honest
//! issuer, then with an operator who changes the store behind everybody's back, then with one who restores a backup.

use std::time::Duration;

use daypass_tests::{Failure, Machine, PROJECT, Ran, Story, Who, World, ensure, eventually};
use serde_json::Value;

struct Scene {
    world: World,
    laptop: Machine,
}

impl Scene {
    fn start() -> Result<Self, Failure> {
        let world = World::with_clock()?;
        let laptop = Machine::start(&world, "laptop", Who::Alice)?;
        laptop.join(&world, "alice", "developer")?;
        let scene = Self { world, laptop };
        scene.settled()?.code(0)?;
        Ok(scene)
    }

    fn check(&self) -> Result<Ran, Failure> {
        self.laptop.daypass(["ledger", "check"]).run()
    }

    /// A check after every event has its checkpoint.
    fn settled(&self) -> Result<Ran, Failure> {
        let issuer = &self.world.issuer;
        eventually("a checkpoint of all events", || {
            let rows = issuer.sql(
                "SELECT (SELECT COUNT(*) FROM events) - COALESCE(MAX(size), 0) FROM checkpoints \
                 WHERE note IS NOT NULL AND origin = (SELECT origin FROM ledger)",
            )?;
            Ok((rows == ["0"]).then_some(()))
        })?;
        self.check()
    }

    /// A token that the agent does not have yet.
    fn token(&self) -> Result<(), Failure> {
        self.world.advance(Duration::from_secs(3))?;
        self.laptop.daypass(["token", &self.world.gate.resource(), "--min-ttl", "299"]).run()?.succeeded()?;
        Ok(())
    }

    fn ledger(&self) -> Result<Value, Failure> {
        let status = self.laptop.daypass(["status", "--json"]).run()?.succeeded()?.json()?;
        Ok(status.pointer("/enrolments/0/ledger").cloned().unwrap_or_default())
    }

    fn number(&self, name: &str) -> Result<u64, Failure> {
        Ok(self.ledger()?.get(name).and_then(Value::as_u64).unwrap_or_default())
    }

    /// Waits until the agent has found this by itself.
    fn finds(&self, kind: &str) -> Story {
        eventually(kind, || {
            let ledger = self.ledger()?;
            let kinds = ledger.get("findings").and_then(Value::as_array).cloned().unwrap_or_default();
            Ok(kinds.iter().any(|finding| finding.get("kind").is_some_and(|found| found == kind)).then_some(()))
        })
    }

    /// The operator stops the issuer, does what he likes, and starts it again.
    fn meanwhile(&mut self, act: impl FnOnce(&World) -> Story) -> Story {
        self.world.issuer.stop()?;
        act(&self.world)?;
        self.world.issuer.serve()
    }
}

#[test]
fn a_token_s_event_is_looked_for_within_the_delay_and_a_ledger_that_grows_is_all_right() -> Story {
    let mut scene = Scene::start()?;
    let before = scene.number("size")?;
    scene.token()?;
    // Nobody has to ask.
    scene.world.advance(Duration::from_secs(120))?;
    eventually("the token's event to be shown", || Ok((scene.number("outstanding")? == 0).then_some(())))?;
    ensure(scene.number("size")? > before, "a ledger that grew", scene.ledger()?)?;
    scene.check()?.says(&["events, checked"])?.code(0)?;

    // What the agent keeps is what the issuer signs, and others can compare it.
    let note = scene.laptop.daypass(["ledger", "show"]).run()?.succeeded()?.text();
    let kept = scene.world.issuer.put("kept.txt", &note)?.display().to_string();
    scene.world.issuer.run(["ledger", "verify", "--checkpoint", &kept])?.says(&["all good"])?;

    // A new checkpoint key needs nobody's help.
    scene.world.issuer.run(["key", "rotate", "checkpoint"])?;
    scene.world.issuer.invite("bob", PROJECT, "reader", &[])?;
    scene.settled()?.code(0)?;

    // An issuer that is away has forked nothing; it is said since when, and what it promised is not forgotten meanwhile.
    scene.token()?;
    scene.laptop.kill_agent();
    scene.world.issuer.kill();
    scene.laptop.start_agent()?;
    scene.check()?.says(&["cannot be checked since"])?.code(10)?;
    scene.laptop.daypass(["status"]).run()?.succeeded()?.says(&["cannot be checked since"])?;
    ensure(scene.number("outstanding")? == 1, "a promise that outlives the agent", scene.ledger()?)?;
    scene.world.issuer.serve()?;
    scene.settled()?.code(0)?;
    ensure(scene.number("outstanding")? == 0, "no promise left", scene.ledger()?)?;
    ensure(!scene.laptop.agent_log().contains("ERROR daypass"), "nothing that is an error", scene.laptop.agent_log())
}

#[test]
fn an_operator_who_rewrites_the_ledger_is_found_by_whoever_saw_it() -> Story {
    let mut scene = Scene::start()?;
    // An event is taken out, and everything numbered and signed anew, by the right key. More events come, so that it is longer than before.
    scene.meanwhile(|world| world.issuer.rewrite("DELETE FROM events WHERE kind = 'invited'"))?;
    for name in ["bob", "carol", "dave"] {
        scene.world.issuer.invite(name, PROJECT, "reader", &[])?;
    }
    scene.settled()?;
    scene.world.advance(Duration::from_secs(2 * 3600))?;
    scene.finds("inconsistent")?;
    scene.check()?.refused(&["does not begin with", "ledger forked"])?.code(14)?;
    scene.laptop.daypass(["status"]).run()?.succeeded()?.says(&["FOUND", "does not begin with", "next step"])?;
    scene.laptop.daypass(["doctor"]).run()?.says(&["FAILED", "ledger"])?;
    // It reports and does not judge: tokens are served.
    scene.token()?;
    // However often it looks, it says it once.
    for _ in 0..3 {
        scene.check()?.code(14)?;
    }
    let said = |scene: &Scene| scene.laptop.agent_log().matches("does not begin with").count();
    ensure(said(&scene) == 1, "one line in the log", scene.laptop.agent_log())?;
    // Both checkpoints are there for others, and stay when a person has seen to it.
    let shown = || scene.laptop.daypass(["ledger", "show", "--json"]).run()?.succeeded()?.json();
    let evidence = shown()?.pointer("/findings/0/evidence").cloned().unwrap_or_default();
    let note = |name| evidence.get(name).and_then(Value::as_str).unwrap_or_default();
    let (kept, now) = (note("kept"), note("shown"));
    ensure(kept != now && kept.lines().next() == now.lines().next(), "two checkpoints of one ledger", &evidence)?;
    scene.laptop.daypass(["ledger", "accept"]).run()?.refused(&["asks first"])?.code(2)?;
    scene.laptop.daypass(["ledger", "accept", "--yes"]).run()?.succeeded()?;
    scene.settled()?.code(0)?;
    ensure(shown()?.pointer("/findings/0/evidence") == Some(&evidence), "the same evidence", shown()?)?;

    // The end is cut off.
    let last = "DELETE FROM events WHERE rowid IN (SELECT rowid FROM events ORDER BY rowid DESC LIMIT 8)";
    scene.meanwhile(|world| world.issuer.rewrite(last))?;
    scene.settled()?.refused(&["events when this machine last saw it"])?.code(14)?;
    scene.laptop.daypass(["ledger", "accept", "--yes"]).run()?.succeeded()?;
    // Another name, and no word of how it came to it.
    let renamed = "UPDATE ledger SET origin = 'issuer.example/ledger/another'";
    scene.meanwhile(|world| world.issuer.rewrite(renamed))?;
    scene.settled()?.refused(&["issuer.example/ledger/another", "says how it came from there"])?.code(14).map(drop)
}

#[test]
fn a_token_whose_event_was_taken_out_is_missed() -> Story {
    let mut scene = Scene::start()?;
    scene.token()?;
    // Nothing of the machine's own runs while the operator works: what it was promised stands on its disk.
    scene.laptop.kill_agent();
    let newest = "DELETE FROM events WHERE rowid = (SELECT MAX(rowid) FROM events WHERE kind = 'token_issued')";
    scene.meanwhile(|world| world.issuer.rewrite(newest))?;
    scene.laptop.start_agent()?;
    scene.settled()?.refused(&["of a token that the issuer gave", "no such event", "ledger leaf missing"])?.code(15)?;
    scene.laptop.daypass(["status"]).run()?.succeeded()?.says(&["FOUND", "is not in its ledger"])?;
    scene.laptop.stop_agent()?;
    scene.laptop.start_agent()?;
    scene.check()?.code(15)?;
    let json = scene.laptop.daypass(["ledger", "check", "--json"]).run()?.code(15)?.json()?;
    ensure(json.pointer("/ledgers/0/findings/0/kind") == Some(&"leaf_missing".into()), "the finding", &json)?;
    let log = scene.laptop.agent_log();
    ensure(log.contains("ERROR") && log.contains("is not in its ledger"), "an error in the log", &log)
}

#[test]
fn a_restore_is_said_to_be_one_and_waits_for_a_person() -> Story {
    let mut scene = Scene::start()?;
    let backup = scene.world.issuer.folder().join("old.backup").display().to_string();
    scene.world.issuer.run(["backup", &backup])?;
    scene.token()?;
    scene.settled()?.code(0)?;
    for _ in 0..2 {
        // This one's event was published, and this machine has not looked for it.
        scene.token()?;
        scene.laptop.kill_agent();
        scene
            .meanwhile(|world| world.issuer.run(["restore", &backup, "--replace"])?.says(&["begins anew"]).map(drop))?;
        scene.laptop.start_agent()?;
        scene
            .settled()?
            .refused(&[
                "restored its store at",
                "events since",
                "may be missing",
                "the events of 1 tokens",
                "ledger restored",
            ])?
            .says_nothing_of(&["does not begin with", "is not in its ledger"])?
            .code(16)?;
        scene
            .laptop
            .daypass(["status"])
            .run()?
            .succeeded()?
            .says(&["restored its store at", "daypass ledger accept"])?;
        scene.laptop.daypass(["ledger", "accept", "--yes"]).run()?.succeeded()?;
        // It goes on under the new name.
        scene.token()?;
        scene.settled()?.code(0)?;
        ensure(scene.number("outstanding")? == 0, "no promise left", scene.ledger()?)?;
    }
    Ok(())
}

//! Clocks that are wrong, by minutes and by years, at either end; machines that slept through the life of their certificate.
//!
//! Two clocks stand apart here: the world's (issuer and gate) and the laptop's. Both tell one time until a story sets one of them.

use std::time::Duration;

use daypass_proto::time::Timestamp;
use daypass_tests::{Clock, Failure, Machine, PROJECT, Ran, Story, Who, World, ensure, eventually};

const MINUTES: i64 = 600;
const DAY: i64 = 24 * 3600;
const YEARS: i64 = 2 * 365 * DAY;
/// Longer than a certificate's life here, and shorter than a grant's.
const SLEEP: Duration = Duration::from_secs(5 * 86_400);

struct Scene {
    world: World,
    clock: Clock,
    laptop: Machine,
}

impl Scene {
    /// A laptop with a clock of its own, its agent running. A day has passed since everything was set up, so that a clock that is a little
    /// behind is not before all certificates.
    fn new() -> Result<Self, Failure> {
        let world = World::build(true, |issuer, _| {
            issuer.configure("device_certificate_lifetime = \"7d\"", "device_certificate_lifetime = \"2d\"")
        })?;
        world.advance(Duration::from_secs(86_400))?;
        let clock = Clock::new(world.place.path(), "laptop-clock")?;
        clock.shift(DAY)?;
        let mut laptop = Machine::new(&world.place, "laptop", Who::Alice, &world.maker, Some(&clock))?;
        laptop.chip.start()?;
        laptop.start_agent()?;
        Ok(Self { world, clock, laptop })
    }

    fn joined() -> Result<Self, Failure> {
        let scene = Self::new()?;
        scene.laptop.join(&scene.world, "alice", "developer")?;
        Ok(scene)
    }

    fn token(&self) -> Result<Ran, Failure> {
        self.laptop.daypass(["token", &self.world.gate.resource()]).run()
    }

    /// One that the issuer has to be asked for.
    fn fresh_token(&self) -> Result<Ran, Failure> {
        self.laptop.daypass(["token", &self.world.gate.resource(), "--min-ttl", "299"]).run()
    }

    fn status(&self) -> Result<serde_json::Value, Failure> {
        self.laptop.daypass(["status", "--json"]).run()?.succeeded()?.json()
    }

    fn clones(&self, folder: &str) -> Result<Ran, Failure> {
        self.laptop.person.clones(&self.world.clone_url(), folder, &[]).run()
    }

    /// A clone, once the gate has heard from its issuer since a clock was set.
    fn clones_once_heard(&self) -> Story {
        eventually("a gate that has heard of its issuer again, and a clone", || {
            Ok(self.clones(&format!("heard{}", self.clock.now()))?.succeeded().ok())
        })?;
        Ok(())
    }

    /// Sets the world's clock, and no other.
    fn set_world(&self, seconds: i64) -> Story {
        match &self.world.clock {
            Some(clock) => clock.shift(seconds),
            None => Err(Failure::unexpected("a world with a clock", "none")),
        }
    }
}

/// Year and month of a time in seconds, as errors say them: of two clocks that are years apart, that tells which is which.
fn month(time: i64) -> String {
    Timestamp::from_seconds(time).to_string().chars().take(7).collect()
}

#[test]
fn a_laptop_that_is_minutes_off_learns_the_issuers_time() -> Story {
    for wrong in [-MINUTES, MINUTES] {
        let scene = Scene::new()?;
        scene.clock.shift(wrong)?;
        scene.laptop.join(&scene.world, "alice", "developer")?;
        scene.clones_once_heard()?;
        let offset = scene.status()?.pointer("/enrolments/0/clock_offset").and_then(serde_json::Value::as_i64);
        ensure(
            offset.is_some_and(|offset| (offset + wrong).abs() <= 2),
            format!("{} s", -wrong),
            format!("{offset:?}"),
        )?;
        let side = if wrong < 0 { "ahead of" } else { "behind" };
        scene.laptop.daypass(["doctor"]).run()?.says(&["clock", side])?;
    }
    Ok(())
}

#[test]
fn a_laptop_that_is_years_off_is_told_both_times() -> Story {
    for (wrong, word) in [(-YEARS, "begins at"), (YEARS, "ended at")] {
        let scene = Scene::new()?;
        scene.clock.shift(wrong)?;
        let code = scene.world.issuer.invite("alice", PROJECT, "developer", &[])?;
        let here = month(scene.clock.now());
        let refused = scene.laptop.daypass(["enroll", &code]).run()?;
        refused
            .refused(&["certificate", word, "this machine's clock says", &here, "set this machine's clock"])?
            .code(9)?;
        // Nothing is spent: with the clock set right, the same invitation enrols.
        scene.clock.shift(-wrong)?;
        scene.laptop.enrol(&code)?;
    }
    Ok(())
}

#[test]
fn a_laptop_whose_clock_is_set_while_it_runs_goes_on() -> Story {
    let mut scene = Scene::joined()?;
    scene.token()?.succeeded()?;
    for set in [-MINUTES, MINUTES, MINUTES, -MINUTES] {
        scene.clock.shift(set)?;
        scene.clones(&format!("app{set}{}", scene.clock.now()))?.succeeded()?;
    }
    // By years: put back, live tokens are served, their life counted by the clock that nobody sets.
    scene.clock.shift(-YEARS)?;
    scene.token()?.succeeded()?;
    scene.clock.shift(2 * YEARS)?;
    // Ahead, they are given up early rather than late. An issuer that is met anew then has a certificate that seems over, which is told with
    // both times.
    scene.world.issuer.stop()?;
    scene.world.issuer.serve()?;
    let here = month(scene.clock.now());
    scene.token()?.refused(&["certificate", "ended at", "this machine's clock says", &here])?.code(9)?;
    scene.clock.shift(-YEARS)?;
    scene.token()?.succeeded()?;
    scene.clones_once_heard()?;
    Ok(())
}

#[test]
fn a_machine_that_slept_through_its_certificate_attests_anew() -> Story {
    let mut scene = Scene::joined()?;
    let end = |scene: &Scene| -> Result<i64, Failure> {
        let status = scene.status()?;
        Ok(status
            .pointer("/enrolments/0/certificate_not_after")
            .and_then(serde_json::Value::as_i64)
            .unwrap_or_default())
    };
    let first = end(&scene)?;
    scene.laptop.stop_agent()?;
    for clock in [Some(&scene.clock), scene.world.clock.as_ref()].into_iter().flatten() {
        clock.advance(SLEEP)?;
    }
    scene.laptop.start_agent()?;
    // The first thing that anybody wants works: nobody has to wait for the next look at the clock.
    scene.token()?.succeeded()?;
    eventually("a gate that has heard of its issuer again, and a clone", || {
        Ok(scene.clones(&format!("app{}", scene.clock.now()))?.succeeded().ok())
    })?;
    ensure(end(&scene)? > first + DAY, "a certificate of today", end(&scene)?)?;
    Ok(())
}

#[test]
fn a_suspended_or_revoked_device_does_not_attest_anew() -> Story {
    for (verb, reason, code) in [("suspend", "suspended", 7), ("revoke", "revoked", 7)] {
        let mut scene = Scene::joined()?;
        let device = scene.world.issuer.device_of("alice")?;
        scene.laptop.stop_agent()?;
        let decided = scene.world.issuer.act(["device", verb, &device, "--reason", "a test"]);
        if verb == "revoke" { decided.arg("--yes") } else { decided }.run()?.succeeded()?;
        for clock in [Some(&scene.clock), scene.world.clock.as_ref()].into_iter().flatten() {
            clock.advance(SLEEP)?;
        }
        scene.laptop.start_agent()?;
        scene.token()?.refused(&[reason])?.code(code)?;
        eventually("the agent to know", || {
            let status = scene.status()?;
            let state = status.pointer("/enrolments/0/state").and_then(serde_json::Value::as_str).map(str::to_owned);
            Ok((state.as_deref() == Some(reason)).then_some(()))
        })?;
    }
    Ok(())
}

#[test]
fn an_issuer_whose_clock_is_set_by_minutes_is_followed() -> Story {
    for set in [-MINUTES, MINUTES] {
        let scene = Scene::joined()?;
        scene.clones_once_heard()?;
        scene.set_world(set)?;
        // The gate goes by its own clock, and refuses a token of another time with both times. git drops it then.
        let bound = if set < 0 { "the access token begins at" } else { "the access token ended at" };
        scene.clones("between")?.refused(&[bound, "and it is"])?;
        if set < 0 {
            // Behind its own decisions it makes none; a person says that it was ahead before.
            scene.fresh_token()?.refused(&["decisions were made until"])?.code(9)?;
            scene.world.issuer.run(["clock", "accept"])?;
        }
        scene.clones_once_heard()?;
    }
    Ok(())
}

#[test]
fn an_issuer_that_is_years_ahead_says_both_times_and_locks_nobody_out() -> Story {
    let scene = Scene::joined()?;
    let right = month(scene.world.now());
    scene.set_world(YEARS)?;
    let wrong = month(scene.world.now());
    // What it refuses then, it refuses with both times: here the grant's end.
    scene.fresh_token()?.refused(&["the grant for", "ended at", &format!("and it is {wrong}")])?;
    scene.set_world(-YEARS)?;
    // It wrote events of the wrong years. Only a person can know that the clock is right now.
    let says = [format!("the issuer's clock says {right}"), format!("decisions were made until {wrong}")];
    scene.fresh_token()?.refused(&says.each_ref().map(String::as_str))?.code(9)?;
    scene.world.issuer.run(["clock", "accept"])?;
    // A certificate of the wrong years was issued meanwhile: the device comes back by itself.
    scene.laptop.daypass(["status", "--refresh"]).run()?.succeeded()?;
    scene.fresh_token()?.succeeded()?;
    Ok(())
}

#[test]
fn an_issuer_that_is_years_behind_says_both_times_and_signs_nothing() -> Story {
    let scene = Scene::joined()?;
    let right = month(scene.world.now());
    scene.set_world(-YEARS)?;
    let wrong = month(scene.world.now());
    let says = [format!("the issuer's clock says {wrong}"), format!("decisions were made until {right}")];
    let says = says.each_ref().map(String::as_str);
    scene.laptop.daypass(["status", "--refresh"]).run()?.says(&says)?;
    scene.fresh_token()?.refused(&says)?.code(9)?;
    scene.set_world(YEARS)?;
    scene.token()?.succeeded()?;
    scene.laptop.daypass(["status", "--refresh"]).run()?.succeeded()?;
    Ok(())
}

#[test]
fn a_gate_whose_clock_is_wrong_refuses_with_both_times() -> Story {
    for set in [-MINUTES, MINUTES] {
        let mut scene = Scene::joined()?;
        let clock = Clock::new(scene.world.place.path(), "gate-clock")?;
        clock.shift(DAY + set)?;
        scene.world.gate.stop()?;
        scene.world.gate.live_by(&clock);
        scene.world.gate.serve()?;
        scene.clones("app")?.refused(&["the access token", "and it is"])?;
        clock.shift(-set)?;
        scene.clones_once_heard()?;
    }
    Ok(())
}

#[test]
fn a_gate_whose_clock_is_years_off_tells_git_and_curl_both_times() -> Story {
    for (wrong, certificate, token) in [(-YEARS, "begins at", "begins at"), (YEARS, "ended at", "ended at")] {
        let mut scene = Scene::joined()?;
        let clock = Clock::new(scene.world.place.path(), "gate-clock")?;
        clock.shift(DAY + wrong)?;
        let (here, there) = (month(clock.now()), month(scene.world.now()));
        scene.world.gate.stop()?;
        scene.world.gate.live_by(&clock);
        scene.world.gate.serve()?;
        // It can believe no certificate, so it hears nothing and lets nobody pass.
        let says = format!("this gate's clock says {here}");
        let words =
            ["has not heard from the issuer", "the issuer's certificate", certificate, &says, "tell whoever runs"];
        scene.clones("unheard")?.refused(&words)?;
        scene.world.request("team/app.git/info/refs?service=git-upload-pack")?.send()?.status(503)?.says(&words)?;
        scene
            .world
            .gate
            .act(["check"])
            .run()?
            .refused(&["certificate", certificate, &here, "set whichever"])?
            .code(3)?;
        // Set right, it goes on by itself. Set wrong while it is connected, it goes on hearing, and judges tokens by the wrong time.
        clock.shift(-wrong)?;
        scene.clones_once_heard()?;
        clock.shift(wrong)?;
        let token = format!("the access token {token} {there}");
        eventually("a gate that judges by its own time, and says both", || {
            let ran = scene.clones(&format!("wrong{}", clock.now()))?;
            Ok(ran.refused(&[&token, &format!("and it is {here}")]).ok())
        })?;
    }
    Ok(())
}

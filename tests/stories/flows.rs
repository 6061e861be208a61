//! Requests that are held open: they may outlive their token, and never the issuer's word on their device, their grant and the gate.

use std::time::Duration;

use daypass_tests::{
    Failure, PROJECT, Person, REPOSITORY, Raw, SoftwareClient, SoftwareKeys, Story, Who, World, ensure, eventually,
};

const REFS: &str = "team/app.git/info/refs?service=git-upload-pack";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

struct Scene {
    world: World,
    client: SoftwareClient,
    person: Person,
}

/// A push that was let in and has sent everything but its end.
struct Held {
    raw: Raw,
    rest: Vec<u8>,
    branch: &'static str,
}

/// Somebody with a grant until then, whose tokens live for five minutes.
fn scene(until: &str) -> Result<Scene, Failure> {
    let world = World::with_software_keys(true)?;
    let keys = SoftwareKeys::new(&world.place, "client", Who::Server)?;
    let client = keys.register_with(&world.issuer, PROJECT, "developer", &["--until", until])?;
    let person = Person::new(&world.place, "home", Who::Alice)?;
    person.git("", ["init", "--quiet", "app"]).run()?.succeeded()?;
    person.commits("app", "a.txt", "a\n")?;
    Ok(Scene { world, client, person })
}

impl Scene {
    fn holds_a_push(&self) -> Result<Held, Failure> {
        let new = self.person.git("app", ["rev-parse", "HEAD"]).run()?.succeeded()?.text().trim().to_owned();
        let pack = self.person.git("app", ["pack-objects", "--quiet", "--stdout", "--revs"]).input("HEAD\n");
        let branch = "refs/heads/software-client/held";
        let command = format!("{} {new} {branch}\0 report-status", "0".repeat(40));
        let mut body = format!("{:04x}{command}0000", command.len() + 4).into_bytes();
        body.extend(pack.run()?.succeeded()?.stdout);
        let rest = body.split_off(body.len() - 8);
        let presentation = self.world.presentation(&self.client, REPOSITORY, "git-receive-pack")?;
        let head = format!(
            "POST /team/app.git/git-receive-pack HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Daypass {presentation}\r\n\
             Content-Type: application/x-git-receive-pack-request\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            self.world.gate.address(),
            body.len() + rest.len(),
        );
        let mut raw = self.world.raw()?;
        raw.send(head.as_bytes());
        // Said to whoever has been let in.
        raw.hear("100 Continue")?;
        raw.send(&body);
        Ok(Held { raw, rest, branch })
    }

    /// Waits until the gate has heard from the issuer after this moment: it refuses somebody who was suspended now.
    fn gate_hears(&self) -> Story {
        // After hours that passed in a moment, it has not heard from the issuer for as long.
        eventually("a gate that is not cut off", || {
            Ok((self.world.request(REFS)?.send()?.status == 401).then_some(()))
        })?;
        let other = self.world.software_client("other", "developer")?;
        let presentation = self.world.presentation(&other, REPOSITORY, "git-upload-pack")?;
        let ask = || {
            let header = format!("Daypass {presentation}");
            Ok(self.world.request(REFS)?.header("Authorization", &header).send()?.status)
        };
        let before = ask()?;
        ensure(before == 200, "access for another client", before)?;
        self.world.issuer.run(["device", "suspend", &other.device])?;
        self.world.until_refused(ask).map(drop)
    }

    /// Sends the end of a push; gives whether it arrived, and what the gate said.
    fn ends(&self, held: Held) -> Result<(bool, String), Failure> {
        let (_, said) = held.raw.exchange(&held.rest)?;
        Ok((self.world.upstream.refs(REPOSITORY)?.contains(held.branch), said))
    }

    fn never_arrives(&self, held: Held, words: &str) -> Story {
        let (arrived, said) = self.ends(held)?;
        ensure(!arrived && said.contains(words), format!("no push, and `{words}`"), said)
    }
}

#[test]
fn a_push_may_outlive_its_token() -> Story {
    let scene = scene("1d")?;
    let held = scene.holds_a_push()?;
    scene.world.advance(15 * MINUTE)?;
    scene.gate_hears()?;
    let (arrived, said) = scene.ends(held)?;
    ensure(arrived, "a push that arrives", said)
}

#[test]
fn a_push_does_not_outlive_its_device_though_its_token_ended_before() -> Story {
    let scene = scene("1d")?;
    let held = scene.holds_a_push()?;
    scene.world.advance(15 * MINUTE)?;
    scene.world.issuer.run(["device", "suspend", &scene.client.device])?;
    scene.gate_hears()?;
    scene.never_arrives(held, "the device is suspended")
}

#[test]
fn a_push_does_not_outlive_its_grant() -> Story {
    let scene = scene("30m")?;
    let held = scene.holds_a_push()?;
    scene.world.advance(31 * MINUTE)?;
    eventually("a grant that has ended", || {
        let devices = scene.world.issuer.devices()?;
        let ours = devices.iter().find(|device| device.get("device").is_some_and(|id| *id == scene.client.device));
        let state = ours.and_then(|device| device.pointer("/grants/0/state")?.as_str());
        Ok((state == Some("ended")).then_some(()))
    })?;
    scene.gate_hears()?;
    scene.never_arrives(held, "the grant has ended")
}

#[test]
fn a_push_does_not_arrive_at_a_gate_that_has_lost_its_issuer() -> Story {
    let mut scene = scene("1d")?;
    let held = scene.holds_a_push()?;
    scene.world.issuer.kill();
    // The world's gate relies on what it has heard for an hour.
    scene.world.advance(HOUR + MINUTE)?;
    scene.never_arrives(held, "has not heard from the issuer")
}

#[test]
fn a_push_ends_when_the_issuer_speaks_of_its_token_no_more() -> Story {
    let scene = scene("1d")?;
    let held = scene.holds_a_push()?;
    scene.world.advance(12 * HOUR + 6 * MINUTE)?;
    scene.gate_hears()?;
    scene.never_arrives(held, "under way for too long")
}

//! Requests that are held open: they may outlive their token, and never their grant's end, nor the issuer's word on their token, their device,
//! their grant and the gate.

use std::time::Duration;

use daypass_tests::{
    Failure, PROJECT, Person, REPOSITORY, Raw, SoftwareClient, SoftwareKeys, Story, Who, World, ensure, eventually,
};

const REFS: &str = "team/app.git/info/refs?service=git-upload-pack";
/// What is downloaded: more than all the buffers on the way hold.
const MEBIBYTES: usize = 48;
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
    token: String,
}

/// A download of which a little has been read.
struct Download {
    raw: Raw,
    token: String,
}

/// What came of it.
#[derive(Debug, Eq, PartialEq)]
enum Came {
    Whole,
    Cut,
}

impl Download {
    /// Reads the rest. Whoever hears the last chunk, which is empty, has all of it; a cut one ends without.
    fn ends(mut self) -> Result<Came, Failure> {
        let rest = self.raw.bytes_to_end()?;
        match (rest.ends_with(b"\r\n0\r\n\r\n"), rest.len() > (MEBIBYTES - 1) << 20) {
            (true, true) => Ok(Came::Whole),
            (false, false) => Ok(Came::Cut),
            _ => Err(Failure::unexpected("a whole download, or a cut one", format!("{} bytes", rest.len()))),
        }
    }

    fn comes(self, what: Came) -> Story {
        let came = self.ends()?;
        ensure(came == what, format!("a download that is {what:?}"), format!("{came:?}"))
    }
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
        let (head, token) = self.head(&self.client, "git-receive-pack", body.len() + rest.len())?;
        let mut raw = self.world.raw()?;
        raw.send(head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n").as_bytes());
        // Said to whoever has been let in.
        raw.hear("100 Continue")?;
        raw.send(&body);
        Ok(Held { raw, rest, branch, token })
    }

    /// The head of a request with so long a body, and the token in it.
    fn head(&self, client: &SoftwareClient, service: &str, length: usize) -> Result<(String, String), Failure> {
        let World { gate, .. } = &self.world;
        let (now, canonical) = (self.world.now(), gate.url(REPOSITORY));
        let (token, nonce) = (client.token(&gate.resource(), now)?, self.world.nonce(REPOSITORY, service, None)?);
        let presentation = SoftwareClient::forge_presentation(client.proof(), &token, &canonical, &nonce, now, |_| {})?;
        let head = format!(
            "POST /team/app.git/{service} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Daypass {presentation}\r\n\
             Content-Type: application/x-{service}-request\r\nContent-Length: {length}\r\n\r\n",
            gate.address(),
        );
        Ok((head, token))
    }

    /// Begins to download `commit`, and stops after the first mebibyte.
    fn holds_a_download(&self, client: &SoftwareClient, commit: &str) -> Result<Download, Failure> {
        let body = format!("0032want {commit}\n00000009done\n");
        let (head, token) = self.head(client, "git-upload-pack", body.len())?;
        let mut raw = self.world.raw()?;
        raw.takes_little()?;
        raw.send(format!("{head}{body}").as_bytes());
        let begun = raw.reads(1 << 20)?;
        let good = begun.starts_with(b"HTTP/1.1 200 ") && begun.len() >= 1 << 20;
        ensure(good, "a download that has begun", String::from_utf8_lossy(begun.get(..200).unwrap_or(&begun)))?;
        Ok(Download { raw, token })
    }

    fn noise(&self) -> Result<String, Failure> {
        self.world.upstream.add_noise(REPOSITORY, MEBIBYTES)
    }

    /// The client ends this one token.
    fn revokes(&self, token: &str) -> Story {
        let request = self.client.request(&format!("{}/oauth/revoke", self.world.issuer.mtls_url()))?;
        request.with(["--data-urlencode".to_owned(), format!("token={token}")]).send()?.status(200).map(drop)
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

#[test]
fn a_push_does_not_outlive_its_own_revocation() -> Story {
    let scene = scene("1d")?;
    let held = scene.holds_a_push()?;
    scene.revokes(&held.token)?;
    scene.gate_hears()?;
    scene.never_arrives(held, "the token was revoked")
}

#[test]
fn a_grant_s_end_cuts_what_is_under_way_though_nobody_could_say_so() -> Story {
    let mut scene = scene("30m")?;
    let noise = scene.noise()?;
    let (push, download) = (scene.holds_a_push()?, scene.holds_a_download(&scene.client, &noise)?);
    // No issuer writes the end down or tells of it, and the gate's view is young enough all the while.
    scene.world.issuer.kill();
    scene.world.advance(30 * MINUTE)?;
    scene.never_arrives(push, "the grant has ended")?;
    download.comes(Came::Cut)
}

#[test]
fn a_download_may_outlive_its_token() -> Story {
    let scene = scene("1d")?;
    let download = scene.holds_a_download(&scene.client, &scene.noise()?)?;
    scene.world.advance(15 * MINUTE)?;
    scene.gate_hears()?;
    download.comes(Came::Whole)
}

/// Another client of the same person.
fn client(scene: &Scene, name: &str, until: &str) -> Result<SoftwareClient, Failure> {
    let keys = SoftwareKeys::new(&scene.world.place, name, Who::Server)?;
    keys.register_with(&scene.world.issuer, PROJECT, "developer", &["--until", until])
}

#[test]
fn a_download_is_cut_when_its_device_is_suspended_or_revoked() -> Story {
    let scene = scene("1d")?;
    let noise = scene.noise()?;
    let (suspended, revoked) = (client(&scene, "suspended", "1d")?, client(&scene, "revoked", "1d")?);
    let cut = [scene.holds_a_download(&suspended, &noise)?, scene.holds_a_download(&revoked, &noise)?];
    let kept = scene.holds_a_download(&scene.client, &noise)?;
    scene.world.issuer.run(["device", "suspend", &suspended.device])?;
    scene.world.issuer.run(["device", "revoke", &revoked.device, "--yes"])?;
    scene.gate_hears()?;
    for download in cut {
        download.comes(Came::Cut)?;
    }
    kept.comes(Came::Whole)
}

#[test]
fn a_download_is_cut_when_its_token_is_revoked_or_its_grant_has_ended() -> Story {
    let scene = scene("1d")?;
    let noise = scene.noise()?;
    let ending = client(&scene, "ending", "10m")?;
    let (ended, revoked) = (scene.holds_a_download(&ending, &noise)?, scene.holds_a_download(&scene.client, &noise)?);
    // Of the same client, with another token.
    let kept = scene.holds_a_download(&scene.client, &noise)?;
    scene.revokes(&revoked.token)?;
    scene.world.advance(11 * MINUTE)?;
    scene.gate_hears()?;
    ended.comes(Came::Cut)?;
    revoked.comes(Came::Cut)?;
    kept.comes(Came::Whole)
}

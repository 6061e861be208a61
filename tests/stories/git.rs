//! git through the gate: every way in which git speaks to a server, and every ref that a push must not touch.
//!
//! The credential is a software client's, put into git's configuration by hand; the stories of agents are elsewhere.

use std::io::Write as _;

use daypass_tests::{Act, Failure, Person, REPOSITORY, Ran, Request, SoftwareClient, Story, Who, World, ensure};

struct Scene {
    world: World,
    person: Person,
    client: SoftwareClient,
}

/// Somebody with a clone of the repository in `app`.
fn scene(role: &str) -> Result<Scene, Failure> {
    let world = World::build(false, |issuer, gate| {
        issuer.configure("allow_software_keys = false", "allow_software_keys = true")?;
        gate.configure("allow_software_keys = false", "allow_software_keys = true")
    })?;
    let client = world.software_client("client", role)?;
    let person = Person::new(&world.place, "home", Who::Alice)?.with_env("GIT_SSL_CAINFO", world.issuer.root());
    let scene = Scene { world, person, client };
    scene.fetching("", &["clone", "--quiet", &scene.world.clone_url(), "app"])?.succeeded()?;
    Ok(scene)
}

impl Scene {
    fn with_credential(&self, service: &str, folder: &str, arguments: &[&str]) -> Result<Ran, Failure> {
        let presentation = self.world.presentation(&self.client, REPOSITORY, service)?;
        let header = format!("http.extraHeader=Authorization: Daypass {presentation}");
        self.person.git(folder, ["-c", &header]).args(arguments).run()
    }

    fn fetching(&self, folder: &str, arguments: &[&str]) -> Result<Ran, Failure> {
        self.with_credential("git-upload-pack", folder, arguments)
    }

    fn pushing(&self, arguments: &[&str]) -> Result<Ran, Failure> {
        let mut all = vec!["push"];
        all.extend(arguments);
        self.with_credential("git-receive-pack", "app", &all)
    }

    /// Goes on only if the server's refs are still as they were.
    fn untouched(&self, before: &str) -> Story {
        let after = self.world.upstream.refs(REPOSITORY)?;
        ensure(after == before, format!("the refs as they were:\n{before}"), after)
    }
}

const MINE: &str = "refs/heads/software-client/topic";

#[test]
fn clone_commit_push_fetch() -> Story {
    let scene = scene("developer")?;
    scene.person.commits("app", "a.txt", "a\n")?;
    scene.pushing(&["origin", &format!("HEAD:{MINE}")])?.succeeded()?;
    let refs = scene.world.upstream.refs(REPOSITORY)?;
    ensure(refs.contains(MINE), MINE, &refs)?;
    scene.fetching("app", &["fetch", "origin"])?.succeeded()?;
    scene.person.commits("app", "b.txt", "b\n")?;
    scene.pushing(&["origin", &format!("HEAD:{MINE}")])?.succeeded()?;
    // Deleting was granted too.
    scene.pushing(&["origin", &format!(":{MINE}")])?.succeeded()?;
    let refs = scene.world.upstream.refs(REPOSITORY)?;
    ensure(!refs.contains(MINE), "the branch gone", refs)
}

#[test]
fn a_ref_outside_the_grant_is_refused_by_name_before_the_server_hears_of_it() -> Story {
    let scene = scene("developer")?;
    let before = scene.world.upstream.refs(REPOSITORY)?;
    scene.person.commits("app", "a.txt", "a\n")?;
    for refused in
        ["refs/heads/main", "refs/heads/other/topic", "refs/heads/software-client", "refs/tags/v1", "refs/notes/x"]
    {
        let ran = scene.pushing(&["origin", &format!("HEAD:{refused}")])?;
        // git's own words for a refusal in a `report-status`, with our reason behind it.
        let short =
            refused.strip_prefix("refs/heads/").or_else(|| refused.strip_prefix("refs/tags/")).unwrap_or(refused);
        ran.refused(&["rejected", short])?;
        scene.untouched(&before)?;
    }
    // One bad ref refuses the whole push, the good one too.
    let ran = scene.pushing(&["origin", &format!("HEAD:{MINE}"), "HEAD:refs/heads/main"])?;
    ran.refused(&["rejected", "main"])?;
    scene.untouched(&before)?;
    scene.world.upstream.heard_no_push()
}

#[test]
fn a_reader_may_not_push_and_git_says_so() -> Story {
    let scene = scene("reader")?;
    let before = scene.world.upstream.refs(REPOSITORY)?;
    scene.person.commits("app", "a.txt", "a\n")?;
    scene.pushing(&["origin", &format!("HEAD:{MINE}")])?.refused(&["reject", "software-client/topic"])?;
    scene.untouched(&before)
}

#[test]
fn shallow_partial_and_old_protocol() -> Story {
    let scene = scene("developer")?;
    let url = scene.world.clone_url();
    let clone = |folder: &str, more: &[&str]| {
        let mut arguments = vec!["clone", "--quiet"];
        arguments.extend(more);
        arguments.extend([url.as_str(), folder]);
        scene.fetching("", &arguments)?.succeeded()
    };
    scene.person.commits("app", "a.txt", "a\n")?;
    scene.person.commits("app", "b.txt", "b\n")?;
    scene.pushing(&["origin", &format!("HEAD:{MINE}")])?.succeeded()?;
    clone("shallow", &["--depth=1", "--branch=software-client/topic"])?;
    let count = scene.person.git("shallow", ["rev-list", "--count", "HEAD"]).run()?.succeeded()?;
    ensure(count.text().trim() == "1", "one commit", &count)?;
    scene.fetching("shallow", &["fetch", "--quiet", "--unshallow"])?.succeeded()?;
    // A push from a shallow clone carries `shallow` lines before its commands.
    clone("shallow2", &["--depth=1", "--branch=software-client/topic"])?;
    scene.person.commits("shallow2", "c.txt", "c\n")?;
    let refspec = format!("HEAD:{MINE}");
    scene.with_credential("git-receive-pack", "shallow2", &["push", "origin", &refspec])?.succeeded()?;
    clone("partial", &["--filter=blob:none", "--no-checkout"])?;
    scene.fetching("partial", &["checkout", "--quiet", "main"])?.succeeded()?;
    for version in ["0", "1", "2"] {
        let version = format!("protocol.version={version}");
        let mut arguments = vec!["-c", &version, "ls-remote"];
        arguments.push(&url);
        scene.fetching("", &arguments)?.succeeded()?.says(&["refs/heads/main"])?;
    }
    Ok(())
}

#[test]
fn large_packs_go_through_in_bounded_memory() -> Story {
    let scene = scene("developer")?;
    // 192 MiB that do not compress.
    let noise = scene.person.home().join("app/noise");
    let dd =
        ["if=/dev/urandom".to_owned(), format!("of={}", noise.display()), "bs=1M".to_owned(), "count=192".to_owned()];
    scene.person.act("/usr/bin/dd").args(dd).run()?.succeeded()?;
    scene.person.git("app", ["add", "noise"]).run()?.succeeded()?;
    scene.person.git("app", ["commit", "--quiet", "-m", "noise"]).run()?.succeeded()?;
    let peak = || scene.world.gate.process().and_then(daypass_tests::Process::peak_kib).unwrap_or_default();
    // Chunked, with `Expect: 100-continue`: git does not know a pack's length beforehand.
    scene.pushing(&["origin", &format!("HEAD:{MINE}")])?.succeeded()?;
    scene
        .fetching("", &["clone", "--quiet", "--branch=software-client/topic", &scene.world.clone_url(), "large"])?
        .succeeded()?;
    ensure(peak() < 96 * 1024, "less than 96 MiB of memory in the gate, ever", format!("{} KiB", peak()))
}

#[test]
fn bodies_in_gzip_are_inflated_once_and_sent_on_as_they_are() -> Story {
    let scene = scene("developer")?;
    let request = b"0014command=ls-refs\n0000".to_vec();
    let packed = Act::new("/usr/bin/gzip", Who::Server).arg("-c").input(request.clone()).run()?.succeeded()?.stdout;
    let send = |body: &[u8], encoding: Option<&str>, more: &[&str]| {
        let presentation = scene.world.presentation(&scene.client, REPOSITORY, "git-upload-pack")?;
        let mut request = scene
            .world
            .request("team/app.git/git-upload-pack")?
            .header("Authorization", &format!("Daypass {presentation}"))
            .header("Content-Type", "application/x-git-upload-pack-request")
            .header("Git-Protocol", "version=2")
            .with(more);
        if let Some(encoding) = encoding {
            request = request.header("Content-Encoding", encoding);
        }
        request.body(body).send()
    };
    let before = scene.world.upstream.requests()?.len();
    send(&request, None, &[])?.status(200)?.says(&["refs/heads/main"])?;
    send(&packed, Some("gzip"), &[])?.status(200)?.says(&["refs/heads/main"])?;
    send(&packed, Some("gzip"), &["-H", "Transfer-Encoding: chunked"])?.status(200)?.says(&["refs/heads/main"])?;
    let patient = send(&request, None, &["-H", "Expect: 100-continue"])?.status(200)?;
    patient.says(&["100 continue", "refs/heads/main"])?;
    for line in scene.world.upstream.requests()?.iter().skip(before) {
        ensure(!line.contains("gzip"), "plain bodies at the server", line)?;
    }
    // No other coding, no coding of a coding, and no gzip that is none.
    for (body, encoding) in [(&packed, "deflate"), (&packed, "gzip, gzip"), (&request, "gzip")] {
        let answer = send(body, Some(encoding), &[])?;
        ensure(
            answer.status != 200 || !answer.body.contains("refs/heads"),
            format!("no answer to `{encoding}`"),
            &answer.ran,
        )?;
    }
    Ok(())
}

#[test]
fn what_is_no_push_is_refused() -> Story {
    let scene = scene("developer")?;
    let before = scene.world.upstream.refs(REPOSITORY)?;
    let old = "0".repeat(40);
    let new = scene.person.git("app", ["rev-parse", "HEAD"]).run()?.succeeded()?.text().trim().to_owned();
    let line = |text: &str| format!("{:04x}{text}", text.len() + 4);
    let send = |body: String| {
        let presentation = scene.world.presentation(&scene.client, REPOSITORY, "git-receive-pack")?;
        scene
            .world
            .request("team/app.git/git-receive-pack")?
            .header("Authorization", &format!("Daypass {presentation}"))
            .header("Content-Type", "application/x-git-receive-pack-request")
            .body(body)
            .send()
    };
    let good = format!("{old} {new} {MINE}");
    for (what, body) in [
        ("a signed push", format!("{}0000", line("push-cert\0report-status\n"))),
        ("two NULs", format!("{}0000", line(&format!("{good}\0report-status\0x")))),
        (
            "a line feed in a name",
            format!("{}0000", line(&format!("{old} {new} {MINE}\nrefs/heads/main\0report-status"))),
        ),
        (
            "capabilities in the second command",
            format!("{}{}0000", line(&format!("{good}\0report-status")), line(&format!("{good}2\0x"))),
        ),
        ("a length beyond the end", "ffffabc".to_owned()),
        ("a delimiter", "0001".to_owned()),
        ("no hexadecimal", "zzzz".to_owned()),
    ] {
        let answer = send(body)?;
        ensure(
            (400..500).contains(&answer.status) || answer.body.contains("ng ") || answer.body.contains("unpack "),
            format!("a refusal of {what}"),
            &answer.ran,
        )?;
        scene.untouched(&before)?;
    }
    // git's probe, an empty list, is answered at the gate; what hides behind it goes nowhere.
    send(format!("0000{}0000", line(&good)))?;
    scene.untouched(&before)?;
    scene.world.upstream.heard_no_push()
}

#[test]
fn a_push_of_a_device_that_is_suspended_meanwhile_never_arrives() -> Story {
    let scene = scene("developer")?;
    scene.person.commits("app", "a.txt", "a\n")?;
    let new = scene.person.git("app", ["rev-parse", "HEAD"]).run()?.succeeded()?.text().trim().to_owned();
    let pack = scene.person.git("app", ["pack-objects", "--quiet", "--stdout", "--revs"]).input("HEAD\n");
    let pack = pack.run()?.succeeded()?.stdout;
    let body = |reference: &str| {
        let command = format!("{} {new} {reference}\0 report-status", "0".repeat(40));
        let mut body = format!("{:04x}{command}0000", command.len() + 4).into_bytes();
        body.extend(&pack);
        body
    };
    // It is a good push: the same one arrives where nobody is suspended.
    let control = format!("{MINE}-control");
    let presentation = scene.world.presentation(&scene.client, REPOSITORY, "git-receive-pack")?;
    scene
        .world
        .request("team/app.git/git-receive-pack")?
        .header("Authorization", &format!("Daypass {presentation}"))
        .header("Content-Type", "application/x-git-receive-pack-request")
        .body(body(&control))
        .send()?
        .status(200)?
        .says(&[&format!("ok {control}")])?;
    let before = scene.world.upstream.refs(REPOSITORY)?;
    let body = body(MINE);
    let (first, rest) = body.split_at(body.len() - 20);

    // A push that has sent all but its last bytes, and waits.
    Act::new("/usr/bin/mkfifo", Who::Server).within(scene.world.issuer.folder()).arg("push").run()?.succeeded()?;
    let pipe = scene.world.issuer.folder().join("push");
    let presentation = scene.world.presentation(&scene.client, REPOSITORY, "git-receive-pack")?;
    let push =
        Request::new(Who::Server, &scene.world.gate.url("team/app.git/git-receive-pack"), scene.world.issuer.root())?
            .header("Authorization", &format!("Daypass {presentation}"))
            .header("Content-Type", "application/x-git-receive-pack-request")
            .with(["-X", "POST", "-T"])
            .with([&pipe]);
    let pushing = push.act().start();
    let mut writer = std::fs::OpenOptions::new().write(true).open(&pipe).map_err(Failure::machine("open the pipe"))?;
    writer.write_all(first).map_err(Failure::machine("write to the pipe"))?;
    scene.world.issuer.run(["device", "suspend", &scene.client.device])?;
    let refs = "team/app.git/info/refs?service=git-receive-pack";
    scene.world.until_refused(|| {
        let header = format!("Daypass {presentation}");
        Ok(scene.world.request(refs)?.header("Authorization", &header).send()?.status)
    })?;
    // The pipe may be closed already.
    let _ = writer.write_all(rest);
    drop(writer);
    let pushed = pushing.finish()?;
    ensure(!pushed.text().contains(&format!("ok {MINE}")), "no accepted push", &pushed)?;
    scene.untouched(&before)
}

//! Requests that are too large for git to send twice, with the helper that is shipped: git asks first with a probe, which a new git
//! sends without its credential, and then sends the body in chunks.

use std::fmt::Write as _;

use daypass_tests::{Failure, Machine, Person, Programs, REPOSITORY, Story, Who, World, ensure};

/// A machine that may push, and each git that is on this one.
fn scene() -> Result<(World, Machine), Failure> {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "developer")?;
    Ok((world, laptop))
}

/// git sends a POST in chunks where its buffer does not hold it.
fn sent_in_chunks(person: &Person, trace: &str, path: &str) -> Story {
    let log = person.reads(trace)?.to_ascii_lowercase();
    let posted = log.contains(&format!("post {path} "));
    ensure(
        posted && log.contains("send header: transfer-encoding: chunked"),
        "a POST in chunks, which is what this is about",
        log.lines().filter(|line| line.contains("header")).fold(String::new(), |all, line| all + line + "\n"),
    )
}

fn commits_noise(person: &Person, folder: &str, mebibytes: u32) -> Story {
    let file = person.home().join(folder).join("noise");
    let of = format!("of={}", file.display());
    let count = format!("count={mebibytes}");
    person.act("/usr/bin/dd").args(["if=/dev/urandom", &of, "bs=1M", &count]).run()?.succeeded()?;
    person.git(folder, ["add", "noise"]).run()?.succeeded()?;
    person.git(folder, ["commit", "--quiet", "--message", "noise"]).run()?.succeeded()?;
    Ok(())
}

#[test]
fn a_push_beyond_the_post_buffer_goes_through_with_the_helper_of_every_git() -> Story {
    let (world, laptop) = scene()?;
    for git in Programs::gits() {
        let folder = format!("app-{}-{}", git.version.0, git.version.1);
        let person = laptop.person.with_git(git);
        person.clones(&world.clone_url(), &folder, &[]).run()?.succeeded()?;
        // 3 MiB is just beyond git's own limit of one; 40 MiB is not the end of the first read anywhere.
        for mebibytes in [3, 40] {
            commits_noise(&person, &folder, mebibytes)?;
            let branch = format!("refs/heads/alice/{folder}-{mebibytes}");
            let trace = person.home().join("trace");
            person
                .git(&folder, ["push", "origin", &format!("HEAD:{branch}")])
                .env("GIT_TRACE_CURL", &trace)
                .env("GIT_TRACE_CURL_NO_DATA", "1")
                .run()?
                .succeeded()?;
            let refs = world.upstream.refs(REPOSITORY)?;
            ensure(refs.contains(&branch), &branch, refs)?;
            sent_in_chunks(&person, "trace", "/team/app.git/git-receive-pack")?;
            std::fs::remove_file(&trace).map_err(Failure::machine("remove the trace"))?;
        }
    }
    Ok(())
}

#[test]
fn a_long_negotiation_goes_through_with_the_helper_of_every_git() -> Story {
    let (world, laptop) = scene()?;
    // History of one's own that the server knows nothing of: every commit is offered to it, 50 bytes each.
    let mut own = String::new();
    for count in 0..5000 {
        let at = world.now() + 60 + count;
        let _ = write!(own, "commit refs/heads/own\ncommitter A <a@example.com> {at} +0000\ndata 0\n\n");
    }
    for git in Programs::gits() {
        for version in ["0", "2"] {
            let folder = format!("app-{}-{}-{version}", git.version.0, git.version.1);
            let person = laptop.person.with_git(git.clone());
            person.clones(&world.clone_url(), &folder, &[]).run()?.succeeded()?;
            person.git(&folder, ["fast-import", "--quiet"]).input(own.clone()).run()?.succeeded()?;
            // Something to fetch.
            let pusher = format!("{folder}-pusher");
            person.clones(&world.clone_url(), &pusher, &[]).run()?.succeeded()?;
            person.commits(&pusher, &folder, &folder)?;
            let branch = format!("alice/{folder}");
            person
                .git(&pusher, ["push", "--quiet", "origin", &format!("HEAD:refs/heads/{branch}")])
                .run()?
                .succeeded()?;
            let trace = person.home().join("trace");
            person
                .git(&folder, ["-c", &format!("protocol.version={version}")])
                // The least that git takes.
                .args(["-c", "http.postBuffer=65536", "-c", "fetch.negotiationAlgorithm=consecutive"])
                .args(["fetch", "origin", &branch])
                .env("GIT_TRACE_CURL", &trace)
                .env("GIT_TRACE_CURL_NO_DATA", "1")
                .run()?
                .succeeded()?;
            let fetched = person.git(&folder, ["log", "-1", "--format=%s", "FETCH_HEAD"]).run()?.succeeded()?;
            fetched.says(&[&folder])?;
            sent_in_chunks(&person, "trace", "/team/app.git/git-upload-pack")?;
            std::fs::remove_file(&trace).map_err(Failure::machine("remove the trace"))?;
        }
    }
    Ok(())
}

#[test]
fn the_probe_says_nothing_to_a_stranger_and_nothing_else_gets_by_without_a_credential() -> Story {
    let (world, _) = scene()?;
    for service in ["git-upload-pack", "git-receive-pack"] {
        let send = |repository: &str, kind: &str, body: &str, more: &[&str]| {
            world
                .request(&format!("{repository}.git/{service}"))?
                .header("Content-Type", &format!("application/x-{kind}-request"))
                .with(more)
                .body(body)
                .send()
        };
        let mut answers = Vec::new();
        for repository in [REPOSITORY, daypass_tests::OTHER_REPOSITORY, "no/such"] {
            let answer = send(repository, service, "0000", &[])?.status(200)?;
            ensure(answer.body.is_empty(), "an empty body", &answer.ran)?;
            let undated = |line: &&String| !line.to_ascii_lowercase().starts_with("date:");
            answers.push(answer.headers.iter().filter(undated).cloned().collect::<Vec<_>>());
        }
        answers.dedup();
        ensure(answers.len() == 1, "the same answer everywhere", format!("{answers:?}"))?;
        // Another body of that length, a longer one, another type, no length, and a bad credential.
        for body in ["0001", "0009", "000", "00000000", "0014command=ls-refs\n0000"] {
            send(REPOSITORY, service, body, &[])?.status(401)?;
        }
        send(REPOSITORY, "git-other-pack", "0000", &[])?.status(401)?;
        send(REPOSITORY, service, "0000", &["-H", "Transfer-Encoding: chunked"])?.status(401)?;
        send(REPOSITORY, service, "0000", &["-H", "Authorization: Daypass x"])?.status(401)?;
        send("no/../such", service, "0000", &["--path-as-is"])?.status(404)?;
    }
    world.upstream.heard_nothing()
}

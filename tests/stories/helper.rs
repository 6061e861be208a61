//! `git-credential-daypass` and the configuration that calls it.

use std::time::Duration;

use daypass_tests::{Failure, Machine, Programs, Story, Who, World, ensure, has_encoded_object};

fn joined(world: &World) -> Result<Machine, Failure> {
    let laptop = Machine::start(world, "laptop", Who::Alice)?;
    laptop.join(world, "alice", "developer")?;
    Ok(laptop)
}

#[test]
fn nothing_reaches_the_disk_even_with_a_helper_that_stores() -> Story {
    let world = World::start()?;
    let laptop = joined(&world)?;
    laptop.person.git("", ["config", "--global", "--add", "credential.helper", "store"]).run()?.succeeded()?;
    for git in Programs::gits() {
        let person = laptop.person.with_git(git.clone());
        let folder = format!("app-{}-{}", git.version.0, git.version.1);
        person.clones(&world.clone_url(), &folder, &[]).run()?.succeeded()?;
    }
    for (path, content) in laptop.person.everything()?.into_iter().chain(laptop.state_files()?) {
        let text = String::from_utf8_lossy(&content);
        ensure(!has_encoded_object(&text), "no token and no presentation on the disk", path.display())?;
    }
    Ok(())
}

#[test]
fn unknown_hosts_are_left_to_others() -> Story {
    let world = World::start()?;
    let laptop = joined(&world)?;
    let helper =
        |input: &str| laptop.person.act(world.programs.built("git-credential-daypass")).arg("get").input(input).run();
    let silent = helper("protocol=https\nhost=github.com\npath=team/app.git\n\n")?.succeeded()?;
    ensure(silent.seen().is_empty(), "silence", &silent)?;
    let plain = format!("protocol=http\nhost={}\npath=team/app.git\n\n", world.gate.address());
    let refused = helper(&plain)?;
    ensure(
        !refused.text().contains("credential=") && !refused.text().contains("password="),
        "no credential over plain http",
        &refused,
    )?;
    Ok(())
}

/// The token in a credential.
fn token_in(text: &str) -> Option<String> {
    text.lines().find_map(|line| Some(line.strip_prefix("credential=")?.split('~').next()?.to_owned()))
}

#[test]
fn git_is_given_most_of_a_tokens_life() -> Story {
    let mut world = World::with_clock()?;
    let laptop = joined(&world)?;
    let ask = format!("capability[]=authtype\nprotocol=https\nhost={}\npath=team/app.git\n\n", world.gate.address());
    let get = || -> Result<Option<String>, Failure> {
        let helper = laptop.person.act(world.programs.built("git-credential-daypass")).arg("get").input(ask.clone());
        Ok(token_in(&helper.run()?.succeeded()?.text()))
    };
    let first = get()?;
    // Of five minutes. A token is renewed ahead only after two thirds of that.
    world.advance(Duration::from_secs(60))?;
    ensure(get()? == first, "the same token after a minute", "another")?;
    world.advance(Duration::from_secs(60))?;
    let second = get()?;
    ensure(second.is_some() && second != first, "another token after two minutes", "the same")?;
    // While the issuer is silent, what is left has to do.
    world.advance(Duration::from_secs(120))?;
    world.issuer.kill();
    ensure(get()? == second, "the live token", "another")?;
    world.issuer.serve()
}

#[test]
fn store_does_nothing_and_erase_drops() -> Story {
    let world = World::start()?;
    let laptop = joined(&world)?;
    let helper = |verb: &str, input: &str| {
        laptop.person.act(world.programs.built("git-credential-daypass")).arg(verb).input(input).run()
    };
    let ask = format!("capability[]=authtype\nprotocol=https\nhost={}\npath=team/app.git\n\n", world.gate.address());
    let first =
        helper("get", &ask)?.succeeded()?.says(&["capability[]=authtype", "authtype=Daypass", "ephemeral=1"])?;
    let (Some(one), full) = (token_in(&first.text()), first.text()) else { return Err(first.surprise("a credential")) };
    helper("store", &full)?.succeeded()?;
    let again = helper("get", &ask)?.succeeded()?.text();
    ensure(token_in(&again).as_deref() == Some(one.as_str()), "the same token while it lives", again)?;
    helper("erase", &format!("protocol=https\nhost={}\npath=team/app.git\n{full}\n", world.gate.address()))?
        .succeeded()?;
    let after = helper("get", &ask)?.succeeded()?.text();
    ensure(token_in(&after).is_some_and(|token| token != one), "another token after `erase`", after)
}

#[test]
fn setup_shows_what_it_writes_and_undoes_it() -> Story {
    let world = World::start()?;
    let laptop = joined(&world)?;
    let before = laptop.person.everything()?;
    laptop.daypass(["setup", "git", "--dry-run"]).run()?.succeeded()?.says(&[
        "helper =",
        "useHttpPath",
        "sslCAInfo",
    ])?;
    ensure(laptop.person.everything()? == before, "nothing written", "a change")?;
    laptop.daypass(["doctor"]).run()?.succeeded()?;
    laptop.daypass(["setup", "git", "--undo", "--yes"]).run()?.succeeded()?;
    for (path, content) in laptop.person.everything()? {
        ensure(!String::from_utf8_lossy(&content).contains("daypass"), "no word of Daypass left", path.display())?;
    }
    Ok(())
}

#[test]
fn a_helper_that_is_asked_often_answers_fast() -> Story {
    let world = World::start()?;
    let laptop = joined(&world)?;
    let ask = "protocol=https\nhost=github.com\npath=team/app.git\n\n";
    let act = laptop.person.act(world.programs.built("git-credential-daypass")).arg("get").input(ask);
    act.run()?.succeeded()?;
    let mut times = Vec::new();
    for _ in 0..20 {
        times.push(act.run()?.succeeded()?.took);
    }
    times.sort();
    // With the start of `setpriv` and `env` around it; an agent that is asked is far below, a runtime that is built is above.
    ensure(
        times.get(10).is_some_and(|middle| *middle < Duration::from_millis(100)),
        "a fast answer",
        format!("{times:?}"),
    )
}

#[test]
fn a_device_that_waits_for_approval_hears_so_from_git() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.enrol(&world.issuer.invite("alice", daypass_tests::PROJECT, "developer", &[])?)?;
    let helper = |line: &[&str]| {
        let ask = format!("protocol=https\nhost={}\npath=team/app.git\n\n", world.gate.address());
        laptop.person.act(world.programs.built("git-credential-daypass")).args(line).input(ask).run()
    };
    // Configured for every host there is, it leaves the word to others.
    let silent = helper(&["get"])?.succeeded()?;
    ensure(silent.seen().is_empty(), "silence", &silent)?;
    let told = helper(&["--exclusive", "get"])?.code(6)?.says(&["quit=1", "waits for approval"])?;
    told.says(&["daypass enroll --wait"])?;
    let (resource, url) = (world.gate.resource(), world.clone_url());
    let clone = laptop.person.clones_with_helper(&resource, world.issuer.root(), &url, "app");
    clone.run()?.refused(&["waits for approval"])?.says_nothing_of(&["could not read Username"])?;
    laptop
        .daypass(["proof", "GET", "http://x/"])
        .run()?
        .refused(&["https"])?
        .code(3)?
        .says_nothing_of(&["git remote"])?;
    Ok(())
}

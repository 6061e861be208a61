//! What comes to its end is said ahead: in the status, and once a day to a person in front of git.

use std::{fs, time::Duration};

use daypass_tests::{Failure, Machine, PROJECT, Programs, Ran, Story, Who, World, a_moment, ensure, eventually};
use serde_json::{Value, json};

const DAY: u64 = 86_400;
const HOUR: u64 = 3600;

/// A world in which a developer may still read for two days after the end.
fn world() -> Result<World, Failure> {
    World::build(true, |issuer, gate| {
        let text = fs::read_to_string(issuer.project(PROJECT)).map_err(Failure::machine("read the project"))?;
        let grace = format!(
            "[roles.developer.grace]\nfor = \"2d\"\n[[roles.developer.grace.authorization_details]]\n\
             type = \"git_repository\"\nlocations = [\"{}\"]\nactions = [\"read\"]\n",
            gate.url("team/app")
        );
        issuer.write_project(PROJECT, &format!("{text}\n{grace}"))
    })
}

/// What a person sees who runs git in a terminal.
fn sees(laptop: &Machine, folder: &str, git: &str) -> Result<Ran, Failure> {
    let script = Programs::system("script")?;
    let act = laptop.person.act(script).args(["-qec", git, "/dev/null"]).env("GIT_TERMINAL_PROMPT", "1");
    act.within(laptop.person.home().join(folder)).run()
}

/// Lets time pass, until the gate has heard from its issuer at the new time.
fn pass(world: &World, seconds: u64) -> Story {
    world.advance(Duration::from_secs(seconds))?;
    eventually("a gate that has heard of its issuer", || {
        let answer = world.request("team/app.git/info/refs?service=git-upload-pack")?.send()?;
        Ok((answer.status == 401).then_some(()))
    })
}

fn warnings(laptop: &Machine) -> Result<Vec<Value>, Failure> {
    let status = laptop.daypass(["status", "--refresh", "--json"]).run()?.succeeded()?.json()?;
    Ok(status.pointer("/enrolments/0/warnings").and_then(Value::as_array).cloned().unwrap_or_default())
}

#[test]
fn an_end_is_said_ahead_and_in_grace_git_gets_what_is_left() -> Story {
    let world = world()?;
    let mut laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "developer")?;
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    sees(&laptop, "app", "git fetch")?.succeeded()?.says_nothing_of(&["daypass"])?;
    ensure(warnings(&laptop)?.is_empty(), "nothing to say a week before", "")?;

    // A week's grant is warned of in its last day and a half.
    pass(&world, 6 * DAY)?;
    let said = warnings(&laptop)?;
    ensure(said.len() == 1 && said[0]["what"] == "soon", "one warning", json!(said))?;
    let words = laptop.daypass(["status"]).run()?.succeeded()?;
    words.says(&["warning      grant gr-", "ends at", "daypass extend gr-", "--reason"])?;
    let quiet = laptop.person.git("app", ["fetch"]).run()?.succeeded()?;
    quiet.says_nothing_of(&["daypass"])?;
    sees(&laptop, "app", "git fetch")?.succeeded()?.says(&["daypass: grant gr-", "ends at", "daypass extend gr-"])?;
    sees(&laptop, "app", "git fetch")?.succeeded()?.says_nothing_of(&["daypass"])?;
    laptop.stop_agent()?;
    laptop.start_agent()?;
    sees(&laptop, "app", "git fetch")?.succeeded()?.says_nothing_of(&["daypass"])?;

    pass(&world, DAY + HOUR)?;
    sees(&laptop, "app", "git fetch")?.succeeded()?.says(&["in grace, until", "gives less than before"])?;
    sees(&laptop, "app", "git fetch")?.succeeded()?.says_nothing_of(&["daypass"])?;
    let said = warnings(&laptop)?;
    ensure(said.len() == 1 && said[0]["what"] == "grace", "one warning", json!(said))?;
    laptop.person.commits("app", "notes.md", "late\n")?;
    let refused = laptop.person.git("app", ["push", "origin", "HEAD:refs/heads/alice/late"]).run()?;
    refused.refused(&["`create` of `refs/heads/alice/late` is not granted"])?;

    pass(&world, 2 * DAY)?;
    let over = laptop.person.git("app", ["fetch"]).run()?;
    over.refused(&["daypass: the issuer refused: ", "ended at"])?;
    ensure(warnings(&laptop)?.is_empty(), "what is over is no warning", "")
}

#[test]
fn tokens_that_are_counted_are_shown_and_the_last_ones_are_warned_of() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let code = world.issuer.invite("alice", PROJECT, "developer", &["--uses", "3"])?;
    laptop.enrol(&code)?;
    world.issuer.approve("alice")?;
    laptop.daypass(["status", "--refresh"]).run()?.succeeded()?.says(&["3 of 3 tokens left"])?;
    let resource = world.gate.resource();
    for (left, life) in [(2, "1"), (1, "296")] {
        let token = laptop.daypass(["token", &resource, "--json", "--min-ttl", life]).run()?.json()?;
        ensure(token["uses_left"] == json!(left), "what is left", &token["uses_left"])?;
        a_moment(Duration::from_secs(5));
    }
    // Without asking the issuer: the agent was told with each token.
    let status = laptop.daypass(["status"]).run()?.succeeded()?;
    status.says(&["1 of 3 tokens left", "gives one more token, the last of 3"])?;
    Ok(())
}

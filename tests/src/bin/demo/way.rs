//! The way that a collaborator goes: invited, enrolled, approved; clone, commit, push.

use daypass_tests::{Failure, Machine, OWNER, Ran, Who, World, ensure, on_behalf_of};

use crate::stage::Stage;

/// The collaborator of the demo.
pub(crate) const ALICE: &str = "alice";
/// Whom the thief pretends to be a colleague of.
pub(crate) const MALLORY: &str = "mallory";

/// Everything on the stage. Machines go before the world that they live in.
pub(crate) struct Scene {
    pub(crate) laptop: Machine,
    pub(crate) other: Machine,
    pub(crate) world: World,
}

/// Puts everything on the stage.
pub(crate) fn set_up(stage: &mut Stage) -> Result<Scene, Failure> {
    stage.title("The stage");
    let world = World::with_clock()?;
    let on = |what: &str, at: String| stage.say(&format!("{what:<28} {at}"));
    on("issuer, on SQLite", world.issuer.url());
    on("gate", world.gate.resource());
    on(
        "git server, behind the gate",
        format!("unix:{} (in a folder that only the gate can enter)", world.upstream.socket().display()),
    );
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let other = Machine::start(&world, "other", Who::Bob)?;
    on("Alice's laptop", format!("agent on {}, TPM at {}", laptop.socket().display(), laptop.chip.tcti()));
    on("another laptop", format!("agent on {}, TPM at {}", other.socket().display(), other.chip.tcti()));
    stage.say("Both TPMs are of a maker whose certificates the issuer trusts. Olga owns the project `apollo`.");
    Ok(Scene { laptop, other, world })
}

/// The code in what `invite` printed.
fn code(ran: &Ran) -> Result<String, Failure> {
    let text = ran.text();
    let code = text.split_whitespace().find(|word| word.starts_with("dpinv1_")).map(str::to_owned);
    code.ok_or_else(|| ran.clone().surprise("an invitation"))
}

/// The comparison code in what `enroll` printed.
fn comparison_code(ran: &Ran) -> Result<String, Failure> {
    let text = ran.text();
    let is_code = |word: &&str| {
        word.len() == 9
            && word
                .chars()
                .enumerate()
                .all(|(at, c)| if at == 4 { c == '-' } else { c.is_ascii_uppercase() || c.is_ascii_digit() })
    };
    let code = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').find(is_code).map(str::to_owned);
    code.ok_or_else(|| ran.clone().surprise("a comparison code"))
}

/// Invites somebody, and enrols their machine; it waits for approval then. Gives the device and the code it shows.
pub(crate) fn invite_and_enrol(
    stage: &Stage,
    world: &World,
    machine: &Machine,
    name: &str,
) -> Result<(String, String), Failure> {
    let invited = stage.does(
        "olga",
        &world.issuer.act(["invite", name, "--project", "apollo", "--role", "developer", "--until", "30d"]),
    )?;
    let enrolled = stage.does(name, &machine.daypass(["enroll"]).input(code(&invited)?))?;
    Ok((world.issuer.device_of(name)?, comparison_code(&enrolled)?))
}

/// Invite, enrol, approve, clone, commit, push.
pub(crate) fn walk(stage: &mut Stage, scene: &Scene) -> Result<(), Failure> {
    let Scene { laptop, world, .. } = scene;
    stage.title("Olga invites Alice, and Alice enrols her laptop");
    stage
        .say("The invitation works once. It carries the pin of the issuer's root, so nothing is trusted on first use.");
    stage.say("Enrolling proves which TPM this is, and that the laptop's keys live in it.");
    let (device, code) = invite_and_enrol(stage, world, laptop, ALICE)?;

    stage.title("Until somebody approves it, the laptop gets nothing");
    stage.is_refused(ALICE, &laptop.daypass(["token", &world.gate.resource()]), &["approv"])?;

    stage.title("Olga compares the code with what Alice reads out, and approves");
    stage.does("olga", &world.issuer.act(["device", "list"]))?;
    let approve = [&["device", "approve", &device, "--code", &code][..], &on_behalf_of(OWNER)].concat();
    stage.does("olga", &world.issuer.act(approve))?;

    stage.title("Alice clones, commits and pushes with plain git");
    stage.does(ALICE, &laptop.daypass(["setup", "git", "--yes"]))?;
    stage.does(ALICE, &laptop.person.git("", ["clone", &world.clone_url(), "app"]))?;
    laptop.person.commits("app", "notes.md", "What I found out.\n")?;
    let push = laptop.person.git("app", ["push", "origin", "HEAD:refs/heads/alice/notes"]);
    stage.does(ALICE, &push)?;
    let refs = world.upstream.refs(daypass_tests::REPOSITORY)?;
    ensure(refs.contains("refs/heads/alice/notes"), "the pushed branch at the server", refs)?;
    stage.say(
        "git asked `git-credential-daypass`, which asked the agent: a five-minute token for this repository, and a",
    );
    stage.say("proof signed by the TPM over the gate's nonce. No secret was typed, and none is on the disk:");
    stage.does(ALICE, &laptop.daypass(["status"]))?;
    Ok(())
}

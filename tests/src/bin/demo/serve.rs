//! `--serve`: the stage, with Alice's laptop enrolled and approved and a software client registered, until Ctrl-C.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    thread,
};

use daypass_tests::{Failure, Machine, PROJECT, Who, World};

use crate::{
    env_file,
    stage::Stage,
    way::{ALICE, Scene},
};

/// The collaborator at the second terminal, where that is not Alice.
const YOU: &str = "you";

/// Serves until Ctrl-C.
pub(crate) fn serve(stage: &mut Stage, env_file: &Path) -> Result<Infallible, Failure> {
    stage.title("The stage");
    // The machine's own clock: whoever tries things by hand has no other.
    let world = World::build(false, |issuer, gate| {
        issuer.configure("allow_software_keys = false", "allow_software_keys = true")?;
        gate.configure("allow_software_keys = false", "allow_software_keys = true")
    })?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    let other = Machine::start(&world, "other", Who::Bob)?;
    laptop.join(&world, ALICE, "developer")?;
    let client = world.software_client("client", "developer")?;
    let terminal = enrol_terminal(&world, &laptop)?;
    let scene = Scene { laptop, other, world };
    env_file::write(env_file, &scene, &client, &terminal)?;
    explain(stage, &scene, env_file);

    // The end comes by a signal (main.rs), which takes the file along.
    loop {
        thread::park();
    }
}

/// Whoever sits at the second terminal gets an enrolment at the laptop's agent too, so that plain commands work there. The agent tells users
/// apart by uid: as root that is another one than Alice's. Gives the home where git is set up; their own stays as it is.
fn enrol_terminal(world: &World, laptop: &Machine) -> Result<PathBuf, Failure> {
    if !Who::can_be_chosen() {
        return Ok(laptop.person.home().to_owned());
    }
    let person = laptop.another_user(&world.place, "terminal-home", Who::Myself)?;
    let daypass = |arguments: &[&str]| person.act(world.programs.built("daypass")).args(arguments).run()?.succeeded();
    let code = world.issuer.invite(YOU, PROJECT, "developer", &[])?;
    daypass(&["enroll", &code])?;
    world.issuer.approve(YOU)?;
    daypass(&["setup", "git", "--yes"])?;
    Ok(person.home().to_owned())
}

fn explain(stage: &Stage, scene: &Scene, env_file: &Path) {
    let world = &scene.world;
    stage.say(&format!("issuer        {} and {} (mTLS)", world.issuer.url(), world.issuer.mtls_url()));
    stage.say(&format!("gate          {}", world.gate.resource()));
    stage.say(&format!("clone URL     {}", world.clone_url()));
    stage.say(&format!("agents        {} (enrolled and approved for alice)", scene.laptop.socket().display()));
    stage.say(&format!("              {} (not enrolled)", scene.other.socket().display()));
    stage.say("Software keys are switched on here, for the client in CLIENT_CERT; nowhere else should they be.");
    stage.say("");
    stage.say("In a second terminal:");
    stage.say(&format!("  . {}", env_file.display()));
    stage.say("  daypass status");
    stage.say("  git clone \"$GIT_URL\"");
    stage.say("  daypass-issuer device list");
    // The words before the command make it Alice's: her home, her enrolment, and as root her uid.
    stage.say("  $AS_ALICE daypass status");
    stage.say("");
    stage.say("Ctrl-C ends everything.");
}

//! `--serve`: the stage, with Alice's laptop enrolled and approved and a software client registered, until Ctrl-C.

use std::{convert::Infallible, path::Path, thread};

use daypass_tests::{Failure, Machine, Who, World};

use crate::{
    env_file,
    stage::Stage,
    way::{ALICE, Scene},
};

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
    let scene = Scene { laptop, other, world };
    env_file::write(env_file, &scene, &client)?;
    explain(stage, &scene, env_file);

    // The end comes by a signal (main.rs), which takes the file along.
    loop {
        thread::park();
    }
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
    // The words before the command make it Alice's: her home, where git is set up, her agent, and as root her uid.
    stage.say("  $AS_ALICE daypass status");
    stage.say("  $AS_ALICE git clone \"$GIT_URL\"");
    stage.say("  daypass-issuer device list");
    stage.say("");
    stage.say("Ctrl-C ends everything.");
}

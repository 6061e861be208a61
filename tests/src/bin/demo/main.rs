//! The demo: the whole path on one machine, told step by step with the real commands, then what a thief meets.
//!
//! `cargo xtask demo` builds everything and runs this.

mod env_file;
mod serve;
mod signals;
mod stage;
mod thief;
mod way;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use daypass_tests::{Failure, ending};

use crate::stage::Stage;

/// Shows Daypass on this machine.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Arguments {
    /// Leave everything running until Ctrl-C
    #[arg(long)]
    serve: bool,
    /// Where `--serve` writes what a second terminal needs
    #[arg(long, default_value = "target/demo/env")]
    env_file: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let served = arguments.serve.then(|| arguments.env_file.clone());
    if let Err(failure) = signals::end_on_signal(served) {
        Stage::new().failed(&failure);
        return ExitCode::FAILURE;
    }
    let mut stage = Stage::new();
    let told =
        if arguments.serve { serve::serve(&mut stage, &arguments.env_file).map(|_| ()) } else { tell(&mut stage) };
    // What a static holds is never dropped.
    ending::everything();
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            stage.failed(&failure);
            ExitCode::FAILURE
        }
    }
}

fn tell(stage: &mut Stage) -> Result<(), Failure> {
    let mut scene = way::set_up(stage)?;
    way::walk(stage, &scene)?;
    thief::tries(stage, &mut scene)?;
    stage.title("The end");
    drop(scene);
    stage.say("Every process is stopped and the folder with everything in it is gone.");
    stage.say("`cargo xtask demo --serve` leaves it all running, to try things by hand.");
    Ok(())
}

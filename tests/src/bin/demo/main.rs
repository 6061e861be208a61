//! The demo: the whole path on one machine, told step by step with the real commands, then what a thief meets.
//!
//! `cargo xtask demo` builds everything and runs this.

mod env_file;
mod serve;
mod stage;
mod thief;
mod way;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Parser;
use daypass_tests::{Failure, end_on_signal, ending};

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
    let last = move || match served {
        Some(env_file) => {
            // What it names is gone, and while serving this is the expected end.
            let _ = fs::remove_file(env_file);
            0
        }
        // As a shell says that it was interrupted.
        None => 130,
    };
    if let Err(failure) = end_on_signal(last) {
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

//! `daypass-gate`.

use clap::CommandFactory as _;
use daypass_tests::{Act, Place, Programs, Story, Who};

use crate::fields::{Field, Files, Program};

const FIELDS: &[Field] = &[
    Field::new("--config", "{missing}", &["could not read", "does not read"]).of(&["check"]).not(&[
        "{missing}",
        "{folder}",
        "{junk}",
    ]),
    Field::new("--state-dir", "{folder}", &["could not"]),
    Field::new("CODE", "-", &["dpgate1_", "expected"]).not(&["nonsense"]).called("gate code"),
    Field::new("SHELL", "bash", &["possible values"]).not(&["tcl"]),
];

#[test]
fn every_argument_of_the_gate_refuses_what_it_does_not_take() -> Story {
    let (place, programs) = (Place::new()?, Programs::find()?);
    let files = Files::make(&place, Who::Server)?;
    let run = |_: &str, line: &[String]| {
        Act::new(programs.built("daypass-gate"), Who::Server)
            .args(line)
            .env("DAYPASS_GATE_CONFIG", "/nowhere/gate.toml")
    };
    let command = daypass_gate::commands::Cli::command();
    Program { command, fields: FIELDS, needed: &[], files: &files, run: &run }.refuses()
}

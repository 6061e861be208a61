//! `target/demo/env`: what a second terminal needs, in shell syntax.

use std::{fmt::Write as _, fs, os::unix::fs::OpenOptionsExt as _, path::Path};

use daypass_tests::{Failure, Machine, SoftwareClient};

use crate::way::Scene;

/// Writes the file for this scene; `terminal` is the home where git is set up for the second terminal.
pub(crate) fn write(path: &Path, scene: &Scene, client: &SoftwareClient, terminal: &Path) -> Result<(), Failure> {
    let Scene { laptop, other, world } = scene;
    let show = |path: &Path| path.display().to_string();
    let programs = world.programs.folder();
    let pairs = [
        ("ISSUER_URL", world.issuer.url()),
        ("ISSUER_MTLS_URL", world.issuer.mtls_url()),
        ("ISSUER_CA", show(world.issuer.root())),
        ("ISSUER_CONFIG", show(&world.issuer.configuration())),
        ("DAYPASS_ISSUER_CONFIG", show(&world.issuer.configuration())),
        ("GATE_URL", world.gate.resource()),
        ("GATE_CA", show(world.issuer.root())),
        ("GATE_CONFIG", show(&world.gate.configuration())),
        ("DAYPASS_GATE_CONFIG", show(&world.gate.configuration())),
        ("GIT_URL", world.clone_url()),
        ("AGENT_SOCKET", show(&laptop.socket())),
        ("DAYPASS_SOCKET", show(&laptop.socket())),
        ("DAYPASS_CONFIG", show(&laptop.configuration())),
        ("OTHER_AGENT_SOCKET", show(&other.socket())),
        ("OTHER_DAYPASS_CONFIG", show(&other.configuration())),
        // git is set up there for whoever reads this file, and their own configuration is left alone.
        ("GIT_CONFIG_GLOBAL", show(&terminal.join(".gitconfig"))),
        ("TPM_TCTI", laptop.chip.tcti()),
        ("OTHER_TPM_TCTI", other.chip.tcti()),
        ("ALICE_HOME", show(laptop.person.home())),
        ("OTHER_HOME", show(other.person.home())),
        ("ALICE_UID", laptop.person.who().effective_uid().to_string()),
        ("OTHER_UID", other.person.who().effective_uid().to_string()),
        ("AS_ALICE", being(laptop)),
        ("AS_OTHER", being(other)),
        ("UPSTREAM_SOCKET", show(&world.upstream.socket())),
        ("CLIENT_CERT", show(&client.certificate)),
        ("CLIENT_KEY", show(&client.key)),
        ("CLIENT_PROOF_KEY", show(&client.proof_key)),
        ("CLIENT_ID", client.client_id.clone()),
        ("PROJECT", daypass_tests::PROJECT.to_owned()),
        ("ROLE", "developer".to_owned()),
        ("DEMO_DIR", show(world.place.path())),
        ("DAYPASS_BIN", show(programs)),
    ];
    let mut text = String::from(
        "# Written by `cargo xtask demo --serve`; good while that runs. Read it with `. target/demo/env`.\n\
         # It works for the user who started the demo, who has an enrolment and a git configuration of their own in it. The agent tells users\n\
         # apart by uid: what is Alice's works through $AS_ALICE only, as in `$AS_ALICE daypass status`.\n",
    );
    for (name, value) in pairs {
        // Infallible: a String takes it all.
        let _ = writeln!(text, "export {name}={}", quoted(&value));
    }
    let _ = writeln!(text, "export PATH={}:\"$PATH\"", quoted(&show(programs)));
    text.push_str("# It would outrank `http.sslCAInfo` of git's configuration.\nunset GIT_SSL_CAINFO\n");
    let writing = || Failure::machine(format!("write `{}`", path.display()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(writing())?;
    }
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new).map_err(writing())?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(writing())?;
    // Whoever waits for the file finds it whole.
    fs::rename(&new, path).map_err(writing())
}

/// What stands before a command of the person at this machine: `$AS_ALICE git clone "$GIT_URL"`.
fn being(machine: &Machine) -> String {
    let who = machine
        .person
        .who()
        .uid()
        .map_or_else(String::new, |uid| format!("setpriv --reuid={uid} --regid={uid} --clear-groups "));
    let (home, socket) = (machine.person.home().display(), machine.socket());
    let (socket, config) = (socket.display(), machine.configuration());
    let config = config.display();
    format!("{who}env -u GIT_CONFIG_GLOBAL -C {home} HOME={home} DAYPASS_SOCKET={socket} DAYPASS_CONFIG={config}")
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_quote_does_not_end_the_word() {
        assert_eq!(super::quoted("it's"), "'it'\\''s'");
    }
}

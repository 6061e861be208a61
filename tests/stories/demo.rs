//! The demo, as a person starts it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use daypass_tests::{Failure, Place, Programs, Story, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const DEMO: &str = env!("CARGO_BIN_EXE_demo");

#[test]
fn it_tells_its_story_to_the_end() -> Story {
    let told = Command::new(DEMO).output().map_err(Failure::machine("run the demo"))?;
    let text = String::from_utf8_lossy(&told.stdout);
    ensure(told.status.success(), "success", &text)?;
    // Two refusals of the copied token, two of the captured credential, and one of each other kind at least.
    ensure(text.matches("-> refused").count() >= 9, "every refusal", &text)?;
    ensure(!text.contains("eyJhbGciOiJFUzI1NiIsInR5cCI6"), "no whole token on the screen", &text)
}

#[test]
fn served_it_leaves_what_a_second_terminal_needs_until_it_is_interrupted() -> Story {
    let place = Place::new()?;
    let env_file = place.path().join("demo/env");
    // It must not outlive a test run that is killed.
    let mut demo = Command::new(Programs::system("setpriv")?)
        .args(["--pdeathsig", "TERM", "--", DEMO, "--serve"])
        .arg("--env-file")
        .arg(&env_file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Failure::machine("start the demo"))?;
    let tried = tries(&env_file);
    let pid = i32::try_from(demo.id()).map(Pid::from_raw);
    if let Ok(pid) = pid {
        kill(pid, Signal::SIGINT).map_err(|error| Failure::machine("interrupt the demo")(error.into()))?;
    }
    let ended = demo.wait().map_err(Failure::machine("wait for the demo"))?;
    let folder = tried?;
    ensure(ended.success(), "a good end", ended)?;
    ensure(!env_file.exists(), "no file that names what is gone", "one")?;
    ensure(!Path::new(&folder).exists(), "no folder left", folder)
}

/// What a person does at the second terminal; gives the demo's folder.
fn tries(env_file: &Path) -> Result<String, Failure> {
    daypass_tests::eventually("the file for a second terminal", || Ok(env_file.exists().then_some(())))?;
    let script = r#"
set -eu
. "$1"
for name in ISSUER_URL ISSUER_MTLS_URL ISSUER_CA GATE_URL GATE_CA GIT_URL AGENT_SOCKET DAYPASS_CONFIG ISSUER_CONFIG GATE_CONFIG \
  CLIENT_CERT CLIENT_KEY CLIENT_PROOF_KEY CLIENT_ID; do
  eval "value=\$$name"
  [ -n "$value" ] || { echo "$name is empty"; exit 1; }
done
curl -fsS --cacert "$ISSUER_CA" "$ISSUER_URL/healthz" >&2
curl -fsS --cacert "$ISSUER_CA" --cert "$CLIENT_CERT" --key "$CLIENT_KEY" "$ISSUER_MTLS_URL/device/v1/state" | grep -q "$CLIENT_ID"
[ "$(curl -sS -o /dev/null -w '%{http_code}' --cacert "$GATE_CA" "$GIT_URL/info/refs?service=git-upload-pack")" = 401 ]
daypass-issuer device list >&2
daypass-gate check >&2
$AS_ALICE daypass status >&2
$AS_ALICE curl -fsS --unix-socket "$AGENT_SOCKET" http://daypass/v1/status >&2
$AS_ALICE git clone --quiet "$GIT_URL" second-terminal
echo "$DEMO_DIR"
"#;
    let shell = Command::new("/bin/sh")
        .args(["-c", script, "sh"])
        .arg(env_file)
        .output()
        .map_err(Failure::machine("run a shell"))?;
    let complaints = String::from_utf8_lossy(&shell.stderr).into_owned();
    ensure(shell.status.success(), "everything to work at the second terminal", complaints)?;
    let folder = String::from_utf8_lossy(&shell.stdout).trim().to_owned();
    ensure(fs::metadata(&folder).is_ok(), "the demo's folder", &folder)?;
    Ok(folder)
}

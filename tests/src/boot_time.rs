//! A world in which the machine has slept: in a time namespace, boot time stands ten hours ahead of the clock that stops in sleep.
//!
//! The two read alike on a machine that never slept, which is what tests run on; so only there can a test tell which of them is read.

use std::{
    env, fs,
    process::{Command, Stdio},
};

use nix::{
    time::{ClockId, clock_gettime},
    unistd::geteuid,
};

use crate::{Failure, Programs, Story, ensure};

const APART: &str = "36000";
const THERE: &str = "DAYPASS_TEST_BOOT_TIME_APART";

/// Goes on only if `read` gives the seconds since the machine started, those that it slept included. `test` is the full name of the test
/// that calls this: it is run once more by itself, where the clocks stand apart. Where the kernel makes no time namespace, this fails.
pub fn goes_by_boot_time(test: &str, read: impl FnOnce() -> i64) -> Story {
    if env::var_os(THERE).is_none() {
        return run_there(test);
    }
    let running = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_err(|error| Failure::machine("read the clock that stops in sleep")(error.into()))?
        .tv_sec();
    let before = uptime()?;
    let read = read();
    let after = uptime()?;
    let apart = before - running;
    ensure(apart >= 35_000, "a namespace whose boot time is ten hours ahead", format!("{apart} s between the clocks"))?;
    ensure((before..=after).contains(&read), format!("boot time, from {before} to {after}"), read)
}

fn run_there(test: &str) -> Story {
    let own = env::current_exe().map_err(Failure::machine("find this program"))?;
    let mut command = Command::new(Programs::system("unshare")?);
    if !geteuid().is_root() {
        // Whoever is not root is root in a user namespace of their own.
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--time", "--boottime", APART, "--monotonic", "0", "--fork", "--kill-child", "--"]);
    command.arg(own).args([test, "--exact", "--nocapture", "--test-threads=1"]).env(THERE, "1").stdin(Stdio::null());
    let output = command.output().map_err(Failure::machine("start `unshare`"))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("");
    // A name that is no test's would run nothing, and well.
    ensure(
        output.status.success() && said.contains("1 passed"),
        format!("`{test}` to pass in a time namespace (Linux 5.6, and nothing that forbids `unshare --time`)"),
        said,
    )
}

/// The kernel's own word on how long it has been up, sleep included; namespaces count (time_namespaces(7)).
fn uptime() -> Result<i64, Failure> {
    let text = fs::read_to_string("/proc/uptime").map_err(Failure::machine("read `/proc/uptime`"))?;
    let seconds = text.split('.').next().and_then(|seconds| seconds.parse().ok());
    seconds.ok_or_else(|| Failure::unexpected("seconds in `/proc/uptime`", text))
}

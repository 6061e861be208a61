//! The same Debian, started: the services in the sandboxes of their units, from the first socket to a token, and their end.
//!
//! `systemd-analyze` gives marks for what a unit forbids. Whether the program can live with it shows only here: a filtered system call or a
//! folder that cannot be written to stops what is tried. A device node of a TPM is what a container does not have; a software TPM stands in.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use super::{PACKAGES, check::same, not_checked, root::Root};
use crate::{
    failure::Failure,
    tool::{file, ran, run, tool},
};

/// How often and how many times something is looked for that comes up by itself: two minutes in all.
const LOOK: Duration = Duration::from_millis(200);
const LOOKS: usize = 600;

const CAP_SYS_PTRACE: &str = "0000000000080000";
const CAP_NET_BIND_SERVICE: &str = "0000000000000400";
const NONE: &str = "0000000000000000";

/// What stands otherwise in the issuer's configuration: the TPM has no chain here, and the owner no device.
const LOOSENED: [(&str, &str); 2] = [
    ("accept_unknown_ek = false", "accept_unknown_ek = true"),
    ("approve_on_behalf = false", "approve_on_behalf = true"),
];
const PROJECT: &str = r#"owners = ["olga@example.com"]
[roles.reader]
token_lifetime = "10m"
longest_grant = "90d"
[[roles.reader.authorization_details]]
type = "git_repository"
locations = ["https://localhost/team/app"]
actions = ["read"]
"#;

/// What is there at the end: what `init` made for the issuer, and its store. Everything of the agent and the gate is gone.
const KEPT: &str = "/etc/daypass
/etc/daypass/ek_roots
/etc/daypass/issuer.toml
/etc/daypass/policy
/etc/daypass/policy/guardrails
/etc/daypass/policy/guardrails/sample.cedar.example
/etc/daypass/policy/projects
/etc/daypass/policy/projects/apollo.toml
/etc/daypass/policy/projects/sample.briefing.md.example
/etc/daypass/policy/projects/sample.toml.example
/etc/daypass/policy/tests
/etc/daypass/policy/tests/sample.toml.example
/var/lib/daypass-issuer
/var/lib/daypass-issuer/issuer.db
/var/lib/daypass-issuer/issuer.db.checkpoint
/var/lib/daypass-issuer/issuer.db.lock
/var/lib/daypass-issuer/master.key
/var/lib/daypass-issuer/root.key
/var/lib/daypass-issuer/root.pem
";
/// What the engine keeps beside its database, or has folded into it at the end.
const ENGINES: [&str; 2] = ["/var/lib/daypass-issuer/issuer.db-wal", "/var/lib/daypass-issuer/issuer.db-shm"];

/// Installs, runs and purges, under a running systemd.
pub(super) fn story(root: &Root) -> Result<(), Failure> {
    run(&mut root.chroot(&["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "swtpm"]))?;
    let machine = match Machine::start(root)? {
        Ok(machine) => machine,
        Err(why) => return not_checked("running the services in a Debian that systemd-nspawn starts", why),
    };
    let files = PACKAGES.map(|package| format!("/opt/{package}.deb"));
    machine.run(&[&["dpkg", "--install"][..], &files.each_ref().map(String::as_str)].concat())?;
    for (unit, state) in [
        ("daypass.socket", "active"),
        ("daypass.service", "active"),
        ("daypass-inspector.socket", "inactive"),
        // Nothing to serve yet, which is no fault.
        ("daypass-issuer.service", "inactive"),
        ("daypass-gate.service", "inactive"),
    ] {
        machine.is(unit, state)?;
    }
    machine.sandboxed("daypass.service", NONE)?;
    without_a_tpm(&machine)?;
    inspector(root, &machine)?;
    servers(root, &machine)?;
    with_a_tpm(root, &machine)?;
    println!("ran as services under systemd, each in its sandbox: socket activation, inspector, enrolment, a token");
    purged(root, &machine)
}

/// Somebody without any right asks; the agent says what is wrong, and is started by being asked.
fn without_a_tpm(machine: &Machine<'_>) -> Result<(), Failure> {
    let (output, said) = ran(&mut machine.somebody(&["daypass", "doctor"]))?;
    if output.status.code() != Some(11) || !said.contains("there is no TPM at `device:/dev/tpmrm0`") {
        return Err(Failure::Check {
            what: format!("`daypass doctor` ended with {}", output.status),
            faults: vec![said],
        });
    }
    machine.run(&["systemctl", "stop", "daypass.service"])?;
    machine.is("daypass.service", "inactive")?;
    run(&mut machine.somebody(&["daypass", "status"]))?;
    machine.is("daypass.service", "active")
}

fn inspector(root: &Root, machine: &Machine<'_>) -> Result<(), Failure> {
    configure(root, "/etc/daypass/agent.toml", &[("# inspector = ", "inspector = ")])?;
    machine.run(&["systemctl", "enable", "--now", "daypass-inspector.socket"])?;
    machine.run(&["systemctl", "restart", "daypass.service"])?;
    let status = run(&mut machine.somebody(&["daypass", "status", "--json"]))?;
    if !status.contains("\"inspector\": true") {
        return Err(Failure::Check {
            what: "the inspector does not answer the agent".to_owned(),
            faults: vec![status],
        });
    }
    machine.sandboxed("daypass-inspector.service", CAP_SYS_PTRACE)
}

fn servers(root: &Root, machine: &Machine<'_>) -> Result<(), Failure> {
    let state = ["--state-dir", "/var/lib/daypass-issuer"];
    machine.run(&[&["daypass-issuer", "init", "--url", "https://localhost:8443"][..], &state].concat())?;
    // A software TPM without a maker's certificate.
    configure(root, "/etc/daypass/issuer.toml", &LOOSENED)?;
    // Which the starter's guardrails refuse.
    for starter in ["projects/starter.toml", "guardrails/starter.cedar", "tests/starter.toml"] {
        let starter = root.inside(&format!("/etc/daypass/policy/{starter}"));
        fs::remove_file(&starter).map_err(file("remove", &starter))?;
    }
    let project = root.inside("/etc/daypass/policy/projects/apollo.toml");
    fs::write(&project, PROJECT).map_err(file("write", &project))?;
    machine.run(&["daypass-issuer", "policy", "load"])?;
    machine.run(&["systemctl", "start", "daypass-issuer.service"])?;
    machine.is("daypass-issuer.service", "active")?;
    machine.sandboxed("daypass-issuer.service", NONE)?;

    let added = machine.run(&["daypass-issuer", "gate", "add", "git", "--resource", "https://localhost/"])?;
    machine.run(&["daypass-gate", "init", "--state-dir", "/var/lib/daypass-gate"])?;
    configure(root, "/etc/daypass/gate.toml", &[("https://git.example.com/", "https://localhost/")])?;
    machine.run(&["daypass-gate", "enrol", word(&added, "dpgate1_")?])?;
    machine.run(&["systemctl", "start", "daypass-gate.service"])?;
    machine.is("daypass-gate.service", "active")?;
    machine.sandboxed("daypass-gate.service", CAP_NET_BIND_SERVICE)?;
    // Somebody administers while the service is down; it can use its store afterwards.
    machine.run(&["systemctl", "stop", "daypass-issuer.service"])?;
    machine.run(&["daypass-issuer", "check"])?;
    machine.run(&["systemctl", "start", "daypass-issuer.service"])?;
    machine.is("daypass-issuer.service", "active")?;
    master_key(root, machine)
}

/// The master key as a systemd credential, and nowhere else.
fn master_key(root: &Root, machine: &Machine<'_>) -> Result<(), Failure> {
    machine.run(&["mkdir", "--parents", "--mode=0700", "/etc/credstore"])?;
    machine.run(&["mv", "/var/lib/daypass-issuer/master.key", "/etc/credstore/daypass-master-key"])?;
    machine.run(&["chown", "root:root", "/etc/credstore/daypass-master-key"])?;
    machine.run(&["systemctl", "restart", "daypass-issuer.service"])?;
    machine.is("daypass-issuer.service", "active")?;
    // For the commands, which no service manager hands anything.
    machine.run(&["mv", "/etc/credstore/daypass-master-key", "/var/lib/daypass-issuer/master.key"])?;
    let store = root.inside("/etc/credstore");
    fs::remove_dir(&store).map_err(file("remove", &store))
}

fn with_a_tpm(root: &Root, machine: &Machine<'_>) -> Result<(), Failure> {
    machine.run(&["mkdir", "/tmp/tpm"])?;
    let tpm = [
        "swtpm",
        "socket",
        "--tpm2",
        "--daemon",
        "--tpmstate",
        "dir=/tmp/tpm",
        "--flags",
        "not-need-init,startup-clear",
    ];
    let ports = ["--server", "type=tcp,port=2321", "--ctrl", "type=tcp,port=2322"];
    machine.run(&[&tpm[..], &ports].concat())?;
    configure(root, "/etc/daypass/agent.toml", &[("\"device:/dev/tpmrm0\"", "\"swtpm:host=127.0.0.1,port=2321\"")])?;
    machine.run(&["systemctl", "restart", "daypass.service"])?;
    let invite = ["daypass-issuer", "invite", "alice", "--project", "apollo", "--role", "reader", "--until", "7d"];
    let invitation = machine.run(&invite)?;
    run(&mut machine.somebody(&["daypass", "enroll", word(&invitation, "dpinv1_")?]))?;
    let devices = machine.run(&["daypass-issuer", "device", "list"])?;
    let approve = ["daypass-issuer", "device", "approve", word(&devices, "dev-")?, "--yes"];
    let for_owner = ["--on-behalf-of", "olga@example.com", "--reason", "at the same desk"];
    machine.run(&[&approve[..], &for_owner].concat())?;
    let token = run(&mut machine.somebody(&["daypass", "token", "https://localhost/"]))?;
    if token.split('.').count() != 3 {
        return Err(Failure::Check { what: "no token came".to_owned(), faults: vec![token] });
    }
    // The CA for git lies where everybody can read it, once the agent has been told of the resource.
    run(&mut machine.somebody(&["daypass", "status", "--refresh"]))?;
    let read = run(&mut machine.somebody(&["sh", "-c", "cat /run/daypass/ca-*.pem"]));
    read.map(drop).map_err(|failure| machine.with_journal(failure))
}

fn purged(root: &Root, machine: &Machine<'_>) -> Result<(), Failure> {
    machine.run(&[&["dpkg", "--remove"][..], &PACKAGES].concat())?;
    let (_, running) = ran(&mut machine.command(&[&["pidof"][..], &PACKAGES].concat()))?;
    same("services that run after their packages were removed", &running, "")?;
    machine.run(&[&["dpkg", "--purge"][..], &PACKAGES].concat())?;
    let failed = machine.run(&["systemctl", "list-units", "--all", "--plain", "--no-legend", "daypass*"])?;
    same("units after the purge", &failed, "")?;
    let left = root.ours()?;
    let left: String = left.lines().filter(|line| !ENGINES.contains(line)).map(|line| format!("{line}\n")).collect();
    same("what is left after the purge", &left, KEPT)
}

/// Changes a configuration as somebody with an editor does.
fn configure(root: &Root, path: &str, changes: &[(&str, &str)]) -> Result<(), Failure> {
    let path = root.inside(path);
    let mut text = fs::read_to_string(&path).map_err(file("read", &path))?;
    for (from, to) in changes {
        if !text.contains(from) {
            return Err(Failure::Check {
                what: format!("`{from}` does not stand in `{}`", path.display()),
                faults: vec![text],
            });
        }
        text = text.replace(from, to);
    }
    fs::write(&path, text).map_err(file("write", &path))
}

/// The word that begins so.
fn word<'a>(text: &'a str, begins: &str) -> Result<&'a str, Failure> {
    text.split_whitespace().find(|word| word.starts_with(begins)).ok_or_else(|| Failure::Check {
        what: format!("nothing that begins with `{begins}`"),
        faults: vec![text.to_owned()],
    })
}

/// A started Debian. Dropped, it is switched off.
struct Machine<'a> {
    nspawn: Child,
    leader: String,
    root: &'a Root,
}

impl<'a> Machine<'a> {
    /// Starts it; or what was said where that cannot be done here at all.
    fn start(root: &'a Root) -> Result<Result<Self, String>, Failure> {
        let at = root.path().with_extension("log");
        let log = fs::File::create(&at).map_err(file("create", &at))?;
        let said = |what: &str| format!("{what}; it said:\n{}", fs::read_to_string(&at).unwrap_or_default());
        let errors = log.try_clone().map_err(file("write", root.path()))?;
        // No network but the loopback: nobody's ports are taken, and nobody is asked.
        let mut nspawn = tool("systemd-nspawn", ["--quiet", "--boot", "--console=pipe", "--private-network"])
            .args(["--register=no", "--keep-unit", "--machine=daypass-check", "--link-journal=no", "--directory"])
            .arg(root.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|source| Failure::Start { what: "systemd-nspawn".to_owned(), source })?;
        for _ in 0..LOOKS {
            if nspawn.try_wait().is_ok_and(|ended| ended.is_some()) {
                return Ok(Err(said("it ended at once")));
            }
            if let Some(leader) = child_named(nspawn.id(), "systemd") {
                let machine = Self { nspawn, leader, root };
                return Ok(if machine.up()? { Ok(machine) } else { Err(said("the Debian in it did not come up")) });
            }
            thread::sleep(LOOK);
        }
        let _ = nspawn.kill();
        Ok(Err(said("it started no systemd")))
    }

    fn up(&self) -> Result<bool, Failure> {
        for _ in 0..LOOKS {
            let (_, said) = ran(&mut self.command(&["systemctl", "is-system-running"]))?;
            // Units of the system itself may not do in a container.
            if ["running", "degraded"].contains(&said.trim()) {
                return Ok(true);
            }
            thread::sleep(LOOK);
        }
        Ok(false)
    }

    /// A command of root's inside.
    fn command(&self, arguments: &[&str]) -> Command {
        let target = format!("--target={}", self.leader);
        let mut command = tool("nsenter", [&target, "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]);
        command.arg("--").args(arguments).env_clear().env("LANG", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<String, Failure> {
        run(&mut self.command(arguments)).map_err(|failure| self.with_journal(failure))
    }

    /// A command of somebody who has no right at all.
    fn somebody(&self, arguments: &[&str]) -> Command {
        self.command(
            &[&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"][..], arguments]
                .concat(),
        )
    }

    /// The unit is in this state.
    fn is(&self, unit: &str, state: &str) -> Result<(), Failure> {
        let (_, said) = ran(&mut self.command(&["systemctl", "is-active", unit]))?;
        same(&format!("the state of {unit}"), &said, &format!("{state}\n"))
            .map_err(|failure| self.with_journal(failure))
    }

    /// What the kernel says of the unit's process: its one capability or none, no way to more, filtered calls, no core, not root.
    fn sandboxed(&self, unit: &str, capabilities: &str) -> Result<(), Failure> {
        let pid = self.run(&["systemctl", "show", "--property=MainPID", "--value", unit])?;
        let status = self.run(&["cat", &format!("/proc/{}/status", pid.trim())])?;
        let limits = self.run(&["cat", &format!("/proc/{}/limits", pid.trim())])?;
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next()).unwrap_or_default().to_owned()
        };
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default();
        let found = format!(
            "capabilities {} of at most {}\nno new privileges {}\nseccomp {}\nroot {}\ncore {}\n",
            value("CapEff"),
            value("CapBnd"),
            value("NoNewPrivs"),
            value("Seccomp"),
            value("Uid") == "0",
            core.split_whitespace().rev().nth(1).unwrap_or_default(),
        );
        let expected = format!(
            "capabilities {capabilities} of at most {capabilities}\nno new privileges 1\nseccomp 2\nroot false\ncore 0\n"
        );
        same(&format!("the sandbox of {unit}"), &found, &expected)
    }

    /// What the services said, beside what failed.
    fn with_journal(&self, failure: Failure) -> Failure {
        let journal = ran(&mut self.command(&["journalctl", "--no-pager", "--lines=60", "--unit=daypass*"]));
        let journal = journal.map(|(_, said)| said).unwrap_or_default();
        Failure::Check { what: failure.to_string(), faults: vec![journal] }
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        // Its first process switches it off; what is still there after that goes with it.
        let _ = ran(&mut tool("kill", [&self.nspawn.id().to_string()]));
        for _ in 0..LOOKS {
            if self.nspawn.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            thread::sleep(LOOK);
        }
        let _ = ran(&mut tool("kill", ["-KILL", &self.leader]));
        let _ = self.nspawn.wait();
        eprintln!("had to kill the Debian in `{}`", self.root.path().display());
    }
}

/// The process id of a child with this name.
fn child_named(parent: u32, name: &str) -> Option<String> {
    let parent = parent.to_string();
    fs::read_dir(PathBuf::from("/proc")).ok()?.find_map(|entry| {
        let stat = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        // proc_pid_stat(5): number, name in parentheses, state, parent.
        let (number, rest) = stat.split_once(" (")?;
        let (called, rest) = rest.rsplit_once(") ")?;
        (called == name && rest.split(' ').nth(1) == Some(parent.as_str())).then(|| number.to_owned())
    })
}

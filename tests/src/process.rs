//! A program that runs for as long as its part of the story does: started, waited for until it is ready, ended with all that it started.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::{
        fd::OwnedFd,
        unix::{
            net::{UnixDatagram, UnixStream},
            process::ExitStatusExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use crate::{Act, Failure, ending, wait};

/// How much of a log is shown.
const LOG_END: usize = 8_000;

/// When a program counts as up.
#[derive(Clone, Debug)]
pub enum Ready {
    /// It says so to its service manager (`sd_notify`).
    Says,
    /// Something accepts connections there.
    Port(SocketAddr),
    /// Something accepts connections on this Unix socket.
    Socket(PathBuf),
    /// As soon as it is started.
    AtOnce,
}

/// How to start a program.
#[derive(Debug)]
pub struct Service {
    name: String,
    act: Act,
    ready: Ready,
    log: PathBuf,
}

impl Service {
    /// A service `name` that runs `act`, and writes to `<name>.log` in `logs`.
    pub fn new(name: impl Into<String>, act: Act, ready: Ready, logs: &Path) -> Self {
        let name = name.into();
        let log = logs.join(format!("{name}.log"));
        Self { name, act, ready, log }
    }

    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Result<Process, Failure> {
        self.start_with_input(None)
    }

    /// The same, with a descriptor as its standard input.
    pub fn start_with_input(&self, input: Option<OwnedFd>) -> Result<Process, Failure> {
        let mut act = self.act.clone();
        let notify = match &self.ready {
            Ready::Says => {
                let path = self.log.with_extension("ready");
                // Of a run before this one.
                let _ = fs::remove_file(&path);
                let socket =
                    UnixDatagram::bind(&path).map_err(Failure::machine(format!("bind `{}`", path.display())))?;
                self.act.who().own(&path)?;
                let looks = Some(Duration::from_millis(50));
                socket.set_read_timeout(looks).map_err(Failure::machine("set a timeout"))?;
                act = act.env("NOTIFY_SOCKET", &path);
                Some(socket)
            }
            Ready::Port(_) | Ready::Socket(_) | Ready::AtOnce => None,
        };
        let opening = || Failure::machine(format!("open `{}`", self.log.display()));
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).map_err(opening())?;
        let errors = log.try_clone().map_err(opening())?;
        let child = act
            .prepared()?
            .stdin(input.map_or_else(Stdio::null, Stdio::from))
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(Failure::machine(format!("start {}", self.name)))?;
        ending::begun(child.id());
        let mut process = Process { name: self.name.clone(), child, log: self.log.clone(), ended: None };
        process.wait_until_ready(&self.ready, notify.as_ref())?;
        Ok(process)
    }
}

/// A running program. Dropped, it is killed with its group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    fn wait_until_ready(&mut self, ready: &Ready, notify: Option<&UnixDatagram>) -> Result<(), Failure> {
        let up = wait::until(|| {
            if self.ended() {
                return Some(false);
            }
            let up = match ready {
                Ready::Says => notify.is_some_and(says_ready),
                Ready::Port(address) => TcpStream::connect(address).is_ok(),
                Ready::Socket(path) => UnixStream::connect(path).is_ok(),
                Ready::AtOnce => true,
            };
            up.then_some(true)
        });
        match up {
            Some(true) => Ok(()),
            Some(false) => Err(self.failure("ended before it was ready")),
            None => Err(self.failure("did not become ready")),
        }
    }

    fn failure(&self, what: &str) -> Failure {
        Failure::Service { service: self.name.clone(), what: what.to_owned(), log: self.log() }
    }

    /// Has it ended?
    pub fn ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_some()
    }

    /// Whether the kernel wrote a core when it ended, or gave one to whoever takes them.
    pub fn dumped_core(&self) -> bool {
        self.ended.is_some_and(|status| status.core_dumped())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let text = fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let start = text.len().saturating_sub(LOG_END);
        let start = (start..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.get(start..).unwrap_or_default().to_owned()
    }

    /// Waits until its log has `words`.
    pub fn wait_for_log(&mut self, words: &str) -> Result<(), Failure> {
        match wait::until(|| self.log().contains(words).then_some(())) {
            Some(()) => Ok(()),
            None => Err(self.failure(&format!("did not log `{words}`"))),
        }
    }

    /// Asks it to stop, as a service manager does, and waits for a good end.
    pub fn stop(&mut self) -> Result<(), Failure> {
        self.signal(Signal::SIGTERM);
        let ended = wait::until(|| self.ended().then_some(()));
        let status = self.ended;
        self.kill();
        match (ended, status) {
            (Some(()), Some(status)) if status.success() => Ok(()),
            (Some(()), status) => Err(self.failure(&format!("did not stop well: {status:?}"))),
            (None, _) => Err(self.failure("did not stop when it was asked to")),
        }
    }

    /// Takes its power away.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        if self.ended.is_none() {
            self.ended = self.child.wait().ok();
        }
        ending::ended(self.child.id());
    }

    /// Sends a signal to it and all that it started.
    pub fn signal(&self, signal: Signal) {
        if let Ok(group) = i32::try_from(self.child.id()) {
            // Gone already is as good.
            let _ = killpg(Pid::from_raw(group), signal);
        }
    }

    /// Its resident memory in KiB, now.
    pub fn resident_kib(&self) -> Option<u64> {
        self.status_kib("VmRSS:")
    }

    /// The most resident memory that it ever had, in KiB.
    pub fn peak_kib(&self) -> Option<u64> {
        self.status_kib("VmHWM:")
    }

    /// How long it has kept a processor busy so far, all its threads in user and system together: what it did, however busy the machine is.
    pub fn busy(&self) -> Option<Duration> {
        let pid = i32::try_from(self.child.id()).map(Pid::from_raw).ok()?;
        clock_gettime(clock_getcpuclockid(pid).ok()?).map(Duration::from).ok()
    }

    fn status_kib(&self, key: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn says_ready(socket: &UnixDatagram) -> bool {
    let mut message = [0; 4096];
    socket
        .recv(&mut message)
        .ok()
        .and_then(|length| message.get(..length))
        .is_some_and(|message| message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1"))
}

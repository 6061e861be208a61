//! One command, run to its end by somebody, with what it printed.

use std::{
    cell::RefCell,
    ffi::{OsStr, OsString},
    fmt,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{Clock, Disk, Failure, Programs, Who, wait};

thread_local! {
    static HEARD: RefCell<Option<Vec<Ran>>> = const { RefCell::new(None) };
}

/// While this lives, every command that this thread runs is kept with what it printed, and every program that it starts logs all it can.
#[derive(Debug)]
pub struct Recording(());

impl Recording {
    /// Begins.
    pub fn begin() -> Self {
        HEARD.set(Some(Vec::new()));
        Self(())
    }

    /// What was run since, in order.
    pub fn heard(&self) -> Vec<Ran> {
        HEARD.with_borrow(|heard| heard.clone().unwrap_or_default())
    }

    fn runs() -> bool {
        HEARD.with_borrow(Option::is_some)
    }

    fn keep(ran: &Ran) {
        HEARD.with_borrow_mut(|heard| heard.iter_mut().for_each(|heard| heard.push(ran.clone())));
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        HEARD.set(None);
    }
}

/// A command that is going to be run.
#[derive(Clone, Debug)]
pub struct Act {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    who: Who,
    folder: Option<PathBuf>,
    mounts: Option<PathBuf>,
    input: Vec<u8>,
}

impl Act {
    /// `program`, run by `who`. Nothing of our own environment goes along: no configuration of the person who runs the tests.
    pub fn new(program: impl Into<PathBuf>, who: Who) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            who,
            folder: None,
            mounts: None,
            input: Vec::new(),
        }
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("LANG", "C.UTF-8")
        .env("TZ", "UTC")
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// One more variable; the last of a name counts.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.retain(|(known, _)| known != name.as_ref());
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Where it runs.
    pub fn within(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Sees `disk`, where there is one.
    pub fn on_disk(mut self, disk: Option<&Disk>) -> Self {
        self.mounts = disk.map(Disk::namespace);
        self
    }

    /// What it reads.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Lives by `clock`, where there is one.
    pub fn clock(mut self, clock: Option<&Clock>) -> Self {
        for (name, value) in clock.map(Clock::environment).into_iter().flatten() {
            self = self.env(name, value);
        }
        self
    }

    /// Who runs it.
    pub(crate) fn who(&self) -> Who {
        self.who
    }

    /// The command as a person would type it.
    pub fn shown(&self) -> String {
        let name = self.program.file_name().unwrap_or(self.program.as_os_str());
        std::iter::once(quoted(name))
            .chain(self.arguments.iter().map(|argument| quoted(argument)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Ready to start: as `who`, in a process group of its own, dying with us.
    ///
    /// The environment is set behind `setpriv`, since a preloaded library must not come up before the uid has changed.
    pub(crate) fn prepared(&self) -> Result<Command, Failure> {
        let setpriv = Programs::system("setpriv")?;
        let mut command = match &self.mounts {
            Some(mounts) => {
                let mut command = Command::new(Programs::system("nsenter")?);
                command.arg(format!("--mount={}", mounts.display())).arg("--").arg(setpriv);
                command
            }
            None => Command::new(setpriv),
        };
        if let Some(uid) = self.who.uid() {
            command.args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()]);
        }
        command.args(["--pdeathsig", "KILL", "--"]).arg(Programs::system("env")?);
        command.args(self.environment.iter().map(|(name, value)| {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            pair
        }));
        if Recording::runs() {
            command.args(["DAYPASS_LOG=trace", "RUST_BACKTRACE=full"]);
        }
        command.arg(&self.program).args(&self.arguments).env_clear().process_group(0);
        command.current_dir(self.folder.as_deref().unwrap_or(Path::new("/")));
        Ok(command)
    }

    /// Runs it to its end.
    pub fn run(&self) -> Result<Ran, Failure> {
        let shown = self.shown();
        let mut child = self
            .prepared()?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Failure::machine(format!("start `{shown}`")))?;
        let group = i32::try_from(child.id()).map(Pid::from_raw).ok();
        let (stdin, input) = (child.stdin.take(), self.input.clone());
        let (done, finished) = mpsc::channel();
        let (ended, took) = wait::timed(|| {
            // Two threads, so that neither a full pipe nor a command that never ends stops the story.
            thread::spawn(move || {
                if let Some(mut stdin) = stdin {
                    // A command that does not read to the end is not at fault.
                    let _ = stdin.write_all(&input);
                }
            });
            thread::spawn(move || done.send(child.wait_with_output()));
            finished.recv_timeout(wait::PATIENCE)
        });
        match ended {
            Ok(Ok(output)) => {
                let (stdout, stderr) = (output.stdout, output.stderr);
                let ran = Ran { shown, code: output.status.code(), stdout, stderr, took };
                Recording::keep(&ran);
                Ok(ran)
            }
            Ok(Err(source)) => Err(Failure::Machine { doing: format!("run `{shown}`"), source }),
            Err(_) => {
                if let Some(group) = group {
                    let _ = killpg(group, Signal::SIGKILL);
                }
                Err(Failure::unexpected(format!("`{shown}` to end"), format!("it running after {} s", took.as_secs())))
            }
        }
    }

    /// Starts it without waiting: for what happens while it runs. [`Started::finish`] waits.
    pub fn start(&self) -> Started {
        let act = self.clone();
        let (done, finished) = mpsc::channel();
        thread::spawn(move || done.send(act.run()));
        Started { finished, shown: self.shown() }
    }
}

/// A command that runs beside the story.
#[derive(Debug)]
pub struct Started {
    finished: mpsc::Receiver<Result<Ran, Failure>>,
    shown: String,
}

impl Started {
    /// Waits for its end.
    pub fn finish(self) -> Result<Ran, Failure> {
        self.finished
            .recv()
            .unwrap_or_else(|_| Err(Failure::unexpected(format!("`{}` to end", self.shown), "its thread gone")))
    }
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%^~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A command that has ended.
#[derive(Clone)]
pub struct Ran {
    /// The command as a person would type it.
    pub shown: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// What it complained about.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// Its output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its complaints as text.
    pub fn complaints(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Everything that the person sees.
    pub fn seen(&self) -> String {
        format!("{}{}", self.text(), self.complaints())
    }

    /// Goes on only if it ended with 0.
    pub fn succeeded(self) -> Result<Self, Failure> {
        if self.code == Some(0) { Ok(self) } else { Err(self.surprise("success")) }
    }

    /// Goes on only if it ended with another code than 0, and said each of `words` (in whatever case).
    pub fn refused(self, words: &[&str]) -> Result<Self, Failure> {
        if self.code == Some(0) {
            return Err(self.surprise("a refusal"));
        }
        self.says(words)
    }

    /// Goes on only if it ended with this code.
    pub fn code(self, code: i32) -> Result<Self, Failure> {
        if self.code == Some(code) { Ok(self) } else { Err(self.surprise(&format!("exit code {code}"))) }
    }

    /// Goes on only if it said each of `words` (in whatever case).
    pub fn says(self, words: &[&str]) -> Result<Self, Failure> {
        let seen = self.seen().to_lowercase();
        match words.iter().find(|word| !seen.contains(&word.to_lowercase())) {
            None => Ok(self),
            Some(word) => Err(self.surprise(&format!("words with `{word}`"))),
        }
    }

    /// Goes on only if it said none of `words`.
    pub fn says_nothing_of(self, words: &[&str]) -> Result<Self, Failure> {
        let seen = self.seen();
        match words.iter().find(|word| seen.contains(**word)) {
            None => Ok(self),
            Some(word) => Err(self.surprise(&format!("no word of `{word}`"))),
        }
    }

    /// Its output as JSON.
    pub fn json(&self) -> Result<serde_json::Value, Failure> {
        serde_json::from_slice(&self.stdout).map_err(|_| self.clone().surprise("JSON"))
    }

    /// A failure with all that happened.
    pub fn surprise(self, expected: &str) -> Failure {
        Failure::Surprise { expected: expected.to_owned(), ran: Box::new(self) }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        write!(
            f,
            "$ {}\n{}{}[ended with {code} after {} ms]",
            self.shown,
            self.text(),
            self.complaints(),
            self.took.as_millis()
        )
    }
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

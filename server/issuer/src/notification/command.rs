//! The command: a program that gets the message on standard input. There is no shell, and nothing of our environment.

use std::{process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command as Process},
};

use super::{settings::CommandSettings, sink::SendError};

/// Where a script finds its interpreter.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// So much of what it says of an error is kept, in bytes.
const SAID: u64 = 300;
/// So long is read on, after it has failed, what it said before.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The command.
pub struct Command(CommandSettings);

impl Command {
    pub(super) const fn new(settings: CommandSettings) -> Self {
        Self(settings)
    }

    pub(super) async fn send(&self, payload: &str) -> Result<(), SendError> {
        let CommandSettings { program, arguments, timeout } = &self.0;
        let mut child = Process::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // What it starts ends with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(SendError::Start)?;
        let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        match tokio::time::timeout(*timeout, talk(&mut child, payload)).await {
            Ok(result) => {
                // It has ended, and its number may be somebody else's by now.
                group.0 = None;
                result
            }
            Err(_) => Err(SendError::TimedOut(timeout.as_secs())),
        }
    }
}

/// Ends all of it, where we leave before it has ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It is gone already, mostly.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

async fn talk(child: &mut Child, payload: &str) -> Result<(), SendError> {
    let (mut input, said) = (child.stdin.take(), child.stderr.take());
    let write = async {
        if let Some(input) = &mut input {
            // Who does not read it may take it all the same: how it ends says so.
            let _ = input.write_all(payload.as_bytes()).await;
        }
        drop(input.take());
    };
    let mut begin = Vec::new();
    let read = async {
        if let Some(said) = said {
            read_begin(said, &mut begin).await;
        }
    };
    // How it ends decides. What it left behind may hold its output open for ever.
    let ended = async {
        let status = child.wait().await;
        if status.as_ref().is_ok_and(|status| !status.success()) {
            tokio::time::sleep(LAST_WORDS).await;
        }
        status
    };
    let talk = async {
        tokio::join!(write, read);
        std::future::pending().await
    };
    let status = tokio::select! {
        status = ended => status,
        never = talk => never,
    };
    let status = status.map_err(SendError::Talk)?;
    if status.success() { Ok(()) } else { Err(SendError::Failed { status, said: shown(&begin) }) }
}

/// Reads the begin of what it says; the rest is read away, so that it can end.
async fn read_begin(mut said: impl AsyncRead + Unpin, begin: &mut Vec<u8>) {
    let _ = (&mut said).take(SAID).read_to_end(begin).await;
    let _ = tokio::io::copy(&mut said, &mut tokio::io::sink()).await;
}

/// One line of harmless characters.
fn shown(begin: &[u8]) -> String {
    let text = String::from_utf8_lossy(begin);
    let shown = |c: char| if c.is_ascii_graphic() || c.is_alphanumeric() { c } else { ' ' };
    text.trim().chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;

    fn script(folder: &Path, text: &str) -> Command {
        let path = folder.join("hook");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let arguments = vec![folder.display().to_string(), "$(touch owned); a b".to_owned()];
        Command::new(CommandSettings { program: path, arguments, timeout: Duration::from_secs(5) })
    }

    #[tokio::test]
    async fn it_gets_the_message_and_its_arguments_and_nothing_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let hook = script(
            folder.path(),
            "cat > \"$1/got\"; printf %s \"$2\" > \"$1/second\"; env | grep -v '^PATH=\\|^PWD=\\|^SHLVL=\\|^_=\\|^OLDPWD=' > \"$1/env\"; pwd > \"$1/pwd\"",
        );
        hook.send(r#"{"type":"test"}"#).await.unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("got"), r#"{"type":"test"}"#);
        assert_eq!(read("second"), "$(touch owned); a b");
        assert_eq!((read("env").as_str(), read("pwd").as_str()), ("", "/\n"));
    }

    #[tokio::test]
    async fn its_own_error_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = script(folder.path(), "echo 'no \u{1b}[2J route' >&2; exit 3").send("{}").await.unwrap_err();
        assert_eq!(error.to_string(), "the command ended with exit status: 3: no  [2J route");
        // Far more than is kept, and far more than a pipe holds.
        let loud = "yes x | head -c 300000 >&2; exit 1";
        let error = script(folder.path(), loud).send("{}").await.unwrap_err();
        assert!(error.to_string().len() < 400, "{error}");
        let none = Command::new(CommandSettings { program: "/nowhere".into(), ..script(folder.path(), "").0 });
        assert!(matches!(none.send("{}").await, Err(SendError::Start(_))));
    }

    #[tokio::test]
    async fn one_that_does_not_read_is_judged_by_its_end_alone() {
        let folder = tempfile::tempdir().unwrap();
        script(folder.path(), "exec <&-; exit 0").send(&"x".repeat(1_000_000)).await.unwrap();
    }

    #[tokio::test]
    async fn one_that_leaves_something_behind_is_judged_by_its_own_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut hook = script(folder.path(), "sleep 600 & echo $! > \"$1/child\"; exit 0");
        hook.0.timeout = Duration::from_secs(60);
        hook.send("{}").await.unwrap();
        let child = fs::read_to_string(folder.path().join("child")).unwrap();
        nix::sys::signal::kill(Pid::from_raw(child.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    }

    #[tokio::test]
    async fn one_that_hangs_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let mut hook = script(folder.path(), "sleep 600 & echo $! > \"$1/child\"; wait");
        hook.0.timeout = Duration::from_secs(1);
        assert!(matches!(hook.send("{}").await, Err(SendError::TimedOut(1))));
        let child = fs::read_to_string(folder.path().join("child")).unwrap();
        let stat = || fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        // Gone, or a body that nobody has buried yet.
        for _ in 0..100 {
            match stat() {
                Err(_) => return,
                Ok(stat) if stat.contains(") Z ") => return,
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        panic!("it runs on: {:?}", stat());
    }
}

//! The inspector: a process beside the agent whose one capability, `CAP_SYS_PTRACE`, lets it see which executable a process of another uid
//! runs. The agent itself needs no capability at all.
//!
//! It answers one question, about one process id, in one line, and only to the uid that it was started for. It reads a link and hashes the
//! file behind it; it traces nothing, keeps nothing and has no network. Both sides re-check: the inspector that the process started when it
//! did, the agent that the process still lives.

use std::{
    io::{self, BufRead as _, BufReader, Read, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    time::Duration,
};

use daypass_proto::caller::Process;
use nix::sys::socket::{getsockopt, sockopt};

use super::process::{Reader, start_time};

/// The longest question, in bytes: a process id.
const MAX_QUESTION: u64 = 16;
/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 8 * 1024;
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the inspector.
#[derive(Debug)]
pub struct InspectorClient {
    socket: PathBuf,
}

impl InspectorClient {
    /// Behind this socket.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Whether it is there.
    pub fn answers(&self) -> bool {
        i32::try_from(std::process::id()).is_ok_and(|own| self.ask(own).is_some())
    }

    /// What it sees of a process; `None` where it sees nothing, or is not there.
    pub fn ask(&self, pid: i32) -> Option<Process> {
        let answer = self.exchange(pid).map_err(|error| {
            tracing::debug!(socket = %self.socket.display(), %error, "could not ask the inspector");
        });
        serde_json::from_str(&answer.ok()?).ok()
    }

    fn exchange(&self, pid: i32) -> io::Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        writeln!(stream, "{pid}")?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Answers until the process is told to end; `asker` is the one uid that is answered.
pub fn serve(listener: &UnixListener, asker: u32) -> io::Result<()> {
    let reader = Reader::default();
    for stream in listener.incoming() {
        // One at a time: a question takes a moment, and who asks nothing is left after another.
        if let Err(error) = answer(stream?, asker, &reader) {
            tracing::debug!(%error, "could not answer");
        }
    }
    Ok(())
}

fn answer(mut stream: UnixStream, asker: u32, reader: &Reader) -> io::Result<()> {
    if getsockopt(&stream, sockopt::PeerCredentials)?.uid() != asker {
        tracing::warn!("somebody else than the agent asked, and was told nothing");
        return Ok(());
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut question = String::new();
    BufReader::new(Read::by_ref(&mut stream).take(MAX_QUESTION)).read_line(&mut question)?;
    let seen = question.trim_end().parse::<i32>().ok().filter(|pid| *pid > 0).and_then(|pid| {
        let before = start_time(pid)?;
        let seen = reader.read(pid);
        (start_time(pid)? == before).then_some(seen)
    });
    let text = serde_json::to_string(&seen.unwrap_or_default()).map_err(io::Error::other)?;
    stream.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use daypass_proto::caller::Reported;

    use super::*;

    fn inspector(asker: u32) -> (tempfile::TempDir, InspectorClient) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inspector.sock");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || serve(&listener, asker));
        (folder, InspectorClient::new(path))
    }

    #[test]
    fn the_agent_is_answered_and_nobody_else() {
        let me = nix::unistd::geteuid().as_raw();
        let own = i32::try_from(std::process::id()).unwrap();
        let (_folder, client) = inspector(me);
        assert!(client.answers());
        let seen = client.ask(own).unwrap();
        assert_eq!(seen.executable.to_string(), std::env::current_exe().unwrap().display().to_string());
        assert_eq!(client.ask(i32::MAX), Some(Process::default()));
        let (_folder, stranger) = inspector(me + 1);
        assert!(!stranger.answers());
        assert_eq!(InspectorClient::new("/nonexistent".into()).ask(own), None);
    }

    #[test]
    fn what_is_no_question_learns_nothing() {
        let (_folder, client) = inspector(nix::unistd::geteuid().as_raw());
        for bad in ["", "x", "0", "-1", "1 2", "99999999999999999999999", "1\u{0}"] {
            let mut stream = UnixStream::connect(&client.socket).unwrap();
            // It may hang up before everything was sent.
            let _ = writeln!(stream, "{bad}");
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            if let Ok(process) = serde_json::from_str::<Process>(&answer) {
                assert_eq!(process.executable, Reported::Unavailable, "{bad}");
            }
        }
        assert!(client.answers(), "it goes on");
    }
}

//! A mock of the agent for tests: a thread that takes connections on a private socket, keeps what it was asked and gives
//! the next of the answers that it was started with. Compiled for tests only.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use tempfile::TempDir;

use crate::local_client::LocalClient;

/// A mock agent; gone when dropped.
pub(crate) struct MockAgent {
    folder: TempDir,
    seen: Arc<Mutex<Vec<String>>>,
}

impl MockAgent {
    /// Answers with these statuses and JSON bodies, in order.
    pub(crate) fn start<const N: usize>(answers: [(u16, &str); N]) -> Self {
        Self::start_raw(answers.map(|(status, body)| {
            if status == 204 {
                "HTTP/1.1 204 No Content\r\n\r\n".to_owned()
            } else {
                format!("HTTP/1.1 {status} Mock\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            }
        }))
    }

    /// Answers with these bytes, in order.
    pub(crate) fn start_raw<const N: usize>(answers: [String; N]) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = UnixListener::bind(folder.path().join("agent.sock")).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&seen);
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut chunk = [0; 4096];
                while !is_whole(&request) {
                    let read = stream.read(&mut chunk).unwrap();
                    if read == 0 {
                        break;
                    }
                    request.extend_from_slice(&chunk[..read]);
                }
                keep.lock().unwrap().push(String::from_utf8(request).unwrap());
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { folder, seen }
    }

    /// A client for it.
    pub(crate) fn client(&self) -> LocalClient {
        LocalClient::new(self.socket())
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// What it was asked so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |length| length.parse::<usize>().unwrap());
    body.len() >= length
}

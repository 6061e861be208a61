//! HTTP by hand: curl, from whatever address and with whatever credentials a thief has.

use std::path::{Path, PathBuf};

use crate::{Act, Clock, Failure, Programs, Ran, Who};

/// A request that is going to be made.
#[derive(Clone, Debug)]
pub struct Request(Act);

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, a line each.
    pub headers: Vec<String>,
    /// The body.
    pub body: String,
    /// The command and all it printed.
    pub ran: Ran,
}

impl Request {
    /// A request to `url`, trusting the CA in `ca`.
    pub fn new(who: Who, url: &str, ca: &Path) -> Result<Self, Failure> {
        let act = Act::new(Programs::system("curl")?, who)
            .args(["-sS", "-i", "--max-time", "30", "--cacert"])
            .arg(ca)
            .arg(url);
        Ok(Self(act))
    }

    /// A request over a Unix socket.
    pub fn local(who: Who, socket: &Path, path: &str) -> Result<Self, Failure> {
        let act = Act::new(Programs::system("curl")?, who)
            .args(["-sS", "-i", "--max-time", "30", "--unix-socket"])
            .arg(socket)
            .arg(format!("http://daypass{path}"));
        Ok(Self(act))
    }

    /// More for curl.
    #[must_use]
    pub fn with<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(self, arguments: I) -> Self {
        Self(self.0.args(arguments))
    }

    /// A header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with(["-H".to_owned(), format!("{name}: {value}")])
    }

    /// From another address than the usual one.
    #[must_use]
    pub fn from_address(self, address: &str) -> Self {
        self.with(["--interface", address])
    }

    /// To another place than the URL says, as a load balancer would choose it.
    #[must_use]
    pub fn at(self, place: std::net::SocketAddr) -> Self {
        self.with(["--connect-to".to_owned(), format!("::{place}")])
    }

    /// With a client certificate.
    #[must_use]
    pub fn certificate(self, certificate: &Path, key: &Path) -> Self {
        let files: [PathBuf; 2] = [certificate.to_owned(), key.to_owned()];
        let [certificate, key] = files;
        Self(self.0.arg("--cert").arg(certificate).arg("--key").arg(key))
    }

    /// A body of bytes.
    #[must_use]
    pub fn body(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self(self.0.args(["--data-binary", "@-"]).input(bytes))
    }

    /// On a clock.
    #[must_use]
    pub fn clock(self, clock: Option<&Clock>) -> Self {
        Self(self.0.clock(clock))
    }

    /// The command.
    pub fn act(&self) -> &Act {
        &self.0
    }

    /// Makes it.
    pub fn send(&self) -> Result<Answer, Failure> {
        let ran = self.0.run()?.succeeded()?;
        let text = ran.text();
        let mut rest = text.as_str();
        // Interim answers (100) stand before the real one.
        loop {
            let Some((head, body)) = rest.split_once("\r\n\r\n") else { return Err(ran.surprise("an HTTP answer")) };
            let mut lines = head.lines();
            let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse::<u16>().ok());
            match status {
                Some(100..=199) => rest = body,
                Some(status) => {
                    let headers = lines.map(str::to_owned).collect();
                    let body = body.to_owned();
                    return Ok(Answer { status, headers, body, ran });
                }
                None => return Err(ran.surprise("an HTTP status")),
            }
        }
    }
}

impl Answer {
    /// Goes on only with this status.
    pub fn status(self, status: u16) -> Result<Self, Failure> {
        if self.status == status { Ok(self) } else { Err(self.ran.surprise(&format!("status {status}"))) }
    }

    /// Goes on only if headers or body say each of `words` (in whatever case).
    pub fn says(self, words: &[&str]) -> Result<Self, Failure> {
        let ran = self.ran.clone().says(words)?;
        Ok(Self { ran, ..self })
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value, Failure> {
        serde_json::from_str(&self.body).map_err(|_| self.ran.clone().surprise("JSON"))
    }
}

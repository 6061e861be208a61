//! The gate in front of a git server.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{
    Act, Clock, Failure, Issuer, Loopback, Place, Process, Programs, Ready, Service, Upstream, Who,
    issuer::text,
    place::{read, write},
};

/// A gate.
#[derive(Debug)]
pub struct Gate {
    name: String,
    folder: PathBuf,
    programs: Programs,
    clock: Option<Clock>,
    listen: SocketAddr,
    process: Option<Process>,
}

impl Gate {
    /// A gate that knows its place and what stands behind it; it is not enrolled yet.
    pub fn new(
        place: &Place,
        name: &str,
        programs: &Programs,
        clock: Option<&Clock>,
        upstream: &Upstream,
    ) -> Result<Self, Failure> {
        let folder = place.folder(name, Who::Server, 0o700)?;
        let address = Loopback::next();
        let listen = SocketAddr::new(address.ip(), address.port()?);
        let gate = Self {
            name: name.to_owned(),
            folder,
            programs: programs.clone(),
            clock: clock.cloned(),
            listen,
            process: None,
        };
        gate.act(["init"]).run()?.succeeded()?;
        let socket = upstream.socket();
        for (from, to) in [
            ("0.0.0.0:443", listen.to_string()),
            ("https://git.example.com/", gate.resource()),
            ("/run/git-upstream/http.sock", socket.display().to_string()),
            // A revocation is at most this late.
            ("poll_interval = \"2s\"", "poll_interval = \"1s\"".to_owned()),
        ] {
            gate.configure(from, &to)?;
        }
        Ok(gate)
    }

    /// Registers it at the issuer and enrols it with the code.
    pub fn enrol(&self, issuer: &Issuer) -> Result<(), Failure> {
        self.enrol_for(&self.resource(), issuer)
    }

    /// A second gate of what `other` guards, with the same nonce key, behind the address that clients know.
    pub fn sister_of(&self, other: &Self, issuer: &Issuer) -> Result<(), Failure> {
        self.configure(&self.resource(), &other.resource())?;
        let key = other.folder.join("gate-state/nonce.key");
        self.configure("# nonce_key = \"nonce.key\"", &format!("nonce_key = \"{}\"", key.display()))?;
        self.enrol_for(&other.resource(), issuer)
    }

    fn enrol_for(&self, resource: &str, issuer: &Issuer) -> Result<(), Failure> {
        let answer = issuer.run(["gate", "add", &self.name, "--resource", resource, "--json"])?;
        self.act(["enrol", "-"]).input(text(&answer, "/code")?).run()?.succeeded()?;
        Ok(())
    }

    /// Changes a line of its configuration.
    pub fn configure(&self, from: &str, to: &str) -> Result<(), Failure> {
        let text = read(&self.configuration())?;
        if !text.contains(from) {
            return Err(Failure::unexpected(format!("`{from}` in the gate's configuration"), text));
        }
        write(&self.configuration(), Who::Server, 0o600, text.replace(from, to))
    }

    /// Its configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("gate.toml")
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it guards.
    pub fn resource(&self) -> String {
        format!("https://{}/", self.listen)
    }

    /// The URL of something behind it.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.listen)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// A `daypass-gate` command.
    pub fn act<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(&self, arguments: I) -> Act {
        Act::new(self.programs.built("daypass-gate"), Who::Server)
            .args(arguments)
            .env("DAYPASS_GATE_CONFIG", self.configuration())
            .env("HOME", &self.folder)
            .clock(self.clock.as_ref())
            .within(&self.folder)
    }

    /// Lives by another clock from its next start on.
    pub fn live_by(&mut self, clock: &Clock) {
        self.clock = Some(clock.clone());
    }

    /// Starts to serve.
    pub fn serve(&mut self) -> Result<(), Failure> {
        self.process = Some(Service::new("gate", self.act(["serve"]), Ready::Says, &self.folder).start()?);
        Ok(())
    }

    /// Takes its power away.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it as a service manager does.
    pub fn stop(&mut self) -> Result<(), Failure> {
        self.process.take().map_or(Ok(()), |mut process| process.stop())
    }

    /// The running program.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }
}

//! The issuer: made by `init`, run by `serve`, and commanded by its own command line.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::{
    Act, Clock, Disk, Failure, Loopback, Maker, Place, Process, Programs, Ran, Ready, Service, Who,
    place::{read, write},
};

/// An issuer.
#[derive(Debug)]
pub struct Issuer {
    folder: PathBuf,
    root: PathBuf,
    programs: Programs,
    clock: Option<Clock>,
    public: SocketAddr,
    mtls: SocketAddr,
    process: Option<Process>,
    disk: Option<Disk>,
}

impl Issuer {
    /// Makes an issuer that trusts these makers' TPMs; it does not serve yet.
    pub fn init(
        place: &Place,
        name: &str,
        programs: &Programs,
        clock: Option<&Clock>,
        makers: &[&Maker],
    ) -> Result<Self, Failure> {
        let folder = place.folder(name, Who::Server, 0o700)?;
        let address = Loopback::next();
        let public = SocketAddr::new(address.ip(), address.port()?);
        let mtls = SocketAddr::new(address.ip(), address.port()?);
        let root = place.path().join(format!("{name}-root.pem"));
        let issuer = Self {
            folder,
            root,
            programs: programs.clone(),
            clock: clock.cloned(),
            public,
            mtls,
            process: None,
            disk: None,
        };
        issuer
            .act([
                "init",
                "--url",
                &issuer.url(),
                "--mtls-url",
                &issuer.mtls_url(),
                "--listen",
                &address.ip().to_string(),
            ])
            .run()?
            .succeeded()?;
        // The starter policy lets in machines with a TPM of a known maker alone, and there is none here: stories bring a policy of their own.
        for folder in ["projects", "guardrails", "tests"] {
            let folder = issuer.folder.join("policy").join(folder);
            let all = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
            for file in all.filter(|path| path.extension().is_some_and(|end| end == "toml" || end == "cedar")) {
                fs::remove_file(&file).map_err(Failure::machine(format!("remove `{}`", file.display())))?;
            }
        }
        // Nobody has a device to approve from before the first one is approved.
        issuer.configure("approve_on_behalf = false", "approve_on_behalf = true")?;
        write(&issuer.root, Who::Server, 0o644, read(&issuer.folder.join("root.pem"))?)?;
        for maker in makers {
            issuer.trust(maker)?;
        }
        Ok(issuer)
    }

    /// Takes a maker's certificates into `ek_roots`.
    pub fn trust(&self, maker: &Maker) -> Result<(), Failure> {
        for certificate in maker.roots() {
            let named = maker.name().to_owned() + "-" + &certificate.file_name().unwrap_or_default().to_string_lossy();
            write(&self.folder.join("ek_roots").join(named), Who::Server, 0o644, read(&certificate)?)?;
        }
        Ok(())
    }

    /// Its configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("issuer.toml")
    }

    /// Its root certificate, where everybody can read it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its folder, with the store in it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where devices enrol.
    pub fn url(&self) -> String {
        format!("https://{}", self.public)
    }

    /// Where devices and gates come with their certificates.
    pub fn mtls_url(&self) -> String {
        format!("https://{}", self.mtls)
    }

    /// The public listener's address.
    pub fn public_address(&self) -> SocketAddr {
        self.public
    }

    /// The mTLS listener's address.
    pub fn mtls_address(&self) -> SocketAddr {
        self.mtls
    }

    /// Changes a line of the configuration.
    pub fn configure(&self, from: &str, to: &str) -> Result<(), Failure> {
        let text = read(&self.configuration())?;
        if !text.contains(from) {
            return Err(Failure::unexpected(format!("`{from}` in the configuration"), text));
        }
        write(&self.configuration(), Who::Server, 0o600, text.replace(from, to))
    }

    /// The file of a project.
    pub fn project(&self, name: &str) -> PathBuf {
        self.folder.join("policy/projects").join(format!("{name}.toml"))
    }

    /// Writes a project file, and puts the policy in force.
    pub fn write_project(&self, name: &str, text: &str) -> Result<(), Failure> {
        write(&self.project(name), Who::Server, 0o644, text)?;
        self.run(["policy", "load"]).map(drop)
    }

    /// A `daypass-issuer` command.
    pub fn act<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(&self, arguments: I) -> Act {
        Act::new(self.programs.built("daypass-issuer"), Who::Server)
            .args(arguments)
            .env("DAYPASS_ISSUER_CONFIG", self.configuration())
            .env("HOME", &self.folder)
            .clock(self.clock.as_ref())
            .within(&self.folder)
            .on_disk(self.disk.as_ref())
    }

    /// Moves the store, which nobody may have open, to a small disk of its own.
    pub fn move_to_disk(&mut self, place: &Place, size: &str) -> Result<(), Failure> {
        let at = self.folder.join("data");
        crate::place::folder(&at, Who::Server, 0o700)?;
        self.disk = Some(Disk::new(place, &at, size)?);
        Act::new(Programs::system("sh")?, Who::Server)
            .args(["-c", "mv \"$0\"/issuer.db* \"$0\"/data/"])
            .arg(&self.folder)
            .on_disk(self.disk.as_ref())
            .run()?
            .succeeded()?;
        self.configure("database = \"issuer.db\"", "database = \"data/issuer.db\"")
    }

    /// Brings everything that stands in the write-ahead log of a stopped issuer into the one file.
    pub fn fold(&self) -> Result<(), Failure> {
        let act = Act::new(Programs::system("sqlite3")?, Who::Server).arg(self.store());
        act.arg("PRAGMA wal_checkpoint(TRUNCATE)").within(&self.folder).run()?.succeeded().map(drop)
    }

    /// The disk of the store.
    pub fn disk(&self) -> Result<&Disk, Failure> {
        self.disk.as_ref().ok_or_else(|| Failure::unexpected("a disk of its own", "none"))
    }

    /// What is written in the store, whatever the program says; a line a row.
    pub fn sql(&self, query: &str) -> Result<Vec<String>, Failure> {
        let database = if self.disk.is_some() { "data/issuer.db" } else { "issuer.db" };
        let ran = Act::new(Programs::system("sqlite3")?, Who::Server)
            .args(["-readonly", "-cmd", ".timeout 10000"])
            .arg(self.folder.join(database))
            .arg(query)
            .within(&self.folder)
            .on_disk(self.disk.as_ref())
            .run()?
            .succeeded()?;
        Ok(ran.text().lines().map(str::to_owned).collect())
    }

    /// Writes to the store beside the program, as nobody should: what a story needs more of than it can ask for.
    pub fn fill(&self, statement: &str) -> Result<(), Failure> {
        let act = Act::new(Programs::system("sqlite3")?, Who::Server).args(["-cmd", ".timeout 10000"]);
        act.arg(self.store()).arg(statement).within(&self.folder).run()?.succeeded().map(drop)
    }

    /// Changes the store of a stopped issuer behind its back, as its operator can, and has it number every event and sign every checkpoint anew when it
    /// starts: the tree that it shows then is in itself all right.
    pub fn rewrite(&self, sql: &str) -> Result<(), Failure> {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let sql = format!(
            "{sql}; DELETE FROM personal_fields WHERE event NOT IN (SELECT id FROM events); \
             UPDATE events SET sequence = NULL; DELETE FROM event_collaborators; DELETE FROM ledger_tiles; DELETE FROM checkpoints; \
             UPDATE ledger SET size = 0, root = X'{empty}', promised = 0;"
        );
        let act = Act::new(Programs::system("sqlite3")?, Who::Server).arg(self.store()).arg(sql);
        act.within(&self.folder).run()?.succeeded()?;
        let published = format!("{}.checkpoint", self.store().display());
        fs::remove_file(&published).map_err(Failure::machine(format!("remove `{published}`")))
    }

    /// Runs a `daypass-issuer` command that must succeed.
    pub fn run<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(&self, arguments: I) -> Result<Ran, Failure> {
        self.act(arguments).run()?.succeeded()
    }

    /// Starts to serve.
    pub fn serve(&mut self) -> Result<(), Failure> {
        let act = self.act(["serve"]);
        self.process = Some(Service::new("issuer", act, Ready::Says, &self.folder).start()?);
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
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// How long the running program has kept a processor busy so far.
    pub fn busy(&self) -> Option<Duration> {
        self.process.as_ref().and_then(Process::busy)
    }

    /// Invites somebody; gives the code.
    pub fn invite(&self, collaborator: &str, project: &str, role: &str, more: &[&str]) -> Result<String, Failure> {
        let mut arguments = vec!["invite", collaborator, "--project", project, "--role", role, "--json"];
        if !more.contains(&"--until") {
            arguments.extend(["--until", "7d"]);
        }
        arguments.extend(more);
        let answer = self.run(arguments)?;
        text(&answer, "/code")
    }

    /// All devices.
    pub fn devices(&self) -> Result<Vec<Value>, Failure> {
        let answer = self.run(["device", "list", "--json"])?;
        answer.json()?.as_array().cloned().ok_or_else(|| answer.surprise("a list"))
    }

    /// The one device of somebody.
    pub fn device_of(&self, collaborator: &str) -> Result<String, Failure> {
        let devices = self.devices()?;
        let mut of =
            devices.iter().filter(|device| device.get("collaborator").and_then(Value::as_str) == Some(collaborator));
        match (of.next().and_then(|device| device.get("device")?.as_str()), of.next()) {
            (Some(device), None) => Ok(device.to_owned()),
            _ => Err(Failure::unexpected(format!("one device of {collaborator}"), format!("{devices:?}"))),
        }
    }

    /// Approves the one device of somebody without looking at its code, and its grants for [`OWNER`].
    pub fn approve(&self, collaborator: &str) -> Result<String, Failure> {
        self.approve_for(OWNER, collaborator)
    }

    /// The same, for this owner.
    pub fn approve_for(&self, owner: &str, collaborator: &str) -> Result<String, Failure> {
        let device = self.device_of(collaborator)?;
        self.run([&["device", "approve", &device, "--yes"][..], &on_behalf_of(owner)].concat())?;
        Ok(device)
    }

    /// Asks the store itself: what is written there, whatever the program says.
    pub fn store(&self) -> PathBuf {
        self.folder.join("issuer.db")
    }

    /// A copy of the store's files, for looking for what must not stand there.
    pub fn store_bytes(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        for suffix in ["", "-wal"] {
            let path = format!("{}{suffix}", self.store().display());
            bytes.extend(fs::read(&path).unwrap_or_default());
        }
        if bytes.is_empty() { Err(Failure::unexpected("a store", "nothing")) } else { Ok(bytes) }
    }

    /// Puts a file where the issuer can read it.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, Failure> {
        let path = self.folder.join(name);
        write(&path, Who::Server, 0o600, content)?;
        Ok(path)
    }
}

/// The owner of the projects of most stories.
pub const OWNER: &str = "olga@example.com";

/// What makes a command on the issuer's machine the decision of an owner.
pub const fn on_behalf_of(owner: &str) -> [&str; 4] {
    ["--on-behalf-of", owner, "--reason", "said so on the phone"]
}

/// A text in a JSON answer.
pub(crate) fn text(answer: &Ran, pointer: &str) -> Result<String, Failure> {
    match answer.json()?.pointer(pointer).and_then(Value::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => Err(answer.clone().surprise(&format!("`{pointer}` in the answer"))),
    }
}

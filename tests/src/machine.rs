//! A collaborator's machine: a TPM, the agent as a service of its own, and somebody who works there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Act, Chip, Clock, Failure, Maker, Person, Place, Process, Programs, Ready, Service, Who, World,
    place::{copy_folder, folder, read, write},
};

/// A machine.
#[derive(Debug)]
pub struct Machine {
    // The agent ends before its TPM does.
    agent: Option<Process>,
    inspector: Option<Process>,
    /// Its TPM.
    pub chip: Chip,
    /// Who works there.
    pub person: Person,
    folder: PathBuf,
    programs: Programs,
    clock: Option<Clock>,
}

impl Machine {
    /// A machine with a TPM of the world's maker, switched on, its agent running, for `who`.
    pub fn start(world: &World, name: &str, who: Who) -> Result<Self, Failure> {
        let mut machine = Self::new(&world.place, name, who, &world.maker, world.clock.as_ref())?;
        machine.chip.start()?;
        machine.start_agent()?;
        Ok(machine)
    }

    /// A machine that is still switched off.
    pub fn new(place: &Place, name: &str, who: Who, maker: &Maker, clock: Option<&Clock>) -> Result<Self, Failure> {
        let folder = place.folder(name, Who::Agent, 0o755)?;
        let programs = Programs::find()?;
        let chip = maker.make(&folder)?;
        let person = Person::new(place, &format!("{name}-home"), who)?;
        let machine = Self { agent: None, inspector: None, chip, person, folder, programs, clock: clock.cloned() };
        folder_of_service(&machine.state(), 0o700)?;
        // Everybody on the machine may go to the socket; whom the agent answers, it decides by uid.
        folder_of_service(&machine.folder.join("run"), 0o755)?;
        machine.configure(&machine.chip.tcti())?;
        let person = machine.person.with_env("DAYPASS_SOCKET", machine.socket());
        Ok(Self { person, ..machine })
    }

    /// Writes the agent's configuration.
    pub fn configure(&self, tcti: &str) -> Result<(), Failure> {
        let text = format!(
            "tcti = \"{tcti}\"\nsocket = \"{}\"\nstate_dir = \"{}\"\nprovision_srk = true\n",
            self.socket().display(),
            self.state().display(),
        );
        write(&self.configuration(), Who::Agent, 0o644, text)
    }

    /// The agent's configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("agent.toml")
    }

    /// The agent's socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("run/agent.sock")
    }

    /// The agent's state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The machine's own folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A `daypass` command of the person who works there.
    pub fn daypass<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(&self, arguments: I) -> Act {
        self.person
            .act(self.programs.built("daypass"))
            .args(arguments)
            .env("DAYPASS_CONFIG", self.configuration())
            .clock(self.clock.as_ref())
    }

    /// The agent as a command of the service user's.
    pub fn agent_act(&self) -> Act {
        Act::new(self.programs.built("daypass"), Who::Agent)
            .arg("agent")
            .env("DAYPASS_CONFIG", self.configuration())
            .env("HOME", &self.folder)
            .env("DAYPASS_LOG", "info")
            .clock(self.clock.as_ref())
            .within(&self.folder)
    }

    /// Starts the agent.
    pub fn start_agent(&mut self) -> Result<(), Failure> {
        self.agent = Some(Service::new("agent", self.agent_act(), Ready::Says, &self.folder).start()?);
        Ok(())
    }

    /// Takes the agent's power away.
    pub fn kill_agent(&mut self) {
        self.agent = None;
    }

    /// Stops the agent as a service manager does.
    pub fn stop_agent(&mut self) -> Result<(), Failure> {
        self.agent.take().map_or(Ok(()), |mut process| process.stop())
    }

    /// Installs the inspector beside the agent, with the one capability that its unit gives it, and starts the agent anew.
    pub fn install_inspector(&mut self) -> Result<(), Failure> {
        let socket = self.folder.join("run/inspector.sock");
        let asker = Who::Agent.effective_uid().to_string();
        let one = "-all,+sys_ptrace";
        let act = Act::new(Programs::system("setpriv")?, Who::Myself)
            .args(["--reuid", &asker, "--regid", &asker, "--clear-groups", "--no-new-privs"])
            .args(["--inh-caps", one, "--ambient-caps", one, "--bounding-set", one])
            .arg(self.programs.built("daypass"))
            .args(["inspector", "--asker", &asker, "--listen"])
            .arg(&socket)
            .within(&self.folder);
        self.inspector = Some(Service::new("inspector", act, Ready::Socket(socket.clone()), &self.folder).start()?);
        let text = read(&self.configuration())?;
        write(&self.configuration(), Who::Agent, 0o644, format!("{text}inspector = \"{}\"\n", socket.display()))?;
        self.stop_agent()?;
        self.start_agent()
    }

    /// Takes the inspector's power away.
    pub fn kill_inspector(&mut self) {
        self.inspector = None;
    }

    /// The running agent.
    pub fn agent(&mut self) -> Option<&mut Process> {
        self.agent.as_mut()
    }

    /// Every file of the agent's state.
    pub fn state_files(&self) -> Result<Vec<(PathBuf, Vec<u8>)>, Failure> {
        crate::files(&self.state())
    }

    /// What the agent logged.
    pub fn agent_log(&self) -> String {
        read(&self.folder.join("agent.log")).unwrap_or_default()
    }

    /// Enrols with this code; gives what was printed.
    pub fn enrol(&self, code: &str) -> Result<crate::Ran, Failure> {
        self.daypass(["enroll"]).input(code).run()?.succeeded()
    }

    /// Invites `collaborator`, enrols this machine, approves it, and sets up git.
    pub fn join(&self, world: &World, collaborator: &str, role: &str) -> Result<String, Failure> {
        let code = world.issuer.invite(collaborator, crate::PROJECT, role, &[])?;
        self.enrol(&code)?;
        let device = world.issuer.approve(collaborator)?;
        self.daypass(["setup", "git", "--yes"]).run()?.succeeded()?;
        Ok(device)
    }

    /// Somebody else at this machine: a user of the same agent, with a home of their own.
    pub fn another_user(&self, place: &Place, home: &str, who: Who) -> Result<Person, Failure> {
        Ok(Person::new(place, home, who)?
            .with_env("DAYPASS_SOCKET", self.socket())
            .with_env("DAYPASS_CONFIG", self.configuration()))
    }

    /// Takes the state folder of another machine in place of its own, as a thief does with a disk.
    pub fn take_state_of(&self, other: &Self) -> Result<(), Failure> {
        self.forget_state()?;
        copy_folder(&other.state(), &self.state(), Who::Agent)?;
        let (from, to) = (other.person.who().effective_uid(), self.person.who().effective_uid());
        // State is kept by uid; the thief makes it his own.
        let (from, to) = (self.state().join(from.to_string()), self.state().join(to.to_string()));
        if from != to && from.exists() {
            fs::rename(&from, &to).map_err(Failure::machine("rename the stolen state"))?;
        }
        Ok(())
    }
}

impl Machine {
    /// Forgets everything: a state folder as on the first day.
    pub fn forget_state(&self) -> Result<(), Failure> {
        if self.state().exists() {
            fs::remove_dir_all(self.state()).map_err(Failure::machine("remove the state"))?;
        }
        folder_of_service(&self.state(), 0o700)
    }
}

fn folder_of_service(path: &Path, mode: u32) -> Result<(), Failure> {
    folder(path, Who::Agent, mode)
}

//! Putting a report together: the peer, and what called it where it is one of our own programs.

use std::path::PathBuf;

use daypass_proto::caller::{Evidence, MAX_VIA, Process, Reported};

use super::{
    inspector::InspectorClient,
    peer::Peer,
    process::{Reader, parent},
};

/// Programs of ours that ask on somebody else's behalf.
const OWN: [&str; 2] = ["daypass", "git-credential-daypass"];

/// Looks at whoever asks: with the agent's own eyes, and with the inspector's where one is installed.
#[derive(Debug)]
pub struct Witness {
    reader: Reader,
    inspector: Option<InspectorClient>,
    own: Vec<PathBuf>,
}

impl Witness {
    /// With the inspector behind this socket, where there is one.
    pub fn new(inspector: Option<PathBuf>) -> Self {
        let folder = std::env::current_exe().ok().and_then(|path| path.parent().map(PathBuf::from));
        let own = folder.map(|folder| OWN.map(|name| folder.join(name)).to_vec()).unwrap_or_default();
        Self { reader: Reader::default(), inspector: inspector.map(InspectorClient::new), own }
    }

    /// Whether an inspector is to be asked, and answers.
    pub fn inspector_answers(&self) -> Option<bool> {
        self.inspector.as_ref().map(InspectorClient::answers)
    }

    /// What can be reported of this process. Reads files, and may ask the inspector: not for an async task.
    pub fn report(&self, peer: Option<&Peer>) -> Evidence {
        let Some(peer) = peer else { return Evidence::unavailable() };
        let process = self.look(peer.pid());
        let via = if self.is_own(&process) { self.ancestors(peer.pid()) } else { Vec::new() };
        // Whatever was read may be of another process if this one has ended meanwhile.
        if !peer.is_alive() {
            return Evidence::unavailable();
        }
        Evidence { identified_by: peer.identified_by(), peer: process, via }
    }

    fn look(&self, pid: i32) -> Process {
        let seen = self.reader.read(pid);
        if seen.executable != Reported::Unavailable {
            return seen;
        }
        match self.inspector.as_ref().and_then(|inspector| inspector.ask(pid)) {
            // The unit can be read by anybody.
            Some(inspected) => Process { unit: seen.unit, ..inspected },
            None => seen,
        }
    }

    fn is_own(&self, process: &Process) -> bool {
        let Reported::Known(executable) = &process.executable else { return false };
        self.own.iter().any(|own| own.as_os_str() == executable.as_ref())
    }

    fn ancestors(&self, pid: i32) -> Vec<Process> {
        let mut found = Vec::new();
        let mut next = parent(pid);
        // What starts everything says nothing of anybody.
        while let Some(pid) = next.filter(|pid| *pid > 1 && found.len() < MAX_VIA) {
            found.push(self.look(pid));
            next = parent(pid);
        }
        found
    }
}

//! Who does what. Each part has a uid of its own when the harness may give it one.

use std::path::Path;

use nix::unistd::{Gid, Uid, chown, geteuid};

use crate::Failure;

/// Somebody on the machines of a story.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Who {
    /// The service user of issuer, gate and git server.
    Server,
    /// The service user of the agents, with the TPM.
    Agent,
    /// A collaborator.
    Alice,
    /// Another collaborator, or a thief.
    Bob,
    /// Whoever started the harness.
    Myself,
}

impl Who {
    /// May the harness run things as somebody else?
    pub fn can_be_chosen() -> bool {
        geteuid().is_root()
    }

    /// Says that a story is skipped, where one uid is not enough for it. Goes around libtest's capturing: a skipped story that nobody
    /// sees is one that nobody runs.
    pub fn skip_unless_chosen(story: &str) -> bool {
        let skip = !Self::can_be_chosen();
        if skip {
            crate::say(&format!("skipped: {story} needs two uids; run the tests as root"));
        }
        skip
    }

    /// The uid, where it is another than our own. 65520 to 65533 belong to nobody on Debian, and to no range of systemd's.
    pub fn uid(self) -> Option<u32> {
        let chosen = match self {
            Self::Server => 65521,
            Self::Agent => 65522,
            Self::Alice => 65523,
            Self::Bob => 65524,
            Self::Myself => return None,
        };
        Self::can_be_chosen().then_some(chosen)
    }

    /// The uid that the kernel will report for this somebody.
    pub fn effective_uid(self) -> u32 {
        self.uid().unwrap_or_else(|| geteuid().as_raw())
    }

    /// Makes a file or folder this somebody's.
    pub(crate) fn own(self, path: &Path) -> Result<(), Failure> {
        let Some(uid) = self.uid() else { return Ok(()) };
        chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)))
            .map_err(|error| Failure::machine(format!("give `{}` to {self:?}", path.display()))(error.into()))
    }
}

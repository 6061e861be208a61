//! What an agent keeps of what was decided about its device: shown once as new, and kept as read.
//!
//! In one file beside the enrolment, of the last [`KEPT`] notices. Nothing hangs on it: where it does not read it is begun anew, and the issuer tells what
//! it told before.

use std::{
    fs,
    sync::{Mutex, PoisonError},
};

use daypass_proto::{
    local_api::KeptNotice,
    notice::{About, Notice},
};
use serde::{Deserialize, Serialize};

use crate::state::{Folder, StateError};

/// The file's name.
const FILE: &str = "notices.json";
/// So many are kept.
const KEPT: usize = 200;

#[derive(Clone, Default, Deserialize, Serialize)]
struct Stored {
    /// The number to ask for next.
    next: u64,
    notices: Vec<KeptNotice>,
}

/// The notices of one enrolment.
pub(crate) struct Notices {
    folder: Folder,
    stored: Mutex<Stored>,
}

impl Notices {
    /// Takes up what was kept.
    pub(crate) fn open(folder: Folder) -> Self {
        let path = folder.file(FILE);
        let stored = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "what was kept of notices does not read; it is begun anew");
                Stored::default()
            }),
            Err(_) => Stored::default(),
        };
        Self { folder, stored: Mutex::new(stored) }
    }

    fn stored(&self) -> std::sync::MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number to ask the issuer for.
    pub(crate) fn next(&self) -> u64 {
        self.stored().next
    }

    /// Keeps what the issuer told. Of what was told before, nothing is new again; what a later issuer says, nobody here could read.
    pub(crate) fn add(&self, told: Vec<Notice>, next: Option<u64>) -> Result<(), StateError> {
        let mut stored = self.stored();
        let known = |notice: &Notice| {
            stored.notices.iter().any(|kept| (kept.notice.event, kept.notice.at) == (notice.event, notice.at))
        };
        let new: Vec<_> = told.into_iter().filter(|notice| notice.about != About::Other && !known(notice)).collect();
        let next = next.unwrap_or(stored.next);
        if new.is_empty() {
            // It is written down with the next thing that is told: until then, asking again costs little.
            stored.next = next;
            return Ok(());
        }
        let mut after = Stored { next, ..stored.clone() };
        after.notices.extend(new.into_iter().map(|notice| KeptNotice { notice, read: false }));
        let beyond = after.notices.len().saturating_sub(KEPT);
        after.notices.drain(..beyond);
        self.keep(&mut stored, after)
    }

    /// All that are kept, the newest last.
    pub(crate) fn all(&self) -> Vec<KeptNotice> {
        self.stored().notices.clone()
    }

    /// How many nobody has read.
    pub(crate) fn unread(&self) -> usize {
        self.stored().notices.iter().filter(|kept| !kept.read).count()
    }

    /// Somebody has read these.
    pub(crate) fn read(&self, events: &[u64]) -> Result<(), StateError> {
        let mut stored = self.stored();
        let mut after = stored.clone();
        for kept in &mut after.notices {
            kept.read |= events.contains(&kept.notice.event);
        }
        self.keep(&mut stored, after)
    }

    fn keep(&self, stored: &mut Stored, after: Stored) -> Result<(), StateError> {
        let path = self.folder.file(FILE);
        let bytes = serde_json::to_vec(&after).map_err(|source| StateError::Record { path: path.clone(), source })?;
        self.folder.write(&path, &bytes)?;
        *stored = after;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use daypass_proto::time::Timestamp;

    use super::*;

    fn notice(event: u64) -> Notice {
        Notice {
            event,
            at: Timestamp::from_seconds(1_790_000_000),
            about: About::GrantActivated,
            grant: None,
            request: None,
            project: None,
            role: None,
            until: None,
            answer: None,
        }
    }

    fn events(notices: &Notices) -> Vec<(u64, bool)> {
        notices.all().iter().map(|kept| (kept.notice.event, kept.read)).collect()
    }

    #[test]
    fn what_was_read_stays_read_and_nothing_is_new_twice() {
        let state = tempfile::tempdir().unwrap();
        let open = || Notices::open(Folder::new(state.path(), 1000, "https://a"));
        let notices = open();
        assert_eq!((notices.next(), notices.unread()), (0, 0));
        notices.add(vec![notice(3), notice(5)], Some(9)).unwrap();
        notices.read(&[3, 4]).unwrap();
        drop(notices);
        let notices = open();
        assert_eq!((notices.next(), notices.unread()), (9, 1));
        notices.add(vec![notice(5), notice(11)], Some(12)).unwrap();
        assert_eq!(events(&notices), [(3, true), (5, false), (11, false)]);
        // A restored ledger counts anew: another time is another event.
        notices.add(vec![Notice { at: Timestamp::from_seconds(1_790_000_500), ..notice(3) }], Some(4)).unwrap();
        assert_eq!((notices.next(), notices.all().len()), (4, 4));
        notices.add(vec![Notice { about: About::Other, ..notice(20) }], None).unwrap();
        assert_eq!((notices.next(), notices.all().len()), (4, 4), "an issuer that tells nothing moves nothing");
    }

    #[test]
    fn it_is_bounded_and_a_file_that_does_not_read_is_begun_anew() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::new(state.path(), 1000, "https://a");
        let notices = Notices::open(folder.clone());
        for first in [0, 100, 200] {
            notices.add((first..first + 100).map(notice).collect(), Some(first + 100)).unwrap();
        }
        let kept = events(&notices);
        assert_eq!((kept.len(), kept.first(), kept.last()), (KEPT, Some(&(100, false)), Some(&(299, false))));
        fs::write(folder.file(FILE), "{").unwrap();
        assert_eq!(Notices::open(folder).next(), 0);
    }
}

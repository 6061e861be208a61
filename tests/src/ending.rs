//! Ending everything at once: when a person presses Ctrl-C, no story gets to its last line.

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

struct Alive {
    groups: Vec<i32>,
    folders: Vec<PathBuf>,
}

static ALIVE: Mutex<Alive> = Mutex::new(Alive { groups: Vec::new(), folders: Vec::new() });

fn alive<T>(change: impl FnOnce(&mut Alive) -> T) -> T {
    change(&mut ALIVE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A process group that must not outlive us.
pub(crate) fn begun(group: u32) {
    if let Ok(group) = i32::try_from(group) {
        alive(|alive| alive.groups.push(group));
    }
}

/// It has ended.
pub(crate) fn ended(group: u32) {
    alive(|alive| alive.groups.retain(|known| u32::try_from(*known) != Ok(group)));
}

/// A folder that must not outlive us.
pub(crate) fn opened(folder: PathBuf) {
    alive(|alive| alive.folders.push(folder));
}

/// Kills every process and removes every folder of this process's stories.
pub fn everything() {
    alive(|alive| {
        for group in alive.groups.drain(..) {
            // Gone already is as good.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        for folder in alive.folders.drain(..) {
            let _ = fs::remove_dir_all(folder);
        }
    });
}

//! What `/proc` shows of every process of a story while it runs: arguments and environment.

use std::{
    collections::HashMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{Failure, Written, a_moment};

/// Arguments or environments longer than this are cut.
const LONGEST: usize = 256 * 1024;

/// Looks at `/proc` again and again.
#[derive(Debug)]
pub struct Watch {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Written>>>,
}

impl Watch {
    /// Watches the processes that have something of `place` in their arguments or environment, until [`Self::seen`].
    pub fn begin(place: &Path) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (place, stop) = (place.to_owned(), Arc::clone(&over));
        let thread = thread::spawn(move || {
            let mut seen = HashMap::new();
            while !stop.load(Ordering::Relaxed) {
                look(&place, &mut seen);
                a_moment(Duration::from_millis(5));
            }
            seen.into_values().flatten().flatten().collect()
        });
        Self { over, thread: Some(thread) }
    }

    /// What was seen.
    pub fn seen(mut self) -> Result<Vec<Written>, Failure> {
        self.over.store(true, Ordering::Relaxed);
        let seen = self.thread.take().and_then(|thread| thread.join().ok());
        seen.ok_or_else(|| Failure::unexpected("somebody who watches", "nobody"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// In one read: between two, the process may have become another program.
fn at_once(path: &Path) -> Option<Vec<u8>> {
    let mut buffer = vec![0; LONGEST];
    let length = fs::File::open(path).ok()?.read(&mut buffer).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

/// By process and arguments: a process that becomes another program has new ones.
type Seen = HashMap<(PathBuf, Vec<u8>), Option<[Written; 2]>>;

fn look(place: &Path, seen: &mut Seen) {
    let is_process =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    for process in entries.filter(is_process) {
        let Some(arguments) = at_once(&process.join("cmdline")) else { continue };
        if arguments.is_empty() || seen.contains_key(&(process.clone(), arguments.clone())) {
            continue;
        }
        let environment = at_once(&process.join("environ")).unwrap_or_default();
        let place = place.as_os_str().as_encoded_bytes();
        let ours =
            [&arguments, &environment].into_iter().any(|bytes| bytes.windows(place.len()).any(|part| part == place));
        let shown: Vec<String> = arguments
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).chars().take(60).collect())
            .collect();
        let named =
            |what: &str, bytes: Vec<u8>| Written { place: format!("{what} of {}", shown.join(" ")), bytes, mode: None };
        let both = ours.then(|| [named("arguments", arguments.clone()), named("environment", environment)]);
        seen.insert((process, arguments), both);
    }
}

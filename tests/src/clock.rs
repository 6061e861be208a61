//! Hours that pass in a moment, for the real programs: libfaketime gives them a clock that is ahead of the machine's.
//!
//! Only the wall clock is moved. Timers run on the monotonic clock, which stays real, so nothing waits longer or shorter.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use crate::{Failure, wait};

/// Where distributions put the library.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// A clock that a set of programs shares. It goes as the machine's, and can be put ahead.
#[derive(Clone, Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
    ahead: Arc<AtomicI64>,
}

impl Clock {
    /// A clock that shows the machine's time, kept in `folder`.
    pub fn new(folder: &Path, name: &str) -> Result<Self, Failure> {
        let library = LIBRARIES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
            Failure::Missing { program: "libfaketime.so.1".to_owned(), next_step: "install the package `libfaketime`" }
        })?;
        let clock = Self { library, file: folder.join(name), ahead: Arc::new(AtomicI64::new(0)) };
        clock.write()?;
        Ok(clock)
    }

    /// Lets time pass for every program on this clock.
    pub fn advance(&self, time: Duration) -> Result<(), Failure> {
        self.shift(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
    }

    /// Moves the clock by so many seconds, backwards as well: a clock that is wrong.
    pub fn shift(&self, seconds: i64) -> Result<(), Failure> {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
        self.write()
    }

    /// Seconds since the epoch, on this clock.
    pub fn now(&self) -> i64 {
        wait::now() + self.ahead.load(Ordering::SeqCst)
    }

    fn write(&self) -> Result<(), Failure> {
        let ahead = self.ahead.load(Ordering::SeqCst);
        let new = self.file.with_extension("new");
        // Renamed into place: a program that reads at this moment sees the old time or the new one, nothing between.
        fs::write(&new, format!("{ahead:+}\n"))
            .and_then(|()| fs::rename(&new, &self.file))
            .map_err(Failure::machine(format!("write the clock `{}`", self.file.display())))
    }

    /// What a program needs in its environment to live by this clock.
    pub(crate) fn environment(&self) -> [(String, String); 5] {
        let pair = |key: &str, value: String| (key.to_owned(), value);
        [
            pair("LD_PRELOAD", self.library.display().to_string()),
            pair("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            pair("FAKETIME_NO_CACHE", "1".to_owned()),
            pair("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            // Its shared memory is named after process ids and would be left behind.
            pair("FAKETIME_DISABLE_SHM", "1".to_owned()),
        ]
    }
}

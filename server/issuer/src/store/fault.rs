//! What can be wrong with the ground that the store stands on, told apart by what somebody has to do about it.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

/// What is wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The disk is full.
    Full,
    /// The file or its disk is read-only.
    ReadOnly,
    /// What stands in the file is not what was written.
    Damaged,
    /// The disk refuses what is asked of it.
    Io,
    /// Another program holds the store.
    Busy,
    /// The disk takes longer than anybody waits.
    Slow,
    /// Something else, of which the engine's words tell.
    Other,
}

impl Fault {
    /// What an engine's error comes from.
    pub fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => return Self::Busy,
            sqlx::Error::Io(source) => {
                if let Some(engine) = source.get_ref().and_then(|source| source.downcast_ref()) {
                    return Self::of_engine(engine);
                }
                return match source.kind() {
                    std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
                    std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => Self::ReadOnly,
                    _ => Self::Io,
                };
            }
            _ => {}
        }
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
        code.map_or(Self::Other, Self::of_code)
    }

    /// What an error comes from that the engine told when it was called directly.
    fn of_engine(error: &rusqlite::Error) -> Self {
        use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
        match error {
            // No program of ours wrote a value of this kind.
            FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) => Self::Damaged,
            other => {
                let code = other.sqlite_error().and_then(|error| u32::try_from(error.extended_code).ok());
                code.map_or(Self::Other, Self::of_code)
            }
        }
    }

    /// <https://www.sqlite.org/rescode.html>: the primary code is in the last byte.
    const fn of_code(code: u32) -> Self {
        match code & 0xff {
            5 | 6 => Self::Busy,
            8 => Self::ReadOnly,
            10 => Self::Io,
            11 | 26 => Self::Damaged,
            13 => Self::Full,
            _ => Self::Other,
        }
    }

    /// Whether it meets every decision alike, so that none of a batch can stand.
    pub const fn stops_all(self) -> bool {
        !matches!(self, Self::Other)
    }

    /// What somebody who asks the issuer is told.
    pub const fn told(self) -> &'static str {
        match self {
            Self::Full => "the disk of the issuer's store is full",
            Self::ReadOnly => "the issuer's store is read-only",
            Self::Damaged => "the issuer's store is damaged",
            Self::Io => "the disk of the issuer's store does not do what is asked of it",
            Self::Busy => "another program holds the issuer's store",
            Self::Slow => "the disk of the issuer's store is too slow",
            Self::Other => "the issuer's store cannot be used",
        }
    }

    /// What the administrator has to do.
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::Full => "free some space on it; the issuer then goes on by itself",
            Self::ReadOnly => {
                "make file, folder and file system writable for the issuer's user; a running issuer then goes on by itself"
            }
            Self::Damaged => "stop the issuer, keep its files, and run `daypass-issuer restore` with the newest backup",
            Self::Io => "read the kernel's log about this disk; once it writes again, the issuer goes on by itself",
            Self::Busy => "look which other program has the database open, and end it",
            Self::Slow => {
                "look what keeps this disk busy; the issuer goes on by itself, and what was asked may still have happened"
            }
            Self::Other => "read the cause that follows",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.told(), self.next_step())
    }
}

/// How the last writes went. Shared by whoever writes and whoever is asked how the store does.
#[derive(Debug, Default)]
pub struct Health(Mutex<Option<Fault>>);

impl Health {
    /// What is wrong, if anything.
    pub fn fault(&self) -> Option<Fault> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write that did not become durable.
    pub(super) fn failed(&self, fault: Fault) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Damage stays until somebody has looked: whatever works beside it may make it worse.
        if *now != Some(Fault::Damaged) {
            *now = Some(fault);
        }
    }

    /// A write that became durable. Gives what was wrong before.
    pub(super) fn succeeded(&self) -> Option<Fault> {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *now == Some(Fault::Damaged) { None } else { now.take() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_stays_and_everything_else_passes() {
        let health = Health::default();
        assert_eq!(health.fault(), None);
        health.failed(Fault::Full);
        assert_eq!(health.fault(), Some(Fault::Full));
        assert_eq!(health.succeeded(), Some(Fault::Full));
        assert_eq!(health.fault(), None);
        health.failed(Fault::Damaged);
        health.failed(Fault::Slow);
        assert_eq!(health.succeeded(), None);
        assert_eq!(health.fault(), Some(Fault::Damaged));
    }

    #[test]
    fn the_system_s_errors_are_told_apart() {
        use std::io::{Error, ErrorKind};
        let of = |kind: ErrorKind| Fault::of(&sqlx::Error::Io(Error::from(kind)));
        assert_eq!(of(ErrorKind::StorageFull), Fault::Full);
        assert_eq!(of(ErrorKind::ReadOnlyFilesystem), Fault::ReadOnly);
        assert_eq!(of(ErrorKind::PermissionDenied), Fault::ReadOnly);
        assert_eq!(of(ErrorKind::TimedOut), Fault::Io);
        assert_eq!(Fault::of(&sqlx::Error::PoolTimedOut), Fault::Busy);
        assert_eq!(Fault::of(&sqlx::Error::RowNotFound), Fault::Other);
    }
}

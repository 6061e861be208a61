//! Times on the wire: whole seconds, and a skew that cannot be set too wide.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Seconds since the Unix epoch, UTC. This crate never reads a clock: every rule takes `now` as an argument.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time `seconds` after the epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since the epoch.
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// This time, `seconds` later (or earlier); stops at the ends of the range.
    #[must_use]
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// How many seconds this time is after `earlier`; negative when it is before.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, or the bare number where no calendar reaches.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "@{}", self.0),
        }
    }
}

/// How far two honest clocks may differ, in seconds: one setting, 60 s at most.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Skew(i64);

impl Skew {
    /// The widest skew that may be configured.
    pub const MAX_SECONDS: i64 = 60;

    /// A skew of `seconds`, or `None` where it is negative or wider than [`Self::MAX_SECONDS`].
    pub const fn try_new(seconds: i64) -> Option<Self> {
        if seconds < 0 || seconds > Self::MAX_SECONDS { None } else { Some(Self(seconds)) }
    }

    /// The skew in seconds.
    pub const fn seconds(self) -> i64 {
        self.0
    }
}

impl Default for Skew {
    fn default() -> Self {
        Self(30)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_rfc3339_and_survives_the_ends() {
        assert_eq!(Timestamp::from_seconds(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp::from_seconds(i64::MAX).to_string(), format!("@{}", i64::MAX));
        assert_eq!(Timestamp::from_seconds(i64::MAX).plus(1).seconds(), i64::MAX);
    }

    #[test]
    fn skew_has_a_ceiling() {
        assert!(Skew::try_new(60).is_some());
        assert!(Skew::try_new(61).is_none());
        assert!(Skew::try_new(-1).is_none());
    }
}

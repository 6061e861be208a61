//! Durations as people write them: `90d`, `8h`, `30s`.

use jiff::{Span, SpanRelativeTo};
use thiserror::Error;

/// The longest, in seconds: 100 years. Calendars, certificates among them, end soon behind it.
const LONGEST: i64 = 36_525 * 24 * 3600;

/// Not a duration.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{0}` is not a duration: write `90d`, `8h`, `15m` or `30s`, and 100 years at most")]
pub struct DurationError(String);

/// A duration in seconds; a day is 24 hours.
pub fn seconds(text: &str) -> Result<i64, DurationError> {
    let wrong = || DurationError(text.to_owned());
    let span: Span = text.trim().parse().map_err(|_| wrong())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if (1..=LONGEST).contains(&duration.as_secs()) { Ok(duration.as_secs()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(seconds("90d"), Ok(90 * 86_400));
        assert_eq!(seconds("8h"), Ok(28_800));
        assert_eq!(seconds("1h 30m"), Ok(5_400));
        assert_eq!(seconds("36525d"), Ok(LONGEST));
        for bad in
            ["", "90", "-1d", "0s", "soon", "1y", "36525d 1s", "7304484d", "99999999999999999999d", "1\0d", "1d1d"]
        {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}

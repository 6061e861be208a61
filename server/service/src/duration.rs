//! Durations as people write them: `90d`, `8h`, `30s`.

use jiff::{Span, SpanRelativeTo};
use thiserror::Error;

/// Not a duration.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{0}` is not a duration: write `90d`, `8h`, `15m` or `30s`")]
pub struct DurationError(String);

/// A duration in seconds; a day is 24 hours.
pub fn seconds(text: &str) -> Result<i64, DurationError> {
    let wrong = || DurationError(text.to_owned());
    let span: Span = text.trim().parse().map_err(|_| wrong())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if duration.as_secs() > 0 { Ok(duration.as_secs()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(seconds("90d"), Ok(90 * 86_400));
        assert_eq!(seconds("8h"), Ok(28_800));
        assert_eq!(seconds("1h 30m"), Ok(5_400));
        for bad in ["", "90", "-1d", "0s", "soon", "1y"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}

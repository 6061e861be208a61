//! Time as people write it: `90d`, `8h`, `2027-01-31`.

use daypass_proto::time::Timestamp;
use jiff::{Span, SpanRelativeTo, civil::Date, tz::TimeZone};
use thiserror::Error;

/// Why a text is no duration or end.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum DurationError {
    /// Not a duration.
    #[error("`{0}` is not a duration: write `90d`, `8h`, `15m` or `30s`")]
    Duration(String),
    /// Not an end.
    #[error(
        "`{0}` is not an end: write a date (`2027-01-31`, the end of that day here), a time (`2027-01-31T18:00:00Z`) or a duration (`90d`)"
    )]
    Until(String),
    /// Not after now.
    #[error("`{0}` is not in the future")]
    Past(String),
}

/// A duration in seconds; a day is 24 hours.
pub fn seconds(text: &str) -> Result<i64, DurationError> {
    let wrong = || DurationError::Duration(text.to_owned());
    let span: Span = text.trim().parse().map_err(|_| wrong())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if duration.as_secs() > 0 { Ok(duration.as_secs()) } else { Err(wrong()) }
}

/// The end that `text` means: a date is the end of that day in `zone`.
pub fn until(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, DurationError> {
    let text = text.trim();
    let end = if let Ok(time) = text.parse::<jiff::Timestamp>() {
        Timestamp::from_seconds(time.as_second())
    } else if let Ok(date) = text.parse::<Date>() {
        let wrong = |_| DurationError::Until(text.to_owned());
        let next = date.tomorrow().map_err(wrong)?.to_zoned_datetime(zone.clone()).map_err(wrong)?;
        Timestamp::from_seconds(next.timestamp().as_second() - 1)
    } else {
        now.plus(seconds(text).map_err(|_| DurationError::Until(text.to_owned()))?)
    };
    if end > now { Ok(end) } else { Err(DurationError::Past(text.to_owned())) }
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

    #[test]
    fn a_date_ends_with_its_day_where_the_owner_is() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let now = Timestamp::from_seconds(1_780_000_000);
        assert_eq!(
            until("2026-10-25", now, &berlin).unwrap().to_string(),
            "2026-10-25T22:59:59Z",
            "the day that winter time begins"
        );
        assert_eq!(until("2027-01-31T18:00:00Z", now, &berlin).unwrap().to_string(), "2027-01-31T18:00:00Z");
        assert_eq!(until("8h", now, &berlin), Ok(now.plus(28_800)));
        assert!(matches!(until("2020-01-01", now, &berlin), Err(DurationError::Past(_))));
        assert!(matches!(until("tomorrow", now, &berlin), Err(DurationError::Until(_))));
    }
}

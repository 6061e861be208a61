//! Ends as people write them: `90d`, `8h`, `2027-01-31`.

use daypass_proto::time::Timestamp;
use daypass_service::seconds;
use jiff::{civil::Date, tz::TimeZone};
use thiserror::Error;

/// Why a text is no end.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum UntilError {
    /// Not an end.
    #[error(
        "`{0}` is not an end: write a date (`2027-01-31`, the end of that day here), a time (`2027-01-31T18:00:00Z`) or a duration (`90d`)"
    )]
    Until(String),
    /// Not after now.
    #[error("`{0}` is not in the future")]
    Over(String),
    /// Not a moment.
    #[error(
        "`{0}` is no moment: write a time (`2026-11-24T18:00:00Z`), a date (`2026-11-24`) or how long ago it was (`2h`, `3d`)"
    )]
    Past(String),
}

/// The end that `text` means: a date is the end of that day in `zone`.
pub fn until(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, UntilError> {
    let text = text.trim();
    let end = if let Ok(time) = text.parse::<jiff::Timestamp>() {
        Timestamp::from_seconds(time.as_second())
    } else if let Ok(date) = text.parse::<Date>() {
        day(date, zone, Edge::End).map_err(|_| UntilError::Until(text.to_owned()))?
    } else {
        now.plus(seconds(text).map_err(|_| UntilError::Until(text.to_owned()))?)
    };
    if end > now { Ok(end) } else { Err(UntilError::Over(text.to_owned())) }
}

/// Which end of a day a date means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Edge {
    /// Its first second.
    Begin,
    /// Its last.
    End,
}

/// The moment that `text` means, looking back: a duration is how long ago it was.
pub fn past(text: &str, now: Timestamp, zone: &TimeZone, edge: Edge) -> Result<Timestamp, UntilError> {
    let text = text.trim();
    let wrong = || UntilError::Past(text.to_owned());
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_seconds(time.as_second()));
    }
    if let Ok(date) = text.parse::<Date>() {
        return day(date, zone, edge).map_err(|_| wrong());
    }
    Ok(now.plus(-seconds(text).map_err(|_| wrong())?))
}

fn day(date: Date, zone: &TimeZone, edge: Edge) -> Result<Timestamp, jiff::Error> {
    let begin = |date: Date| date.to_zoned_datetime(zone.clone()).map(|time| time.timestamp().as_second());
    Ok(Timestamp::from_seconds(match edge {
        Edge::Begin => begin(date)?,
        Edge::End => begin(date.tomorrow()?)? - 1,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_day_s_edge_or_so_long_ago() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let now = Timestamp::from_seconds(1_790_000_000);
        let moment = |text, edge| past(text, now, &berlin, edge).map(|time| time.to_string());
        for (text, edge, is) in [
            ("2026-10-25", Edge::Begin, "2026-10-24T22:00:00Z"),
            ("2026-10-25", Edge::End, "2026-10-25T22:59:59Z"),
            ("2026-01-31T18:00:00+01:00", Edge::Begin, "2026-01-31T17:00:00Z"),
            ("3d", Edge::End, "2026-09-18T14:13:20Z"),
            (" 2h ", Edge::Begin, "2026-09-21T12:13:20Z"),
        ] {
            assert_eq!(moment(text, edge).as_deref(), Ok(is), "{text}");
        }
        for wrong in ["", "yesterday", "-2h", "2026-13-01", "9999-12-31T99:00:00Z"] {
            assert!(matches!(moment(wrong, Edge::Begin), Err(UntilError::Past(_))), "{wrong}");
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
        assert!(matches!(until("2020-01-01", now, &berlin), Err(UntilError::Over(_))));
        assert!(matches!(until("tomorrow", now, &berlin), Err(UntilError::Until(_))));
    }
}

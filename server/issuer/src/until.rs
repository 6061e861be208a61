//! Ends as people write them: `90d`, `8h`, `2027-01-31`.

use daypass_proto::duration::seconds;
use daypass_proto::time::Timestamp;
use jiff::{
    civil::{Date, DateTime},
    tz::{AmbiguousOffset, TimeZone},
};
use thiserror::Error;

/// The most characters of a date, a time or a duration, with the longest name of a zone.
const LONGEST: usize = 100;

/// Why a text is no end.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum UntilError {
    /// Longer than anything that it could mean.
    #[error("a date, a time or a duration has at most {LONGEST} characters")]
    TooLong,
    /// Not an end.
    #[error(
        "`{0}` is not an end: write a date (`2027-01-31`, the end of that day), a time (`2027-01-31T18:00`), either with a zone (`2027-01-31[Europe/Berlin]`, `2027-01-31T18:00:00Z`), or a duration (`90d`)"
    )]
    Until(String),
    /// Not a begin.
    #[error(
        "`{0}` is not a begin: write a date (`2027-01-31`, the begin of that day), a time (`2027-01-31T08:00`), either with a zone (`2027-01-31[Europe/Berlin]`, `2027-01-31T08:00:00Z`), or how long it takes until then (`3d`)"
    )]
    Begin(String),
    /// Not after now.
    #[error("`{0}` is not in the future: write a later date, or a duration such as `90d`")]
    Over(String),
    /// Not a moment.
    #[error(
        "`{0}` is no moment: write a time (`2026-11-24T18:00:00Z`), a date (`2026-11-24`), either with a zone (`2026-11-24[Europe/Berlin]`), or how long ago it was (`2h`, `3d`)"
    )]
    Past(String),
    /// Neither a time nor a date.
    #[error("`{0}` is neither a date (`2027-01-31`) nor a time (`2027-01-31T18:00`)")]
    Moment(String),
    /// Two different moments.
    #[error("`{0}` names an offset that its zone does not have at that time: leave one of them out")]
    Offset(String),
    /// No such zone.
    #[error("`{0}` is not the name of a time zone: write one such as `Europe/Berlin`, as the IANA database has it")]
    Zone(String),
}

/// The zone of this name, as the IANA database has it.
pub fn zone(name: &str) -> Result<TimeZone, UntilError> {
    TimeZone::get(name).map_err(|_| UntilError::Zone(name.to_owned()))
}

/// The end that `text` means: a date is the end of that day, in `zone` where it names none.
pub fn until(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, UntilError> {
    let text = short(text)?;
    let wrong = || UntilError::Until(text.to_owned());
    let end = match named(text, zone, Edge::End)? {
        Some(time) => time,
        None => now.plus(seconds(text).map_err(|_| wrong())?),
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
    let text = short(text)?;
    match named(text, zone, edge)? {
        Some(time) => Ok(time),
        None => Ok(now.plus(-seconds(text).map_err(|_| UntilError::Past(text.to_owned()))?)),
    }
}

/// The moment that `text` means: a time, or an edge of a day.
pub fn moment(text: &str, zone: &TimeZone, edge: Edge) -> Result<Timestamp, UntilError> {
    let text = short(text)?;
    named(text, zone, edge)?.ok_or_else(|| UntilError::Moment(text.to_owned()))
}

/// The begin that `text` means: a date is the begin of that day, in `zone` where it names none; a duration is how long it takes until then.
pub fn begin(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, UntilError> {
    let text = short(text)?;
    let begins = match named(text, zone, Edge::Begin)? {
        Some(time) => time,
        None => now.plus(seconds(text).map_err(|_| UntilError::Begin(text.to_owned()))?),
    };
    if begins > now { Ok(begins) } else { Err(UntilError::Over(text.to_owned())) }
}

/// The same moment as people read it there: `2027-01-31 23:59:59 Europe/Berlin`.
pub fn there(time: Timestamp, zone: &TimeZone) -> String {
    let Ok(moment) = jiff::Timestamp::from_second(time.seconds()) else { return time.to_string() };
    let name = zone.iana_name().unwrap_or("%Z");
    moment.to_zoned_datetime(zone.clone()).strftime(&format!("%F %T {name}")).to_string()
}

/// What is to be said of a time that is not there, since clocks go forward over it: which one is meant.
pub fn moved(text: &str, zone: &TimeZone) -> Option<String> {
    let text = short(text).ok()?;
    let (civil, zone) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
        Some((civil, name)) => (civil, self::zone(name).ok()?),
        None => (text, zone.clone()),
    };
    if civil.parse::<jiff::Timestamp>().is_ok() || !civil.contains(':') {
        return None;
    }
    let time = zone.to_ambiguous_zoned_datetime(civil.parse::<DateTime>().ok()?);
    if !matches!(time.offset(), AmbiguousOffset::Gap { .. }) {
        return None;
    }
    let meant = Timestamp::from_seconds(time.compatible().ok()?.timestamp().as_second());
    Some(format!("`{text}` is not there, since clocks go forward over it: {} is meant", there(meant, &zone)))
}

/// The text without what surrounds it: errors repeat it.
fn short(text: &str) -> Result<&str, UntilError> {
    let text = text.trim();
    if text.chars().count() > LONGEST { Err(UntilError::TooLong) } else { Ok(text) }
}

/// A date or a time, in `zone` where it names none; nothing where `text` is neither.
fn named(text: &str, zone: &TimeZone, edge: Edge) -> Result<Option<Timestamp>, UntilError> {
    // Of a text with a zone, that would leave the zone out.
    if !text.ends_with(']')
        && let Ok(time) = text.parse::<jiff::Timestamp>()
    {
        return Ok(Some(Timestamp::from_seconds(time.as_second())));
    }
    let (civil, zone) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
        Some((civil, name)) => {
            let zone = self::zone(name)?;
            if let Ok(time) = civil.parse::<jiff::Timestamp>() {
                // RFC 9557 section 3.4: `Z` says nothing of the local offset, and a number says what it is.
                let agrees = civil.ends_with(['Z', 'z'])
                    || civil.parse::<DateTime>().is_ok_and(|civil| civil == zone.to_datetime(time));
                let time = agrees.then(|| Timestamp::from_seconds(time.as_second()));
                return time.map(Some).ok_or_else(|| UntilError::Offset(text.to_owned()));
            }
            (civil, zone)
        }
        None => (text, zone.clone()),
    };
    // A time with a date reads as a date, too: its time would be lost.
    let time = if civil.contains(|c: char| c != '-' && !c.is_ascii_digit()) {
        civil.parse::<DateTime>().and_then(|time| Ok(time.to_zoned_datetime(zone)?.timestamp().as_second()))
    } else {
        civil.parse::<Date>().and_then(|date| day(date, &zone, edge))
    };
    Ok(time.ok().map(Timestamp::from_seconds))
}

/// A day is 23 or 25 hours long where clocks are set, and does not begin at midnight where they are set at midnight.
fn day(date: Date, zone: &TimeZone, edge: Edge) -> Result<i64, jiff::Error> {
    let begin = |date: Date| date.to_zoned_datetime(zone.clone()).map(|time| time.timestamp().as_second());
    match edge {
        Edge::Begin => begin(date),
        Edge::End => Ok(begin(date.tomorrow()?)? - 1),
    }
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
        for wrong in [
            "",
            "yesterday",
            "-2h",
            "2026-13-01",
            "20261301",
            "2026-10-25T99:00",
            "9999-12-31T99:00:00Z",
            "9999-12-31",
            "[UTC]",
        ] {
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
        for (text, zone, ends) in [
            ("2027-03-28", "Europe/Berlin", "2027-03-28T21:59:59Z"),
            ("2027-01-31T18:00", "Europe/Berlin", "2027-01-31T17:00:00Z"),
            ("2027-01-31 18:00:05", "Europe/Berlin", "2027-01-31T17:00:05Z"),
            ("2027-01-31[America/New_York]", "Europe/Berlin", "2027-02-01T04:59:59Z"),
            ("2027-07-31T18:00[Asia/Kolkata]", "Europe/Berlin", "2027-07-31T12:30:00Z"),
            // Clocks go forward at two: that time is not there, and the one an hour later is meant.
            ("2027-03-28T02:30", "Europe/Berlin", "2027-03-28T01:30:00Z"),
            // Twice there: the first of both, which gives less.
            ("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30:00Z"),
            // Clocks go forward at midnight: the day before ends with its last second, and the day itself is 23 hours long.
            ("2027-04-29", "Africa/Cairo", "2027-04-29T21:59:59Z"),
            ("2027-04-30", "Africa/Cairo", "2027-04-30T20:59:59Z"),
        ] {
            let ends_at = until(text, now, &super::zone(zone).unwrap()).unwrap().to_string();
            assert_eq!(ends_at, ends, "{text} in {zone}");
        }
        for (text, is) in [
            ("2026-12-01T10:00+01:00[Europe/Berlin]", Ok("2026-12-01T09:00:00Z")),
            ("2026-12-01T10:00Z[Europe/Berlin]", Ok("2026-12-01T10:00:00Z")),
            // Twice there: the offset says which.
            ("2026-10-25T02:30+02:00[Europe/Berlin]", Ok("2026-10-25T00:30:00Z")),
            ("2026-10-25T02:30+01:00[Europe/Berlin]", Ok("2026-10-25T01:30:00Z")),
            ("2026-12-01T10:00+02:00[Europe/Berlin]", Err(())),
            ("2026-10-25T02:30+00:00[Europe/Berlin]", Err(())),
        ] {
            let ends = until(text, now, &berlin);
            assert_eq!(ends.as_ref().map(ToString::to_string).ok().as_deref(), is.ok(), "{text}");
            assert!(is.is_ok() || ends == Err(UntilError::Offset(text.to_owned())), "{text}: {ends:?}");
        }
        for (text, said) in [
            ("2027-03-28T02:30", Some("2027-03-28 03:30:00 Europe/Berlin")),
            ("2027-03-14T02:00[America/New_York]", Some("2027-03-14 03:00:00 America/New_York")),
            ("2027-03-28T03:00", None),
            ("2026-10-25T02:30", None),
            ("2027-03-28T02:30+01:00", None),
            ("2027-03-28", None),
            ("90d", None),
        ] {
            let moved = moved(text, &berlin);
            assert_eq!(moved.is_some(), said.is_some(), "{text}: {moved:?}");
            assert!(said.is_none_or(|said| moved.unwrap().contains(said)), "{text}");
        }
        assert_eq!(until(&"1".repeat(101), now, &berlin), Err(UntilError::TooLong));
        let none = UntilError::Zone("Europe/Atlantis".to_owned());
        assert_eq!(until("2027-01-31[Europe/Atlantis]", now, &berlin), Err(none));
        assert_eq!(there(until("2027-01-31", now, &berlin).unwrap(), &berlin), "2027-01-31 23:59:59 Europe/Berlin");
        assert!(matches!(until("2020-01-01", now, &berlin), Err(UntilError::Over(_))));
        // Now is no more than the past.
        let is_now = now.to_string();
        assert_eq!(until(&is_now, now, &berlin), Err(UntilError::Over(is_now.clone())));
        assert_eq!(begin(&is_now, now, &berlin), Err(UntilError::Over(is_now)));
        assert!(matches!(until("tomorrow", now, &berlin), Err(UntilError::Until(_))));
    }
}

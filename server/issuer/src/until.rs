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
    Past(String),
}

/// The end that `text` means: a date is the end of that day in `zone`.
pub fn until(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, UntilError> {
    let text = text.trim();
    let end = if let Ok(time) = text.parse::<jiff::Timestamp>() {
        Timestamp::from_seconds(time.as_second())
    } else if let Ok(date) = text.parse::<Date>() {
        let wrong = |_| UntilError::Until(text.to_owned());
        let next = date.tomorrow().map_err(wrong)?.to_zoned_datetime(zone.clone()).map_err(wrong)?;
        Timestamp::from_seconds(next.timestamp().as_second() - 1)
    } else {
        now.plus(seconds(text).map_err(|_| UntilError::Until(text.to_owned()))?)
    };
    if end > now { Ok(end) } else { Err(UntilError::Past(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(matches!(until("2020-01-01", now, &berlin), Err(UntilError::Past(_))));
        assert!(matches!(until("tomorrow", now, &berlin), Err(UntilError::Until(_))));
    }
}

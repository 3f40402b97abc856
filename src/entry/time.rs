//! Times in milliseconds since the Unix epoch, and the two formats that lines use for them.
//!
//! The sender chooses the time inside an entry. Times outside the years 1970 to 9999 are not
//! accepted.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

/// A time in milliseconds since the Unix epoch, within the years 1970 to 9999, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(i64);

/// A day in milliseconds.
pub const DAY: i64 = 24 * 60 * 60 * 1000;

impl Millis {
    /// 1970-01-01T00:00:00.000Z.
    pub const MIN: Millis = Millis(0);
    /// 9999-12-31T23:59:59.999Z.
    pub const MAX: Millis = Millis(253_402_300_799_999);

    /// The time `millis` milliseconds after the epoch, or `None` outside the years 1970 to 9999.
    pub fn new(millis: i64) -> Option<Millis> {
        (Millis::MIN.0..=Millis::MAX.0).contains(&millis).then_some(Millis(millis))
    }

    /// The time that is nearest to `millis` and within the years 1970 to 9999.
    pub fn saturating(millis: i64) -> Millis {
        Millis(millis.clamp(Millis::MIN.0, Millis::MAX.0))
    }

    /// Milliseconds since the epoch.
    pub fn get(self) -> i64 {
        self.0
    }

    /// Date and time of day in UTC. A jiff `Timestamp` cannot hold the last day of the year 9999.
    fn civil(self) -> DateTime {
        const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
        EPOCH.saturating_add(SignedDuration::from_millis(self.0))
    }

    /// The time in `zone`, in RFC 3339 with the offset.
    pub fn in_zone(self, zone: &TimeZone) -> impl fmt::Display {
        let time = Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::MAX);
        time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S.%3f%:z").to_string()
    }
}

/// RFC 3339 in UTC, with milliseconds.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}Z", self.civil())
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A timestamp that was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParsedTime {
    /// A full time.
    Full(Millis),
    /// A full time outside the years 1970 to 9999.
    OutOfRange,
    /// RFC 3164: month, day and time of the day in UTC, without a year.
    NoYear(DateTime),
    /// The text is not a time.
    NotATime,
}

/// Reads an RFC 3339 or an RFC 3164 (section 4.1.2) time.
pub fn parse(text: &str) -> ParsedTime {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Millis::new(time.as_millisecond()).map_or(ParsedTime::OutOfRange, ParsedTime::Full);
    }
    // Any leap year will do: it lets 29 February pass.
    match DateTime::strptime("%Y %b %e %H:%M:%S", format!("2000 {text}")) {
        Ok(time) => ParsedTime::NoYear(time),
        Err(_) => ParsedTime::NotATime,
    }
}

/// The newest time that `written`, a time without a year, can mean. It is at most a day after
/// `received_at`.
pub fn guess_year(written: DateTime, received_at: Millis) -> Option<Millis> {
    let latest = received_at.get().saturating_add(DAY);
    let year = Millis::saturating(latest).civil().year();
    // Two leap years may be eight years apart.
    (0..=8).find_map(|back| {
        let time = written.with().year(year - back).build().ok()?;
        let millis = TimeZone::UTC.to_timestamp(time).ok()?.as_millisecond();
        Millis::new(millis).filter(|time| time.get() <= latest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        match parse(text) {
            ParsedTime::Full(time) => time,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn rfc_3339_is_read_and_written() {
        assert_eq!(at("2025-06-18T21:02:36Z").get(), 1_750_280_556_000);
        assert_eq!(at("2025-06-18T23:02:36.5+02:00").to_string(), "2025-06-18T21:02:36.500Z");
        assert_eq!(Millis::MAX.to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Millis::MIN.to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(parse("1969-12-31T23:59:59Z"), ParsedTime::OutOfRange);
        assert_eq!(parse("yesterday"), ParsedTime::NotATime);
        assert_eq!(parse(""), ParsedTime::NotATime);
    }

    #[test]
    fn a_time_without_a_year_gets_the_newest_that_fits() {
        for (written, received, expected) in [
            ("Apr 14 05:39:08", "2025-06-01T00:00:00Z", "2025-04-14T05:39:08.000Z"),
            ("Apr  4 05:39:08", "2025-06-01T00:00:00Z", "2025-04-04T05:39:08.000Z"),
            ("Dec 31 23:59:59", "2025-01-01T00:00:10Z", "2024-12-31T23:59:59.000Z"),
            ("Jan  1 00:00:10", "2024-12-31T23:59:59Z", "2025-01-01T00:00:10.000Z"),
            ("Feb 29 12:00:00", "2027-06-01T00:00:00Z", "2024-02-29T12:00:00.000Z"),
        ] {
            let ParsedTime::NoYear(time) = parse(written) else { panic!("{written}") };
            assert_eq!(guess_year(time, at(received)).unwrap().to_string(), expected, "{written}");
        }
    }
}

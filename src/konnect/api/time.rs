//! Times in the API: RFC 3339.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::entry::Millis;

/// A time. [`Time::INITIAL`] stands for no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(Timestamp);

/// A text is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time in RFC 3339, such as 2017-07-21T17:32:28Z")]
pub(crate) struct TimeError(String);

/// `0001-01-01T00:00:00Z`, in seconds since the Unix epoch.
const INITIAL_SECONDS: i64 = -62_135_596_800;

impl Time {
    /// What the API returns for no time: `0001-01-01T00:00:00Z`.
    pub(crate) const INITIAL: Time = Time(Timestamp::constant(INITIAL_SECONDS, 0));

    pub(crate) fn is_initial(self) -> bool {
        self == Time::INITIAL
    }

    /// In milliseconds since the Unix epoch; `None` outside the years 1970 to 9999.
    pub(crate) fn millis(self) -> Option<Millis> {
        Millis::new(self.0.as_millisecond())
    }
}

impl From<Millis> for Time {
    fn from(time: Millis) -> Time {
        Time(Timestamp::from_millisecond(time.get()).unwrap_or(Timestamp::MAX))
    }
}

impl FromStr for Time {
    type Err = TimeError;

    /// Parses RFC 3339 (section 5.6), but no other forms of ISO 8601.
    fn from_str(text: &str) -> Result<Time, TimeError> {
        let no = || TimeError(text.chars().take(100).collect());
        // The documents write the initial value with one digit too few.
        if text == "0001-01-01T00:00:0Z" {
            return Ok(Time::INITIAL);
        }
        let is_character = |c: u8| c.is_ascii_digit() || b"-:.+TtZz".contains(&c);
        let bytes = text.as_bytes();
        let is_date = bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-');
        let is_clock = bytes.get(13) == Some(&b':') && bytes.get(16) == Some(&b':');
        if !text.bytes().all(is_character) || !is_date || !is_clock {
            return Err(no());
        }
        text.parse().map(Time).map_err(|_| no())
    }
}

/// RFC 3339 in UTC, with milliseconds.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let found = text.parse::<Time>().ok().map(|time| time.to_string());
        assert_eq!(found.as_deref(), expected, "{text:?}");
    }

    #[test]
    fn rfc_3339_and_no_more() {
        check("2017-07-21T17:32:28Z", Some("2017-07-21T17:32:28.000Z"));
        check("2017-07-21t17:32:28.123456z", Some("2017-07-21T17:32:28.123Z"));
        check("2017-07-21T19:32:28+02:00", Some("2017-07-21T17:32:28.000Z"));
        check("0001-01-01T00:00:00Z", Some("0001-01-01T00:00:00.000Z"));
        check("0001-01-01T00:00:0Z", Some("0001-01-01T00:00:00.000Z"));
        for bad in [
            "",
            "2017-07-21",
            "2017-07-21T17:32Z",
            "2017-07-21T17:32:28",
            "2017-07-21 17:32:28Z",
            "20170721T173228Z",
            "2017-07-21T17:32:28Z[UTC]",
            "2017-02-30T17:32:28Z",
            "1500658348",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn milliseconds_and_the_initial_value() {
        let time = Millis::saturating(1_684_524_079_524);
        assert_eq!(Time::from(time).to_string(), "2023-05-19T19:21:19.524Z");
        assert_eq!(Time::from(time).millis(), Some(time));
        assert!("0001-01-01T00:00:00Z".parse::<Time>().unwrap().is_initial());
        assert_eq!(Time::INITIAL.millis(), None);
    }
}

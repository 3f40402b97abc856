//! Parses times as people write them: RFC 3339, a date, or an age.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

const A_TIME: &str = "a time such as 2025-05-16T20:09:54Z, a date such as 2025-05-16, \
                      or how long ago: 30s, 15m, 6h, 7d, 2w";
const A_ZONE: &str = "a zone, Z or an offset such as +02:00, at the end of the time";

const A_LATER_TIME: &str = "a time after that of since; the smaller of two ages is the later time, \
                            as in since 2d, until 1d";

/// Why a text is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}, expected {expected}")]
pub struct TimeError {
    /// The text.
    pub found: String,
    /// What was expected.
    pub expected: &'static str,
}

/// Parses `text` into milliseconds since the Unix epoch.
///
/// `text` is a time in RFC 3339 (section 5.6), a date, which means midnight UTC, or an age: a
/// number and a unit (`s`, `m`, `h`, `d`, `w`) before `now`, which is in milliseconds too.
pub fn parse(text: &str, now: i64) -> Result<i64, TimeError> {
    if let Some(time) = ago(text).and_then(|ago| now.checked_sub(ago)) {
        return Ok(time);
    }
    span(text).map(|(start, _)| start).ok_or_else(|| {
        let zone_missing = span(&format!("{text}Z")).is_some();
        TimeError { found: text.to_owned(), expected: if zone_missing { A_ZONE } else { A_TIME } }
    })
}

/// Parses a range from `since` to just before `until`, each as in [`parse`]. Both are optional. An
/// error comes with the name of the wrong end, `since` or `until`.
///
/// # Errors
/// When an end is not a time, or `until` is not after `since`.
#[expect(clippy::type_complexity, reason = "two ends, and the name of the wrong one")]
pub fn range(
    since: Option<&str>,
    until: Option<&str>,
    now: i64,
) -> Result<(Option<i64>, Option<i64>), (&'static str, TimeError)> {
    let time = |end: &'static str, text: Option<&str>| {
        text.map(|text| parse(text, now)).transpose().map_err(|error| (end, error))
    };
    let (from, to) = (time("since", since)?, time("until", until)?);
    match (from, to, until) {
        (Some(from), Some(to), Some(until)) if from >= to => {
            Err(("until", TimeError { found: until.to_owned(), expected: A_LATER_TIME }))
        }
        _ => Ok((from, to)),
    }
}

/// The start and the end of the time that `text` names: a day for a date, or else a minute, a
/// second or a millisecond, whichever is the last part written. Ages are not accepted.
pub(super) fn span(text: &str) -> Option<(i64, i64)> {
    // The parsers of jiff accept more of ISO 8601 and RFC 9557 than this language does.
    let is_date = |date: &str| date.len() == 10 && date.as_bytes().get(4) == Some(&b'-');
    if is_date(text) {
        let midnight = TimeZone::UTC.to_timestamp(text.parse::<Date>().ok()?.into()).ok()?;
        let start = midnight.as_millisecond();
        return Some((start, start.checked_add(DAY)?));
    }
    if !is_clock(text) || !is_date(text.get(..10)?) {
        return None;
    }
    let start = text.parse::<Timestamp>().ok()?.as_millisecond();
    let clock = text.get(11..)?.split(['Z', 'z', '+', '-']).next()?;
    let length = match (clock.contains('.'), clock.matches(':').count()) {
        (true, _) => 1,
        (false, 2) => SECOND,
        (false, _) => MINUTE,
    };
    Some((start, start.checked_add(length)?))
}

/// Whether the text has only characters of a date, a time and a zone.
fn is_clock(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_digit() || b"-:.+TtZz ".contains(&c))
}

fn ago(text: &str) -> Option<i64> {
    let (at, unit) = text.char_indices().next_back()?;
    let unit = match unit {
        's' => SECOND,
        'm' => MINUTE,
        'h' => HOUR,
        'd' => DAY,
        'w' => WEEK,
        _ => return None,
    };
    let number = text.get(..at)?;
    let is_number = number.bytes().all(|c| c.is_ascii_digit());
    number.parse::<i64>().ok().filter(|_| is_number)?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2025-05-16T20:09:54Z.
    const NOW: i64 = 1_747_426_194_000;

    fn check(text: &str, expected: i64) {
        assert_eq!(parse(text, NOW), Ok(expected), "{text}");
    }

    #[test]
    fn times_dates_and_how_long_ago() {
        check("2025-05-16T20:09:54Z", NOW);
        check("2025-05-16T22:09:54+02:00", NOW);
        check("2025-05-16t20:09:54.120z", NOW + 120);
        check("2025-05-16", 1_747_353_600_000);
        check("1969-12-31", -DAY);
        check("30s", NOW - 30 * SECOND);
        check("15m", NOW - 15 * MINUTE);
        check("6h", NOW - 6 * HOUR);
        check("7d", NOW - 7 * DAY);
        check("2w", NOW - 14 * DAY);
        check("0s", NOW);
    }

    #[test]
    fn a_range_ends_after_it_begins() {
        assert_eq!(range(None, None, NOW), Ok((None, None)));
        assert_eq!(range(Some("1h"), None, NOW), Ok((Some(NOW - HOUR), None)));
        assert_eq!(
            range(Some("2h"), Some("1h"), NOW),
            Ok((Some(NOW - 2 * HOUR), Some(NOW - HOUR)))
        );
        for (since, until) in [("1h", "2h"), ("1h", "1h"), ("2025-05-16", "2025-05-15")] {
            let (end, error) = range(Some(since), Some(until), NOW).unwrap_err();
            assert_eq!((end, error.found.as_str()), ("until", until));
            assert!(error.to_string().contains("a time after that of since"), "{error}");
        }
        assert_eq!(range(Some("x"), Some("1h"), NOW).unwrap_err().0, "since");
        assert_eq!(range(Some("1h"), Some("x"), NOW).unwrap_err().0, "until");
    }

    #[test]
    fn text_that_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "6",
            "h",
            "-6h",
            "+6h",
            "1.5h",
            "6 h",
            "6y",
            "é",
            "6é",
            "yesterday",
            "2025-13-01",
            "2025-02-29",
            "20250516",
            "20250516T200954Z",
            "2025-W20-5",
            "2025-05-16T20:09:54",
            "2025-05-16T20:09:54Z[UTC]",
            "2025-05-16T25:00:00Z",
            "99999999999999999999d",
            "9999999999999999w",
            "1747426194000",
        ] {
            assert!(parse(text, NOW).is_err(), "{text}");
        }
        assert!(parse("1s", i64::MIN).is_err());
    }

    #[test]
    fn a_missing_zone_is_named() {
        let error = parse("2025-05-16T20:09:54", NOW).unwrap_err();
        assert!(error.to_string().contains("a zone"), "{error}");
        let error = parse("2025-05-16T20:99:54", NOW).unwrap_err();
        assert!(!error.to_string().contains("a zone"), "{error}");
    }

    #[test]
    fn a_span_is_as_long_as_what_is_written_is_exact() {
        for (text, length) in [
            ("2025-05-16", DAY),
            ("2025-05-16T20:09Z", MINUTE),
            ("2025-05-16T20:09:54Z", SECOND),
            ("2025-05-16T20:09:54.120Z", 1),
            ("2025-05-16T20:09:54-07:00", SECOND),
        ] {
            let (start, end) = span(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(end - start, length, "{text}");
        }
        assert_eq!(span("6h"), None);
    }
}

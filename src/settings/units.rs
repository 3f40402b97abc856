//! Sizes and durations as people write them: `64MiB`, `500kB`, `10s`, `7d`.
//!
//! A value is a whole number with one unit. `64M` is refused, since it is ambiguous: 64,000,000 or
//! 67,108,864. Case is ignored, as nobody means millibytes.

use std::time::Duration;

use super::error::Mismatch;

/// Bytes in a kibibyte.
pub(crate) const KIB: u64 = 1 << 10;
/// Bytes in a mebibyte.
pub(crate) const MIB: u64 = 1 << 20;
/// Bytes in a gibibyte.
pub(crate) const GIB: u64 = 1 << 30;

/// The minimum of most durations, and of those of the receiver.
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);

/// Seconds in a day.
pub(crate) const DAY: u64 = 24 * 60 * 60;

/// The maximum size, 1 EiB. A sum of several fits in an `i64`, the integer of SQLite.
pub(crate) const MAX_SIZE: u64 = 1 << 60;

/// The maximum duration, a hundred years. A clock plus this does not overflow.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(36_500 * DAY);

const SIZES: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", KIB),
    ("MiB", MIB),
    ("GiB", GIB),
    ("TiB", 1 << 40),
];

/// The units in milliseconds.
const DURATIONS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60 * 1_000),
    ("h", 60 * 60 * 1_000),
    ("d", DAY * 1_000),
    ("w", 7 * DAY * 1_000),
];

/// Reads a size, in bytes: a whole number, and B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB,
/// TiB (powers of 1024). A number without a unit is in bytes. At most 1 EiB.
pub(crate) fn size(text: &str) -> Result<u64, Mismatch> {
    quantity(text, &SIZES)
        .filter(|bytes| *bytes <= MAX_SIZE)
        .ok_or_else(|| Mismatch::text(text, EXPECTED_SIZE))
}

/// Reads a duration: a whole number, and ms, s, m, h, d or w. At most 36500d.
pub(crate) fn duration(text: &str) -> Result<Duration, Mismatch> {
    quantity(text, &DURATIONS)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= MAX_DURATION)
        .ok_or_else(|| Mismatch::text(text, EXPECTED_DURATION))
}

/// Formats a size in the largest power of 1024 that gives a whole number: 1536 is `1536B`.
pub(crate) fn show_size(bytes: u64) -> String {
    let largest = SIZES.iter().rev().find(|(name, unit)| {
        (name.contains('i') || *name == "B") && bytes >= *unit && bytes.is_multiple_of(*unit)
    });
    largest.map_or_else(|| "0".to_owned(), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// Formats a duration in the largest unit that gives a whole number: 90 seconds is `90s`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let largest = DURATIONS
        .iter()
        .rev()
        .find(|(_, unit)| millis >= u128::from(*unit) && millis.is_multiple_of(u128::from(*unit)));
    largest.map_or_else(
        || "0s".to_owned(),
        |(name, unit)| format!("{}{name}", millis / u128::from(*unit)),
    )
}

/// Describes a size in messages.
pub(crate) const EXPECTED_SIZE: &str = "a size such as \"64MiB\" or \"500kB\" (a whole number and \
     B, kB, MB, GB, TB, KiB, MiB, GiB or TiB), or a number of bytes, at most 1 EiB";

/// Describes a duration in messages.
pub(crate) const EXPECTED_DURATION: &str =
    "a duration such as \"10s\" (a whole number and ms, s, m, h, d or w), at most 36500d";

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    let unit = unit.trim_start_matches(' ');
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(size(text).ok(), expected, "{text:?}");
        };
        check("64MiB", Some(67_108_864));
        check("64 MiB", Some(67_108_864));
        check("1GiB", Some(1 << 30));
        check("1TiB", Some(1 << 40));
        check("500kB", Some(500_000));
        check("500KB", Some(500_000));
        check("3MB", Some(3_000_000));
        check("4GB", Some(4_000_000_000));
        check("0", Some(0));
        check("1048576", Some(1_048_576));
        check("12B", Some(12));
        check("1048576TiB", Some(MAX_SIZE));
        for bad in ["", "MiB", "64M", "1.5GiB", "-1", "+1", "64MiBs", "1 2", " 1", "1e3", "１"] {
            check(bad, None);
        }
        check("1048577TiB", None);
        check("18446744073709551616", None);
        check("18446744073709551615TiB", None);
    }

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(duration(text).ok(), expected.map(Duration::from_millis), "{text:?}");
        };
        check("500ms", Some(500));
        check("10s", Some(10_000));
        check("15m", Some(900_000));
        check("6h", Some(21_600_000));
        check("7d", Some(604_800_000));
        check("1w", Some(604_800_000));
        check("1 w", Some(604_800_000));
        check("36500d", Some(3_153_600_000_000));
        for bad in ["", "10", "s", "1.5h", "1h30m", "10sec", "-1s", "36501d"] {
            check(bad, None);
        }
        check("18446744073709551615w", None);
    }

    #[test]
    fn formatted_values_can_be_parsed() {
        for (bytes, text) in [
            (0, "0"),
            (1, "1B"),
            (1024, "1KiB"),
            (1536, "1536B"),
            (640 * MIB, "640MiB"),
            (MAX_SIZE, "1048576TiB"),
        ] {
            assert_eq!(show_size(bytes), text);
            assert_eq!(size(text), Ok(bytes));
        }
        for (millis, text) in [(1, "1ms"), (90_000, "90s"), (60_000, "1m"), (86_400_000, "1d")] {
            assert_eq!(show_duration(Duration::from_millis(millis)), text);
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
        }
    }
}

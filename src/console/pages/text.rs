//! Formats values for the pages.
//!
//! Text from entries is hostile. The templates escape HTML. This file replaces invisible
//! characters, and characters that reorder text (Unicode Bidirectional Algorithm, UAX 9), with
//! visible marks, and shortens text that is too long for a cell. Text from outside reaches a
//! template only as a [`SafeText`].

use std::borrow::Cow;
use std::fmt;

use askama::filters::HtmlSafe;
use indicatif::{HumanBytes, HumanCount};
use uuid::fmt::Hyphenated;

use crate::entry::Millis;
use crate::entry::record::beginning;
use crate::entry::time::{self, ParsedTime};

/// The maximum length of a table cell, in characters.
const CELL: usize = 160;

/// The maximum length of the title of a cell, in characters.
const TITLE: usize = 1000;

/// A text whose invisible characters are replaced with marks. The template escapes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SafeText(String);

impl SafeText {
    pub(super) fn new(text: &str) -> SafeText {
        let mut shown = String::with_capacity(text.len());
        text.chars().for_each(|c| mark(&mut shown, c));
        SafeText(shown)
    }

    /// The whole of some bytes. Bytes that are not UTF-8 are shown as numbers.
    pub(super) fn from_bytes(bytes: &[u8]) -> SafeText {
        let mut shown = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            chunk.valid().chars().for_each(|c| mark(&mut shown, c));
            chunk.invalid().iter().for_each(|byte| shown.push_str(&format!("⟨{byte:02X}⟩")));
        }
        SafeText(shown)
    }

    /// The first `most` characters of the text, with an ellipsis if the text is longer.
    pub(super) fn truncated(text: &str, most: usize) -> SafeText {
        match text.char_indices().nth(most) {
            None => SafeText::new(text),
            Some((end, _)) => {
                let mut shown = SafeText::new(text.get(..end).unwrap_or_default());
                shown.0.push('…');
                shown
            }
        }
    }

    /// The first `most` bytes of a line, with an ellipsis if the line is longer.
    pub(super) fn prefix(line: &[u8], most: usize) -> SafeText {
        let cut = beginning(line, most);
        let mut shown = SafeText::from_bytes(cut);
        if cut.len() < line.len() {
            shown.0.push('…');
        }
        shown
    }

    /// Texts as lines.
    pub(super) fn joined(lines: &[SafeText]) -> SafeText {
        let lines: Vec<_> = lines.iter().map(|line| line.0.as_str()).collect();
        SafeText(lines.join("\n"))
    }

    /// The whole of a text with its line breaks. Only for text of the program itself.
    pub(super) fn multiline(text: &str) -> SafeText {
        let lines: Vec<_> = text.lines().map(|line| SafeText::new(line).0).collect();
        SafeText(lines.join("\n"))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for SafeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A table cell: a short text, and a longer text in its title.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) text: SafeText,
    pub(super) title: SafeText,
}

impl Cell {
    pub(super) fn new(text: &str) -> Cell {
        let mut title = SafeText::truncated(text, TITLE);
        if text.len() > TITLE && title.0.ends_with('…') {
            title.0.push_str(&format!(" ({} in all)", bytes(text.len() as u64)));
        }
        Cell { text: SafeText::truncated(text, CELL), title }
    }

    /// A cell with an abbreviated value. The title has the whole value.
    pub(super) fn short(text: &str) -> Cell {
        Cell { text: SafeText::truncated(&abbreviated(text), CELL), ..Cell::new(text) }
    }

    /// A cell with a raw line.
    pub(super) fn bytes(line: &[u8]) -> Cell {
        match std::str::from_utf8(line) {
            Ok(text) => Cell::new(text),
            // Each byte that is not UTF-8 takes four characters.
            Err(_) => {
                let shown = SafeText::from_bytes(line.get(..TITLE).unwrap_or(line));
                Cell { text: SafeText::truncated(&shown.0, CELL), title: shown }
            }
        }
    }
}

/// Abbreviates a value: removes the common prefix of authentication outcomes, and the middle of a
/// UUID (RFC 9562).
fn abbreviated(text: &str) -> Cow<'_, str> {
    match text.strip_prefix("AUTHENTICATION_OUTCOME_") {
        Some(outcome) if !outcome.is_empty() => return outcome.into(),
        _ => {}
    }
    let is_uuid = text.parse::<Hyphenated>().is_ok();
    match (text.get(..8), text.get(32..)) {
        (Some(first), Some(last)) if is_uuid => format!("{first}…{last}").into(),
        _ => text.into(),
    }
}

fn mark(to: &mut String, c: char) {
    match c {
        '\n' => to.push('␊'),
        '\r' => to.push('␍'),
        '\t' => to.push('␉'),
        c if is_hidden(c) => to.push_str(&format!("⟨U+{:04X}⟩", u32::from(c))),
        c => to.push(c),
    }
}

/// Whether a character is invisible or changes how others are shown: controls, format characters,
/// separators, fillers, variation selectors, tags, and white space other than the space.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

/// A time as a `<time>` element in UTC, with its exact value and zone. In tables the zone is shown
/// in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeTag(pub(super) Millis);

impl TimeTag {
    /// The time that a text in RFC 3339 states.
    pub(super) fn parse(text: &str) -> Option<TimeTag> {
        match time::parse(text) {
            ParsedTime::Full(time) => Some(TimeTag(time)),
            _ => None,
        }
    }
}

impl fmt::Display for TimeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.0.to_string();
        let (date, clock) = exact.split_once('T').unwrap_or((&exact, ""));
        let clock = clock.trim_end_matches('Z');
        write!(
            f,
            "<time datetime=\"{exact}\" title=\"{exact}\">{date} {clock}<span class=\"offset\"> \
             UTC</span></time>"
        )
    }
}

// The text has only digits, letters and our own markup.
impl HtmlSafe for TimeTag {}

/// A verdict as an element with a word, a sign and a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Badge(pub(super) &'static str);

/// The verdicts and their signs.
pub(super) const VERDICTS: [(&str, &str); 5] =
    [("valid", "✓"), ("unsigned", "–"), ("no_key", "?"), ("invalid", "✗"), ("malformed", "!")];

impl fmt::Display for Badge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0;
        let sign = VERDICTS.iter().find(|(one, _)| *one == name).map_or("", |(_, sign)| sign);
        write!(
            f,
            "<span class=\"verdict {name}\"><span aria-hidden=\"true\">{sign}</span> {name}</span>"
        )
    }
}

// The text has only the words above and our own markup.
impl HtmlSafe for Badge {}

/// A number with thousands separators.
pub(super) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// A number with its noun, such as `1 entry` or `2,000 entries`.
pub(super) fn plural(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { more })
}

/// A size in bytes, for people.
pub(super) fn bytes(size: u64) -> String {
    HumanBytes(size).to_string()
}

/// How long ago something was, in its largest unit.
pub(super) fn ago(millis: i64) -> String {
    const UNITS: [(i64, &str); 3] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min")];
    let millis = millis.max(0);
    let fits = UNITS.iter().find(|(unit, _)| millis >= *unit);
    fits.map_or_else(
        || format!("{} s", millis / 1000),
        |(unit, name)| format!("{} {name}", millis / unit),
    )
}

/// A duration in the largest unit that it is a multiple of.
pub(super) fn duration(millis: i64) -> String {
    const UNITS: [(i64, &str); 4] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];
    let fits = UNITS.iter().find(|(unit, _)| millis % unit == 0 && millis > 0);
    fits.map_or_else(|| format!("{millis} ms"), |(unit, name)| format!("{} {name}", millis / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(SafeText::new(text).to_string(), expected);
    }

    #[test]
    fn invisible_characters_are_marked() {
        check("a b<é日>", "a b<é日>");
        check("a\u{202e}b\u{2066}", "a⟨U+202E⟩b⟨U+2066⟩");
        check("\n\r\t\0\u{1b}[2J\u{7f}\u{9b}", "␊␍␉⟨U+0000⟩⟨U+001B⟩[2J⟨U+007F⟩⟨U+009B⟩");
        check(
            "\u{200b}\u{feff}\u{e0041}\u{a0}\u{3000}",
            "⟨U+200B⟩⟨U+FEFF⟩⟨U+E0041⟩⟨U+00A0⟩⟨U+3000⟩",
        );
        assert_eq!(SafeText::from_bytes(b"a\xff\xc3b\n").to_string(), "a⟨FF⟩⟨C3⟩b␊");
        assert_eq!(SafeText::prefix(b"abc", 3).to_string(), "abc");
        assert_eq!(SafeText::prefix("aäb".as_bytes(), 2).to_string(), "a…");
        assert_eq!(SafeText::prefix(b"\0\0\0", 1).to_string(), "⟨U+0000⟩…");
    }

    #[test]
    fn a_cell_is_cut_and_says_so() {
        let cell = Cell::new(&"é".repeat(100_000));
        assert_eq!(cell.text.to_string().chars().count(), CELL + 1);
        assert!(cell.title.to_string().ends_with("é… (195.31 KiB in all)"));
        assert_eq!(Cell::new("abc").title.to_string(), "abc");
    }

    #[test]
    fn a_common_prefix_is_left_out() {
        let check = |text: &str, expected: &str| {
            let cell = Cell::short(text);
            assert_eq!(
                (cell.text.to_string(), cell.title.to_string()),
                (expected.into(), text.into())
            );
        };
        check("AUTHENTICATION_OUTCOME_LOCKED", "LOCKED");
        check("AUTHENTICATION_OUTCOME_", "AUTHENTICATION_OUTCOME_");
        check("768dba25-8d63-48fe-9a1e-53b28dfb0f46", "768dba25…0f46");
        check("768dba25-8d63-48fe-9a1e-53b28dfb0f4g", "768dba25-8d63-48fe-9a1e-53b28dfb0f4g");
        check("768dba25_8d63-48fe-9a1e-53b28dfb0f46", "768dba25_8d63-48fe-9a1e-53b28dfb0f46");
        check(&"é".repeat(18), &"é".repeat(18));
        check("Jane Doe", "Jane Doe");
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1, 1023, 1536, 5 << 30].map(bytes), ["1 B", "1023 B", "1.50 KiB", "5.00 GiB"]);
        assert_eq!(
            [60_000, 7_200_000, 86_400_000, 1500].map(duration),
            ["1 min", "2 h", "1 d", "1500 ms"]
        );
    }

    #[test]
    fn a_time_has_its_zone() {
        assert_eq!(
            TimeTag(Millis::MIN).to_string(),
            "<time datetime=\"1970-01-01T00:00:00.000Z\" title=\"1970-01-01T00:00:00.000Z\">\
             1970-01-01 00:00:00.000<span class=\"offset\"> UTC</span></time>"
        );
    }
}

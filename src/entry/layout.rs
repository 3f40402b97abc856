//! Splits a body into lines, and finds the format of a line and the places of its signature.
//!
//! A line ends at LF. One CR before the LF belongs to the line end. Empty lines are skipped.
//! Nothing else is trimmed: no byte order mark, NUL, syslog priority or space.
//!
//! Nothing is trusted here and no field is read. `signature` uses the layout to cut out the
//! signature. Then [`payload`](super::payload) reads the fields of the rest.

use std::ops::Range;

use super::words::words;
use super::{Format, cef, json};

/// The default for the longest line that is parsed, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// The byte ranges of the lines of `body`, without line ends. Empty lines are skipped.
pub fn lines(body: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        while start < body.len() {
            let rest = &body[start..];
            let end = start + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            let line = start..start + without_cr(&body[start..end]).len();
            start = end + 1;
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    })
}

/// The line without one CR at its end.
fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

words! {
    /// Why a line is not an entry.
    pub enum Malformed {
        /// The line is longer than the longest line that is parsed.
        TooLong = "line_too_long",
        /// The line is not UTF-8.
        NotUtf8 = "not_utf8",
        /// The line begins like a JSON object, but is not one.
        NotJson = "not_json",
        /// Arrays and objects are nested deeper than 64 levels.
        TooDeep = "nested_too_deeply",
        /// The line contains `CEF:` but no complete header.
        CefHeader = "cef_header",
        /// There is a brace or a quote before `CEF:`.
        CefPrefix = "cef_prefix",
        /// The signed payload has another format than the line.
        OtherFormat = "signed_in_another_format",
        /// The line has none of the formats.
        UnknownFormat = "unknown_format",
    }
}

/// A line and its parts.
#[derive(Debug)]
pub struct Layout<'a> {
    /// The line.
    pub line: &'a str,
    /// The parts of the line.
    pub parts: Parts,
}

/// The parts of a line, which depend on its format. Ranges are byte offsets in the line.
#[derive(Debug)]
pub enum Parts {
    /// A CEF line.
    Cef {
        /// The `sig` extensions, in order.
        sigs: Vec<CefSig>,
    },
    /// A JSON object, or the object under `event` of a CPS line.
    Object {
        /// The object that holds the fields. It is the whole line, unless the line is CPS.
        object: Range<usize>,
        /// Whether the line is CPS.
        cps: bool,
        /// The members whose key is `sig`, in order.
        sigs: Vec<JsonSig>,
    },
}

/// A `sig` extension of a CEF line.
#[derive(Clone, Debug)]
pub struct CefSig {
    /// The spaces before the key. Empty if the key comes first in the extensions.
    pub spaces: Range<usize>,
    /// The value. It includes spaces at the end of the line, but not the spaces before the next
    /// key.
    pub value: Range<usize>,
}

/// A member of a JSON object whose key is `sig`.
#[derive(Clone, Debug)]
pub struct JsonSig {
    /// The value.
    pub value: Range<usize>,
    /// The member with one comma beside it. `None` if the key is written with escapes.
    pub cut: Option<Range<usize>>,
}

impl<'a> Layout<'a> {
    /// Finds the format and the parts of a line of at most `max_line` bytes.
    pub fn of(line: &'a [u8], max_line: usize) -> Result<Layout<'a>, Malformed> {
        // Offsets in a line are stored in 32 bits.
        if line.len() > max_line.min(u32::MAX as usize) {
            return Err(Malformed::TooLong);
        }
        let line = std::str::from_utf8(line).map_err(|_| Malformed::NotUtf8)?;
        // The first byte decides the format. A line that is invalid in this format is not tried in
        // another: otherwise signed JSON that contains the text of a CEF line would pass as that
        // CEF line.
        let parts = match line.trim_start_matches(JSON_SPACE).starts_with('{') {
            true if json::too_deep(line) => return Err(Malformed::TooDeep),
            true => json_parts(line).ok_or(Malformed::NotJson)?,
            false => cef_parts(line)?,
        };
        Ok(Layout { line, parts })
    }

    /// The format of the line.
    pub fn format(&self) -> Format {
        match self.parts {
            Parts::Cef { .. } => Format::Cef,
            Parts::Object { cps: false, .. } => Format::Json,
            Parts::Object { cps: true, .. } => Format::Cps,
        }
    }
}

/// White space of JSON (RFC 8259 section 2).
const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

fn cef_parts(line: &str) -> Result<Parts, Malformed> {
    let cef = cef::split(line).ok_or(match line.contains("CEF:") {
        true => Malformed::CefHeader,
        false => Malformed::UnknownFormat,
    })?;
    // A syslog priority, time or host has neither character. A CEF line quoted in JSON has.
    if cef.prefix.contains(['{', '"']) {
        return Err(Malformed::CefPrefix);
    }
    let extensions = cef.extensions;
    let start = line.len() - extensions.len();
    let mut sigs: Vec<CefSig> = cef::extensions(extensions)
        .filter(|extension| extension.key == "sig")
        .map(|sig| {
            let before = &extensions[..sig.at];
            let spaces = before.len() - before.trim_end_matches(' ').len();
            let (key, value) = (start + sig.at, start + sig.at + "sig=".len());
            let length = sig.value.trim_end_matches(' ').len();
            CefSig { spaces: key - spaces..key, value: value..value + length }
        })
        .collect();
    // Spaces at the end of the line do not belong to a field's value, but they belong to the line.
    if let Some(last) = sigs.last_mut()
        && line[last.value.end..].bytes().all(|byte| byte == b' ')
    {
        last.value.end = line.len();
    }
    Ok(Parts::Cef { sigs })
}

fn json_parts(line: &str) -> Option<Parts> {
    let members = json::object(line)?;
    if let [only] = members.as_slice()
        && only.key == "event"
        && let Some(inner) = json::object(only.value.get())
    {
        return Some(Parts::Object {
            object: only.value_in(line),
            cps: true,
            sigs: json_sigs(line, &inner),
        });
    }
    Some(Parts::Object { object: 0..line.len(), cps: false, sigs: json_sigs(line, &members) })
}

fn json_sigs(line: &str, members: &[json::Member<'_>]) -> Vec<JsonSig> {
    let sigs = members.iter().filter(|member| member.key == "sig");
    sigs.map(|member| {
        let value = member.value_in(line);
        JsonSig { cut: member_with_comma(line, &value), value }
    })
    .collect()
}

/// The range of the member whose value is at `value`, with the comma before it. The first member
/// has the comma after it instead. `None` if the key is not written as `"sig"`.
fn member_with_comma(line: &str, value: &Range<usize>) -> Option<Range<usize>> {
    let before_colon = line[..value.start].trim_end_matches(JSON_SPACE).strip_suffix(':')?;
    let before_key = before_colon.trim_end_matches(JSON_SPACE).strip_suffix(r#""sig""#)?;
    if let Some(before_comma) = before_key.trim_end_matches(JSON_SPACE).strip_suffix(',') {
        return Some(before_comma.len()..value.end);
    }
    let after = line[value.end..].trim_start_matches(JSON_SPACE);
    let end = after.strip_prefix(',').map_or(value.end, |rest| line.len() - rest.len());
    Some(before_key.len()..end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(line: &str, expected: Result<Format, Malformed>) {
        assert_eq!(Layout::of(line.as_bytes(), 1 << 16).map(|l| l.format()), expected, "{line}");
    }

    #[test]
    fn the_format_of_a_line() {
        check(r#"{"event":{"a":1}}"#, Ok(Format::Cps));
        check(r#"{"event":{"a":1,"sig":"x"}}"#, Ok(Format::Cps));
        check(r#"{"event":{"a":1},"b":2}"#, Ok(Format::Json));
        check(r#"{"event":1}"#, Ok(Format::Json));
        check(r#"{"event":{},"event":{}}"#, Ok(Format::Json));
        check("\t{}\r ", Ok(Format::Json));
        check("\u{feff}{}", Err(Malformed::UnknownFormat));
        check("{x} CEF:0|a|b|c|d|e|5|", Err(Malformed::NotJson));
        check(" \t{\"a\":\"x CEF:0|a|b|c|d|e|5|\"} sig=x", Err(Malformed::NotJson));
        check("<13>1 host {\"a\":\"x CEF:0|a|b|c|d|e|5|\"}", Err(Malformed::CefPrefix));
        check("[\"x CEF:0|a|b|c|d|e|5|\"]", Err(Malformed::CefPrefix));
        check("\u{feff}{} CEF:0|a|b|c|d|e|5|", Err(Malformed::CefPrefix));
        check("host app: CEF:0|a|b|c|d|e|5|x={\"y\"}", Ok(Format::Cef));
        check(r#"{"a":"x CEF:0|a|b|c|d|e|5|"}"#, Ok(Format::Json));
        check(r#"{"a":1"#, Err(Malformed::NotJson));
        check("CEF:0|a|b", Err(Malformed::CefHeader));
        check("hello", Err(Malformed::UnknownFormat));
        check(&format!("{{\"a\":{}", "[".repeat(70)), Err(Malformed::TooDeep));
        check(&"x".repeat((1 << 16) + 1), Err(Malformed::TooLong));
        assert_eq!(Layout::of(b"CEF:0|\xff", 100).unwrap_err(), Malformed::NotUtf8);
    }

    fn check_cut(line: &str, expected: &str) {
        let layout = Layout::of(line.as_bytes(), MAX_LINE).unwrap();
        let Parts::Object { sigs, .. } = layout.parts else { panic!("{line} is CEF") };
        let cut = sigs[0].cut.clone().unwrap();
        assert_eq!(format!("{}{}", &line[..cut.start], &line[cut.end..]), expected, "{line}");
    }

    #[test]
    fn a_member_is_cut_with_one_comma() {
        check_cut(r#"{"a":1,"sig":"x"}"#, r#"{"a":1}"#);
        check_cut(r#"{"a":1 , "sig" : "x" , "b":2}"#, r#"{"a":1  , "b":2}"#);
        check_cut(r#"{ "sig":"x" , "b":2}"#, r#"{  "b":2}"#);
        check_cut(r#"{"sig":"x"}"#, "{}");
        check_cut(
            r#"{"event":{"a":"\",\"sig\":\"","sig":"x"}}"#,
            r#"{"event":{"a":"\",\"sig\":\""}}"#,
        );
    }

    fn check_lines(body: &[u8], expected: &[&[u8]]) {
        let found: Vec<_> = lines(body).map(|line| &body[line]).collect();
        assert_eq!(found, expected, "{}", body.escape_ascii());
    }

    #[test]
    fn a_line_ends_at_lf_and_takes_one_cr_along() {
        check_lines(b"", &[]);
        check_lines(b"\n\r\n\n", &[]);
        check_lines(b"a\nb\r\nc", &[b"a", b"b", b"c"]);
        check_lines(b"a\r\r\n\xef\xbb\xbfb\r", &[b"a\r", b"\xef\xbb\xbfb"]);
        check_lines(b" \n\0\n", &[b" ", b"\0"]);
        check_lines(b"a\rb\n", &[b"a\rb"]);
    }

    proptest! {
        #[test]
        fn splitting_loses_no_byte(body in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200)) {
            let mut at = 0;
            for line in lines(&body) {
                prop_assert!(body[at..line.start].iter().all(|byte| b"\r\n".contains(byte)));
                prop_assert!(!body[line.clone()].contains(&b'\n'));
                at = line.end;
            }
            prop_assert!(body[at..].iter().all(|byte| b"\r\n".contains(byte)));
        }
    }
}

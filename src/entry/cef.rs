//! Parses the Common Event Format (CEF): splits a line into its header and its extensions.
//!
//! Defined in "Implementing ArcSight Common Event Format (CEF)", version 26, chapters "Header
//! field definitions" and "Character encoding". A line is `[prefix ]CEF:version|vendor|product|
//! version|class id|name|severity|extensions`.

use std::borrow::Cow;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while_m_n, take_while1};
use nom::character::complete::{char, digit1};
use nom::combinator::{opt, recognize, verify};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

/// A CEF line, split at its delimiters. The parts are still escaped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cef<'a> {
    /// The text before `CEF:`, with the space that ends it.
    pub(super) prefix: &'a str,
    /// Version, vendor, product, device version, class id, name, severity.
    pub(super) header: [&'a str; 7],
    /// The text after the last delimiter of the header.
    pub(super) extensions: &'a str,
}

/// One `key=value` of the extensions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extension<'a> {
    pub(super) key: &'a str,
    /// The value as sent, still escaped.
    pub(super) value: &'a str,
    /// The offset of the key in the extensions, in bytes.
    pub(super) at: usize,
}

/// Splits a line at the delimiters of its header. `None` if the line is not CEF.
pub(super) fn split(line: &str) -> Option<Cef<'_>> {
    let start = line.match_indices("CEF:").map(|(at, _)| at).find(|at| {
        (*at == 0 || line[..*at].ends_with(' '))
            && line[at + 4..].starts_with(|next: char| next.is_ascii_digit())
    })?;
    let (prefix, rest) = line.split_at(start);
    let (extensions, header) = header(rest).ok()?;
    Some(Cef { prefix, header, extensions })
}

fn header(input: &str) -> IResult<&str, [&str; 7]> {
    let version = terminated(preceded(tag("CEF:"), digit1), char('|'));
    let (input, (a, b, c, d, e, f, g)) =
        (version, field, field, field, field, field, field).parse(input)?;
    Ok((input, [a, b, c, d, e, f, g]))
}

/// Reads a header field and the pipe that ends it. A backslash escapes the next character.
fn field(input: &str) -> IResult<&str, &str> {
    let mut escaped = false;
    let end = input.bytes().position(|byte| {
        let ends = byte == b'|' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    match end {
        Some(end) => Ok((&input[end + 1..], &input[..end])),
        None => Err(nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Char))),
    }
}

/// The extensions, in order. A key starts the text or follows a space. Its value ends at the space
/// before the next key. Text before the first key is ignored.
pub(super) fn extensions(text: &str) -> impl Iterator<Item = Extension<'_>> {
    let mut next = next_key(text, 0);
    std::iter::from_fn(move || {
        let (at, key) = next?;
        let start = at + key.len() + 1;
        next = next_key_after(text, start);
        let value = match next {
            Some((following, _)) => &text[start..following - 1],
            None => text[start..].trim_end_matches(' '),
        };
        Some(Extension { key, value, at })
    })
}

/// The first key at or after `from`, where `from` is the start of a word.
fn next_key(text: &str, from: usize) -> Option<(usize, &str)> {
    match key(&text[from..]) {
        Ok((_, key)) => Some((from, key)),
        Err(_) => next_key_after(text, from),
    }
}

/// The first key that follows a space at or after `from`.
fn next_key_after(text: &str, mut from: usize) -> Option<(usize, &str)> {
    loop {
        from += text[from..].find(' ')? + 1;
        if let Ok((_, key)) = key(&text[from..]) {
            return Some((from, key));
        }
    }
}

fn key(input: &str) -> IResult<&str, &str> {
    terminated(take_while1(is_key_char), char('=')).parse(input)
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']')
}

/// Unescapes a header field: `\|` and `\\`.
pub(super) fn unescape_header(field: &str) -> Cow<'_, str> {
    unescape(field, |escaped| matches!(escaped, '|' | '\\').then_some(escaped))
}

/// Unescapes the value of an extension: `\=`, `\\`, `\n` and `\r`.
pub(super) fn unescape_value(value: &str) -> Cow<'_, str> {
    unescape(value, |escaped| match escaped {
        '=' | '\\' => Some(escaped),
        'n' => Some('\n'),
        'r' => Some('\r'),
        _ => None,
    })
}

/// Unescapes text in one pass. A backslash before any other character is kept.
fn unescape(text: &str, meaning: impl Fn(char) -> Option<char>) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.peek().copied().and_then(&meaning) } else { None };
        if escaped.is_some() {
            chars.next();
        }
        plain.push(escaped.unwrap_or(c));
    }
    plain.into()
}

/// Finds the timestamp in the prefix of a line. It follows an optional syslog priority (RFC 5424
/// section 6.2.1) and version, and is a token that begins like an RFC 3339 date, or the three
/// tokens of an RFC 3164 timestamp.
pub(super) fn timestamp(prefix: &str) -> Option<&str> {
    preceded((opt(priority), opt(terminated(char('1'), char(' ')))), alt((rfc3339, rfc3164)))
        .parse(prefix)
        .ok()
        .map(|(_, timestamp)| timestamp)
}

fn priority(input: &str) -> IResult<&str, &str> {
    let digits = verify(digit1, |digits: &str| digits.len() <= 3);
    terminated(delimited(char('<'), digits, char('>')), opt(char(' '))).parse(input)
}

fn rfc3339(input: &str) -> IResult<&str, &str> {
    let date = (digits(4, 6), char('-'), digits(2, 2), char('-'), digits(2, 2), char('T'));
    recognize((opt(alt((char('-'), char('+')))), date, take_while1(|c| c != ' '))).parse(input)
}

fn rfc3164(input: &str) -> IResult<&str, &str> {
    let month = take_while_m_n(3, 3, |c: char| c.is_ascii_alphabetic());
    let day = alt((digits(2, 2), recognize((char(' '), digits(1, 1)))));
    let time = (digits(2, 2), char(':'), digits(2, 2), char(':'), digits(2, 2));
    recognize((month, char(' '), day, char(' '), time)).parse(input)
}

fn digits<'a>(
    least: usize,
    most: usize,
) -> impl Parser<&'a str, Output = &'a str, Error = nom::error::Error<&'a str>> {
    take_while_m_n(least, most, |c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_extensions(text: &str, expected: &[(&str, &str)]) {
        let found: Vec<_> = extensions(text)
            .map(|e| (e.key.to_owned(), unescape_value(e.value).into_owned()))
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(found, expected, "{text:?}");
        assert!(extensions(text).all(|e| text[e.at..].starts_with(e.key)), "{text:?}");
    }

    #[test]
    fn extensions_run_to_the_space_before_the_next_key() {
        check_extensions("", &[]);
        check_extensions("a=1 b=2", &[("a", "1"), ("b", "2")]);
        check_extensions("a=  b=x  c= ", &[("a", " "), ("b", "x "), ("c", "")]);
        check_extensions("a= b=", &[("a", ""), ("b", "")]);
        check_extensions(
            "request=/a?x=1&y=2 act=GET",
            &[("request", "/a?x=1&y=2"), ("act", "GET")],
        );
        check_extensions("a=x y\\=z b=\\=", &[("a", "x y=z"), ("b", "=")]);
        check_extensions("no key a=1", &[("a", "1")]);
        check_extensions("ad.list[0].x-y_z=1 ä=2", &[("ad.list[0].x-y_z", "1 ä=2")]);
        check_extensions("a=|b| =c", &[("a", "|b| =c")]);
    }

    #[test]
    fn escapes_are_undone_in_one_pass() {
        for (sent, plain) in
            [(r"C:\\new", r"C:\new"), (r"a\nb\rc", "a\nb\rc"), (r"\x\", r"\x\"), (r"\|", r"\|")]
        {
            assert_eq!(unescape_value(sent), plain, "{sent}");
        }
        assert_eq!(unescape_header(r"a\|b\\c\=\n"), r"a|b\c\=\n");
    }

    #[test]
    fn the_header_is_cut_at_its_delimiters() {
        let line = r"x CEF:0|a\|b|c\\|1.0||n=m|5|k=v|w";
        let cef = split(line).unwrap();
        assert_eq!(cef.prefix, "x ");
        assert_eq!(cef.header, ["0", r"a\|b", r"c\\", "1.0", "", "n=m", "5"]);
        assert_eq!(cef.extensions, "k=v|w");
        for not_cef in
            ["", "CEF:", "CEF:0|a|b|c|d|e|5", "CEF:x|a|b|c|d|e|5|", "xCEF:0|a|b|c|d|e|5|"]
        {
            assert_eq!(split(not_cef), None, "{not_cef}");
        }
        assert!(split("CEF:x CEF:1|a|b|c|d|e|5|").is_some());
    }

    #[test]
    fn timestamps_are_found_in_the_prefix() {
        for (prefix, expected) in [
            ("2025-06-18T21:02:36Z konghq.com ", Some("2025-06-18T21:02:36Z")),
            ("Apr 14 05:39:08 konghq.com ", Some("Apr 14 05:39:08")),
            ("<134>Apr  4 05:39:08 host ", Some("Apr  4 05:39:08")),
            ("<134>1 2025-06-18T21:02:36.1+02:00 host ", Some("2025-06-18T21:02:36.1+02:00")),
            ("host ", None),
            ("", None),
        ] {
            assert_eq!(timestamp(prefix), expected, "{prefix:?}");
        }
    }
}

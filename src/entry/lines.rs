//! A body to its lines.
//!
//! A line ends at LF, and one CR before it belongs to the line end. Empty lines are no entries.
//! Nothing else is trimmed: no byte order mark, NUL, priority or space.

use std::ops::Range;

/// Where the lines of `body` stand, without their line ends and without the empty ones.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(body: &[u8], expected: &[&[u8]]) {
        let found: Vec<_> = lines(body).map(|line| &body[line]).collect();
        assert_eq!(found, expected, "{}", body.escape_ascii());
    }

    #[test]
    fn a_line_ends_at_lf_and_takes_one_cr_along() {
        check(b"", &[]);
        check(b"\n\r\n\n", &[]);
        check(b"a\nb\r\nc", &[b"a", b"b", b"c"]);
        check(b"a\r\r\n\xef\xbb\xbfb\r", &[b"a\r", b"\xef\xbb\xbfb"]);
        check(b" \n\0\n", &[b" ", b"\0"]);
        check(b"a\rb\n", &[b"a\rb"]);
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

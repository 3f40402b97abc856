//! Text from outside, made safe to show.
//!
//! Control characters move a terminal's cursor, set its title and type into it, and bidirectional
//! ones show a text as another.

use std::borrow::Cow;

/// The text with each character that a terminal obeys, or that hides or reorders others, replaced
/// by U+FFFD; a tab by a space.
pub fn sanitise(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return text.into();
    }
    let safe = |c| match c {
        '\t' => ' ',
        c if is_unsafe(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(safe).collect()
}

/// Whether a terminal obeys the character, or it hides or reorders others.
pub fn is_unsafe(c: char) -> bool {
    // C0, DEL and C1.
    c.is_control()
        || matches!(c,
            // Of no width, or an order of their own (Unicode Bidirectional Algorithm, UAX 9).
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Line and paragraph separators, and tags.
            | '\u{2028}' | '\u{2029}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(sanitise(text), expected, "{text:?}");
    }

    #[test]
    fn what_a_terminal_obeys_is_replaced() {
        check("plain, Zoë 王 ✓", "plain, Zoë 王 ✓");
        check("\x1b[2J\x07\x08\x7f", "\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}");
        check("a\tb\r\nc\0", "a b\u{fffd}\u{fffd}c\u{fffd}");
        check("\u{9b}31m\u{85}", "\u{fffd}31m\u{fffd}");
        check("\u{202e}txt.exe\u{2066}\u{200f}\u{61c}", "\u{fffd}txt.exe\u{fffd}\u{fffd}\u{fffd}");
        check("\u{feff}\u{200b}\u{2028}\u{e0041}", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
    }
}

//! Makes text from outside safe to show.
//!
//! Control characters can move the cursor of a terminal, set its title and type into it. Bidirectional
//! characters can make a text look like another.

use std::borrow::Cow;

/// Replaces each unsafe character with U+FFFD, and each tab with a space.
pub(crate) fn sanitise(text: &str) -> Cow<'_, str> {
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

/// Escapes characters in JSON that would control a terminal. JSON allows most of them in strings
/// (RFC 8259 section 7) and none outside of strings.
pub(crate) fn escape_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unsafe) {
        return json.into();
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
}

/// Whether the character controls a terminal, or hides or reorders other characters.
pub(crate) fn is_unsafe(c: char) -> bool {
    // C0, DEL and C1.
    c.is_control()
        || matches!(c,
            // Characters without width, and those of the Unicode Bidirectional Algorithm (UAX 9).
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Separators of lines and paragraphs, and tags.
            | '\u{2028}' | '\u{2029}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(sanitise(text), expected, "{text:?}");
    }

    #[test]
    fn unsafe_characters_are_replaced() {
        check("plain, Zoë 王 ✓", "plain, Zoë 王 ✓");
        check("\x1b[2J\x07\x08\x7f", "\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}");
        check("a\tb\r\nc\0", "a b\u{fffd}\u{fffd}c\u{fffd}");
        check("\u{9b}31m\u{85}", "\u{fffd}31m\u{fffd}");
        check("\u{202e}txt.exe\u{2066}\u{200f}\u{61c}", "\u{fffd}txt.exe\u{fffd}\u{fffd}\u{fffd}");
        check("\u{feff}\u{200b}\u{2028}\u{e0041}", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
    }

    #[test]
    fn json_is_unchanged_and_safe_for_a_terminal() {
        let text = "a\u{7f}\u{9b}31m\u{202e}\u{e0041}é";
        let json = serde_json::to_string(text).unwrap();
        let escaped = escape_json(&json);
        assert_eq!(escaped, r#""a\u007f\u009b31m\u202e\udb40\udc41é""#);
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
    }
}

//! Reads words and quoted texts from a query.
//!
//! A word ends at white space or a closing bracket. A backslash escapes the character after it.
//! Before a letter or a digit it is plain text, as in CEF. Syntax of Lucene that this language
//! lacks (regular expressions, boosts, fuzziness, wildcards other than at the end) is refused: as
//! plain text it would match nothing, and the user would not know why.

use super::{QueryError, quoted};

/// A word or a quoted text of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// The text, without quotes, escapes and the `*` of a prefix.
    pub(super) text: String,
    /// The position, in characters from the start of the query.
    pub(super) position: usize,
    /// Whether a `*` follows: the word is a prefix.
    pub(super) prefix: bool,
    /// Whether the word was in quotes.
    pub(super) quoted: bool,
}

impl Word {
    /// The error that something else was expected instead of this word.
    pub(super) fn error(&self, expected: impl Into<String>) -> QueryError {
        let star = if self.prefix { "*" } else { "" };
        let found = format!("{}{star}", self.text);
        let found = quoted(&found);
        QueryError { position: self.position, found, expected: expected.into() }
    }
}

/// A place in the text of a query.
pub(super) struct Cursor {
    chars: Vec<char>,
    at: usize,
}

impl Cursor {
    pub(super) fn new(query: &str) -> Cursor {
        Cursor { chars: query.chars().collect(), at: 0 }
    }

    /// The number of characters before the cursor.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The rest of the query.
    pub(super) fn rest(&self) -> &[char] {
        self.chars.get(self.at..).unwrap_or_default()
    }

    /// The next character.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().first().copied()
    }

    /// Takes the next character.
    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.skip(1);
        next
    }

    /// Whether the rest starts with `text`.
    pub(super) fn starts_with(&self, text: &str) -> bool {
        let mut rest = self.rest().iter();
        text.chars().all(|c| rest.next() == Some(&c))
    }

    /// Takes `count` characters.
    pub(super) fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.chars.len());
    }

    /// Takes `text` if it comes next.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.starts_with(text);
        if found {
            self.skip(text.chars().count());
        }
        found
    }

    /// Takes `keyword` if it comes next and is followed by white space, a bracket or the end.
    pub(super) fn eat_keyword(&mut self, keyword: &str) -> bool {
        let length = keyword.chars().count();
        let after = self.rest().get(length).copied();
        let found = self.starts_with(keyword) && ends(after, &['(', ')', '[', ']']);
        if found {
            self.skip(length);
        }
        found
    }

    pub(super) fn skip_space(&mut self) {
        let spaces = self.rest().iter().take_while(|c| c.is_whitespace()).count();
        self.skip(spaces);
    }

    /// The next characters, up to white space or a closing bracket.
    pub(super) fn next_word(&self) -> String {
        self.rest().iter().take_while(|c| !ends(Some(**c), &[')'])).collect()
    }

    /// The error that `expected` was expected at this position.
    pub(super) fn error(&self, expected: impl Into<String>) -> QueryError {
        let found: String = self.rest().iter().take_while(|c| !c.is_whitespace()).collect();
        QueryError::new(self.at, &found, expected)
    }

    /// Reads a word, or a text in double or single quotes, up to white space or one of `closing`.
    /// If there is none, the error says `expected`.
    pub(super) fn word(&mut self, closing: &[char], expected: &str) -> Result<Word, QueryError> {
        match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote, closing),
            next if ends(next, closing) => Err(self.error(expected)),
            _ => self.bare(closing),
        }
    }

    fn bare(&mut self, closing: &[char]) -> Result<Word, QueryError> {
        let position = self.at;
        let mut letters = Vec::new();
        while !ends(self.peek(), closing) {
            if matches!(self.peek(), Some('(' | '"')) {
                return Err(self.error("a space before it, or the whole text in quotes"));
            }
            letters.push(self.letter()?);
        }
        let refuse = |expected: &str| {
            let found: String =
                self.chars.get(position..self.at).unwrap_or_default().iter().collect();
            Err(QueryError::new(position, &found, expected))
        };
        if is_regex(&letters) {
            return refuse("text, as there are no regular expressions; put a path in quotes");
        }
        let prefix = letters.pop_if(|last| last.is('*')).is_some();
        if letters.iter().any(|letter| letter.is('*')) {
            return refuse(r"a * at the end of the word only; put a literal * in quotes");
        }
        if has_number_after('^', &letters, 1) {
            return refuse("a term without a boost; put a literal ^ in quotes");
        }
        if letters.len() > 1 && has_number_after('~', &letters, 0) {
            return refuse("a term without fuzziness; put a literal ~ in quotes");
        }
        let text = letters.iter().map(|letter| letter.c).collect();
        Ok(Word { text, position, prefix, quoted: false })
    }

    /// Takes a quoted field name and its colon, if they come next.
    pub(super) fn quoted_name(&mut self) -> Result<Option<Word>, QueryError> {
        let position = self.at;
        let Some(quote @ ('"' | '\'')) = self.peek() else { return Ok(None) };
        let text = self.text_to(quote)?;
        if !text.is_empty() && self.eat(":") {
            return Ok(Some(Word { text, position, prefix: false, quoted: true }));
        }
        self.at = position;
        Ok(None)
    }

    fn quoted(&mut self, quote: char, closing: &[char]) -> Result<Word, QueryError> {
        let position = self.at;
        let text = self.text_to(quote)?;
        let prefix = self.eat("*");
        if !ends(self.peek(), closing) {
            return Err(self.error(match self.peek() {
                Some('^') => "a term without a boost",
                Some('~') => "a term without a distance between its words",
                _ => "a space after the quoted text",
            }));
        }
        Ok(Word { text, position, prefix, quoted: true })
    }

    /// Takes a quoted text. The opening quote comes next.
    fn text_to(&mut self, quote: char) -> Result<String, QueryError> {
        let at = self.at.saturating_add(1);
        let mut text = String::new();
        self.skip(1);
        loop {
            if self.peek().is_none() {
                let expected = format!("{quote} to end the text that begins at character {at}");
                return Err(self.error(expected));
            }
            match self.letter()? {
                letter if letter.is(quote) => return Ok(text),
                letter => text.push(letter.c),
            }
        }
    }

    /// Takes the next character, and the backslash that escapes it.
    fn letter(&mut self) -> Result<WordChar, QueryError> {
        match (self.next(), self.peek()) {
            (Some('\\'), None) => Err(self.error(r"a character after the \")),
            (Some('\\'), Some(next)) if next.is_ascii_alphanumeric() => {
                Ok(WordChar { c: '\\', escaped: true })
            }
            (Some('\\'), Some(next)) => {
                self.skip(1);
                Ok(WordChar { c: next, escaped: true })
            }
            (Some(c), _) => Ok(WordChar { c, escaped: false }),
            (None, _) => Err(self.error("a character")),
        }
    }
}

/// A character of a word. An escaped character is always text.
struct WordChar {
    c: char,
    escaped: bool,
}

impl WordChar {
    fn is(&self, c: char) -> bool {
        self.c == c && !self.escaped
    }
}

/// Whether a word ends before `next`.
pub(super) fn ends(next: Option<char>, closing: &[char]) -> bool {
    next.is_none_or(|next| next.is_whitespace() || closing.contains(&next))
}

/// Whether a word is a regular expression of Lucene, and not a path that ends with a slash.
fn is_regex(letters: &[WordChar]) -> bool {
    match letters {
        [first, inner @ .., last] if first.is('/') && last.is('/') => {
            inner.iter().any(|letter| letter.escaped || r".*+?|[]{}^$".contains(letter.c))
        }
        _ => false,
    }
}

/// Whether the word ends with `sign` and a number of at least `digits` digits.
fn has_number_after(sign: char, letters: &[WordChar], digits: usize) -> bool {
    let number = letters.iter().rev().take_while(|l| l.c.is_ascii_digit() || l.c == '.').count();
    let before = letters.len().saturating_sub(number).checked_sub(1);
    number >= digits && before.and_then(|at| letters.get(at)).is_some_and(|l| l.is(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, text: &str, prefix: bool) {
        let word = Cursor::new(query).word(&[')'], "a word").unwrap();
        assert_eq!((word.text.as_str(), word.prefix), (text, prefix), "{query}");
    }

    fn refused(query: &str, position: usize, expected: &str) {
        let error = Cursor::new(query).word(&[')'], "a word").unwrap_err();
        assert_eq!(error.position, position, "{query}: {error}");
        assert!(error.expected.contains(expected), "{query}: {error}");
    }

    #[test]
    fn words_end_at_white_space_and_brackets() {
        check("ab cd", "ab", false);
        check("ab)", "ab", false);
        check("/api/v1/x?a=b&c=[d] ", "/api/v1/x?a=b&c=[d]", false);
        check("O'Brien", "O'Brien", false);
        check("/api/v1/", "/api/v1/", false);
        refused(" x", 0, "a word");
        refused("f(x)", 1, "a space before it");
        refused("a\"b\"", 1, "a space before it");
    }

    #[test]
    fn escapes_are_undone() {
        check(r"a\ b\)\*", "a b)*", false);
        check(r"a\\*", r"a\", true);
        check(r"C:\new\\x", r"C:\new\x", false);
        check(r#""say \"hi\" \n""#, r#"say "hi" \n"#, false);
        check(r"'it\'s'", "it's", false);
        refused("a\\", 2, "a character after");
        refused("\"a\\\"", 4, "to end the text");
    }

    #[test]
    fn a_star_is_a_prefix_at_the_end_only() {
        check("Authz.*", "Authz.", true);
        check(r"Authz.\*", "Authz.*", false);
        check("\"Authz.*\"", "Authz.*", false);
        check("\"two words\"*", "two words", true);
        refused("a*b", 0, "at the end");
        refused("*a", 0, "at the end");
        refused("a**", 0, "at the end");
    }

    #[test]
    fn unsupported_syntax_is_refused() {
        for (query, expected) in [
            ("/a.*/", "regular expressions"),
            ("a^2", "boost"),
            ("a^2.5", "boost"),
            ("\"a\"^2", "boost"),
            ("a~", "fuzziness"),
            ("a~1", "fuzziness"),
            ("\"a b\"~2", "distance"),
            ("\"a\"b", "a space"),
            ("\"a", "to end the text"),
        ] {
            let error = Cursor::new(query).word(&[')'], "a word").unwrap_err();
            assert!(error.expected.contains(expected), "{query}: {error}");
        }
        for text in ["a^b", "^", "~", "/~user/", "/", "//", "x~y"] {
            check(text, text, false);
        }
        check(r"a\^2", "a^2", false);
    }
}

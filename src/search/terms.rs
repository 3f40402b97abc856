//! The terms of a query, as the scanner takes them: the name of a field, and its values.

use std::net::Ipv6Addr;

use super::cursor::{Word, ends};
use super::error::QueryError;
use super::filter::Field;
use super::parse::MAX_TERMS;
use super::scan::Scanner;

/// What the grammar takes for more than text, and so what no value is without quotes.
const KEYWORDS: [&str; 5] = ["AND", "OR", "NOT", "&&", "||"];

impl Scanner {
    /// Takes a term: a value, of a field or not.
    pub(super) fn term(&mut self) -> Result<(), QueryError> {
        if let Some(name) = self.name()? {
            let expected = format!("a value after \"{}:\"", name.text);
            self.push(name);
            self.scanned.numbered.push(':');
            self.cursor.skip_space();
            return self.value(&expected);
        }
        let needs_field = match self.cursor.peek() {
            Some('[' | '{' | '<' | '>') => !self.in_field(),
            Some(':') => self.cursor.next_word().parse::<Ipv6Addr>().is_err(),
            _ => self.starts_set() && !self.in_field(),
        };
        if needs_field {
            return Err(self.cursor.error(
                "a field right before it, as in severity:>=6; text that begins so goes in quotes",
            ));
        }
        self.value("a term")
    }

    /// Takes the name of a field and its colon, if they come next.
    ///
    /// Without quotes a name is made of what a key of CEF is made of, and of letters of any
    /// language.
    fn name(&mut self) -> Result<Option<Word>, QueryError> {
        if let Some('"' | '\'') = self.cursor.peek() {
            return self.cursor.quoted_name();
        }
        let position = self.cursor.position();
        let rest = self.cursor.rest();
        let is_part = |c: &&char| c.is_alphanumeric() || "_.-[]".contains(**c);
        let length = rest.iter().take_while(is_part).count();
        let text: String = rest.iter().take(length).collect();
        let after = rest.get(length..).unwrap_or_default();
        let is_compared = matches!(after, ['<' | '>', ..] | ['!', '=', ..]);
        match after.first() {
            Some(':') if !text.is_empty() && !text.starts_with('[') && !self.is_text(&text) => {
                self.cursor.skip(length.saturating_add(1));
                Ok(Some(Word { text, position, prefix: false, quoted: false }))
            }
            _ if is_compared && Field::names().any(|known| known == text) => {
                self.cursor.skip(length);
                let example = "as in severity:>=6 or NOT severity:6";
                Err(self.cursor.error(format!("\":\" after {text}, {example}")))
            }
            _ => Ok(None),
        }
    }

    /// Whether the colon after `name`, which comes next, does not make it a field's name: URLs,
    /// times and IPv6 addresses are text.
    fn is_text(&self, name: &str) -> bool {
        let word = self.cursor.next_word();
        let of_clock = |c: char| c.is_ascii_digit() || c == '-' || c == 'T';
        word.strip_prefix(name).is_some_and(|after| after.starts_with("://"))
            || name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(of_clock)
            || word.parse::<Ipv6Addr>().is_ok()
    }

    /// Takes what stands after the colon, or alone.
    fn value(&mut self, expected: &str) -> Result<(), QueryError> {
        match self.cursor.peek() {
            Some('(') => return self.open_group(true),
            Some('[' | '{') => self.range()?,
            Some('<' | '>') => self.comparison()?,
            Some('!') if self.cursor.starts_with("!=") => {
                return Err(self.cursor.error(format!("{expected}; NOT stands before the field")));
            }
            _ if self.starts_set() => self.set()?,
            _ => {
                let word = self.word(&[')'], expected)?;
                self.push_value_or_star(word)?;
            }
        }
        self.scanned.numbered.push(' ');
        Ok(())
    }

    /// Takes `[a TO b]`, in which `{` and `}` exclude the bound and `*` is none.
    fn range(&mut self) -> Result<(), QueryError> {
        self.push_next();
        self.bound()?;
        self.cursor.skip_space();
        if !self.cursor.eat_keyword("TO") {
            return Err(self.cursor.error("TO and the upper bound, as in [6 TO 10]"));
        }
        self.scanned.numbered.push_str(" TO ");
        self.bound()?;
        self.cursor.skip_space();
        if !matches!(self.cursor.peek(), Some(']' | '}')) {
            return Err(self.cursor.error("] or } at the end of the range, as in [6 TO 10]"));
        }
        self.push_next();
        self.expect_end()
    }

    fn bound(&mut self) -> Result<(), QueryError> {
        self.cursor.skip_space();
        let word = self.word(&[']', '}'], "a bound of the range, or * for none")?;
        if word.is_star() {
            return self.push_value_or_star(word);
        }
        if !word.quoted && word.text == "TO" {
            return Err(word.error("a bound of the range before it, or * for none"));
        }
        self.push_limit(word)
    }

    /// Takes `>=a` and the like.
    fn comparison(&mut self) -> Result<(), QueryError> {
        self.push_next();
        if self.cursor.peek() == Some('=') {
            self.push_next();
        }
        self.cursor.skip_space();
        let word = self.word(&[')'], "a value to compare with")?;
        self.push_limit(word)
    }

    /// Whether `IN [` comes next.
    fn starts_set(&self) -> bool {
        match self.cursor.rest() {
            ['I', 'N', rest @ ..] => rest.iter().find(|c| !c.is_whitespace()) == Some(&'['),
            _ => false,
        }
    }

    /// Takes `IN [a b]`. Commas may stand between the values.
    fn set(&mut self) -> Result<(), QueryError> {
        self.cursor.skip(2);
        self.cursor.skip_space();
        self.scanned.numbered.push_str("IN ");
        self.push_next();
        loop {
            self.cursor.skip_space();
            let word = self.word(&[']', ','], "a value, and ] at the end of the set")?;
            self.push_value(word)?;
            self.scanned.numbered.push(' ');
            self.cursor.skip_space();
            self.cursor.eat(",");
            self.cursor.skip_space();
            if self.cursor.peek() == Some(']') {
                self.push_next();
                return self.expect_end();
            }
        }
    }

    /// Takes a word that is no keyword, or a quoted text.
    fn word(&mut self, closing: &[char], expected: &str) -> Result<Word, QueryError> {
        let word = self.cursor.word(closing, expected)?;
        if !word.quoted && !word.prefix && KEYWORDS.contains(&word.text.as_str()) {
            let keyword = &word.text;
            return Err(word.error(format!("{expected}; {keyword} as text goes in quotes")));
        }
        Ok(word)
    }

    /// That a bracket was the end of the term.
    fn expect_end(&self) -> Result<(), QueryError> {
        if !ends(self.cursor.peek(), &[')']) {
            return Err(self.cursor.error("a space before it"));
        }
        Ok(())
    }

    /// Hands the next character on to the grammar.
    fn push_next(&mut self) {
        self.scanned.numbered.extend(self.cursor.peek());
        self.cursor.skip(1);
    }

    /// Adds a value that is compared by order.
    fn push_limit(&mut self, word: Word) -> Result<(), QueryError> {
        if word.prefix {
            return Err(word.error("a value without a *"));
        }
        self.push_value(word)
    }

    /// Adds a value, or the `*` that the grammar knows.
    fn push_value_or_star(&mut self, word: Word) -> Result<(), QueryError> {
        if !word.is_star() {
            return self.push_value(word);
        }
        self.count(&word)?;
        self.scanned.numbered.push('*');
        Ok(())
    }

    fn push_value(&mut self, word: Word) -> Result<(), QueryError> {
        self.count(&word)?;
        self.push(word);
        Ok(())
    }

    fn count(&mut self, word: &Word) -> Result<(), QueryError> {
        self.values = self.values.saturating_add(1);
        if self.values > MAX_TERMS {
            return Err(word.error(format!("at most {MAX_TERMS} values in a query")));
        }
        Ok(())
    }

    /// Puts the word away, and its number in its place.
    fn push(&mut self, word: Word) {
        let number = self.scanned.words.len();
        self.scanned.words.push(word);
        self.scanned.numbered.push_str(&number.to_string());
    }
}

impl Word {
    /// Whether it is a `*` and nothing more.
    fn is_star(&self) -> bool {
        self.prefix && self.text.is_empty() && !self.quoted
    }
}

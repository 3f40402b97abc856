//! The terms of a query: the name of a field, and its values.

use std::net::Ipv6Addr;
use std::ops::Bound;

use super::cursor::{Word, ends};
use super::error::QueryError;
use super::filter::{Field, Filter};
use super::parse::{MAX_TERMS, Parser};
use super::values;

/// What means more than text, and so what no value is without quotes.
const KEYWORDS: [&str; 5] = ["AND", "OR", "NOT", "&&", "||"];

impl Parser {
    /// Takes a term: a value, of a field or not.
    pub(super) fn term(&mut self) -> Result<(), QueryError> {
        if let Some(name) = self.name()? {
            let expected = format!("a value after \"{}:\"", name.text);
            self.cursor.skip_space();
            return self.value(Some(Field::named(&name.text)), &expected);
        }
        let field = self.field().cloned();
        let needs_field = match self.cursor.peek() {
            Some('[' | '{' | '<' | '>') => field.is_none(),
            Some(':') => self.cursor.next_word().parse::<Ipv6Addr>().is_err(),
            _ => self.starts_set() && field.is_none(),
        };
        if needs_field {
            return Err(self.cursor.error(
                "a field right before it, as in severity:>=6; text that begins so goes in quotes",
            ));
        }
        self.value(field, "a term")
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
    fn value(&mut self, field: Option<Field>, expected: &str) -> Result<(), QueryError> {
        let filter = match (self.cursor.peek(), field) {
            (Some('('), field) => return self.open_group(field),
            (Some('[' | '{'), Some(field)) => self.range(field)?,
            (Some('<' | '>'), Some(field)) => self.comparison(field)?,
            (Some('!'), _) if self.cursor.starts_with("!=") => {
                return Err(self.cursor.error(format!("{expected}; NOT stands before the field")));
            }
            (_, Some(field)) if self.starts_set() => self.set(&field)?,
            (_, field) => {
                let word = self.word(&[')'], expected)?;
                self.count(&word)?;
                match field {
                    Some(field) => values::equal(field, &word)?,
                    None if word.is_star() => Filter::All,
                    None if word.text.is_empty() => {
                        return Err(word.error("a text that is not empty"));
                    }
                    None => Filter::Text(word.text),
                }
            }
        };
        self.add(filter);
        Ok(())
    }

    /// Takes `[a TO b]`, in which `{` and `}` exclude the bound and `*` is none.
    fn range(&mut self, field: Field) -> Result<Filter, QueryError> {
        let opened = self.cursor.next();
        let lower = self.bound()?;
        self.cursor.skip_space();
        if !self.cursor.eat_keyword("TO") {
            return Err(self.cursor.error("TO and the upper bound, as in [6 TO 10]"));
        }
        let upper = self.bound()?;
        self.cursor.skip_space();
        if !matches!(self.cursor.peek(), Some(']' | '}')) {
            return Err(self.cursor.error("] or } at the end of the range, as in [6 TO 10]"));
        }
        let closed = self.cursor.next();
        self.expect_end()?;
        let bound = |word: &'_ Option<Word>, bracket, excludes| match word {
            None => Bound::Unbounded,
            Some(word) if bracket == Some(excludes) => Bound::Excluded(word.clone()),
            Some(word) => Bound::Included(word.clone()),
        };
        let (lower, upper) = (bound(&lower, opened, '{'), bound(&upper, closed, '}'));
        values::between(field, lower.as_ref(), upper.as_ref(), self.now)
    }

    /// Takes a bound of a range; `None` if it is a `*`.
    fn bound(&mut self) -> Result<Option<Word>, QueryError> {
        self.cursor.skip_space();
        let word = self.word(&[']', '}'], "a bound of the range, or * for none")?;
        if word.is_star() {
            self.count(&word)?;
            return Ok(None);
        }
        if !word.quoted && word.text == "TO" {
            return Err(word.error("a bound of the range before it, or * for none"));
        }
        self.bound_value(&word)?;
        Ok(Some(word))
    }

    /// Takes `>=a` and the like.
    fn comparison(&mut self, field: Field) -> Result<Filter, QueryError> {
        let is_greater = self.cursor.next() == Some('>');
        let is_included = self.cursor.eat("=");
        self.cursor.skip_space();
        let word = self.word(&[')'], "a value to compare with")?;
        self.bound_value(&word)?;
        let bound = if is_included { Bound::Included(&word) } else { Bound::Excluded(&word) };
        match is_greater {
            true => values::between(field, bound, Bound::Unbounded, self.now),
            false => values::between(field, Bound::Unbounded, bound, self.now),
        }
    }

    /// Whether `IN [` comes next.
    fn starts_set(&self) -> bool {
        match self.cursor.rest() {
            ['I', 'N', rest @ ..] => rest.iter().find(|c| !c.is_whitespace()) == Some(&'['),
            _ => false,
        }
    }

    /// Takes `IN [a b]`. Commas may stand between the values.
    fn set(&mut self, field: &Field) -> Result<Filter, QueryError> {
        self.cursor.skip(2);
        self.cursor.skip_space();
        self.cursor.skip(1);
        let mut values = Vec::new();
        loop {
            self.cursor.skip_space();
            let word = self.word(&[']', ','], "a value, and ] at the end of the set")?;
            self.count(&word)?;
            values.push(values::equal(field.clone(), &word)?);
            self.cursor.skip_space();
            self.cursor.eat(",");
            self.cursor.skip_space();
            if self.cursor.eat("]") {
                self.expect_end()?;
                return Ok(Filter::any(values));
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

    /// Counts a value that is compared by order.
    fn bound_value(&mut self, word: &Word) -> Result<(), QueryError> {
        if word.prefix {
            return Err(word.error("a value without a *"));
        }
        self.count(word)
    }

    fn count(&mut self, word: &Word) -> Result<(), QueryError> {
        self.values = self.values.saturating_add(1);
        if self.values > MAX_TERMS {
            return Err(word.error(format!("at most {MAX_TERMS} values in a query")));
        }
        Ok(())
    }
}

impl Word {
    /// Whether it is a `*` and nothing more.
    fn is_star(&self) -> bool {
        self.prefix && self.text.is_empty() && !self.quoted
    }
}

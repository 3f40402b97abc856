//! The pass before the grammar: a query to its words, and the query with numbers in their place.
//!
//! What the grammar is handed has one spelling for each thing: an operator between any two terms
//! (`AND` where the query has none), `NOT` for each way to negate, a number for each field's name
//! and each value. `kind:access -"a b"` becomes `0:1 AND NOT 2`. So the grammar has nothing to
//! misread, its numbers lead back to the words and their places, and how deep it recurses is known
//! beforehand.
//!
//! Here is what joins terms and groups them; `terms` has the terms themselves.

use super::cursor::{Cursor, Word, ends};
use super::error::QueryError;
use super::parse::MAX_DEPTH;

/// What is left of a query for the grammar, and what was taken out.
#[derive(Debug)]
pub(super) struct Scanned {
    /// The query with a number for each word: its place in `words`. Empty if there is no term.
    pub(super) numbered: String,
    /// The words: names of fields, and values.
    pub(super) words: Vec<Word>,
}

/// Scans a query, which is not longer than it may be.
pub(super) fn scan(query: &str) -> Result<Scanned, QueryError> {
    let mut scanner = Scanner {
        cursor: Cursor::new(query),
        scanned: Scanned { numbered: String::new(), words: Vec::new() },
        values: 0,
        groups: Vec::new(),
        after: After::Nothing,
        negated: false,
    };
    scanner.query()?;
    Ok(scanner.scanned)
}

pub(super) struct Scanner {
    pub(super) cursor: Cursor,
    pub(super) scanned: Scanned,
    /// How many of the words are values.
    pub(super) values: usize,
    groups: Vec<Group>,
    after: After,
    /// Whether the next term is negated. Kept, so that a `NOT NOT …` nests nothing.
    negated: bool,
}

/// An open group.
struct Group {
    position: usize,
    /// Whether it is the value of a field, or within one that is.
    of_field: bool,
}

/// What stands before the place that is scanned.
#[derive(Clone, Copy)]
enum After {
    /// The beginning of the query.
    Nothing,
    /// A term or a group.
    Term,
    /// This: a term has to follow.
    Sign(&'static str),
}

/// The words that join terms, and what each is to the grammar.
const JOINING: [(&str, &str); 4] = [("AND", "AND "), ("OR", "OR "), ("&&", "AND "), ("||", "OR ")];

impl Scanner {
    fn query(&mut self) -> Result<(), QueryError> {
        loop {
            self.cursor.skip_space();
            match self.cursor.peek() {
                None => break,
                Some('(') => {
                    self.begin_term();
                    self.open_group(self.in_field())?;
                }
                Some(')') => self.close_group()?,
                Some(_) => {
                    if !self.joining_word()? && !self.negation()? {
                        self.begin_term();
                        self.term()?;
                    }
                }
            }
        }
        self.expect_no_term()?;
        match self.groups.last() {
            None => Ok(()),
            Some(group) => {
                let at = group.position.saturating_add(1);
                Err(self.cursor.error(format!("a \")\" for the \"(\" at character {at}")))
            }
        }
    }

    /// Takes an `AND` or `OR` if it comes next.
    fn joining_word(&mut self) -> Result<bool, QueryError> {
        let position = self.cursor.position();
        for (word, operator) in JOINING {
            if self.cursor.eat_keyword(word) {
                let expected = match self.after {
                    After::Term => {
                        self.scanned.numbered.push_str(operator);
                        self.after = After::Sign(word);
                        return Ok(true);
                    }
                    After::Nothing => "a term before it".to_owned(),
                    After::Sign(sign) => format!("a term after {sign}"),
                };
                return Err(QueryError::new(position, word, expected));
            }
        }
        Ok(false)
    }

    /// Takes a `NOT`, `-` or `!` if it comes next.
    fn negation(&mut self) -> Result<bool, QueryError> {
        let sign = match self.cursor.peek() {
            Some('N') if self.cursor.eat_keyword("NOT") => "NOT",
            Some('-') => "-",
            Some('!') => "!",
            Some('+') => {
                return Err(QueryError::new(
                    self.cursor.position(),
                    "+",
                    "a term without it, as every term must match; a + that is text goes in quotes",
                ));
            }
            _ => return Ok(false),
        };
        if sign != "NOT" {
            self.cursor.skip(1);
            if ends(self.cursor.peek(), &[')', '-', '!']) {
                let expected = format!("a term after {sign}; a {sign} that is text goes in quotes");
                return Err(self.cursor.error(expected));
            }
        }
        if let After::Term = self.after {
            self.scanned.numbered.push_str("AND ");
        }
        self.negated = !self.negated;
        self.after = After::Sign(sign);
        Ok(true)
    }

    /// Writes what the grammar needs before a term or a group.
    fn begin_term(&mut self) {
        if let After::Term = self.after {
            self.scanned.numbered.push_str("AND ");
        }
        if std::mem::take(&mut self.negated) {
            self.scanned.numbered.push_str("NOT ");
        }
        self.after = After::Term;
    }

    fn expect_no_term(&self) -> Result<(), QueryError> {
        match self.after {
            After::Sign(sign) => Err(self.cursor.error(format!("a term after {sign}"))),
            After::Nothing | After::Term => Ok(()),
        }
    }

    /// Takes the `(` that comes next. The group is the value of a field or not.
    pub(super) fn open_group(&mut self, of_field: bool) -> Result<(), QueryError> {
        let position = self.cursor.position();
        if self.groups.len() >= MAX_DEPTH {
            let expected = format!("at most {MAX_DEPTH} groups, one within the other");
            return Err(QueryError::new(position, "(", expected));
        }
        self.groups.push(Group { position, of_field });
        self.cursor.skip(1);
        self.scanned.numbered.push_str("( ");
        self.after = After::Sign("\"(\"");
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), QueryError> {
        self.expect_no_term()?;
        if self.groups.pop().is_none() {
            return Err(QueryError::new(self.cursor.position(), ")", "a \"(\" before it"));
        }
        self.cursor.skip(1);
        self.scanned.numbered.push_str(") ");
        self.after = After::Term;
        Ok(())
    }

    /// Whether a value here is one of a field that was named before the group.
    pub(super) fn in_field(&self) -> bool {
        self.groups.last().is_some_and(|group| group.of_field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, numbered: &str, words: &[&str]) {
        let scanned = scan(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(scanned.numbered.trim_end(), numbered, "{query}");
        let found: Vec<_> = scanned.words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(found, words, "{query}");
    }

    fn refused(query: &str, position: usize, expected: &str) {
        let error = scan(query).unwrap_err();
        assert_eq!(error.position, position, "{query}: {error}");
        assert!(error.expected.contains(expected), "{query}: {error}");
    }

    #[test]
    fn terms_are_joined_and_numbered() {
        check("", "", &[]);
        check("  ", "", &[]);
        check("a", "0", &["a"]);
        check("a b", "0 AND 1", &["a", "b"]);
        check("a AND b OR c", "0 AND 1 OR 2", &["a", "b", "c"]);
        check("a && b || c", "0 AND 1 OR 2", &["a", "b", "c"]);
        check("a\tOR\nb", "0 OR 1", &["a", "b"]);
        check("a and b", "0 AND 1 AND 2", &["a", "and", "b"]);
        check("(a)(b)c", "( 0 ) AND ( 1 ) AND 2", &["a", "b", "c"]);
        check("a OR(b)", "0 OR ( 1 )", &["a", "b"]);
    }

    #[test]
    fn negations_are_one_not() {
        check("-a", "NOT 0", &["a"]);
        check("!a", "NOT 0", &["a"]);
        check("NOT(a)", "NOT ( 0 )", &["a"]);
        check("a -b", "0 AND NOT 1", &["a", "b"]);
        check("a AND NOT b", "0 AND NOT 1", &["a", "b"]);
        check("a OR -b", "0 OR NOT 1", &["a", "b"]);
        check("NOT NOT a", "0", &["a"]);
        check("NOT -(a b)", "( 0 AND 1 )", &["a", "b"]);
        check("NOTa a-b", "0 AND 1", &["NOTa", "a-b"]);
    }

    #[test]
    fn what_joins_nothing_is_refused() {
        refused("AND a", 0, "a term before it");
        refused("a AND", 5, "a term after AND");
        refused("a AND OR b", 6, "a term after AND");
        refused("a OR )", 5, "a term after OR");
        refused("NOT", 3, "a term after NOT");
        refused("NOT AND a", 4, "a term after NOT");
        refused("a - b", 3, "a term after -");
        refused("--a", 1, "a term after -");
        refused("+a", 0, "without it");
        refused("()", 1, "a term after \"(\"");
        refused("(a", 2, "for the \"(\" at character 1");
        refused("a)", 1, "a \"(\" before it");
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        scan(&nested(MAX_DEPTH)).unwrap();
        refused(&nested(MAX_DEPTH + 1), MAX_DEPTH, "at most");
        check(&format!("{}a", "NOT ".repeat(1001)), "NOT 0", &["a"]);
    }
}

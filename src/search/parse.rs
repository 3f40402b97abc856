//! A query to its filter, in one pass.
//!
//! Here is what joins terms and groups them; `terms` has the terms themselves. Open groups stand on a
//! stack of their own, so a query that nests deeply does no harm.

use super::cursor::{Cursor, ends};
use super::error::QueryError;
use super::filter::{Field, Filter};

/// The longest query, in bytes.
pub const MAX_BYTES: usize = 8 * 1024;

/// How many groups may stand one within the other.
pub const MAX_DEPTH: usize = 64;

/// The most values in one query; a bound of a range and an element of a set count as one each.
pub const MAX_TERMS: usize = 256;

/// The filter that `query` asks for. Relative times count from `now`, in milliseconds since the
/// Unix epoch.
pub fn parse(query: &str, now: i64) -> Result<Filter, QueryError> {
    if query.len() > MAX_BYTES {
        return Err(QueryError {
            position: query.char_indices().take_while(|(at, _)| *at < MAX_BYTES).count(),
            found: format!("a query of {} bytes", query.len()),
            expected: format!("at most {MAX_BYTES}"),
        });
    }
    let parser = Parser {
        cursor: Cursor::new(query),
        now,
        values: 0,
        operands: Operands::default(),
        groups: Vec::new(),
        preceding: Preceding::Nothing,
        negated: false,
    };
    parser.query()
}

pub(super) struct Parser {
    pub(super) cursor: Cursor,
    /// Where relative times count from.
    pub(super) now: i64,
    /// How many values there were.
    pub(super) values: usize,
    /// The terms of the innermost group that is open, or of the query.
    operands: Operands,
    groups: Vec<Group>,
    preceding: Preceding,
    /// Whether the next term is negated. Kept, so that a `NOT NOT …` nests nothing.
    negated: bool,
}

/// Terms that are joined by `AND` and `OR`, of which `AND` binds closer.
#[derive(Default)]
struct Operands {
    /// What stands before the last `OR`, one for each.
    alternatives: Vec<Filter>,
    /// What stands after it.
    terms: Vec<Filter>,
}

/// A group that is open.
struct Group {
    position: usize,
    /// The field whose value it is, or is within.
    field: Option<Field>,
    negated: bool,
    /// The terms around it.
    outer: Operands,
}

/// What stands before the place that is read.
#[derive(Clone, Copy)]
enum Preceding {
    /// The beginning of the query.
    Nothing,
    /// A term or a group.
    Term,
    /// This: a term has to follow.
    Sign(&'static str),
}

/// The words that join terms, and whether each is an `OR`.
const JOINING: [(&str, bool); 4] = [("AND", false), ("OR", true), ("&&", false), ("||", true)];

impl Operands {
    fn or(&mut self) {
        let terms = std::mem::take(&mut self.terms);
        self.alternatives.push(Filter::all(terms));
    }

    fn filter(mut self) -> Filter {
        self.or();
        Filter::any(self.alternatives)
    }
}

impl Parser {
    fn query(mut self) -> Result<Filter, QueryError> {
        loop {
            self.cursor.skip_space();
            match self.cursor.peek() {
                None => break,
                Some('(') => self.open_group(self.field().cloned())?,
                Some(')') => self.close_group()?,
                Some(_) => {
                    if !self.joining_word()? && !self.negation()? {
                        self.term()?;
                    }
                }
            }
        }
        self.expect_no_term()?;
        match self.groups.last() {
            None => Ok(self.operands.filter()),
            Some(group) => {
                let at = group.position.saturating_add(1);
                Err(self.cursor.error(format!("a \")\" for the \"(\" at character {at}")))
            }
        }
    }

    /// Takes an `AND` or `OR` if it comes next.
    fn joining_word(&mut self) -> Result<bool, QueryError> {
        let position = self.cursor.position();
        for (word, is_or) in JOINING {
            if self.cursor.eat_keyword(word) {
                let expected = match self.preceding {
                    Preceding::Term => {
                        if is_or {
                            self.operands.or();
                        }
                        self.preceding = Preceding::Sign(word);
                        return Ok(true);
                    }
                    Preceding::Nothing => "a term before it".to_owned(),
                    Preceding::Sign(sign) => format!("a term after {sign}"),
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
        self.negated = !self.negated;
        self.preceding = Preceding::Sign(sign);
        Ok(true)
    }

    /// Adds a term, or a group that was closed.
    pub(super) fn add(&mut self, filter: Filter) {
        let negated = std::mem::take(&mut self.negated);
        self.operands.terms.push(if negated { Filter::Not(Box::new(filter)) } else { filter });
        self.preceding = Preceding::Term;
    }

    fn expect_no_term(&self) -> Result<(), QueryError> {
        match self.preceding {
            Preceding::Sign(sign) => Err(self.cursor.error(format!("a term after {sign}"))),
            Preceding::Nothing | Preceding::Term => Ok(()),
        }
    }

    /// Takes the `(` that comes next. The group is the value of `field`, if there is one.
    pub(super) fn open_group(&mut self, field: Option<Field>) -> Result<(), QueryError> {
        let position = self.cursor.position();
        if self.groups.len() >= MAX_DEPTH {
            let expected = format!("at most {MAX_DEPTH} groups, one within the other");
            return Err(QueryError::new(position, "(", expected));
        }
        self.cursor.skip(1);
        let negated = std::mem::take(&mut self.negated);
        let outer = std::mem::take(&mut self.operands);
        self.groups.push(Group { position, field, negated, outer });
        self.preceding = Preceding::Sign("\"(\"");
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), QueryError> {
        self.expect_no_term()?;
        let Some(group) = self.groups.pop() else {
            return Err(QueryError::new(self.cursor.position(), ")", "a \"(\" before it"));
        };
        self.cursor.skip(1);
        let inner = std::mem::replace(&mut self.operands, group.outer);
        self.negated = group.negated;
        self.add(inner.filter());
        Ok(())
    }

    /// The field that a value here is of, if one was named before the group.
    pub(super) fn field(&self) -> Option<&Field> {
        self.groups.last()?.field.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: &str, position: usize, expected: &str) {
        let error = parse(query, 0).unwrap_err();
        assert_eq!(error.position, position, "{query}: {error}");
        assert!(error.expected.contains(expected), "{query}: {error}");
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
        assert_eq!(parse(&nested(MAX_DEPTH), 0), Ok(Filter::Text("a".into())));
        refused(&nested(MAX_DEPTH + 1), MAX_DEPTH, "at most");
        let not = Filter::Not(Box::new(Filter::Text("a".into())));
        assert_eq!(parse(&format!("{}a", "NOT ".repeat(1001)), 0), Ok(not));
    }
}

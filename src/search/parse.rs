//! Parses a query into a filter, in one pass.
//!
//! Open groups are on a stack of their own, so a deeply nested query cannot overflow the stack of
//! the thread.

use std::net::Ipv6Addr;
use std::ops::{Bound, Range};

use super::QueryError;
use super::cursor::{Cursor, Word, ends};
use super::filter::{Field, Filter};
use super::values;

/// The longest query, in bytes.
pub const MAX_BYTES: usize = 8 * 1024;

/// The maximum nesting depth of groups.
pub const MAX_DEPTH: usize = 64;

/// The maximum number of values in a query. Each bound of a range and each element of a set counts
/// as one.
pub const MAX_TERMS: usize = 256;

/// The words that are values only in quotes.
const KEYWORDS: [&str; 5] = ["AND", "OR", "NOT", "&&", "||"];

/// Parses `query`. Relative times count back from `now`, in milliseconds since the Unix epoch.
pub fn parse(query: &str, now: i64) -> Result<Filter, QueryError> {
    parsed(query, now).map(|(filter, _)| filter)
}

/// The name of a field in a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamePlace {
    /// The name, without quotes.
    pub(super) name: String,
    /// Where it stands, with its quotes and without the colon, in characters.
    pub(super) place: Range<usize>,
}

/// The names of fields in `query`, in their order.
pub(super) fn names(query: &str, now: i64) -> Result<Vec<NamePlace>, QueryError> {
    parsed(query, now).map(|(_, names)| names)
}

fn parsed(query: &str, now: i64) -> Result<(Filter, Vec<NamePlace>), QueryError> {
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
        names: Vec::new(),
        preceding: Preceding::Nothing,
        negated: false,
    };
    parser.query()
}

struct Parser {
    cursor: Cursor,
    /// The time that relative times count back from.
    now: i64,
    /// The number of values so far.
    values: usize,
    /// The terms of the innermost open group, or of the query.
    operands: Operands,
    groups: Vec<Group>,
    names: Vec<NamePlace>,
    preceding: Preceding,
    /// Whether the next term is negated. A flag, so that `NOT NOT …` does not nest.
    negated: bool,
}

/// Terms that are joined by `AND` and `OR`. `AND` binds closer.
#[derive(Default)]
struct Operands {
    /// The operands of `OR` that are complete.
    alternatives: Vec<Filter>,
    /// The terms after the last `OR`.
    terms: Vec<Filter>,
}

/// An open group.
struct Group {
    position: usize,
    /// The field that the group is a value of, if any.
    field: Option<Field>,
    negated: bool,
    /// The terms outside the group.
    outer: Operands,
}

/// The element before the cursor.
#[derive(Clone, Copy)]
enum Preceding {
    /// The start of the query.
    Nothing,
    /// A term or a group.
    Term,
    /// An operator or an opening bracket. A term must follow.
    Sign(&'static str),
}

/// The operators that join terms, and whether each is an `OR`.
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
    fn query(mut self) -> Result<(Filter, Vec<NamePlace>), QueryError> {
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
            None => Ok((self.operands.filter(), self.names)),
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
                    "a term without it, as every term must match; put a literal + in quotes",
                ));
            }
            _ => return Ok(false),
        };
        if sign != "NOT" {
            self.cursor.skip(1);
            if ends(self.cursor.peek(), &[')', '-', '!']) {
                let expected = format!("a term after {sign}; put a literal {sign} in quotes");
                return Err(self.cursor.error(expected));
            }
        }
        self.negated = !self.negated;
        self.preceding = Preceding::Sign(sign);
        Ok(true)
    }

    /// Adds a term or a closed group.
    fn add(&mut self, filter: Filter) {
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
    fn open_group(&mut self, field: Option<Field>) -> Result<(), QueryError> {
        let position = self.cursor.position();
        if self.groups.len() >= MAX_DEPTH {
            let expected = format!("at most {MAX_DEPTH} nested groups");
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

    /// The field before the current group, if any.
    fn field(&self) -> Option<&Field> {
        self.groups.last()?.field.as_ref()
    }

    /// Takes a term: a value, with or without a field.
    fn term(&mut self) -> Result<(), QueryError> {
        let start = self.cursor.position();
        if let Some(name) = self.name()? {
            let place = start..self.cursor.position().saturating_sub(1);
            self.names.push(NamePlace { name: name.text.clone(), place });
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
            return Err(self
                .cursor
                .error("a field right before it, as in severity:>=6; put literal text in quotes"));
        }
        self.value(field, "a term")
    }

    /// Takes the name of a field and its colon, if they come next.
    ///
    /// Without quotes, a name has the characters of a CEF key and letters of any language.
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

    /// Whether `name`, which comes next, is text despite the colon after it: URLs, times and IPv6
    /// addresses are.
    fn is_text(&self, name: &str) -> bool {
        let word = self.cursor.next_word();
        let of_clock = |c: char| c.is_ascii_digit() || c == '-' || c == 'T';
        word.strip_prefix(name).is_some_and(|after| after.starts_with("://"))
            || name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(of_clock)
            || word.parse::<Ipv6Addr>().is_ok()
    }

    /// Takes the value of a field, or a value without a field.
    fn value(&mut self, field: Option<Field>, expected: &str) -> Result<(), QueryError> {
        let filter = match (self.cursor.peek(), field) {
            (Some('('), field) => return self.open_group(field),
            (Some('[' | '{'), Some(field)) => self.range(field)?,
            (Some('<' | '>'), Some(field)) => self.comparison(field)?,
            (Some('!'), _) if self.cursor.starts_with("!=") => {
                return Err(self.cursor.error(format!("{expected}; put NOT before the field")));
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

    /// Takes `[a TO b]`. `{` and `}` exclude the bound, and `*` is no bound.
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

    /// Takes a bound of a range. `None` for `*`.
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

    /// Takes a comparison such as `>=a`.
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

    /// Takes `IN [a b]`. Commas between the values are allowed.
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

    /// Takes a word that is not a keyword, or a quoted text.
    fn word(&mut self, closing: &[char], expected: &str) -> Result<Word, QueryError> {
        let word = self.cursor.word(closing, expected)?;
        if !word.quoted && !word.prefix && KEYWORDS.contains(&word.text.as_str()) {
            let keyword = &word.text;
            return Err(word.error(format!("{expected}; put a literal {keyword} in quotes")));
        }
        Ok(word)
    }

    /// Checks that the term ends here.
    fn expect_end(&self) -> Result<(), QueryError> {
        if !ends(self.cursor.peek(), &[')']) {
            return Err(self.cursor.error("a space before it"));
        }
        Ok(())
    }

    /// Counts a bound, which cannot be a prefix.
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
    /// Whether the word is only a `*`.
    fn is_star(&self) -> bool {
        self.prefix && self.text.is_empty() && !self.quoted
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
    fn an_operator_without_operands_is_refused() {
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

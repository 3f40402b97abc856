//! A query to its filter: the scanned words, the grammar's tree over them, and the filter that the
//! tree means.

use std::ops::Bound;

use tantivy_query_grammar::{
    Occur, UserInputAst, UserInputBound, UserInputLeaf, parse_query_lenient,
};

use super::cursor::Word;
use super::error::QueryError;
use super::filter::{Field, Filter, Test};
use super::scan::{Scanned, scan};
use super::values;

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
    let Scanned { numbered, words } = scan(query)?;
    let (tree, errors) = parse_query_lenient(&numbered);
    if !errors.is_empty() {
        return Err(not_understood());
    }
    Translation { words: &words, now }.filter(tree)
}

/// The scanner lets nothing through that the grammar would take for an error or for a term that
/// this language does not have: this is the answer should it happen all the same.
fn not_understood() -> QueryError {
    QueryError {
        position: 0,
        found: "a query that is not understood".into(),
        expected: "terms joined by AND and OR, with text in quotes".into(),
    }
}

struct Translation<'a> {
    words: &'a [Word],
    now: i64,
}

impl Translation<'_> {
    fn filter(&self, tree: UserInputAst) -> Result<Filter, QueryError> {
        match tree {
            UserInputAst::Clause(parts) => self.clause(parts),
            UserInputAst::Leaf(leaf) => self.leaf(*leaf),
            UserInputAst::Boost(..) => Err(not_understood()),
        }
    }

    fn clause(&self, parts: Vec<(Option<Occur>, UserInputAst)>) -> Result<Filter, QueryError> {
        let (mut all, mut any) = (Vec::new(), Vec::new());
        for (occur, part) in parts {
            let filter = self.filter(part)?;
            match occur {
                Some(Occur::Should) => any.push(filter),
                Some(Occur::Must) | None => all.push(filter),
                Some(Occur::MustNot) => all.push(Filter::Not(Box::new(filter))),
            }
        }
        if !any.is_empty() {
            all.push(Filter::any(any));
        }
        Ok(Filter::all(all))
    }

    fn leaf(&self, leaf: UserInputLeaf) -> Result<Filter, QueryError> {
        match leaf {
            UserInputLeaf::All => Ok(Filter::All),
            UserInputLeaf::Exists { field } => Ok(Filter::Field(self.field(&field)?, Test::Exists)),
            UserInputLeaf::Literal(literal) => {
                let word = self.word(&literal.phrase)?;
                match literal.field_name {
                    Some(name) => values::equal(self.field(&name)?, word),
                    None if word.text.is_empty() => Err(word.error("a text that is not empty")),
                    None => Ok(Filter::Text(word.text.clone())),
                }
            }
            UserInputLeaf::Set { field: Some(name), elements } => {
                let field = self.field(&name)?;
                let one = |element: &String| values::equal(field.clone(), self.word(element)?);
                Ok(Filter::any(elements.iter().map(one).collect::<Result<_, _>>()?))
            }
            UserInputLeaf::Range { field: Some(name), lower, upper } => {
                let (lower, upper) = (self.bound(&lower)?, self.bound(&upper)?);
                values::between(self.field(&name)?, lower, upper, self.now)
            }
            UserInputLeaf::Set { field: None, .. }
            | UserInputLeaf::Range { field: None, .. }
            | UserInputLeaf::Regex { .. } => Err(not_understood()),
        }
    }

    fn bound(&self, bound: &UserInputBound) -> Result<Bound<&Word>, QueryError> {
        Ok(match bound {
            UserInputBound::Inclusive(number) => Bound::Included(self.word(number)?),
            UserInputBound::Exclusive(number) => Bound::Excluded(self.word(number)?),
            UserInputBound::Unbounded => Bound::Unbounded,
        })
    }

    fn field(&self, number: &str) -> Result<Field, QueryError> {
        self.word(number).map(|name| Field::named(&name.text))
    }

    fn word(&self, number: &str) -> Result<&Word, QueryError> {
        let word = number.parse().ok().and_then(|number: usize| self.words.get(number));
        word.ok_or_else(not_understood)
    }
}

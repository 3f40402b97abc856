//! Searches a line for the words of a query.
//!
//! The part of a query that has only words becomes one call of an SQL function. So the line is read
//! once, and words joined by OR cost one scan. Other words are searched for one by one if they are
//! few, and otherwise in one scan that finds them all.
//!
//! The search ignores case, with the simple case folding of Unicode: `k` finds `K` and the Kelvin
//! sign.

use std::error::Error;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde::{Deserialize, Serialize};

use crate::search::Filter;

/// A condition on the words of a line. SQLite gets it as JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::store) struct Words {
    words: Vec<String>,
    /// In postfix order: a step uses the results of earlier steps. A tree would be nested too deeply for
    /// JSON.
    steps: Vec<Step>,
}

/// A step of the evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) enum Join {
    All,
    Any,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Step {
    /// Whether the line has the word with this number.
    Word(usize),
    /// Negates the previous result.
    Not,
    /// Joins this many previous results.
    Join(Join, usize),
}

impl Words {
    /// The condition of `filter`, if it has only words.
    pub(in crate::store) fn of(filter: &Filter) -> Option<Words> {
        let mut words = Words::default();
        words.add(filter).then_some(words)
    }

    /// Adds the filters, joined by AND or OR.
    pub(in crate::store) fn joined(join: Join, parts: Vec<Words>) -> Words {
        let mut all = Words::default();
        let count = parts.len();
        for part in parts {
            let before = all.words.len();
            all.words.extend(part.words);
            all.steps.extend(part.steps.into_iter().map(|step| match step {
                Step::Word(number) => Step::Word(before + number),
                step => step,
            }));
        }
        if count != 1 {
            all.steps.push(Step::Join(join, count));
        }
        all
    }

    /// The parameter for the words that all these filters require together; `None` if there are
    /// none.
    pub(in crate::store) fn of_all(filters: &[Filter]) -> Option<String> {
        let words: Vec<Words> = filters.iter().filter_map(Words::of).collect();
        (!words.is_empty()).then(|| Words::joined(Join::All, words).parameter())
    }

    /// The parameter for SQLite.
    pub(in crate::store) fn parameter(&self) -> String {
        // Serialising strings and numbers cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn add(&mut self, filter: &Filter) -> bool {
        let step = match filter {
            Filter::Text(text) => {
                self.words.push(text.clone());
                Step::Word(self.words.len() - 1)
            }
            Filter::Not(inner) if self.add(inner) => Step::Not,
            Filter::And(parts) if parts.iter().all(|part| self.add(part)) => {
                Step::Join(Join::All, parts.len())
            }
            Filter::Or(parts) if parts.iter().all(|part| self.add(part)) => {
                Step::Join(Join::Any, parts.len())
            }
            _ => return false,
        };
        self.steps.push(step);
        true
    }
}

/// Up to this many words are searched for one by one, because the first may decide.
const FEW: usize = 8;

/// A compiled search.
#[derive(Debug)]
pub(in crate::store) struct Search {
    root: Node,
    each: Vec<Regex>,
    /// All words of `each` in one set, if they are many.
    at_once: Option<RegexSet>,
}

#[derive(Debug)]
enum Node {
    /// Whether the line has the word with this number in `each`.
    Found(usize),
    Not(Box<Node>),
    Join(Join, Vec<Node>),
}

impl Search {
    /// Compiles the parameter.
    pub(in crate::store) fn new(parameter: &str) -> Result<Search, Box<dyn Error + Send + Sync>> {
        let Words { words, steps } = serde_json::from_str(parameter)?;
        let escaped = |number: &usize| words.get(*number).map(|word| regex::escape(word));
        let mut patterns: Vec<String> = Vec::new();
        let mut found = |numbers: &[usize]| {
            let pattern = numbers.iter().filter_map(escaped).collect::<Vec<_>>().join("|");
            let at = patterns.iter().position(|known| *known == pattern).unwrap_or(patterns.len());
            if at == patterns.len() {
                patterns.push(pattern);
            }
            Node::Found(at)
        };
        // Single words stay on the stack until they are joined: words joined by OR are one pattern.
        enum Item {
            Word(usize),
            Node(Node),
        }
        let mut stack: Vec<Item> = Vec::new();
        for step in steps {
            let item = match step {
                Step::Word(number) => Item::Word(number),
                Step::Not => match stack.pop().ok_or("a NOT of nothing")? {
                    Item::Word(word) => Item::Node(Node::Not(Box::new(found(&[word])))),
                    Item::Node(node) => Item::Node(Node::Not(Box::new(node))),
                },
                Step::Join(join, count) => {
                    let items = stack.split_off(stack.len().saturating_sub(count));
                    let (mut nodes, mut single) = (Vec::new(), Vec::new());
                    for item in items {
                        match item {
                            Item::Node(node) => nodes.push(node),
                            Item::Word(word) if join == Join::Any => single.push(word),
                            Item::Word(word) => nodes.push(found(&[word])),
                        }
                    }
                    if !single.is_empty() {
                        nodes.insert(0, found(&single));
                    }
                    Item::Node(Node::Join(join, nodes))
                }
            };
            stack.push(item);
        }
        let root = match stack.pop().ok_or("nothing to look for")? {
            Item::Word(word) => found(&[word]),
            Item::Node(node) => node,
        };
        let regex = |pattern: &String| {
            RegexBuilder::new(pattern).case_insensitive(true).size_limit(SIZE).build()
        };
        let set =
            || RegexSetBuilder::new(&patterns).case_insensitive(true).size_limit(SIZE).build();
        match patterns.len() <= FEW {
            true => {
                let each = patterns.iter().map(regex).collect::<Result<_, _>>()?;
                Ok(Search { root, each, at_once: None })
            }
            false => Ok(Search { root, each: Vec::new(), at_once: Some(set()?) }),
        }
    }

    /// Whether `line` matches.
    pub(in crate::store) fn is_in(&self, line: &[u8]) -> bool {
        match &self.at_once {
            None => self.root.holds(&|at| self.each.get(at).is_some_and(|one| one.is_match(line))),
            Some(set) => {
                let found = set.matches(line);
                self.root.holds(&|at| found.matched(at))
            }
        }
    }

    /// Whether a line among `lines` may match: if not, none does.
    pub(in crate::store) fn may_be_in(&self, lines: &[u8]) -> bool {
        match &self.at_once {
            None => {
                let found = |at: usize| self.each.get(at).is_some_and(|one| one.is_match(lines));
                self.root.may_hold(&found)
            }
            Some(set) => {
                let found = set.matches(lines);
                self.root.may_hold(&|at| found.matched(at))
            }
        }
    }
}

/// The largest size of a compiled search, in bytes: several times that of the longest queries.
const SIZE: usize = 64 << 20;

impl Node {
    fn holds(&self, found: &impl Fn(usize) -> bool) -> bool {
        match self {
            Node::Found(at) => found(*at),
            Node::Not(node) => !node.holds(found),
            Node::Join(Join::All, nodes) => nodes.iter().all(|node| node.holds(found)),
            Node::Join(Join::Any, nodes) => nodes.iter().any(|node| node.holds(found)),
        }
    }

    /// Whether it may hold for one of several lines. `found` says which words they have together.
    fn may_hold(&self, found: &impl Fn(usize) -> bool) -> bool {
        match self {
            Node::Found(at) => found(*at),
            // Another line may lack what one has.
            Node::Not(_) => true,
            Node::Join(Join::All, nodes) => nodes.iter().all(|node| node.may_hold(found)),
            Node::Join(Join::Any, nodes) => nodes.iter().any(|node| node.may_hold(found)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{MAX_BYTES, MAX_DEPTH, MAX_TERMS, parse};

    fn search(query: &str) -> Search {
        let words = Words::of(&parse(query, 0).unwrap()).unwrap();
        Search::new(&words.parameter()).unwrap()
    }

    /// Evaluates the query word by word.
    fn holds(filter: &Filter, line: &str) -> bool {
        match filter {
            Filter::Text(text) => {
                let word = RegexBuilder::new(&regex::escape(text)).case_insensitive(true).build();
                word.unwrap().is_match(line.as_bytes())
            }
            Filter::Not(inner) => !holds(inner, line),
            Filter::And(parts) => parts.iter().all(|part| holds(part, line)),
            Filter::Or(parts) => parts.iter().any(|part| holds(part, line)),
            _ => panic!("{filter:?}"),
        }
    }

    #[test]
    fn one_scan_finds_what_a_scan_for_each_word_finds() {
        let many = |join: &str| {
            let words: Vec<_> = (0..40).map(|n| format!("w{n}")).collect();
            words.join(join)
        };
        let pairs: Vec<_> = (0..40).map(|n| format!("(w{n} NOT w{})", n + 1)).collect();
        let queries = [
            "a".to_owned(),
            "a b".to_owned(),
            "a OR b".to_owned(),
            "NOT a".to_owned(),
            "NOT (a OR (b NOT c))".to_owned(),
            "(a OR b) (c OR d OR NOT a)".to_owned(),
            "k OR S OR ſ OR İ".to_owned(),
            "straße OR K".to_owned(),
            "\".*\" OR \"[a-z]\" OR \"a|b\"".to_owned(),
            many(" OR "),
            many(" "),
            pairs.join(" OR "),
            format!("NOT ({})", pairs.join(" OR ")),
        ];
        let lines = [
            "", "a", "B", "ab", "cd", "\u{212a}", "ſ", "S", "STRASSE", "STRAßE", "i", "a|b",
            "x.*y", "w1", "W39", "w0 w1", "w1 w2 w3", "w39 w40", "ä",
        ];
        for query in &queries {
            let (filter, search) = (parse(query, 0).unwrap(), search(query));
            for line in lines {
                let expected = holds(&filter, line);
                assert_eq!(search.is_in(line.as_bytes()), expected, "{query}: {line}");
                // A search in several lines at once misses none of them.
                let among = format!("x\n{line}\ny\n");
                assert!(!expected || search.may_be_in(among.as_bytes()), "{query}: {line}");
            }
            let all = many(" ");
            assert_eq!(search.is_in(all.as_bytes()), holds(&filter, &all), "{query}: all");
        }
    }

    #[test]
    fn words_joined_by_or_are_one_pattern() {
        let words: Vec<_> = (1..MAX_TERMS).map(|n| format!("w{n}")).collect();
        let search = search(&format!("({}) NOT x", words.join(" OR ")));
        assert_eq!(search.each.len(), 2);
        assert!(search.at_once.is_none());
    }

    #[test]
    fn a_query_that_has_more_than_words_is_refused() {
        for query in ["status:4", "a OR status:4", "NOT (a status:4)", "*"] {
            assert!(Words::of(&parse(query, 0).unwrap()).is_none(), "{query}");
        }
    }

    #[test]
    fn the_largest_queries_compile() {
        let nested = (0..MAX_DEPTH).fold("a".to_owned(), |inner, n| {
            if n % 2 == 0 { format!("(b OR NOT {inner})") } else { format!("(c {inner})") }
        });
        assert!(!search(&nested).is_in(b"x"));
        // Each letter has several case variants.
        assert!(search(&"ſ".repeat(MAX_BYTES / 2)).is_in("sS".repeat(MAX_BYTES / 4).as_bytes()));
        let words: Vec<_> = (0..MAX_TERMS).map(|n| format!("ſk{n:020}")).collect();
        let pairs: Vec<_> = words.chunks(2).map(|two| format!("({})", two.join(" "))).collect();
        assert!(!search(&pairs.join(" OR ")).is_in(b"sk"));
    }

    #[test]
    fn a_bad_parameter_is_refused() {
        for text in ["", "{}", r#"{"words":[],"steps":[]}"#, r#"{"words":[],"steps":["Not"]}"#] {
            assert!(Search::new(text).is_err(), "{text}");
        }
    }
}

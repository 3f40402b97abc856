//! Whether two templates can name the same file, or one a folder of the other.
//!
//! Paths are compared from the root, without empty parts and `.`. A template cannot contain `..`.
//! Symbolic links are not followed, since they can change at any time. The values of date, hour,
//! kind and verdict are known. A value that a sender chooses can be any text that is safe.

use std::collections::HashSet;
use std::path::Path;

use super::{Piece, Placeholder, Template};
use crate::entry::{Kind, VerdictName};

impl Template {
    /// Whether both templates can name the same file.
    pub(crate) fn may_overlap(&self, other: &Template) -> bool {
        let (ours, theirs) = (self.parts(), other.parts());
        ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| a.may_be(b))
    }

    /// Whether a file of this template can have the name of a folder of `other`.
    pub(crate) fn may_be_parent_of(&self, other: &Template) -> bool {
        let (ours, theirs) = (self.parts(), other.parts());
        theirs.get(..ours.len()).is_some_and(|folder| {
            theirs.len() > ours.len() && folder.iter().zip(&ours).all(|(a, b)| a.may_be(b))
        })
    }

    /// Whether the template can name the file `path`.
    pub(crate) fn may_produce(&self, path: &Path) -> bool {
        self.may_overlap(&Template::literal(path))
    }

    /// The parts from the root. A relative path begins in the working directory.
    fn parts(&self) -> Vec<Part> {
        let begins_at_root = |part: &Vec<Piece>| part.iter().all(|piece| piece.text() == Some(""));
        let folder = match self.0.first() {
            Some(first) if begins_at_root(first) => String::new(),
            // If the working directory was removed nothing relative can be written.
            _ => std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned(),
        };
        let folder = folder.split('/').map(|part| vec![Piece::Text(part.to_owned())]);
        let names_nothing = |part: &Vec<Piece>| {
            let texts: Option<String> = part.iter().map(Piece::text).collect();
            texts.is_some_and(|text| matches!(text.as_str(), "" | "."))
        };
        let all = folder.chain(self.0.iter().cloned()).filter(|part| !names_nothing(part));
        all.map(|part| Part::of(&part)).collect()
    }
}

/// The texts that a part of a path can be, as an automaton from state 0 to `end`.
struct Part {
    /// A state, a class of characters, and the next state.
    steps: Vec<(usize, Class, usize)>,
    end: usize,
}

/// A class of characters.
#[derive(Clone, Copy)]
enum Class {
    Is(char),
    /// A digit of a date or hour, or its replacement (`Filled::rotated_form`).
    Digit,
    /// The first character of a value.
    First,
    /// Any other character of a value.
    Next,
}

impl Class {
    fn has(self, c: char) -> bool {
        match self {
            Class::Is(own) => own == c,
            Class::Digit => c.is_ascii_digit() || c == '_',
            Class::First => c.is_ascii_alphanumeric() || matches!(c, '-' | '_'),
            Class::Next => Class::First.has(c) || c == '.',
        }
    }

    /// Whether both contain a common character.
    fn meets(self, other: Class) -> bool {
        match (self, other) {
            (Class::Is(c), class) | (class, Class::Is(c)) => class.has(c),
            // All other classes contain the digits.
            _ => true,
        }
    }
}

impl Part {
    fn of(pieces: &[Piece]) -> Part {
        let mut part = Part { steps: Vec::new(), end: 0 };
        for piece in pieces {
            match piece {
                Piece::Text(text) => part.then_one_of([text.as_str()]),
                Piece::Of(Placeholder::Date) => part.then_digits("0000-00-00"),
                Piece::Of(Placeholder::Hour) => part.then_digits("00"),
                Piece::Of(Placeholder::Kind) => {
                    // A malformed line has no kind.
                    part.then_one_of(Kind::ALL.iter().map(|kind| kind.as_str()).chain(["none"]));
                }
                Piece::Of(Placeholder::Verdict) => {
                    part.then_one_of(VerdictName::ALL.iter().map(|verdict| verdict.as_str()));
                }
                Piece::Of(Placeholder::Product | Placeholder::OrgId) => {
                    let value = part.end + 1;
                    part.steps
                        .extend([(part.end, Class::First, value), (value, Class::Next, value)]);
                    part.end = value;
                }
            }
        }
        part
    }

    /// Appends a choice of texts. A single text may be empty.
    fn then_one_of<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) {
        let start = self.end;
        let mut ends = Vec::new();
        for text in texts {
            let mut at = start;
            for c in text.chars() {
                self.end += 1;
                self.steps.push((at, Class::Is(c), self.end));
                at = self.end;
            }
            ends.push(at);
        }
        // All choices end in the same state.
        for (_, _, to) in &mut self.steps {
            if ends.contains(to) {
                *to = self.end;
            }
        }
    }

    fn then_digits(&mut self, form: &str) {
        for c in form.chars() {
            let class = if c == '0' { Class::Digit } else { Class::Is(c) };
            self.steps.push((self.end, class, self.end + 1));
            self.end += 1;
        }
    }

    /// Whether both can be the same text.
    fn may_be(&self, other: &Part) -> bool {
        let (mut seen, mut next) = (HashSet::from([(0, 0)]), vec![(0, 0)]);
        while let Some((ours, theirs)) = next.pop() {
            if (ours, theirs) == (self.end, other.end) {
                return true;
            }
            for (_, class, to) in self.steps.iter().filter(|(from, ..)| *from == ours) {
                for (_, others, others_to) in other.steps.iter().filter(|(at, ..)| *at == theirs) {
                    if class.meets(*others) && seen.insert((*to, *others_to)) {
                        next.push((*to, *others_to));
                    }
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        text.parse().unwrap()
    }

    #[test]
    fn templates_that_may_name_one_file() {
        let check = |one: &str, other: &str, expected: bool| {
            let (one, other) = (template(one), template(other));
            assert_eq!(one.may_overlap(&other), expected, "{one} {other}");
            assert_eq!(other.may_overlap(&one), expected, "{other} {one}");
        };
        check("a.log", "a.log", true);
        check("a.log", "b.log", false);
        check("{org_id}.log", "all.log", true);
        check("{org_id}.log", ".log", false);
        check("{org_id}.log", "a/b.log", false);
        check("a/{org_id}.log", "b/{org_id}.log", false);
        check("{product}-{org_id}", "x{org_id}", true);
        check("{product}-a", "{product}-b", false);
        check("{product}/access", "x{org_id}/{kind}", true);
        check("{product}{product}", "x", false);
    }

    #[test]
    fn values_of_a_closed_list_meet_only_what_they_can_be() {
        let check = |one: &str, other: &str, expected: bool| {
            let (one, other) = (template(one), template(other));
            assert_eq!(one.may_overlap(&other), expected, "{one} {other}");
            assert_eq!(other.may_overlap(&one), expected, "{other} {one}");
        };
        check("{kind}", "raw.log", false);
        check("{kind}.log", "access.log", true);
        check("{kind}.log", "none.log", true);
        check("{kind}.log", "audit.log", false);
        check("{verdict}.log", "no_key.log", true);
        check("{verdict}.log", "none.log", false);
        check("{kind}", "{verdict}", false);
        check("{kind}-{verdict}", "access-valid", true);
        check("{kind}-{verdict}", "{verdict}-{kind}", false);
        check("{kind}-x", "{org_id}", true);
        check("{date}.log", "2025-05-16.log", true);
        check("{date}.log", "2025-05.log", false);
        check("{date}", "{kind}", false);
        check("{date}", "{hour}", false);
        check("{hour}", "07", true);
        check("{hour}{hour}", "7", false);
        check("{org_id}", "a b", false);
        check("{org_id}", "ä", false);
        check("{org_id}", "a.b", true);
        check("{kind}{verdict}", "accessinvalid", true);
        check("{kind}{verdict}", "accessin", false);
    }

    #[test]
    fn values_of_a_closed_list_are_never_cut() {
        let words = Kind::ALL.iter().map(|kind| kind.as_str());
        let words = words.chain(VerdictName::ALL.iter().map(|verdict| verdict.as_str()));
        assert!(words.map(str::len).max() <= Some(crate::output::template::SHORTEST));
    }

    #[test]
    fn two_spellings_of_a_path_are_the_same() {
        let here = std::env::current_dir().unwrap();
        let absolute = format!("{}/d/x.log", here.display());
        for other in ["d/x.log", "./d/x.log", "d//x.log", "d/././x.log", ".//d/x.log", &absolute] {
            assert!(template("d/x.log").may_overlap(&template(other)), "{other}");
            assert!(template(other).may_overlap(&template("d/{org_id}.log")), "{other}");
            assert!(template(other).may_produce(Path::new("d/x.log")), "{other}");
        }
        assert!(!template("/d/x.log").may_overlap(&template("d/x.log")));
        assert!(!template("d/{date}.log").may_produce(Path::new("e/2025-05-16.log")));
        assert!(template("d/{date}.log").may_produce(Path::new("d/2025-05-16.log")));
    }

    #[test]
    fn templates_of_which_one_may_be_a_folder_of_the_other() {
        let check = |one: &str, other: &str, expected: bool| {
            assert_eq!(template(one).may_be_parent_of(&template(other)), expected, "{one} {other}");
        };
        check("out/{org_id}", "out/archive/{date}.log", true);
        check("./out//{org_id}", "out/archive/a/b", true);
        check("out/archive/{date}.log", "out/{org_id}", false);
        check("out/{org_id}.log", "out/archive/{date}.log", false);
        check("out/{org_id}", "out/{org_id}", false);
        check("out", "out/x", true);
        check("out/raw.log", "out/{kind}/x.jsonl", false);
        check("out/access", "out/{kind}/x.jsonl", true);
    }
}

//! Path templates: which file an entry goes to.
//!
//! What stands in braces is replaced by what the entry has. That is a sender's text, so it becomes a
//! part of a name and never more: letters, digits, `-`, `_` and single dots that are not its first
//! character are kept, everything else becomes `_`, and it is cut to 64 characters. What an entry
//! lacks is `none`. Date and hour are those of the receipt, in UTC: an entry's own time would let a
//! sender choose among all files there are. No path has the form of a rotated file: what looks after
//! those would take it for one of another file, and delete it or others in its place.

use std::fmt::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

use super::file::STAMP;
use crate::entry::record::Origin;
use crate::entry::{Kind, Millis, Record};

/// What may stand in braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    /// `2025-05-16`.
    Date,
    /// `00` to `23`.
    Hour,
    Kind,
    /// `event_product`.
    Product,
    OrgId,
    Verdict,
}

const PLACEHOLDERS: [(&str, Placeholder); 6] = [
    ("date", Placeholder::Date),
    ("hour", Placeholder::Hour),
    ("kind", Placeholder::Kind),
    ("product", Placeholder::Product),
    ("org_id", Placeholder::OrgId),
    ("verdict", Placeholder::Verdict),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Of(Placeholder),
}

/// A path with placeholders; it names a file, not a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// There is something else in braces.
    #[error(
        "one of {{date}}, {{hour}}, {{kind}}, {{product}}, {{org_id}}, {{verdict}} in braces, not {{{0}}}"
    )]
    Unknown(String),
    /// A brace without its counterpart.
    #[error("braces in pairs")]
    Unpaired,
    /// It names no file.
    #[error("the path of a file, such as \"out/{{date}}.jsonl\"")]
    NoFile,
}

/// The longest value, in characters.
const LONGEST: usize = 64;

impl Template {
    /// The file that `record` goes to.
    pub fn path(&self, record: &Record) -> PathBuf {
        let mut path = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => path.push_str(text),
                Piece::Of(placeholder) => value(*placeholder, record, &mut path),
            }
        }
        while let Some(at) = stamp_in(&path) {
            path.replace_range(at..=at, "_");
        }
        path.into()
    }
}

impl Template {
    /// Whether some entry may go to the same file here as some entry there. In doubt it is so.
    pub fn may_meet(&self, other: &Template) -> bool {
        let (ours, theirs) = (self.symbols(), other.symbols());
        // Whether the rests of both that begin at (i, j) can be the same text; from the end on.
        let mut later = vec![false; theirs.len() + 1];
        let mut row = later.clone();
        for i in (0..=ours.len()).rev() {
            for j in (0..=theirs.len()).rev() {
                row[j] = match (ours.get(i), theirs.get(j)) {
                    (None, None) => true,
                    (None, Some(_)) | (Some(_), None) => false,
                    (Some(Some(one)), Some(Some(other))) => one == other && later[j + 1],
                    // A value takes this character, and may end with it or go on.
                    (Some(None), Some(Some(c))) => *c != '/' && (row[j + 1] || later[j + 1]),
                    (Some(Some(c)), Some(None)) => *c != '/' && (later[j] || later[j + 1]),
                    (Some(None), Some(None)) => row[j + 1] || later[j] || later[j + 1],
                };
            }
            std::mem::swap(&mut row, &mut later);
        }
        later[0]
    }

    /// Its characters; `None` for a value.
    fn symbols(&self) -> Vec<Option<char>> {
        let of = |piece: &Piece| match piece {
            Piece::Text(text) => text.chars().map(Some).collect(),
            Piece::Of(_) => vec![None],
        };
        self.0.iter().flat_map(of).collect()
    }
}

/// Where in a path the first time is that a rotated file has in its name.
fn stamp_in(path: &str) -> Option<usize> {
    let is_stamp = |part: &[u8]| {
        part.iter().zip(STAMP.bytes()).all(|(found, form)| match form {
            b'0' => found.is_ascii_digit(),
            form => *found == form,
        })
    };
    path.as_bytes().windows(STAMP.len()).position(is_stamp)
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Template, TemplateError> {
        let name = text.rsplit('/').next().unwrap_or_default();
        if matches!(name, "" | "." | "..") || text.contains('\0') {
            return Err(TemplateError::NoFile);
        }
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(TemplateError::Unpaired)?;
            let known = PLACEHOLDERS.iter().find(|(known, _)| *known == name);
            let (_, known) = known.ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
            pieces.extend([Piece::Text(before.to_owned()), Piece::Of(*known)]);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        let unpaired = |piece: &Piece| matches!(piece, Piece::Text(text) if text.contains('}'));
        match pieces.iter().any(unpaired) {
            true => Err(TemplateError::Unpaired),
            false => Ok(Template(pieces)),
        }
    }
}

/// As it was written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Of(placeholder) => {
                let name = PLACEHOLDERS.iter().find(|(_, one)| one == placeholder);
                write!(f, "{{{}}}", name.map_or("", |(name, _)| name))
            }
        })
    }
}

/// When an entry was received.
pub(super) fn received_at(record: &Record) -> Millis {
    match record.origin {
        Origin::Stored { received_at, .. } => received_at,
        Origin::File { .. } => record.time.unwrap_or(Millis::MIN),
    }
}

fn value(placeholder: Placeholder, record: &Record, path: &mut String) {
    let field = |name| record.fields.text(name).unwrap_or_default();
    match placeholder {
        // The first characters of RFC 3339: `2025-05-16T20:`.
        Placeholder::Date => push_safe(&slice(received_at(record), 0, 10), path),
        Placeholder::Hour => push_safe(&slice(received_at(record), 11, 13), path),
        Placeholder::Kind => push_safe(record.kind.map_or("", Kind::as_str), path),
        Placeholder::Product => push_safe(field("event_product"), path),
        Placeholder::OrgId => push_safe(field("org_id"), path),
        Placeholder::Verdict => push_safe(&record.verdict, path),
    }
}

fn slice(time: Millis, from: usize, to: usize) -> String {
    time.to_string().get(from..to).unwrap_or_default().to_owned()
}

/// Appends `value` as a part of a name.
fn push_safe(value: &str, path: &mut String) {
    if value.is_empty() {
        return path.push_str("none");
    }
    // A dot may not begin the value, for it may begin the name, nor follow another.
    let mut after_dot = true;
    for c in value.chars().take(LONGEST) {
        let safe = match c {
            '.' if !after_dot => '.',
            c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') => c,
            _ => '_',
        };
        after_dot = safe == '.';
        let _ = path.write_char(safe);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Value;
    use crate::output::testing::record;

    fn check(template: &str, org_id: &str, expected: &str) {
        let mut record = record(1, 1_747_426_194_000);
        record.fields.restore("org_id", Value::Text(org_id.into()));
        let template: Template = template.parse().unwrap();
        assert_eq!(template.path(&record).to_str(), Some(expected));
    }

    #[test]
    fn what_an_entry_has_is_filled_in() {
        check("out/{date}.jsonl", "x", "out/2025-05-16.jsonl");
        check("{org_id}/{date}-{hour}_{kind}.{verdict}", "o", "o/2025-05-16-20_access.valid");
        check("{product}", "o", "none");
        check("plain", "o", "plain");
    }

    #[test]
    fn hostile_values_stay_one_part_of_a_name() {
        for (value, expected) in [
            ("", "none"),
            ("..", "_."),
            ("../../etc/passwd", "_._.__etc_passwd"),
            (".hidden", "_hidden"),
            ("a..b...c", "a._b._.c"),
            ("/etc", "_etc"),
            ("a\\b\0c\nd:e", "a_b_c_d_e"),
            ("{date}", "_date_"),
            ("ä€\u{202e}", "___"),
        ] {
            check("d/{org_id}", value, &format!("d/{expected}"));
        }
        check("{org_id}x", &"a".repeat(5000), &format!("{}x", "a".repeat(64)));
    }

    #[test]
    fn no_value_makes_the_name_of_a_rotated_file() {
        let stamp = "20250516T200954.123Z";
        let masked = "_0250516T200954.123Z";
        for template in ["{org_id}.log", "{org_id}", "a/{org_id}{org_id}.b"] {
            let name = |value: &str| template.replace("{org_id}", value);
            for around in ["x-", "x-y-", ""] {
                let (value, safe) = (format!("{around}{stamp}"), format!("{around}{masked}"));
                check(template, &value, &name(&safe));
                check(template, &format!("{value}.gz"), &name(&format!("{safe}.gz")));
            }
        }
        // Not of one piece: `20250516T200954` and `.123Z`.
        check("{org_id}.{hour}3Z", "x-20250516T200954", "x-_0250516T200954.203Z");
    }

    #[test]
    fn templates_that_may_name_one_file() {
        let check = |one: &str, other: &str, expected: bool| {
            let (one, other): (Template, Template) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(one.may_meet(&other), expected, "{one} {other}");
            assert_eq!(other.may_meet(&one), expected, "{other} {one}");
        };
        check("a.log", "a.log", true);
        check("a.log", "b.log", false);
        check("{org_id}.log", "all.log", true);
        check("{org_id}.log", ".log", false);
        check("{org_id}.log", "a/b.log", false);
        check("a/{org_id}.log", "b/{org_id}.log", false);
        check("{kind}-{org_id}", "x{org_id}", true);
        check("{kind}-a", "{kind}-b", false);
        check("{kind}/a", "x{org_id}/{kind}", true);
        check("{kind}{kind}", "x", false);
    }

    #[test]
    fn templates_that_are_refused() {
        let check = |template: &str, expected: TemplateError| {
            assert_eq!(template.parse::<Template>(), Err(expected), "{template}");
        };
        check("{day}", TemplateError::Unknown("day".into()));
        check("{}", TemplateError::Unknown("".into()));
        check("a{date", TemplateError::Unpaired);
        check("a}b", TemplateError::Unpaired);
        for path in ["", "out/", "out/..", "."] {
            check(path, TemplateError::NoFile);
        }
        assert_eq!("a/{date}.x".parse::<Template>().unwrap().to_string(), "a/{date}.x");
    }
}

//! Path templates: the path of the file that an entry goes to.
//!
//! A placeholder in braces is replaced by a value of the entry. A sender chooses some values, so a
//! value is only ever a part of a name. Letters, digits, `-`, `_` and single dots that are not the
//! first character are kept. Everything else becomes `_`. A value is cut to 64 characters, and
//! shorter if the name would be too long. A missing value becomes `none`.
//!
//! Date and hour are those of the receipt, in UTC. With the time in an entry its sender could
//! choose any file.
//!
//! No value can give a path the form of a rotated file, or the ending of a compressed one. The
//! cleanup of rotated files would take that file for one of another path, and delete it.

mod overlap;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::file::{ENDINGS, STAMP_LENGTH, is_stamp};
use crate::entry::{Kind, Millis, Record};

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

impl Placeholder {
    /// Whether a sender chooses the value. Then the number of values is unlimited.
    fn is_chosen(self) -> bool {
        matches!(self, Placeholder::Product | Placeholder::OrgId)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Of(Placeholder),
}

impl Piece {
    /// The text, if it is the same for every entry.
    fn text(&self) -> Option<&str> {
        match self {
            Piece::Text(text) => Some(text),
            Piece::Of(_) => None,
        }
    }

    fn is_chosen(&self) -> bool {
        matches!(self, Piece::Of(placeholder) if placeholder.is_chosen())
    }
}

/// A path with placeholders, split at `/`. It names a file, not a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Vec<Piece>>);

/// An error in a template, as what was expected instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// An unknown placeholder.
    #[error(
        "one of {{date}}, {{hour}}, {{kind}}, {{product}}, {{org_id}}, {{verdict}} in braces, not {{{0}}}"
    )]
    Unknown(String),
    /// A brace without its counterpart.
    #[error("braces in pairs")]
    Unpaired,
    /// The path is not that of a file.
    #[error("the path of a file, such as \"out/{{date}}.jsonl\"")]
    NoFile,
    /// The path contains `..`.
    #[error("a path without \"..\": write down what it leads to")]
    Upward,
    /// The path ends like a compressed file.
    #[error("a name that does not end in .gz or .zst: those are rotated files that are compressed")]
    Compressed,
    /// A part of the path is too long to hold its values.
    #[error(
        "parts between slashes that are shorter: their text has at most {LONGEST_PART} bytes, less \
         {SHORTEST} for each placeholder"
    )]
    TooLong,
}

/// Replaces a value that has no files of its own.
const OTHER: &str = "other";

/// The maximum length of a value in characters.
const LONGEST: usize = 64;

/// The maximum length of a part of a path in bytes. A name may have 255, and rotated files have
/// longer names.
const LONGEST_PART: usize = 200;

/// A value is never cut to less than this, in characters.
const SHORTEST: usize = 16;

impl Template {
    /// A template without placeholders.
    pub(crate) fn literal(path: &Path) -> Template {
        let part = |part: &str| vec![Piece::Text(part.to_owned())];
        Template(path.to_string_lossy().split('/').map(part).collect())
    }

    /// The path of the file of `record`.
    pub(crate) fn path(&self, record: &Record) -> PathBuf {
        self.filled(|placeholder| value(placeholder, record))
    }

    /// The path of the file of `record`, with `other` in place of the values that senders choose.
    pub(crate) fn other_path(&self, record: &Record) -> PathBuf {
        self.filled(|placeholder| match placeholder.is_chosen() {
            true => OTHER.to_owned(),
            false => value(placeholder, record),
        })
    }

    /// The values that the sender of `record` chose, or `None` if the template has no such
    /// placeholder.
    pub(crate) fn chosen(&self, record: &Record) -> Option<String> {
        let values = self.0.iter().flatten().filter_map(|piece| match piece {
            Piece::Of(placeholder) if placeholder.is_chosen() => Some(value(*placeholder, record)),
            _ => None,
        });
        let values: Vec<_> = values.collect();
        // Values have no slash.
        (!values.is_empty()).then(|| values.join("/"))
    }

    /// The file or folder on the way to `path`, a file of this template, that exists once an entry
    /// with the same chosen values was written.
    pub(crate) fn of_chosen<'a>(&self, path: &'a Path) -> &'a Path {
        let after = self.0.iter().rev().take_while(|part| !part.iter().any(Piece::is_chosen));
        let names = |part: &&Vec<Piece>| !matches!(part.as_slice(), [Piece::Text(text)] if text.is_empty() || text == ".");
        path.ancestors().nth(after.filter(names).count()).unwrap_or(path)
    }

    fn filled(&self, value: impl Fn(Placeholder) -> String) -> PathBuf {
        let mut path = Filled::default();
        for (n, part) in self.0.iter().enumerate() {
            if n > 0 {
                path.push("/", false);
            }
            path.push_part(part, &value);
        }
        while let Some(at) = path.rotated_form() {
            path.text.replace_range(at..=at, "_");
        }
        path.text.into()
    }
}

/// A path under construction.
#[derive(Default)]
struct Filled {
    text: String,
    /// Whether each byte is from a value. Such bytes are ASCII.
    is_value: Vec<bool>,
}

impl Filled {
    fn push(&mut self, text: &str, is_value: bool) {
        self.text.push_str(text);
        self.is_value.resize(self.text.len(), is_value);
    }

    fn push_part(&mut self, part: &[Piece], value: &impl Fn(Placeholder) -> String) {
        let filled = |piece: &Piece| match piece {
            Piece::Text(text) => (text.clone(), false),
            Piece::Of(placeholder) => (value(*placeholder), true),
        };
        let filled: Vec<_> = part.iter().map(filled).collect();
        let length: usize = filled.iter().map(|(text, _)| text.len()).sum();
        let longest = if length > LONGEST_PART { room_for_each(part) } else { LONGEST };
        for (mut text, is_value) in filled {
            if is_value {
                text.truncate(longest);
            }
            self.push(&text, is_value);
        }
    }

    /// The position of a byte of a value that gives the path the form of a rotated file.
    fn rotated_form(&self) -> Option<usize> {
        let value_in = |from: usize, length: usize| {
            let mut is_value = self.is_value.iter().skip(from).take(length);
            is_value.position(|is_value| *is_value).map(|at| from + at)
        };
        let windows = self.text.as_bytes().windows(STAMP_LENGTH).enumerate();
        let mut stamps = windows.filter(|(_, part)| is_stamp(part));
        stamps.find_map(|(from, _)| value_in(from, STAMP_LENGTH)).or_else(|| {
            let ending = ENDINGS.iter().find(|ending| self.text.ends_with(**ending))?;
            value_in(self.text.len() - ending.len(), ending.len())
        })
    }
}

/// The maximum length of each value of a part, if all are equally long.
fn room_for_each(part: &[Piece]) -> usize {
    let text = |piece: &Piece| if let Piece::Text(text) = piece { text.len() } else { 0 };
    let room = LONGEST_PART.saturating_sub(part.iter().map(text).sum());
    let values = part.iter().filter(|piece| matches!(piece, Piece::Of(_))).count();
    room.checked_div(values).unwrap_or(room)
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Template, TemplateError> {
        let name = text.rsplit('/').next().unwrap_or_default();
        if matches!(name, "" | "." | "..") || text.contains('\0') {
            return Err(TemplateError::NoFile);
        }
        if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            return Err(TemplateError::Compressed);
        }
        text.split('/').map(part).collect::<Result<_, _>>().map(Template)
    }
}

/// Parses the text between two slashes.
fn part(text: &str) -> Result<Vec<Piece>, TemplateError> {
    if text == ".." {
        return Err(TemplateError::Upward);
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
    if pieces.iter().any(unpaired) {
        return Err(TemplateError::Unpaired);
    }
    let has_room = match pieces.len() {
        1 => text.len() <= LONGEST_PART,
        _ => room_for_each(&pieces) >= SHORTEST,
    };
    if has_room { Ok(pieces) } else { Err(TemplateError::TooLong) }
}

/// The template as it was written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut piece = |piece: &Piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Of(placeholder) => {
                let name = PLACEHOLDERS.iter().find(|(_, one)| one == placeholder);
                write!(f, "{{{}}}", name.map_or("", |(name, _)| name))
            }
        };
        let slash = [Piece::Text("/".to_owned())];
        let parts: Vec<&[Piece]> = self.0.iter().map(Vec::as_slice).collect();
        parts.join(&slash[..]).iter().try_for_each(&mut piece)
    }
}

/// The value of a placeholder, as a part of a name.
fn value(placeholder: Placeholder, record: &Record) -> String {
    let field = |name| record.fields.text(name).unwrap_or_default();
    match placeholder {
        // The first characters of RFC 3339: `2025-05-16T20:`.
        Placeholder::Date => safe(&received(record, 0, 10)),
        Placeholder::Hour => safe(&received(record, 11, 13)),
        Placeholder::Kind => safe(record.kind.map_or("", Kind::as_str)),
        Placeholder::Product => safe(field("event_product")),
        Placeholder::OrgId => safe(field("org_id")),
        Placeholder::Verdict => safe(record.verdict.as_str()),
    }
}

/// A part of the time of receipt.
fn received(record: &Record, from: usize, to: usize) -> String {
    let time = record.received_at().or(record.time).unwrap_or(Millis::MIN);
    time.to_string().get(from..to).unwrap_or_default().to_owned()
}

/// A value with only safe characters.
fn safe(value: &str) -> String {
    if value.is_empty() {
        return "none".to_owned();
    }
    // A dot cannot be the first character of a value, which may be the first of the name, and
    // cannot follow another.
    let mut after_dot = true;
    let safe = |c| {
        let safe = match c {
            '.' if !after_dot => '.',
            c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') => c,
            _ => '_',
        };
        after_dot = safe == '.';
        safe
    };
    value.chars().take(LONGEST).map(safe).collect()
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
    fn placeholders_are_replaced_by_values_of_the_entry() {
        check("out/{date}.jsonl", "x", "out/2025-05-16.jsonl");
        check("{org_id}/{date}-{hour}_{kind}.{verdict}", "o", "o/2025-05-16-20_access.valid");
        check("{product}", "o", "none");
        check("plain", "o", "plain");
    }

    #[test]
    fn values_chosen_by_senders_can_be_replaced() {
        let check = |template: &str, other: &str, chosen: Option<&str>, of_chosen: &str| {
            let mut record = record(1, 1_747_426_194_000);
            record.fields.restore("org_id", Value::Text("o/1".into()));
            let template: Template = template.parse().unwrap();
            assert_eq!(template.other_path(&record).to_str(), Some(other));
            assert_eq!(template.chosen(&record).as_deref(), chosen);
            let path = template.path(&record);
            assert_eq!(template.of_chosen(&path).to_str(), Some(of_chosen), "{template}");
        };
        check("out/{org_id}/{date}.log", "out/other/2025-05-16.log", Some("o_1"), "out/o_1");
        check("out/{org_id}//./x", "out/other//./x", Some("o_1"), "out/o_1");
        check("{org_id}.log", "other.log", Some("o_1"), "o_1.log");
        check("{product}/{org_id}/{kind}", "other/other/access", Some("none/o_1"), "none/o_1");
        check("{kind}.log", "access.log", None, "");
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
                let dot = if template.ends_with('}') { '_' } else { '.' };
                check(template, &format!("{value}.gz"), &name(&format!("{safe}{dot}gz")));
            }
        }
        // The time is put together from `20250516T200954` and `.123Z`.
        check("{org_id}.{hour}3Z", "x-20250516T200954", "x-_0250516T200954.203Z");
    }

    #[test]
    fn no_value_makes_the_name_of_a_compressed_file() {
        check("o/{org_id}", "victim.gz", "o/victim_gz");
        check("o/{org_id}", "victim.zst", "o/victim_zst");
        check("o/{org_id}", "victim.gz.gz", "o/victim.gz_gz");
        check("o/victim.{org_id}", "gz", "o/victim._z");
        check("o/{org_id}z", "victim.g", "o/victim_gz");
        check("o/{org_id}.log", "victim.gz", "o/victim.gz.log");
        check("o/{org_id}/x", "victim.gz", "o/victim.gz/x");
    }

    #[test]
    fn no_value_makes_a_name_too_long() {
        let (long, all) = ("a".repeat(500), "{org_id}-{org_id}-{org_id}-{org_id}.log");
        let each = "a".repeat((200 - "---.log".len()) / 4);
        check(&format!("o/{all}"), &long, &format!("o/{each}-{each}-{each}-{each}.log"));
        check(all, "b", "b-b-b-b.log");
        check(
            "{org_id}/{org_id}/{org_id}/{org_id}",
            &long,
            &["a".repeat(64).as_str(); 4].join("/"),
        );
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
        check("a/../b", TemplateError::Upward);
        check("../b", TemplateError::Upward);
        check("a/{date}.gz", TemplateError::Compressed);
        check("a.zst", TemplateError::Compressed);
        check(&"x".repeat(201), TemplateError::TooLong);
        check(&format!("{}{{date}}/a", "x".repeat(185)), TemplateError::TooLong);
        for template in ["a/{date}.x", "/a//./{hour}{kind}/b", &"x".repeat(200)] {
            assert_eq!(template.parse::<Template>().unwrap().to_string(), template);
        }
    }
}

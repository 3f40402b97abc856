//! An entry of an archive: its values, as a filter asks for them.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use regex::bytes::{Regex, RegexBuilder};

use crate::archive::entry::{Cells, extensions_of};
use crate::archive::error::ArchiveError;
use crate::archive::layout::Table;
use crate::archive::rows::{Cell, Rows};
use crate::archive::schema;
use crate::entry::Format;
use crate::entry::fields::Value;
use crate::search::{Field, Filter, Held, Part, Values};

/// A value by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnedCell {
    Integer(i64),
    Boolean(bool),
    /// Text or bytes.
    Bytes(Bytes),
}

/// The values of one entry, each at its place.
pub(super) type Row = Vec<Option<OwnedCell>>;

impl Cells for Row {
    fn cell(&self, column: &str) -> Cell<'_> {
        let place = schema::place(Table::Entries, column);
        match place.and_then(|place| self.get(place)?.as_ref()) {
            None => Cell::Null,
            Some(OwnedCell::Integer(number)) => Cell::Integer(*number),
            Some(OwnedCell::Boolean(boolean)) => Cell::Boolean(*boolean),
            Some(OwnedCell::Bytes(bytes)) => Cell::Bytes(bytes),
        }
    }
}

/// A row by itself.
pub(super) fn owned(rows: &Rows, row: usize) -> Row {
    let owned = |cell| match cell {
        Cell::Null => None,
        Cell::Integer(number) => Some(OwnedCell::Integer(number)),
        Cell::Boolean(boolean) => Some(OwnedCell::Boolean(boolean)),
        Cell::Bytes(bytes) => Some(OwnedCell::Bytes(Bytes::copy_from_slice(bytes))),
    };
    rows.cells(row).map(owned).collect()
}

/// A filter, and what is needed to try it.
pub(super) struct Search {
    filter: Filter,
    words: HashMap<String, Regex>,
}

/// The largest size of a compiled word, in bytes: several times that of the longest query.
const WORD: usize = 64 << 20;

impl Search {
    pub(super) fn new(filter: Filter) -> Result<Search, ArchiveError> {
        let (mut words, mut error) = (HashMap::new(), None);
        filter.parts(&mut |part| {
            if let Part::Text(text) = part {
                let mut word = RegexBuilder::new(&regex::escape(text));
                match word.case_insensitive(true).size_limit(WORD).build() {
                    Ok(word) => drop(words.insert(text.to_owned(), word)),
                    Err(why) => error = Some(why),
                }
            }
        });
        match error {
            Some(error) => Err(ArchiveError::Word(error)),
            None => Ok(Search { filter, words }),
        }
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The places of the columns that the filter reads, without the line.
    pub(super) fn columns(&self) -> Vec<usize> {
        let mut places = schema::places(Table::Entries, &["id", "time", "hidden_by", "change"]);
        self.filter.parts(&mut |part| {
            if let Part::Field(field, _) = part {
                places.extend(schema::place(Table::Entries, column(field)));
                if may_be_among_extensions(field) {
                    places.extend(schema::place(Table::Entries, "extensions"));
                }
            }
        });
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Whether an entry passes. `None` if that depends on the line, which is not given.
    pub(super) fn matches(&self, cells: &impl Cells, line: Option<&[u8]>) -> Option<bool> {
        let entry = Entry { cells, line, words: &self.words, extensions: OnceCell::new() };
        self.filter.matches(&entry)
    }
}

/// The column with the values of a field.
pub(super) fn column(field: &Field) -> &str {
    match field {
        Field::Warning => "warnings",
        Field::Extension(_) => "extensions",
        field => field.name(),
    }
}

/// A value that does not fit the type of its column is among the extensions.
pub(super) fn may_be_among_extensions(field: &Field) -> bool {
    use crate::entry::fields::FieldType::{Boolean, Integer};
    matches!(field, Field::Known(_, Integer | Boolean))
}

struct Entry<'a, C> {
    cells: &'a C,
    line: Option<&'a [u8]>,
    words: &'a HashMap<String, Regex>,
    extensions: OnceCell<BTreeMap<String, Value>>,
}

impl<C: Cells> Values for Entry<'_, C> {
    fn value(&self, field: &Field) -> Option<Held<'_>> {
        let extension = |name: &str| {
            let all = self.extensions.get_or_init(|| extensions_of(self.cells));
            all.get(name).map(|value| Held::Text(value.as_text()))
        };
        if let Field::Extension(name) = field {
            return extension(name);
        }
        if *field == Field::Format {
            return Some(Held::Text(self.cells.text("format").unwrap_or(Format::UNKNOWN.into())));
        }
        let held = match self.cells.cell(column(field)) {
            Cell::Null => None,
            Cell::Integer(number) => Some(Held::Integer(number)),
            Cell::Boolean(boolean) => Some(Held::Integer(i64::from(boolean))),
            Cell::Bytes(bytes) => Some(Held::Text(String::from_utf8_lossy(bytes))),
        };
        held.or_else(|| may_be_among_extensions(field).then(|| extension(field.name())).flatten())
    }

    fn contains(&self, text: &str) -> Option<bool> {
        let line = self.line?;
        Some(self.words.get(text).is_some_and(|word| word.is_match(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::entry::record;
    use crate::entry::VerdictName;
    use crate::entry::record::WholeLine;

    fn cells(values: &[(&str, OwnedCell)]) -> Row {
        let mut cells = vec![None; schema::columns(Table::Entries).len()];
        for (name, value) in values {
            cells[schema::place(Table::Entries, name).unwrap()] = Some(value.clone());
        }
        cells
    }

    fn text(text: &'static str) -> OwnedCell {
        OwnedCell::Bytes(bytes::Bytes::from_static(text.as_bytes()))
    }

    fn entry() -> Row {
        cells(&[
            ("id", OwnedCell::Integer(7)),
            ("time", OwnedCell::Integer(1000)),
            ("verdict", text("unsigned")),
            ("warnings", text("bad_time foreign_org future_word")),
            ("granted", OwnedCell::Boolean(false)),
            ("name", text("Ingress")),
            ("extensions", text(r#"{"cs1":"8","n":1e400,"status":"odd","t":true}"#)),
            ("line", text("the line")),
        ])
    }

    #[test]
    fn a_filter_is_tried_on_columns_and_on_extensions() {
        let check = |query: &str, expected: bool| {
            let filter = crate::search::parse(query, 0).unwrap();
            let search = Search::new(filter).unwrap();
            let line = Some(&b"the line"[..]);
            assert_eq!(search.matches(&entry(), line), Some(expected), "{query}");
            // The columns that it asks for are enough.
            let mut fewer = vec![None; entry().len()];
            for place in search.columns() {
                fewer[place] = entry()[place].clone();
            }
            assert_eq!(search.matches(&fewer, line), Some(expected), "{query}");
        };
        for query in [
            "id:7",
            "granted:false",
            "name:Ingress",
            "status:*",
            "cs1:8",
            "cs1:<9",
            "n:1e400",
            "t:true",
            "warning:foreign_org",
            "LINE",
            "format:unknown",
            "time:1970-01-01T00:00:01Z",
            "NOT kid:*",
        ] {
            check(query, true);
        }
        for query in ["id:8", "granted:true", "status:>=0", "cs1:>8", "x:*", "portal", "kind:*"] {
            check(query, false);
        }
    }

    #[test]
    fn a_record_has_what_the_columns_have() {
        let record = record(&entry());
        assert_eq!(record.id(), Some(7));
        assert_eq!(record.verdict, VerdictName::Unsigned);
        assert_eq!(record.warnings.len(), 2);
        assert_eq!(record.fields.get("status"), Some(&Value::Text("odd".into())));
        assert_eq!(record.fields.get("n"), Some(&Value::Json("1e400".into())));
        assert_eq!(record.fields.get("t"), Some(&Value::Boolean(true)));
        assert_eq!((record.raw.as_slice(), record.whole), (&b"the line"[..], None));
    }

    #[test]
    fn a_row_with_nothing_or_with_nonsense_is_never_valid() {
        let nothing = record(&cells(&[]));
        assert_eq!(nothing.verdict, VerdictName::Malformed);
        let nonsense = cells(&[
            ("id", OwnedCell::Integer(-1)),
            ("verdict", text("Valid")),
            ("extensions", text("[1")),
            ("line_bytes", OwnedCell::Integer(5)),
            ("line_sha256", text("xyz")),
        ]);
        let record = record(&nonsense);
        assert_eq!(record.verdict, VerdictName::Malformed);
        assert_eq!(record.whole, Some(WholeLine { bytes: Some(5), sha256: None }));
    }
}

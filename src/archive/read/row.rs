//! An entry of an archive: its values for a filter, and its record.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::LazyLock;

use data_encoding::HEXLOWER_PERMISSIVE;
use regex::bytes::{Regex, RegexBuilder};
use serde_json::value::RawValue;

use super::column::OwnedCell;
use crate::archive::error::ArchiveError;
use crate::archive::layout::Table;
use crate::archive::schema;
use crate::entry::fields::{KNOWN, Value};
use crate::entry::record::{Origin, Record, WholeLine};
use crate::entry::words::UnknownWord;
use crate::entry::{Fields, Format, Millis, VerdictName};
use crate::search::{Field, Filter, Held, Part, Values};

/// The places of the columns of entries, by their names.
static PLACES: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    let columns = schema::columns(Table::Entries).iter();
    columns.enumerate().map(|(at, column)| (column.name, at)).collect()
});

/// The place of a column of entries. A name that is not in the schema has a place without a column.
pub(super) fn place(name: &str) -> usize {
    PLACES.get(name).copied().unwrap_or(usize::MAX)
}

/// The values of an entry, by the places of the columns.
pub(super) trait Cells {
    /// The value in the column with this place. `None`: it is NULL, or the column was not read.
    fn cell(&self, place: usize) -> Option<&OwnedCell>;

    fn integer(&self, name: &str) -> Option<i64> {
        match self.cell(place(name))? {
            OwnedCell::Integer(number) => Some(*number),
            _ => None,
        }
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        match self.cell(place(name))? {
            OwnedCell::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.bytes(name).map(String::from_utf8_lossy)
    }
}

/// The values of one entry, each at its place.
impl Cells for [Option<OwnedCell>] {
    fn cell(&self, place: usize) -> Option<&OwnedCell> {
        self.get(place)?.as_ref()
    }
}

/// Some columns of some rows.
pub(super) struct Batch {
    columns: Vec<Vec<Option<OwnedCell>>>,
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch { columns: vec![Vec::new(); schema::columns(Table::Entries).len()] }
    }

    /// Sets the values of a column.
    pub(super) fn set(&mut self, place: usize, values: Vec<Option<OwnedCell>>) {
        if let Some(column) = self.columns.get_mut(place) {
            *column = values;
        }
    }

    pub(super) fn row(&self, at: usize) -> BatchRow<'_> {
        BatchRow { batch: self, at }
    }
}

/// A row of a batch.
#[derive(Clone, Copy)]
pub(super) struct BatchRow<'a> {
    batch: &'a Batch,
    at: usize,
}

impl BatchRow<'_> {
    /// The values of the row by themselves.
    pub(super) fn cells(&self) -> Vec<Option<OwnedCell>> {
        self.batch.columns.iter().map(|column| column.get(self.at).cloned().flatten()).collect()
    }
}

impl Cells for BatchRow<'_> {
    fn cell(&self, place: usize) -> Option<&OwnedCell> {
        self.batch.columns.get(place)?.get(self.at)?.as_ref()
    }
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
        let mut places = vec![place("id"), place("time"), place("hidden_by"), place("change")];
        self.filter.parts(&mut |part| {
            if let Part::Field(field, _) = part {
                places.push(place(column(field)));
                if may_be_among_extensions(field) {
                    places.push(place("extensions"));
                }
            }
        });
        places.sort_unstable();
        places.dedup();
        places.retain(|place| *place != usize::MAX);
        places
    }

    /// Whether an entry passes. `None` if that depends on the line, which is not given.
    pub(super) fn matches<C: Cells + ?Sized>(
        &self,
        cells: &C,
        line: Option<&[u8]>,
    ) -> Option<bool> {
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

struct Entry<'a, C: ?Sized> {
    cells: &'a C,
    line: Option<&'a [u8]>,
    words: &'a HashMap<String, Regex>,
    extensions: OnceCell<BTreeMap<String, Value>>,
}

impl<C: Cells + ?Sized> Values for Entry<'_, C> {
    fn value(&self, field: &Field) -> Option<Held<'_>> {
        let extension = |name: &str| {
            let all = self.extensions.get_or_init(|| extensions(self.cells));
            all.get(name).map(|value| Held::Text(value.as_text()))
        };
        if let Field::Extension(name) = field {
            return extension(name);
        }
        if *field == Field::Format {
            return Some(Held::Text(self.cells.text("format").unwrap_or(Format::UNKNOWN.into())));
        }
        let held = self.cells.cell(place(column(field))).map(|cell| match cell {
            OwnedCell::Integer(number) => Held::Integer(*number),
            OwnedCell::Boolean(boolean) => Held::Integer(i64::from(*boolean)),
            OwnedCell::Bytes(bytes) => Held::Text(String::from_utf8_lossy(bytes)),
        });
        held.or_else(|| may_be_among_extensions(field).then(|| extension(field.name())).flatten())
    }

    fn contains(&self, text: &str) -> Option<bool> {
        let line = self.line?;
        Some(self.words.get(text).is_some_and(|word| word.is_match(line)))
    }
}

/// The unknown fields, and values of known fields that do not fit the type.
fn extensions<C: Cells + ?Sized>(cells: &C) -> BTreeMap<String, Value> {
    let Some(json) = cells.bytes("extensions") else { return BTreeMap::new() };
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(json).unwrap_or_default();
    let value = |json: &RawValue| match json.get() {
        "true" => Value::Boolean(true),
        "false" => Value::Boolean(false),
        json => match serde_json::from_str(json) {
            Ok(text) => Value::Text(text),
            Err(_) => Value::Json(json.to_owned()),
        },
    };
    members.into_iter().map(|(name, json)| (name, value(&json))).collect()
}

/// The record of an entry.
pub(super) fn record<C: Cells + ?Sized>(cells: &C) -> Record {
    let mut fields = Fields::default();
    for (name, value) in extensions(cells) {
        fields.restore(&name, value);
    }
    for (name, _) in KNOWN {
        let value = cells.cell(place(name)).map(|cell| match cell {
            OwnedCell::Integer(number) => Value::Integer(*number),
            OwnedCell::Boolean(boolean) => Value::Boolean(*boolean),
            OwnedCell::Bytes(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        });
        if let Some(value) = value {
            fields.restore(name, value);
        }
    }
    let unsigned = |name: &str| cells.integer(name).and_then(|number| u64::try_from(number).ok());
    let time = |name: &str| cells.integer(name).map(Millis::saturating);
    let warnings = cells.text("warnings").unwrap_or_default();
    let sha256 = cells.bytes("line_sha256").and_then(|text| HEXLOWER_PERMISSIVE.decode(text).ok());
    let whole = WholeLine {
        bytes: unsigned("line_bytes"),
        sha256: sha256.and_then(|bytes| bytes.try_into().ok()),
    };
    Record {
        origin: Origin::Stored {
            id: unsigned("id").unwrap_or(0),
            input: cells.text("input").unwrap_or_default().into_owned(),
            received_at: time("received_at").unwrap_or(Millis::MIN),
            delivery_count: unsigned("delivery_count").unwrap_or(1),
        },
        time: time("time"),
        format: word(cells, "format"),
        kind: word(cells, "kind"),
        // A word that no version wrote counts as malformed, and never as valid.
        verdict: word(cells, "verdict").unwrap_or(VerdictName::Malformed),
        reason: cells.text("reason").map(Cow::into_owned),
        kid: cells.text("kid").map(Cow::into_owned),
        warnings: warnings.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
        fields,
        raw: cells.bytes("line").unwrap_or_default().to_vec(),
        whole: whole.bytes.is_some().then_some(whole),
    }
}

fn word<T: FromStr<Err = UnknownWord>, C: Cells + ?Sized>(cells: &C, name: &str) -> Option<T> {
    cells.text(name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(values: &[(&str, OwnedCell)]) -> Vec<Option<OwnedCell>> {
        let mut cells = vec![None; schema::columns(Table::Entries).len()];
        for (name, value) in values {
            cells[place(name)] = Some(value.clone());
        }
        cells
    }

    fn text(text: &'static str) -> OwnedCell {
        OwnedCell::Bytes(bytes::Bytes::from_static(text.as_bytes()))
    }

    fn entry() -> Vec<Option<OwnedCell>> {
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
            assert_eq!(search.matches(&entry()[..], line), Some(expected), "{query}");
            // The columns that it asks for are enough.
            let mut fewer = vec![None; entry().len()];
            for place in search.columns() {
                fewer[place] = entry()[place].clone();
            }
            assert_eq!(search.matches(&fewer[..], line), Some(expected), "{query}");
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
        let record = record(&entry()[..]);
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
        let nothing = record(&cells(&[])[..]);
        assert_eq!(nothing.verdict, VerdictName::Malformed);
        let nonsense = cells(&[
            ("id", OwnedCell::Integer(-1)),
            ("verdict", text("Valid")),
            ("extensions", text("[1")),
            ("line_bytes", OwnedCell::Integer(5)),
            ("line_sha256", text("xyz")),
        ]);
        let record = record(&nonsense[..]);
        assert_eq!(record.verdict, VerdictName::Malformed);
        assert_eq!(record.whole, Some(WholeLine { bytes: Some(5), sha256: None }));
    }
}

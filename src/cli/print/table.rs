//! Records as a table that fits the terminal.
//!
//! On a narrow terminal, less important columns are omitted and the others are cut. In a file or a
//! pipe nothing is cut.

use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthStr;

use super::Screen;
use super::grid::{GAP, cut, short, shorten_ids};
use crate::cli::terminal::sanitise;
use crate::entry::fields::Value;
use crate::entry::{Kind, Record, VerdictName};

struct Column {
    title: &'static str,
    /// The minimum width.
    least: usize,
    /// The width if no record is known.
    usual: usize,
    /// The minimum terminal width at which the column is shown.
    from: usize,
}

const COLUMNS: [Column; 7] = [
    Column { title: "TIME", least: 14, usual: 24, from: 0 },
    Column { title: "KIND", least: 14, usual: 14, from: 112 },
    Column { title: "VERDICT", least: 9, usual: 9, from: 0 },
    Column { title: "NAME", least: 14, usual: 34, from: 0 },
    Column { title: "PRINCIPAL", least: 13, usual: 20, from: 80 },
    Column { title: "SRC", least: 13, usual: 15, from: 96 },
    Column { title: "WHAT", least: 22, usual: 60, from: 0 },
];
const TIME: usize = 0;
const VERDICT: usize = 2;
const NAME: usize = 3;
const PRINCIPAL: usize = 4;
const SRC: usize = 5;
const WHAT: usize = 6;

/// The minimum terminal width for a full time with year, milliseconds and zone.
const WHOLE_TIME: usize = 140;

/// The order in which columns get more than their minimum width, and up to which width. Then each
/// column gets what it needs, as far as possible.
const GIVEN: [(usize, usize); 5] = [(TIME, 29), (SRC, 15), (NAME, 21), (WHAT, 36), (PRINCIPAL, 20)];

/// The prefix of the names of authentication entries, which is omitted on a terminal.
const PREFIX: &str = "AUTHENTICATION_OUTCOME_";

/// A table with its column widths. A column of width 0 is omitted.
pub(super) struct Table {
    screen: Screen,
    zone: Option<TimeZone>,
    widths: [usize; COLUMNS.len()],
}

type Cells = [String; COLUMNS.len()];

impl Table {
    pub(super) fn new(screen: Screen, zone: Option<TimeZone>) -> Table {
        Table { screen, zone, widths: COLUMNS.map(|column| column.least) }
    }

    /// Sets the widths for the first records, or the default widths if there are none. Returns the
    /// header, which only a terminal has.
    pub(super) fn begin(&mut self, records: &[Record]) -> String {
        let mut wanted = COLUMNS.map(|column| match records.is_empty() {
            true => column.usual,
            false => column.title.width(),
        });
        for record in records {
            for (wanted, cell) in wanted.iter_mut().zip(&self.cells(record)) {
                *wanted = (*wanted).max(cell.width());
            }
        }
        if !self.has_whole_time() {
            wanted[TIME] = COLUMNS[TIME].least;
        }
        self.widths = widths(wanted, self.screen.width);
        match self.screen.width {
            Some(_) => self.line(&COLUMNS.map(|column| column.title.to_owned()), None),
            None => String::new(),
        }
    }

    /// A record as a line, including the line end.
    pub(super) fn row(&self, record: &Record) -> String {
        let colour = self.screen.colours.then(|| colour(record.verdict));
        self.line(&self.cells(record), colour)
    }

    fn line(&self, cells: &Cells, colour: Option<&str>) -> String {
        let mut line = String::new();
        for (at, (cell, width)) in cells.iter().zip(self.widths).enumerate() {
            if width == 0 {
                continue;
            }
            if at > 0 {
                line += GAP;
            }
            let cell = match self.screen.width {
                Some(_) => cut(cell, width),
                None => cell.clone(),
            };
            let space = " ".repeat(width.saturating_sub(cell.width()));
            line += &match colour.filter(|_| at == VERDICT) {
                Some(colour) => format!("\x1b[{colour}m{cell}\x1b[0m"),
                None => cell,
            };
            line += &space;
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    }

    fn has_whole_time(&self) -> bool {
        self.screen.width.is_none_or(|width| width >= WHOLE_TIME)
    }

    /// The cells of a record. Uninformative parts are omitted on a terminal.
    fn cells(&self, record: &Record) -> Cells {
        let text = |name: &str| record.fields.get(name).map(Value::as_text).unwrap_or_default();
        let principal = match text("principal_name") {
            name if name.is_empty() => text("principal_id"),
            name => name,
        };
        let time = match (&record.time, &self.zone) {
            (Some(time), Some(zone)) => time.in_zone(zone).to_string(),
            (Some(time), None) => time.to_string(),
            (None, _) => String::new(),
        };
        let (name, what) = (text("name"), action(record));
        let (time, name, principal, what) = match self.screen.width {
            None => (time, name, principal, what),
            Some(_) => (
                if self.has_whole_time() { time } else { short(&time) },
                shorten_ids(name.strip_prefix(PREFIX).unwrap_or(&name)).into(),
                shorten_ids(&principal).into(),
                shorten_ids(&what),
            ),
        };
        [
            time,
            record.kind.map_or_else(|| "-".to_owned(), |kind| kind.to_string()),
            record.verdict.to_string(),
            sanitise(&name).into_owned(),
            sanitise(&principal).into_owned(),
            sanitise(&text("src")).into_owned(),
            sanitise(&what).into_owned(),
        ]
    }
}

/// A short description of the action.
fn action(record: &Record) -> String {
    let text = |name: &str| record.fields.get(name).map(Value::as_text).unwrap_or_default();
    let yes_or_no = |name: &str, yes: &str, no: &str| match record.fields.get(name) {
        Some(Value::Boolean(true)) => yes.to_owned(),
        Some(Value::Boolean(false)) => no.to_owned(),
        Some(other) => other.as_text().into_owned(),
        None => String::new(),
    };
    let words: Vec<String> = match record.kind {
        Some(Kind::Access) => {
            // The status is first, because a path may be cut.
            vec![text("status").into(), text("act").into(), text("request").into()]
        }
        Some(Kind::Authorization) => {
            vec![text("action").into(), yes_or_no("granted", "granted", "denied")]
        }
        Some(Kind::Authentication) => {
            let method = text("event_class_id");
            let method = method.strip_prefix("AUTHENTICATION_TYPE_").unwrap_or(&method);
            vec![
                method.to_owned(),
                yes_or_no("success", "succeeded", "failed"),
                text("request").into(),
            ]
        }
        Some(Kind::Other) => vec![text("request").into()],
        None => {
            // Only the beginning is ever shown.
            let beginning = record.raw.get(..200).unwrap_or(&record.raw);
            vec![String::from_utf8_lossy(beginning).into_owned()]
        }
    };
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The parameter of the escape sequence for the colour of a verdict (ECMA-48, SGR).
fn colour(verdict: VerdictName) -> &'static str {
    match verdict {
        VerdictName::Valid => "32",
        VerdictName::Invalid => "31",
        VerdictName::Malformed => "35",
        VerdictName::Unsigned | VerdictName::NoKey => "33",
    }
}

/// Fits the widths to a terminal. Without a terminal each column gets the wanted width.
fn widths(wanted: [usize; COLUMNS.len()], screen: Option<usize>) -> [usize; COLUMNS.len()] {
    let Some(screen) = screen else { return wanted };
    let mut widths = [0; COLUMNS.len()];
    // There is no gap after the last column.
    let mut left = screen + GAP.len();
    for ((width, column), wanted) in widths.iter_mut().zip(&COLUMNS).zip(wanted) {
        if screen >= column.from {
            *width = wanted.min(column.least);
            left = left.saturating_sub(*width + GAP.len());
        }
    }
    let to_all = [WHAT, NAME, PRINCIPAL, SRC].map(|at| (at, usize::MAX));
    for (at, most) in GIVEN.into_iter().chain(to_all) {
        if widths[at] > 0 {
            let more = wanted[at].min(most).saturating_sub(widths[at]).min(left);
            widths[at] += more;
            left -= more;
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::record::Origin;
    use crate::entry::{Fields, Format, Millis};

    fn record(kind: Option<Kind>, fields: &[(&str, &str)], raw: &str) -> Record {
        let mut all = Fields::default();
        for (name, value) in fields {
            all.restore(
                name,
                match *value {
                    "true" => Value::Boolean(true),
                    "false" => Value::Boolean(false),
                    value => Value::Text(value.into()),
                },
            );
        }
        Record {
            origin: Origin::File { source: "x:1".into() },
            time: Some(Millis::saturating(1_750_280_556_123)),
            format: Some(Format::Cef),
            kind,
            verdict: VerdictName::Valid,
            reason: None,
            kid: None,
            warnings: vec![],
            fields: all,
            raw: raw.into(),
            whole: None,
        }
    }

    const ACCESS: [(&str, &str); 6] = [
        ("name", "Ingress"),
        ("principal_name", "Jane Doe"),
        ("src", "10.0.0.1"),
        ("act", "POST"),
        ("request", "/v2/control-planes/0123456789/services"),
        ("status", "403"),
    ];

    fn check(screen: Option<usize>, colours: bool, expected: &[&str]) {
        let mut table = Table::new(Screen { width: screen, colours }, None);
        let record = record(Some(Kind::Access), &ACCESS, "");
        let text = table.begin(std::slice::from_ref(&record)) + &table.row(&record);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_table_fits_the_terminal() {
        check(
            None,
            false,
            &[
                "2025-06-18T21:02:36.123Z  access  valid    Ingress  Jane Doe   10.0.0.1  403 POST /v2/control-planes/0123456789/services",
            ],
        );
        check(
            Some(120),
            false,
            &[
                "TIME            KIND    VERDICT  NAME     PRINCIPAL  SRC       WHAT",
                "06-18 21:02:36  access  valid    Ingress  Jane Doe   10.0.0.1  403 POST /v2/control-planes/0123456789/services",
            ],
        );
        check(
            Some(140),
            false,
            &[
                "TIME                      KIND    VERDICT  NAME     PRINCIPAL  SRC       WHAT",
                "2025-06-18T21:02:36.123Z  access  valid    Ingress  Jane Doe   10.0.0.1  403 POST /v2/control-planes/0123456789/services",
            ],
        );
        check(
            Some(80),
            false,
            &[
                "TIME            VERDICT  NAME     PRINCIPAL  WHAT",
                "06-18 21:02:36  valid    Ingress  Jane Doe   403 POST /v2/control-planes/012345…",
            ],
        );
        for width in [1, 20, 65, 66, 79, 80, 81, 95, 96, 111, 112, 139, 140, 141, 200] {
            let wide = Value::Text("王".repeat(100));
            let mut record = record(Some(Kind::Access), &ACCESS, "");
            ["name", "principal_name", "src", "request"]
                .iter()
                .for_each(|name| record.fields.restore(name, wide.clone()));
            let mut table = Table::new(Screen { width: Some(width), colours: false }, None);
            let text = table.begin(std::slice::from_ref(&record)) + &table.row(&record);
            let widest = text.lines().map(str::width).max().unwrap();
            assert!(widest <= width.max(65), "{width}: {widest}\n{text}");
            // Nothing is known about records that arrive later.
            let text = table.begin(&[]) + &table.row(&record);
            let widest = text.lines().map(str::width).max().unwrap();
            assert!(widest <= width.max(67), "{width}: {widest}\n{text}");
        }
    }

    #[test]
    fn eighty_columns_have_room_for_the_action() {
        let id = "768dba25-7f3d-4b1c-8d9b-1f6e2a3c0f46";
        let name = format!("Authz.control-planes/{id}");
        let login = [
            ("name", "AUTHENTICATION_OUTCOME_LOCKED"),
            ("event_class_id", "AUTHENTICATION_TYPE_BASIC"),
            ("success", "false"),
            ("principal_id", id),
        ];
        let edit = [("name", name.as_str()), ("action", "retrieve"), ("granted", "false")];
        let records = [
            record(Some(Kind::Authentication), &login, ""),
            record(Some(Kind::Authorization), &edit, ""),
            record(Some(Kind::Access), &ACCESS, ""),
        ];
        let check = |width, expected: [&str; 4]| {
            let mut table = Table::new(Screen { width: Some(width), colours: false }, None);
            let text = table.begin(&records)
                + &records.iter().map(|record| table.row(record)).collect::<String>();
            assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{text}");
        };
        check(
            80,
            [
                "TIME            VERDICT  NAME              PRINCIPAL      WHAT",
                "06-18 21:02:36  valid    LOCKED            768dba25…0f46  BASIC failed",
                "06-18 21:02:36  valid    Authz.control-p…                 retrieve denied",
                "06-18 21:02:36  valid    Ingress           Jane Doe       403 POST /v2/control-…",
            ],
        );
    }

    #[test]
    fn only_a_verdict_has_a_colour() {
        check(
            Some(80),
            true,
            &[
                "TIME            VERDICT  NAME     PRINCIPAL  WHAT",
                "06-18 21:02:36  \x1b[32mvalid\x1b[0m    Ingress  Jane Doe   403 POST /v2/control-planes/012345…",
            ],
        );
    }

    #[test]
    fn hostile_text_does_not_move_columns() {
        let record = record(
            Some(Kind::Other),
            &[("name", "\x1b[2Ja\nb\u{202e}"), ("principal_id", "\u{9b}1m"), ("src", "\r")],
            "",
        );
        let table = Table::new(Screen { width: None, colours: false }, None);
        let row = table.row(&record);
        assert!(!row.trim_end().contains(|c: char| c.is_control() || c == '\u{202e}'), "{row:?}");
    }

    #[test]
    fn what_was_done() {
        let what = |kind, fields: &[(&str, &str)], raw| action(&record(kind, fields, raw));
        let authentication =
            [("event_class_id", "AUTHENTICATION_TYPE_BASIC"), ("success", "false")];
        assert_eq!(what(Some(Kind::Authentication), &authentication, ""), "BASIC failed");
        let authorization = [("action", "edit"), ("granted", "true")];
        assert_eq!(what(Some(Kind::Authorization), &authorization, ""), "edit granted");
        assert_eq!(what(Some(Kind::Access), &[("act", "PUT")], ""), "PUT");
        assert_eq!(what(None, &[], "some text"), "some text");
    }
}

//! How the page of entries shows what it selects: the columns of the table, its mode, what the
//! histogram is coloured by, and the fields that are counted. All of it stands in the address.

use crate::console::params::Params;
use crate::console::problem::Problem;
use crate::search::Field;
use crate::store::counts::SUMMARISED;

/// The most columns and facets.
const MOST: usize = 20;

/// The longest list of columns or facets, in bytes.
const MOST_BYTES: usize = 1024;

/// A column of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::console::pages) enum Column {
    /// Its time, which links to the entry.
    Time,
    /// Its kind.
    Kind,
    /// Its name, or its line if it has none.
    Name,
    /// The name of its principal, or else its id.
    Principal,
    /// Its address.
    Source,
    /// What came of it, in a few words.
    Outcome,
    /// Its verdict and warnings.
    Verdict,
    /// The line as received.
    Raw,
    /// The value of a field.
    Field(String),
}

/// The columns that are composed or shown in their own way.
const OWN: [(&str, Column, &str); 8] = [
    ("time", Column::Time, "Time"),
    ("kind", Column::Kind, "Kind"),
    ("name", Column::Name, "Name"),
    ("principal", Column::Principal, "Principal"),
    ("src", Column::Source, "Source"),
    ("outcome", Column::Outcome, "Outcome"),
    ("verdict", Column::Verdict, "Verdict"),
    ("raw", Column::Raw, "Raw line"),
];

impl Column {
    pub(in crate::console::pages) fn named(name: &str) -> Column {
        let own = OWN.iter().find(|(one, ..)| *one == name);
        own.map_or_else(|| Column::Field(name.to_owned()), |(_, column, _)| column.clone())
    }

    /// The name in the address.
    pub(in crate::console::pages) fn name(&self) -> &str {
        match self {
            Column::Field(name) => name,
            own => OWN.iter().find(|(_, one, _)| one == own).map_or("", |(name, ..)| name),
        }
    }

    /// The name in the head of the table.
    pub(in crate::console::pages) fn title(&self) -> &str {
        match self {
            Column::Field(name) => name,
            own => OWN.iter().find(|(_, one, _)| one == own).map_or("", |(.., title)| title),
        }
    }
}

/// How the table is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::console::pages) enum Mode {
    /// Long values are cut.
    #[default]
    Table,
    /// Like `Table`, with less space.
    Compact,
    /// Long values wrap.
    Wrapped,
    /// The lines as received.
    Raw,
}

impl Mode {
    pub(in crate::console::pages) const ALL: [(Mode, &str); 4] = [
        (Mode::Table, "table"),
        (Mode::Compact, "compact"),
        (Mode::Wrapped, "wrapped"),
        (Mode::Raw, "raw"),
    ];

    pub(in crate::console::pages) fn name(self) -> &'static str {
        Mode::ALL.iter().find(|(mode, _)| *mode == self).map_or("", |(_, name)| name)
    }
}

/// What a request says about the view. Members that are empty have their defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::console::pages) struct View {
    pub(in crate::console::pages) columns: String,
    pub(in crate::console::pages) mode: Mode,
    pub(in crate::console::pages) by: String,
    pub(in crate::console::pages) facets: String,
}

impl View {
    pub(in crate::console::pages) fn of(params: &Params) -> Result<View, Problem> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default().trim().to_owned();
        let mode = text(&params.view);
        let view = View {
            columns: text(&params.columns),
            mode: match Mode::ALL.iter().find(|(_, name)| *name == mode) {
                Some((mode, _)) => *mode,
                None if mode.is_empty() => Mode::Table,
                None => {
                    let expected = "expected table, compact, wrapped or raw";
                    return Err(Problem::parameter("view", expected));
                }
            },
            by: text(&params.by),
            facets: text(&params.facets),
        };
        // Every link of the page has them.
        for (name, list) in [("columns", &view.columns), ("facets", &view.facets)] {
            if names(list).count() > MOST || list.len() > MOST_BYTES {
                let expected = format!("expected at most {MOST} names, in {MOST_BYTES} bytes");
                return Err(Problem::parameter(name, expected));
            }
        }
        if params.more.as_ref().is_some_and(|name| name.len() > MOST_BYTES) {
            return Err(Problem::parameter("more", format!("expected at most {MOST_BYTES} bytes")));
        }
        Ok(view)
    }

    /// The parameters of an address, for `/`.
    pub(in crate::console::pages) fn parameters(&self) -> [(&'static str, &str); 4] {
        let mode = if self.mode == Mode::default() { "" } else { self.mode.name() };
        [
            ("columns", self.columns.as_str()),
            ("view", mode),
            ("by", self.by.as_str()),
            ("facets", self.facets.as_str()),
        ]
    }

    /// The columns of the table. The first is the time, which links to the entry.
    pub(in crate::console::pages) fn columns(&self) -> Vec<Column> {
        if self.mode == Mode::Raw {
            return vec![Column::Time, Column::Verdict, Column::Raw];
        }
        let chosen: Vec<_> = names(&self.columns).map(Column::named).collect();
        let mut columns = match chosen.is_empty() {
            true => OWN.iter().take(7).map(|(_, column, _)| column.clone()).collect(),
            false => chosen,
        };
        columns.retain(|column| *column != Column::Time);
        columns.insert(0, Column::Time);
        columns
    }

    /// The columns of an export: those that are chosen, in their fields. Empty for all.
    pub(in crate::console::pages) fn export_columns(&self) -> String {
        if !self.has_own_columns() {
            return String::new();
        }
        let fields: Vec<_> = self
            .columns()
            .iter()
            // A record does not have the number of its delivery.
            .filter(|column| column.name() != "delivery")
            .map(|column| match column {
                Column::Principal => "principal_id,principal_name".to_owned(),
                Column::Outcome => "status,granted,success".to_owned(),
                other => other.name().to_owned(),
            })
            .collect();
        fields.join(",")
    }

    /// Whether the columns are chosen.
    pub(in crate::console::pages) fn has_own_columns(&self) -> bool {
        self.mode != Mode::Raw && names(&self.columns).next().is_some()
    }

    /// The fields that are counted: those that the summaries have, and others.
    pub(in crate::console::pages) fn facets(&self) -> (Vec<Field>, Vec<Field>) {
        let chosen: Vec<_> = names(&self.facets).map(Field::named).collect();
        match chosen.is_empty() {
            true => (SUMMARISED.into_iter().map(Field::named).collect(), Vec::new()),
            false => chosen.into_iter().partition(|field| SUMMARISED.contains(&field.name())),
        }
    }

    /// The list of facets with or without `field`.
    pub(in crate::console::pages) fn with_facet(&self, field: &str, is_shown: bool) -> View {
        let (summarised, others) = self.facets();
        let shown = summarised.iter().chain(&others).map(|field| field.name());
        View { facets: changed(shown, field, is_shown), ..self.clone() }
    }

    /// Adds the facet of `field`, if it is not shown.
    pub(in crate::console::pages) fn show_facet(&mut self, field: &str) {
        let (summarised, others) = self.facets();
        if !summarised.iter().chain(&others).any(|one| one.name() == field) {
            *self = self.with_facet(field, true);
        }
    }

    /// The list of columns with or without `column`.
    pub(in crate::console::pages) fn with_column(&self, column: &str, is_shown: bool) -> View {
        let all = View { mode: Mode::Table, ..self.clone() }.columns();
        let shown = all.iter().map(Column::name);
        View { columns: changed(shown, column, is_shown), ..self.clone() }
    }
}

/// The names of a list, in which a comma separates two.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty())
}

fn changed<'a>(shown: impl Iterator<Item = &'a str>, name: &str, is_shown: bool) -> String {
    let mut names: Vec<_> = shown.filter(|one| *one != name).collect();
    if is_shown {
        names.push(name);
    }
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(columns: &str, facets: &str) -> View {
        View { columns: columns.into(), facets: facets.into(), ..View::default() }
    }

    #[test]
    fn columns_are_chosen_and_the_time_is_always_there() {
        let names = |columns: &str| {
            view(columns, "").columns().iter().map(|one| one.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["time", "kind", "name", "principal", "src", "outcome", "verdict"]);
        assert_eq!(names("status, cs1,,time"), ["time", "status", "cs1"]);
        assert_eq!(view("a", "").with_column("b", true).columns, "time,a,b");
        assert_eq!(view("a,b", "").with_column("a", false).columns, "time,b");
        let raw = View { mode: Mode::Raw, ..view("status", "") };
        assert_eq!(raw.columns(), [Column::Time, Column::Verdict, Column::Raw]);
    }

    #[test]
    fn an_export_has_the_fields_of_the_chosen_columns() {
        assert_eq!(view("", "").export_columns(), "");
        let chosen = view("time,principal,delivery,cs1", "").export_columns();
        assert_eq!(chosen, "time,principal_id,principal_name,cs1");
    }

    #[test]
    fn facets_are_chosen() {
        let (summarised, others) = view("", "kind,status").facets();
        assert_eq!((summarised[0].name(), others[0].name()), ("kind", "status"));
        assert_eq!(view("", "kind").with_facet("status", true).facets, "kind,status");
        assert_eq!(view("", "kind,src").with_facet("kind", false).facets, "src");
    }

    #[test]
    fn an_unknown_view_and_too_many_names_are_refused() {
        let params = |view: &str, columns: String| Params {
            view: Some(view.into()),
            columns: Some(columns),
            ..Params::default()
        };
        assert_eq!(View::of(&params("raw", String::new())).unwrap().mode, Mode::Raw);
        assert!(View::of(&params("grid", String::new())).unwrap_err().detail.contains("view"));
        assert!(View::of(&params("", "a,".repeat(21))).is_err());
        assert!(View::of(&params("", "!".repeat(1025))).is_err());
        let more = Params { more: Some("x".repeat(1025)), ..Params::default() };
        assert!(View::of(&more).is_err());
    }
}

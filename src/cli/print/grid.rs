//! Tables of anything but stored entries.
//!
//! On a terminal, columns that may be cut are fitted to the width. In a file or a pipe nothing is
//! cut.

use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use uuid::fmt::Hyphenated;

use super::Screen;
use crate::cli::terminal::sanitise;
use crate::entry::Millis;

/// The space between two columns.
pub(super) const GAP: &str = "  ";

#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    /// The minimum width; `None` if the column is never cut.
    least: Option<usize>,
    is_number: bool,
}

/// A column that is never cut.
pub(crate) const fn whole(title: &'static str) -> Column {
    Column { title, least: None, is_number: false }
}

/// A right-aligned column that is never cut.
pub(crate) const fn number(title: &'static str) -> Column {
    Column { title, least: None, is_number: true }
}

pub(crate) const fn cut_to(title: &'static str, least: usize) -> Column {
    Column { title, least: Some(least), is_number: false }
}

/// A table with `N` columns.
pub(crate) struct Grid<const N: usize> {
    columns: [Column; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Grid<N> {
    pub(crate) fn new(columns: [Column; N]) -> Grid<N> {
        Grid { columns, rows: Vec::new() }
    }

    /// Adds a row. The cells may contain untrusted text.
    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| sanitise(&cell).into_owned()));
    }

    /// The header and the rows as lines, or nothing if there are no rows.
    pub(crate) fn lines(&self, screen: Screen) -> Vec<String> {
        let titles = self.columns.map(|column| column.title.to_owned());
        let titles = (!self.rows.is_empty()).then_some(&titles);
        let rows: Vec<_> = titles.into_iter().chain(&self.rows).collect();
        let mut widths = [0; N];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(*row) {
                *width = (*width).max(cell.width());
            }
        }
        if let Some(screen) = screen.width {
            self.fit(&mut widths, screen);
        }
        rows.into_iter().map(|row| self.line(row, &widths)).collect()
    }

    /// Shrinks the widest column that may be cut until the row fits, or until no column can shrink.
    fn fit(&self, widths: &mut [usize; N], screen: usize) {
        let gaps = GAP.len() * N.saturating_sub(1);
        let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(screen);
        while over > 0 {
            let columns = widths.iter_mut().zip(&self.columns);
            let may = columns.filter(|(width, column)| column.least.is_some_and(|l| **width > l));
            let Some((width, _)) = may.max_by_key(|(width, _)| **width) else { return };
            *width -= 1;
            over -= 1;
        }
    }

    fn line(&self, cells: &[String; N], widths: &[usize; N]) -> String {
        let mut line = String::new();
        for ((cell, width), column) in cells.iter().zip(widths).zip(&self.columns) {
            let cell = cut(cell, *width);
            let space = " ".repeat(width.saturating_sub(cell.width()));
            line += &if column.is_number { space + &cell } else { cell + &space };
            line += GAP;
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Cuts a text to at most `width` columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let wide = c.width().unwrap_or(0);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// A time: `05-16 20:09:54` on a terminal, `2025-05-16T20:09:54.123Z` in a file.
pub(crate) fn time(time: Millis, zone: Option<&TimeZone>, screen: Screen) -> String {
    let text = match zone {
        Some(zone) => time.in_zone(zone).to_string(),
        None => time.to_string(),
    };
    match screen.width {
        Some(_) => short(&text),
        None => text,
    }
}

/// An RFC 3339 time without the year, the fraction of the second, and the zone.
pub(super) fn short(time: &str) -> String {
    match (time.get(5..10), time.get(11..19)) {
        (Some(day), Some(clock)) => format!("{day} {clock}"),
        _ => time.to_owned(),
    }
}

/// Shortens each UUID (RFC 9562, section 4) in a text: `768dba25…0f46`.
pub(crate) fn shorten_ids(text: &str) -> String {
    const LENGTH: usize = Hyphenated::LENGTH;
    let mut shortened = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match rest.get(..LENGTH).filter(|start| start.parse::<Hyphenated>().is_ok()) {
            Some(id) => {
                shortened.extend([&id[..8], "…", &id[LENGTH - 4..]]);
                rest = &rest[LENGTH..];
            }
            None => {
                shortened.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    shortened
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(width: Option<usize>, expected: &[&str]) {
        let columns = [whole("KEY"), cut_to("PLACE", 6), cut_to("WHY", 4), number("COUNT")];
        let mut grid = Grid::new(columns);
        grid.row(["one", "https://a.example/keys", "not there", "7"].map(str::to_owned));
        grid.row(["two", "王王王王", "", "1234567"].map(str::to_owned));
        let lines = grid.lines(Screen { width, colours: false });
        assert_eq!(lines, expected);
        let widest = lines.iter().map(|line| line.width()).max().unwrap();
        assert!(width.is_none_or(|width| widest <= width.max(26)), "{widest}");
    }

    #[test]
    fn a_grid_fits_the_terminal_and_is_whole_in_a_pipe() {
        check(
            None,
            &[
                "KEY  PLACE                   WHY          COUNT",
                "one  https://a.example/keys  not there        7",
                "two  王王王王                           1234567",
            ],
        );
        check(
            Some(80),
            &[
                "KEY  PLACE                   WHY          COUNT",
                "one  https://a.example/keys  not there        7",
                "two  王王王王                           1234567",
            ],
        );
        check(
            Some(40),
            &[
                "KEY  PLACE            WHY          COUNT",
                "one  https://a.exam…  not there        7",
                "two  王王王王                    1234567",
            ],
        );
        check(
            Some(20),
            &[
                "KEY  PLACE   WHY     COUNT",
                "one  https…  not…        7",
                "two  王王…         1234567",
            ],
        );
    }

    #[test]
    fn a_grid_without_rows_is_empty() {
        let grid = Grid::new([whole("A")]);
        assert!(grid.lines(Screen { width: Some(80), colours: false }).is_empty());
    }

    #[test]
    fn ids_are_shortened_in_the_middle() {
        let id = "768dba25-7f3d-4b1c-8d9b-1f6e2a3c0f46";
        assert_eq!(shorten_ids(id), "768dba25…0f46");
        assert_eq!(shorten_ids(&format!("é/{id}/x/{id}")), "é/768dba25…0f46/x/768dba25…0f46");
        assert_eq!(shorten_ids(&id[1..]), &id[1..]);
        assert_eq!(
            shorten_ids("768dba25-7f3d-4b1c-8d9b-1f6e2a3c0fé46"),
            "768dba25-7f3d-4b1c-8d9b-1f6e2a3c0fé46"
        );
    }

    #[test]
    fn a_time_is_short_on_a_terminal() {
        let at = Millis::saturating(1_747_426_194_123);
        let on = |width| time(at, None, Screen { width, colours: false });
        assert_eq!(on(Some(80)), "05-16 20:09:54");
        assert_eq!(on(None), "2025-05-16T20:09:54.123Z");
    }

    #[test]
    fn a_wide_character_is_not_cut_in_two() {
        assert_eq!(cut("王王王", 5), "王王…");
        assert_eq!(cut("王王王", 4), "王…");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
    }
}

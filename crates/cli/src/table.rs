//! Tables: one line per row, in columns that are as wide as their cells.

use crate::output::{display_width, sanitize};
use keepalive_engine::text::is_plain;
use rustix::termios::{isatty, tcgetwinsize};
use std::array;
use std::borrow::Cow;
use std::env;
use std::io;

/// Returns the columns and lines of the terminal on standard output; `None` if it is not a terminal.
pub(crate) fn terminal_size() -> Option<(usize, usize)> {
    let stdout = io::stdout();
    if !isatty(&stdout) {
        return None;
    }
    let size = tcgetwinsize(&stdout).ok()?;
    // A terminal that does not know its size reports 0.
    Some((
        if size.ws_col == 0 {
            crate::output::WIDTH
        } else {
            size.ws_col.into()
        },
        if size.ws_row == 0 { 24 } else { size.ws_row.into() },
    ))
}

/// Returns whether standard output shows colours: a terminal, unless `NO_COLOR` is set (<https://no-color.org>) or `TERM` is
/// `dumb` or unset.
pub(crate) fn has_colour() -> bool {
    let is_set = |name| env::var_os(name).filter(|value| !value.is_empty());
    isatty(io::stdout()) && is_set("NO_COLOR").is_none() && is_set("TERM").is_some_and(|term| term != "dumb")
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    heading: &'static str,
    /// The heading if space is limited.
    short: &'static str,
    is_right: bool,
    /// Whether no space separates the column from the previous one.
    is_joined: bool,
}

impl Column {
    /// Returns a left-aligned column.
    pub(crate) const fn left(heading: &'static str) -> Self {
        Self {
            heading,
            short: heading,
            is_right: false,
            is_joined: false,
        }
    }

    /// Returns a right-aligned column.
    pub(crate) const fn right(heading: &'static str) -> Self {
        Self {
            is_right: true,
            ..Self::left(heading)
        }
    }

    /// Sets the heading for narrow tables.
    pub(crate) const fn or_short(self, short: &'static str) -> Self {
        Self { short, ..self }
    }

    /// Joins the column to the previous one.
    pub(crate) const fn joined(self) -> Self {
        Self {
            is_joined: true,
            ..self
        }
    }
}

/// The style of a cell if colours are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Warning,
    Alarm,
}

impl Style {
    /// Returns the escape sequence that switches the style on (ECMA-48, SGR).
    const fn start(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Warning => "\x1b[33m",
            Self::Alarm => "\x1b[1;31m",
        }
    }

    const END: &str = "\x1b[0m";
}

/// A cell: a text that is safe for a terminal.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: Cow<'static, str>,
    /// The width in terminal columns.
    width: usize,
    style: Style,
}

impl Cell {
    /// Returns a cell with `text`, [sanitized](sanitize).
    pub(crate) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        let text = if is_plain(&text) { text } else { sanitize(&text).into() };
        Self {
            width: display_width(&text),
            text,
            style: Style::Plain,
        }
    }

    /// Sets the style.
    pub(crate) fn with_style(self, style: Style) -> Self {
        Self { style, ..self }
    }

    /// Returns the cell shortened to at most `width` columns; the last column marks the omission.
    fn shortened(&self, width: usize) -> Self {
        let mut cell = self.clone();
        if cell.width > width {
            let text = cell.text.to_mut();
            while cell.width >= width.max(1)
                && let Some(last) = text.pop()
            {
                cell.width -= display_width(last.encode_utf8(&mut [0; 4]));
            }
            text.push('…');
            cell.width += 1;
        }
        cell
    }
}

/// Rows of cells, with headings.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[Cell; N]>,
    is_shown: [bool; N],
    /// The width that each column requires for its cells; the heading may be wider, except if cells are shortened.
    widths: [usize; N],
    /// Whether the column shortens its heading and its wider cells.
    is_shortened: [bool; N],
    gap: usize,
    has_short_headings: bool,
}

impl<const N: usize> Table<N> {
    /// Returns a table with all of its columns, two spaces apart.
    pub(crate) fn new(columns: [Column; N], rows: Vec<[Cell; N]>) -> Self {
        let widths = array::from_fn(|index| rows.iter().map(|row| row[index].width).max().unwrap_or(0));
        Self {
            columns,
            rows,
            is_shown: [true; N],
            widths,
            is_shortened: [false; N],
            gap: 2,
            has_short_headings: false,
        }
    }

    /// Returns the width of the longest line, without the cells that may exceed their column
    /// ([`limit`](Self::limit)).
    pub(crate) fn width(&self) -> usize {
        let shown = (0..N).filter(|index| self.is_shown[*index]);
        shown.fold(0, |end, index| {
            end + self.space_before(index, end) + self.column_width(index)
        })
    }

    /// Uses the short headings.
    pub(crate) fn shorten_headings(&mut self) {
        self.has_short_headings = true;
    }

    /// Leaves one space between columns.
    pub(crate) fn narrow_gaps(&mut self) {
        self.gap = 1;
    }

    /// Hides a column.
    pub(crate) fn hide(&mut self, column: usize) {
        self.is_shown[column] = false;
    }

    /// Returns whether each cell of a column has one of these `texts`.
    pub(crate) fn has_only(&self, column: usize, texts: &[&str]) -> bool {
        let mut rows = self.rows.iter();
        rows.all(|row| texts.contains(&&*row[column].text))
    }

    /// Limits the width of a column. A wider cell moves only the rest of its own row.
    pub(crate) fn limit(&mut self, column: usize, width: usize) {
        let widths = self.rows.iter().map(|row| row[column].width);
        self.widths[column] = widths.filter(|cell| *cell <= width).max().unwrap_or(0);
    }

    /// Shortens the heading and the cells of a column by `excess` columns, to no fewer than `least`.
    pub(crate) fn shorten(&mut self, column: usize, excess: usize, least: usize) {
        let width = self.column_width(column);
        self.widths[column] = width.min(width.saturating_sub(excess).max(least));
        self.is_shortened[column] = true;
    }

    /// Lengthens a shortened column by up to `room` columns.
    pub(crate) fn lengthen(&mut self, column: usize, room: usize) {
        let cells = self.rows.iter().map(|row| row[column].width);
        let widest = cells.max().unwrap_or(0).max(display_width(self.heading(column)));
        self.widths[column] = widest.min(self.widths[column] + room);
    }

    /// Returns the lines, the headings first.
    pub(crate) fn render(&self, has_colour: bool) -> String {
        let headings = array::from_fn(|index| Cell::new(self.heading(index)));
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            self.render_row(row, has_colour, &mut text);
        }
        text
    }

    fn render_row(&self, row: &[Cell; N], has_colour: bool, text: &mut String) {
        // The end of the last character, and its end if no cell exceeded its column.
        let (mut end, mut column_end) = (0, 0);
        let spaces = |text: &mut String, count| text.extend(std::iter::repeat_n(' ', count));
        for (index, cell) in row.iter().enumerate().filter(|(index, _)| self.is_shown[*index]) {
            let gap = self.space_before(index, column_end);
            let start = column_end + gap;
            column_end = start + self.column_width(index);
            if cell.width == 0 {
                continue;
            }
            let cell = if self.is_shortened[index] {
                &cell.shortened(self.column_width(index))
            } else {
                cell
            };
            let wanted = if self.columns[index].is_right {
                column_end.saturating_sub(cell.width).max(start)
            } else {
                start
            };
            // A cell that is too wide is followed by a gap.
            let start = wanted.max(end + gap);
            spaces(text, start - end);
            match cell.style {
                style if has_colour && style != Style::Plain => text.extend([style.start(), &cell.text, Style::END]),
                _ => text.push_str(&cell.text),
            }
            end = start + cell.width;
        }
        text.push('\n');
    }

    /// Returns the number of spaces before a column, if the previous one ends at `end`.
    fn space_before(&self, column: usize, end: usize) -> usize {
        if end == 0 || self.columns[column].is_joined {
            0
        } else {
            self.gap
        }
    }

    fn heading(&self, column: usize) -> &'static str {
        let Column { heading, short, .. } = self.columns[column];
        if self.has_short_headings { short } else { heading }
    }

    fn column_width(&self, column: usize) -> usize {
        if self.is_shortened[column] {
            self.widths[column]
        } else {
            self.widths[column].max(display_width(self.heading(column)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Column, Style, Table};

    fn table(rows: &[[&'static str; 3]]) -> Table<3> {
        let columns = [
            Column::right("A"),
            Column::left("NAME"),
            Column::left("LAST-ONE").or_short("LAST"),
        ];
        Table::new(columns, rows.iter().map(|row| row.map(Cell::new)).collect())
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = table(&[["1", "ü", "x"], ["100", "longer", ""]]);
        assert_eq!(
            table.render(false),
            "  A  NAME    LAST-ONE\n  1  ü       x\n100  longer\n"
        );
        assert_eq!(table.width(), 21);
        table.shorten_headings();
        table.narrow_gaps();
        table.shorten(1, 1, 2);
        assert_eq!(table.render(false), "  A NAME  LAST\n  1 ü     x\n100 long…\n");
        assert_eq!(table.width(), 14);
        table.lengthen(1, 9);
        assert_eq!(table.render(false), "  A NAME   LAST\n  1 ü      x\n100 longer\n");
        table.hide(1);
        assert_eq!(table.render(false), "  A LAST\n  1 x\n100\n");
    }

    #[test]
    fn columns_are_aligned_behind_wide_and_combining_characters() {
        let mut table = table(&[["1", "日本語", "x"], ["2", "e\u{301}a", "y"], ["3", "abcdef", "z"]]);
        let text = "A  NAME    LAST-ONE\n1  日本語  x\n2  e\u{301}a      y\n3  abcdef  z\n";
        assert_eq!(table.render(false), text);
        table.shorten(1, 2, 1);
        let text = "A  NAME  LAST-ONE\n1  日…   x\n2  e\u{301}a    y\n3  abc…  z\n";
        assert_eq!(table.render(false), text);
    }

    #[test]
    fn a_cell_that_is_too_wide_moves_its_own_row_only_as_far_as_needed() {
        let mut table = table(&[["1", "abcdefgh", "x"], ["2", "ab", "y"]]);
        table.limit(1, 4);
        assert_eq!(table.render(false), "A  NAME  LAST-ONE\n1  abcdefgh  x\n2  ab    y\n");
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let columns = [Column::left("A"), Column::left("B")];
        let rows = vec![[Cell::new("off").with_style(Style::Warning), Cell::new("\x1b[2J")]];
        let table = Table::new(columns, rows);
        assert_eq!(table.render(false), "A    B\noff  \u{fffd}[2J\n");
        assert_eq!(table.render(true), "A    B\n\x1b[33moff\x1b[0m  \u{fffd}[2J\n");
    }
}

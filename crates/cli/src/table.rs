//! Tables: as wide as they must be, and on a narrow terminal folded, not cut.

use rustix::termios::{isatty, tcgetwinsize};
use std::fmt::Write as _;
use std::io;

/// The columns and lines of the terminal that standard output is, if it is one.
pub(crate) fn terminal_size() -> Option<(usize, usize)> {
    let stdout = io::stdout();
    if !isatty(&stdout) {
        return None;
    }
    let size = tcgetwinsize(&stdout).ok()?;
    // A terminal that does not know its size has 0.
    Some((
        if size.ws_col == 0 {
            crate::output::WIDTH
        } else {
            size.ws_col.into()
        },
        if size.ws_row == 0 { 24 } else { size.ws_row.into() },
    ))
}

/// Puts `rows`, of which the first is the heading, into columns two spaces apart. Columns whose heading begins with `>`
/// are flush right. Where `width` is not enough, the columns that are too many go on in a second line.
pub(crate) fn table<const N: usize>(rows: &[[String; N]], width: Option<usize>) -> String {
    let mut widths = [0; N];
    let mut is_right = [false; N];
    for (index, row) in rows.iter().enumerate() {
        for ((cell, width), is_right) in row.iter().zip(&mut widths).zip(&mut is_right) {
            *is_right |= index == 0 && cell.starts_with('>');
            *width = (*width).max(cell.trim_start_matches('>').chars().count());
        }
    }
    let fold = width.and_then(|width| first_beyond(&widths, width));
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (index, ((cell, width), is_right)) in row.iter().zip(widths).zip(is_right).enumerate() {
            if fold == Some(index) {
                let _ = writeln!(text, "{}", line.trim_end());
                line = " ".repeat(INDENT);
            } else if index > 0 {
                line.push_str(GAP);
            }
            let cell = cell.trim_start_matches('>');
            let _ = if is_right {
                write!(line, "{cell:>width$}")
            } else {
                write!(line, "{cell:<width$}")
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

const GAP: &str = "  ";
const INDENT: usize = 4;

/// The first column that ends beyond `width`.
fn first_beyond(widths: &[usize], width: usize) -> Option<usize> {
    let mut end = 0;
    widths.iter().position(|column| {
        end += column + if end == 0 { 0 } else { GAP.len() };
        end > width
    })
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_aligned_and_fold_where_there_is_no_room() {
        let rows = [[">A", "NAME", "LAST"], ["1", "ü", "x"], ["100", "longer", ""]].map(|row| row.map(String::from));
        let wide = "  A  NAME    LAST\n  1  ü       x\n100  longer\n";
        assert_eq!(table(&rows, None), wide);
        assert_eq!(table(&rows, Some(17)), wide);
        assert_eq!(
            table(&rows, Some(16)),
            "  A  NAME\n    LAST\n  1  ü\n    x\n100  longer\n\n"
        );
    }
}

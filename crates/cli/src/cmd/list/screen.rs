//! The screen of `keepalive list --watch`.

use crate::output::display_width;
use std::fmt::Write as _;

/// Returns the escape sequences and lines that draw `text` on a terminal of this size, in columns and lines,
/// over its previous content. Lines that do not fit are counted.
pub(super) fn redraw(text: &str, (width, height): (usize, usize)) -> String {
    const HOME: &str = "\x1b[H";
    const CLEAR_LINE: &str = "\x1b[K";
    const CLEAR_BELOW: &str = "\x1b[J";
    let lines: Vec<(&str, usize)> = text.lines().map(|line| (line, visible_width(line))).collect();
    let height_of = |(_, columns): &(&str, usize)| columns.div_ceil(width).max(1);
    let is_whole = lines.iter().map(height_of).sum::<usize>() < height;
    let mut room = if is_whole { height } else { height.saturating_sub(2) };
    let mut screen = String::from(HOME);
    let mut shown = 0;
    for line in &lines {
        let Some(rest) = room.checked_sub(height_of(line)) else {
            break;
        };
        room = rest;
        shown += 1;
        let (text, columns) = *line;
        screen.push_str(text);
        // After a full line the cursor is still on its last character, which clearing would remove.
        if columns == 0 || columns % width != 0 {
            screen.push_str(CLEAR_LINE);
        }
        screen.push('\n');
    }
    if shown < lines.len() {
        let _ = writeln!(screen, "({} more lines){CLEAR_LINE}", lines.len() - shown);
    }
    screen.push_str(CLEAR_BELOW);
    screen
}

/// Returns the width of a line, which may contain colours, in terminal columns.
fn visible_width(line: &str) -> usize {
    let mut parts = line.split("\x1b[");
    let first = parts.next().map_or(0, display_width);
    let others = parts.map(|part| part.split_once('m').map_or(0, |(_, text)| display_width(text)));
    first + others.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::redraw;

    #[test]
    fn lines_that_wrap_count_as_several() {
        let text = "abc\n\x1b[33mabcd\x1b[0m\nabcdef\n";
        let all = "\x1b[Habc\x1b[K\n\x1b[33mabcd\x1b[0m\nabcdef\x1b[K\n\x1b[J";
        assert_eq!(redraw(text, (4, 5)), all);
        let some = "\x1b[Habc\x1b[K\n\x1b[33mabcd\x1b[0m\n(1 more lines)\x1b[K\n\x1b[J";
        assert_eq!(redraw(text, (4, 4)), some);
    }
}

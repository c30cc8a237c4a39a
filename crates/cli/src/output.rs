//! What commands print: to standard output, whose reader may go away, within the width of a terminal.

use crate::error::{Error, FAILED};
use std::io::{self, Write as _};

/// Columns that a text without a terminal, and a narrow one, can count on.
pub(crate) const WIDTH: usize = 80;

/// Writes `text` to standard output. A closed pipe is no error.
///
/// # Errors
/// Any other reason for which it could not be written.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    is_read(text).map(drop)
}

/// As [`print`]; gives whether somebody still reads.
///
/// # Errors
/// As there.
pub(crate) fn is_read(text: &str) -> Result<bool, Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::new(
            FAILED,
            format!("cannot write to standard output: write: {error}"),
        )),
    }
}

/// `text` as a terminal can show it: what would move its cursor or more is replaced, tabs stay.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\t' => '\t',
            character if character.is_control() => char::REPLACEMENT_CHARACTER,
            character => character,
        })
        .collect()
}

/// Breaks a line into lines of at most `width` columns, the second and later ones indented by `indent`, each with its
/// line feed. A word that is wider stays whole, so that an address can still be copied.
pub(crate) fn wrap(line: &str, width: usize, indent: usize) -> String {
    let first = line.len() - line.trim_start().len();
    let mut text = " ".repeat(first);
    let mut column = first;
    let mut is_first = true;
    for word in line.split_whitespace() {
        let length = word.chars().count();
        if is_first {
            is_first = false;
        } else if column + 1 + length > width {
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
    text
}

/// The same for each line of a text.
pub(crate) fn harmless_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(harmless).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{harmless, wrap};

    #[test]
    fn a_text_cannot_write_over_the_terminal() {
        assert_eq!(harmless("a\tö\x1b[2J\r\u{9b}"), "a\tö\u{fffd}[2J\u{fffd}\u{fffd}");
    }

    #[test]
    fn lines_are_broken_between_words_and_never_within_one() {
        assert_eq!(wrap("", 10, 2), "\n");
        assert_eq!(wrap("  one two", 10, 2), "  one two\n");
        assert_eq!(wrap("  one two three", 10, 4), "  one two\n    three\n");
        assert_eq!(wrap("one twelve-letters two", 10, 0), "one\ntwelve-letters\ntwo\n");
        assert_eq!(wrap("zwölf höhö", 10, 0), "zwölf höhö\n");
    }
}

//! Prints the output of commands: to standard output, which may be closed, and within the width of a terminal.

mod unread;

use crate::error::{Error, FAILED, describe};
use keepalive_engine::text::is_plain;
pub(crate) use keepalive_engine::text::{sanitize, sanitize_text};
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use unicode_width::UnicodeWidthChar;
pub(crate) use unread::never_wait;

/// The width in columns for output that is not a terminal, and for narrow terminals.
pub(crate) const WIDTH: usize = 80;

/// Writes `text` to standard output, [sanitized](sanitize_text). A closed pipe is not an error.
///
/// # Errors
/// Any other failure to write.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    print_ignoring_epipe(&sanitize_text(text)).map(drop)
}

/// Writes `text`, which is sanitized and may contain colours, to standard output. A closed pipe is not an error.
///
/// # Errors
/// Any other failure to write.
pub(crate) fn print_styled(text: &str) -> Result<(), Error> {
    print_ignoring_epipe(text).map(drop)
}

/// Writes `text` to standard error, which may be closed, [sanitized](sanitize_text).
pub(crate) fn write_stderr(text: &str) {
    let text = sanitize_text(text);
    if unread::never_waits() {
        unread::write_or_drop(io::stderr().as_fd(), &text);
    } else {
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// Writes a line of the log of a command that runs until a signal, without wrapping.
pub(crate) fn log(text: &str) {
    write_stderr(&format!("keepalive: {text}\n"));
}

/// Writes `text` to standard output unchanged; returns whether the pipe is still open.
///
/// # Errors
/// Any other failure to write.
pub(crate) fn print_ignoring_epipe(text: &str) -> Result<bool, Error> {
    if unread::never_waits() {
        unread::write_or_drop(io::stdout().as_fd(), text);
        return Ok(true);
    }
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::new(
            FAILED,
            format!("cannot write to standard output: write: {}", describe(&error)),
        )),
    }
}

/// Returns a name or path, [sanitized](sanitize).
pub(crate) fn shown(name: impl AsRef<OsStr>) -> String {
    sanitize(&name.as_ref().to_string_lossy())
}

/// Returns the number of terminal columns of `text`, which contains no control characters. East Asian wide
/// characters have two columns, combining characters none (`wcwidth(3)`).
pub(crate) fn display_width(text: &str) -> usize {
    if is_plain(text) {
        return text.len();
    }
    text.chars().filter_map(UnicodeWidthChar::width).sum()
}

/// Breaks a line into lines of at most `width` columns, each with a line feed; indents the second and later
/// lines by `indent`. A wider word stays whole, so that users can still copy an address.
pub(crate) fn wrap(line: &str, width: usize, indent: usize) -> String {
    let start = line.trim_start();
    let first = line.len() - start.len();
    if line.len() <= width && is_plain(line) && !start.contains("  ") && !start.ends_with(' ') {
        return format!("{line}\n");
    }
    let mut text = " ".repeat(first);
    let mut column = first;
    let mut is_first = true;
    for word in line.split_whitespace() {
        let length = display_width(word);
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

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn lines_are_broken_between_words_and_never_within_one() {
        assert_eq!(wrap("", 10, 2), "\n");
        assert_eq!(wrap("  one two", 10, 2), "  one two\n");
        assert_eq!(wrap("  one  two ", 20, 2), "  one two\n");
        assert_eq!(wrap("  one two three", 10, 4), "  one two\n    three\n");
        assert_eq!(wrap("one twelve-letters two", 10, 0), "one\ntwelve-letters\ntwo\n");
        assert_eq!(wrap("zwölf höhö", 10, 0), "zwölf höhö\n");
        assert_eq!(wrap("日本 日本語", 10, 0), "日本\n日本語\n");
    }
}

//! Formats mistakes in rules as a compiler does: position, line, caret, hint.

use crate::output::{WIDTH, sanitize_text, wrap};
use keepalive_policy::parse::{Error, Item, parse, without_mark};
use std::fmt::Write as _;

/// Returns all mistakes in `text`, one after another; `None` if there are none. `name` is the origin of the
/// text, and `first_line` the number of its first line there.
pub(crate) fn mistakes(name: &str, first_line: u32, text: &[u8]) -> Option<String> {
    let text = without_mark(text);
    let mut shown = String::new();
    for error in parse(text).filter_map(Result::err) {
        if !shown.is_empty() {
            shown.push('\n');
        }
        show(&mut shown, name, first_line, text, &error);
    }
    (!shown.is_empty()).then_some(shown)
}

/// Returns the numbers of rules and defaults in `text`.
pub(crate) fn count(text: &[u8]) -> (usize, usize) {
    let items: Vec<Item<'_>> = parse(text).flatten().collect();
    let rules = items.iter().filter(|item| matches!(item, Item::Rule(_))).count();
    (rules, items.len() - rules)
}

fn show(shown: &mut String, name: &str, first_line: u32, text: &[u8], error: &Error) {
    let line = text
        .split(|byte| *byte == b'\n')
        .nth(error.line as usize - 1)
        .unwrap_or_default();
    let before = String::from_utf8_lossy(line.get(..error.start).unwrap_or_default()).into_owned();
    let wrong = String::from_utf8_lossy(line.get(error.start..error.end).unwrap_or_default()).into_owned();
    let column = before.chars().count() + 1;
    let number = error.line.saturating_add(first_line - 1).to_string();
    let margin = " ".repeat(number.len());
    // Tabs before the position stay tabs, so that the caret is below it at any tab width.
    let indent: String = before
        .chars()
        .map(|character| if character == '\t' { '\t' } else { ' ' })
        .collect();
    let carets = "^".repeat(wrong.chars().count().max(1));
    let line = sanitize_text(String::from_utf8_lossy(line).trim_end());
    // Writing to a string cannot fail.
    let _ = write!(
        shown,
        "{name}:{number}:{column}: {}\n {number} | {line}\n {margin} | {indent}{carets}\n{}",
        error.mistake.reason(),
        wrap(&format!("hint: {}", error.mistake.hint()), WIDTH, 6).trim_end(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_where_it_is() {
        let text = "# ü\n\tconnect 10.0.0.1/8 idle=1 # ü\naccept :x off\n";
        assert_eq!(
            mistakes("file", 1, text.as_bytes()).unwrap(),
            "file:2:10: the address has bits behind its prefix length\n \
             2 | \tconnect 10.0.0.1/8 idle=1 # ü\n   \
             | \t        ^^^^^^^^^^\n\
             hint: clear them, or write a longer prefix length\n\
             file:3:8: not a port or a range of ports\n \
             3 | accept :x off\n   \
             |        ^^\n\
             hint: write 443 or 8000-8999, from 0 to 65535, the lower first"
        );
        assert_eq!(mistakes("file", 1, b"default idle=1"), None);
        let marked = mistakes("file", 1, "\u{feff}accept :x off".as_bytes()).unwrap();
        assert!(marked.starts_with("file:1:8: "), "{marked}");
    }
}

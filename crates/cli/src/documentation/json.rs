//! The fields of JSON output, as a list in mdoc(7).

use super::prose::{Placeholders, mdoc};
use std::fmt::Write as _;

/// The note `The JSON object has: NAME, NAME (MEANING), NAME and NAME (MEANING). REST` as a list of fields, and the rest.
pub(super) fn fields(note: &str, placeholders: &Placeholders) -> String {
    let Some((start, list)) = note.split_once(": ") else {
        return mdoc(note, placeholders);
    };
    let (list, rest) = list.split_once(". ").unwrap_or((list.trim_end_matches('.'), ""));
    let mut items = String::new();
    for field in parts(list) {
        let (names, meaning) = field.split_once(" (").unwrap_or((field, ""));
        let _ = writeln!(items, ".It Va {}", names.replace(" and ", " , "));
        items.push_str(&mdoc(meaning.trim_end_matches(')'), placeholders));
    }
    let mut text = format!("{start}:\n.Bl -tag -width unanswered_probes -compact\n{items}.El\n");
    if !rest.is_empty() {
        text.push_str(".Pp\n");
        text.push_str(&mdoc(rest, placeholders));
    }
    text
}

/// The pieces between the commas outside of parentheses.
fn parts(list: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = list.split(|letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    });
    parts.map(str::trim).collect()
}

#[test]
fn fields_are_listed_with_their_meanings() {
    let text = fields(
        "The JSON object has: a, b_s and c_s (seconds, or null), d (x; y). Null is unknown.",
        &Vec::new(),
    );
    assert_eq!(
        text,
        "The JSON object has:\n.Bl -tag -width unanswered_probes -compact\n.It Va a\n.It Va b_s , c_s\nseconds, or null\n\
         .It Va d\nx; y\n.El\n.Pp\nNull is unknown.\n"
    );
}

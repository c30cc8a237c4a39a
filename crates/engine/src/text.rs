//! Makes text from other sources safe for a terminal.

/// Returns `text`, a name or a line, in a form that is safe for a terminal: U+FFFD replaces each character
/// that would move the cursor, change the order of others or be invisible.
pub fn sanitize(text: &str) -> String {
    replace_formats(text, "")
}

/// As [`sanitize`], for text of several lines: keeps line feeds and tabs.
pub fn sanitize_text(text: &str) -> String {
    replace_formats(text, "\n\t")
}

/// Replaces each character that [`is_format`], except those in `kept`.
fn replace_formats(text: &str, kept: &str) -> String {
    if text
        .bytes()
        .all(|byte| is_printable(byte) || kept.as_bytes().contains(&byte))
    {
        return text.to_owned();
    }
    let replace = |character| {
        if is_format(character) && !kept.contains(character) {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        }
    };
    text.chars().map(replace).collect()
}

/// Returns whether a text consists of the printable characters of ASCII, one column each, as nearly all texts do.
pub fn is_plain(text: &str) -> bool {
    text.bytes().all(is_printable)
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// Returns whether a character is a control or format character or a line or paragraph separator (Unicode's
/// general categories Cc, Cf, Zl and Zp, version 16).
pub fn is_format(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0001}'
                | '\u{e0020}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::{sanitize, sanitize_text};

    #[test]
    fn a_text_cannot_write_over_the_terminal() {
        assert_eq!(sanitize("a\tö\x1b[2J\r\u{9b}"), "a\u{fffd}ö\u{fffd}[2J\u{fffd}\u{fffd}");
        assert_eq!(
            sanitize("\u{202e}x\n\u{2067}\u{e0041}\u{200b}"),
            "\u{fffd}x\u{fffd}\u{fffd}\u{fffd}\u{fffd}"
        );
        assert_eq!(sanitize_text("a\tb\n\u{2028}\x07"), "a\tb\n\u{fffd}\u{fffd}");
    }
}

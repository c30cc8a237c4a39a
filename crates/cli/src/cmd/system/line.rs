//! The text of `/etc/ld.so.preload`: names of libraries, separated by white space and colons, and comments from `#` to the
//! end of the line (glibc, elf/rtld.c, `dl_main`).

use super::place::LIBRARY;
use std::ops::Range;

/// A library that the file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The number of the line, from 1.
    pub(super) line: usize,
    /// The name, which may be a path with tokens such as `$LIB`.
    pub(super) name: String,
    /// Whether the name is in a comment, where glibc reads it by mistake.
    pub(super) is_comment: bool,
    place: Range<usize>,
}

impl Entry {
    /// Returns whether the entry is the copy that `enable` makes.
    pub(super) fn is_ours(&self) -> bool {
        !self.is_comment && self.name.rsplit('/').next() == Some(LIBRARY)
    }
}

/// Returns the entries as the syntax defines them.
pub(super) fn entries(text: &[u8]) -> Vec<Entry> {
    words(text, &without_comments(text, false))
}

/// Returns the entries as glibc reads them. After the first comment, glibc searches for later ones only in
/// the beginning of the file, in as many bytes as follow the first comment. It reads the comments that it
/// misses as names.
pub(super) fn entries_of_glibc(text: &[u8]) -> Vec<Entry> {
    let meant = entries(text);
    let mut read = words(text, &without_comments(text, true));
    for entry in &mut read {
        entry.is_comment = !meant.iter().any(|other| other.place == entry.place);
    }
    read
}

/// Returns the text with its comments replaced by blanks.
fn without_comments(text: &[u8], as_glibc: bool) -> Vec<u8> {
    let mut blank = text.to_vec();
    let mut begin = 0;
    let mut rest = text.len();
    while let Some(at) = blank
        .get(begin..begin + rest)
        .and_then(|text| text.iter().position(|byte| *byte == b'#'))
    {
        let comment = begin + at;
        let length = blank[comment..]
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(blank.len() - comment);
        let length = length.min(rest - at);
        blank[comment..comment + length].fill(b' ');
        rest -= at + length;
        if !as_glibc {
            begin = comment + length;
        }
    }
    blank
}

fn words(text: &[u8], blank: &[u8]) -> Vec<Entry> {
    let is_between = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b':');
    let mut entries = Vec::new();
    let mut at = 0;
    while at < blank.len() {
        if is_between(blank[at]) {
            at += 1;
            continue;
        }
        let length = blank[at..]
            .iter()
            .position(|byte| is_between(*byte))
            .unwrap_or(blank.len() - at);
        let place = at..at + length;
        entries.push(Entry {
            line: text[..at].split(|byte| *byte == b'\n').count(),
            name: String::from_utf8_lossy(&blank[place.clone()]).into_owned(),
            is_comment: false,
            place,
        });
        at += length;
    }
    entries
}

/// Returns the text with `name` as keepalive's only entry. All other text stays, and a missing line feed at
/// the end stays missing. The entry comes last, because glibc detects more comments if more text follows the
/// first one.
pub(super) fn with(text: &[u8], name: &str) -> Vec<u8> {
    let ours: Vec<Entry> = entries(text).into_iter().filter(Entry::is_ours).collect();
    if matches!(&ours[..], [entry] if entry.name == name) {
        return text.to_vec();
    }
    let mut text = without(text);
    let is_ended = text.last().is_none_or(|byte| *byte == b'\n');
    if !is_ended {
        text.push(b'\n');
    }
    text.extend_from_slice(name.as_bytes());
    if is_ended {
        text.push(b'\n');
    }
    text
}

/// Returns the text without keepalive's entries. A line that contains nothing else is removed.
pub(super) fn without(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    while let Some(entry) = entries(&text).into_iter().rfind(Entry::is_ours) {
        let begin = text[..entry.place.start]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let end = text[entry.place.end..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|at| entry.place.end + at);
        let is_alone = |part: &[u8]| part.iter().all(|byte| matches!(byte, b' ' | b'\t' | b':'));
        let stop = end.unwrap_or(text.len());
        let gone = if !is_alone(&text[begin..entry.place.start]) {
            // The blank before the entry is removed with it.
            entry.place.start - 1..entry.place.end
        } else if !is_alone(&text[entry.place.end..stop]) {
            entry.place.start..entry.place.end + 1
        } else if let Some(end) = end {
            begin..end + 1
        } else {
            // The last line has no line feed; the line before it must keep none either.
            begin.saturating_sub(1)..text.len()
        };
        text.drain(gone);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "/usr/lib/keepalive-system.so";

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn insertion_and_removal_restore_every_byte() {
        for before in [
            "",
            "/lib/a.so\n",
            "/lib/a.so",
            "# comment",
            "# comment\n\n",
            "\n",
            " /lib/a.so:/lib/b.so\t",
            "a.so # keepalive-system.so is not meant",
        ] {
            let during = with(before.as_bytes(), OURS);
            let names: Vec<String> = entries(&during).into_iter().map(|entry| entry.name).collect();
            assert_eq!(names.last().map(String::as_str), Some(OURS), "{before:?}");
            assert_eq!(with(&during, OURS), during, "{before:?}");
            assert_eq!(text(without(&during)), before);
        }
    }

    #[test]
    fn another_spelling_of_ours_is_replaced() {
        for before in [
            "/usr/$LIB/keepalive-system.so\n",
            "/a/keepalive-system.so:/b/keepalive-system.so\n",
        ] {
            assert_eq!(text(with(before.as_bytes(), OURS)), format!("{OURS}\n"));
        }
    }

    #[test]
    fn other_entries_of_the_line_stay() {
        for (before, after) in [
            ("/a.so /x/keepalive-system.so\n", "/a.so\n"),
            ("/x/keepalive-system.so /a.so\n", "/a.so\n"),
            ("/a.so:/x/keepalive-system.so:/b.so", "/a.so:/b.so"),
            ("/x/keepalive-system.so # ours\n", "# ours\n"),
            (
                "/x/keepalive-system.so.1 libkeepalive.so\n",
                "/x/keepalive-system.so.1 libkeepalive.so\n",
            ),
        ] {
            assert_eq!(text(without(before.as_bytes())), after);
        }
    }

    /// Measured with glibc 2.31, 2.36 and 2.41.
    #[test]
    fn a_later_comment_may_be_taken_for_names() {
        let text = b"# one\n# two\n/k.so\n# three and more words\n";
        let read = entries_of_glibc(text);
        let seen: Vec<(usize, &str, bool)> = read
            .iter()
            .map(|entry| (entry.line, &entry.name[..], entry.is_comment))
            .collect();
        let expected = [
            (3, "/k.so", false),
            (4, "and", true),
            (4, "more", true),
            (4, "words", true),
        ];
        assert_eq!(seen, expected);
        assert_eq!(entries(text).len(), 1);
        assert_eq!(entries_of_glibc(b"# a comment\n/k.so\n").len(), 1);
    }
}

//! Sentences of the help as mdoc(7). The help marks words up by their form: `--option`, `'literal'`, `page(7)`, `/path`,
//! `VARIABLE` and, for what the user puts there, the name of a value such as `COMMAND`.

use clap::{Arg, Command};
use std::collections::BTreeSet;

/// Punctuation that follows a word, which mdoc(7) takes as words of its own.
const CLOSING: [char; 6] = ['.', ',', ';', ':', ')', '?'];
/// How variables of the environment begin.
const VARIABLES: [&str; 3] = ["KEEP", "LD_", "NO_"];

/// Knows which words stand for values.
pub(crate) struct Markup {
    values: BTreeSet<String>,
}

impl Markup {
    /// For the values of all subcommands.
    pub(crate) fn new(root: &Command) -> Self {
        let mut values = BTreeSet::new();
        collect_values(root, &mut values);
        Self { values }
    }

    /// `text` in mdoc(7), at most a sentence a line.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut lines = Lines::default();
        for piece in pieces(text) {
            if let Some(request) = self.request(&piece) {
                lines.end();
                lines.text.push_str(&request);
                lines.text.push('\n');
                continue;
            }
            if !lines.line.is_empty() {
                lines.line.push(' ');
            }
            lines.line.push_str(&escaped(&piece));
            if piece.ends_with(['.', '?']) || lines.line.len() > 70 {
                lines.end();
            }
        }
        lines.end();
        lines.text
    }

    /// The same with a full stop at its end.
    pub(crate) fn sentence(&self, text: &str) -> String {
        if text.is_empty() || text.ends_with(['.', '?']) {
            return self.text(text);
        }
        self.text(&format!("{text}."))
    }

    /// The macro line for a piece that needs one.
    fn request(&self, piece: &str) -> Option<String> {
        let core = piece.trim_start_matches('(');
        let open = piece.len() - core.len();
        // The parenthesis of `tcp(7)` belongs to it.
        let core = match (core.find('('), core.find(')')) {
            (Some(_), Some(end)) => &core[..=end],
            _ => core.trim_end_matches(CLOSING),
        };
        let after = piece[open + core.len()..].chars().map(|mark| format!(" {mark}"));
        let (name, words) = self.content(core)?;
        let before = if open > 0 { "( " } else { "" };
        Some(format!(".{name} {before}{words}{}", after.collect::<String>()))
    }

    /// The macro of a word, and its arguments.
    fn content(&self, core: &str) -> Option<(&'static str, String)> {
        let is_all = |allowed: fn(char) -> bool| core.chars().all(allowed);
        let page = core.strip_suffix(')').and_then(|core| core.split_once('('));
        if let Some(quoted) = core.strip_prefix('\'').and_then(|core| core.strip_suffix('\'')) {
            Some(("Ql", literal(quoted)))
        } else if let Some((name, section)) = page {
            section.parse::<u8>().ok()?;
            Some(("Xr", format!("{name} {section}")))
        } else if core.starts_with("--") && core.len() > 2 {
            Some(("Fl", core[1..].to_owned()))
        } else if VARIABLES.iter().any(|start| core.starts_with(start))
            && is_all(|letter| letter.is_ascii_uppercase() || letter == '_')
            // A column of a table.
            && core != "KEEPALIVE"
        {
            Some(("Ev", core.to_owned()))
        } else if core.starts_with("CAP_") {
            Some(("Dv", core.to_owned()))
        } else if self.values.contains(core) {
            Some(("Ar", argument(core).split_off("Ar ".len())))
        } else if core.starts_with('/') && is_all(|letter| letter.is_alphanumeric() || "/.-_".contains(letter)) {
            Some(("Pa", core.to_owned()))
        } else {
            None
        }
    }
}

/// Adds the names of all values, and of the parts of `ADDRESS:PORT`.
fn collect_values(command: &Command, values: &mut BTreeSet<String>) {
    let args = command.get_arguments().filter(|arg| arg.get_action().takes_values());
    for name in args.filter_map(Arg::get_value_names).flatten() {
        let is_value = |part: &&str| part.len() > 1 && part.chars().all(|letter| letter.is_ascii_uppercase());
        values.extend(name.split(':').filter(is_value).map(String::from));
        values.extend(Some(name.to_string()).filter(|name| name.contains(':')));
    }
    for subcommand in command.get_subcommands() {
        collect_values(subcommand, values);
    }
}

/// Lines in the making.
#[derive(Default)]
struct Lines {
    text: String,
    line: String,
}

impl Lines {
    fn end(&mut self) {
        if !self.line.is_empty() {
            // A line that begins with one of these would be a request.
            if self.line.starts_with(['.', '\'']) {
                self.text.push_str("\\&");
            }
            self.text.push_str(&self.line);
            self.text.push('\n');
            self.line.clear();
        }
    }
}

/// Words, and what stands between single quotes, which stays together.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut is_quoted = false;
    for word in text.split_whitespace() {
        match pieces.last_mut() {
            Some(piece) if is_quoted => {
                piece.push(' ');
                piece.push_str(word);
            }
            _ => pieces.push(word.to_owned()),
        }
        let opens = word.trim_start_matches('(').starts_with('\'');
        let closes = word.trim_end_matches(CLOSING).ends_with('\'') && word.trim_matches(['(', '\'']).len() > 1;
        is_quoted = (is_quoted || opens) && !closes;
    }
    pieces
}

/// The name of a value as an argument: `HOST:PORT`, `connect|accept`.
pub(crate) fn argument(name: &str) -> String {
    let is_literal = name.chars().any(char::is_lowercase);
    // A colon has no blank before it anyway.
    let (request, mark, separator) = if is_literal {
        ("Cm", '|', " | ")
    } else {
        ("Ar", ':', " : Ns ")
    };
    let parts = name.split(mark);
    let parts: Vec<String> = parts
        .map(|part| format!("{request} {}", protected(&part.to_lowercase())))
        .collect();
    parts.join(separator)
}

/// Words for a macro line, of which none is a macro.
pub(crate) fn literal(text: &str) -> String {
    let words: Vec<String> = text.split(' ').map(protected).collect();
    words.join(" ")
}

fn protected(word: &str) -> String {
    let word = escaped(word).replace('"', "\\(dq");
    let could_be_macro = word.len() <= 3 && word.starts_with(|first: char| first.is_ascii_uppercase());
    if could_be_macro || ".,;:()[]?!|".contains(&word) {
        format!("\\&{word}")
    } else {
        word
    }
}

/// Text in which nothing is an escape. Between blanks x is a sign, as in `idle + interval x count`.
pub(crate) fn escaped(text: &str) -> String {
    if text == "x" {
        return String::from("\\(mu");
    }
    text.replace('\\', "\\e")
}

#[test]
fn words_are_marked_up_by_their_form() {
    let markup = Markup {
        values: ["COMMAND", "NAME"].map(String::from).into(),
    };
    for (text, mdoc) in [
        ("Nothing is run.", "Nothing is run.\n"),
        ("with --watch, an object", "with\n.Fl -watch ,\nan object\n"),
        (
            "(KEEPIDLE, ...; see libkeepalive(7)), that",
            ".Ev ( KEEPIDLE ,\n\\&...; see\n.Xr libkeepalive 7 ) ,\nthat\n",
        ),
        (
            "as 'keepalive presets' lists them.",
            "as\n.Ql keepalive presets\nlists them.\n",
        ),
        ("Use --preset NAME, or", "Use\n.Fl -preset\n.Ar name ,\nor\n"),
        ("One. Two of COMMAND; 3.", "One.\nTwo of\n.Ar command ;\n3.\n"),
        ("before /etc/keepalive.conf.", "before\n.Pa /etc/keepalive.conf .\n"),
        ("shown as '?'.", "shown as\n.Ql \\&? .\n"),
        ("'[::1]:443', ':8000'", ".Ql [::1]:443 ,\n.Ql :8000\n"),
        ("idle + interval x count", "idle + interval \\(mu count\n"),
    ] {
        assert_eq!(markup.text(text), mdoc);
    }
    assert_eq!(argument("HOST:PORT"), "Ar host : Ns Ar port");
    assert_eq!(argument("allow|deny"), "Cm allow | Cm deny");
}

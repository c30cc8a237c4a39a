//! Sentences of the help as mdoc(7): options, variables, files and other pages get their macros.

/// Words that stand for what the user puts in their place, as the help writes them: `COMMAND`.
pub(super) type Placeholders = Vec<String>;

/// `text` in mdoc, a line a sentence at most.
pub(super) fn mdoc(text: &str, placeholders: &Placeholders) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    let mut is_value = false;
    for piece in pieces(text) {
        // What follows an option in capitals stands for its value.
        let value: Placeholders = match piece.trim_end_matches(CLOSING) {
            word if is_value && word.chars().all(|letter| letter.is_ascii_uppercase()) => vec![word.to_owned()],
            _ => Vec::new(),
        };
        let request = request(&piece, &[placeholders.as_slice(), &value].concat());
        is_value = piece.starts_with("--");
        if request.is_none() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&escaped(&piece));
        }
        if request.is_some() || piece.ends_with(['.', '?']) || line.len() > 70 {
            finish(&mut lines, &mut line);
        }
        if let Some(request) = request {
            lines.push_str(&request);
            lines.push('\n');
        }
    }
    finish(&mut lines, &mut line);
    lines
}

fn finish(lines: &mut String, line: &mut String) {
    if !line.is_empty() {
        // A line that begins with one of these would be a request.
        if line.starts_with(['.', '\'']) {
            lines.push_str("\\&");
        }
        lines.push_str(line);
        lines.push('\n');
        line.clear();
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

const CLOSING: [char; 6] = ['.', ',', ';', ':', ')', '?'];

/// The macro line for a piece that needs one.
fn request(piece: &str, placeholders: &Placeholders) -> Option<String> {
    let core = piece.trim_start_matches('(');
    let open = piece.len() - core.len();
    // The parenthesis of `tcp(7)` belongs to it.
    let core = match (core.find('('), core.find(')')) {
        (Some(_), Some(end)) => &core[..=end],
        _ => core.trim_end_matches(CLOSING),
    };
    let (before, after) = (&piece[..open], &piece[open + core.len()..]);
    let content = content(core, placeholders)?;
    let mut line = format!(".{content}");
    if !before.is_empty() {
        let (name, words) = content.split_once(' ')?;
        line = format!(".{name} ( {words}");
    }
    for mark in after.chars() {
        line.push(' ');
        line.push(mark);
    }
    Some(line)
}

fn content(core: &str, placeholders: &Placeholders) -> Option<String> {
    if let Some(quoted) = core.strip_prefix('\'').and_then(|core| core.strip_suffix('\'')) {
        return Some(format!("Ql {}", literal(quoted)));
    }
    if let Some((name, section)) = core.strip_suffix(')').and_then(|core| core.split_once('(')) {
        return section.parse::<u8>().ok().map(|section| format!("Xr {name} {section}"));
    }
    let is_option = core.starts_with("--") && core.len() > 2;
    if is_option {
        return Some(format!("Fl {}", &core[1..]));
    }
    let is_variable = ["KEEP", "LD_", "NO_"].iter().any(|prefix| core.starts_with(prefix))
        && core.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_');
    if is_variable && core != "KEEPALIVE" {
        return Some(format!("Ev {core}"));
    }
    if core.starts_with("CAP_") {
        return Some(format!("Dv {core}"));
    }
    if placeholders.iter().any(|placeholder| placeholder == core) {
        return Some(argument(core));
    }
    let is_path = core.starts_with('/')
        && core
            .chars()
            .all(|letter| letter.is_alphanumeric() || "/.-_".contains(letter));
    is_path.then(|| format!("Pa {core}"))
}

/// A placeholder of the help as an argument: `HOST:PORT`, `connect|accept`.
pub(super) fn argument(placeholder: &str) -> String {
    let is_literal = placeholder.chars().any(char::is_lowercase);
    let (name, mark) = if is_literal { ("Cm", '|') } else { ("Ar", ':') };
    let parts: Vec<String> = placeholder
        .split(mark)
        .map(|part| format!("{name} {}", protected(&part.to_lowercase())))
        .collect();
    // A colon has no blank before it anyway.
    let separator = if is_literal { " | " } else { " : Ns " };
    parts.join(separator)
}

/// Words for a macro line, of which none is a macro.
pub(super) fn literal(text: &str) -> String {
    let words: Vec<String> = text.split(' ').map(protected).collect();
    words.join(" ")
}

fn protected(word: &str) -> String {
    let word = escaped(word).replace('"', "\\(dq");
    let could_be_macro = word.len() <= 3 && word.starts_with(|first: char| first.is_ascii_uppercase());
    let is_mark = matches!(
        word.as_str(),
        "." | "," | ";" | ":" | "(" | ")" | "[" | "]" | "?" | "!" | "|"
    );
    if could_be_macro || is_mark {
        format!("\\&{word}")
    } else {
        word
    }
}

/// Text in which nothing is an escape. Between blanks x is a sign, as in `idle + interval x count`.
pub(super) fn escaped(text: &str) -> String {
    if text == "x" {
        return String::from("\\(mu");
    }
    text.replace('\\', "\\e")
}

#[test]
fn what_has_a_macro_gets_it() {
    let placeholders = vec![String::from("COMMAND")];
    for (text, mdoc_text) in [
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
        (
            "Use --preset NAME, or a NAME.",
            "Use\n.Fl -preset\n.Ar name ,\nor a NAME.\n",
        ),
        ("One. Two of COMMAND; 3.", "One.\nTwo of\n.Ar command ;\n3.\n"),
        ("before /etc/keepalive.conf.", "before\n.Pa /etc/keepalive.conf .\n"),
        ("shown as '?'.", "shown as\n.Ql \\&? .\n"),
        ("'[::1]:443', ':8000'", ".Ql [::1]:443 ,\n.Ql :8000\n"),
        ("idle + interval x count", "idle + interval \\(mu count\n"),
    ] {
        assert_eq!(mdoc(text, &placeholders), mdoc_text);
    }
    assert_eq!(argument("HOST:PORT"), "Ar host : Ns Ar port");
    assert_eq!(argument("allow|deny"), "Cm allow | Cm deny");
}

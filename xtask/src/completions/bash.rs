//! bash.

use super::{Kind, Node, fill, kinds, names, quoted};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the values of an option can be, with the subcommands for which they are that.
type Uses = Vec<(Vec<Kind>, Vec<String>)>;

pub(super) fn script(nodes: &[Node<'_>]) -> String {
    let script = fill(include_str!("template.bash"), "@SUBCOMMANDS@", &subcommands(nodes));
    fill(&script, "@OPTIONS@", &options(nodes))
}

fn subcommands(nodes: &[Node<'_>]) -> String {
    let mut text = String::new();
    for node in nodes {
        let commands: Vec<&str> = node.subcommands().map(|(name, _)| name).collect();
        let options: Vec<String> = node
            .options()
            .flat_map(names)
            .filter(|name| name.starts_with("--"))
            .collect();
        let _ = write!(
            text,
            "    {})\n        commands='{}'\n        options='{}'\n        operand={}\n        ;;\n",
            quoted(&node.path.join(" ")),
            commands.join(" "),
            options.join(" "),
            node.operands().map_or_else(|| String::from("''"), |kind| word(&kind)),
        );
    }
    text
}

fn options(nodes: &[Node<'_>]) -> String {
    let mut options: BTreeMap<String, Uses> = BTreeMap::new();
    for node in nodes {
        for arg in node.options().filter(|arg| !kinds(arg).is_empty()) {
            for name in names(arg) {
                let uses = options.entry(name).or_default();
                let path = node.path.join(" ");
                match uses.iter_mut().find(|(there, _)| *there == kinds(arg)) {
                    Some((_, paths)) => paths.push(path),
                    None => uses.push((kinds(arg), vec![path])),
                }
            }
        }
    }
    let mut text = String::new();
    for (name, uses) in options {
        for (kinds, paths) in &uses {
            let patterns: Vec<String> = if uses.len() == 1 {
                vec![format!("*' {name}'")]
            } else {
                paths.iter().map(|path| quoted(&format!("{path} {name}"))).collect()
            };
            let kinds: Vec<String> = kinds.iter().map(word).collect();
            let _ = writeln!(text, "    {}) kinds=({}) ;;", patterns.join(" | "), kinds.join(" "));
        }
    }
    text
}

/// As `_keepalive_complete` takes it.
fn word(kind: &Kind) -> String {
    match kind {
        Kind::Words(words) => {
            let words: Vec<&str> = words.iter().map(|(name, _)| name.as_str()).collect();
            quoted(&words.join(" "))
        }
        Kind::Files => String::from("@files"),
        Kind::Directories => String::from("@directories"),
        Kind::Processes => String::from("@processes"),
        Kind::Programs => String::from("@programs"),
        Kind::Cgroups => String::from("@cgroups"),
        Kind::Units => String::from("@units"),
        Kind::Command => String::from("@command"),
        Kind::Unknown => String::from("''"),
    }
}

//! fish.

use super::{Kind, Node, fill, help, kinds, names};
use std::collections::BTreeMap;
use std::fmt::Write as _;

pub(super) fn script(nodes: &[Node<'_>]) -> String {
    let script = fill(include_str!("template.fish"), "@SUBCOMMANDS@", &subcommands(nodes));
    let script = fill(&script, "@OPTIONS@", &options(nodes));
    let script = fill(&script, "@COMMANDS@", &commands(nodes));
    fill(&script, "@COMPLETIONS@", &completions(nodes))
}

fn subcommands(nodes: &[Node<'_>]) -> String {
    let mut text = String::new();
    for node in nodes.iter().filter(|node| node.subcommands().next().is_some()) {
        let names: Vec<&str> = node.subcommands().map(|(name, _)| name).collect();
        let path = quoted(&node.path.join(" "));
        let _ = write!(
            text,
            "        case {path}\n            string split ' ' '{}'\n",
            names.join(" ")
        );
    }
    text
}

/// The subcommands that are given a command.
fn commands(nodes: &[Node<'_>]) -> String {
    let given = nodes.iter().filter(|node| node.operands() == Some(Kind::Command));
    let paths: Vec<String> = given.map(|node| quoted(&node.path.join(" "))).collect();
    format!("        else if contains -- \"$path\" {}\n", paths.join(" "))
}

/// The options that take values, by the number of these.
fn options(nodes: &[Node<'_>]) -> String {
    let mut numbers: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for arg in nodes.iter().flat_map(Node::options) {
        let known = numbers.entry(kinds(arg).len()).or_default();
        known.extend(names(arg));
    }
    let mut text = String::new();
    for (number, mut names) in numbers.into_iter().filter(|(number, _)| *number > 0) {
        names.sort();
        names.dedup();
        let _ = write!(text, "        case {}\n            echo {number}\n", names.join(" "));
    }
    text
}

fn completions(nodes: &[Node<'_>]) -> String {
    let mut text = String::new();
    for node in nodes {
        let path = node.path.join(" ");
        let at = format!(
            "complete -c keepalive -n {}",
            quoted(&format!("__keepalive_at {path}")).replace(" '", "'")
        );
        text.push('\n');
        for (name, about) in node.subcommands() {
            let _ = writeln!(text, "{at} -a {name} -d {}", quoted(&about));
        }
        for arg in node.options() {
            let _ = write!(text, "{at}");
            if let Some(short) = arg.get_short() {
                let _ = write!(text, " -s {short}");
            }
            if let Some(long) = arg.get_long() {
                let _ = write!(text, " -l {long}");
            }
            if let Some(kind) = kinds(arg).first() {
                let _ = write!(text, " {}", words(kind));
            }
            let _ = writeln!(text, " -d {}", quoted(&help(arg)));
        }
        match node.operands() {
            Some(Kind::Command) => {
                let _ = writeln!(
                    text,
                    "complete -c keepalive -n '__keepalive_in {path}' -x -a '(__keepalive_command)'"
                );
            }
            Some(Kind::Files) => {
                let _ = writeln!(text, "{at} -F");
            }
            Some(kind) if kind != Kind::Unknown => {
                let _ = writeln!(text, "{at} {}", words(&kind).replacen("-x", "-f", 1));
            }
            _ => {}
        }
    }
    text
}

/// The options of complete(1) for such a value.
fn words(kind: &Kind) -> String {
    match kind {
        Kind::Words(words) => {
            let words: Vec<String> = words
                .iter()
                .map(|(name, help)| {
                    if help.is_empty() {
                        name.clone()
                    } else {
                        format!("{name}\\t{}", quoted(help))
                    }
                })
                .collect();
            format!("-x -a \"{}\"", words.join(" ").replace('"', "\\\""))
        }
        Kind::Files => String::from("-r -F"),
        Kind::Directories => String::from("-x -a '(__fish_complete_directories)'"),
        Kind::Processes => String::from("-x -a '(__fish_complete_pids)'"),
        Kind::Programs => String::from("-x -a '(__fish_complete_proc)'"),
        Kind::Cgroups => String::from("-x -a '(__keepalive_cgroups)'"),
        Kind::Units => String::from("-x -a '(__keepalive_units)'"),
        Kind::Command | Kind::Unknown => String::from("-x"),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

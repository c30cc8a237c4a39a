//! zsh.

use super::{Kind, Node, fill, help, is_repeated, kinds, names, quoted};
use clap::Arg;
use std::fmt::Write as _;

pub(super) fn script(nodes: &[Node<'_>]) -> String {
    let functions: String = nodes.iter().map(function).collect();
    fill(include_str!("template.zsh"), "@FUNCTIONS@", &functions)
}

/// Where the options end at once, `_arguments` would complete nothing behind the command's name.
const DASHES: &str = "    \
    # _arguments completes nothing behind the name of a command that follows -- at once.
    if [[ $words[2] == -- ]] && ((CURRENT > 3)); then
        words[2]=()
        ((CURRENT--))
    fi
";

/// The function of a subcommand.
fn function(node: &Node<'_>) -> String {
    let name = name(node);
    let mut specs: Vec<String> = node.options().map(spec).collect();
    let subcommands: Vec<(&str, String)> = node.subcommands().collect();
    if subcommands.is_empty() {
        specs.extend(operand(node));
        let before = if node.operands() == Some(Kind::Command) {
            DASHES
        } else {
            ""
        };
        return format!(
            "{name}() {{\n{before}    _arguments -s -S \\\n        {}\n}}\n\n",
            specs.join(" \\\n        ")
        );
    }
    specs.extend(["'1: :->command'", "'*:: :->rest'"].map(String::from));
    let mut text = format!("{name}() {{\n    local curcontext=$curcontext state line ret=1\n");
    text.push_str("    local -A opt_args\n    local -a subcommands=(\n");
    for (subcommand, about) in &subcommands {
        let _ = writeln!(text, "        {}", quoted(&format!("{subcommand}:{about}")));
    }
    let _ = write!(
        text,
        "    )\n    _arguments -C -s -S \\\n        {} && ret=0\n    case $state in\n    \
         command) _describe -t commands command subcommands && ret=0 ;;\n    rest)\n        \
         curcontext=${{curcontext%:*}}-$line[1]:\n        case $line[1] in\n",
        specs.join(" \\\n        ")
    );
    for (subcommand, _) in &subcommands {
        let _ = writeln!(
            text,
            "        {subcommand}) {name}_{} && ret=0 ;;",
            subcommand.replace('-', "_")
        );
    }
    text.push_str("        esac\n        ;;\n    esac\n    return ret\n}\n\n");
    text
}

fn name(node: &Node<'_>) -> String {
    let words: Vec<String> = node
        .path
        .iter()
        .map(|word| format!("_{}", word.replace('-', "_")))
        .collect();
    format!("_keepalive{}", words.concat())
}

/// An option as `_arguments` takes it.
fn spec(arg: &Arg) -> String {
    let names = names(arg);
    let kinds = kinds(arg);
    let is_help = arg.get_id() == "help" || arg.get_id() == "version";
    let excluded = if is_help {
        String::from("(- *)")
    } else if is_repeated(arg) {
        String::from("*")
    } else if names.len() > 1 {
        format!("({})", names.join(" "))
    } else {
        String::new()
    };
    let mut rest = format!("[{}]", escaped(&help(arg)));
    for (kind, name) in kinds.iter().zip(arg.get_value_names().unwrap_or_default()) {
        let _ = write!(rest, ":{}:{}", escaped(&name.to_lowercase()), action(kind));
    }
    let equals = if kinds.len() == 1 { "=" } else { "" };
    match names.as_slice() {
        [name] if name.starts_with("--") => quoted(&format!("{excluded}{name}{equals}{rest}")),
        [name] => quoted(&format!("{excluded}{name}{rest}")),
        names => {
            let forms: Vec<String> = names
                .iter()
                .map(|name| {
                    if name.starts_with("--") {
                        format!("{name}{equals}")
                    } else {
                        name.clone()
                    }
                })
                .collect();
            format!("{}{{{}}}{}", quoted(&excluded), forms.join(","), quoted(&rest))
        }
    }
}

fn operand(node: &Node<'_>) -> Vec<String> {
    let (Some(arg), Some(kind)) = (node.operand(), node.operands()) else {
        return Vec::new();
    };
    if kind == Kind::Command {
        return ["'(-)1:command: _command_names -e'", "'*::arguments: _normal'"]
            .map(String::from)
            .into();
    }
    let name = arg
        .get_value_names()
        .and_then(<[_]>::first)
        .map(ToString::to_string)
        .unwrap_or_default();
    let number = if arg.get_num_args().is_some_and(|number| number.max_values() > 1) || is_repeated(arg) {
        "*"
    } else {
        "1"
    };
    vec![quoted(&format!(
        "{number}:{}:{}",
        escaped(&name.to_lowercase()),
        action(&kind)
    ))]
}

fn action(kind: &Kind) -> String {
    match kind {
        Kind::Words(words) if words.iter().all(|(_, help)| help.is_empty()) => {
            let words: Vec<&str> = words.iter().map(|(name, _)| name.as_str()).collect();
            format!("({})", words.join(" "))
        }
        Kind::Words(words) => {
            let words: Vec<String> = words
                .iter()
                .map(|(name, help)| format!("{name}\\:\"{}\"", escaped(help).replace('"', "\\\"")))
                .collect();
            format!("(({}))", words.join(" "))
        }
        Kind::Files => String::from("_files"),
        Kind::Directories => String::from("_files -/"),
        Kind::Processes => String::from("_keepalive_processes"),
        Kind::Programs => String::from("_keepalive_programs"),
        Kind::Cgroups => String::from("_keepalive_cgroups"),
        Kind::Units => String::from("_keepalive_units"),
        Kind::Command => String::from("_command_names -e"),
        // The message alone.
        Kind::Unknown => String::from(" "),
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace(':', r"\:")
        .replace('[', r"\[")
        .replace(']', r"\]")
}

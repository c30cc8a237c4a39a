//! Completions for bash, fish and zsh: which words and options there are, and what a value can be. What is the same for
//! every definition stands in the templates; a line `@NAME@` of theirs is replaced by what is generated.

mod bash;
mod fish;
mod zsh;

use crate::manual::{arguments, shown, takes_values};
use clap::{Arg, ArgAction, Command, ValueHint};
use std::path::PathBuf;

/// What a value can be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// One of these, each with what it means, or nothing.
    Words(Vec<(String, String)>),
    Files,
    Directories,
    /// The numbers of running processes.
    Processes,
    /// The names of running programs.
    Programs,
    Cgroups,
    Units,
    /// A command with its arguments, which complete as they do alone.
    Command,
    /// Something that nobody can know beforehand.
    Unknown,
}

/// A command and the words that lead to it, without the first.
struct Node<'a> {
    path: Vec<&'a str>,
    command: &'a Command,
}

/// The scripts, under the names that shells look for.
pub(crate) fn scripts(root: &Command) -> Vec<(PathBuf, String)> {
    let mut nodes = Vec::new();
    visit(root, &[], &mut nodes);
    [
        ("completions/keepalive.bash", bash::script(&nodes)),
        ("completions/keepalive.fish", fish::script(&nodes)),
        ("completions/_keepalive", zsh::script(&nodes)),
    ]
    .map(|(path, script)| (PathBuf::from(path), script))
    .into()
}

fn visit<'a>(command: &'a Command, path: &[&'a str], nodes: &mut Vec<Node<'a>>) {
    nodes.push(Node {
        path: path.to_vec(),
        command,
    });
    for subcommand in shown(command) {
        visit(subcommand, &[path, &[subcommand.get_name()]].concat(), nodes);
    }
}

impl Node<'_> {
    fn options(&self) -> impl Iterator<Item = &Arg> {
        arguments(self.command).filter(|arg| !arg.is_positional())
    }

    fn operand(&self) -> Option<&Arg> {
        arguments(self.command).find(|arg| arg.is_positional())
    }

    /// What its operands can be.
    fn operands(&self) -> Option<Kind> {
        self.operand().and_then(|arg| kinds(arg).pop())
    }

    fn subcommands(&self) -> impl Iterator<Item = (&str, String)> {
        shown(self.command).map(|command| {
            let about = command.get_about().map(ToString::to_string);
            (command.get_name(), about.unwrap_or_default())
        })
    }
}

/// What each of the argument's values can be; nothing for a flag.
fn kinds(arg: &Arg) -> Vec<Kind> {
    if !takes_values(arg) {
        return Vec::new();
    }
    let words: Vec<(String, String)> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| {
            (
                value.get_name().to_owned(),
                value.get_help().map(ToString::to_string).unwrap_or_default(),
            )
        })
        .collect();
    let names = arg.get_value_names().unwrap_or_default();
    if !words.is_empty() {
        return vec![Kind::Words(words)];
    }
    names.iter().map(|name| kind(arg, name)).collect()
}

fn kind(arg: &Arg, name: &str) -> Kind {
    match (arg.get_value_hint(), name) {
        _ if arg.is_trailing_var_arg_set() => Kind::Command,
        (ValueHint::DirPath, _) | (_, "DIRECTORY" | "DIR") => Kind::Directories,
        // clap gives the hint AnyPath to whatever is a path.
        (ValueHint::FilePath | ValueHint::AnyPath, _) | (_, "FILE") => Kind::Files,
        (_, "PID") => Kind::Processes,
        (_, "CGROUP") => Kind::Cgroups,
        (_, "UNIT") => Kind::Units,
        _ if arg.get_id() == "program" => Kind::Programs,
        _ if name.contains('|') => Kind::Words(name.split('|').map(|word| (word.to_owned(), String::new())).collect()),
        _ => Kind::Unknown,
    }
}

/// `-v`, `--verbose`.
fn names(arg: &Arg) -> Vec<String> {
    let short = arg.get_short().map(|short| format!("-{short}"));
    short
        .into_iter()
        .chain(arg.get_long().map(|long| format!("--{long}")))
        .collect()
}

/// The short help of an option.
fn help(arg: &Arg) -> String {
    match arg.get_action() {
        ArgAction::Help => String::from("Print help"),
        _ => arg.get_help().map(ToString::to_string).unwrap_or_default(),
    }
}

fn is_repeated(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append | ArgAction::Count)
}

/// The template with `text` in the place of the line.
fn fill(template: &str, line: &str, text: &str) -> String {
    let line = format!("{line}\n");
    assert!(template.contains(&line), "{line}: not in the template");
    template.replace(&line, text)
}

/// In single quotes, for bash and zsh.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

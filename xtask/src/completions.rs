//! Completions for bash, fish and zsh. Each script has the same table of subcommands, options and values, which the functions
//! of its template read.

use crate::manual::{arguments, has_optional_value, shown, takes_values};
use clap::{Arg, ArgAction, Command, ValueHint};
use std::path::PathBuf;

/// The scripts, under the names that shells find.
pub(crate) fn scripts(root: &Command) -> [(PathBuf, String); 3] {
    let mut table = Table::default();
    table.add(root, "");
    let bash = table.lines(|row| format!("    {}\n", quoted(row, r"'\''")));
    let fish = table.lines(|row| format!("    {} \\\n", quoted(&row.replace('\\', r"\\"), r"\'")));
    [
        ("keepalive.bash", include_str!("completions/template.bash"), &bash),
        ("keepalive.fish", include_str!("completions/template.fish"), &fish),
        ("_keepalive", include_str!("completions/template.zsh"), &bash),
    ]
    .map(|(name, template, table)| {
        let path = PathBuf::from("completions").join(name);
        (path, template.replace("@TABLE@\n", table))
    })
}

/// Lines `CONTEXT|WORD|REPEATED|VALUES|HELP`; the templates document them.
#[derive(Default)]
struct Table {
    rows: Vec<[String; 5]>,
    /// Lists of words that a value can be, each with its help.
    lists: Vec<Vec<[String; 2]>>,
}

impl Table {
    /// Adds a command and those below it.
    fn add(&mut self, command: &Command, context: &str) {
        let row = |word: &str, repeated: &str, values: &str, help: String| {
            [context, word, repeated, values, &help].map(String::from)
        };
        for subcommand in shown(command) {
            let about = subcommand.get_about().map(ToString::to_string);
            self.rows
                .push(row(subcommand.get_name(), "", "", about.unwrap_or_default()));
        }
        for arg in arguments(command) {
            let values = self.values(arg);
            let repeated = if is_repeated(arg) { "*" } else { "" };
            if arg.is_positional() {
                self.rows.push(row("", repeated, &values, String::new()));
            }
            let short = arg.get_short().map(|short| format!("-{short}"));
            for name in short.into_iter().chain(arg.get_long().map(|long| format!("--{long}"))) {
                self.rows.push(row(&name, repeated, &values, help(arg)));
            }
        }
        for subcommand in shown(command) {
            self.add(subcommand, format!("{context} {}", subcommand.get_name()).trim_start());
        }
    }

    /// Each of the argument's values as `NAME@KIND`.
    fn values(&mut self, arg: &Arg) -> String {
        // An optional value is a part of the same word.
        let has_value = takes_values(arg) && !has_optional_value(arg);
        let names = arg.get_value_names().filter(|_| has_value).unwrap_or_default();
        let values: Vec<String> = names
            .iter()
            .map(|name| format!("{}@{}", name.replace('|', "/").to_lowercase(), self.kind(arg, name)))
            .collect();
        values.join(" ")
    }

    fn kind(&mut self, arg: &Arg, name: &str) -> String {
        let mut words: Vec<[String; 2]> = arg
            .get_possible_values()
            .iter()
            .map(|value| {
                let help = value.get_help().map(ToString::to_string);
                [value.get_name().to_owned(), help.unwrap_or_default()]
            })
            .collect();
        if words.is_empty() && name.contains('|') {
            words = name.split('|').map(|word| [word.to_owned(), String::new()]).collect();
        }
        if !words.is_empty() {
            return format!("words{}", self.list(words));
        }
        let kind = match (arg.get_value_hint(), name) {
            _ if arg.is_trailing_var_arg_set() => "command",
            _ if arg.get_id() == "program" => "programs",
            (_, "PID") => "processes",
            (_, "CGROUP") => "cgroups",
            (_, "UNIT") => "units",
            (_, "DIR") => "directories",
            (ValueHint::AnyPath, _) => "files",
            _ => "unknown",
        };
        kind.to_owned()
    }

    /// The number of a list, which is added unless it is known.
    fn list(&mut self, words: Vec<[String; 2]>) -> usize {
        let known = self.lists.iter().position(|list| *list == words);
        known.unwrap_or_else(|| {
            self.lists.push(words);
            self.lists.len() - 1
        })
    }

    fn lines(&self, line: impl Fn(&str) -> String) -> String {
        let lists = self.lists.iter().enumerate().flat_map(|(number, list)| {
            list.iter().map(move |[word, help]| {
                [
                    format!("words{number}"),
                    word.clone(),
                    String::new(),
                    String::new(),
                    help.clone(),
                ]
            })
        });
        let rows = self.rows.iter().cloned().chain(lists);
        rows.map(|fields| {
            assert!(fields.iter().all(|field| !field.contains('|')), "{fields:?}");
            line(&fields.join("|"))
        })
        .collect()
    }
}

fn is_repeated(arg: &Arg) -> bool {
    let has_several = arg.is_positional() && arg.get_num_args().is_some_and(|number| number.max_values() > 1);
    has_several || matches!(arg.get_action(), ArgAction::Append | ArgAction::Count)
}

/// The short help of an option.
fn help(arg: &Arg) -> String {
    match arg.get_action() {
        ArgAction::Help => String::from("Print help"),
        _ => arg.get_help().map(ToString::to_string).unwrap_or_default(),
    }
}

/// In single quotes.
fn quoted(text: &str, quote: &str) -> String {
    format!("'{}'", text.replace('\'', quote))
}

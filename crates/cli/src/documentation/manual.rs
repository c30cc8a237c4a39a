//! Manual pages in mdoc(7): what the definition says, in its sections, and behind it what `man/sections` has for them.

use super::json::fields;
use super::prose::{Placeholders, argument, escaped, literal, mdoc};
use clap::{Arg, ArgAction, Command};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

/// The file of `man/sections` that belongs to every page with policy options.
pub(super) const POLICY: &str = "policy";
/// The one for those whose options come before the environment.
pub(super) const ENVIRONMENT: &str = "environment";
/// The heading of policy options in the help.
const POLICY_HEADING: &str = "Policy";

/// The sections in the order that mdoc(7) asks for; others stand between the second and the third row.
const BEFORE: [&str; 5] = ["NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS"];
const AFTER: [&str; 9] = [
    "ENVIRONMENT",
    "FILES",
    "EXIT STATUS",
    "EXAMPLES",
    "DIAGNOSTICS",
    "SEE ALSO",
    "STANDARDS",
    "HISTORY",
    "CAVEATS",
];

/// A page for the command, and one for each subcommand, but for their date; `sections` gives what is written by hand.
pub(super) fn pages(root: &Command, sections: &impl Fn(&str) -> String) -> Vec<(PathBuf, String)> {
    let mut pages = vec![Page::new(root, &[], sections)];
    pages.extend(shown(root).map(|command| Page::new(command, &[root], sections)));
    pages.into_iter().map(Page::finish).collect()
}

/// The subcommands that help shows.
pub(super) fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

struct Page {
    name: String,
    sections: Vec<(String, String)>,
    placeholders: Placeholders,
}

impl Page {
    fn new(command: &Command, parents: &[&Command], sections: &impl Fn(&str) -> String) -> Self {
        let words: Vec<&str> = parents
            .iter()
            .chain([&command])
            .map(|command| command.get_name())
            .collect();
        let mut page = Self {
            name: words.join("-"),
            sections: Vec::new(),
            placeholders: placeholders(command),
        };
        let command_line = words.join(" ");
        let line = uncapitalized(&about(command));
        page.add("NAME", &format!(".Nm {}\n.Nd {}\n", page.name, escaped(&line)));
        if parents.is_empty() {
            page.add_root(command, &command_line);
        } else {
            page.refer_to(&words[..words.len() - 1].join("-"));
            if shown(command).next().is_some() {
                page.add_subcommands(command, &command_line);
            } else {
                page.add_command(command, &command_line);
            }
            let any = |is: fn(&Command) -> bool| is(command) || shown(command).any(is);
            if any(has_policy) {
                page.add_written(&sections(POLICY));
            }
            if any(|command| !notes(command, Note::Policy).is_empty()) {
                page.add_written(&sections(ENVIRONMENT));
            }
        }
        let written = sections(&page.name);
        page.add_written(&written);
        page
    }

    /// What is said of the command whose subcommands have pages of their own.
    fn add_root(&mut self, command: &Command, command_line: &str) {
        let synopsis = [".Op Ar argument ...", ".Fl -help"];
        self.add(
            "SYNOPSIS",
            &synopsis
                .map(|rest| format!(".Nm {command_line}\n.Ar command\n{rest}\n"))
                .concat(),
        );
        self.describe(command);
        let mut commands = String::new();
        for subcommand in shown(command) {
            let page = format!("{}-{}", self.name, subcommand.get_name());
            let about = mdoc(&about(subcommand), &self.placeholders);
            let _ = write!(commands, ".It Xr {page} 1\n{}", sentence(&about));
            self.refer_to(&page);
        }
        self.add("COMMANDS", &tagged(&commands));
        let (options, _) = option_lists(command, &self.placeholders, |_| true);
        self.add("OPTIONS", &options);
    }

    /// What is said of a command without subcommands.
    fn add_command(&mut self, command: &Command, command_line: &str) {
        self.add("SYNOPSIS", &synopsis(command, command_line));
        self.describe(command);
        let (own, policy) = option_lists(command, &self.placeholders, |_| true);
        self.add("OPTIONS", &(own + &policy));
        let status = statuses(command, &self.placeholders);
        self.add("EXIT STATUS", &status);
    }

    /// What is said of a command whose subcommands are on its page.
    fn add_subcommands(&mut self, command: &Command, command_line: &str) {
        self.describe(command);
        let (mut commands, mut list) = (String::new(), String::new());
        let (mut options, _) = option_lists(command, &self.placeholders, |_| true);
        for subcommand in shown(command) {
            let name = subcommand.get_name();
            let placeholders = placeholders(subcommand);
            self.add("SYNOPSIS", &synopsis(subcommand, &format!("{command_line} {name}")));
            let (own, policy) = option_lists(subcommand, &placeholders, |arg| !is_standard(arg));
            let description = description(subcommand, &placeholders);
            let _ = write!(commands, ".Ss {name}\n{description}{own}");
            // It is the same for all.
            if !options.contains(&policy) {
                options.push_str(&policy);
            }
            for note in notes(subcommand, Note::Json) {
                self.add("JSON OUTPUT", &fields(&note, &placeholders));
            }
            let _ = write!(list, ".It Ic {name}\n{}", statuses(subcommand, &placeholders));
        }
        self.add("COMMANDS", &commands);
        self.add("OPTIONS", &options);
        self.add("EXIT STATUS", &tagged(&list));
    }

    /// What it does.
    fn describe(&mut self, command: &Command) {
        self.add("DESCRIPTION", &description(command, &self.placeholders));
        for note in notes(command, Note::Json) {
            self.add("JSON OUTPUT", &fields(&note, &self.placeholders));
        }
    }

    fn refer_to(&mut self, page: &str) {
        self.add("SEE ALSO", &format!(".Xr {page} 1\n"));
    }

    /// Adds sections as they stand in a file.
    fn add_written(&mut self, text: &str) {
        let mut heading = String::new();
        let mut section = String::new();
        for line in text.lines() {
            if let Some(next) = line.strip_prefix(".Sh ") {
                self.add(&heading, &section);
                next.clone_into(&mut heading);
                section.clear();
            } else if !heading.is_empty() {
                section.push_str(line);
                section.push('\n');
            }
        }
        self.add(&heading, &section);
    }

    /// Adds to a section.
    fn add(&mut self, heading: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        let Some((_, section)) = self.sections.iter_mut().find(|(there, _)| there == heading) else {
            self.sections.push((heading.to_owned(), text.to_owned()));
            return;
        };
        // Two lists one behind the other are one; so are references. Anything else is a new paragraph.
        let list = ".Bl -tag -width Ds\n";
        match (section.strip_suffix(".El\n"), text.strip_prefix(list)) {
            (Some(items), Some(more)) if section.starts_with(list) => *section = items.to_owned() + more,
            _ if ["SYNOPSIS", "SEE ALSO"].contains(&heading) || text.starts_with('.') && starts_paragraph(text) => {
                section.push_str(text);
            }
            _ => {
                section.push_str(".Pp\n");
                section.push_str(text);
            }
        }
    }

    fn finish(self) -> (PathBuf, String) {
        let place = |heading: &str| {
            let before = BEFORE.iter().position(|name| *name == heading);
            let after = AFTER.iter().position(|name| *name == heading);
            before
                .or(after.map(|index| BEFORE.len() + 1 + index))
                .unwrap_or(BEFORE.len())
        };
        let path = PathBuf::from(format!("man/{}.1", self.name));
        let mut sections = self.sections;
        sections.sort_by_key(|(heading, _)| place(heading));
        let mut text = format!(
            ".\\\" Made by make docs, of the command and man/sections/{}.mdoc.\n",
            self.name
        );
        let _ = write!(text, ".Dt {} 1\n.Os Linux\n", self.name.to_uppercase());
        for (heading, section) in sections {
            let section = if heading == "SEE ALSO" {
                references(&section, &self.name)
            } else {
                section
            };
            let _ = write!(text, ".Sh {heading}\n{section}");
        }
        (path, text)
    }
}

/// Whether it sets off a paragraph of its own.
fn starts_paragraph(text: &str) -> bool {
    [".Pp", ".Ss", ".Bl", ".Bd", ".Dl"]
        .iter()
        .any(|request| text.starts_with(request))
}

/// Each page but this one once, in the order of section and name, with commas.
fn references(section: &str, this: &str) -> String {
    let pages: BTreeSet<(&str, &str)> = section
        .lines()
        .filter_map(|line| line.strip_prefix(".Xr "))
        .filter_map(|page| page.trim_end_matches(" ,").rsplit_once(' '))
        .map(|(name, section)| (section, name))
        .filter(|(_, name)| *name != this)
        .collect();
    let lines: Vec<String> = pages
        .iter()
        .map(|(section, name)| format!(".Xr {name} {section}"))
        .collect();
    lines.join(" ,\n") + "\n"
}

fn is_policy(arg: &Arg) -> bool {
    arg.get_help_heading() == Some(POLICY_HEADING)
}

fn has_policy(command: &Command) -> bool {
    command.get_arguments().any(is_policy)
}

/// The arguments that help shows.
pub(super) fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_hide_set())
}

/// The names of all values, and of the parts of `ADDRESS:PORT`.
fn placeholders(command: &Command) -> Placeholders {
    let args = command.get_arguments().filter(|arg| takes_values(arg));
    let names = args.filter_map(Arg::get_value_names).flatten();
    let mut placeholders: Placeholders = names.map(ToString::to_string).collect();
    let parts: Vec<String> = placeholders
        .iter()
        .flat_map(|name| name.split(':'))
        .map(String::from)
        .collect();
    placeholders.extend(parts.into_iter().filter(|part| part.chars().all(char::is_uppercase)));
    placeholders.retain(|name| name.len() > 1);
    placeholders
}

/// The line that says what it does.
fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

/// What it does, and the notes on it.
fn description(command: &Command, placeholders: &Placeholders) -> String {
    let about = about(command);
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let long = long.strip_prefix(&about).unwrap_or(&long).trim();
    let mut text = sentence(&mdoc(&about, placeholders));
    text.push_str(&mdoc(long, placeholders));
    for note in notes(command, Note::Description) {
        let _ = write!(text, ".Pp\n{}", mdoc(&note, placeholders));
    }
    text
}

/// The command line, with the policy options as one.
fn synopsis(command: &Command, command_line: &str) -> String {
    let mut text = format!(".Nm {command_line}\n");
    let grouped: Vec<&clap::Id> = command
        .get_groups()
        .filter(|group| group.is_required_set())
        .flat_map(clap::ArgGroup::get_args)
        .collect();
    let is_single = |arg: &&Arg| !grouped.contains(&arg.get_id()) && !is_standard(arg);
    for arg in arguments(command)
        .filter(|arg| !arg.is_positional() && !is_policy(arg))
        .filter(is_single)
    {
        let option = option(arg, " | ");
        let request = if arg.is_required_set() { "" } else { "Op " };
        let _ = writeln!(text, ".{request}{option}");
    }
    if has_policy(command) {
        text.push_str(".Op Ar policy\n");
    }
    if !grouped.is_empty() {
        let members: Vec<String> = arguments(command)
            .filter(|arg| grouped.contains(&arg.get_id()))
            .map(|arg| {
                if arg.is_positional() {
                    positional(arg)
                } else {
                    option(arg, " | ")
                }
            })
            .collect();
        let _ = writeln!(text, ".Brq {}", members.join(" | "));
    }
    for arg in arguments(command).filter(|arg| arg.is_positional()).filter(is_single) {
        if arg.is_trailing_var_arg_set() {
            text.push_str(".Op Fl -\n");
        }
        let request = if arg.is_required_set() { "" } else { "Op " };
        let _ = writeln!(text, ".{request}{}", positional(arg));
    }
    text
}

/// -h and -V, which every command has.
fn is_standard(arg: &Arg) -> bool {
    matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpLong | ArgAction::HelpShort | ArgAction::Version
    )
}

fn is_repeated(arg: &Arg) -> bool {
    arg.get_num_args()
        .is_some_and(|number| number.max_values() > 1 && arg.is_positional())
        || matches!(arg.get_action(), ArgAction::Append)
}

/// `Fl v | -verbose`, `Fl -idle Ar time`.
fn option(arg: &Arg, separator: &str) -> String {
    let short = arg.get_short().map(|short| format!("Fl {short}"));
    let long = arg.get_long().map(|long| format!("Fl -{long}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let mut text = names.join(separator);
    if takes_values(arg) {
        for name in arg.get_value_names().unwrap_or_default() {
            let _ = write!(text, " {}", argument(name));
        }
    }
    text
}

/// `Ar pid ...`.
fn positional(arg: &Arg) -> String {
    let name = arg.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
    let name = argument(&name.unwrap_or_default());
    match (arg.is_trailing_var_arg_set(), is_repeated(arg)) {
        (true, _) => format!("{name} Op Ar argument ..."),
        (false, true) => format!("{name} ..."),
        (false, false) => name,
    }
}

pub(super) fn takes_values(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

/// The list of its own options and operands; the policy options with their heading.
fn option_lists(command: &Command, placeholders: &Placeholders, is_listed: impl Fn(&Arg) -> bool) -> (String, String) {
    let (mut own, mut operands, mut policy) = (String::new(), String::new(), String::new());
    for arg in arguments(command).filter(|arg| is_listed(arg)) {
        if arg.is_positional() {
            let _ = write!(operands, ".It {}\n{}", positional(arg), describe(arg, placeholders));
        } else {
            let list = if is_policy(arg) { &mut policy } else { &mut own };
            let _ = write!(list, ".It {}\n{}", option(arg, " , "), describe(arg, placeholders));
        }
    }
    own.push_str(&operands);
    if !policy.is_empty() {
        let mut text = format!(
            ".Ss {POLICY_HEADING}\nAny of these is\n.Ar policy\nin the synopsis.\n.Xr keepalive.conf 5\nspecifies the values, their ranges and what follows from them.\n"
        );
        for note in notes(command, Note::Policy) {
            text.push_str(&mdoc(&note, placeholders));
        }
        policy = text + &tagged(&policy);
    }
    (if own.is_empty() { own } else { tagged(&own) }, policy)
}

/// What an option is for, its values and its default.
fn describe(arg: &Arg, placeholders: &Placeholders) -> String {
    // keepalive.conf(5) specifies the policy, once.
    let long = arg.get_long_help().filter(|_| !is_policy(arg));
    let help = long.or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let help = if is_standard(arg) {
        help.split(" (").next().unwrap_or_default().to_owned()
    } else {
        help
    };
    let paragraphs = help.split("\n\n");
    let mut text: String = paragraphs
        .map(|paragraph| sentence(&mdoc(paragraph, placeholders)))
        .collect();
    let names = arg.get_value_names().unwrap_or_default();
    // A name that lists the values has no room for what they mean.
    let has_list = !arg.is_hide_possible_values_set() || names.iter().any(|name| name.contains('|'));
    if takes_values(arg) && has_list {
        let mut values = String::new();
        for value in arg.get_possible_values() {
            if let Some(help) = value.get_help() {
                let help = sentence(&mdoc(&help.to_string(), placeholders));
                let _ = write!(values, ".It Cm {}\n{help}", value.get_name());
            }
        }
        if !values.is_empty() {
            let _ = write!(text, ".Bl -tag -width preload -compact\n{values}.El\n");
        }
    }
    if let ([default], true) = (arg.get_default_values(), takes_values(arg)) {
        let _ = write!(text, "The default is\n.Cm {} .\n", literal(&default.to_string_lossy()));
    }
    text
}

/// What a paragraph of the notes is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Note {
    Status,
    Policy,
    Json,
    Description,
}

/// The paragraphs behind the help that are about `what`.
fn notes(command: &Command, what: Note) -> Vec<String> {
    let notes = command.get_after_long_help().or(command.get_after_help());
    let notes = notes.map(ToString::to_string).unwrap_or_default();
    let paragraphs = notes.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty());
    paragraphs
        .filter_map(|paragraph| {
            let (kind, text) = if let Some(status) = paragraph.strip_prefix("Exit status: ") {
                (Note::Status, status)
            } else if paragraph.starts_with("The JSON object") {
                (Note::Json, paragraph)
            } else if paragraph.starts_with("Options override") {
                (Note::Policy, paragraph)
            } else {
                (Note::Description, paragraph)
            };
            (kind == what).then(|| text.replace('\n', " "))
        })
        .collect()
}

/// The exit statuses as a list, from the note on them.
fn statuses(command: &Command, placeholders: &Placeholders) -> String {
    let note = notes(command, Note::Status)
        .pop()
        .unwrap_or_else(|| String::from("0; 1 when it could not be done"));
    let (mut text, mut items) = (String::new(), String::new());
    let mut says_usage = false;
    for (status, meaning) in parts(&note) {
        let Some(status) = status else {
            text = mdoc(&format!("The exit status is {meaning}, but"), placeholders);
            says_usage = true;
            continue;
        };
        says_usage |= status == 2;
        let meaning = match meaning.as_str() {
            "" => "Success",
            "usage" => "the command line cannot be used",
            meaning => meaning,
        };
        let meaning = sentence(&mdoc(&capitalized(meaning), placeholders));
        let _ = write!(items, ".It {status}\n{meaning}");
    }
    if !says_usage {
        items.push_str(".It 2\nThe command line cannot be used.\n");
    }
    format!("{text}.Bl -tag -width Ds -compact\n{items}.El\n")
}

/// The note `0; 1 when …; 2 when …` in its parts; what has no number comes first.
fn parts(note: &str) -> Vec<(Option<u8>, String)> {
    let mut parts: Vec<(Option<u8>, String)> = Vec::new();
    for part in note.trim_end_matches('.').split(' ') {
        let number = part.trim_end_matches([';', ',']).parse().ok();
        let begins = parts
            .last()
            .is_none_or(|(_, text)| text.is_empty() || text.ends_with([';', ',']));
        match parts.last_mut() {
            _ if number.is_some() && begins => {
                let end = if part.ends_with([';', ',']) { ";" } else { "" };
                parts.push((number, end.to_owned()));
            }
            Some((_, text)) => {
                text.push(' ');
                text.push_str(part);
            }
            None => parts.push((None, part.to_owned())),
        }
    }
    for (_, text) in &mut parts {
        let trimmed = text.trim_matches([' ', ';', ',']);
        *text = trimmed.strip_prefix("when ").unwrap_or(trimmed).to_owned();
    }
    parts
}

fn tagged(items: &str) -> String {
    format!(".Bl -tag -width Ds\n{items}.El\n")
}

/// With a full stop at its end.
fn sentence(mdoc: &str) -> String {
    let text = mdoc.trim_end();
    if text.is_empty() || text.ends_with(['.', '?']) {
        return mdoc.to_owned();
    }
    let is_request = text.rsplit('\n').next().is_some_and(|line| line.starts_with('.'));
    format!("{text}{}.\n", if is_request { " " } else { "" })
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// But `TCP` stays.
fn uncapitalized(text: &str) -> String {
    let mut letters = text.chars();
    let (first, second) = (letters.next(), letters.clone().next());
    match first {
        Some(first) if second.is_some_and(char::is_lowercase) => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

#[test]
fn statuses_are_read_from_the_note() {
    let read = |note| {
        let parts = parts(note).into_iter();
        parts
            .map(|(status, text)| format!("{status:?} {text}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        read("that of COMMAND; 125 when keepalive itself fails, 126 when COMMAND is, or is not, 1 of 2."),
        [
            "None that of COMMAND",
            "Some(125) keepalive itself fails",
            "Some(126) COMMAND is, or is not",
            "Some(1) of 2"
        ]
    );
    assert_eq!(
        read("0, on or off; 1 when it is 5 or so; 2 usage."),
        ["Some(0) on or off", "Some(1) it is 5 or so", "Some(2) usage"]
    );
}

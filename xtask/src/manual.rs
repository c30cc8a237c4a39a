//! Manual pages in mdoc(7): what the definition of the command line has for each section, followed by what `man/sections`
//! has for it.

use crate::markup::{Markup, argument, escaped, literal};
use clap::{Arg, ArgAction, Command};
use keepalive_cli::help::{Json, Notes, Status};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

/// The file of `man/sections` for every page with policy options.
pub(crate) const POLICY: &str = "policy";
/// The file for every page whose options override the environment.
pub(crate) const ENVIRONMENT: &str = "environment";
/// The heading of policy options in the help.
const POLICY_HEADING: &str = "Policy";

/// The sections in the order of mdoc(7).
const ORDER: [&str; 15] = [
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "COMMANDS",
    "OPTIONS",
    OTHERS,
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
/// The place of sections with other names.
const OTHERS: &str = "";

/// A page for the command and one for each subcommand, without their dates. `written` returns the sections written by hand.
///
/// # Errors
/// A subcommand has no notes.
pub(crate) fn pages(root: &Command, written: &dyn Fn(&str) -> String) -> Result<Vec<(PathBuf, String)>, String> {
    let markup = Markup::new(root);
    let mut pages = vec![root_page(root, &markup).finish(written)];
    for command in shown(root) {
        pages.push(command_page(root, command, &markup)?.finish(written));
    }
    Ok(pages)
}

/// The page of the whole command.
fn root_page(root: &Command, markup: &Markup) -> Page {
    let name = root.get_name();
    let mut page = Page::new(name, root);
    for rest in [".Op Ar argument ...", ".Fl -help"] {
        page.add("SYNOPSIS", &format!(".Nm {name}\n.Ar command\n{rest}\n"));
    }
    page.add("DESCRIPTION", &markup.sentence(&about(root)));
    let mut commands = String::new();
    for subcommand in shown(root) {
        let other = format!("{name}-{}", subcommand.get_name());
        let _ = write!(commands, ".It Xr {other} 1\n{}", markup.sentence(&about(subcommand)));
        page.refer_to(&other);
    }
    page.add("COMMANDS", &tagged(&commands));
    page.add("OPTIONS", &own_options(root, markup, true));
    page
}

/// The page of a subcommand, and of those below it.
fn command_page(root: &Command, command: &Command, markup: &Markup) -> Result<Page, String> {
    let words = format!("{} {}", root.get_name(), command.get_name());
    let mut page = Page::new(&words.replace(' ', "-"), command);
    page.refer_to(root.get_name());
    let below: Vec<&Command> = shown(command).collect();
    if below.is_empty() {
        let notes = notes(command.get_name())?;
        page.add("SYNOPSIS", &synopsis(command, &words));
        page.add("DESCRIPTION", &description(command, notes.paragraphs, markup));
        page.add("OPTIONS", &own_options(command, markup, true));
        page.add_notes(command, notes, markup);
        page.add("EXIT STATUS", &statuses(notes.statuses, markup));
        return Ok(page);
    }
    page.add("DESCRIPTION", &description(command, &[], markup));
    page.add("OPTIONS", &own_options(command, markup, true));
    let mut list = String::new();
    for subcommand in below {
        let name = subcommand.get_name();
        let notes = notes(&format!("{} {name}", command.get_name()))?;
        page.add("SYNOPSIS", &synopsis(subcommand, &format!("{words} {name}")));
        let text = description(subcommand, notes.paragraphs, markup) + &own_options(subcommand, markup, false);
        page.add("COMMANDS", &format!(".Ss {name}\n{text}"));
        page.add_notes(subcommand, notes, markup);
        let _ = write!(list, ".It Ic {name}\n{}", statuses(notes.statuses, markup));
    }
    page.add("EXIT STATUS", &tagged(&list));
    Ok(page)
}

/// The subcommands that help shows.
pub(crate) fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

fn notes(command: &str) -> Result<&'static Notes, String> {
    keepalive_cli::notes(command).ok_or_else(|| format!("keepalive {command} has no notes"))
}

struct Page {
    name: String,
    sections: Vec<(String, String)>,
    /// The shared files of `man/sections` that it includes.
    shared: Vec<&'static str>,
}

impl Page {
    fn new(name: &str, command: &Command) -> Self {
        let mut page = Self {
            name: name.to_owned(),
            sections: Vec::new(),
            shared: Vec::new(),
        };
        let about = about(command);
        let first = about.chars().take_while(|letter| letter.is_uppercase()).count();
        // But `TCP` stays.
        let line = if first == 1 {
            about[..1].to_lowercase() + &about[1..]
        } else {
            about
        };
        page.add("NAME", &format!(".Nm {name}\n.Nd {}\n", escaped(&line)));
        page
    }

    /// Adds the policy options, JSON output and examples of a subcommand.
    fn add_notes(&mut self, command: &Command, notes: &Notes, markup: &Markup) {
        if arguments(command).any(is_policy) {
            self.add("OPTIONS", &policy_options(command, notes, markup));
            self.shared.push(POLICY);
        }
        if notes.has_environment() {
            self.shared.push(ENVIRONMENT);
        }
        if let Some(json) = &notes.json {
            self.add("JSON OUTPUT", &fields(json, markup));
        }
        for (what, lines) in notes.examples {
            let mut text = markup.text(what) + ".Pp\n";
            for line in *lines {
                let _ = writeln!(text, ".Dl $ {}", literal(line));
            }
            self.add("EXAMPLES", &text);
        }
    }

    fn refer_to(&mut self, page: &str) {
        self.add("SEE ALSO", &format!(".Xr {page} 1\n"));
    }

    /// Adds sections as they stand in a file.
    fn add_written(&mut self, text: &str) {
        for section in text.split(".Sh ").skip(1) {
            if let Some((heading, text)) = section.split_once('\n') {
                self.add(heading, text);
            }
        }
    }

    /// Adds to a section.
    fn add(&mut self, heading: &str, text: &str) {
        const LIST: &str = ".Bl -tag -width Ds\n";
        if text.is_empty() {
            return;
        }
        let Some((_, section)) = self.sections.iter_mut().find(|(present, _)| present == heading) else {
            self.sections.push((heading.to_owned(), text.to_owned()));
            return;
        };
        // Two lists in succession are one. Text begins a paragraph.
        match (section.strip_suffix(".El\n"), text.strip_prefix(LIST)) {
            (Some(items), Some(more)) if section.starts_with(LIST) => *section = items.to_owned() + more,
            _ => {
                let begins_paragraph = [".Pp", ".Ss", ".Bl", ".Bd", ".Dl"]
                    .iter()
                    .any(|name| text.starts_with(name));
                if !begins_paragraph && !["SYNOPSIS", "SEE ALSO"].contains(&heading) {
                    section.push_str(".Pp\n");
                }
                section.push_str(text);
            }
        }
    }

    /// Adds what is written by hand, and orders the sections.
    fn finish(mut self, written: &dyn Fn(&str) -> String) -> (PathBuf, String) {
        for name in std::mem::take(&mut self.shared) {
            self.add_written(&written(name));
        }
        self.add_written(&written(&self.name));
        let place = |heading: &str| ORDER.iter().position(|name| *name == heading);
        self.sections
            .sort_by_key(|(heading, _)| place(heading).or(place(OTHERS)));
        let name = &self.name;
        let mut text = format!(
            ".\\\" Made by make docs, of the command and man/sections/{name}.mdoc.\n.Dt {} 1\n.Os Linux\n",
            name.to_uppercase()
        );
        for (heading, section) in &self.sections {
            let _ = writeln!(text, ".Sh {heading}");
            match heading.as_str() {
                "SEE ALSO" => text.push_str(&references(section, name)),
                _ => text.push_str(section),
            }
        }
        (PathBuf::from(format!("man/{name}.1")), text)
    }
}

/// Each page but this one once, ordered by section and name, with commas.
fn references(section: &str, this: &str) -> String {
    let pages: BTreeSet<(&str, &str)> = section
        .lines()
        .filter_map(|line| line.strip_prefix(".Xr ")?.split_once(' '))
        .map(|(name, section)| (section, name))
        .filter(|(_, name)| *name != this)
        .collect();
    let lines: Vec<String> = pages
        .iter()
        .map(|(section, name)| format!(".Xr {name} {section}"))
        .collect();
    lines.join(" ,\n") + "\n"
}

/// The line that says what it does.
fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

/// What it does, and the notes on it.
fn description(command: &Command, paragraphs: &[&str], markup: &Markup) -> String {
    let about = about(command);
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let long = long.strip_prefix(&about).unwrap_or_default();
    let mut text = markup.sentence(&about) + &markup.text(long);
    for paragraph in paragraphs {
        let _ = write!(text, ".Pp\n{}", markup.text(paragraph));
    }
    text
}

/// The command line, with the policy options as one.
fn synopsis(command: &Command, words: &str) -> String {
    let mut text = format!(".Nm {words}\n");
    let required = command.get_groups().filter(|group| group.is_required_set());
    let grouped: Vec<&clap::Id> = required.flat_map(clap::ArgGroup::get_args).collect();
    let (members, single): (Vec<&Arg>, Vec<&Arg>) = arguments(command)
        .filter(|arg| !is_standard(arg) && !is_policy(arg))
        .partition(|arg| grouped.contains(&arg.get_id()));
    let (operands, options): (Vec<&Arg>, Vec<&Arg>) = single.into_iter().partition(|arg| arg.is_positional());
    let optional = |arg: &Arg| if arg.is_required_set() { "" } else { "Op " };
    for arg in options {
        let _ = writeln!(text, ".{}{}", optional(arg), form(arg, " | "));
    }
    if arguments(command).any(is_policy) {
        text.push_str(".Op Ar policy\n");
    }
    if !members.is_empty() {
        let members: Vec<String> = members.iter().map(|arg| form(arg, " | ")).collect();
        let _ = writeln!(text, ".Brq {}", members.join(" | "));
    }
    for arg in operands {
        if arg.is_trailing_var_arg_set() {
            text.push_str(".Op Fl -\n");
        }
        let _ = writeln!(text, ".{}{}", optional(arg), form(arg, " | "));
    }
    text
}

/// The arguments that help shows.
pub(crate) fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_hide_set())
}

fn is_policy(arg: &Arg) -> bool {
    arg.get_help_heading() == Some(POLICY_HEADING)
}

/// -h and -V, which every command has.
fn is_standard(arg: &Arg) -> bool {
    use ArgAction::{Help, HelpLong, HelpShort, Version};
    matches!(arg.get_action(), Help | HelpLong | HelpShort | Version)
}

/// An argument as it is typed: `Fl v | -verbose`, `Fl -idle Ar time`, `Ar pid ...`.
fn form(arg: &Arg, separator: &str) -> String {
    let names = arg.get_value_names().filter(|_| takes_values(arg)).unwrap_or_default();
    let mut values: Vec<String> = names.iter().map(|name| argument(name)).collect();
    if has_optional_value(arg) {
        values = vec![format!("Ns Op = Ns {}", values.join(" "))];
    }
    if arg.is_trailing_var_arg_set() {
        values.push(String::from("Op Ar argument ..."));
    } else if arg.is_positional() && arg.get_num_args().is_some_and(|number| number.max_values() > 1) {
        values.push(String::from("..."));
    }
    let short = arg.get_short().map(|short| format!("Fl {short}"));
    let long = arg.get_long().map(|long| format!("Fl -{long}"));
    let flags: Vec<String> = short.into_iter().chain(long).collect();
    let parts = Some(flags.join(separator)).filter(|flags| !flags.is_empty());
    parts.into_iter().chain(values).collect::<Vec<_>>().join(" ")
}

pub(crate) fn takes_values(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

/// Whether the value may be left out: then it follows the name and `=`.
pub(crate) fn has_optional_value(arg: &Arg) -> bool {
    arg.is_require_equals_set() && arg.get_num_args().is_some_and(|number| number.min_values() == 0)
}

/// The options but for those of the policy, then the operands.
fn own_options(command: &Command, markup: &Markup, with_standard: bool) -> String {
    let own = arguments(command).filter(|arg| !is_policy(arg) && (with_standard || !is_standard(arg)));
    let (operands, options): (Vec<&Arg>, Vec<&Arg>) = own.partition(|arg| arg.is_positional());
    let items: String = options
        .iter()
        .chain(&operands)
        .map(|arg| option_item(arg, markup))
        .collect();
    tagged(&items)
}

/// The policy options, which keepalive.conf(5) specifies.
fn policy_options(command: &Command, notes: &Notes, markup: &Markup) -> String {
    let items: String = arguments(command)
        .filter(|arg| is_policy(arg))
        .map(|arg| option_item(arg, markup))
        .collect();
    format!(
        ".Ss {POLICY_HEADING}\nAny of these is\n.Ar policy\nin the synopsis.\n.Xr keepalive.conf 5\nspecifies the values, \
         their ranges and what follows from them.\n{}{}",
        markup.text(notes.precedence),
        tagged(&items)
    )
}

/// What an option is for, its values and its default.
fn option_item(arg: &Arg, markup: &Markup) -> String {
    let mut text = format!(".It {}\n", form(arg, " , "));
    match arg.get_action() {
        ArgAction::Version => return text + "Print the version.\n",
        _ if is_standard(arg) => return text + "Print help.\n",
        _ => {}
    }
    let help = arg.get_long_help().filter(|_| !is_policy(arg)).or(arg.get_help());
    for paragraph in help.map(ToString::to_string).unwrap_or_default().split("\n\n") {
        text.push_str(&markup.sentence(paragraph));
    }
    if !takes_values(arg) {
        return text;
    }
    // The name `allow|deny` has the values, but not what they mean.
    let names = arg.get_value_names().unwrap_or_default();
    let mut values = String::new();
    if !arg.is_hide_possible_values_set() || names.iter().any(|name| name.contains('|')) {
        for value in arg.get_possible_values() {
            if let Some(help) = value.get_help() {
                let help = markup.sentence(&help.to_string());
                let _ = write!(values, ".It Cm {}\n{help}", value.get_name());
            }
        }
    }
    if !values.is_empty() {
        let _ = write!(text, ".Bl -tag -width preload -compact\n{values}.El\n");
    }
    if let [default] = arg.get_default_values() {
        let _ = writeln!(text, "The default is\n.Cm {} .", literal(&default.to_string_lossy()));
    }
    text
}

/// The fields of JSON output.
fn fields(json: &Json, markup: &Markup) -> String {
    let mut items = String::new();
    for (name, kind, meaning) in json.fields {
        let _ = write!(items, ".It Va {name} Pq {kind}\n{}", markup.text(meaning));
    }
    let null = markup.text(json.null);
    let after = if null.is_empty() { null } else { format!(".Pp\n{null}") };
    let heading = markup.text(&format!("{}:", json.heading));
    format!("{heading}.Bl -tag -width Ds -compact\n{items}.El\n{after}")
}

fn statuses(statuses: &[Status], markup: &Markup) -> String {
    let item = |(status, meaning): &Status| format!(".It {status}\n{}", markup.text(meaning));
    let items: String = statuses.iter().map(item).collect();
    format!(".Bl -tag -width Ds -compact\n{items}.El\n")
}

fn tagged(items: &str) -> String {
    if items.is_empty() {
        return String::new();
    }
    format!(".Bl -tag -width Ds\n{items}.El\n")
}

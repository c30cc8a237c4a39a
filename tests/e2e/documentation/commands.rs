//! The subcommands and their options, as --help tells of them.

use crate::support::keepalive;
use crate::support::process::{output_within, text};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

/// What a manual page is about: a command, with those below it where it is not the first.
#[derive(Clone)]
pub struct Page {
    pub name: String,
    /// Of each command its words and what its --help prints.
    pub helps: Vec<(String, String)>,
    pub options: BTreeSet<String>,
}

struct Help {
    words: Vec<String>,
    text: String,
}

static HELPS: LazyLock<Vec<Help>> = LazyLock::new(|| {
    let mut helps = Vec::new();
    visit(&[], &mut helps);
    helps
});

fn visit(words: &[String], helps: &mut Vec<Help>) {
    let mut command = Command::new(keepalive());
    let output = output_within(Duration::from_secs(60), command.args(words).arg("--help"));
    assert!(output.status.success(), "{words:?}");
    let help = Help {
        words: words.to_vec(),
        text: text(&output.stdout),
    };
    let subcommands = help.subcommands();
    helps.push(help);
    for subcommand in subcommands {
        visit(&[words, &[subcommand]].concat(), helps);
    }
}

impl Help {
    fn subcommands(&self) -> Vec<String> {
        let lines = self.text.lines().skip_while(|line| *line != "Commands:").skip(1);
        lines
            .take_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next().map(String::from))
            .collect()
    }

    fn options(&self) -> BTreeSet<String> {
        let lines = self
            .text
            .lines()
            .filter(|line| line.starts_with("  ") && line.trim_start().starts_with('-'));
        lines
            .flat_map(|line| line.trim_start().split(' ').take(2))
            // An optional value follows in brackets: --verify[=<TIME>].
            .filter_map(|word| word.trim_end_matches(',').split('[').next())
            .map(str::to_owned)
            .filter(|word| word.starts_with('-') && word.len() > 1)
            .collect()
    }
}

/// A page for the command, and one for each subcommand.
pub fn pages() -> Vec<Page> {
    let mut pages: Vec<Page> = Vec::new();
    for help in HELPS.iter() {
        let words: Vec<&str> = ["keepalive"]
            .into_iter()
            .chain(help.words.iter().map(String::as_str))
            .collect();
        let name = words[..words.len().min(2)].join("-");
        let entry = (words.join(" "), help.text.clone());
        match pages.iter_mut().find(|page| page.name == name) {
            Some(page) => {
                page.helps.push(entry);
                page.options.extend(help.options());
            }
            None => pages.push(Page {
                name,
                helps: vec![entry],
                options: help.options(),
            }),
        }
    }
    pages
}

/// Asserts that the words behind `keepalive` name a subcommand, and options that it has.
#[track_caller]
pub fn assert_known(words: &[&str], place: &str) {
    let mut help = &HELPS[0];
    for word in words.iter().take_while(|word| **word != "--") {
        let path = [help.words.as_slice(), &[(*word).to_owned()]].concat();
        if let Some(subcommand) = HELPS.iter().find(|help| help.words == path) {
            help = subcommand;
        } else if word.starts_with('-') {
            let option = word.split('=').next().unwrap_or_default();
            assert!(help.options().contains(option), "{place}: there is no {option}");
        } else {
            let is_placeholder = word.chars().all(|letter| !letter.is_lowercase());
            assert!(
                help.subcommands().is_empty() || is_placeholder,
                "{place}: there is no {word}"
            );
        }
    }
}

/// Whether some subcommand has the option; what is none is fine.
pub fn is_option_of_any(word: &str) -> bool {
    let option = word.split('=').next().unwrap_or_default();
    !word.starts_with("--") || HELPS.iter().any(|help| help.options().contains(option))
}

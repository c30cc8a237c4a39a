//! The manual pages and completions that follow from the definition of the command line. A test compares them with the
//! files in the repository, and `make docs` lets it write them: no program contains any of this.

mod completions;
mod json;
mod manual;
mod prose;

use crate::cli::Cli;
use clap::CommandFactory as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set by `make docs`: the files are written.
const WRITE: &str = "KEEPALIVE_WRITE_DOCUMENTATION";

/// Every file of it, below the root of the repository, with its content.
fn files() -> Vec<(PathBuf, String)> {
    let mut root = Cli::command();
    root.build();
    let mut files = manual::pages(&root, &sections);
    files.extend(completions::scripts(&root));
    files.push(requirements());
    files
}

/// The page of requirements: what stands between the marks is made of the table, the rest is written by hand.
fn requirements() -> (PathBuf, String) {
    const BEGIN: &str = "<!-- begin: make docs writes this table -->\n";
    const END: &str = "<!-- end -->\n";
    let path = PathBuf::from("docs/requirements.md");
    let there = fs::read_to_string(repository().join(&path)).unwrap_or_default();
    let (before, rest) = there.split_once(BEGIN).expect("the mark before the table");
    let (_, after) = rest.split_once(END).expect("the mark behind the table");
    let table = crate::requirements::markdown();
    (path, format!("{before}{BEGIN}{table}{END}{after}"))
}

/// What is written by hand for the page, or nothing; and on the page of the whole command the requirements.
fn sections(page: &str) -> String {
    let written = fs::read_to_string(repository().join(format!("man/sections/{page}.mdoc"))).unwrap_or_default();
    if page == "keepalive" {
        written + &crate::requirements::mdoc()
    } else {
        written
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The content with the date of the file that is there, where nothing else differs from it, else with today's.
fn dated(content: &str, there: &str) -> String {
    let date = match there.split_once('\n') {
        Some((date, rest)) if rest == content => date.to_owned(),
        _ => format!(".Dd {}", today()),
    };
    format!("{date}\n{content}")
}

fn today() -> String {
    let date = Command::new("date").env("LC_ALL", "C").arg("+%B %-d, %Y").output();
    String::from_utf8_lossy(&date.expect("date(1) is there").stdout)
        .trim()
        .to_owned()
}

/// The first line in which they differ, from `first` on, with its number.
fn difference<'a>(one: &'a str, other: &'a str, first: usize) -> Option<(usize, &'a str, &'a str)> {
    let lines = |text: &'a str| text.lines().chain(["(its end)"]);
    let mut pairs = lines(one).zip(lines(other)).enumerate().skip(first);
    pairs.find_map(|(index, (one, other))| (one != other).then_some((index + 1, one, other)))
}

#[test]
fn the_manual_pages_and_completions_are_those_of_the_command() {
    let files = files();
    let mut stale = Vec::new();
    for (path, content) in &files {
        let place = repository().join(path);
        let there = fs::read_to_string(&place).unwrap_or_default();
        let is_page = path.starts_with("man");
        let content = if is_page {
            dated(content, &there)
        } else {
            content.clone()
        };
        if content == there {
            continue;
        }
        if std::env::var_os(WRITE).is_some() {
            fs::write(&place, &content).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
            continue;
        }
        // The date of a stale page is no news.
        let first = usize::from(is_page);
        let (line, is, should) = difference(&there, &content, first).unwrap_or_default();
        stale.push(format!("{}:{line}:\n- {is}\n+ {should}", path.display()));
    }
    assert!(stale.is_empty(), "make docs writes them anew:\n{}", stale.join("\n"));
}

#[test]
fn there_is_no_page_section_or_completion_of_a_command_that_is_gone() {
    let files = files();
    let is_made = |path: &Path| files.iter().any(|(made, _)| made == path);
    for (directory, made) in [("man", ".1"), ("completions", "")] {
        for entry in fs::read_dir(repository().join(directory)).expect(directory) {
            let name = entry.expect(directory).file_name();
            let name = name.to_str().expect("a name of ours");
            let path = Path::new(directory).join(name);
            assert!(!name.ends_with(made) || is_made(&path), "{}", path.display());
        }
    }
    for entry in fs::read_dir(repository().join("man/sections")).expect("a directory") {
        let path = entry.expect("man/sections").path();
        let page = path.file_stem().and_then(|stem| stem.to_str()).expect("a name of ours");
        assert!(
            [manual::POLICY, manual::ENVIRONMENT].contains(&page)
                || is_made(&Path::new("man").join(format!("{page}.1"))),
            "{}: of no page",
            path.display()
        );
    }
}

//! The files that follow from the definition of the command line: which there are, whether they are up to date, writing them.

use crate::{completions, manual, requirements};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file below the root of the repository.
struct File {
    path: PathBuf,
    content: String,
    /// What the repository has.
    present: String,
}

/// Writes every file that is not up to date.
///
/// # Errors
/// A file cannot be written, or belongs to no subcommand.
pub(crate) fn write() -> Result<(), String> {
    for file in files()?.iter().filter(|file| file.content != file.present) {
        let path = repository().join(&file.path);
        fs::write(&path, &file.content).map_err(|error| failed(&path, &error))?;
    }
    check()
}

/// Compares every file.
///
/// # Errors
/// Each file that is not up to date with its first difference, and each that belongs to no subcommand.
pub(crate) fn check() -> Result<(), String> {
    let files = files()?;
    let stale = files.iter().filter(|file| file.content != file.present);
    let mut mistakes: Vec<String> = stale.map(File::difference).collect();
    mistakes.extend(surplus(&files)?);
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(format!("make docs writes these files:\n{}", mistakes.join("\n")))
}

fn files() -> Result<Vec<File>, String> {
    let mut root = keepalive_cli::command();
    root.build();
    let mut files = Vec::new();
    for (path, content) in manual::pages(&root, &section)? {
        let present = read(&path);
        let content = dated(&content, &present);
        files.push(File { path, content, present });
    }
    for (path, content) in completions::scripts(&root) {
        let present = read(&path);
        files.push(File { path, content, present });
    }
    let path = PathBuf::from("docs/requirements.md");
    let present = read(&path);
    let content = requirements::in_markdown(&present)?;
    files.push(File { path, content, present });
    Ok(files)
}

/// The sections of a page that are written by hand, and the requirements on the page of the whole command.
fn section(page: &str) -> String {
    let mut written = read(Path::new(&format!("man/sections/{page}.mdoc")));
    if page == "keepalive" {
        written.push_str(&requirements::section());
    }
    written
}

/// Pages, sections and completions that belong to no subcommand any more.
fn surplus(files: &[File]) -> Result<Vec<String>, String> {
    let mut surplus = Vec::new();
    for (directory, extension) in [("man", "1"), ("completions", ""), ("man/sections", "mdoc")] {
        let entries =
            fs::read_dir(repository().join(directory)).map_err(|error| failed(Path::new(directory), &error))?;
        for name in entries.flatten().map(|entry| PathBuf::from(entry.file_name())) {
            let is_meant = extension.is_empty() || name.extension().is_some_and(|found| found == extension);
            let page = match name.file_stem().and_then(|stem| stem.to_str()) {
                Some(manual::POLICY | manual::ENVIRONMENT) => continue,
                Some(stem) if extension == "mdoc" => Path::new("man").join(format!("{stem}.1")),
                _ => Path::new(directory).join(&name),
            };
            if is_meant && !files.iter().any(|file| file.path == page) {
                surplus.push(format!("{directory}/{}: belongs to no subcommand", name.display()));
            }
        }
    }
    Ok(surplus)
}

impl File {
    /// The first line that differs.
    fn difference(&self) -> String {
        let end = ["(end)"];
        let pairs = self.present.lines().chain(end).zip(self.content.lines().chain(end));
        // The date of a stale page differs too.
        let mut different = pairs.enumerate().filter(|(_, (present, new))| present != new);
        let found = different.find(|(_, (_, new))| !new.starts_with(".Dd "));
        let (line, (present, new)) = found.unwrap_or_default();
        format!("{}:{}:\n- {present}\n+ {new}", self.path.display(), line + 1)
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The content, or nothing where there is no such file.
fn read(path: &Path) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_default()
}

fn failed(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// The page with the date of the present one if nothing else differs, else with today's.
fn dated(content: &str, present: &str) -> String {
    match present.split_once('\n') {
        Some((_, rest)) if rest == content => present.to_owned(),
        _ => format!(".Dd {}\n{content}", today()),
    }
}

fn today() -> String {
    let date = Command::new("date").env("LC_ALL", "C").arg("+%B %-d, %Y").output();
    let date = date.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&date).trim().to_owned()
}

#[test]
fn manuals_and_completions_are_up_to_date() {
    check().unwrap_or_else(|error| panic!("{error}"));
}

//! The links of the documents, and the size of the README.

use crate::support::repository;
use std::fs;
use std::path::{Path, PathBuf};

/// The Markdown files that readers follow links in.
fn documents() -> Vec<PathBuf> {
    let mut documents = Vec::new();
    for directory in ["", "docs", ".github", ".github/ISSUE_TEMPLATE", "tests/vm", "tests"] {
        let Ok(entries) = fs::read_dir(repository().join(directory)) else {
            continue;
        };
        let paths = entries.map(|entry| entry.expect("an entry").path());
        documents.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    documents.sort();
    documents
}

/// The targets of `[text](target)` and `![text](target)`.
fn targets(text: &str) -> Vec<&str> {
    let starts = text.match_indices("](").map(|(start, _)| &text[start + 2..]);
    starts
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .filter(|target| !target.contains(char::is_whitespace))
        .collect()
}

/// The anchors that a Markdown file has: its headings in small letters, with hyphens for spaces and without punctuation.
fn anchors(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a document");
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter))
                .map(|letter| if letter == ' ' { '-' } else { letter })
                .collect()
        })
        .collect()
}

/// The links of these documents that lead nowhere, and how many links there are.
pub fn wrong_links(documents: &[PathBuf]) -> (Vec<String>, usize) {
    let mut wrong = Vec::new();
    let mut number = 0;
    for document in documents {
        let text = fs::read_to_string(document).expect("a document");
        for target in targets(&text) {
            if target.contains("://") {
                continue;
            }
            number += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let directory = document.parent().expect("a directory");
            let path = if file.is_empty() {
                document.clone()
            } else {
                directory.join(file)
            };
            if !path.exists() || !anchor.is_empty() && !anchors(&path).iter().any(|known| known == anchor) {
                wrong.push(format!("{}: {target}", document.display()));
            }
        }
    }
    (wrong, number)
}

#[test]
fn links_in_documents_lead_to_files_and_headings() {
    let (wrong, number) = wrong_links(&documents());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(number > 20, "only {number} links were found");
}

#[test]
fn readme_has_at_most_8_kib() {
    let readme = fs::read(repository().join("README.md")).expect("the README");
    assert!(readme.len() <= 8192, "{} bytes", readme.len());
}

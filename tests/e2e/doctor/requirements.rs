//! What the running kernel has, against what it does.

use super::{doctor, shown, unfolded};
use crate::support::repository;
use std::fs;

/// The rows of docs/requirements.md: what, version, feature, and what is so without it.
fn rows() -> Vec<[String; 4]> {
    let page = fs::read_to_string(repository().join("docs/requirements.md")).expect("it is there");
    let lines = page.lines().filter(|line| line.starts_with("| "));
    let rows = lines.map(|line| {
        let cells: Vec<String> = line.trim_matches(['|', ' ']).split(" | ").map(str::to_owned).collect();
        <[String; 4]>::try_from(cells).expect("four cells")
    });
    rows.skip(1).collect()
}

/// The page is the table that doctor asks the kernel by.
#[test]
fn doctor_shows_each_row_of_the_page() {
    let (_, text) = shown(&mut doctor());
    let findings = unfolded(&text);
    let features: Vec<&String> = findings
        .iter()
        .filter(|finding| finding.contains("kernel feature: "))
        .collect();
    let rows = rows();
    assert_eq!(features.len(), rows.len(), "{text}");
    for [what, linux, feature, without] in rows {
        let begins = format!("kernel feature: {what}: ");
        let found = features.iter().find(|finding| finding.contains(&begins));
        let found = found.unwrap_or_else(|| panic!("no '{begins}' in {text}"));
        let since = if linux == "any" {
            String::from("any Linux")
        } else {
            format!("Linux {linux}")
        };
        assert!(found.contains(&since), "{found}");
        let missing = format!("missing ({feature}; {since}); without it: {without}");
        let unknown = format!("this user cannot find it out ({feature}; {since})");
        assert!(
            found.ends_with(&format!("available ({since})")) || found.ends_with(&missing) || found.ends_with(&unknown),
            "{found}"
        );
    }
}

//! The fields of JSON output are those that --help lists.

use crate::support::keepalive;
use crate::support::process::{output_within, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;

/// What the command prints; its exit status does not matter.
fn printed(words: &[&str]) -> String {
    let mut command = Command::new(keepalive());
    text(&output_within(super::LIMIT, command.args(words)).stdout)
}

/// The fields in the help of a subcommand.
fn documented(words: &[&str]) -> BTreeSet<String> {
    let help = printed(&[words, &["--help"]].concat());
    let lines = help.lines().skip_while(|line| !line.starts_with("The JSON object"));
    let lines = lines.skip_while(|line| !line.ends_with(':')).skip(1);
    let fields = lines.take_while(|line| !line.is_empty());
    fields
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(String::from))
        .collect()
}

/// Adds the fields of `value`, except those below a documented field.
fn collect(value: &Value, name: &str, documented: &BTreeSet<String>, fields: &mut BTreeSet<String>) {
    match value {
        _ if documented.contains(name) => {
            fields.insert(name.to_owned());
        }
        Value::Object(members) => {
            for (member, value) in members {
                // `settings.NAME.value` is one field.
                let member = if name == "settings" { "NAME" } else { member };
                let name = if name.is_empty() {
                    member.to_owned()
                } else {
                    format!("{name}.{member}")
                };
                collect(value, &name, documented, fields);
            }
        }
        Value::Array(elements) => {
            let name = if name.is_empty() {
                String::new()
            } else {
                format!("{name}[]")
            };
            for element in elements {
                collect(element, &name, documented, fields);
            }
        }
        // What it would contain is documented.
        Value::Null if documented.iter().any(|field| field.starts_with(&format!("{name}."))) => {}
        _ => {
            fields.insert(name.to_owned());
        }
    }
}

#[track_caller]
fn assert_documented(words: &[&str], arguments: &[&str], others: &BTreeSet<String>) {
    let mut known = documented(words);
    assert!(!known.is_empty(), "{words:?}");
    known.extend(others.iter().cloned());
    let json = printed(&[words, &["--json"], arguments].concat());
    let value: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{words:?}: {error}: {json}"));
    let mut fields = BTreeSet::new();
    collect(&value, "", &known, &mut fields);
    let unknown: Vec<&String> = fields.difference(&known).collect();
    assert!(
        unknown.is_empty() && !fields.is_empty(),
        "{words:?}: not documented: {unknown:?}"
    );
}

#[test]
fn help_lists_the_fields_of_json_output() {
    let none = BTreeSet::new();
    let _listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let pid = std::process::id().to_string();
    assert_documented(&["presets"], &[], &none);
    assert_documented(&["doctor"], &[], &none);
    assert_documented(&["doctor"], &["--pid", &pid], &none);
    assert_documented(&["system", "status"], &[], &none);
    assert_documented(&["cgroup", "status"], &[], &none);
    let place = ["--for", "connect", "10.0.0.5:5432"];
    assert_documented(
        &["explain"],
        &[&place[..], &["--rule", "connect * idle=9s"]].concat(),
        &none,
    );
    assert_documented(&["list"], &[&pid], &none);
    assert_documented(&["attach"], &["--dry-run", &pid], &documented(&["list"]));
}

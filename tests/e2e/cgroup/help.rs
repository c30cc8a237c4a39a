//! The help texts.

use crate::support::keepalive;
use crate::support::process::{LIMIT, output_within, text};
use std::process::Command;

#[test]
fn help_lines_fit_80_columns() {
    for words in [
        &["cgroup", "--help"][..],
        &["cgroup", "-h"],
        &["cgroup", "enable", "--help"],
        &["cgroup", "enable", "-h"],
        &["cgroup", "disable", "--help"],
        &["cgroup", "status", "--help"],
        &["run", "--help"],
    ] {
        let output = output_within(LIMIT, Command::new(keepalive()).args(words));
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let help = text(&output.stdout);
        assert!(help.lines().count() > 5, "{help}");
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{words:?}: {line}");
        }
    }
}

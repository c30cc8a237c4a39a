//! At a terminal: what is shown meanwhile, and Ctrl-C.

use super::{Lab, script, stderr};
use crate::support::{PYTHON, keepalive};
use std::process::Output;

/// Somebody at a terminal of `keepalive probe`, see `targets/terminal.py`.
fn at_a_terminal(lab: &Lab<'_>, options: &str, steps: &[&str]) -> Output {
    let command = format!("{} probe {} {options}", keepalive().display(), lab.target());
    let terminal = script("terminal.py");
    let terminal = terminal.to_str().expect("a UTF-8 path");
    lab.client(&[&[PYTHON, terminal, &command], steps].concat())
}

#[track_caller]
fn assert_was_seen(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

#[test]
fn progress_is_shown_in_one_line_that_goes_away() {
    python!();
    let lab = Lab {
        timeout: "3",
        on_forget: "reset",
        ..Lab::default()
    };
    let output = output_or_skip!(at_a_terminal(
        &lab,
        "--max 10",
        &[
            "see keepalive: asking 10.0.2.2:7000 about idle times up to 10 s; this takes ",
            "see \ridle for ",
            "see of up to 10s: ",
            "see of 12 connections asked\x1b[K",
            "see \rchecking the cure: ",
            "see \r\x1b[KAn idle connection is known after ",
        ],
    ));
    assert_was_seen(&output);
}

#[test]
fn ctrl_c_reports_the_results_so_far() {
    python!();
    let steps = [
        "see of up to 30s: 2 of 4 connections asked",
        "type ^C",
        "see \r\x1b[KA connection that was idle for 7.",
        "see  s was still known.",
        "see keepalive: interrupted: this is what is known so far",
    ];
    let output = output_or_skip!(at_a_terminal(&Lab::default(), "--max 30 --parallel 4", &steps));
    assert_was_seen(&output);
}

#[test]
fn ctrl_c_before_a_result_reports_that_nothing_is_known() {
    python!();
    let steps = [
        "see at most",
        "type ^C",
        "see Nothing is known yet.",
        "see interrupted: ",
    ];
    let output = output_or_skip!(at_a_terminal(&Lab::default(), "--max 40 --parallel 2", &steps));
    assert_was_seen(&output);
}

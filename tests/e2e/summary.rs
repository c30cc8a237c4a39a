//! `scripts/test-summary`, by which `make test` and `.ci/run` count tests: with a small test program.

use crate::support::process::{LIMIT, output_within, text};
use crate::support::repository;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const TESTS: &str = r#"
mod skip;
#[test] fn passes() {}
#[test] fn fails() { panic!() }
#[test] fn has_no_program() { skip::report_skip("psql is not installed") }
#[test] fn has_no_program_either() { skip::report_skip("psql\n  is not installed") }
#[test] fn has_no_root() { skip::report_skip("a namespace"); skip::report_skip("another"); }
#[test] fn fails_after_a_part_was_skipped() { skip::report_skip("a part"); panic!() }
#[test] #[ignore = "takes a day"] fn takes_a_day() {}
"#;

fn summary(directory: &Path, words: &[&str], required: &str) -> Output {
    let mut command = Command::new(repository().join("scripts/test-summary"));
    command.args(words).current_dir(directory);
    output_within(LIMIT, command.env("KEEPALIVE_TEST_REQUIRE", required))
}

/// Returns the last lines of the output, from the summary on.
#[track_caller]
fn counted(output: &Output) -> String {
    let stdout = text(&output.stdout);
    let start = stdout
        .find("\ntests: ")
        .unwrap_or_else(|| panic!("no summary: {stdout}"));
    stdout[start + 1..].to_owned()
}

#[test]
fn skipped_tests_are_counted_as_skipped_with_their_reasons() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let skip = repository().join("tests/e2e/support/skip.rs");
    fs::copy(skip, directory.path().join("skip.rs")).expect("a copy");
    fs::write(directory.path().join("tests.rs"), TESTS).expect("a file of the test");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compile = Command::new(rustc);
    compile
        .args(["--test", "--edition=2024", "tests.rs"])
        .current_dir(directory.path());
    let output = output_within(LIMIT, &mut compile);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for threads in ["--test-threads=1", "--test-threads=4"] {
        let output = summary(directory.path(), &["./tests", threads], "");
        assert_eq!(output.status.code(), Some(101));
        assert_eq!(
            counted(&output),
            "tests: 1 passed, 2 failed, 4 skipped\n     \
             2 skipped: psql is not installed\n     \
             1 skipped: a namespace\n     \
             1 skipped: ignored: takes a day\n"
        );
        let output = summary(directory.path(), &["./tests", threads], "all");
        assert_eq!(
            counted(&output),
            "tests: 1 passed, 5 failed, 1 skipped\n     1 skipped: ignored: takes a day\n"
        );
    }
    let output = summary(directory.path(), &["./tests", "passes", "--exact"], "");
    assert_eq!(
        (output.status.code(), &*counted(&output)),
        (Some(0), "tests: 1 passed, 0 failed, 0 skipped\n")
    );
}

#[test]
fn incomplete_run_is_a_failure() {
    let output = summary(Path::new("/"), &["sh", "-c", "exit 7"], "");
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(
        counted(&output),
        "tests: 0 passed, 0 failed, 0 skipped; the run did not complete\n"
    );
}

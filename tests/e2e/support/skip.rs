//! Reports tests that this machine cannot run: on standard error, and in the file from which `scripts/test-summary`
//! counts.

use std::env;
use std::fs::OpenOptions;
use std::io::{Write as _, stderr};
use std::thread;

/// Reports why the running test, or a part of it, is skipped.
///
/// # Panics
/// If `KEEPALIVE_TEST_REQUIRE=all` is set.
#[track_caller]
pub fn report_skip(why: &str) {
    assert!(
        env::var_os("KEEPALIVE_TEST_REQUIRE").is_none_or(|value| value != "all"),
        "KEEPALIVE_TEST_REQUIRE=all, but {why}"
    );
    let thread = thread::current();
    let test = thread.name().unwrap_or("test");
    // Bypasses libtest's capture, so that skipped tests are visible in every run.
    let _ = stderr().write_all(format!("SKIP {test}: {why}\n").as_bytes());
    if let Some(path) = env::var_os("KEEPALIVE_TEST_SKIPS") {
        let line = format!("{test}\t{}\n", why.split_whitespace().collect::<Vec<_>>().join(" "));
        // One write, as other tests append at the same time.
        let file = OpenOptions::new().append(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the file of the skipped tests");
    }
}

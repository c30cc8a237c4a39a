//! Processes that wait for a file system which answers nothing: what they show cannot delay the others.

use super::{CONNECTION, assert_has, entries, entry, list, parsed};
use crate::support::hung::HungFuse;
use crate::support::process::{LIMIT, output_within, text};
use crate::support::puppet::Puppet;
use serde_json::json;

/// Skips a test where no file system can hang.
macro_rules! hung {
    () => {{
        root!();
        python!();
        if let Some(why) = HungFuse::missing() {
            skip!("{why}");
        }
        HungFuse::new()
    }};
}

#[test]
fn a_process_whose_name_is_in_memory_that_cannot_be_read_is_shown_all_the_same() {
    let fuse = hung!();
    let mut program = fuse.puppet();
    program.does(CONNECTION);
    program.does("map_hung_over_name()");
    program.hang();
    let entry = program.entry("client");
    assert_has(&entry, &json!({"keepalive": true, "idle_s": 61, "program": "python3"}));
}

//! The order of writes to the disk: a library is there before its line, and is removed after it.

use crate::support::find_program;
use crate::support::process::text;
use crate::support::target::without_library;
use std::fs;

/// Returns the calls by which `keepalive system WORDS` changes files, in order, each with its file, without the path:
/// `fsync NAME`, `rename NAME`, `unlink NAME`.
fn calls(system: &super::test_system::TestSystem, words: &[&str]) -> Vec<String> {
    let trace = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut command = without_library(&find_program("strace").expect("it was asked for"));
    command.args([
        "-y",
        "-e",
        "trace=fsync,rename,renameat,renameat2,unlink,unlinkat",
        "-o",
    ]);
    let enable = system.host_command(words);
    command
        .arg(trace.path())
        .arg(enable.get_program())
        .args(enable.get_args());
    let output = command.env("KEEPALIVE_LIBRARY", crate::support::library()).output();
    let output = output.expect("strace starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let trace = fs::read_to_string(trace.path()).expect("strace wrote it");
    let done = trace.lines().filter(|line| line.ends_with(" = 0"));
    done.map(|line| {
        let (call, rest) = line.split_once('(').expect("a call");
        let rest = rest.rsplit_once(')').expect("its end").0;
        // The last argument of unlinkat(2) is its flags.
        let rest = rest.strip_suffix(", 0").unwrap_or(rest);
        // The file that is synced, removed, or replaced is the last one.
        let file = rest
            .trim_end_matches(['>', '"'])
            .rsplit(['<', '"'])
            .next()
            .expect("a path");
        let name = file.rsplit('/').next().expect("a name");
        // Names of new files end with a random number.
        let name = match name.rsplit_once('-') {
            Some((name, _)) if name.ends_with(".keepalive-new") => name,
            _ => name,
        };
        format!("{} {name}", call.trim_end_matches("at2").trim_end_matches("at"))
    })
    .collect()
}

#[test]
fn library_is_synced_before_its_line_and_removed_after_it() {
    let system = system!();
    if find_program("strace").is_none() {
        skip!("strace is not installed");
    }
    let directory = system.directory.file_name().expect("a directory").display().to_string();
    let directory = format!("fsync {directory}");
    assert_eq!(
        calls(&system, &["enable"]),
        [
            "fsync keepalive-system.so.keepalive-new",
            "fsync ld.so.preload.keepalive-new",
            "rename keepalive-system.so",
            &directory,
            "rename ld.so.preload",
            "fsync etc",
        ]
    );
    assert_eq!(
        calls(&system, &["disable"]),
        ["unlink ld.so.preload", "fsync etc", "unlink keepalive-system.so"]
    );
    system.assert_quiet("at the end");
}

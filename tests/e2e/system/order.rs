//! In which order things reach the disk: what a line names is there before the line is, and after the line is gone.

use crate::support::find_program;
use crate::support::process::text;
use crate::support::target::bare;
use std::fs;

/// The calls by which `keepalive system WORDS` changes files, in order, each with the files that it is about: `fsync NAME`,
/// `rename NAME`, `unlink NAME`; of a directory without its path.
fn calls(stage: &super::stage::Stage, words: &[&str]) -> Vec<String> {
    let trace = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut command = bare(&find_program("strace").expect("it was asked for"));
    command.args([
        "-y",
        "-e",
        "trace=fsync,rename,renameat,renameat2,unlink,unlinkat",
        "-o",
    ]);
    let system = stage.outside(words);
    command
        .arg(trace.path())
        .arg(system.get_program())
        .args(system.get_args());
    let output = command.env("KEEPALIVE_LIBRARY", crate::support::library()).output();
    let output = output.expect("strace starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let trace = fs::read_to_string(trace.path()).expect("strace wrote it");
    let done = trace.lines().filter(|line| line.ends_with(" = 0"));
    done.map(|line| {
        let (call, rest) = line.split_once('(').expect("a call");
        let rest = rest.rsplit_once(')').expect("its end").0;
        // unlinkat(2) ends with its flags.
        let rest = rest.strip_suffix(", 0").unwrap_or(rest);
        // The file that is synced, removed, or replaced: the last one.
        let file = rest
            .trim_end_matches(['>', '"'])
            .rsplit(['<', '"'])
            .next()
            .expect("a path");
        let name = file.rsplit('/').next().expect("a name");
        // What a new file is called ends with a random number.
        let name = match name.rsplit_once('-') {
            Some((name, _)) if name.ends_with(".keepalive-new") => name,
            _ => name,
        };
        format!("{} {name}", call.trim_end_matches("at2").trim_end_matches("at"))
    })
    .collect()
}

#[test]
fn the_library_is_on_the_disk_before_the_line_and_gone_after_it() {
    let stage = system!();
    if find_program("strace").is_none() {
        skip!("strace is not installed");
    }
    let directory = stage.directory.file_name().expect("a directory").display().to_string();
    let directory = format!("fsync {directory}");
    assert_eq!(
        calls(&stage, &["enable"]),
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
        calls(&stage, &["disable"]),
        ["unlink ld.so.preload", "fsync etc", "unlink keepalive-system.so"]
    );
    stage.assert_quiet("at the end");
}

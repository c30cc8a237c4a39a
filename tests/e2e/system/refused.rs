//! What cannot be done is refused with its reason, and nothing has changed.

use super::stage::{COPY, FILE, Stage, failed, succeeded};
use crate::support::process::text;
use crate::support::target::{Libc, UNTOUCHED, compile};
use crate::support::{find_program, library, released_keepalive};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs a shell script in a mount namespace of its own; $1 is the system's root, $2 the command of this machine.
fn script(stage: &Stage, script: &str) -> Output {
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", script, "sh"])
        .arg(stage.root.path())
        .arg(released_keepalive())
        .env("KEEPALIVE_LIBRARY", library())
        .output();
    output.expect("unshare starts")
}

/// As it was before anybody came.
#[track_caller]
fn assert_untouched(stage: &Stage, files: &[&str]) {
    assert_eq!(stage.ours(), files);
    stage.assert_quiet("refused");
    assert_eq!(stage.socket(), UNTOUCHED);
}

#[test]
fn a_directory_that_cannot_be_written_to_is_refused() {
    let stage = system!();
    for directory in ["/etc", &stage.directory.display().to_string()] {
        let command = format!(
            "mount --bind \"$1{directory}\" \"$1{directory}\"; mount -o remount,ro,bind \"$1{directory}\"
             exec \"$2\" system enable --root \"$1\""
        );
        let output = script(&stage, &command);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(
            errors.contains(directory) && errors.contains("Read-only file system"),
            "{errors}"
        );
        assert_untouched(&stage, &[]);
    }
    // Enabled, and then made read-only: what was active stays active, all of it.
    stage.does(&["enable"]);
    let command = "mount --bind \"$1/etc\" \"$1/etc\"; mount -o remount,ro,bind \"$1/etc\"
        exec \"$2\" system disable --root \"$1\"";
    assert_eq!(script(&stage, command).status.code(), Some(1));
    stage.assert_quiet("not disabled");
    assert_eq!(stage.ours(), [COPY, "ld.so.preload"]);
}

/// As with some containers, which mount single files.
#[test]
fn a_file_that_is_a_mount_point_is_refused() {
    let stage = system!();
    stage.root.write(FILE, "");
    let command = "mount --bind \"$1/etc/ld.so.preload\" \"$1/etc/ld.so.preload\"
        exec \"$2\" system enable --root \"$1\"";
    let output = script(&stage, command);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("rename") && errors.contains("hint: it is a mount point"),
        "{errors}"
    );
    assert_untouched(&stage, &["ld.so.preload"]);
}

/// With more and more room, page by page: all of it is done, or nothing.
#[test]
fn on_a_full_disk_all_is_done_or_nothing() {
    let stage = system!();
    stage.root.write("/srv/preload", "# somebody else's\n");
    let command = r#"
        mount -t tmpfs -o size=64m none /mnt
        cp -a "$1/." /mnt
        cp /mnt/srv/preload /mnt/etc/ld.so.preload
        for free in $(seq 0 4 88); do
            rm -f /mnt/filler
            cat /dev/zero >/mnt/filler 2>/dev/null || :
            size=$(stat -c %s /mnt/filler)
            truncate -s $((size - free * 1024)) /mnt/filler
            status=0
            error=$("$2" system enable --root /mnt 2>&1 >/dev/null) || status=$?
            error=$(echo "$error" | head -1)
            chroot /mnt /bin/sh -c : 2>&1
            echo "$free;$status;$(cd /mnt && echo usr/lib/*/keepalive* etc/ld.so.preload*);$error"
            rm -f /mnt/filler
            "$2" system disable --root /mnt >/dev/null
            rm -f /mnt/etc/ld.so.preload.before-keepalive
            cmp /mnt/srv/preload /mnt/etc/ld.so.preload
        done"#;
    let output = script(&stage, command);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        text(&output.stderr)
    );
    let mut seen = [0, 0];
    for line in text(&output.stdout).lines() {
        let fields: Vec<&str> = line.split(';').collect();
        let [_, status, files, error] = fields[..] else {
            panic!("{line}");
        };
        let copy = format!("usr/lib/{}/{COPY}", stage.directory.file_name().unwrap().display());
        if status == "0" {
            assert_eq!(
                files,
                format!("{copy} etc/ld.so.preload etc/ld.so.preload.before-keepalive"),
                "{line}"
            );
            seen[0] += 1;
        } else {
            assert_eq!(files, "usr/lib/*/keepalive* etc/ld.so.preload", "{line}");
            assert!(error.starts_with("keepalive: cannot write '/mnt/"), "{line}");
            assert!(error.ends_with("No space left on device"), "{line}");
            seen[1] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 3), "{seen:?}");
}

#[test]
fn what_is_no_library_of_ours_is_refused() {
    let stage = system!();
    let empty = compile(Libc::Host, "empty.c", &["-shared", "-fPIC"]);
    stage.root.install(&empty, Path::new("/empty.so"), 0o644);
    for (library, reason) in [
        ("/none.so", "No such file or directory"),
        ("/sockets", "no libkeepalive.so of this project"),
        ("/empty.so", "no libkeepalive.so of this project"),
        ("/etc", "Is a directory"),
    ] {
        let refusal = stage.refuses(&["enable", "--library", library]);
        assert!(
            refusal.starts_with(&format!("keepalive: cannot use '{library}': ")),
            "{refusal}"
        );
        assert!(refusal.contains(reason), "{refusal}");
    }
    assert_untouched(&stage, &[]);
}

#[test]
fn without_a_library_it_is_refused() {
    let stage = system!();
    let mut command = stage.system(&["enable"]);
    let refusal = failed(command.env("KEEPALIVE_LIBRARY", "/none.so"));
    assert!(
        refusal.contains("there is no libkeepalive.so for x86-64") || !cfg!(target_arch = "x86_64"),
        "{refusal}"
    );
    assert!(refusal.contains("hint: name it with --library"), "{refusal}");
    assert_untouched(&stage, &[]);
}

/// A library that calls itself ours.
fn harmful(flags: &[&str]) -> PathBuf {
    compile(
        Libc::Host,
        "harmful.c",
        &[&["-shared", "-fPIC", "-nostdlib", "-DOURS"], flags].concat(),
    )
}

/// One that calls itself ours, and with which programs die, speak or hang.
#[test]
fn a_library_with_which_programs_do_not_start_silently_is_refused() {
    let stage = system!();
    let missing = compile(Libc::Host, "empty.c", &["-shared", "-fPIC"]);
    let missing = missing.to_str().expect("a path of ours");
    for (harm, expected) in [
        ("-DDIE", "is ended by signal 11"),
        ("-DSPEAK", "complains: hello"),
        ("-DEND", "ends with status 7"),
        (missing, "libempty.so"),
    ] {
        let harmful = harmful(&["-Wl,--no-as-needed", harm]);
        stage.root.install(&harmful, Path::new("/harmful.so"), 0o644);
        let refusal = stage.refuses(&["enable", "--library", "/harmful.so"]);
        assert!(refusal.contains("programs for"), "{refusal}");
        assert!(refusal.contains(expected), "{harm}: {refusal}");
        assert!(refusal.contains("hint: nothing has changed"), "{refusal}");
        assert_untouched(&stage, &[]);
    }
}

/// An active library is not lost when a newer one is refused.
#[test]
fn what_is_active_stays_when_an_update_is_refused() {
    let stage = system!();
    stage.does(&["enable"]);
    let harmful = harmful(&["-DDIE"]);
    stage.root.install(&harmful, Path::new("/harmful.so"), 0o644);
    stage.refuses(&["enable", "--library", "/harmful.so"]);
    assert_eq!(stage.bytes(&stage.copy()), fs::read(library()).expect("it was built"));
    assert_eq!(stage.ours(), [COPY, "ld.so.preload"]);
    stage.assert_quiet("an update was refused");
}

/// It starts silently with LD_PRELOAD, and not from the file: what was done is undone, with what was there before.
#[test]
fn what_fails_after_all_is_undone() {
    let stage = system!();
    let harmful = harmful(&["-DDIE_IN_FORCE"]);
    stage.root.install(&harmful, Path::new("/harmful.so"), 0o644);
    for line in [None, Some("# somebody else's")] {
        if let Some(line) = line {
            stage.root.write(FILE, line);
        }
        let refusal = failed(
            stage
                .outside(&["enable"])
                .arg("--library")
                .arg(stage.root.path().join("harmful.so")),
        );
        assert!(refusal.contains("is ended by signal"), "{refusal}");
        let files: &[&str] = if line.is_some() { &["ld.so.preload"] } else { &[] };
        assert_untouched(&stage, files);
        if let Some(line) = line {
            assert_eq!(stage.read(FILE), line);
        }
    }
    stage.root.write(FILE, "");
    succeeded(&mut stage.outside(&["enable"]));
    failed(
        stage
            .outside(&["enable"])
            .arg("--library")
            .arg(stage.root.path().join("harmful.so")),
    );
    assert_eq!(stage.bytes(&stage.copy()), fs::read(library()).expect("it was built"));
}

#[test]
fn a_system_without_such_a_loader_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir_all(directory.path().join("lib")).expect("a directory of ours");
    fs::create_dir_all(directory.path().join("etc")).expect("a directory of ours");
    let enable = || {
        let mut command = Command::new(released_keepalive());
        command.args(["system", "enable", "--root"]).arg(directory.path());
        failed(&mut command)
    };
    let refusal = enable();
    assert!(refusal.contains("no C library of glibc"), "{refusal}");
    fs::write(directory.path().join("lib/ld-musl-x86_64.so.1"), "").expect("a file of ours");
    let refusal = enable();
    assert!(
        refusal.contains("musl's") && refusal.contains("hint: keepalive run"),
        "{refusal}"
    );
}

#[test]
fn two_do_not_work_at_the_same_time() {
    let stage = system!();
    let Some(flock) = find_program("flock") else {
        skip!("flock is not installed");
    };
    let mut command = Command::new(flock);
    command.arg(stage.root.path().join("etc"));
    let enable = stage.outside(&["enable"]);
    command
        .arg(enable.get_program())
        .args(enable.get_args())
        .env("KEEPALIVE_LIBRARY", library());
    let refusal = failed(&mut command);
    assert!(refusal.contains("another keepalive system is at work"), "{refusal}");
    assert_untouched(&stage, &[]);
}

/// 2, as for every command.
#[test]
fn a_command_line_that_cannot_be_used_is_refused() {
    for words in [&[][..], &["enable", "--nothing"], &["status", "more"], &["off"]] {
        let output = Command::new(released_keepalive()).arg("system").args(words).output();
        assert_eq!(output.expect("it starts").status.code(), Some(2), "{words:?}");
    }
    let mut command = Command::new(released_keepalive());
    let refusal = failed(command.args(["system", "status", "--root", "/nowhere"]));
    assert!(
        refusal.contains("cannot use '/nowhere' as a root directory"),
        "{refusal}"
    );
}

//! Refused changes: the reason is printed, and nothing has changed.

use super::test_system::{COPY, FILE, TestSystem, failed, succeeded};
use crate::support::process::text;
use crate::support::target::{KERNEL_DEFAULTS, Libc, compile};
use crate::support::{find_program, library, released_keepalive};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs a shell script in its own mount namespace; $1 is the system's root, $2 this machine's command.
fn script(system: &TestSystem, script: &str) -> Output {
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", script, "sh"])
        .arg(system.root.path())
        .arg(released_keepalive())
        .env("KEEPALIVE_LIBRARY", library())
        .output();
    output.expect("unshare starts")
}

/// Asserts that the system has only these files of keepalive, and runs programs without messages.
#[track_caller]
fn assert_untouched(system: &TestSystem, files: &[&str]) {
    assert_eq!(system.keepalive_files(), files);
    system.assert_quiet("refused");
    assert_eq!(system.socket(), KERNEL_DEFAULTS);
}

#[test]
fn read_only_directory_is_refused() {
    let system = system!();
    for directory in ["/etc", &system.directory.display().to_string()] {
        let command = format!(
            "mount --bind \"$1{directory}\" \"$1{directory}\"; mount -o remount,ro,bind \"$1{directory}\"
             exec \"$2\" system enable --root \"$1\""
        );
        let output = script(&system, &command);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(
            errors.contains(directory) && errors.contains("Read-only file system"),
            "{errors}"
        );
        assert_untouched(&system, &[]);
    }
    // Enabled, then made read-only: everything stays active.
    system.succeeds(&["enable"]);
    let command = "mount --bind \"$1/etc\" \"$1/etc\"; mount -o remount,ro,bind \"$1/etc\"
        exec \"$2\" system disable --root \"$1\"";
    assert_eq!(script(&system, command).status.code(), Some(1));
    system.assert_quiet("not disabled");
    assert_eq!(system.keepalive_files(), [COPY, "ld.so.preload"]);
}

/// As in containers that mount single files.
#[test]
fn file_that_is_a_mount_point_is_refused() {
    let system = system!();
    system.root.write(FILE, "");
    let command = "mount --bind \"$1/etc/ld.so.preload\" \"$1/etc/ld.so.preload\"
        exec \"$2\" system enable --root \"$1\"";
    let output = script(&system, command);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("rename") && errors.contains("hint: it is a mount point"),
        "{errors}"
    );
    assert_untouched(&system, &["ld.so.preload"]);
}

/// With increasing free space, page by page: either everything is changed, or nothing.
#[test]
fn full_disk_prevents_the_whole_change() {
    let system = system!();
    system.root.write("/srv/preload", "# somebody else's\n");
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
    let output = script(&system, command);
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
        let copy = format!("usr/lib/{}/{COPY}", system.directory.file_name().unwrap().display());
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
fn other_files_are_refused_as_library() {
    let system = system!();
    let empty = compile(Libc::Host, "empty.c", &["-shared", "-fPIC"]);
    system.root.install(&empty, Path::new("/empty.so"), 0o644);
    for (library, reason) in [
        ("/none.so", "No such file or directory"),
        ("/sockets", "no libkeepalive.so of this project"),
        ("/empty.so", "no libkeepalive.so of this project"),
        ("/etc", "Is a directory"),
    ] {
        let refusal = system.fails(&["enable", "--library", library]);
        assert!(
            refusal.starts_with(&format!("keepalive: cannot use '{library}': ")),
            "{refusal}"
        );
        assert!(refusal.contains(reason), "{refusal}");
    }
    assert_untouched(&system, &[]);
}

#[test]
fn enable_without_a_library_is_refused() {
    let system = system!();
    let mut command = system.command(&["enable"]);
    let refusal = failed(command.env("KEEPALIVE_LIBRARY", "/none.so"));
    assert!(
        refusal.contains("there is no libkeepalive.so for x86-64") || !cfg!(target_arch = "x86_64"),
        "{refusal}"
    );
    assert!(refusal.contains("hint: name it with --library"), "{refusal}");
    assert_untouched(&system, &[]);
}

/// Compiles a library with keepalive's owner note.
fn harmful(flags: &[&str]) -> PathBuf {
    compile(
        Libc::Host,
        "harmful.c",
        &[&["-shared", "-fPIC", "-nostdlib", "-DOURS"], flags].concat(),
    )
}

/// With such a library programs crash, print a message or hang.
#[test]
fn library_with_which_programs_do_not_start_silently_is_refused() {
    let system = system!();
    let missing = compile(Libc::Host, "empty.c", &["-shared", "-fPIC"]);
    let missing = missing.to_str().expect("a UTF-8 path");
    for (harm, expected) in [
        ("-DDIE", "is ended by signal 11"),
        ("-DSPEAK", "complains: hello"),
        ("-DEND", "ends with status 7"),
        (missing, "libempty.so"),
    ] {
        let harmful = harmful(&["-Wl,--no-as-needed", harm]);
        system.root.install(&harmful, Path::new("/harmful.so"), 0o644);
        let refusal = system.fails(&["enable", "--library", "/harmful.so"]);
        assert!(refusal.contains("programs for"), "{refusal}");
        assert!(refusal.contains(expected), "{harm}: {refusal}");
        assert!(refusal.contains("hint: nothing has changed"), "{refusal}");
        assert_untouched(&system, &[]);
    }
}

/// The active library stays if a newer one is refused.
#[test]
fn active_library_stays_if_an_update_is_refused() {
    let system = system!();
    system.succeeds(&["enable"]);
    let harmful = harmful(&["-DDIE"]);
    system.root.install(&harmful, Path::new("/harmful.so"), 0o644);
    system.fails(&["enable", "--library", "/harmful.so"]);
    assert_eq!(system.bytes(&system.copy()), fs::read(library()).expect("it was built"));
    assert_eq!(system.keepalive_files(), [COPY, "ld.so.preload"]);
    system.assert_quiet("an update was refused");
}

/// Programs start without messages with LD_PRELOAD, but not with the file: the change is undone, and previous content
/// restored.
#[test]
fn late_failure_is_undone() {
    let system = system!();
    let harmful = harmful(&["-DDIE_IN_FORCE"]);
    system.root.install(&harmful, Path::new("/harmful.so"), 0o644);
    for line in [None, Some("# somebody else's")] {
        if let Some(line) = line {
            system.root.write(FILE, line);
        }
        let refusal = failed(
            system
                .host_command(&["enable"])
                .arg("--library")
                .arg(system.root.path().join("harmful.so")),
        );
        assert!(refusal.contains("is ended by signal"), "{refusal}");
        let files: &[&str] = if line.is_some() { &["ld.so.preload"] } else { &[] };
        assert_untouched(&system, files);
        if let Some(line) = line {
            assert_eq!(system.read(FILE), line);
        }
    }
    system.root.write(FILE, "");
    succeeded(&mut system.host_command(&["enable"]));
    failed(
        system
            .host_command(&["enable"])
            .arg("--library")
            .arg(system.root.path().join("harmful.so")),
    );
    assert_eq!(system.bytes(&system.copy()), fs::read(library()).expect("it was built"));
}

#[test]
fn system_without_a_supported_loader_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir_all(directory.path().join("lib")).expect("a directory of the test");
    fs::create_dir_all(directory.path().join("etc")).expect("a directory of the test");
    let enable = || {
        let mut command = Command::new(released_keepalive());
        command.args(["system", "enable", "--root"]).arg(directory.path());
        failed(&mut command)
    };
    let refusal = enable();
    assert!(refusal.contains("no C library of glibc"), "{refusal}");
    fs::write(directory.path().join("lib/ld-musl-x86_64.so.1"), "").expect("a file of the test");
    let refusal = enable();
    assert!(
        refusal.contains("musl's") && refusal.contains("hint: keepalive run"),
        "{refusal}"
    );
}

#[test]
fn concurrent_change_is_refused() {
    let system = system!();
    let Some(flock) = find_program("flock") else {
        skip!("flock is not installed");
    };
    let mut command = Command::new(flock);
    command.arg(system.root.path().join("etc"));
    let enable = system.host_command(&["enable"]);
    command
        .arg(enable.get_program())
        .args(enable.get_args())
        .env("KEEPALIVE_LIBRARY", library());
    let refusal = failed(&mut command);
    assert!(refusal.contains("another keepalive system is at work"), "{refusal}");
    assert_untouched(&system, &[]);
}

/// Exit status 2, as for every command.
#[test]
fn invalid_command_line_is_refused() {
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

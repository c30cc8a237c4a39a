//! Root directories that are not trusted: their files are not followed to other places, and cause no waiting.

use super::test_system::{COPY, FILE};
use crate::support::process::{LIMIT, output_within, text};
use crate::support::{library, released_keepalive};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

fn run(command: &mut Command) -> Output {
    output_within(LIMIT, command)
}

/// The file that is read, every directory on its path and every name that is written are links out of the root
/// directory.
#[test]
fn links_out_of_the_root_are_not_followed() {
    let system = system!();
    let outside = tempfile::tempdir().expect("a temporary directory");
    fs::write(outside.path().join("file"), "outside").expect("a file of the test");
    let link = |inside: &str| {
        let link = system.root.outside(Path::new(inside));
        let _ = fs::remove_file(&link);
        symlink(outside.path().join("file"), link).expect("a link of the test");
    };
    let copy = system.copy();
    for suffix in ["", ".keepalive-new", ".keepalive-old", ".before-keepalive"] {
        link(&format!("{FILE}{suffix}"));
        link(&format!("{copy}{suffix}"));
    }
    for words in [["status"], ["enable"], ["disable"], ["enable"]] {
        run(&mut system.host_command(&words));
    }
    let names: Vec<_> = fs::read_dir(outside.path()).expect("it is there").flatten().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let content = fs::read_to_string(outside.path().join("file")).expect("it is there");
    assert_eq!(content, "outside");
}

/// File systems that the host has mounted in the root directory belong to the host.
#[test]
fn links_into_mounts_are_not_followed_to_write() {
    let system = system!();
    let script = r#"
        mkdir "$1/run" && mount -t tmpfs none "$1/run" && mkdir "$1/run/host"
        mv "$1/etc" "$1/etc.old" && ln -s run/host "$1/etc"
        "$2" system enable --root "$1" 2>&1 || :
        ls -A "$1/run/host"
        # If the mount is the directory itself, it is used.
        rm "$1/etc" && mkdir "$1/etc" && mount -t tmpfs none "$1/etc"
        "$2" system enable --root "$1" >/dev/null
        ls -A "$1/etc""#;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", script, "sh"])
        .arg(system.root.path())
        .arg(released_keepalive())
        .env("KEEPALIVE_LIBRARY", library())
        .output()
        .expect("unshare starts");
    let printed = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(output.status.success(), "{printed}{}", text(&output.stderr));
    assert!(printed.contains("leads to '/run/host', another mount"), "{printed}");
    assert!(printed.ends_with("with --root ld.so.preload"), "{printed}");
    assert_eq!(system.keepalive_files(), [COPY]);
}

/// FIFOs, devices and endless files in place of the files that are read.
#[test]
fn files_that_are_not_regular_are_refused_without_waiting() {
    let system = system!();
    let fifo = system.root.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o644), 0).expect("a FIFO");
    let zero = system.root.path().join("zero");
    mknodat(
        CWD,
        &zero,
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o644),
        makedev(1, 5),
    )
    .expect("a device");
    let large = system.root.path().join("large");
    fs::File::create(&large)
        .and_then(|file| file.set_len(1 << 40))
        .expect("a sparse file");
    let place = system.root.outside(Path::new(FILE));
    for (path, reason) in [
        (&fifo, "it is a FIFO, not a regular file"),
        (&zero, "it is a character device, not a regular file"),
        (&large, "it has more than 16384 KiB"),
    ] {
        for is_link in [false, true] {
            if is_link {
                symlink(Path::new("/").join(path.file_name().expect("a name")), &place).expect("a link of the test");
            } else {
                fs::rename(path, &place).expect("a file of the test");
            }
            for words in [["status"], ["enable"], ["disable"]] {
                let output = run(&mut system.host_command(&words));
                let errors = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
                assert_eq!(output.status.code(), Some(1), "{words:?}: {errors}");
                assert!(errors.contains(reason), "{words:?}: {errors}");
            }
            if is_link {
                fs::remove_file(&place).expect("a link of the test");
            } else {
                fs::rename(&place, path).expect("a file of the test");
            }
        }
    }
    // In place of libraries and programs.
    for inside in [
        system.copy(),
        format!("{}/libkeepalive.so", system.directory.display()),
        String::from("/bin/true"),
        String::from("/lib/ld-linux.so.2"),
    ] {
        let place = system.root.outside(Path::new(&inside));
        let aside = system.root.path().join("aside");
        let was_there = fs::rename(&place, &aside).is_ok();
        for file in [&fifo, &zero, &large] {
            fs::rename(file, &place).expect("a file of the test");
            run(&mut system.host_command(&["status"]));
            run(&mut system.host_command(&["enable"]));
            if place.exists() {
                fs::rename(&place, file).expect("a file of the test");
            }
            run(&mut system.host_command(&["disable"]));
        }
        if was_there {
            fs::rename(&aside, &place).expect("a file of the test");
        }
    }
}

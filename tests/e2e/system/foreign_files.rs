//! Trees that are not trusted: their files lead nowhere else, and make nobody wait.

use super::stage::{COPY, FILE};
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

/// The file that is read, every directory on the way and every name that is written lead out of the tree.
#[test]
fn links_lead_nowhere_else() {
    let stage = system!();
    let outside = tempfile::tempdir().expect("a temporary directory");
    fs::write(outside.path().join("file"), "outside").expect("a file of ours");
    let link = |inside: &str| {
        let link = stage.root.outside(Path::new(inside));
        let _ = fs::remove_file(&link);
        symlink(outside.path().join("file"), link).expect("a link of ours");
    };
    let copy = stage.copy();
    for suffix in ["", ".keepalive-new", ".keepalive-old", ".before-keepalive"] {
        link(&format!("{FILE}{suffix}"));
        link(&format!("{copy}{suffix}"));
    }
    for words in [["status"], ["enable"], ["disable"], ["enable"]] {
        run(&mut stage.outside(&words));
    }
    let names: Vec<_> = fs::read_dir(outside.path()).expect("it is there").flatten().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let content = fs::read_to_string(outside.path().join("file")).expect("it is there");
    assert_eq!(content, "outside");
}

/// What the host has mounted in the tree is the host's.
#[test]
fn a_link_into_what_is_mounted_there_is_not_followed_to_write() {
    let stage = system!();
    let script = r#"
        mkdir "$1/run" && mount -t tmpfs none "$1/run" && mkdir "$1/run/host"
        mv "$1/etc" "$1/etc.old" && ln -s run/host "$1/etc"
        "$2" system enable --root "$1" 2>&1 || :
        ls -A "$1/run/host"
        # Where the mount is the directory itself, that is meant.
        rm "$1/etc" && mkdir "$1/etc" && mount -t tmpfs none "$1/etc"
        "$2" system enable --root "$1" >/dev/null
        ls -A "$1/etc""#;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", script, "sh"])
        .arg(stage.root.path())
        .arg(released_keepalive())
        .env("KEEPALIVE_LIBRARY", library())
        .output()
        .expect("unshare starts");
    let told = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(output.status.success(), "{told}{}", text(&output.stderr));
    assert!(told.contains("leads to '/run/host', another mount"), "{told}");
    assert!(told.ends_with("with --root ld.so.preload"), "{told}");
    assert_eq!(stage.ours(), [COPY]);
}

/// FIFOs, devices and files without end in the places of those that are read.
#[test]
fn what_is_no_regular_file_is_refused_and_not_waited_for() {
    let stage = system!();
    let fifo = stage.root.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o644), 0).expect("a FIFO");
    let zero = stage.root.path().join("zero");
    mknodat(
        CWD,
        &zero,
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o644),
        makedev(1, 5),
    )
    .expect("a device");
    let large = stage.root.path().join("large");
    fs::File::create(&large)
        .and_then(|file| file.set_len(1 << 40))
        .expect("a sparse file");
    let place = stage.root.outside(Path::new(FILE));
    for (path, reason) in [
        (&fifo, "it is a FIFO, not a regular file"),
        (&zero, "it is a character device, not a regular file"),
        (&large, "it has more than 16384 KiB"),
    ] {
        for is_link in [false, true] {
            if is_link {
                symlink(Path::new("/").join(path.file_name().expect("a name")), &place).expect("a link of ours");
            } else {
                fs::rename(path, &place).expect("a file of ours");
            }
            for words in [["status"], ["enable"], ["disable"]] {
                let output = run(&mut stage.outside(&words));
                let errors = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
                assert_eq!(output.status.code(), Some(1), "{words:?}: {errors}");
                assert!(errors.contains(reason), "{words:?}: {errors}");
            }
            if is_link {
                fs::remove_file(&place).expect("a link of ours");
            } else {
                fs::rename(&place, path).expect("a file of ours");
            }
        }
    }
    // In the places of libraries and programs.
    for inside in [
        stage.copy(),
        format!("{}/libkeepalive.so", stage.directory.display()),
        String::from("/bin/true"),
        String::from("/lib/ld-linux.so.2"),
    ] {
        let place = stage.root.outside(Path::new(&inside));
        let aside = stage.root.path().join("aside");
        let was_there = fs::rename(&place, &aside).is_ok();
        for file in [&fifo, &zero, &large] {
            fs::rename(file, &place).expect("a file of ours");
            run(&mut stage.outside(&["status"]));
            run(&mut stage.outside(&["enable"]));
            if place.exists() {
                fs::rename(&place, file).expect("a file of ours");
            }
            run(&mut stage.outside(&["disable"]));
        }
        if was_there {
            fs::rename(&aside, &place).expect("a file of ours");
        }
    }
}

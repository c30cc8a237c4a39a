//! Trees that are not trusted: their links lead nowhere else, and their files make nobody wait.

use super::{DROP_IN, Image};
use crate::support::keepalive;
use crate::support::process::{output_within, text};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};
use rustix::process::geteuid;
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_mins(1);
const DIRECTORY: &str = "etc/systemd/system/db.service.d";

/// A directory outside of the tree, with a file.
fn outside() -> tempfile::TempDir {
    let outside = tempfile::tempdir().expect("a temporary directory");
    fs::write(outside.path().join("file"), "outside").expect("a file of the test");
    outside
}

#[track_caller]
fn assert_untouched(outside: &Path) {
    let names: Vec<_> = fs::read_dir(outside).expect("it is there").flatten().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(
        fs::read_to_string(outside.join("file")).expect("it is there"),
        "outside"
    );
}

fn run(image: &Image, arguments: &[&str]) -> (Option<i32>, String) {
    let output = output_within(LIMIT, &mut image.command(arguments));
    let errors = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    (output.status.code(), errors)
}

/// Every directory on the way is a link, to a path outside and to the same by `..`.
#[test]
fn directory_links_cannot_redirect_writes() {
    let way = ["etc", "etc/systemd", "etc/systemd/system", DIRECTORY];
    for directory in way {
        for is_relative in [false, true] {
            let outside = outside();
            let image = Image::dynamic("");
            let link = image.path(directory);
            fs::create_dir_all(link.parent().expect("a parent")).expect("a directory");
            let target = if is_relative {
                Path::new(&"../".repeat(30)).join(outside.path().strip_prefix("/").expect("absolute"))
            } else {
                outside.path().to_owned()
            };
            symlink(target, &link).expect("a link");
            for arguments in [["enable", "db"], ["status", "db"], ["disable", "db"]] {
                let (status, errors) = run(&image, &arguments);
                assert_eq!(status, Some(0), "{directory}: {arguments:?}: {errors}");
                assert_untouched(outside.path());
            }
        }
    }
}

/// The drop-in, and what an earlier version wrote before it, are links and second names of files outside.
#[test]
fn written_file_is_a_new_file() {
    for name in ["50-keepalive.conf", "50-keepalive.conf.new"] {
        for is_hard in [false, true] {
            let image = Image::dynamic("");
            let outside = outside();
            let file = outside.path().join("file");
            fs::create_dir_all(image.path(DIRECTORY)).expect("a directory");
            let link = image.path(DIRECTORY).join(name);
            if is_hard {
                if fs::hard_link(&file, &link).is_err() {
                    continue;
                }
            } else {
                symlink(&file, &link).expect("a link");
            }
            let (status, errors) = run(&image, &["enable", "db"]);
            assert_eq!(status, Some(0), "{name}: {errors}");
            assert_untouched(outside.path());
            assert!(image.path(DROP_IN).symlink_metadata().expect("it is there").is_file());
            assert!(image.drop_in().contains("[Service]"));
            let (status, errors) = run(&image, &["disable", "db"]);
            assert_eq!(status, Some(0), "{name}: {errors}");
            assert_untouched(outside.path());
        }
    }
}

/// Nothing of a file outside is shown either.
#[test]
fn nothing_outside_is_read() {
    let image = Image::dynamic("");
    let outside = outside();
    fs::write(
        outside.path().join("file"),
        "[Service]\nExecStart=/bin/db\nSecret=outside\n",
    )
    .expect("a file of the test");
    fs::create_dir_all(image.path(DIRECTORY)).expect("a directory");
    symlink(outside.path().join("file"), image.path(DROP_IN)).expect("a link");
    let (stdout, stderr) = image.expect(&["status", "db"], 1);
    assert!(
        stdout.is_empty() && stderr.contains("has no drop-in"),
        "{stdout}{stderr}"
    );
    symlink(
        outside.path().join("file"),
        image.path("etc/systemd/system/other.service"),
    )
    .expect("a link");
    let (_, stderr) = image.expect(&["enable", "other"], 1);
    assert!(stderr.contains("there is no unit 'other.service'"), "{stderr}");
    // What /proc leads to, where it is in the tree, is not followed.
    symlink("/proc/self/root/etc", image.path("etc/systemd/system/more.service")).expect("a link");
    let (_, stderr) = image.expect(&["enable", "more"], 1);
    assert!(stderr.contains("there is no unit 'more.service'"), "{stderr}");
}

#[test]
fn irregular_files_are_refused_without_waiting() {
    if !geteuid().is_root() {
        skip!("only root can make devices");
    }
    let make = |path: &Path, reason: &str| match reason {
        "it is a FIFO, not a regular file" => mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0),
        "it is a character device, not a regular file" => mknodat(
            CWD,
            path,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o644),
            makedev(1, 5),
        ),
        _ => {
            let file = fs::File::create(path).expect("a file");
            file.set_len(1 << 40).expect("a sparse file");
            Ok(())
        }
    };
    for reason in [
        "it is a FIFO, not a regular file",
        "it is a character device, not a regular file",
        "it has more than 256 KiB",
    ] {
        // The drop-in: nobody waits for it, and it is replaced and removed.
        let image = Image::dynamic("");
        fs::create_dir_all(image.path(DIRECTORY)).expect("a directory");
        make(&image.path(DROP_IN), reason).expect("a file");
        let (status, errors) = run(&image, &["status", "db"]);
        assert_eq!(status, Some(1), "{errors}");
        assert!(
            errors.contains(reason) && errors.contains("at most 256 KiB"),
            "{errors}"
        );
        assert_eq!(run(&image, &["enable", "db"]).0, Some(0), "{reason}");
        assert!(image.path(DROP_IN).symlink_metadata().expect("it is there").is_file());
        fs::remove_file(image.path(DROP_IN)).expect("it is there");
        make(&image.path(DROP_IN), reason).expect("a file");
        assert_eq!(run(&image, &["disable", "db"]).0, Some(0), "{reason}");
        assert!(!image.path(DIRECTORY).exists(), "{reason}");

        // The unit, another drop-in, and the program.
        for (place, is_refused) in [
            ("usr/lib/systemd/system/db.service", true),
            ("etc/systemd/system/db.service.d/10-other.conf", true),
            ("bin/db", false),
        ] {
            let image = Image::dynamic("");
            let path = image.path(place);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            let _ = fs::remove_file(&path);
            make(&path, reason).expect("a file");
            let (status, errors) = run(&image, &["enable", "db"]);
            assert_eq!(status, Some(i32::from(is_refused)), "{place}: {errors}");
            assert!(
                !is_refused || errors.contains(reason) && errors.contains("at most 256 KiB"),
                "{place}: {errors}"
            );
        }
    }
}

/// The tree itself is exchanged for a link to the root directory of this machine.
#[test]
fn the_own_root_directory_by_another_name_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let tree = directory.path().join("tree");
    symlink("/", &tree).expect("a link");
    for words in [
        &["unit", "enable", "--dry-run", "db"][..],
        &["system", "enable"],
        &["system", "disable"],
    ] {
        let mut command = Command::new(keepalive());
        let output = output_within(LIMIT, command.args(words).arg("--root").arg(&tree));
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(
            errors.contains("as a root directory: it is this system's own"),
            "{errors}"
        );
    }
}

/// A terminal obeys escape sequences.
#[test]
fn names_and_values_in_the_tree_do_not_reach_the_terminal_as_they_are() {
    let image = Image::dynamic("SystemCallFilter=\x1b[31m\nRootDirectory=/\x1b]0;x\x07");
    let (stdout, stderr) = image.expect(&["enable", "db"], 0);
    assert!(
        !stdout.contains('\x1b') && !stderr.contains('\x1b'),
        "{stdout:?}{stderr:?}"
    );
    fs::write(image.path(DROP_IN), "[Service]\nEnvironment=\x1b[31m\n").expect("a drop-in");
    let (stdout, stderr) = image.expect(&["status", "db"], 0);
    assert!(
        !stdout.contains('\x1b') && !stderr.contains('\x1b'),
        "{stdout:?}{stderr:?}"
    );
}

#[test]
fn masked_unit_is_refused_and_masked_drop_in_is_ignored() {
    let image = Image::dynamic("");
    fs::create_dir_all(image.path(DIRECTORY)).expect("a directory");
    symlink("/dev/null", image.path(DIRECTORY).join("10-other.conf")).expect("a link");
    image.expect(&["enable", "db"], 0);
    symlink("/dev/null", image.path("etc/systemd/system/db.service")).expect("a link");
    let (_, stderr) = image.expect(&["enable", "db"], 1);
    assert!(
        stderr.contains("'db.service' is masked") && stderr.contains("systemctl unmask"),
        "{stderr}"
    );
}

/// A directory on the way is exchanged for a link out of the tree while drop-ins come and go.
#[test]
fn concurrent_changes_of_a_tree_cannot_redirect_writes() {
    let image = Image::dynamic("");
    let outside = outside();
    image.expect(&["enable", "db"], 0);
    let (real, link) = (image.path("etc/systemd"), image.path("etc/link"));
    symlink(outside.path(), &link).expect("a link");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                renameat_with(CWD, &real, CWD, &link, RenameFlags::EXCHANGE).expect("both are there");
            }
        });
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            image.run(&["enable", "db"]);
            image.run(&["disable", "db"]);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_untouched(outside.path());
}

/// What the host has mounted in the tree is the host's.
#[test]
fn writes_do_not_follow_links_into_mounts() {
    root!();
    let image = Image::dynamic("");
    let script = r#"
        mkdir "$1/run" && mount -t tmpfs none "$1/run"
        ln -s run "$1/etc"
        "$2" unit enable --root "$1" db 2>&1 || :
        find "$1/run" -type f
        rm "$1/etc" && mkdir "$1/etc" && mount -t tmpfs none "$1/etc"
        "$2" unit enable --root "$1" db >/dev/null 2>&1
        find "$1/etc" -type f -printf '%f\n'
        mount -o remount,ro "$1/etc"
        "$2" unit disable --root "$1" db 2>&1 || :"#;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", script, "sh"])
        .arg(image.path(""))
        .arg(keepalive())
        .env("KEEPALIVE_LIBRARY", crate::support::library())
        .output()
        .expect("unshare starts");
    let told = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(output.status.success(), "{told}{}", text(&output.stderr));
    assert!(told.contains("leads to '/run', another mount hint: "), "{told}");
    assert!(told.contains("--root 50-keepalive.conf"), "{told}");
    assert!(told.ends_with("Read-only file system"), "{told}");
}

/// As under sudo(8) that keeps HOME: the user's links would decide where root writes.
#[test]
fn root_does_not_follow_another_users_links() {
    root!();
    let home = tempfile::tempdir().expect("a temporary directory");
    let outside = outside();
    let units = home.path().join("systemd/user");
    fs::create_dir_all(&units).expect("a directory");
    fs::write(units.join("mine.service"), "[Service]\nExecStart=/bin/sleep 1\n").expect("a unit");
    symlink(outside.path(), units.join("mine.service.d")).expect("a link");
    for path in [home.path(), &units, units.parent().expect("a parent")] {
        chown(path, Some(65534), None).expect("root may do that");
    }
    for action in ["enable", "status", "disable"] {
        let mut command = Command::new(keepalive());
        command
            .args(["unit", action, "--user", "mine"])
            .env("XDG_CONFIG_HOME", home.path());
        command.env("KEEPALIVE_LIBRARY", crate::support::library());
        let output = output_within(LIMIT, &mut command);
        assert_ne!(output.status.code(), Some(0), "{action}");
        assert_untouched(outside.path());
        if action == "enable" {
            let errors = text(&output.stderr);
            assert!(
                errors.contains("belongs to another user") && errors.contains("without sudo"),
                "{errors}"
            );
        }
    }
}

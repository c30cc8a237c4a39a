//! What keeps the library from a service: each statement is reported, and `--engine auto` uses the cgroup engine then.

use super::{DROP_IN, Image};
use crate::support::library;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

/// The words of the standard error output, with single spaces.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An image with the library at its own path, so that its permissions can be examined.
fn with_library(more: &str) -> Image {
    let image = Image::dynamic(more);
    let inside = image.path(library().strip_prefix("/").expect("absolute").to_str().expect("UTF-8"));
    fs::create_dir_all(inside.parent().expect("a directory")).expect("a directory");
    fs::copy(library(), &inside).expect("a library");
    image
}

/// The directory of the library.
fn directory() -> String {
    library().parent().expect("a directory").display().to_string()
}

#[track_caller]
fn expect(image: &Image, statement: &str, expected: Option<&str>) {
    let (auto, reasons) = image.expect(&["enable", "--dry-run", "db"], 0);
    assert!(reasons.lines().all(|line| line.chars().count() <= 80), "{reasons}");
    let reasons = words(&reasons);
    let (preload, warnings) = image.expect(&["enable", "--dry-run", "--engine", "preload", "db"], 0);
    let warnings = words(&warnings);
    assert!(preload.contains("LD_PRELOAD"), "{statement}: {preload}");
    let Some(text) = expected else {
        assert_eq!(auto, preload, "{statement}");
        assert!(!reasons.contains("--engine cgroup"), "{statement}: {reasons}");
        return;
    };
    assert!(auto.contains("ExecStartPre="), "{statement}: {auto}{reasons}");
    assert!(!auto.contains("LD_PRELOAD"), "{statement}: {auto}");
    let because = "--engine cgroup, because ";
    assert!(
        reasons.contains(because) && reasons.contains(text),
        "{statement}: {reasons}"
    );
    assert!(
        warnings.contains(text) && warnings.contains("--engine cgroup"),
        "{statement}: {warnings}"
    );
}

#[test]
fn each_statement_that_blocks_the_library_is_reported() {
    let at = directory();
    for (statement, text) in [
        (format!("NoExecPaths={at}"), Some("does not let it map")),
        (format!("NoExecPaths=/\nExecPaths=/usr/bin {at}"), None),
        (
            String::from("NoExecPaths=/\nExecPaths=/usr/bin /lib"),
            Some("NoExecPaths=/ in"),
        ),
        (format!("TemporaryFileSystem={at}:ro"), Some("hides")),
        (format!("InaccessiblePaths=-{at}"), Some("InaccessiblePaths=-")),
        (format!("BindPaths=/bin:{at}"), Some("BindPaths=/bin:")),
        (format!("TemporaryFileSystem=/\nBindReadOnlyPaths={at}"), None),
        (String::from("RootDirectory=/srv"), Some("RootDirectory=/srv in")),
        (
            String::from("RootImage=/srv/image.raw"),
            Some("RootImage=/srv/image.raw in"),
        ),
        (
            String::from("UnsetEnvironment=A LD_PRELOAD"),
            Some("UnsetEnvironment=A LD_PRELOAD in"),
        ),
        (String::from("UnsetEnvironment=LD_PRELOAD=/other.so"), None),
        (String::from("PassEnvironment=LD_PRELOAD"), None),
        (
            String::from("ExecStart=\nExecStart=/usr/bin/env -i /bin/db"),
            Some("without the environment"),
        ),
        (String::from("ExecStart=\nExecStart=/usr/bin/env A=-i /bin/db"), None),
        (String::from("NoNewPrivileges=yes"), None),
        (
            String::from("MemoryDenyWriteExecute=yes\nRestrictAddressFamilies=AF_INET\nLockPersonality=yes"),
            None,
        ),
        (
            String::from("AmbientCapabilities=CAP_NET_BIND_SERVICE\nProtectSystem=strict\nPrivateDevices=yes"),
            None,
        ),
    ] {
        expect(&with_library(&statement), &statement, text);
    }
}

#[test]
fn a_file_of_variables_overrides_the_drop_in() {
    let other = "LD_PRELOAD=/usr/lib/other.so\n";
    for (name, content, statement, text) in [
        (
            "db",
            other,
            "EnvironmentFile=/etc/default/db",
            Some("/etc/default/db sets LD_PRELOAD"),
        ),
        (
            "db",
            other,
            "EnvironmentFile=-/etc/default/%p",
            Some("/etc/default/db sets LD_PRELOAD"),
        ),
        ("db", other, "EnvironmentFile=/etc/default/db\nEnvironmentFile=", None),
        (
            "db",
            "# LD_PRELOAD=/usr/lib/other.so\n",
            "EnvironmentFile=/etc/default/db",
            None,
        ),
        (
            "db",
            "LD_PRELOAD=\"/a.so:/opt/libkeepalive.so\"\n",
            "EnvironmentFile=/etc/default/db",
            None,
        ),
        ("other", other, "EnvironmentFile=-/etc/default/db", None),
    ] {
        let image = with_library(statement);
        fs::create_dir_all(image.path("etc/default")).expect("a directory");
        fs::write(image.path("etc/default").join(name), content).expect("a file");
        expect(&image, statement, text);
    }
    let image = with_library("EnvironmentFile=/etc/default/db\nEnvironmentFile=/etc/*.conf");
    fs::create_dir_all(image.path("etc/default")).expect("a directory");
    fs::write(image.path("etc/default/db"), "KEEPIDLE=7200\n").expect("a file");
    let (stdout, stderr) = image.expect(&["enable", "--dry-run", "db"], 0);
    assert!(stdout.contains("LD_PRELOAD"), "{stdout}");
    assert!(
        words(&stderr).contains("/etc/default/db sets KEEPIDLE=7200, which overrides the policy's"),
        "{stderr}"
    );
    assert!(
        words(&stderr).contains("EnvironmentFile=/etc/*.conf is not examined"),
        "{stderr}"
    );
}

/// Drop-ins are read in the order of their names, so one of `systemctl edit` (override.conf) comes after ours.
#[test]
fn a_later_drop_in_overrides_ours() {
    for (directory, name, content, text) in [
        (
            "etc/systemd/system/db.service.d",
            "override.conf",
            "Environment=",
            Some("an empty Environment= in"),
        ),
        (
            "etc/systemd/system/db.service.d",
            "override.conf",
            "Environment=LD_PRELOAD=/a.so",
            Some("override.conf sets LD_PRELOAD"),
        ),
        ("etc/systemd/system/db.service.d", "10-first.conf", "Environment=", None),
        (
            "usr/lib/systemd/system/service.d",
            "60-all.conf",
            "UnsetEnvironment=LD_PRELOAD",
            Some("60-all.conf removes LD_PRELOAD"),
        ),
        (
            "usr/lib/systemd/system/db.service.d",
            "60.conf",
            "InaccessiblePaths=/",
            Some("InaccessiblePaths=/ in"),
        ),
    ] {
        let image = with_library("");
        fs::create_dir_all(image.path(directory)).expect("a directory");
        fs::write(image.path(directory).join(name), format!("[Service]\n{content}\n")).expect("a drop-in");
        expect(&image, content, text);
        // A file of the same name in /etc hides it.
        let hiding = image.path("etc/systemd/system/db.service.d");
        fs::create_dir_all(&hiding).expect("a directory");
        fs::write(hiding.join(name), "[Service]\nNice=1\n").expect("a drop-in");
        expect(&image, content, None);
    }
}

#[test]
fn a_user_who_cannot_read_the_library_is_reported() {
    root!();
    let at = directory();
    let lock = |image: &Image, mode: u32| {
        let path = image.path(at.trim_start_matches('/'));
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let accounts = |image: &Image| {
        fs::create_dir_all(image.path("etc")).expect("a directory");
        fs::write(
            image.path("etc/passwd"),
            "root:x:0:0::/:/bin/sh\ndb:x:900:901::/:/bin/sh\n",
        )
        .expect("a file");
        fs::write(image.path("etc/group"), "root:x:0:\nreaders:x:902:db\ndb:x:901:\n").expect("a file");
    };
    for (statement, mode, group, is_reported) in [
        ("User=db", 0o700, 0, true),
        ("User=db", 0o755, 0, false),
        ("User=root", 0o700, 0, false),
        ("DynamicUser=yes", 0o750, 0, true),
        ("User=db", 0o750, 902, false),
        ("User=db", 0o750, 901, false),
        ("User=900\nSupplementaryGroups=readers", 0o750, 902, false),
        ("User=unknown", 0o700, 0, false),
    ] {
        let image = with_library(statement);
        accounts(&image);
        lock(&image, mode);
        chown(image.path(at.trim_start_matches('/')), None, Some(group)).expect("root may do that");
        // DynamicUser=yes implies PrivateTmp=yes, which is reported first.
        let text = if statement == "DynamicUser=yes" && library().starts_with("/tmp") {
            "hides"
        } else {
            "does not let it search that directory"
        };
        expect(&image, statement, is_reported.then_some(text));
    }
}

#[test]
fn a_unit_that_runs_nothing_is_refused_and_its_members_are_named() {
    let image = Image::dynamic("");
    let meta = "[Service]\nType=oneshot\nExecStart=/bin/true\nRemainAfterExit=on\n";
    let part = "[Unit]\nPartOf=all.service\n[Service]\nExecStart=/bin/db\n";
    let unit = |name: &str, text: &str| fs::write(image.path(super::UNITS).join(name), text).expect("a unit");
    unit("all.service", meta);
    unit("all@.service", part);
    unit("other.service", part);
    let (stdout, stderr) = image.expect(&["enable", "all"], 1);
    assert_eq!(stdout, "");
    let told = words(&stderr);
    assert!(
        told.contains("all.service starts only true(1), and stands for all@.service, other.service"),
        "{told}"
    );
    assert!(stderr.contains("hint: keepalive unit enable all@\n"), "{stderr}");
    assert!(stderr.contains("hint: keepalive unit enable other\n"), "{stderr}");
    let (_, stderr) = image.expect(&["status", "all"], 1);
    assert!(stderr.contains("hint: keepalive unit status other\n"), "{stderr}");
    assert!(!image.path("etc").exists());
    // Instances that a generator or systemctl enable has named.
    let wants = image.path("etc/systemd/system/all.service.wants");
    fs::create_dir_all(&wants).expect("a directory");
    std::os::unix::fs::symlink("/usr/lib/systemd/system/all@.service", wants.join("all@1-main.service"))
        .expect("a link");
    let (_, stderr) = image.expect(&["enable", "--engine", "cgroup", "all"], 1);
    assert!(stderr.contains("hint: keepalive unit enable all@1-main\n"), "{stderr}");
    image.expect(&["enable", "all@1-main"], 0);

    // One whose program does anything else, and ends.
    unit("all.service", &meta.replace("/bin/true", "/bin/db --start"));
    let (_, stderr) = image.expect(&["enable", "all"], 1);
    assert!(
        words(&stderr).contains("all.service keeps none of its processes, and stands for"),
        "{stderr}"
    );
    // One that no other unit is part of may be all there is.
    unit("alone.service", &meta.replace("/bin/true", "/bin/db --start"));
    image.expect(&["enable", "alone"], 0);
    unit("nothing.service", meta);
    let (_, stderr) = image.expect(&["enable", "nothing"], 1);
    assert!(
        stderr.contains("hint: systemctl list-dependencies nothing.service"),
        "{stderr}"
    );
}

/// A unit's root directory is also that of the other commands of its drop-ins.
#[test]
fn the_command_of_the_cgroup_engine_runs_outside_of_the_root_directory_or_a_warning_is_printed() {
    let enable = ["enable", "--dry-run", "--engine", "cgroup", "db"];
    for (statement, is_outside, is_reported) in [
        ("", false, false),
        ("RootDirectory=/srv", true, false),
        ("RootDirectory=/", false, false),
        ("RootImage=/srv/image.raw", true, false),
        ("RootDirectory=/srv\nExecStartPre=/bin/prepare", false, true),
        ("TemporaryFileSystem=/sys", false, true),
        ("TemporaryFileSystem=/srv", false, false),
        ("BindPaths=/srv:/sys", false, true),
        ("BindPaths=/sys", false, false),
    ] {
        let (stdout, stderr) = Image::dynamic(statement).expect(&enable, 0);
        assert_eq!(
            stdout.contains("\nRootDirectoryStartOnly=yes\n"),
            is_outside,
            "{statement}: {stdout}"
        );
        assert_eq!(
            words(&stderr).contains("keepalive cgroup enable, on the slice"),
            is_reported,
            "{statement}: {stderr}"
        );
    }
}

#[test]
fn the_drop_in_is_written_by_the_engine_that_auto_chooses() {
    let image = with_library("UnsetEnvironment=LD_PRELOAD");
    image.expect(&["enable", "--idle", "90", "db"], 0);
    let text = image.drop_in();
    assert!(text.contains("cgroup enable --rule \"default idle=90s\""), "{text}");
    let (_, stderr) = image.expect(&["enable", "--now", "db"], 2);
    assert!(stderr.contains("--now"), "{stderr}");
    assert!(Path::new(&image.path(DROP_IN)).exists());
}

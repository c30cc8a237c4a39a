//! Units whose service runs: what is active ends, and what is said of it is right.

use crate::support::ordinary::{Installed, NOBODY};
use crate::support::process::{Running, text, wrapped};
use std::fs;
use std::os::unix::fs::chown;

/// A user's own unit is of no concern to the kernel's programs, which are root's.
#[test]
fn a_users_unit_is_disabled_while_it_runs() {
    let test_cgroup = test_cgroup!();
    let installed = Installed::new();
    let directory = test_cgroup.child("mine.service");
    let mut sleep = test_cgroup.enter_into(&directory, "sleep");
    let _running = Running::start(sleep.arg("1000"));
    let home = tempfile::tempdir().expect("a temporary directory");
    let drop_ins = home.path().join("systemd/user/mine.service.d");
    fs::create_dir_all(&drop_ins).expect("a directory");
    let drop_in = drop_ins.join("50-keepalive.conf");
    fs::write(&drop_in, "[Service]\nEnvironment=\"KEEPIDLE=60\"\n").expect("a drop-in");
    for path in [
        home.path(),
        &home.path().join("systemd"),
        &home.path().join("systemd/user"),
        &drop_ins,
    ] {
        chown(path, Some(65534), Some(65534)).expect("root may do that");
    }
    // Policies of root's are there, which nobody else may see.
    let script = "mount -t bpf none /sys/fs/bpf && mkdir -m 700 /sys/fs/bpf/keepalive && exec \"$@\"";
    let mut command = wrapped(&["unshare", "--mount", "sh", "-ec", script, "sh"], NOBODY[0]);
    command
        .args(&NOBODY[1..])
        .arg(installed.keepalive())
        .args(["unit", "disable", "--user", "mine"]);
    let output = command
        .env("XDG_CONFIG_HOME", home.path())
        .output()
        .expect("unshare starts");
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(
        errors.contains("the library leaves when the service starts again"),
        "{errors}"
    );
    assert!(!drop_in.exists() && !drop_ins.exists());
}

/// The policy of the system's unit of the same name stays, and a drop-in of the cgroup engine speaks of no library.
#[test]
fn disable_ends_only_that_units_policy_and_reports_it() {
    let test_cgroup = test_cgroup!();
    let name = "both.service";
    test_cgroup.child("user@0.service");
    let (theirs, ours) = (
        test_cgroup.child("user@0.service/both.service"),
        test_cgroup.child(name),
    );
    let _running = [&theirs, &ours].map(|directory| {
        let mut sleep = test_cgroup.enter_into(directory, "sleep");
        Running::start(sleep.arg("1000"))
    });
    test_cgroup.enable_for(&test_cgroup.name_of(&theirs), &["--idle", "61"]);
    test_cgroup.enable_for(&test_cgroup.name_of(&ours), &["--idle", "62"]);
    let home = tempfile::tempdir().expect("a temporary directory");
    let script = r#"
        mount -t tmpfs none /etc/systemd
        mkdir -p "/etc/systemd/system/$1.d" "$XDG_CONFIG_HOME/systemd/user/$1.d"
        echo '[Service]' >"$XDG_CONFIG_HOME/systemd/user/$1.d/50-keepalive.conf"
        "$2" unit disable --user "$1"
        "$2" cgroup status "$3"
        printf '[Service]\nExecStartPre=-+keepalive cgroup enable %%n\n' >"/etc/systemd/system/$1.d/50-keepalive.conf"
        "$2" unit disable "$1"
        "$2" cgroup status "$3" || echo gone
        "$2" cgroup status "$4""#;
    let mut command = test_cgroup.command_under(&["unshare", "--mount", "sh", "-ec", script, "sh", name], &[]);
    command
        .arg(test_cgroup.name_of(&ours))
        .arg(test_cgroup.name_of(&theirs));
    let output = command
        .env("XDG_CONFIG_HOME", home.path())
        .output()
        .expect("unshare starts");
    let (told, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{told}{errors}");
    let at = told.find("gone").unwrap_or_else(|| panic!("{told}{errors}"));
    assert!(
        told[..at].contains("idle=62s") && told[at..].contains("idle=61s"),
        "{told}"
    );
    let words = errors.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("new connections do not get it"), "{words}");
    assert_eq!(
        words.matches("the library leaves").count(),
        1,
        "of the user's alone: {words}"
    );
}

//! Set-user-ID programs that run without their privilege under a supervisor: one message when the first one is
//! executed, and no other.

use super::{Keepalive, outcome};
use crate::support::find_program;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;

/// A command prefix: an ordinary user.
const USER: [&str; 5] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];

/// The message about a program of this name, without its process number.
fn lost(name: &str) -> String {
    format!(
        "keepalive[]: {name} runs without its privilege: keepalive run, as an ordinary user, takes it (no_new_privs); \
         --engine preload leaves it\n"
    )
}

/// Installs a copy of id(1) with this mode. It prints the user that it runs as.
fn id(keepalive: &Keepalive, name: &str, mode: u32) -> PathBuf {
    let copy = keepalive.bring(&find_program("id").expect("one of coreutils"), name);
    chown(&copy, Some(0), Some(0)).expect("root gives files away");
    set_permissions(&copy, Permissions::from_mode(mode)).expect("a file of the test");
    copy
}

/// Runs `words` as an ordinary user, where `KEEPALIVE` stands for the command. Returns the output and the messages.
fn as_user(keepalive: &Keepalive, words: &[&str]) -> (String, String) {
    let path = keepalive.path().display().to_string();
    let words = words
        .iter()
        .map(|word| if *word == "KEEPALIVE" { &*path } else { word });
    let mut command = keepalive.environment(USER[0].as_ref());
    command.args(&USER[1..]).args(words).current_dir("/");
    let (lines, message, status) = outcome(&mut command);
    assert_eq!(status, Some(0), "{message}");
    let mut messages = String::new();
    for part in message.split_inclusive("keepalive[") {
        messages.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    (lines, messages)
}

#[test]
fn lost_privilege_is_reported_once() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let user = id(&keepalive, "sets-user", 0o4755).display().to_string();
    let group = id(&keepalive, "sets-group", 0o2755).display().to_string();
    let twice = "\"$0\" -u; \"$1\" -g; \"$0\" -u";
    for (first, second, name) in [(&user, &group, "sets-user"), (&group, &user, "sets-group")] {
        let (lines, message) = as_user(&keepalive, &["KEEPALIVE", "run", "sh", "-c", twice, first, second]);
        assert_eq!((&*lines, message), ("65534\n65534\n65534\n", lost(name)));
    }
    // A keepalive that runs under another one has not taken the privilege, and prints the same.
    let (_, message) = as_user(
        &keepalive,
        &["KEEPALIVE", "run", "KEEPALIVE", "run", "sh", "-c", twice, &user, &group],
    );
    assert_eq!(message, lost("sets-user"));
}

#[test]
fn no_message_if_no_privilege_is_lost() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let privileged = id(&keepalive, "sets-user", 0o4755).display().to_string();
    let plain = id(&keepalive, "plain", 0o755).display().to_string();
    let script = "\"$0\" -u; :";
    let lines = |words: &[&str]| as_user(&keepalive, words);
    assert_eq!(
        lines(&["KEEPALIVE", "run", "sh", "-c", script, &plain]),
        ("65534\n".into(), String::new())
    );
    assert_eq!(
        lines(&[
            "KEEPALIVE",
            "run",
            "--engine",
            "preload",
            "sh",
            "-c",
            script,
            &privileged
        ]),
        ("0\n".into(), String::new())
    );
    // Another program has taken the privilege.
    assert_eq!(
        lines(&[
            "setpriv",
            "--no-new-privs",
            "KEEPALIVE",
            "run",
            "sh",
            "-c",
            script,
            &privileged
        ]),
        ("65534\n".into(), String::new())
    );
    // Root's supervisors do not take privileges.
    let mut command = keepalive.run();
    command.args(["sh", "-c", script, &privileged]);
    assert_eq!(outcome(&mut command), ("0\n".into(), String::new(), Some(0)));
}

/// The named engine runs the program nevertheless, whether it is static or not.
#[test]
fn lost_privilege_of_the_command_itself_is_reported_with_engine_seccomp() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let privileged = id(&keepalive, "sets-user", 0o4755);
    let path = privileged.display().to_string();
    let expected = format!(
        "keepalive: {path} runs without its privilege: keepalive run, as an ordinary user, takes it (no_new_privs); \
         --engine preload leaves it"
    );
    let words = |message: String| message.split_whitespace().collect::<Vec<_>>().join(" ");
    for options in [&[][..], &["-v"]] {
        let command = [&["KEEPALIVE", "run", "--engine", "seccomp"], options, &[&path, "-u"]].concat();
        let (lines, message) = as_user(&keepalive, &command);
        let message = words(message);
        assert_eq!(
            (&*lines, message.matches(&expected).count()),
            ("65534\n", 1),
            "{message}"
        );
        assert_eq!(message.matches("privilege").count(), 1, "{message}");
    }
    let inner = ["KEEPALIVE", "run", "--engine", "seccomp", &path, "-u"];
    let (_, message) = as_user(&keepalive, &[&["KEEPALIVE", "run"], &inner[..]].concat());
    // The library of the outer keepalive is loaded into the program too.
    assert_eq!(message.matches("runs without its privilege").count(), 1, "{message}");
}

/// A file can have the attribute without capabilities.
#[test]
fn no_message_for_a_file_without_capabilities() {
    root!();
    if find_program("setcap").is_none() {
        skip!("setcap is not installed");
    }
    let keepalive = Keepalive::for_all_users();
    let file = id(&keepalive, "empty", 0o755);
    for (capabilities, is_lost) in [("=", false), ("cap_net_raw=i", false), ("cap_net_raw=p", true)] {
        let set = std::process::Command::new("setcap")
            .arg(capabilities)
            .arg(&file)
            .status();
        assert!(set.expect("setcap starts").success());
        let path = file.display().to_string();
        let words = ["KEEPALIVE", "run", "sh", "-c", "\"$0\" -u; :", &path];
        let (lines, message) = as_user(&keepalive, &words);
        let expected = if is_lost { lost("empty") } else { String::new() };
        assert_eq!((&*lines, message), ("65534\n", expected), "{capabilities}");
        let words = ["KEEPALIVE", "run", "--engine", "seccomp", &path, "-u"];
        let (_, message) = as_user(&keepalive, &words);
        assert_eq!(
            message.contains("without its privilege"),
            is_lost,
            "{capabilities}: {message}"
        );
    }
}

/// The kernel grants no privilege on such a file system, and the loader loads the library.
#[test]
fn set_user_id_program_on_a_nosuid_mount_causes_no_message() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let path = id(&keepalive, "sets-user", 0o4755).display().to_string();
    let directory = keepalive.path().parent().expect("a directory").display().to_string();
    let script = r#"mount --bind "$1" "$1" && mount -o remount,bind,nosuid "$1" && shift && exec "$@""#;
    for engine in ["auto", "seccomp"] {
        let mut command = keepalive.environment("unshare".as_ref());
        command.args(["-m", "sh", "-c", script, "sh", &directory]).args(USER);
        command
            .arg(keepalive.path())
            .args(["run", "--engine", engine, &path, "-u"]);
        assert_eq!(
            outcome(&mut command),
            ("65534\n".into(), String::new(), Some(0)),
            "{engine}"
        );
    }
}

#[test]
fn lost_privilege_is_reported_in_the_log_if_there_is_one() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let privileged = id(&keepalive, "sets-user", 0o4755).display().to_string();
    let directory = tempfile::tempdir().expect("a temporary directory");
    set_permissions(directory.path(), Permissions::from_mode(0o777)).expect("a directory of the test");
    let log = directory.path().join("log");
    let variable = format!("KEEPALIVE_LOG={}", log.display());
    let words = [
        "env",
        &variable,
        "KEEPALIVE",
        "run",
        "sh",
        "-c",
        "\"$0\" -u; :",
        &privileged,
    ];
    assert_eq!(as_user(&keepalive, &words), ("65534\n".into(), String::new()));
    let text = std::fs::read_to_string(log).expect("the log");
    assert_eq!(
        text.matches("sets-user runs without its privilege").count(),
        1,
        "{text}"
    );
}

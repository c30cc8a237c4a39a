//! `keepalive unit`: drop-ins for services, in the tree of an image, verified by systemd itself.

mod foreign;
mod managed;
mod obstacles;
mod running;

use crate::support::target::{Libc, compile};
use crate::support::{find_program, keepalive, library};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// The tree of an image with one service.
struct Image(TempDir);

const UNITS: &str = "usr/lib/systemd/system";
const DROP_IN: &str = "etc/systemd/system/db.service.d/50-keepalive.conf";

impl Image {
    /// With db.service, which starts `program` and says `more`.
    fn new(program: &Path, more: &str) -> Self {
        let image = Self(tempfile::tempdir().expect("a temporary directory"));
        fs::create_dir_all(image.path(UNITS)).expect("a directory");
        fs::create_dir_all(image.path("bin")).expect("a directory");
        fs::copy(program, image.path("bin/db")).expect("a program");
        image.write("db.service", more);
        image
    }

    fn dynamic(more: &str) -> Self {
        Self::new(Path::new("/bin/sleep"), more)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, name: &str, more: &str) {
        let text = format!("[Unit]\nDescription=A database\n\n[Service]\nExecStart=/bin/db 1000\n{more}\n");
        fs::write(self.path(UNITS).join(name), text).expect("a unit");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(keepalive());
        let (action, rest) = arguments.split_first().expect("an action");
        command
            .args(["unit", action, "--root"])
            .arg(self.0.path())
            .args(rest)
            .env("KEEPALIVE_LIBRARY", library())
            // What this shell has set is not the service's.
            .env("KEEPIDLE", "7777")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("keepalive starts")
    }

    /// Runs it and gives what it says on standard output and error.
    #[track_caller]
    fn expect(&self, arguments: &[&str], status: i32) -> (String, String) {
        let output = self.run(arguments);
        let [stdout, stderr] =
            [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {stdout}{stderr}");
        (stdout, stderr)
    }

    fn drop_in(&self) -> String {
        fs::read_to_string(self.path(DROP_IN)).expect("a drop-in")
    }

    /// What systemd finds wrong with the unit and its drop-ins.
    fn verify(&self) -> String {
        let path = self.path("verify");
        fs::create_dir_all(&path).expect("a directory");
        let unit = fs::read_to_string(self.path(UNITS).join("db.service")).expect("a unit");
        // It looks for the program on this machine.
        let program = self.path("bin/db").display().to_string();
        fs::write(path.join("db.service"), unit.replace("/bin/db", &program)).expect("a unit");
        let from = self.path(DROP_IN);
        fs::create_dir_all(path.join("db.service.d")).expect("a directory");
        fs::copy(from, path.join("db.service.d/50-keepalive.conf")).expect("a drop-in");
        let output = Command::new("systemd-analyze")
            .args(["--man=no", "verify"])
            .arg(path.join("db.service"))
            .env("SYSTEMD_UNIT_PATH", format!("{}:", path.display()))
            .output()
            .expect("systemd-analyze starts");
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        // What it says of the units of this machine does not count.
        complaints.lines().filter(|line| line.contains("db.service")).collect()
    }
}

macro_rules! systemd {
    () => {
        if find_program("systemd-analyze").is_none() {
            skip!("systemd-analyze is not installed");
        }
    };
}

#[test]
fn enabled_service_has_library_and_policy() {
    systemd!();
    let image = Image::dynamic("");
    let (stdout, stderr) = image.expect(&["enable", "--idle", "90", "--mode", "cap", "db"], 0);
    assert_eq!(stdout, format!("db.service: {}\n", image.path(DROP_IN).display()));
    assert!(stderr.contains("systemctl restart db.service"), "{stderr}");
    let expected = format!(
        "[Service]\nEnvironment=\"LD_PRELOAD={}\"\nEnvironment=\"KEEPIDLE=90\"\nEnvironment=\"KEEPALIVE_MODE=cap\"\n",
        library().display()
    );
    assert!(image.drop_in().ends_with(&expected), "{}", image.drop_in());
    assert_eq!(image.verify(), "");
}

#[test]
fn without_a_policy_the_defaults_of_run_apply() {
    let image = Image::dynamic("");
    let (stdout, _) = image.expect(&["enable", "--dry-run", "db.service"], 0);
    for variable in ["KEEPIDLE=60", "KEEPINTVL=15", "KEEPCNT=5"] {
        assert!(stdout.contains(&format!("Environment=\"{variable}\"\n")), "{stdout}");
    }
    assert!(!image.path(DROP_IN).exists(), "a dry run has written");
}

#[test]
fn special_characters_survive_systemd_unquoting() {
    systemd!();
    let image = Image::dynamic("Environment=\"LD_PRELOAD=/lib/other.so\" A=1");
    let rules = [
        "program a%b off",
        "connect [2001:db8::/32]:443 idle=30s",
        "program $HOME\"\\ off # \"x\"",
    ];
    let flags: Vec<&str> = rules.iter().flat_map(|rule| ["--rule", rule]).collect();
    image.expect(&[&["enable"], flags.as_slice(), &["db"]].concat(), 0);
    assert_eq!(image.verify(), "");
    let text = image.drop_in();
    assert!(text.contains("LD_PRELOAD=/lib/other.so:"), "{text}");
    assert!(
        text.contains(
            "KEEPALIVE_RULES=program a%%b off;connect [2001:db8::/32]:443 idle=30s;program $HOME\\\"\\\\ off\""
        ),
        "{text}"
    );
    image.expect(
        &[&["enable", "--engine", "cgroup"], flags.as_slice(), &["db"]].concat(),
        0,
    );
    assert_eq!(image.verify(), "");
    let text = image.drop_in();
    assert!(text.contains("--rule \"program a%%b off\" --rule"), "{text}");
    assert!(text.contains("\"program $$HOME\\\"\\\\ off\" %n\n"), "{text}");
}

/// A comment ends with its line, and a unit file has the rules on one line.
#[test]
fn comments_do_not_hide_the_rules_after_them() {
    systemd!();
    let image = Image::dynamic("");
    let flags = [
        "--rule",
        "default idle=7 # seconds; as agreed\r\naccept :80 off",
        "--rule",
        "\u{feff}connect *:443\tidle=30s# x\n# y",
        "--rule",
        "# nothing",
        "--rule",
        "program a off",
    ];
    image.expect(&[&["enable"], flags.as_slice(), &["db"]].concat(), 0);
    assert_eq!(image.verify(), "");
    let rules = "KEEPALIVE_RULES=default idle=7;accept :80 off;connect *:443\\x09idle=30s;program a off\"\n";
    let text = image.drop_in();
    assert!(text.contains(rules), "{text}");
    image.expect(
        &[&["enable", "--engine", "cgroup"], flags.as_slice(), &["db"]].concat(),
        0,
    );
    assert_eq!(image.verify(), "");
    let text = image.drop_in();
    let rules = "enable --rule \"default idle=7;accept :80 off\" --rule \"connect *:443\\x09idle=30s\" \
                 --rule \"program a off\" %n\n";
    assert!(text.contains(rules), "{text}");
}

#[test]
fn paths_are_written_unchanged_or_refused() {
    systemd!();
    let image = Image::dynamic("");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("a;b\n%n ");
    fs::write(&config, "default idle=7\n").expect("a file");
    let path = config.to_str().expect("UTF-8");
    let written = path.replace('%', "%%").replace('\n', "\\x0a");
    for (engine, expected) in [
        ("preload", format!("\"KEEPALIVE_CONFIG={written}\"\n")),
        ("cgroup", format!("--config \"{written}\" %n\n")),
    ] {
        image.expect(&["enable", "--engine", engine, "--config", path, "db"], 0);
        assert_eq!(image.verify(), "");
        let text = image.drop_in();
        assert!(text.contains(&expected), "{text}");
    }
    let output = image
        .command(&["enable", "--dry-run", "db", "--rule"])
        .arg(OsStr::from_bytes(b"program \xff off"))
        .output()
        .expect("keepalive starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("not UTF-8"),
        "{output:?}"
    );
}

#[test]
fn the_cgroup_engine_is_enabled_at_each_start_and_never_keeps_a_service_from_starting() {
    systemd!();
    let image = Image::dynamic("");
    image.expect(&["enable", "--engine", "cgroup", "--idle", "90", "db"], 0);
    let text = image.drop_in();
    let command = keepalive();
    let expected = format!(
        "[Service]\nExecStartPre=-+\"{0}\" cgroup enable --rule \"default idle=90s\" %n\n\
         ExecStopPost=-+\"{0}\" cgroup disable %n\n",
        command.display()
    );
    assert!(text.ends_with(&expected), "{text}");
    assert_eq!(image.verify(), "");
}

#[test]
fn obstacles_to_the_library_are_reported() {
    if let Some(why) = Libc::Host.missing() {
        skip!("{why}");
    }
    let image = Image::new(&compile(Libc::Host, "churn.c", &["-static"]), "");
    let (_, stderr) = image.expect(&["enable", "db"], 0);
    assert!(
        stderr.contains("statically linked") && stderr.contains("--engine cgroup"),
        "{stderr}"
    );
    for (statement, is_reported) in [
        ("SystemCallFilter=@system-service", false),
        ("SystemCallFilter=@basic-io @file-system @io-event @network-io", false),
        ("SystemCallFilter=read write", true),
        ("SystemCallFilter=~@clock @module", false),
        ("SystemCallFilter=~@network-io", true),
        ("SystemCallFilter=read\nSystemCallFilter=", false),
        ("NoNewPrivileges=yes", true),
        ("NoNewPrivileges=yes\nNoNewPrivileges=no", false),
        ("RootDirectory=/srv", true),
        ("PrivateTmp=yes", library().starts_with("/tmp")),
    ] {
        let image = Image::dynamic(statement);
        let (_, stderr) = image.expect(&["enable", "--dry-run", "db"], 0);
        let name = statement.split('=').next().expect("a name");
        assert_eq!(stderr.contains(name), is_reported, "{statement}: {stderr}");
        assert!(stderr.lines().all(|line| line.chars().count() <= 80), "{stderr}");
        let (_, stderr) = image.expect(&["enable", "--dry-run", "--engine", "cgroup", "db"], 0);
        // The image has no command.
        let words: Vec<&str> = stderr.split_whitespace().collect();
        let note = words.join(" ");
        let is_note = note.ends_with("is not there yet: the service needs it at this path");
        assert!(
            is_note && note.matches("keepalive: ").count() == 1,
            "{statement}: {stderr}"
        );
    }
}

#[test]
fn disable_removes_only_its_own_files() {
    let image = Image::dynamic("");
    let other = image.path("etc/systemd/system/db.service.d/10-other.conf");
    image.expect(&["enable", "db"], 0);
    image.expect(&["status", "db"], 0);
    fs::write(&other, "[Service]\nNice=1\n").expect("a drop-in");
    let (stdout, _) = image.expect(&["disable", "db"], 0);
    assert_eq!(stdout, "db.service: disabled\n");
    assert!(other.exists() && !image.path(DROP_IN).exists());
    let (_, stderr) = image.expect(&["disable", "db"], 0);
    assert!(stderr.contains("db.service has no drop-in"), "{stderr}");
    let (_, stderr) = image.expect(&["status", "db"], 1);
    assert!(stderr.contains("hint: keepalive unit enable db"), "{stderr}");
    fs::remove_file(&other).expect("it is there");
    image.expect(&["enable", "db"], 0);
    image.expect(&["disable", "db"], 0);
    assert!(
        !other.parent().expect("a directory").exists(),
        "an empty directory is left"
    );
}

#[test]
fn an_instance_has_its_templates_file_and_a_drop_in_of_its_own() {
    let image = Image::dynamic("");
    image.write("work@.service", "");
    image.expect(&["enable", "work@1"], 0);
    assert!(
        image
            .path("etc/systemd/system/work@1.service.d/50-keepalive.conf")
            .exists()
    );
    image.expect(&["enable", "work@.service"], 0);
    assert!(
        image
            .path("etc/systemd/system/work@.service.d/50-keepalive.conf")
            .exists()
    );
}

#[test]
fn impossible_changes_are_reported_and_nothing_is_written() {
    let image = Image::dynamic("");
    for (arguments, status, words) in [
        (&["enable", "none"][..], 1, "there is no unit 'none.service'"),
        (&["enable", "app.slice"], 2, "hint: keepalive cgroup enable app.slice"),
        (&["enable", "db.socket"], 2, "hint: name the service"),
        (&["enable", "../db"], 2, "not the name of a unit"),
        (&["enable", "--rule", "conect off", "db"], 2, "--rule:1:1"),
        (&["enable"], 2, "UNIT"),
    ] {
        let (stdout, stderr) = image.expect(arguments, status);
        assert!(
            stderr.contains(words) && stdout.is_empty(),
            "{arguments:?}: {stdout}{stderr}"
        );
    }
    assert!(!image.path("etc").exists());
    fs::create_dir_all(image.path("etc/systemd/system/db.service.d/50-keepalive.conf")).expect("a directory");
    let (_, stderr) = image.expect(&["enable", "db"], 1);
    assert!(stderr.contains("cannot write"), "{stderr}");
    let entries = fs::read_dir(image.path("etc/systemd/system/db.service.d")).expect("a directory");
    assert_eq!(entries.count(), 1, "something is left");
}

#[test]
fn user_option_selects_the_users_units() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let units = home.path().join("systemd/user");
    fs::create_dir_all(&units).expect("a directory");
    fs::write(units.join("mine.service"), "[Service]\nExecStart=/bin/sleep 1\n").expect("a unit");
    let unit = |arguments: &[&str]| {
        let output = Command::new(keepalive())
            .arg("unit")
            .args(arguments)
            .env("XDG_CONFIG_HOME", home.path())
            .env("KEEPALIVE_LIBRARY", library())
            .output()
            .expect("keepalive starts");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (status, stderr) = unit(&["enable", "--user", "--dry-run", "mine"]);
    assert_eq!(status, Some(0), "{stderr}");
    let (status, stderr) = unit(&["enable", "--user", "--engine", "cgroup", "mine"]);
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.contains("it requires root"), "{stderr}");
}

#[test]
fn the_help_fits_80_columns() {
    for arguments in [
        &["unit", "--help"][..],
        &["unit", "enable", "--help"],
        &["unit", "status", "--help"],
    ] {
        let output = Command::new(keepalive())
            .args(arguments)
            .output()
            .expect("keepalive starts");
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    }
}

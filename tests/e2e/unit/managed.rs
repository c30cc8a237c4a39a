//! Services of a running system: what their processes show. systemd itself runs in tests/vm; here systemctl(1) is a script.

use crate::support::library;
use crate::support::process::{Running, eventually, text};
use crate::support::test_cgroup::TestCgroup;
use serde_json::Value;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Answers `show` from files, and does nothing for other requests.
const SYSTEMCTL: &str = r#"#!/bin/sh
for last; do :; done
[ "$1" = show ] && cat "$UNITS/$last.show" 2>/dev/null
exit 0
"#;

/// Mounts the directory $UNITS as /etc/systemd, as if systemd ran.
const MOUNTS: &str = r#"
    mount -t tmpfs none /run
    mkdir -p /run/systemd/system
    mount --bind "$UNITS" /etc/systemd
    PATH=$UNITS:$PATH
    exec "$@""#;

/// A system with units in a cgroup. Cgroups are found by the name of the unit in the whole tree, so each test has its own names.
struct Managed {
    cgroup: TestCgroup,
    units: TempDir,
}

impl Managed {
    fn new(cgroup: TestCgroup) -> Self {
        let units = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(units.path().join("system")).expect("a directory");
        let script = units.path().join("systemctl");
        fs::write(&script, SYSTEMCTL).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a mode");
        Self { cgroup, units }
    }

    /// Adds a loaded unit with these further properties.
    fn unit(&self, name: &str, text: &str, properties: &str) {
        fs::write(self.units.path().join("system").join(name), text).expect("a unit");
        let show = format!("Id={name}\nNames={name}\nLoadState=loaded\n{properties}");
        fs::write(self.units.path().join(format!("{name}.show")), show).expect("a file");
    }

    /// Starts a program in the cgroup of a service, in this environment.
    fn start(&self, directory: &Path, program: &[&str], environment: &[(&str, &str)]) -> Running {
        let mut command = self.cgroup.enter_into(directory, "env");
        let variables = environment.iter().map(|(name, value)| format!("{name}={value}"));
        command.arg("-i").args(variables).args(program);
        let mut running = Running::start(&mut command);
        let program = Path::new(program[0]).canonicalize().expect("a program");
        eventually("the program", Duration::from_secs(60), || {
            assert!(!running.has_ended(), "it has ended");
            let path = fs::read_link(format!("/proc/{}/exe", running.pid())).ok()?;
            (path == program).then_some(())
        });
        running
    }

    fn keepalive(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command: Command = self
            .cgroup
            .command_under(&["unshare", "--mount", "sh", "-ec", MOUNTS, "sh"], arguments);
        command
            .env("UNITS", self.units.path())
            .env("KEEPALIVE_LIBRARY", library());
        let output = command.output().expect("unshare starts");
        let words = |bytes| text(bytes).split_whitespace().collect::<Vec<_>>().join(" ");
        (output.status.code(), text(&output.stdout), words(&output.stderr))
    }

    fn doctor(&self, name: &str) -> (Option<i32>, Value) {
        let (status, stdout, stderr) = self.keepalive(&["doctor", "--json", "--unit", name]);
        let report = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
        (status, report)
    }
}

/// Returns the findings about a subject of this level.
fn findings(report: &Value, level: &str, subject: &str) -> Vec<String> {
    let findings = report["findings"].as_array().expect("an array").iter();
    findings
        .filter(|finding| finding["level"] == level && finding["subject"] == subject)
        .map(|finding| finding["text"].as_str().expect("a text").to_owned())
        .collect()
}

const SLEEP: [&str; 2] = ["/bin/sleep", "1000"];

#[test]
fn a_service_whose_environment_was_wiped_gets_the_cgroup_engine() {
    let system = Managed::new(test_cgroup!());
    system.unit("wiped.service", "[Service]\nExecStart=/bin/sleep 1000\n", "MainPID=1\n");
    let directory = system.cgroup.child("wiped.service");
    let dry_run = ["unit", "enable", "--dry-run", "wiped"];
    for (environment, is_wiped) in [
        (&[("PATH", "/bin"), ("INVOCATION_ID", "a")][..], false),
        (&[("PATH", "/bin"), ("JOURNAL_STREAM", "8:1")], false),
        (&[("PATH", "/bin"), ("LANG", "C.UTF-8")], true),
        (&[], true),
    ] {
        let running = system.start(&directory, &SLEEP, environment);
        let (status, stdout, stderr) = system.keepalive(&dry_run);
        assert_eq!(status, Some(0), "{stderr}");
        assert_eq!(
            stdout.contains("LD_PRELOAD"),
            !is_wiped,
            "{environment:?}: {stdout}{stderr}"
        );
        let reason = format!(
            "process {} (sleep) of wiped.service runs without the environment",
            running.pid()
        );
        assert_eq!(stderr.contains(&reason), is_wiped, "{environment:?}: {stderr}");
        let (_, report) = system.doctor("wiped");
        assert_eq!(
            report["engine"],
            if is_wiped { "cgroup" } else { "preload" },
            "{report}"
        );
    }
    // A child of a process with the environment.
    let _main = system.start(&directory, &SLEEP, &[("INVOCATION_ID", "a")]);
    let _child = system.start(&directory, &SLEEP, &[("PATH", "/bin")]);
    let (_, stdout, stderr) = system.keepalive(&dry_run);
    assert!(stdout.contains("ExecStartPre"), "{stdout}{stderr}");
}

#[test]
fn doctor_examines_the_services_for_which_a_unit_stands() {
    let system = Managed::new(test_cgroup!());
    let meta = "[Service]\nType=oneshot\nExecStart=/bin/true\nRemainAfterExit=on\n";
    system.unit(
        "db.service",
        meta,
        "MainPID=0\nConsistsOf=db@15-main.service\nWants=db@15-main.service\n",
    );
    system.unit(
        "db@15-main.service",
        "[Unit]\nPartOf=db.service\n[Service]\nExecStart=/bin/sleep 1000\n",
        "MainPID=1\n",
    );
    let directory = system.cgroup.child("db@15-main.service");
    let running = system.start(&directory, &SLEEP, &[("LANG", "C.UTF-8")]);
    let (status, _, stderr) = system.keepalive(&["unit", "enable", "db"]);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.ends_with("hint: keepalive unit enable db@15-main"), "{stderr}");
    let (status, report) = system.doctor("db");
    assert_eq!(status, Some(1), "{report}");
    assert_eq!(report["engine"], "cgroup", "{report}");
    let units = findings(&report, "note", "unit").concat();
    assert!(
        units.contains("db.service starts only true(1), and stands for db@15-main.service"),
        "{report}"
    );
    let wrong = findings(&report, "wrong", "engine preload").concat();
    assert!(
        wrong.contains(&format!("process {} (sleep)", running.pid())),
        "{report}"
    );
}

#[test]
fn alias_selects_the_aliased_service() {
    let system = Managed::new(test_cgroup!());
    system.unit("maria.service", "[Service]\nExecStart=/bin/sleep 1000\n", "MainPID=1\n");
    let show = "Id=maria.service\nNames=mysql.service maria.service\nLoadState=loaded\nMainPID=1\n";
    fs::write(system.units.path().join("mysql.service.show"), show).expect("a file");
    let alias = system.units.path().join("system/mysql.service.d");
    fs::create_dir(&alias).expect("a directory");
    fs::write(alias.join("90.conf"), "[Service]\nUnsetEnvironment=LD_PRELOAD\n").expect("a drop-in");
    let (status, stdout, stderr) = system.keepalive(&["unit", "enable", "--dry-run", "mysql"]);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(
        stdout.starts_with("# /etc/systemd/system/maria.service.d/50-keepalive.conf\n"),
        "{stdout}"
    );
    assert!(stderr.contains("/mysql.service.d/90.conf"), "{stderr}");
}

#[test]
fn doctor_compares_the_sockets_of_a_service_with_its_drop_in() {
    python!();
    let system = Managed::new(test_cgroup!());
    system.unit(
        "compared.service",
        "[Service]\nExecStart=/usr/bin/python3\n",
        "MainPID=1\n",
    );
    let directory = system.cgroup.child("compared.service");
    let (status, _, stderr) = system.keepalive(&["unit", "enable", "--engine", "preload", "--idle", "77", "compared"]);
    assert_eq!(status, Some(0), "{stderr}");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let script = format!("import socket, time\ns = socket.create_connection(('127.0.0.1', {port}))\ntime.sleep(1000)");
    let program = [crate::support::PYTHON, "-c", &script];
    let accepted = || -> TcpStream { listener.accept().expect("a connection").0 };

    // As a process that was started before the drop-in.
    let old = system.start(&directory, &program, &[("INVOCATION_ID", "a")]);
    let connection = accepted();
    let (status, report) = system.doctor("compared");
    assert_eq!(status, Some(1), "{report}");
    let problem = findings(&report, "wrong", "drop-in").concat();
    assert!(
        problem.contains(&format!("without the library run {}", old.pid())),
        "{report}"
    );
    assert_eq!(report["sockets"][0]["verdict"], "missing", "{report}");
    drop((old, connection));

    let library = library().display().to_string();
    let environment = [
        ("INVOCATION_ID", "a"),
        ("LD_PRELOAD", library.as_str()),
        ("KEEPIDLE", "77"),
    ];
    let _new = system.start(&directory, &program, &environment);
    let _connection = accepted();
    let (_, report) = system.doctor("compared");
    assert_eq!(findings(&report, "wrong", "drop-in"), [""; 0], "{report}");
    assert_eq!(findings(&report, "wrong", "connections"), [""; 0], "{report}");
    assert_eq!(report["sockets"][0]["verdict"], "set", "{report}");
    assert_eq!(report["sockets"][0]["idle_s"], 77, "{report}");
    // Python loads modules, in which the library might not see calls.
    assert_eq!(report["engine"], "cgroup", "{report}");
    assert!(
        findings(&report, "note", "engine preload")
            .concat()
            .contains("loads modules"),
        "{report}"
    );
}

#[test]
fn doctor_needs_the_name_of_a_service() {
    let system = Managed::new(test_cgroup!());
    for (arguments, status, words) in [
        (&["doctor", "--unit", "none"][..], 1, "there is no unit 'none.service'"),
        (&["doctor", "--unit", "db.socket"], 2, "hint: name the service"),
        (&["doctor", "--unit", "db", "--pid", "1"], 2, "--pid"),
        (&["doctor", "--unit", "db", "--", "true"], 2, "cannot be used with"),
    ] {
        let (found, stdout, stderr) = system.keepalive(arguments);
        assert_eq!(found, Some(status), "{arguments:?}: {stdout}{stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    }
}

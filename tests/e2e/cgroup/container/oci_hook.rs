//! `keepalive oci-hook`: policies of containers, from their annotations, before their first program runs.

use super::podman::{HOOKS, Podman, listening, podman};
use super::{NO_ENGINES, POLICY};
use crate::support::process::{LIMIT, eventually, output_within, text};
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use crate::support::test_cgroup::{BPF_FILE_SYSTEM, TestCgroup};
use crate::support::{keepalive, repository};
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use tempfile::NamedTempFile;

/// A /dev of the test's own, in which it can create the socket of the system log.
const OWN_DEV: &str = "mkdir /run/dev; mount --rbind /dev /run/dev; mount -t tmpfs tmpfs /dev
    for file in /run/dev/*; do
        name=/dev/${file##*/}
        if [ -L $file ]; then cp -d $file $name; continue; fi
        if [ -d $file ]; then mkdir $name; else touch $name; fi
        mount --rbind $file $name
    done";

/// The annotation with the policy that [`POLICY_VALUES`] shows.
const ANNOTATION: &str = "--annotation=keepalive.io/policy=idle=61s interval=13s count=4";

/// Returns from the test where a cgroup is impossible.
macro_rules! hooks {
    () => {{
        root!();
        match TestCgroup::prepared(&format!("{BPF_FILE_SYSTEM}; {NO_ENGINES}; {OWN_DEV}")) {
            Ok(test_cgroup) => test_cgroup,
            Err(why) => skip!("{why}"),
        }
    }};
}

/// Installs the hook as the packages do, for the command of this build.
fn hooked(podman: Podman<'_>) -> Podman<'_> {
    let hook = fs::read_to_string(repository().join("packaging/oci/keepalive.json")).expect("a packaged file");
    let command = keepalive();
    let hook = hook.replace("/usr/bin/keepalive", command.to_str().expect("UTF-8"));
    let directory = podman.files.path().join(HOOKS);
    fs::create_dir(&directory).expect("it is not there");
    fs::write(directory.join("keepalive.json"), hook).expect("a file of the test");
    podman
}

/// Creates the socket of the system log.
fn system_log(test_cgroup: &TestCgroup) -> UnixDatagram {
    let log = UnixDatagram::bind(test_cgroup.outside("/dev/log")).expect("a socket in the test's own /dev");
    let path = test_cgroup.outside("/dev/log");
    fs::set_permissions(path, Permissions::from_mode(0o666)).expect("a socket of the test");
    log.set_read_timeout(Some(LIMIT)).expect("a time");
    log
}

/// Returns the next line of the system log.
fn logged(log: &UnixDatagram) -> String {
    let mut line = [0; 4096];
    let length = log.recv(&mut line).expect("a line");
    String::from_utf8_lossy(&line[..length]).into_owned()
}

/// Runs a container that connects at once. Returns the options of its connection.
fn first_connection(podman: &Podman<'_>, port: &str, options: &[&str]) -> String {
    let parent = format!("--cgroup-parent={}", podman.test_cgroup.name());
    let program = ["localhost/sockets", "/bin/sockets", "tcp", port, "show"];
    let printed = podman.succeeds(&[&["run", "--rm", &parent], options, &program].concat());
    let shown = printed.strip_prefix("connect: 0\ntcp: ");
    shown.unwrap_or_else(|| panic!("{printed}")).to_owned()
}

#[test]
fn first_connection_has_the_policy_of_the_annotation() {
    let test_cgroup = hooks!();
    podman!();
    let (_listener, port) = listening();
    let podman = hooked(Podman::new(&test_cgroup));
    for _ in 0..3 {
        assert_eq!(first_connection(&podman, &port, &[ANNOTATION]), POLICY_VALUES);
        assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    }
    // The annotation overrides the policy of a cgroup above; a container without one has that.
    test_cgroup.enable(&["--idle=31"]);
    let before = test_cgroup.pins();
    let off = "--annotation=keepalive.io/policy=off";
    assert_eq!(first_connection(&podman, &port, &[off]), KERNEL_DEFAULTS);
    let default = "--annotation=keepalive.io/policy=";
    assert_eq!(first_connection(&podman, &port, &[default]), "1 60 15 5 0");
    assert_eq!(first_connection(&podman, &port, &[]), "1 31 75 9 0");
    assert_eq!(test_cgroup.pins(), before);
}

#[test]
fn policy_of_the_annotation_stays_over_restarts_and_reaches_executed_processes() {
    let test_cgroup = hooks!();
    podman!();
    let (_listener, port) = listening();
    let podman = hooked(Podman::new(&test_cgroup));
    let parent = format!("--cgroup-parent={}", test_cgroup.name());
    let program = ["localhost/sockets", "/bin/sockets", "tcp", &port, "show", "hold"];
    let options = ["run", "--detach", "--interactive", "--name=web", &parent, ANNOTATION];
    let id = podman.succeeds(&[&options[..], &program].concat());
    let connection = format!("connect: 0\ntcp: {POLICY_VALUES}");
    for restarts in 1..=3 {
        let expected = vec![format!("{connection}\nholding"); restarts].join("\n");
        eventually("the container has connected", LIMIT, || {
            (podman.succeeds(&["logs", "web"]) == expected).then_some(())
        });
        let executed = podman.succeeds(&["exec", "web", "/bin/sockets", "tcp", &port, "show"]);
        assert_eq!(executed, connection);
        let report = test_cgroup.report();
        assert_eq!(report["cgroups"].as_array().map(Vec::len), Some(1), "{report}");
        assert_eq!(report["cgroups"][0]["state"], "in-force", "{report}");
        assert_eq!(
            report["cgroups"][0]["owner"],
            format!("container {id}").as_str(),
            "{report}"
        );
        podman.succeeds(&["restart", "--time=0", "web"]);
    }
    podman.succeeds(&["rm", "--force", "--time=0", "web"]);
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn mistake_in_the_annotation_is_logged_and_the_container_starts() {
    let test_cgroup = hooks!();
    podman!();
    let (_listener, port) = listening();
    let podman = hooked(Podman::new(&test_cgroup));
    let log = system_log(&test_cgroup);
    for (value, message) in [
        ("idle=30x", "'idle=30x': unknown unit after the number; hint: "),
        ("count=500", "'count=500': too large; hint: "),
        ("connect * off", "'connect': not a setting; hint: "),
    ] {
        let annotation = format!("--annotation=keepalive.io/policy={value}");
        assert_eq!(first_connection(&podman, &port, &[&annotation]), KERNEL_DEFAULTS);
        let line = logged(&log);
        assert!(line.starts_with("<28>keepalive["), "{line}");
        assert!(
            line.contains(&format!(
                "it starts without a policy of its own: annotation keepalive.io/policy: {message}"
            )),
            "{line}"
        );
        assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    }
}

/// An eBPF policy requires capabilities that a user namespace does not give.
#[test]
fn container_of_an_ordinary_user_starts_without_a_policy() {
    let test_cgroup = hooks!();
    podman!();
    let (_listener, port) = listening();
    let podman = hooked(Podman::rootless(&test_cgroup));
    let log = system_log(&test_cgroup);
    let program = ["localhost/sockets", "/bin/sockets", "tcp", &port, "show"];
    let printed = podman.succeeds(&[&["run", "--rm", ANNOTATION][..], &program].concat());
    assert_eq!(printed, format!("connect: 0\ntcp: {KERNEL_DEFAULTS}"));
    let line = logged(&log);
    assert!(line.contains(": it starts without a policy of its own: "), "{line}");
}

/// Runs the hook with this state, in the environment of a user who has variables for programs. Returns its messages, on
/// one line; it must succeed.
#[track_caller]
fn hook(test_cgroup: &TestCgroup, options: &[&str], state: &str) -> String {
    let mut input = NamedTempFile::new().expect("a temporary file");
    input.write_all(state.as_bytes()).expect("a temporary file");
    let mut command = test_cgroup.inside("sh");
    command.args(["-c", r#"exec "$@" <"$0""#]).arg(input.path());
    command.env("KEEPIDLE", "99").env("KEEPALIVE_CONFIG", "/nowhere");
    command.arg(keepalive()).arg("oci-hook").args(options);
    let output = output_within(LIMIT, &mut command);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    text(&output.stderr).replace('\n', " ")
}

#[test]
fn hook_succeeds_whatever_it_is_given() {
    let test_cgroup = hooks!();
    python!();
    let log = system_log(&test_cgroup);
    let large = format!(r#"{{"id":"{}"}}"#, "x".repeat(2 << 20));
    for (options, state, message) in [
        (&[][..], "", "cannot read the state of the container: "),
        (&[], "[]", "cannot read the state of the container: "),
        (&[], &large, "cannot read the state of the container: "),
        (&["--idel=30"], "{}", "unexpected argument '--idel'"),
        (&["--idle=30x"], "{}", "unknown unit after the number"),
        (
            &["--config=/nowhere"],
            r#"{"id":"ab","status":"creating","pid":1}"#,
            "cannot read '/nowhere'",
        ),
        (
            &[],
            r#"{"id":"ab","status":"creating"}"#,
            "container ab: it starts without a policy of its own: ",
        ),
    ] {
        let printed = hook(&test_cgroup, options, state);
        assert!(
            printed.starts_with("keepalive: ") && printed.contains(message),
            "{printed}"
        );
        let line = logged(&log);
        assert!(line.contains(message), "{line}");
    }
}

#[test]
fn cgroup_with_other_processes_gets_no_policy_of_a_container() {
    let test_cgroup = hooks!();
    python!();
    let directory = test_cgroup.child("shared");
    let first = test_cgroup.py_peer_in(&directory, &[]);
    let state = |pid: u32, status: &str| {
        format!(
            r#"{{"ociVersion":"1.0.2","id":"own","status":"{status}","pid":{pid},"bundle":"/",
                "annotations":{{"keepalive.io/policy":"idle=61s interval=13s count=4"}}}}"#
        )
    };
    assert_eq!(hook(&test_cgroup, &[], &state(first.pid(), "creating")), "");
    let report = test_cgroup.report();
    assert_eq!(report["cgroups"][0]["owner"], "container own", "{report}");
    assert_eq!(hook(&test_cgroup, &[], &state(0, "stopped")), "");
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    let without_annotation = state(first.pid(), "creating").replace("keepalive.io/policy", "another");
    assert_eq!(hook(&test_cgroup, &[], &without_annotation), "");
    let report = test_cgroup.report();
    assert_eq!(
        report["cgroups"][0]["default"], "keepalive=on idle=60s interval=15s count=5",
        "{report}"
    );
    assert_eq!(hook(&test_cgroup, &[], &state(0, "stopped")), "");
    let _second = test_cgroup.py_peer_in(&directory, &[]);
    let message = hook(&test_cgroup, &[], &state(first.pid(), "creating"));
    assert!(
        message.contains("the container has no cgroup of its own: "),
        "{message}"
    );
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    // A policy of a user is none of the hook's.
    test_cgroup.enable(&POLICY);
    assert_eq!(hook(&test_cgroup, &[], &state(0, "stopped")), "");
    assert_eq!(test_cgroup.status()["state"], "in-force");
}

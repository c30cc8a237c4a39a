//! Containers of podman, over restarts.

use super::containers;
use crate::cgroup::POLICY;
use crate::cgroup::watch::Watch;
use crate::support::find_program;
use crate::support::line_peer::LinePeer;
use crate::support::ordinary::NOBODY;
use crate::support::process::{LIMIT, output_within, text};
use crate::support::target::{Libc, POLICY_VALUES, static_target};
use crate::support::test_cgroup::TestCgroup;
use rustix::process::Signal;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// runc accepts all arrangements of cgroups. No systemd, no network of its own, no limits that need a capability.
const CONFIGURATION: &str = "
[containers]
default_ulimits = []
log_driver = \"k8s-file\"
netns = \"host\"
[engine]
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
lock_type = \"file\"
runtime = \"runc\"
";

/// The directory of hooks in [`Podman::files`], which podman uses if it exists.
pub(super) const HOOKS: &str = "hooks";

/// Returns from the test where podman cannot run.
macro_rules! podman {
    () => {
        if let Some(missing) = $crate::cgroup::container::podman::missing() {
            skip!("{missing}");
        }
    };
}
pub(super) use podman;

/// Returns what podman lacks here.
pub(super) fn missing() -> Option<String> {
    let needed = ["podman", "runc", "conmon", "tar"];
    if let Some(missing) = needed.into_iter().find(|name| find_program(name).is_none()) {
        return Some(format!("{missing} is not installed"));
    }
    (!Path::new("/etc/containers/policy.json").exists())
        .then(|| String::from("podman has no configuration: golang-github-containers-common is not installed"))
}

/// podman with files of its own. Dropping this value removes its containers and their cgroups.
pub(super) struct Podman<'a> {
    pub(super) test_cgroup: &'a TestCgroup,
    pub(super) files: TempDir,
    /// Whether podman runs as [`NOBODY`].
    is_rootless: bool,
}

impl<'a> Podman<'a> {
    /// Creates an image with one program, `/bin/sockets`.
    pub(super) fn new(test_cgroup: &'a TestCgroup) -> Self {
        Self::with_rights(test_cgroup, false)
    }

    /// As [`Self::new`], without root.
    pub(super) fn rootless(test_cgroup: &'a TestCgroup) -> Self {
        Self::with_rights(test_cgroup, true)
    }

    fn with_rights(test_cgroup: &'a TestCgroup, is_rootless: bool) -> Self {
        let files = TempDir::new().expect("a temporary directory");
        let path = files.path();
        fs::write(path.join("containers.conf"), CONFIGURATION).expect("a file of the test");
        fs::create_dir_all(path.join("image/bin")).expect("a directory of the test");
        let program = static_target(Libc::Host, "sockets.c");
        fs::copy(program, path.join("image/bin/sockets")).expect("a file of the test");
        let archive = path.join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("--create")
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(path.join("image"))
            .arg(".");
        assert!(output_within(LIMIT, &mut tar).status.success());
        let podman = Self {
            test_cgroup,
            files,
            is_rootless,
        };
        if is_rootless {
            let run = podman.files.path().join("run");
            fs::create_dir(&run).expect("a directory of the test");
            for path in [podman.files.path(), &run] {
                chown(path, Some(65534), Some(65534)).expect("root may");
            }
        }
        podman.succeeds(&["import", archive.to_str().expect("UTF-8"), "localhost/sockets"]);
        podman
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let files = self.files.path();
        let mut command = if self.is_rootless {
            let [first, words @ ..] = NOBODY;
            let mut command = self.test_cgroup.inside(first);
            command.args(words).arg("podman");
            command
                .env("HOME", files)
                .env("XDG_RUNTIME_DIR", files.join("run"))
                .current_dir("/");
            command
        } else {
            self.test_cgroup.inside("podman")
        };
        command.env("CONTAINERS_CONF", files.join("containers.conf"));
        let hooks = files.join(HOOKS);
        if hooks.is_dir() {
            command.arg("--hooks-dir").arg(hooks);
        }
        command.args(["--storage-driver=vfs"]).args(args);
        command
    }

    pub(super) fn output(&self, args: &[&str]) -> Output {
        output_within(LIMIT, &mut self.command(args))
    }

    #[track_caller]
    pub(super) fn succeeds(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        text(&output.stdout).trim_end().to_owned()
    }

    /// Creates a container with this name, which opens a connection when its standard input ends. Returns its id.
    fn create(&self, name: &str, port: &str) -> String {
        let parent = self.test_cgroup.name();
        self.succeeds(
            &[
                &["create", "--interactive", "--name", name, "--cgroup-parent", &parent][..],
                &["localhost/sockets", "/bin/sockets", "hold", "tcp", port, "show"],
            ]
            .concat(),
        )
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        self.output(&["rm", "--all", "--force", "--time=0"]);
        self.test_cgroup.remove_in_other_trees();
    }
}

/// Starts the container, and lets it connect once the watching command reports the policy.
fn connection_after_start(podman: &Podman<'_>, watch: &mut Watch, name: &str, id: &str) -> String {
    let mut container = LinePeer::start(&mut podman.command(&["start", "--attach", "--interactive", name]));
    watch.wait_for_line(&format!("{}/libpod-{id}: active", podman.test_cgroup.name()));
    assert_eq!(container.answer(), "holding");
    let pid = podman.succeeds(&["inspect", "--format={{.State.Pid}}", name]);
    let path = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    assert!(path.contains(&format!("libpod-{id}")), "{path}");
    container.finish();
    assert_eq!(container.answer(), "connect: 0");
    let has = container.answer();
    assert!(container.wait_for_end().success());
    has
}

/// Returns a listener, and the word that makes `sockets` connect to it.
pub(super) fn listening() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("an address").port();
    (listener, format!("connect={port}"))
}

#[test]
fn policy_follows_a_container_of_podman_over_restarts() {
    let test_cgroup = containers!();
    podman!();
    let (_listener, port) = listening();
    let podman = Podman::new(&test_cgroup);
    let mut watch = Watch::start(&test_cgroup, &[&["--container=web"], &POLICY[..]].concat());
    let has_policy = format!("tcp: {POLICY_VALUES}");
    for _ in 0..2 {
        let id = podman.create("web", &port);
        for _ in 0..3 {
            assert_eq!(connection_after_start(&podman, &mut watch, "web", &id), has_policy);
        }
        podman.succeeds(&["rm", "web"]);
    }
    watch.end(Signal::TERM);
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn executed_process_has_the_policy_of_the_container() {
    let test_cgroup = containers!();
    podman!();
    let (_listener, port) = listening();
    let podman = Podman::new(&test_cgroup);
    let id = podman.create("web", &port);
    let mut container = LinePeer::start(&mut podman.command(&["start", "--attach", "--interactive", "web"]));
    assert_eq!(container.answer(), "holding");
    let enabled = test_cgroup.quiet(&[&["cgroup", "enable", "--container=web"], &POLICY[..]].concat());
    assert_eq!(enabled, format!("{}/libpod-{id}: active\n", test_cgroup.name()));
    let printed = podman.succeeds(&["exec", "web", "/bin/sockets", "tcp", &port, "show"]);
    assert_eq!(printed, format!("connect: 0\ntcp: {POLICY_VALUES}"));
    let pid = podman.succeeds(&["inspect", "--format={{.State.Pid}}", "web"]);
    let findings = text(&test_cgroup.output(&["doctor", "--pid", &pid]).stdout);
    let findings = findings.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = format!("container: the process is in one: web (podman {})", &id[..12]);
    assert!(findings.contains(&expected), "{expected}: {findings}");
    container.finish();
    assert!(container.wait_for_end().success());
}

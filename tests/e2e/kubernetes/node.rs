//! A node without Kubernetes: a tree of cgroups, a bpffs and pods of the test, and a container runtime (crun) that runs
//! the image according to the manifests. The node has its own mounts; the machine's are unchanged.

mod runtime_config;

use super::image::Image;
use super::words;
use crate::support::find_program;
use crate::support::line_peer::LinePeer;
use crate::support::process::{LIMIT, Running, eventually, output_within, text};
use crate::support::py_peer::PyPeer;
use keepalive_policy::SocketOption;
use keepalive_sys::sockopt;
use runtime_config::runtime_config;
use serde_json::{Value, json};
use std::env::consts::ARCH;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, id};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// The file from which container runtimes make their default profile (containers-common).
const PROFILE: &str = "/usr/share/containers/seccomp.json";

/// Returns why a node is impossible here, if it is.
pub fn missing() -> Option<String> {
    for needed in ["make", "buildah", "crun", "tar", "unshare", "nsenter", "mount", "ip"] {
        if find_program(needed).is_none() {
            return Some(format!("{needed} is not installed"));
        }
    }
    if !Path::new(PROFILE).is_file() {
        return Some(format!("{PROFILE} is not installed"));
    }
    if architecture().is_none() {
        return Some(format!("the profile's name of {ARCH} is not known"));
    }
    if super::image::static_command().is_none() {
        return Some("the command is not linked statically; run make static".to_owned());
    }
    cgroups().is_none().then(|| "there is no cgroup v2".to_owned())
}

/// Returns where the machine has mounted cgroup v2.
fn cgroups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        (fields.next() == Some("cgroup2")).then(|| PathBuf::from(path))
    })
}

/// Returns the architecture's name in the profile, and in a runtime's configuration.
fn architecture() -> Option<(&'static str, &'static str)> {
    match ARCH {
        "x86_64" => Some(("amd64", "SCMP_ARCH_X86_64")),
        "aarch64" => Some(("arm64", "SCMP_ARCH_AARCH64")),
        _ => None,
    }
}

/// Returns a number that this process has not used before.
fn next() -> u32 {
    static NUMBERS: AtomicU32 = AtomicU32::new(0);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// Creates the node's mounts, as systemd does, and keeps them.
const PREPARE: &str = r#"mount --bind "$1" /sys/fs/cgroup && mount -t bpf -o mode=700 bpf /sys/fs/bpf &&
    echo ready && exec cat"#;

/// Joins a cgroup, which becomes the root of the container's cgroup namespace, and executes a command.
const JOIN: &str = r#"echo $$ >/sys/fs/cgroup/runtime/cgroup.procs && exec "$@""#;

/// No limits are applied: cgroup v2 does not have its controllers where v1 has them.
const RUNTIME_OPTION: &str = "--cgroup-manager=disabled";

/// A node. All its processes end with it.
pub struct Node {
    directory: TempDir,
    /// Its tree of cgroups, by its path on the machine.
    tree: PathBuf,
    /// The program that keeps its mounts.
    keeper: LinePeer,
}

impl Node {
    /// Creates a node without pods, and without their cgroup. The policy in its ConfigMap is `policy`.
    pub fn new(policy: &str) -> Self {
        let name = format!("keepalive-e2e-{}-{}", id(), next());
        let tree = cgroups().expect("it was there").join(name);
        fs::create_dir_all(tree.join("runtime")).unwrap_or_else(|error| panic!("{}: {error}", tree.display()));
        let mut keeper = Command::new("unshare");
        keeper.args(["--mount", "--propagation", "private", "sh", "-c", PREPARE, "sh"]);
        let mut node = Self {
            directory: TempDir::new().expect("a temporary directory"),
            keeper: LinePeer::start(keeper.arg(&tree)),
            tree,
        };
        assert_eq!(node.keeper.answer(), "ready", "a node cannot be made");
        node.publish(policy);
        node
    }

    /// Returns the command of a program in the node's mount namespace.
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.keeper.pid()));
        command.args(["--", program]);
        command
    }

    /// Returns the files in the node's bpffs, relative to it.
    pub fn pinned(&self) -> Vec<String> {
        let mut find = self.inside("find");
        find.args([
            "/sys/fs/bpf",
            "-mindepth",
            "1",
            "-not",
            "-name",
            "*.debug",
            "-printf",
            "%P\\n",
        ]);
        let listed = super::run_successfully(&mut find);
        listed.lines().map(str::to_owned).collect()
    }

    /// Creates a cgroup. Returns its path.
    pub fn cgroup(&self, path: &str) -> PathBuf {
        let path = self.tree.join(path);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Removes a cgroup without processes, and those below it.
    pub fn remove_cgroup(&self, path: &str) {
        remove(&self.tree.join(path));
    }

    /// Starts a pod with an open listener.
    pub fn pod(&self, parent: &str, name: &str) -> Pod {
        let cgroup = self.cgroup(&format!("{parent}/{parent}-burstable.slice/{name}/container"));
        let join = format!(
            "echo $$ >{}/cgroup.procs && ip link set lo up && exec \"$@\"",
            cgroup.display()
        );
        let mut program = PyPeer::under(&["unshare", "--net", "sh", "-c", &join, "sh"]);
        program.execute("listener = listen()");
        Pod {
            program: Some(program),
            cgroup: cgroup.parent().expect("it is in a directory").to_owned(),
        }
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    /// Writes this text into the ConfigMap, and updates the node as the kubelet does: the file is a link through a link
    /// to a directory, and the second link is replaced.
    pub fn publish(&self, policy: &str) {
        let config = self.config();
        let version = format!("..{}", next());
        fs::create_dir_all(config.join(&version)).expect("a directory of the test");
        fs::write(config.join(&version).join("keepalive.conf"), policy).expect("a file of the test");
        let old = fs::read_link(config.join("..data")).ok();
        symlink(&version, config.join("..data_tmp")).expect("a link of the test");
        fs::rename(config.join("..data_tmp"), config.join("..data")).expect("a link of the test");
        if let Some(old) = old {
            fs::remove_dir_all(config.join(old)).expect("a directory of the test");
        } else {
            symlink("..data/keepalive.conf", config.join("keepalive.conf")).expect("a link of the test");
        }
    }

    /// Runs the image's entry point with these arguments, according to this pod specification.
    pub fn run(&self, image: &Image, pod: &Value, arguments: &[&str]) -> Container<'_> {
        let name = format!("container-{}", next());
        let bundle = self.directory.path().join(&name);
        fs::create_dir(&bundle).expect("a directory of the test");
        let config = runtime_config(image, pod, arguments, &self.config());
        fs::write(bundle.join("config.json"), config.to_string()).expect("a file of the test");
        let log = bundle.join("log");
        let output = File::create(&log).expect("a file of the test");
        let mut command = self.inside("sh");
        command
            .args(["-c", JOIN, "sh", "crun", RUNTIME_OPTION])
            .arg(self.state());
        command.args(["run", "--bundle"]).arg(&bundle).arg(&name);
        command.stderr(output.try_clone().expect("a descriptor")).stdout(output);
        Container {
            running: Running::start(&mut command),
            node: self,
            name,
            log,
        }
    }

    /// Returns the runtime's command.
    fn crun(&self) -> Command {
        let mut command = self.inside("crun");
        command.arg(RUNTIME_OPTION).arg(self.state());
        command
    }

    fn state(&self) -> String {
        format!("--root={}", self.directory.path().join("state").display())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::write(self.tree.join("cgroup.kill"), "1");
        remove(&self.tree);
    }
}

/// Removes a cgroup and those below it, as soon as their processes have ended.
fn remove(cgroup: &Path) {
    for child in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&child.path());
        }
    }
    eventually(&format!("the end of {}", cgroup.display()), LIMIT, || {
        (!cgroup.exists() || fs::remove_dir(cgroup).is_ok()).then_some(())
    });
}

/// The pod of a workload: a program with its own network and cgroup.
pub struct Pod {
    program: Option<PyPeer>,
    cgroup: PathBuf,
}

impl Pod {
    pub fn program(&mut self) -> &mut PyPeer {
        self.program.as_mut().expect("it runs until the end")
    }

    /// Opens a connection to itself. Returns the options of the connecting and the accepting end.
    #[track_caller]
    pub fn opens(&mut self) -> [String; 2] {
        self.program().execute("client, accepted = pair(listener)");
        self.has()
    }

    /// Returns the options of both ends of the latest connection.
    #[track_caller]
    pub fn has(&mut self) -> [String; 2] {
        let program = self.program();
        let pid = program.pid();
        program.fds(["client", "accepted"]).map(|fd| show(pid, fd))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.program = None;
        remove(&self.cgroup);
    }
}

/// Returns keepalive, idle, interval and count of a descriptor of `pid`.
#[track_caller]
fn show(pid: u32, fd: i32) -> String {
    let socket = sockopt::duplicate(pid, fd).unwrap_or_else(|error| panic!("descriptor {fd} of {pid}: {error}"));
    let numbers = sockopt::numbers(socket).expect("a TCP socket");
    let number = |option| numbers.get(option).unwrap_or_default();
    let [idle, interval, count] = [SocketOption::Idle, SocketOption::Interval, SocketOption::Count].map(number);
    format!("{} {idle} {interval} {count}", u32::from(numbers.is_on()))
}

/// A container on the node. Dropping this value kills it.
pub struct Container<'a> {
    running: Running,
    node: &'a Node,
    name: String,
    log: PathBuf,
}

impl Container<'_> {
    /// Returns what `kubectl logs` would show.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("a file of the test")
    }

    #[track_caller]
    pub fn wait_for_log(&mut self, what: &str) {
        eventually(what, LIMIT, || {
            let log = self.log();
            assert!(log.contains(what) || !self.running.has_ended(), "it ended: {log}");
            log.contains(what).then_some(())
        });
    }

    /// Runs a command in the container, as `kubectl exec` and probes do.
    pub fn exec(&self, command: &[&str]) -> Output {
        output_within(LIMIT, self.node.crun().args(["exec", &self.name]).args(command))
    }

    /// Returns a command, without a program, that enters the network of the container.
    #[track_caller]
    pub fn in_its_network(&self) -> Command {
        let state = super::run_successfully(self.node.crun().args(["state", &self.name]));
        let state: Value = serde_json::from_str(&state).expect("JSON");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", state["pid"])).arg("--");
        command
    }

    fn is_ready(&self, pod: &Value) -> Output {
        self.exec(&words(&pod["containers"][0]["readinessProbe"]["exec"]["command"]))
    }

    /// Waits until the pod's probe succeeds.
    #[track_caller]
    pub fn wait_until_ready(&mut self, pod: &Value) {
        eventually("that it is ready", LIMIT, || {
            assert!(!self.running.has_ended(), "it ended: {}", self.log());
            self.is_ready(pod).status.success().then_some(())
        });
    }

    /// Waits until the container runs, and returns the result of the probe.
    #[track_caller]
    pub fn probe(&mut self, pod: &Value) -> Output {
        eventually("its start", LIMIT, || {
            assert!(!self.running.has_ended(), "it ended: {}", self.log());
            let state = output_within(LIMIT, self.node.crun().args(["state", &self.name]));
            text(&state.stdout).contains("\"running\"").then_some(())
        });
        self.is_ready(pod)
    }

    fn signal(&self, signal: &str) {
        super::run_successfully(self.node.crun().args(["kill", &self.name, signal]));
    }

    /// Sends SIGTERM, as when a pod is deleted. Returns the status and the log.
    #[track_caller]
    pub fn terminate(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let status = self.running.wait_for_end();
        (status, self.log())
    }

    /// Sends SIGKILL, as when a pod is out of memory.
    #[track_caller]
    pub fn kill(mut self) {
        self.signal("KILL");
        self.running.wait_for_end();
    }

    #[track_caller]
    pub fn wait_for_end(mut self) -> (ExitStatus, String) {
        let status = self.running.wait_for_end();
        (status, self.log())
    }
}

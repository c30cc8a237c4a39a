//! Pods of containerd, which runs as on a node. A client of the Container Runtime Interface stands for the kubelet.

use super::{Plugin, Pod, Runtime, churn, policies, wait_until_ready, wait_until_unready};
use crate::support::line_peer::LinePeer;
use crate::support::process::{LIMIT, eventually, output_within};
use crate::support::target::{KERNEL_DEFAULTS, Libc, POLICY_VALUES, static_target};
use crate::support::test_cgroup::{BPF_FILE_SYSTEM, TestCgroup};
use crate::support::{PYTHON, find_program, repository};
use keepalive_sys::cgroup;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// containerd 1.7 has the Node Resource Interface, and leaves it off. The limits need a capability.
const CONFIGURATION: &str = r#"
version = 2
root = "FILES/root"
state = "FILES/state"
[grpc]
address = "FILES/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "FILES/opt"
[plugins."io.containerd.nri.v1.nri"]
disable = false
socket_path = "FILES/nri.sock"
plugin_path = "FILES/plugins"
plugin_config_path = "FILES/conf.d"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/test:1"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#;

/// The image of sandboxes and containers.
const IMAGE: &str = "localhost/test:1";

/// Returns from the test where containerd cannot run; else creates its cgroup.
macro_rules! containerd {
    () => {{
        root!();
        python!();
        if let Some(missing) = missing() {
            skip!("{missing}");
        }
        match TestCgroup::prepared(&format!("{BPF_FILE_SYSTEM}; mount -t tmpfs tmpfs /run")) {
            Ok(test_cgroup) => test_cgroup,
            Err(why) => skip!("{why}"),
        }
    }};
}

/// Returns the directory of containerd's programs: those of trixie, as bookworm's has no Node Resource Interface, or
/// another version's.
fn programs() -> PathBuf {
    std::env::var_os("KEEPALIVE_TEST_CONTAINERD")
        .map_or_else(|| repository().join("target/containerd/usr/bin"), PathBuf::from)
}

/// Returns whether the text is `before` and the name of a containerd with the Node Resource Interface.
fn names_the_runtime(text: &str, before: &str) -> bool {
    let name = text.strip_prefix(before).unwrap_or_default();
    ["containerd 1.7.", "containerd 2."]
        .iter()
        .any(|version| name.starts_with(version))
}

fn missing() -> Option<String> {
    if !programs().join("containerd").is_file() {
        return Some("there is no containerd of trixie; run scripts/test-deps".to_owned());
    }
    if find_program("runc").is_none() {
        return Some("runc is not installed".to_owned());
    }
    let imported = Command::new(PYTHON).args(["-c", "import grpc"]).output();
    let has_grpc = imported.is_ok_and(|output| output.status.success());
    (!has_grpc).then(|| "python3-grpcio is not installed".to_owned())
}

/// containerd with files of its own, and its client. Dropping this value ends everything.
struct Containerd<'a> {
    test_cgroup: &'a TestCgroup,
    files: TempDir,
    daemon: Option<LinePeer>,
    client: Option<LinePeer>,
    port: u16,
    /// The number of sandboxes so far, because no two of a pod may have the same number.
    attempts: u32,
    _listener: TcpListener,
}

impl<'a> Containerd<'a> {
    /// Starts containerd, and creates its image.
    fn new(test_cgroup: &'a TestCgroup) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let files = TempDir::new().expect("a temporary directory");
        let path = files.path();
        let directory = path.to_str().expect("UTF-8");
        fs::write(path.join("config.toml"), CONFIGURATION.replace("FILES", directory)).expect("a file of the test");
        fs::create_dir_all(path.join("image/bin")).expect("a directory of the test");
        for source in ["sockets.c", "pause.c"] {
            let program = static_target(Libc::Host, source);
            let name = source.trim_end_matches(".c");
            fs::copy(program, path.join("image/bin").join(name)).expect("a file of the test");
        }
        fs::create_dir(path.join("bin")).expect("a directory of the test");
        for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
            symlink(programs().join(program), path.join("bin").join(program)).expect("a link of the test");
        }
        test_cgroup.child("runtime");
        let mut containerd = Self {
            test_cgroup,
            port: listener.local_addr().expect("an address").port(),
            attempts: 0,
            _listener: listener,
            daemon: None,
            client: None,
            files,
        };
        containerd.start();
        let archive = containerd.files.path().join("image.tar");
        let mut image = Command::new(PYTHON);
        image
            .arg(repository().join("tests/targets/image.py"))
            .arg(&archive)
            .arg(IMAGE);
        image.arg(containerd.files.path().join("image")).arg("/bin/pause");
        let output = output_within(LIMIT, &mut image);
        assert!(output.status.success(), "{output:?}");
        let mut import = containerd.inside("ctr");
        import
            .arg("--address")
            .arg(containerd.files.path().join("containerd.sock"));
        import.args(["--namespace=k8s.io", "images", "import"]).arg(&archive);
        let output = output_within(LIMIT, &mut import);
        assert!(output.status.success(), "{output:?}");
        containerd
    }

    /// Returns a command in the cgroup of containerd.
    fn inside(&self, program: &str) -> Command {
        let runtime = self.test_cgroup.directory().join("runtime");
        let mut command = self.test_cgroup.enter_into(&runtime, program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.files.path().join("bin").display()));
        command
    }

    /// Starts containerd and its client, and waits until it answers.
    fn start(&mut self) {
        let mut daemon = self.inside("sh");
        let log = self.files.path().join("log");
        daemon.args(["-c", r#"exec containerd --config "$0" >>"$1" 2>&1"#]);
        daemon.arg(self.files.path().join("config.toml")).arg(log);
        self.daemon = Some(LinePeer::start(&mut daemon));
        let mut client = self.inside(PYTHON);
        client.arg("-B").arg(repository().join("tests/targets/cri.py"));
        client.arg(self.files.path().join("containerd.sock"));
        self.client = Some(LinePeer::start(&mut client));
        assert_eq!(self.call(&json!({"call": "wait"})), "ready");
    }

    /// Ends containerd alone; its pods stay.
    fn end(&mut self) {
        self.client = None;
        if let Some(mut daemon) = self.daemon.take() {
            let pid = Pid::from_raw(daemon.pid().cast_signed()).expect("a process");
            kill_process(pid, Signal::TERM).expect("a child of the test");
            daemon.wait_for_end();
        }
    }

    /// Calls containerd. Returns the answer of `targets/cri.py`.
    #[track_caller]
    fn call(&mut self, request: &Value) -> String {
        let client = self.client.as_mut().expect("it runs");
        client.send_line(&request.to_string());
        let answer = client.answer();
        let log = || fs::read_to_string(self.files.path().join("log")).unwrap_or_default();
        assert!(
            !answer.is_empty() && !answer.starts_with("error"),
            "{request}: {answer}\n{}",
            log()
        );
        answer
    }

    fn describe(&self, pod: &Pod) -> Value {
        json!({
            "name": pod.name,
            "uid": pod.uid,
            "attempt": self.attempts,
            "namespace": pod.namespace,
            "labels": pod.labels,
            "annotations": pod.annotations,
            "cgroup": self.test_cgroup.name_of(&pod.directory),
            "logs": self.files.path().join("logs"),
        })
    }

    /// Returns the options of the first connection of a new container of the pod.
    fn first_connection(&mut self, pod: &Pod, sandbox: &str) -> String {
        let log = self.files.path().join("logs/connection");
        let _ = fs::remove_file(&log);
        let pod = self.describe(pod);
        let command = ["/bin/sockets", "tcp", &format!("connect={}", self.port), "show"];
        self.call(&json!({
            "call": "exec", "sandbox": sandbox, "pod": pod, "image": IMAGE, "command": command, "log": "connection",
        }));
        let lines = fs::read_to_string(&log).expect("a log");
        let shown = lines.lines().find_map(|line| line.split_once("tcp: "));
        shown.unwrap_or_else(|| panic!("{lines}")).1.to_owned()
    }
}

impl Runtime for Containerd<'_> {
    fn socket(&self) -> PathBuf {
        self.files.path().join("nri.sock")
    }

    fn run(&mut self, pod: &Pod) -> String {
        self.attempts += 1;
        let pod = self.describe(pod);
        self.call(&json!({"call": "run", "pod": pod}))
    }

    fn stop(&mut self, sandbox: &str) {
        self.call(&json!({"call": "stop", "sandbox": sandbox}));
    }

    fn remove(&mut self, sandbox: &str) {
        self.call(&json!({"call": "remove", "sandbox": sandbox}));
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        self.client = None;
        self.daemon = None;
        let _ = fs::write(self.test_cgroup.directory().join("cgroup.kill"), "1");
        self.test_cgroup.remove_in_other_trees();
    }
}

#[test]
fn first_connection_of_a_pod_has_its_policy() {
    let test_cgroup = containerd!();
    let mut containerd = Containerd::new(&test_cgroup);
    let file = containerd.files.path().join("pods.conf");
    fs::write(&file, "namespace shop label app=db idle=31s\nnamespace other off\n").expect("a file of the test");
    let pods = [
        "--pods",
        file.to_str().expect("UTF-8"),
        "--idle=60",
        "--interval=15",
        "--count=5",
    ];
    let mut plugin = Plugin::start(&test_cgroup, &containerd.socket(), &pods);
    let connected = plugin.wait_for("connected to");
    assert!(names_the_runtime(&connected, "keepalive: connected to "), "{connected}");
    let annotated = Pod::new(&test_cgroup, "annotated", Some("idle=61s interval=13s count=4"));
    let labelled = Pod {
        labels: json!({"app": "db", "tier": "data"}),
        ..Pod::new(&test_cgroup, "labelled", None)
    };
    let other = Pod {
        namespace: "other",
        ..Pod::new(&test_cgroup, "other", None)
    };
    let default = Pod::new(&test_cgroup, "default", Some(""));
    let plain = Pod::new(&test_cgroup, "plain", None);
    let wrong = Pod::new(&test_cgroup, "wrong", Some("idle=30x"));
    // The policy of the node.
    test_cgroup.enable(&["--idle=41"]);
    let mut sandboxes = Vec::new();
    for (pod, values) in [
        (&annotated, POLICY_VALUES),
        (&labelled, "1 31 15 5 0"),
        (&other, KERNEL_DEFAULTS),
        (&default, "1 60 15 5 0"),
        (&plain, "1 41 75 9 0"),
        (&wrong, "1 41 75 9 0"),
    ] {
        let sandbox = containerd.run(pod);
        assert_eq!(containerd.first_connection(pod, &sandbox), values, "{}", pod.name);
        sandboxes.push(sandbox);
    }
    let message = plugin.wait_for("shop/wrong");
    let expected = "keepalive: pod shop/wrong has no policy of its own: annotation keepalive.io/policy: 'idle=30x': unknown unit after the number";
    assert_eq!(message, expected);
    for sandbox in &sandboxes {
        containerd.stop(sandbox);
        containerd.remove(sandbox);
    }
    let node = ["in-force", "", "idle=41s"].map(str::to_owned);
    assert_eq!(policies(&test_cgroup), [node]);
    assert_eq!(plugin.end(Signal::TERM), Some(0));
}

#[test]
fn restarts_of_plugin_and_runtime_lose_no_policy() {
    let test_cgroup = containerd!();
    let mut containerd = Containerd::new(&test_cgroup);
    let [first, second, third] = [("first", "idle=61s"), ("second", "idle=62s"), ("third", "idle=63s")]
        .map(|(name, policy)| Pod::new(&test_cgroup, name, Some(policy)));
    let mut plugin = Plugin::start(&test_cgroup, &containerd.socket(), &[]);
    plugin.wait_for("connected to");
    let one = containerd.run(&first);
    let two = containerd.run(&second);
    plugin.end(Signal::KILL);
    let policy = |name: &str, idle: &str| ["in-force", &format!("pod shop/{name}"), idle].map(str::to_owned);
    assert_eq!(
        policies(&test_cgroup),
        [policy("first", "idle=61s"), policy("second", "idle=62s")]
    );
    assert_eq!(containerd.first_connection(&first, &one), "1 61 75 9 0");
    // While there is no plugin, a pod starts and another one ends.
    let three = containerd.run(&third);
    assert_eq!(containerd.first_connection(&third, &three), KERNEL_DEFAULTS);
    containerd.stop(&one);
    containerd.remove(&one);
    let mut plugin = Plugin::start(&test_cgroup, &containerd.socket(), &[]);
    plugin.wait_for("pod shop/third: active");
    assert_eq!(
        policies(&test_cgroup),
        [policy("second", "idle=62s"), policy("third", "idle=63s")]
    );
    assert_eq!(containerd.first_connection(&third, &three), "1 63 75 9 0");

    containerd.end();
    plugin.wait_for("waiting for the runtime at");
    assert_eq!(
        policies(&test_cgroup),
        [policy("second", "idle=62s"), policy("third", "idle=63s")]
    );
    containerd.start();
    plugin.wait_for("connected to");
    assert_eq!(containerd.first_connection(&second, &two), "1 62 75 9 0");
    // This containerd does not report the end of pods that are older than its start. The kubelet removes their cgroups.
    for (pod, sandbox) in [(second, two), (third, three)] {
        containerd.stop(&sandbox);
        containerd.remove(&sandbox);
        cgroup::remove(&pod.directory).expect("no process is in it");
    }
    eventually("the policies are removed", LIMIT, || {
        test_cgroup.pins().is_empty().then_some(())
    });
}

#[test]
fn plugin_is_ready_while_containerd_has_it() {
    let test_cgroup = containerd!();
    let mut containerd = Containerd::new(&test_cgroup);
    let socket = containerd.socket();
    wait_until_unready(&test_cgroup, &socket, "no keepalive nri runs in this container\nhint: ");
    let plugin = Plugin::start(&test_cgroup, &socket, &[]);
    let ready = wait_until_ready(&test_cgroup, &socket);
    assert!(
        names_the_runtime(&ready, "ready: registered with ") && ready.contains(" and synchronized, since 20"),
        "{ready}"
    );
    let pod = Pod::new(&test_cgroup, "web", Some("idle=61s"));
    let sandbox = containerd.run(&pod);
    containerd.end();
    let waiting = format!("waiting for the runtime at {}: ", socket.display());
    wait_until_unready(&test_cgroup, &socket, &waiting);
    containerd.start();
    wait_until_ready(&test_cgroup, &socket);
    plugin.end(Signal::KILL);
    wait_until_unready(&test_cgroup, &socket, "no keepalive nri runs in this container\nhint: ");
    let _plugin = Plugin::start(&test_cgroup, &socket, &[]);
    wait_until_ready(&test_cgroup, &socket);
    assert_eq!(containerd.first_connection(&pod, &sandbox), "1 61 75 9 0");
    containerd.stop(&sandbox);
    containerd.remove(&sandbox);
    cgroup::remove(&pod.directory).expect("no process is in it");
    eventually("the policy is removed", LIMIT, || {
        test_cgroup.pins().is_empty().then_some(())
    });
}

#[test]
fn no_pod_of_containerd_has_the_policy_of_another_after_restarts_under_churn() {
    let test_cgroup = containerd!();
    let mut containerd = Containerd::new(&test_cgroup);
    churn::restart_under_churn(&test_cgroup, &mut containerd);
}

/// Without a plugin: the id of a container, or its beginning, selects its cgroup.
#[test]
fn container_of_containerd_has_the_policy_of_its_id() {
    let test_cgroup = containerd!();
    let mut containerd = Containerd::new(&test_cgroup);
    let pod = Pod::new(&test_cgroup, "web", None);
    let sandbox = containerd.run(&pod);
    let selected = ["--container", &sandbox[..12]];
    let times = ["--idle=61", "--interval=13", "--count=4"];
    test_cgroup.quiet(&[&["cgroup", "enable"][..], &selected, &times].concat());
    let mut program = test_cgroup.py_peer_in(&pod.directory.join(&sandbox), &[]);
    program.execute("client, accepted = pair(listen())");
    assert_eq!(program.has("client"), POLICY_VALUES);
    drop(program);
    test_cgroup.quiet(&[&["cgroup", "disable"][..], &selected].concat());
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    containerd.stop(&sandbox);
    containerd.remove(&sandbox);
}

//! Where the command lines of the documents run: with the hosts, programs, processes and files that they speak of, in
//! namespaces in which they can do no harm.

use crate::support::line_peer::LinePeer;
use crate::support::observe::family;
use crate::support::process::{install, output_within, text};
use crate::support::{keepalive, repository};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, id};
use std::time::Duration;
use tempfile::TempDir;

/// Programs that are nothing but clients of the server there: they fail where their connection has no keepalive.
const CLIENTS: [&str; 16] = [
    "COMMAND",
    "bash",
    "docker",
    "dotnet",
    "erl",
    "java",
    "job",
    "kubectl",
    "nginx",
    "node",
    "php",
    "psql",
    "redis-server",
    "rsync",
    "ssh",
    "sshd",
];

const CLIENT: &str = r#"#!/usr/bin/python3 -IS
import socket
end = socket.create_connection(("db.example.com", 5432))
if not end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
    raise SystemExit("the connection has no keepalive")
"#;

/// The server; a connection of its own is open at both ends, without keepalive.
const SERVER: &str = r#"
import socket
listener = socket.create_server(("", 5432))
ends = [socket.create_connection(("127.0.0.1", 5432)), listener.accept()[0]]
other = socket.create_server(("", 6379))
print("ready", flush=True)
while True:
    ends.append(listener.accept()[0])
"#;

/// In the namespaces, as their first process. $1 is the directory of the stage, with what is found below /etc and
/// /usr/local; what is written below /usr is gone afterwards, and nothing is written elsewhere. The cgroup in which this
/// runs is the root of the tree there.
const PREPARE: &str = r#"exec 2>&1; set -e
ip link set lo up
for address in 10.0.0.5/32 10.0.2.2/32; do ip address add $address dev lo; done
mount -t cgroup2 none /sys/fs/cgroup
mount -t bpf none /sys/fs/bpf
mount -t tmpfs none /run
mkdir /run/upper /run/work
mount -t overlay -o lowerdir=/usr,upperdir=/run/upper,workdir=/run/work none /usr
# The documents are about a machine with programs of one kind, whatever else is installed here.
for loader in /usr/lib*/ld-linux*; do
    case $loader in *-"$(uname -m | tr _ -)"*) ;; *) rm -f "$loader" ;; esac
done
mount --bind "$1/usr/local" /usr/local
mount --bind "$1/etc" /etc
mount -t tmpfs none /tmp
mount -t tmpfs none /run
# As if systemd ran; systemctl does nothing.
mkdir -p /run/systemd/system
mount -o remount,bind,ro /
mkdir /sys/fs/cgroup/system.slice
# A container of nerdctl.
web=$(printf %064d 1)
bundle=/run/containerd/io.containerd.runtime.v2.task/default/$web
mkdir -p "/sys/fs/cgroup/default/$web" "$bundle"
echo '{"annotations":{"nerdctl/name":"web"},"linux":{}}' >"$bundle/config.json"
echo ready
# Whoever ends is gone at once, without being waited for.
exec env --ignore-signal=CHLD cat
"#;

/// One line, in the namespaces and in the cgroup; the server has the process number 4242 that documents speak of.
const RUN: &str = r#"
cd /usr/local/work
echo 0 >/sys/fs/cgroup/cgroup.procs
if ! [ -e /proc/4242 ]; then
    rm -f ready; mkfifo ready
    echo 4241 >/proc/sys/kernel/ns_last_pid
    postgres -IS -c "$2" >ready 2>&1 &
    read -r answer <ready
    [ "$answer" = ready ] && [ -e /proc/4242 ] || { echo "the server says: $answer, not as process 4242" >&2; exit 99; }
fi
# What a line before has done for all programs is no help to this one.
case $1 in *system*) ;; *) [ ! -e /etc/ld.so.preload ] || keepalive system disable >/dev/null 2>&1 ;; esac
case $1 in *cgroup*) ;; *) keepalive cgroup disable / /system.slice >/dev/null 2>&1 ;; esac
exec sh -c "$1"
"#;

/// It and all that runs there are gone when this is dropped.
pub struct Stage {
    keeper: LinePeer,
    cgroup: PathBuf,
    _directory: TempDir,
}

impl Stage {
    /// # Errors
    /// Why there can be none.
    pub fn new() -> Result<Self, String> {
        let directory = furnish();
        let tree = keepalive_sys::cgroup::Tree::find().map_err(|why| format!("there is no cgroup v2: {why:?}"))?;
        let cgroup = tree.mount().join(format!("keepalive-documentation-{}", id()));
        fs::create_dir(&cgroup).map_err(|error| format!("{}: {error}", cgroup.display()))?;
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"echo 0 >"$0/cgroup.procs" && exec "$@""#])
            .arg(&cgroup)
            .args([
                "unshare",
                "--cgroup",
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["sh", "-c", PREPARE, "sh"])
            .arg(directory.path());
        let mut keeper = LinePeer::start(&mut command);
        let answer = keeper.answer();
        let stage = Self {
            keeper,
            cgroup,
            _directory: directory,
        };
        if answer != "ready" {
            return Err(format!("there can be no stage: {answer}"));
        }
        // In the cgroup are processes of the stage alone.
        let here = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let here = here
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .unwrap_or_default();
        let members = tree.mount().join(here).join("cgroup.procs");
        fs::write(&members, stage.keeper.pid().to_string())
            .map_err(|error| format!("{}: {error}", members.display()))?;
        Ok(stage)
    }

    /// Asserts that nothing written there is seen here, so that no document can change this machine.
    pub fn assert_sealed(&mut self) {
        const FILE: &str = "/usr/lib/written-by-a-test-of-keepalive";
        let output = self.run(&format!("touch {FILE}; ls {FILE}; touch /written /var/written"));
        let is_here = Path::new(FILE).exists();
        let written = text(&output.stdout);
        assert!(
            !is_here && written.trim() == FILE && !output.status.success(),
            "{output:?}"
        );
    }

    /// Runs a line of shell.
    pub fn run(&mut self, line: &str) -> Output {
        let first = family(self.keeper.pid())
            .into_iter()
            .find(|pid| *pid != self.keeper.pid())
            .expect("the first process of the namespaces");
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={first}"))
            .args(["--cgroup", "--net", "--mount", "--pid", "--"])
            .args([
                "env",
                "-i",
                "PATH=/usr/local/bin:/usr/local/stand-ins:/usr/sbin:/usr/bin:/sbin:/bin",
            ])
            .args(["sh", "-c", RUN, "sh", line, SERVER]);
        output_within(Duration::from_secs(60), &mut command)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.keeper.finish();
        self.keeper.wait_for_end();
        let _ = keepalive_sys::cgroup::remove(&self.cgroup);
    }
}

/// The files: what `make install` installs, with the command under test, and stand-ins for what else is called.
fn furnish() -> TempDir {
    let directory = TempDir::new().expect("a temporary directory");
    let root = directory.path();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("a directory of the test");
    let mut make = Command::new("make");
    make.args(["--silent", "install", "PREFIX=/usr/local"])
        .arg(format!("DESTDIR={}", root.display()))
        .current_dir(repository());
    let output = output_within(Duration::from_secs(60), &mut make);
    assert!(output.status.success(), "{output:?}");
    install(&keepalive(), &root.join("usr/local/bin/keepalive"), 0o755);
    for name in ["usr/local/stand-ins", "usr/local/work", "etc/systemd/system"] {
        fs::create_dir_all(root.join(name)).expect("a directory");
    }
    let write = |name: &str, content: &str| fs::write(root.join(name), content).expect("a file");
    let program = |name: &str, content: &str| {
        write("program", content);
        install(&root.join("program"), &root.join(name), 0o755);
    };
    for name in CLIENTS {
        program(&format!("usr/local/stand-ins/{name}"), CLIENT);
    }
    program("usr/local/work/job", CLIENT);
    program("usr/local/work/client.py", CLIENT);
    program("usr/local/stand-ins/systemctl", "#!/bin/sh\n");
    program("usr/local/stand-ins/sudo", "#!/bin/sh\nexec \"$@\"\n");
    symlink(crate::support::PYTHON, root.join("usr/local/stand-ins/postgres")).expect("a link");
    write(
        "etc/hosts",
        "127.0.0.1 localhost\n10.0.0.5 db.example.com redis.example.com\n",
    );
    write("etc/nsswitch.conf", "hosts: files\n");
    write("etc/passwd", "root:x:0:0:root:/:/bin/sh\n");
    write("etc/keepalive.conf", "default idle=60s interval=10s count=6\n");
    write(
        "etc/systemd/system/nginx.service",
        "[Service]\nExecStart=/usr/local/stand-ins/postgres\n",
    );
    // Without it the loader looks through all directories.
    let _ = fs::copy("/etc/ld.so.cache", root.join("etc/ld.so.cache"));
    directory
}

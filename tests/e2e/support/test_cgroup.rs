//! Creates a cgroup and a private BPF file system, in which a test applies policies of the cgroup engine.

use super::line_peer::LinePeer;
use super::process::{LIMIT, output_within, text, within};
use super::py_peer::PyPeer;
use super::target::no_config;
use super::{find_program, keepalive};
use keepalive_sys::bpf::call::{Attached, Hook, program_by_id, programs};
use keepalive_sys::cgroup::{self, Tree};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, id};
use std::sync::atomic::{AtomicU32, Ordering};

/// For [`TestCgroup::prepared`]: no BPF file system is mounted, as on machines without systemd.
pub const NO_BPF_FILE_SYSTEM: &str = "umount --all --types bpf";

/// The preparation of [`TestCgroup::new`].
pub const BPF_FILE_SYSTEM: &str = "mount -t bpf bpf /sys/fs/bpf";

/// Joins the cgroup in `$0`; "0" is the process that writes it.
const JOIN: &str = r#"echo 0 > "$0/cgroup.procs" && exec "$@""#;

/// The cgroup and the namespace. Dropping this value removes both, and kills all processes in the cgroup and below.
pub struct TestCgroup {
    /// Holds the mount namespace.
    keeper: LinePeer,
    mount: PathBuf,
    directory: PathBuf,
}

impl TestCgroup {
    /// # Errors
    /// Why a cgroup is impossible here.
    pub fn new() -> Result<Self, String> {
        Self::prepared(BPF_FILE_SYSTEM)
    }

    /// Creates the cgroup, and a mount namespace in which these lines of shell were executed.
    ///
    /// # Errors
    /// Why a cgroup is impossible here.
    pub fn prepared(lines: &str) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let tree = Tree::find().map_err(|why| format!("there is no cgroup v2: {why:?}"))?;
        let file_systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if !file_systems.lines().any(|line| line.ends_with("\tbpf")) {
            return Err("this kernel has no BPF file system".to_owned());
        }
        let script = format!("exec 2>&1; set -e; {lines}\necho ready; exec cat");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        let mut keeper = LinePeer::start(&mut command);
        let answer = keeper.answer();
        if answer != "ready" {
            return Err(format!("the mount namespace cannot be prepared: {answer}"));
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = tree.mount().join(format!("keepalive-test-{}-{number}", id()));
        fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(Self {
            keeper,
            mount: tree.mount().to_owned(),
            directory,
        })
    }

    /// Returns the directory of the cgroup.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the path of the cgroup in the tree, as users write it.
    pub fn name(&self) -> String {
        self.name_of(&self.directory)
    }

    /// Returns the path of any cgroup in the tree.
    pub fn name_of(&self, directory: &Path) -> String {
        let inside = directory.strip_prefix(&self.mount).expect("a cgroup");
        format!("/{}", inside.display())
    }

    /// Creates a cgroup below this one. Returns its directory.
    pub fn child(&self, path: &str) -> PathBuf {
        let child = self.directory.join(path);
        fs::create_dir(&child).unwrap_or_else(|error| panic!("{}: {error}", child.display()));
        child
    }

    /// Removes the cgroups with the path of this one in the trees of version 1, where container runtimes leave them, once
    /// their processes have ended.
    pub fn remove_in_other_trees(&self) {
        let trees: Vec<_> = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().collect();
        let same = trees
            .iter()
            .map(|tree| tree.path().join(self.name().trim_start_matches('/')));
        let same: Vec<PathBuf> = same.filter(|same| *same != self.directory).collect();
        within(LIMIT, || {
            let left = same
                .iter()
                .filter(|same| same.is_dir() && cgroup::remove(same).is_err());
            (left.count() == 0).then_some(())
        });
    }

    /// Returns the command of a program in the namespace, with only PATH and an empty configuration file in the
    /// environment.
    pub fn inside(&self, program: impl AsRef<OsStr>) -> Command {
        let [first, words @ ..] = self.words();
        let mut command = Command::new(find_program(&first).expect("root!() has looked for it"));
        command
            .args(words)
            .arg(program)
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("KEEPALIVE_CONFIG", no_config());
        command
    }

    /// Returns the command `keepalive` with these arguments, in the namespace.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.inside(keepalive());
        command.args(args);
        command
    }

    /// As [`Self::command`], under a command that changes its permissions.
    pub fn command_under(&self, wrapper: &[&str], args: &[&str]) -> Command {
        let mut command = self.inside("env");
        command.args(wrapper).arg(keepalive()).args(args);
        command
    }

    /// Returns the command of a program in the namespace and in the cgroup.
    pub fn enter(&self, program: impl AsRef<OsStr>) -> Command {
        self.enter_into(&self.directory, program)
    }

    /// As [`Self::enter`], in another cgroup.
    pub fn enter_into(&self, directory: &Path, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.inside("sh");
        command.args(["-c", JOIN]).arg(directory).arg(program);
        command
    }

    /// Starts a Python program in the cgroup, in the network of the tests.
    pub fn py_peer(&self) -> PyPeer {
        self.py_peer_in(&self.directory, &[])
    }

    /// Starts a Python program in this cgroup, under a further wrapper.
    pub fn py_peer_in(&self, directory: &Path, wrapper: &[&str]) -> PyPeer {
        let words = self.words();
        let mut all: Vec<&str> = words.iter().map(String::as_str).collect();
        all.extend(["sh", "-c", JOIN, directory.to_str().expect("a UTF-8 path")]);
        all.extend(wrapper);
        PyPeer::under(&all)
    }

    /// Moves a process to a cgroup.
    #[expect(clippy::unused_self, reason = "cgroups are the test_cgroup's")]
    pub fn move_to(&self, directory: &Path, pid: u32) {
        let path = directory.join("cgroup.procs");
        fs::write(&path, pid.to_string()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Runs `keepalive` with these arguments, within the limit.
    pub fn output(&self, args: &[&str]) -> Output {
        output_within(LIMIT, &mut self.command(args))
    }

    /// Runs the command as [`Self::output`]. The command must succeed without messages on standard error. Returns its
    /// output.
    #[track_caller]
    pub fn quiet(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let errors = text(&output.stderr);
        assert!(output.status.success(), "{args:?}: {}: {errors}", output.status);
        assert_eq!(errors, "", "{args:?}");
        text(&output.stdout)
    }

    /// Applies a policy for the cgroup.
    #[track_caller]
    pub fn enable(&self, flags: &[&str]) -> String {
        self.enable_for(&self.name(), flags)
    }

    /// Applies a policy for this cgroup.
    #[track_caller]
    pub fn enable_for(&self, cgroup: &str, flags: &[&str]) -> String {
        self.quiet(&[&["cgroup", "enable", cgroup], flags].concat())
    }

    /// Disables the policy of the cgroup.
    #[track_caller]
    pub fn disable(&self) -> String {
        self.quiet(&["cgroup", "disable", &self.name()])
    }

    /// Returns what `status --json` reports for all cgroups, with any exit status.
    #[track_caller]
    pub fn report(&self) -> serde_json::Value {
        let output = self.output(&["cgroup", "status", "--json"]);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", text(&output.stdout), text(&output.stderr)))
    }

    /// Returns what `status --json` reports for the cgroup.
    #[track_caller]
    pub fn status(&self) -> serde_json::Value {
        let report = self.report();
        let name = self.name();
        let cgroups = report["cgroups"].as_array().expect("a list");
        let found = cgroups.iter().find(|cgroup| cgroup["cgroup"] == name.as_str());
        found.unwrap_or_else(|| panic!("{name} is not in {report}")).clone()
    }

    /// Returns the ids of the eBPF programs that run for the processes of this cgroup.
    #[expect(clippy::unused_self, reason = "cgroups are the test_cgroup's")]
    pub fn programs(&self, directory: &Path) -> Vec<u32> {
        let cgroup = cgroup::open_directory(directory).expect("a cgroup");
        let hooks = [Hook::SockOps, Hook::SetSockOpt];
        let found = hooks.map(|hook| programs(&cgroup, hook, Attached::Effective).map(|found| found.ids));
        found.into_iter().flat_map(|ids| ids.expect("root may ask")).collect()
    }

    /// Returns the path of the BPF file system for this process.
    pub fn file_system(&self) -> PathBuf {
        self.outside("/sys/fs/bpf")
    }

    /// Returns the path for this process of a file in the mount namespace.
    pub fn outside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.keeper.pid()))
    }

    /// Returns the paths of all files of keepalive in the BPF file system.
    pub fn pins(&self) -> Vec<String> {
        let root = self.file_system();
        let mut found = Vec::new();
        let mut directories = vec![root.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).expect("a directory").flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    directories.push(path.clone());
                }
                let inside = path.strip_prefix(&root).expect("it is below");
                found.push(inside.to_str().expect("a UTF-8 name").to_owned());
            }
        }
        found.retain(|path| path.starts_with("keepalive"));
        found.sort();
        found
    }

    fn words(&self) -> [String; 3] {
        [
            "nsenter".to_owned(),
            format!("--mount=/proc/{}/ns/mnt", self.keeper.pid()),
            "--".to_owned(),
        ]
    }
}

/// Waits until the kernel has freed the eBPF programs with these ids, which it does asynchronously.
#[track_caller]
pub fn wait_until_freed(programs: &[u32]) {
    let is_gone = |id: &u32| program_by_id(*id).is_err();
    let freed = within(LIMIT, || programs.iter().all(is_gone).then_some(()));
    assert!(
        freed.is_some(),
        "of {programs:?}, some are in the kernel after {LIMIT:?}"
    );
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
        let removed = within(LIMIT, || {
            (cgroup::remove(&self.directory).is_ok() || !self.directory.exists()).then_some(())
        });
        if removed.is_none() && self.directory.exists() {
            eprintln!("{} cannot be removed", self.directory.display());
        }
    }
}

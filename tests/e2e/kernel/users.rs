//! Users, privileges and namespaces: eBPF programs run for every process in the cgroup.

use super::{LIMIT, printed, run, sockets};
use crate::support::observe::tcp_sockets;
use crate::support::ordinary::NOBODY;
use crate::support::process::{Running, eventually, install};
use crate::support::target::POLICY_VALUES;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;

/// Installs `targets/sockets.c` with this mode where every user can execute it.
fn install_for_all_users(mode: u32) -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a temporary directory");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("a directory of the test");
    let program = directory.path().join("sockets");
    install(&sockets(), &program, mode);
    (directory, program)
}

const WAYS: &str = "tcp connect show tcp6 connect show tcp listen client accept show";

#[track_caller]
fn expect_under(wrapper: &[&str], program: &Path) {
    let lines = printed(run(&[]).args(wrapper).arg(program).args(WAYS.split(' ')));
    let expected =
        format!("connect: 0\ntcp: {POLICY_VALUES}\nconnect: 0\ntcp6: {POLICY_VALUES}\naccept: {POLICY_VALUES}\n");
    assert_eq!(lines, expected, "{wrapper:?}");
}

#[test]
fn processes_of_other_users_and_in_other_namespaces_are_set() {
    kernel!();
    let (_directory, program) = install_for_all_users(0o755);
    let up = "ip link set lo up && exec \"$@\"";
    let all = "unshare --user --map-root-user --pid --fork --mount-proc --net sh -c";
    let all: Vec<&str> = all.split(' ').chain([up, "sh"]).collect();
    for place in [
        &NOBODY[..],
        &["setpriv", "--no-new-privs"],
        &["setpriv", "--bounding-set=-all", "--inh-caps=-all"],
        &["unshare", "--user", "--map-root-user"],
        &["unshare", "--pid", "--fork"],
        &["unshare", "--cgroup"],
        &["unshare", "--net", "sh", "-c", up, "sh"],
        &all,
        &[
            "unshare",
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs none /proc && exec \"$@\"",
            "sh",
        ],
    ] {
        expect_under(place, &program);
    }
}

/// Options that equal the sysctls of another network count as unset: nothing is compared with the command's own
/// sysctls.
#[test]
fn sysctls_of_another_network_count_as_unset() {
    kernel!();
    let sysctls = "ip link set lo up && cd /proc/sys/net/ipv4 && echo 1000 >tcp_keepalive_time && \
                   echo 50 >tcp_keepalive_intvl && echo 3 >tcp_keepalive_probes && cd / && exec \"$@\"";
    let network = ["unshare", "--net", "sh", "-c", sysctls, "sh"];
    expect_under(&network, &sockets());
    // Options without a setting have that network's values.
    let mut command = run(&["--rule", "connect idle=30"]);
    command.args(network).arg(sockets()).args(["tcp", "connect", "show"]);
    assert_eq!(printed(&mut command), "connect: 0\ntcp: 1 30 50 3 0\n");
}

/// The loader would ignore a preload library, and under a seccomp filter the program would lose its privilege.
#[test]
fn set_user_id_program_keeps_its_privilege_and_is_set() {
    kernel!();
    let (_directory, program) = install_for_all_users(0o4755);
    let mut command = run(&[]);
    command.args(NOBODY).arg(&program).args(["tcp", "connect", "hold"]);
    let running = Running::start_with_input(command.stdin(Stdio::piped()).stdout(Stdio::null()));
    let timing = eventually("its connection", LIMIT, || {
        let sockets = tcp_sockets(running.pid());
        let connected = sockets.iter().find(|seen| seen.socket.peer.is_some())?;
        Some(connected.timing())
    });
    assert_eq!(timing, (true, 61, 13, 4));
    let text = fs::read_to_string(format!("/proc/{}/status", running.pid())).expect("it runs");
    assert!(text.contains("\nUid:\t65534\t0\t"), "{text}");
}

//! A log without a reader does not block the command.

use super::{both_ends, send};
use crate::support::keepalive;
use crate::support::process::{LIMIT, Running, eventually};
use crate::support::target::KERNEL_DEFAULTS;
use crate::support::test_cgroup::TestCgroup;
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::io::{Errno, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::pipe;
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs;
use std::os::fd::OwnedFd;
use tempfile::TempDir;

/// Both ends of a log: the unread end, and the end to which the command writes.
type Log = [OwnedFd; 2];

fn full_pipe() -> Log {
    let (read, write) = pipe().expect("a pipe");
    [read, fill(write)]
}

fn full_fifo(directory: &TempDir) -> Log {
    let path = directory.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a FIFO");
    let read = open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).expect("a FIFO");
    [read, fill(open(&path, OFlags::WRONLY, Mode::empty()).expect("a FIFO"))]
}

fn full_socket() -> Log {
    let (read, write) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket pair");
    [read, fill(write)]
}

fn full_terminal() -> Log {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&controller).expect("a terminal");
    unlockpt(&controller).expect("a terminal");
    let name = ptsname(&controller, Vec::new()).expect("a terminal");
    let terminal = open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("a terminal");
    [controller, fill(terminal)]
}

/// Writes until no space is left.
fn fill(file: OwnedFd) -> OwnedFd {
    let flags = fcntl_getfl(&file).expect("flags");
    fcntl_setfl(&file, flags | OFlags::NONBLOCK).expect("flags");
    for length in [4096, 1] {
        while write(&file, &vec![b'x'; length]) != Err(Errno::AGAIN) {}
    }
    fcntl_setfl(&file, flags).expect("flags");
    file
}

/// Returns the options of both ends of a new connection with this idle time.
fn with_idle(seconds: u32) -> [String; 2] {
    [(); 2].map(|()| format!("1 {seconds} 13 4 0"))
}

fn assert_follows_policy_and_ends(test_cgroup: &TestCgroup, directory: &TempDir, [reader, log]: Log) {
    let config = directory.path().join("config");
    let policy = |idle: u32| {
        fs::write(&config, format!("default idle={idle} interval=13 count=4\n")).expect("a file of the test");
    };
    policy(61);
    let mut command = test_cgroup.inside(keepalive());
    command
        .args(["cgroup", "enable", "--watch", &test_cgroup.name(), "--config"])
        .arg(&config);
    command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
    let mut watch = Running::start(&mut command);
    for idle in [61, 62] {
        policy(idle);
        eventually("the policy is active", LIMIT, || {
            (both_ends(test_cgroup) == with_idle(idle)).then_some(())
        });
    }
    send(watch.pid(), Signal::TERM);
    assert_eq!(watch.wait_for_end().code(), Some(0));
    assert_eq!(both_ends(test_cgroup), [KERNEL_DEFAULTS; 2]);
    drop(reader);
}

#[test]
fn full_log_delays_neither_a_policy_nor_a_signal() {
    let test_cgroup = test_cgroup!();
    python!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    for log in [full_pipe(), full_fifo(&directory), full_socket(), full_terminal()] {
        assert_follows_policy_and_ends(&test_cgroup, &directory, log);
    }
}

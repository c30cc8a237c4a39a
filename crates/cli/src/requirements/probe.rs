//! Tests whether the running kernel has a feature, without regard to its version.

use keepalive_bpf::kernel_types::KernelTypes;
use keepalive_engine::cgroup::{has_tcp_getsockopt, is_locked_memory_charged};
use keepalive_engine::trace::is_traceable;
use keepalive_policy::SocketOption;
use keepalive_sys::bpf::call::has_link_detach;
use keepalive_sys::kernel_symbols::has_function;
use keepalive_sys::pidfd::PidFd;
use keepalive_sys::proc::own_status;
use keepalive_sys::{netns, seccomp, sock_diag, sockopt};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, socket_with};
use std::io;
use std::path::Path;

/// Returns whether the kernel has the feature, from the `result` of a call. The kernel has it after a
/// success, and lacks it after one of the errors in `unknown`. Any other error, such as that of a sandbox,
/// leaves this unknown.
fn known<T>(result: &io::Result<T>, unknown: &[Errno]) -> Option<bool> {
    match result {
        Ok(_) => Some(true),
        Err(error) => Errno::from_io_error(error)
            .is_some_and(|errno| unknown.contains(&errno))
            .then_some(false),
    }
}

pub(super) fn sock_diag() -> Option<bool> {
    known(&sock_diag::dump(), &[Errno::NOENT, Errno::OPNOTSUPP])
}

/// A seccomp filter can answer the call with any error, `ENOSYS` included, so that under one only the kernel's
/// functions tell.
pub(crate) fn pidfd_getfd() -> Option<bool> {
    let result = PidFd::try_duplicating();
    if result.is_err() && own_status().is_ok_and(|status| status.is_filtered) {
        return has_system_call("pidfd_getfd");
    }
    known(&result, &[Errno::NOSYS])
}

/// Returns whether the kernel has the system call, whatever filters allow.
fn has_system_call(name: &str) -> Option<bool> {
    const PREFIX: &str = if cfg!(target_arch = "aarch64") {
        "__arm64_sys_"
    } else {
        "__x64_sys_"
    };
    has_function(&format!("{PREFIX}{name}"), false)
}

pub(super) fn seccomp() -> Option<bool> {
    known(&seccomp::probe(), &[Errno::INVAL])
}

pub(super) fn thread_handles() -> Option<bool> {
    known(&PidFd::open_thread(std::process::id()), &[Errno::INVAL])
}

pub(super) fn cgroup() -> Option<bool> {
    has_link_detach()
}

pub(super) fn memory() -> Option<bool> {
    is_locked_memory_charged().map(|is_charged| !is_charged)
}

pub(super) fn types() -> Option<bool> {
    match KernelTypes::read() {
        Ok(_) => Some(true),
        // Without /sys the answer is unknown.
        Err(_) => Path::new("/sys/kernel").exists().then_some(false),
    }
}

pub(super) fn tracing() -> Option<bool> {
    match KernelTypes::read() {
        Ok(types) => Some(is_traceable(&types)),
        Err(_) => Path::new("/sys/kernel").exists().then_some(false),
    }
}

pub(super) fn getsockopt() -> Option<bool> {
    has_tcp_getsockopt()
}

/// Tests for the kernel's function that provides these programs with the helper.
pub(super) fn iterators() -> Option<bool> {
    has_function("bpf_iter_tcp_get_func_proto", false)
}

pub(super) fn cookies() -> Option<bool> {
    socket(None).ok().map(netns::has_cookies)
}

pub(super) fn mptcp_times() -> Option<bool> {
    let socket = socket(Some(ipproto::MPTCP)).ok()?;
    known(
        &sockopt::set(&socket, SocketOption::Idle, 60),
        &[Errno::OPNOTSUPP, Errno::NOPROTOOPT],
    )
}

fn socket(protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        protocol,
    )?)
}

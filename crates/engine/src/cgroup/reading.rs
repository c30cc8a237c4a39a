//! Detects whether eBPF programs of the running kernel can read a socket's options.

use keepalive_bpf::assembler::Map;
use keepalive_bpf::probe::{NOT_READ, READ, program};
use keepalive_sys::bpf::call::{Hook, MapKind, create_map, link_to_cgroup, load_program, value};
use keepalive_sys::cgroup::{Tree, open_directory};
use keepalive_sys::kernel_symbols::has_function;
use rustix::fd::AsRawFd as _;
use std::net::{Ipv4Addr, TcpListener};

/// Returns whether `bpf_getsockopt()` supports the keepalive options, as it does since Linux 6.1.
pub(super) fn can_read_options() -> bool {
    by_listening().or_else(has_tcp_getsockopt).unwrap_or(false)
}

/// Tests this on a listener of this process; `None` if no program runs for the listener.
fn by_listening() -> Option<bool> {
    let result = create_map(MapKind::Single, "ka_probe", 8, 1).ok()?;
    let program = program(Map(result.as_raw_fd())).ok()?;
    let program = load_program(Hook::SockOps, "ka_probe", &program).ok()?;
    let tree = Tree::find().ok()?;
    let own = tree.own().unwrap_or_else(|_| tree.mount().to_owned());
    let cgroup = open_directory(&own).ok()?;
    let _link = link_to_cgroup(program, cgroup, Hook::SockOps).ok()?;
    let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    let value = value(&result, 8).ok()?;
    match u64::from_ne_bytes(value.try_into().ok()?) {
        READ => Some(true),
        NOT_READ => Some(false),
        _ => None,
    }
}

/// Checks for the kernel's function, which other files of the kernel can call since that version.
pub fn has_tcp_getsockopt() -> Option<bool> {
    has_function("do_tcp_getsockopt", true)
}

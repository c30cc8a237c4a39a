//! What the library, the command and the supervisor agree on beside the policy: files, limits, and how the library tells the
//! supervisor's filter that a call may pass.

use core::ffi::CStr;

/// The rules file unless `KEEPALIVE_CONFIG` or `--config` names another, for a system call.
pub const CONFIG_PATH: &CStr = c"/etc/keepalive.conf";

/// The same as text.
pub const CONFIG: &str = match CONFIG_PATH.to_str() {
    Ok(path) => path,
    Err(_) => panic!("the path is ASCII"),
};

/// The largest rules file, in bytes.
pub const LARGEST_RULES: usize = 256 * 1024;

/// The list of libraries that glibc loads into every program (ld.so(8)).
pub const LD_SO_PRELOAD: &str = "/etc/ld.so.preload";

/// The variable that tells the library of a supervisor.
pub const SUPERVISED: &str = "KEEPALIVE_SUPERVISED";

/// Its value, or the beginning of its value, where there is a supervisor.
pub const IS_SUPERVISED: &str = "1";

/// Its value where the supervisor has taken the privilege of set-user-ID programs, too (`PR_SET_NO_NEW_PRIVS`).
pub const TAKES_PRIVILEGES: &str = "1,no_new_privs";

/// The length of an address in a connect(2) that the filter lets pass: `sizeof(struct sockaddr_un)`, since local sockets have
/// it. The kernel takes any length from that of the address up to 128 (`net/socket.c`, `move_addr_to_kernel`).
pub const PASSING_LENGTH: u32 = 110;

/// The length of a value in a setsockopt(2) that the filter lets pass: the room of two numbers, where programs give that of
/// one.
pub const PASSING_OPTION_LENGTH: u32 = 8;

/// The sixth argument of such a setsockopt(2); the kernel takes five.
pub const PASSING_OPTION_MARK: u32 = 0x6b65_6570;

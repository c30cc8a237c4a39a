//! Constants that the library, the command and the supervisor share: files, limits, and the marks of calls that the
//! supervisor's filter lets pass.

use core::ffi::CStr;

/// The default path of the rules file, as a system call expects it. `KEEPALIVE_CONFIG` and `--config` override the
/// path.
pub const CONFIG_PATH: &CStr = c"/etc/keepalive.conf";

/// [`CONFIG_PATH`] as text.
pub const CONFIG: &str = match CONFIG_PATH.to_str() {
    Ok(path) => path,
    Err(_) => panic!("the path is ASCII"),
};

/// The maximum size of a rules file, in bytes.
pub const LARGEST_RULES: usize = 256 * 1024;

/// The list of libraries that glibc loads into every program (ld.so(8)).
pub const LD_SO_PRELOAD: &str = "/etc/ld.so.preload";

/// The environment variable that shows the library that a supervisor is active.
pub const SUPERVISED: &str = "KEEPALIVE_SUPERVISED";

/// The value of [`SUPERVISED`], or its beginning, if a supervisor is active.
pub const IS_SUPERVISED: &str = "1";

/// The value of [`SUPERVISED`] if set-user-ID programs also run without their privilege (`PR_SET_NO_NEW_PRIVS`).
pub const TAKES_PRIVILEGES: &str = "1,no_new_privs";

/// The address length of a connect(2) call that the filter lets pass: `sizeof(struct sockaddr_un)`, which calls on
/// local sockets use. The kernel accepts any length from the address's own up to 128 (`net/socket.c`,
/// `move_addr_to_kernel`).
pub const PASSING_LENGTH: u32 = 110;

/// The value length of a setsockopt(2) call that the filter lets pass: the size of two numbers. Programs pass the size
/// of one number.
pub const PASSING_OPTION_LENGTH: u32 = 8;

/// The sixth argument of such a setsockopt(2) call. The kernel uses five.
pub const PASSING_OPTION_MARK: u32 = 0x6b65_6570;

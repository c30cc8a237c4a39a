//! Resolves host names.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// Whether only `/etc/hosts` and DNS are used, whatever nsswitch.conf(5) names. A static program must not
/// load the modules for other sources. They load the system's C library, and if its version differs from the
/// program's, the program crashes (static glibc 2.36 with the modules of 2.31: an assertion; with those of
/// 2.41: SIGFPE).
pub const IS_LIMITED: bool = cfg!(all(target_env = "gnu", target_feature = "crt-static"));

/// Returns the addresses of `target`, in the form HOST:PORT.
///
/// # Errors
/// `target` has another form; or the host is not found.
pub fn look_up(target: &str) -> io::Result<Vec<SocketAddr>> {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    without_modules();
    Ok(target.to_socket_addrs()?.collect())
}

/// Restricts the C library to its built-in sources (both since glibc 2.34).
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
fn without_modules() {
    use std::ffi::{c_char, c_int};
    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, sources: *const c_char) -> c_int;
    }
    // SAFETY: both are C strings with a static lifetime (nss.h: "Override service spec in /etc/nsswitch.conf"). The
    // function takes the C library's own lock. If it fails for lack of memory, nothing changes.
    unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_of_this_machine_are_found() {
        assert_eq!(look_up("10.1.2.3:5").unwrap(), ["10.1.2.3:5".parse().unwrap()]);
        assert!(
            look_up("localhost:5")
                .unwrap()
                .iter()
                .all(|address| address.ip().is_loopback())
        );
        assert!(look_up("no port").is_err());
    }
}

//! socketcall(2): the older way of i386 to all socket calls, which programs reach through syscall(2). The arguments of the
//! call are an array of words in the program's memory. It is read only after the kernel has read it: all that is to be
//! done before a call elsewhere is done after it here.

use super::accept::on_accept;
use super::connect::{after_connect, before_connect, is_under_way};
use super::getsockopt::on_getsockopt;
use super::listen::before_listen;
use super::setsockopt::on_setsockopt;
use super::socket::on_socket;
use core::ffi::{c_int, c_long, c_void};

// `include/uapi/linux/net.h`.
const SOCKET: c_long = 1;
const CONNECT: c_long = 3;
const LISTEN: c_long = 4;
const ACCEPT: c_long = 5;
const SETSOCKOPT: c_long = 14;
const GETSOCKOPT: c_long = 15;
const ACCEPT4: c_long = 18;

/// After `socketcall(call, arguments)`, which gave `returned`.
///
/// # Safety
/// The arguments must be those of the call.
pub(super) unsafe fn on_socketcall(call: c_long, arguments: *const c_long, returned: c_long) {
    let is_hooked = matches!(
        call,
        SOCKET | CONNECT | LISTEN | ACCEPT | SETSOCKOPT | GETSOCKOPT | ACCEPT4
    );
    if !is_hooked || (returned < 0 && !(call == CONNECT && is_under_way())) {
        return;
    }
    let word = |index: usize| {
        // SAFETY: the kernel has read at least three words, but for listen, which has two.
        let place = unsafe { arguments.add(index) };
        // SAFETY: as above.
        unsafe { place.read_unaligned() }
    };
    let (fd, second) = (word(0) as c_int, word(1));
    match call {
        SOCKET => on_socket(returned as c_int, fd, second as c_int, word(2) as c_int),
        CONNECT => {
            before_connect(fd);
            // SAFETY: the arguments are those of the call that returned this.
            unsafe { after_connect(fd, second as *const c_void, word(2) as u32, returned) };
        }
        LISTEN => {
            before_listen(fd);
        }
        SETSOCKOPT => on_setsockopt(fd, second as c_int, word(2) as c_int, returned),
        GETSOCKOPT => on_getsockopt(fd, second as c_int, word(2) as c_int),
        _ => on_accept(returned as c_int, fd),
    }
}

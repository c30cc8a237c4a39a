//! Defines the numbers of the system calls from the kernel's headers. [`crate::arch`] contains the numbers that differ
//! in kind between architectures.

pub(crate) use crate::arch::{ACCEPT, FSTAT, MMAP, SOCKETCALL};
use core::ffi::c_long;

macro_rules! numbers {
    ($($name:ident = $number:ident;)+) => {
        $(pub(crate) const $name: c_long = linux_raw_sys::general::$number as c_long;)+
    };
}

numbers! {
    ACCEPT4 = __NR_accept4;
    CLOSE = __NR_close;
    CONNECT = __NR_connect;
    FCNTL = __NR_fcntl;
    FUTEX = __NR_futex;
    GETPEERNAME = __NR_getpeername;
    GETPID = __NR_getpid;
    GETSOCKNAME = __NR_getsockname;
    GETSOCKOPT = __NR_getsockopt;
    GETXATTR = __NR_getxattr;
    IOCTL = __NR_ioctl;
    LISTEN = __NR_listen;
    LSEEK = __NR_lseek;
    OPENAT = __NR_openat;
    PRCTL = __NR_prctl;
    PWRITEV2 = __NR_pwritev2;
    READ = __NR_read;
    RT_SIGPROCMASK = __NR_rt_sigprocmask;
    RT_SIGTIMEDWAIT = __NR_rt_sigtimedwait;
    SECCOMP = __NR_seccomp;
    SENDTO = __NR_sendto;
    SETSOCKOPT = __NR_setsockopt;
    SOCKET = __NR_socket;
    STATFS = __NR_statfs;
    STATX = __NR_statx;
    WRITE = __NR_write;
}

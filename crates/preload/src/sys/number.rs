//! Numbers of the system calls, from the kernel's tables.

#[cfg(target_arch = "x86_64")]
mod table {
    use core::ffi::c_long;

    pub(crate) const SOCKET: c_long = 41;
    pub(crate) const CONNECT: c_long = 42;
    pub(crate) const ACCEPT: c_long = 43;
    pub(crate) const LISTEN: c_long = 50;
    pub(crate) const SETSOCKOPT: c_long = 54;
    pub(crate) const GETSOCKOPT: c_long = 55;
    pub(crate) const ACCEPT4: c_long = 288;
    pub(crate) const PRCTL: c_long = 157;
    pub(crate) const SECCOMP: c_long = 317;
    pub(crate) const CLOSE: c_long = 3;
    pub(crate) const WRITE: c_long = 1;
    pub(crate) const OPENAT: c_long = 257;
    pub(crate) const GETPID: c_long = 39;
    pub(crate) const STATX: c_long = 332;
    pub(crate) const RT_SIGPROCMASK: c_long = 14;
    pub(crate) const RT_SIGTIMEDWAIT: c_long = 128;
    pub(crate) const MMAP: c_long = 9;
    pub(crate) const GETSOCKNAME: c_long = 51;
    pub(crate) const GETPEERNAME: c_long = 52;
    pub(crate) const READ: c_long = 0;
    pub(crate) const FCNTL: c_long = 72;
    pub(crate) const FUTEX: c_long = 202;
    pub(crate) const LSEEK: c_long = 8;
    pub(crate) const SENDTO: c_long = 44;
    pub(crate) const PWRITEV2: c_long = 328;
    pub(crate) const IOCTL: c_long = 16;
    pub(crate) const FSTAT: c_long = 5;
    pub(crate) const GETXATTR: c_long = 191;
    pub(crate) const STATFS: c_long = 137;
}

#[cfg(target_arch = "aarch64")]
mod table {
    use core::ffi::c_long;

    pub(crate) const SOCKET: c_long = 198;
    pub(crate) const CONNECT: c_long = 203;
    pub(crate) const ACCEPT: c_long = 202;
    pub(crate) const LISTEN: c_long = 201;
    pub(crate) const SETSOCKOPT: c_long = 208;
    pub(crate) const GETSOCKOPT: c_long = 209;
    pub(crate) const ACCEPT4: c_long = 242;
    pub(crate) const PRCTL: c_long = 167;
    pub(crate) const SECCOMP: c_long = 277;
    pub(crate) const CLOSE: c_long = 57;
    pub(crate) const WRITE: c_long = 64;
    pub(crate) const OPENAT: c_long = 56;
    pub(crate) const GETPID: c_long = 172;
    pub(crate) const STATX: c_long = 291;
    pub(crate) const RT_SIGPROCMASK: c_long = 135;
    pub(crate) const RT_SIGTIMEDWAIT: c_long = 137;
    pub(crate) const MMAP: c_long = 222;
    pub(crate) const GETSOCKNAME: c_long = 204;
    pub(crate) const GETPEERNAME: c_long = 205;
    pub(crate) const READ: c_long = 63;
    pub(crate) const FCNTL: c_long = 25;
    pub(crate) const FUTEX: c_long = 98;
    pub(crate) const LSEEK: c_long = 62;
    pub(crate) const SENDTO: c_long = 206;
    pub(crate) const PWRITEV2: c_long = 287;
    pub(crate) const IOCTL: c_long = 29;
    pub(crate) const FSTAT: c_long = 80;
    pub(crate) const GETXATTR: c_long = 8;
    pub(crate) const STATFS: c_long = 43;
}

#[cfg(target_arch = "x86")]
mod table {
    use core::ffi::c_long;

    pub(crate) const SOCKET: c_long = 359;
    pub(crate) const CONNECT: c_long = 362;
    pub(crate) const ACCEPT4: c_long = 364;
    /// i386 has no `accept` of its own: libc makes it of `accept4`.
    pub(crate) const ACCEPT: c_long = -1;
    pub(crate) const LISTEN: c_long = 363;
    pub(crate) const SETSOCKOPT: c_long = 366;
    pub(crate) const GETSOCKOPT: c_long = 365;
    pub(crate) const PRCTL: c_long = 172;
    pub(crate) const SECCOMP: c_long = 354;
    pub(crate) const CLOSE: c_long = 6;
    pub(crate) const WRITE: c_long = 4;
    pub(crate) const OPENAT: c_long = 295;
    pub(crate) const GETPID: c_long = 20;
    pub(crate) const STATX: c_long = 383;
    pub(crate) const RT_SIGPROCMASK: c_long = 175;
    pub(crate) const RT_SIGTIMEDWAIT: c_long = 177;
    /// The older way to all socket calls (socketcall(2)).
    pub(crate) const SOCKETCALL: c_long = 102;
    /// `mmap2`, which counts its offset in pages.
    pub(crate) const MMAP: c_long = 192;
    pub(crate) const GETSOCKNAME: c_long = 367;
    pub(crate) const GETPEERNAME: c_long = 368;
    pub(crate) const READ: c_long = 3;
    pub(crate) const FCNTL: c_long = 55;
    pub(crate) const FUTEX: c_long = 240;
    pub(crate) const LSEEK: c_long = 19;
    pub(crate) const SENDTO: c_long = 369;
    pub(crate) const PWRITEV2: c_long = 379;
    pub(crate) const IOCTL: c_long = 54;
    /// `fstat64`.
    pub(crate) const FSTAT: c_long = 197;
    pub(crate) const GETXATTR: c_long = 229;
    pub(crate) const STATFS: c_long = 99;
}

pub(crate) use table::*;

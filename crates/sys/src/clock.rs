//! The kernel's clocks.

use std::io;

/// Returns the time of `CLOCK_MONOTONIC` in nanoseconds, which `bpf_ktime_get_ns()` returns too.
///
/// # Errors
/// As `clock_gettime(2)`.
pub fn monotonic() -> io::Result<u64> {
    nanoseconds(libc::CLOCK_MONOTONIC)
}

/// Returns the processor time of the calling thread in nanoseconds (`CLOCK_THREAD_CPUTIME_ID`).
///
/// # Errors
/// As `clock_gettime(2)`.
pub fn thread_cpu_time() -> io::Result<u64> {
    nanoseconds(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn nanoseconds(clock: libc::clockid_t) -> io::Result<u64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime(2) writes one `struct timespec`.
    if unsafe { libc::clock_gettime(clock, &raw mut now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let [seconds, nanoseconds] = [u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec)].map(Result::unwrap_or_default);
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
}

/// Returns the period of the coarse monotonic clock in nanoseconds: one jiffy (`clock_getres(2)`,
/// `CLOCK_MONOTONIC_COARSE`).
///
/// # Errors
/// As `clock_getres(2)`; a resolution of a second or more.
pub fn coarse_resolution() -> io::Result<i64> {
    let mut resolution = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_getres(2) writes one `struct timespec`.
    if unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if resolution.tv_sec != 0 {
        return Err(io::Error::other(format!("a clock of {} s", resolution.tv_sec)));
    }
    #[allow(clippy::useless_conversion, reason = "32 bits on some targets")]
    Ok(i64::from(resolution.tv_nsec))
}

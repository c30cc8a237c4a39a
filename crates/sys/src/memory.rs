//! Reads another process's memory (`process_vm_readv(2)`).

use std::io;

/// Fills `buffer` from `address` in the process of thread `tid`.
///
/// # Errors
/// `EPERM` without ptrace access, `ESRCH` if the thread no longer exists, `EFAULT` if the whole range is not
/// readable.
pub fn read(tid: u32, address: u64, buffer: &mut [u8]) -> io::Result<()> {
    let tid = libc::pid_t::try_from(tid).map_err(io::Error::other)?;
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = libc::iovec {
        iov_base: usize::try_from(address).map_err(io::Error::other)? as *mut libc::c_void,
        iov_len: buffer.len(),
    };
    // SAFETY: the kernel writes at most `iov_len` bytes to `local`, which is `buffer`, and only reads the other process
    // (process_vm_readv(2)).
    let read = unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
    match usize::try_from(read) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(read) if read == buffer.len() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
    }
}

/// Returns the 32-bit number at `address`.
///
/// # Errors
/// As [`read`].
pub fn read_u32(tid: u32, address: u64) -> io::Result<u32> {
    let mut bytes = [0; 4];
    read(tid, address, &mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

//! Files of the kernel in the memory of this process (`mmap(2)`).

use rustix::fd::AsFd;
use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr::{self, NonNull};

/// A part of a file in the memory of this process.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) address: NonNull<u8>,
    pub(super) length: usize,
}

impl Mapping {
    pub(super) fn new(file: impl AsFd, length: usize, offset: usize, protection: i32, flags: i32) -> io::Result<Self> {
        let offset = offset.try_into().map_err(io::Error::other)?;
        // SAFETY: the kernel chooses the address, so that no existing mapping is replaced (mmap(2)).
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                protection,
                flags,
                file.as_fd().as_raw_fd(),
                offset,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mmap: 0"))?;
        Ok(Self { address, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping, and no reference into it outlives its owner.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.length) };
    }
}

//! Reads the records that eBPF programs submit to a ring buffer (`Documentation/bpf/ringbuf.rst`, Linux 5.8).

use super::mapping::Mapping;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A ring buffer, mapped into this process. It is readable (poll(2)) while it contains records.
#[derive(Debug)]
pub struct Ring {
    map: OwnedFd,
    /// The page with the reader's position.
    reader: Mapping,
    /// The page with the writers' position, then the records, twice.
    records: Mapping,
    page: usize,
    size: usize,
}

/// The length of a record's header: the record's length with two flags, and a word for the kernel alone.
const HEADER: usize = 8;
/// The flag of a record that a program still writes.
const BUSY: u32 = 1 << 31;
/// The flag of a record that a program has discarded.
const DISCARDED: u32 = 1 << 30;

impl Ring {
    /// Maps a [`super::call::MapKind::Ring`] of this size.
    ///
    /// # Errors
    /// As `mmap(2)`; `EINVAL` for another map or size.
    pub fn new(map: OwnedFd, size: u32) -> io::Result<Self> {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        let size = usize::try_from(size).map_err(|_| invalid())?;
        // SAFETY: sysconf(3) takes a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = usize::try_from(page).map_err(|_| invalid())?;
        if !size.is_power_of_two() || !size.is_multiple_of(page) {
            return Err(invalid());
        }
        let length = size.checked_mul(2).and_then(|length| length.checked_add(page));
        let length = length.ok_or_else(invalid)?;
        Ok(Self {
            reader: Mapping::new(&map, page, 0, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED)?,
            records: Mapping::new(&map, length, page, libc::PROT_READ, libc::MAP_SHARED)?,
            map,
            page,
            size,
        })
    }

    /// Calls `each` with every record that the ring contained at the start of this call, and frees their space.
    pub fn read(&mut self, mut each: impl FnMut(&[u8])) {
        // SAFETY: both pages begin with an aligned position of eight bytes (`kernel/bpf/ringbuf.c`), and live
        // as long as their mappings.
        let position = unsafe { self.reader.address.cast::<AtomicU64>().as_ref() };
        // SAFETY: as above.
        let end = unsafe { self.records.address.cast::<AtomicU64>().as_ref() };
        let end = end.load(Ordering::Acquire);
        // Only this reader changes its position; `&mut self` excludes others.
        let mut at = position.load(Ordering::Relaxed);
        while at < end {
            let Some((length, is_discarded)) = self.header(at) else {
                break;
            };
            if !is_discarded {
                each(self.record(at, length));
            }
            at += u64::try_from((HEADER + length).next_multiple_of(8)).unwrap_or(u64::MAX);
            position.store(at, Ordering::Release);
        }
    }

    /// Returns the length of the record at this position, and whether it is discarded; `None` if it is not
    /// complete yet.
    fn header(&self, at: u64) -> Option<(usize, bool)> {
        let offset = self.page + self.offset(at);
        // SAFETY: the offset is below page + size, and records begin at multiples of eight bytes.
        let header = unsafe { self.records.address.byte_add(offset) };
        // SAFETY: the header is an aligned word within the mapping, which lives as long as `self`.
        let header = unsafe { header.cast::<AtomicU32>().as_ref() };
        let header = header.load(Ordering::Acquire);
        let length = usize::try_from(header & !(BUSY | DISCARDED)).ok()?;
        let is_complete = header & BUSY == 0 && length <= self.size - HEADER;
        is_complete.then_some((length, header & DISCARDED != 0))
    }

    /// Returns the record at this position.
    fn record(&self, at: u64, length: usize) -> &[u8] {
        let offset = self.page + self.offset(at) + HEADER;
        // SAFETY: `offset + length` is below page + 2 × size, since `offset` is below page + size + HEADER and
        // `length` is at most size - HEADER.
        let begin = unsafe { self.records.address.byte_add(offset) };
        // SAFETY: the records are mapped twice, so this range is contiguous and within the mapping. The kernel
        // does not write to it before the reader's position is behind it, which happens after `each`.
        unsafe { std::slice::from_raw_parts(begin.as_ptr().cast_const(), length) }
    }

    fn offset(&self, at: u64) -> usize {
        // The size is a power of 2; positions only grow.
        usize::try_from(at & (self.size as u64 - 1)).unwrap_or(0)
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

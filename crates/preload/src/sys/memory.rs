//! Maps memory that is never unmapped, and reads files into it.

use super::{ENODEV, Errno, S_IFREG, call, close, file_type, number, result};
use core::ffi::{c_int, c_long, c_void};
use keepalive_policy::protocol::LARGEST_RULES;

/// Maps `length` bytes of zeros, which are never unmapped. Pages that are never touched use no memory.
pub(crate) fn map(length: usize) -> Option<*mut c_void> {
    const PROT_READ_WRITE: c_long = 3;
    const MAP_PRIVATE_ANONYMOUS_NORESERVE: c_long = 0x4022;
    let arguments = [
        0,
        length as c_long,
        PROT_READ_WRITE,
        MAP_PRIVATE_ANONYMOUS_NORESERVE,
        -1,
        0,
    ];
    // SAFETY: mmap(2) without an address and a descriptor does not affect existing mappings.
    result(unsafe { call(number::MMAP, arguments) })
        .ok()
        .map(|address| address as *mut c_void)
}

/// Returns new memory of this length; an empty slice if there is no memory.
fn memory(length: usize) -> &'static mut [u8] {
    match map(length) {
        // SAFETY: the memory is zeroed, never unmapped, and has no other reference.
        Some(address) => unsafe { core::slice::from_raw_parts_mut(address.cast(), length) },
        None => &mut [],
    }
}

/// Returns a copy of `text` that stays valid; empty if there is no memory.
pub(crate) fn copy(text: &[u8]) -> &'static [u8] {
    let copy = memory(text.len().max(1));
    copy.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    copy.get(..text.len()).unwrap_or_default()
}

/// Returns the first `count` items in memory that stays valid; empty if there is no memory.
pub(crate) fn collect<T: Copy + 'static>(count: usize, items: impl Iterator<Item = T>) -> &'static [T] {
    let bytes = count.saturating_mul(size_of::<T>());
    let Some(start) = (count > 0).then(|| map(bytes)).flatten() else {
        return &[];
    };
    let start = start.cast::<T>();
    let mut filled = 0;
    for item in items.take(count) {
        // SAFETY: the memory has room for `count` items, and a page's alignment.
        let slot = unsafe { start.add(filled) };
        // SAFETY: as above; no other reference to this memory exists.
        unsafe { slot.write(item) };
        filled += 1;
    }
    // SAFETY: `filled` items have been written, and no code writes any more.
    unsafe { core::slice::from_raw_parts(start, filled) }
}

/// Returns the content of the file at `path`, a string that ends with a NUL. A file of [`LARGEST_RULES`] bytes or more
/// is cut after its last whole line within that size.
///
/// # Errors
/// The errors of openat(2); `ENODEV` if the file is not a regular file.
pub(crate) fn read_file(path: *const u8) -> Result<&'static [u8], Errno> {
    const AT_FDCWD: c_long = -100;
    const O_NOCTTY_NONBLOCK_CLOEXEC: c_long = 0o2_004_400;
    // SAFETY: openat(2) reads the string.
    let opened = unsafe {
        call(
            number::OPENAT,
            [AT_FDCWD, path as c_long, O_NOCTTY_NONBLOCK_CLOEXEC, 0, 0, 0],
        )
    };
    let fd = result(opened)? as c_int;
    if file_type(fd) != S_IFREG {
        close(fd);
        return Err(ENODEV);
    }
    let content = memory(LARGEST_RULES);
    let mut length = 0;
    while let Some(rest) = content.get_mut(length..).filter(|rest| !rest.is_empty()) {
        // SAFETY: read(2) writes at most that many bytes.
        let read = unsafe {
            call(
                number::READ,
                [fd as _, rest.as_mut_ptr() as c_long, rest.len() as c_long, 0, 0, 0],
            )
        };
        match result(read) {
            Ok(read @ 1..) => length += read as usize,
            _ => break,
        }
    }
    close(fd);
    if length == LARGEST_RULES {
        length = content.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    }
    Ok(content.get(..length).unwrap_or_default())
}

//! Maps memory, and reads files into it.

use super::{ENODEV, Errno, S_IFREG, call, close, number, result, status};
use core::ffi::{c_int, c_long, c_void};
use keepalive_policy::protocol::LARGEST_RULES;

/// Maps `length` bytes of zeros. Pages that are never touched use no memory.
fn map(length: usize) -> Option<*mut c_void> {
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

/// Mapped memory that is handed out in pieces and never unmapped.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    start: *mut u8,
    length: usize,
    used: usize,
}

impl Room {
    /// Maps room for `length` bytes; `None` if there is no memory.
    pub(crate) fn map(length: usize) -> Option<Self> {
        let start = map(length)?.cast();
        Some(Self { start, length, used: 0 })
    }

    /// Appends copies of `empty` as long as `fill` changes them into items and returns `true`, and as long as there is
    /// room. Returns the items, which stay in the room.
    #[inline(always)]
    pub(crate) fn fill<T: Copy>(&mut self, empty: T, mut fill: impl FnMut(&mut T) -> bool) -> &'static mut [T] {
        let first = self.used.next_multiple_of(align_of::<T>());
        let start = self.start.wrapping_add(first).cast::<T>();
        let most = self.length.saturating_sub(first) / size_of::<T>();
        let mut count = 0;
        while count < most {
            let slot = start.wrapping_add(count);
            // SAFETY: `count` is below `most`, so the slot is within the room, and aligned.
            unsafe { slot.write(empty) };
            // SAFETY: the slot contains a value, and no other reference to it exists.
            if !fill(unsafe { &mut *slot }) {
                break;
            }
            count += 1;
        }
        self.used = first + count * size_of::<T>();
        // SAFETY: `count` items have been written, and no other reference to them exists.
        unsafe { core::slice::from_raw_parts_mut(start, count) }
    }

    /// Moves `value` into the room; `None` if there is no room.
    #[inline(always)]
    pub(crate) fn place<T: Copy>(&mut self, value: T) -> Option<&'static mut T> {
        let mut is_placed = false;
        self.fill(value, |_| !core::mem::replace(&mut is_placed, true))
            .first_mut()
    }

    /// Returns a copy of `text`.
    pub(crate) fn copy(&mut self, text: &[u8]) -> &'static [u8] {
        let mut rest = text.iter();
        self.fill(0, |to| rest.next().map(|from| *to = *from).is_some())
    }

    /// Reads a file. If the file is larger than when it was opened, its last line is cut.
    pub(crate) fn read(&mut self, file: &RegularFile) -> &'static [u8] {
        let start = self.start.wrapping_add(self.used);
        let most = file.room().min(self.length - self.used);
        let mut length = 0;
        while length < most {
            let arguments = [
                file.fd as c_long,
                start.wrapping_add(length) as c_long,
                (most - length) as c_long,
                0,
                0,
                0,
            ];
            // SAFETY: read(2) writes at most that many bytes, which are within the room and to which no reference exists.
            match result(unsafe { call(number::READ, arguments) }) {
                Ok(read @ 1..) => length += read as usize,
                _ => break,
            }
            // A file that has the size of its status is complete: no second call is needed to find its end.
            if length == file.size {
                break;
            }
        }
        self.used += length;
        // SAFETY: the bytes are mapped, and nothing writes to them any more.
        let text: &[u8] = unsafe { core::slice::from_raw_parts(start, length) };
        if length == file.room() {
            let end = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
            return text.get(..end).unwrap_or_default();
        }
        text
    }

    /// Takes `length` bytes from the end of the room, zeros with the alignment of any type. Returns their address; `None`
    /// if there is no room.
    pub(crate) fn take_end(&mut self, length: usize) -> Option<*mut u8> {
        const ALIGNMENT: usize = 64;
        let end = self.length.checked_sub(length)? & !(ALIGNMENT - 1);
        if end < self.used {
            return None;
        }
        self.length = end;
        Some(self.start.wrapping_add(end))
    }
}

/// An open regular file.
pub(crate) struct RegularFile {
    fd: c_int,
    size: usize,
}

impl RegularFile {
    /// Opens the file at `path`, a string that ends with a NUL.
    ///
    /// # Errors
    /// The errors of openat(2); `ENODEV` if the file is not a regular file.
    pub(crate) fn open(path: *const u8) -> Result<Self, Errno> {
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
        let (kind, size) = status(fd);
        let file = Self { fd, size };
        if kind == S_IFREG { Ok(file) } else { Err(ENODEV) }
    }

    /// Returns the number of bytes that [`Room::read`] needs: one more than the file has, so that a file that has grown
    /// is recognized. The files of some file systems (proc(5)) have no size.
    pub(crate) fn room(&self) -> usize {
        match self.size {
            0 => LARGEST_RULES,
            size => LARGEST_RULES.min(size.saturating_add(1)),
        }
    }
}

impl Drop for RegularFile {
    fn drop(&mut self) {
        close(self.fd);
    }
}

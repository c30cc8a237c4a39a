//! Memory that is never freed, and how files are read into it.

use super::{ENODEV, Errno, S_IFREG, call, close, number, result, status};
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_long};
use core::sync::atomic::{AtomicBool, Ordering};
use keepalive_policy::protocol::LARGEST_RULES;

/// The size of [`SMALL_ROOM`], which is on the page of the library's other data: the loader has written to that page.
const SMALL: usize = 1024;

/// Memory for the texts of a few rules.
struct Small {
    is_taken: AtomicBool,
    bytes: UnsafeCell<[u8; SMALL]>,
}

// SAFETY: only the thread that takes the room uses the bytes.
unsafe impl Sync for Small {}

static SMALL_ROOM: Small = Small {
    is_taken: AtomicBool::new(false),
    bytes: UnsafeCell::new([0; SMALL]),
};

/// Memory that is handed out in pieces.
pub(crate) struct Room {
    start: *mut u8,
    length: usize,
    used: usize,
}

impl Room {
    /// The alignment of what [`Room::take_end`] returns.
    pub(crate) const ALIGNMENT: usize = 64;

    /// Returns room for `length` bytes, at the start of the library; `None` if there is no memory.
    pub(crate) fn at_start(length: usize) -> Option<Self> {
        // A mapping and its first page cost about 7 µs an exec.
        if length <= SMALL && !SMALL_ROOM.is_taken.swap(true, Ordering::Relaxed) {
            let start = SMALL_ROOM.bytes.get().cast();
            return Some(Self { start, length, used: 0 });
        }
        Self::map(0, length)
    }

    /// Maps room for `length` bytes while the program runs; `None` if there is no memory. It is far from other mappings,
    /// because the kernel might otherwise choose a place that the program has unmapped and expects to stay so.
    pub(crate) fn apart(length: usize) -> Option<Self> {
        const FAR: u64 = 1 << 36;
        let library = (&raw const SMALL_ROOM).addr() as u64;
        // 0, in an address space of 32 bits, lets the kernel choose.
        let wanted = usize::try_from(library.saturating_sub(FAR)).unwrap_or(0);
        Self::map(wanted, length)
    }

    /// Maps `length` bytes of zeros, at the address `wanted` if the place is free. Pages that are never touched use no
    /// memory.
    fn map(wanted: usize, length: usize) -> Option<Self> {
        const PROT_READ_WRITE: c_long = 3;
        const MAP_PRIVATE_ANONYMOUS_NORESERVE: c_long = 0x4022;
        let arguments = [
            wanted as c_long,
            length as c_long,
            PROT_READ_WRITE,
            MAP_PRIVATE_ANONYMOUS_NORESERVE,
            -1,
            0,
        ];
        // SAFETY: mmap(2) without MAP_FIXED and a descriptor does not affect existing mappings.
        let start = result(unsafe { call(number::MMAP, arguments) }).ok()? as *mut u8;
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
        if length == file.room() && length != file.size {
            let end = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
            return text.get(..end).unwrap_or_default();
        }
        text
    }

    /// Takes `length` bytes from the end of the room, zeros with the alignment of any type. Returns their address; `None`
    /// if there is no room.
    pub(crate) fn take_end(&mut self, length: usize) -> Option<*mut u8> {
        let end = self.length.checked_sub(length)? & !(Self::ALIGNMENT - 1);
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

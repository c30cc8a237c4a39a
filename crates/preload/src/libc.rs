//! The four things that the program's C library must lend us. Each is a weak reference without a version, so that one
//! file loads under every glibc and under musl, and even where one of them is missing.

use core::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use core::ptr::NonNull;

/// What `dl_iterate_phdr(3)` calls for each loaded object; anything but 0 ends the walk.
pub(crate) type ObjectVisitor = unsafe extern "C" fn(info: *const c_void, size: usize, data: *mut c_void) -> c_int;

#[repr(C)]
struct Lent {
    dl_iterate_phdr: Option<unsafe extern "C" fn(visit: ObjectVisitor, data: *mut c_void) -> c_int>,
    environ: Option<NonNull<*const *const c_char>>,
    errno_location: Option<unsafe extern "C" fn() -> *mut c_int>,
    getauxval: Option<unsafe extern "C" fn(kind: c_ulong) -> c_ulong>,
}

// Rust's stable linkage has no weak references; the loader fills this table instead, with 0 for what is missing.
#[cfg(target_pointer_width = "64")]
macro_rules! word {
    ($name:literal) => {
        concat!(".quad ", $name)
    };
}
#[cfg(target_pointer_width = "32")]
macro_rules! word {
    ($name:literal) => {
        concat!(".long ", $name)
    };
}
core::arch::global_asm!(
    ".weak dl_iterate_phdr",
    ".weak environ",
    ".weak __errno_location",
    ".weak getauxval",
    ".pushsection .data.rel, \"aw\"",
    ".balign 8",
    ".hidden keepalive_lent",
    ".globl keepalive_lent",
    "keepalive_lent:",
    word!("dl_iterate_phdr"),
    word!("environ"),
    word!("__errno_location"),
    word!("getauxval"),
    ".popsection",
);

unsafe extern "C" {
    #[link_name = "keepalive_lent"]
    static LENT: Lent;
}

fn lent() -> &'static Lent {
    // SAFETY: the table above has the layout of `Lent`, and nobody writes to it once the loader has filled it.
    unsafe { &LENT }
}

/// `AT_SECURE` of getauxval(3).
const AT_SECURE: c_ulong = 23;

/// Whether this is secure-execution mode (ld.so(8)); also where it cannot be told.
pub(crate) fn is_secure() -> bool {
    // SAFETY: getauxval(3) may be called at any time.
    lent()
        .getauxval
        .is_none_or(|getauxval| unsafe { getauxval(AT_SECURE) } != 0)
}

/// A value that the kernel has given this program (getauxval(3)); 0 where there is none.
fn auxiliary(kind: c_ulong) -> c_ulong {
    // SAFETY: getauxval(3) may be called at any time.
    lent().getauxval.map_or(0, |getauxval| unsafe { getauxval(kind) })
}

/// Whether the file of this program would give it the privilege of another user or group, or capabilities, if the kernel had
/// not been told to give none (`PR_SET_NO_NEW_PRIVS`).
pub(crate) fn would_be_privileged() -> bool {
    const AT_EUID: c_ulong = 12;
    const AT_EGID: c_ulong = 14;
    crate::sys::is_privileged(auxiliary(AT_EUID) as u32, auxiliary(AT_EGID) as u32)
}

/// The name of this program: the last part of the path that it was executed by; empty where that cannot be told.
pub(crate) fn program() -> &'static [u8] {
    /// The address of that path.
    const AT_EXECFN: c_ulong = 31;
    let address = auxiliary(AT_EXECFN);
    if address == 0 {
        return b"";
    }
    // SAFETY: the kernel put a string there, at the end of the stack's mapping, that nobody takes away.
    let path = unsafe { CStr::from_ptr(address as *const c_char) }.to_bytes();
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// The address of this thread's `errno`.
fn errno_location() -> Option<NonNull<c_int>> {
    // SAFETY: __errno_location (LSB) takes nothing.
    lent()
        .errno_location
        .and_then(|errno_location| NonNull::new(unsafe { errno_location() }))
}

/// Sets `errno` of this thread.
pub(crate) fn set_errno(number: c_int) {
    if let Some(errno) = errno_location() {
        // SAFETY: valid as long as the thread runs.
        unsafe { errno.write(number) };
    }
}

/// `errno` of this thread; 0 where it cannot be told.
pub(crate) fn errno() -> c_int {
    // SAFETY: valid as long as the thread runs.
    errno_location().map_or(0, |errno| unsafe { errno.read() })
}

/// Calls `visit` with `data` for each loaded object, in search order.
///
/// # Safety
/// `data` must be what `visit` expects.
pub(crate) unsafe fn for_each_object(visit: ObjectVisitor, data: *mut c_void) {
    if let Some(dl_iterate_phdr) = lent().dl_iterate_phdr {
        // SAFETY: dl_iterate_phdr(3) hands `data` through; it is right for `visit` by the caller's promise.
        unsafe { dl_iterate_phdr(visit, data) };
    }
}

/// Whether the C library has set `environ` yet, which may be empty.
pub(crate) fn has_environment() -> bool {
    // SAFETY: a variable of the C library.
    lent()
        .environ
        .is_some_and(|environ| unsafe { !(*environ.as_ptr()).is_null() })
}

/// The entries of the environment (environ(7)) that begin with certain letters.
pub(crate) struct Variables {
    next: *const *const c_char,
    initials: &'static [u8],
}

/// The entries of the environment that begin with one of `initials`.
///
/// # Safety
/// Nobody may change the environment or its strings as long as the iterator or one of its slices is in use.
pub(crate) unsafe fn variables(initials: &'static [u8]) -> Variables {
    let next = lent().environ.map_or(core::ptr::null(), |environ| {
        // SAFETY: a variable of the C library; it points to an array or is null.
        unsafe { *environ.as_ptr() }
    });
    Variables { next, initials }
}

impl Iterator for Variables {
    type Item = &'static [u8];

    #[inline(never)]
    fn next(&mut self) -> Option<&'static [u8]> {
        if self.next.is_null() {
            return None;
        }
        loop {
            // SAFETY: the array ends with a null pointer, which we have not passed.
            let text = unsafe { *self.next };
            if text.is_null() {
                return None;
            }
            // SAFETY: this entry was not the last pointer of the array.
            self.next = unsafe { self.next.add(1) };
            // SAFETY: an entry is a string that ends with a NUL, so that its first byte is there.
            if self.initials.contains(&unsafe { *text.cast::<u8>() }) {
                // SAFETY: as above; it does not change by the promise made to `variables`.
                return Some(unsafe { CStr::from_ptr(text) }.to_bytes());
            }
        }
    }
}

//! Declares the four symbols of the program's C library that this library uses. Each is a weak reference without a
//! version. So one file loads with every glibc and with musl, and also if a symbol is missing.

use core::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use core::ptr::NonNull;
use keepalive_policy::parse::has_byte;

/// The callback that `dl_iterate_phdr(3)` calls for each loaded object. A result other than 0 ends the walk.
pub(crate) type ObjectVisitor = unsafe extern "C" fn(info: *const c_void, size: usize, data: *mut c_void) -> c_int;

#[repr(C)]
struct Lent {
    dl_iterate_phdr: Option<unsafe extern "C" fn(visit: ObjectVisitor, data: *mut c_void) -> c_int>,
    environ: Option<NonNull<*const *const c_char>>,
    errno_location: Option<unsafe extern "C" fn() -> *mut c_int>,
    getauxval: Option<unsafe extern "C" fn(kind: c_ulong) -> c_ulong>,
}

// Stable Rust has no weak references. Instead the loader fills this table, with 0 for each missing symbol.
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
    // SAFETY: the table above has the layout of `Lent`, and after the loader has filled it, no code writes to it.
    unsafe { &LENT }
}

/// `AT_SECURE` of getauxval(3).
const AT_SECURE: c_ulong = 23;

/// Whether this process is in secure-execution mode (ld.so(8)); also true if that is unknown.
pub(crate) fn is_secure() -> bool {
    // SAFETY: getauxval(3) may be called at any time.
    lent()
        .getauxval
        .is_none_or(|getauxval| unsafe { getauxval(AT_SECURE) } != 0)
}

/// Returns a value of the auxiliary vector (getauxval(3)); 0 if there is none.
fn auxiliary(kind: c_ulong) -> c_ulong {
    // SAFETY: getauxval(3) may be called at any time.
    lent().getauxval.map_or(0, |getauxval| unsafe { getauxval(kind) })
}

/// Returns an address within the C library; 0 if it is unknown. Other libraries do not replace getauxval(3).
pub(crate) fn address_within() -> usize {
    lent().getauxval.map_or(0, |getauxval| getauxval as usize)
}

/// Whether the program's file would give the program the privilege of another user or group, or capabilities, without
/// `PR_SET_NO_NEW_PRIVS`.
pub(crate) fn would_be_privileged() -> bool {
    const AT_EUID: c_ulong = 12;
    const AT_EGID: c_ulong = 14;
    crate::sys::is_privileged(auxiliary(AT_EUID) as u32, auxiliary(AT_EGID) as u32)
}

/// Returns the name of this program: the last part of the path that was executed. Returns an empty name if the path is
/// unknown.
pub(crate) fn program() -> &'static [u8] {
    /// The address of that path.
    const AT_EXECFN: c_ulong = 31;
    let address = auxiliary(AT_EXECFN);
    if address == 0 {
        return b"";
    }
    // SAFETY: the kernel has put a string there, at the end of the stack's mapping, and the string stays mapped.
    let path = unsafe { CStr::from_ptr(address as *const c_char) }.to_bytes();
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Returns the address of this thread's `errno`.
fn errno_location() -> Option<NonNull<c_int>> {
    // SAFETY: __errno_location (LSB) has no arguments.
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

/// Returns `errno` of this thread; 0 if it is unknown.
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
        // SAFETY: dl_iterate_phdr(3) passes `data` to `visit`, which expects it by the caller's promise.
        unsafe { dl_iterate_phdr(visit, data) };
    }
}

/// Whether the C library has already set `environ`. The environment may be empty.
pub(crate) fn has_environment() -> bool {
    // SAFETY: a variable of the C library.
    lent()
        .environ
        .is_some_and(|environ| unsafe { !(*environ.as_ptr()).is_null() })
}

/// An iterator over the entries of the environment (environ(7)) that begin with certain letters.
pub(crate) struct Variables {
    next: *const *const c_char,
    initials: &'static [u8],
}

/// Returns the entries of the environment that begin with one of `initials`.
///
/// # Safety
/// No code may change the environment or its strings as long as the iterator or one of its slices is in use.
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
            let first = unsafe { *text.cast::<u8>() };
            if has_byte(self.initials, first) {
                // SAFETY: as above; it does not change by the promise made to `variables`.
                return Some(unsafe { CStr::from_ptr(text) }.to_bytes());
            }
        }
    }
}

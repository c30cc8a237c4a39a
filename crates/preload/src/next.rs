//! The definitions that come after ours: what the program would have called without this library.
//!
//! They are found by walking the loaded objects in search order (dl_iterate_phdr(3)) and asking each one's symbol table,
//! as `dlsym(RTLD_NEXT)` does. `dlsym` itself is not used: glibc before 2.34 keeps it in libdl.so, which a program need
//! not have; and it allocates, and leaves its errors where the program's own `dlerror` finds them.

mod object;

use crate::hooks::{FUNCTIONS, Function, NAMES};
use crate::libc;
use crate::state;
use crate::sys::{self, Errno};
use core::ffi::{c_char, c_int, c_long, c_void};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use object::{Object, dynamic_section, path};

/// Where each of the hooks' functions was found, 0 where it was not; in the order of [`NAMES`].
static FOUND: [AtomicUsize; FUNCTIONS] = [const { AtomicUsize::new(0) }; FUNCTIONS];

/// Whether the next `socket` is the C library's own.
static SOCKET_IS_LIBCS: AtomicBool = AtomicBool::new(false);

/// Defines `next::NAME`, the call of a next definition; where there is none, the system call with these arguments, whose error
/// goes to `errno`. That loses the cancellation point, which is all that is left of libc's part then.
macro_rules! next {
    ($(fn $name:ident($($argument:ident: $kind:ty),*) -> $returned:ty = $number:expr, [$($word:expr),*];)+) => {
        mod next {
            use super::*;
            use $crate::hooks::Function;
            use $crate::next::{address_of, from_kernel};

            $(
                /// # Safety
                /// As the function of this name in the C library asks.
                #[inline(always)]
                pub(super) unsafe fn $name($($argument: $kind),*) -> $returned {
                    let address = address_of(Function::$name);
                    if address == 0 {
                        // SAFETY: the system call of the same meaning; the arguments are the caller's promise.
                        return unsafe { from_kernel($number, $($word as _),*) } as $returned;
                    }
                    // SAFETY: `address` is that of the C library's function of this name, or of one that stands in for it,
                    // and this is its type.
                    let function: unsafe extern "C" fn($($kind),*) -> $returned = unsafe { core::mem::transmute(address) };
                    // SAFETY: the caller's promise.
                    unsafe { function($($argument),*) }
                }
            )+
        }
    };
}
pub(crate) use next;

/// The type of syscall(2).
pub(crate) type Syscall = unsafe extern "C" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;

/// The next `syscall`, to be called as syscall(2) and the system call ask.
#[inline]
pub(crate) fn syscall() -> Syscall {
    match address_of(Function::syscall) {
        0 => from_kernel_with_six,
        // SAFETY: the address is that of the C library's `syscall`, or of one that stands in for it.
        address => unsafe { core::mem::transmute::<usize, Syscall>(address) },
    }
}

/// Whether the next `socket` is the C library's own, which gives what it is asked for; another library's may not.
pub(crate) fn socket_is_libcs() -> bool {
    SOCKET_IS_LIBCS.load(Ordering::Relaxed)
}

/// Finds all of them. Not to be called from a signal handler: the loader's lock is taken.
pub(crate) fn find() {
    let mut after_ours = false;
    // SAFETY: `visit` takes a `bool`.
    unsafe { libc::for_each_object(visit, (&raw mut after_ours).cast()) };
}

#[inline(always)]
pub(crate) fn address_of(function: Function) -> usize {
    let address = FOUND[function as usize].load(Ordering::Relaxed);
    if address != 0 { address } else { find_late(function) }
}

/// Another library's constructor called before ours ran.
#[cold]
fn find_late(function: Function) -> usize {
    state::start_early();
    FOUND[function as usize].load(Ordering::Relaxed)
}

/// Makes a system call as the C library would: −1 and `errno` for an error.
///
/// # Safety
/// As [`sys::call`].
#[cold]
unsafe extern "C" fn from_kernel_with_six(
    n: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    // SAFETY: the caller's promise.
    let returned = unsafe { sys::call(n, [a, b, c, d, e, f]) };
    sys::result(returned).unwrap_or_else(|Errno(errno)| {
        libc::set_errno(errno);
        -1
    })
}

/// As [`from_kernel_with_six`], for calls with five arguments at most.
///
/// # Safety
/// As [`sys::call`].
#[cold]
pub(crate) unsafe fn from_kernel(n: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long) -> c_long {
    // SAFETY: the caller's promise.
    unsafe { from_kernel_with_six(n, a, b, c, d, e, 0) }
}

unsafe extern "C" {
    /// The beginning of this library's own dynamic section; the linker defines it.
    #[link_name = "_DYNAMIC"]
    static OUR_DYNAMIC_SECTION: u8;
}
core::arch::global_asm!(".hidden _DYNAMIC");

/// # Safety
/// `dl_iterate_phdr` calls this, with `after_ours` pointing to a `bool`.
unsafe extern "C" fn visit(info: *const c_void, _size: usize, after_ours: *mut c_void) -> c_int {
    // SAFETY: the pointer comes from `find`, whose `bool` lives through the walk.
    let after_ours = unsafe { &mut *after_ours.cast::<bool>() };
    if *after_ours {
        // SAFETY: `info` comes from `dl_iterate_phdr`.
        if let Some(object) = unsafe { Object::new(info) } {
            take_from(&object);
        }
    } else {
        // SAFETY: `info` comes from `dl_iterate_phdr`.
        *after_ours = unsafe { is_ours(info) };
    }
    // Anything but 0 ends the walk.
    c_int::from(FOUND.iter().all(|slot| slot.load(Ordering::Relaxed) != 0))
}

/// Whether the object that `dl_iterate_phdr` shows is this library.
///
/// # Safety
/// `info` must come from `dl_iterate_phdr`.
unsafe fn is_ours(info: *const c_void) -> bool {
    // SAFETY: the caller's promise.
    let dynamic = unsafe { dynamic_section(info) };
    dynamic == Some((&raw const OUR_DYNAMIC_SECTION).addr())
}

/// The path of this library's file, a string that stays; null where it cannot be told.
pub(crate) fn own_path() -> *const c_char {
    /// # Safety
    /// `dl_iterate_phdr` calls this, with `found` pointing to a pointer.
    unsafe extern "C" fn look(info: *const c_void, _size: usize, found: *mut c_void) -> c_int {
        // SAFETY: `info` comes from `dl_iterate_phdr`.
        let is_ours = unsafe { is_ours(info) };
        if is_ours {
            // SAFETY: `info` comes from `dl_iterate_phdr`.
            let path = unsafe { path(info) };
            // SAFETY: the pointer lives through the walk below.
            unsafe { found.cast::<*const c_char>().write(path) };
        }
        c_int::from(is_ours)
    }
    let mut found: *const c_char = core::ptr::null();
    // SAFETY: `look` takes a pointer to a pointer.
    unsafe { libc::for_each_object(look, (&raw mut found).cast()) };
    found
}

/// Takes from `object` the functions that no earlier object had.
fn take_from(object: &Object) {
    for (position, (name, slot)) in NAMES.split_inclusive(|byte| *byte == 0).zip(&FOUND).enumerate() {
        if slot.load(Ordering::Relaxed) != 0 {
            continue;
        }
        if let Some(address) = object.function(name) {
            if position == Function::socket as usize {
                // Of all objects only the C library has this one (glibc and musl alike).
                SOCKET_IS_LIBCS.store(object.function(b"__libc_start_main\0").is_some(), Ordering::Relaxed);
            }
            slot.store(address, Ordering::Relaxed);
        }
    }
}

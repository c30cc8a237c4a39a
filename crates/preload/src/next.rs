//! Finds the next definitions: the functions that the program would call without this library.
//!
//! The library walks the loaded objects in search order (dl_iterate_phdr(3)) and searches their symbol tables, as
//! `dlsym(RTLD_NEXT)` does. The library does not use `dlsym`: before glibc 2.34, `dlsym` is in libdl.so, which a
//! program may not load. `dlsym` also allocates, and the program's own `dlerror` would return its errors.
//!
//! Most processes call no hook, and a search costs cache misses in the tables of the C library. So the start records
//! only the objects. Each function is searched at its first call, which takes no lock and makes no system call.

mod object;

use crate::hooks::{FUNCTIONS, Function, NAMES};
use crate::libc;
use crate::state;
use crate::sys::{self, Errno};
use core::ffi::{c_char, c_int, c_long, c_void};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use object::{Object, dynamic_section, path};

/// The addresses of the next definitions, in the order of [`NAMES`]; 0 if a function was not searched or not found.
static FOUND: [AtomicUsize; FUNCTIONS] = [const { AtomicUsize::new(0) }; FUNCTIONS];

/// A recorded object: its base and its dynamic section.
struct Place {
    base: AtomicUsize,
    dynamic: AtomicUsize,
}

/// The objects behind this library, up to the C library. The process cannot unload them.
static PLACES: [Place; 8] = [const {
    Place {
        base: AtomicUsize::new(0),
        dynamic: AtomicUsize::new(0),
    }
}; 8];

/// The number of recorded objects; 0 if all functions were searched at the start.
static PLACE_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Whether the next `socket` is the C library's function.
static SOCKET_IS_LIBCS: AtomicBool = AtomicBool::new(false);

/// Defines `next::NAME`, which calls the next definition. If there is none, it makes the system call with these
/// arguments, and stores an error in `errno`. Only the cancellation point of libc's function is lost then.
macro_rules! next {
    ($(fn $name:ident($($argument:ident: $kind:ty),*) -> $returned:ty = $number:expr, [$($word:expr),*];)+) => {
        mod next {
            use super::*;
            use $crate::hooks::Function;
            use $crate::next::{address_of, from_kernel};

            $(
                /// # Safety
                /// As the function with this name in the C library requires.
                #[inline(always)]
                pub(super) unsafe fn $name($($argument: $kind),*) -> $returned {
                    let address = address_of(Function::$name);
                    if address == 0 {
                        // SAFETY: the system call of the same meaning; the arguments are the caller's promise.
                        return unsafe { from_kernel($number, $($word as _),*) } as $returned;
                    }
                    // SAFETY: `address` is that of the C library's function with this name, or of a function that
                    // replaces it, and this is its type.
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

/// Returns the next `syscall`. The caller must call it as syscall(2) and the system call require.
#[inline]
pub(crate) fn syscall() -> Syscall {
    match address_of(Function::syscall) {
        0 => from_kernel_with_six,
        // SAFETY: the address is that of the C library's `syscall`, or of a function that replaces it.
        address => unsafe { core::mem::transmute::<usize, Syscall>(address) },
    }
}

/// Whether the next `socket` is the C library's function, which creates exactly the requested socket. The function of
/// another library may create another socket.
pub(crate) fn socket_is_libcs() -> bool {
    SOCKET_IS_LIBCS.load(Ordering::Relaxed)
}

/// Records the objects that contain the next definitions. A signal handler must not call this, because it takes the
/// loader's lock. Searches all functions at once if there are many objects, or if the C library is not behind this
/// library (dlopen(3)), because the process may unload such objects.
pub(crate) fn find() {
    let mut walk = Walk {
        is_after_ours: false,
        count: 0,
        has_libc: false,
    };
    // SAFETY: `record` takes a `Walk`.
    unsafe { libc::for_each_object(record, (&raw mut walk).cast()) };
    if walk.has_libc {
        PLACE_COUNT.store(walk.count, Ordering::Release);
    } else {
        let mut after_ours = false;
        // SAFETY: `visit` takes a `bool`.
        unsafe { libc::for_each_object(visit, (&raw mut after_ours).cast()) };
    }
}

#[inline(always)]
pub(crate) fn address_of(function: Function) -> usize {
    let address = FOUND[function as usize].load(Ordering::Relaxed);
    if address != 0 { address } else { find_late(function) }
}

/// Searches a function at its first call. Starts the library if another library's constructor makes the call before
/// this library's constructor.
#[cold]
fn find_late(function: Function) -> usize {
    state::start_early();
    if FOUND[function as usize].load(Ordering::Relaxed) == 0 {
        for place in PLACES.iter().take(PLACE_COUNT.load(Ordering::Acquire)) {
            let (base, dynamic) = (&place.base, &place.dynamic);
            // SAFETY: `record` has stored them, and the process cannot unload the object.
            if let Some(object) = unsafe { Object::new(base.load(Ordering::Relaxed), dynamic.load(Ordering::Relaxed)) }
            {
                take_from(&object, Some(function));
            }
        }
    }
    FOUND[function as usize].load(Ordering::Relaxed)
}

/// Makes a system call as the C library does: returns −1 and sets `errno` on an error.
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

/// Makes a system call as [`from_kernel_with_six`], with at most five arguments.
///
/// # Safety
/// As [`sys::call`].
#[cold]
pub(crate) unsafe fn from_kernel(n: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long) -> c_long {
    // SAFETY: the caller's promise.
    unsafe { from_kernel_with_six(n, a, b, c, d, e, 0) }
}

unsafe extern "C" {
    /// The beginning of this library's own dynamic section. The linker defines the symbol.
    #[link_name = "_DYNAMIC"]
    static OUR_DYNAMIC_SECTION: u8;
}
core::arch::global_asm!(".hidden _DYNAMIC");

/// The state of a walk of [`record`].
struct Walk {
    is_after_ours: bool,
    count: usize,
    has_libc: bool,
}

/// Records an object. Ends the walk at the C library, and when there is no more room.
///
/// # Safety
/// `dl_iterate_phdr` calls this, with `walk` pointing to a [`Walk`].
unsafe extern "C" fn record(info: *const c_void, _size: usize, walk: *mut c_void) -> c_int {
    // SAFETY: the pointer comes from `find`, whose `Walk` lives through the walk.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    // SAFETY: `info` comes from `dl_iterate_phdr`.
    let (base, Some(dynamic)) = (unsafe { object::base(info) }, unsafe { dynamic_section(info) }) else {
        return 0;
    };
    if !walk.is_after_ours {
        walk.is_after_ours = is_our_dynamic_section(dynamic);
        return 0;
    }
    let Some(place) = PLACES.get(walk.count) else { return 1 };
    place.base.store(base, Ordering::Relaxed);
    place.dynamic.store(dynamic, Ordering::Relaxed);
    walk.count += 1;
    // SAFETY: `info` comes from `dl_iterate_phdr`.
    walk.has_libc = unsafe { object::contains(info, libc::address_within()) };
    c_int::from(walk.has_libc)
}

/// # Safety
/// `dl_iterate_phdr` calls this, with `after_ours` pointing to a `bool`.
unsafe extern "C" fn visit(info: *const c_void, _size: usize, after_ours: *mut c_void) -> c_int {
    // SAFETY: the pointer comes from `find`, whose `bool` lives through the walk.
    let after_ours = unsafe { &mut *after_ours.cast::<bool>() };
    // SAFETY: `info` comes from `dl_iterate_phdr`.
    let (base, Some(dynamic)) = (unsafe { object::base(info) }, unsafe { dynamic_section(info) }) else {
        return 0;
    };
    if *after_ours {
        // SAFETY: both are from `dl_iterate_phdr`, which keeps the object loaded during this call.
        if let Some(object) = unsafe { Object::new(base, dynamic) } {
            take_from(&object, None);
        }
    } else {
        *after_ours = is_our_dynamic_section(dynamic);
    }
    // A result other than 0 ends the walk.
    c_int::from(FOUND.iter().all(|slot| slot.load(Ordering::Relaxed) != 0))
}

fn is_our_dynamic_section(address: usize) -> bool {
    address == (&raw const OUR_DYNAMIC_SECTION).addr()
}

/// Whether the object of this callback of `dl_iterate_phdr` is this library.
///
/// # Safety
/// `info` must come from `dl_iterate_phdr`.
unsafe fn is_ours(info: *const c_void) -> bool {
    // SAFETY: the caller's promise.
    unsafe { dynamic_section(info) }.is_some_and(is_our_dynamic_section)
}

/// Returns the path of this library's file, a string that stays valid; null if the path is unknown.
pub(crate) fn own_path() -> *const c_char {
    /// # Safety
    /// `dl_iterate_phdr` calls this, with `found` pointing to a pointer.
    unsafe extern "C" fn visit(info: *const c_void, _size: usize, found: *mut c_void) -> c_int {
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
    // SAFETY: `visit` takes a pointer to a pointer.
    unsafe { libc::for_each_object(visit, (&raw mut found).cast()) };
    found
}

/// Stores the functions of `object` that no earlier object has defined; with `only`, only this function.
#[inline(never)]
fn take_from(object: &Object, only: Option<Function>) {
    for (position, (name, slot)) in NAMES.split_inclusive(|byte| *byte == 0).zip(&FOUND).enumerate() {
        if slot.load(Ordering::Relaxed) != 0 || only.is_some_and(|only| only as usize != position) {
            continue;
        }
        if let Some(address) = object.function(name) {
            if position == Function::socket as usize {
                // Only the C library defines this symbol (glibc and musl).
                SOCKET_IS_LIBCS.store(object.function(b"__libc_start_main\0").is_some(), Ordering::Relaxed);
            }
            slot.store(address, Ordering::Relaxed);
        }
    }
}

//! Finds a function in the symbol table of a loaded ELF object (elf(5), System V ABI chapter 5). Reads the GNU hash
//! table as glibc's `elf/dl-lookup.c` does.

use core::ffi::{c_char, c_void};

/// The beginning of `struct dl_phdr_info` (dl_iterate_phdr(3)).
#[repr(C)]
pub(super) struct Info {
    base: usize,
    name: *const c_char,
    headers: *const Header,
    header_count: u16,
}

/// A program header.
#[cfg(target_pointer_width = "64")]
#[repr(C)]
struct Header {
    kind: u32,
    flags: u32,
    offset: usize,
    address: usize,
    _physical_address: usize,
    _size_in_file: usize,
    size: usize,
    _alignment: usize,
}
#[cfg(target_pointer_width = "32")]
#[repr(C)]
struct Header {
    kind: u32,
    offset: usize,
    address: usize,
    _physical_address: usize,
    _size_in_file: usize,
    size: usize,
    _flags: usize,
    _alignment: usize,
}

/// An entry of the dynamic section.
#[repr(C)]
struct Dynamic {
    tag: isize,
    value: usize,
}

/// A symbol.
#[cfg(target_pointer_width = "64")]
#[derive(Clone, Copy)]
#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: usize,
    size: usize,
}
#[cfg(target_pointer_width = "32")]
#[derive(Clone, Copy)]
#[repr(C)]
struct Symbol {
    name: u32,
    value: usize,
    size: usize,
    info: u8,
    other: u8,
    section: u16,
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_NULL: isize = 0;
const DT_HASH: isize = 4;
const DT_STRTAB: isize = 5;
const DT_SYMTAB: isize = 6;
const DT_GNU_HASH: isize = 0x6fff_fef5;
const DT_VERSYM: isize = 0x6fff_fff0;
const STT_FUNC: u8 = 2;
/// The bit of a version index that hides a symbol from references without a version.
const HIDDEN: u16 = 0x8000;

/// The tables of one loaded object.
pub(super) struct Object {
    base: usize,
    symbols: *const Symbol,
    strings: *const u8,
    gnu_hash: *const u32,
    hash: *const u32,
    versions: *const u16,
}

/// Returns element `index` of an array of `T` at `start`.
///
/// # Safety
/// `start` must point to at least `index + 1` elements.
unsafe fn at<T: Copy>(start: *const T, index: usize) -> T {
    // SAFETY: the element is within the array by the caller's promise.
    let element = unsafe { start.add(index) };
    // SAFETY: as above; the tables of loaded objects are aligned for their elements.
    unsafe { *element }
}

/// Returns the bytes of a name before its NUL.
fn letters(name: &[u8]) -> impl Iterator<Item = &u8> {
    name.iter().take_while(|byte| **byte != 0)
}

/// Returns the program headers of the object in `info`.
///
/// # Safety
/// `info` must be the pointer that `dl_iterate_phdr` has passed to its callback, and the callback must not have
/// returned yet.
unsafe fn headers<'a>(info: *const c_void) -> &'a [Header] {
    // SAFETY: the caller's promise; `Info` is the beginning of the loader's structure.
    let info = unsafe { &*info.cast::<Info>() };
    // SAFETY: the loader keeps `header_count` program headers at `headers`.
    unsafe { core::slice::from_raw_parts(info.headers, usize::from(info.header_count)) }
}

/// Returns the base of the object in `info`: the difference between its addresses in memory and in the file.
///
/// # Safety
/// As [`headers`].
pub(super) unsafe fn base(info: *const c_void) -> usize {
    // SAFETY: the caller's promise; `Info` is the beginning of the loader's structure.
    unsafe { &*info.cast::<Info>() }.base
}

/// Returns the address of the dynamic section of the object in `info`.
///
/// # Safety
/// As [`headers`].
pub(super) unsafe fn dynamic_section(info: *const c_void) -> Option<usize> {
    // SAFETY: the caller's promise.
    let headers = unsafe { headers(info) };
    let address = headers.iter().find(|header| header.kind == PT_DYNAMIC)?.address;
    // SAFETY: the caller's promise.
    Some(unsafe { base(info) }.wrapping_add(address))
}

/// Whether the object in `info` contains `address`.
///
/// # Safety
/// As [`headers`].
pub(super) unsafe fn contains(info: *const c_void, address: usize) -> bool {
    // SAFETY: the caller's promise.
    let offset = address.wrapping_sub(unsafe { base(info) });
    // SAFETY: the caller's promise.
    let headers = unsafe { headers(info) };
    headers
        .iter()
        .any(|header| header.kind == PT_LOAD && offset.wrapping_sub(header.address) < header.size)
}

/// Returns the loader's path of the object in `info`.
///
/// # Safety
/// As [`headers`].
pub(super) unsafe fn path(info: *const c_void) -> *const c_char {
    // SAFETY: the caller's promise; `Info` is the beginning of the loader's structure.
    unsafe { &*info.cast::<Info>() }.name
}

impl Object {
    /// Reads a dynamic section; `None` if the object has no symbol table.
    ///
    /// # Safety
    /// `base` and `dynamic` must be the base and the address of the dynamic section of one loaded object. The object
    /// must stay loaded as long as the result lives.
    pub(super) unsafe fn new(base: usize, dynamic: usize) -> Option<Self> {
        let mut object = Self {
            base,
            symbols: core::ptr::null(),
            strings: core::ptr::null(),
            gnu_hash: core::ptr::null(),
            hash: core::ptr::null(),
            versions: core::ptr::null(),
        };
        let mut entry = dynamic as *const Dynamic;
        loop {
            // SAFETY: the dynamic section ends with DT_NULL, which the loop has not passed.
            let Dynamic { tag, value } = unsafe { &*entry };
            // glibc has added the base to these pointers; musl and the vDSO have not.
            let pointer = if *value < base {
                value.wrapping_add(base)
            } else {
                *value
            };
            match *tag {
                DT_NULL => break,
                DT_SYMTAB => object.symbols = pointer as _,
                DT_STRTAB => object.strings = pointer as _,
                DT_GNU_HASH => object.gnu_hash = pointer as _,
                DT_HASH => object.hash = pointer as _,
                DT_VERSYM => object.versions = pointer as _,
                _ => {}
            }
            // SAFETY: this entry was not the last.
            entry = unsafe { entry.add(1) };
        }
        (!object.symbols.is_null() && !object.strings.is_null()).then_some(object)
    }

    /// Returns the address of the function `name` (with its NUL) that this object defines and exports, or `None`.
    pub(super) fn function(&self, name: &[u8]) -> Option<usize> {
        if !self.gnu_hash.is_null() {
            // SAFETY: DT_GNU_HASH was in this object's dynamic section.
            unsafe { self.search_gnu_hash(name) }
        } else if !self.hash.is_null() {
            // SAFETY: DT_HASH was in this object's dynamic section.
            unsafe { self.search_hash(name) }
        } else {
            None
        }
    }

    /// # Safety
    /// `self.gnu_hash` must point to this object's GNU hash table.
    unsafe fn search_gnu_hash(&self, name: &[u8]) -> Option<usize> {
        let hash = letters(name).fold(5381_u32, |hash, byte| {
            hash.wrapping_mul(33).wrapping_add(u32::from(*byte))
        });
        // SAFETY: the table begins with four words.
        let [bucket_count, first, bloom_words] = unsafe { *self.gnu_hash.cast::<[u32; 3]>() };
        let bloom_words = bloom_words as usize * (size_of::<usize>() / size_of::<u32>());
        // SAFETY: the Bloom filter follows, then the buckets.
        let buckets = unsafe { self.gnu_hash.add(4 + bloom_words) };
        // SAFETY: then the chains, one word for each symbol from `first` on.
        let chains = unsafe { buckets.add(bucket_count as usize) };
        // SAFETY: the index is below the number of buckets.
        let mut index = unsafe { at(buckets, hash.checked_rem(bucket_count)? as usize) };
        if index < first {
            return None;
        }
        loop {
            // SAFETY: a bucket contains the first symbol of its chain, and a chain continues until a word's lowest bit
            // is set.
            let chained = unsafe { at(chains, (index - first) as usize) };
            if chained | 1 == hash | 1 {
                // SAFETY: a symbol of a chain is in the symbol table.
                let found = unsafe { self.symbol(index, name) };
                if found.is_some() {
                    return found;
                }
            }
            if chained & 1 != 0 {
                return None;
            }
            index += 1;
        }
    }

    /// # Safety
    /// `self.hash` must point to this object's System V hash table.
    unsafe fn search_hash(&self, name: &[u8]) -> Option<usize> {
        let hash = letters(name).fold(0_u32, |hash, byte| {
            let hash = (hash << 4).wrapping_add(u32::from(*byte));
            let high = hash & 0xf000_0000;
            (hash ^ (high >> 24)) & !high
        });
        // SAFETY: the table begins with the numbers of buckets and of chains, the buckets follow, then the chains.
        let bucket_count = unsafe { at(self.hash, 0) };
        // SAFETY: the index is below the number of buckets.
        let mut index = unsafe { at(self.hash, 2 + hash.checked_rem(bucket_count)? as usize) };
        while index != 0 {
            // SAFETY: a symbol of a chain is in the symbol table.
            let found = unsafe { self.symbol(index, name) };
            if found.is_some() {
                return found;
            }
            // SAFETY: there is a chain word for every symbol.
            index = unsafe { at(self.hash, 2 + bucket_count as usize + index as usize) };
        }
        None
    }

    /// Returns the address of symbol `index` if it is the function `name`, this object defines it, and its version is
    /// not hidden.
    ///
    /// # Safety
    /// `index` must be within the symbol table.
    unsafe fn symbol(&self, index: u32, name: &[u8]) -> Option<usize> {
        // SAFETY: the caller's promise.
        let symbol = unsafe { at(self.symbols, index as usize) };
        if symbol.section == 0 || symbol.value == 0 || symbol.info & 0xf != STT_FUNC {
            return None;
        }
        // SAFETY: there is a version word for every symbol.
        if !self.versions.is_null() && unsafe { at(self.versions, index as usize) } & HIDDEN != 0 {
            return None;
        }
        // SAFETY: a symbol's name is an offset into the string table.
        let found = unsafe { self.strings.add(symbol.name as usize) };
        let same = name.iter().enumerate().all(|(position, byte)| {
            // SAFETY: the symbol's name ends with a NUL as `name` does, and a byte that differs ends the comparison.
            unsafe { at(found, position) == *byte }
        });
        same.then(|| self.base.wrapping_add(symbol.value))
    }
}

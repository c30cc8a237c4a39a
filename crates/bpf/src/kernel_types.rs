//! The running kernel's description of its own structures and functions: BTF (`Documentation/bpf/btf.rst`).
//! This reader parses only names, offsets and numbers of 5 MB; a general reader of BTF takes many times as long.

use keepalive_sys::bpf::Btf;
use memchr::memmem;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::ops::Range;

/// The kernel's types.
#[derive(Debug)]
pub struct KernelTypes(Parsed);

impl KernelTypes {
    /// Reads the kernel's types.
    ///
    /// # Errors
    /// `ENOENT` if the kernel was built without BTF; `InvalidData` if the file is not BTF.
    pub fn read() -> io::Result<Self> {
        let types = Parsed::parse(Btf::of_kernel()?).map(Self);
        types.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not BTF"))
    }

    /// Returns the number of a function's type, by which a program is attached to the function.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.0.find(FUNCTION, name)
    }

    /// Returns the offset of a field in a structure, in bytes.
    pub fn offset(&self, structure: &str, field: &str) -> Option<i16> {
        Some(self.field(structure, field)?.0)
    }

    /// Returns the offset and the size of a field in a structure, in bytes; the size is 0 if the field is not
    /// a number.
    pub fn number(&self, structure: &str, field: &str) -> Option<(i16, u32)> {
        let (offset, mut number) = self.field(structure, field)?;
        // Follows typedefs and qualifiers, which may be nested.
        for _ in 0..8 {
            let (info, size, _) = self.0.entry(number)?;
            match info >> 24 & 31 {
                INTEGER => return Some((offset, size)),
                TYPEDEF | VOLATILE | CONST => number = size,
                _ => break,
            }
        }
        Some((offset, 0))
    }

    /// Returns the number of the type of a tracepoint's arguments, by which a program is attached to the tracepoint.
    pub fn tracepoint(&self, name: &str) -> Option<u32> {
        self.0.find(TYPEDEF, &format!("btf_trace_{name}"))
    }

    /// Returns the offset and the size in bytes of a field that may be in a structure or union within the
    /// structure. `path` is as in C, without unnamed parts: `icsk_ack.lrcvtime`. The size is 0 if the field is
    /// no number.
    pub fn nested(&self, structure: &str, path: &str) -> Option<(i16, u32)> {
        let mut number = self.0.find(STRUCTURE, structure)?;
        let mut bits = 0;
        for name in path.split('.') {
            let (offset, member) = self.member(number, name, DEPTH)?;
            bits += offset;
            number = self.resolve(member)?;
        }
        let (info, size, _) = self.0.entry(number)?;
        let size = if info >> 24 & 31 == INTEGER { size } else { 0 };
        let offset = bits.is_multiple_of(8).then(|| (bits / 8).try_into().ok())??;
        Some((offset, size))
    }

    /// Returns the offset of a member in bits and the number of its type, also if the member is in an unnamed
    /// structure or union.
    fn member(&self, composite: u32, name: &str, depth: u32) -> Option<(u32, u32)> {
        let (info, _, trailer) = self.0.entry(composite)?;
        if !matches!(info >> 24 & 31, STRUCTURE | UNION) {
            return None;
        }
        let count = usize::try_from(info & 0xffff).ok()?;
        let members = self.0.types().get(trailer..)?.as_chunks::<12>().0.get(..count)?;
        members.iter().find_map(|member| {
            let offset = word(member, 8) & 0x00ff_ffff;
            if self.0.is_named(word(member, 0), name) {
                return Some((offset, word(member, 4)));
            }
            let is_unnamed = word(member, 0) == 0 && depth > 0;
            let inner = is_unnamed.then(|| self.member(self.resolve(word(member, 4))?, name, depth - 1));
            let (within, number) = inner.flatten()?;
            Some((offset.checked_add(within)?, number))
        })
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut number: u32) -> Option<u32> {
        for _ in 0..DEPTH {
            let (info, next, _) = self.0.entry(number)?;
            if !matches!(info >> 24 & 31, TYPEDEF | VOLATILE | CONST) {
                return Some(number);
            }
            number = next;
        }
        None
    }

    /// Returns the offset of a field, and the number of its type.
    fn field(&self, structure: &str, field: &str) -> Option<(i16, u32)> {
        let (info, _, trailer) = self.0.entry(self.0.find(STRUCTURE, structure)?)?;
        let count = usize::try_from(info & 0xffff).ok()?;
        let members = self.0.types().get(trailer..)?.as_chunks::<12>().0;
        let member = members
            .get(..count)?
            .iter()
            .find(|member| self.0.is_named(word(*member, 0), field))?;
        let bits = word(member, 8) & 0x00ff_ffff;
        let offset = bits.is_multiple_of(8).then(|| (bits / 8).try_into().ok())??;
        Some((offset, word(member, 4)))
    }
}

/// The kinds of types that this module finds (`include/uapi/linux/btf.h`).
const INTEGER: u32 = 1;
const STRUCTURE: u32 = 4;
const UNION: u32 = 5;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const FUNCTION: u32 = 12;
/// The deepest nesting of types that is followed.
const DEPTH: u32 = 8;

#[derive(Debug)]
struct Parsed {
    bytes: Btf,
    types: Range<usize>,
    names: Range<usize>,
    /// The offset of each type's data, by the number of the type less one; filled when it is first needed.
    trailers: OnceCell<Vec<u32>>,
    /// The numbers of the structures that were searched for.
    structures: RefCell<HashMap<String, Option<u32>>>,
}

impl Parsed {
    fn parse(bytes: Btf) -> Option<Self> {
        const MAGIC: u16 = 0xeb9f;
        let header = bytes.first_chunk::<24>()?;
        if u16::from_ne_bytes([header[0], header[1]]) != MAGIC {
            return None;
        }
        let section = |offset: usize| {
            let begin = usize::try_from(word(header, 4).checked_add(word(header, offset))?).ok()?;
            let length = usize::try_from(word(header, offset + 4)).ok()?;
            let section = begin..begin.checked_add(length)?;
            bytes.get(section.clone()).map(|_| section)
        };
        let (types, names) = (section(8)?, section(16)?);
        Some(Self {
            bytes,
            types,
            names,
            trailers: OnceCell::new(),
            structures: RefCell::default(),
        })
    }

    fn types(&self) -> &[u8] {
        self.bytes.get(self.types.clone()).unwrap_or_default()
    }

    fn names(&self) -> &[u8] {
        self.bytes.get(self.names.clone()).unwrap_or_default()
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.names().get(offset..));
        rest.is_some_and(|rest| rest.starts_with(name.as_bytes()) && rest.get(name.len()) == Some(&0))
    }

    /// Returns the number of the first type of the kind `wanted` with this name.
    fn find(&self, wanted: u32, name: &str) -> Option<u32> {
        if wanted != STRUCTURE {
            return self.search(wanted, name);
        }
        let mut structures = self.structures.borrow_mut();
        if let Some(number) = structures.get(name) {
            return *number;
        }
        *structures
            .entry(name.to_owned())
            .or_insert_with(|| self.search(wanted, name))
    }

    fn search(&self, wanted: u32, name: &str) -> Option<u32> {
        // To compare offsets takes less time than to read the name of each type. A name may be the end of a longer one.
        let name = [name.as_bytes(), b"\0"].concat();
        let offsets: Vec<usize> = memmem::find_iter(self.names(), &name).collect();
        let is_named = |offset: u32| usize::try_from(offset).is_ok_and(|offset| offsets.binary_search(&offset).is_ok());
        let types = self.types();
        let place = self.trailers().iter().position(|trailer| {
            let head = types.get(*trailer as usize - 12..).unwrap_or_default();
            word(head, 4) >> 24 & 31 == wanted && is_named(word(head, 0))
        })?;
        u32::try_from(place + 1).ok()
    }

    fn trailers(&self) -> &[u32] {
        /// No type is shorter.
        const SHORTEST: usize = 12;
        self.trailers.get_or_init(|| {
            let mut trailers = Vec::with_capacity(self.types().len() / SHORTEST);
            trailers.extend(self.all());
            trailers
        })
    }

    /// Returns a type's `info`, its size or the number of another type, and the offset of the data that follow.
    fn entry(&self, number: u32) -> Option<(u32, u32, usize)> {
        let trailer = *self.trailers().get(usize::try_from(number).ok()?.checked_sub(1)?)? as usize;
        let head = self.types().get(trailer - 12..)?;
        Some((word(head, 4), word(head, 8), trailer))
    }

    /// Returns for each type the offset of the data that follow its first words.
    fn all(&self) -> impl Iterator<Item = u32> {
        let types = self.types();
        let mut begin = 0;
        std::iter::from_fn(move || {
            let head = types.get(begin..)?.first_chunk::<12>()?;
            let info = word(head, 4);
            let members = usize::try_from(info & 0xffff).ok()?;
            let length = match info >> 24 & 31 {
                // Integers, variables, declaration tags.
                1 | 14 | 17 => 4,
                // Arrays.
                3 => 12,
                // Structures, unions, sections, 64-bit enumerations.
                4 | 5 | 15 | 19 => 12 * members,
                // Enumerations, the parameters of functions.
                6 | 13 => 8 * members,
                _ => 0,
            };
            let trailer = begin + 12;
            begin = trailer + length;
            u32::try_from(trailer).ok()
        })
    }
}

fn word(bytes: &[u8], offset: usize) -> u32 {
    let word = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sample BTF, in the syntax of `bpftool btf dump`: `u32`, `struct s { u32 a; u32 b; }`, `void f()`.
    fn sample() -> Vec<u8> {
        let names = b"\0u32\0s\0a\0b\0f\0";
        let types: Vec<u32> = [
            [1, 1 << 24, 4].as_slice(),
            &[32],
            &[5, 4 << 24 | 2, 8],
            &[7, 1, 0, 9, 1, 32],
            &[0, 13 << 24, 0],
            &[11, 12 << 24, 3],
        ]
        .concat();
        let length = u32::try_from(4 * types.len()).unwrap();
        let mut bytes = vec![];
        bytes.extend(0xeb9f_u16.to_ne_bytes());
        bytes.extend([1, 0]);
        for number in [24, 0, length, length, u32::try_from(names.len()).unwrap()] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(names);
        bytes
    }

    #[test]
    fn fields_and_functions_are_found_by_name() {
        let types = KernelTypes(Parsed::parse(sample().into()).unwrap());
        assert_eq!(types.offset("s", "a"), Some(0));
        assert_eq!(types.offset("s", "b"), Some(4));
        assert_eq!(types.number("s", "b"), Some((4, 4)));
        assert_eq!(types.function("f"), Some(4));
        assert_eq!(types.offset("s", "c"), None);
        assert_eq!(types.offset("u32", "a"), None);
        assert_eq!(types.function("s"), None);
        assert_eq!(types.nested("s", "b"), Some((4, 4)));
        assert_eq!(types.nested("s", "b.c"), None);
        assert_eq!(types.nested("s", ""), None);
    }

    #[test]
    fn truncated_btf_is_refused_or_empty() {
        let whole = sample();
        for length in 0..whole.len() {
            if let Some(btf) = Parsed::parse(whole[..length].to_vec().into()) {
                let types = KernelTypes(btf);
                let _ = (types.offset("s", "b"), types.nested("s", "b"));
            }
        }
        assert!(Parsed::parse(b"\x7fELF, say, of more than 24 bytes".to_vec().into()).is_none());
    }
}

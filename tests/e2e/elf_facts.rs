//! Facts about `libkeepalive.so` as a file, on which every program that loads it relies.

use crate::support::library;
use elf::ElfBytes;
use elf::abi::{
    DF_1_NODELETE, DF_1_NOW, DT_FLAGS_1, DT_NEEDED, DT_SONAME, DT_TEXTREL, DT_VERNEED, PF_W, PF_X, PT_GNU_STACK,
    PT_LOAD, PT_TLS, SHT_REL, SHT_RELA, STB_WEAK,
};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;
use elf::symbol::Symbol;
use std::fs;
use std::path::Path;

/// The exported functions. Any other export could replace a function of the program or of another library.
const HOOKS: [&str; 9] = [
    "accept",
    "accept4",
    "connect",
    "getsockopt",
    "listen",
    "prctl",
    "setsockopt",
    "socket",
    "syscall",
];

/// The symbols that the library needs from a C library.
const NEEDED: [&str; 4] = ["__errno_location", "dl_iterate_phdr", "environ", "getauxval"];

/// Limits that differ between architectures.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the file.
    pub size: usize,
    /// Relocations that the loader must do at each exec.
    pub relocations: usize,
}

#[test]
fn library_file_can_be_loaded_by_every_program() {
    check(
        &library(),
        Limits {
            // 23 KiB of it are the hooks; the rest are rules, modes, presets and the variables of other libraries.
            size: 52 * 1024,
            relocations: 10,
        },
    );
}

/// Fails with every fact that is not true for the library at `path`.
pub fn check(path: &Path, limits: Limits) {
    let bytes = fs::read(path).expect("the library can be read");
    let file = File::parse(&bytes);
    let wrong: Vec<String> = file.wrong(limits).into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}:\n{}", path.display(), wrong.join("\n"));
}

/// The parts of the file that the facts are about.
struct File<'a> {
    bytes: &'a [u8],
    elf: ElfBytes<'a, LittleEndian>,
    segments: Vec<ProgramHeader>,
    dynamic: Vec<(i64, u64)>,
    symbols: Vec<(&'a str, Symbol)>,
    /// The address of each relocation.
    relocations: Vec<u64>,
}

impl<'a> File<'a> {
    fn parse(bytes: &'a [u8]) -> Self {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(bytes).expect("an ELF file");
        let (symbols, names) = elf
            .dynamic_symbol_table()
            .expect("well-formed")
            .expect("a dynamic symbol table");
        let symbols = symbols
            .iter()
            .map(|symbol| (names.get(symbol.st_name as usize).expect("a name"), symbol))
            // Without the null entry of each table, and the section symbols of aarch64's linker.
            .filter(|(name, _)| !name.is_empty())
            .collect();
        let mut relocations = Vec::new();
        for section in elf.section_headers().expect("section headers") {
            match section.sh_type {
                SHT_RELA => {
                    let table = elf.section_data_as_relas(&section).expect("well-formed");
                    relocations.extend(table.map(|relocation| relocation.r_offset));
                }
                SHT_REL => {
                    let table = elf.section_data_as_rels(&section).expect("well-formed");
                    relocations.extend(table.map(|relocation| relocation.r_offset));
                }
                _ => {}
            }
        }
        let dynamic = elf.dynamic().expect("well-formed").expect("a dynamic section");
        Self {
            bytes,
            segments: elf.segments().expect("program headers").iter().collect(),
            dynamic: dynamic.iter().map(|entry| (entry.d_tag, entry.d_val())).collect(),
            symbols,
            relocations,
            elf,
        }
    }

    /// Returns a sentence for each fact that is not true.
    fn wrong(&self, limits: Limits) -> [Option<String>; 15] {
        let unless = |holds: bool, sentence: &str| (!holds).then(|| sentence.to_owned());
        let unless_equal = |what: &str, found: &[&str], expected: &[&str]| {
            (found != expected).then(|| format!("{what}: {found:?} instead of {expected:?}"))
        };
        let flags = self.entry(DT_FLAGS_1).unwrap_or(0).cast_signed();
        let stack = self.segment(PT_GNU_STACK);
        let loaded = self.segments.iter().filter(|segment| segment.p_type == PT_LOAD);
        let size = self.bytes.len();
        let relocations = self.relocations.len();
        let undefined = self.names(Symbol::is_undefined);
        [
            // Searching for another library costs more at each exec than everything else, and a missing one ends the
            // program.
            unless(self.entry(DT_NEEDED).is_none(), "it needs another library"),
            unless(
                self.entry(DT_VERNEED).is_none(),
                "it needs a version of a symbol, which musl has not",
            ),
            unless_equal("exports", &self.names(|symbol| !symbol.is_undefined()), &HOOKS),
            unless_equal("imports", &undefined, &NEEDED),
            unless_equal(
                "weak imports",
                &self.names(|symbol| symbol.is_undefined() && symbol.st_bind() == STB_WEAK),
                &undefined,
            ),
            // Symbols that an unoptimised build needs: it can be linked, but then every program ends.
            unless(!self.contains(b"rust_eh_personality"), "it names rust_eh_personality"),
            unless(
                self.segment(PT_TLS).is_none(),
                "it has thread-local storage: static TLS runs out",
            ),
            unless(
                stack.is_some_and(|stack| stack.p_flags & PF_X == 0),
                "it asks for an executable stack",
            ),
            unless(
                self.segments
                    .iter()
                    .all(|segment| segment.p_flags & (PF_W | PF_X) != PF_W | PF_X),
                "a segment is writable and executable",
            ),
            unless(
                self.entry(DT_TEXTREL).is_none() && self.relocations.iter().all(|offset| self.is_writable(*offset)),
                "it has text relocations",
            ),
            unless(
                flags & DF_1_NOW != 0 && flags & DF_1_NODELETE != 0,
                "it is not NOW and NODELETE",
            ),
            unless(
                self.soname() == Some("libkeepalive.so"),
                "its SONAME is not libkeepalive.so",
            ),
            self.without_unwind_table(),
            // Each segment costs a mapping at each exec.
            unless(loaded.count() <= 2, "more than two segments are loaded"),
            (size > limits.size || relocations > limits.relocations)
                .then(|| format!("{size} bytes and {relocations} relocations, with {limits:?}")),
        ]
    }

    fn entry(&self, tag: i64) -> Option<u64> {
        self.dynamic.iter().find(|entry| entry.0 == tag).map(|entry| entry.1)
    }

    fn segment(&self, kind: u32) -> Option<&ProgramHeader> {
        self.segments.iter().find(|segment| segment.p_type == kind)
    }

    fn is_writable(&self, address: u64) -> bool {
        self.segments.iter().any(|segment| {
            segment.p_type == PT_LOAD
                && segment.p_flags & PF_W != 0
                && (segment.p_vaddr..segment.p_vaddr + segment.p_memsz).contains(&address)
        })
    }

    /// Returns the names of the dynamic symbols of one kind, in alphabetical order.
    fn names(&self, is_wanted: impl Fn(&Symbol) -> bool) -> Vec<&'a str> {
        let mut names: Vec<&str> = self
            .symbols
            .iter()
            .filter(|(_, symbol)| is_wanted(symbol))
            .map(|(name, _)| *name)
            .collect();
        names.sort_unstable();
        names
    }

    fn contains(&self, text: &[u8]) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text)
    }

    fn soname(&self) -> Option<&'a str> {
        let (_, names) = self.elf.dynamic_symbol_table().ok()??;
        names.get(usize::try_from(self.entry(DT_SONAME)?).ok()?).ok()
    }

    /// A thread that is cancelled in accept(2) unwinds the library's frames: each hook must be in the table of
    /// `.eh_frame_hdr`.
    fn without_unwind_table(&self) -> Option<String> {
        let Some(covered) = self.unwind_table() else {
            return Some("it has no unwind table, or not of the usual form".to_owned());
        };
        let missing = |symbol: &Symbol| {
            !symbol.is_undefined()
                && !covered
                    .iter()
                    .any(|range| range.0 <= symbol.st_value && symbol.st_value + symbol.st_size <= range.1)
        };
        let missing = self.names(missing);
        (!missing.is_empty()).then(|| format!("no unwind information for {missing:?}"))
    }

    /// Returns the address ranges with unwind information: begin, end (Linux Standard Base, Core, 10.6).
    fn unwind_table(&self) -> Option<Vec<(u64, u64)>> {
        /// Version 1; a relative pointer, a count, and pairs of pointers relative to the header.
        const USUAL: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
        let header = self.elf.section_header_by_name(".eh_frame_hdr").ok()??;
        let frames = self.elf.section_header_by_name(".eh_frame").ok()??;
        let (table, _) = self.elf.section_data(&header).ok()?;
        let (frame_bytes, _) = self.elf.section_data(&frames).ok()?;
        let table = table.strip_prefix(&USUAL)?;
        let count = usize::try_from(word(table, 4)?).ok()?;
        (0..count)
            .map(|index| {
                let at = 8 + 8 * index;
                let begins = header.sh_addr.checked_add_signed(word(table, at)?)?;
                let entry = header.sh_addr.checked_add_signed(word(table, at + 4)?)?;
                // Length, position of the common part, begin, and then the length of the range.
                let entry = usize::try_from(entry.checked_sub(frames.sh_addr)?).ok()?;
                Some((begins, begins.checked_add_signed(word(frame_bytes, entry + 12)?)?))
            })
            .collect()
    }
}

/// The signed 32-bit number at `offset`.
fn word(bytes: &[u8], offset: usize) -> Option<i64> {
    let bytes = bytes.get(offset..offset + 4)?;
    Some(i32::from_le_bytes(bytes.try_into().ok()?).into())
}

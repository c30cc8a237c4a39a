//! Parses the ELF file of a program (elf(5)).

mod code;

use crate::arch::MACHINES;
use crate::regular;
use elf::ElfStream;
use elf::abi::{DT_NEEDED, DT_STRTAB, EM_386, EM_AARCH64, EM_ARM, EM_RISCV, EM_X86_64, PT_INTERP, PT_LOAD, PT_NOTE};
use elf::endian::AnyEndian;
use elf::file::Class;
use elf::segment::ProgramHeader;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

pub use code::Code;

/// The kind of machine code in a file: processor and word size. A process can only load libraries of its own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    bits: u8,
    number: u16,
}

impl Machine {
    fn of(stream: &ElfStream<AnyEndian, Bounded>) -> Self {
        Self {
            bits: if stream.ehdr.class == Class::ELF32 { 32 } else { 64 },
            number: stream.ehdr.e_machine,
        }
    }

    /// Returns whether this is the machine code of this processor, including its 32-bit mode if 64-bit
    /// programs may start such programs. The kernel may still be unable to run it.
    pub fn is_native(self) -> bool {
        MACHINES.contains(&self.number)
    }
}

/// A program or library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// The machine code of the file.
    pub machine: Machine,
    /// The dynamic loader that the file names; static programs and libraries name none.
    pub interpreter: Option<PathBuf>,
    /// Whether the Go toolchain built the program. Such a program makes its system calls directly, even if it
    /// is dynamically linked.
    pub is_go: bool,
    /// Whether the program loads AddressSanitizer's runtime as a library, which ends the program unless the
    /// runtime is the first library (`AsanCheckDynamicRTPrereqs` in LLVM's
    /// compiler-rt/lib/asan/asan_linux.cpp). A statically linked runtime and the other sanitizers accept any
    /// order.
    pub needs_asan: bool,
}

/// Reads the file at `path`; `None` if it is not ELF.
///
/// # Errors
/// As [`read_file`]; [`crate::regular::Unfit::Type`].
pub fn read(path: &Path) -> io::Result<Option<Elf>> {
    read_file(regular::open(path)?)
}

/// Reads this file; `None` if it is not ELF.
///
/// # Errors
/// Errors of reading, and `InvalidData` for a file that begins like ELF but is damaged.
pub fn read_file(file: File) -> io::Result<Option<Elf>> {
    let mut magic = [0; 4];
    match file.read_exact_at(&mut magic, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    if magic != elf::abi::ELFMAGIC {
        return Ok(None);
    }
    parse(file)
        .map(Some)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// Returns the text of the note (elf(5)) with this owner in the file at `path`, without the NUL at its end;
/// `None` if there is no such note.
///
/// # Errors
/// As [`note_of_file`]; [`crate::regular::Unfit::Type`].
pub fn note(path: &Path, owner: &str) -> io::Result<Option<Vec<u8>>> {
    note_of_file(regular::open(path)?, owner)
}

/// As [`note`], for this file.
///
/// # Errors
/// Errors of reading, and `InvalidData` for a file that is not ELF.
pub fn note_of_file(file: File, owner: &str) -> io::Result<Option<Vec<u8>>> {
    let find = |file: Bounded| -> Result<Option<Vec<u8>>, elf::ParseError> {
        let mut stream = ElfStream::<AnyEndian, _>::open_stream(file)?;
        for segment in notes(&stream) {
            let found = stream.segment_data_as_notes(&segment)?.find_map(|note| match note {
                elf::note::Note::Unknown(note) if note.name_str().is_ok_and(|name| name == owner) => {
                    Some(note.desc.to_vec())
                }
                _ => None,
            });
            if let Some(mut text) = found {
                text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
                return Ok(Some(text));
            }
        }
        Ok(None)
    };
    find(Bounded::new(file)).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// A file from which only as much is read as a header can need, whatever sizes the file states.
#[derive(Debug)]
struct Bounded {
    file: File,
    /// The offset of the next byte. The file's own is not used: each change of it would be a system call.
    offset: u64,
    left: usize,
}

impl Bounded {
    /// The limit of what is read: the string tables and notes of real programs are far smaller.
    const MOST: usize = 16 << 20;
    /// The limit of the file's length: the parser allocates the size that a header states if the file is that
    /// long, and a sparse file may be.
    const LONGEST: u64 = 1 << 30;

    fn new(file: File) -> Self {
        Self {
            file,
            offset: 0,
            left: Self::MOST,
        }
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !buffer.is_empty() {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let length = buffer.len().min(self.left);
        let read = self.file.read_at(&mut buffer[..length], self.offset)?;
        self.offset += u64::try_from(read).unwrap_or(0);
        self.left -= read;
        Ok(read)
    }
}

impl Seek for Bounded {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let offset = match position {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(distance) => self.offset.checked_add_signed(distance),
            SeekFrom::End(distance) => self.file.metadata()?.len().checked_add_signed(distance),
        };
        self.offset = offset.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.offset.min(Self::LONGEST))
    }
}

fn parse(file: File) -> Result<Elf, elf::ParseError> {
    let names = file.try_clone()?;
    let mut stream = ElfStream::<AnyEndian, _>::open_stream(Bounded::new(file))?;
    let machine = Machine::of(&stream);
    let interpreter = match stream
        .segments()
        .iter()
        .find(|segment| segment.p_type == PT_INTERP)
        .copied()
    {
        None => None,
        Some(segment) => {
            let bytes = stream.segment_data(&segment)?;
            Some(PathBuf::from(OsStr::from_bytes(
                bytes.split(|byte| *byte == 0).next().unwrap_or_default(),
            )))
        }
    };
    let is_go = stream.section_header_by_name(".go.buildinfo")?.is_some() || has_go_note(&mut stream)?;
    let needs_asan = needed(&mut stream, &names)?.iter().any(|name| is_asan(name));
    Ok(Elf {
        machine,
        interpreter,
        is_go,
        needs_asan,
    })
}

/// Returns whether a library with this name is AddressSanitizer's runtime: GCC's, or Clang's with `-shared-libasan`.
pub fn is_asan(name: &[u8]) -> bool {
    let name = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name.starts_with(b"libasan.so") || name.starts_with(b"libclang_rt.asan")
}

/// Returns the libraries that a file requires (`DT_NEEDED`). `file` is the file that `stream` reads.
fn needed(stream: &mut ElfStream<AnyEndian, Bounded>, file: &File) -> Result<Vec<Vec<u8>>, elf::ParseError> {
    strings_of(stream, file, &[DT_NEEDED])
}

/// Returns the strings of the entries of the dynamic section that have one of `tags`.
fn strings_of(
    stream: &mut ElfStream<AnyEndian, Bounded>,
    file: &File,
    tags: &[i64],
) -> Result<Vec<Vec<u8>>, elf::ParseError> {
    /// A file with more entries is damaged.
    const MOST: usize = 1024;
    /// The limit of a string's length. No library has a longer name; lists of directories are shorter.
    const LONGEST: usize = 1024;
    let entries: Vec<(i64, u64)> = match stream.dynamic()? {
        Some(table) => table
            .iter()
            .take(MOST)
            .map(|entry| (entry.d_tag, entry.d_val()))
            .collect(),
        None => return Ok(Vec::new()),
    };
    let strings = entries.iter().find(|(tag, _)| *tag == DT_STRTAB);
    let Some(strings) = strings.and_then(|(_, address)| offset_of(stream, *address)) else {
        return Ok(Vec::new());
    };
    let offsets = entries.iter().filter(|(tag, _)| tags.contains(tag));
    let names = offsets.filter_map(|(_, offset)| {
        let mut name = vec![0; LONGEST];
        let length = file.read_at(&mut name, strings.checked_add(*offset)?).ok()?;
        name.truncate(length);
        name.truncate(name.iter().position(|byte| *byte == 0)?);
        Some(name)
    });
    Ok(names.collect())
}

/// Returns the offset in the file of the byte that is loaded at `address`.
fn offset_of(stream: &ElfStream<AnyEndian, Bounded>, address: u64) -> Option<u64> {
    let mut loaded = stream.segments().iter().filter(|segment| segment.p_type == PT_LOAD);
    loaded.find_map(|segment| {
        let inside = address.checked_sub(segment.p_vaddr)?;
        (inside < segment.p_filesz).then_some(segment.p_offset.checked_add(inside)?)
    })
}

/// Go stores its build id in a separate note, which stays when the section headers are stripped.
fn has_go_note(stream: &mut ElfStream<AnyEndian, Bounded>) -> Result<bool, elf::ParseError> {
    for segment in notes(stream) {
        let found = stream.segment_data_as_notes(&segment)?.any(
            |note| matches!(note, elf::note::Note::Unknown(note) if note.name_str().is_ok_and(|name| name == "Go")),
        );
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn notes(stream: &ElfStream<AnyEndian, Bounded>) -> Vec<ProgramHeader> {
    let segments = stream.segments().iter();
    segments.filter(|segment| segment.p_type == PT_NOTE).copied().collect()
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.number, self.bits) {
            (EM_X86_64, 32) => formatter.write_str("x32"),
            (EM_X86_64, _) => formatter.write_str("x86-64"),
            (EM_386, _) => formatter.write_str("32-bit x86"),
            (EM_AARCH64, _) => formatter.write_str("64-bit ARM"),
            (EM_ARM, _) => formatter.write_str("32-bit ARM"),
            (EM_RISCV, bits) => write!(formatter, "{bits}-bit RISC-V"),
            (number, bits) => write!(formatter, "{bits}-bit machine {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_a_dynamic_program() {
        let this = read(Path::new("/proc/self/exe")).unwrap().unwrap();
        assert!(this.interpreter.is_some());
        assert!(!this.is_go && !this.needs_asan);
        assert_eq!(this.machine.bits, u8::try_from(usize::BITS).unwrap());
    }

    /// The header of a sparse file of 1 TiB that contains a note of 512 GiB.
    #[test]
    fn sizes_that_a_file_states_are_not_believed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![0; 64 + 56];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        bytes[16..20].copy_from_slice(&[3, 0, 62, 0]);
        bytes[20] = 1;
        bytes[32] = 64;
        bytes[52..58].copy_from_slice(&[64, 0, 56, 0, 1, 0]);
        bytes[64] = 4;
        for (length, large) in [(1_u64 << 40, 1_u64 << 39), (1 << 40, 1 << 29)] {
            bytes[64 + 32..64 + 40].copy_from_slice(&large.to_le_bytes());
            std::fs::write(file.path(), &bytes).unwrap();
            file.as_file().set_len(length).unwrap();
            assert!(note(file.path(), "keepalive").is_err(), "{large}");
            assert!(read(file.path()).is_err(), "{large}");
        }
    }

    #[test]
    fn the_libraries_that_a_program_needs_are_read() {
        let file = File::open("/proc/self/exe").unwrap();
        let mut stream = ElfStream::open_stream(Bounded::new(file.try_clone().unwrap())).unwrap();
        let needed = needed(&mut stream, &file).unwrap();
        assert!(needed.iter().any(|name| name.starts_with(b"libc.")), "{needed:?}");
        assert!(is_asan(b"libasan.so.8") && is_asan(b"/usr/lib/libclang_rt.asan-x86_64.so"));
        assert!(!is_asan(b"libc.so.6") && !is_asan(b"libtsan.so.2") && !is_asan(b"/libasan.so/libc.so.6"));
    }

    #[test]
    fn text_is_not_elf() {
        assert_eq!(read(Path::new("/proc/self/status")).unwrap(), None);
    }
}

//! The file with the kernel's description of its own types (`CONFIG_DEBUG_INFO_BTF`).

use super::mapping::Mapping;
use rustix::fs::fstatfs;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Deref;

const FILE: &str = "/sys/kernel/btf/vmlinux";

/// The content of the file: in the kernel's own memory (Linux 6.16), or copied.
#[derive(Debug)]
pub struct Btf(Bytes);

#[derive(Debug)]
enum Bytes {
    Kernel(Mapping),
    Copy(Vec<u8>),
}

impl Btf {
    /// Opens the file. To copy its 5 MB takes longer than to find something in them.
    ///
    /// # Errors
    /// `ENOENT` if the kernel was built without BTF.
    pub fn of_kernel() -> io::Result<Self> {
        let mut file = File::open(FILE)?;
        if let Some(mapping) = map(&file) {
            return Ok(Self(Bytes::Kernel(mapping)));
        }
        let mut copy = Vec::new();
        file.read_to_end(&mut copy)?;
        Ok(Self(Bytes::Copy(copy)))
    }
}

impl From<Vec<u8>> for Btf {
    fn from(copy: Vec<u8>) -> Self {
        Self(Bytes::Copy(copy))
    }
}

/// Maps the file, if it is in sysfs: another file could become shorter.
fn map(file: &File) -> Option<Mapping> {
    /// `include/uapi/linux/magic.h`.
    const SYSFS_MAGIC: u32 = 0x6265_6572;
    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "magic numbers have 32 bits"
    )]
    let is_sysfs = fstatfs(file).ok()?.f_type as u32 == SYSFS_MAGIC;
    let length = usize::try_from(file.metadata().ok()?.len()).ok()?;
    is_sysfs.then(|| Mapping::new(file, length, 0, libc::PROT_READ, libc::MAP_PRIVATE).ok())?
}

impl Deref for Btf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Copy(copy) => copy,
            // SAFETY: the kernel has mapped this many bytes, which never change, for as long as the value exists
            // (kernel/bpf/sysfs_btf.c).
            Bytes::Kernel(mapping) => unsafe { std::slice::from_raw_parts(mapping.address.as_ptr(), mapping.length) },
        }
    }
}

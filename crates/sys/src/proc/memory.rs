//! The memory of a process that can be read without waiting for a file server (`/proc/PID/maps`).

use std::fs::File;
use std::io::{BufRead as _, BufReader};

/// Returns the number of bytes of anonymous memory from `address`, by `/proc/PID/maps`; `None` if there are
/// none. Memory that belongs to a file is not read: its file server may hang, and then the reader waits, even
/// unkillably.
pub(super) fn anonymous_bytes(pid: u32, address: u64) -> Option<usize> {
    let maps = BufReader::new(File::open(format!("/proc/{pid}/maps")).ok()?);
    let mut last = address;
    for line in maps.split(b'\n') {
        let line = line.ok()?;
        let (start, end, is_anonymous) = mapping(&line)?;
        if start <= last && last < end && is_anonymous {
            last = end;
        } else if start > last {
            break;
        }
    }
    usize::try_from(last - address).ok().filter(|bytes| *bytes > 0)
}

/// Returns the addresses in a line of `/proc/PID/maps`, and whether the mapping is anonymous.
fn mapping(line: &[u8]) -> Option<(u64, u64, bool)> {
    let line = String::from_utf8_lossy(line);
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    let inode = fields.nth(3)?;
    Some((address(start)?, address(end)?, inode == "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_memory_is_distinguished_from_anonymous_memory() {
        let file = b"7f1c2a400000-7f1c2a426000 r--p 00000000 fe:00 2239 /usr/lib/x86_64-linux-gnu/libc.so.6";
        let stack = b"7ffd1b2c0000-7ffd1b2e1000 rw-p 00000000 00:00 0                          [stack]";
        assert_eq!(mapping(file), Some((0x7f1c_2a40_0000, 0x7f1c_2a42_6000, false)));
        assert_eq!(mapping(stack), Some((0x7ffd_1b2c_0000, 0x7ffd_1b2e_1000, true)));
        let text = b"text";
        assert_eq!(anonymous_bytes(std::process::id(), text.as_ptr().addr() as u64), None);
        let local = 1_u8;
        assert!(anonymous_bytes(std::process::id(), (&raw const local).addr() as u64) > Some(0));
    }
}

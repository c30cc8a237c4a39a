//! Writes output without waiting: a command that runs for a long time must not wait for the reader of its log.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsRawFd as _, BorrowedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::{Errno, ReadWriteFlags, pwritev2, write};
use rustix::net::{SendFlags, send};
use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static NEVER_WAITS: AtomicBool = AtomicBool::new(false);
/// The number of texts that were dropped since the last one that was written.
static LOST: AtomicU32 = AtomicU32::new(0);

/// From now on, drops texts whose output would wait. The next text that is written reports their number.
pub(crate) fn never_wait() {
    NEVER_WAITS.store(true, Ordering::Relaxed);
}

/// Returns whether [`never_wait`] was called.
pub(super) fn never_waits() -> bool {
    NEVER_WAITS.load(Ordering::Relaxed)
}

/// Writes `text` to `file`, or drops it.
pub(super) fn write_or_drop(file: BorrowedFd<'_>, text: &str) {
    let lost = LOST.swap(0, Ordering::Relaxed);
    let report = match lost {
        0 => String::new(),
        1 => String::from("keepalive: a message was lost, since nobody read this log\n"),
        lost => format!("keepalive: {lost} messages were lost, since nobody read this log\n"),
    };
    let text = report + text;
    if write_now(file, text.as_bytes()) != Ok(text.len()) {
        LOST.fetch_add(lost.saturating_add(1), Ordering::Relaxed);
    }
}

/// Writes as much as `file` accepts immediately, by the non-blocking method for this type of file.
/// `O_NONBLOCK` on the descriptor itself would affect all processes that share it.
fn write_now(file: BorrowedFd<'_>, text: &[u8]) -> Result<usize, Errno> {
    match FileType::from_raw_mode(fstat(file)?.st_mode) {
        FileType::Socket => send(file, text, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
        FileType::Fifo | FileType::CharacterDevice => {
            // The offset -1 means the file's own offset; Linux 6.4 supports this for a pipe.
            match pwritev2(file, &[IoSlice::new(text)], u64::MAX, ReadWriteFlags::NOWAIT) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_to_another_description(file, text),
                result => result,
            }
        }
        _ => write(file, text),
    }
}

/// As [`write_now`], through a separate descriptor. Without one, writes after poll(2), which may still wait
/// if another process writes in between.
fn write_to_another_description(file: BorrowedFd<'_>, text: &[u8]) -> Result<usize, Errno> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(own) = open(path, flags, Mode::empty()) {
        return write(own, text);
    }
    let mut fds = [PollFd::from_borrowed_fd(file, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec::default()))?;
    if fds[0].revents().contains(PollFlags::OUT) {
        write(file, text)
    } else {
        Err(Errno::AGAIN)
    }
}

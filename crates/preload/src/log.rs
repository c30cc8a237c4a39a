//! `KEEPALIVE_LOG`: a line for each socket and for each variable that was ignored. Off unless asked for. It must not
//! block its host, raise a signal in it, keep a descriptor, or write into one that has become something else.

use crate::sys::{self, Errno};
use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use keepalive_policy::environment::InvalidVariable;
use keepalive_policy::{OPTIONS, Unit, parse};

const SILENT: u8 = 0;
const STDERR: u8 = 1;
const SYSLOG: u8 = 2;
const FILE: u8 = 3;

/// Longer paths are not taken.
const PATH: usize = 256;

struct Log {
    destination: AtomicU8,
    /// The identity of standard error at the start: device and inode.
    stderr: [AtomicU64; 2],
    path: UnsafeCell<[u8; PATH]>,
}

// SAFETY: `path` is written by `open` alone, which runs once, before it stores FILE (release); it is read after FILE was
// seen (acquire).
unsafe impl Sync for Log {}

static LOG: Log = Log {
    destination: AtomicU8::new(SILENT),
    stderr: [const { AtomicU64::new(0) }; 2],
    path: UnsafeCell::new([0; PATH]),
};

/// Takes the value of `KEEPALIVE_LOG`. One that cannot be used leaves the log off: there is nowhere to say so.
#[cold]
pub(crate) fn open(destination: &[u8]) {
    let kind = match destination {
        b"stderr" => {
            // A descriptor that carries the program's own conversation (inetd) is not for us.
            let Some(identity) = sys::identity(2).filter(|_| !sys::is_tcp(2)) else {
                return;
            };
            for (slot, part) in LOG.stderr.iter().zip(identity) {
                slot.store(part, Ordering::Relaxed);
            }
            STDERR
        }
        b"syslog" => SYSLOG,
        [b'/', ..] if destination.len() < PATH => {
            // SAFETY: this runs once, before FILE is stored.
            let path = unsafe { &mut *LOG.path.get() };
            path.iter_mut().zip(destination).for_each(|(to, from)| *to = *from);
            FILE
        }
        _ => return,
    };
    LOG.destination.store(kind, Ordering::Release);
}

/// Says what the kernel now has on the socket `fd`, which was `done` ("created").
#[inline(always)]
pub(crate) fn socket(fd: c_int, done: &'static str) {
    if LOG.destination.load(Ordering::Relaxed) != SILENT {
        write_socket(fd, done);
    }
}

#[cold]
fn write_socket(fd: c_int, done: &'static str) {
    let mut line = Line::new();
    line.text(b"socket ")
        .number(fd.unsigned_abs())
        .text(b" ")
        .text(done.as_bytes())
        .text(b":");
    for option in OPTIONS.into_iter().take(5) {
        let row = option.row();
        let Some(value) = sys::option(fd, row.level, row.optname) else {
            continue;
        };
        line.text(b" ").text(row.name.as_bytes()).text(b"=");
        match row.unit {
            Unit::Switch => line.text(if value == 0 { b"off" } else { b"on" }),
            Unit::Seconds => line.number(value).text(b"s"),
            Unit::Milliseconds => line.number(value).text(b"ms"),
            Unit::Count => line.number(value),
        };
    }
    line.write();
}

/// Says that a variable was ignored, and why.
#[cold]
pub(crate) fn ignored_variable(variable: &InvalidVariable<'_>) {
    let mut line = Line::new();
    line.text(b"ignored ")
        .text(variable.name)
        .text(b"=")
        .foreign(variable.value)
        .text(b": ");
    line.text(variable.reason.as_bytes()).write();
}

/// Says that a line of the rules in `source` was ignored, and why.
#[cold]
pub(crate) fn ignored_line(source: &[u8], error: &parse::Error) {
    if LOG.destination.load(Ordering::Relaxed) != SILENT {
        let mut line = Line::new();
        line.text(b"ignored line ")
            .number(error.line)
            .text(b" of ")
            .foreign(source)
            .text(b": ");
        line.text(error.mistake.reason().as_bytes()).write();
    }
}

/// Says that a file which was named could not be read.
#[cold]
pub(crate) fn ignored_file(path: &[u8]) {
    if LOG.destination.load(Ordering::Relaxed) != SILENT {
        Line::new()
            .text(b"ignored ")
            .foreign(path)
            .text(b": not a file that can be read")
            .write();
    }
}

struct Line {
    bytes: [u8; 256],
    length: usize,
}

impl Line {
    /// A line that begins as syslog wants it: priority (daemon, info), name, process.
    fn new() -> Self {
        let mut line = Self {
            bytes: [0; 256],
            length: 0,
        };
        if LOG.destination.load(Ordering::Relaxed) == SYSLOG {
            line.text(b"<30>");
        }
        line.text(b"keepalive[").number(sys::getpid()).text(b"]: ");
        line
    }

    fn text(&mut self, text: &[u8]) -> &mut Self {
        for (to, from) in self.bytes.iter_mut().skip(self.length).zip(text) {
            *to = *from;
            self.length += 1;
        }
        self
    }

    /// What others wrote: its beginning, and nothing that a terminal would act on.
    fn foreign(&mut self, text: &[u8]) -> &mut Self {
        for byte in text.iter().take(40) {
            self.text(&[if byte.is_ascii_graphic() { *byte } else { b'?' }]);
        }
        self
    }

    fn number(&mut self, number: u32) -> &mut Self {
        let mut scale = 1_000_000_000;
        while scale > 1 && number / scale == 0 {
            scale /= 10;
        }
        while scale > 0 {
            self.text(&[b'0' + (number / scale % 10) as u8]);
            scale /= 10;
        }
        self
    }

    fn write(&mut self) {
        self.text(b"\n");
        let Some(line) = self.bytes.get(..self.length) else {
            return;
        };
        match LOG.destination.load(Ordering::Acquire) {
            STDERR => {
                let identity = LOG.stderr.each_ref().map(|part| part.load(Ordering::Relaxed));
                if sys::identity(2) == Some(identity) {
                    sys::write_without_waiting(2, line);
                }
            }
            SYSLOG => send(sys::connect_to_syslog(), line),
            FILE => {
                // SAFETY: FILE was seen, so that nobody writes to the path any more.
                let path = unsafe { &*LOG.path.get() };
                send(sys::open_to_append(path), line);
            }
            _ => {}
        }
    }
}

fn send(opened: Result<c_int, Errno>, line: &[u8]) {
    if let Ok(fd) = opened {
        sys::write_without_waiting(fd, line);
        sys::close(fd);
    }
}

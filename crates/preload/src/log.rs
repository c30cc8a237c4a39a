//! Writes the log (`KEEPALIVE_LOG`): a line for each socket and for each ignored variable. The log is off by default.
//! It must not block its host, raise a signal in it, keep a descriptor, or write to a descriptor that now refers to
//! another file.

use crate::state;
use crate::sys::{self, Errno};
use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use keepalive_policy::environment::InvalidVariable;
use keepalive_policy::option::{KEEPALIVE, Unit};
use keepalive_policy::parse;

const SILENT: u8 = 0;
const STDERR: u8 = 1;
const SYSLOG: u8 = 2;
const FILE: u8 = 3;

/// The size of the path's buffer, with the NUL. Longer paths are ignored.
const PATH: usize = 256;

struct Log {
    destination: AtomicU8,
    /// The identity of standard error at the start: device and inode.
    stderr: [AtomicU64; 2],
    /// How to write to standard error, as the number of a [`sys::Way`].
    way: AtomicU8,
    /// Whether the last line was written only in part.
    is_cut: AtomicBool,
    path: UnsafeCell<[u8; PATH]>,
}

// SAFETY: only `open` writes to `path`. It runs once, and writes before it stores FILE (release). Readers read `path`
// after they have loaded FILE (acquire).
unsafe impl Sync for Log {}

static LOG: Log = Log {
    destination: AtomicU8::new(SILENT),
    stderr: [const { AtomicU64::new(0) }; 2],
    way: AtomicU8::new(0),
    is_cut: AtomicBool::new(false),
    path: UnsafeCell::new([0; PATH]),
};

/// Opens the log from the value of `KEEPALIVE_LOG`. An invalid value leaves the log off, because there is no place to
/// report it.
#[cold]
pub(crate) fn open(destination: &[u8]) {
    let kind = match destination {
        b"stderr" => {
            // The descriptor may be the program's own connection (inetd). Do not write to it.
            let Some((file, way)) = sys::File::of(2).and_then(|file| Some((file.identity, file.way(2)?))) else {
                return;
            };
            for (slot, part) in LOG.stderr.iter().zip(file) {
                slot.store(part, Ordering::Relaxed);
            }
            LOG.way.store(way as u8, Ordering::Relaxed);
            STDERR
        }
        b"syslog" => SYSLOG,
        [b'/', ..] if destination.len() < PATH => {
            // SAFETY: this runs once, before FILE is stored.
            let path = unsafe { &mut *LOG.path.get() };
            path.iter_mut().zip(destination).for_each(|(to, from)| *to = *from);
            if is_remote(path) {
                return;
            }
            FILE
        }
        _ => return,
    };
    LOG.destination.store(kind, Ordering::Release);
}

/// Whether a file server may block a process that opens the file or writes to it.
fn is_remote(path: &[u8; PATH]) -> bool {
    let Ok(fd) = sys::open_to_append(path) else {
        return false;
    };
    let is_remote = sys::File::of(fd).is_some_and(|file| file.is_remote(fd));
    sys::close(fd);
    is_remote
}

/// Whether there is a log.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    LOG.destination.load(Ordering::Relaxed) != SILENT
}

/// Logs the current options of the socket `fd`. `done` is the event, such as "created".
#[inline(always)]
pub(crate) fn socket(fd: c_int, done: &'static str) {
    if is_on() {
        write_socket(fd, done);
    }
}

#[cold]
fn write_socket(fd: c_int, done: &'static str) {
    if state::is_confined() {
        return;
    }
    let mut line = Line::new();
    line.text(b"socket ")
        .number(fd.unsigned_abs())
        .text(b" ")
        .text(done.as_bytes())
        .text(b":");
    for option in KEEPALIVE {
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

/// Logs that a variable was ignored, and why.
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

/// Logs that a line of the rules in `source` was ignored, and why.
#[cold]
pub(crate) fn ignored_line(source: &[u8], error: &parse::Error) {
    if is_on() {
        let mut line = Line::new();
        line.text(b"ignored line ")
            .number(error.line)
            .text(b" of ")
            .foreign(source)
            .text(b": ");
        line.text(error.mistake.reason().as_bytes()).write();
    }
}

/// Logs that the rules file at `path` was not read, and why.
#[cold]
pub(crate) fn ignored_file(path: &[u8], error: Errno) {
    if is_on() {
        Line::new()
            .text(b"ignored ")
            .foreign(path.strip_suffix(b"\0").unwrap_or(path))
            .text(match error {
                sys::EACCES => b": permission denied, by the file's mode, AppArmor or SELinux",
                _ => b": not a file that can be read",
            })
            .write();
    }
}

/// Reports that `program` runs without the privilege that its file would give it. Writes to the log; if the log is off,
/// to standard error.
#[cold]
pub(crate) fn lost_privilege(program: &[u8]) {
    let mut line = Line::new();
    line.foreign(program).text(
        b" runs without its privilege: keepalive run, as an ordinary user, takes it (no_new_privs); --engine preload leaves it",
    );
    if is_on() {
        line.write();
    } else if let Some(file) = sys::File::of(2)
        && let Some(way) = file.way(2)
    {
        line.text(b"\n");
        let bytes = line.bytes.get(1..line.length).unwrap_or_default();
        sys::write_to_standard_error(file.identity, way, bytes);
    }
}

/// A line of the log. It begins with a newline, which ends a previous line that was cut.
struct Line {
    bytes: [u8; 256],
    length: usize,
}

impl Line {
    /// Begins a line in the format of syslog: priority (daemon, info), name, process.
    fn new() -> Self {
        let mut line = Self {
            bytes: [b'\n'; 256],
            length: 1,
        };
        if LOG.destination.load(Ordering::Relaxed) == SYSLOG {
            line.text(b"<30>");
        }
        line.text(b"keepalive[").number(sys::getpid()).text(b"]: ");
        line
    }

    #[inline(never)]
    fn text(&mut self, text: &[u8]) -> &mut Self {
        for (to, from) in self.bytes.iter_mut().skip(self.length).zip(text) {
            *to = *from;
            self.length += 1;
        }
        self
    }

    /// Appends the beginning of a foreign text. Replaces bytes that a terminal might interpret.
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
        let first = usize::from(!LOG.is_cut.load(Ordering::Relaxed));
        let Some(line) = self.bytes.get(first..self.length) else {
            return;
        };
        let written = match LOG.destination.load(Ordering::Acquire) {
            STDERR => {
                let identity = LOG.stderr.each_ref().map(|part| part.load(Ordering::Relaxed));
                sys::Way::from_number(LOG.way.load(Ordering::Relaxed))
                    .map_or(0, |way| sys::write_to_standard_error(identity, way, line))
            }
            SYSLOG => through(sys::connect_to_syslog(), line, sys::send),
            FILE => {
                // SAFETY: FILE was loaded, so no code writes to the path any more.
                let path = unsafe { &*LOG.path.get() };
                through(sys::open_to_append(path), line, sys::write)
            }
            _ => 0,
        };
        if written != 0 {
            LOG.is_cut.store(written < line.len(), Ordering::Relaxed);
        }
    }
}

/// Writes `line` to a descriptor that this library has opened, and closes it. Returns the number of written bytes.
fn through(opened: Result<c_int, Errno>, line: &[u8], write: fn(c_int, &[u8]) -> usize) -> usize {
    let Ok(fd) = opened else { return 0 };
    let written = write(fd, line);
    sys::close(fd);
    written
}

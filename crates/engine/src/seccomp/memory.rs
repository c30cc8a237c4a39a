//! What supervisors remember between calls. The state outlives abandoned threads, and a new process inherits it.

use super::rings::Rings;
use super::unfinished::Unfinished;
use crate::applier::SwitchedOff;
use keepalive_sys::pidfd::PidFd;
use keepalive_sys::proc;
use std::collections::HashSet;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The remembered state. No lock is held during system calls that another process can delay.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) switched_off: SwitchedOff,
    /// Ports with a listener: connections on these ports were accepted.
    listening: Mutex<HashSet<u16>>,
    unfinished: Mutex<Unfinished>,
    rings: Mutex<Rings>,
    offenders: Mutex<Vec<Offender>>,
    /// How many abandoned threads of this process still hang.
    pub(super) hung: AtomicUsize,
    /// How many threads of this process are closing files whose close(2) may hang.
    pub(super) closing: Arc<AtomicUsize>,
}

/// The limit of remembered offenders. Each uses a descriptor.
const MOST_OFFENDERS: usize = 64;

/// A process that has made a thread hang: the supervisor no longer reads from it.
pub(super) struct Offender {
    pid: u32,
    process: PidFd,
}

impl Offender {
    /// Returns the process of thread `tid`. The caller must confirm afterwards that `tid` still names the
    /// same thread.
    pub(super) fn of_thread(tid: u32) -> io::Result<Self> {
        let pid = proc::status(tid)?.tgid;
        let process = PidFd::open(pid)?;
        Ok(Self { pid, process })
    }
}

impl Memory {
    pub(super) fn unfinished(&self) -> MutexGuard<'_, Unfinished> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rings(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_listening(&self, port: u16) {
        self.listening().insert(port);
    }

    pub(super) fn listens(&self, port: u16) -> bool {
        self.listening().contains(&port)
    }

    fn listening(&self) -> MutexGuard<'_, HashSet<u16>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_offender(&self, offender: Offender) {
        let mut offenders = self.offenders();
        if offenders.len() >= MOST_OFFENDERS {
            offenders.remove(0);
        }
        offenders.push(offender);
    }

    /// Returns whether thread `tid` belongs to a process that has made a thread hang.
    pub(super) fn is_offender(&self, tid: u32) -> bool {
        let mut offenders = self.offenders();
        if offenders.is_empty() {
            return false;
        }
        // Another process may have the number of a process that has ended.
        offenders.retain(|offender| !offender.process.has_ended());
        let process = proc::status(tid).map(|status| status.tgid);
        process.is_ok_and(|pid| offenders.iter().any(|offender| offender.pid == pid))
    }

    fn offenders(&self) -> MutexGuard<'_, Vec<Offender>> {
        self.offenders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes all descriptors, in a process that no longer serves.
    pub(super) fn clear(&self) {
        self.unfinished().clear();
        self.rings().clear();
        self.offenders().clear();
    }
}

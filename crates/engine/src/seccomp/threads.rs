//! The threads that make calls, each held by a handle. Opening a handle takes as long as all other work for a call.

use keepalive_sys::thread::Thread;
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;
use std::sync::Arc;

/// The threads that have made a call recently, by number.
pub(super) struct Threads {
    held: HashMap<u32, Arc<Thread>>,
    most: usize,
}

/// The limit of held threads: no program has so many threads that connect at a time.
const MOST: usize = 1024;
/// The descriptors that the supervisor needs itself: its pipes, a file that it reads, a socket in another namespace.
const OTHER_DESCRIPTORS: usize = 24;
/// The maximum number of descriptors of a handle.
const DESCRIPTORS: usize = 2;

/// Returns how many handles this process may hold for each of two purposes, given its limit of descriptors;
/// at least 1.
pub(super) fn most_handles() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    (limit.saturating_sub(OTHER_DESCRIPTORS) / DESCRIPTORS / 2).max(1)
}

impl Threads {
    pub(super) fn new() -> Self {
        Self {
            held: HashMap::new(),
            most: most_handles().min(MOST),
        }
    }

    /// Returns the thread that had the number `tid` when it was held. The thread may have ended.
    pub(super) fn find(&self, tid: u32) -> Option<&Arc<Thread>> {
        self.held.get(&tid)
    }

    /// Holds `thread`. If the table is full, drops the threads that have ended, or all others if none has.
    pub(super) fn hold(&mut self, tid: u32, thread: Arc<Thread>) {
        if self.held.len() >= self.most {
            self.held.retain(|_, thread| thread.is_alive());
        }
        if self.held.len() >= self.most {
            self.held.clear();
        }
        self.held.insert(tid, thread);
    }

    /// Closes every descriptor.
    pub(super) fn clear(&mut self) {
        self.held.clear();
    }
}

//! The threads that make calls, each held by a handle, since opening one takes as long as all the rest.

use keepalive_sys::thread::Thread;
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;
use std::sync::Arc;

/// The threads that have made a call lately, by number.
pub(super) struct Threads {
    held: HashMap<u32, Arc<Thread>>,
    most: usize,
}

/// No program has so many threads that connect at a time.
const MOST: usize = 256;
/// What the supervisor needs for itself: its pipes, a file that it reads, a socket in another namespace.
const OTHER_DESCRIPTORS: usize = 24;
/// The descriptors of a handle, at most.
const DESCRIPTORS: usize = 2;

/// How many handles this process may hold for one purpose of two, as its limit of descriptors allows; at least one.
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

    /// The thread that had the number `tid` when it was held; it may have ended.
    pub(super) fn find(&self, tid: u32) -> Option<&Arc<Thread>> {
        self.held.get(&tid)
    }

    /// Holds `thread`. Threads that have ended make room for it, or all the others.
    pub(super) fn hold(&mut self, tid: u32, thread: Arc<Thread>) {
        if self.held.len() >= self.most {
            self.held.retain(|_, thread| thread.is_alive());
        }
        if self.held.len() >= self.most {
            self.held.clear();
        }
        self.held.insert(tid, thread);
    }

    /// Gives every descriptor back.
    pub(super) fn clear(&mut self) {
        self.held.clear();
    }
}

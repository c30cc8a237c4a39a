//! The progress of a serving thread, as its watcher sees it.

use keepalive_sys::thread::Thread;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{read, write};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// An event by which one thread wakes another.
pub(super) struct Event(OwnedFd);

impl Event {
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(super) fn signal(&self) {
        // The write fails only if the counter is at its maximum; then the event is visible anyway.
        let _ = write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(super) fn reset(&self) {
        let _ = read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The watching thread, which sleeps while the serving thread is idle.
pub(super) struct Watcher {
    pub(super) event: Event,
    is_asleep: AtomicBool,
}

impl Watcher {
    /// # Errors
    /// As [`Event::new`].
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            event: Event::new()?,
            is_asleep: AtomicBool::new(false),
        })
    }

    /// Records that the watcher is about to sleep. The watcher still sees steps that began earlier; steps
    /// that begin later wake the watcher.
    pub(super) fn set_asleep(&self, is_asleep: bool) {
        self.is_asleep.store(is_asleep, Ordering::SeqCst);
    }
}

/// The cause of a step that may hang.
#[derive(Clone)]
pub(super) enum Subject {
    /// A call that waits for its answer.
    Call { id: u64, tid: u32 },
    /// A connection in progress, of a thread that does not wait.
    Connection { thread: Arc<Thread>, tid: u32 },
}

/// The progress of one thread.
#[derive(Default)]
pub(super) struct Progress {
    /// Odd during a step that may hang.
    step: AtomicU64,
    subject: Mutex<Option<Subject>>,
    is_replaced: AtomicBool,
    has_ended: AtomicBool,
    tid: AtomicU32,
}

impl Progress {
    /// Begins a step that may hang.
    pub(super) fn begin(&self, subject: Subject, watcher: &Watcher) {
        self.set_subject(Some(subject));
        self.step.fetch_add(1, Ordering::SeqCst);
        if watcher.is_asleep.load(Ordering::SeqCst) && watcher.is_asleep.swap(false, Ordering::SeqCst) {
            watcher.event.signal();
        }
    }

    /// Ends the step. Returns whether this thread has not been replaced.
    pub(super) fn end(&self) -> bool {
        self.step.fetch_add(1, Ordering::SeqCst);
        self.is_current()
    }

    /// Returns whether this thread still serves: no other thread has replaced it.
    pub(super) fn is_current(&self) -> bool {
        !self.is_replaced.load(Ordering::SeqCst)
    }

    /// Replaces this thread. Returns the subject of the step that hangs, if any.
    pub(super) fn replace(&self) -> Option<Subject> {
        self.is_replaced.store(true, Ordering::SeqCst);
        let subject = self.subject.lock().unwrap_or_else(PoisonError::into_inner);
        subject.clone()
    }

    /// Returns the number of the step, and whether the step may hang.
    pub(super) fn step(&self) -> (u64, bool) {
        let step = self.step.load(Ordering::SeqCst);
        (step, step % 2 == 1)
    }

    /// Marks the thread as ended.
    pub(super) fn finish(&self, watcher: &Watcher) {
        self.has_ended.store(true, Ordering::SeqCst);
        watcher.event.signal();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }

    pub(super) fn set_thread(&self, tid: u32) {
        self.tid.store(tid, Ordering::Relaxed);
    }

    /// Returns the number of the thread; 0 until the thread has stored it.
    pub(super) fn thread(&self) -> u32 {
        self.tid.load(Ordering::Relaxed)
    }

    fn set_subject(&self, subject: Option<Subject>) {
        *self.subject.lock().unwrap_or_else(PoisonError::into_inner) = subject;
    }
}

//! The state that the processes that serve a listener share, in shared memory.

use keepalive_sys::fork::Shared;
use keepalive_sys::seccomp::Notification;
use std::io;
use std::sync::atomic::Ordering;

/// Contains the last received call, the number of the last answered call, the number of the call that was
/// served twice, and the number of hung threads of the serving process.
#[derive(Clone, Copy)]
pub(super) struct Journal(Shared<13>);

impl Journal {
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new() -> io::Result<Self> {
        Shared::new().map(Self)
    }

    pub(super) fn received(self, call: &Notification) {
        let [a, b, c, d, e, f] = call.arguments;
        let words = [
            call.id,
            call.tid.into(),
            call.arch.into(),
            call.number.into(),
            a,
            b,
            c,
            d,
            e,
            f,
        ];
        let [id, rest @ ..] = words;
        let [received, slots @ .., _, _, _] = self.0.numbers();
        for (slot, word) in slots.iter().zip(rest) {
            slot.store(word, Ordering::Relaxed);
        }
        // Stored last: a reader that sees the number also sees the other words.
        received.store(id, Ordering::Release);
    }

    pub(super) fn answered(self, id: u64) {
        let [.., answered, _, _] = self.0.numbers();
        answered.store(id, Ordering::Release);
    }

    /// Records that the call `id` is about to be served again. Returns whether that was recorded before.
    pub(super) fn is_repeated(self, id: u64) -> bool {
        let [.., repeated, _] = self.0.numbers();
        repeated.swap(id, Ordering::AcqRel) == id
    }

    /// Stores how many threads of the serving process hang.
    pub(super) fn set_hung(self, threads: usize) {
        let [.., hung] = self.0.numbers();
        hung.store(u64::try_from(threads).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Returns whether threads of the serving process hang.
    pub(super) fn has_hung(self) -> bool {
        let [.., hung] = self.0.numbers();
        hung.load(Ordering::Acquire) != 0
    }

    /// Returns the call that was received but not answered, if any; otherwise the number of the last answered call.
    pub(super) fn unanswered(self) -> Result<Notification, u64> {
        let [received, .., answered, _, _] = self.0.numbers().each_ref().map(|word| word.load(Ordering::Acquire));
        if received == answered {
            return Err(answered);
        }
        let [id, tid, arch, number, a, b, c, d, e, f, ..] =
            self.0.numbers().each_ref().map(|word| word.load(Ordering::Acquire));
        // These values were 32 bits wide when stored.
        let narrow = |word: u64| u32::try_from(word).unwrap_or(0);
        Ok(Notification {
            id,
            tid: narrow(tid),
            arch: narrow(arch),
            number: narrow(number),
            arguments: [a, b, c, d, e, f],
        })
    }
}

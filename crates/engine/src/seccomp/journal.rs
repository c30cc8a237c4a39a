//! What the processes that serve a listener tell each other, in memory that they share.

use keepalive_sys::fork::Shared;
use keepalive_sys::seccomp::Notification;
use std::io;
use std::sync::atomic::Ordering;

/// The call that was received last, the number of the one that was answered last, of the one that was served twice, and how
/// many threads of the process that serves hang.
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
        // Last: who sees the number sees the rest.
        received.store(id, Ordering::Release);
    }

    pub(super) fn answered(self, id: u64) {
        let [.., answered, _, _] = self.0.numbers();
        answered.store(id, Ordering::Release);
    }

    /// Notes that the call `id` is about to be served once more; gives whether it was so before.
    pub(super) fn is_repeated(self, id: u64) -> bool {
        let [.., repeated, _] = self.0.numbers();
        repeated.swap(id, Ordering::AcqRel) == id
    }

    /// Notes how many threads of the process that serves hang.
    pub(super) fn set_hung(self, threads: usize) {
        let [.., hung] = self.0.numbers();
        hung.store(u64::try_from(threads).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Whether threads of the process that serves hang.
    pub(super) fn has_hung(self) -> bool {
        let [.., hung] = self.0.numbers();
        hung.load(Ordering::Acquire) != 0
    }

    /// The call that was received and not answered, if there is one; else the number of the last.
    pub(super) fn unanswered(self) -> Result<Notification, u64> {
        let [received, .., answered, _, _] = self.0.numbers().each_ref().map(|word| word.load(Ordering::Acquire));
        if received == answered {
            return Err(answered);
        }
        let [id, tid, arch, number, a, b, c, d, e, f, ..] =
            self.0.numbers().each_ref().map(|word| word.load(Ordering::Acquire));
        // They were 32 bits wide.
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

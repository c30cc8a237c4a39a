//! What this library remembers in a process: the policy, read once, and which sockets were made through us.

use crate::policy::Policy;
use crate::{apply, log, next, policy};
use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Nothing has been read yet.
const NEW: u8 = 0;
/// Some thread is reading.
const STARTING: u8 = 1;
/// The policy may be used.
const ACTIVE: u8 = 2;
/// Nothing is to be done, for good.
const INERT: u8 = 3;

struct State {
    phase: AtomicU8,
    policy: UnsafeCell<MaybeUninit<Policy>>,
}

// SAFETY: `policy` is written by the one thread that moves `phase` from NEW to STARTING, and read only after ACTIVE was
// seen, which that thread stores (release) when it has finished.
unsafe impl Sync for State {}

static STATE: State = State {
    phase: AtomicU8::new(NEW),
    policy: UnsafeCell::new(MaybeUninit::uninit()),
};

/// Finds the next definitions and reads the policy, once. Our constructor calls this, or, when another library's
/// constructor comes first, the first hook that is called. A call that comes while another one is at work returns at
/// once: nobody waits here, and what it was to treat stays as the program made it.
#[cold]
pub(crate) fn start() {
    if STATE
        .phase
        .compare_exchange(NEW, STARTING, Ordering::Relaxed, Ordering::Relaxed)
        .is_err()
    {
        return;
    }
    next::find();
    let Some(policy) = policy::read() else {
        STATE.phase.store(INERT, Ordering::Relaxed);
        return;
    };
    // SAFETY: only the thread that won the exchange above comes here, and nobody reads before ACTIVE.
    let policy = unsafe { &mut *STATE.policy.get() }.write(policy);
    STATE.phase.store(ACTIVE, Ordering::Release);
    apply::at_start(policy);
}

/// The policy, or `None` where nothing is to be done.
#[inline(always)]
pub(crate) fn policy() -> Option<&'static Policy> {
    match STATE.phase.load(Ordering::Acquire) {
        ACTIVE => Some(active_policy()),
        NEW => policy_late(),
        _ => None,
    }
}

#[inline(always)]
fn active_policy() -> &'static Policy {
    // SAFETY: after ACTIVE, which every caller has seen, nobody writes any more.
    let policy = unsafe { &*STATE.policy.get() };
    // SAFETY: before ACTIVE it was written.
    unsafe { policy.assume_init_ref() }
}

/// Another library's constructor called before ours ran.
#[cold]
fn policy_late() -> Option<&'static Policy> {
    start();
    (STATE.phase.load(Ordering::Acquire) == ACTIVE).then(active_policy)
}

/// Does nothing any more, in this process and what it forks: from here on a system call may be its last.
pub(crate) fn retire() {
    if STATE.phase.swap(INERT, Ordering::Relaxed) == ACTIVE {
        log::silence();
    }
}

/// Descriptors below this number are remembered, one bit each. Above it a socket counts as seen: it is far more likely
/// that our `socket` made it than that it came from elsewhere.
const REMEMBERED: usize = 1024;
const BITS: usize = u32::BITS as usize;

static SEEN: [AtomicU32; REMEMBERED / BITS] = [const { AtomicU32::new(0) }; REMEMBERED / BITS];

#[inline(always)]
fn place(fd: c_int) -> Option<(&'static AtomicU32, u32)> {
    let fd = usize::try_from(fd).ok()?;
    Some((SEEN.get(fd / BITS)?, 1 << (fd % BITS)))
}

/// Remembers that the socket `fd` was made through us: whatever it lacks now, the program has taken away itself.
#[inline(always)]
pub(crate) fn remember(fd: c_int) {
    if let Some((word, bit)) = place(fd)
        && word.load(Ordering::Relaxed) & bit == 0
    {
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

/// Whether the socket `fd` was made through us. A stale answer is possible after a descriptor was closed and its number
/// filled by a call that is not hooked (recvmsg(2), pidfd_getfd(2), io_uring): then that socket is left alone.
#[inline(always)]
pub(crate) fn is_remembered(fd: c_int) -> bool {
    place(fd).is_none_or(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
}

//! What this library remembers in a process: the policy, read once, and which sockets were made through us.

use crate::policy::Policy;
use crate::{apply, libc, next, policy, sys};
use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::hint::spin_loop;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::sync::atomic::{AtomicU32, Ordering};

/// Nothing has been read yet.
const NEW: u32 = 0;
/// Some thread is reading.
const STARTING: u32 = 1;
/// The policy may be used.
const ACTIVE: u32 = 2;
/// Nothing is to be done, for good.
const INERT: u32 = 3;
/// Added to the phase for each seccomp filter that the program has installed or is installing. The library makes no
/// system call then: the value is none of the four above.
const FILTER: u32 = 4;

struct State {
    phase: AtomicU32,
    policy: UnsafeCell<MaybeUninit<Policy>>,
}

// SAFETY: `policy` is written by the one thread that moves `phase` from NEW to STARTING, and read only after ACTIVE was
// seen, which that thread stores (release) when it has finished.
unsafe impl Sync for State {}

static STATE: State = State {
    phase: AtomicU32::new(NEW),
    policy: UnsafeCell::new(MaybeUninit::uninit()),
};

/// How many hooks are making system calls of ours now, in all threads.
static AT_WORK: AtomicU32 = AtomicU32::new(0);

/// Counts a hook as at work as long as it lives. Not to be held during a call of the program, which may wait for ever.
struct AtWork;

impl AtWork {
    #[inline(always)]
    fn begin() -> Self {
        AT_WORK.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for AtWork {
    #[inline(always)]
    fn drop(&mut self) {
        AT_WORK.fetch_sub(1, Ordering::Release);
    }
}

/// The policy, and the right to make system calls as long as it lives. Not to be held during a call of the program.
pub(crate) struct Work {
    policy: &'static Policy,
    _at_work: AtWork,
}

impl Deref for Work {
    type Target = Policy;

    #[inline(always)]
    fn deref(&self) -> &Policy {
        self.policy
    }
}

/// Finds the next definitions and reads the policy, once. Our constructor calls this, or, when another library's
/// constructor comes first, the first hook that is called. A call that comes while another one is at work returns at
/// once: nobody waits here, and what it was to treat stays as the program made it.
#[cold]
pub(crate) fn start() {
    let _at_work = AtWork::begin();
    if STATE
        .phase
        .compare_exchange(NEW, STARTING, Ordering::Relaxed, Ordering::Relaxed)
        .is_err()
    {
        return;
    }
    next::find();
    let Some(policy) = policy::read() else {
        STATE.phase.fetch_add(INERT - STARTING, Ordering::Relaxed);
        return;
    };
    // SAFETY: only the thread that won the exchange above comes here, and nobody reads before ACTIVE.
    unsafe { &mut *STATE.policy.get() }.write(policy);
    STATE.phase.fetch_add(ACTIVE - STARTING, Ordering::Release);
    if let Some(work) = work() {
        apply::at_start(&work);
    }
}

/// The policy, or `None` where nothing is to be done. Whoever makes a system call asks [`work`].
#[inline(always)]
pub(crate) fn policy() -> Option<&'static Policy> {
    match STATE.phase.load(Ordering::Acquire) {
        ACTIVE => Some(active_policy()),
        NEW => policy_late(),
        _ => None,
    }
}

/// The policy, for a hook that makes system calls; `None` where nothing is to be done.
#[inline(always)]
pub(crate) fn work() -> Option<Work> {
    let policy = policy()?;
    let at_work = AtWork::begin();
    // Either this sees the filter that a thread is about to install, or that thread sees this hook at work.
    (STATE.phase.load(Ordering::SeqCst) == ACTIVE).then_some(Work {
        policy,
        _at_work: at_work,
    })
}

#[inline(always)]
fn active_policy() -> &'static Policy {
    // SAFETY: after ACTIVE, which every caller has seen, nobody writes any more.
    let policy = unsafe { &*STATE.policy.get() };
    // SAFETY: before ACTIVE it was written.
    unsafe { policy.assume_init_ref() }
}

/// As [`start`], for a hook that is called before our constructor. Code of the program that runs before all constructors
/// (`DT_PREINIT_ARRAY`, as of Clang's safe stack) finds no environment yet, which glibc provides in its own constructor: then
/// only the next definitions are found.
#[cold]
pub(crate) fn start_early() {
    if libc::has_environment() {
        start();
    } else if STATE.phase.load(Ordering::Relaxed) == NEW {
        next::find();
    }
}

/// Another library's constructor called before ours ran.
#[cold]
fn policy_late() -> Option<&'static Policy> {
    start_early();
    (STATE.phase.load(Ordering::Acquire) == ACTIVE).then(active_policy)
}

/// The program is about to install a seccomp filter, which may kill it at a system call that it does not make itself. No
/// hook begins to make one from here on, in this process and what it forks; those that are at work are waited for, at most
/// a tenth of a second. (One may never end: a signal handler of this thread interrupted it, or another thread was in it
/// when this process was forked.)
#[cold]
pub(crate) fn before_filter() {
    const SPINS: u32 = 200;
    const SLEEPS: u32 = 1000;
    // A start that is yet to come would not come any more.
    let _ = policy();
    STATE.phase.fetch_add(FILTER, Ordering::SeqCst);
    for turn in 0..SPINS + SLEEPS {
        match AT_WORK.load(Ordering::SeqCst) {
            0 => return,
            _ if turn < SPINS => spin_loop(),
            count => sys::wait_100_us(&AT_WORK, count),
        }
    }
}

/// Whether the program has installed a filter, or is about to. Asked again before each system call: a signal handler may
/// have done it since the hook began.
#[inline(always)]
pub(crate) fn is_confined() -> bool {
    STATE.phase.load(Ordering::Relaxed) >= FILTER
}

/// The kernel has refused the filter that [`before_filter`] announced.
#[cold]
pub(crate) fn filter_refused() {
    STATE.phase.fetch_sub(FILTER, Ordering::Release);
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

/// The number `fd` is a socket now that was not made through us.
#[cold]
pub(crate) fn forget(fd: c_int) {
    if let Some((word, bit)) = place(fd) {
        word.fetch_and(!bit, Ordering::Relaxed);
    }
}

/// Whether the socket `fd` was made through us. A stale answer is possible after a descriptor was closed and its number
/// filled by a call that is not hooked (recvmsg(2), pidfd_getfd(2), io_uring): then that socket is left alone.
#[inline(always)]
pub(crate) fn is_remembered(fd: c_int) -> bool {
    place(fd).is_none_or(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
}

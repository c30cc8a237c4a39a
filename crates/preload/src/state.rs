//! Contains the library's state in a process: the policy, which is read once, and the remembered sockets, which were
//! created through this library.

use crate::policy::{Names, Policy, Texts};
use crate::{apply, libc, next, policy, sys};
use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::hint::spin_loop;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// The policy has not been read yet.
const NEW: u32 = 0;
/// A thread reads the policy.
const STARTING: u32 = 1;
/// The texts of the policy have been read.
const ACTIVE: u32 = 2;
/// The library does nothing in this process.
const INERT: u32 = 3;
/// Added to the phase for each seccomp filter that the program has installed or is installing. The phase is then none
/// of the four values above, so the library makes no system calls.
const FILTER: u32 = 4;

struct State {
    phase: AtomicU32,
    texts: UnsafeCell<MaybeUninit<Texts>>,
    /// The policy; null until it has been parsed.
    policy: AtomicPtr<Policy>,
    /// The memory of a policy without rules.
    settings: UnsafeCell<MaybeUninit<Policy>>,
}

// SAFETY: only the thread that moves `phase` from NEW to STARTING writes `texts` and `settings`, and stores ACTIVE
// (release) when it has finished. Other threads read `texts` only after they have loaded ACTIVE, and `settings` only
// through `policy`.
unsafe impl Sync for State {}

static STATE: State = State {
    phase: AtomicU32::new(NEW),
    texts: UnsafeCell::new(MaybeUninit::uninit()),
    policy: AtomicPtr::new(core::ptr::null_mut()),
    settings: UnsafeCell::new(MaybeUninit::uninit()),
};

/// The number of hooks that are making system calls of this library, in all threads.
static AT_WORK: AtomicU32 = AtomicU32::new(0);

/// Counts a hook as at work as long as this value lives. A hook must not hold the value during a call of the program,
/// which may block for ever.
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

/// The policy, and the permission to make system calls as long as this value lives. A hook must not hold the value
/// during a call of the program.
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

/// Finds the next definitions and reads the policy, once. This library's constructor calls this function. If another
/// library's constructor runs first, the first called hook does. If another call of this function is in progress, the
/// function returns at once and the hook's socket stays unchanged: no thread waits here.
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
    let Some((texts, names)) = policy::read() else {
        STATE.phase.fetch_add(INERT - STARTING, Ordering::Relaxed);
        return;
    };
    if texts.are_empty() {
        // SAFETY: only the thread that won the exchange above comes here, and no thread reads before ACTIVE.
        let policy = unsafe { &mut *STATE.settings.get() }.write(Policy::EMPTY);
        texts.prepare(policy);
        publish(policy);
    }
    // SAFETY: as above.
    unsafe { &mut *STATE.texts.get() }.write(texts);
    STATE.phase.fetch_add(ACTIVE - STARTING, Ordering::Release);
    // Mistakes are logged at the start.
    if names.is_some() && parsed().is_none() {
        parse(names);
    }
    apply::at_start();
}

/// Returns the policy, or `None` if the library must do nothing. Code that makes system calls must call [`work`]
/// instead.
#[inline(always)]
pub(crate) fn policy() -> Option<&'static Policy> {
    if STATE.phase.load(Ordering::Acquire) != ACTIVE {
        return policy_late();
    }
    parsed().or_else(|| parse(None))
}

/// Returns the policy for a hook that makes system calls; `None` if the library must do nothing.
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

/// Returns the policy if it has been parsed.
#[inline(always)]
fn parsed() -> Option<&'static Policy> {
    // SAFETY: the pointer is null or points to a policy that is never changed and never unmapped.
    unsafe { STATE.policy.load(Ordering::Acquire).as_ref() }
}

/// Parses the rules and returns the policy; `None` if there is no memory. Threads, and a signal handler that interrupts
/// this function, may parse at the same time, because none of them may wait for another. All of them use the policy of
/// the one that finishes first; the memory of the others is lost.
#[cold]
#[inline(never)]
fn parse(names: Names<'_>) -> Option<&'static Policy> {
    let _at_work = AtWork::begin();
    // The phase may have changed before this function was at work (`before_filter`).
    if STATE.phase.load(Ordering::SeqCst) != ACTIVE {
        return None;
    }
    // SAFETY: after ACTIVE, which was loaded above, no thread writes any more.
    let texts = unsafe { &*STATE.texts.get() };
    // SAFETY: the texts were written before ACTIVE.
    let policy = unsafe { texts.assume_init_ref() }.parse(names)?;
    Some(publish(policy))
}

/// Publishes `policy` unless a policy has been published. Returns the published policy.
fn publish(policy: &'static Policy) -> &'static Policy {
    let pointer = core::ptr::from_ref(policy).cast_mut();
    match STATE
        .policy
        .compare_exchange(core::ptr::null_mut(), pointer, Ordering::AcqRel, Ordering::Acquire)
    {
        Ok(_) => policy,
        // SAFETY: a published policy is never changed and never unmapped.
        Err(other) => unsafe { &*other },
    }
}

/// Starts the library as [`start`], for a hook that is called before this library's constructor. Some code of a program
/// runs before all constructors (`DT_PREINIT_ARRAY`, for example Clang's safe stack). Then there is no environment yet,
/// because glibc sets it in its own constructor, and this function finds only the next definitions.
#[cold]
pub(crate) fn start_early() {
    if libc::has_environment() {
        start();
    } else if STATE.phase.load(Ordering::Relaxed) == NEW {
        next::find();
    }
}

/// Returns the policy when the library is not active. Starts the library for another library's constructor that runs
/// before this library's constructor.
#[cold]
fn policy_late() -> Option<&'static Policy> {
    if STATE.phase.load(Ordering::Relaxed) == NEW {
        start_early();
    }
    if STATE.phase.load(Ordering::Acquire) != ACTIVE {
        return None;
    }
    parsed().or_else(|| parse(None))
}

/// Stops the library's system calls before the program installs a seccomp filter, which may kill the program at a
/// system call that the program does not make itself. From now on no hook begins to make system calls, in this process
/// and its forked children. Waits at most a tenth of a second for the hooks at work. (A hook may never end: a signal
/// handler of this thread has interrupted it, or another thread was in it when this process was forked.)
#[cold]
pub(crate) fn before_filter() {
    const SPINS: u32 = 200;
    const SLEEPS: u32 = 1000;
    // The library must start and parse now, because it cannot do so under a filter.
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

/// Whether the program has installed a filter, or is about to. The library checks this again before each system call,
/// because a signal handler may have installed a filter since the hook began.
#[inline(always)]
pub(crate) fn is_confined() -> bool {
    STATE.phase.load(Ordering::Relaxed) >= FILTER
}

/// Reverts [`before_filter`] after the kernel has refused the filter.
#[cold]
pub(crate) fn filter_refused() {
    STATE.phase.fetch_sub(FILTER, Ordering::Release);
}

/// The number of descriptors that can be remembered, one bit each. Sockets with a higher number count as remembered,
/// because far more sockets come from this library's `socket` than from elsewhere.
const REMEMBERED: usize = 1024;
const BITS: usize = u32::BITS as usize;

static SEEN: [AtomicU32; REMEMBERED / BITS] = [const { AtomicU32::new(0) }; REMEMBERED / BITS];

#[inline(always)]
fn place(fd: c_int) -> Option<(&'static AtomicU32, u32)> {
    let fd = usize::try_from(fd).ok()?;
    Some((SEEN.get(fd / BITS)?, 1 << (fd % BITS)))
}

/// Remembers that the socket `fd` was created through this library. If a setting is missing later, the program itself
/// has removed it.
#[inline(always)]
pub(crate) fn remember(fd: c_int) {
    if let Some((word, bit)) = place(fd)
        && word.load(Ordering::Relaxed) & bit == 0
    {
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

/// Forgets the socket `fd`: the number now refers to a socket that was not created through this library.
#[cold]
pub(crate) fn forget(fd: c_int) {
    if let Some((word, bit)) = place(fd) {
        word.fetch_and(!bit, Ordering::Relaxed);
    }
}

/// Whether the socket `fd` was created through this library. The result is stale if the descriptor was closed and a
/// call that is not hooked has reused its number (recvmsg(2), pidfd_getfd(2), io_uring). Then the library leaves that
/// socket unchanged.
#[inline(always)]
pub(crate) fn is_remembered(fd: c_int) -> bool {
    place(fd).is_none_or(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
}

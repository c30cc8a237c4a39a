//! The serving thread and its watcher. A process controls how long reading its memory or locking its socket
//! takes. If that takes too long, its call continues without settings, and another thread serves the other
//! calls.

use super::memory::Offender;
use super::pair::SupervisorPair;
use super::progress::{Event, Progress, Subject, Watcher};
use super::supervisor::{End, Supervisor};
use keepalive_sys::pidfd::PidFd;
use keepalive_sys::proc;
use keepalive_sys::seccomp::{Answer, Notification};
use keepalive_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, Scope, ScopedJoinHandle, sleep};
use std::time::{Duration, Instant};

/// How often the watcher checks the serving thread while that is busy.
const TICK: Duration = Duration::from_millis(250);
/// A step that lasts this many ticks hangs, and its thread is abandoned. Ticks are counted instead of time:
/// this process may have been stopped meanwhile, with all others.
const MOST_TICKS: u32 = 4;
/// After this long without work the watcher sleeps.
const REST: Duration = Duration::from_secs(2);
/// The limit of hung threads. When it is reached, the supervisor does nothing more that may hang.
pub(super) const MOST_HUNG: usize = 64;
/// Several times the stack that serving uses.
pub(super) const STACK: usize = 256 * 1024;

/// A serving thread.
struct Worker<'scope> {
    handle: ScopedJoinHandle<'scope, Option<End>>,
    progress: Arc<Progress>,
    /// The step at the last check, when that step was first seen, and for how many ticks it has lasted.
    step: u64,
    since: Instant,
    ticks: u32,
    last_tick: Instant,
}

/// The threads of one serving process.
pub(super) struct Watch<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    pair: &'env SupervisorPair<'env>,
    watcher: Arc<Watcher>,
    /// Ends the serving thread.
    stop: Arc<Event>,
    worker: Option<Worker<'scope>>,
    hung: Vec<Worker<'scope>>,
}

impl<'scope, 'env> Watch<'scope, 'env> {
    /// # Errors
    /// As [`Event::new`].
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, pair: &'env SupervisorPair<'env>) -> io::Result<Self> {
        Ok(Self {
            scope,
            pair,
            watcher: Arc::new(Watcher::new()?),
            stop: Arc::new(Event::new()?),
            worker: None,
            hung: Vec::new(),
        })
    }

    /// Serves until no process is left under the filter, or until the process behind `standby` has ended. The
    /// call `first` is served before all others. If there may be children, `children` becomes readable when
    /// `reap` must be called.
    pub(super) fn serve(
        &mut self,
        standby: &PidFd,
        children: Option<&SignalFd>,
        mut first: Option<Notification>,
        reap: impl Fn(),
    ) -> End {
        self.stop.reset();
        loop {
            if self.worker.is_none() {
                self.worker = self.start(first.take());
            }
            let is_served = self.worker.is_some();
            let timeout = self.pause();
            let mut fds = [
                PollFd::new(&self.watcher.event, PollFlags::IN),
                PollFd::new(standby, PollFlags::IN),
                // A descriptor without events takes the place of an absent one.
                children.map_or(PollFd::new(standby, PollFlags::empty()), |children| {
                    PollFd::new(children, PollFlags::IN)
                }),
                // If no thread can be started, this thread lets the calls continue.
                if is_served {
                    PollFd::new(standby, PollFlags::empty())
                } else {
                    PollFd::new(self.pair.listener, PollFlags::IN)
                },
            ];
            let result = poll(&mut fds, timeout.as_ref());
            self.watcher.set_asleep(false);
            match result {
                Err(Errno::INTR) => continue,
                Err(_) => {
                    sleep(TICK);
                    continue;
                }
                Ok(_) => {}
            }
            let [event, standby_ends, children, calls] = fds.map(|fd| fd.revents());
            if !event.is_empty() {
                self.watcher.event.reset();
            }
            if !children.is_empty() {
                reap();
            }
            if !is_served && calls.contains(PollFlags::IN) {
                self.pair.let_next_continue();
            } else if !is_served && calls.contains(PollFlags::HUP) {
                return End::NobodyLeft;
            }
            if let Some(end) = self.end_of_worker() {
                return end;
            }
            if !standby_ends.is_empty() {
                self.stop();
                return End::Alone;
            }
            self.check(standby);
        }
    }

    /// Starts a serving thread.
    fn start(&self, first: Option<Notification>) -> Option<Worker<'scope>> {
        let progress = Arc::new(Progress::default());
        let pair = self.pair;
        let (own, watcher, stop) = (progress.clone(), self.watcher.clone(), self.stop.clone());
        let serve = move || {
            own.set_thread(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned());
            let mut supervisor = Supervisor::new(pair, &own, &watcher);
            if let Some(call) = first {
                supervisor.serve(&call);
            }
            let end = supervisor.serve_all(&stop);
            own.finish(&watcher);
            end
        };
        let Ok(handle) = Builder::new().stack_size(STACK).spawn_scoped(self.scope, serve) else {
            if let Some(call) = first {
                self.pair.let_continue(&call);
            }
            return None;
        };
        let now = Instant::now();
        Some(Worker {
            handle,
            progress,
            step: 0,
            since: now,
            ticks: 0,
            last_tick: now,
        })
    }

    /// Returns how long to wait for the next event; `None`, without limit, while the serving thread is idle.
    fn pause(&self) -> Option<Timespec> {
        let is_resting = self.worker.as_ref().is_some_and(|worker| {
            self.watcher.set_asleep(true);
            worker.progress.step() == (worker.step, false) && worker.since.elapsed() >= REST
        });
        if is_resting && self.hung.is_empty() {
            return None;
        }
        self.watcher.set_asleep(false);
        Timespec::try_from(TICK).ok()
    }

    /// Returns why the serving thread has ended, if it has.
    fn end_of_worker(&mut self) -> Option<End> {
        let worker = self.worker.take_if(|worker| worker.progress.has_ended())?;
        worker.handle.join().ok().flatten()
    }

    /// Checks whether the serving thread hangs, and whether earlier hung threads have ended.
    fn check(&mut self, standby: &PidFd) {
        let hung = self.hung.len();
        self.hung.retain(|worker| !worker.handle.is_finished());
        if self.hung.len() != hung {
            self.note_hung(None);
        }
        if let Some(worker) = self.worker.take_if(Worker::hangs) {
            self.give_up(worker);
            self.note_hung(Some(standby));
        }
    }

    fn note_hung(&self, standby: Option<&PidFd>) {
        self.pair.memory.hung.store(self.hung.len(), Ordering::Relaxed);
        self.pair.journal.set_hung(self.hung.len());
        // A process ends only when all its threads have ended. From now on the standby must not wait for that.
        if let Some(standby) = standby {
            let _ = standby.signal(Signal::CHILD.as_raw());
        }
    }

    /// Lets the call of `worker`, which hangs, continue, and remembers the caller's process.
    fn give_up(&mut self, worker: Worker<'scope>) {
        let (listener, memory) = (self.pair.listener, &self.pair.memory);
        match worker.progress.replace() {
            Some(Subject::Call { id, tid }) => {
                let offender = Offender::of_thread(tid);
                if listener.is_waiting(id)
                    && let Ok(offender) = offender
                {
                    memory.add_offender(offender);
                }
                let _ = listener.answer(id, Answer::Continue);
                self.pair.journal.answered(id);
            }
            Some(Subject::Connection { thread, tid }) => {
                let offender = Offender::of_thread(tid);
                if thread.is_alive()
                    && let Ok(offender) = offender
                {
                    memory.add_offender(offender);
                }
            }
            None => {}
        }
        self.hung.push(worker);
    }

    /// Ends the serving thread, or abandons it.
    fn stop(&mut self) {
        self.stop.signal();
        while let Some(worker) = &self.worker {
            if worker.progress.has_ended() {
                self.end_of_worker();
                return;
            }
            let timeout = Timespec::try_from(TICK).ok();
            let _ = poll(&mut [PollFd::new(&self.watcher.event, PollFlags::IN)], timeout.as_ref());
            self.watcher.event.reset();
            // The thread sees the event as soon as its step ends.
            if let Some(worker) = self.worker.take_if(Worker::hangs) {
                self.give_up(worker);
                self.note_hung(None);
            }
        }
    }
}

impl Worker<'_> {
    /// Checks the thread. Returns whether it has been in the same step for too long. A runnable thread that
    /// waits for a processor does not hang.
    fn hangs(&mut self) -> bool {
        let now = Instant::now();
        let (step, is_busy) = self.progress.step();
        if step != self.step {
            (self.step, self.since, self.ticks, self.last_tick) = (step, now, 0, now);
        } else if now - self.last_tick >= TICK * 9 / 10 {
            self.ticks += 1;
            self.last_tick = now;
        }
        let is_late = is_busy && self.ticks >= MOST_TICKS;
        is_late && proc::thread_state(std::process::id(), self.progress.thread()) != Some('R')
    }
}

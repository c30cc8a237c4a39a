//! Reads processes from workers, so that no process delays the others. A worker may block on something that a
//! process controls. It is a child of this command, which abandons an overdue worker.

use keepalive_sys::fork::Shared;
use keepalive_sys::worker::{REAPING, Worker};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::{Errno, read, write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The period in which the pool checks its workers.
const CHECK_PERIOD: Duration = Duration::from_millis(50);
/// After this many checks without a result, another worker continues with the other questions.
const SLOW: u32 = 2;
/// After this many checks without a result and without processor time, the worker is blocked and is abandoned.
const BLOCKED: u32 = 20;
/// After this many checks without a result, the worker is abandoned although it is busy.
const BUSY: u32 = 200;
/// The maximum number of workers at a time.
const MOST: usize = 64;
/// The key that no question has.
const NOBODY: u32 = 0;

/// A pool of workers. Some of them may be stuck.
#[derive(Debug, Default)]
pub struct WorkerPool {
    /// The abandoned workers that have not ended yet, each with the key of its question.
    stuck: Vec<(Worker, u32)>,
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        let start = Instant::now();
        for (worker, _) in self.stuck.drain(..) {
            worker.reap_within(REAPING.saturating_sub(start.elapsed()));
        }
    }
}

/// A message from a worker, which follows its length as [`LENGTH`] bytes.
#[derive(Serialize, Deserialize)]
enum Message<T> {
    /// The number of the question that the following results answer.
    Question(usize),
    Result(T),
}

/// Receives the results of a worker.
pub type Send<'a, T> = dyn FnMut(T) + 'a;

/// A worker, as its parent sees it.
struct Member {
    worker: Worker,
    /// The bytes of a message that is not complete yet.
    received: Vec<u8>,
    question: Option<usize>,
    /// Whether the worker will write no more.
    is_over: bool,
    is_heard: bool,
    processor_time: u64,
    quiet: u32,
    blocked: u32,
}

impl WorkerPool {
    /// Answers each question, by number, in worker processes: `answer` runs there, and `take` receives its
    /// results here. Returns the numbers of the questions that were not completely answered within about a
    /// second. A question is not asked again while a worker is stuck with its key. The workers inherit the
    /// descriptors `keep`.
    ///
    /// # Errors
    /// No worker can be started.
    pub fn ask<T: Serialize + DeserializeOwned>(
        &mut self,
        keys: &[u32],
        keep: &[BorrowedFd<'_>],
        answer: &mut dyn FnMut(usize, &mut Send<'_, T>),
        take: &mut dyn FnMut(usize, T),
    ) -> io::Result<Vec<usize>> {
        self.stuck.retain(|(worker, _)| !worker.has_ended());
        let is_stuck = |question: &usize| self.stuck.iter().any(|(_, key)| keys.get(*question) == Some(key));
        let (mut unanswered, questions): (Vec<usize>, Vec<usize>) = (0..keys.len()).partition(is_stuck);
        let shared = Shared::<1>::new()?;
        let [next] = shared.numbers();
        let claim = || {
            let place = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok()?;
            questions.get(place).copied()
        };
        let is_left = || next.load(Ordering::Relaxed) < questions.len() as u64;
        let mut members: Vec<Member> = Vec::new();
        while is_left() || !members.is_empty() {
            if is_left() && members.len() < MOST && members.iter().all(Member::is_slow) {
                match Worker::start(keep, |output| work(output, &claim, &mut *answer)) {
                    Ok(worker) => members.push(Member::new(worker)),
                    Err(error) if members.is_empty() => return Err(error),
                    Err(_) => {}
                }
            }
            listen(&mut members, take);
            for mut member in std::mem::take(&mut members) {
                if member.is_over && member.is_done() {
                    if !member.worker.has_ended() {
                        self.stuck.push((member.worker, NOBODY));
                    }
                } else if member.is_over || member.is_overdue() {
                    // A worker that has ended before its last message has crashed.
                    member.worker.kill();
                    if let Some(question) = member.question.take() {
                        unanswered.push(question);
                        self.stuck.push((member.worker, keys[question]));
                    }
                } else {
                    members.push(member);
                }
            }
        }
        unanswered.sort_unstable();
        Ok(unanswered)
    }
}

/// Receives the workers' messages for the duration of a [`CHECK_PERIOD`], or until a worker has written its last message.
fn listen<T: DeserializeOwned>(members: &mut [Member], take: &mut dyn FnMut(usize, T)) {
    let start = Instant::now();
    while let Some(left) = CHECK_PERIOD.checked_sub(start.elapsed()) {
        let outputs = members.iter().map(|member| member.worker.output());
        let mut fds: Vec<PollFd<'_>> = outputs
            .map(|output| PollFd::from_borrowed_fd(output, PollFlags::IN))
            .collect();
        // A signal may end the wait early, which does no harm.
        let _ = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
        for member in &mut *members {
            member.read(take);
        }
        if members.iter().any(|member| member.is_over) {
            return;
        }
    }
    members.iter_mut().for_each(Member::check);
}

/// The work of a worker: answers unclaimed questions, one after another.
fn work<T: Serialize>(
    output: &OwnedFd,
    claim: &dyn Fn() -> Option<usize>,
    answer: &mut dyn FnMut(usize, &mut Send<'_, T>),
) {
    while let Some(question) = claim() {
        send(output, &Message::<T>::Question(question));
        answer(question, &mut |result| send(output, &Message::Result(result)));
    }
    send(output, &Message::<T>::Question(usize::MAX));
}

/// The size of a message's length.
const LENGTH: usize = size_of::<u32>();

fn send(output: &OwnedFd, message: &impl Serialize) {
    let Ok(mut bytes) = postcard::to_extend(message, vec![0; LENGTH]) else {
        return;
    };
    let Ok(length) = u32::try_from(bytes.len() - LENGTH) else {
        return;
    };
    bytes[..LENGTH].copy_from_slice(&length.to_ne_bytes());
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        match write(output, rest) {
            Ok(length) => rest = &rest[length..],
            Err(Errno::INTR) => {}
            // The parent has ended.
            Err(_) => keepalive_sys::fork::exit_now(1),
        }
    }
}

impl Member {
    fn new(worker: Worker) -> Self {
        Self {
            worker,
            received: Vec::new(),
            question: None,
            is_over: false,
            is_heard: false,
            processor_time: 0,
            quiet: 0,
            blocked: 0,
        }
    }

    /// Reads and handles what the worker has written.
    fn read<T: DeserializeOwned>(&mut self, take: &mut dyn FnMut(usize, T)) {
        let mut buffer = [0; 16384];
        while !self.is_over {
            match read(self.worker.output(), &mut buffer) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Ok(0) | Err(_) => self.is_over = true,
                Ok(length) => {
                    self.is_heard = true;
                    self.received.extend_from_slice(&buffer[..length]);
                    self.messages(take);
                }
            }
        }
    }

    /// Handles the complete messages.
    fn messages<T: DeserializeOwned>(&mut self, take: &mut dyn FnMut(usize, T)) {
        let mut rest = &self.received[..];
        while let Some((length, after)) = rest.split_first_chunk::<LENGTH>()
            && let Some((message, after)) = after.split_at_checked(u32::from_ne_bytes(*length) as usize)
        {
            match (postcard::from_bytes(message), self.question) {
                (Ok(Message::Question(question)), _) => self.question = Some(question),
                (Ok(Message::Result(result)), Some(question)) => take(question, result),
                // A worker writes no other messages.
                _ => {}
            }
            rest = after;
        }
        let handled = self.received.len() - rest.len();
        self.received.drain(..handled);
    }

    /// Records the worker's state after a [`CHECK_PERIOD`]. Checks are counted instead of time, so that a suspended
    /// machine does not look like a blocked worker.
    fn check(&mut self) {
        let processor_time = self.worker.processor_time();
        let is_heard = std::mem::take(&mut self.is_heard);
        self.quiet = if is_heard { 0 } else { self.quiet + 1 };
        self.blocked = if is_heard || processor_time != self.processor_time {
            0
        } else {
            self.blocked + 1
        };
        self.processor_time = processor_time;
    }

    fn is_done(&self) -> bool {
        self.question == Some(usize::MAX)
    }

    fn is_slow(&self) -> bool {
        self.quiet >= SLOW
    }

    fn is_overdue(&self) -> bool {
        self.blocked >= BLOCKED || self.quiet >= BUSY
    }
}

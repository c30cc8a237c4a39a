//! Looking into processes from workers, so that no process holds up the others: whoever waits for something that a process
//! controls is a child of this command, and is left behind when it is overdue.

use keepalive_sys::fork::Shared;
use keepalive_sys::worker::Worker;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::{Errno, read, write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often the workers are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// So many looks without a result: another worker goes on with the other questions.
const SLOW: u32 = 2;
/// So many looks without a result and without processor time: the worker waits for something, and is left behind.
const BLOCKED: u32 = 20;
/// So many looks without a result: the worker is left behind though it is busy.
const BUSY: u32 = 200;
/// The most workers at a time.
const MOST: usize = 64;
/// The key of no question.
const NOBODY: u32 = 0;

/// Workers, of which some may be stuck.
#[derive(Debug, Default)]
pub struct WorkerPool {
    /// Those left behind that have not ended yet, each with the key of its question.
    stuck: Vec<(Worker, u32)>,
}

/// What a worker writes, each in a line of its own.
#[derive(Serialize, Deserialize)]
enum Message<T> {
    /// The number of the question that what follows answers.
    Question(usize),
    Result(T),
}

/// Takes the results of a worker.
pub type Send<'a, T> = dyn FnMut(T) + 'a;

/// A worker as its parent sees it.
struct Member {
    worker: Worker,
    /// What it has written of a line that is not complete yet.
    line: Vec<u8>,
    question: Option<usize>,
    /// Whether it will write no more.
    is_over: bool,
    is_heard: bool,
    processor_time: u64,
    quiet: u32,
    blocked: u32,
}

impl WorkerPool {
    /// Answers each question, by number, in worker processes: `answer` runs there, and what it sends is handed to `take`
    /// here. Gives the numbers of the questions that were not answered to the end within about a second; a question whose
    /// key a worker is still stuck with is not asked again. The workers have the descriptors `keep`.
    ///
    /// # Errors
    /// There can be no worker.
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
                    // One that has ended by itself before it was done has crashed.
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

/// Takes what the workers write for the time of a [`LOOK`], or until one of them has written its last.
fn listen<T: DeserializeOwned>(members: &mut [Member], take: &mut dyn FnMut(usize, T)) {
    let start = Instant::now();
    while let Some(left) = LOOK.checked_sub(start.elapsed()) {
        let outputs = members.iter().map(|member| member.worker.output());
        let mut fds: Vec<PollFd<'_>> = outputs
            .map(|output| PollFd::from_borrowed_fd(output, PollFlags::IN))
            .collect();
        // A signal ends it early, which does no harm.
        let _ = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
        for member in &mut *members {
            member.read(take);
        }
        if members.iter().any(|member| member.is_over) {
            return;
        }
    }
    members.iter_mut().for_each(Member::look);
}

/// What a worker does: questions that nobody has claimed, one after the other.
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

fn send(output: &OwnedFd, message: &impl Serialize) {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    let mut rest = &line[..];
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
            line: Vec::new(),
            question: None,
            is_over: false,
            is_heard: false,
            processor_time: 0,
            quiet: 0,
            blocked: 0,
        }
    }

    /// Takes what it has written.
    fn read<T: DeserializeOwned>(&mut self, take: &mut dyn FnMut(usize, T)) {
        let mut buffer = [0; 16384];
        while !self.is_over {
            match read(self.worker.output(), &mut buffer) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Ok(0) | Err(_) => self.is_over = true,
                Ok(length) => {
                    self.is_heard = true;
                    for part in buffer[..length].split_inclusive(|byte| *byte == b'\n') {
                        self.line.extend_from_slice(part);
                        if part.ends_with(b"\n") {
                            self.message(take);
                            self.line.clear();
                        }
                    }
                }
            }
        }
    }

    fn message<T: DeserializeOwned>(&mut self, take: &mut dyn FnMut(usize, T)) {
        match (serde_json::from_slice(&self.line), self.question) {
            (Ok(Message::Question(question)), _) => self.question = Some(question),
            (Ok(Message::Result(result)), Some(question)) => take(question, result),
            // A worker writes nothing else.
            _ => {}
        }
    }

    /// Notes how it is after a [`LOOK`]. Looks are counted, not time, so that a machine that was stopped is no worker that
    /// was.
    fn look(&mut self) {
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

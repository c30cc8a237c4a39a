//! The server, and the rounds of idle connections to it.

use super::idle::Idle;
use super::progress::Progress;
use super::search::{Outcome, Trial};
use keepalive_policy::SocketOption;
use keepalive_sys::signal::{SignalFd, block_interrupts};
use keepalive_sys::sock_diag::State;
use keepalive_sys::sockopt::{self, activity};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A server, and a control connection to it, which a probe each second keeps alive. If this connection fails
/// too, idleness is not the cause.
pub(super) struct Path {
    address: SocketAddr,
    control: TcpStream,
    /// The number of answered probes on the control connections, and the time of the last answer.
    answers: (u32, Instant),
    /// The time at which the control connection was opened.
    opened: Instant,
    /// The shortest age at which the peer ended a control connection, by a FIN or a RST.
    ended_at: Option<Duration>,
    /// The longest age of a control connection that the peer had not ended.
    lived_for: Duration,
    interrupts: Option<SignalFd>,
}

/// What became of connections with a probe each second, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probed {
    /// The shortest age at which the peer ended one.
    pub(super) ended_at: Option<f64>,
    /// The longest age that one reached.
    pub(super) lived_for: f64,
}

/// The reason why a measurement ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The user interrupted the measurement.
    Interrupted,
    /// The control connection has failed.
    Down,
    /// The server accepts no more connections.
    Refused,
    /// New connections repeatedly got no answer.
    Unanswered,
    /// A connection that should be idle carries packets.
    Restless,
    /// Keepalive cannot be switched off on a connection of this command.
    KeptAlive,
}

/// The time limit for opening a connection.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between opening two connections.
const PACE: Duration = Duration::from_millis(20);
/// The period of checks on a tested connection.
const LOOK: Duration = Duration::from_millis(10);
/// The number of attempts to open a connection that gets no answer.
const ATTEMPTS: u32 = 3;
/// The number of unanswered probes that end the control connection.
const CONTROL_PROBES: u32 = 30;
/// Idleness ends a connection only after this time.
const AT_ONCE: Duration = Duration::from_secs(1);

impl Path {
    /// Opens the control connection to the first of `addresses` that answers.
    pub(super) fn open(addresses: &[SocketAddr]) -> io::Result<Self> {
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect_timeout(address, PATIENCE) {
                Ok(stream) => {
                    block_interrupts();
                    return Ok(Self {
                        address: *address,
                        control: control(stream)?,
                        answers: (0, Instant::now()),
                        opened: Instant::now(),
                        ended_at: None,
                        lived_for: Duration::ZERO,
                        interrupts: SignalFd::interrupts().ok(),
                    });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leaves connections idle for these times, and tests each; ends when the first has died. Returns the results.
    pub(super) fn round(&mut self, times: &[f64], progress: &mut Progress) -> (Vec<Trial>, Option<Ended>) {
        let start = Instant::now();
        let mut idle = Vec::new();
        for time in times {
            match self.connect() {
                Ok(stream) => idle.push(Idle::new(stream, Duration::from_secs_f64(*time))),
                Err(end) => return (Vec::new(), Some(end)),
            }
            sleep(PACE);
        }
        let longest = times.last().copied().unwrap_or(0.0);
        let mut trials: Vec<Trial> = Vec::new();
        while !idle.is_empty() {
            if let Some(end) = self.wait(&idle, pause(&idle)) {
                trials.retain(|trial| trial.outcome == Outcome::Lived);
                return (trials, Some(end));
            }
            let answers = self.answers.0;
            idle.retain_mut(|connection| match connection.check(answers) {
                Some(trial) => {
                    trials.push(trial);
                    false
                }
                None => true,
            });
            // A connection that is never idle for long enough cannot be tested.
            let (elapsed, before) = (start.elapsed(), idle.len());
            idle.retain(|connection| connection.asked.is_some() || elapsed < connection.deadline(start));
            if idle.len() < before {
                trials.retain(|trial| trial.outcome == Outcome::Lived);
                return (trials, Some(Ended::Restless));
            }
            // Connections that are already being tested may still contradict; the others need not wait.
            if trials.iter().any(|trial| trial.outcome != Outcome::Lived) {
                idle.retain(|connection| connection.asked.is_some());
            }
            progress.round(start.elapsed().as_secs_f64(), longest, trials.len(), times.len());
        }
        let end = self.why_ended(&trials);
        if end.is_some() {
            trials.retain(|trial| trial.outcome == Outcome::Lived);
        }
        (trials, end)
    }

    /// Returns the cause other than idleness that has ended connections, if any.
    fn why_ended(&mut self, trials: &[Trial]) -> Option<Ended> {
        /// A server that ends may accept connections for this long after it has closed the others.
        const LISTENER_CLOSES: Duration = Duration::from_millis(500);
        // A server that no longer runs answers no connection.
        if trials.iter().any(is_dead)
            && let Some(end) = self.wait_for_control()
        {
            return Some(end);
        }
        let mut unasked = trials.iter().filter(|trial| trial.outcome.is_unasked()).peekable();
        unasked.peek()?;
        if unasked.any(|trial| trial.idle < AT_ONCE.as_secs_f64()) {
            return Some(self.why_refused());
        }
        // A server that has ended has closed all its connections, and accepts no new one.
        let stream = match self.connect() {
            Ok(stream) => stream,
            Err(Ended::Interrupted) => return Some(Ended::Interrupted),
            Err(_) => return Some(Ended::Down),
        };
        // The kernel closes the listener of a process that ends after its connections: it resets this connection then.
        let start = Instant::now();
        while let Some(rest) = LISTENER_CLOSES.checked_sub(start.elapsed()) {
            if let Some(end) = self.wait(&[], rest) {
                return Some(end);
            }
            if !is_established(&stream) {
                return Some(self.why_refused());
            }
        }
        None
    }

    /// Opens a connection. Retries, since packets may be lost.
    fn connect(&mut self) -> Result<TcpStream, Ended> {
        for _ in 0..ATTEMPTS {
            if self.is_interrupted() {
                return Err(Ended::Interrupted);
            }
            match TcpStream::connect_timeout(&self.address, PATIENCE) {
                Ok(stream) => return left_idle(stream),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(_) => return Err(self.why_refused()),
            }
        }
        Err(match self.why_refused() {
            Ended::Refused => Ended::Unanswered,
            other => other,
        })
    }

    fn is_interrupted(&self) -> bool {
        self.interrupts.as_ref().is_some_and(|signals| signals.next().is_some())
    }

    /// Returns what became of connections with a probe each second.
    pub(super) fn probed(&self) -> Probed {
        Probed {
            ended_at: self.ended_at.map(|age| age.as_secs_f64()),
            lived_for: self.lived_for.as_secs_f64(),
        }
    }

    /// Records a new answer on the control connection.
    fn count_answer(&mut self) {
        /// Half the time between two probes.
        const APART: Duration = Duration::from_millis(500);
        let Ok(activity) = activity(&self.control) else { return };
        if let Some(at) = Instant::now().checked_sub(activity.since_ack) {
            let (answers, last) = &mut self.answers;
            if at > *last + APART {
                *answers = answers.wrapping_add(1);
                *last = at;
            }
        }
    }

    /// Waits until the control connection has got an answer, or has failed.
    fn wait_for_control(&mut self) -> Option<Ended> {
        /// Answers within this time belong to the last two probes.
        const RECENT: Duration = Duration::from_secs(2);
        loop {
            match activity(&self.control) {
                Ok(activity) if activity.since_ack > RECENT => {}
                _ => return None,
            }
            if let Some(end) = self.wait(&[], 10 * LOOK) {
                return Some(end);
            }
        }
    }

    /// Returns whether a connection with these timings (seconds, seconds, probes) still exists after `time`
    /// seconds. Retries a connection that ended for lack of answers, since packets may have been lost.
    pub(super) fn verify(
        &mut self,
        timings: (u32, u32, u32),
        time: f64,
        progress: &mut Progress,
    ) -> Result<bool, Ended> {
        match self.outlives(timings, time, progress)? {
            Outcome::Silence => Ok(self.outlives(timings, time, progress)? == Outcome::Lived),
            outcome => Ok(outcome == Outcome::Lived),
        }
    }

    fn outlives(&mut self, timings: (u32, u32, u32), time: f64, progress: &mut Progress) -> Result<Outcome, Ended> {
        let stream = self.connect()?;
        // The values are within the kernel's limits.
        let _ = keep_alive(&stream, timings);
        let start = Instant::now();
        let time = Duration::from_secs_f64(time);
        while let Some(rest) = time.checked_sub(start.elapsed()) {
            if let Some(end) = self.wait(&[], rest.min(Duration::from_secs(1))) {
                return Err(end);
            }
            if !is_established(&stream) {
                let is_silence =
                    matches!(stream.take_error(), Ok(Some(error)) if error.kind() == io::ErrorKind::TimedOut);
                return Ok(if is_silence { Outcome::Silence } else { Outcome::Reset });
            }
            progress.check(start.elapsed().as_secs_f64(), time.as_secs_f64());
        }
        // An open connection proves nothing: the last probe must have been answered.
        let mut connection = Idle::new(stream, Duration::ZERO);
        connection.ask(self.answers.0);
        if let Some(asked) = &mut connection.asked {
            // The connection was not idle: any answer from now on counts.
            asked.idle = Duration::MAX;
        }
        loop {
            if let Some(trial) = connection.check(self.answers.0) {
                return Ok(trial.outcome);
            }
            if let Some(end) = self.wait(&[], LOOK) {
                return Err(end);
            }
        }
    }

    /// Waits until an event on a connection, or for `pause`.
    fn wait(&mut self, idle: &[Idle], pause: Duration) -> Option<Ended> {
        let mut fds: Vec<PollFd<'_>> = idle
            .iter()
            .map(|connection| PollFd::new(&connection.stream, PollFlags::RDHUP))
            .collect();
        fds.push(PollFd::new(&self.control, PollFlags::RDHUP));
        fds.extend(
            self.interrupts
                .as_ref()
                .map(|signals| PollFd::new(signals, PollFlags::IN)),
        );
        match poll(&mut fds, Timespec::try_from(pause).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return Some(Ended::Interrupted),
        }
        if self.is_interrupted() {
            return Some(Ended::Interrupted);
        }
        self.count_answer();
        let age = self.opened.elapsed();
        if is_established(&self.control) {
            self.lived_for = self.lived_for.max(age);
            return None;
        }
        let is_lost = matches!(self.control.take_error(), Ok(Some(error)) if error.kind() == io::ErrorKind::TimedOut);
        if !is_lost {
            self.ended_at = Some(self.ended_at.map_or(age, |shortest| shortest.min(age)));
            // A server that turns connections away would do so with each new one.
            if age < AT_ONCE {
                return Some(Ended::Refused);
            }
        }
        // A server may end this connection like others. Only a server that accepts no new connection has ended.
        match self
            .connect()
            .and_then(|stream| control(stream).map_err(|_| Ended::Down))
        {
            Ok(control) => {
                self.control = control;
                self.opened = Instant::now();
                self.answers.1 = self.opened;
                None
            }
            Err(Ended::Interrupted) => Some(Ended::Interrupted),
            Err(_) => Some(Ended::Down),
        }
    }

    fn why_refused(&mut self) -> Ended {
        if is_established(&self.control) {
            Ended::Refused
        } else {
            Ended::Down
        }
    }
}

/// Turns a connection into a control connection.
fn control(stream: TcpStream) -> io::Result<TcpStream> {
    ask(&stream, CONTROL_PROBES)?;
    Ok(stream)
}

/// Returns whether this is a death that only a running server proves.
fn is_dead(trial: &Trial) -> bool {
    !matches!(trial.outcome, Outcome::Lived | Outcome::Closed)
}

/// Returns the time until the next action.
fn pause(idle: &[Idle]) -> Duration {
    /// The longest time until an unnoticed event is detected.
    const LONGEST: Duration = Duration::from_millis(100);
    let pauses = idle.iter().map(|connection| match connection.asked {
        Some(_) => LOOK,
        None => connection.rest().max(Duration::from_millis(1)),
    });
    pauses.min().unwrap_or(LONGEST).min(LONGEST)
}

/// Returns the connection without keepalive: a policy that applies to this command may have set it.
fn left_idle(stream: TcpStream) -> Result<TcpStream, Ended> {
    let is_off = sockopt::set(&stream, SocketOption::Keepalive, 0)
        .and_then(|()| sockopt::get(&stream, SocketOption::Keepalive))
        .is_ok_and(|number| number == 0);
    if is_off { Ok(stream) } else { Err(Ended::KeptAlive) }
}

fn is_established(stream: &TcpStream) -> bool {
    sockopt::state(stream).is_ok_and(|(state, _)| state == Some(State::Established))
}

/// Makes the kernel send a keepalive probe now, since the connection has been idle for a second or more, and
/// then one each second until one is answered.
pub(super) fn ask(stream: &TcpStream, probes: u32) -> io::Result<()> {
    keep_alive(stream, (1, 1, probes))
}

/// Sets these timings (seconds, seconds, probes), in the order in which a running timer uses them.
fn keep_alive(stream: &TcpStream, (idle, interval, count): (u32, u32, u32)) -> io::Result<()> {
    sockopt::set(stream, SocketOption::Count, count)?;
    sockopt::set(stream, SocketOption::Interval, interval)?;
    sockopt::set(stream, SocketOption::Keepalive, 1)?;
    sockopt::set(stream, SocketOption::Idle, idle)
}

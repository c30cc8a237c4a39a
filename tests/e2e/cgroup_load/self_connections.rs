//! Threads in a cgroup that connect to themselves without a pause, and read the options of both ends.

use crate::support::line_peer::LinePeer;
use crate::support::target::{Libc, compile};
use crate::support::test_cgroup::TestCgroup;
use std::path::Path;

/// The idle time that each end sets after its options were read.
pub const OWN_IDLE: u32 = 9999;

/// The running threads (`targets/self_connect.c`).
pub struct SelfConnections(LinePeer);

/// The options of some ends.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub phase: u32,
    /// Keepalive, idle time, interval, count, user timeout.
    pub has: [u32; 5],
    /// The idle time of the ends after they set it to [`OWN_IDLE`].
    pub then: u32,
}

impl SelfConnections {
    /// Starts the threads in this cgroup, with a lower priority than commands that replace policies.
    pub fn start(test_cgroup: &TestCgroup, directory: &Path, threads: u32) -> Self {
        let program = compile(Libc::Host, "self_connect.c", &["-pthread"]);
        let mut command = test_cgroup.enter_into(directory, "nice");
        command.args(["-n", "10"]).arg(program).arg(threads.to_string());
        Self(LinePeer::start(&mut command))
    }

    /// Begins another phase. Waits until every thread has made connections in it.
    #[track_caller]
    pub fn begin_phase(&mut self, number: u32) {
        self.0.send_line("");
        assert_eq!(self.0.answer(), format!("phase {number}"));
    }

    /// Ends the threads and returns what they have seen. No connection may have failed.
    #[track_caller]
    pub fn finish(mut self) -> Vec<Seen> {
        self.0.finish();
        let mut seen = Vec::new();
        let mut ends = [0; 2];
        loop {
            let line = self.0.answer();
            if let Some(failed) = line.strip_prefix("failed ") {
                assert_eq!(failed, "0", "connections failed");
                assert_eq!(ends[0], ends[1], "each connection has two ends");
                return seen;
            }
            let (is_accepted, one, times) = read(&line).unwrap_or_else(|| panic!("the threads printed {line:?}"));
            seen.push(one);
            ends[usize::from(is_accepted)] += times;
        }
    }
}

/// Parses a line: whether it is about accepted ends, their options, and the number of ends.
fn read(line: &str) -> Option<(bool, Seen, u64)> {
    let (start, times) = line.split_once(": ")?;
    let (start, then) = start.split_once(" then ")?;
    let words: Vec<&str> = start.split(' ').collect();
    let [phase, end, has @ ..] = words.as_slice() else {
        return None;
    };
    let has: Vec<u32> = has.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let seen = Seen {
        phase: phase.parse().ok()?,
        has: has.try_into().ok()?,
        then: then.parse().ok()?,
    };
    Some((*end == "accept", seen, times.parse().ok()?))
}

//! The options of a new connection in a cgroup.

use crate::support::py_peer::PyPeer;
use crate::support::test_cgroup::TestCgroup;

/// The options of both ends of a connection, and whether a mode applies to later calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Keepalive, idle time, interval, count, user timeout.
    pub has: [u32; 5],
    /// Whether the program cannot raise the idle time.
    pub is_held: bool,
}

impl End {
    /// The kernel's defaults.
    pub const KERNEL_DEFAULTS: Self = Self {
        has: [0, 7200, 75, 9, 0],
        is_held: false,
    };
}

/// Lines of Python that connect to a new listener, print the options of both ends, then the idle time after both set
/// it.
const LOOK: &str = "
def look():
    with listen() as listener:
        ends = pair(listener)
    had = [[end.getsockopt(*option) for option in OPTIONS.values()] for end in ends]
    for end, numbers in zip(ends, had):
        own(end, idle=9999)
        numbers.append(end.getsockopt(TCP, 4))
        end.setsockopt(SOL, socket.SO_LINGER, struct.pack('ii', 1, 0))
    ends[0].close()
    ends[1].close()
    return ' '.join(str(number) for numbers in had for number in numbers)
";

/// A program in a cgroup that makes connections.
pub struct Probe(PyPeer);

impl Probe {
    pub fn start(test_cgroup: &TestCgroup) -> Self {
        let mut py_peer = test_cgroup.py_peer();
        py_peer.execute(LOOK);
        Self(py_peer)
    }

    /// Returns the options of a new connection, which must be the same at both ends.
    #[track_caller]
    pub fn look(&mut self) -> End {
        let answer = self.0.ask("look()");
        let numbers: Vec<u32> = answer.split(' ').map(|word| word.parse().expect("a number")).collect();
        let (one, other) = numbers.split_at(numbers.len() / 2);
        assert_eq!(one, other, "the two ends");
        let [has @ .., then] = one else {
            unreachable!("an option at least");
        };
        let has: [u32; 5] = has.try_into().expect("five options");
        End {
            has,
            is_held: *then == has[1],
        }
    }
}

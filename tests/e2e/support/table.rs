//! Reads the kernel's table of TCP sockets, `/proc/PID/net/tcp`.

use std::fs;
use std::time::Duration;

/// The state and the timer of a socket that has an address.
pub struct Row {
    /// `include/net/tcp_states.h`: 2 is SYN-SENT.
    pub state: u8,
    /// 0 is none, 1 retransmission, 2 keepalive, 4 a closed window (`net/ipv4/tcp_ipv4.c`).
    pub timer: u8,
    pub expires: Duration,
}

/// Returns the row of a descriptor of `pid`, in the network namespace of `pid`.
#[track_caller]
pub fn row(pid: u32, fd: i32) -> Option<Row> {
    let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("an open descriptor");
    let link = link.to_string_lossy().into_owned();
    let inode = link.trim_start_matches("socket:[").trim_end_matches(']');
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")));
    let lines = tables.iter().flatten().flat_map(|table| table.lines());
    let mut rows = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(9) == Some(&inode))?;
    let number = |text: &str| u64::from_str_radix(text, 16).expect("a number of the kernel");
    let (timer, when) = row[5].split_once(':').expect("a timer and its time");
    Some(Row {
        state: number(row[3]).try_into().expect("a state"),
        timer: number(timer).try_into().expect("a kind of timer"),
        // The kernel has a hundred ticks a second here (sysconf(3), _SC_CLK_TCK).
        expires: Duration::from_millis(10 * number(when)),
    })
}

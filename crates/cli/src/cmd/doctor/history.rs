//! What happened to the connections of the machine so far, by the kernel's counters.

use super::finding::{Findings, Level};
use keepalive_engine::tcp_counters::{CountedNamespace, TcpCounters, namespaces};
use keepalive_sys::proc;
use serde::Serialize;

/// The counters of a network namespace as a JSON object, with the kernel's names.
#[derive(Serialize)]
#[expect(non_snake_case, reason = "the names of the kernel")]
pub(super) struct CountersEntry {
    namespace: Option<u64>,
    pid: u32,
    own: bool,
    TCPKeepAlive: Option<u64>,
    TCPAbortOnTimeout: Option<u64>,
    TCPTimeouts: Option<u64>,
    TCPAbortFailed: Option<u64>,
    EstabResets: Option<u64>,
}

const SUBJECT: &str = "history";

/// Examines the counters of each network namespace, and returns them; with `is_own_only` of this process's alone.
pub(super) fn examine(findings: &mut Findings, is_own_only: bool) -> Vec<CountersEntry> {
    /// More namespaces are for programs.
    const MOST: usize = 8;
    let mut namespaces = namespaces();
    namespaces.retain(|namespace| namespace.is_own || !is_own_only);
    let (own, others): (Vec<_>, Vec<_>) = namespaces.iter().partition(|namespace| namespace.is_own);
    for namespace in own {
        add(findings, "this network namespace", &namespace.counters);
    }
    let mut eventful: Vec<&CountedNamespace> = others
        .into_iter()
        .filter(|namespace| is_eventful(&namespace.counters))
        .collect();
    eventful.sort_by_key(|namespace| {
        let TcpCounters {
            aborts_on_timeout,
            established_resets,
            ..
        } = namespace.counters;
        std::cmp::Reverse((aborts_on_timeout, established_resets))
    });
    for namespace in eventful.iter().take(MOST) {
        let program = proc::status(namespace.pid).map_or_else(|_| String::from("?"), |status| status.comm);
        let place = format!("the network namespace of process {} ({program})", namespace.pid);
        add(findings, &place, &namespace.counters);
    }
    if let Some(more) = eventful.len().checked_sub(MOST).filter(|more| *more > 0) {
        findings.fine(
            SUBJECT,
            format!("{more} more network namespaces have such events: see --json"),
        );
    }
    namespaces.iter().map(CountersEntry::new).collect()
}

/// Shows the counters of the network namespace of a process.
pub(super) fn of_process(findings: &mut Findings, pid: u32) {
    if let Ok(counters) = TcpCounters::read_in(pid) {
        add(findings, "the network namespace of the process", &counters);
    }
}

fn is_eventful(counters: &TcpCounters) -> bool {
    let events = [
        counters.keepalive_probes,
        counters.aborts_on_timeout,
        counters.established_resets,
    ];
    events.into_iter().flatten().any(|count| count > 0)
}

fn add(findings: &mut Findings, place: &str, counters: &TcpCounters) {
    let rows = [
        (
            counters.keepalive_probes,
            "TCPKeepAlive",
            "keepalive probe was sent",
            "keepalive probes were sent",
        ),
        (
            counters.aborts_on_timeout,
            "TCPAbortOnTimeout",
            "connection was given up because no answer came, to a probe, data or SYN",
            "connections were given up because no answer came, to probes, data or SYN",
        ),
        (
            counters.established_resets,
            "EstabResets",
            "established connection ended without FIN, by a RST of either end or by giving up",
            "established connections ended without FIN, by a RST of either end or by giving up",
        ),
        (
            counters.retransmission_timeouts,
            "TCPTimeouts",
            "expiry of the retransmission timer",
            "expiries of the retransmission timer",
        ),
    ];
    if rows.iter().all(|(count, ..)| count.is_none()) {
        return;
    }
    let events: Vec<String> = rows
        .into_iter()
        .filter_map(|(count, name, one, several)| match count? {
            0 => None,
            1 => Some(format!("1 {one} ({name})")),
            count => Some(format!("{count} {several} ({name})")),
        })
        .collect();
    let text = if events.is_empty() {
        String::from("no keepalive probe was sent, and no connection was reset or given up")
    } else {
        events.join("; ")
    };
    let lost = [counters.aborts_on_timeout, counters.established_resets];
    let advice = lost
        .into_iter()
        .flatten()
        .any(|count| count > 0)
        .then(|| String::from("keepalive trace shows which connections end, after which idle time, and why"));
    findings.add(
        Level::Fine,
        SUBJECT,
        format!("in {place}, since it exists: {text}"),
        advice,
    );
}

impl CountersEntry {
    fn new(namespace: &CountedNamespace) -> Self {
        let counters = namespace.counters;
        Self {
            namespace: namespace.inode,
            pid: namespace.pid,
            own: namespace.is_own,
            TCPKeepAlive: counters.keepalive_probes,
            TCPAbortOnTimeout: counters.aborts_on_timeout,
            TCPTimeouts: counters.retransmission_timeouts,
            TCPAbortFailed: counters.aborts_failed,
            EstabResets: counters.established_resets,
        }
    }
}

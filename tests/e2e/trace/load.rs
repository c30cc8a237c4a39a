//! Many connections at once: no line is wrong, and what is lost is counted.

use super::Tracer;
use crate::support::py_peer::PyPeer;
use rustix::process::Signal;
use serde_json::{Value, json};

/// The connections of the test, each with two ends.
const CONNECTIONS: u64 = 20_000;

#[test]
fn every_end_is_shown_once_or_counted_as_lost() {
    super::traceable!();
    let tracer = Tracer::start(&["--all"]);
    let mut program = PyPeer::in_own_network();
    // Another address for every 5,000 connections: their ports are in TIME_WAIT afterwards.
    program.execute(
        "open('/proc/sys/net/ipv4/ip_local_port_range', 'w').write('10000 60000')\nlistener = listen('0.0.0.0')",
    );
    let port = program.number("listener.getsockname()[1]");
    program.execute(&format!(
        "for number in range({CONNECTIONS}):\n c, a = pair(listener, f'127.0.0.{{1 + number // 5000}}')\n c.close(); a.close()"
    ));
    let (objects, text) = tracer.end(Signal::INT);
    let lost = text.lines().find_map(|line| {
        let count = line
            .strip_prefix("keepalive: at most ")?
            .strip_suffix(" ends of connections were not recorded")?;
        count.parse::<u64>().ok()
    });
    let ending = format!(":{port}");
    let is_end = |object: &&Value, side: &str| object[side].as_str().is_some_and(|address| address.ends_with(&ending));
    for (side, direction) in [("peer", "connect"), ("local", "accept")] {
        let ends: Vec<&Value> = objects.iter().filter(|object| is_end(object, side)).collect();
        let count = u64::try_from(ends.len()).expect("a number");
        assert!(
            count <= CONNECTIONS && count + lost.unwrap_or(0) >= CONNECTIONS,
            "{count}, {lost:?} lost: {text}"
        );
        for object in ends {
            assert_eq!(object["direction"], direction, "{object:#}");
            let cause = object["cause"].as_str().expect("a cause");
            assert!(matches!(cause, "closed" | "closed-by-peer"), "{object:#}");
            assert!(object["idle_s"].as_f64().is_some_and(|idle| idle < 2.0), "{object:#}");
            let owner = &object["pid"];
            assert!(*owner == json!(program.pid()) || owner.is_null(), "{object:#}");
        }
    }
}

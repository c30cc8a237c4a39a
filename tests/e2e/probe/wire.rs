//! What the network sees of a measurement: handshakes, probes, ends, and nothing else.

use super::{Lab, assert_bounds, script, stderr, stdout};
use crate::support::PYTHON;
use serde::Deserialize as _;
use serde_json::{Deserializer, Value};
use std::collections::BTreeMap;

const FIN: u64 = 1;
const SYN: u64 = 2;
const RST: u64 = 4;

/// Connections at a time, as asked for.
const PARALLEL: usize = 8;

/// A packet to or from the server.
#[derive(Clone, Copy, Debug)]
struct Packet {
    /// Seconds.
    at: f64,
    /// The client's.
    port: u64,
    is_sent: bool,
    flags: u64,
    sequence: u64,
    data: i64,
}

impl Packet {
    fn read(packet: &Value) -> Option<Self> {
        Some(Self {
            at: packet[0].as_f64()?,
            port: packet[1].as_u64()?,
            is_sent: packet[2].as_bool()?,
            flags: packet[3].as_u64()?,
            sequence: packet[4].as_u64()?,
            data: packet[5].as_i64()?,
        })
    }

    fn has(&self, flags: u64) -> bool {
        self.flags & flags != 0
    }
}

/// One connection's packets, from the first to the last.
struct Connection(Vec<Packet>);

impl Connection {
    fn opened(&self) -> f64 {
        self.0[0].at
    }

    fn closed(&self) -> Option<f64> {
        self.0
            .iter()
            .find(|packet| packet.has(FIN | RST))
            .map(|packet| packet.at)
    }

    /// When the handshake was over.
    fn complete(&self) -> f64 {
        let acknowledged = self.0.iter().find(|packet| packet.is_sent && !packet.has(SYN));
        acknowledged.expect("a connection that was opened").at
    }

    /// When probes were sent: they repeat the number of the SYN, since nothing was ever said.
    fn probes(&self) -> Vec<f64> {
        let is_probe =
            |packet: &&Packet| packet.is_sent && !packet.has(SYN | FIN | RST) && packet.sequence == self.0[0].sequence;
        self.0.iter().filter(is_probe).map(|packet| packet.at).collect()
    }

    /// What came between the handshake and the first probe, or the end.
    fn meanwhile(&self) -> Vec<Packet> {
        let complete = self.complete();
        let end = self
            .probes()
            .first()
            .copied()
            .or(self.closed())
            .unwrap_or(f64::INFINITY);
        let is_between = |packet: &&Packet| packet.at > complete && packet.at < end;
        self.0.iter().filter(is_between).copied().collect()
    }

    /// Whether the server has said anything after `at`.
    fn is_answered_after(&self, at: f64) -> bool {
        self.0.iter().any(|packet| !packet.is_sent && packet.at > at)
    }
}

/// The most connections that were open at a time.
fn most_at_a_time(connections: &[Connection]) -> usize {
    let open_at = |at: f64| {
        let is_open = |connection: &&Connection| {
            connection.opened() <= at && connection.closed().is_none_or(|closed| closed > at)
        };
        connections.iter().filter(is_open).count()
    };
    let most = connections.iter().map(|connection| open_at(connection.opened()));
    most.max().unwrap_or(0)
}

/// Asserts that probes are no closer together than the kernel's second.
#[track_caller]
fn assert_is_a_probe_a_second(probes: &[f64]) {
    for pair in probes.windows(2) {
        assert!(pair[1] - pair[0] > 0.9, "{probes:?}");
    }
}

/// Asserts that these are the packets of a measurement whose control connection came first and whose check came last.
#[track_caller]
fn assert_only_asks(packets: &[Packet]) {
    for packet in packets {
        assert_eq!(packet.data, 0, "no data is sent: {packet:?}");
    }
    let mut by_port = BTreeMap::<u64, Vec<Packet>>::new();
    for packet in packets {
        by_port.entry(packet.port).or_default().push(*packet);
    }
    let mut connections: Vec<_> = by_port.into_values().map(Connection).collect();
    connections.sort_by(|one, other| one.opened().total_cmp(&other.opened()));
    assert!(connections.iter().all(|connection| connection.0[0].has(SYN)));
    assert!(most_at_a_time(&connections) <= PARALLEL + 1);

    let [control, idle @ .., check] = &connections[..] else {
        panic!("too few connections: {packets:?}");
    };
    for connection in [control, check] {
        assert_is_a_probe_a_second(&connection.probes());
        assert!(connection.probes().len() > 3, "{:?}", connection.0);
    }
    assert!(idle.len() >= 2 * PARALLEL, "{} connections", idle.len());
    let (mut answered, mut repeated) = (0, 0);
    for connection in idle {
        assert!(connection.meanwhile().is_empty(), "{:?}", connection.0);
        let probes = connection.probes();
        let Some(first) = probes.first() else {
            continue; // Another one had died before it was asked.
        };
        assert!(first - connection.complete() > 0.9, "{:?}", connection.0);
        assert_is_a_probe_a_second(&probes);
        if connection.is_answered_after(*first) {
            answered += 1;
            repeated += probes.len() - 1;
        } else {
            assert!(probes.len() <= 5, "{probes:?}");
        }
    }
    assert!(answered > 3, "{answered} connections have answered");
    // Unless the command was not given the processor for a whole second.
    assert!(
        repeated <= 2,
        "{repeated} connections were asked again after they had answered"
    );
}

macro_rules! the_network_sees_only_probes {
    ($($name:ident: $address:literal;)*) => {$(
        #[test]
        fn $name() {
            python!();
            let lab = Lab { timeout: "3", address: $address, ..Lab::default() };
            let wire = script("wire.py");
            let wrapper = [PYTHON, "-I", "-S", wire.to_str().expect("a UTF-8 path")];
            let options = ["--json", "--max", "10", "--parallel", &PARALLEL.to_string()];
            let output = output_or_skip!(lab.probe_under(&wrapper, &options));
            assert!(output.status.success(), "{}", stderr(&output));
            let text = stdout(&output);
            let mut values = Deserializer::from_str(&text);
            let [object, packets] = [(); 2].map(|()| Value::deserialize(&mut values).expect("two values"));
            assert_bounds(&object, 3.0, 0.05);
            let packets = packets.as_array().expect("a list").iter();
            let packets: Option<Vec<Packet>> = packets.map(Packet::read).collect();
            assert_only_asks(&packets.expect("lists of six"));
        }
    )*};
}

the_network_sees_only_probes! {
    nothing_but_probes_is_seen_over_ipv4: "10.0.2.2";
    nothing_but_probes_is_seen_over_ipv6: "[fd00:2::2]";
}

//! What the program of a policy has counted.

use super::Description;
use keepalive_bpf::ended;
use keepalive_bpf::record::{self, Record};
use serde::Serialize;

/// A policy and its counters.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The policy.
    pub description: Description,
    /// The counters of each rule, in the order of [`Description::rules`].
    pub rules: Vec<Counts>,
    /// The counters of the connections that no rule matched.
    pub default: Counts,
    /// The options that the kernel refused to set.
    pub refused: u64,
}

/// The counters of a rule, since the policy was enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The connections that were established.
    pub connections: u64,
    /// The connections that failed; `None` if the program does not count them.
    pub ended: Option<Ended>,
}

/// The numbers of connections that failed, by cause, with the names of `keepalive trace`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ended {
    /// Keepalive probes got no answer.
    pub dead_peer: u64,
    /// RST in answer to a keepalive probe.
    pub reset_on_probe: u64,
    /// Data were never acknowledged: the kernel gave up, or the program did after two retransmissions.
    pub timeout: u64,
}

impl Ended {
    /// Returns each cause with its name in JSON.
    pub fn by_cause(&self) -> [(&'static str, u64); ended::CAUSES] {
        [
            ("dead-peer", self.dead_peer),
            ("reset-on-probe", self.reset_on_probe),
            ("timeout", self.timeout),
        ]
    }
}

impl Counted {
    /// Parses the value of a policy's map; `None` if another program or an incompatible version created it.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let Record { counters, ended, text } = record::read(value)?;
        let description: Description = serde_json::from_str(&text).ok()?;
        let [rules @ .., default, refused] = counters.as_slice() else {
            return None;
        };
        let (ended, _) = ended.as_chunks();
        let counts = |(number, connections): (usize, &u64)| Counts {
            connections: *connections,
            ended: ended
                .get(number)
                .map(|[dead_peer, reset_on_probe, timeout]: &[u64; ended::CAUSES]| Ended {
                    dead_peer: *dead_peer,
                    reset_on_probe: *reset_on_probe,
                    timeout: *timeout,
                }),
        };
        Some(Self {
            description,
            rules: rules.iter().enumerate().map(counts).collect(),
            default: counts((rules.len(), default)),
            refused: *refused,
        })
    }
}

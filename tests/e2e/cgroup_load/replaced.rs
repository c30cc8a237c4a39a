//! A policy is replaced atomically: no connection has options of both policies, and none fails.

use super::self_connections::{OWN_IDLE, Seen, SelfConnections};
use crate::support::test_cgroup::TestCgroup;
use std::collections::BTreeSet;

/// The kernel's defaults.
const KERNEL_DEFAULTS: [u32; 5] = [0, 7200, 75, 9, 0];

/// A policy with numbers that no other policy has.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    number: u32,
    mode: &'static str,
    /// Whether the program has a rule, in addition to the default.
    has_rule: bool,
}

impl Numbered {
    fn default(self) -> [u32; 5] {
        let number = self.number;
        [1, 1000 + number, 2000 + number, 10 + number, 3_000_000 + number]
    }

    fn rule(self) -> [u32; 5] {
        let number = self.number;
        [1, 4000 + number, 5000 + number, 10 + number, 6_000_000 + number]
    }

    /// Whether an end may have these options. A program that listened or connected before there was such a rule has no
    /// stored name, so the default applies.
    fn allows(self, has: [u32; 5]) -> bool {
        has == self.default() || self.has_rule && has == self.rule()
    }

    fn enable(self, test_cgroup: &TestCgroup) {
        let settings = |[_, idle, interval, count, user_timeout]: [u32; 5]| {
            let mode = self.mode;
            format!("idle={idle} interval={interval} count={count} user-timeout={user_timeout}ms mode={mode}")
        };
        let default = format!("default {}", settings(self.default()));
        let rule = format!("program self_connect {}", settings(self.rule()));
        let mut flags = vec!["--rule", &default];
        if self.has_rule {
            flags.extend(["--rule", &rule]);
        }
        test_cgroup.enable(&flags);
    }
}

/// Starts threads in the cgroup, and others in a cgroup below it.
fn programs(test_cgroup: &TestCgroup) -> [SelfConnections; 2] {
    let below = test_cgroup.child("below");
    [test_cgroup.directory(), &below].map(|directory| SelfConnections::start(test_cgroup, directory, 4))
}

fn begin_phase(programs: &mut [SelfConnections], number: u32) {
    for program in programs.iter_mut() {
        program.begin_phase(number);
    }
}

fn finish(programs: [SelfConnections; 2]) -> Vec<Seen> {
    programs.into_iter().flat_map(SelfConnections::finish).collect()
}

#[test]
fn each_connection_has_exactly_one_of_a_hundred_policies() {
    let test_cgroup = test_cgroup!();
    let mut programs = programs(&test_cgroup);
    let policies: Vec<Numbered> = (0..100)
        .map(|number| Numbered {
            number,
            mode: ["fill", "enforce", "floor", "cap"][number as usize % 4],
            has_rule: number % 5 == 2,
        })
        .collect();
    let [first, .., last] = policies.as_slice() else {
        unreachable!("there are a hundred");
    };
    first.enable(&test_cgroup);
    begin_phase(&mut programs, 1);
    for policy in &policies {
        policy.enable(&test_cgroup);
    }
    begin_phase(&mut programs, 2);
    begin_phase(&mut programs, 3);
    test_cgroup.disable();
    begin_phase(&mut programs, 4);
    let mut numbers = BTreeSet::new();
    for seen in finish(programs) {
        let Seen { phase, has, then, .. } = seen;
        let policy = policies.iter().find(|policy| policy.allows(has));
        numbers.extend(policy.map(|policy| policy.number));
        let is_default = has == KERNEL_DEFAULTS;
        let is_due = match phase {
            0 => is_default || first.allows(has),
            1 => policy.is_some(),
            2 => last.allows(has) && then == has[1],
            3 => is_default || last.allows(has),
            _ => is_default,
        };
        assert!(is_due, "{seen:?}");
        let is_held = then == has[1] && policy.is_some_and(|policy| matches!(policy.mode, "cap" | "enforce"));
        assert!(is_held || then == OWN_IDLE, "{seen:?}");
    }
    // The test has seen several policies while connections were made.
    assert!(numbers.len() > 10, "{numbers:?}");
}

#[test]
fn replacing_modes_keeps_open_connections_under_a_mode() {
    let test_cgroup = test_cgroup!();
    let mut programs = programs(&test_cgroup);
    let policies = (0..40).map(|number| Numbered {
        number,
        mode: ["enforce", "cap"][number as usize % 2],
        has_rule: number % 3 == 1,
    });
    let policies: Vec<Numbered> = policies.collect();
    policies[0].enable(&test_cgroup);
    begin_phase(&mut programs, 1);
    for policy in &policies {
        policy.enable(&test_cgroup);
    }
    for seen in finish(programs).into_iter().filter(|seen| seen.phase > 0) {
        assert!(policies.iter().any(|policy| policy.allows(seen.has)), "{seen:?}");
        assert_eq!(seen.then, seen.has[1], "{seen:?}");
    }
}

#[test]
fn program_rule_matches_all_later_connections_during_replacements() {
    let test_cgroup = test_cgroup!();
    let policies = (0..40).map(|number| Numbered {
        number,
        mode: ["enforce", "fill"][number as usize % 2],
        has_rule: true,
    });
    let policies: Vec<Numbered> = policies.collect();
    policies[0].enable(&test_cgroup);
    let programs = programs(&test_cgroup);
    for policy in &policies {
        policy.enable(&test_cgroup);
    }
    for seen in finish(programs) {
        assert!(policies.iter().any(|policy| policy.rule() == seen.has), "{seen:?}");
    }
}

//! A policy takes the place of another at once: no connection has something of both, and none fails.

use super::crowd::{Crowd, OWN_IDLE, Seen};
use crate::support::test_cgroup::TestCgroup;
use std::collections::BTreeSet;

/// What connections have where nobody has set anything.
const UNTOUCHED: [u32; 5] = [0, 7200, 75, 9, 0];

/// A policy whose numbers no other has.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    number: u32,
    mode: &'static str,
    /// Whether the crowd has a rule, beside the default.
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

    /// Whether an end may have this. A program that listened or connected before there was such a rule is not known by its
    /// name, and has the default.
    fn allows(self, has: [u32; 5]) -> bool {
        has == self.default() || self.has_rule && has == self.rule()
    }

    fn enable(self, test_cgroup: &TestCgroup) {
        let settings = |[_, idle, interval, count, user_timeout]: [u32; 5]| {
            let mode = self.mode;
            format!("idle={idle} interval={interval} count={count} user-timeout={user_timeout}ms mode={mode}")
        };
        let default = format!("default {}", settings(self.default()));
        let rule = format!("program crowd {}", settings(self.rule()));
        let mut flags = vec!["--rule", &default];
        if self.has_rule {
            flags.extend(["--rule", &rule]);
        }
        test_cgroup.enable(&flags);
    }
}

/// Two crowds: one in the cgroup, and one below it.
fn crowds(test_cgroup: &TestCgroup) -> [Crowd; 2] {
    let below = test_cgroup.child("below");
    [test_cgroup.directory(), &below].map(|directory| Crowd::start(test_cgroup, directory, 4))
}

fn begin_phase(crowds: &mut [Crowd], number: u32) {
    for crowd in crowds.iter_mut() {
        crowd.begin_phase(number);
    }
}

fn finish(crowds: [Crowd; 2]) -> Vec<Seen> {
    crowds.into_iter().flat_map(Crowd::finish).collect()
}

#[test]
fn of_a_hundred_policies_in_turn_every_connection_has_exactly_one() {
    let test_cgroup = test_cgroup!();
    let mut crowds = crowds(&test_cgroup);
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
    begin_phase(&mut crowds, 1);
    for policy in &policies {
        policy.enable(&test_cgroup);
    }
    begin_phase(&mut crowds, 2);
    begin_phase(&mut crowds, 3);
    test_cgroup.disable();
    begin_phase(&mut crowds, 4);
    let mut numbers = BTreeSet::new();
    for seen in finish(crowds) {
        let Seen { phase, has, then, .. } = seen;
        let policy = policies.iter().find(|policy| policy.allows(has));
        numbers.extend(policy.map(|policy| policy.number));
        let is_untouched = has == UNTOUCHED;
        let is_due = match phase {
            0 => is_untouched || first.allows(has),
            1 => policy.is_some(),
            2 => last.allows(has) && then == has[1],
            3 => is_untouched || last.allows(has),
            _ => is_untouched,
        };
        assert!(is_due, "{seen:?}");
        let is_held = then == has[1] && policy.is_some_and(|policy| matches!(policy.mode, "cap" | "enforce"));
        assert!(is_held || then == OWN_IDLE, "{seen:?}");
    }
    // They came and went while connections were made.
    assert!(numbers.len() > 10, "{numbers:?}");
}

#[test]
fn while_modes_that_hold_programs_replace_each_other_no_connection_is_let_go() {
    let test_cgroup = test_cgroup!();
    let mut crowds = crowds(&test_cgroup);
    let policies = (0..40).map(|number| Numbered {
        number,
        mode: ["enforce", "cap"][number as usize % 2],
        has_rule: number % 3 == 1,
    });
    let policies: Vec<Numbered> = policies.collect();
    policies[0].enable(&test_cgroup);
    begin_phase(&mut crowds, 1);
    for policy in &policies {
        policy.enable(&test_cgroup);
    }
    for seen in finish(crowds).into_iter().filter(|seen| seen.phase > 0) {
        assert!(policies.iter().any(|policy| policy.allows(seen.has)), "{seen:?}");
        assert_eq!(seen.then, seen.has[1], "{seen:?}");
    }
}

#[test]
fn a_rule_for_the_program_is_for_all_that_it_begins_under_it_while_it_is_replaced() {
    let test_cgroup = test_cgroup!();
    let policies = (0..40).map(|number| Numbered {
        number,
        mode: ["enforce", "fill"][number as usize % 2],
        has_rule: true,
    });
    let policies: Vec<Numbered> = policies.collect();
    policies[0].enable(&test_cgroup);
    let crowds = crowds(&test_cgroup);
    for policy in &policies {
        policy.enable(&test_cgroup);
    }
    for seen in finish(crowds) {
        assert!(policies.iter().any(|policy| policy.rule() == seen.has), "{seen:?}");
    }
}

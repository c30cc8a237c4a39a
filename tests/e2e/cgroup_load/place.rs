//! A cgroup whose policies come and go, and how it is at a moment.

use super::probe::{End, Probe};
use crate::support::keepalive;
use crate::support::process::{LIMIT, output_within, text, within};
use crate::support::test_cgroup::{NO_BPF_FILE_SYSTEM, TestCgroup};
use serde_json::Value;
use std::process::Command;

/// What is applied.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// None where there is to be no policy.
    pub flags: &'static [&'static str],
    /// What connections get.
    pub end: End,
}

/// No policy.
pub const NONE: Policy = Policy {
    flags: &[],
    end: End::UNTOUCHED,
};

/// Leaves programs what they set.
pub const FILL: Policy = Policy {
    flags: &["--idle", "61", "--interval", "13", "--count", "4"],
    end: End {
        has: [1, 61, 13, 4, 0],
        is_held: false,
    },
};

/// Holds programs to it, and asks for their names: it has all that a policy can have in the kernel.
pub const HOLD: Policy = Policy {
    flags: &[
        "--rule",
        "program python3 idle=62 interval=14 count=5 user-timeout=70s mode=enforce",
        "--rule",
        "default off",
    ],
    end: End {
        has: [1, 62, 14, 5, 70_000],
        is_held: true,
    },
};

/// Holds them to other numbers.
pub const CAP: Policy = Policy {
    flags: &["--idle", "63", "--interval", "15", "--count", "6", "--mode", "cap"],
    end: End {
        has: [1, 63, 15, 6, 0],
        is_held: true,
    },
};

/// How it is.
#[derive(Debug, PartialEq)]
pub struct State {
    /// What status says, without counters; nothing where no policy is active.
    pub told: Option<Value>,
    /// What new connections get.
    pub end: End,
    /// What there is in the BPF file system.
    pub kept: Vec<String>,
}

/// A cgroup whose policies come and go.
pub struct Place {
    pub test_cgroup: TestCgroup,
    probe: Probe,
    /// Whether the BPF file system goes with the policy.
    unmounts: bool,
}

impl Place {
    pub fn new(test_cgroup: TestCgroup) -> Self {
        Self {
            probe: Probe::start(&test_cgroup),
            test_cgroup,
            unmounts: false,
        }
    }

    /// Where no BPF file system is mounted before there is a policy.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn without_file_system() -> Result<Self, String> {
        let test_cgroup = TestCgroup::prepared(NO_BPF_FILE_SYSTEM)?;
        Ok(Self {
            unmounts: true,
            ..Self::new(test_cgroup)
        })
    }

    /// The command that leads to a policy, under another one.
    pub fn command(&self, wrapper: &[&str], policy: Policy) -> Command {
        let verb = if policy.flags.is_empty() { "disable" } else { "enable" };
        let mut command = self.test_cgroup.inside("env");
        command.args(wrapper).arg(keepalive());
        command
            .args(["cgroup", verb, &self.test_cgroup.name()])
            .args(policy.flags);
        command
    }

    #[track_caller]
    pub fn set(&self, policy: Policy) {
        let output = output_within(LIMIT, &mut self.command(&[], policy));
        assert!(output.status.success(), "{policy:?}: {}", text(&output.stderr));
        let unmount = || output_within(LIMIT, self.test_cgroup.inside("umount").arg("/sys/fs/bpf"));
        while self.unmounts && policy.flags.is_empty() && unmount().status.success() {}
    }

    /// What status says of the cgroup, without counters, if it says anything.
    pub fn told(&self) -> Option<Value> {
        let report = self.test_cgroup.report();
        let name = self.test_cgroup.name();
        let mut cgroups = report["cgroups"].as_array().into_iter().flatten();
        let told = cgroups.find(|cgroup| cgroup["cgroup"] == name.as_str());
        told.cloned().map(without_counters)
    }

    pub fn state(&mut self) -> State {
        let output = output_within(LIMIT, self.test_cgroup.inside("find").arg("/sys/fs/bpf/keepalive"));
        let mut kept: Vec<String> = text(&output.stdout).lines().map(without_number).collect();
        kept.sort();
        State {
            told: self.told().filter(|told| told["state"] != "unfinished"),
            end: self.probe.look(),
            kept,
        }
    }

    /// How it is with a policy that nobody interrupted.
    #[track_caller]
    pub fn state_with(&mut self, policy: Policy) -> State {
        self.set(NONE);
        self.set(policy);
        let state = self.state();
        assert_eq!(state.told.is_some(), !policy.flags.is_empty(), "{state:?}");
        State {
            end: policy.end,
            ..state
        }
    }

    /// Waits until it is one of these: the kernel takes programs away in its own time.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, is_due: impl Fn(&State) -> bool) {
        let mut last = None;
        let is_there = within(LIMIT, || {
            let state = last.insert(self.state());
            is_due(state).then_some(())
        });
        assert!(is_there.is_some(), "{what}: {last:#?}");
    }
}

impl State {
    /// Whether the same is told and done; what is left over does not count.
    pub fn is_as(&self, other: &Self) -> bool {
        self.told == other.told && self.end == other.end
    }
}

/// The name of a policy's file has the number of its program at its end.
fn without_number(line: &str) -> String {
    line.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()
}

fn without_counters(mut told: Value) -> Value {
    told["default_connections"].take();
    for rule in told["rules"].as_array_mut().into_iter().flatten() {
        rule["connections"].take();
    }
    told
}

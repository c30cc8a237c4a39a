//! A cgroup whose policy changes, and the state of its policy.

use super::probe::{End, Probe};
use crate::support::keepalive;
use crate::support::process::{LIMIT, output_within, text, within};
use crate::support::test_cgroup::{NO_BPF_FILE_SYSTEM, TestCgroup};
use serde_json::Value;
use std::process::Command;

/// A policy that a test applies.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The flags of `enable`; empty for no policy.
    pub flags: &'static [&'static str],
    /// The options of new connections.
    pub end: End,
}

/// No policy.
pub const NONE: Policy = Policy {
    flags: &[],
    end: End::KERNEL_DEFAULTS,
};

/// In mode fill: programs keep the options that they set.
pub const FILL: Policy = Policy {
    flags: &["--idle", "61", "--interval", "13", "--count", "4"],
    end: End {
        has: [1, 61, 13, 4, 0],
        is_held: false,
    },
};

/// In mode enforce, with a rule for a program: uses every kind of eBPF object.
pub const ENFORCE: Policy = Policy {
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

/// In mode cap, with other numbers.
pub const CAP: Policy = Policy {
    flags: &["--idle", "63", "--interval", "15", "--count", "6", "--mode", "cap"],
    end: End {
        has: [1, 63, 15, 6, 0],
        is_held: true,
    },
};

/// The state of a cgroup's policy.
#[derive(Debug, PartialEq)]
pub struct State {
    /// The report of `status`, without counters and times; `None` if no policy is active.
    pub status: Option<Value>,
    /// The options of new connections.
    pub end: End,
    /// The files in the BPF file system.
    pub kept: Vec<String>,
}

/// A cgroup whose policy changes.
pub struct PolicyState {
    pub test_cgroup: TestCgroup,
    probe: Probe,
    /// Whether the BPF file system is unmounted with the policy.
    unmounts: bool,
}

impl PolicyState {
    pub fn new(test_cgroup: TestCgroup) -> Self {
        Self {
            probe: Probe::start(&test_cgroup),
            test_cgroup,
            unmounts: false,
        }
    }

    /// Creates the cgroup without a mounted BPF file system.
    ///
    /// # Errors
    /// Why this is impossible here.
    pub fn without_file_system() -> Result<Self, String> {
        let test_cgroup = TestCgroup::prepared(NO_BPF_FILE_SYSTEM)?;
        Ok(Self {
            unmounts: true,
            ..Self::new(test_cgroup)
        })
    }

    /// Returns the command that applies a policy, under a wrapper.
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

    /// Returns what `status` reports for the cgroup, without counters and times.
    pub fn status(&self) -> Option<Value> {
        let report = self.test_cgroup.report();
        let name = self.test_cgroup.name();
        let mut cgroups = report["cgroups"].as_array().into_iter().flatten();
        let status = cgroups.find(|cgroup| cgroup["cgroup"] == name.as_str());
        status.cloned().map(without_what_changes)
    }

    pub fn state(&mut self) -> State {
        let output = output_within(LIMIT, self.test_cgroup.inside("find").arg("/sys/fs/bpf/keepalive"));
        let mut kept: Vec<String> = text(&output.stdout).lines().map(without_number).collect();
        kept.sort();
        State {
            status: self.status().filter(|status| status["state"] != "unfinished"),
            end: self.probe.look(),
            kept,
        }
    }

    /// Applies a policy without interruption and returns the state.
    #[track_caller]
    pub fn state_with(&mut self, policy: Policy) -> State {
        self.set(NONE);
        self.set(policy);
        let state = self.state();
        assert_eq!(state.status.is_some(), !policy.flags.is_empty(), "{state:?}");
        State {
            end: policy.end,
            ..state
        }
    }

    /// Waits until the state is as required: the kernel frees programs asynchronously.
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
    /// Whether both have the same report and effect; remaining files are ignored.
    pub fn is_as(&self, other: &Self) -> bool {
        self.status == other.status && self.end == other.end
    }
}

/// Removes the number of the program from the end of a policy's file name.
fn without_number(line: &str) -> String {
    line.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()
}

fn without_what_changes(mut status: Value) -> Value {
    status["default_connections"].take();
    status["since"].take();
    for rule in status["rules"].as_array_mut().into_iter().flatten() {
        rule["connections"].take();
    }
    status
}

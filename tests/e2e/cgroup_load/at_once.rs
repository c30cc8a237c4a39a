//! Concurrent commands: none fails, and in the end the policy of one of them is active.

use super::policy_state::{CAP, ENFORCE, FILL, NONE, Policy, PolicyState};
use crate::support::process::{LIMIT, output_within, text};
use std::process::Command;
use std::thread;

const ROUNDS: usize = 10;

/// Runs these commands at the same time; all must succeed.
#[track_caller]
fn at_once(commands: Vec<Command>) {
    let ended = thread::scope(|scope| {
        let start = |mut command: Command| scope.spawn(move || output_within(LIMIT, &mut command));
        let running: Vec<_> = commands.into_iter().map(start).collect();
        let ended = running.into_iter().map(|thread| thread.join().expect("it ends"));
        ended.collect::<Vec<_>>()
    });
    let failed: Vec<String> = ended
        .iter()
        .filter(|output| !output.status.success())
        .map(|output| text(&output.stderr) + &text(&output.stdout))
        .collect();
    assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), ended.len());
}

/// Returns the commands that apply these policies.
fn commands(policy_state: &PolicyState, policies: &[Policy]) -> Vec<Command> {
    policies
        .iter()
        .map(|policy| policy_state.command(&[], *policy))
        .collect()
}

/// Runs the commands that apply these policies at the same time, repeatedly. Each time one policy must be active, and
/// nothing of the others may remain.
fn check(policy_state: &mut PolicyState, policies: &[Policy]) {
    let due: Vec<_> = policies.iter().map(|policy| policy_state.state_with(*policy)).collect();
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            policy_state.set(NONE);
        }
        at_once(commands(policy_state, policies));
        policy_state.wait_for("one of them", |state| due.contains(state));
    }
}

#[test]
fn one_of_several_concurrent_enables_is_applied() {
    check(
        &mut PolicyState::new(test_cgroup!()),
        &[FILL, ENFORCE, CAP, FILL, ENFORCE, CAP],
    );
}

#[test]
fn one_of_several_concurrent_enables_and_disables_is_applied() {
    check(
        &mut PolicyState::new(test_cgroup!()),
        &[FILL, NONE, ENFORCE, NONE, CAP, NONE, ENFORCE],
    );
}

#[test]
fn concurrent_disables_succeed() {
    let policy_state = PolicyState::new(test_cgroup!());
    for _ in 0..ROUNDS {
        policy_state.set(ENFORCE);
        at_once(commands(&policy_state, &[NONE; 5]));
    }
}

#[test]
fn first_concurrent_enables_mount_one_file_system() {
    root!();
    let policy_state = match PolicyState::without_file_system() {
        Ok(policy_state) => policy_state,
        Err(why) => skip!("{why}"),
    };
    for _ in 0..ROUNDS {
        policy_state.set(NONE);
        at_once(commands(&policy_state, &[FILL, ENFORCE, CAP, FILL, ENFORCE, CAP]));
        let mounts = output_within(
            LIMIT,
            policy_state.test_cgroup.inside("cat").arg("/proc/self/mountinfo"),
        );
        let mounts = text(&mounts.stdout);
        let mounted = mounts.lines().filter(|line| line.contains(" /sys/fs/bpf "));
        assert_eq!(mounted.count(), 1, "{mounts}");
    }
}

#[test]
fn status_reports_only_complete_policies_during_changes() {
    let mut policy_state = PolicyState::new(test_cgroup!());
    let whole: Vec<_> = [FILL, ENFORCE, NONE]
        .map(|policy| policy_state.state_with(policy).status)
        .into();
    for _ in 0..ROUNDS {
        thread::scope(|scope| {
            let changes = commands(&policy_state, &[[ENFORCE, NONE]; 8].concat());
            let others = scope.spawn(|| at_once(changes));
            while !others.is_finished() {
                let status = policy_state.status();
                assert!(whole.contains(&status), "{status:#?}");
            }
        });
    }
}

#[test]
fn concurrent_enables_of_different_cgroups_succeed() {
    let test_cgroup = test_cgroup!();
    let names: Vec<String> = (0..8)
        .map(|number| test_cgroup.name_of(&test_cgroup.child(&format!("child-{number}"))))
        .collect();
    let idle = |number: usize| format!("{}s", 100 + number);
    for _ in 0..ROUNDS {
        let enable = |(number, name): (usize, &String)| {
            let mut command = test_cgroup.command(&["cgroup", "enable", name, "--idle"]);
            command.arg(idle(number));
            command
        };
        at_once(names.iter().enumerate().map(enable).collect());
        let report = test_cgroup.report();
        for (number, name) in names.iter().enumerate() {
            let mut cgroups = report["cgroups"].as_array().expect("a list").iter();
            let status = cgroups.find(|cgroup| cgroup["cgroup"] == name.as_str());
            let default = status.map(|status| status["default"].to_string()).unwrap_or_default();
            assert!(default.contains(&format!("idle={}", idle(number))), "{name}: {report}");
        }
        at_once(
            names
                .iter()
                .map(|name| test_cgroup.command(&["cgroup", "disable", name]))
                .collect(),
        );
        assert_eq!(test_cgroup.report()["cgroups"].as_array().map(Vec::len), Some(0));
    }
}

//! Commands at the same time: none fails, and in the end one of them has had the last word.

use super::place::{CAP, FILL, HOLD, NONE, Place, Policy};
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

/// The commands that lead to all these policies.
fn commands(place: &Place, policies: &[Policy]) -> Vec<Command> {
    policies.iter().map(|policy| place.command(&[], *policy)).collect()
}

/// Runs the commands that lead to all these policies at the same time, again and again: then one of them is active, and
/// nothing is left of the others.
fn check(place: &mut Place, policies: &[Policy]) {
    let due: Vec<_> = policies.iter().map(|policy| place.state_with(*policy)).collect();
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            place.set(NONE);
        }
        at_once(commands(place, policies));
        place.wait_for("one of them", |state| due.contains(state));
    }
}

#[test]
fn of_enables_one_has_the_last_word() {
    check(&mut Place::new(test_cgroup!()), &[FILL, HOLD, CAP, FILL, HOLD, CAP]);
}

#[test]
fn of_enables_and_disables_one_has_the_last_word() {
    check(
        &mut Place::new(test_cgroup!()),
        &[FILL, NONE, HOLD, NONE, CAP, NONE, HOLD],
    );
}

#[test]
fn disables_do_not_mind_each_other() {
    let place = Place::new(test_cgroup!());
    for _ in 0..ROUNDS {
        place.set(HOLD);
        at_once(commands(&place, &[NONE; 5]));
    }
}

#[test]
fn the_first_enables_mount_one_file_system_together() {
    root!();
    let place = match Place::without_file_system() {
        Ok(place) => place,
        Err(why) => skip!("{why}"),
    };
    for _ in 0..ROUNDS {
        place.set(NONE);
        at_once(commands(&place, &[FILL, HOLD, CAP, FILL, HOLD, CAP]));
        let mounts = output_within(LIMIT, place.test_cgroup.inside("cat").arg("/proc/self/mountinfo"));
        let mounts = text(&mounts.stdout);
        let mounted = mounts.lines().filter(|line| line.contains(" /sys/fs/bpf "));
        assert_eq!(mounted.count(), 1, "{mounts}");
    }
}

#[test]
fn status_sees_whole_policies_while_they_come_and_go() {
    let mut place = Place::new(test_cgroup!());
    let whole: Vec<_> = [FILL, HOLD, NONE].map(|policy| place.state_with(policy).told).into();
    for _ in 0..ROUNDS {
        thread::scope(|scope| {
            let changes = commands(&place, &[[HOLD, NONE]; 8].concat());
            let others = scope.spawn(|| at_once(changes));
            while !others.is_finished() {
                let told = place.told();
                assert!(whole.contains(&told), "{told:#?}");
            }
        });
    }
}

#[test]
fn cgroups_get_their_policies_at_the_same_time() {
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
            let told = cgroups.find(|cgroup| cgroup["cgroup"] == name.as_str());
            let default = told.map(|told| told["default"].to_string()).unwrap_or_default();
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

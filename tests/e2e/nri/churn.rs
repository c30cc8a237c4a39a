//! Many pods that come and go while the plugin is killed and restarted.

use super::stub::Stub;
use super::{Plugin, Pod, Runtime, policies, wait_until_ready};
use crate::support::process::{LIMIT, eventually};
use crate::support::test_cgroup::TestCgroup;
use keepalive_sys::cgroup;
use rustix::process::Signal;
use serde_json::json;
use std::thread::{sleep, spawn};
use std::time::Duration;

/// The number of pods.
const PODS: u32 = 200;

/// A pod with its sandbox, and the idle time of its policy.
struct Running {
    pod: Pod,
    sandbox: String,
    idle: u32,
}

/// Starts the pod with this number. Every pod has another idle time.
fn start(test_cgroup: &TestCgroup, runtime: &mut impl Runtime, number: u32) -> Running {
    let idle = 1000 + number;
    let pod = Pod::new(test_cgroup, &number.to_string(), Some(&format!("idle={idle}s")));
    let sandbox = runtime.run(&pod);
    Running { pod, sandbox, idle }
}

#[test]
fn no_pod_has_the_policy_of_another_after_restarts_under_churn() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut runtime = Stub::start(&test_cgroup, &["calls", "50"]);
    restart_under_churn(&test_cgroup, &mut runtime);
}

/// Starts and stops pods of the runtime, and kills and starts the plugin. In the end each pod has its own policy.
pub(super) fn restart_under_churn(test_cgroup: &TestCgroup, runtime: &mut impl Runtime) {
    let mut plugin = Some(Plugin::start(test_cgroup, &runtime.socket(), &[]));
    wait_until_ready(test_cgroup, &runtime.socket());
    let mut running: Vec<Running> = Vec::new();
    for number in 0..PODS {
        // Killed while the pod starts: before, after or in the middle of the change of its policy.
        let killed = (number % 20 == 17).then(|| {
            let plugin = plugin.take().expect("it runs");
            let delay = Duration::from_millis(u64::from(number));
            spawn(move || {
                sleep(delay);
                plugin.end(Signal::KILL)
            })
        });
        running.push(start(test_cgroup, runtime, number));
        if let Some(killed) = killed {
            killed.join().expect("it does not panic");
        }
        match number % 20 {
            // Killed between two pods, or while it still applies policies after its start.
            7 => {
                plugin.take().expect("it runs").end(Signal::KILL);
            }
            11 | 19 => plugin = Some(Plugin::start(test_cgroup, &runtime.socket(), &[])),
            _ => {}
        }
        if number % 3 == 2 {
            let ended = running.swap_remove((number as usize * 7) % running.len());
            runtime.stop(&ended.sandbox);
            runtime.remove(&ended.sandbox);
            cgroup::remove(&ended.pod.directory).expect("nothing is in it");
        }
        if number % 5 == 0 {
            // A new sandbox of the same pod in the same cgroup, with another annotation.
            let last = running.last_mut().expect("one was just added");
            runtime.stop(&last.sandbox);
            last.idle += 1000;
            last.pod.annotations = json!({"keepalive.io/policy": format!("idle={}s", last.idle)});
            let old = std::mem::replace(&mut last.sandbox, runtime.run(&last.pod));
            runtime.remove(&old);
        }
    }
    let mut expected: Vec<[String; 3]> = running
        .iter()
        .map(|running| {
            let (name, idle) = (&running.pod.name, running.idle);
            ["in-force", &format!("pod shop/{name}"), &format!("idle={idle}s")].map(str::to_owned)
        })
        .collect();
    expected.sort();
    wait_until_ready(test_cgroup, &runtime.socket());
    eventually("every pod has its policy", LIMIT, || {
        (policies(test_cgroup) == expected).then_some(())
    });
    // What the kernel does: one program connects in the cgroup of each pod.
    let mut program = test_cgroup.py_peer();
    program.execute("listener = listen()");
    for running in &running {
        test_cgroup.move_to(&running.pod.directory, program.pid());
        program.execute("client, accepted = pair(listener)");
        assert_eq!(
            program.has("client"),
            format!("1 {} 75 9 0", running.idle),
            "{}",
            running.pod.name
        );
    }
    test_cgroup.move_to(test_cgroup.directory(), program.pid());
    for running in running {
        runtime.stop(&running.sandbox);
        runtime.remove(&running.sandbox);
    }
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

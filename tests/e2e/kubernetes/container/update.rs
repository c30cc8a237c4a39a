//! One pod takes over from another.

use super::*;

#[test]
fn policy_of_another_pod_does_not_make_a_pod_ready() {
    node!();
    let (manifests, node) = prepare(&[]);
    let _pod = node.pod("kubepods.slice", "pod");
    let mut first = manifests.ready(image(), &node);
    let status = ["cgroup", "status", "/kubepods.slice"];
    manifests.once(image(), &node, &status);
    let watched = [&status[..], &["--watched"]].concat();
    let (ended, log) = node.run(image(), manifests.pod(), &watched).wait_for_end();
    assert_eq!(ended.code(), Some(1), "{log}");
    assert!(log.contains("no 'keepalive cgroup enable --watch'"), "{log}");
    first.wait_until_ready(manifests.pod());
    first.kill();
    manifests.ready(image(), &node);
}

#[test]
fn every_connection_has_the_policy_during_an_update() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut pod = node.pod("kubepods.slice", "pod");
    let old = manifests.ready(image(), &node);
    pod.program().execute(OPEN_CONNECTIONS);
    let new = manifests.ready(image(), &node);
    let (status, log) = old.terminate();
    assert!(status.success(), "{log}");
    let before = pod.program().number("len(opened)");
    eventually("connections after the update", LIMIT, || {
        (pod.program().number("len(opened)") > before + 100).then_some(())
    });
    pod.program().execute("goes_on.clear()\nthread.join()");
    assert_eq!(pod.program().ask("opened.count([1, 1]) == len(opened)"), "True");
    assert_eq!(pod.opens(), BASE);

    let (status, log) = new.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(pod.opens(), KERNEL_DEFAULTS);
    assert_eq!(node.pinned(), Vec::<String>::new());
}

#[test]
fn after_an_update_only_the_new_pod_applies_changes() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut pod = node.pod("kubepods.slice", "pod");
    let old = manifests.ready(image(), &node);
    let mut arguments = words(&manifests.container()["args"]);
    arguments.extend(["--rule", "connect * idle=99s"]);
    let mut new = node.run(image(), manifests.pod(), &arguments);
    eventually("the new pod's policy", LIMIT, || {
        (pod.opens()[0].starts_with("1 99 ")).then_some(())
    });
    // Both pods see the changed file.
    node.publish(OTHER_POLICY);
    eventually("the new policy", LIMIT, || (pod.opens()[1] == OTHER[1]).then_some(()));
    new.wait_until_ready(manifests.pod());
    let (status, log) = old.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(pod.opens(), ["1 99 13 4", "1 61 13 4"], "{}", new.log());
}

#[test]
fn pod_takes_over_again_if_its_successor_was_killed() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut pod = node.pod("kubepods.slice", "pod");
    let mut old = manifests.ready(image(), &node);
    let new = manifests.ready(image(), &node);
    old.wait_for_log("another command has taken over");
    new.kill();
    old.wait_for_log("has ended without a word");
    node.publish(OTHER_POLICY);
    eventually("the new policy", LIMIT, || (pod.opens() == OTHER).then_some(()));
    let (status, log) = old.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(pod.opens(), KERNEL_DEFAULTS);
    assert_eq!(node.pinned(), Vec::<String>::new());
}

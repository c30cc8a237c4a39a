//! A pod takes over from another.

use super::*;

#[test]
fn a_policy_that_another_pod_keeps_does_not_make_a_pod_ready() {
    node!();
    let (manifests, node) = prepare(&[]);
    let _pod = node.pod("kubepods.slice", "pod");
    let mut keeper = manifests.ready(image(), &node);
    let status = ["cgroup", "status", "/kubepods.slice"];
    manifests.once(image(), &node, &status);
    let watched = [&status[..], &["--watched"]].concat();
    let (ended, log) = node.run(image(), manifests.pod(), &watched).wait_for_end();
    assert_eq!(ended.code(), Some(1), "{log}");
    assert!(log.contains("no 'keepalive cgroup enable --watch'"), "{log}");
    keeper.wait_until_ready(manifests.pod());
    keeper.kill();
    manifests.ready(image(), &node);
}

#[test]
fn an_update_leaves_no_moment_without_the_policy() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut pod = node.pod("kubepods.slice", "pod");
    let old = manifests.ready(image(), &node);
    pod.program().does(OPENS_ALL_THE_TIME);
    let new = manifests.ready(image(), &node);
    let (status, log) = old.terminate();
    assert!(status.success(), "{log}");
    let before = pod.program().number("len(opened)");
    eventually("connections after the update", LIMIT, || {
        (pod.program().number("len(opened)") > before + 100).then_some(())
    });
    pod.program().does("goes_on.clear()\nthread.join()");
    assert_eq!(pod.program().ask("opened.count([1, 1]) == len(opened)"), "True");
    assert_eq!(pod.opens(), BASE);

    let (status, log) = new.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(pod.opens(), NOTHING);
    assert_eq!(node.pinned(), Vec::<String>::new());
}

#[test]
fn after_an_update_the_new_pod_has_the_say_whatever_the_old_one_sees() {
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
    // Both see the file change.
    node.publish(OTHER_POLICY);
    eventually("the new policy", LIMIT, || (pod.opens()[1] == OTHER[1]).then_some(()));
    new.wait_until_ready(manifests.pod());
    let (status, log) = old.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(pod.opens(), ["1 99 13 4", "1 61 13 4"], "{}", new.log());
}

#[test]
fn a_pod_whose_successor_was_killed_takes_the_policy_back() {
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
    assert_eq!(pod.opens(), NOTHING);
    assert_eq!(node.pinned(), Vec::<String>::new());
}

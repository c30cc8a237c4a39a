//! `--container` and `--pid`: cgroups that are found by the names that engines give them, and by processes.

mod oci_hook;
mod podman;

use super::POLICY;
use super::watch::Watch;
use crate::support::process::{LIMIT, ended, eventually, text};
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use crate::support::test_cgroup::{BPF_FILE_SYSTEM, TestCgroup};
use keepalive_sys::cgroup;
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};

/// No files of engines but those of the test.
const NO_ENGINES: &str = "mount -t tmpfs tmpfs /var/lib; mount -t tmpfs tmpfs /run";

/// # Errors
/// Why a cgroup is impossible here.
fn prepared() -> Result<TestCgroup, String> {
    TestCgroup::prepared(&format!("{BPF_FILE_SYSTEM}; {NO_ENGINES}"))
}

/// Returns from the test where a cgroup is impossible.
macro_rules! containers {
    () => {{
        root!();
        match $crate::cgroup::container::prepared() {
            Ok(test_cgroup) => test_cgroup,
            Err(why) => skip!("{why}"),
        }
    }};
}
use containers;

/// Returns an id with these first digits.
fn id(first: &str) -> String {
    format!("{first:0<64}")
}

/// Creates the cgroup of a container as Docker with systemd does, and the file with its name.
fn start(test_cgroup: &TestCgroup, name: &str, first: &str) -> PathBuf {
    let id = id(first);
    keep(
        test_cgroup,
        &format!("/var/lib/docker/containers/{id}/config.v2.json"),
        &format!(r#"{{"State":{{"Running":true}},"ID":"{id}","Name":"/{name}","Config":{{"Image":"x"}}}}"#),
    );
    test_cgroup.child(&format!("docker-{id}.scope"))
}

/// Writes a file in the mount namespace of the test.
fn keep(test_cgroup: &TestCgroup, path: &str, content: &str) {
    let path = test_cgroup.outside(path);
    fs::create_dir_all(path.parent().expect("a directory")).expect("a tmpfs");
    fs::write(path, content).expect("a tmpfs");
}

/// Returns the options of a new connection in the cgroup.
fn has(test_cgroup: &TestCgroup, directory: &Path) -> String {
    let mut program = test_cgroup.py_peer_in(directory, &[]);
    program.execute("client, accepted = pair(listen())");
    program.has("client")
}

/// Runs `keepalive cgroup` with these arguments, which must fail. Returns its messages, on one line.
#[track_caller]
fn fails(test_cgroup: &TestCgroup, args: &[&str]) -> String {
    let output = test_cgroup.output(&[&["cgroup"], args].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    text(&output.stderr).replace("\n  ", " ")
}

#[test]
fn every_process_of_a_container_has_the_policy() {
    let test_cgroup = containers!();
    python!();
    let directory = start(&test_cgroup, "web", "ab12");
    let other = start(&test_cgroup, "db", "ab34");
    let name = test_cgroup.name_of(&directory);
    let leaf = directory.join("init.scope");
    fs::create_dir(&leaf).expect("it is not there");
    let enabled = test_cgroup.quiet(&[&["cgroup", "enable", "--container=web"], &POLICY[..]].concat());
    assert_eq!(enabled, format!("{name}: active\n"));
    assert_eq!(has(&test_cgroup, &leaf), POLICY_VALUES);
    // As a process of docker exec.
    let later = directory.join("exec");
    fs::create_dir(&later).expect("it is not there");
    assert_eq!(has(&test_cgroup, &later), POLICY_VALUES);
    assert_eq!(has(&test_cgroup, &other), KERNEL_DEFAULTS);
    let status = test_cgroup.quiet(&["cgroup", "status", "--container", "ab12"]);
    assert!(status.starts_with(&format!("{name}: active\n")), "{status}");
    let disabled = test_cgroup.quiet(&["cgroup", "disable", "--container", &id("ab12")]);
    assert_eq!(disabled, format!("{name}: disabled\n"));
}

#[test]
fn container_is_found_by_the_files_of_each_engine() {
    let test_cgroup = containers!();
    for (cgroup, path, content, name) in [
        (
            format!("libpod-{}", id("a1")),
            "/var/lib/containers/storage/overlay-containers/containers.json".to_owned(),
            format!(r#"[{{"id":"{}","names":["db"]}}]"#, id("a1")),
            "db",
        ),
        (
            format!("cri-containerd-{}.scope", id("a2")),
            format!(
                "/run/containerd/io.containerd.runtime.v2.task/k8s.io/{}/config.json",
                id("a2")
            ),
            r#"{"annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-name":"web-7d",
                "io.kubernetes.cri.sandbox-namespace":"shop"},"linux":{"cgroupsPath":"a.slice:cri-containerd:a2"}}"#
                .to_owned(),
            "shop/web-7d/app",
        ),
        (
            id("a3"),
            format!(
                "/run/containerd/io.containerd.runtime.v2.task/default/{}/config.json",
                id("a3")
            ),
            r#"{"annotations":{"nerdctl/name":"proxy"},"linux":{"cgroupsPath":"/default/a3"}}"#.to_owned(),
            "proxy",
        ),
        (
            "own-id".to_owned(),
            "/run/containerd/io.containerd.runtime.v2.task/default/own-id/config.json".to_owned(),
            format!(r#"{{"linux":{{"cgroupsPath":"{}/own-id"}}}}"#, test_cgroup.name()),
            "own-id",
        ),
        (
            format!("crio-{}.scope", id("a4")),
            "/var/lib/containers/storage/overlay-containers/volatile-containers.json".to_owned(),
            format!(r#"[{{"id":"{}","names":["k8s_job_cron-1_batch_6a1b_0"]}}]"#, id("a4")),
            "cron-1/job",
        ),
    ] {
        let directory = test_cgroup.child(&cgroup);
        keep(&test_cgroup, &path, &content);
        let enabled = test_cgroup.quiet(&["cgroup", "enable", "--container", name]);
        assert_eq!(enabled, format!("{}: active\n", test_cgroup.name_of(&directory)));
    }
}

#[test]
fn wrong_selections_are_refused_with_what_is_there() {
    let test_cgroup = containers!();
    start(&test_cgroup, "web", "abcd1");
    start(&test_cgroup, "db", "abcd2");
    let message = fails(&test_cgroup, &["enable", "--container", "abcd"]);
    assert!(message.contains("2 running containers match 'abcd'"), "{message}");
    assert!(message.contains("web (docker abcd10000000)"), "{message}");
    let message = fails(&test_cgroup, &["enable", "--container", "wbe"]);
    assert!(message.contains("there is no running container 'wbe'"), "{message}");
    assert!(message.contains("db (docker abcd20000000)"), "{message}");
    let stopped = id("ef");
    keep(
        &test_cgroup,
        &format!("/var/lib/docker/containers/{stopped}/config.v2.json"),
        r#"{"Name":"/stopped"}"#,
    );
    let message = fails(&test_cgroup, &["enable", "--container", "stopped"]);
    assert!(message.contains("'stopped' is not running"), "{message}");
    let message = fails(&test_cgroup, &["status", "--pid", &ended().to_string()]);
    assert!(message.contains("there is no such process"), "{message}");
    let none = test_cgroup.output(&["cgroup", "enable"]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
}

#[test]
fn files_that_are_no_regular_files_are_not_read() {
    let test_cgroup = containers!();
    let directory = start(&test_cgroup, "web", "f1f0");
    let file = test_cgroup.outside(&format!("/var/lib/docker/containers/{}/config.v2.json", id("f1f0")));
    fs::remove_file(&file).expect("it is there");
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR).expect("a FIFO");
    fails(&test_cgroup, &["enable", "--container", "web"]);
    let enabled = test_cgroup.quiet(&["cgroup", "enable", "--container", "f1f0"]);
    assert_eq!(enabled, format!("{}: active\n", test_cgroup.name_of(&directory)));
}

#[test]
fn policy_of_a_stopped_container_is_disabled_by_its_name() {
    let test_cgroup = containers!();
    let directory = start(&test_cgroup, "web", "5709");
    let name = test_cgroup.name_of(&directory);
    test_cgroup.quiet(&["cgroup", "enable", "--container", "web"]);
    cgroup::remove(&directory).expect("nothing is in it");
    eventually("the kernel has detached the policy", LIMIT, || {
        (test_cgroup.report()["cgroups"][0]["state"] == "dangling").then_some(())
    });
    let disabled = test_cgroup.quiet(&["cgroup", "disable", "--container", "web"]);
    assert_eq!(disabled, format!("{name}: disabled\n"));
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn process_selects_its_cgroup() {
    let test_cgroup = containers!();
    python!();
    let directory = start(&test_cgroup, "web", "9c55");
    let leaf = directory.join("part");
    fs::create_dir(&leaf).expect("it is not there");
    let mut program = test_cgroup.py_peer_in(&leaf, &[]);
    program.execute("import os, sys");
    let pid = program.pid().to_string();
    let output = test_cgroup.output(&[&["cgroup", "enable", "--pid", &pid, &test_cgroup.name()], &POLICY[..]].concat());
    let active = text(&output.stdout);
    assert!(
        active.contains(&format!("{}: active\n", test_cgroup.name_of(&leaf))),
        "{output:?}"
    );
    assert!(
        active.contains(&format!("{}: active\n", test_cgroup.name())),
        "{output:?}"
    );
    assert!(
        text(&output.stderr).contains("--container selects all of it"),
        "{output:?}"
    );
    program.execute("client, accepted = pair(listen())");
    assert_eq!(program.has("client"), POLICY_VALUES);
}

#[test]
fn watch_follows_the_name_of_a_container_to_new_ids() {
    let test_cgroup = containers!();
    python!();
    let mut watch = Watch::start(&test_cgroup, &[&["--container=web"], &POLICY[..]].concat());
    watch.expect_line("keepalive: waiting: there is no running container 'web'");
    for first in ["a1", "a2", "a2", "a3"] {
        let directory = start(&test_cgroup, "web", first);
        watch.wait_for_line(&format!("{}: active", test_cgroup.name_of(&directory)));
        assert_eq!(has(&test_cgroup, &directory), POLICY_VALUES);
        eventually("the entry of the previous container is gone", LIMIT, || {
            (test_cgroup.report()["cgroups"].as_array().map(Vec::len) == Some(1)).then_some(())
        });
        cgroup::remove(&directory).expect("nothing is in it");
        fs::remove_dir_all(test_cgroup.outside("/var/lib/docker/containers")).expect("a directory");
    }
    watch.end(Signal::TERM);
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

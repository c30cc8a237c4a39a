//! Machines without some features.

use super::{POLICY, both_ends, pair_with};
use crate::support::process::{LIMIT, output_within, text};
use crate::support::target::POLICY_VALUES;
use crate::support::test_cgroup::{BPF_FILE_SYSTEM, NO_BPF_FILE_SYSTEM, TestCgroup};
use keepalive_sys::cgroup::Tree;

/// Creates a `TestCgroup` in a namespace that these lines of shell prepare; skips the test where that is impossible.
macro_rules! prepared {
    ($($lines:tt)*) => {{
        root!();
        python!();
        match TestCgroup::prepared(&format!($($lines)*)) {
            Ok(test_cgroup) => test_cgroup,
            Err(why) => skip!("{why}"),
        }
    }};
}

#[test]
fn missing_bpf_file_system_is_mounted_and_reported() {
    let test_cgroup = prepared!("{NO_BPF_FILE_SYSTEM}");
    let output = test_cgroup.output(&[&["cgroup", "enable", &test_cgroup.name()], &POLICY[..]].concat());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        text(&output.stderr),
        "keepalive: a BPF file system was mounted on /sys/fs/bpf\n"
    );
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
    let mounts = output_within(LIMIT, test_cgroup.inside("cat").arg("/proc/self/mounts"));
    let mounts = text(&mounts.stdout);
    assert_eq!(mounts.matches(" /sys/fs/bpf bpf ").count(), 1, "{mounts}");
    // The next command finds the file system.
    test_cgroup.enable(&POLICY);
    test_cgroup.disable();
}

#[test]
fn failed_mount_is_reported_with_a_hint() {
    let test_cgroup = prepared!("{NO_BPF_FILE_SYSTEM}");
    let name = test_cgroup.name();
    let words = ["setpriv", "--bounding-set=-all,+bpf,+net_admin"];
    let output = output_within(
        LIMIT,
        &mut test_cgroup.command_under(&words, &["cgroup", "enable", &name]),
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        text(&output.stderr),
        format!(
            "keepalive: cannot enable a policy for {name}: there is no BPF file system, and none can be mounted on \
             /sys/fs/bpf: mount: Operation not permitted\n\
             hint: on the host, as root: mount -t bpf bpf /sys/fs/bpf\n"
        )
    );
}

#[test]
fn bpf_file_system_at_another_path_is_found() {
    for place in ["/run/bpf", "/run/a place", "/run/back\\slash"] {
        let test_cgroup =
            prepared!("{NO_BPF_FILE_SYSTEM}; mount -t tmpfs none /run; mkdir '{place}'; mount -t bpf bpf '{place}'");
        test_cgroup.enable(&POLICY);
        assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2], "{place}");
        assert!(!test_cgroup.file_system().join("keepalive").exists(), "{place}");
        test_cgroup.disable();
    }
}

/// As in a container that sees a part of the tree, and on a machine with two mounts of the tree.
#[test]
fn cgroup_tree_is_found_at_any_mount_point() {
    let test_cgroup = prepared!(
        "{BPF_FILE_SYSTEM}; umount -l -R /sys/fs/cgroup; mount -t tmpfs none /run; mkdir '/run/the tree'
         mount -t cgroup2 none '/run/the tree'"
    );
    let output = test_cgroup.output(&[&["cgroup", "enable", &test_cgroup.name()], &POLICY[..]].concat());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout), format!("{}: active\n", test_cgroup.name()));
    let path = format!("/run/the tree{}", test_cgroup.name());
    assert_eq!(
        test_cgroup.quiet(&["cgroup", "disable", &path]),
        format!("{}: disabled\n", test_cgroup.name())
    );
}

#[test]
fn machine_with_only_cgroups_v1_gets_a_message() {
    root!();
    let Ok(tree) = Tree::find() else {
        skip!("there is no cgroup v2")
    };
    let mount = tree.mount().display();
    let test_cgroup = prepared!(
        "{BPF_FILE_SYSTEM}; umount -l {mount}
         grep -q ' - cgroup ' /proc/self/mountinfo || mount -t cgroup -o none,name=keepalive-test none /mnt"
    );
    let because = "this machine has cgroups of version 1 only";
    let hint = "hint: on the host: boot with systemd.unified_cgroup_hierarchy=1, or mount one: mount -t cgroup2 none DIRECTORY";
    for (words, action, status) in [
        (&["cgroup", "enable", "/x"][..], "enable a policy", 1),
        (&["cgroup", "enable", "--watch", "/x"], "enable a policy", 1),
        (&["cgroup", "disable", "/x"], "disable a policy", 1),
        (
            &["run", "--engine", "cgroup", "/bin/true"],
            "run '/bin/true' with engine cgroup",
            125,
        ),
    ] {
        let output = test_cgroup.output(words);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {output:?}");
        let expected = format!("keepalive: cannot {action}: {because}\n{hint}\n");
        assert_eq!(text(&output.stderr), expected, "{words:?}");
    }
    let output = test_cgroup.output(&["cgroup", "status"]);
    assert_eq!(text(&output.stdout), format!("engine cgroup: {because}\n"));
    assert_eq!(test_cgroup.report()["obstacle"], because);
}

#[test]
fn machine_without_cgroups_gets_a_message() {
    let test_cgroup = prepared!("{BPF_FILE_SYSTEM}; umount -l -R /sys/fs/cgroup");
    let output = test_cgroup.output(&["cgroup", "enable", "/x"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let begin = "keepalive: cannot enable a policy: no cgroups of version 2 are mounted\nhint: ";
    assert!(text(&output.stderr).starts_with(begin), "{output:?}");
}

#[test]
fn without_btf_values_are_compared_with_the_sysctls() {
    let test_cgroup = prepared!("{BPF_FILE_SYSTEM}; mount -t tmpfs none /sys/kernel/btf");
    test_cgroup.enable(&POLICY);
    super::assert_compares(&test_cgroup);
    let output = test_cgroup.output(&["cgroup", "enable", &test_cgroup.name(), "--rule=program x off"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        text(&output.stderr),
        format!(
            "keepalive: cannot enable a policy for {}: rules for programs need to know the kernel's types, and this kernel \
             does not tell them\n\
             hint: leave them out, or use a kernel with CONFIG_DEBUG_INFO_BTF\n",
            test_cgroup.name()
        )
    );
}

/// The sysctls are those of the command's network namespace.
#[test]
fn without_btf_sysctls_and_kernel_defaults_both_count_as_unset() {
    let test_cgroup = prepared!("{BPF_FILE_SYSTEM}; mount -t tmpfs none /sys/kernel/btf");
    let prepare = "ip link set lo up; echo 600 > /proc/sys/net/ipv4/tcp_keepalive_time
                   echo 6 > /proc/sys/net/ipv4/tcp_keepalive_intvl; echo 3 > /proc/sys/net/ipv4/tcp_keepalive_probes
                   exec \"$@\"";
    let wrapper = ["unshare", "--net", "sh", "-c", prepare, "sh"];
    let name = test_cgroup.name();
    let words = [&["cgroup", "enable", &name], &POLICY[..]].concat();
    let output = output_within(LIMIT, &mut test_cgroup.command_under(&wrapper, &words));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
    let mut program = test_cgroup.py_peer_in(test_cgroup.directory(), &wrapper);
    program.execute("client, accepted = pair(listen(), interval=7)");
    assert_eq!(program.has("client"), "1 61 7 4 0");
    assert_eq!(program.has("accepted"), POLICY_VALUES);
}

#[test]
fn modes_work_without_btf() {
    let test_cgroup = prepared!("{BPF_FILE_SYSTEM}; mount -t tmpfs none /sys/kernel/btf");
    for (mode, expected, later) in [
        ("fill", "1 30 99 4 0", "0 30 98 3 0"),
        ("cap", "1 30 13 4 0", "1 30 13 3 0"),
        ("floor", "1 61 99 4 0", "0 61 98 4 0"),
        ("enforce", "1 61 13 4 0", "1 61 13 4 0"),
    ] {
        test_cgroup.enable(&[&POLICY[..], &["--mode", mode]].concat());
        let mut program = pair_with(&test_cgroup, "idle=30, interval=99");
        assert_eq!(program.has("client"), expected, "{mode}");
        program.execute("own(client, keepalive=0, idle=30, interval=98, count=3)");
        assert_eq!(program.has("client"), later, "{mode}");
    }
}

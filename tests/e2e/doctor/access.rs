//! What hides processes, and who may look into them: hidepid and Yama, as list, attach, doctor and run name them.

use super::unfolded;
use crate::support::ordinary::Installed;
use crate::support::process::{LIMIT, Running, output_within, text};
use crate::support::py_peer::PyPeer;
use std::process::{Command, Output};

/// In a mount namespace: a `/proc` with the options `$1`.
const HIDING: &str = "mount -t proc -o \"$1\" proc /proc && shift && exec \"$@\"";
/// In a mount namespace: `kernel.yama.ptrace_scope` reads `$1`. Yama itself need not be there: what is tested is what keepalive says,
/// and `tests/vm/guest/checks/ptrace.sh` tests it on kernels that have Yama.
const RESTRICTED: &str = "mount -t tmpfs none /proc/sys/kernel && mkdir /proc/sys/kernel/yama && \
                          echo \"$1\" >/proc/sys/kernel/yama/ptrace_scope && shift && exec \"$@\"";
const AS_NOBODY: [&str; 5] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];

fn inside(script: &str, argument: &str, wrapper: &[&str], installed: &Installed, words: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--", "sh", "-c", script, "sh", argument])
        .args(wrapper);
    output_within(LIMIT, command.arg(installed.keepalive()).args(words).current_dir("/"))
}

/// Both streams, without line breaks.
fn said(output: &Output) -> String {
    let all = text(&output.stdout) + &text(&output.stderr);
    all.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn hidden_processes_are_named_as_such() {
    root!();
    python!();
    let installed = Installed::new();
    let mut program = PyPeer::start();
    program.execute("listener = listen(); client, accepted = pair(listener)");
    let pid = program.pid().to_string();
    for (hidepid, what) in [
        ("1", "hidepid=1: nothing of the processes of other users can be seen"),
        ("2", "hidepid=2: processes of other users are hidden"),
        ("4", "hidepid=4: processes that this user may not trace are hidden"),
    ] {
        let options = format!("hidepid={hidepid}");
        let as_nobody = |words: &[&str]| inside(HIDING, &options, &AS_NOBODY, &installed, words);
        for words in [
            &["list", &pid][..],
            &["attach", &pid],
            &["doctor", "--pid", &pid],
            &["list", "--program", "nowhere"],
            &["attach", "--program", "nowhere"],
        ] {
            let output = as_nobody(words);
            let said = said(&output);
            assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
            assert!(
                said.contains(what) && said.contains("hint: run keepalive as root"),
                "{words:?}: {said}"
            );
        }
        // The sockets of those processes are there, without their holders.
        for words in [&["list"][..], &["attach", "--all", "--dry-run"]] {
            let said = said(&as_nobody(words));
            assert!(said.contains(what), "{words:?}: {said}");
        }
        let findings = unfolded(&text(&as_nobody(&["doctor"]).stdout));
        assert!(
            findings
                .iter()
                .any(|finding| finding.starts_with("note   processes: ") && finding.contains(what)),
            "{findings:?}"
        );
        // Nothing is hidden from root, or from members of the group.
        let output = inside(HIDING, &options, &[], &installed, &["list", &pid]);
        assert!(
            output.status.success() && !said(&output).contains("hidepid"),
            "{output:?}"
        );
        let output = inside(
            HIDING,
            &format!("{options},gid=65534"),
            &AS_NOBODY,
            &installed,
            &["list", &pid],
        );
        assert_eq!(said(&output).contains("hidepid"), hidepid == "4", "{output:?}");
        let output = inside(
            HIDING,
            &format!("{options},gid=77"),
            &AS_NOBODY,
            &installed,
            &["list", &pid],
        );
        assert_eq!(
            said(&output).contains("member of group 77"),
            hidepid != "4",
            "{output:?}"
        );
    }
    // A process that has ended is not taken for a hidden one.
    let ended = crate::support::process::ended().to_string();
    let output = inside(HIDING, "hidepid=2", &AS_NOBODY, &installed, &["list", &ended]);
    assert!(said(&output).contains("there is no such process"), "{output:?}");
}

/// Without `/proc/sys`, what a sysctl says is not known, and nothing is claimed.
#[test]
fn a_proc_without_sysctls_is_named() {
    root!();
    let installed = Installed::new();
    let output = inside(HIDING, "subset=pid", &[], &installed, &["doctor"]);
    let said = said(&output);
    assert!(
        said.contains("/proc: is mounted with subset=pid, without /proc/sys"),
        "{said}"
    );
    assert!(said.contains("7200 s, 75 s, 9 probes"), "{said}");
}

#[test]
fn yama_restriction_is_reported_with_a_hint() {
    root!();
    let installed = Installed::new();
    let other = Running::start(Command::new("sleep").arg("1000"));
    let pid = other.pid().to_string();
    let [one, two, three] = [
        "ptrace_scope is 1: without CAP_SYS_PTRACE a process may look into its descendants alone",
        "ptrace_scope is 2: a process may look into others with CAP_SYS_PTRACE alone",
        "ptrace_scope is 3: nobody may look into another process, not even root",
    ];
    let attach = |scope: &str, wrapper: &[&str]| {
        let findings = unfolded(&text(
            &inside(RESTRICTED, scope, wrapper, &installed, &["doctor"]).stdout,
        ));
        let attach = findings.into_iter().find(|finding| finding.contains("engine attach: "));
        attach.expect("a finding for the engine attach")
    };
    for (scope, named) in [("1", one), ("2", two), ("3", three)] {
        let found = attach(scope, &AS_NOBODY);
        assert!(found.starts_with("note ") && found.contains(named), "{found}");
        let found = attach(scope, &[]);
        if scope == "3" {
            assert!(found.starts_with("note ") && found.contains(named), "{found}");
        } else {
            let with = format!(
                "ok     engine attach: reaches all processes, by CAP_SYS_PTRACE (kernel.yama.ptrace_scope is {scope})"
            );
            assert_eq!(found, with);
        }
        for words in [&["list", &pid][..], &["attach", &pid], &["doctor", "--pid", &pid]] {
            let said = said(&inside(RESTRICTED, scope, &AS_NOBODY, &installed, words));
            let helps = match scope {
                "3" => "keepalive run --engine preload and keepalive cgroup enable need no such access",
                _ => "run keepalive as root (CAP_SYS_PTRACE)",
            };
            let named = format!("ptrace_scope is {scope}");
            assert!(said.contains(&named) && said.contains(helps), "{words:?}: {said}");
            assert!(!said.contains("as that user"), "{words:?}: {said}");
        }
    }
    for (scope, wrapper, helps) in [
        ("1", &AS_NOBODY[..], "leave out --in-place"),
        ("2", &AS_NOBODY, "run keepalive as root"),
        ("3", &AS_NOBODY, "until the machine is started again"),
        ("3", &[], "until the machine is started again"),
    ] {
        let in_place: &[&str] = if scope == "1" { &["--in-place"] } else { &[] };
        let words = [&["run", "--engine", "seccomp"], in_place, &["--", "true"]].concat();
        let output = inside(RESTRICTED, scope, wrapper, &installed, &words);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(125), "scope {scope}: {said}");
        assert!(
            said.contains(&format!("ptrace_scope is {scope}")) && said.contains(helps),
            "scope {scope}: {said}"
        );
    }
}

/// Root of a user namespace has all capabilities, which do not count for eBPF, and no limit is taken for the reason.
#[test]
fn user_namespace_is_reported() {
    root!();
    if let Some(why) = super::namespaces::no_user_namespaces() {
        skip!("{why}");
    }
    let installed = Installed::new();
    let in_namespace = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(&AS_NOBODY[1..])
            .args(["unshare", "--user", "--map-root-user", "--"]);
        output_within(LIMIT, command.arg(installed.keepalive()).args(words).current_dir("/"))
    };
    let named = "this process is in a user namespace, whose capabilities do not count for eBPF";
    for words in [
        &["cgroup", "enable", "/"][..],
        &["run", "--engine", "cgroup", "--", "true"],
        &["doctor"],
    ] {
        let said = said(&in_namespace(words));
        assert!(
            said.contains(named) && !said.contains("locked memory,"),
            "{words:?}: {said}"
        );
    }
    let findings = unfolded(&text(&in_namespace(&["doctor"]).stdout));
    for expected in [
        "note   user namespace: this shell is in one",
        "ok     engine attach: reaches the processes of this user namespace, by CAP_SYS_PTRACE",
    ] {
        assert!(
            findings.iter().any(|finding| finding.starts_with(expected)),
            "{expected}: {findings:?}"
        );
    }
}

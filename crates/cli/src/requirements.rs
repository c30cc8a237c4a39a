//! The features of the kernel that keepalive requires: the one table that `keepalive doctor`, the manual page
//! keepalive(1) and docs/requirements.md show. A feature decides, not the kernel's version, since
//! distributions add features to older kernels.

mod probe;

pub(crate) use probe::pidfd_getfd as has_pidfd_getfd;

/// A function of keepalive, and its requirement.
#[derive(Debug)]
pub struct Requirement {
    /// The function of keepalive.
    pub what: &'static str,
    /// The first version of Linux with the feature; "any" before 5.10, the oldest tested version.
    pub linux: &'static str,
    /// The required feature of the kernel.
    pub feature: &'static str,
    /// The consequence of a missing feature.
    pub without: &'static str,
    /// Returns whether the running kernel has the feature; `None` if this process cannot find out.
    pub(crate) probe: fn() -> Option<bool>,
}

/// All requirements, in the order of the output.
pub const REQUIREMENTS: [Requirement; 14] = [
    Requirement {
        what: "engine preload",
        linux: "any",
        feature: "the socket calls alone",
        without: "-",
        probe: || Some(true),
    },
    Requirement {
        what: "list: timers, listeners, sockets of other users",
        linux: "any",
        feature: "sock_diag(7), CONFIG_INET_DIAG",
        without: "they are shown as unknown",
        probe: probe::sock_diag,
    },
    Requirement {
        what: "engine attach; list: exact values",
        linux: "5.6",
        feature: "pidfd_getfd(2)",
        without: "attach fails; list shows what the timer tells",
        probe: probe::pidfd_getfd,
    },
    Requirement {
        what: "engine seccomp",
        linux: "5.19",
        feature: "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        without: "run reaches static and Go programs with engine cgroup alone",
        probe: probe::seccomp,
    },
    Requirement {
        what: "engine seccomp: threads with descriptors of their own",
        linux: "6.9",
        feature: "PIDFD_THREAD",
        without: "a thread is taken to share the descriptors of its process",
        probe: probe::thread_handles,
    },
    Requirement {
        what: "engine cgroup, all modes",
        linux: "5.9",
        feature: "keepalive options of bpf_setsockopt(), BPF_LINK_DETACH; cgroup v2",
        without: "enable fails",
        probe: probe::cgroup,
    },
    Requirement {
        what: "engine cgroup: no limit of locked memory",
        linux: "5.11",
        feature: "eBPF memory charged to the cgroup",
        without: "it requires CAP_SYS_RESOURCE, or a higher limit (ulimit -l)",
        probe: probe::memory,
    },
    Requirement {
        what: "engine cgroup: rules with program NAME",
        linux: "5.9",
        feature: "CONFIG_DEBUG_INFO_BTF, and CAP_PERFMON; under lockdown also bpf_get_current_task_btf() (5.11)",
        without: "a policy with such rules is refused",
        probe: probe::types,
    },
    Requirement {
        what: "engine cgroup: values that programs set before, cap, floor, enforce, user-timeout=auto, without CAP_PERFMON or BTF",
        linux: "6.1",
        feature: "TCP options of bpf_getsockopt()",
        without: "with CAP_PERFMON and BTF they work; else a policy that depends on them is refused",
        probe: probe::getsockopt,
    },
    Requirement {
        what: "cgroup enable --existing, by the kernel",
        linux: "5.15",
        feature: "bpf_setsockopt() in iterators over TCP sockets",
        without: "it goes through the descriptors of the processes, which requires CAP_SYS_PTRACE",
        probe: probe::iterators,
    },
    Requirement {
        what: "cgroup enable --count-endings",
        linux: "5.9",
        feature: "CONFIG_DEBUG_INFO_BTF, and CAP_PERFMON",
        without: "the policy is applied, and nothing is counted",
        probe: probe::types,
    },
    Requirement {
        what: "trace",
        linux: "5.8",
        feature: "eBPF ring buffers, CONFIG_DEBUG_INFO_BTF, tracepoint inet_sock_set_state",
        without: "trace fails; list --watch shows unanswered probes",
        probe: probe::tracing,
    },
    Requirement {
        what: "list, attach: sockets of other network namespaces, without CAP_NET_ADMIN there",
        linux: "5.14",
        feature: "SO_NETNS_COOKIE",
        without: "what is the kernel's default there is not known",
        probe: probe::cookies,
    },
    Requirement {
        what: "MPTCP: idle, interval, count",
        linux: "6.10",
        feature: "TCP_KEEPIDLE and its kin on MPTCP sockets",
        without: "MPTCP connections are probed at the times of the sysctls; before 5.13 they have no keepalive",
        probe: probe::mptcp_times,
    },
];

impl Requirement {
    /// Returns the version with the feature, in a clause.
    pub fn since(&self) -> String {
        match self.linux {
            "any" => String::from("any Linux"),
            version => format!("Linux {version}"),
        }
    }
}

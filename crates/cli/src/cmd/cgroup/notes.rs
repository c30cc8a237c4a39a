//! The notes on the subcommands.

use crate::help::{Json, Notes, POLICY_USAGE, PRECEDENCE, SUCCESS, USAGE};

pub(crate) const ENABLE: Notes = Notes {
    command: "cgroup enable",
    precedence: PRECEDENCE,
    paragraphs: &[
        "Requires root (CAP_BPF and CAP_NET_ADMIN), Linux 5.9 and cgroup v2. The policy is active until it is disabled, \
         the cgroup is removed or the machine is shut down. keepalive-cgroup@.service applies it at boot. 'program \
         NAME' in a rule matches the process that connects or listens, by the first 15 bytes of its name.",
        "--existing sets the connections of the cgroup, wherever their processes are now, in the network namespaces of the \
         processes that are in the cgroup. Listening sockets are not set, only the connections that they accept.",
        "A unit of the machine's systemd takes precedence over one with the same name of a user or in a container. With --watch, a \
         second cgroup with the same name does not end the policy of the first.",
    ],
    statuses: &[
        SUCCESS,
        (
            "1",
            "It could not be done, or --existing could not set all open connections (the policy is active).",
        ),
        POLICY_USAGE,
    ],
    examples: &[
        (
            "The whole machine, open connections included, with the policy of /etc/keepalive.conf:",
            &["sudo keepalive cgroup enable --existing /"],
        ),
        (
            "The services of a machine behind a known middlebox, and the undo:",
            &[
                "sudo keepalive cgroup enable --preset aws-nlb /system.slice",
                "sudo keepalive cgroup disable /system.slice",
            ],
        ),
    ],
    ..Notes::DEFAULT
};

pub(crate) const DISABLE: Notes = Notes {
    command: "cgroup disable",
    ..Notes::DEFAULT
};

pub(crate) const STATUS: Notes = Notes {
    command: "cgroup status",
    json: Some(Json {
        heading: "The JSON object has",
        fields: &[
            (
                "obstacle",
                "string",
                "why the engine does not work on this machine, for this user",
            ),
            ("cgroups[].cgroup", "string", "path below the mount of cgroup v2"),
            (
                "cgroups[].state",
                "string",
                "in-force, dangling, unfinished, changing or none",
            ),
            (
                "cgroups[].hash",
                "string",
                "equal where default and rules of two policies are equal",
            ),
            (
                "cgroups[].since",
                "string",
                "when the policy was applied, in UTC; the counters count since then",
            ),
            (
                "cgroups[].version",
                "string",
                "version of keepalive that applied the policy",
            ),
            ("cgroups[].default", "string", "the settings without a rule"),
            ("cgroups[].default_connections", "number", "connections that got them"),
            (
                "cgroups[].default_ended",
                "object",
                "those that failed, as rules[].ended",
            ),
            ("cgroups[].rules[].rule", "string", ""),
            ("cgroups[].rules[].from", "string", "the source"),
            ("cgroups[].rules[].line", "number", ""),
            (
                "cgroups[].rules[].connections",
                "number",
                "connections that the rule matched",
            ),
            (
                "cgroups[].rules[].ended",
                "object",
                "with --count-endings: those that failed, by cause: dead-peer, reset-on-probe, timeout",
            ),
            (
                "cgroups[].owner",
                "string",
                "the container or pod with which the policy ends",
            ),
            ("cgroups[].refused", "number", "options that the kernel refused to set"),
            ("cgroups[].clamps", "boolean", "whether a mode changes setsockopt(2)"),
            (
                "cgroups[].error.message",
                "string",
                "why enable --watch has refused the newest policy, with its place",
            ),
            ("cgroups[].error.since", "string", "when it was refused first"),
            (
                "cgroups[].has_lost_its_watch",
                "boolean",
                "whether the enable --watch that applied the policy was killed",
            ),
            (
                "cgroups[].made_again",
                "boolean",
                "dangling: whether another cgroup has its path",
            ),
            (
                "cgroups[].reads_fields",
                "boolean",
                "whether the kernel's fields show what a program has set itself",
            ),
            ("cgroups[].compared_because", "string", "why they do not"),
            (
                "cgroups[].uncounted_because",
                "string",
                "why --count-endings counts nothing here",
            ),
            (
                "cgroups[].shadowed",
                "array",
                "cgroups below with a policy of their own, which overrides this one",
            ),
            (
                "cgroups[].before",
                "array",
                "foreign eBPF programs that run before this one",
            ),
            (
                "cgroups[].after",
                "array",
                "foreign eBPF programs that run after this one, and override it",
            ),
            (
                "cgroups[].watched",
                "boolean",
                "with --watched: whether enable --watch in this container keeps it",
            ),
        ],
        null: "Null is unknown, or does not apply.",
    }),
    statuses: &[
        SUCCESS,
        (
            "1",
            "A named cgroup has no active policy (with --watched: none that is kept from here), or a policy has a \
             problem.",
        ),
        USAGE,
    ],
    examples: &[(
        "Which policies are active, and how often was each rule used?",
        &["sudo keepalive cgroup status"],
    )],
    ..Notes::DEFAULT
};

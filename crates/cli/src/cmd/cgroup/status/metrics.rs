//! The report as metrics: OpenMetrics text, without what the older Prometheus text format does not know, so that
//! node_exporter's textfile collector reads it, too. (It refuses the type `info` and timestamps.)

use super::{Object, Report, VERSION};
use keepalive_engine::cgroup::Ended;
use keepalive_engine::cgroup::entry::State;
use std::fmt::{Display, Write as _};

/// A family of metrics: its name, type and help.
struct Family(&'static str, Kind, &'static str);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

const BUILD: Family = Family("keepalive_build_info", Kind::Gauge, "Version of keepalive.");
const ACTIVE: Family = Family(
    "keepalive_cgroup_policy_active",
    Kind::Gauge,
    "Whether the cgroup has an active policy.",
);
const POLICY: Family = Family(
    "keepalive_cgroup_policy_info",
    Kind::Gauge,
    "Hash of the active policy, which equal policies share, and the version of keepalive that applied it.",
);
const START: Family = Family(
    "keepalive_cgroup_policy_start_time_seconds",
    Kind::Gauge,
    "When the policy was applied and its counters began, in seconds since 1970.",
);
const ERROR: Family = Family(
    "keepalive_cgroup_policy_error",
    Kind::Gauge,
    "Whether enable --watch has refused the newest policy, so that the one before it is active.",
);
const ERROR_INFO: Family = Family(
    "keepalive_cgroup_policy_error_info",
    Kind::Gauge,
    "Why the newest policy was refused, with file, line and column.",
);
const WATCH_LOST: Family = Family(
    "keepalive_cgroup_policy_watch_lost",
    Kind::Gauge,
    "Whether the enable --watch that applied the policy was killed, so that nothing follows changes.",
);
const CONNECTIONS: Family = Family(
    "keepalive_cgroup_connections",
    Kind::Counter,
    "Connections that a rule matched, by its number in the policy; number 0 is the default.",
);
const ENDED: Family = Family(
    "keepalive_cgroup_ended_connections",
    Kind::Counter,
    "Connections that failed, by the cause that keepalive trace prints and by the rule that matches them.",
);
const OPTIONS: Family = Family(
    "keepalive_cgroup_options_refused",
    Kind::Counter,
    "Socket options that the kernel refused to set.",
);

/// A label's name and value. The labels of a sample are sorted.
type Label<'a> = (&'static str, &'a dyn Display);

impl Report {
    /// Returns the metrics. Series of one family have different labels: a path has at most one active policy.
    pub(in crate::cmd::cgroup) fn metrics(&self) -> String {
        let mut text = String::new();
        BUILD.begin(&mut text);
        BUILD.sample(&mut text, &[("version", &VERSION)], 1);
        let active: Vec<&Object> = self.cgroups.iter().filter(|cgroup| cgroup.is_active()).collect();
        ACTIVE.begin(&mut text);
        let mut paths: Vec<&String> = self.cgroups.iter().map(|cgroup| &cgroup.cgroup).collect();
        paths.sort();
        paths.dedup();
        for path in paths {
            let is_active = active.iter().any(|cgroup| cgroup.cgroup == *path);
            ACTIVE.sample(&mut text, &[("cgroup", path)], u64::from(is_active));
        }
        let mut family = |family: &Family, write: &dyn Fn(&mut String, &Object, Label<'_>)| {
            family.begin(&mut text);
            for object in &active {
                write(&mut text, object, ("cgroup", &object.cgroup));
            }
        };
        family(&POLICY, &|text, object, cgroup| {
            // Another version's policy may not be readable.
            let [hash, version] = [&object.hash, &object.version].map(|value| value.as_deref().unwrap_or_default());
            POLICY.sample(text, &[cgroup, ("hash", &hash), ("version", &version)], 1);
        });
        family(&START, &|text, object, cgroup| {
            if let Some(since) = object.since_seconds {
                START.sample(text, &[cgroup], since);
            }
        });
        family(&ERROR, &|text, object, cgroup| {
            ERROR.sample(text, &[cgroup], u64::from(object.error.is_some()));
        });
        family(&ERROR_INFO, &|text, object, cgroup| {
            if let Some(error) = &object.error {
                let message = error.message.lines().next().unwrap_or_default();
                ERROR_INFO.sample(text, &[cgroup, ("message", &message)], 1);
            }
        });
        family(&WATCH_LOST, &|text, object, cgroup| {
            WATCH_LOST.sample(text, &[cgroup], u64::from(object.has_lost_its_watch));
        });
        family(&CONNECTIONS, &|text, object, cgroup| {
            for (number, rule, connections, _) in object.counted() {
                let labels = [cgroup, ("number", &number), ("rule", &rule)];
                CONNECTIONS.sample(text, &labels, connections);
            }
        });
        family(&ENDED, &|text, object, cgroup| {
            for (number, rule, _, ended) in object.counted() {
                for (cause, count) in ended.iter().flat_map(Ended::by_cause) {
                    let labels = [
                        ("cause", &cause as &dyn Display),
                        cgroup,
                        ("number", &number),
                        ("rule", &rule),
                    ];
                    ENDED.sample(text, &labels, count);
                }
            }
        });
        family(&OPTIONS, &|text, object, cgroup| {
            if let Some(refused) = object.refused {
                OPTIONS.sample(text, &[cgroup], refused);
            }
        });
        text.push_str("# EOF\n");
        text
    }
}

impl Object {
    fn is_active(&self) -> bool {
        self.state == Some(State::Active)
    }

    /// Returns number, text and counters of each rule, and of the default as number 0.
    fn counted(&self) -> impl Iterator<Item = (usize, String, u64, Option<Ended>)> {
        let rules = self.rules.iter().zip(1..);
        let rules = rules.map(|(rule, number)| (number, rule.rule.clone(), rule.connections, rule.ended));
        let default = self.default.iter().zip(self.default_connections);
        rules.chain(default.map(|(default, count)| (0, format!("default {default}"), count, self.default_ended)))
    }
}

impl Family {
    fn begin(&self, text: &mut String) {
        let Self(name, kind, help) = self;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(text, "# TYPE {name} {kind}\n# HELP {name} {help}");
    }

    fn sample(&self, text: &mut String, labels: &[Label<'_>], value: u64) {
        let Self(name, kind, _) = self;
        let suffix = if *kind == Kind::Counter { "_total" } else { "" };
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(&value.to_string())))
            .collect();
        let _ = writeln!(text, "{name}{suffix}{{{}}} {value}", labels.join(","));
    }
}

/// Escapes the value of a label (OpenMetrics 1.0, "escaped-string").
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn quotes_backslashes_and_line_feeds_are_escaped() {
        assert_eq!(escaped("a\\b\"c\nd"), "a\\\\b\\\"c\\nd");
    }
}

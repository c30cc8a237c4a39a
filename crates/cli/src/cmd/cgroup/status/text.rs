//! The report for people.

use super::{NONE, Object, Report, VERSION};
use crate::output::{WIDTH, sanitize, wrap};
use crate::table::terminal_size;
use keepalive_engine::cgroup::entry::State;
use std::fmt::Write as _;

impl Report {
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(obstacle) = &self.obstacle {
            text.push_str(&wrap(&format!("engine cgroup: {obstacle}"), WIDTH, 2));
        } else if self.cgroups.is_empty() {
            text.push_str("engine cgroup: works here; no cgroup has a policy\n");
        }
        for cgroup in &self.cgroups {
            cgroup.write(&mut text);
        }
        text
    }
}

impl Object {
    fn write(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "{}: {}",
            sanitize(&self.cgroup),
            self.state.map_or(NONE, State::describe)
        );
        let counted = self.rules.iter().map(|rule| {
            let from = format!("{}:{}", rule.from, rule.line);
            (rule.connections, rule.rule.clone(), from)
        });
        let default = self.default.iter().zip(self.default_connections);
        let default = default.map(|(default, count)| (count, format!("default {default}"), String::new()));
        let lines: Vec<_> = counted.chain(default).collect();
        let width = lines
            .iter()
            .map(|(count, ..)| count.to_string().len())
            .max()
            .unwrap_or(0);
        for (count, rule, from) in lines {
            let from = if from.is_empty() { from } else { format!("  ({from})") };
            let count = format!("  {count:>width$}  ");
            let rule = sanitize(&(rule + &from));
            // In a pipe each rule stays on one line.
            let Some((columns, _)) = terminal_size() else {
                text.extend([&count, &rule, "\n"]);
                continue;
            };
            let mut margin = count.clone();
            for line in wrap(&rule, columns.saturating_sub(count.len()), 0).lines() {
                text.extend([&margin, line, "\n"]);
                margin = " ".repeat(count.len());
            }
        }
        if self.state == Some(State::Active) {
            text.push_str(&wrap(&sanitize(&self.origin()), WIDTH, 2));
        }
        if self.clamps {
            text.push_str("  setsockopt(2) is changed as the mode says\n");
        }
        if self.reads_fields == Some(false) {
            let why = self.compared_because.as_deref();
            let why = why.unwrap_or("the kernel's own fields are not to be read (CAP_PERFMON, CONFIG_DEBUG_INFO_BTF)");
            let line = format!("  what differs from the sysctls counts as set by the program: {why}");
            text.push_str(&wrap(&sanitize(&line), WIDTH, 2));
        }
        if !self.shadowed.is_empty() {
            let line = format!("  in {} a policy counts that is nearer", self.shadowed.join(", "));
            text.push_str(&wrap(&sanitize(&line), WIDTH, 2));
        }
        for (programs, when, whose_word) in [
            (&self.before, "before", ""),
            (&self.after, "after", ": their word is the last"),
        ] {
            if !programs.is_empty() {
                let line = format!("  {} of others run {when} this one{whose_word}", programs.join(", "));
                text.push_str(&wrap(&line, WIDTH, 2));
            }
        }
    }

    /// Returns the line on the policy as a whole.
    fn origin(&self) -> String {
        let Some(hash) = &self.hash else {
            return String::from(
                "  another version of keepalive applied it, in a form that this one cannot read; enable replaces it",
            );
        };
        let since = self.since.as_ref().map(|since| format!(" since {since}"));
        let by = self.version.as_ref().filter(|version| *version != VERSION);
        let by = by.map(|version| format!(", applied by keepalive {version}"));
        format!("  policy {hash}{}{}", since.unwrap_or_default(), by.unwrap_or_default())
    }
}

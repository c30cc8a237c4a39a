//! The report for people.

use super::{NONE, Object, Report, VERSION};
use crate::output::{WIDTH, sanitize, wrap};
use crate::table::terminal_size;
use keepalive_engine::cgroup::Ended;
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
            let from = format!("  ({}:{})", rule.from, rule.line);
            (rule.connections, rule.rule.clone() + &from, rule.ended)
        });
        let default = self.default.iter().zip(self.default_connections);
        let default = default.map(|(default, count)| (count, format!("default {default}"), self.default_ended));
        let lines: Vec<_> = counted.chain(default).collect();
        let width = lines
            .iter()
            .map(|(count, ..)| count.to_string().len())
            .max()
            .unwrap_or(0);
        for (count, rule, ended) in lines {
            let count = format!("  {count:>width$}  ");
            let margin = " ".repeat(count.len());
            write_wrapped(text, &count, &margin, &sanitize(&rule));
            if let Some(ended) = ended.filter(|ended| *ended != Ended::default()) {
                let causes = ended.by_cause().map(|(cause, number)| format!("{number} {cause}"));
                write_wrapped(text, &margin, &margin, &format!("ended: {}", causes.join(", ")));
            }
        }
        if let Some(origin) = self.origin() {
            text.push_str(&wrap(&sanitize(&origin), WIDTH, 2));
        }
        if self.has_lost_its_watch {
            text.push_str("  enable --watch was killed: nothing follows changes of its rules file\n");
        }
        if self.state == Some(State::Active) && self.default.is_none() {
            text.push_str("  its rules and counters cannot be read: another version of keepalive has applied it\n");
        }
        if let Some(why) = &self.uncounted_because {
            let causes = Ended::default().by_cause().map(|(cause, _)| format!("? {cause}"));
            let line = format!("  ended: {}: {why}", causes.join(", "));
            text.push_str(&wrap(&sanitize(&line), WIDTH, 2));
        }
        if let Some(owner) = &self.owner {
            let line = format!("  belongs to {owner}, and ends with it");
            text.push_str(&wrap(&sanitize(&line), WIDTH, 2));
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

    /// Returns the line on an active policy as a whole, if its description can be read.
    fn origin(&self) -> Option<String> {
        let hash = self.hash.as_ref().filter(|_| self.state == Some(State::Active))?;
        let since = self.since.as_ref().map(|since| format!(" since {since}"));
        let by = self.version.as_ref().filter(|version| *version != VERSION);
        let by = by.map(|version| format!(", applied by keepalive {version}"));
        Some(format!(
            "  policy {hash}{}{}",
            since.unwrap_or_default(),
            by.unwrap_or_default()
        ))
    }
}

/// Appends a line after `first`; on a terminal it continues after `margin`. In a pipe it stays one line.
fn write_wrapped(text: &mut String, first: &str, margin: &str, line: &str) {
    let Some((columns, _)) = terminal_size() else {
        text.extend([first, line, "\n"]);
        return;
    };
    let mut before = first;
    for line in wrap(line, columns.saturating_sub(first.len()), 0).lines() {
        text.extend([before, line, "\n"]);
        before = margin;
    }
}

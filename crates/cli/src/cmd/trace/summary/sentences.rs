//! What endings mean, in sentences.

use super::connections;
use keepalive_engine::idle_timeout::Manner;
use keepalive_engine::timeline::spell;
use keepalive_engine::trace::ending::{Cause, Direction};
use keepalive_engine::trace::summary::{Forgotten, Group, Meaning, Range, Timer};
use std::fmt::Write as _;
use std::time::Duration;

/// Returns a meaning in sentences.
pub(super) fn sentence(meaning: &Meaning, group: &Group) -> String {
    match meaning {
        Meaning::Forgotten(found) => forgotten(found, group),
        Meaning::LostBetweenProbes(idle) => format!(
            "{} {} lost {} after the last answer, although keepalive was on: the peer forgot {}, as when it restarts, or a \
             timer that does not count probes ended {}. Keepalive does not prevent that.",
            connections(idle.count),
            was(idle.count),
            range(*idle),
            it(idle.count),
            it(idle.count),
        ),
        Meaning::NoTimeout { lost, survived } => format!(
            "{} {} lost after {} idle, but others were still known after {}: that is no idle timeout.{}",
            connections(lost.count),
            was(lost.count),
            range(*lost),
            seconds(*survived),
            measured(group),
        ),
        Meaning::EndedByTimer(timer) => by_timer(timer),
        Meaning::EndedByPeer { manner, idle } => {
            let how = match manner {
                Manner::Close => "closed by the peer",
                Manner::Reset | Manner::Silence => "reset by the peer or the path, without having sent anything,",
            };
            format!(
                "{} {} {how} after {} idle; no timeout is seen in that.",
                connections(idle.count),
                was(idle.count),
                range(*idle)
            )
        }
        Meaning::DeadPeer {
            count,
            first_probe,
            may_be_forgotten,
        } => {
            let first = Range {
                count: *count,
                ..*first_probe
            };
            let found = format!(
                "Keepalive closed {}, which got no answer to probes from {} on: the peer was down or could not be reached",
                connections(*count),
                range(first)
            );
            if *may_be_forgotten {
                format!(
                    "{found}, or the path had forgotten {} before the first probe.{}",
                    it(*count),
                    measured(group)
                )
            } else {
                format!("{found}. That is what keepalive is for.")
            }
        }
    }
}

fn forgotten(found: &Forgotten, group: &Group) -> String {
    let mut parts = Vec::new();
    for (cause, idle) in &found.lost {
        let Some(idle) = idle else { continue };
        let (count, time) = (connections(idle.count), range(*idle));
        let was = was(idle.count);
        parts.push(match cause {
            Cause::ResetOnSend => {
                let they = if idle.count == 1 { "it" } else { "they" };
                format!("{count} {was} reset when {they} spoke after {time} idle")
            }
            Cause::ResetOnProbe => format!("{count} {was} reset by a keepalive probe after {time} idle"),
            _ => format!("{count} got no acknowledgement of data after {time} idle"),
        });
    }
    let is_silent = found
        .lost
        .iter()
        .all(|(cause, idle)| *cause == Cause::TimeoutOnSend || idle.is_none());
    let most = if found.is_exact { "" } else { "at most " };
    let timeout = format!(
        "after {most}{}{}",
        seconds(found.all.shortest),
        as_presets(&found.presets)
    );
    let conclusion = match (found.is_exact || !found.presets.is_empty(), found.all.count) {
        (true, _) => format!("the path forgets {timeout}."),
        (false, 1) if is_silent => {
            String::from("the path had forgotten it, or the peer was gone. One loss shows no timeout.")
        }
        (false, 1) => String::from("the path, or the peer, had forgotten it. One loss shows no timeout."),
        (false, _) if is_silent => format!("the path forgets {timeout}, or the peer was gone."),
        (false, _) => format!("the path, or the peer, forgets {timeout}."),
    };
    let mut text = format!("{}: {conclusion}", parts.join("; "));
    if let Some(survived) = found.survived {
        let _ = write!(text, " It still knew one after {}.", seconds(survived));
    }
    if found.irregular > 0 {
        let more = match found.irregular {
            1 => String::from("One more ended"),
            more => format!("{more} more ended"),
        };
        let _ = write!(text, " {more} far sooner, or survived longer, for another reason.");
    }
    if group.cure.is_none() {
        text.push_str(" Keepalive does not help: connections with early probes were lost too.");
    }
    text
}

fn by_timer(timer: &Timer) -> String {
    let Timer {
        manner,
        idle,
        despite_probes,
        presets,
    } = timer;
    let (count, time, names) = (connections(idle.count), range(*idle), as_presets(presets));
    let is_seen = *despite_probes > 0;
    match manner {
        Manner::Close => {
            let counts = if is_seen {
                "It does not count keepalive probes: keepalive was on, and cannot help."
            } else {
                "Keepalive cannot help if that counts data alone, as the timer of a program does."
            };
            format!(
                "The peer closed {count} after {time} idle: that is its own idle timeout{names}. {counts} Raise it, or let \
                 the program send something."
            )
        }
        Manner::Reset | Manner::Silence => {
            let counts = if is_seen {
                "It does not count keepalive probes: keepalive was on, and cannot help."
            } else {
                "Keepalive helps if that counts probes, which was not seen."
            };
            format!(
                "{count} {} reset after {time} idle, without having sent anything: that is a timer of the path or the \
                 peer{names}. {counts}",
                was(idle.count)
            )
        }
    }
}

/// Returns which command measures the timeout, in a sentence.
fn measured(group: &Group) -> String {
    if group.direction == Direction::Connect && group.peers.is_one() {
        format!(" To measure: keepalive probe {}", group.with_port())
    } else {
        String::new()
    }
}

/// Returns the presets as a clause.
fn as_presets(presets: &[&str]) -> String {
    match presets {
        [] => String::new(),
        [one] => format!(", as {one} does"),
        [one, other] => format!(", as {one} and {other} do"),
        [one, other, ..] => format!(", as {one}, {other} and others do"),
    }
}

/// Returns a time in words: with tenths below ten seconds, in seconds up to an hour.
fn seconds(seconds: f64) -> String {
    number(seconds).map_or_else(
        || {
            let whole = Duration::from_secs_f64(seconds).as_secs();
            spell(1000 * ((whole + 30) / 60 * 60))
        },
        |number| format!("{number} s"),
    )
}

/// Returns times in words, as `350 to 352 s`.
fn range(range: Range) -> String {
    let (shortest, longest) = (seconds(range.shortest), seconds(range.longest));
    if shortest == longest {
        return shortest;
    }
    match (number(range.shortest), number(range.longest)) {
        (Some(number), Some(_)) => format!("{number} to {longest}"),
        _ => format!("{shortest} to {longest}"),
    }
}

/// Returns the number of seconds, unless that is an hour or more.
fn number(seconds: f64) -> Option<String> {
    if seconds >= 3600.0 {
        return None;
    }
    // Never more than was seen: a timeout of 350 s is one that 350.4 s show.
    Some(if seconds < 10.0 {
        let tenths = (seconds * 10.0).floor() / 10.0;
        format!("{tenths}")
    } else {
        format!("{}", seconds.floor())
    })
}

fn was(count: u64) -> &'static str {
    if count == 1 { "was" } else { "were" }
}

fn it(count: u64) -> &'static str {
    if count == 1 { "it" } else { "them" }
}

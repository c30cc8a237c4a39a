//! The settings of one connection, each with its origin.

use crate::output::sanitize_text;
use crate::policy::{Part, Policy, RULE, Text};
use keepalive_engine::sysctl::Sysctls;
use keepalive_engine::timeline::Times;
use keepalive_policy::option::{KernelDefault, OTHERS};
use keepalive_policy::parse::{Item, parse};
use keepalive_policy::{Event, Keepalive, Mode, Number, Rule, Settings, SocketOption, decide};

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// An option or a variable, by name.
    Said(String),
    /// A line of a file, of `KEEPALIVE_RULES`, or of a `--rule`.
    Line(Line),
    /// The default of `run`, since no source sets times.
    Fallback,
    /// This sysctl, since no source sets the value.
    Sysctl(&'static str),
    /// The kernel's built-in value, since no source sets the value and there is no sysctl.
    BuiltIn,
}

/// The position of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) number: u32,
    /// Whether it is the only `--rule`, which is shown without a number.
    pub(super) is_only_rule: bool,
}

/// The rule that matches.
#[derive(Debug)]
pub(super) struct Matched {
    pub(super) text: String,
    pub(super) line: Line,
}

/// A value and its origin.
#[derive(Debug)]
pub(super) struct Value<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

/// The settings of a connection.
#[derive(Debug)]
pub(super) struct Decision {
    /// The rules that match: at most one from the command line and environment, and one from the file.
    pub(super) rules: Vec<Matched>,
    pub(super) keepalive: Value<Keepalive>,
    pub(super) mode: Value<Mode>,
    pub(super) idle: Value<u32>,
    pub(super) interval: Value<u32>,
    pub(super) count: Value<u32>,
    /// The user timeout in milliseconds; 0 means off.
    pub(super) user_timeout: Value<u32>,
    /// Whether the user timeout is computed from the other three values.
    pub(super) is_automatic: bool,
    /// Options that do not concern keepalive, if they are set.
    pub(super) others: [(SocketOption, Option<Value<u32>>); OTHERS.len()],
}

impl Decision {
    /// Returns the decision for `event`, with the kernel's defaults for unset values.
    pub(super) fn new(policy: &Policy, event: &Event<'_>, sysctls: &Sysctls) -> Self {
        let parts = policy.parts();
        let view = View {
            policy,
            parts: &parts,
            event,
        };
        let settings = decide(&parts.each_ref().map(Part::source), event);
        let [idle, interval, count] = [
            (SocketOption::Idle, sysctls.idle),
            (SocketOption::Interval, sysctls.interval),
            (SocketOption::Count, sysctls.count),
        ]
        .map(|(option, value)| {
            view.number(&settings, option).unwrap_or_else(|| Value {
                value,
                origin: match option.row().kernel_default {
                    KernelDefault::Sysctl { name, .. } => Origin::Sysctl(name),
                    KernelDefault::Fixed(_) | KernelDefault::Route => Origin::BuiltIn,
                },
            })
        });
        let user_timeout = settings.user_timeout_ms(idle.value, interval.value, count.value);
        let user_timeout = user_timeout.map_or(
            Value {
                value: 0,
                origin: Origin::BuiltIn,
            },
            |value| Value {
                value,
                origin: view.origin(says(SocketOption::UserTimeout)),
            },
        );
        Self {
            rules: view.rules(),
            keepalive: Value {
                value: settings.keepalive.unwrap_or(Keepalive::On),
                origin: view.origin(|settings| settings.keepalive),
            },
            mode: Value {
                value: settings.mode.unwrap_or_default(),
                origin: view.origin(|settings| settings.mode),
            },
            is_automatic: settings.written(SocketOption::UserTimeout) == Number::Auto,
            others: OTHERS.map(|option| (option, view.number(&settings, option))),
            idle,
            interval,
            count,
            user_timeout,
        }
    }

    /// Returns the times of the connection.
    pub(super) fn times(&self) -> Times {
        Times {
            idle: self.idle.value,
            interval: self.interval.value,
            count: self.count.value,
            user_timeout: self.user_timeout.value,
        }
    }

    /// Returns how often a SYN is retransmitted, and the origin of that value.
    pub(super) fn syn_count(&self) -> Option<&Value<u32>> {
        let mut others = self.others.iter();
        let (_, value) = others.find(|(option, _)| *option == SocketOption::SynCount)?;
        value.as_ref()
    }
}

/// The policy, as it applies to one event.
struct View<'a> {
    policy: &'a Policy,
    parts: &'a [Part<'a>; 2],
    event: &'a Event<'a>,
}

/// Returns a function that returns the value of `option` in settings, if it is set.
fn says(option: SocketOption) -> impl Fn(&Settings) -> Option<Number> {
    move |settings| Some(settings.written(option)).filter(|number| *number != Number::Unset)
}

impl View<'_> {
    /// Returns the texts of each part.
    fn texts(&self) -> [Vec<&Text>; 2] {
        [self.policy.rules.iter().collect(), self.policy.config.iter().collect()]
    }

    fn rules(&self) -> Vec<Matched> {
        let parts = self.parts.iter().zip(self.texts());
        parts
            .filter_map(|(part, texts)| {
                let (line, rule) = self.rule(part)?;
                let mut named = texts.iter().filter(|text| text.name == line.name);
                let text = named.find_map(|text| statement(&text.text, text.first_line, rule));
                Some(Matched {
                    text: text.unwrap_or_else(|| rule.to_string()),
                    line,
                })
            })
            .collect()
    }

    /// Returns the matching rule of this part, and its position.
    fn rule<'a>(&self, part: &'a Part<'_>) -> Option<(Line, &'a Rule<'a>)> {
        let mut named = part.rules.iter().zip(&part.names);
        let (rule, name) = named.find(|(rule, _)| rule.matches(self.event))?;
        Some((self.line(name, rule.line), rule))
    }

    /// Returns the position of a line.
    fn line(&self, name: &str, number: u32) -> Line {
        let mut others = self.policy.rules.iter().filter(|text| text.name == RULE).skip(1);
        Line {
            name: name.to_owned(),
            number,
            is_only_rule: name == RULE && number == 1 && others.next().is_none(),
        }
    }

    /// Returns the number that is set, if any.
    fn number(&self, settings: &Settings, option: SocketOption) -> Option<Value<u32>> {
        let value = settings.number(option)?;
        Some(Value {
            value,
            origin: self.origin(says(option)),
        })
    }

    /// Returns the origin of the effective value.
    fn origin<T: PartialEq>(&self, says: impl Fn(&Settings) -> Option<T>) -> Origin {
        for (index, (part, texts)) in self.parts.iter().zip(self.texts()).enumerate() {
            let Some(value) = says(part.source().settings(self.event)) else {
                continue;
            };
            if let Some((line, _)) = self.rule(part) {
                return Origin::Line(line);
            }
            if index == 0 {
                // The first option or variable with this value; one with another value has lower precedence.
                let mut explicit = self.policy.explicit.iter();
                if let Some((name, _)) = explicit.find(|(_, settings)| says(settings).as_ref() == Some(&value)) {
                    return Origin::Said(name.clone());
                }
                if self.policy.fallback.as_ref().and_then(&says).as_ref() == Some(&value) {
                    return Origin::Fallback;
                }
            }
            if let Some((name, number)) = texts.into_iter().find_map(default_line) {
                return Origin::Line(self.line(name, number));
            }
        }
        Origin::BuiltIn
    }
}

/// Returns the position of the default in a text.
fn default_line(text: &Text) -> Option<(&str, u32)> {
    let mut lines = text.text.split(|byte| *byte == b'\n');
    let index = lines.position(|line| parse(line).any(|item| matches!(item, Ok(Item::Default(_)))))?;
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    Some((&text.name, text.first_line.saturating_add(index)))
}

/// Returns the source text of `rule` in `text`; `first_line` is the number of its first line.
fn statement(text: &[u8], first_line: u32, rule: &Rule<'_>) -> Option<String> {
    let index = usize::try_from(rule.line.checked_sub(first_line)?).ok()?;
    let line = text.split(|byte| *byte == b'\n').nth(index)?;
    let line = line.split(|byte| *byte == b'#').next()?;
    let alone = Rule { line: 1, ..*rule };
    let mut statements = line.split(|byte| *byte == b';');
    let written = statements.find(|statement| parse(statement).next() == Some(Ok(Item::Rule(alone))))?;
    let written = sanitize_text(&String::from_utf8_lossy(written));
    Some(written.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_shown_as_it_is_written() {
        let text = b"# a\n default idle=1; connect  *:80\tpreset=azure ;accept off # x ; connect *:80 preset=azure\n";
        let rules = parse(text).filter_map(|item| match item {
            Ok(Item::Rule(rule)) => Some(rule),
            _ => None,
        });
        let written: Vec<_> = rules.map(|rule| statement(text, 1, &rule).expect("written")).collect();
        assert_eq!(written, ["connect *:80 preset=azure", "accept off"]);
    }
}

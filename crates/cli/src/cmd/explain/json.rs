//! The explanation in JSON.

use super::decision::{Line, Matched, Origin, Value};
use super::{Explanation, Place};
use crate::json::pretty;
use keepalive_engine::timeline::{connecting, data_in_flight};
use keepalive_policy::{Keepalive, Unit};
use serde::{Serialize, Serializer};

#[derive(Serialize)]
struct Object<'a> {
    r#for: Option<Target>,
    program: Option<String>,
    rule: Option<RuleObject<'a>>,
    settings: SettingsObject<'a>,
    first_probe_s: Option<u32>,
    lost_probes: Option<u32>,
    dead_after_s: Option<u64>,
    data_in_flight_s: f64,
    connecting_s: Option<u64>,
    outlives: &'a [&'static str],
    at_risk: &'a [&'static str],
    forgotten_by: &'a [&'static str],
    no_remedy: &'a [&'static str],
    warnings: Vec<&'a String>,
}

#[derive(Serialize)]
struct Target {
    direction: String,
    address: Option<String>,
    port: Option<u16>,
}

#[derive(Serialize)]
struct RuleObject<'a> {
    text: &'a str,
    source: &'a str,
    line: u32,
}

#[derive(Serialize)]
struct SettingsObject<'a> {
    keepalive: Setting<&'a str>,
    idle_s: Setting<u32>,
    interval_s: Setting<u32>,
    count: Setting<u32>,
    user_timeout_ms: Setting<u32>,
    mode: Setting<&'a str>,
    #[serde(flatten)]
    others: Others,
}

/// The settings of options that do not concern keepalive; null if they are not set.
struct Others(Vec<(String, Option<Setting<u32>>)>);

impl Serialize for Others {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, setting)| (name, setting)))
    }
}

#[derive(Serialize)]
struct Setting<T> {
    value: T,
    source: String,
}

/// Returns the explanation as a JSON object.
pub(super) fn show(explanation: &Explanation<'_>) -> String {
    let decision = &explanation.decision;
    let times = decision.times();
    let is_probed = decision.keepalive.value != Keepalive::Off;
    let in_flight = match times.user_timeout {
        0 => data_in_flight(explanation.sysctls.retries),
        timeout => timeout.into(),
    };
    let object = Object {
        r#for: explanation.place.map(Target::new),
        program: explanation
            .program
            .map(|program| String::from_utf8_lossy(program).into_owned()),
        rule: decision.rules.first().map(RuleObject::new),
        settings: SettingsObject::new(explanation),
        first_probe_s: is_probed.then_some(times.idle),
        lost_probes: is_probed.then(|| times.lost_probes()),
        dead_after_s: is_probed.then(|| times.dead_after()),
        data_in_flight_s: std::time::Duration::from_millis(in_flight).as_secs_f64(),
        connecting_s: explanation.may_connect().then(|| explanation.connecting() / 1000),
        outlives: &explanation.middleboxes.kept,
        at_risk: &explanation.middleboxes.at_risk,
        forgotten_by: &explanation.middleboxes.forgotten,
        no_remedy: &explanation.middleboxes.no_remedy,
        warnings: explanation.warnings.iter().chain(explanation.notes).collect(),
    };
    pretty(&object)
}

impl Explanation<'_> {
    /// Returns the milliseconds until connecting fails.
    pub(super) fn connecting(&self) -> u64 {
        let retries = self.decision.syn_count();
        connecting(
            retries.map_or(self.sysctls.syn_retries, |retries| retries.value),
            self.sysctls.syn_linear_timeouts,
        )
    }
}

impl Target {
    fn new(place: &Place) -> Self {
        Self {
            direction: place.direction.to_string(),
            address: place.address.map(|address| address.to_string()),
            port: place.port,
        }
    }
}

impl<'a> RuleObject<'a> {
    fn new(rule: &'a Matched) -> Self {
        Self {
            text: &rule.text,
            source: &rule.line.name,
            line: rule.line.number,
        }
    }
}

impl SettingsObject<'_> {
    fn new(explanation: &Explanation<'_>) -> Self {
        let decision = &explanation.decision;
        let others = decision.others.iter().map(|(option, value)| {
            let row = option.row();
            let unit = match row.unit {
                Unit::Seconds => "_s",
                Unit::Milliseconds => "_ms",
                Unit::Count | Unit::Switch => "",
            };
            let setting = value.as_ref().map(|value| Setting::new(value, value.value));
            (row.name.replace('-', "_") + unit, setting)
        });
        Self {
            keepalive: Setting::new(&decision.keepalive, name(decision.keepalive.value)),
            idle_s: Setting::new(&decision.idle, decision.idle.value),
            interval_s: Setting::new(&decision.interval, decision.interval.value),
            count: Setting::new(&decision.count, decision.count.value),
            user_timeout_ms: Setting::new(&decision.user_timeout, decision.user_timeout.value),
            mode: Setting::new(&decision.mode, decision.mode.value.name()),
            others: Others(others.collect()),
        }
    }
}

impl<T> Setting<T> {
    fn new<V>(value: &Value<V>, shown: T) -> Self {
        Self {
            value: shown,
            source: value.origin.name(),
        }
    }
}

/// Returns the word for it in rules.
pub(super) fn name(keepalive: Keepalive) -> &'static str {
    match keepalive {
        Keepalive::On => "on",
        Keepalive::Leave => "leave",
        Keepalive::Off => "off",
    }
}

impl Origin {
    /// Returns the name for JSON.
    fn name(&self) -> String {
        match self {
            Self::Said(name) => name.clone(),
            Self::Line(line) => line.to_string(),
            Self::Fallback => String::from("fallback"),
            Self::Sysctl(name) => (*name).to_owned(),
            Self::BuiltIn => String::from("built-in"),
        }
    }
}

/// Formats the line as `file:line`, or as `--rule` if there is only one.
impl std::fmt::Display for Line {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_only_rule {
            formatter.write_str(&self.name)
        } else {
            write!(formatter, "{}:{}", self.name, self.number)
        }
    }
}

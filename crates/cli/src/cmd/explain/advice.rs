//! Assesses settings: the middleboxes that they suit, and warnings.

use super::decision::Decision;
use keepalive_engine::timeline::{Fate, lost_probes, spell};
use keepalive_policy::preset::{PRESETS, Remedy};
use keepalive_policy::{Keepalive, Mode};

/// The presets, grouped by what happens to the connection behind such a middlebox.
#[derive(Debug, Default)]
pub(super) struct Middleboxes {
    pub(super) kept: Vec<&'static str>,
    pub(super) at_risk: Vec<&'static str>,
    pub(super) forgotten: Vec<&'static str>,
    pub(super) no_remedy: Vec<&'static str>,
}

impl Middleboxes {
    pub(super) fn new(decision: &Decision) -> Self {
        let mut middleboxes = Self::default();
        let is_off = decision.keepalive.value == Keepalive::Off;
        for preset in &PRESETS {
            let Some(timeout) = preset.timeout else { continue };
            let list = match (preset.remedy, decision.times().fate(timeout)) {
                (Remedy::Useless(_), _) => &mut middleboxes.no_remedy,
                (_, Fate::Kept) if !is_off => &mut middleboxes.kept,
                (_, Fate::AtRisk) if !is_off => &mut middleboxes.at_risk,
                _ => &mut middleboxes.forgotten,
            };
            list.push(preset.name);
        }
        middleboxes
    }
}

/// Programs that set keepalive on their own connections, and their values (measured).
const OPINIONATED: [(&str, &str); 6] = [
    ("curl", "idle=60 interval=60"),
    ("git-remote-http", "idle=60 interval=60"),
    ("git-remote-https", "idle=60 interval=60"),
    ("node", "idle=1 or 60, interval=1 count=10"),
    ("redis-cli", "idle=15 interval=5 count=3"),
    ("redis-server", "idle=300 interval=100 count=3"),
];

/// The shortest idle time without a warning, in seconds.
const EAGER: u32 = 10;

/// Returns all warnings, each in a sentence or two.
pub(super) fn warnings(decision: &Decision, middleboxes: &Middleboxes, program: Option<&[u8]>) -> Vec<String> {
    match decision.keepalive.value {
        Keepalive::Off => vec![String::from(
            "keepalive is off here: unless the program asks for it, an idle connection is never probed; a middlebox may \
             forget it, and a peer that has vanished is not noticed",
        )],
        Keepalive::Leave => {
            let mut warnings = vec![String::from(
                "whether there is keepalive is left to the program: the times count only if it switches it on",
            )];
            if decision.user_timeout.value != 0 {
                warnings.push(String::from(
                    "without keepalive a user timeout never ends an idle connection: it waits for data or a probe",
                ));
            }
            warnings.extend(about_times(decision, middleboxes, program));
            warnings
        }
        Keepalive::On => about_times(decision, middleboxes, program),
    }
}

fn about_times(decision: &Decision, middleboxes: &Middleboxes, program: Option<&[u8]>) -> Vec<String> {
    let mut warnings = about_user_timeout(decision);
    let times = decision.times();
    if times.user_timeout == 0 && times.count < 3 {
        let probes = if times.count == 1 {
            "one lost probe ends"
        } else {
            "two lost probes end"
        };
        warnings.push(format!("with a count of {} {probes} a live connection", times.count));
    }
    if !middleboxes.forgotten.is_empty() {
        warnings.push(format!(
            "the first probe comes after {}: {} of the known middleboxes have forgotten the connection by then; idle=60s \
             interval=15s is soon enough for all",
            spell(1000 * u64::from(times.idle)),
            middleboxes.forgotten.len(),
        ));
    }
    if !middleboxes.at_risk.is_empty() {
        warnings.push(format!(
            "one or two lost probes lose the connection behind {}: the third comes after {}",
            middleboxes.at_risk.join(", "),
            spell(1000 * times.third_probe()),
        ));
    }
    if times.idle < EAGER {
        warnings.push(format!(
            "an idle time of {} s makes much traffic and keeps radios awake; 60 s is soon enough for every known \
             middlebox",
            times.idle
        ));
    }
    let opinion = OPINIONATED
        .into_iter()
        .find(|(name, _)| program == Some(name.as_bytes()));
    if let (Some((name, sets)), Mode::Fill) = (opinion, decision.mode.value) {
        warnings.push(format!(
            "{name} sets keepalive itself ({sets}), which stays in mode fill; mode=cap, floor or enforce would change it"
        ));
    }
    warnings
}

fn about_user_timeout(decision: &Decision) -> Vec<String> {
    let times = decision.times();
    let mut warnings = Vec::new();
    if times.user_timeout == 0 {
        return warnings;
    }
    let timeout = spell(times.user_timeout.into());
    if times.is_too_short() {
        let lost = times.lost_probes();
        let probes = lost_probes(lost);
        let verb = if lost == 1 { "ends" } else { "end" };
        warnings.push(format!(
            "the user timeout of {timeout} is less than idle + 2 x interval = {}: {probes} {verb} a live connection",
            spell(1000 * times.third_probe()),
        ));
    }
    if times.dead_after() != times.natural_user_timeout() {
        warnings.push(format!(
            "the count of {} is ignored: with a user timeout the kernel does not count probes; user-timeout=auto ({}) \
             keeps the two alike",
            times.count,
            spell(1000 * times.natural_user_timeout()),
        ));
    }
    warnings.push(format!(
        "the user timeout also ends the connection to a live peer that stops reading for {timeout}"
    ));
    warnings
}

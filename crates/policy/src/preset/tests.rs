use super::*;
use crate::option::SocketOption;
use crate::settings::in_range;
use std::collections::BTreeSet;

/// Returns the presets for which keepalive helps.
fn helpful() -> impl Iterator<Item = (&'static Preset, Timings)> {
    PRESETS.iter().filter_map(|preset| match preset.remedy {
        Remedy::Settings(timings) => Some((preset, timings)),
        Remedy::Useless(_) => None,
    })
}

/// The presets whose idle time may exceed a third of the timeout, and the limit for each.
const EXCEPTIONS: [(&str, u32); 1] = [
    // A probe wakes the radio, and the timeout of most carriers is longer.
    ("mobile", 2),
];

#[track_caller]
fn assert_outlives(timings: Timings, timeout: u32, part: u32, name: &str) {
    let (idle, interval) = (u32::from(timings.idle), u32::from(timings.interval));
    assert!(idle * part <= timeout, "{name}: {timings:?} for {timeout} s");
    assert!(idle + 2 * interval < timeout, "{name}: {timings:?} for {timeout} s");
    assert!(timings.count >= 3, "{name}: the third probe is never sent");
}

#[test]
fn two_lost_probes_do_not_lose_the_connection() {
    for (preset, timings) in helpful() {
        if let Some(timeout) = preset.timeout {
            let exception = EXCEPTIONS.into_iter().find(|(name, _)| *name == preset.name);
            let part = exception.map_or(3, |(_, part)| part);
            assert_outlives(timings, timeout, part, preset.name);
        }
    }
}

#[test]
fn the_default_serves_everywhere() {
    let default = find(b"default").expect("there is a default").remedy;
    let Remedy::Settings(default) = default else {
        panic!("{default:?}")
    };
    for (preset, _) in helpful() {
        if let Some(timeout) = preset.timeout {
            assert_outlives(default, timeout, 3, preset.name);
        }
    }
}

#[test]
fn the_timings_are_within_the_kernels_limits() {
    for (preset, timings) in helpful() {
        assert!(
            in_range(SocketOption::Idle, timings.idle.into()).is_ok(),
            "{}",
            preset.name
        );
        assert!(
            in_range(SocketOption::Interval, timings.interval.into()).is_ok(),
            "{}",
            preset.name
        );
        assert!(
            in_range(SocketOption::Count, timings.count.into()).is_ok(),
            "{}",
            preset.name
        );
    }
}

#[test]
fn names_are_unique_and_easy_to_type() {
    let names: BTreeSet<_> = PRESETS.iter().map(|preset| preset.name).collect();
    assert_eq!(names.len(), PRESETS.len());
    for name in names {
        assert!((1..=16).contains(&name.len()), "{name}");
        assert!(
            name.bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')),
            "{name}"
        );
        assert!(name.starts_with(|first: char| first.is_ascii_lowercase()), "{name}");
    }
}

#[test]
fn every_preset_has_a_description_and_a_source() {
    for preset in &PRESETS {
        let why = match preset.remedy {
            Remedy::Settings(_) => "-",
            Remedy::Useless(why) => why,
        };
        for text in [preset.what, preset.source, why] {
            assert!(!text.is_empty() && text == text.trim(), "{}: {text:?}", preset.name);
            assert!(
                !text.contains(['\n', '\t']) && !text.contains("  "),
                "{}: {text:?}",
                preset.name
            );
            assert!(!text.ends_with('.'), "{}: {text:?}", preset.name);
        }
        assert!(is_date(preset.date), "{}: {}", preset.name, preset.date);
    }
}

#[test]
fn a_middlebox_that_closes_the_connection_is_refused() {
    for preset in &PRESETS {
        let useless = matches!(preset.remedy, Remedy::Useless(_));
        assert_eq!(preset.when_idle == WhenIdle::Close, useless, "{}", preset.name);
    }
}

#[test]
fn names_map_to_the_table() {
    for preset in &PRESETS {
        let expected = match preset.remedy {
            Remedy::Settings(timings) => Remedy::Settings(timings.settings()),
            Remedy::Useless(_) => Remedy::Useless(()),
        };
        assert_eq!(remedy(preset.name.as_bytes()), Some(expected), "{}", preset.name);
        assert_eq!(
            remedy(preset.name.to_uppercase().as_bytes()),
            Some(expected),
            "{}",
            preset.name
        );
        assert_eq!(find(preset.name.as_bytes()), Some(preset));
    }
    assert_eq!(
        remedy(b"aws-nlb"),
        Some(Remedy::Settings(Settings::timings(110, 30, 5)))
    );
}

#[test]
fn other_names_give_nothing() {
    for name in [
        "",
        "aws",
        "aws-",
        "aws-nlb2",
        " aws-nlb",
        "aws-nlb\0",
        "aws_nlb",
        &"gcp".repeat(99),
    ] {
        assert_eq!(remedy(name.as_bytes()), None, "{name:?}");
        assert_eq!(find(name.as_bytes()), None, "{name:?}");
    }
}

/// Whether `text` is `yyyy-mm` or `yyyy-mm-dd`.
fn is_date(text: &str) -> bool {
    let is_number = |text: &str, digits: usize, least: u32, most: u32| {
        let number = text.parse().ok().filter(|_| text.len() == digits);
        number.is_some_and(|number: u32| (least..=most).contains(&number))
    };
    let mut parts = text.split('-');
    parts.next().is_some_and(|year| is_number(year, 4, 2000, 2099))
        && parts.next().is_some_and(|month| is_number(month, 2, 1, 12))
        && parts.next().is_none_or(|day| is_number(day, 2, 1, 31))
        && parts.next().is_none()
}

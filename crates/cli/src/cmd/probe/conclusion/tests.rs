use super::super::search::Trial;
use super::*;

const MAX: f64 = 1200.0;

/// Returns the conclusion if one connection survived and another died.
fn concluded(lived: f64, died: f64, outcome: Outcome) -> Conclusion {
    let mut search = Search::new(MAX, 0.05, 12);
    search.record(&[
        Trial {
            idle: lived,
            outcome: Outcome::Lived,
        },
        Trial { idle: died, outcome },
    ]);
    Conclusion::new(&search)
}

#[track_caller]
fn assert_presets(lived: f64, died: f64, outcome: Outcome, present: &[&str], absent: &[&str]) {
    let presets = concluded(lived, died, outcome).presets;
    for name in present {
        assert!(presets.contains(name), "{name}: {presets:?}");
    }
    for name in absent {
        assert!(!presets.contains(name), "{name}: {presets:?}");
    }
}

#[test]
fn presets_have_the_timeout_and_the_manner() {
    use Outcome::{Closed, Reset, ResetUnasked, Silence};
    let (resetting, silent) = (["aws-nlb", "aws-nat"], ["aws-gwlb", "aws-ec2", "aws-nfw"]);
    assert_presets(342.0, 355.0, Reset, &resetting, &silent);
    assert_presets(342.0, 355.0, ResetUnasked, &resetting, &silent);
    assert_presets(342.0, 355.0, Silence, &silent, &resetting);
    assert_presets(235.0, 245.0, Silence, &["azure", "home"], &["aws-ec2", "gcp"]);
    assert_presets(235.0, 245.0, Reset, &["azure", "home"], &["aws-nlb"]);
    assert_presets(590.0, 610.0, Silence, &["gcp"], &["azure", "ipvs"]);
    assert_presets(590.0, 610.0, Reset, &[], &["gcp"]);
    assert_presets(890.0, 910.0, Reset, &["ipvs", "swarm"], &["gcp"]);
    assert_presets(58.0, 60.0, Closed, &["aws-elb", "aws-alb"], &["aws-nlb"]);
    assert_eq!(concluded(118.0, 121.0, Silence).presets, [""; 0]);
}

#[test]
fn a_timeout_just_outside_the_bounds_still_fits() {
    assert_presets(351.0, 365.0, Outcome::Reset, &["aws-nlb"], &[]);
    assert_presets(330.0, 349.0, Outcome::Reset, &["aws-nlb"], &[]);
    assert_presets(380.0, 400.0, Outcome::Reset, &[], &["aws-nlb"]);
    assert_presets(300.0, 315.0, Outcome::Reset, &[], &["aws-nlb"]);
}

#[test]
fn only_presets_that_help_can_be_used() {
    assert!(is_usable("aws-nlb") && is_usable("azure"));
    assert!(!is_usable("aws-elb") && !is_usable("no-such-preset"));
}

#[test]
fn two_probes_may_be_lost_before_the_timeout() {
    for lived in [4.0, 6.9, 19.9, 58.0, 119.0, 235.0, 350.0, 899.0, 3599.0, 32_400.0] {
        for outcome in [Outcome::Silence, Outcome::Reset, Outcome::ResetUnasked] {
            let timings = concluded(lived, lived * 1.04, outcome).timings;
            let (idle, interval, count) = timings.expect("keepalive may help");
            assert!(f64::from(idle * 3) <= lived, "{lived}: {idle}");
            assert!(f64::from(idle + 2 * interval) < lived, "{lived}: {idle} {interval}");
            assert!(idle >= 1 && interval >= 1 && count >= 3, "{lived}: {timings:?}");
        }
    }
}

#[test]
fn the_shortest_timeouts_get_the_kernels_shortest_times() {
    let mut search = Search::new(MAX, 0.05, 12);
    search.record(&[Trial {
        idle: 1.0,
        outcome: Outcome::Silence,
    }]);
    let conclusion = Conclusion::new(&search);
    assert_eq!((conclusion.lived, conclusion.died), (None, Some(1.0)));
    assert_eq!(conclusion.timings, Some((1, 1, 5)));
}

/// Returns what became of a connection with a probe each second.
fn probed(ended_at: Option<f64>, lived_for: f64) -> Probed {
    Probed { ended_at, lived_for }
}

#[test]
fn a_server_that_counts_age_says_nothing_about_keepalive() {
    let mut conclusion = concluded(58.0, 60.0, Outcome::Closed);
    conclusion.compare(probed(Some(60.2), 60.1));
    assert_eq!((conclusion.timings, conclusion.to_verify()), (None, None));
    assert_eq!((conclusion.helps(), conclusion.probed_died), (None, Some(60.2)));
    // The measurement was interrupted before the other connection could have been closed.
    let mut conclusion = concluded(58.0, 60.0, Outcome::Closed);
    conclusion.compare(probed(None, 59.0));
    assert_eq!((conclusion.timings, conclusion.helps()), (None, None));
}

#[test]
fn settings_against_one_that_closes_idle_connections_alone_are_checked() {
    let mut conclusion = concluded(58.0, 60.0, Outcome::Closed);
    conclusion.compare(probed(None, 140.0));
    assert_eq!(conclusion.to_verify(), Some((19, 4, 5)));
    conclusion.check(false);
    assert_eq!((conclusion.timings, conclusion.helps()), (None, Some(false)));
}

#[test]
fn without_a_timeout_nothing_is_suggested() {
    let mut search = Search::new(MAX, 0.05, 12);
    assert_eq!(Conclusion::new(&search).timings, None);
    for idle in [300.0, MAX] {
        search.record(&[Trial {
            idle,
            outcome: Outcome::Lived,
        }]);
        let conclusion = Conclusion::new(&search);
        assert_eq!((conclusion.timings, conclusion.to_verify()), (None, None));
        assert!(conclusion.presets.is_empty() && conclusion.helps().is_none());
    }
}

#[test]
fn settings_that_keep_no_connection_are_not_suggested() {
    let mut conclusion = concluded(342.0, 355.0, Outcome::Reset);
    let timings = conclusion.timings;
    conclusion.check(true);
    assert_eq!((conclusion.verified, conclusion.timings), (Some(true), timings));
    conclusion.check(false);
    assert_eq!((conclusion.verified, conclusion.timings), (Some(false), None));
}

#[test]
fn the_proof_outlives_the_timeout() {
    for died in [1.0, 3.0, 60.0, 350.0, 32_400.0] {
        assert!(proof(died) > died + 1.0, "{died}");
    }
}

#[test]
fn where_a_connection_with_probes_is_reset_too_no_middlebox_is_named() {
    let mut conclusion = concluded(235.0, 240.0, Outcome::ResetUnasked);
    assert!(!conclusion.presets.is_empty() && conclusion.timings.is_some());
    // Another timeout, of whatever.
    conclusion.compare(probed(Some(3600.0), 3600.0));
    assert!(conclusion.probed_died.is_none() && conclusion.verified.is_none());
    conclusion.compare(probed(Some(240.1), 240.0));
    assert!(conclusion.probed_died.is_some() && conclusion.presets.is_empty());
    assert_eq!(
        (conclusion.verified, conclusion.timings, conclusion.to_verify()),
        (Some(false), None, None)
    );
    let mut conclusion = concluded(235.0, 240.0, Outcome::Silence);
    conclusion.compare(probed(Some(240.1), 240.0));
    assert!(conclusion.probed_died.is_none(), "that is no reset");
}

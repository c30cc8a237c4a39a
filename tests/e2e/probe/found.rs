//! Timeouts of real connection tracking are found, as exactly as was asked for.

use super::{Lab, NEVER, assert_bounds, assert_suggestions_are_accepted, measured, seconds, told, words};
use serde_json::{Value, json};
use std::process::Output;

/// In a laboratory that forgets after `timeout` seconds.
fn probe(timeout: u32, on_forget: &str, address: &str, options: &[&str]) -> Output {
    let timeout = timeout.to_string();
    let lab = Lab {
        timeout: &timeout,
        on_forget,
        address,
        ..Lab::default()
    };
    lab.probe(&[&["--json"], options].concat())
}

/// Asserts what is known of a path that forgets, and what is suggested.
#[track_caller]
fn assert_is_found(object: &Value, timeout: f64, on_forget: &str, precision: f64) {
    assert_bounds(object, timeout, precision);
    let (how, by) = if on_forget == "silent" {
        ("silence", "path")
    } else {
        ("reset", "unknown")
    };
    assert_eq!((&object["how"], &object["by"]), (&json!(how), &json!(by)), "{object:#}");
    assert_eq!(
        (&object["helps"], &object["interrupted"]),
        (&json!(true), &json!(false)),
        "{object:#}"
    );
    let (idle, interval) = (seconds(object, "idle_s"), seconds(object, "interval_s"));
    // A third of less than three seconds is less than the kernel knows.
    assert!(
        idle <= (timeout / 3.0).max(1.0) && idle + 2.0 * interval < timeout + 0.5,
        "{object:#}"
    );
}

macro_rules! timeouts_are_found_and_cured {
    ($($name:ident: $timeout:literal $on_forget:literal $address:literal $options:expr;)*) => {$(
        #[test]
        fn $name() {
            python!();
            let output = output_or_skip!(probe($timeout, $on_forget, $address, &$options));
            let object = measured(&output);
            assert_is_found(&object, f64::from($timeout), $on_forget, 0.05);
            assert_eq!(object["verified"], true, "{object:#}");
            assert_eq!(object["irregular"], 0, "{object:#}");
            let target = concat!($address, ":7000");
            assert_eq!((&object["target"], &object["address"]), (&json!(target), &json!(target)));
        }
    )*};
}

timeouts_are_found_and_cured! {
    three_seconds_of_a_nat_that_drops_ipv4: 3 "silent" "10.0.2.2" ["--max", "10"];
    three_seconds_of_a_nat_that_drops_ipv6: 3 "silent" "[fd00:2::2]" ["--max", "10"];
    three_seconds_of_a_nat_that_resets_ipv4: 3 "reset" "10.0.2.2" ["--max", "10"];
    three_seconds_of_a_nat_that_resets_ipv6: 3 "reset" "[fd00:2::2]" ["--max", "10"];
    seven_seconds_of_a_nat_that_resets_ipv4: 7 "reset" "10.0.2.2" ["--max", "12"];
    seven_seconds_of_a_nat_that_drops_ipv6: 7 "silent" "[fd00:2::2]" ["--max", "12"];
    // So many that one round is enough.
    a_third_of_a_minute_of_a_nat_that_drops_ipv4: 20 "silent" "10.0.2.2" ["--max", "24", "--parallel", "48"];
    a_third_of_a_minute_of_a_nat_that_resets_ipv6: 20 "reset" "[fd00:2::2]" ["--max", "24", "--parallel", "48"];
}

/// A policy that reaches this command would keep the tested connections alive.
#[test]
fn policies_for_all_programs_do_not_change_the_measurement() {
    python!();
    let library = format!("LD_PRELOAD={}", crate::support::library().display());
    let wrapper = ["env", &library, "KEEPIDLE=1", "KEEPINTVL=1", "KEEPCNT=5"];
    let lab = Lab {
        timeout: "3",
        ..Lab::default()
    };
    let output = output_or_skip!(lab.probe_under(&wrapper, &["--json", "--max", "10"]));
    assert_is_found(&measured(&output), 3.0, "silent", 0.05);
    let keepalive = crate::support::keepalive();
    let keepalive = keepalive.to_str().expect("a UTF-8 path");
    let wrapper = [
        keepalive,
        "run",
        "--engine",
        "seccomp",
        "--mode",
        "enforce",
        "--idle",
        "1",
        "--interval",
        "1",
        "--count",
        "5",
    ];
    let output = lab.probe_under(&wrapper, &["--json", "--max", "10"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = "keepalive: cannot leave a connection to '10.0.2.2:7000' idle: a policy of keepalive keeps it alive\n";
    assert!(
        crate::support::process::text(&output.stderr).contains(error),
        "{output:?}"
    );
}

#[test]
fn timeout_of_a_minute_is_found_to_the_requested_precision() {
    python!();
    let options = ["--max", "70", "--parallel", "24", "--precision", "10%", "--no-verify"];
    let output = output_or_skip!(probe(60, "silent", "10.0.2.2", &options));
    let object = measured(&output);
    assert_is_found(&object, 60.0, "silent", 0.1);
    assert_eq!(object["verified"], Value::Null);
}

#[test]
fn a_path_that_forgets_nothing_has_no_timeout() {
    python!();
    let lab = Lab {
        timeout: NEVER,
        ..Lab::default()
    };
    let object = measured(&output_or_skip!(lab.probe(&["--json", "--max", "12"])));
    assert!(seconds(&object, "lived_s") >= 12.0, "{object:#}");
    for name in ["died_s", "how", "by", "helps", "verified"] {
        assert_eq!(object[name], Value::Null, "{name}: {object:#}");
    }
    assert_eq!(object["presets"], json!([]));

    let text = told(&lab.probe(&["--max", "12"]));
    assert!(text.starts_with("No timeout up to 12 s: "), "{text}");
    let longer = "To try longer times: keepalive probe --max 20m 10.0.2.2:7000";
    assert!(
        words(&text).contains(longer) && !text.contains("keepalive run"),
        "{text}"
    );
    for name in ["idle_s", "interval_s", "count"] {
        assert_eq!(object[name], Value::Null, "{name}: {object:#}");
    }
}

#[test]
fn advice_for_a_path_with_a_timeout_works() {
    python!();
    for (address, connect) in [
        ("10.0.2.2", "connect 10.0.2.2:7000 "),
        ("[fd00:2::2]", "connect [fd00:2::2]:7000 "),
    ] {
        let lab = Lab {
            timeout: "3",
            on_forget: "reset",
            address,
            ..Lab::default()
        };
        let text = told(&output_or_skip!(lab.probe(&["--max", "10"])));
        let said = words(&text);
        for sentence in [
            "An idle connection is known after ",
            ": answered with a RST.",
            "Checked: a connection with the settings below outlived the timeout.",
            connect,
        ] {
            assert!(said.contains(sentence), "{text}");
        }
        assert_suggestions_are_accepted(&text);
    }
}

//! Servers that end idle connections themselves, go away, or let only a few in.

use super::{Lab, assert_bounds, measured, object, seconds, stderr, stdout, told, words};
use serde_json::{Value, json};
use std::process::Output;

/// Asserts that the measurement has failed with this message, and that no timeout is claimed.
#[track_caller]
fn assert_failed(output: &Output, message: &str) -> Value {
    let errors = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{}{errors}", stdout(output));
    assert!(errors.contains(message), "{errors}");
    let object = object(output);
    for name in ["died_s", "how", "by", "helps", "idle_s", "verified"] {
        assert_eq!(object[name], Value::Null, "{name}: {object:#}");
    }
    object
}

/// Asserts that the server has ended a connection with probes at the same age, and that nothing more is claimed.
#[track_caller]
fn assert_own_timer(object: &Value, timeout: f64, how: &str) {
    let (lived, died) = (seconds(object, "lived_s"), seconds(object, "died_s"));
    assert!(
        lived < timeout + 0.3 && (timeout - 0.3..timeout + 1.5).contains(&died),
        "{object:#}"
    );
    let probed = seconds(object, "probed_died_s");
    assert!((timeout - 0.3..timeout + 1.5).contains(&probed), "{object:#}");
    assert_eq!(object["how"], how, "{object:#}");
    for name in ["helps", "idle_s", "interval_s", "count"] {
        assert_eq!(object[name], Value::Null, "{name}: {object:#}");
    }
}

/// Asserts the same of the text.
#[track_caller]
fn assert_claims_nothing(text: &str) {
    let said = words(text);
    for sentence in [
        "A connection with a keepalive probe each second was ",
        "This says nothing about the path, nor about connections that are in use.",
        "To measure on one: keepalive probe --pid PID",
    ] {
        assert!(said.contains(sentence), "{text}");
    }
    for claim in ["cannot help", "does not help", "keepalive run", "forgets"] {
        assert!(!said.contains(claim), "{text}");
    }
}

#[test]
fn server_that_closes_by_age_gives_no_conclusion() {
    python!();
    let lab = Lab {
        server: "close 5",
        ..Lab::default()
    };
    let object = measured(&output_or_skip!(lab.probe(&["--json", "--max", "12"])));
    assert_own_timer(&object, 5.0, "closed");
    assert_eq!((&object["by"], &object["verified"]), (&json!("server"), &Value::Null));

    let text = told(&lab.probe(&["--max", "12"]));
    let first = "A connection on which nothing is sent is closed by the server after ";
    assert!(text.starts_with(first), "{text}");
    assert_claims_nothing(&text);
}

#[test]
fn server_that_resets_by_age_gives_no_conclusion() {
    python!();
    let lab = Lab {
        server: "reset 4",
        ..Lab::default()
    };
    let object = measured(&output_or_skip!(lab.probe(&["--json", "--max", "12", "--no-verify"])));
    assert_own_timer(&object, 4.0, "reset-unasked");
    assert_eq!((&object["by"], &object["verified"]), (&json!("unknown"), &json!(false)));

    let text = told(&lab.probe(&["--max", "12"]));
    let first = "A connection on which nothing is sent is reset after ";
    assert!(text.starts_with(first), "{text}");
    assert_claims_nothing(&text);
}

#[test]
fn keepalive_helps_against_middleboxes_that_count_packets() {
    python!();
    let lab = Lab {
        server: "quiet 5",
        ..Lab::default()
    };
    let text = told(&output_or_skip!(lab.probe(&["--max", "12"])));
    for sentence in [
        "A connection with a keepalive probe each second was not closed",
        "Checked: a connection with the settings below outlived the timeout.",
        "keepalive run --idle 1 --interval 1 --count 5 -- COMMAND",
    ] {
        assert!(words(&text).contains(sentence), "{text}");
    }
}

#[test]
fn unreachable_server_is_not_reported_as_a_timeout() {
    python!();
    let lab = Lab {
        before: "(sleep 6; ip -n router link set server down) &",
        ..Lab::default()
    };
    let output = output_or_skip!(lab.probe(&["--json", "--max", "20"]));
    let object = assert_failed(&output, "keepalive: '10.0.2.2:7000' does not answer any more");
    assert!(stderr(&output).contains("\nhint: "));
    assert_eq!(object["interrupted"], false);
    // What was asked before was answered.
    assert!((2.0..7.0).contains(&seconds(&object, "lived_s")), "{object:#}");

    let output = lab.probe(&["--max", "20"]);
    let text = stdout(&output);
    assert!(!text.contains("forgotten") && !text.contains("keepalive run"), "{text}");
}

#[test]
fn server_that_ends_is_not_reported_as_a_timeout() {
    python!();
    for server in ["end 6", "leave 6"] {
        let lab = Lab {
            server,
            ..Lab::default()
        };
        let output = output_or_skip!(lab.probe(&["--json", "--max", "20"]));
        assert_failed(&output, "'10.0.2.2:7000' ");
    }
}

/// Nobody listens any more, or all above a number are turned away at once, as servers of databases do.
#[test]
fn full_server_is_distinguished_from_an_unreachable_one() {
    python!();
    for server in ["refuse 5", "limit 5"] {
        let lab = Lab {
            server,
            ..Lab::default()
        };
        let output = output_or_skip!(lab.probe(&["--json", "--max", "20"]));
        assert_failed(&output, "keepalive: '10.0.2.2:7000' takes no more connections");
        assert!(stderr(&output).contains("hint: try --parallel with a smaller number"));
    }
}

/// It says something itself, or keeps its connections alive.
#[test]
fn server_that_closes_idle_connections_is_reported() {
    python!();
    let patient = ["timeout", "--preserve-status", "--signal=INT", "60"];
    for server in ["talk 2", "probe 2"] {
        let lab = Lab {
            server,
            ..Lab::default()
        };
        let output = output_or_skip!(lab.probe_under(&patient, &["--json", "--max", "12"]));
        assert_eq!(object(&output)["interrupted"], false, "{server}: {}", stderr(&output));
        assert_failed(&output, "keepalive: '10.0.2.2:7000' ");
        let says_why = stderr(&output)
            .lines()
            .any(|line| line.starts_with("keepalive: '") && line.contains("idle"));
        assert!(says_why, "{}", stderr(&output));
    }
}

#[test]
fn greeting_of_a_server_does_not_count_as_idle() {
    python!();
    let lab = Lab {
        timeout: "3",
        on_forget: "reset",
        server: "greet 0.5",
        ..Lab::default()
    };
    let object = measured(&output_or_skip!(lab.probe(&["--json", "--max", "10"])));
    assert_bounds(&object, 3.0, 0.05);
    assert_eq!((&object["how"], &object["verified"]), (&json!("reset"), &json!(true)));
}

#[test]
fn interruption_prints_the_results_so_far() {
    python!();
    let interrupted = ["timeout", "--preserve-status", "--signal=INT", "10"];
    let output = output_or_skip!(Lab::default().probe_under(&interrupted, &["--json", "--max", "60"]));
    let object = assert_failed(&output, "keepalive: interrupted: ");
    assert_eq!(object["interrupted"], true);
    // Connections are asked after 1, 1.7, 3.8, 6.7 and 10.4 s.
    assert!((3.0..10.3).contains(&seconds(&object, "lived_s")), "{object:#}");
}

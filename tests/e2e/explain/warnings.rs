//! Warnings about harmful or ineffective settings.

use super::*;

#[test]
fn harmful_or_ineffective_settings_cause_warnings() {
    let wise = ["--idle=60", "--interval=15", "--count=5"];
    let warnings = |arguments: &[&str]| -> Vec<String> {
        serde_json::from_value(object(arguments)["warnings"].clone()).expect("texts")
    };
    assert_eq!(warnings(&wise), Vec::<String>::new());
    for (arguments, expected) in [
        (
            &["--idle=60", "--interval=15", "--count=2"][..],
            &["with a count of 2 two lost probes end a live connection"][..],
        ),
        (
            &["--idle=60", "--interval=15", "--count=1"],
            &["with a count of 1 one lost probe ends a live connection"],
        ),
        (
            &["--idle=60", "--interval=15", "--count=5", "--user-timeout=auto"],
            &["the user timeout also ends the connection to a live peer that stops reading for 2 min 15 s"],
        ),
        (
            &["--idle=60", "--interval=15", "--count=5", "--user-timeout=89900ms"],
            &[
                "the user timeout of 1 min 29.9 s is less than idle + 2 x interval = 1 min 30 s: two lost probes end a \
                 live connection",
                "the count of 5 is ignored: with a user timeout the kernel does not count probes; user-timeout=auto (2 \
                 min 15 s) keeps the two alike",
                "the user timeout also ends the connection to a live peer that stops reading for 1 min 29.9 s",
            ],
        ),
        (
            &["--idle=9", "--interval=15", "--count=5"],
            &[
                "an idle time of 9 s makes much traffic and keeps radios awake; 60 s is soon enough for every known \
                 middlebox",
            ],
        ),
        (
            &["--idle=5m", "--interval=30", "--count=5"],
            &[
                "the first probe comes after 5 min: 4 of the known middleboxes have forgotten the connection by then; \
                 idle=60s interval=15s is soon enough for all",
                "one or two lost probes lose the connection behind aws-nat, aws-nlb, aws-gwlb, aws-ec2, aws-nfw, \
                 oci-nlb: the third comes after 6 min",
            ],
        ),
        (
            &["--idle=60", "--interval=15", "--count=5", "--program=curl"],
            &[
                "curl sets keepalive itself (idle=60 interval=60), which stays in mode fill; mode=cap, floor or enforce \
                 would change it",
            ],
        ),
        (
            &[
                "--idle=60",
                "--interval=15",
                "--count=5",
                "--program=curl",
                "--mode=cap",
            ],
            &[],
        ),
        (
            &["--rule", "program a off", "--program", "a"],
            &[
                "keepalive is off here: unless the program asks for it, an idle connection is never probed; a middlebox \
                 may forget it, and a peer that has vanished is not noticed",
            ],
        ),
        (
            &[
                "--rule",
                "program a keepalive=leave preset=azure user-timeout=auto",
                "--program",
                "a",
            ],
            &[
                "whether there is keepalive is left to the program: the times count only if it switches it on",
                "without keepalive a user timeout never ends an idle connection: it waits for data or a probe",
                "the user timeout also ends the connection to a live peer that stops reading for 3 min",
            ],
        ),
    ] {
        assert_eq!(warnings(arguments), expected, "{arguments:?}");
    }
}

//! A path that loses packets: no lost packet is a timeout.

use super::{Lab, assert_bounds, measured, seconds};
use crate::support::find_program;
use serde_json::Value;

/// Of all packets that the router forwards, both ways, it loses every eighth. By turns, and not by chance: five in a row
/// on the same connection, which nobody could tell from a timeout, never get lost.
const LOSS: &str = r#"
    ip netns exec router nft "add table inet loss
        add chain inet loss some { type filter hook forward priority -300; }
        add rule inet loss some numgen inc mod 8 == 0 drop" || exit 1
"#;

macro_rules! nft {
    () => {
        if find_program("nft").is_none() {
            skip!("nft is not installed");
        }
    };
}

#[test]
fn a_timeout_is_found_though_packets_get_lost() {
    python!();
    nft!();
    let lab = Lab {
        timeout: "7",
        before: LOSS,
        ..Lab::default()
    };
    let object = measured(&output_or_skip!(lab.probe(&["--json", "--max", "12"])));
    assert_bounds(&object, 7.0, 0.05);
    assert_eq!((&object["how"], &object["by"]), (&"silence".into(), &"path".into()));
    assert_eq!(object["verified"], true, "{object:#}");
}

#[test]
fn lost_packets_are_no_timeout() {
    python!();
    nft!();
    let lab = Lab {
        before: LOSS,
        ..Lab::default()
    };
    let object = measured(&output_or_skip!(lab.probe(&["--json", "--max", "12"])));
    assert!(seconds(&object, "lived_s") >= 12.0, "{object:#}");
    assert_eq!(object["died_s"], Value::Null, "{object:#}");
    assert_eq!(object["how"], Value::Null, "{object:#}");
}

/// Of the packets that the prober's own machine sends and receives, it loses three in ten, by chance.
const OWN_LOSS: &str = r#"
    ip netns exec client nft "add table inet loss
        add chain inet loss sent { type filter hook output priority 0; }
        add chain inet loss received { type filter hook input priority 0; }
        add rule inet loss sent numgen random mod 10 < 3 drop
        add rule inet loss received numgen random mod 10 < 3 drop" || exit 1
"#;

#[test]
fn packets_lost_at_the_probers_own_machine_are_no_timeout() {
    python!();
    nft!();
    let lab = Lab {
        before: OWN_LOSS,
        ..Lab::default()
    };
    let object = measured(&output_or_skip!(lab.probe(&["--json", "--max", "12"])));
    assert!(seconds(&object, "lived_s") >= 12.0, "{object:#}");
    assert_eq!(object["died_s"], Value::Null, "{object:#}");
    assert_eq!(object["how"], Value::Null, "{object:#}");
}

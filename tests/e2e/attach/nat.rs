//! Through a real NAT that drops idle connections (scripts/lab): a connection that was open before attach survives.

use crate::support::process::{LIMIT, output_within};
use crate::support::{bracketed, echo_server, keepalive, repository};
use std::process::{Command, Output};
use std::thread;

/// A client that connects, runs the command in `$3` and the rest on itself, is idle for longer than the NAT keeps the
/// connection, then sends. It prints whether the connection survived.
const IDLE_THEN_SPEAK: &str = r#"
    exec 4< <(ip netns exec server "$1" "$2:7000" 2>&1)
    IFS= read -r -t 10 line <&4 && [[ $line == listening* ]] || { echo "the server printed: $line"; exit 1; }
    exec ip netns exec client bash -c '
        exec 3<>"/dev/tcp/$1/7000"
        ask() { echo "$1" >&3 && IFS= read -r -t "$2" answer <&3 && [[ $answer == "$1" ]]; }
        ask hello 5 || exit 1
        if (($# > 1)); then "${@:2}" $$ >&2 || exit 1; fi
        sleep 4
        if ask again 2; then echo KEPT; else echo LOST; fi
    ' client "${@:3}"
"#;

/// Runs the client in a laboratory whose NAT drops connections that are idle for 2 s.
fn client(on_forget: &str, server: &str, is_attached: bool) -> Output {
    let mut command = Command::new(repository().join("scripts/lab"));
    command.args([
        "--timeout",
        "2",
        "--on-forget",
        on_forget,
        "--",
        "bash",
        "-c",
        IDLE_THEN_SPEAK,
        "stage",
    ]);
    command.arg(echo_server()).args([&bracketed(server), server]);
    if is_attached {
        command
            .arg(keepalive())
            .args(["attach", "--idle", "1", "--interval", "1"]);
    }
    output_within(LIMIT, &mut command)
}

#[track_caller]
fn stdout(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

macro_rules! open_connection_survives_once_attached {
    ($($name:ident: $on_forget:literal $server:literal;)*) => {$(
        #[test]
        fn $name() {
            let alone = thread::spawn(|| client($on_forget, $server, false));
            let attached = output_or_skip!(client($on_forget, $server, true));
            let alone = stdout(&alone.join().expect("it does not panic"));
            assert_eq!(alone, "LOST", "without keepalive the NAT must have forgotten the connection");
            assert_eq!(stdout(&attached), "KEPT");
        }
    )*};
}

open_connection_survives_once_attached! {
    an_open_ipv4_connection_survives_a_nat_that_drops: "silent" "10.0.2.2";
    an_open_ipv6_connection_survives_a_nat_that_drops: "silent" "fd00:2::2";
    an_open_ipv4_connection_survives_a_nat_that_resets: "reset" "10.0.2.2";
    an_open_ipv6_connection_survives_a_nat_that_resets: "reset" "fd00:2::2";
}

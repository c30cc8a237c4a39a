//! Through a real NAT that drops idle connections (scripts/lab): the main purpose of keepalive, over IPv4 and IPv6.

use crate::support::engine::Engine;
use crate::support::{bracketed, echo_server, keepalive, library, repository};
use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Output};

/// The script of the laboratory: the server, then `$1` (the client's command line) in the client.
const SERVER_AND_CLIENT: &str = r#"
    exec 4< <(exec ip netns exec server "$2" "$3:7000" 2>&1)
    IFS= read -r -t 10 line <&4 && [[ $line == listening* ]] || { echo "the server says: $line"; exit 1; }
    "${@:4}"
"#;

/// A client that is idle and then sends. It prints whether its connection survived.
const IDLE_THEN_SPEAK: &str = r#"
    exec 3<>"/dev/tcp/$1/7000"
    ask() { echo "$1" >&3 && IFS= read -r -t "$2" answer <&3 && [[ $answer == "$1" ]]; }
    ask hello 5 || exit 1
    sleep 4
    if ask again 2; then echo KEPT; else echo LOST; fi
"#;

/// A client that waits for the server, which vanishes as soon as it has answered once. It prints the seconds until the
/// kernel ended the wait.
const WAIT_FOR_NEWS: &str = r#"
    exec 3<>"/dev/tcp/$1/7000"
    echo hello >&3 && IFS= read -r -t 5 answer <&3 || exit 1
    nsenter --net=/run/netns/router ip route add blackhole "$1"
    started=${EPOCHREALTIME/./}
    IFS= read -r -t 15 news <&3
    echo "$((${EPOCHREALTIME/./} - started)) microseconds"
"#;

/// Runs `script` in bash, in the client of a laboratory whose NAT drops connections that are idle for 2 s; with
/// keepalive and these options, or without it.
fn client(on_forget: &str, server: &str, options: Option<&[&str]>, script: &str) -> Output {
    let mut command = Command::new(repository().join("scripts/lab"));
    command.args([
        "--timeout",
        "2",
        "--on-forget",
        on_forget,
        "--",
        "bash",
        "-c",
        SERVER_AND_CLIENT,
        "stage",
        "x",
    ]);
    command.arg(echo_server()).arg(bracketed(server));
    let keepalive = keepalive();
    let run: Vec<&OsStr> = options.map_or_else(Vec::new, |options| {
        let words = [keepalive.as_os_str(), OsStr::new("run")].into_iter();
        words.chain(options.iter().map(OsStr::new)).collect()
    });
    let client = ["ip", "netns", "exec", "client"];
    // ip(8) mounts another /sys, without cgroups.
    if run.contains(&OsStr::new("--engine=cgroup")) {
        command.args(run).args(client);
    } else {
        command.args(client).args(run);
    }
    command.env("KEEPALIVE_LIBRARY", library());
    command.args(["bash", "-c", script, "client", server]);
    command.output().expect("scripts/lab starts")
}

fn stdout(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

const TIMINGS: &[&str] = &["--idle", "1", "--interval", "1", "--count", "3", "--"];
const BY_THE_KERNEL: &[&str] = &[
    "--engine=cgroup",
    "--idle",
    "1",
    "--interval",
    "1",
    "--count",
    "3",
    "--",
];

macro_rules! idle_connection_survives_with_keepalive_only {
    ($($name:ident: $on_forget:literal $server:literal;)*) => {$(
        #[test]
        fn $name() {
            let alone = output_or_skip!(client($on_forget, $server, None, IDLE_THEN_SPEAK));
            assert_eq!(stdout(&alone), "LOST", "without keepalive the NAT must have forgotten the connection");
            assert_eq!(stdout(&client($on_forget, $server, Some(TIMINGS), IDLE_THEN_SPEAK)), "KEPT");
        }
    )*};
}

idle_connection_survives_with_keepalive_only! {
    idle_ipv4_connection_survives_a_nat_that_drops: "silent" "10.0.2.2";
    idle_ipv6_connection_survives_a_nat_that_drops: "silent" "fd00:2::2";
    idle_ipv4_connection_survives_a_nat_that_resets: "reset" "10.0.2.2";
    idle_ipv6_connection_survives_a_nat_that_resets: "reset" "fd00:2::2";
}

/// idle + interval × count = 4 s; the kernel's timers add a little (8.1 s were measured for 8 s).
fn detected_in_time(server: &str, options: &[&str]) -> Option<Output> {
    let output = client("silent", server, Some(options), WAIT_FOR_NEWS);
    if output.status.code() == Some(77) {
        return Some(output);
    }
    let text = stdout(&output);
    let microseconds: u64 = text
        .trim_end_matches(" microseconds")
        .parse()
        .unwrap_or_else(|_| panic!("{text}"));
    assert!((3_800_000..6_000_000).contains(&microseconds), "{text}");
    None
}

#[test]
fn dead_ipv4_peer_is_detected() {
    if let Some(impossible) = detected_in_time("10.0.2.2", TIMINGS) {
        output_or_skip!(impossible);
    }
}

#[test]
fn dead_ipv6_peer_is_detected() {
    if let Some(impossible) = detected_in_time("fd00:2::2", TIMINGS) {
        output_or_skip!(impossible);
    }
}

#[test]
fn idle_connection_survives_with_ebpf() {
    if let Some(why) = Engine::Kernel.missing() {
        skip!("{why}");
    }
    let output = output_or_skip!(client("silent", "fd00:2::2", Some(BY_THE_KERNEL), IDLE_THEN_SPEAK));
    assert_eq!(stdout(&output), "KEPT");
}

#[test]
fn dead_peer_is_detected_with_ebpf() {
    if let Some(why) = Engine::Kernel.missing() {
        skip!("{why}");
    }
    if let Some(impossible) = detected_in_time("10.0.2.2", BY_THE_KERNEL) {
        output_or_skip!(impossible);
    }
}

#[test]
fn picture_of_the_demo_shows_a_lost_and_a_kept_connection() {
    python!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let picture = directory.path().join("picture.svg");
    let mut command = Command::new(repository().join("scripts/picture"));
    command.arg(&picture).env("KEEPALIVE_LIBRARY", library());
    let output = output_or_skip!(command.output().expect("scripts/picture starts"));
    let demo = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{demo}");
    for result in ["LOST", "KEPT", "NOTICED", "HANGS"] {
        assert!(demo.contains(result), "{result}: {demo}");
    }
    let picture = fs::read_to_string(&picture).expect("the picture");
    let (without, with_keepalive) = picture.split_once(">with keepalive<").expect("two connections");
    assert!(without.contains("drops the request"), "{without}");
    assert!(!with_keepalive.contains("drops the request"), "{with_keepalive}");
    assert!(with_keepalive.matches("probe, answer").count() >= 3, "{with_keepalive}");
}

//! `keepalive probe --pid`: the connection of a program, measured without a change of its options.

use super::{LIMIT, Lab, object as parsed, script, words};
use crate::support::process::output_within;
use crate::support::{PYTHON, keepalive};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

/// A program that has as many connections as its second argument says, and closes them if its peer does.
const CLIENT: &str = r#"
import os, socket, sys, time
host, count, options = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
held = [socket.create_connection((host, 7000)) for _ in range(count)]
for one in held:
    if "idle" in options:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if "reuse" in options:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if "leave" in options:
    time.sleep(4)
    held[0].close()
    time.sleep(60)
if "replace" in options:
    time.sleep(4)
    other = socket.create_connection((host, 7000))
    os.dup2(other.fileno(), held[0].fileno())
    time.sleep(60)
try:
    held[0].recv(1)
    time.sleep(2)
except OSError:
    held[0].close()
    time.sleep(60)
"#;

/// Starts PostgreSQL in the server's network; it ends connections that do not log in after a second.
const POSTGRESQL: &str = r#"
    PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
    mkdir -m 777 /run/pg
    cd /run/pg
    as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
    as_nobody initdb --pgdata=data --username=admin --no-sync --auth=trust >log 2>&1 || { cat log; exit 1; }
    echo 'host all all all trust' >>data/pg_hba.conf
    ip netns exec server setpriv --reuid=65534 --regid=65534 --clear-groups $(command -v postgres) -D data \
        -c listen_addresses=10.0.2.2 -c unix_socket_directories= -c authentication_timeout=1s >>log 2>&1 &
    for _ in $(seq 300); do
        if (ip netns exec client bash -c ': <>/dev/tcp/10.0.2.2/5432') 2>/dev/null; then break; fi
        sleep 0.1
    done
"#;

/// Measures on the connection of `program` in `lab`.
fn measure(lab: &Lab<'_>, count: &str, place: &str, program: &[&str], wrapper: &[&str], options: &[&str]) -> Output {
    let (keepalive, driver) = (keepalive(), script("probe_existing.py"));
    let keepalive = keepalive.to_str().expect("a UTF-8 path");
    let driver = driver.to_str().expect("a UTF-8 path");
    let command = [
        &[PYTHON, driver, count, place],
        program,
        &["--"],
        wrapper,
        &[keepalive, "probe"],
        options,
    ]
    .concat();
    lab.client(&command)
}

/// Returns what was printed, as JSON and standard error, after a check that no option was changed at any time.
#[track_caller]
fn unchanged(output: &Output) -> (Value, String) {
    let result = parsed(output);
    assert_eq!(result["changed"], false, "{result:#}");
    assert!(result["looks"].as_u64().is_some_and(|looks| looks > 0), "{result:#}");
    let stderr = String::from(result["stderr"].as_str().unwrap_or_default());
    (result, stderr)
}

/// Returns the JSON object of the measurement.
#[track_caller]
fn measured(result: &Value) -> Value {
    let printed = result["stdout"].as_str().unwrap_or_default();
    serde_json::from_str(printed).unwrap_or_else(|error| panic!("{error}: {result:#}"))
}

const PYTHON_CLIENT: [&str; 5] = [PYTHON, "-c", CLIENT, "10.0.2.2", "1"];

#[test]
fn a_nat_that_forgets_silently_is_found_on_a_logged_in_connection_to_postgresql() {
    root!();
    python!();
    let is_there = "PATH=$PATH:$(echo /usr/lib/postgresql/*/bin); command -v initdb postgres psql setpriv";
    let looked = output_within(LIMIT, Command::new("bash").args(["-c", is_there]));
    if !looked.status.success() {
        skip!("postgresql is not installed");
    }
    let lab = Lab {
        timeout: "5",
        before: POSTGRESQL,
        ..Lab::default()
    };
    let psql = ["psql", "--no-psqlrc", "--host=10.0.2.2", "--username=admin", "postgres"];
    let output = output_or_skip!(measure(&lab, "1", "pid", &psql, &[], &["--max", "12", "--json"]));
    let (result, _) = unchanged(&output);
    assert_eq!(result["status"], 0, "{result:#}");
    let found = measured(&result);
    let (lived, died) = (super::seconds(&found, "lived_s"), super::seconds(&found, "died_s"));
    // Longer than the second after which the server ends a connection that does not log in.
    assert!(lived > 2.0 && lived < 5.5 && died > 4.5, "{found:#}");
    assert_eq!(
        (&found["how"], &found["by"]),
        (&json!("silence"), &json!("path")),
        "{found:#}"
    );
    assert_eq!(
        (&found["helps"], &found["verified"]),
        (&Value::Null, &Value::Null),
        "{found:#}"
    );
}

#[test]
fn a_nat_that_resets_is_found_though_the_program_closes_its_connection_at_once() {
    python!();
    let lab = Lab {
        timeout: "3",
        on_forget: "reset",
        ..Lab::default()
    };
    let output = output_or_skip!(measure(&lab, "1", "fd", &PYTHON_CLIENT, &[], &["--max", "10"]));
    let (result, _) = unchanged(&output);
    assert_eq!(result["status"], 0, "{result:#}");
    let said = words(result["stdout"].as_str().unwrap_or_default());
    assert!(said.contains(": answered with a RST."), "{said}");
    assert!(
        said.contains("Something on the path, or the peer, has forgotten it."),
        "{said}"
    );
}

#[test]
fn idle_times_that_a_connection_survives_are_reported_and_no_settings() {
    python!();
    let output = output_or_skip!(measure(
        &Lab::default(),
        "1",
        "pid",
        &PYTHON_CLIENT,
        &[],
        &["--max", "10"]
    ));
    let (result, _) = unchanged(&output);
    assert_eq!(
        (&result["status"], &result["kept"]),
        (&json!(0), &json!(true)),
        "{result:#}"
    );
    let said = words(result["stdout"].as_str().unwrap_or_default());
    assert!(said.starts_with("No timeout up to 10"), "{said}");
    assert!(said.contains("Whether it is forgotten later is not known."), "{said}");
    assert!(!said.contains("keepalive run"), "{said}");
}

#[test]
fn a_peer_that_closes_is_told_from_a_path_that_forgets() {
    python!();
    let lab = Lab {
        server: "close 6",
        ..Lab::default()
    };
    let output = output_or_skip!(measure(&lab, "1", "pid", &PYTHON_CLIENT, &[], &["--max", "20"]));
    let (result, _) = unchanged(&output);
    let said = words(result["stdout"].as_str().unwrap_or_default());
    assert!(
        said.starts_with("The peer closed the connection after it had been idle for "),
        "{result:#}"
    );
    assert!(!said.contains("keepalive run"), "{said}");
}

#[test]
fn the_probes_of_the_program_are_watched_without_privileges() {
    python!();
    let program = [&PYTHON_CLIENT[..], &["idle"]].concat();
    let unprivileged = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"];
    let output = output_or_skip!(measure(
        &Lab::default(),
        "1",
        "pid",
        &program,
        &unprivileged,
        &["--max", "10"]
    ));
    let (result, stderr) = unchanged(&output);
    assert_eq!(result["status"], 0, "{result:#}");
    let said = words(result["stdout"].as_str().unwrap_or_default());
    assert!(
        said.contains(" the connection was idle for so long, and was still known."),
        "{result:#}"
    );
    assert!(
        words(&stderr).contains("it is only watched: a probe of this command requires CAP_NET_ADMIN"),
        "{stderr}"
    );
}

#[test]
fn a_connection_with_so_reuseaddr_is_only_watched() {
    python!();
    let program = [&PYTHON_CLIENT[..], &["idle", "reuse"]].concat();
    let output = output_or_skip!(measure(&Lab::default(), "1", "pid", &program, &[], &["--max", "10"]));
    let (_, stderr) = unchanged(&output);
    assert!(words(&stderr).contains("would clear its SO_REUSEADDR"), "{stderr}");
}

#[test]
fn two_connections_are_named() {
    python!();
    let program = [PYTHON, "-c", CLIENT, "10.0.2.2", "2"];
    let output = output_or_skip!(measure(&Lab::default(), "2", "pid", &program, &[], &[]));
    let (result, stderr) = unchanged(&output);
    assert_eq!(result["status"], 2, "{result:#}");
    let pid = &result["pid"];
    assert!(
        stderr.contains(&format!("process {pid} has 2 open TCP connections: name one")),
        "{stderr}"
    );
    assert_eq!(stderr.matches(&format!("--pid {pid}:")).count(), 2, "{stderr}");
    assert_eq!(stderr.matches(" to 10.0.2.2:7000").count(), 2, "{stderr}");
}

#[test]
fn a_kill_leaves_connection_and_options_as_they_are() {
    python!();
    let killed = ["timeout", "--signal=KILL", "4"];
    let output = output_or_skip!(measure(&Lab::default(), "1", "pid", &PYTHON_CLIENT, &killed, &[]));
    let (result, _) = unchanged(&output);
    assert_ne!(result["status"], 0, "{result:#}");
    assert_eq!(result["kept"], true, "{result:#}");
}

#[test]
fn a_program_that_closes_its_connection_is_no_timeout() {
    python!();
    let program = [&PYTHON_CLIENT[..], &["leave"]].concat();
    let output = output_or_skip!(measure(&Lab::default(), "1", "pid", &program, &[], &["--max", "20"]));
    let (result, stderr) = unchanged(&output);
    assert_eq!(result["status"], 1, "{result:#}");
    assert!(
        stderr.contains("has closed the connection: this is what is known so far"),
        "{stderr}"
    );
    let said = words(result["stdout"].as_str().unwrap_or_default());
    assert!(said.starts_with("The longest idle time was "), "{said}");
}

#[test]
fn a_descriptor_that_becomes_another_connection_is_not_measured_on() {
    python!();
    let program = [&PYTHON_CLIENT[..], &["replace"]].concat();
    let output = output_or_skip!(measure(&Lab::default(), "1", "fd", &program, &[], &["--max", "20"]));
    let (result, stderr) = unchanged(&output);
    assert_eq!(result["status"], 1, "{result:#}");
    assert!(stderr.contains("has closed the connection"), "{stderr}");
    assert!(
        stderr.contains("hint: the peer or the path may have ended it just before"),
        "{stderr}"
    );
}

#[test]
fn an_interrupt_ends_the_measurement_and_prints_what_is_known() {
    python!();
    for signal in ["--signal=INT", "--signal=TERM"] {
        let interrupted = ["timeout", "--preserve-status", signal, "4"];
        let output = output_or_skip!(measure(
            &Lab::default(),
            "1",
            "pid",
            &PYTHON_CLIENT,
            &interrupted,
            &["--json"]
        ));
        let (result, stderr) = unchanged(&output);
        assert_eq!(
            (&result["status"], &result["kept"]),
            (&json!(1), &json!(true)),
            "{result:#}"
        );
        let found = measured(&result);
        assert_eq!(
            (&found["interrupted"], &found["how"]),
            (&json!(true), &Value::Null),
            "{found:#}"
        );
        assert!(stderr.contains("interrupted: this is what is known so far"), "{stderr}");
    }
}

#[test]
fn from_another_network_the_path_is_not_blamed_for_silence_over_ipv6() {
    root!();
    python!();
    let lab = Lab {
        timeout: "5",
        address: "[fd00:2::2]",
        ..Lab::default()
    };
    let program = [PYTHON, "-c", CLIENT, "fd00:2::2", "1"];
    let elsewhere = ["unshare", "--net"];
    let output = output_or_skip!(measure(&lab, "1", "pid", &program, &elsewhere, &["--max", "12"]));
    let (result, _) = unchanged(&output);
    assert_eq!(result["status"], 0, "{result:#}");
    let said = words(result["stdout"].as_str().unwrap_or_default());
    assert!(said.contains(": silence."), "{result:#}");
    assert!(said.contains("Whether the peer still runs is not known."), "{said}");
    assert!(!said.contains("keepalive run"), "{said}");
}

/// A process whose descriptors are not measured on. Prints their numbers and names.
const OTHERS: &str = r#"
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
udp = socket.socket(type=socket.SOCK_DGRAM)
unix, other_end = socket.socketpair()
unconnected = socket.socket()
closed = socket.create_connection(listener.getsockname())
listener.accept()[0].close()
closed.recv(1)
pipe = os.pipe()[0]
held = {"listener": listener, "udp": udp, "unix": unix, "unconnected": unconnected, "closed": closed}
try:
    mptcp_listener = socket.socket(proto=262)
    mptcp_listener.bind(("127.0.0.1", 0))
    mptcp_listener.listen()
    held["mptcp"] = socket.socket(proto=262)
    held["mptcp"].connect(mptcp_listener.getsockname())
except OSError:
    pass
print(*(f"{name}={one.fileno()}" for name, one in held.items()), f"pipe={pipe}", "nothing=99", flush=True)
sys.stdin.read()
"#;

#[test]
fn what_is_no_open_tcp_connection_is_refused_by_name() {
    root!();
    python!();
    let mut holder = Command::new(PYTHON)
        .args(["-c", OTHERS])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut names = String::new();
    BufReader::new(holder.stdout.take().expect("a pipe"))
        .read_line(&mut names)
        .expect("a line");
    let pid = holder.id();
    let probe = |place: &str, wrapper: &[&str]| {
        let keepalive = keepalive();
        let keepalive = keepalive.to_str().expect("a UTF-8 path");
        let words = [wrapper, &[keepalive, "probe", "--pid", place]].concat();
        output_within(LIMIT, Command::new(words[0]).args(&words[1..]))
    };
    for one in names.split_whitespace() {
        let (name, fd) = one.split_once('=').expect("name=fd");
        let reason = match name {
            "listener" => format!("descriptor {fd} is a listener, not a connection"),
            "udp" | "unix" => format!("descriptor {fd} is another socket than TCP"),
            "unconnected" => format!("descriptor {fd} is no open TCP connection: its state is closed"),
            "closed" => format!("descriptor {fd} is no open TCP connection: its state is close-wait"),
            "mptcp" => format!("descriptor {fd} is MPTCP, which is not measured"),
            _ => format!("it has no socket at descriptor {fd}"),
        };
        let output = probe(&format!("{pid}:{fd}"), &[]);
        let hint = format!("hint: to see its connections: keepalive list {pid}\n");
        let expected = format!("keepalive: cannot measure on process {pid}: {reason}\n{hint}");
        assert_eq!(super::stderr(&output), expected, "{name}");
        assert_eq!(output.status.code(), Some(1), "{name}");
    }
    let stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let output = probe(&pid.to_string(), &stranger);
    drop(holder.stdin.take());
    holder.wait().expect("an exit status");
    let stderr = super::stderr(&output);
    let expected = format!("keepalive: cannot measure on process {pid}: ");
    assert!(stderr.starts_with(&expected), "{stderr}");
    assert!(stderr.contains("hint: it belongs to user 0"), "{stderr}");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let output = probe(&pid.to_string(), &[]);
    assert!(
        super::stderr(&output).contains("there is no such process"),
        "{}",
        super::stderr(&output)
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_place_that_is_no_process_is_refused() {
    for place in [
        "",
        "x",
        "0",
        "-1",
        "+1",
        "1:",
        "1:x",
        "1:-1",
        ":7",
        "1:2:3",
        "4294967296",
        "1:2147483648",
    ] {
        let output = output_within(
            LIMIT,
            Command::new(keepalive()).args(["probe", &format!("--pid={place}")]),
        );
        let stderr = super::stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{place}: {stderr}");
        assert!(stderr.contains("--pid"), "{place}: {stderr}");
    }
    let both = output_within(
        LIMIT,
        Command::new(keepalive()).args(["probe", "--pid=1", "localhost:80"]),
    );
    assert_eq!(both.status.code(), Some(2), "{}", super::stderr(&both));
}

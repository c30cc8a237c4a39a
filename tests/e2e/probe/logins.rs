//! Real servers that end a connection which does not log in.

use super::{LIMIT, words};
use crate::support::find_program;
use crate::support::keepalive;
use crate::support::process::{output_within, text};
use serde_json::Value;
use std::process::Command;

/// Starts a server as its line says, in a network and a /run of its own, and measures when it accepts connections.
const STAGE: &str = r#"
    port=$1 server=$2 keepalive=$3
    exec 2>&1
    ip link set lo up
    mount -t tmpfs none /run
    mkdir -m 777 /run/home /run/sshd
    chmod 755 /run/sshd
    cd /run/home
    export HOME=/run/home PATH=$PATH:/usr/sbin:$(echo /usr/lib/postgresql/*/bin)
    as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
    eval "$server" >log 2>&1 &
    for _ in $(seq 300); do
        if (: <>/dev/tcp/127.0.0.1/"$port") 2>/dev/null; then
            "$keepalive" probe --max 10 --precision 25% 127.0.0.1:"$port"
            exec "$keepalive" probe --max 10 --precision 25% --json 127.0.0.1:"$port" 2>/dev/null
        fi
        sleep 0.1
    done
    echo "the server does not start:"; cat log; exit 1
"#;

/// Asserts that the timeout of the server is found and named, and that nothing is claimed of the path.
#[track_caller]
fn assert_is_known(programs: &[&str], port: u16, server: &str, named: &str) {
    for needed in programs.iter().chain(&["setpriv"]) {
        let is_there = Command::new("bash")
            .args([
                "-c",
                r#"PATH=$PATH:/usr/sbin:$(echo /usr/lib/postgresql/*/bin); command -v "$0""#,
                needed,
            ])
            .output()
            .is_ok_and(|output| output.status.success());
        if !is_there {
            skip!("{needed} is not installed");
        }
    }
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["bash", "-c", STAGE, "stage", &port.to_string(), server])
        .arg(keepalive());
    let output = output_within(LIMIT, &mut command);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}");
    let (told, json) = printed.split_once("\n{").unwrap_or_else(|| panic!("{printed}"));
    let said = words(told);
    for sentence in [
        named,
        "A connection with a keepalive probe each second was ",
        "This says nothing about the path",
        "keepalive probe --pid PID",
    ] {
        assert!(said.contains(sentence), "{sentence}: {printed}");
    }
    for claim in ["cannot help", "does not help", "keepalive run", "forgets"] {
        assert!(!said.contains(claim), "{printed}");
    }
    assert!(told.lines().skip(1).all(|line| line.chars().count() <= 80), "{told}");
    let object: Value = serde_json::from_str(&format!("{{{json}")).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!(
        (&object["helps"], &object["idle_s"]),
        (&Value::Null, &Value::Null),
        "{object:#}"
    );
    let probed = object["probed_died_s"].as_f64().expect("a number");
    assert!((1.5..8.0).contains(&probed), "{object:#}");
}

#[test]
fn postgresql_ends_a_connection_that_does_not_log_in() {
    root!();
    assert_is_known(
        &["initdb", "postgres"],
        5432,
        "as_nobody initdb --pgdata=data --no-sync --auth=trust &&
         as_nobody postgres -D data -c authentication_timeout=2s -c unix_socket_directories=",
        "Port 5432 is usually PostgreSQL, which by default ends a connection without a login after 1 min \
         (authentication_timeout).",
    );
}

#[test]
fn mariadb_ends_a_connection_that_does_not_log_in() {
    root!();
    assert_is_known(
        &["mariadbd"],
        3306,
        "as_nobody mariadbd --no-defaults --skip-grant-tables --datadir=. --socket=socket --pid-file=pid \
         --connect-timeout=2 --bind-address=127.0.0.1",
        "Port 3306 is usually MySQL, which by default ends a connection without a login after 10 s (connect_timeout).",
    );
}

#[test]
fn sshd_ends_a_connection_that_does_not_log_in() {
    root!();
    if find_program("ssh-keygen").is_none() {
        skip!("ssh-keygen is not installed");
    }
    assert_is_known(
        &["sshd"],
        22,
        "ssh-keygen -q -t ed25519 -N '' -f key && $(command -v sshd) -D -e -f /dev/null -o HostKey=$PWD/key \
         -o LoginGraceTime=2 -o PidFile=none -o MaxStartups=20",
        "Port 22 is usually OpenSSH, which by default ends a connection without a login after 2 min (LoginGraceTime).",
    );
}

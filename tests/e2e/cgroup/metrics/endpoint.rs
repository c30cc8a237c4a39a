//! `enable --watch --metrics-listen`: read by curl and by Prometheus, while other clients do what they want.

use super::{parse, value};
use crate::cgroup::watch::Watch;
use crate::support::line_peer::LinePeer;
use crate::support::process::{LIMIT, Running, eventually, output_within, text};
use crate::support::test_cgroup::TestCgroup;
use crate::support::{PYTHON, find_program, repository};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// Returns from the test if curl is not installed.
macro_rules! curl {
    () => {
        if find_program("curl").is_none() {
            skip!("curl is not installed");
        }
    };
}

/// The beginning of the line that names the address.
const ADDRESS: &str = "keepalive: metrics are at http://";

/// Starts a command with an endpoint at a free port of this address. Returns the address with the port.
fn watch(test_cgroup: &TestCgroup, config: &Path, address: &str) -> (Watch, String) {
    let name = test_cgroup.name();
    let listen = format!("{address}:0");
    let config = config.to_str().expect("a UTF-8 path");
    let words = [
        &name,
        "--config",
        config,
        "--count-endings",
        "--metrics-listen",
        &listen,
    ];
    let mut watch = Watch::start(test_cgroup, &words);
    let line = watch.answer();
    let address = line
        .strip_prefix(ADDRESS)
        .and_then(|line| line.strip_suffix("/metrics"));
    let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
    watch.expect_line(&format!("{name}: active"));
    (watch, address)
}

/// Returns what curl receives, header included.
#[track_caller]
fn curl(words: &[&str], address: &str, path: &str) -> String {
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--include",
            "--max-time",
            "60",
            "--noproxy",
            "*",
        ])
        .args(words)
        .arg(format!("http://{address}{path}"));
    let output = output_within(LIMIT, &mut command);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).replace("\r\n", "\n")
}

/// Returns the metrics of the endpoint.
#[track_caller]
fn metrics(address: &str) -> String {
    let answer = curl(&[], address, "/metrics");
    let (head, body) = answer.split_once("\n\n").unwrap_or_else(|| panic!("{answer}"));
    let expected = format!(
        "HTTP/1.1 200 OK\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\n\
         Content-Length: {}\nConnection: close",
        body.len()
    );
    assert_eq!(head, expected);
    body.to_owned()
}

/// Sends these bytes, and returns the answer.
fn send(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a time");
    // The server answers before it has received everything.
    let _ = stream.write_all(bytes);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn endpoint_has_the_metrics_of_status() {
    let test_cgroup = test_cgroup!();
    parser!();
    curl!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let config = files.path().join("some.conf");
    fs::write(&config, "default idle=31s\nconnect 127.0.0.1 idle=32s\n").expect("a file of the test");
    for listen in ["127.0.0.1", "[::1]", "[::]"] {
        let (mut watch, address) = watch(&test_cgroup, &config, listen);
        let name = test_cgroup.name();
        let mut program = test_cgroup.py_peer();
        program.execute("listener = listen(); kept = [pair(listener) for _ in range(3)]");
        let labels = json!({"cgroup": name, "number": "1", "rule": "connect 127.0.0.1 idle=32s"});
        let body = eventually("the connections", LIMIT, || {
            let body = metrics(&address);
            let count = value(&parse(&body), "keepalive_cgroup_connections_total", &labels);
            (count == 3).then_some(body)
        });
        assert_eq!(body, test_cgroup.quiet(&["cgroup", "status", "--metrics", &name]));
        if listen == "[::]" {
            let address = address.replace(listen, "127.0.0.1");
            assert_eq!(metrics(&address), body);
        }
        let head = curl(&["--head"], &address, "/metrics");
        assert!(
            head.contains(&format!("\nContent-Length: {}\n", body.len())) && head.ends_with("\n\n"),
            "{head}"
        );
        assert_eq!(
            curl(&["--http1.0"], &address, "/metrics?a=b").lines().next(),
            Some("HTTP/1.1 200 OK")
        );
        watch.end(Signal::TERM);
        assert!(TcpStream::connect(&address).is_err(), "it still listens");
    }
}

#[test]
fn endpoint_has_nothing_but_the_metrics() {
    let test_cgroup = test_cgroup!();
    curl!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let config = files.path().join("some.conf");
    fs::write(&config, "default idle=31s\n").expect("a file of the test");
    let (mut watch, address) = watch(&test_cgroup, &config, "127.0.0.1");
    for (words, path, expected) in [
        (&[][..], "/", "HTTP/1.1 404 Not Found\n"),
        (&[], "/metrics/x", "HTTP/1.1 404 Not Found\n"),
        (&["--head"], "/", "HTTP/1.1 404 Not Found\n"),
        (&["--path-as-is"], "/metrics/../etc/passwd", "HTTP/1.1 404 Not Found\n"),
        (&["--data", "a=b"], "/metrics", "HTTP/1.1 405 Method Not Allowed\n"),
        (
            &["--request", "DELETE"],
            "/metrics",
            "HTTP/1.1 405 Method Not Allowed\n",
        ),
    ] {
        let answer = curl(words, &address, path);
        assert!(answer.starts_with(expected), "{words:?} {path}: {answer}");
        assert_eq!(
            answer.contains("\nAllow: GET, HEAD\n"),
            expected.contains("405"),
            "{answer}"
        );
    }
    let large = [
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nA: ",
        vec![b'a'; 1_000_000].as_slice(),
    ]
    .concat();
    let many = [b"GET /metrics HTTP/1.1\r\n", b"A: b\r\n".repeat(100).as_slice()].concat();
    for (bytes, expected) in [
        (
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            "HTTP/1.1 400 Bad Request\r\n",
        ),
        (b"GET /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        (&large, "HTTP/1.1 431 Request Header Fields Too Large\r\n"),
        (&many, "HTTP/1.1 431 Request Header Fields Too Large\r\n"),
    ] {
        let answer = send(&address, bytes);
        let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(30)]).into_owned();
        assert!(answer.starts_with(expected), "{begin:?}: {answer}");
    }
    watch.end(Signal::TERM);
}

/// Returns a number from /proc/PID/status.
fn number(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .expect("the line");
    let number = line.split_whitespace().next();
    number.and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn hostile_clients_delay_neither_another_client_nor_a_policy() {
    let test_cgroup = test_cgroup!();
    python!();
    curl!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let config = files.path().join("some.conf");
    fs::write(&config, "default idle=31s\n").expect("a file of the test");
    let (mut watch, address) = watch(&test_cgroup, &config, "127.0.0.1");
    let name = test_cgroup.name();
    metrics(&address);
    let memory = number(watch.pid(), "VmRSS:");
    let mut command = Command::new(PYTHON);
    command
        .arg("-B")
        .arg(repository().join("tests/targets/hostile_clients.py"));
    let port = address.rsplit(':').next().expect("a port");
    let mut clients = LinePeer::start(command.args(["127.0.0.1", port, "127.0.0.2"]));
    assert_eq!(clients.answer(), "ready");
    for idle in 32..37 {
        metrics(&address);
        fs::write(&config, format!("default idle={idle}s\n")).expect("a file of the test");
        watch.expect_line(&format!("{name}: replaced"));
        let mut program = test_cgroup.py_peer();
        program.execute("client, accepted = pair(listen())");
        assert_eq!(program.has("client"), format!("1 {idle} 75 9 0"));
        // The main thread, that of the endpoint, and one that applies a policy.
        assert!(number(watch.pid(), "Threads:") <= 3);
        let descriptors = fs::read_dir(format!("/proc/{}/fd", watch.pid()))
            .expect("it runs")
            .count();
        assert!(descriptors < 100, "{descriptors}");
    }
    let grown = number(watch.pid(), "VmRSS:").saturating_sub(memory);
    assert!(grown < 16384, "{grown} kB more");
    assert!(!clients.has_ended());
    let rule = "rule=\"default idle=36s\"";
    eventually("the last policy", LIMIT, || {
        metrics(&address).contains(rule).then_some(())
    });
    clients.finish();
    watch.end(Signal::TERM);
}

/// Connects from another address of this machine.
fn connect_from(source: Ipv4Addr, address: &str) -> OwnedFd {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &SocketAddrV4::new(source, 0)).expect("an address of loopback");
    let address: SocketAddrV4 = address.parse().expect("an address");
    rustix::net::connect(&socket, &address).expect("it listens");
    socket
}

/// More connections than the endpoint keeps come from another address while this client has sent half of its request.
#[test]
fn many_connections_of_one_address_close_none_of_another() {
    let test_cgroup = test_cgroup!();
    curl!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let config = files.path().join("some.conf");
    fs::write(&config, "default idle=31s\n").expect("a file of the test");
    let (mut watch, address) = watch(&test_cgroup, &config, "127.0.0.1");
    // Again if the machine took longer than the connection has.
    eventually("an answer to a slow client", LIMIT, || {
        let mut slow = TcpStream::connect(&address).expect("it listens");
        slow.set_read_timeout(Some(LIMIT)).expect("a time");
        slow.write_all(b"GET /metrics HTTP/1.1\r\n")
            .expect("room in the buffer");
        let others: Vec<OwnedFd> = (0..100)
            .map(|_| connect_from(Ipv4Addr::new(127, 0, 0, 2), &address))
            .collect();
        // The endpoint has accepted the others before this.
        metrics(&address);
        let _ = slow.write_all(b"Host: a\r\n\r\n");
        let mut answer = String::new();
        let _ = slow.read_to_string(&mut answer);
        drop(others);
        answer.starts_with("HTTP/1.1 200 OK\r\n").then_some(())
    });
    watch.end(Signal::TERM);
}

#[test]
fn address_that_cannot_be_used_ends_the_command_at_its_start() {
    let test_cgroup = test_cgroup!();
    let name = test_cgroup.name();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("an address").to_string();
    let listening = format!(
        "keepalive: cannot listen for metrics on {taken}: Address already in use\n\
         hint: choose another port; ss -tlnp shows the program that listens there\n"
    );
    let foreign = "keepalive: cannot listen for metrics on 192.0.2.1:9464: Cannot assign requested address\n\
                   hint: name an address of this machine, or 0.0.0.0 for all of them\n";
    for (address, expected) in [(taken.as_str(), listening.as_str()), ("192.0.2.1:9464", foreign)] {
        let output = test_cgroup.output(&["cgroup", "enable", "--watch", &name, "--metrics-listen", address]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(text(&output.stderr), expected);
    }
    for (words, expected) in [
        (
            &["--watch", "--metrics-listen", "localhost:9464"][..],
            "keepalive: invalid value 'localhost:9464' for '--metrics-listen <ADDRESS:PORT>': no address with a port\nhint: ",
        ),
        (
            &["--watch", "--metrics-listen", "::1:x"],
            "no address with a port\nhint: ",
        ),
        (
            &["--metrics-listen", "127.0.0.1:0"],
            "keepalive: the following required arguments were not provided:\n  --watch\n",
        ),
    ] {
        let output = test_cgroup.output(&[&["cgroup", "enable", &name], words].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    }
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

/// Returns the result of a query.
fn query(prometheus: &str, expression: &str) -> Option<Value> {
    let expression = format!("query={expression}");
    let mut command = Command::new("curl");
    command.args(["--silent", "--noproxy", "*", "--get", "--data-urlencode", &expression]);
    let output = output_within(LIMIT, command.arg(format!("http://{prometheus}/api/v1/query")));
    let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    let results = answer["data"]["result"].as_array()?;
    results.first().cloned()
}

#[test]
fn prometheus_scrapes_the_endpoint() {
    let test_cgroup = test_cgroup!();
    curl!();
    if find_program("prometheus").is_none() {
        skip!("prometheus is not installed");
    }
    let files = tempfile::tempdir().expect("a temporary directory");
    let config = files.path().join("some.conf");
    fs::write(&config, "default idle=31s\n").expect("a file of the test");
    let (mut watch, address) = watch(&test_cgroup, &config, "127.0.0.1");
    let scrape = files.path().join("prometheus.yml");
    let jobs = json!({
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "keepalive", "static_configs": [{"targets": [address]}]}],
    });
    fs::write(&scrape, jobs.to_string()).expect("a file of the test");
    let name = test_cgroup.name();
    // Another program could take the port in between; then Prometheus ends, and another port is tried.
    let (hash, _prometheus) = eventually("a scrape", LIMIT, || {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let web = free.local_addr().expect("an address").to_string();
        drop(free);
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", scrape.display()))
            .arg(format!("--storage.tsdb.path={}", files.path().join("data").display()))
            .arg(format!("--web.listen-address={web}"));
        let mut prometheus = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let result = eventually("its answer", LIMIT, || {
            if prometheus.has_ended() {
                return Some(None);
            }
            query(&web, &format!("keepalive_cgroup_policy_info{{cgroup=\"{name}\"}}")).map(Some)
        })?;
        assert_eq!(query(&web, "up").expect("a sample")["value"][1], "1");
        Some((result["metric"]["hash"].clone(), prometheus))
    });
    assert_eq!(hash, test_cgroup.status()["hash"]);
    watch.end(Signal::TERM);
}

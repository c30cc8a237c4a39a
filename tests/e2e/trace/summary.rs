//! The summary: what a path that forgets does to connections, and the settings that it prints keep them.

use super::{Lab, Tracer};
use crate::support::process::{LIMIT, output_within, text};
use crate::support::py_peer::PyPeer;
use crate::support::{keepalive, library};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::process::Command;

const PORT: u16 = 7180;

/// The server answers each byte.
const ECHO: &str = "
def serve(a):
    while data := a.recv(1):
        a.sendall(data)
def accept_all(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=accept_all, args=(listen('::', PORT, socket.AF_INET6),), daemon=True).start()
";

/// The client speaks, is idle for longer than the path remembers, and speaks again.
const SPEAK: &str = "
def speak(host, results):
    c = socket.create_connection((host, PORT))
    c.settimeout(60)
    c.sendall(b'?')
    assert c.recv(1) == b'?'
    time.sleep(3)
    try:
        c.sendall(b'!')
        results.append('kept' if c.recv(1) == b'!' else 'closed')
    except ConnectionResetError:
        results.append('reset')
def speak_all(hosts):
    results = []
    threads = [threading.Thread(target=speak, args=(host, results)) for host in hosts]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return ' '.join(results)
";

fn with_port(lines: &str) -> String {
    lines.replace("PORT", &PORT.to_string())
}

/// Returns what becomes of the connections of a client, and the summary of a trace.
fn trace(client: &mut PyPeer, hosts: &str) -> (String, Value) {
    let tracer = Tracer::start(&["--min-idle", "1", "--port", &PORT.to_string(), "--summary", "1h"]);
    client.execute(&with_port(SPEAK));
    let results = client.ask(&format!("speak_all({hosts})"));
    let (mut objects, text) = tracer.end(Signal::INT);
    // The last object.
    let summary = objects.pop().expect("a summary");
    assert!(summary["summary"].is_array(), "{summary:#}\n{text}");
    (results, summary)
}

fn group<'a>(summary: &'a Value, peer: &str) -> &'a Value {
    let mut groups = summary["summary"].as_array().expect("an array").iter();
    let found = groups.find(|group| group["peer"] == peer);
    found.unwrap_or_else(|| panic!("no {peer} in {summary:#}"))
}

#[test]
fn settings_of_the_summary_keep_what_was_lost() {
    super::traceable!();
    let lab = match Lab::start("2", "reset") {
        Ok(lab) => lab,
        Err(why) => skip!("{why}"),
    };
    let mut server = lab.program("server");
    server.execute(&with_port(ECHO));
    let mut client = lab.program("client");
    let (results, summary) = trace(&mut client, "['10.0.2.2', '10.0.2.2', '::ffff:10.0.2.2', 'fd00:2::2']");
    assert_eq!(results, "reset reset reset reset");
    let lost = group(&summary, &format!("10.0.2.2:{PORT}"));
    assert_eq!(
        (&lost["direction"], &lost["ended"], &lost["helps"], &lost["meanings"]),
        (&json!("connect"), &json!(3), &json!(true), &json!(["forgotten"])),
        "{lost:#}"
    );
    assert_eq!(lost["causes"][0]["cause"], "reset-on-send", "{lost:#}");
    let shortest = lost["shortest_lost_s"].as_f64().expect("a number");
    assert!((2.5..4.0).contains(&shortest), "{lost:#}");
    let settings = "idle=1s interval=1s count=5";
    assert_eq!(
        lost["config"],
        format!("connect 10.0.2.2:{PORT}  {settings}"),
        "{lost:#}"
    );
    let help = text(&output_within(LIMIT, Command::new(keepalive()).args(["trace", "--help"])).stdout);
    for field in lost.as_object().expect("an object").keys() {
        assert!(help.contains(&format!("summary[].{field}")), "not documented: {field}");
    }
    let other = group(&summary, &format!("[fd00:2::2]:{PORT}"));
    let sentences = other["text"].as_str().expect("a text");
    assert!(sentences.ends_with("One loss shows no timeout."), "{sentences}");

    let command = lost["command"].as_str().expect("a command");
    let options = command
        .strip_prefix("keepalive ")
        .and_then(|command| command.strip_suffix("COMMAND"))
        .expect("a command of keepalive");
    let script = format!("exec {} {options} \"$@\"", keepalive().display());
    let library = format!("KEEPALIVE_LIBRARY={}", library().display());
    let mut client = lab.program_under("client", &["env", &library, "sh", "-c", &script, "sh"]);
    let (results, summary) = trace(&mut client, "['10.0.2.2'] * 3");
    assert_eq!(results, "kept kept kept");
    assert_eq!(summary["summary"], json!([]), "{summary:#}");
}

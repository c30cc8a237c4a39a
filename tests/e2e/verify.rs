//! What the policy wants, compared with what the kernel has on each socket: `keepalive doctor --pid`.

mod attach;
mod beside;
mod software;

use crate::support::engine::Engine;
use crate::support::line_peer::LinePeer;
use crate::support::observe::has;
use crate::support::process::{LIMIT, output_within, text};
use crate::support::target::{Libc, compile, no_config};
use crate::support::{PYTHON, find_program, keepalive, library};
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The policy of these tests: values that no program uses itself.
const POLICY: [&str; 6] = ["--idle", "61", "--interval", "13", "--count", "4"];

fn sockets() -> PathBuf {
    compile(Libc::Host, "sockets.c", &[])
}

/// A server that accepts nothing: connections wait in its queue.
fn server() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("it has one").port();
    (listener, port)
}

/// `keepalive` with these words, and nothing in the environment that counts.
fn command(words: &[&str]) -> Command {
    let mut command = Command::new(keepalive());
    command
        .args(words)
        .env("KEEPALIVE_LIBRARY", library())
        .env("KEEPALIVE_CONFIG", no_config());
    command
}

/// The command that runs `program` by `keepalive run` with these options.
fn run(options: &[&str], program: &Path) -> Command {
    let mut command = command(&[&["run"], options, &["--"]].concat());
    command.arg(program);
    command
}

/// Starts `targets/sockets.c` with these words, which it has done when this returns.
fn start(command: &mut Command, words: &str) -> LinePeer {
    let mut peer = LinePeer::start(command.args(words.split(' ')).arg("hold"));
    while peer.answer() != "holding" {}
    peer
}

/// What `doctor --pid` finds.
struct Report {
    status: Option<i32>,
    json: Value,
}

impl Report {
    fn of(pid: u32) -> Self {
        Self::with(pid, &[])
    }

    fn with(pid: u32, options: &[&str]) -> Self {
        let pid = pid.to_string();
        let mut command = command(&[&["doctor", "--json", "--pid", &pid], options].concat());
        Self::read(&output_within(LIMIT, &mut command))
    }

    fn read(output: &Output) -> Self {
        let json = serde_json::from_slice(&output.stdout);
        Self {
            status: output.status.code(),
            json: json.unwrap_or_else(|error| panic!("{error}: {output:?}")),
        }
    }

    fn summary(&self) -> &str {
        self.json["summary"].as_str().expect("text")
    }

    fn sockets(&self) -> &[Value] {
        self.json["sockets"].as_array().expect("a list")
    }

    /// The verdict, and keepalive as the kernel has it.
    fn verdict(&self, fd: i32) -> &str {
        let mut sockets = self.sockets().iter();
        let socket = sockets.find(|socket| socket["fd"] == fd).expect("it is compared");
        socket["verdict"].as_str().expect("a word")
    }

    #[track_caller]
    fn expect(&self, status: i32, summary: &str) {
        assert_eq!((self.summary(), self.status), (summary, Some(status)), "{}", self.json);
    }
}

#[test]
fn a_connection_that_the_library_does_not_see_is_named() {
    let (_server, port) = server();
    let words = format!("tcp connect={port} tcp connect={port} tcp connect={port} raw-tcp raw-connect={port}");
    let options = [&["--engine", "preload"], &POLICY[..]].concat();
    let program = start(&mut run(&options, &sockets()), &words);
    let raw = [3, 4, 5, 100].map(|fd| has(program.pid(), fd));
    assert_eq!(raw, ["1 61 13 4 0", "1 61 13 4 0", "1 61 13 4 0", "0 7200 75 9 0"]);
    let report = Report::of(program.pid());
    report.expect(
        1,
        "3 of 4 connections are set; fd 100 was made by a call that the library does not see: use --engine seccomp",
    );
    assert_eq!(
        [3, 4, 5, 100].map(|fd| report.verdict(fd)),
        ["set", "set", "set", "missing"]
    );
    assert_eq!(report.json["processes"][0]["engines"][0], "preload");
    assert_eq!(report.json["processes"][0]["policy"], "idle=61s interval=13s count=4");

    let output = output_within(LIMIT, &mut command(&["doctor", "--pid", &program.pid().to_string()]));
    let printed = text(&output.stdout);
    let advice = "-> keepalive run --idle 61s --interval 13s --count 4 --engine seccomp -- COMMAND";
    let unfolded = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(unfolded.contains(advice), "{printed}");
    assert!(
        printed.starts_with("WRONG  connections: 3 of 4 connections are set; fd 100 was made"),
        "{printed}"
    );
    assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");

    // The advice works: with it the same program has what the policy wants.
    let options = [&["--engine", "seccomp"], &POLICY[..]].concat();
    let program = start(&mut run(&options, &sockets()), &words);
    assert_eq!(has(program.pid(), 100), "1 61 13 4 0");
    Report::of(program.pid()).expect(0, "all 4 connections are set");
}

/// Of each engine: what the program has changed on connections that the engine had set.
#[test]
fn changes_by_the_program_are_reported_with_the_mode_that_prevents_them() {
    for engine in [Engine::Library, Engine::Supervisor, Engine::Kernel] {
        if let Some(why) = engine.missing() {
            skip!("{why}");
        }
        for (word, status, summary) in [
            (
                "keepalive=0",
                1,
                "the connection is not set; fd 3: the program switched it off: --mode cap",
            ),
            (
                "user-timeout=20000",
                1,
                "the connection is not set; fd 3: its own user timeout of 20 s ends it after one lost probe: \
                 --user-timeout auto --mode floor",
            ),
            (
                "idle=1",
                0,
                "the connection is not set; fd 3: the program's own idle time of 1 s is shorter than the policy's 61 s: \
                 --mode floor",
            ),
            (
                "idle=600",
                0,
                "the connection is not set; fd 3: the program's own idle time of 600 s is longer than the policy's 61 s: \
                 --mode cap",
            ),
            ("user-timeout=200000", 0, "the connection is set"),
        ] {
            let (_server, port) = server();
            let options = [&["--engine", engine.name()], &POLICY[..]].concat();
            let words = format!("tcp connect={port} {word}");
            let program = start(&mut run(&options, &sockets()), &words);
            Report::of(program.pid()).expect(status, summary);
        }
    }
}

#[test]
fn the_mode_that_was_recommended_leaves_nothing_to_recommend() {
    let (_server, port) = server();
    for (word, options) in [
        ("keepalive=0", &["--mode", "cap"][..]),
        ("user-timeout=20000", &["--user-timeout", "auto", "--mode", "floor"]),
        ("idle=1", &["--mode", "floor"]),
    ] {
        let options = [&["--engine", "preload"], &POLICY[..], options].concat();
        let words = format!("tcp connect={port} {word}");
        let program = start(&mut run(&options, &sockets()), &words);
        Report::of(program.pid()).expect(0, "the connection is set");
    }
}

/// SO_KEEPALIVE alone, on a socket that the library has not seen.
#[test]
fn keepalive_without_times_is_named() {
    let (_server, port) = server();
    let options = [&["--engine", "preload"], &POLICY[..]].concat();
    let words = format!("raw-tcp raw-connect={port} keepalive=1");
    let program = start(&mut run(&options, &sockets()), &words);
    let pid = program.pid();
    assert_eq!(has(pid, 100), "1 7200 75 9 0");
    let report = Report::of(pid);
    report.expect(
        1,
        &format!(
            "the connection is not set; fd 100 has only SO_KEEPALIVE, with the kernel's idle time of 7200 s: it existed before \
             the library, or was made by a call that the library does not see -> keepalive attach {pid} sets it now; or use \
             --engine seccomp"
        ),
    );
    let mut attach = command(&[&["attach"], &POLICY[..], &[&pid.to_string()]].concat());
    assert!(output_within(LIMIT, &mut attach).status.success());
    Report::of(pid).expect(0, "the connection is set");
}

#[test]
fn a_socket_of_several_processes_is_compared_once() {
    python!();
    let program = "import os, socket, sys\n\
                   listener = socket.create_server(('127.0.0.1', 0))\n\
                   client = socket.create_connection(listener.getsockname())\n\
                   accepted, _ = listener.accept()\n\
                   os.fork() or sys.stdin.read() or sys.exit()\n\
                   print('ready', flush=True)\n\
                   sys.stdin.read()";
    let options = [&["--engine", "preload"], &POLICY[..]].concat();
    let mut python = LinePeer::start(run(&options, Path::new(PYTHON)).args(["-c", program]));
    assert_eq!(python.answer(), "ready");
    let report = Report::of(python.pid());
    report.expect(0, "all 2 connections are set, the listener is set");
    assert_eq!(
        report.json["processes"].as_array().map(Vec::len),
        Some(2),
        "{}",
        report.json
    );
    assert_eq!(report.sockets().len(), 3, "{}", report.json);
}

/// A listener hands its options on, and a static program has no library.
#[test]
fn listeners_and_descendants_are_compared() {
    let (_server, port) = server();
    let fixed = compile(Libc::Host, "sockets.c", &["-static"]);
    let options = [&["--engine", "preload"], &POLICY[..]].concat();
    // The shell gets its listener from the library's own program, which stays its parent.
    let script = format!("exec 3<&0; \"$0\" tcp listen client accept hold <&3 & \"$1\" tcp connect={port} hold; wait");
    let mut shell = run(&options, Path::new("sh"));
    shell.arg("-c").arg(script).arg(sockets()).arg(&fixed);
    let mut peer = LinePeer::start(&mut shell);
    let mut holding = 0;
    while holding < 2 {
        holding += usize::from(peer.answer() == "holding");
    }
    let report = Report::of(peer.pid());
    let is_named = |part: &str| assert!(report.summary().contains(part), "{}", report.json);
    assert_eq!(report.status, Some(1), "{}", report.json);
    is_named("1 of 3 connections are set, the listener is set; ");
    is_named("was made by a call that the library does not see: use --engine seccomp");
    is_named("the library is not in its process: use --engine seccomp");
    assert_eq!(report.sockets().len(), 4, "{}", report.json);
    let processes = report.json["processes"].as_array().expect("a list");
    let engines: Vec<usize> = processes
        .iter()
        .map(|process| process["engines"].as_array().expect("a list").len())
        .collect();
    assert_eq!(engines, [1, 1, 0], "{}", report.json);
}

/// No engine, no options: as before, loopback does not count. With options, every socket does.
#[test]
fn options_are_compared_with_a_process_that_no_engine_reaches() {
    let (_server, port) = server();
    let mut bare = Command::new(sockets());
    let program = start(bare.env_clear(), &format!("tcp connect={port}"));
    let pid = program.pid();
    let report = Report::of(pid);
    assert_eq!(report.verdict(3), "excluded", "{}", report.json);
    let not_set =
        format!("the connection is not set; fd 3: no engine reaches its process: keepalive attach {pid} sets it now");
    Report::with(pid, &POLICY).expect(1, &not_set);
    let mut attach = command(&[&["attach"], &POLICY[..], &[&pid.to_string()]].concat());
    assert!(output_within(LIMIT, &mut attach).status.success());
    Report::with(pid, &POLICY).expect(0, "the connection is set");
    let rule = ["--rule", "connect 127.0.0.0/8 off"];
    let report = Report::with(pid, &[&POLICY[..], &rule].concat());
    assert_eq!(
        (report.verdict(3), report.status),
        ("excluded", Some(0)),
        "{}",
        report.json
    );

    let mut refused = command(&["doctor", "--idle", "60"]);
    let output = output_within(LIMIT, &mut refused);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("the options of a policy are for --pid"),
        "{output:?}"
    );
}

#[test]
fn a_connection_from_before_the_policy_of_the_cgroup_is_named() {
    let test_cgroup = test_cgroup!();
    let (_server, port) = server();
    let mut before = test_cgroup.enter(sockets());
    let before = start(&mut before, &format!("tcp connect={port}"));
    test_cgroup.enable(&POLICY);
    let mut after = test_cgroup.enter(sockets());
    let after = start(&mut after, &format!("tcp connect={port} tcp listen"));
    let doctor = |pid: u32| Report::read(&test_cgroup.output(&["doctor", "--json", "--pid", &pid.to_string()]));
    let pid = before.pid();
    doctor(pid).expect(
        1,
        &format!(
            "the connection is not set; fd 3 was connected before the policy of the cgroup was active: keepalive attach {pid} \
             sets it now"
        ),
    );
    // The eBPF programs do not set listeners.
    let report = doctor(after.pid());
    report.expect(0, "the connection is set");
    assert_eq!(report.json["processes"][0]["policy_from"], "the policy of its cgroup");
    test_cgroup.disable();
}

/// The environment of the process is what it was started with; rules and files count as the library reads them.
#[test]
fn rules_of_the_process_are_used() {
    let (_server, port) = server();
    let rules = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(rules.path(), format!("connect *:{port} idle=33s\n")).expect("it can be written");
    let mut program = run(&["--engine", "preload", "--rule", "accept off"], &sockets());
    program.env("KEEPALIVE_CONFIG", rules.path());
    let program = start(&mut program, &format!("tcp connect={port} tcp listen client accept"));
    assert_eq!(has(program.pid(), 3), "1 33 75 9 0");
    let report = Report::of(program.pid());
    assert_eq!(report.verdict(3), "set", "{}", report.json);
    let excluded = report.sockets().iter().filter(|socket| socket["verdict"] == "excluded");
    assert!(excluded.count() >= 1, "{}", report.json);
}

/// perl writes a title over its environment, as nginx and PostgreSQL do: the policy that the library has read is not known.
#[test]
fn an_overwritten_environment_shows_no_policy() {
    let Some(perl) = find_program("perl") else {
        skip!("perl is not installed");
    };
    let (_server, port) = server();
    let script = "$0 = 'title ' x 4000; $| = 1; print \"ready\\n\"; \
                  my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0]) or die; print \"connected\\n\"; <STDIN>;";
    let options = [&["--engine", "preload"], &POLICY[..]].concat();
    let mut command = run(&options, &perl);
    command.args(["-MIO::Socket::INET", "-e", script, &format!("127.0.0.1:{port}")]);
    let mut perl = LinePeer::start(&mut command);
    assert_eq!([perl.answer(), perl.answer()], ["ready", "connected"]);
    let report = Report::of(perl.pid());
    report.expect(0, "the connection is set");
    assert_eq!(
        report.json["processes"][0]["policy_from"],
        Value::Null,
        "{}",
        report.json
    );
    let report = Report::with(perl.pid(), &POLICY);
    report.expect(0, "the connection is set");
    assert_eq!(report.json["processes"][0]["policy_from"], "the command line");
}

/// Processes inherit the supervisor's filter, whatever their environment is.
#[test]
fn a_supervisor_is_found_by_the_environment_of_an_ancestor() {
    let (_server, port) = server();
    let mut program = run(&[&["--engine", "seccomp"], &POLICY[..]].concat(), Path::new("sh"));
    program.args(["-c", "env -i \"$@\"; true", "sh"]).arg(sockets());
    let peer = start(&mut program, &format!("tcp connect={port}"));
    let report = Report::of(peer.pid());
    report.expect(0, "the connection is set");
    for process in report.json["processes"].as_array().expect("a list") {
        assert_eq!(process["engines"], serde_json::json!(["seccomp"]), "{}", report.json);
    }
}

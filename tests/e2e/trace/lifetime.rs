//! How a trace ends, and that it leaves nothing behind.

use super::Tracer;
use crate::support::keepalive;
use crate::support::line_peer::LinePeer;
use crate::support::process::{LIMIT, Running, eventually, output_within, text};
use crate::support::py_peer::PyPeer;
use keepalive_sys::bpf::call::{program_by_id, program_info};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Read as _;
use std::process::{Command, Stdio};

/// Returns the numbers of the eBPF programs and maps that a process has open.
fn open_programs(pid: u32) -> Vec<u32> {
    let infos = std::fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .into_iter()
        .flatten()
        .flatten();
    let texts = infos.filter_map(|info| std::fs::read_to_string(info.path()).ok());
    let numbers = texts.filter_map(|text| {
        let line = text.lines().find(|line| line.starts_with("prog_id:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    });
    numbers.collect()
}

#[test]
fn killed_trace_leaves_no_program() {
    super::traceable!();
    let mut tracer = Tracer::start(&["--all"]);
    let programs = open_programs(tracer.0.pid());
    assert!(programs.len() >= 2, "{programs:?}");
    let names = programs
        .iter()
        .filter_map(|id| program_info(program_by_id(*id).ok()?).ok());
    assert!(names.map(|info| info.name).any(|name| name == "ka_change"));
    let pid = Pid::from_raw(tracer.0.pid().cast_signed()).expect("a process");
    kill_process(pid, Signal::KILL).expect("it runs");
    tracer.0.wait_for_end();
    eventually("the programs are gone", LIMIT, || {
        programs.iter().all(|id| program_by_id(*id).is_err()).then_some(())
    });
}

#[test]
fn trace_ends_after_the_time_given_with_for() {
    super::traceable!();
    let mut command = Command::new(keepalive());
    let output = output_within(LIMIT, command.args(["trace", "--for", "1", "--port", "1"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    assert!(
        lines.starts_with("UTC ") && lines.contains("\nNo connection ended."),
        "{lines}"
    );
}

#[test]
fn trace_of_a_process_ends_with_it() {
    super::traceable!();
    let mut program = PyPeer::start();
    let mut tracer = Tracer::start(&[&program.pid().to_string()]);
    program.0.finish();
    program.0.wait_for_end();
    let (objects, _) = tracer.rest();
    assert!(objects.is_empty(), "{objects:?}");
}

#[test]
fn closed_pipe_is_no_error() {
    super::traceable!();
    let mut command = Command::new(keepalive());
    command
        .args(["trace", "--port", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut tracer = Running::start(&mut command);
    let mut stdout = tracer.child.stdout.take().expect("a pipe");
    let mut begin = [0; 4];
    stdout.read_exact(&mut begin).expect("the headings");
    drop(stdout);
    assert!(tracer.wait_for_end().success());
    let mut errors = String::new();
    tracer
        .child
        .stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut errors)
        .expect("text");
    assert!(
        errors.starts_with("keepalive: tracing ") && errors.lines().count() <= 2,
        "{errors}"
    );
}

#[test]
fn lines_fit_80_columns_and_have_the_causes_in_words() {
    super::traceable!();
    let mut program = PyPeer::in_own_network();
    program.execute("listener = listen()\nc, a = pair(listener, keepalive=1)");
    let port = program.number("listener.getsockname()[1]").to_string();
    let mut command = Command::new(keepalive());
    let mut tracer = LinePeer::start(command.args(["trace", "--all", "--port", &port]));
    assert!(tracer.answer().starts_with("UTC "));
    program.execute("c.close()");
    let [connected, accepted] = [(); 2].map(|()| tracer.answer());
    assert!(connected.contains(" 7200/75/9 closed"), "{connected}");
    assert!(accepted.contains(" off       closed by peer"), "{accepted}");
    for line in [connected, accepted] {
        assert!(line.contains(&format!("python3/{} ", program.pid())), "{line}");
        assert!(line.chars().count() <= 80, "{line}");
    }
    let pid = Pid::from_raw(tracer.pid().cast_signed()).expect("a process");
    kill_process(pid, Signal::INT).expect("it runs");
    assert!(tracer.wait_for_end().success());
}

//! Processes that have ended, and numbers that belong to no process.

use super::{assert_refused, list};
use crate::support::ordinary::{Installed, NOBODY};
use crate::support::process::{LIMIT, ended, output_within};
use crate::support::py_peer::PyPeer;

#[test]
fn ended_process_is_refused() {
    for number in [ended(), 4_194_305, u32::MAX] {
        for words in [&[][..], &["--json"], &["--watch"]] {
            let output = output_within(LIMIT, list(&[&number.to_string()]).args(words));
            assert_refused(
                &output,
                &format!("cannot see process {number}: there is no such process"),
                "it has ended, or it is in a pid namespace that is not seen from here",
            );
        }
    }
}

/// The /proc directory of a zombie belongs to root.
#[test]
fn zombie_counts_as_ended() {
    root!();
    python!();
    let installed = Installed::new();
    let mut program = PyPeer::under(&NOBODY);
    program.execute("child = os.fork()\nif child == 0: os._exit(0)");
    program.execute("os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)");
    let child = program.ask("child");
    for output in [
        output_within(LIMIT, &mut list(&[&child])),
        installed.list(&NOBODY, &[&child]),
    ] {
        assert_refused(
            &output,
            &format!("cannot see process {child}: there is no such process"),
            "it has ended, or it is in a pid namespace that is not seen from here",
        );
    }
}

#[test]
fn thread_id_is_refused_and_its_process_is_named() {
    python!();
    let mut program = PyPeer::start();
    program.execute("threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()");
    let tid = program.number("threading.enumerate()[1].native_id");
    assert_refused(
        &output_within(LIMIT, &mut list(&[&tid.to_string()])),
        &format!("cannot see process {tid}: it is a thread"),
        &format!("name its process, {}", program.pid()),
    );
}

//! A program that locks itself up: a call of ours that its filter does not foresee would be its death.

use super::servers::VSFTPD_SANDBOXED;
use super::stage::{Stage, is_root};
use super::start::Session;
use super::{COUNT, IDLE, INTERVAL};
use crate::support::engine::Engine;
use crate::support::find_program;
use std::io::{BufRead as _, BufReader, Write as _};

under_preload_and_cgroup! {
    vsftpd_in_its_seccomp_sandbox_opens_a_data_port
}

/// vsftpd's filter kills on every setsockopt(2) that vsftpd does not make itself, and PASV makes a session open a
/// listener.
fn vsftpd_in_its_seccomp_sandbox_opens_a_data_port(engine: Engine) {
    if find_program("vsftpd").is_none() {
        skip!("vsftpd is not installed");
    }
    if !is_root() {
        skip!("vsftpd needs root");
    }
    let stage = Stage::new(Some(engine), true);
    let session = Session::start(&VSFTPD_SANDBOXED, &stage);

    let mut lines = BufReader::new(session.client().expect("the test is the client")).lines();
    let mut answer = || {
        lines
            .next()
            .and_then(Result::ok)
            .unwrap_or_else(|| "nothing: the session died".to_owned())
    };
    assert!(answer().starts_with("220 "), "a greeting");
    for (command, code) in [("USER anonymous", "331 "), ("PASS somebody", "230 "), ("PASV", "227 ")] {
        session
            .client()
            .expect("as before")
            .write_all(format!("{command}\r\n").as_bytes())
            .expect("vsftpd reads");
        let answer = answer();
        assert!(answer.starts_with(code), "{command} was answered by: {answer}");
    }

    let sockets = session.sockets();
    assert!(!sockets.is_empty(), "vsftpd holds its end");
    for seen in sockets {
        assert_eq!(seen.timing(), (true, IDLE, INTERVAL, COUNT), "{seen:?}");
    }
}

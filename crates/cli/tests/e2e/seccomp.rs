//! Programs that confine themselves: a system call of ours that their filter does not foresee would be their death. A real
//! one is in `programs/sandbox.rs`.

use crate::support::target::{Libc, TREATED, bare, compile, output, with_library};

/// What `targets/confined.c` prints, with a policy under which the library would do all that it ever does.
fn confined(libc: Libc, how: &str) -> String {
    let program = compile(libc, "confined.c", &[]);
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut command = with_library(&program);
    command
        .env("KEEPALIVE_USER_TIMEOUT", "auto")
        .env("KEEPALIVE_LOG", log.path())
        .env("KEEPALIVE_RULES", "connect *:1-65535 idle=9s; accept *:1-65535 count=7")
        .arg(how);
    output(&mut command)
}

const ALIVE: &str = "alive: 1 0 1 1 0 1\n";

/// Each way in which a filter can be installed; libseccomp goes by syscall(2). The filter kills at all but the calls that
/// the program then makes.
#[test]
fn a_program_with_a_filter_of_its_own_lives() {
    for libc in [Libc::Host, Libc::Musl] {
        if let Some(why) = libc.missing() {
            skip!("{why}");
        }
        for how in ["prctl", "syscall-prctl", "seccomp", "listener"] {
            assert_eq!(confined(libc, how), ALIVE, "{how} under {libc:?}");
        }
    }
}

#[test]
fn a_program_in_strict_mode_lives() {
    for how in ["strict", "syscall-strict"] {
        assert_eq!(confined(Libc::Host, how), "alive\n", "{how}");
    }
}

/// Neither a filter that the kernel refuses nor a question about filters is a reason to stop. Without rules here, since it
/// shows what a socket has.
#[test]
fn a_filter_that_the_kernel_refuses_changes_nothing() {
    let program = compile(Libc::Host, "confined.c", &[]);
    assert_eq!(
        output(with_library(&program).arg("failing")),
        format!("socket: {TREATED}\n")
    );
}

/// A filter outlives exec(2): a service manager or a sandbox may have forbidden a program all that belongs to sockets
/// (systemd's `SystemCallFilter=~@network-io`). One that has no sockets must start all the same.
#[test]
fn a_program_that_was_forbidden_sockets_starts() {
    let program = compile(Libc::Host, "confined.c", &[]);
    assert_eq!(output(bare(&program).arg("exec")), "alive\n");
    assert_eq!(output(with_library(&program).arg("exec")), "alive\n");
}

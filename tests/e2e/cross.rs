//! The library for other architectures, which `scripts/cross` builds from the same source: the file, and its effect on
//! every hooked call, which must be the same as on this machine.

use crate::elf_facts::{self, Limits};
use crate::support::cross::library_for;
use crate::support::target::{Libc, compile, no_config, quiet_output, without_library};
use crate::support::{find_program, library};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Limits for other linkers, some of which align segments to pages of 64 KiB.
const LOOSE: Limits = Limits {
    size: 131_072,
    relocations: 64,
};

/// An architecture, and how its programs run on this machine.
struct Architecture {
    target: &'static str,
    compiler: &'static str,
    /// Returns a command that runs the program with the library, without arguments.
    run: fn(library: &Path, program: &Path) -> Command,
    /// The packages that must be installed.
    runner: &'static str,
    /// The calls that the runner does not support.
    lacks: &'static [&'static str],
}

const I386: Architecture = Architecture {
    target: "i586-unknown-linux-gnu",
    compiler: "i686-linux-gnu-gcc",
    run: |library, program| {
        let mut command = without_library(Path::new(I386.runner));
        command.args(["--library-path", "/usr/i686-linux-gnu/lib", "--preload"]);
        command.args([library, program]);
        command
    },
    runner: "/usr/i686-linux-gnu/lib/ld-linux.so.2",
    lacks: &[],
};

const AARCH64: Architecture = Architecture {
    target: "aarch64-unknown-linux-gnu",
    compiler: "aarch64-linux-gnu-gcc",
    run: |library, program| {
        let mut command = without_library(&find_program(AARCH64.runner).expect("it was there before"));
        command.args(["-L", "/usr/aarch64-linux-gnu", "-E"]);
        command.arg(format!("LD_PRELOAD={}", library.display()));
        command.arg(program);
        command
    },
    runner: "qemu-aarch64-static",
    lacks: &["prctl", "seccomp"],
};

impl Architecture {
    /// Returns the library, and `calls.c` compiled with `flags`; or why this is impossible.
    fn build(&self, flags: &[&str]) -> Result<(PathBuf, PathBuf), String> {
        self.build_target("calls.c", flags)
    }

    /// Returns the library, and the target `source` compiled with `flags`; or why this is impossible.
    fn build_target(&self, source: &'static str, flags: &[&str]) -> Result<(PathBuf, PathBuf), String> {
        for needed in [self.compiler, self.runner] {
            if find_program(needed).is_none() {
                return Err(format!("{needed} is not installed"));
            }
        }
        Ok((
            library_for(self.target)?,
            compile(Libc::Cross(self.compiler), source, flags),
        ))
    }

    /// Returns the output of the target and the log of the library, without calls that the runner does not support.
    fn calls(&self, library: &Path, target: &Path, policy: Policy) -> Calls {
        self.without_unsupported(Calls::of(&mut (self.run)(library, target), policy))
    }

    fn without_unsupported(&self, mut calls: Calls) -> Calls {
        calls
            .printed
            .retain(|line| !self.lacks.iter().any(|call| line.contains(call)));
        calls
    }
}

type Policy = &'static [(&'static str, &'static str)];

/// A policy that is visible in every hooked call, and one with rules and a mode.
const POLICIES: [Policy; 2] = [
    &[
        ("KEEPIDLE", "61"),
        ("KEEPINTVL", "13"),
        ("KEEPCNT", "4"),
        ("KEEPALIVE_USER_TIMEOUT", "auto"),
    ],
    &[
        ("KEEPIDLE", "61"),
        (
            "KEEPALIVE_RULES",
            "connect 127.0.0.0/8 idle=33s user-timeout=5s; accept *:1-65535 interval=17s",
        ),
        ("KEEPALIVE_MODE", "cap"),
    ],
];

/// The output and log of the target.
#[derive(Debug, PartialEq, Eq)]
struct Calls {
    printed: Vec<String>,
    logged: Vec<String>,
}

impl Calls {
    /// Runs the target by `command`, to which it adds the arguments.
    fn of(command: &mut Command, policy: Policy) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = directory.path().join("log");
        let printed = quiet_output(
            command
                .arg("main")
                .envs(policy.iter().copied())
                .env("KEEPALIVE_CONFIG", no_config())
                .env("KEEPALIVE_LOG", &log),
        );
        let logged = fs::read_to_string(&log).expect("a log");
        // Lines are "keepalive[PID]: text". The children, which confine themselves, are excluded.
        let lines = || logged.lines().filter_map(|line| line.split_once(": "));
        let (parent, _) = lines().next().expect("a line");
        Self {
            printed: printed.lines().map(str::to_owned).collect(),
            logged: lines()
                .filter(|(pid, _)| *pid == parent)
                .map(|(_, what)| what.to_owned())
                .collect(),
        }
    }

    /// Returns the calls of the target on this machine.
    fn here(policy: Policy) -> Self {
        let target = compile(Libc::Host, "calls.c", &[]);
        Self::of(without_library(&target).env("LD_PRELOAD", library()), policy)
    }

    /// Removes the calls that only i386 has: those of socketcall(2), the last ones in the log.
    fn without_socketcall(mut self, here: &Self) -> Self {
        self.printed.retain(|line| !line.starts_with("socketcall "));
        self.logged.truncate(here.logged.len());
        self
    }
}

#[test]
fn on_i386_the_library_has_the_same_effects() {
    assert_same_effects_on_i386(&[]);
}

/// Compilers once aligned i386's stack to 4 bytes; SSE code requires 16. So the library is built for a 586.
#[test]
fn on_i386_the_library_works_on_an_old_stack() {
    assert_same_effects_on_i386(&["-mpreferred-stack-boundary=2", "-mincoming-stack-boundary=2"]);
}

fn assert_same_effects_on_i386(flags: &[&str]) {
    let (library, target) = match I386.build(flags) {
        Ok(built) => built,
        Err(why) => skip!("{why}"),
    };
    elf_facts::check(&library, LOOSE);
    for policy in POLICIES {
        let here = Calls::here(policy);
        let there = I386.calls(&library, &target, policy).without_socketcall(&here);
        assert_eq!(there, I386.without_unsupported(here));
    }
}

/// socketcall(2) takes the arguments of the call as an array.
#[test]
fn on_i386_socketcall_has_the_effects_of_its_call() {
    let (library, target) = match I386.build(&[]) {
        Ok(built) => built,
        Err(why) => skip!("{why}"),
    };
    for policy in POLICIES {
        let calls = I386.calls(&library, &target, policy);
        let by = |way: &str| -> Vec<&str> {
            let lines = calls.printed.iter().filter_map(|line| line.strip_prefix(way));
            // seccomp(2) and prctl(2) are not socket calls.
            lines
                .filter(|line| !line.starts_with("prctl") && !line.starts_with("seccomp"))
                .collect()
        };
        assert_eq!(by("socketcall "), by("syscall "));
    }
}

/// The arguments of socketcall(2) are in memory.
#[test]
fn on_i386_connect_fails_as_without_keepalive() {
    let (library, target) = match I386.build_target("arguments.c", &[]) {
        Ok(built) => built,
        Err(why) => skip!("{why}"),
    };
    let mut loader = without_library(Path::new(I386.runner));
    let expected = quiet_output(loader.args(["--library-path", "/usr/i686-linux-gnu/lib"]).arg(&target));
    for policy in POLICIES {
        for supervised in ["0", "1"] {
            let mut command = (I386.run)(&library, &target);
            command
                .envs(policy.iter().copied())
                .env("KEEPALIVE_CONFIG", no_config())
                .env("KEEPALIVE_SUPERVISED", supervised);
            let seen = quiet_output(&mut command);
            let different = expected.lines().zip(seen.lines()).find(|(a, b)| a != b);
            assert!(seen == expected, "{policy:?}, {supervised}: {different:?}");
        }
    }
}

#[test]
fn on_aarch64_the_library_has_the_same_effects() {
    let (library, target) = match AARCH64.build(&[]) {
        Ok(built) => built,
        Err(why) => skip!("{why}"),
    };
    elf_facts::check(&library, LOOSE);
    for policy in POLICIES {
        let here = AARCH64.without_unsupported(Calls::here(policy));
        assert_eq!(AARCH64.calls(&library, &target, policy), here);
    }
}

//! Compatibility with libkeepalive 0.3: every environment with every kind of socket, under Debian's libkeepalive0 and
//! under this library. The tables list the effects of both, and the reason for each difference. A difference without a
//! reason fails, and so does a reason without a difference.

mod cases;

use crate::support::target::{Libc, compile, no_config, quiet_output, without_library};
use crate::support::{library, report_skip};
use cases::{Does, KINDS, LARGEST, Nature, cases};
use std::path::Path;

/// libkeepalive 0.3 as Debian installs it.
const PREDECESSOR: &str = "/usr/lib/libkeepalive.so.0";

const EINVAL: i32 = 22;
const ENOPROTOOPT: i32 = 92;

/// The result of socket(2), and the socket's options: keepalive, idle, interval, count; −1 for options that it does not
/// have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcome {
    fd: i32,
    errno: i32,
    has: [i32; 4],
}

impl Outcome {
    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split(' ').map_while(|number| number.parse().ok());
        let mut next = || numbers.next();
        Some(Self {
            fd: next()?,
            errno: next()?,
            has: [next()?, next()?, next()?, next()?],
        })
    }

    /// Returns this outcome after a library has applied `does` with the valid ones of `numbers`.
    fn with(mut self, does: Does, numbers: [Option<i32>; 3]) -> Self {
        if does == Does::On {
            self.has[0] = 1;
        }
        if does != Does::Nothing {
            for (slot, number) in self.has[1..].iter_mut().zip(numbers) {
                *slot = number.unwrap_or(*slot);
            }
        }
        self
    }

    /// Returns the outcome with 0.3; `None` if it depends on the kernel's version.
    fn with_old_library(self, nature: Nature, (does, numbers): (Does, [Option<i32>; 3])) -> Option<Self> {
        let mut taken = numbers;
        let mut refused = false;
        for (number, largest) in taken.iter_mut().zip(LARGEST) {
            if number.is_some_and(|number| !(1..=largest).contains(&number)) {
                *number = None;
                refused = true;
            }
        }
        let errno = |errno, set: bool| if set { errno } else { self.errno };
        match nature {
            Nature::Tcp => Some(Self {
                errno: errno(EINVAL, refused),
                ..self.with(does, taken)
            }),
            Nature::Mptcp if refused => None,
            Nature::Mptcp => Some(self.with(does, numbers)),
            Nature::Odd if does == Does::Nothing => Some(self),
            Nature::Odd => Some(Self {
                errno: errno(ENOPROTOOPT, numbers != [None; 3]),
                ..self.with(does, [None; 3])
            }),
            Nature::Other | Nature::Impossible => Some(self),
        }
    }

    fn with_new_library(self, nature: Nature, (does, numbers): (Does, [Option<i32>; 3])) -> Self {
        match nature {
            Nature::Tcp | Nature::Mptcp => self.with(does, numbers),
            Nature::Odd | Nature::Other | Nature::Impossible => self,
        }
    }
}

/// Creates one socket of each kind.
fn sockets(program: &Path, library: Option<&Path>, environment: &[String], changes: &[&str]) -> Vec<Outcome> {
    let preload = library.map(|library| format!("LD_PRELOAD={}", library.display()));
    let kinds = KINDS
        .iter()
        .map(|(domain, kind, protocol, ..)| format!("{domain}:{kind}:{protocol}"));
    let text = quiet_output(
        without_library(program)
            .arg(format!("KEEPALIVE_CONFIG={}", no_config().display()))
            .args(preload)
            .args(environment)
            .arg("--")
            .args(changes)
            .arg("--")
            .args(kinds),
    );
    let outcomes: Vec<Outcome> = text.lines().filter_map(Outcome::parse).collect();
    assert_eq!(outcomes.len(), KINDS.len(), "{library:?}, {environment:?}: {text}");
    outcomes
}

#[test]
fn differences_from_libkeepalive_0_3_are_the_listed_ones() {
    let predecessor = Path::new(PREDECESSOR);
    if !predecessor.is_file() {
        skip!("{PREDECESSOR} is missing (Debian's libkeepalive0)");
    }
    let target = compile(Libc::Host, "socket_kinds.c", &[]);
    let without_library = sockets(&target, None, &[], &[]);
    let is_missing = |kind: usize| match KINDS[kind].3 {
        Nature::Impossible => false,
        Nature::Mptcp => without_library[kind].fd < 0 || without_library[kind].has[1] < 0,
        _ => without_library[kind].fd < 0,
    };
    for kind in (0..KINDS.len()).filter(|&kind| is_missing(kind)) {
        report_skip(&format!(
            "{:?}: this kernel or this user has no such socket",
            KINDS[kind]
        ));
    }
    let mut wrong = Vec::new();

    for case in cases() {
        let new_library = sockets(&target, Some(&library()), &case.environment, case.changes);
        let old_library = sockets(&target, Some(predecessor), &case.environment, case.changes);
        let context = |kind: usize| format!("{:?}, then {:?}, {:?}", case.environment, case.changes, KINDS[kind]);
        let is_plain = case.environment.is_empty() && case.changes.is_empty();
        let mut differs = false;

        for (kind, &(.., nature, reason)) in KINDS.iter().enumerate() {
            if is_missing(kind) {
                continue;
            }
            let (without_library, new_library, old_library) =
                (without_library[kind], new_library[kind], old_library[kind]);
            let expected = without_library.with_new_library(nature, case.new_library);
            if new_library != expected {
                wrong.push(format!(
                    "{}: this library gives {new_library:?} instead of {expected:?}",
                    context(kind)
                ));
            }
            if let Some(expected) = without_library.with_old_library(nature, case.old_library)
                && old_library != expected
            {
                wrong.push(format!(
                    "{}: 0.3 gives {old_library:?} instead of {expected:?}",
                    context(kind)
                ));
            }
            if new_library != old_library && case.why.is_empty() && reason.is_empty() {
                wrong.push(format!(
                    "{}: {new_library:?} differs from {old_library:?}",
                    context(kind)
                ));
            }
            if is_plain && (new_library != old_library) == reason.is_empty() {
                wrong.push(format!(
                    "{}: {new_library:?} and {old_library:?}, listed as {reason:?}",
                    context(kind)
                ));
            }
            differs |= nature == Nature::Tcp && new_library != old_library;
        }
        if differs == case.why.is_empty() {
            wrong.push(format!(
                "{:?}: differs is {differs}, listed as {:?}",
                case.environment, case.why
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//! The successor of libkeepalive 0.3: every environment with every kind of socket, under Debian's libkeepalive0 and under
//! ours. The tables say what each does. Where the two differ they say why; a difference without a reason fails, and a
//! reason without a difference too.

use crate::support::target::{Libc, compile, no_config, quiet_output, without_library};
use crate::support::{library, report_skip};
use std::path::Path;

/// libkeepalive 0.3 as Debian installs it.
const PREDECESSOR: &str = "/usr/lib/libkeepalive.so.0";

const EINVAL: i32 = 22;
const ENOPROTOOPT: i32 = 92;

/// The place of a reason where both do the same.
const SAME: &str = "";

// The reasons for which environments have another effect.
const PREFIX: &str =
    "0.3 takes the digits at the beginning, as atoi(3) does; ours ignores what is no number as a whole";
const UNIT: &str = "ours knows units; 0.3 takes the digits at the beginning";
const OUT_OF_RANGE: &str = "0.3 hands the kernel what it refuses, and leaves EINVAL in errno after a successful call";
const WRAPPED: &str = "0.3 cuts the number to 32 bits";
const NO_SKIP: &str = "`skip` is of 0.2: 0.3 knows no word but `off`, and all others are `on`";
const SPACE: &str = "0.3 compares the whole value; ours forgives white space around it";
const READ_ONCE: &str = "0.3 asks the environment at each socket, ours once, when it is loaded";

// The reasons for which kinds of socket are treated in another way.
const ODD: &str = "0.3 treats every odd type as a stream; keepalive on a raw socket does nothing";

const KEEPIDLE: usize = 0;
const KEEPINTVL: usize = 1;
const KEEPCNT: usize = 2;
const VARIABLES: [&str; 3] = ["KEEPIDLE", "KEEPINTVL", "KEEPCNT"];
const EACH: &[usize] = &[KEEPIDLE, KEEPINTVL, KEEPCNT];
const TIMES: &[usize] = &[KEEPIDLE, KEEPINTVL];
const COUNT: &[usize] = &[KEEPCNT];
/// The largest number that the kernel takes for each variable; the smallest is 1.
const LARGEST: [i32; 3] = [32_767, 32_767, 127];

type Number = (&'static [usize], &'static str, Option<i32>, i32, &'static str);

/// The variables, their text, what ours sets, what 0.3 hands to the kernel, and why they differ.
const NUMBERS: &[Number] = &[
    (EACH, "61", Some(61), 61, SAME),
    (EACH, "1", Some(1), 1, SAME),
    (EACH, "127", Some(127), 127, SAME),
    (TIMES, "32767", Some(32_767), 32_767, SAME),
    (EACH, "0061", Some(61), 61, SAME),
    (EACH, "+60", Some(60), 60, SAME),
    (EACH, " 60", Some(60), 60, SAME),
    (EACH, "60 ", Some(60), 60, SAME),
    (EACH, "\t60\n", Some(60), 60, SAME),
    (EACH, "60x", None, 60, PREFIX),
    (EACH, "1e9", None, 1, PREFIX),
    (EACH, "60.5", None, 60, PREFIX),
    (EACH, "60,5", None, 60, PREFIX),
    (EACH, "6 0", None, 6, PREFIX),
    (EACH, "60 s", None, 60, PREFIX),
    (TIMES, "60s", Some(60), 60, SAME),
    (TIMES, "2m", Some(120), 2, UNIT),
    (TIMES, "1h", Some(3600), 1, UNIT),
    (TIMES, "9000ms", Some(9), 9000, UNIT),
    (TIMES, "1500ms", None, 1500, UNIT),
    (COUNT, "60s", None, 60, PREFIX),
    (COUNT, "2m", None, 2, PREFIX),
    (EACH, "", None, 0, OUT_OF_RANGE),
    (EACH, "0", None, 0, OUT_OF_RANGE),
    (EACH, "-1", None, -1, OUT_OF_RANGE),
    (EACH, "-60", None, -60, OUT_OF_RANGE),
    (EACH, "+-60", None, 0, OUT_OF_RANGE),
    (EACH, "sixty", None, 0, OUT_OF_RANGE),
    (EACH, "0x3c", None, 0, OUT_OF_RANGE),
    (EACH, "32768", None, 32_768, OUT_OF_RANGE),
    (EACH, "2147483647", None, 2_147_483_647, OUT_OF_RANGE),
    (EACH, "2147483648", None, -2_147_483_648, OUT_OF_RANGE),
    (COUNT, "128", None, 128, OUT_OF_RANGE),
    (EACH, "4294967356", None, 60, WRAPPED),
    // 2⁶⁴ + 60: strtol(3) stops at the largest 64-bit number, whose lower half is −1.
    (EACH, "18446744073709551676", None, -1, OUT_OF_RANGE),
];

/// The value of `KEEPALIVE`, what ours does, what 0.3 does, and why they differ; with all three numbers.
const SWITCH: &[(&str, Does, Does, &str)] = &[
    ("on", Does::On, Does::On, SAME),
    ("ON", Does::On, Does::On, SAME),
    ("off", Does::Nothing, Does::Nothing, SAME),
    ("OFF", Does::Nothing, Does::Nothing, SAME),
    ("oFf", Does::Nothing, Does::Nothing, SAME),
    ("", Does::On, Does::On, SAME),
    ("0", Does::On, Does::On, SAME),
    ("no", Does::On, Does::On, SAME),
    ("offx", Does::On, Does::On, SAME),
    ("off off", Does::On, Does::On, SAME),
    ("off ", Does::Nothing, Does::On, SPACE),
    ("\toff", Does::Nothing, Does::On, SPACE),
    ("skip", Does::Timing, Does::On, NO_SKIP),
    ("SKIP", Does::Timing, Does::On, NO_SKIP),
    ("leave", Does::Timing, Does::On, NO_SKIP),
];
const SWITCHED: [&str; 3] = ["KEEPIDLE=61", "KEEPINTVL=13", "KEEPCNT=4"];
const SWITCHED_NUMBERS: [Option<i32>; 3] = [Some(61), Some(13), Some(4)];

type Whole = (
    &'static [&'static str],
    &'static [&'static str],
    [Option<i32>; 3],
    [Option<i32>; 3],
    &'static str,
);

/// Whole environments, what the program changes before its first socket, the numbers of ours, those that 0.3 hands to the
/// kernel, and why they differ.
const WHOLE: &[Whole] = &[
    (&[], &[], [None; 3], [None; 3], SAME),
    (&SWITCHED, &[], SWITCHED_NUMBERS, SWITCHED_NUMBERS, SAME),
    (
        &["KEEPINTVL=13", "KEEPCNT=4"],
        &[],
        [None, Some(13), Some(4)],
        [None, Some(13), Some(4)],
        SAME,
    ),
    // Not ours, and not in capitals.
    (
        &["KEEPIDLES=61", "XKEEPIDLE=61", "keepidle=61", "KEEPIDL=61", "KEEP=61"],
        &[],
        [None; 3],
        [None; 3],
        SAME,
    ),
    // The first of two counts, for getenv(3) too; an entry without a value is none.
    (
        &["KEEPIDLE", "KEEPIDLE=61", "KEEPIDLE=62"],
        &[],
        [Some(61), None, None],
        [Some(61), None, None],
        SAME,
    ),
    (
        &["KEEPIDLE=sixty", "KEEPIDLE=62"],
        &[],
        [None; 3],
        [Some(0), None, None],
        OUT_OF_RANGE,
    ),
    // What is wrong with one leaves the others.
    (
        &["KEEPIDLE=61", "KEEPINTVL=0", "KEEPCNT=4"],
        &[],
        [Some(61), None, Some(4)],
        [Some(61), Some(0), Some(4)],
        OUT_OF_RANGE,
    ),
    (
        &["KEEPIDLE=61"],
        &["KEEPIDLE"],
        [Some(61), None, None],
        [None; 3],
        READ_ONCE,
    ),
    (&[], &["KEEPIDLE=61"], [None; 3], [Some(61), None, None], READ_ONCE),
    (
        &["KEEPIDLE=61"],
        &["KEEPIDLE=61"],
        [Some(61), None, None],
        [Some(61), None, None],
        SAME,
    ),
];

/// What a library makes of `KEEPALIVE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// It sets `SO_KEEPALIVE` and the numbers.
    On,
    /// It sets the numbers.
    Timing,
    Nothing,
}

/// What a socket is to the two libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Tcp,
    /// Its numbers are not checked by the kernel (`net/mptcp/sockopt.c`).
    Mptcp,
    /// No TCP, though 0.3 takes it for that.
    Odd,
    Other,
    /// There is no such socket.
    Impossible,
}

const STREAM: i32 = 1;
const DGRAM: i32 = 2;
const RAW: i32 = 3;
const SEQPACKET: i32 = 5;
const NONBLOCK: i32 = 0o4000;
const CLOEXEC: i32 = 0o2_000_000;
const UNIX: i32 = 1;
const INET: i32 = 2;
const INET6: i32 = 10;
const NETLINK: i32 = 16;
const TCP: i32 = 6;
const UDP: i32 = 17;
const MPTCP: i32 = 262;

/// Domain, type and protocol, what that is, and why the two treat it in different ways.
const KINDS: &[(i32, i32, i32, Nature, &str)] = &[
    (INET, STREAM, 0, Nature::Tcp, SAME),
    (INET, STREAM, TCP, Nature::Tcp, SAME),
    (INET, STREAM | CLOEXEC, 0, Nature::Tcp, SAME),
    (INET, STREAM | NONBLOCK, 0, Nature::Tcp, SAME),
    (INET, STREAM | CLOEXEC | NONBLOCK, TCP, Nature::Tcp, SAME),
    (INET6, STREAM, 0, Nature::Tcp, SAME),
    (INET6, STREAM, TCP, Nature::Tcp, SAME),
    (INET6, STREAM | CLOEXEC, 0, Nature::Tcp, SAME),
    (INET6, STREAM | NONBLOCK, 0, Nature::Tcp, SAME),
    (INET6, STREAM | CLOEXEC | NONBLOCK, TCP, Nature::Tcp, SAME),
    (INET, STREAM, MPTCP, Nature::Mptcp, SAME),
    (INET6, STREAM | CLOEXEC, MPTCP, Nature::Mptcp, SAME),
    (INET, DGRAM, 0, Nature::Other, SAME),
    (INET, DGRAM | CLOEXEC, UDP, Nature::Other, SAME),
    (INET6, DGRAM | NONBLOCK, 0, Nature::Other, SAME),
    (INET, RAW, TCP, Nature::Odd, ODD),
    (INET6, RAW | CLOEXEC, UDP, Nature::Odd, ODD),
    (UNIX, STREAM, 0, Nature::Other, SAME),
    (UNIX, DGRAM | CLOEXEC, 0, Nature::Other, SAME),
    (UNIX, SEQPACKET, 0, Nature::Other, SAME),
    (NETLINK, RAW, 0, Nature::Other, SAME),
    // Protocol 6 of netlink is NETLINK_XFRM.
    (NETLINK, RAW | CLOEXEC, TCP, Nature::Other, SAME),
    (NETLINK, DGRAM, TCP, Nature::Other, SAME),
    (INET, STREAM, UDP, Nature::Impossible, SAME),
    (INET, DGRAM, TCP, Nature::Impossible, SAME),
    (INET, SEQPACKET, 0, Nature::Impossible, SAME),
    (INET, STREAM | 0x100, 0, Nature::Impossible, SAME),
    (UNIX, STREAM, TCP, Nature::Impossible, SAME),
    (999, STREAM, TCP, Nature::Impossible, SAME),
    (-1, -1, -1, Nature::Impossible, SAME),
];

/// One environment: what the libraries do and hand to the kernel.
struct Case {
    environment: Vec<String>,
    changes: &'static [&'static str],
    ours: (Does, [Option<i32>; 3]),
    theirs: (Does, [Option<i32>; 3]),
    why: &'static str,
}

fn cases() -> Vec<Case> {
    let numbers = NUMBERS.iter().flat_map(|&(variables, text, ours, theirs, why)| {
        variables.iter().map(move |&variable| {
            let only = |number| {
                let mut numbers = [None; 3];
                numbers[variable] = number;
                (Does::On, numbers)
            };
            Case {
                environment: vec![format!("{}={text}", VARIABLES[variable])],
                changes: &[],
                ours: only(ours),
                theirs: only(Some(theirs)),
                why,
            }
        })
    });
    let switch = SWITCH.iter().map(|&(word, ours, theirs, why)| Case {
        environment: [&format!("KEEPALIVE={word}")[..]]
            .into_iter()
            .chain(SWITCHED)
            .map(str::to_owned)
            .collect(),
        changes: &[],
        ours: (ours, SWITCHED_NUMBERS),
        theirs: (theirs, SWITCHED_NUMBERS),
        why,
    });
    let whole = WHOLE.iter().map(|&(environment, changes, ours, theirs, why)| Case {
        environment: environment.iter().map(|&entry| entry.to_owned()).collect(),
        changes,
        ours: (Does::On, ours),
        theirs: (Does::On, theirs),
        why,
    });
    numbers.chain(switch).chain(whole).collect()
}

/// What a call of socket(2) gave, and what the socket then has: keepalive, idle, interval, count; −1 for what it has not.
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

    /// This, after a library has done `does` to it with those of `numbers` that the kernel takes.
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

    /// What 0.3 makes of this, and nothing where that depends on the kernel's version.
    fn with_theirs(self, nature: Nature, (does, numbers): (Does, [Option<i32>; 3])) -> Option<Self> {
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

    fn with_ours(self, nature: Nature, (does, numbers): (Does, [Option<i32>; 3])) -> Self {
        match nature {
            Nature::Tcp | Nature::Mptcp => self.with(does, numbers),
            Nature::Odd | Nature::Other | Nature::Impossible => self,
        }
    }
}

/// Makes one socket of each kind.
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
fn it_differs_from_libkeepalive_0_3_only_where_listed() {
    let predecessor = Path::new(PREDECESSOR);
    if !predecessor.is_file() {
        skip!("{PREDECESSOR} is missing (Debian's libkeepalive0)");
    }
    let target = compile(Libc::Host, "socket_kinds.c", &[]);
    let bare = sockets(&target, None, &[], &[]);
    let is_missing = |kind: usize| match KINDS[kind].3 {
        Nature::Impossible => false,
        Nature::Mptcp => bare[kind].fd < 0 || bare[kind].has[1] < 0,
        _ => bare[kind].fd < 0,
    };
    for kind in (0..KINDS.len()).filter(|&kind| is_missing(kind)) {
        report_skip(&format!(
            "{:?}: this kernel or this user has no such socket",
            KINDS[kind]
        ));
    }
    let mut wrong = Vec::new();

    for case in cases() {
        let ours = sockets(&target, Some(&library()), &case.environment, case.changes);
        let theirs = sockets(&target, Some(predecessor), &case.environment, case.changes);
        let context = |kind: usize| format!("{:?}, then {:?}, {:?}", case.environment, case.changes, KINDS[kind]);
        let is_plain = case.environment.is_empty() && case.changes.is_empty();
        let mut differs = false;

        for (kind, &(.., nature, reason)) in KINDS.iter().enumerate() {
            if is_missing(kind) {
                continue;
            }
            let (bare, ours, theirs) = (bare[kind], ours[kind], theirs[kind]);
            let expected = bare.with_ours(nature, case.ours);
            if ours != expected {
                wrong.push(format!(
                    "{}: ours gives {ours:?} instead of {expected:?}",
                    context(kind)
                ));
            }
            if let Some(expected) = bare.with_theirs(nature, case.theirs)
                && theirs != expected
            {
                wrong.push(format!(
                    "{}: 0.3 gives {theirs:?} instead of {expected:?}",
                    context(kind)
                ));
            }
            if ours != theirs && case.why.is_empty() && reason.is_empty() {
                wrong.push(format!("{}: {ours:?} differs from {theirs:?}", context(kind)));
            }
            if is_plain && (ours != theirs) == reason.is_empty() {
                wrong.push(format!(
                    "{}: {ours:?} and {theirs:?}, listed as {reason:?}",
                    context(kind)
                ));
            }
            differs |= nature == Nature::Tcp && ours != theirs;
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

//! The environments and kinds of sockets that are compared, and the reasons for differences.

/// In place of a reason if both do the same.
const SAME: &str = "";

// The reasons for which environments have different effects.
const PREFIX: &str = "0.3 takes the leading digits, as atoi(3) does; this library ignores such a value";
const UNIT: &str = "this library accepts units; 0.3 uses the leading digits";
const OUT_OF_RANGE: &str = "0.3 passes invalid numbers to the kernel, and leaves EINVAL in errno after success";
const WRAPPED: &str = "0.3 cuts the number to 32 bits";
const NO_SKIP: &str = "`skip` is a value of 0.2: for 0.3 every value but `off` means `on`";
const SPACE: &str = "0.3 compares the whole value; this library ignores white space around it";
const READ_ONCE: &str = "0.3 reads the environment at each socket, this library once, when it is loaded";

// The reasons for which kinds of sockets are set differently.
const ODD: &str = "0.3 treats every odd type as a stream; keepalive on a raw socket does nothing";

const KEEPIDLE: usize = 0;
const KEEPINTVL: usize = 1;
const KEEPCNT: usize = 2;
const VARIABLES: [&str; 3] = ["KEEPIDLE", "KEEPINTVL", "KEEPCNT"];
const EACH: &[usize] = &[KEEPIDLE, KEEPINTVL, KEEPCNT];
const TIMES: &[usize] = &[KEEPIDLE, KEEPINTVL];
const COUNT: &[usize] = &[KEEPCNT];
/// The largest number that the kernel accepts for each variable; the smallest is 1.
pub(super) const LARGEST: [i32; 3] = [32_767, 32_767, 127];

type Number = (&'static [usize], &'static str, Option<i32>, i32, &'static str);

/// The variables, their text, the number that this library sets, the number that 0.3 passes to the kernel, and the
/// reason for a difference.
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

/// The value of `KEEPALIVE`, the effects of this library and of 0.3, and the reason for a difference; with all three
/// numbers.
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

/// Whole environments, the changes of the program before its first socket, the numbers of this library, those that 0.3
/// passes to the kernel, and the reason for a difference.
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
    // Variables of another prefix, and not in capitals.
    (
        &["KEEPIDLES=61", "XKEEPIDLE=61", "keepidle=61", "KEEPIDL=61", "KEEP=61"],
        &[],
        [None; 3],
        [None; 3],
        SAME,
    ),
    // The first of two counts applies, for getenv(3) too; an entry without a value is ignored.
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
    // An invalid variable does not affect the others.
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

/// The effect of `KEEPALIVE` in a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Sets `SO_KEEPALIVE` and the numbers.
    On,
    /// Sets the numbers.
    Timing,
    Nothing,
}

/// How the two libraries regard a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    Tcp,
    /// The kernel does not check its numbers (`net/mptcp/sockopt.c`).
    Mptcp,
    /// Not TCP, but 0.3 treats it as TCP.
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

/// Domain, type and protocol, the nature of the socket, and the reason for a difference.
pub(super) const KINDS: &[(i32, i32, i32, Nature, &str)] = &[
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

/// One environment: the effects of the libraries, and the numbers that they pass to the kernel.
pub(super) struct Case {
    pub(super) environment: Vec<String>,
    pub(super) changes: &'static [&'static str],
    pub(super) new_library: (Does, [Option<i32>; 3]),
    pub(super) old_library: (Does, [Option<i32>; 3]),
    pub(super) why: &'static str,
}

pub(super) fn cases() -> Vec<Case> {
    let numbers = NUMBERS
        .iter()
        .flat_map(|&(variables, text, new_library, old_library, why)| {
            variables.iter().map(move |&variable| {
                let only = |number| {
                    let mut numbers = [None; 3];
                    numbers[variable] = number;
                    (Does::On, numbers)
                };
                Case {
                    environment: vec![format!("{}={text}", VARIABLES[variable])],
                    changes: &[],
                    new_library: only(new_library),
                    old_library: only(Some(old_library)),
                    why,
                }
            })
        });
    let switch = SWITCH.iter().map(|&(word, new_library, old_library, why)| Case {
        environment: [&format!("KEEPALIVE={word}")[..]]
            .into_iter()
            .chain(SWITCHED)
            .map(str::to_owned)
            .collect(),
        changes: &[],
        new_library: (new_library, SWITCHED_NUMBERS),
        old_library: (old_library, SWITCHED_NUMBERS),
        why,
    });
    let whole = WHOLE
        .iter()
        .map(|&(environment, changes, new_library, old_library, why)| Case {
            environment: environment.iter().map(|&entry| entry.to_owned()).collect(),
            changes,
            new_library: (Does::On, new_library),
            old_library: (Does::On, old_library),
            why,
        });
    numbers.chain(switch).chain(whole).collect()
}

//! The program that gives a connection its settings as soon as it is established (`BPF_PROG_TYPE_SOCK_OPS`).
//!
//! The rules are compiled into it, in their order, as one function for each direction: the first that matches writes what
//! it says on the stack and calls the one function that sets it. There is no loop, and no jump further than to the next rule.

use crate::apply::Apply;
use crate::assembler::{Assembler, Condition, Helper, Instruction, Label, Map, Operation, Register, Size};
use crate::decision_list::{Branch, decision_list};
use crate::fields::{Fields, ReadTask, TaskFields};
use crate::record;
use crate::sock_settings::{CREATE, SOCK_SETTINGS_LENGTH, SockSettings};
use Condition::{Above, Different, Equal};
use Register::{R0, R1, R2, R3, R4, R6, R7, R10};
use Size::{Long, Word};
use keepalive_policy::option::BY_EBPF;
use keepalive_policy::{Direction, Network, Ports, Source};
use std::io;

/// What of a policy decides which maps its program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Needs {
    /// Some rule asks for the program's name, which is noted when a socket connects or listens.
    pub names: bool,
    /// Some mode goes on to count after the connection is established.
    pub sock_settings: bool,
    /// Some setting depends on what the program has set before.
    pub reads: bool,
    /// Some user timeout is made of the connection's times.
    pub automatic: bool,
}

/// The maps of the program.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    /// [`keepalive_sys::bpf::call::MapKind::Single`], a [`crate::record`]: how often each rule was used, then how often none was, then
    /// how often the kernel refused an option.
    pub counters: Map,
    /// A socket's, inherited: the name of the program that connects or listens, 16 bytes.
    pub names: Option<Map>,
    /// A socket's: the settings that stay in effect.
    pub sock_settings: Option<Map>,
}

/// How to tell what a program has set itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnValues {
    /// The kernel's own fields tell: they are 0 where nobody has set anything.
    Fields(Fields),
    /// What is neither this nor what the kernel is built with has been set. The values are read by `bpf_getsockopt()`, which
    /// knows these options since Linux 6.1.
    Differ {
        /// What a fresh socket has, in the order of [`BY_EBPF`].
        kernel_default: [u32; BY_EBPF.len()],
    },
}

/// A policy that a program can be made of.
#[derive(Debug)]
pub struct Policy<'a> {
    branches: Vec<Branch<'a>>,
    /// How many rules there are.
    rules: usize,
}

// `struct bpf_sock_ops` (`include/uapi/linux/bpf.h`).
pub(crate) const OPERATION: i16 = 0;
const REPLY: i16 = 4;
const FAMILY: i16 = 20;
const REMOTE_IP4: i16 = 24;
const REMOTE_IP6: i16 = 32;
const REMOTE_PORT: i16 = 64;
const LOCAL_PORT: i16 = 68;
pub(crate) const SOCKET: i16 = 184;
// `BPF_SOCK_OPS_*_CB`.
const CONNECT: i32 = 3;
const ACTIVE_ESTABLISHED: i32 = 4;
const PASSIVE_ESTABLISHED: i32 = 5;
pub(crate) const LISTEN: i32 = 11;
const AF_INET: i32 = 2;

// The stack: the peer's address, the program's name, the settings.
const PEER: i16 = -16;
const NAME: i16 = -32;
const WISH: i16 = NAME - SOCK_SETTINGS_LENGTH;
/// As many bytes of a program's name as the kernel keeps (`TASK_COMM_LEN`, with the zero byte).
const NAME_LENGTH: usize = 16;

impl<'a> Policy<'a> {
    /// The policy of these sources, in the order of precedence.
    pub fn new(sources: &[Source<'a>]) -> Self {
        Self {
            branches: decision_list(sources),
            rules: sources.iter().map(|source| source.rules.len()).sum(),
        }
    }

    /// What its program needs.
    pub fn needs(&self) -> Needs {
        let sock_settings = self
            .branches
            .iter()
            .filter_map(|branch| SockSettings::of(&branch.settings));
        let sock_settings: Vec<_> = sock_settings.collect();
        Needs {
            names: self.branches.iter().any(|branch| branch.program.is_some()),
            sock_settings: sock_settings.iter().any(SockSettings::is_persistent),
            reads: sock_settings.iter().any(SockSettings::reads),
            automatic: sock_settings.iter().any(SockSettings::is_automatic),
        }
    }

    /// How many counters there are: one for each rule, one for the connections that no rule is for, one for refusals.
    pub fn counters(&self) -> usize {
        self.rules + 2
    }

    /// The program. `task` is needed where [`Needs::names`] is, [`Fields::defaults`] where [`Needs::automatic`] is.
    ///
    /// # Errors
    /// None that the tests would not show. Whether the program is too long, the kernel says when it is loaded.
    pub fn program(&self, maps: &Maps, own: OwnValues, task: Option<TaskFields>) -> io::Result<Vec<Instruction>> {
        let mut code = Assembler::default();
        let [connected, accepted, apply] = [(); 3].map(|()| code.label());
        find_out_which_end(&mut code, maps, task, connected, accepted);
        for (direction, list) in [(Direction::Connect, connected), (Direction::Accept, accepted)] {
            code.place(list);
            self.list(&mut code, direction, maps, apply);
        }
        code.place(apply);
        if code.is_used(apply) {
            let refusals = self.rules + 1;
            Apply {
                code: &mut code,
                maps,
                own,
                refusals,
                has_automatic: self.needs().automatic,
            }
            .emit();
        }
        code.finish()
    }

    /// The function for connections of this direction.
    fn list(&self, code: &mut Assembler, direction: Direction, maps: &Maps, apply: Label) {
        let mut list: Vec<_> = self.branches.iter().collect();
        list.retain(|branch| branch.direction.is_none_or(|wanted| wanted == direction));
        // Nothing comes after one that is for all, and one is.
        let all = list.iter().position(|branch| is_for_all(branch));
        list.truncate(all.map_or(list.len(), |all| all + 1));
        code.copy(R6, R1);
        end_if_decided(code);
        if list.iter().any(|branch| branch.network != Network::ANY) {
            load_peer(code);
        }
        if let Some(names) = maps
            .names
            .filter(|_| list.iter().any(|branch| branch.program.is_some()))
        {
            load_name(code, names);
        }
        for branch in list {
            let next = code.label();
            check(code, branch, direction, next);
            let none = [self.rules];
            let counters = if branch.rules.is_empty() {
                &none[..]
            } else {
                &branch.rules
            };
            for counter in counters {
                count(code, maps.counters, *counter);
            }
            if let Some(settings) = settings(branch, maps) {
                store_settings_at(code, settings);
                code.copy(R1, R6);
                code.copy(R2, R10);
                code.compute(Operation::Add, R2, WISH.into());
                code.call_local(apply);
            }
            code.exit_with(0);
            code.place(next);
        }
    }
}

/// What is left in the reply, which the kernel does not read of an established connection: that a policy has decided.
const DECIDED: i32 = 0x6b65_6570;

/// Ends where a policy nearer to the process has decided; programs of nearer cgroups run before, with the same context.
fn end_if_decided(code: &mut Assembler) {
    let goes_on = code.label();
    code.load(Word, R1, R6, REPLY);
    code.jump_if(R1, Different, DECIDED, goes_on);
    code.exit_with(0);
    code.place(goes_on);
    code.set(R1, DECIDED);
    code.store(Word, R6, REPLY, R1);
}

/// Calls the function for the connection's direction. Anything but an established connection ends here; its reply is never
/// touched, since other programs may have given one.
fn find_out_which_end(code: &mut Assembler, maps: &Maps, task: Option<TaskFields>, connected: Label, accepted: Label) {
    let [is_connected, is_accepted, ends] = [(); 3].map(|()| code.label());
    code.load(Word, R0, R1, OPERATION);
    code.jump_if(R0, Equal, ACTIVE_ESTABLISHED, is_connected);
    code.jump_if(R0, Equal, PASSIVE_ESTABLISHED, is_accepted);
    if let (Some(names), Some(task)) = (maps.names, task) {
        let note = code.label();
        code.jump_if(R0, Equal, CONNECT, note);
        code.jump_if(R0, Different, LISTEN, ends);
        code.place(note);
        code.copy(R6, R1);
        note_name(code, names, task, ends);
    }
    code.place(ends);
    code.exit_with(1);
    for (is_so, function) in [(is_connected, connected), (is_accepted, accepted)] {
        code.place(is_so);
        code.call_local(function);
        code.exit_with(1);
    }
}

/// Whether it is for all connections of its direction.
fn is_for_all(branch: &Branch<'_>) -> bool {
    branch.program.is_none() && branch.network == Network::ANY && branch.ports == Ports::ANY
}

/// What is passed on for `branch`, if anything. Where settings are stored, nothing is stored too: a socket that connects anew has
/// the note of its first connection.
fn settings(branch: &Branch<'_>, maps: &Maps) -> Option<SockSettings> {
    SockSettings::of(&branch.settings).or_else(|| maps.sock_settings.map(|_| SockSettings::NOTHING))
}

/// Writes settings on the stack. Without CAP_PERFMON the verifier lets a program write to a part of eight bytes only where it has
/// not noted what the whole is, which is so for numbers too: so all eight are written at once, here and elsewhere.
fn store_settings_at(code: &mut Assembler, SockSettings(numbers): SockSettings) {
    for (offset, pair) in (WISH..).step_by(8).zip(numbers.as_chunks::<2>().0) {
        let [first, second] = pair.map(u32::to_ne_bytes);
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&first);
        bytes[4..].copy_from_slice(&second);
        code.set_any(R1, u64::from_ne_bytes(bytes));
        code.store(Long, R10, offset, R1);
    }
}

/// The first eight of the sixteen bytes of an IPv4-mapped address are zero, then come these four (RFC 4291 §2.5.5.2).
const MAPPED: [u8; 4] = [0, 0, 0xff, 0xff];

/// Writes the peer's address on the stack, as sixteen bytes in the network's order.
fn load_peer(code: &mut Assembler) {
    let [is_v6, done] = [(); 2].map(|()| code.label());
    code.load(Word, R1, R6, FAMILY);
    code.jump_if(R1, Different, AF_INET, is_v6);
    code.store_number(Long, PEER, 0);
    code.set_any(R1, u32::from_ne_bytes(MAPPED).into());
    code.load(Word, R2, R6, REMOTE_IP4);
    code.join_words(R1, R2);
    code.store(Long, R10, PEER + 8, R1);
    code.jump(done);
    code.place(is_v6);
    for half in [0, 8] {
        code.load(Word, R1, R6, REMOTE_IP6 + half);
        code.load(Word, R2, R6, REMOTE_IP6 + half + 4);
        code.join_words(R1, R2);
        code.store(Long, R10, PEER + half, R1);
    }
    code.place(done);
}

/// Writes the name that was noted on the stack, or zeroes.
fn load_name(code: &mut Assembler, names: Map) {
    let [unknown, known] = [(); 2].map(|()| code.label());
    code.load(Long, R2, R6, SOCKET);
    code.jump_if(R2, Equal, 0, unknown);
    code.map(R1, names);
    code.set(R3, 0);
    code.set(R4, 0);
    code.call(Helper::SkStorageGet);
    code.jump_if(R0, Equal, 0, unknown);
    for half in [0, 8] {
        code.load(Long, R1, R0, half);
        code.store(Long, R10, NAME + half, R1);
    }
    code.jump(known);
    code.place(unknown);
    for half in [0, 8] {
        code.store_number(Long, NAME + half, 0);
    }
    code.place(known);
}

/// Notes the name of the program that connects or listens: that of the first thread, since others may have names of
/// their own.
fn note_name(code: &mut Assembler, names: Map, task: TaskFields, ends: Label) {
    match task.read {
        ReadTask::Typed => {
            code.call(Helper::GetCurrentTaskBtf);
            code.load(Long, R7, R0, task.leader);
            for half in [0, 8] {
                code.load(Long, R1, R7, task.name + half);
                code.store(Long, R10, NAME + half, R1);
            }
        }
        ReadTask::Copied => {
            code.call(Helper::GetCurrentTask);
            copy_from_kernel(code, 8, R0, task.leader, ends);
            code.load(Long, R1, R10, NAME);
            copy_from_kernel(code, 16, R1, task.name, ends);
        }
    }
    code.load(Long, R2, R6, SOCKET);
    code.jump_if(R2, Equal, 0, ends);
    code.map(R1, names);
    code.copy(R3, R10);
    code.compute(Operation::Add, R3, NAME.into());
    code.set(R4, CREATE);
    code.call(Helper::SkStorageGet);
    code.jump_if(R0, Equal, 0, ends);
    // A socket that was noted before may be another program's now.
    for half in [0, 8] {
        code.load(Long, R1, R10, NAME + half);
        code.store(Long, R0, half, R1);
    }
}

/// Copies so many bytes of the kernel's memory, `offset` bytes behind `from`, to the stack; goes to `ends` where it cannot.
fn copy_from_kernel(code: &mut Assembler, length: i32, from: Register, offset: i16, ends: Label) {
    code.copy(R3, from);
    code.compute(Operation::Add, R3, offset.into());
    code.copy(R1, R10);
    code.compute(Operation::Add, R1, NAME.into());
    code.set(R2, length);
    code.call(Helper::ProbeReadKernel);
    code.jump_if(R0, Different, 0, ends);
}

/// Goes to `next` unless the connection, which has this direction, is one of this branch.
fn check(code: &mut Assembler, branch: &Branch<'_>, direction: Direction, next: Label) {
    if branch.ports != Ports::ANY {
        check_port(code, branch.ports, direction, next);
    }
    if let Some(program) = branch.program {
        let mut name = [0; NAME_LENGTH];
        let mut length = 0;
        for (to, from) in name.iter_mut().take(NAME_LENGTH - 1).zip(program) {
            *to = *from;
            length += 8;
        }
        // With the zero byte; before Linux 5.17 the rest of an earlier name may stand behind it.
        check_bytes(code, NAME, name, length + 8, next);
    }
    let (address, length) = branch.network.prefix();
    check_bytes(code, PEER, address, length, next);
    if branch.network.excludes_mapped() {
        let other = code.label();
        let mut mapped = [0; 16];
        mapped[8..12].copy_from_slice(&MAPPED);
        check_bytes(code, PEER, mapped, 96, other);
        code.jump(next);
        code.place(other);
    }
}

/// The port is loaded for each rule anew: else the verifier would go on with what every comparison has taught it, and the
/// work would grow with the square of the rules.
fn check_port(code: &mut Assembler, Ports { first, last }: Ports, direction: Direction, next: Label) {
    match direction {
        Direction::Accept => code.load(Word, R1, R6, LOCAL_PORT),
        Direction::Connect => {
            code.load(Word, R1, R6, REMOTE_PORT);
            code.swap_network_word(R1);
        }
    }
    if first == last {
        code.jump_if(R1, Different, first.into(), next);
    } else {
        code.compute(Operation::Subtract, R1, first.into());
        code.jump_if(R1, Above, (last - first).into(), next);
    }
}

/// Goes to `next` unless the sixteen bytes on the stack begin with the first `length` bits of `expected`.
fn check_bytes(code: &mut Assembler, place: i16, expected: [u8; 16], length: u8, next: Label) {
    let mask = u128::MAX
        .checked_shl(128 - u32::from(length))
        .unwrap_or(0)
        .to_be_bytes();
    // In the order in which this machine has the bytes of a number in memory.
    let half = |bytes: [u8; 16], begin: usize| {
        let bytes = bytes[begin..].first_chunk().copied();
        u64::from_ne_bytes(bytes.unwrap_or_default())
    };
    for (begin, offset) in [(0, 0), (8, 8)] {
        let (mask, expected) = (half(mask, begin), half(expected, begin));
        if mask == 0 {
            continue;
        }
        code.load(Long, R1, R10, place + offset);
        if mask != u64::MAX {
            code.set_long(R2, mask);
            code.compute_register(Operation::And, R1, R2);
        }
        // What is compared is no longer what was loaded, so that the verifier learns nothing of that; as in `check_port`.
        code.set_long(R2, expected);
        code.compute_register(Operation::ExclusiveOr, R1, R2);
        code.jump_if(R1, Different, 0, next);
    }
}

pub(crate) fn count(code: &mut Assembler, counters: Map, counter: usize) {
    code.map_value(R1, counters, record::place(counter));
    code.set(R2, 1);
    code.add_atomically(R1, R2);
}

/// A user timeout of 0 is none: R1 and R2 less one, as numbers of 32 bits, are in the order of their lengths.
pub(crate) fn make_zero_the_longest(code: &mut Assembler) {
    for register in [R1, R2] {
        code.compute(Operation::Subtract, register, 1);
        code.keep_word(register);
    }
}

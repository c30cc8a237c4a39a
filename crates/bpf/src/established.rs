//! The program that sets a connection's options as soon as the connection is established (`BPF_PROG_TYPE_SOCK_OPS`).
//!
//! The rules are compiled into the program, in their order, as one function for each direction. The first
//! rule that matches writes its settings on the caller's stack, and the caller passes them to the function that applies
//! them. The program has no loops, and no jump goes further than the next rule.

use crate::apply::Apply;
use crate::assembler::{Assembler, Condition, Helper, Instruction, Label, Map, Operation, Register, Size};
use crate::decision_list::{Branch, decision_list};
use crate::fields::{Fields, ReadTask, TaskFields};
use crate::record;
use crate::sock_settings::{CREATE, SOCK_SETTINGS_LENGTH, SockSettings};
use Condition::{Above, Different, Equal};
use Register::{R0, R1, R2, R3, R4, R6, R7, R8, R10};
use Size::{Long, Word};
use keepalive_policy::option::BY_EBPF;
use keepalive_policy::{Direction, Network, Ports, Source};
use std::io;

/// The properties of a policy that decide which maps its program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Needs {
    /// Whether a rule matches the program's name, which is stored when a socket connects or listens.
    pub names: bool,
    /// Whether a mode still applies after the connection is established.
    pub sock_settings: bool,
    /// Whether a setting depends on values that the program has set.
    pub reads: bool,
    /// Whether a user timeout is computed from the connection's times.
    pub automatic: bool,
}

/// The maps of the program.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    /// A [`keepalive_sys::bpf::call::MapKind::Single`] with a [`crate::record`]: the uses of each rule, then
    /// the connections without a matching rule, then the options that the kernel refused.
    pub counters: Map,
    /// Socket storage, inherited by accepted sockets: the name of the program that connects or listens, 16 bytes.
    pub names: Option<Map>,
    /// Socket storage: the persistent settings.
    pub sock_settings: Option<Map>,
}

/// How to detect values that the program has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnValues {
    /// By the kernel's own fields, which are 0 if no program has set a value.
    Fields(Fields),
    /// By comparison: a value that differs from these and from the kernel's built-in default is the
    /// program's. `bpf_getsockopt()` reads the values; it supports these options since Linux 6.1.
    Differ {
        /// The values of a fresh socket, in the order of [`BY_EBPF`].
        kernel_default: [u32; BY_EBPF.len()],
    },
}

/// A policy that can be compiled to a program.
#[derive(Debug)]
pub struct Policy<'a> {
    branches: Vec<Branch<'a>>,
    /// The number of rules.
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

// The stack: the peer's address, the program's name, the settings or the port.
const PEER: i16 = -16;
const NAME: i16 = -32;
const SETTINGS: i16 = NAME - SOCK_SETTINGS_LENGTH;
const PORT: i16 = NAME - 8;
/// The size of a program's name in the kernel (`TASK_COMM_LEN`, with the zero byte).
const NAME_LENGTH: usize = 16;

impl<'a> Policy<'a> {
    /// Creates the policy of these sources, in the order of precedence.
    pub fn new(sources: &[Source<'a>]) -> Self {
        Self {
            branches: decision_list(sources),
            rules: sources.iter().map(|source| source.rules.len()).sum(),
        }
    }

    /// Returns what the program needs.
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

    /// Returns the number of counters: one for each rule, one for the connections that no rule matches, one
    /// for refusals.
    pub fn counters(&self) -> usize {
        self.rules + 2
    }

    /// Returns the program. `task` is required if [`Needs::names`] is set, [`Fields::defaults`] if
    /// [`Needs::automatic`] is set.
    ///
    /// # Errors
    /// Only errors that the tests would detect. The kernel checks the length of the program when it is loaded.
    pub fn program(&self, maps: &Maps, own: OwnValues, task: Option<TaskFields>) -> io::Result<Vec<Instruction>> {
        let mut code = Assembler::default();
        let apply = code.label();
        let directions = [Direction::Connect, Direction::Accept];
        let lists = directions.map(|direction| self.list(direction));
        let functions = lists
            .each_ref()
            .map(|list| shares(list).map(|_| code.label()).collect::<Vec<_>>());
        let sets = self.branches.iter().any(|branch| settings(branch, maps).is_some());
        find_out_which_end(&mut code, maps, task, &functions, sets.then_some(apply));
        for ((direction, list), functions) in directions.into_iter().zip(&lists).zip(&functions) {
            for (place, (share, function)) in shares(list).zip(functions).enumerate() {
                code.place(*function);
                self.share(&mut code, direction, maps, share, place == 0);
            }
        }
        code.place(apply);
        if sets {
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

    /// Returns the branches for connections of this direction.
    fn list(&self, direction: Direction) -> Vec<&Branch<'a>> {
        let mut list: Vec<_> = self.branches.iter().collect();
        list.retain(|branch| branch.direction.is_none_or(|wanted| wanted == direction));
        // The list ends after the first branch that matches all connections; there is always one.
        let all = list.iter().position(|branch| is_for_all(branch));
        list.truncate(all.map_or(list.len(), |all| all + 1));
        list
    }

    /// Emits the function for these branches. It writes the settings to R2, and returns [`SETTINGS_APPLY`], [`NOTHING_APPLIES`]
    /// or, if none of the branches matches, [`NO_MATCH`].
    fn share(&self, code: &mut Assembler, direction: Direction, maps: &Maps, list: &[&Branch<'a>], is_first: bool) {
        code.copy(R6, R1);
        code.copy(R7, R2);
        if is_first {
            end_if_decided(code);
        }
        code.load(Word, R8, R6, OPERATION);
        code.load(Word, R1, R6, OPERATION);
        code.compute_register(Operation::ExclusiveOr, R8, R1);
        if list.iter().any(|branch| branch.network != Network::ANY) {
            load_peer(code);
        }
        if list.iter().any(|branch| branch.ports != Ports::ANY) {
            load_port(code, direction);
        }
        if let Some(names) = maps
            .names
            .filter(|_| list.iter().any(|branch| branch.program.is_some()))
        {
            load_name(code, names);
        }
        for (place, branch) in list.iter().enumerate() {
            let next = code.label();
            check(code, branch, next);
            let none = [self.rules];
            let counters = if branch.rules.is_empty() {
                &none[..]
            } else {
                &branch.rules
            };
            for counter in counters {
                count(code, maps.counters, *counter);
            }
            let settings = settings(branch, maps);
            let result = match settings {
                Some(settings) => {
                    write_settings(code, settings);
                    SETTINGS_APPLY
                }
                None => NOTHING_APPLIES,
            };
            code.exit_with(result);
            code.place(next);
            if place + 1 == list.len() && !is_for_all(branch) {
                code.exit_with(NO_MATCH);
            }
        }
    }
}

/// Returns the branches of each function. The verifier of Linux 6.18 walks a function once for each of its ends, so that its
/// work would grow with the square of the branches in one function. A program has at most 256 functions.
fn shares<'a, 'b>(list: &'b [&'a Branch<'a>]) -> std::slice::Chunks<'b, &'a Branch<'a>> {
    const SHARE: usize = 32;
    const MOST_FUNCTIONS: usize = 100;
    list.chunks(list.len().div_ceil(MOST_FUNCTIONS).max(SHARE))
}

// What a function returns.
const NOTHING_APPLIES: i32 = 0;
const SETTINGS_APPLY: i32 = 1;
const NO_MATCH: i32 = 2;

/// The mark that a policy has decided. It stays in the reply, which the kernel does not read for an
/// established connection.
const DECIDED: i32 = 0x6b65_6570;

/// Ends the program if a policy nearer to the process has decided. Programs of nearer cgroups run earlier,
/// with the same context.
fn end_if_decided(code: &mut Assembler) {
    let goes_on = code.label();
    code.load(Word, R1, R6, REPLY);
    code.jump_if(R1, Different, DECIDED, goes_on);
    code.exit_with(0);
    code.place(goes_on);
    code.set(R1, DECIDED);
    code.store(Word, R6, REPLY, R1);
}

/// Calls the function for the direction of an established connection. Every other event ends the program here,
/// with an unchanged reply, since another program may have set one.
fn find_out_which_end(
    code: &mut Assembler,
    maps: &Maps,
    task: Option<TaskFields>,
    [connected, accepted]: &[Vec<Label>; 2],
    apply: Option<Label>,
) {
    let [is_connected, is_accepted, ends, decided] = [(); 4].map(|()| code.label());
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
    code.place(is_connected);
    decide(code, connected, decided);
    code.jump(decided);
    code.place(is_accepted);
    decide(code, accepted, decided);
    code.place(decided);
    if let Some(apply) = apply {
        // The verifier examines a function anew for each place that calls it. With one place its work does not grow with
        // the square of the rules.
        let nothing = code.label();
        code.jump_if(R0, Different, SETTINGS_APPLY, nothing);
        code.copy(R1, R6);
        code.copy(R2, R10);
        code.compute(Operation::Add, R2, SETTINGS.into());
        code.call_local(apply);
        code.place(nothing);
    }
    code.exit_with(1);
}

/// Calls the functions, with the place of the settings, until one decides.
fn decide(code: &mut Assembler, functions: &[Label], decided: Label) {
    code.copy(R6, R1);
    for (place, function) in functions.iter().enumerate() {
        if place > 0 {
            code.jump_if(R0, Different, NO_MATCH, decided);
            code.copy(R1, R6);
        }
        code.copy(R2, R10);
        code.compute(Operation::Add, R2, SETTINGS.into());
        code.call_local(*function);
    }
}

/// Returns whether the branch matches all connections of its direction.
fn is_for_all(branch: &Branch<'_>) -> bool {
    branch.program.is_none() && branch.network == Network::ANY && branch.ports == Ports::ANY
}

/// Returns the settings that `branch` passes on, if any. If settings are stored, empty settings are stored
/// too: a socket that connects again still has the settings of its first connection.
fn settings(branch: &Branch<'_>, maps: &Maps) -> Option<SockSettings> {
    SockSettings::of(&branch.settings).or_else(|| maps.sock_settings.map(|_| SockSettings::NOTHING))
}

/// Writes settings to R7, on the stack of the caller. Without CAP_PERFMON the verifier lets a program write to a part of an
/// eight-byte slot only if the verifier has not tracked the whole slot's value. It tracks numbers too.
/// Therefore all eight bytes are written at once, here and elsewhere.
///
/// The verifier does not know the numbers: R8 is 0, which it does not see. Otherwise it would examine what follows for the
/// settings of each rule.
fn write_settings(code: &mut Assembler, SockSettings(numbers): SockSettings) {
    for (offset, pair) in (0..).step_by(8).zip(numbers.as_chunks::<2>().0) {
        let [first, second] = pair.map(u32::to_ne_bytes);
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&first);
        bytes[4..].copy_from_slice(&second);
        code.set_any(R1, u64::from_ne_bytes(bytes));
        code.compute_register(Operation::Add, R1, R8);
        code.store(Long, R7, offset, R1);
    }
}

/// The first eight of the sixteen bytes of an IPv4-mapped address are zero; these four follow (RFC 4291 §2.5.5.2).
const MAPPED: [u8; 4] = [0, 0, 0xff, 0xff];

/// Writes the peer's address on the stack, as sixteen bytes in network byte order.
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

/// Writes the stored name on the stack, or zeroes.
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

/// Stores the name of the program that connects or listens: the name of its main thread, since other threads
/// may have different names.
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
    // The socket may have a name already, and may belong to another program now.
    for half in [0, 8] {
        code.load(Long, R1, R10, NAME + half);
        code.store(Long, R0, half, R1);
    }
}

/// Copies `length` bytes of the kernel's memory at `from` + `offset` to the stack; goes to `ends` on failure.
fn copy_from_kernel(code: &mut Assembler, length: i32, from: Register, offset: i16, ends: Label) {
    code.copy(R3, from);
    code.compute(Operation::Add, R3, offset.into());
    code.copy(R1, R10);
    code.compute(Operation::Add, R1, NAME.into());
    code.set(R2, length);
    code.call(Helper::ProbeReadKernel);
    code.jump_if(R0, Different, 0, ends);
}

/// Goes to `next` unless this branch matches the connection, which has this direction.
fn check(code: &mut Assembler, branch: &Branch<'_>, next: Label) {
    if branch.ports != Ports::ANY {
        check_port(code, branch.ports, next);
    }
    if let Some(program) = branch.program {
        let mut name = [0; NAME_LENGTH];
        let mut length = 0;
        for (to, from) in name.iter_mut().take(NAME_LENGTH - 1).zip(program) {
            *to = *from;
            length += 8;
        }
        // Compares the zero byte too. Before Linux 5.17 the bytes behind it may contain the rest of an earlier name.
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

/// Writes the port that rules match on the stack. The kernel replaces each load from the context by several instructions
/// and moves all that follow, so that with a load for each rule its work would grow with the square of the rules.
fn load_port(code: &mut Assembler, direction: Direction) {
    match direction {
        Direction::Accept => code.load(Word, R1, R6, LOCAL_PORT),
        Direction::Connect => {
            code.load(Word, R1, R6, REMOTE_PORT);
            code.swap_network_word(R1);
        }
    }
    code.store(Long, R10, PORT, R1);
}

/// Goes to `next` unless the port is one of these. The comparison uses a value derived from the loaded one. Otherwise the
/// verifier would keep the results of all comparisons, and its work would grow with the square of the number of rules.
fn check_port(code: &mut Assembler, Ports { first, last }: Ports, next: Label) {
    code.load(Long, R1, R10, PORT);
    code.compute(Operation::ExclusiveOr, R1, if first == last { first.into() } else { 0 });
    if first == last {
        code.jump_if(R1, Different, 0, next);
    } else {
        code.compute(Operation::Subtract, R1, first.into());
        code.jump_if(R1, Above, (last - first).into(), next);
    }
}

/// Goes to `next` unless the first `length` bits of the sixteen bytes on the stack equal those of `expected`.
fn check_bytes(code: &mut Assembler, place: i16, expected: [u8; 16], length: u8, next: Label) {
    let mask = u128::MAX
        .checked_shl(128 - u32::from(length))
        .unwrap_or(0)
        .to_be_bytes();
    // In the byte order of this machine.
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
        // The comparison uses a value derived from the loaded one, so that the verifier learns nothing of
        // that; as in `check_port`.
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

/// Makes a user timeout of 0, which means none, the longest: decrements R1 and R2 as unsigned 32-bit values.
pub(crate) fn make_zero_the_longest(code: &mut Assembler) {
    for register in [R1, R2] {
        code.compute(Operation::Subtract, register, 1);
        code.keep_word(register);
    }
}

//! The program that gives a connection its settings as soon as it is established (`BPF_PROG_TYPE_SOCK_OPS`).
//!
//! The rules are compiled into it, in their order, as one function for each direction: the first that matches writes what
//! it says on the stack and calls the one function that sets it. There is no loop, and no jump further than to the next rule.

use super::assembler::{Assembler, Condition, Helper, Instruction, Label, Map, Operation, Register, Size};
use super::branches::{Branch, branches};
use super::kernel_types::KernelTypes;
use super::record;
use super::wish::{AUTO, CAP, CREATE, ENFORCE, FILL, UNSET, Wish, note_wish, place};
use Condition::{Above, Below, Different, Equal};
use Register::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use Size::{Byte, Long, Word};
use keepalive_policy::{Direction, Network, Ports, SocketOption, Source};
use std::io;

/// What of a policy decides which maps its program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Some rule asks for the program's name, which is noted when a socket connects or listens.
    pub names: bool,
    /// Some mode goes on to count after the connection is established.
    pub wishes: bool,
}

/// The maps of the program.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    /// [`super::call::MapKind::Single`], a [`super::record`]: how often each rule was used, then how often none was, then
    /// how often the kernel refused an option.
    pub counters: Map,
    /// A socket's, inherited: the name of the program that connects or listens, 16 bytes.
    pub names: Option<Map>,
    /// A socket's: the wish that goes on to count.
    pub wishes: Option<Map>,
}

/// How to tell what a program has set itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnValues {
    /// The kernel's own fields tell: they are 0 where nobody has set anything.
    Fields(Fields),
    /// What is neither this nor what the kernel is built with has been set.
    Differ {
        /// What a fresh socket has: idle time, interval, count.
        untouched: [u32; 3],
    },
}

/// Where the fields stand in `struct tcp_sock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// `keepalive_time`.
    pub idle: i16,
    /// `keepalive_intvl`.
    pub interval: i16,
    /// `keepalive_probes`, a byte.
    pub count: i16,
    /// `icsk_user_timeout`.
    pub user_timeout: i16,
}

/// Where the name of a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskFields {
    /// `group_leader` in `struct task_struct`.
    pub leader: i16,
    /// `comm` in it.
    pub name: i16,
}

impl Fields {
    /// In the running kernel.
    pub fn find(types: &KernelTypes) -> Option<Self> {
        Some(Self {
            idle: types.offset("tcp_sock", "keepalive_time")?,
            interval: types.offset("tcp_sock", "keepalive_intvl")?,
            count: types.offset("tcp_sock", "keepalive_probes")?,
            // `inet_conn` is the first field of `struct tcp_sock`.
            user_timeout: types.offset("inet_connection_sock", "icsk_user_timeout")?,
        })
    }
}

impl TaskFields {
    /// In the running kernel.
    pub fn find(types: &KernelTypes) -> Option<Self> {
        Some(Self {
            leader: types.offset("task_struct", "group_leader")?,
            name: types.offset("task_struct", "comm")?,
        })
    }
}

/// A policy that a program can be made of.
#[derive(Debug)]
pub struct Policy<'a> {
    branches: Vec<Branch<'a>>,
    /// How many rules there are.
    rules: usize,
}

// `struct bpf_sock_ops` (`include/uapi/linux/bpf.h`).
const OPERATION: i16 = 0;
const REPLY: i16 = 4;
const FAMILY: i16 = 20;
const REMOTE_IP4: i16 = 24;
const REMOTE_IP6: i16 = 32;
const REMOTE_PORT: i16 = 64;
const LOCAL_PORT: i16 = 68;
const SOCKET: i16 = 184;
// `BPF_SOCK_OPS_*_CB`.
const CONNECT: i32 = 3;
const ACTIVE_ESTABLISHED: i32 = 4;
const PASSIVE_ESTABLISHED: i32 = 5;
const LISTEN: i32 = 11;
const AF_INET: i32 = 2;

// The stack: the peer's address, the program's name, the wish.
const PEER: i16 = -16;
const NAME: i16 = -32;
const WISH: i16 = -56;
/// As many bytes of a program's name as the kernel keeps (`TASK_COMM_LEN`, with the zero byte).
const NAME_LENGTH: usize = 16;

impl<'a> Policy<'a> {
    /// The policy of these sources, in the order of precedence.
    pub fn new(sources: &[Source<'a>]) -> Self {
        Self {
            branches: branches(sources),
            rules: sources.iter().map(|source| source.rules.len()).sum(),
        }
    }

    /// What its program needs.
    pub fn needs(&self) -> Needs {
        let mut wishes = self.branches.iter().filter_map(|branch| Wish::of(&branch.settings));
        Needs {
            names: self.branches.iter().any(|branch| branch.program.is_some()),
            wishes: wishes.any(|wish| wish.is_lasting()),
        }
    }

    /// How many counters there are: one for each rule, one for the connections that no rule is for, one for refusals.
    pub fn counters(&self) -> usize {
        self.rules + 2
    }

    /// The program. `task` is needed where [`Needs::names`] is.
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
            if let Some(Wish(numbers)) = wish(branch, maps) {
                for (offset, number) in (WISH..).step_by(4).zip(numbers) {
                    code.store_number(Word, R10, offset, number.cast_signed());
                }
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

/// What is passed on for `branch`, if anything. Where wishes are noted, nothing is a wish too: a socket that connects anew has
/// the note of its first connection.
fn wish(branch: &Branch<'_>, maps: &Maps) -> Option<Wish> {
    Wish::of(&branch.settings).or_else(|| maps.wishes.map(|_| Wish::NOTHING))
}

/// The first eight of the sixteen bytes of an IPv4-mapped address are zero, then come these four (RFC 4291 §2.5.5.2).
const MAPPED: [u8; 4] = [0, 0, 0xff, 0xff];

/// Writes the peer's address on the stack, as sixteen bytes in the network's order.
fn load_peer(code: &mut Assembler) {
    let [is_v6, done] = [(); 2].map(|()| code.label());
    code.load(Word, R1, R6, FAMILY);
    code.jump_if(R1, Different, AF_INET, is_v6);
    code.store_number(Long, R10, PEER, 0);
    code.store_number(Word, R10, PEER + 8, i32::from_ne_bytes(MAPPED));
    code.load(Word, R1, R6, REMOTE_IP4);
    code.store(Word, R10, PEER + 12, R1);
    code.jump(done);
    code.place(is_v6);
    for word in [0, 4, 8, 12] {
        code.load(Word, R1, R6, REMOTE_IP6 + word);
        code.store(Word, R10, PEER + word, R1);
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
        code.store_number(Long, R10, NAME + half, 0);
    }
    code.place(known);
}

/// Notes the name of the program that connects or listens: that of the first thread, since others may have names of
/// their own.
fn note_name(code: &mut Assembler, names: Map, task: TaskFields, ends: Label) {
    code.call(Helper::GetCurrentTaskBtf);
    code.load(Long, R7, R0, task.leader);
    for half in [0, 8] {
        code.load(Long, R1, R7, task.name + half);
        code.store(Long, R10, NAME + half, R1);
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

/// Goes to `next` unless the connection, which has this direction, is one of this branch.
fn check(code: &mut Assembler, branch: &Branch<'_>, direction: Direction, next: Label) {
    if branch.ports != Ports::ANY {
        check_port(code, branch.ports, direction, next);
    }
    if let Some(program) = branch.program {
        let mut name = [0; NAME_LENGTH];
        for (to, from) in name.iter_mut().take(NAME_LENGTH - 1).zip(program) {
            *to = *from;
        }
        check_bytes(code, NAME, name, 128, next);
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

fn count(code: &mut Assembler, counters: Map, counter: usize) {
    code.map_value(R1, counters, record::place(counter));
    code.set(R2, 1);
    code.add_atomically(R1, R2);
}

/// The function that sets what R2 points to on the socket of the context in R1. As `keepalive_policy::judge`: what nobody
/// has set gets ours, and what the program has set is settled as the mode says.
struct Apply<'a> {
    code: &'a mut Assembler,
    maps: &'a Maps,
    own: OwnValues,
    refusals: usize,
}

/// On a new connection whose keepalive is off nothing arms the timer but the switch itself, once, with the times that are there.
/// Where it is on already, the idle time re-arms it.
const ORDER: [SocketOption; 5] = [
    SocketOption::Count,
    SocketOption::Interval,
    SocketOption::Idle,
    SocketOption::Keepalive,
    SocketOption::UserTimeout,
];

// Its stack: the number to set, the number that is set.
const NUMBER: i16 = -4;
const CURRENT: i16 = -8;

impl Apply<'_> {
    /// R6 = the context, R7 = the wish, R8 = the socket's own structure, R9 = the number of the option.
    fn emit(mut self) {
        let end = self.code.label();
        let code = &mut *self.code;
        code.copy(R6, R1);
        code.copy(R7, R2);
        if let OwnValues::Fields(_) = self.own {
            code.load(Long, R1, R6, SOCKET);
            code.jump_if(R1, Equal, 0, end);
            code.call(Helper::SkcToTcpSock);
            code.jump_if(R0, Equal, 0, end);
            code.copy(R8, R0);
        }
        for option in ORDER {
            self.option(option);
        }
        if let Some(wishes) = self.maps.wishes {
            let code = &mut *self.code;
            code.load(Long, R2, R6, SOCKET);
            code.jump_if(R2, Equal, 0, end);
            note_wish(code, wishes, R7, 0, end);
        }
        self.code.place(end);
        self.code.exit_with(0);
    }

    fn option(&mut self, option: SocketOption) {
        let [set, skip] = [(); 2].map(|()| self.code.label());
        self.code.load(Word, R9, R7, place(option));
        self.code.jump_if_word(R9, Equal, UNSET, skip);
        if option == SocketOption::UserTimeout {
            self.make_automatic(skip);
        }
        // Whether keepalive was left off or switched off cannot be told, and what is on may be set again.
        if option != SocketOption::Keepalive {
            self.code.load(Word, R1, R7, 0);
            self.code.jump_if(R1, Equal, ENFORCE.cast_signed(), set);
            self.unless_own(option, set);
            self.code.load(Word, R1, R7, 0);
            self.code.jump_if(R1, Equal, FILL.cast_signed(), skip);
            self.settle(option, set, skip);
        }
        self.code.place(set);
        self.code.store(Word, R10, NUMBER, R9);
        self.ask(Helper::SetSockOpt, option, NUMBER);
        self.code.jump_if(R0, Equal, 0, skip);
        count(self.code, self.maps.counters, self.refusals);
        self.code.place(skip);
    }

    /// The user timeout of the connection's own times, in milliseconds, up to the kernel's limit. Without those times
    /// (before Linux 6.1) the option is left alone.
    fn make_automatic(&mut self, skip: Label) {
        let [done, unknown, is_known] = [(); 3].map(|()| self.code.label());
        let limit = SocketOption::UserTimeout.row().range.1;
        self.code.jump_if_word(R9, Different, AUTO, done);
        for (option, operation) in [
            (SocketOption::Interval, None),
            (SocketOption::Count, Some(Operation::Multiply)),
            (SocketOption::Idle, Some(Operation::Add)),
        ] {
            self.ask(Helper::GetSockOpt, option, CURRENT);
            self.code.jump_if(R0, Different, 0, unknown);
            self.code.load(Word, R1, R10, CURRENT);
            match operation {
                None => self.code.copy(R9, R1),
                Some(operation) => self.code.compute_register(operation, R9, R1),
            }
        }
        self.code.compute(Operation::Multiply, R9, 1000);
        self.code.set_long(R1, limit.into());
        self.code.jump_if_registers(R9, Condition::AtMost, R1, is_known);
        self.code.copy(R9, R1);
        self.code.jump(is_known);
        self.code.place(unknown);
        count(self.code, self.maps.counters, self.refusals);
        self.code
            .store_number(Word, R7, place(SocketOption::UserTimeout), UNSET.cast_signed());
        self.code.jump(skip);
        self.code.place(is_known);
        self.code.store(Word, R7, place(SocketOption::UserTimeout), R9);
        self.code.place(done);
    }

    /// Goes to `untouched` where nobody has set the option.
    fn unless_own(&mut self, option: SocketOption, untouched: Label) {
        let fresh = match self.own {
            OwnValues::Fields(fields) => {
                let (size, field) = match option {
                    SocketOption::Idle => (Word, fields.idle),
                    SocketOption::Interval => (Word, fields.interval),
                    SocketOption::Count => (Byte, fields.count),
                    _ => (Word, fields.user_timeout),
                };
                self.code.load(size, R1, R8, field);
                self.code.jump_if(R1, Equal, 0, untouched);
                return;
            }
            OwnValues::Differ {
                untouched: [idle, interval, count],
            } => match option {
                SocketOption::Idle => [idle, 7200],
                SocketOption::Interval => [interval, 75],
                SocketOption::Count => [count, 9],
                _ => [0, 0],
            },
        };
        let own = self.code.label();
        self.ask(Helper::GetSockOpt, option, CURRENT);
        self.code.jump_if(R0, Different, 0, own);
        self.code.load(Word, R1, R10, CURRENT);
        for number in fresh {
            self.code.jump_if(R1, Equal, number.cast_signed(), untouched);
        }
        self.code.place(own);
    }

    /// Goes to `set` where ours wins over the program's, in the modes cap and floor, else to `skip`.
    fn settle(&mut self, option: SocketOption, set: Label, skip: Label) {
        let floor = self.code.label();
        self.ask(Helper::GetSockOpt, option, CURRENT);
        self.code.jump_if(R0, Different, 0, skip);
        self.code.load(Word, R1, R10, CURRENT);
        self.code.copy(R2, R9);
        if option == SocketOption::UserTimeout {
            make_zero_the_longest(self.code);
        }
        self.code.load(Word, R3, R7, 0);
        self.code.jump_if(R3, Different, CAP.cast_signed(), floor);
        self.code.jump_if_registers(R2, Below, R1, set);
        self.code.jump(skip);
        self.code.place(floor);
        self.code.jump_if_registers(R2, Condition::AtMost, R1, skip);
    }

    /// R0 = what getsockopt(2) or setsockopt(2) gives for `option`, with four bytes of the stack.
    fn ask(&mut self, helper: Helper, option: SocketOption, place: i16) {
        self.code.copy(R1, R6);
        self.code.set(R2, option.row().level);
        self.code.set(R3, option.row().optname);
        self.code.copy(R4, R10);
        self.code.compute(Operation::Add, R4, place.into());
        self.code.set(R5, 4);
        self.code.call(helper);
    }
}

/// A user timeout of 0 is none: R1 and R2 less one, as numbers of 32 bits, are in the order of their lengths.
pub(super) fn make_zero_the_longest(code: &mut Assembler) {
    for register in [R1, R2] {
        code.compute(Operation::Subtract, register, 1);
        code.keep_word(register);
    }
}

//! The program that sets a connection's options as soon as the connection is established (`BPF_PROG_TYPE_SOCK_OPS`).
//!
//! The rules are compiled into the program, in their order, as one function for each direction. The first
//! rule that matches writes its settings on the stack and calls the function that applies them. The program
//! has no loops, and no jump goes further than the next rule.

use crate::apply::Apply;
use crate::assembler::{Assembler, Condition, Helper, Instruction, Label, Map, Operation, Register, Size};
use crate::decision_list::{Branch, decision_list};
use crate::ended::{self, CountEnded};
use crate::fields::{Fields, ReadTask, TaskFields};
use crate::matching::{self, NAME};
use crate::record;
use crate::sock_settings::{CREATE, SOCK_SETTINGS_LENGTH, SockSettings};
use Condition::{Different, Equal};
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
pub(crate) const SOCKET: i16 = 184;
// `BPF_SOCK_OPS_*_CB`.
const CONNECT: i32 = 3;
const ACTIVE_ESTABLISHED: i32 = 4;
const PASSIVE_ESTABLISHED: i32 = 5;
pub(crate) const LISTEN: i32 = 11;

// The stack: what [`matching`] stores there, then the settings.
const SETTINGS: i16 = NAME - SOCK_SETTINGS_LENGTH;

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

    /// Returns the number of counters of ended connections: for each rule, and for the connections that no rule matches, one
    /// for each cause.
    pub fn ended_counters(&self) -> usize {
        (self.rules + 1) * ended::CAUSES
    }

    /// Returns the program. `task` is required if [`Needs::names`] is set, [`Fields::defaults`] if
    /// [`Needs::automatic`] is set.
    ///
    /// # Errors
    /// Only errors that the tests would detect. The kernel checks the length of the program when it is loaded.
    pub fn program(
        &self,
        maps: &Maps,
        own: OwnValues,
        task: Option<TaskFields>,
        ended: Option<CountEnded>,
    ) -> io::Result<Vec<Instruction>> {
        const DIRECTIONS: [Direction; 2] = [Direction::Connect, Direction::Accept];
        let mut code = Assembler::default();
        let established = DIRECTIONS.map(|direction| (direction, code.label()));
        let [apply, ends] = [(); 2].map(|()| code.label());
        find_out_which_end(
            &mut code,
            maps,
            task,
            established.map(|(_, list)| list),
            ended.map(|_| ends),
        );
        for (direction, list) in established {
            code.place(list);
            self.on_established(&mut code, direction, maps, ended.is_some(), apply);
        }
        if let Some(ended) = ended {
            let lists = DIRECTIONS.map(|direction| (direction, code.label()));
            code.place(ends);
            ended::emit(&mut code, &ended.fields, lists.map(|(_, list)| list));
            for (direction, list) in lists {
                code.place(list);
                self.on_ended(&mut code, direction, maps, ended.place);
            }
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

    /// Emits the function for an established connection of this direction.
    fn on_established(
        &self,
        code: &mut Assembler,
        direction: Direction,
        maps: &Maps,
        counts_ended: bool,
        apply: Label,
    ) {
        code.copy(R6, R1);
        end_if_decided(code);
        if counts_ended {
            ended::request(code, direction);
        }
        self.on_match(code, direction, maps, |code, branch| {
            for counter in self.counters_of(branch) {
                count(code, maps.counters, counter);
            }
            if let Some(settings) = settings(branch, maps) {
                store_settings_at(code, settings);
                code.copy(R1, R6);
                code.copy(R2, R10);
                code.compute(Operation::Add, R2, SETTINGS.into());
                code.call_local(apply);
            }
        });
    }

    /// Emits the function for a connection of this direction that ended. R2 is the offset of the counter among
    /// those of a rule, plus eight.
    fn on_ended(&self, code: &mut Assembler, direction: Direction, maps: &Maps, place: u32) {
        code.copy(R6, R1);
        code.copy(R8, R2);
        self.on_match(code, direction, maps, |code, branch| {
            for counter in self.counters_of(branch) {
                let size = u32::try_from(8 * ended::CAUSES * counter).unwrap_or(u32::MAX);
                code.map_value(R1, maps.counters, (place + size).saturating_sub(8));
                code.compute_register(Operation::Add, R1, R8);
                code.set(R2, 1);
                code.add_atomically(R1, R2);
            }
        });
    }

    /// Emits, for each branch of this direction, a test and what `then` emits for connections that match. R6 = the context.
    fn on_match(
        &self,
        code: &mut Assembler,
        direction: Direction,
        maps: &Maps,
        then: impl Fn(&mut Assembler, &Branch<'_>),
    ) {
        let mut list: Vec<_> = self.branches.iter().collect();
        list.retain(|branch| branch.direction.is_none_or(|wanted| wanted == direction));
        // The list ends after the first branch that matches all connections; there is always one.
        let all = list.iter().position(|branch| is_for_all(branch));
        list.truncate(all.map_or(list.len(), |all| all + 1));
        matching::load(code, &list, maps.names);
        for branch in list {
            let next = code.label();
            matching::check(code, branch, direction, next);
            then(code, branch);
            code.exit_with(0);
            code.place(next);
        }
    }

    /// Returns the counters of the connections of this branch: those of its rules, or that of no rule.
    fn counters_of(&self, branch: &Branch<'_>) -> Vec<usize> {
        if branch.rules.is_empty() {
            vec![self.rules]
        } else {
            branch.rules.clone()
        }
    }
}

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
    [connected, accepted]: [Label; 2],
    ended: Option<Label>,
) {
    let [is_connected, is_accepted, is_state, ends] = [(); 4].map(|()| code.label());
    code.load(Word, R0, R1, OPERATION);
    code.jump_if(R0, Equal, ACTIVE_ESTABLISHED, is_connected);
    code.jump_if(R0, Equal, PASSIVE_ESTABLISHED, is_accepted);
    if ended.is_some() {
        code.jump_if(R0, Equal, ended::STATE, is_state);
    }
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
    if let Some(ended) = ended {
        code.place(is_state);
        ended::check_states(code, ends);
        code.call_local(ended);
        code.exit_with(1);
    }
    for (is_so, function) in [(is_connected, connected), (is_accepted, accepted)] {
        code.place(is_so);
        code.call_local(function);
        code.exit_with(1);
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

/// Writes settings on the stack. Without CAP_PERFMON the verifier lets a program write to a part of an
/// eight-byte slot only if the verifier has not tracked the whole slot's value. It tracks numbers too.
/// Therefore all eight bytes are written at once, here and elsewhere.
fn store_settings_at(code: &mut Assembler, SockSettings(numbers): SockSettings) {
    for (offset, pair) in (SETTINGS..).step_by(8).zip(numbers.as_chunks::<2>().0) {
        let [first, second] = pair.map(u32::to_ne_bytes);
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&first);
        bytes[4..].copy_from_slice(&second);
        code.set_any(R1, u64::from_ne_bytes(bytes));
        code.store(Long, R10, offset, R1);
    }
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

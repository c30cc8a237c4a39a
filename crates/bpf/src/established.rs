//! The program that sets a connection's options as soon as the connection is established (`BPF_PROG_TYPE_SOCK_OPS`).
//!
//! The rules are compiled into the program, in their order, as functions for each direction. The first
//! rule that matches writes its settings on the caller's stack, and the caller passes them to the function that applies
//! them. The program has no loops, and no jump goes further than the next rule.

use crate::apply::Apply;
use crate::assembler::{Assembler, Condition, Instruction, Label, Map, Operation, Register, Size};
use crate::decision_list::{Branch, decision_list};
use crate::ended::{self, CountEnded};
use crate::fields::{Fields, TaskFields};
use crate::matching::{self, NAME};
use crate::naming::note_name;
use crate::record;
use crate::sock_settings::{SOCK_SETTINGS_LENGTH, SockSettings};
use Condition::{Different, Equal};
use Register::{R0, R1, R2, R6, R7, R8, R10};
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
        let lists = DIRECTIONS.map(|direction| self.list(direction));
        let mut labels = || {
            lists
                .each_ref()
                .map(|list| shares(list).map(|_| code.label()).collect::<Vec<_>>())
        };
        let (established, counted) = (labels(), labels());
        let [apply, ends] = [(); 2].map(|()| code.label());
        let sets = self.branches.iter().any(|branch| settings(branch, maps).is_some());
        let apply_if_any = sets.then_some(apply);
        find_out_which_end(&mut code, maps, task, &established, apply_if_any, ended.map(|_| ends));
        for ((direction, list), functions) in DIRECTIONS.into_iter().zip(&lists).zip(&established) {
            for (place, (share, function)) in shares(list).zip(functions).enumerate() {
                code.place(*function);
                self.on_established(
                    &mut code,
                    direction,
                    maps,
                    share,
                    (place == 0).then_some(ended.is_some()),
                );
            }
        }
        if let Some(ended) = ended {
            code.place(ends);
            ended::emit(&mut code, &ended.fields, &counted);
            for ((direction, list), functions) in DIRECTIONS.into_iter().zip(&lists).zip(&counted) {
                for (share, function) in shares(list).zip(functions) {
                    code.place(*function);
                    self.on_ended(&mut code, direction, maps, share, ended.place);
                }
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

    /// Emits the function of these branches for an established connection. It writes the settings to R2. `first` is
    /// present in the first function, and states whether connections that fail are counted.
    fn on_established(
        &self,
        code: &mut Assembler,
        direction: Direction,
        maps: &Maps,
        branches: &[&Branch<'a>],
        first: Option<bool>,
    ) {
        code.copy(R6, R1);
        code.copy(R7, R2);
        if let Some(counts_ended) = first {
            end_if_decided(code);
            if counts_ended {
                ended::request(code, direction);
            }
        }
        code.load(Word, R8, R6, OPERATION);
        code.load(Word, R1, R6, OPERATION);
        code.compute_register(Operation::ExclusiveOr, R8, R1);
        on_match(code, direction, maps, branches, |code, branch| {
            for counter in self.counters_of(branch) {
                count(code, maps.counters, counter);
            }
            match settings(branch, maps) {
                Some(settings) => {
                    write_settings(code, settings);
                    SETTINGS_APPLY
                }
                None => NOTHING_APPLIES,
            }
        });
    }

    /// Emits the function of these branches for a connection that ended. R2 is the offset of the counter among those of a
    /// rule, plus eight.
    fn on_ended(&self, code: &mut Assembler, direction: Direction, maps: &Maps, branches: &[&Branch<'a>], place: u32) {
        code.copy(R6, R1);
        code.copy(R8, R2);
        on_match(code, direction, maps, branches, |code, branch| {
            for counter in self.counters_of(branch) {
                let size = u32::try_from(8 * ended::CAUSES * counter).unwrap_or(u32::MAX);
                code.map_value(R1, maps.counters, (place + size).saturating_sub(8));
                code.compute_register(Operation::Add, R1, R8);
                code.set(R2, 1);
                code.add_atomically(R1, R2);
            }
            NOTHING_APPLIES
        });
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

/// Returns the branches of each function. The verifier of Linux 6.18 walks a function once for each of its ends, so that its
/// work would grow with the square of the branches in one function. A program has at most 256 functions.
fn shares<'a, 'b>(list: &'b [&'a Branch<'a>]) -> std::slice::Chunks<'b, &'a Branch<'a>> {
    const SHARE: usize = 32;
    const MOST_FUNCTIONS: usize = 60;
    list.chunks(list.len().div_ceil(MOST_FUNCTIONS).max(SHARE))
}

// What the function of a share returns.
const NOTHING_APPLIES: i32 = 0;
const SETTINGS_APPLY: i32 = 1;
const NO_MATCH: i32 = 2;

/// Emits, for each branch, a test and what `then` emits for connections that match. The function returns what `then` returns,
/// or [`NO_MATCH`]. R6 = the context.
fn on_match(
    code: &mut Assembler,
    direction: Direction,
    maps: &Maps,
    branches: &[&Branch<'_>],
    then: impl Fn(&mut Assembler, &Branch<'_>) -> i32,
) {
    matching::load(code, branches, direction, maps.names);
    for branch in branches {
        let next = code.label();
        matching::check(code, branch, next);
        let result = then(code, branch);
        code.exit_with(result);
        code.place(next);
    }
    if !branches.last().is_some_and(|last| is_for_all(last)) {
        code.exit_with(NO_MATCH);
    }
}

/// Calls the functions of the shares until a branch matches; then goes to `decided`, or continues after the last function.
/// `argument` sets R2, and R6 = the context.
pub(crate) fn call_shares(
    code: &mut Assembler,
    functions: &[Label],
    argument: impl Fn(&mut Assembler),
    decided: Label,
) {
    for (place, function) in functions.iter().enumerate() {
        if place > 0 {
            code.jump_if(R0, Different, NO_MATCH, decided);
        }
        code.copy(R1, R6);
        argument(code);
        code.call_local(*function);
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
    [connected, accepted]: &[Vec<Label>; 2],
    apply: Option<Label>,
    ended: Option<Label>,
) {
    let [is_connected, is_accepted, is_state, ends, decided] = [(); 5].map(|()| code.label());
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
    let settings = |code: &mut Assembler| {
        code.copy(R2, R10);
        code.compute(Operation::Add, R2, SETTINGS.into());
    };
    let call = |code: &mut Assembler, end, functions: &[Label]| {
        code.place(end);
        code.copy(R6, R1);
        if apply.is_some() {
            clear_settings(code);
        }
        call_shares(code, functions, settings, decided);
    };
    call(code, is_connected, connected);
    code.jump(decided);
    call(code, is_accepted, accepted);
    code.place(decided);
    if let Some(apply) = apply {
        // The verifier examines a function for each place that calls it. With one place its work does not grow with
        // the square of the rules.
        let nothing = code.label();
        code.jump_if(R0, Different, SETTINGS_APPLY, nothing);
        code.copy(R1, R6);
        settings(code);
        code.call_local(apply);
        code.place(nothing);
    }
    code.exit_with(1);
}

/// Clears what `apply` reads. Without CAP_PERFMON the verifier also walks the branch that a processor may take speculatively: a
/// function that wrote no settings, then `apply`. Linux 5.10 and 6.1 refuse a program that reads an unwritten stack there.
fn clear_settings(code: &mut Assembler) {
    for offset in (SETTINGS..NAME).step_by(8) {
        code.store_number(Long, offset, 0);
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

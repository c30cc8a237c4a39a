//! Compares random sequences of calls (`targets/call_sequences.c`) with the same sequences without keepalive. This
//! module runs a few hundred for each engine; `make fuzz-calls` runs 100,000.

use super::policy::Policy;
use super::setting::{Engine, alone, alone_with_late_packets};
use crate::support::target::{Libc, compile, static_target};
use keepalive_policy::Mode;
use std::env;
use std::path::Path;

/// The number of sequences of one process. Each process has its own network, and the number of ports limits the
/// sequences.
const CHUNK: usize = 2000;

/// One in this many sequences may differ once, and not again, because the kernel chooses ports at random. Without
/// keepalive one of 50,000 did.
const CHANCE: usize = 10_000;

/// Reads a number from the environment, which `make fuzz-calls` sets.
fn number(variable: &str, default: usize) -> usize {
    env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

/// Some of the sequences, under one policy.
struct Chunk {
    engine: Engine,
    policy: Policy,
    first: usize,
    count: usize,
}

/// The numbers of the sequences whose results in the second run of a pair never occurred in the first: in more than one
/// pair, or in one.
#[derive(Default)]
struct Differences {
    repeated: Vec<usize>,
    once: Vec<usize>,
}

impl Differences {
    /// Compares what `pair` returns, one line for each of these sequences. If the runs differ, makes three more pairs, because
    /// results may also vary without keepalive.
    fn find(first: usize, count: usize, pair: impl Fn() -> [String; 2]) -> Self {
        let pair = || {
            pair().map(|printed| {
                let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
                assert_eq!(lines.len(), count, "{printed}");
                lines
            })
        };
        let mut differences = Self::default();
        let [expected, printed] = pair();
        if expected == printed {
            return differences;
        }
        let pairs: Vec<_> = std::iter::once([expected, printed])
            .chain((0..3).map(|_| pair()))
            .collect();
        for index in 0..count {
            let is_usual = |line: &String| pairs.iter().any(|[expected, _]| &expected[index] == line);
            match pairs.iter().filter(|[_, printed]| !is_usual(&printed[index])).count() {
                0 => {}
                1 => differences.once.push(first + index),
                _ => differences.repeated.push(first + index),
            }
        }
        differences
    }
}

impl Chunk {
    /// Returns the letters for the target. Values can be compared only in mode fill. A keepalive of 0 that the program
    /// has set is known only to the supervisor: the library forgets it for a duplicate, and eBPF programs do not see
    /// it.
    fn letters(&self) -> &'static str {
        match (self.policy.mode, self.engine) {
            (Mode::Fill, Engine::Seccomp) => "vz",
            (Mode::Fill, _) => "v",
            _ => "-",
        }
    }

    fn words(&self, letters: &str) -> [String; 3] {
        [self.first.to_string(), self.count.to_string(), letters.to_owned()]
    }

    /// Compares the sequences without keepalive and with it.
    fn compare(&self, program: &Path) -> Differences {
        let words = self.words(self.letters());
        let words = words.each_ref().map(String::as_str);
        Differences::find(self.first, self.count, || {
            [alone(program, &words), self.engine.run(self.policy, program, &words)]
        })
    }

    /// Returns the full results of the sequences with and without keepalive, from where they differ; `None` if they do
    /// not differ in this run.
    fn difference(&self, program: &Path) -> Option<String> {
        let words = self.words(&format!("{}t", self.letters()));
        let words = words.each_ref().map(String::as_str);
        let (expected, printed) = (alone(program, &words), self.engine.run(self.policy, program, &words));
        let lines: Vec<_> = expected.lines().zip(printed.lines()).collect();
        let at = lines.iter().copied().position(is_difference)?;
        let text = lines[at.saturating_sub(40)..(at + 3).min(lines.len())].iter();
        let text: Vec<String> = text
            .map(|(expected, printed)| {
                if expected == printed {
                    format!("  {expected}")
                } else {
                    format!("- {expected}\n+ {printed}")
                }
            })
            .collect();
        Some(text.join("\n"))
    }
}

/// Whether two lines differ that are not hashes. Each sequence begins with a line of its number and its hash.
fn is_difference((one, other): (&str, &str)) -> bool {
    let is_hash = |line: &str| {
        line.split_once(' ')
            .is_some_and(|(_, hash)| hash.len() == 16 && !hash.contains(' '))
    };
    one != other && !is_hash(one)
}

/// Runs the sequences, some under each policy, and fails if one differs from the run without keepalive.
fn compare(engine: Engine, program: &Path) {
    let all = number("KEEPALIVE_TEST_SEQUENCES", 320);
    let first = number("KEEPALIVE_TEST_FIRST_SEQUENCE", 0);
    let policies: Vec<Policy> = Policy::all().collect();
    let size = CHUNK.min(all.div_ceil(policies.len()));
    let (mut wrong, mut once) = (Vec::new(), Vec::new());
    for (number, start) in (0..all).step_by(size).enumerate() {
        let chunk = Chunk {
            engine,
            policy: policies[number % policies.len()],
            first: first + start,
            count: size.min(all - start),
        };
        let Differences { repeated, once: other } = chunk.compare(program);
        once.extend(other);
        if !repeated.is_empty() {
            let again = chunk
                .difference(program)
                .unwrap_or_else(|| "not when printed in full".to_owned());
            wrong.push(format!(
                "{:?}, sequences {repeated:?} of {} from {}:\n{again}",
                chunk.policy, chunk.count, chunk.first
            ));
        }
    }
    assert!(wrong.is_empty(), "{engine:?}\n{}", wrong.join("\n\n"));
    assert!(
        once.len() <= 1 + all / CHANCE,
        "{engine:?}: sequences {once:?} differed once"
    );
}

fn dynamic() -> std::path::PathBuf {
    compile(Libc::Host, "call_sequences.c", &["-pthread"])
}

/// Sequences give the same results each time, also when packets arrive late.
#[test]
fn sequences_are_the_same_without_keepalive() {
    root!();
    let program = dynamic();
    let all = number("KEEPALIVE_TEST_SEQUENCES", 320).min(CHUNK);
    let count = all.to_string();
    let pair = |letters: &str| {
        let words = ["0", &count, letters];
        let late = alone_with_late_packets(&program, &words);
        [alone(&program, &words), late.unwrap_or_else(|| alone(&program, &words))]
    };
    let Differences { repeated, once } = Differences::find(0, all, || pair("vz"));
    let [one, other] = pair("vzt");
    assert!(one.lines().count() > 3000, "{one}");
    let different = one.lines().zip(other.lines()).position(is_difference);
    let context = different.map(|at| {
        let text = |run: &str| {
            run.lines()
                .skip(at.saturating_sub(30))
                .take(40)
                .collect::<Vec<_>>()
                .join("\n")
        };
        format!("{}\n--- other:\n{}", text(&one), text(&other))
    });
    assert!(
        repeated.is_empty() && once.len() <= 1 + all / CHANCE,
        "without keepalive sequences {repeated:?} differ, {once:?} differed once:\n{}",
        context.unwrap_or_default()
    );
}

#[test]
fn sequences_are_the_same_with_the_library() {
    root!();
    compare(Engine::Preload, &dynamic());
}

#[test]
fn sequences_are_the_same_under_a_supervisor() {
    root!();
    compare(Engine::Seccomp, &static_target(Libc::Host, "call_sequences.c"));
}

#[test]
fn sequences_are_the_same_with_library_and_supervisor() {
    root!();
    compare(Engine::Both, &dynamic());
}

#[test]
fn sequences_are_the_same_with_ebpf() {
    root!();
    if let Some(why) = crate::support::engine::Engine::Kernel.missing() {
        skip!("{why}");
    }
    compare(Engine::Cgroup, &dynamic());
}

/// glibc for i386 uses socketcall(2), whose arguments are in memory.
#[test]
fn sequences_of_an_i386_program_are_the_same_under_a_supervisor() {
    const I386: Libc = Libc::Cross("i686-linux-gnu-gcc");
    root!();
    if let Some(why) = I386.missing() {
        skip!("{why}");
    }
    compare(Engine::Seccomp, &static_target(I386, "call_sequences.c"));
}

//! The variants of a policy's program, in the order in which the engine tries them. Kernels and capabilities
//! differ in what programs may read. The engine finds the working variant by loading it, not by the kernel's
//! version.

use super::obstacle::{CAP_PERFMON, Obstacle, Unread, has, refused};
use super::reading::can_read_options;
use crate::kernel_defaults::KernelDefaults;
use keepalive_bpf::ended::EndFields;
use keepalive_bpf::established::{Needs, OwnValues};
use keepalive_bpf::fields::{Fields, ReadTask, TaskFields};
use keepalive_bpf::kernel_types::KernelTypes;
use keepalive_policy::option::BY_EBPF;
use keepalive_sys::bpf::call::Refusal;
use std::sync::OnceLock;

/// One variant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// How the program detects what another program has set.
    pub(super) own: OwnValues,
    /// How the program reads the task's name, if rules match it.
    pub(super) task: Option<TaskFields>,
    /// How the program detects why a connection failed, if it counts those connections.
    pub(super) ended: Option<EndFields>,
}

/// Why a variant does less than others.
#[derive(Clone, Debug, Default)]
pub(super) struct Reasons {
    /// Why it compares values.
    pub(super) compared: Option<String>,
    /// Why it does not count connections that fail.
    pub(super) uncounted: Option<String>,
}

/// Where the running kernel's structures contain what programs read. It stays while the kernel runs, and reading it takes
/// longer than everything else that applies a policy.
#[derive(Debug)]
struct Layout {
    /// Without and with the fields of an automatic user timeout.
    fields: [Option<Fields>; 2],
    tasks: Vec<TaskFields>,
    ended: Option<EndFields>,
}

impl Layout {
    fn get() -> Option<&'static Self> {
        static LAYOUT: OnceLock<Option<Layout>> = OnceLock::new();
        let layout = LAYOUT.get_or_init(|| {
            let types = KernelTypes::read().ok()?;
            let reads = [ReadTask::Typed, ReadTask::Copied];
            Some(Self {
                fields: [false, true].map(|automatic| Fields::find(&types, automatic)),
                tasks: reads
                    .into_iter()
                    .filter_map(|read| TaskFields::find(&types, read))
                    .collect(),
                ended: EndFields::find(&types),
            })
        });
        layout.as_ref()
    }
}

/// Returns the result of `load` for the first variant that the kernel accepts. `load` gets the reasons why that
/// variant does less than others. `counts_ended` states whether the program should count connections that fail.
///
/// # Errors
/// The reason why the kernel accepts no variant.
pub(super) fn first<T>(
    needs: Needs,
    counts_ended: bool,
    load: impl Fn(&Attempt, Reasons) -> Result<T, Obstacle>,
) -> Result<T, Obstacle> {
    let layout = Layout::get();
    let tasks: Vec<Option<TaskFields>> = if needs.names {
        layout
            .iter()
            .flat_map(|layout| &layout.tasks)
            .copied()
            .map(Some)
            .collect()
    } else {
        vec![None]
    };
    let mut refusal = None;
    let fields = layout.and_then(|layout| layout.fields[usize::from(needs.automatic)]);
    if let Some(own) = fields.map(OwnValues::Fields) {
        let counting = layout.and_then(|layout| layout.ended).filter(|_| counts_ended);
        for ended in counting.map(Some).into_iter().chain([None]) {
            let is_uncounted = counts_ended && ended.is_none();
            for task in &tasks {
                let task = *task;
                let reasons = Reasons {
                    compared: None,
                    uncounted: is_uncounted.then(|| reason_not_to_count(refusal.as_ref())),
                };
                match load(&Attempt { own, task, ended }, reasons) {
                    Err(Obstacle::Refused(refused)) => refusal = refusal.or(Some(refused)),
                    result => return result,
                }
            }
        }
    }
    let unread = match refusal {
        None => Unread::NoTypes,
        // Reading fields and names requires a capability of its own.
        Some(refusal) if !has(CAP_PERFMON) => Unread::NoCapability(refusal),
        Some(refusal) => Unread::Refused(refusal),
    };
    if needs.names && (tasks.is_empty() || !has(CAP_PERFMON)) {
        return Err(Obstacle::NoNames(unread));
    }
    if needs.reads && !can_read_options() {
        return Err(Obstacle::NoReading(unread));
    }
    let own = by_comparison();
    let mut last = Obstacle::NoNames(Unread::NoTypes);
    for task in tasks {
        let attempt = Attempt { own, task, ended: None };
        let reasons = Reasons {
            compared: Some(unread.reason()),
            uncounted: counts_ended.then(|| unread.reason()),
        };
        match load(&attempt, reasons) {
            Err(obstacle @ Obstacle::Refused(_)) => last = obstacle,
            result => return result,
        }
    }
    Err(last)
}

/// Returns the variant that compares with the values of a fresh socket in this network namespace.
fn by_comparison() -> OwnValues {
    let fresh = KernelDefaults::read();
    OwnValues::Differ {
        kernel_default: BY_EBPF.map(|option| fresh.of(option).unwrap_or(0)),
    }
}

/// Returns why a program that reads the kernel's fields does not count connections that fail.
fn reason_not_to_count(refusal: Option<&Refusal>) -> String {
    match refusal {
        Some(refusal) => refused(refusal),
        None => String::from("this kernel's sockets lack a field that shows why they were closed"),
    }
}

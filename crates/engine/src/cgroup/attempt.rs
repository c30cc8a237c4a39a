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
use std::cell::LazyCell;
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

/// The kernel's types, which are read at most once for a policy: where the kernel does not map them, 5 MB are copied.
type Types = LazyCell<Option<KernelTypes>>;

// Where the running kernel's structures contain what programs read stays while the kernel runs.

/// Returns the fields without or with those of an automatic user timeout.
fn fields(types: &Types, is_automatic: bool) -> Option<Fields> {
    static FIELDS: [OnceLock<Option<Fields>>; 2] = [const { OnceLock::new() }; 2];
    *FIELDS[usize::from(is_automatic)].get_or_init(|| Fields::find(types.as_ref()?, is_automatic))
}

/// Returns the ways of reading a task's name.
fn tasks(types: &Types) -> &'static [TaskFields] {
    static TASKS: OnceLock<Vec<TaskFields>> = OnceLock::new();
    TASKS.get_or_init(|| {
        let reads = [ReadTask::Typed, ReadTask::Copied].into_iter();
        let find = |read| TaskFields::find(types.as_ref()?, read);
        reads.filter_map(find).collect()
    })
}

/// Returns the fields that show why a connection failed.
fn end_fields(types: &Types) -> Option<EndFields> {
    static ENDED: OnceLock<Option<EndFields>> = OnceLock::new();
    *ENDED.get_or_init(|| EndFields::find(types.as_ref()?))
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
    let types = Types::new(|| KernelTypes::read().ok());
    let tasks: Vec<Option<TaskFields>> = if needs.names {
        tasks(&types).iter().copied().map(Some).collect()
    } else {
        vec![None]
    };
    let mut refusal = None;
    if let Some(own) = fields(&types, needs.automatic).map(OwnValues::Fields) {
        let counting = if counts_ended { end_fields(&types) } else { None };
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

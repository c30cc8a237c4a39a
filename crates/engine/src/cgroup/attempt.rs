//! The shapes that the program of a policy can have, in the order in which they are tried: kernels and capabilities differ in
//! what they let programs read. What works is found out by loading it, not told from a version.

use super::obstacle::{CAP_PERFMON, Obstacle, Unread, has};
use super::reading::can_read_options;
use crate::kernel_defaults::KernelDefaults;
use keepalive_bpf::established::{Needs, OwnValues};
use keepalive_bpf::fields::{Fields, ReadTask, TaskFields};
use keepalive_bpf::kernel_types::KernelTypes;
use keepalive_policy::option::BY_EBPF;

/// One shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// How it knows what a program has set.
    pub(super) own: OwnValues,
    /// How it knows the program's name, where rules ask for it.
    pub(super) task: Option<TaskFields>,
}

/// What `load` gives for the first shape that the kernel accepts. Where the program compares values, `load` gets the reason.
///
/// # Errors
/// What keeps the kernel from accepting any.
pub(super) fn first<T>(
    needs: Needs,
    load: impl Fn(&Attempt, Option<String>) -> Result<T, Obstacle>,
) -> Result<T, Obstacle> {
    let types = KernelTypes::read().ok();
    let tasks: Vec<Option<TaskFields>> = if needs.names {
        let reads = types
            .iter()
            .flat_map(|types| [ReadTask::Typed, ReadTask::Copied].map(|read| (types, read)));
        reads
            .filter_map(|(types, read)| TaskFields::find(types, read))
            .map(Some)
            .collect()
    } else {
        vec![None]
    };
    let mut refusal = None;
    let fields = types.as_ref().and_then(|types| Fields::find(types, needs.automatic));
    if let Some(own) = fields.map(OwnValues::Fields) {
        for task in &tasks {
            match load(&Attempt { own, task: *task }, None) {
                Err(Obstacle::Refused(refused)) => refusal = refusal.or(Some(refused)),
                result => return result,
            }
        }
    }
    let unread = match refusal {
        None => Unread::NoTypes,
        // It takes a capability of its own to read fields and names.
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
        match load(&Attempt { own, task }, Some(unread.reason())) {
            Err(obstacle @ Obstacle::Refused(_)) => last = obstacle,
            result => return result,
        }
    }
    Err(last)
}

/// By what a fresh socket has, here and now.
fn by_comparison() -> OwnValues {
    let fresh = KernelDefaults::read();
    OwnValues::Differ {
        kernel_default: BY_EBPF.map(|option| fresh.of(option).unwrap_or(0)),
    }
}

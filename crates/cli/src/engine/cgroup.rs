//! The cgroup engine: eBPF programs of the kernel give every new connection in a cgroup its settings. There is no process
//! of ours, and nothing in the processes of others.

pub(crate) mod child;
mod description;
pub(crate) mod entry;
pub(crate) mod existing;
mod lock;
mod obstacle;
pub(crate) mod pins;

pub(crate) use description::{Description, out_of_reach};
pub(crate) use lock::Interrupts;
pub(crate) use obstacle::Obstacle;

use crate::policy::{Part, Policy};
use crate::untouched::Untouched;
use keepalive_linux::bpf::assembler::Map;
use keepalive_linux::bpf::call::{Hook, MapKind, create_map, load_program, map_info, set_value};
use keepalive_linux::bpf::established::{self, Fields, Maps, Needs, OwnValues, TaskFields};
use keepalive_linux::bpf::kernel_types::KernelTypes;
use keepalive_linux::bpf::wish::WISH_SIZE;
use keepalive_linux::bpf::{clamp, record};
use keepalive_policy::{Settings, SocketOption};
use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::io;
use std::path::Path;

/// The programs of a policy, in the kernel.
pub(crate) struct Programs {
    /// Runs when a connection is established.
    pub(crate) established: OwnedFd,
    /// Runs before setsockopt(2), where a mode is other than fill.
    pub(crate) clamp: Option<OwnedFd>,
    /// The description and the counters.
    record: OwnedFd,
    shared: Shared,
}

/// The maps that a new policy takes over from the one before.
#[derive(Default)]
pub(crate) struct Shared {
    names: Option<OwnedFd>,
    wishes: Option<OwnedFd>,
}

/// The name of the program that decides.
const NAME: &str = "ka_established";

/// The bytes of a program's name, in the kernel.
const NAME_SIZE: u32 = 16;

const NAMES: MapKind = MapKind::Socket { is_inherited: true };
const WISHES: MapKind = MapKind::Socket { is_inherited: false };

impl Programs {
    /// Compiles and loads `policy`, for the cgroup of this name; `is_watched` where a process looks after it.
    ///
    /// # Errors
    /// What is in the way.
    pub(crate) fn load(policy: &Policy, cgroup: &Path, is_watched: bool, old: Shared) -> Result<Self, Obstacle> {
        raise_memory_limit();
        let parts = policy.parts();
        let sources = parts.each_ref().map(Part::source);
        let compiled = established::Policy::new(&sources);
        let needs = compiled.needs();
        let shared = old.fit(needs)?;
        let types = KernelTypes::read().ok();
        let task = types.as_ref().and_then(TaskFields::find);
        if needs.names && task.is_none() {
            return Err(Obstacle::NoNames);
        }
        let load = |own: OwnValues| {
            let description = Description {
                reads_fields: matches!(own, OwnValues::Fields(_)),
                is_watched,
                ..Description::new(cgroup, &parts, needs)
            };
            let text = serde_json::to_string(&description).map_err(io::Error::other)?;
            let value = record::new(compiled.counters(), &text);
            let size = value.len().try_into().map_err(io::Error::other)?;
            let record = create_map(MapKind::Single, "ka_policy", size, 1).map_err(Obstacle::of_loading)?;
            set_value(&record, 0, &value)?;
            let maps = Maps {
                counters: map(&record),
                names: shared.names.as_ref().map(map),
                wishes: shared.wishes.as_ref().map(map),
            };
            let program = compiled.program(&maps, own, task)?;
            let established = load_program(Hook::SockOps, NAME, &program)?;
            Ok::<_, Obstacle>((established, record))
        };
        let fields = types.as_ref().and_then(Fields::find).map(OwnValues::Fields);
        let (established, record) = match fields.map(load) {
            Some(Ok(loaded)) => loaded,
            Some(Err(Obstacle::TooLarge)) => return Err(Obstacle::TooLarge),
            // Reading the kernel's fields takes a capability of its own, CAP_PERFMON; so does reading names.
            _ => load(by_comparison()).map_err(|obstacle| match obstacle {
                Obstacle::Refused(_) if needs.names => Obstacle::NoNames,
                other => other,
            })?,
        };
        let clamp = match &shared.wishes {
            Some(wishes) => {
                let program = clamp::program(map(wishes))?;
                Some(load_program(Hook::SetSockOpt, "ka_clamp", &program)?)
            }
            None => None,
        };
        Ok(Self {
            established,
            clamp,
            record,
            shared,
        })
    }

    /// Loads a policy that says nothing, and lets go of it.
    ///
    /// # Errors
    /// What is in the way of the engine, whatever the policy.
    pub(crate) fn trial() -> Result<(), Obstacle> {
        Self::load(&Policy::EVERYWHERE, Path::new("/"), false, Shared::default())?;
        Obstacle::of_file_system()
    }
}

impl Shared {
    /// With what is needed, and without what is not.
    fn fit(self, needs: Needs) -> Result<Self, Obstacle> {
        let take = |is_needed: bool, old: Option<OwnedFd>, kind, name, size| {
            let old = old.filter(|map| map_info(map).is_ok_and(|info| info.value_size == size));
            match (is_needed, old) {
                (false, _) => Ok(None),
                (true, Some(old)) => Ok(Some(old)),
                (true, None) => create_map(kind, name, size, 1).map(Some).map_err(Obstacle::of_loading),
            }
        };
        Ok(Self {
            names: take(needs.names, self.names, NAMES, "ka_names", NAME_SIZE)?,
            wishes: take(needs.wishes, self.wishes, WISHES, "ka_wishes", WISH_SIZE)?,
        })
    }
}

fn map(map: &OwnedFd) -> Map {
    Map(map.as_raw_fd())
}

/// By what a fresh socket has, here and now.
fn by_comparison() -> OwnValues {
    let fresh = Untouched::read();
    let times = [SocketOption::Idle, SocketOption::Interval, SocketOption::Count];
    OwnValues::Differ {
        untouched: times.map(|option| fresh.of(option).unwrap_or(0)),
    }
}

/// Before Linux 5.11 maps and programs count as locked memory.
fn raise_memory_limit() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let _ = setrlimit(Resource::Memlock, unlimited);
}

impl Policy {
    /// What is set where nobody says anything.
    const EVERYWHERE: Self = Self {
        settings: Settings::EVERYWHERE,
        said: Vec::new(),
        fallback: None,
        rules: Vec::new(),
        config: None,
        config_path: None,
        notes: Vec::new(),
    };
}

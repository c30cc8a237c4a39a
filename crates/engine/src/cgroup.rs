//! The cgroup engine: eBPF programs in the kernel set the options of every new connection in a cgroup. No
//! process of keepalive stays, and keepalive adds nothing to other processes.

mod attempt;
pub mod child;
mod counts;
mod description;
mod directory;
pub mod entry;
pub mod existing;
mod limits;
mod lock;
mod obstacle;
pub mod owned;
pub mod pins;
mod reading;
pub mod refusal;
mod target;

pub use counts::{Counted, Counts, Ended};
pub use description::{Description, out_of_reach};
pub use limits::{Limits, is_locked_memory_charged};
pub use lock::Interrupts;
pub use obstacle::Obstacle;
pub use reading::has_tcp_getsockopt;

use crate::policy::{Part, Policy};
use attempt::{Attempt, Reasons};
use keepalive_bpf::assembler::Map;
use keepalive_bpf::ended::CountEnded;
use keepalive_bpf::established::{self, Maps, Needs, OwnValues};
use keepalive_bpf::sock_settings::SOCK_SETTINGS_SIZE;
use keepalive_bpf::{clamp, record};
use keepalive_policy::Settings;
use keepalive_sys::bpf::call::{Hook, MapKind, create_map, load_program, map_info, set_value};
use rustix::fd::{AsRawFd as _, OwnedFd};
use std::io;
use std::path::Path;

/// The loaded programs of a policy.
pub struct Programs {
    /// Runs when a connection is established.
    pub established: OwnedFd,
    /// Runs before setsockopt(2), if a mode is not fill.
    pub clamp: Option<OwnedFd>,
    /// The description of the policy and its counters.
    record: OwnedFd,
    shared: Shared,
    /// Why connections that fail are not counted, if [`Options::counts_ended`] asked for it.
    uncounted_because: Option<String>,
}

/// How a policy is applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether this process keeps watching the policy.
    pub is_watched: bool,
    /// Whether the program counts the connections that fail, by cause. This costs each connection some time. Where the
    /// kernel does not let the program find the cause, the policy is applied all the same.
    pub counts_ended: bool,
}

/// The maps that a new policy takes over from the previous one.
#[derive(Default)]
pub struct Shared {
    names: Option<OwnedFd>,
    sock_settings: Option<OwnedFd>,
}

/// The name of the program that applies the policy.
const NAME: &str = "ka_established";

/// The size of a program's name in the kernel, in bytes.
const NAME_SIZE: u32 = 16;

const NAMES: MapKind = MapKind::Socket { is_inherited: true };
const SOCK_SETTINGS: MapKind = MapKind::Socket { is_inherited: false };

impl Programs {
    /// Compiles and loads `policy` for the cgroup of this name.
    ///
    /// # Errors
    /// The obstacle.
    pub fn load(policy: &Policy, cgroup: &Path, options: Options, old: Shared) -> Result<Self, Obstacle> {
        let _limits = Limits::raise();
        let parts = policy.parts();
        let sources = parts.each_ref().map(Part::source);
        let compiled = established::Policy::new(&sources);
        let needs = compiled.needs();
        let shared = old.fit(needs)?;
        let load = |attempt: &Attempt, reasons: Reasons| {
            let description = Description {
                reads_fields: matches!(attempt.own, OwnValues::Fields(_)),
                compared_because: reasons.compared,
                uncounted_because: reasons.uncounted,
                is_watched: options.is_watched,
                owner: policy.owner.clone(),
                ..Description::new(cgroup, &parts, needs)
            };
            let text = serde_json::to_string(&description).map_err(io::Error::other)?;
            let counters = compiled.counters();
            let ended = match attempt.ended {
                Some(fields) => Some(CountEnded {
                    fields,
                    place: record::place_of_ended(counters, &text)
                        .try_into()
                        .map_err(io::Error::other)?,
                }),
                None => None,
            };
            let value = record::new(counters, ended.map_or(0, |_| compiled.ended_counters()), &text);
            let size = value.len().try_into().map_err(io::Error::other)?;
            let record = create_map(MapKind::Single, "ka_policy", size, 1)?;
            set_value(&record, 0, &value)?;
            let maps = Maps {
                counters: map(&record),
                names: shared.names.as_ref().map(map),
                sock_settings: shared.sock_settings.as_ref().map(map),
            };
            let program = compiled.program(&maps, attempt.own, attempt.task, ended)?;
            let established = load_program(Hook::SockOps, NAME, &program)?;
            Ok::<_, Obstacle>((established, record, description.uncounted_because))
        };
        let (established, record, uncounted_because) = attempt::first(needs, options.counts_ended, load)?;
        let clamp = match &shared.sock_settings {
            Some(sock_settings) => {
                let program = clamp::program(map(sock_settings))?;
                let loaded = load_program(Hook::SetSockOpt, "ka_clamp", &program);
                Some(loaded.map_err(|refusal| match refusal.into() {
                    Obstacle::Refused(refusal) => Obstacle::NoClamp(refusal),
                    other => other,
                })?)
            }
            None => None,
        };
        Ok(Self {
            established,
            clamp,
            record,
            shared,
            uncounted_because,
        })
    }

    /// Loads an empty policy, and drops it.
    ///
    /// # Errors
    /// The obstacle that keeps the engine from working, whatever the policy.
    pub fn trial() -> Result<(), Obstacle> {
        Self::load(
            &Policy::EVERYWHERE,
            Path::new("/"),
            Options::default(),
            Shared::default(),
        )?;
        Obstacle::of_file_system()
    }
}

impl Shared {
    /// Returns the maps that the policy needs: reuses old ones, creates missing ones and drops the others.
    fn fit(self, needs: Needs) -> Result<Self, Obstacle> {
        let take = |is_needed: bool, old: Option<OwnedFd>, kind, name, size| {
            let old = old.filter(|map| map_info(map).is_ok_and(|info| info.value_size == size));
            match (is_needed, old) {
                (false, _) => Ok::<_, Obstacle>(None),
                (true, Some(old)) => Ok(Some(old)),
                (true, None) => Ok(Some(create_map(kind, name, size, 1)?)),
            }
        };
        Ok(Self {
            names: take(needs.names, self.names, NAMES, "ka_names", NAME_SIZE)?,
            sock_settings: take(
                needs.sock_settings,
                self.sock_settings,
                SOCK_SETTINGS,
                "ka_wishes",
                SOCK_SETTINGS_SIZE,
            )?,
        })
    }
}

fn map(map: &OwnedFd) -> Map {
    Map(map.as_raw_fd())
}

impl Policy {
    /// The settings that apply where no source sets a value.
    const EVERYWHERE: Self = Self {
        settings: Settings::EVERYWHERE,
        explicit: Vec::new(),
        fallback: None,
        rules: Vec::new(),
        config: None,
        config_path: None,
        notes: Vec::new(),
        is_config_pipe: false,
        owner: None,
    };
}

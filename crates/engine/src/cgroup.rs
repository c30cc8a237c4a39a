//! The cgroup engine: eBPF programs in the kernel set the options of every new connection in a cgroup. No
//! process of keepalive stays, and keepalive adds nothing to other processes.

mod attempt;
pub mod child;
mod description;
pub mod entry;
pub mod existing;
mod limits;
mod lock;
mod obstacle;
pub mod owned;
pub mod pins;
mod reading;

pub use description::{Description, out_of_reach};
pub use limits::{Limits, is_locked_memory_charged};
pub use lock::Interrupts;
pub use obstacle::Obstacle;
pub use reading::has_tcp_getsockopt;

use crate::policy::{Part, Policy};
use attempt::Attempt;
use keepalive_bpf::assembler::Map;
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
    /// Compiles and loads `policy` for the cgroup of this name. `is_watched` states whether a process watches
    /// the policy.
    ///
    /// # Errors
    /// The obstacle.
    pub fn load(policy: &Policy, cgroup: &Path, is_watched: bool, old: Shared) -> Result<Self, Obstacle> {
        let _limits = Limits::raise();
        let parts = policy.parts();
        let sources = parts.each_ref().map(Part::source);
        let compiled = established::Policy::new(&sources);
        let needs = compiled.needs();
        let shared = old.fit(needs)?;
        let load = |attempt: &Attempt, compared_because: Option<String>| {
            let description = Description {
                reads_fields: matches!(attempt.own, OwnValues::Fields(_)),
                compared_because,
                is_watched,
                owner: policy.owner.clone(),
                ..Description::new(cgroup, &parts, needs)
            };
            let text = serde_json::to_string(&description).map_err(io::Error::other)?;
            let value = record::new(compiled.counters(), &text);
            let size = value.len().try_into().map_err(io::Error::other)?;
            let record = create_map(MapKind::Single, "ka_policy", size, 1)?;
            set_value(&record, 0, &value)?;
            let maps = Maps {
                counters: map(&record),
                names: shared.names.as_ref().map(map),
                sock_settings: shared.sock_settings.as_ref().map(map),
            };
            let program = compiled.program(&maps, attempt.own, attempt.task)?;
            let established = load_program(Hook::SockOps, NAME, &program)?;
            Ok::<_, Obstacle>((established, record))
        };
        let (established, record) = attempt::first(needs, load)?;
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
        })
    }

    /// Loads an empty policy, and drops it.
    ///
    /// # Errors
    /// The obstacle that keeps the engine from working, whatever the policy.
    pub fn trial() -> Result<(), Obstacle> {
        Self::load(&Policy::EVERYWHERE, Path::new("/"), false, Shared::default())?;
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

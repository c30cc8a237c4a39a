//! The program of a policy as the engine loads it, with and without a part.

use crate::Error;
use keepalive_bpf::assembler::Map;
use keepalive_bpf::ended::{CountEnded, EndFields};
use keepalive_bpf::established::{Maps, OwnValues, Policy};
use keepalive_bpf::fields::Fields;
use keepalive_bpf::kernel_types::KernelTypes;
use keepalive_bpf::record;
use keepalive_policy::{Number, Settings, SocketOption, Source};
use keepalive_sys::bpf::call::{Hook, MapKind, create_map, load_program};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Loads the program of a policy that sets five options, with or without counters of the connections that fail.
pub(crate) fn five_options(counts_ended: bool) -> Result<OwnedFd, Error> {
    let types = KernelTypes::read()?;
    let default = Settings::timings(60, 15, 5).with(SocketOption::UserTimeout, Number::Is(135_000));
    let policy = Policy::new(&[Source { default, rules: &[] }]);
    let value = record::new(policy.counters(), policy.ended_counters(), "");
    let counters = create_map(MapKind::Single, "bench", value.len().try_into()?, 1).map_err(|refused| refused.error)?;
    let maps = Maps {
        counters: Map(counters.as_raw_fd()),
        names: None,
        sock_settings: None,
    };
    let own = OwnValues::Fields(Fields::find(&types, false).ok_or("the kernel's types lack a field")?);
    let ended = CountEnded {
        fields: EndFields::find(&types).ok_or("the kernel's types lack a field")?,
        place: record::place_of_ended(policy.counters(), "").try_into()?,
    };
    let program = policy.program(&maps, own, None, counts_ended.then_some(ended))?;
    Ok(load_program(Hook::SockOps, "bench", &program).map_err(|refusal| refusal.error)?)
}

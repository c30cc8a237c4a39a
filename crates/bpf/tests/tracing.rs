//! The programs of `keepalive trace` against the verifier of the running kernel.

use keepalive_bpf::assembler::Map;
use keepalive_bpf::fields::ReadTask;
use keepalive_bpf::kernel_types::KernelTypes;
use keepalive_bpf::listing::listing;
use keepalive_bpf::tracing::record::Positions;
use keepalive_bpf::tracing::{CHANGES, CONNECTION_SIZE, RETRANSMISSIONS, Tracer};
use keepalive_sys::bpf::call::{Hook, MapKind, create_map, load_program};
use std::os::fd::AsRawFd as _;

#[test]
fn verifier_accepts_every_variant() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIP only root can load programs");
        return;
    }
    let Ok(types) = KernelTypes::read() else {
        eprintln!("SKIP this kernel does not publish its types");
        return;
    };
    let ring = create_map(MapKind::Ring, "ring", 0, 1 << 16).expect("a map");
    let lost = create_map(MapKind::Single, "lost", 8, 1).expect("a map");
    let connections = create_map(MapKind::Recent, "connections", CONNECTION_SIZE, 16).expect("a map");
    for read in [ReadTask::Typed, ReadTask::Copied] {
        for min_idle in [0, 1250] {
            let tracer = Tracer {
                positions: Positions::find(&types).expect("the kernel's fields"),
                read,
                connections: Map(connections.as_raw_fd()),
                ring: Map(ring.as_raw_fd()),
                lost: Map(lost.as_raw_fd()),
                min_idle,
            };
            for (tracepoint, program) in [(CHANGES, tracer.changes()), (RETRANSMISSIONS, tracer.retransmissions())] {
                let program = program.expect("a program");
                let hook = Hook::Tracepoint(types.tracepoint(tracepoint).expect("a tracepoint"));
                if let Err(refusal) = load_program(hook, "keepalive_test", &program) {
                    let end = refusal.log.len().saturating_sub(3000);
                    panic!(
                        "{read:?} {min_idle}: {refusal}\n{}\n{}",
                        &refusal.log[end..],
                        listing(&program)
                    );
                }
            }
        }
    }
}

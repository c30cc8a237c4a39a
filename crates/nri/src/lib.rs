//! The connection of a plugin to the Node Resource Interface (NRI) of a container runtime: <https://github.com/containerd/nri>.
//!
//! One stream socket carries two connections (`pkg/net/multiplex`). On the first, the runtime calls the plugin; on the second,
//! the plugin calls the runtime. Calls are those of ttrpc (`PROTOCOL.md` of <https://github.com/containerd/ttrpc>) with messages of
//! protocol buffers. The crate `ttrpc` serves a listening socket and has no multiplexed connections, so this crate frames
//! calls itself.
#![forbid(unsafe_code)]

mod connection;
mod frame;
mod messages;

pub use connection::{Call, Connection, Event, SOCKET};
pub use messages::nri::PodSandbox;

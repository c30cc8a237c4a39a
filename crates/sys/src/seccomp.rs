//! System calls that wait for a supervisor (`seccomp_unotify(2)`): the filter that selects them, the listener
//! that receives them, and their meaning.

mod call;
mod filter;
mod listener;

pub use call::{Address, Call};
pub use filter::{Filter, IoUring, SetOption};
pub use libc::sock_filter;
pub use listener::{Answer, Listener, Notification, install, is_first_to_report, is_supervised, probe};

//! The calls that this library stands in for, one file each: the exported function hands over to `on_…`, which calls the
//! next definition and does what is to be done before or after. What the program sees returned is always the next one's.

mod accept;
mod connect;
mod getsockopt;
mod listen;
mod prctl;
mod setsockopt;
mod socket;
mod socketcall;
mod syscall;

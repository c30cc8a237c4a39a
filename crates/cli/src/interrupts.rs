//! SIGINT and SIGTERM as events, for commands that run until a signal ends them.

use crate::error::{Error, FAILED, describe};
use keepalive_sys::signal::{SignalFd, block_interrupts};

/// Blocks the signals that interrupt a command, and returns the descriptor that receives them.
///
/// # Errors
/// signalfd(2) fails.
pub(crate) fn catch() -> Result<SignalFd, Error> {
    block_interrupts();
    SignalFd::interrupts().map_err(|error| {
        Error::new(
            FAILED,
            format!("cannot wait for signals: signalfd: {}", describe(&error)),
        )
    })
}

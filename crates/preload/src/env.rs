//! Reading the environment of the process that loads us, once: programs wipe or change it later.

use crate::{libc, log};
use keepalive_policy::environment::InvalidVariable;
use keepalive_policy::{Environment, Keepalive, Policy, duration};

/// The policy that the environment asks for, or `None` when nothing is to be done.
pub(crate) fn read() -> Option<Policy> {
    let secure = libc::is_secure();
    // What cannot be used is said when it is known where to, in a second reading.
    let environment = read_variables(secure, |_| {});
    if environment.settings.keepalive == Some(Keepalive::Off) {
        return None;
    }
    if let Some(destination) = environment.log {
        log::open(destination);
        read_variables(secure, |invalid| log::ignored(&invalid));
    }
    Some(Policy {
        default: environment.settings,
    })
}

fn read_variables(secure: bool, refused: fn(InvalidVariable<'_>)) -> Environment<'static> {
    let mut environment = Environment::default();
    for entry in variables(b'K') {
        if let Err(invalid) = environment.read(entry, secure) {
            refused(invalid);
        }
    }
    environment
}

/// How many descriptors a service manager passes to this process from number 3 on (`LISTEN_FDS`, sd_listen_fds(3)).
pub(crate) fn passed_descriptors() -> i32 {
    variables(b'L')
        .find_map(|entry| entry.strip_prefix(b"LISTEN_FDS="))
        .and_then(|count| duration::parse_number(count).ok())
        .and_then(|count| i32::try_from(count).ok())
        .map_or(0, |count| count.min(1024))
}

fn variables(initial: u8) -> libc::Variables {
    // SAFETY: this runs in a constructor, or in a hook that a constructor calls; a program that changes its environment
    // in another thread meanwhile would break its own getenv(3) just as well. No slice outlives the call of `read`.
    unsafe { libc::variables(initial) }
}

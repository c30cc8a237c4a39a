//! Restarts a service, and checks that the policy reaches it.

use super::loaded::systemctl;
use super::service::Service;
use super::{Engine, say};
use crate::error::{Error, FAILED};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a service that has started may take until it has loaded its libraries. Under Type=simple its
/// start is complete before its program is.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// Restarts the service, and checks that `engine` reaches it.
///
/// # Errors
/// It does not start, or the engine does not reach one of its processes.
pub(super) fn restart(service: &Service, engine: Engine) -> Result<(), Error> {
    let status = systemctl(service.manager).args(["restart", &service.name]).status();
    if !status.is_ok_and(|status| status.success()) {
        let what = format!("{} does not start with the drop-in, or at all", service.name);
        let hint = format!(
            "journalctl {}-u {}; keepalive unit disable takes the drop-in out",
            service.user_option(),
            service.name
        );
        return Err(Error::new(FAILED, what).hint(hint));
    }
    let end = Instant::now() + PATIENCE;
    let text = service.text()?.unwrap_or_default();
    loop {
        let problem = match engine {
            Engine::Cgroup => service.without_policy(),
            Engine::Auto | Engine::Preload => service.without_library(&text),
        };
        match problem {
            None if !service.processes().is_empty() => break,
            None if Instant::now() > end => {
                say(&format!(
                    "{} has no process now: there is nothing to check",
                    service.name
                ));
                return Ok(());
            }
            Some(problem) if Instant::now() > end => {
                return Err(Error::new(FAILED, problem).hint("--engine cgroup reaches it"));
            }
            _ => sleep(PAUSE),
        }
    }
    say(&format!("{} has started with the policy", service.name));
    Ok(())
}

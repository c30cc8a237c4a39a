//! Restarts a service, and checks that the policy reaches it.

use super::enable::short;
use super::file::Manager;
use super::loaded::{LoadedUnit, systemctl};
use super::service::Service;
use super::{Engine, of_services, say, warnings};
use crate::error::{Error, FAILED, describe};
use keepalive_engine::policy::Policy;
use keepalive_engine::sockets::WorkerPool;
use keepalive_engine::verify::{Compared, Comparison, Given, Outcome, compare};
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a service that has started may take until it has loaded its libraries. Under Type=simple its
/// start is complete before its program is.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the main process must execute the same program until what was seen counts: a program that prepares the
/// start may still execute another one.
const QUIET: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);

/// Why the check failed.
pub(super) struct Failure {
    pub(super) error: Error,
    /// Whether the engine does not reach the service; another one may.
    pub(super) is_of_engine: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            is_of_engine: false,
        }
    }
}

/// Restarts the service, and checks that `engine` reaches it.
///
/// # Errors
/// It does not start, or the engine does not reach one of its processes.
pub(super) fn restart(service: &Service, engine: Engine, policy: &Policy) -> Result<(), Failure> {
    let status = systemctl(service.manager).args(["restart", &service.name]).status();
    if !status.is_ok_and(|status| status.success()) {
        let what = format!("{} does not start with the drop-in, or at all", service.name);
        let hint = format!(
            "journalctl {}-u {}; keepalive unit disable takes the drop-in out",
            service.user_option(),
            service.name
        );
        return Err(Error::new(FAILED, what).hint(hint).into());
    }
    let end = Instant::now() + PATIENCE;
    let text = service.text()?.unwrap_or_default();
    let main = LoadedUnit::find(service.manager, &service.name).and_then(|unit| unit.main_process());
    let program = || fs::read_link(format!("/proc/{}/exe", main?)).ok();
    let (mut last, mut last_change) = (program(), Instant::now());
    loop {
        let now = program();
        if now != last {
            (last, last_change) = (now, Instant::now());
        }
        let is_quiet = main.is_none() || last_change.elapsed() > QUIET;
        let is_over = Instant::now() > end;
        match examine(service, engine, &text, policy)? {
            Ok(comparison) if is_quiet || is_over => {
                report(service, engine, &comparison);
                return Ok(());
            }
            Ok(_) => {}
            Err(failure) => {
                let is_wiped = engine != Engine::Cgroup && warnings::of_processes(service).is_some();
                if is_wiped || is_over {
                    return Err(failure);
                }
            }
        }
        sleep(PAUSE);
    }
}

/// Examines once the processes and sockets of the service.
fn examine(
    service: &Service,
    engine: Engine,
    text: &str,
    policy: &Policy,
) -> Result<Result<Comparison, Failure>, Error> {
    let problem = match engine {
        Engine::Cgroup => service.without_policy(),
        Engine::Auto | Engine::Preload => service.without_library(text),
    };
    let comparison = compare_with(&service.processes(), policy)?;
    Ok(match problem {
        Some(problem) => Err(Failure {
            error: Error::new(FAILED, problem).hint("--engine cgroup reaches it"),
            is_of_engine: engine != Engine::Cgroup,
        }),
        None if comparison.is_missing() => Err(Failure {
            error: Error::new(
                FAILED,
                format!("{}: {}", service.name, of_services(&comparison.summary())),
            ),
            is_of_engine: comparison.sockets.iter().any(is_of_engine),
        }),
        None => Ok(comparison),
    })
}

/// Returns whether another engine may set a socket that lacks what the policy wants.
fn is_of_engine(socket: &Compared) -> bool {
    socket.verdict.outcome() == Outcome::Missing && !socket.verdict.is_final()
}

fn compare_with(processes: &[u32], policy: &Policy) -> Result<Comparison, Error> {
    let given = Given {
        overriding: Some(policy),
        started_with: None,
    };
    compare(&mut WorkerPool::default(), processes, given).map_err(|error| {
        Error::new(
            FAILED,
            format!("cannot examine the service: fork: {}", describe(&error)),
        )
    })
}

/// Prints what was seen, and how to check what was not.
fn report(service: &Service, engine: Engine, comparison: &Comparison) {
    let name = &service.name;
    if comparison.processes.is_empty() {
        say(&format!("{name} has no process now: nothing can be checked"));
    } else {
        let reached = match engine {
            Engine::Cgroup => "its cgroup has the policy",
            Engine::Auto | Engine::Preload => "its processes have the library",
        };
        say(&format!("{name} has started, and {reached}; {}", comparison.summary()));
    }
    if comparison.sockets.is_empty() && service.manager == Manager::System {
        say(&format!(
            "to check its connections later: keepalive doctor --unit {}",
            short(name)
        ));
    }
}

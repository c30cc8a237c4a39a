//! Starts real programs of each kind, and checks that they print nothing about the library.

use super::abi::Abi;
use crate::error::describe;
use crate::output::sanitize;
use keepalive_sys::elf;
use keepalive_sys::rooted::Root;
use keepalive_sys::trial::{Ended, Failure, Trial, is_foreign};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time limit: a program that does nothing takes less on any machine.
const LIMIT: Duration = Duration::from_secs(10);

/// The programs of one kind, and how they behave before a change.
#[derive(Debug)]
pub(super) struct Probe<'a> {
    root: &'a Root,
    /// The files that confined programs must be able to read.
    needs: [PathBuf; 2],
    before: Vec<(Trial, Ended)>,
}

/// Why starting programs showed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// This machine cannot run the programs.
    Foreign,
    /// Programs of another system run only confined, and they could not be confined.
    NotConfined(String),
    /// Users without privileges may not run them.
    Private(String),
}

impl Unknown {
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Foreign => String::from("this machine does not run such programs"),
            Self::NotConfined(why) => format!("they could not be confined here: {why}"),
            Self::Private(why) => format!("a user without privileges cannot run them there: {why}"),
        }
    }
}

/// Why a program could not be started.
enum NotRun {
    Unknown(Unknown),
    Wrong(io::Error),
}

/// The exit status of a program that glibc's loader cannot load (`elf/rtld.c`).
const LOADER_FAILED: i32 = 127;

/// Starts the programs of `abi` before a change: unconfined if they belong to this system, otherwise confined.
///
/// # Errors
/// The programs do not start now, whether or not keepalive is the cause.
pub(super) fn take<'a>(root: &'a Root, abi: &Abi) -> Result<Result<Probe<'a>, Unknown>, String> {
    if !root.is_ours() && !abi.machine.is_native() {
        return Ok(Err(Unknown::Foreign));
    }
    let mut probe = Probe {
        root,
        needs: [abi.loader.clone(), abi.libc.clone()],
        before: Vec::new(),
    };
    let programs = programs(root, abi);
    let has_others = programs.len() > 1;
    for (program, arguments) in programs {
        let trial = trial(program, arguments);
        let is_library = trial.program == abi.loader;
        match probe.run(&trial) {
            Err(NotRun::Unknown(unknown)) => return Ok(Err(unknown)),
            Err(NotRun::Wrong(error)) => return Err(format!("{}: {}", shown(&trial), describe(&error))),
            Ok(Some(ended)) if ended.status.success() => probe.before.push((trial, ended)),
            // With some libraries in the file, such as snoopy, the C library does not start as a program, since they are
            // initialized before it. All others do.
            Ok(Some(ended)) if is_library && has_others && ended.status.code() == Some(LOADER_FAILED) => {}
            Ok(ended) => return Err(complaint(&trial, ended.as_ref())),
        }
    }
    Ok(Ok(probe))
}

impl Probe<'_> {
    fn run(&self, trial: &Trial) -> Result<Option<Ended>, NotRun> {
        let of_starting = |error: io::Error| match error.kind() {
            _ if is_foreign(&error) => NotRun::Unknown(Unknown::Foreign),
            io::ErrorKind::PermissionDenied if !self.root.is_ours() => {
                NotRun::Unknown(Unknown::Private(describe(&error)))
            }
            _ => NotRun::Wrong(error),
        };
        if self.root.is_ours() {
            return trial.run(LIMIT).map_err(of_starting);
        }
        let needs = self.needs.each_ref().map(|path| path.as_os_str());
        trial
            .run_confined(self.root, &needs, LIMIT)
            .map_err(|failure| match failure {
                Failure::NotConfined(what, error) => {
                    NotRun::Unknown(Unknown::NotConfined(format!("cannot {what}: {}", describe(&error))))
                }
                Failure::Unreadable(error) => NotRun::Unknown(Unknown::Private(describe(&error))),
                Failure::NotStarted(error) => of_starting(error),
            })
    }

    /// Starts the same programs again, with these libraries in LD_PRELOAD. Returns the messages that they
    /// printed before, too.
    ///
    /// # Errors
    /// A program prints or does something new.
    pub(super) fn again(&self, preload: Option<&OsStr>) -> Result<Option<String>, String> {
        let mut complaint_as_before = None;
        for (trial, before) in &self.before {
            let mut trial = trial.clone();
            if let Some(preload) = preload {
                trial.environment.push(("LD_PRELOAD".into(), preload.to_owned()));
            }
            let now = self.run(&trial).map_err(|why| {
                let why = match why {
                    NotRun::Unknown(unknown) => unknown.reason(),
                    NotRun::Wrong(error) => describe(&error),
                };
                format!("{}: {why}", shown(&trial))
            })?;
            match now {
                Some(now)
                    if now.status == before.status && now.output == before.output && says_no_more(&now, before) =>
                {
                    if !now.errors.is_empty() {
                        complaint_as_before = Some(complaint(&trial, Some(&now)));
                    }
                }
                now => return Err(complaint(&trial, now.as_ref())),
            }
        }
        Ok(complaint_as_before)
    }

    /// Returns what the programs print before a change.
    pub(super) fn complaints(&self) -> Option<String> {
        let (trial, ended) = self.before.iter().find(|(_, ended)| !ended.errors.is_empty())?;
        Some(complaint(trial, Some(ended)))
    }
}

/// Returns whether a program prints nothing new. Another library in the file may have been missing before.
fn says_no_more(now: &Ended, before: &Ended) -> bool {
    let lines = |errors: &[u8]| -> Vec<String> { String::from_utf8_lossy(errors).lines().map(str::to_owned).collect() };
    let before = lines(&before.errors);
    lines(&now.errors).iter().all(|line| before.contains(line))
}

/// Returns the programs to start: the C library, which always exists, and a program and a shell if they are
/// of this kind.
fn programs(root: &Root, abi: &Abi) -> Vec<(PathBuf, Vec<OsString>)> {
    let mut programs = vec![(abi.loader.clone(), vec![abi.libc.clone().into_os_string()])];
    for (program, arguments) in [("/bin/true", &[][..]), ("/bin/sh", &["-c", ":"][..])] {
        let path = Path::new(program);
        let elf = root.open_file(path).and_then(elf::read_file);
        let is_meant = |elf: &elf::Elf| elf.machine == abi.machine && elf.interpreter.as_deref() == Some(&*abi.loader);
        if elf.ok().flatten().as_ref().is_some_and(is_meant) {
            programs.push((path.to_owned(), arguments.iter().map(OsString::from).collect()));
        }
    }
    programs
}

fn trial(program: PathBuf, arguments: Vec<OsString>) -> Trial {
    Trial {
        program,
        arguments,
        environment: vec![("PATH".into(), "/usr/bin:/bin".into()), ("LC_ALL".into(), "C".into())],
    }
}

fn shown(trial: &Trial) -> String {
    let words = [trial.program.as_os_str()]
        .into_iter()
        .chain(trial.arguments.iter().map(OsString::as_os_str));
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

fn complaint(trial: &Trial, ended: Option<&Ended>) -> String {
    let program = shown(trial);
    let Some(ended) = ended else {
        return format!("'{program}' does not end");
    };
    let errors = String::from_utf8_lossy(&ended.errors);
    let said = errors
        .lines()
        .next()
        .map_or_else(String::new, |line| format!(": {}", sanitize(line)));
    match (ended.status.code(), ended.status.signal()) {
        (Some(0), _) => format!("'{program}' complains{said}"),
        (Some(code), _) => format!("'{program}' ends with status {code}{said}"),
        (None, signal) => format!("'{program}' is ended by signal {}{said}", signal.unwrap_or(0)),
    }
}

//! Real programs of each kind, started to see that they say nothing about the library.

use super::abi::Abi;
use keepalive_linux::elf;
use keepalive_linux::rooted::Root;
use keepalive_linux::trial::{Ended, Trial, is_foreign};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than a program takes that does nothing, on any machine.
const LIMIT: Duration = Duration::from_secs(10);

/// The programs of one kind, and how they behave as things are.
#[derive(Debug)]
pub(super) struct Probe {
    before: Vec<(Trial, Ended)>,
}

/// Why nothing could be learned by starting programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// This machine cannot run them.
    Foreign,
    /// This process may not enter that system.
    NoRight,
}

impl Unknown {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Foreign => "this machine does not run such programs",
            Self::NoRight => "only root can run programs in another root directory",
        }
    }
}

/// Starts the programs of `abi` as things are.
///
/// # Errors
/// Programs do not start as it is, with or without our doing.
pub(super) fn take(root: &Root, abi: &Abi) -> Result<Result<Probe, Unknown>, String> {
    let mut before = Vec::new();
    for (program, arguments) in programs(root, abi) {
        let trial = trial(root, program, arguments);
        let ended = match trial.run(LIMIT) {
            Err(error) if is_foreign(&error) => return Ok(Err(Unknown::Foreign)),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && !root.is_ours() => {
                return Ok(Err(Unknown::NoRight));
            }
            Err(error) => return Err(format!("{}: {error}", shown(&trial))),
            Ok(ended) => ended,
        };
        match ended {
            Some(ended) if ended.status.success() => before.push((trial, ended)),
            ended => return Err(complaint(&trial, ended.as_ref())),
        }
    }
    Ok(Ok(Probe { before }))
}

impl Probe {
    /// Starts the same programs again, with these libraries in LD_PRELOAD; gives what they complain of as they did before.
    ///
    /// # Errors
    /// What one of them says now, or does, that it did not.
    pub(super) fn again(&self, preload: Option<&OsStr>) -> Result<Option<String>, String> {
        let mut complaint_as_before = None;
        for (trial, before) in &self.before {
            let mut trial = trial.clone();
            if let Some(preload) = preload {
                trial.environment.push(("LD_PRELOAD".into(), preload.to_owned()));
            }
            let now = trial
                .run(LIMIT)
                .map_err(|error| format!("{}: {error}", shown(&trial)))?;
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

    /// What they complain of as it is.
    pub(super) fn complaints(&self) -> Option<String> {
        let (trial, ended) = self.before.iter().find(|(_, ended)| !ended.errors.is_empty())?;
        Some(complaint(trial, Some(ended)))
    }
}

/// Another library in the file may be missing; that is not new.
fn says_no_more(now: &Ended, before: &Ended) -> bool {
    let lines = |errors: &[u8]| -> Vec<String> { String::from_utf8_lossy(errors).lines().map(str::to_owned).collect() };
    let before = lines(&before.errors);
    lines(&now.errors).iter().all(|line| before.contains(line))
}

/// The C library itself is always there; a program and a shell where they are of this kind.
fn programs(root: &Root, abi: &Abi) -> Vec<(PathBuf, Vec<OsString>)> {
    let mut programs = vec![(abi.loader.clone(), vec![abi.libc.clone().into_os_string()])];
    for (program, arguments) in [("/bin/true", &[][..]), ("/bin/sh", &["-c", ":"][..])] {
        let path = Path::new(program);
        let elf = root.resolve(path).and_then(|path| elf::read(&path));
        let is_meant = |elf: &elf::Elf| elf.machine == abi.machine && elf.interpreter.as_deref() == Some(&*abi.loader);
        if elf.ok().flatten().as_ref().is_some_and(is_meant) {
            programs.push((path.to_owned(), arguments.iter().map(OsString::from).collect()));
        }
    }
    programs
}

fn trial(root: &Root, program: PathBuf, arguments: Vec<OsString>) -> Trial {
    Trial {
        root: (!root.is_ours()).then(|| root.path().to_owned()),
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
        .map_or_else(String::new, |line| format!(": {line}"));
    match (ended.status.code(), ended.status.signal()) {
        (Some(0), _) => format!("'{program}' complains{said}"),
        (Some(code), _) => format!("'{program}' ends with status {code}{said}"),
        (None, signal) => format!("'{program}' is ended by signal {}{said}", signal.unwrap_or(0)),
    }
}

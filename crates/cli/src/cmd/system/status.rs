//! `keepalive system status`: shows whether the library is active, for which programs, and problems.

use super::abi::{Abi, present, spelling};
use super::change::LARGEST;
use super::enable::competitor_at;
use super::library::{find, is_setuid, version};
use super::line::{Entry, entries, entries_of_glibc};
use super::place::{FILE, file, is_there, leftovers};
use super::probe::{self, Unknown};
use super::{ADDRESS_SANITIZER, Root};
use crate::error::{Error, FAILED};
use crate::json::line;
use crate::output::{WIDTH, print, sanitize, wrap};
use crate::table::{Cell, Column, Table};
use keepalive_engine::preload::has_asan_programs;
use keepalive_sys::elf;
use keepalive_sys::rooted::Place;
use rustix::process::geteuid;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Prints the report.
///
/// # Errors
/// The problems.
pub(super) fn run(root: &Root, is_json: bool) -> Result<(), Error> {
    let report = Report::new(root)?;
    if is_json {
        print(&format!("{}\n", line(&report)))?;
    } else {
        print(&report.text())?;
    }
    let problems = report.problems.iter().map(|problem| {
        let error = Error::new(FAILED, problem.what.clone());
        match &problem.hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        }
    });
    Error::all(problems).map_or(Ok(()), Err)
}

/// Returns the problems, each with a hint.
pub(super) fn problems(root: &Root) -> Vec<(String, Option<String>)> {
    match Report::new(root) {
        Ok(report) => report
            .problems
            .into_iter()
            .map(|problem| (problem.what, problem.hint))
            .collect(),
        Err(error) => vec![(error.message().to_owned(), None)],
    }
}

/// Returns whether the file names the library.
///
/// # Errors
/// The file cannot be read.
pub(super) fn is_enabled(root: &Root) -> Result<bool, Error> {
    let text = super::change::read(&file(root)?)?;
    Ok(text.is_some_and(|(text, _)| entries(&text).iter().any(Entry::is_ours)))
}

/// The whole report.
#[derive(Serialize)]
struct Report {
    file: &'static str,
    /// The target of the file, if the file is a link.
    target: Option<PathBuf>,
    /// Whether programs were started for this report; programs of another system are not.
    tried: bool,
    enabled: bool,
    /// Whether programs in secure-execution mode load the library.
    setuid: bool,
    programs: Vec<Programs>,
    entries: Vec<Named>,
    problems: Vec<Problem>,
    /// What does not work while every program loads the library, one sentence each.
    notes: Vec<&'static str>,
}

/// The programs of one kind.
#[derive(Serialize)]
struct Programs {
    machine: String,
    libc: &'static str,
    loader: PathBuf,
    library: Option<PathBuf>,
    version: Option<String>,
    /// Whether the copy equals the library next to this command; null if there is none to compare.
    up_to_date: Option<bool>,
    served: bool,
    state: String,
}

/// A library that the file names.
#[derive(Serialize)]
struct Named {
    line: usize,
    name: String,
    ours: bool,
}

/// A problem.
#[derive(Serialize)]
struct Problem {
    what: String,
    hint: Option<String>,
}

impl Report {
    fn new(root: &Root) -> Result<Self, Error> {
        let path = file(root)?;
        let text = super::change::read(&path)?;
        let (text, mode) = text.map_or((Vec::new(), 0o644), |(text, attributes)| (text, attributes.mode));
        let abis = present(root);
        let ours: Vec<Entry> = entries(&text).into_iter().filter(Entry::is_ours).collect();
        let target = path.inside();
        let mut report = Self {
            file: FILE,
            target: (target != Path::new(FILE)).then_some(target),
            tried: root.is_ours(),
            enabled: !ours.is_empty(),
            setuid: false,
            programs: Vec::new(),
            entries: entries(&text)
                .into_iter()
                .map(|entry| Named {
                    line: entry.line,
                    ours: entry.is_ours(),
                    name: entry.name,
                })
                .collect(),
            problems: Vec::new(),
            notes: Vec::new(),
        };
        if report.enabled && root.is_ours() && has_asan_programs() {
            report.notes.push(ADDRESS_SANITIZER);
        }
        for abi in &abis.glibc {
            let programs = report.examine(root, abi, &ours);
            report.programs.push(programs);
        }
        report.programs.extend(abis.musl.into_iter().map(of_musl));
        for entry in entries_of_glibc(&text) {
            report.examine_entry(root, &abis.glibc, &entry);
        }
        if ours.len() > 1 {
            report.problem(
                "the library is named more than once",
                Some("keepalive system enable puts that right"),
            );
        }
        if let ([entry], Some(line)) = (&ours[..], spelling(&report.runnable(&abis.glibc)))
            && entry.name != line
        {
            report.problem(
                &format!(
                    "{FILE}, line {}, names '{}', but it should be '{line}'",
                    entry.line, entry.name
                ),
                Some("keepalive system enable puts that right"),
            );
        }
        if mode & 0o444 != 0o444 && report.enabled {
            report.problem(
                &format!("{FILE} has mode {mode:o}: programs of users who may not read it do not get the library"),
                Some("chmod 644"),
            );
        }
        for leftover in leftovers(root, &path) {
            report.problem(
                &format!(
                    "'{}' was left by a run that was interrupted",
                    leftover.inside().display()
                ),
                Some("keepalive system enable finishes it, keepalive system disable takes it back"),
            );
        }
        Ok(report)
    }

    /// Returns the kinds of programs that can run here.
    fn runnable(&self, abis: &[Abi]) -> Vec<Abi> {
        let is_foreign = |abi: &Abi| {
            let found = self.programs.iter().find(|programs| programs.loader == abi.loader);
            found.is_some_and(|programs| programs.state == NOT_RUN)
        };
        abis.iter().filter(|abi| !is_foreign(abi)).cloned().collect()
    }

    fn problem(&mut self, what: &str, hint: Option<&str>) {
        self.problems.push(Problem {
            what: what.to_owned(),
            hint: hint.map(str::to_owned),
        });
    }

    /// Reports on one kind of programs.
    fn examine(&mut self, root: &Root, abi: &Abi, ours: &[Entry]) -> Programs {
        const AGAIN: &str = "keepalive system enable puts that right";
        let machine = abi.machine;
        let place = abi.copy();
        let copy = Some(&place).filter(|place| is_there(place));
        let about = place.about().ok().flatten();
        let version = place.open().ok().and_then(version);
        let source = find(root, abi, &mut Vec::new()).filter(|source| source.path != place.outside());
        let up_to_date = copy
            .zip(source)
            .map(|(copy, source)| copy.read(LARGEST).is_ok_and(|content| content == source.content));
        // Programs of another system are not run only to report on them.
        let probe = root.is_ours().then(|| probe::take(root, abi)).transpose();
        let mut served = !ours.is_empty() && copy.is_some() && version.is_some();
        let state = match (&probe, ours.is_empty(), copy) {
            (Ok(Some(Err(Unknown::Foreign))), _, None) => String::from(NOT_RUN),
            (Err(complaint), ..) => {
                served = false;
                self.problem(
                    &format!("programs for {machine} do not start: {complaint}"),
                    (!ours.is_empty()).then_some("keepalive system disable takes the library out"),
                );
                String::from("programs do not start")
            }
            (_, false, None) => {
                let hint = format!("name one with keepalive system enable --library FILE ({machine})");
                self.problem(
                    &format!("{FILE} names a library that is missing for {machine}: its programs complain of that"),
                    Some(&hint),
                );
                String::from("the library is missing")
            }
            (_, false, Some(_)) if version.is_none() => {
                self.problem(
                    &format!("'{}' is no libkeepalive.so of this project", place.outside().display()),
                    Some(AGAIN),
                );
                String::from("another file")
            }
            (_, true, Some(_)) => {
                self.problem(
                    &format!("'{}' is there, but no line names it", place.outside().display()),
                    Some("keepalive system enable finishes that, keepalive system disable takes it back"),
                );
                String::from("not named")
            }
            (_, true, None) => String::from("not enabled"),
            (Ok(None), false, Some(_)) => String::from("served, by its files"),
            (Ok(Some(Ok(_))), false, Some(_)) => String::from("served"),
            (Ok(Some(Err(unknown))), false, Some(_)) => format!("not tried: {}", unknown.reason()),
        };
        if let Ok(Some(Ok(probe))) = &probe
            && let Some(complaint) = probe.complaints()
            && copy.is_some()
        {
            self.problem(&format!("programs for {machine} complain: {complaint}"), None);
        }
        if let Some(about) = &about {
            self.setuid |= served && is_setuid(about);
            let is_foreign = geteuid().is_root() && about.st_uid != 0;
            if is_foreign || about.st_mode & 0o022 != 0 {
                self.problem(
                    &format!("'{}' can be changed by others than root", place.outside().display()),
                    Some("chown root and chmod 644, at once"),
                );
            }
        }
        if served && up_to_date == Some(false) {
            self.problem(
                &format!(
                    "'{}' is not the library that this command has",
                    place.outside().display()
                ),
                Some("keepalive system enable brings it up to date"),
            );
        }
        Programs {
            machine: machine.to_string(),
            libc: "glibc",
            loader: abi.loader.clone(),
            library: copy.map(Place::inside),
            version,
            up_to_date,
            served,
            state,
        }
    }

    /// Checks an entry of the file, as glibc reads it.
    fn examine_entry(&mut self, root: &Root, abis: &[Abi], entry: &Entry) {
        let place = format!("{FILE}, line {}", entry.line);
        if entry.is_comment {
            self.problem(
                &format!(
                    "{place}: glibc takes '{}' in this comment for a library (it misses a comment that comes late)",
                    sanitize(&entry.name)
                ),
                Some("have one comment at most, or put comments last"),
            );
            return;
        }
        if entry.is_ours() {
            return;
        }
        // The loader searches for bare names in many directories; the started programs have shown what it finds.
        let paths: Vec<(&Abi, PathBuf)> = abis
            .iter()
            .filter_map(|abi| Some((abi, expanded(abi, &entry.name)?)))
            .collect();
        for (abi, path) in &paths {
            let found = root.find(path).ok().filter(is_there);
            let read = found.as_ref().map(|place| place.open().and_then(elf::read_file));
            let wrong = match read {
                None => Some(String::from("it is missing")),
                Some(Err(_) | Ok(None)) => Some(String::from("it is no library")),
                Some(Ok(Some(elf))) if elf.machine != abi.machine => Some(format!(
                    "it is for {}, and there are programs for {}",
                    elf.machine, abi.machine
                )),
                Some(Ok(Some(_))) => None,
            };
            let name = sanitize(&entry.name);
            if let Some(what) = wrong {
                self.problem(&format!("{place}: '{name}': {what}"), None);
                break;
            }
            if let Some(what) = found.as_ref().and_then(competitor_at) {
                self.problem(
                    &format!("{place}: '{name}': {what}"),
                    Some("one library for keepalive is enough: take that line out"),
                );
                break;
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let named = match &self.target {
            Some(target) => format!("{FILE} -> {}", target.display()),
            None => FILE.to_owned(),
        };
        text.push_str(&wrap(
            &if self.enabled {
                format!("Enabled in {named}: programs that start from now on load the library.")
            } else {
                format!("Not enabled in {named}.")
            },
            WIDTH,
            0,
        ));
        if self.enabled {
            text.push_str(&wrap(
                if self.setuid {
                    "Set-user-ID programs are served too (--setuid)."
                } else {
                    "Set-user-ID programs are not served (no --setuid)."
                },
                WIDTH,
                0,
            ));
        }
        text.push('\n');
        let columns = ["PROGRAMS", "STATE", "VERSION", "LIBRARY IN"].map(Column::left);
        let mut rows = Vec::new();
        for programs in &self.programs {
            let version = programs.version.clone().unwrap_or_else(nothing);
            let directory = programs.library.as_deref().and_then(Path::parent);
            let cells = [
                format!("{} ({})", programs.machine, programs.libc),
                programs.state.clone(),
                version,
                directory.map_or_else(nothing, |path| path.display().to_string()),
            ];
            rows.push(cells.map(Cell::new));
        }
        text.push_str(&Table::new(columns, rows).render(false));
        text.push_str(if self.programs.iter().any(|programs| programs.libc == "musl") {
            "musl's loader does not read the file; static and Go programs have none.\n"
        } else {
            "Static and Go programs are not reached.\n"
        });
        if !self.tried {
            text.push_str("By the files there: no program of that system was run.\n");
        }
        if !self.entries.is_empty() {
            text.push('\n');
            let columns = [Column::right("LINE"), Column::left("OWNER"), Column::left("NAME")];
            let mut rows = Vec::new();
            for entry in &self.entries {
                let owner = if entry.ours { "keepalive" } else { "another" };
                rows.push([
                    Cell::new(entry.line.to_string()),
                    Cell::new(owner),
                    Cell::new(entry.name.clone()),
                ]);
            }
            text.push_str(&Table::new(columns, rows).render(false));
        }
        for note in &self.notes {
            text.push('\n');
            text.push_str(&wrap(&format!("note: {note}"), WIDTH, 2));
        }
        text
    }
}

fn nothing() -> String {
    String::from("-")
}

const NOT_RUN: &str = "not run here";

fn of_musl(loader: PathBuf) -> Programs {
    let name = loader.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let machine = name.trim_start_matches("ld-musl-").trim_end_matches(".so.1").to_owned();
    Programs {
        machine: machine.replace("x86_64", "x86-64"),
        libc: "musl",
        loader,
        library: None,
        version: None,
        up_to_date: None,
        served: false,
        state: String::from("not reached"),
    }
}

/// Returns the path to which the loader of `abi` expands `name`; `None` if the loader searches for the name,
/// or if the name contains an unknown token.
pub(super) fn expanded(abi: &Abi, name: &str) -> Option<PathBuf> {
    let name = match abi.lib() {
        Some((_, lib)) => name.replace("${LIB}", lib).replace("$LIB", lib),
        None => name.to_owned(),
    };
    (name.contains('/') && !name.contains('$')).then(|| PathBuf::from(name))
}

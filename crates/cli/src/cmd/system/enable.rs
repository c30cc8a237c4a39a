//! `keepalive system enable`: copies the library, then adds the line.

use super::abi::{Abi, present, spelling};
use super::change::{Aside, Change, Staged, read};
use super::disable::rescue;
use super::library::{Library, find, named, version};
use super::line::{entries, with, without};
use super::place::{BACKUP, FILE, OLD, file, is_there, leftovers, lock};
use super::probe::{self, Probe, Unknown};
use super::{ADDRESS_SANITIZER, Root, failed};
use crate::error::{Error, FAILED};
use crate::output::{WIDTH, print, wrap, write_stderr};
use keepalive_engine::preload::has_asan_programs;
use keepalive_policy::protocol::CONFIG;
use keepalive_sys::rooted::{Attributes, Place};
use keepalive_sys::selinux;
use keepalive_sys::signal::block_interrupts;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Copies the library, then adds the line.
///
/// # Errors
/// The reason why nothing has changed.
pub(super) fn run(root: &Root, libraries: &[PathBuf], is_setuid: bool) -> Result<(), Error> {
    // An interrupt would leave the same state as a crash: safe, but not tidy.
    let _mask = block_interrupts();
    let file = file(root)?;
    let plan = Plan::new(root, file, libraries, is_setuid)?;
    let _lock = lock(root)?;
    for place in leftovers(root, &plan.file) {
        place
            .remove()
            .map_err(|error| failed("remove", &place.outside(), "unlink", &error))?;
    }
    let mut change = Change::default();
    match plan.carry_out(&mut change) {
        Ok(report) => {
            change.finish();
            if root.is_ours() && has_asan_programs() {
                write_stderr(&wrap(&format!("keepalive: note: {ADDRESS_SANITIZER}"), WIDTH, 2));
            }
            print(&report)
        }
        Err(error) => Err(match change.roll_back() {
            Ok(()) => error,
            Err(worse) => {
                let both = Error::all([error, worse].into_iter());
                both.unwrap_or_else(|| Error::new(FAILED, "cannot enable"))
                    .hint(format!(
                        "if programs do not start any more, type this in a root shell: {}",
                        rescue()
                    ))
            }
        }),
    }
}

/// The planned changes. A plan exists only if all of them are possible.
struct Plan<'a> {
    root: &'a Root,
    file: Place,
    /// The line that programs read when all changes are done.
    line: String,
    parts: Vec<Part>,
    is_setuid: bool,
    has_musl: bool,
}

/// The programs of one kind and their library.
struct Part {
    abi: Abi,
    library: Library,
}

impl<'a> Plan<'a> {
    fn new(root: &'a Root, file: Place, libraries: &[PathBuf], is_setuid: bool) -> Result<Self, Error> {
        let mut named = named(libraries)?;
        let abis = present(root);
        if abis.glibc.is_empty() {
            return Err(nothing_reads_it(root, !abis.musl.is_empty()));
        }
        let mut parts = Vec::new();
        for abi in abis.glibc {
            match find(root, &abi, &mut named) {
                Some(library) => parts.push(Part { abi, library }),
                // Programs that cannot run here cannot complain of a missing library.
                None if root.is_ours() && matches!(probe::take(root, &abi), Ok(Err(Unknown::Foreign))) => {}
                None => return Err(no_library(&abi, parts.is_empty())),
            }
        }
        if let Some(library) = named.first() {
            return Err(Error::new(
                FAILED,
                format!(
                    "cannot use '{}': it is for {}, and no such programs of glibc are here",
                    library.path.display(),
                    library.machine
                ),
            ));
        }
        let served: Vec<Abi> = parts.iter().map(|part| part.abi.clone()).collect();
        let line = spelling(&served).filter(|line| is_expressible(line)).ok_or_else(|| {
            let directories: Vec<String> = served
                .iter()
                .map(|abi| abi.directory.inside().display().to_string())
                .collect();
            Error::new(
                FAILED,
                format!(
                    "cannot name the library for all programs: it would be in {}",
                    directories.join(" and ")
                ),
            )
            .hint("keepalive run reaches programs one by one")
        })?;
        Ok(Self {
            root,
            file,
            line,
            parts,
            is_setuid,
            has_musl: !abis.musl.is_empty(),
        })
    }

    fn carry_out(&self, change: &mut Change) -> Result<String, Error> {
        let (text, mut attributes) = match read(&self.file)? {
            Some((text, attributes)) => (Some(text), attributes),
            None => (None, NEW_FILE),
        };
        let label = self.label().or_else(|| attributes.label.clone());
        let is_labelled = attributes.label == label;
        attributes.label = label;
        self.refuse_company(text.as_deref().unwrap_or_default())?;
        let new_text = with(text.as_deref().unwrap_or_default(), &self.line);
        let probes = self.test_programs()?;

        // All steps that require space or rights come before the first visible change.
        let mut staged = Vec::new();
        for part in &self.parts {
            staged.push(self.stage(change, part)?);
        }
        let staged_text = if text.as_ref() == Some(&new_text) && is_labelled {
            None
        } else {
            Some(change.stage(&self.file, &new_text, attributes)?)
        };
        if staged_text.is_none() && staged.iter().all(Option::is_none) {
            return Ok(wrap("It is active already; nothing has changed.", WIDTH, 0));
        }
        for ((part, staged), probe) in self.parts.iter().zip(&staged).zip(&probes) {
            if let (Some(staged), Ok(probe)) = (staged, probe) {
                let library = staged.temporary();
                probe
                    .again(Some(library.as_os_str()))
                    .map_err(|complaint| refused(part, &complaint))?;
            }
        }
        for (part, staged) in self.parts.iter().zip(&staged) {
            if let Some(staged) = staged {
                let aside = Aside::At {
                    copy: &part.abi.copy().beside(OLD),
                    is_kept: false,
                };
                change.put(staged, &aside)?;
            }
        }
        let mut backup = None;
        if let Some(staged_text) = staged_text {
            self.check_again(&probes, Some(OsStr::new(&self.line)))?;
            // A file that contains nothing else needs no backup.
            let is_kept = text.is_some_and(|text| !without(&text).is_empty());
            let copy = self.file.beside(if is_kept { BACKUP } else { OLD });
            change.put(&staged_text, &Aside::At { copy: &copy, is_kept })?;
            backup = is_kept.then_some(copy);
        }
        let complaints = self.check_again(&probes, None)?;
        Ok(self.report(&probes, &complaints, backup.as_ref()))
    }

    /// Returns SELinux's context for the file: that of the loader's cache, which every program may map. A new
    /// file in /etc gets a context that confined services may not map.
    fn label(&self) -> Option<Vec<u8>> {
        let cache = self.root.open_file(Path::new("/etc/ld.so.cache")).ok()?;
        selinux::label(&cache)
    }

    /// Refuses if another library in the file has the same purpose: the two would conflict.
    fn refuse_company(&self, text: &[u8]) -> Result<(), Error> {
        for entry in entries(text).iter().filter(|entry| !entry.is_ours()) {
            if let Some(what) = competitor(self.root, &self.parts, &entry.name) {
                return Err(Error::new(
                    FAILED,
                    format!(
                        "cannot enable beside another library for keepalive: {FILE}, line {}, names '{}': {what}",
                        entry.line, entry.name
                    ),
                )
                .hint("take it out of that file, and run this again"));
            }
        }
        Ok(())
    }

    /// Tests how programs behave before the change.
    fn test_programs(&self) -> Result<Vec<Result<Probe<'a>, Unknown>>, Error> {
        let look = |part: &Part| {
            probe::take(self.root, &part.abi).map_err(|complaint| {
                Error::new(
                    FAILED,
                    format!(
                        "cannot enable: programs for {} do not start as it is: {complaint}",
                        part.abi.machine
                    ),
                )
                .hint("'keepalive system disable' takes our own library out, if it is in")
            })
        };
        self.parts.iter().map(look).collect()
    }

    /// Checks that programs still start silently. Returns the messages that they printed before the change, too.
    fn check_again(
        &self,
        probes: &[Result<Probe<'_>, Unknown>],
        preload: Option<&OsStr>,
    ) -> Result<Vec<String>, Error> {
        let mut complaints = Vec::new();
        for (part, probe) in self.parts.iter().zip(probes) {
            if let Ok(probe) = probe {
                complaints.extend(probe.again(preload).map_err(|complaint| refused(part, &complaint))?);
            }
        }
        Ok(complaints)
    }

    /// Stages the copy for one kind of programs, unless it exists already.
    fn stage(&self, change: &mut Change, part: &Part) -> Result<Option<Staged>, Error> {
        let copy = part.abi.copy();
        let attributes = Attributes {
            // Never executable: executing a set-user-ID library would run it as root from its first byte.
            mode: if self.is_setuid { 0o4644 } else { 0o644 },
            owner: None,
            label: None,
        };
        if let Some((content, there)) = read(&copy)?
            && content == part.library.content
            && there.mode == attributes.mode
        {
            return Ok(None);
        }
        change.stage(&copy, &part.library.content, attributes).map(Some)
    }

    /// Describes the effect of the change.
    fn report(&self, probes: &[Result<Probe<'_>, Unknown>], complaints: &[String], backup: Option<&Place>) -> String {
        let mut text = String::new();
        let mut say = |line: &str, indent| text.push_str(&wrap(line, WIDTH, indent));
        let whose = if self.root.is_ours() {
            String::new()
        } else {
            format!(" of {}", self.root.path().display())
        };
        say(
            &format!("Dynamically linked programs{whose} that start from now on load the library."),
            0,
        );
        for (part, probe) in self.parts.iter().zip(probes) {
            let tried = match probe {
                Ok(_) => String::from("a program starts silently with it"),
                Err(unknown) => format!("NOT tried: {}", unknown.reason()),
            };
            say(&format!("  {}: {tried}", part.abi.machine), 4);
            say(
                &format!(
                    "    {}, version {}",
                    part.abi.copy().inside().display(),
                    part.library.version
                ),
                4,
            );
        }
        say(&format!("  {FILE} names:"), 4);
        say(&format!("    {}", self.line), 4);
        if let Some(backup) = backup {
            say(&format!("  the file as it was: {}", backup.inside().display()), 4);
        }
        for complaint in complaints {
            say(&format!("note: as before, {complaint}"), 2);
        }
        let config = self.root.find(Path::new(CONFIG));
        if !config.is_ok_and(|place| is_there(&place)) {
            say(
                "note: there is no /etc/keepalive.conf: the times are the kernel's (2 hours idle, unless a sysctl says \
                 otherwise)",
                2,
            );
        }
        text.push('\n');
        let mut say = |line: &str| text.push_str(&wrap(line, WIDTH, 2));
        say("- Running programs stay as they are: restart services, or use keepalive attach.");
        say(&format!(
            "- Not reached: static and Go programs{}; keepalive run and attach reach them.",
            if self.has_musl { ", programs of musl" } else { "" }
        ));
        say(if self.is_setuid {
            "- Set-user-ID programs, and others of secure-execution mode, are served."
        } else {
            "- Set-user-ID programs, and others of secure-execution mode, load it too, but it does nothing there (--setuid)."
        });
        // security/selinux/hooks.c, selinux_bprm_creds_for_exec: this applies unless the policy contains noatsecure.
        if !self.is_setuid && self.root.is_ours() && Path::new("/sys/fs/selinux/enforce").exists() {
            say("- SELinux is on: services that it confines may be among those; --setuid serves them.");
        }
        let undo = if self.root.is_ours() {
            String::from("keepalive system disable")
        } else {
            format!("keepalive system disable --root {}", self.root.path().display())
        };
        say(&format!("- To undo it:  {undo}"));
        if self.root.is_ours() && !IS_STATIC {
            say("- If programs do not start any more, type in a root shell that is still open:");
            let _ = writeln!(text, "    {}", rescue());
        }
        text
    }
}

/// The attributes of a new file: every program must be able to read it.
const NEW_FILE: Attributes = Attributes {
    mode: 0o644,
    owner: None,
    label: None,
};

/// Whether this command starts when no dynamically linked program does.
const IS_STATIC: bool = cfg!(target_feature = "crt-static");

/// Returns whether the loader reads `line` as one name. The loader splits the file at colons and white space, `#`
/// begins a comment, and the only token that keepalive uses is `$LIB`.
fn is_expressible(line: &str) -> bool {
    let line = line.replacen("/$LIB/", "/lib/", 1);
    !line.contains(|character: char| matches!(character, ':' | '#' | '$') || character.is_whitespace())
}

/// Returns the name of a library with the same purpose as keepalive's, by its file; `None` for all other libraries.
pub(super) fn competitor_at(place: &Place) -> Option<String> {
    if let Some(version) = place.open().ok().and_then(version) {
        return Some(format!("libkeepalive {version}, not put there by 'system enable'"));
    }
    let name = place.name().to_string_lossy().into_owned();
    if name.starts_with("libkeepalive.so") {
        return Some(String::from("libkeepalive 0.3, or a library of the same name"));
    }
    name.starts_with("libdontdie").then(|| String::from("libdontdie"))
}

fn competitor(root: &Root, parts: &[Part], name: &str) -> Option<String> {
    parts
        .iter()
        .find_map(|part| competitor_at(&root.find(&super::status::expanded(&part.abi, name)?).ok()?))
}

fn nothing_reads_it(root: &Root, has_musl: bool) -> Error {
    let reason = if has_musl {
        "the programs here are musl's, and its loader does not read /etc/ld.so.preload"
    } else {
        "there is no C library of glibc, whose loader reads /etc/ld.so.preload"
    };
    let place = if root.is_ours() {
        String::new()
    } else {
        format!(" in '{}'", root.path().display())
    };
    Error::new(FAILED, format!("cannot enable{place}: {reason}")).hint("keepalive run reaches programs one by one")
}

fn no_library(abi: &Abi, is_first: bool) -> Error {
    let (machine, loader) = (abi.machine, abi.loader.display());
    if is_first {
        return Error::new(
            FAILED,
            format!("cannot enable: there is no libkeepalive.so for {machine}, whose loader is {loader}"),
        )
        .hint("name it with --library, or run make install");
    }
    Error::new(
        FAILED,
        format!(
            "cannot enable: there are {machine} programs too ({loader}), and no libkeepalive.so for them: each of them \
             would complain that the library cannot be preloaded"
        ),
    )
    .hint(format!(
        "the packages for x86-64 contain that for 32-bit x86; or name one for {machine} with --library (scripts/cross builds \
         it), or remove that C library"
    ))
}

fn refused(part: &Part, complaint: &str) -> Error {
    Error::new(
        FAILED,
        format!(
            "cannot enable: with the library, programs for {} do not start silently: {complaint}",
            part.abi.machine
        ),
    )
    .hint(format!(
        "nothing has changed; the library was {}",
        part.library.path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_be_cut_is_not_used() {
        assert!(is_expressible("/usr/$LIB/keepalive-system.so"));
        for line in [
            "/a b/l.so",
            "/a:b/l.so",
            "/a#b/l.so",
            "/$ORIGIN/l.so",
            "/$LIB/$LIB/l.so",
        ] {
            assert!(!is_expressible(line), "{line}");
        }
    }
}

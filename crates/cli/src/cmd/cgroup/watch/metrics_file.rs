//! The file of `--metrics-file`: node_exporter reads it at any time, and other commands may write the same file.

use crate::cmd::cgroup::selection::Subject;
use crate::cmd::cgroup::status::Report;
use crate::error::{Error, FAILED, describe};
use crate::output::{log, shown};
use keepalive_sys::cgroup::Tree;
use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The time between two writes while only counters change. Collectors ask less often.
const PERIOD: Duration = Duration::from_secs(10);

/// The metrics are readable for the user of node_exporter, whatever the umask.
const MODE: u32 = 0o644;

pub(super) struct MetricsFile<'a> {
    path: &'a Path,
    /// When the file was last written; `None` if that is due now.
    written: Option<Instant>,
    /// The device and inode number of the file that this command has written.
    own: Option<(u64, u64)>,
    /// The failure that was last reported.
    failure: Option<String>,
}

impl<'a> MetricsFile<'a> {
    /// # Errors
    /// The directory does not exist, or the file is not a regular one.
    pub(super) fn new(path: &'a Path) -> Result<Self, Error> {
        let file = Self {
            path,
            written: None,
            own: None,
            failure: None,
        };
        let refused = |why: String, hint: &str| {
            let path = shown(path);
            Err(Error::new(FAILED, format!("cannot write metrics to '{path}': {why}")).hint(hint))
        };
        if path.file_name().is_none() {
            return refused(
                String::from("it names no file"),
                "name a file, as DIRECTORY/keepalive.prom",
            );
        }
        match fs::symlink_metadata(path) {
            // A rename would replace a device or a link by a file.
            Ok(about) if !about.is_file() => refused(
                String::from("it is not a regular file"),
                "name a file that is not there, or one of an earlier command; keepalive cgroup status --metrics prints",
            ),
            Ok(_) => Ok(file),
            Err(error) if error.kind() != io::ErrorKind::NotFound => refused(describe(&error), ""),
            Err(_) => match fs::metadata(file.directory()) {
                Ok(about) if about.is_dir() => Ok(file),
                Ok(_) => refused(String::from("it is not in a directory"), ""),
                Err(error) => refused(
                    format!("its directory: {}", describe(&error)),
                    "create the directory; it is that of node_exporter's option --collector.textfile.directory",
                ),
            },
        }
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        }
    }

    /// Makes the next [`Self::write`] write at once: the policy has changed.
    pub(super) fn hurry(&mut self) {
        self.written = None;
    }

    /// Writes the metrics of the cgroups, if that is due. Reports a failure once.
    pub(super) fn write<'b>(&mut self, tree: &Tree, subjects: impl Iterator<Item = &'b Subject>) {
        if self.written.is_some_and(|written| written.elapsed() < PERIOD) {
            return;
        }
        self.written = Some(Instant::now());
        let failure = match Report::of(tree, subjects.cloned()) {
            Ok(report) => self.replace(&report.metrics()).err().map(|error| describe(&error)),
            Err(error) => Some(error.message().to_owned()),
        };
        if let Some(failure) = failure
            .as_ref()
            .filter(|failure| self.failure.as_ref() != Some(failure))
        {
            let path = shown(self.path);
            log(&format!("metrics cannot be written to '{path}': {failure}"));
        }
        self.failure = failure;
    }

    /// Replaces the file by one with this content.
    fn replace(&mut self, content: &str) -> io::Result<()> {
        let new = self.temporary();
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&new)
            .and_then(|mut file| {
                file.set_permissions(Permissions::from_mode(MODE))?;
                file.write_all(content.as_bytes())?;
                let about = file.metadata()?;
                fs::rename(&new, self.path)?;
                Ok((about.dev(), about.ino()))
            });
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        self.own = Some(written?);
        Ok(())
    }

    /// Returns the name of a file that does not exist. node_exporter reads only names that end in `.prom`.
    fn temporary(&self) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        name.push(format!(".{:016x}", RandomState::new().build_hasher().finish()));
        self.directory().join(name)
    }

    /// Removes the file, unless another command has written it since.
    pub(super) fn remove(&self) {
        let about = fs::symlink_metadata(self.path).ok();
        if self.own.is_some() && about.map(|about| (about.dev(), about.ino())) == self.own {
            let _ = fs::remove_file(self.path);
        }
    }
}

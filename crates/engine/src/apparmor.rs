//! Programs under an AppArmor profile: whether the profile allows them to load the library and to read the
//! rules file.

use crate::error::describe;
use keepalive_sys::apparmor::{Profile, Use, of_program};
use std::io;
use std::path::{Path, PathBuf};

/// A file that the library engine requires, and the profile's access to it.
#[derive(Debug)]
pub struct Access {
    profile: Profile,
    file: PathBuf,
    usage: Use,
    /// The kernel's answer; an error if the kernel cannot be asked.
    is_allowed: io::Result<bool>,
}

impl Access {
    /// Asks the kernel whether `profile` allows `usage` of `file`.
    pub fn of(profile: &Profile, file: &Path, usage: Use) -> Self {
        Self {
            profile: profile.clone(),
            file: file.to_owned(),
            usage,
            is_allowed: profile.allows(file, usage),
        }
    }

    /// Returns whether the profile allows the access.
    pub fn is_allowed(&self) -> bool {
        matches!(self.is_allowed, Ok(true))
    }

    /// Returns whether the profile denies the access; false if that cannot be observed.
    pub fn is_denied(&self) -> bool {
        matches!(self.is_allowed, Ok(false))
    }

    /// Returns whether this is an access to the library, and not to the rules file.
    pub fn is_of_library(&self) -> bool {
        self.usage == Use::Load
    }

    /// Returns the answer, as a clause without a subject.
    pub fn describe(&self) -> String {
        let name = &self.profile.name;
        let file = self.file.display();
        let verb = match self.usage {
            Use::Read => "read",
            Use::Load => "load",
        };
        match &self.is_allowed {
            Ok(true) => format!("the AppArmor profile {name} lets it {verb} {file}"),
            Ok(false) => format!("the AppArmor profile {name} does not let it {verb} {file}"),
            Err(error) => format!(
                "the AppArmor profile {name} may not let it {verb} {file}, which cannot be determined: {}",
                describe(error)
            ),
        }
    }

    /// Returns what the user can do.
    pub fn advice(&self) -> String {
        let Self { profile, file, .. } = self;
        let permissions = match self.usage {
            Use::Read => "r",
            Use::Load => "mr",
        };
        let line = format!(
            "add the line '{} {permissions},' to the profile {}, and load it again (apparmor_parser -r)",
            file.display(),
            profile.name
        );
        if self.is_allowed.is_ok() {
            line
        } else {
            format!(
                "mount securityfs on /sys/kernel/security, or look for apparmor=\"DENIED\" in the kernel's log; then {line}"
            )
        }
    }
}

/// Returns the accesses to the library and the rules file under the profile of the program at `command`, if
/// it has a profile.
///
/// # Errors
/// The profile cannot be observed.
pub fn accesses(
    command: &Path,
    library: Option<&Path>,
    rules: Option<&Path>,
) -> io::Result<(Option<Profile>, Vec<Access>)> {
    let profile = of_program(command)?.filter(Profile::is_enforced);
    let accesses = profile
        .as_ref()
        .map_or_else(Vec::new, |profile| accesses_under(profile, library, rules));
    Ok((profile, accesses))
}

/// Returns the accesses to the library and the rules file under `profile`.
pub fn accesses_under(profile: &Profile, library: Option<&Path>, rules: Option<&Path>) -> Vec<Access> {
    let library = library.map(|file| Access::of(profile, file, Use::Load));
    let rules = rules.map(|file| Access::of(profile, file, Use::Read));
    library.into_iter().chain(rules).collect()
}

//! Programs that SELinux confines: what the policy denies to the library in them.

use keepalive_sys::selinux::{
    Use, after_exec, allows, is_enabled, is_enforcing, keeps_environment, of_file, of_process,
};
use std::io;
use std::path::{Path, PathBuf};

/// A denial by the policy.
#[derive(Debug)]
pub enum Denial {
    /// The loader ignores LD_PRELOAD if an execution changes the context.
    Environment {
        /// The context before the execution.
        from: String,
        /// The context after the execution.
        to: String,
    },
    /// A context has no access to a file.
    File {
        /// The context of the process.
        context: String,
        /// The file.
        file: PathBuf,
        /// The denied access.
        usage: Use,
    },
}

impl Denial {
    /// Returns the denial if the policy does not allow `context` to use `file`.
    ///
    /// # Errors
    /// The kernel cannot be asked, or the file has no context.
    pub fn of_file(context: &str, file: &Path, usage: Use) -> io::Result<Option<Self>> {
        let denial = || Self::File {
            context: context.to_owned(),
            file: file.to_owned(),
            usage,
        };
        allows(context, file, usage).map(|is_allowed| (!is_allowed).then(denial))
    }

    /// Returns whether the denial keeps the library from being loaded.
    pub fn is_of_library(&self) -> bool {
        !matches!(self, Self::File { usage: Use::Read, .. })
    }

    /// Returns the denial as a clause.
    pub fn describe(&self) -> String {
        match self {
            Self::Environment { from, to } => {
                format!("the loader ignores LD_PRELOAD after SELinux's change of context from {from} to {to}")
            }
            Self::File { context, file, usage } => {
                let verb = match usage {
                    Use::Read => "read",
                    Use::Map => "map",
                    Use::Load => "load",
                };
                let label = of_file(file).unwrap_or_else(|_| String::from("no context"));
                format!(
                    "SELinux's policy does not let {context} {verb} {} ({label})",
                    file.display()
                )
            }
        }
    }

    /// Returns what the user can do.
    pub fn advice(&self) -> String {
        match self {
            Self::Environment { .. } => {
                String::from("keepalive run --engine seccomp, or keepalive cgroup enable, reaches it")
            }
            Self::File { file, .. } => format!(
                "restorecon {} gives the file the context that the policy has for it; the kernel's log has what is denied",
                file.display()
            ),
        }
    }
}

/// Returns the context that `program` gets when the process `starter` executes it, and what the policy denies
/// it of the library and the rules file. Returns `None` if the kernel denies nothing.
///
/// # Errors
/// The kernel cannot be asked, or a file has no context.
pub fn denials(
    starter: u32,
    program: &Path,
    library: Option<&Path>,
    rules: Option<&Path>,
) -> io::Result<Option<(String, Vec<Denial>)>> {
    if !is_enabled() || !is_enforcing() {
        return Ok(None);
    }
    let from = of_process(starter)?;
    let to = after_exec(&from, program)?;
    let mut denials = Vec::new();
    if !keeps_environment(&from, &to)? {
        denials.push(Denial::Environment { from, to: to.clone() });
    }
    let library = library.map(|file| (file, Use::Load));
    for (file, usage) in library.into_iter().chain(rules.map(|file| (file, Use::Read))) {
        denials.extend(Denial::of_file(&to, file, usage)?);
    }
    Ok(Some((to, denials)))
}

//! Errors as users see them: `keepalive: cannot …: reason`, then a hint that helps.

use crate::output::write_stderr;
pub(crate) use keepalive_engine::describe;
use std::fmt;
use std::process::ExitCode;

/// What went wrong, what helps, and the exit status that tells it.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    hint: Option<String>,
    status: u8,
    /// Whether the message says itself where it comes from.
    is_placed: bool,
    /// Whether somebody has printed it.
    is_reported: bool,
}

/// What was asked for could not be done.
pub(crate) const FAILED: u8 = 1;
/// The command line or a policy cannot be used.
pub(crate) const REFUSED: u8 = 2;
/// keepalive itself failed, so that the command was not run.
pub(crate) const NOT_RUN: u8 = 125;
/// The command was found but cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub(crate) const NOT_FOUND: u8 = 127;

impl Error {
    pub(crate) fn new(status: u8, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            status,
            is_placed: false,
            is_reported: false,
        }
    }

    /// Mistakes that begin with `file:line:column`, which editors look for at the beginning of a line.
    pub(crate) fn placed(status: u8, message: impl Into<String>) -> Self {
        Self {
            is_placed: true,
            ..Self::new(status, message)
        }
    }

    /// The same with another exit status.
    pub(crate) fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }

    /// What went wrong, without the hint.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// All of them as one, with the status of the first; `None` when there are none.
    pub(crate) fn all(errors: impl Iterator<Item = Self>) -> Option<Self> {
        errors.reduce(|first, next| Self {
            hint: None,
            message: format!("{}\n{next}", first.text()),
            ..first
        })
    }

    /// The message and the hint.
    fn text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}\nhint: {hint}", self.message),
            None => self.message.clone(),
        }
    }

    /// The same, when it has been reported already: only its status is left.
    pub(crate) fn reported(self) -> Self {
        Self {
            is_reported: true,
            ..self
        }
    }

    /// Prints this to standard error (which may be closed) and gives the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.is_reported {
            write_stderr(&format!("{self}\n"));
        }
        ExitCode::from(self.status)
    }
}

impl From<keepalive_engine::Error> for Error {
    /// With the status [`FAILED`].
    fn from(error: keepalive_engine::Error) -> Self {
        Self {
            hint: error.hint().map(str::to_owned),
            ..Self::new(FAILED, error.to_string())
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_placed {
            formatter.write_str("keepalive: ")?;
        }
        formatter.write_str(&self.text())
    }
}

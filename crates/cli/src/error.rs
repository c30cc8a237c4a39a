//! Errors in the form that users see: `keepalive: cannot …: reason`, then a hint.

use crate::output::write_stderr;
pub(crate) use keepalive_engine::describe;
use std::fmt;
use std::process::ExitCode;

/// A failure, a hint, and the exit status.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    hint: Option<String>,
    status: u8,
    /// Whether the message begins with its position in a file.
    is_placed: bool,
    /// Whether the message has been printed.
    is_reported: bool,
}

/// The exit status of an action that failed.
pub(crate) const FAILED: u8 = 1;
/// The exit status of a mistake in the command line or a policy.
pub(crate) const REFUSED: u8 = 2;
/// The exit status if keepalive itself failed, so that the command was not run.
pub(crate) const NOT_RUN: u8 = 125;
/// The exit status of a command that was found but cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The exit status of a command that was not found.
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

    /// Creates an error from mistakes that begin with `file:line:column`, which editors search for at the
    /// beginning of a line.
    pub(crate) fn placed(status: u8, message: impl Into<String>) -> Self {
        Self {
            is_placed: true,
            ..Self::new(status, message)
        }
    }

    /// Returns the error with another exit status.
    pub(crate) fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }

    /// Returns the error with another message and the same hint.
    pub(crate) fn with_message(self, message: String) -> Self {
        Self {
            message,
            is_placed: false,
            ..self
        }
    }

    /// Returns the message, without the hint.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Returns all errors as one, with the status of the first; `None` if there are none.
    pub(crate) fn all(errors: impl Iterator<Item = Self>) -> Option<Self> {
        errors.reduce(|first, next| Self {
            hint: None,
            message: format!("{}\n{next}", first.text()),
            ..first
        })
    }

    /// Returns the message and the hint.
    fn text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}\nhint: {hint}", self.message),
            None => self.message.clone(),
        }
    }

    /// Marks the error as printed: only its status is still used.
    pub(crate) fn reported(self) -> Self {
        Self {
            is_reported: true,
            ..self
        }
    }

    /// Prints the error to standard error (which may be closed) and returns the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.is_reported {
            write_stderr(&format!("{self}\n"));
        }
        ExitCode::from(self.status)
    }
}

impl From<keepalive_engine::Error> for Error {
    /// Creates the error with the status [`FAILED`].
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

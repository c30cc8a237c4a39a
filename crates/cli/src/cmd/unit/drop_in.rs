//! The drop-in that gives a service the policy.

use super::Engine;
use crate::engine::preload::{self, Library};
use crate::policy::Policy;
use keepalive_policy::Settings;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::Path;

/// Its file name, in the directory UNIT.d.
pub(super) const FILE: &str = "50-keepalive.conf";

const HEAD: &str = "# Written by 'keepalive unit enable'; 'keepalive unit disable' removes it.\n[Service]\n";

/// With the library in the service's processes; `preloaded` is what the unit's own LD_PRELOAD has.
pub(super) fn with_library(library: &Library, policy: &Policy, preloaded: Option<String>) -> String {
    let mut environment: Vec<(OsString, OsString)> = preloaded
        .map(|value| (OsString::from("LD_PRELOAD"), OsString::from(value)))
        .into_iter()
        .collect();
    preload::prepare(&mut environment, library, policy);
    let mut text = String::from(HEAD);
    for (name, value) in environment {
        let assignment = format!("{}={}", name.to_string_lossy(), one_line(&value));
        let _ = writeln!(text, "Environment={}", quote(&assignment, false));
    }
    text
}

/// With a program of the kernel for the service's cgroup, made by `command` whenever the service starts. That this fails
/// does not keep the service from starting.
pub(super) fn with_cgroup(command: &Path, policy: &Policy) -> String {
    let command = quote(&command.to_string_lossy(), true);
    let mut arguments = String::new();
    let settings = policy.settings;
    if settings != Settings::NONE {
        let rule = format!("default {settings}");
        let _ = write!(arguments, " --rule {}", quote(&rule, true));
    }
    for rule in &policy.rules {
        let rule = one_line(OsStr::new(String::from_utf8_lossy(&rule.text).as_ref()));
        let _ = write!(arguments, " --rule {}", quote(&rule, true));
    }
    if let Some(path) = &policy.config_path {
        let _ = write!(arguments, " --config {}", quote(&path.to_string_lossy(), true));
    }
    format!("{HEAD}ExecStartPre=-+{command} cgroup enable{arguments} %n\nExecStopPost=-+{command} cgroup disable %n\n")
}

/// Returns the engine of a drop-in with this text.
pub(super) fn engine(text: &str) -> Engine {
    if text.contains("ExecStartPre=") {
        Engine::Cgroup
    } else {
        Engine::Preload
    }
}

/// In rules a line ends with a semicolon too.
fn one_line(value: &OsStr) -> String {
    value.to_string_lossy().trim_end().replace('\n', ";")
}

/// A word of systemd's (`systemd.syntax(7)`, `systemd.service(5)`); `$` begins a variable in commands only.
fn quote(word: &str, is_command: bool) -> String {
    let mut quoted = String::from("\"");
    for character in word.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '%' => quoted.push_str("%%"),
            '$' if is_command => quoted.push_str("$$"),
            '\t' => quoted.push_str("\\t"),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn what_systemd_would_read_otherwise_is_quoted() {
        assert_eq!(quote("A=x y", false), "\"A=x y\"");
        assert_eq!(quote("a\"b\\c%n$X", false), "\"a\\\"b\\\\c%%n$X\"");
        assert_eq!(quote("$X%", true), "\"$$X%%\"");
    }
}

//! The drop-in that applies the policy to a service.

use super::Engine;
use super::environment::Environment;
use super::service::Service;
use super::statements::UnitFile;
use crate::error::{Error, REFUSED};
use crate::flags::PolicyFlags;
use crate::policy::{self, Policy};
use keepalive_engine::preload::{self, Library};
use keepalive_policy::Settings;
use keepalive_policy::environment::RULES;
use keepalive_policy::parse::statements;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The file name of the drop-in, in the directory UNIT.d.
pub(super) const FILE: &str = "50-keepalive.conf";

const HEAD: &str = "# Written by 'keepalive unit enable'; 'keepalive unit disable' removes it.\n[Service]\n";

/// Returns the drop-in that loads the library; `preloaded` is the unit's own LD_PRELOAD.
///
/// # Errors
/// A value that a unit file cannot contain.
pub(super) fn with_library(library: &Library, policy: &Policy, preloaded: Option<String>) -> Result<String, Error> {
    let mut environment: Vec<(OsString, OsString)> = preloaded
        .map(|value| (OsString::from("LD_PRELOAD"), OsString::from(value)))
        .into_iter()
        .collect();
    preload::prepare(&mut environment, library, policy);
    let mut text = String::from(HEAD);
    for (name, value) in environment {
        let value = if name == RULES {
            on_one_line(value.as_bytes())
        } else {
            value.as_bytes().to_vec()
        };
        let assignment = [name.as_bytes(), b"=", &value].concat();
        let _ = writeln!(text, "Environment={}", quote(utf8(&assignment)?, false));
    }
    Ok(text)
}

/// Returns the drop-in for an eBPF program on the service's cgroup, which `command` applies whenever the
/// service starts. The service starts even if this fails. With `is_outside`, the root directory of the unit is only
/// that of the service, and not of `command`.
///
/// # Errors
/// A value that a unit file cannot contain.
pub(super) fn with_cgroup(command: &Path, policy: &Policy, is_outside: bool) -> Result<String, Error> {
    let command = quote(utf8(command.as_os_str().as_bytes())?, true);
    let mut arguments = String::new();
    let settings = policy.settings;
    if settings != Settings::NONE {
        let rule = format!("default {settings}");
        let _ = write!(arguments, " --rule {}", quote(&rule, true));
    }
    for rule in policy.rules.iter().map(|rule| on_one_line(&rule.text)) {
        if rule.is_empty() {
            continue;
        }
        let _ = write!(arguments, " --rule {}", quote(utf8(&rule)?, true));
    }
    if let Some(path) = &policy.config_path {
        let path = utf8(path.as_os_str().as_bytes())?;
        let _ = write!(arguments, " --config {}", quote(path, true));
    }
    let outside = if is_outside { "RootDirectoryStartOnly=yes\n" } else { "" };
    Ok(format!(
        "{HEAD}{outside}ExecStartPre=-+{command} cgroup enable{arguments} %n\nExecStopPost=-+{command} cgroup disable %n\n"
    ))
}

/// Returns the policy in the environment that a drop-in with this text sets.
///
/// # Errors
/// The policy cannot be used.
pub(in crate::cmd) fn policy(service: &Service, text: &str) -> Result<Policy, Error> {
    let mut unit = UnitFile::default();
    unit.add(text, service.drop_in.clone());
    let environment = Environment::of(&unit, &service.name, &service.root);
    let variables: Vec<(OsString, OsString)> = environment
        .variables()
        .map(|variable| {
            (
                OsString::from(&variable.name),
                OsString::from(variable.value.replace("%%", "%")),
            )
        })
        .collect();
    policy::read(&PolicyFlags::default(), &variables, Settings::NONE, REFUSED)
}

/// Returns the path of the library that a drop-in with this text loads.
pub(in crate::cmd) fn library(text: &str) -> Option<&str> {
    text.split(['"', ':', '='])
        .find(|part| part.ends_with("/libkeepalive.so"))
}

/// Returns the engine of a drop-in with this text.
pub(in crate::cmd) fn engine(text: &str) -> Engine {
    if text.contains("ExecStartPre=") {
        Engine::Cgroup
    } else {
        Engine::Preload
    }
}

/// Returns `rules` as one line with the same meaning, without comments, which would end only with the line.
fn on_one_line(rules: &[u8]) -> Vec<u8> {
    statements(rules).collect::<Vec<_>>().join(&b';')
}

/// Refuses text that is not UTF-8, since systemd ignores such lines and values.
fn utf8(value: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(value).map_err(|_| {
        let value = String::from_utf8_lossy(value);
        Error::new(
            REFUSED,
            format!("cannot write '{value}' to a unit file: it is not UTF-8"),
        )
        .hint("name a --config FILE that contains the rules")
    })
}

/// Returns a word in systemd's syntax (`systemd.syntax(7)`, `systemd.service(5)`); `$` begins a variable only
/// in commands.
fn quote(word: &str, is_command: bool) -> String {
    let mut quoted = String::from("\"");
    for character in word.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '%' => quoted.push_str("%%"),
            '$' if is_command => quoted.push_str("$$"),
            // A carriage return ends a line too.
            control if control.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(control));
            }
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
    fn special_characters_are_quoted_for_systemd() {
        assert_eq!(quote("A=x y", false), "\"A=x y\"");
        assert_eq!(quote("a\"b\\c%n$X", false), "\"a\\\"b\\\\c%%n$X\"");
        assert_eq!(quote("$X%", true), "\"$$X%%\"");
        assert_eq!(quote("a\tb\r\nc", false), "\"a\\x09b\\x0d\\x0ac\"");
    }
}

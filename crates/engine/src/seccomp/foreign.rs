//! Supervisors of other programs.

use std::fs;

/// Returns what the user can do where another program supervises this process.
pub(super) fn hint() -> &'static str {
    hint_for(&fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default())
}

/// Returns the hint for a kernel with this release. Under WSL, whose kernel's release names it, the other program is WSL
/// itself, and no place is outside of it.
fn hint_for(release: &str) -> &'static str {
    let release = release.to_ascii_lowercase();
    if release.contains("microsoft") || release.contains("wsl") {
        "WSL supervises every process: use the cgroup engine, as root: keepalive run --engine cgroup, or keepalive cgroup \
         enable; without root: --engine preload"
    } else {
        "a process can have one such supervisor: start keepalive outside the other one"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_wsl_the_hint_is_the_cgroup_engine() {
        for release in ["5.15.167.4-microsoft-standard-WSL2\n", "4.4.0-19041-Microsoft\n"] {
            let hint = hint_for(release);
            assert!(
                hint.contains("keepalive cgroup enable") && !hint.contains("outside"),
                "{hint}"
            );
        }
        for release in ["6.1.0-18-amd64\n", ""] {
            assert!(hint_for(release).contains("outside the other one"));
        }
    }
}

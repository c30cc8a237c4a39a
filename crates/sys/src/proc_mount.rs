//! The mount options of `/proc` (proc(5)): which processes it hides from which users.

use crate::capability;
use rustix::process::{getegid, getgroups};
use rustix::thread::CapabilitySet;
use std::fs;

/// The processes that `/proc` hides (`hidepid=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HidePid {
    /// 0, `off`: none.
    Off,
    /// 1, `noaccess`: the directories of other users' processes are visible, but cannot be entered.
    NoAccess,
    /// 2, `invisible`: other users' processes are invisible.
    Invisible,
    /// 4, `ptraceable` (Linux 5.8): processes to which the reader has no ptrace access are invisible.
    Ptraceable,
}

/// The mount of `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcMount {
    /// The processes that it hides.
    pub hidepid: HidePid,
    /// The group to which all processes are visible (`gid=`); 0 unless the mount names one. It has no effect
    /// on [`HidePid::Ptraceable`].
    pub gid: u32,
    /// Whether it contains only processes, without `/proc/sys` and everything else (`subset=pid`, Linux 5.8).
    pub is_pid_subset: bool,
}

impl ProcMount {
    /// Returns the mount at `/proc`; `None` if nothing or another file system is mounted there.
    pub fn read() -> Option<Self> {
        Self::find(&fs::read_to_string("/proc/self/mountinfo").ok()?)
    }

    /// Returns the last mount at `/proc` in a `mountinfo` (`proc_pid_mountinfo(5)`), which hides earlier ones.
    fn find(mountinfo: &str) -> Option<Self> {
        let lines = mountinfo.lines().rev();
        let mut mounts = lines.filter(|line| line.split(' ').nth(4) == Some("/proc"));
        let (_, file_system) = mounts.next()?.split_once(" - ")?;
        let mut fields = file_system.split(' ');
        if fields.next()? != "proc" {
            return None;
        }
        let mut mount = Self {
            hidepid: HidePid::Off,
            gid: 0,
            is_pid_subset: false,
        };
        for option in fields.nth(1)?.split(',') {
            match option.split_once('=') {
                Some(("hidepid", "1" | "noaccess")) => mount.hidepid = HidePid::NoAccess,
                Some(("hidepid", "2" | "invisible")) => mount.hidepid = HidePid::Invisible,
                Some(("hidepid", "4" | "ptraceable")) => mount.hidepid = HidePid::Ptraceable,
                Some(("gid", gid)) => mount.gid = gid.parse().ok()?,
                Some(("subset", "pid")) => mount.is_pid_subset = true,
                _ => {}
            }
        }
        Some(mount)
    }

    /// Returns whether it hides processes from this process. `CAP_SYS_PTRACE` and the group make all
    /// processes visible (`fs/proc/base.c`, `has_pid_permissions`).
    pub fn hides_from_us(&self) -> bool {
        let is_member = || {
            getegid().as_raw() == self.gid
                || getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == self.gid))
        };
        let is_exempt = match self.hidepid {
            HidePid::Off => true,
            HidePid::NoAccess | HidePid::Invisible => is_member(),
            HidePid::Ptraceable => false,
        };
        !is_exempt && !capability::is_effective(CapabilitySet::SYS_PTRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_old_and_new_kernels_write_them() {
        let line = |options: &str| format!("22 28 0:21 / /proc rw,nosuid shared:12 - proc proc {options}\n");
        let mount = |hidepid, gid, is_pid_subset| {
            Some(ProcMount {
                hidepid,
                gid,
                is_pid_subset,
            })
        };
        for (options, expected) in [
            ("rw", mount(HidePid::Off, 0, false)),
            ("rw,hidepid=2", mount(HidePid::Invisible, 0, false)),
            ("rw,gid=27,hidepid=invisible", mount(HidePid::Invisible, 27, false)),
            ("rw,hidepid=noaccess,subset=pid", mount(HidePid::NoAccess, 0, true)),
            ("rw,hidepid=ptraceable", mount(HidePid::Ptraceable, 0, false)),
        ] {
            assert_eq!(ProcMount::find(&line(options)), expected, "{options}");
        }
    }

    #[test]
    fn the_last_mount_counts() {
        let first = "22 28 0:21 / /proc rw - proc proc rw,hidepid=2\n";
        let below = "23 22 0:22 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw,fd=29\n";
        let last = "90 22 0:50 / /proc rw - proc proc rw\n";
        let other = "91 22 0:51 / /proc rw - tmpfs tmpfs rw\n";
        let hidepid = |text: &[&str]| ProcMount::find(&text.concat()).map(|mount| mount.hidepid);
        assert_eq!(hidepid(&[first, below]), Some(HidePid::Invisible));
        assert_eq!(hidepid(&[first, last, below]), Some(HidePid::Off));
        assert_eq!(hidepid(&[first, other]), None);
        assert_eq!(hidepid(&[below]), None);
    }
}

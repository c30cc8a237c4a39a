//! The rpm package: this machine's rpm(8) installs it below another root directory, whose shell runs its scripts.

use super::{Packages, in_distribution, no_distribution};
use crate::support::find_program;

/// $2 and $3 are the packages. The library is in the directories of Debian and of rpm.
const LIFE_CYCLE: &str = r#"
    manage() { rpm --root /mnt/root --nodeps --noplugins "$@"; }
    tree >/mnt/before
    watched manage --install "$2"
    test "$(inside keepalive run perl -MSocket -e 'socket S, PF_INET, SOCK_STREAM, 0;
        print unpack("i", getsockopt S, 6, 4)')" = 60
    watched inside keepalive system enable
    has 1
    watched manage --upgrade "$3"
    cmp /mnt/root/usr/lib/*-linux-gnu*/*keepalive-system.so /mnt/root/usr/lib64/libkeepalive.so
    tail -c 6 /mnt/root/usr/lib64/libkeepalive.so | grep -q second
    has 1
    watched manage --erase keepalive
    has 0
    rm -rf /mnt/root/root/.rpmdb
    tree | diff /mnt/before - || fail 'erased, but not as before'"#;

#[test]
fn programs_start_silently_during_installation_and_removal() {
    let packages = packages!();
    if let Some(why) = no_distribution("bookworm") {
        skip!("{why}");
    }
    if find_program("rpm").is_none() {
        skip!("rpm is not installed");
    }
    let rpms = [&packages.first, &packages.second].map(|directory| Packages::rpm(directory));
    assert_eq!(in_distribution("bookworm", LIFE_CYCLE, &[&rpms[0], &rpms[1]]), "");
}

//! The Debian package, in bullseye, bookworm and trixie.

use super::{Packages, in_distribution, no_distribution};
use crate::support::target::{Libc, compile};
use std::path::Path;

/// $2 and $3 are the packages.
const LIFE_CYCLE: &str = r#"
    cp "$2" /mnt/first.deb
    cp "$3" /mnt/second.deb
    mv /mnt/*.deb /mnt/root/run
    other=/lib/x86_64-linux-gnu/libdl.so.2
    file=/mnt/root/etc/ld.so.preload
    copy() { ls /mnt/root/usr/lib/*-linux-gnu*/*keepalive-system.so; }
    tree >/mnt/before
    new_files >/dev/null
    has 0

    watched inside dpkg --install /run/first.deb
    test "$(inside keepalive run perl -MSocket -e 'socket S, PF_INET, SOCK_STREAM, 0;
        print unpack("i", getsockopt S, 6, 4)')" = 60
    test ! -e /mnt/root/etc/keepalive.conf
    test ! -e "$file"
    has 0

    # The line of another library stays.
    echo "$other" >"$file"
    watched inside keepalive system enable
    has 1
    watched inside dpkg --install /run/second.deb
    has 1
    cmp "$(copy)" /mnt/root/usr/lib/*/libkeepalive.so
    tail -c 6 "$(copy)" | grep -q second
    # Downgrade and upgrade.
    watched inside dpkg --install /run/first.deb
    cmp "$(copy)" /mnt/root/usr/lib/*/libkeepalive.so
    watched inside dpkg --remove keepalive
    has 0
    test "$(cat "$file")" = "$other"
    new_files
    watched inside dpkg --purge keepalive
    test "$(cat "$file")" = "$other"
    rm "$file"
    tree | diff /mnt/before - || fail 'purged, but not as before'

    watched inside dpkg --install /run/first.deb
    watched inside keepalive system enable --setuid
    watched inside dpkg --install /run/second.deb
    test "$(stat -c %a "$(copy)")" = 4644
    has 1
    watched inside dpkg --purge keepalive
    has 0
    test ! -e "$file"
    tree | diff /mnt/before - || fail 'purged at once, but not as before'"#;

fn assert_life_cycle(suite: &str) {
    let packages = packages!();
    if let Some(why) = no_distribution(suite) {
        skip!("{why}");
    }
    let debs = [&packages.first, &packages.second].map(|directory| Packages::deb(directory));
    let left = in_distribution(suite, LIFE_CYCLE, &[&debs[0], &debs[1]]);
    // After removal without purge: the files that dpkg keeps, and the backup of the previous file.
    let expected = [
        "etc/ld.so.preload.before-keepalive",
        "var/lib/dpkg/info/keepalive.list",
        "var/lib/dpkg/info/keepalive.postrm",
    ];
    assert_eq!(left.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn programs_start_silently_during_installation_and_removal_in_bullseye() {
    assert_life_cycle("bullseye");
}

#[test]
fn programs_start_silently_during_installation_and_removal_in_bookworm() {
    assert_life_cycle("bookworm");
}

#[test]
fn programs_start_silently_during_installation_and_removal_in_trixie() {
    assert_life_cycle("trixie");
}

/// A C library for 32-bit programs is added after `keepalive system enable`, and removed: by the mechanisms of
/// packages, but with files of the cross compiler. $3 is its directory, $4 a 32-bit program.
const LATER: &str = r#"
    cp "$2" /mnt/root/run/first.deb
    tree >/mnt/before
    watched inside dpkg --install /run/first.deb
    watched inside keepalive system enable
    line=$(cat /mnt/root/etc/ld.so.preload)
    lib=/mnt/libc/usr/lib/i386-linux-gnu
    case $(readlink /mnt/root/lib) in '') link=/mnt/libc/lib ;; *) link=/mnt/libc/usr/lib ;; esac
    mkdir -p "$lib" "$link" /mnt/libc/DEBIAN
    cp "$3/ld-linux.so.2" "$3/libc.so.6" "$lib"
    ln -s /usr/lib/i386-linux-gnu/ld-linux.so.2 "$link/ld-linux.so.2"
    printf 'Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n' some-libc >/mnt/libc/DEBIAN/control
    dpkg-deb --build /mnt/libc /mnt/root/run/libc.deb >/dev/null
    cp "$4" /mnt/root/run/sockets32
    on() { inside env KEEPIDLE=61 /run/sockets32 tcp show 2>&1; }
    watched inside dpkg --install /run/libc.deb
    case $(on) in *': 1 61 '*) ;; *) fail "32-bit, enabled: $(on)" ;; esac
    has 1
    inside keepalive system status >/dev/null
    test "$(cat /mnt/root/etc/ld.so.preload)" = '/usr/$LIB/keepalive-system.so'
    inside keepalive run sh -c 'KEEPIDLE=77 /run/sockets32 tcp show; perl -e 1' >/mnt/ran 2>&1
    grep -q ': 1 77 ' /mnt/ran || fail "$(cat /mnt/ran)"
    test "$(wc -l </mnt/ran)" = 1 || fail "$(cat /mnt/ran)"
    # Its removal.
    watched inside dpkg --purge some-libc
    has 1
    inside keepalive system status >/dev/null
    test "$(cat /mnt/root/etc/ld.so.preload)" = "$line"
    watched inside dpkg --install /run/libc.deb
    watched inside dpkg --purge keepalive
    case $(on) in *': 0 7200 '*) ;; *) fail "32-bit, purged: $(on)" ;; esac
    watched inside dpkg --purge some-libc
    rm -f /mnt/root/run/*32
    tree | diff /mnt/before -"#;

#[test]
fn c_library_for_32_bit_programs_can_be_added_and_removed_while_enabled() {
    const I386: Libc = Libc::Cross("i686-linux-gnu-gcc");
    let packages = packages!();
    if let Some(why) = I386.missing() {
        skip!("{why}");
    }
    let program = compile(I386, "sockets.c", &[]);
    for suite in ["bullseye", "bookworm", "trixie"] {
        if let Some(why) = no_distribution(suite) {
            skip!("{why}");
        }
        let deb = Packages::deb(&packages.first);
        in_distribution(suite, LATER, &[&deb, Path::new("/usr/i686-linux-gnu/lib"), &program]);
    }
}

/// /etc/ld.so.preload cannot be removed, as in a container that mounts it.
const IMMUTABLE_FILE: &str = r#"
    cp "$2" /mnt/root/run/first.deb
    tree >/mnt/before
    watched inside dpkg --install /run/first.deb
    watched inside keepalive system enable
    mount --bind /mnt/root/etc/ld.so.preload /mnt/root/etc/ld.so.preload
    for action in --remove --purge; do
        inside dpkg $action keepalive >/dev/null 2>/mnt/errors
        grep -q 'take the line out by hand, and remove the file only then' /mnt/errors || fail "$(cat /mnt/errors)"
        has 1
        watched inside ldconfig
        test ! -e /mnt/root/usr/bin/keepalive
    done
    umount /mnt/root/etc/ld.so.preload
    # By hand, as the hint says, or by installing the package again:
    watched inside dpkg --install /run/first.deb
    has 1
    watched inside dpkg --purge keepalive
    has 0
    tree | diff /mnt/before -"#;

#[test]
fn package_can_be_removed_if_the_line_cannot() {
    let packages = packages!();
    if let Some(why) = no_distribution("bookworm") {
        skip!("{why}");
    }
    in_distribution("bookworm", IMMUTABLE_FILE, &[&Packages::deb(&packages.first)]);
}

/// The administrator has written a line with the package's own library.
const BY_HAND: &str = r#"
    cp "$2" /mnt/root/run/first.deb
    cp "$3" /mnt/root/run/second.deb
    inside dpkg --install /run/first.deb >/dev/null
    library=$(cd /mnt/root && ls usr/lib/*-linux-gnu/libkeepalive.so)
    for line in "/$library" "/lib/x86_64-linux-gnu/libdl.so.2:/$library" 'libkeepalive.so' '/usr/$LIB/libkeepalive.so' \
        '/usr/lib/keepalive/$LIB/libkeepalive.so' '/usr/lib/keepalive/lib64/libkeepalive.so'; do
        echo "$line" >/mnt/root/etc/ld.so.preload
        watched inside dpkg --install /run/second.deb
        watched inside dpkg --install /run/first.deb
        if inside dpkg --remove keepalive >/dev/null 2>/mnt/errors; then
            fail "$line: removed"
        fi
        grep -q 'hint: take that line out' /mnt/errors || fail "$(cat /mnt/errors)"
        has 1
    done
    # Libraries of the same name and comments do not count.
    echo '/usr/lib/libkeepalive.so.0 # libkeepalive.so' >/mnt/root/etc/ld.so.preload
    inside dpkg --remove keepalive >/dev/null 2>&1
    test ! -e "/mnt/root/$library""#;

#[test]
fn package_named_by_hand_can_be_upgraded_but_not_removed() {
    let packages = packages!();
    if let Some(why) = no_distribution("bookworm") {
        skip!("{why}");
    }
    let debs = [&packages.first, &packages.second].map(|directory| Packages::deb(directory));
    in_distribution("bookworm", BY_HAND, &[&debs[0], &debs[1]]);
}

/// systemctl is a script that records its arguments.
const UNITS: &str = r#"
    cp "$2" /mnt/root/run/first.deb
    units=/mnt/root/etc/systemd/system
    mkdir -p "$units/multi-user.target.wants"
    printf '[Service]\nExecStart=/bin/sleep 1\n' >"$units/some.service"
    printf '#!/bin/sh\necho "$*" >>/run/calls\n' >/mnt/root/usr/bin/systemctl
    chmod 755 /mnt/root/usr/bin/systemctl
    mkdir -p /mnt/root/run/systemd/system
    tree >/mnt/before
    inside dpkg --install /run/first.deb >/dev/null
    unit=$(cd /mnt/root && find usr/lib/systemd -name 'keepalive-cgroup@.service')
    ln -s "/$unit" "$units/multi-user.target.wants/keepalive-cgroup@system.slice.service"
    mkdir "$units/other.service.d"
    inside keepalive unit enable some >/dev/null 2>&1
    grep -q /libkeepalive.so "$units/some.service.d/50-keepalive.conf"
    echo '# another file' >"$units/other.service.d/50-keepalive.conf"
    rm /mnt/root/run/calls
    inside dpkg --install /run/first.deb >/dev/null
    test -e "$units/some.service.d/50-keepalive.conf"
    test -h "$units/multi-user.target.wants/keepalive-cgroup@system.slice.service"
    inside sh -c 'sleep 1000 & echo $! >/run/pid; LD_PRELOAD=/usr/lib/nothing/libkeepalive.so exec sleep 1000' 2>/dev/null &
    until test -s /mnt/root/run/pid; do :; done
    inside dpkg --remove keepalive >/dev/null 2>/mnt/errors
    cat /mnt/root/run/calls
    rm "$units/other.service.d/50-keepalive.conf"
    rmdir "$units/other.service.d"
    inside dpkg --purge keepalive >/dev/null 2>&1
    tree | diff /mnt/before -
    grep 'will complain of LD_PRELOAD' /mnt/errors | sed 's/[0-9][0-9]*/PID/g'"#;

#[test]
fn removal_removes_the_systemd_drop_ins() {
    let packages = packages!();
    if let Some(why) = no_distribution("bookworm") {
        skip!("{why}");
    }
    let printed = in_distribution("bookworm", UNITS, &[&Packages::deb(&packages.first)]);
    let expected = "--system daemon-reload\n--system daemon-reload\nstop keepalive-cgroup@*.service\n\
        show --property=Id,Names,LoadState,MainPID,ConsistsOf,Wants,Requires,BindsTo,Upholds -- some.service\n\
        daemon-reload\n--system daemon-reload\n\
        keepalive: note: what these processes start will complain of LD_PRELOAD until they are restarted: PID \n";
    assert_eq!(printed, expected);
}

/// The NSS module is another glibc's, which would end a static program that loads it.
const NAMES: &str = r#"
    cp "$2" /mnt/root/run/first.deb
    inside dpkg --install /run/first.deb >/dev/null
    echo 'hosts: compat files dns' >/mnt/root/etc/nsswitch.conf
    echo '127.0.0.1 some.example' >>/mnt/root/etc/hosts
    echo 'nameserver 127.0.0.1' >/mnt/root/etc/resolv.conf
    for host in some.example none.example; do
        inside keepalive probe "$host:1" 2>&1 || :
    done"#;

#[test]
fn names_are_resolved_under_any_c_library() {
    let packages = packages!();
    for suite in ["bullseye", "bookworm", "trixie"] {
        if let Some(why) = no_distribution(suite) {
            skip!("{why}");
        }
        let printed = in_distribution(suite, NAMES, &[&Packages::deb(&packages.first)]);
        assert!(
            printed.contains("cannot connect to 'some.example:1'"),
            "{suite}: {printed}"
        );
        assert!(printed.contains("cannot find 'none.example:1': "), "{suite}: {printed}");
        assert!(
            printed.contains("hint: /etc/hosts and DNS were asked"),
            "{suite}: {printed}"
        );
    }
}

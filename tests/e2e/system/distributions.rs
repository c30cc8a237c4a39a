//! Other Debian releases, which `scripts/test-chroot` has installed, with an overlay in the test's own mount namespace,
//! so that they are unchanged.

use crate::support::chroot::root_of;
use crate::support::process::text;
use crate::support::target::{KERNEL_DEFAULTS, Libc, POLICY, POLICY_VALUES, compile};
use crate::support::{library, released_keepalive};
use std::process::Command;

/// $1 is the distribution, $2 the command, $3 the target `sockets`.
const SCRIPT: &str = r#"
    mount -t tmpfs none /mnt
    mkdir /mnt/changes /mnt/work /mnt/root
    mount -t overlay none -o "lowerdir=$1,upperdir=/mnt/changes,workdir=/mnt/work" /mnt/root
    cp "$3" /mnt/root/sockets
    "$2" system enable --root /mnt/root >/dev/null
    for words in 'dpkg --version' 'apt-get --version' 'bash -c :' 'perl -e 1' 'ls /' 'mount --version' 'su --version'; do
        chroot /mnt/root $words >/dev/null
    done
    # As packages with libraries do: ldconfig creates links to what looks like a library.
    chroot /mnt/root ldconfig -N
    chroot /mnt/root /sockets tcp show
    cat /mnt/root/etc/ld.so.preload
    "$2" system status --root /mnt/root >/dev/null
    "$2" system disable --root /mnt/root >/dev/null
    chroot /mnt/root /sockets tcp show
    rm /mnt/root/sockets
    cd /mnt/changes && find . ! -type d"#;

fn a_distribution(suite: &'static str) {
    let _ = system!();
    let root = match root_of(suite) {
        Ok(root) => root,
        Err(why) => skip!("{why}"),
    };
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", SCRIPT, "sh"])
        .arg(root)
        .arg(released_keepalive())
        .arg(compile(Libc::Chroot(suite), "sockets.c", &[]))
        .env("KEEPALIVE_LIBRARY", library())
        .envs(POLICY)
        .env("LC_ALL", "C")
        .output()
        .expect("unshare starts");
    let errors = text(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{suite}: {errors}");
    let printed = text(&output.stdout);
    let lines: Vec<&str> = printed.lines().collect();
    let [with, line, without] = lines[..] else {
        panic!("something is left: {printed}");
    };
    assert!(
        with.ends_with(POLICY_VALUES) && without.ends_with(KERNEL_DEFAULTS),
        "{printed}"
    );
    let expected = format!("/usr/lib/{}-linux-gnu/keepalive-system.so", std::env::consts::ARCH);
    assert_eq!(line, expected);
}

#[test]
fn bullseye_runs_its_programs_silently() {
    a_distribution("bullseye");
}

#[test]
fn trixie_runs_its_programs_silently() {
    a_distribution("trixie");
}

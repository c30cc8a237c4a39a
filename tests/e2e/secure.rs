//! Secure-execution mode (ld.so(8)): a program that runs with more rights than its user has. Only the four variables of
//! libkeepalive 0.3 and /etc/keepalive.conf count there, and no variable makes the library open a file.

use crate::support::root::SmallRoot;
use crate::support::target::{Libc, POLICY, compile, without_library};
use crate::support::{find_program, library};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// nobody and nogroup.
const ORDINARY: &str = "65534:65534";

/// A root directory with little more than `targets/sockets.c` in it, set-user-ID root or not, and the library where the
/// loader takes it from in this mode too.
struct Root(SmallRoot);

impl Root {
    /// Why there can be none.
    fn missing() -> Option<String> {
        SmallRoot::missing()
    }

    fn new(program_mode: u32) -> Self {
        let root = SmallRoot::new();
        let program = compile(Libc::Host, "sockets.c", &[]);
        let trusted = root.bring_needed_by(&program);
        // Of libraries that are not set-user-ID themselves the loader takes none.
        root.install(&library(), &trusted.join("libkeepalive.so"), 0o4755);
        root.install(&program, Path::new("/sockets"), program_mode);
        Self(root)
    }

    fn outside(&self, path: &Path) -> PathBuf {
        self.0.outside(path)
    }

    fn write(&self, path: &str, text: &str) {
        self.0.write(path, text);
    }

    /// An ordinary user runs it.
    fn run(&self, variables: &[(&str, &str)], words: &str) -> Output {
        let mut command: Command = without_library(&find_program("chroot").expect("it was there"));
        command
            .arg(format!("--userspec={ORDINARY}"))
            .arg(self.0.path())
            .arg("/sockets")
            .args(words.split(' '))
            .env("LD_PRELOAD", "libkeepalive.so")
            .envs(POLICY)
            .envs(variables.iter().copied());
        let output = command.output().expect("chroot starts");
        assert!(output.status.success(), "{output:?}");
        output
    }

    fn show(&self, variables: &[(&str, &str)], words: &str) -> String {
        let printed = self.run(variables, words).stdout;
        let printed = String::from_utf8(printed).expect("ASCII");
        let line = printed.lines().last().expect("it prints something");
        line.split_once(": ").expect("a name and values").1.to_owned()
    }
}

/// Everything else that a user may try, all at once.
const OTHERS: [(&str, &str); 6] = [
    ("KEEPALIVE_USER_TIMEOUT", "2s"),
    ("KEEPALIVE_MODE", "enforce"),
    ("KEEPALIVE_RULES", "connect * interval=5s"),
    ("KEEPALIVE_CONFIG", "/other.conf"),
    ("KEEPALIVE_LOG", "/log"),
    ("LISTEN_FDS", "1000"),
];

/// The program sets its idle time itself, and that mode `fill` lets it keep.
const WORDS: &str = "tcp idle=300 connect show";

#[test]
fn only_the_four_variables_count() {
    if let Some(why) = Root::missing() {
        skip!("{why}");
    }
    let root = Root::new(0o4755);
    root.write("/other.conf", "default count=9 user-timeout=9s\n");
    assert_eq!(root.show(&OTHERS, WORDS), "1 300 13 4 0");
    assert!(!root.outside(Path::new("/log")).exists(), "it wrote a file as root");

    assert_eq!(root.show(&[("KEEPALIVE", "off")], "tcp show"), "0 7200 75 9 0");
    assert_eq!(root.show(&[("KEEPALIVE", "skip")], "tcp show"), "0 61 13 4 0");
    assert_eq!(root.show(&[("KEEPCNT", "128")], "tcp show"), "1 61 13 9 0");
    let printed = root.run(&[("KEEPALIVE_LOG", "stderr")], "tcp show").stderr;
    let printed = String::from_utf8_lossy(&printed);
    assert!(!printed.contains("keepalive["), "{printed}");
}

/// The administrator's file may say what the user may not.
#[test]
fn the_configuration_file_counts() {
    if let Some(why) = Root::missing() {
        skip!("{why}");
    }
    let root = Root::new(0o4755);
    root.write("/etc/keepalive.conf", "default count=9 user-timeout=9s\n");
    assert_eq!(root.show(&OTHERS, WORDS), "1 300 13 4 9000");
}

/// The counterpart, which shows that the tests above would see it: without the set-user-ID bit each has its effect.
#[test]
fn an_ordinary_program_heeds_all_of_them() {
    if let Some(why) = Root::missing() {
        skip!("{why}");
    }
    let root = Root::new(0o755);
    fs::set_permissions(root.0.path(), Permissions::from_mode(0o777)).expect("a directory of the test");
    root.write("/other.conf", "default count=9 user-timeout=9s\n");
    let expected = [
        "1 300 13 4 2000",
        "1 61 13 4 0",
        "1 300 5 9 0",
        "1 300 13 4 9000",
        "1 300 13 4 0",
        "1 300 13 4 0",
    ];
    for (variable, expected) in OTHERS.into_iter().zip(expected) {
        assert_eq!(root.show(&[variable], WORDS), expected, "{variable:?}");
    }
    assert!(root.outside(Path::new("/log")).exists());
}

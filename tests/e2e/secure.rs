//! Secure-execution mode (ld.so(8)): a program that runs with more permissions than its user. Only the four variables
//! of libkeepalive 0.3 and /etc/keepalive.conf apply, and no variable makes the library open a file.

use crate::support::root::SmallRoot;
use crate::support::target::{Libc, POLICY, compile, without_library};
use crate::support::{find_program, library};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The user nobody and the group nogroup.
const ORDINARY: &str = "65534:65534";

/// A root directory with `targets/sockets.c`, set-user-ID root or not, and the library in a directory from which the
/// loader loads it in this mode.
struct Root(SmallRoot);

impl Root {
    /// Returns why such a directory is impossible here, if it is.
    fn missing() -> Option<String> {
        SmallRoot::missing()
    }

    fn new(program_mode: u32) -> Self {
        let root = SmallRoot::new();
        let program = compile(Libc::Host, "sockets.c", &[]);
        let trusted = root.bring_needed_by(&program);
        // The loader ignores libraries that are not set-user-ID.
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

    /// Runs the program as an ordinary user.
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

/// Other variables by which a user may try to influence the library, all together.
const OTHERS: [(&str, &str); 6] = [
    ("KEEPALIVE_USER_TIMEOUT", "2s"),
    ("KEEPALIVE_MODE", "enforce"),
    ("KEEPALIVE_RULES", "connect * interval=5s"),
    ("KEEPALIVE_CONFIG", "/other.conf"),
    ("KEEPALIVE_LOG", "/log"),
    ("LISTEN_FDS", "1000"),
];

/// The program sets its idle time itself, which mode `fill` keeps.
const WORDS: &str = "tcp idle=300 connect show";

#[test]
fn only_the_four_variables_apply() {
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

/// The administrator's file may set options that the user's variables may not.
#[test]
fn configuration_file_applies() {
    if let Some(why) = Root::missing() {
        skip!("{why}");
    }
    let root = Root::new(0o4755);
    root.write("/etc/keepalive.conf", "default count=9 user-timeout=9s\n");
    assert_eq!(root.show(&OTHERS, WORDS), "1 300 13 4 9000");
}

/// The counterpart, which shows that the tests above would detect it: without the set-user-ID bit each variable has its
/// effect.
#[test]
fn all_variables_apply_to_an_ordinary_program() {
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

//! The library together with others: libraries that hook the same calls, sanitizers, auditors, and special ways of
//! loading.
//!
//! The target `calls` makes every hooked call and prints the options of its socket. With other libraries it must print
//! the same as with the preload library alone; if the loader does not load the library, the same as without it.

mod socks;

use crate::support::observe::tcp_sockets;
use crate::support::process::{Running, eventually, output_within};
use crate::support::target::{Libc, POLICY_VALUES, compile, no_config, quiet_output, with_library, without_library};
use crate::support::{find_program, library};
use socks::Socks;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Returns `program` with the library, and with a policy whose effect is visible in every hooked call.
fn under_policy(program: &Path) -> Command {
    let mut command = with_library(program);
    command.env("KEEPALIVE_USER_TIMEOUT", "auto");
    command
}

/// The value of `LD_PRELOAD` for two libraries in this order.
fn chain(first: &Path, second: &Path) -> String {
    format!("{}:{}", first.display(), second.display())
}

/// Returns the target `calls`.
fn calls() -> PathBuf {
    compile(Libc::Host, "calls.c", &[])
}

/// Returns what `calls` prints with only the preload library.
fn with_policy() -> String {
    let with_policy = quiet_output(under_policy(&calls()).arg("main"));
    assert_ne!(with_policy, without_library_output(), "the library has an effect");
    with_policy
}

/// Returns what `calls` prints without the library.
fn without_library_output() -> String {
    quiet_output(without_library(&calls()).arg("main"))
}

/// Compiles a library.
fn shared(source: &'static str, flags: &[&str]) -> PathBuf {
    compile(Libc::Host, source, &[&["-shared", "-fPIC"], flags].concat())
}

#[test]
fn empty_library_changes_nothing() {
    let with_policy = with_policy();
    let empty = shared("empty.c", &[]);
    for order in [
        chain(&library(), &empty),
        chain(&empty, &library()),
        chain(&library(), &library()),
    ] {
        let output = quiet_output(under_policy(&calls()).arg("main").env("LD_PRELOAD", &order));
        assert_eq!(output, with_policy, "{order}");
    }
}

/// socket(2) of another library may return another kind of socket than requested.
#[test]
fn socket_from_another_library_is_set_by_its_real_kind() {
    const KERNEL_DEFAULTS: &str = "3 4242 0 7200 75 9";
    const POLICY_VALUES: &str = "3 4242 1 61 13 4";
    const NOT_TCP: &str = "3 4242 0 -1 -1 -1";
    let target = compile(Libc::Host, "socket_kinds.c", &[]);
    // The socket that the other library returns for a TCP socket, and its options: with our library first, and last.
    for (instead, ours_first, ours_last) in [
        ("AF_UNIX, SOCK_STREAM, 0", NOT_TCP, NOT_TCP),
        ("AF_INET, SOCK_DGRAM, 0", NOT_TCP, NOT_TCP),
        ("AF_INET6, SOCK_STREAM, 262", POLICY_VALUES, KERNEL_DEFAULTS),
        ("AF_INET, SOCK_STREAM, 0", POLICY_VALUES, KERNEL_DEFAULTS),
    ] {
        let define = format!("-DINSTEAD={instead}");
        let other_library = shared("other_socket.c", &[&define]);
        for (order, expected) in [
            (chain(&library(), &other_library), ours_first),
            (chain(&other_library, &library()), ours_last),
        ] {
            let output = quiet_output(without_library(&target).args([
                &format!("LD_PRELOAD={order}")[..],
                &format!("KEEPALIVE_CONFIG={}", no_config().display()),
                "KEEPIDLE=61",
                "KEEPINTVL=13",
                "KEEPCNT=4",
                "--",
                "--",
                "2:1:0",
            ]));
            if output.starts_with("-1 ") {
                skip!("this kernel does not support socket ({instead})");
            }
            assert_eq!(output.trim_end(), expected, "({instead}) with {order}");
        }
    }
}

/// The constructor of the C library sets the environment.
#[test]
fn calls_before_all_constructors_do_not_hide_the_environment() {
    if let Some(why) = Libc::Host.missing() {
        skip!("{why}");
    }
    let program = compile(Libc::Host, "preinit.c", &[]);
    let output = quiet_output(&mut with_library(&program));
    assert_eq!(output.trim_end(), POLICY_VALUES);
}

/// proxychains hooks connect(2): it connects another socket to its proxy, and replaces the program's socket with it.
#[test]
fn proxychains_and_the_library_work_in_either_order() {
    let Some(nc) = find_program("nc") else {
        skip!("nc is not installed");
    };
    let Some(proxychains) = find_library("libproxychains.so.4") else {
        skip!("libproxychains.so.4 is not installed");
    };
    let proxy = Socks::start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let configuration = directory.path().join("proxychains.conf");
    let answer = directory.path().join("answer");
    let port = proxy.port();
    let text = format!("strict_chain\nquiet_mode\n[ProxyList]\nsocks5 127.0.0.1 {port}\n");
    fs::write(&configuration, text).expect("a file in our directory");

    for order in [chain(&library(), &proxychains), chain(&proxychains, &library())] {
        // An address for documentation (RFC 5737), which is not in use.
        let mut program = Running::start_with_input(
            under_policy(&nc)
                .args(["-n", "192.0.2.1", "7"])
                .env("LD_PRELOAD", &order)
                .env("PROXYCHAINS_CONF_FILE", &configuration)
                .stdin(Stdio::piped())
                .stdout(File::create(&answer).expect("a file in our directory")),
        );
        let input = program.child.stdin.as_mut().expect("piped");
        input.write_all(b"hello\n").expect("nc reads");
        eventually("the proxy's answer", LIMIT, || {
            (fs::read(&answer).ok()? == b"hello\n").then_some(())
        });

        let sockets = tcp_sockets(program.pid());
        assert_eq!(sockets.len(), 1, "{order}: {sockets:?}");
        assert_eq!(sockets[0].timing(), (true, 61, 13, 4), "{order}");
        assert_eq!(sockets[0].user_timeout(), 113_000, "{order}");
    }
}

/// The runtime of AddressSanitizer must be the first library. It hooks most calls that the preload library hooks.
#[test]
fn address_sanitizer_works_if_it_is_loaded_first() {
    let Some(runtime) = runtime_of("libasan.so") else {
        skip!("cc has no AddressSanitizer");
    };
    let calls = compile(Libc::Host, "calls.c", &["-fsanitize=address"]);
    let sanitized = |preload: &OsStr| {
        let mut command = under_policy(&calls);
        command.arg("main").env("LD_PRELOAD", preload);
        command
    };
    let order = chain(&runtime, &library());
    assert_eq!(quiet_output(&mut sanitized(order.as_ref())), with_policy());

    // If any other library is first, even an empty one, the runtime refuses to start,
    for first in [library(), shared("empty.c", &[])] {
        let output = output_within(LIMIT, &mut sanitized(first.as_os_str()));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        assert!(errors.contains("runtime does not come first"), "{errors}");
    }
    // unless its check is switched off.
    let mut unchecked = sanitized(library().as_os_str());
    unchecked.env("ASAN_OPTIONS", "verify_asan_link_order=0");
    assert_eq!(quiet_output(&mut unchecked), with_policy());
}

#[test]
fn valgrind_reports_no_errors() {
    let Some(valgrind) = find_program("valgrind") else {
        skip!("valgrind is not installed");
    };
    let mut command = under_policy(&valgrind);
    command
        .args(["--error-exitcode=9", "--exit-on-first-error=yes", "--leak-check=full"])
        .arg(calls())
        .arg("main");
    let output = output_within(LIMIT, &mut command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Some versions do not implement seccomp(2), and let it fail.
    let without_seccomp = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.contains("seccomp"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(
        without_seccomp(&String::from_utf8_lossy(&output.stdout)),
        without_seccomp(&with_policy())
    );
}

/// Valgrind checks the memory of the library's system calls too. Under a supervisor, and with rules for addresses, the
/// library reads memory that may be unmapped.
#[test]
fn valgrind_prints_the_same_as_without_the_library() {
    let Some(valgrind) = find_program("valgrind") else {
        skip!("valgrind is not installed");
    };
    let program = compile(Libc::Host, "sockets.c", &[]);
    let words =
        "tcp connect so_error tcp6 connect so_error udp connect unix listen client accept tcp listen client accept";
    let printed = |command: &mut Command| {
        let path = command.get_program().to_owned();
        let mut valgrind = without_library(&valgrind);
        for (name, value) in command.get_envs() {
            valgrind.env(name, value.expect("only set, not removed"));
        }
        let output = output_within(LIMIT, valgrind.arg(path).args(words.split(' ')));
        assert!(output.status.success(), "{output:?}");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        // Removes the prefix ==PID== or --PID--.
        let lines = errors
            .lines()
            .map(|line| line.split_once(' ').map_or("", |(_, text)| text));
        (output.stdout, lines.map(str::to_owned).collect::<Vec<_>>())
    };
    let expected = printed(&mut without_library(&program));
    assert!(expected.1.len() > 5, "{expected:?}");
    let mut command = with_library(&program);
    assert_eq!(printed(&mut command), expected);
    command.env("KEEPALIVE_SUPERVISED", "1");
    assert_eq!(printed(&mut command), expected);
    command.env(
        "KEEPALIVE_RULES",
        "connect *:1-65535 syn-count=3; accept *:1-65535 idle=9s",
    );
    assert_eq!(printed(&mut command), expected);
}

#[test]
fn library_works_with_early_binding_audit_and_explicit_loader() {
    let calls = calls();
    let mut early = under_policy(&calls);
    early.env("LD_BIND_NOW", "1");
    let mut watched = under_policy(&calls);
    watched.env("LD_AUDIT", shared("auditor.c", &[]));
    let mut called = under_policy(&loader_of(&calls));
    called
        .env_remove("LD_PRELOAD")
        .arg("--preload")
        .arg(library())
        .arg(&calls);
    for mut command in [early, watched, called] {
        assert_eq!(quiet_output(command.arg("main")), with_policy(), "{command:?}");
    }
}

/// A library that the program loads later is hooked too, unless it searches its own libraries first.
#[test]
fn later_loaded_library_is_hooked_unless_it_searches_its_own_libraries_first() {
    let caller = shared("calls.c", &["-DCONSTRUCTOR"]);
    let loader = compile(Libc::Host, "loader.c", &[]);
    for (way, expected) in [
        ("now", with_policy()),
        // With RTLD_DEEPBIND and dlmopen(3) no other library can intercept its calls.
        ("deepbind", without_library_output()),
        ("apart", without_library_output()),
    ] {
        let output = quiet_output(under_policy(&loader).arg(way).arg(&caller));
        assert_eq!(output, expected, "{way}");
    }
}

#[test]
fn ldd_shows_that_the_library_has_no_dependencies() {
    let Some(ldd) = find_program("ldd") else {
        skip!("ldd is not installed");
    };
    // With -r, ldd binds every symbol, and reports those that it cannot.
    let output = quiet_output(without_library(&ldd).arg("-r").arg(library()));
    assert_eq!(output.trim(), "statically linked");

    let output = quiet_output(without_library(&ldd).arg("/bin/true").env("LD_PRELOAD", library()));
    let first = output.lines().find(|line| !line.contains("linux-vdso"));
    assert!(
        first.is_some_and(|line| line.contains(&*library().to_string_lossy())),
        "{output}"
    );
}

/// Returns the path at which the loader finds `name`.
fn find_library(name: &str) -> Option<PathBuf> {
    let directories = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"];
    directories
        .map(|directory| Path::new(directory).join(name))
        .into_iter()
        .find(|path| path.is_file())
}

/// Returns the path of the compiler's library `name`.
fn runtime_of(name: &str) -> Option<PathBuf> {
    let output = Command::new("cc")
        .arg(format!("-print-file-name={name}"))
        .output()
        .ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
    path.is_absolute().then_some(path)
}

/// Returns the loader that the program at `path` names.
fn loader_of(path: &Path) -> PathBuf {
    let bytes = fs::read(path).expect("a compiled target");
    let file = elf::ElfBytes::<elf::endian::NativeEndian>::minimal_parse(&bytes).expect("an ELF file");
    let mut segments = file.segments().expect("program headers").iter();
    let interpreter = segments
        .find(|segment| segment.p_type == elf::abi::PT_INTERP)
        .expect("a dynamic program");
    let name = file.segment_data(&interpreter).expect("well-formed");
    PathBuf::from(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
}

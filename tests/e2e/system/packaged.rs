//! A system on which a package has installed the libraries for both architectures (`make install LIBRARY32=FILE`): each
//! command sets 64-bit and 32-bit programs.

use super::kinds::{I386, add_i386, add_musl, i386_library};
use super::test_system::{COPY, FILE, TestSystem, failed, succeeded};
use crate::support::process::text;
use crate::support::target::{KERNEL_DEFAULTS, POLICY, POLICY_VALUES, without_library};
use crate::support::{find_program, library, released_keepalive, repository};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// Prints the options of new sockets in both programs.
const BOTH: &str = "/sockets tcp show; /sockets32 tcp show";
/// The path in LD_PRELOAD of a package's libraries.
const NAME: &str = "/usr/lib/keepalive/$LIB/libkeepalive.so";

/// Installs the command, and the libraries for both architectures; or returns why not.
fn install(system: &TestSystem) -> Result<(), String> {
    let i386 = i386_library()?;
    if find_program("unshare").is_none() {
        return Err("unshare is not installed".to_owned());
    }
    for mount in ["proc", "dev"] {
        fs::create_dir(system.root.path().join(mount)).expect("a directory of the test");
    }
    let variable = |name: &str, value: &Path| format!("{name}={}", value.display());
    let output = Command::new("make")
        .args(["--no-print-directory", "--silent", "install", "PREFIX=/usr"])
        .arg(variable("DESTDIR", system.root.path()))
        .arg(variable("LIBDIR", &system.directory))
        .arg(variable("COMMAND", &released_keepalive()))
        .arg(variable("LIBRARY", &library()))
        .arg(variable("LIBRARY32", &i386))
        .current_dir(repository())
        .output()
        .expect("make starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    add_i386(system);
    Ok(())
}

/// Returns the installed command, which finds the libraries by itself through /proc.
fn keepalive(system: &TestSystem, words: &[&str]) -> Command {
    const MOUNTED: &str = "mount -t proc proc \"$1/proc\" && mount --rbind /dev \"$1/dev\" && exec chroot \"$@\"";
    let mut command = without_library(&find_program("unshare").expect("it was asked for"));
    command
        .args(["--mount", "/bin/sh", "-c", MOUNTED, "sh"])
        .arg(system.root.path())
        .arg("/usr/bin/keepalive")
        .args(words)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(POLICY);
    command
}

/// Returns the options of new sockets in both programs, which must print nothing else.
#[track_caller]
fn values(command: &mut Command) -> Vec<String> {
    let printed = succeeded(command);
    let values = printed
        .lines()
        .map(|line| line.split_once(": ").expect("a name and values").1);
    values.map(str::to_owned).collect()
}

#[track_caller]
fn both(system: &TestSystem) -> Vec<String> {
    values(system.program("/bin/sh", &["-c", BOTH]).envs(POLICY))
}

/// Creates a system with both libraries; skips a test where that is impossible.
macro_rules! both_libraries {
    () => {{
        let system = system!();
        if let Err(why) = install(&system) {
            skip!("{why}");
        }
        system
    }};
}

#[test]
fn system_enable_serves_64_bit_and_32_bit_programs() {
    let system = both_libraries!();
    let printed = succeeded(&mut keepalive(&system, &["system", "enable"]));
    assert_eq!(
        printed.matches("a program starts silently with it").count(),
        2,
        "{printed}"
    );
    assert_eq!(system.read(FILE), format!("/usr/$LIB/{COPY}\n"));
    assert_eq!(both(&system), [POLICY_VALUES, POLICY_VALUES]);
    let status = succeeded(&mut keepalive(&system, &["system", "status", "--json"]));
    assert_eq!(
        status.matches(r#""up_to_date":true,"served":true"#).count(),
        2,
        "{status}"
    );
    let again = succeeded(&mut keepalive(&system, &["system", "enable"]));
    assert!(again.contains("active already"), "{again}");

    succeeded(&mut keepalive(&system, &["system", "disable"]));
    assert_eq!(both(&system), [KERNEL_DEFAULTS, KERNEL_DEFAULTS]);
    assert!(!system.exists(FILE));
    assert!(
        !system.keepalive_files().contains(&COPY.to_owned()),
        "{:?}",
        system.keepalive_files()
    );
}

/// The same for a root directory whose package has the libraries, by a command without libraries.
#[test]
fn system_enable_finds_the_libraries_of_another_root() {
    let system = both_libraries!();
    let mut outside = system.host_command(&["enable"]);
    succeeded(outside.env("KEEPALIVE_LIBRARY", "/nowhere/libkeepalive.so"));
    assert_eq!(both(&system), [POLICY_VALUES, POLICY_VALUES]);
    succeeded(&mut system.host_command(&["status"]));
    succeeded(&mut system.host_command(&["disable"]));
    assert_eq!(both(&system), [KERNEL_DEFAULTS, KERNEL_DEFAULTS]);
}

#[test]
fn system_enable_with_setuid_serves_32_bit_set_user_id_programs() {
    let system = both_libraries!();
    for program in ["/sockets", "/sockets32"] {
        let program = system.root.outside(Path::new(program));
        fs::set_permissions(program, Permissions::from_mode(0o4755)).expect("a file of the test");
    }
    let user = |system: &TestSystem| {
        let mut command = Command::new("chroot");
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(POLICY);
        command
            .arg("--userspec=65534:65534")
            .arg(system.root.path())
            .args(["/bin/sh", "-c", BOTH]);
        values(&mut command)
    };
    succeeded(&mut keepalive(&system, &["system", "enable"]));
    assert_eq!(user(&system), [KERNEL_DEFAULTS, KERNEL_DEFAULTS]);
    succeeded(&mut keepalive(&system, &["system", "enable", "--setuid"]));
    assert_eq!(user(&system), [POLICY_VALUES, POLICY_VALUES]);
    assert_eq!(system.mode(&format!("{I386}/{COPY}")), 0o4644);
    succeeded(&mut keepalive(&system, &["system", "disable"]));
    assert_eq!(user(&system), [KERNEL_DEFAULTS, KERNEL_DEFAULTS]);
}

#[test]
fn run_serves_children_of_both_kinds() {
    let system = both_libraries!();
    for words in [
        &["/bin/sh", "-c", BOTH][..],
        &["--engine", "preload", "/bin/sh", "-c", BOTH],
    ] {
        let words = [&["run"], words].concat();
        assert_eq!(
            values(&mut keepalive(&system, &words)),
            [POLICY_VALUES, POLICY_VALUES],
            "{words:?}"
        );
    }
    let shown = succeeded(&mut keepalive(
        &system,
        &["run", "--engine", "preload", "/bin/sh", "-c", "echo $LD_PRELOAD"],
    ));
    assert_eq!(shown.trim_end(), NAME);
    // A 32-bit program loads the library too, and needs no supervisor.
    let run = keepalive(&system, &["run", "-v", "/sockets32", "tcp", "show"])
        .output()
        .expect("it starts");
    let (printed, errors) = (text(&run.stdout), text(&run.stderr));
    assert!(printed.trim_end().ends_with(POLICY_VALUES), "{printed}");
    assert!(errors.contains("engine preload"), "{errors}");
}

/// musl's loader takes `$LIB` literally.
#[test]
fn run_serves_children_of_musl_where_32_bit_programs_can_run() {
    let system = both_libraries!();
    if let Err(why) = add_musl(&system) {
        skip!("{why}");
    }
    let script = "/musl tcp show; /sockets tcp show; /sockets32 tcp show";
    let words = ["run", "--engine", "preload", "/bin/sh", "-c", script];
    assert_eq!(
        values(&mut keepalive(&system, &words)),
        [POLICY_VALUES, POLICY_VALUES, POLICY_VALUES]
    );
}

/// Enables keepalive for a new unit, some.service.
fn enable_unit(system: &TestSystem) -> Output {
    system.root.write(
        "/etc/systemd/system/some.service",
        "[Service]\nExecStart=/bin/sh -c :\n",
    );
    keepalive(system, &["unit", "enable", "some"])
        .output()
        .expect("it starts")
}

#[test]
fn unit_enable_names_both_libraries() {
    let system = both_libraries!();
    let output = enable_unit(&system);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let drop_in = system.read("/etc/systemd/system/some.service.d/50-keepalive.conf");
    assert!(
        drop_in.contains(&format!("Environment=\"LD_PRELOAD={NAME}\"")),
        "{drop_in}"
    );
    assert!(!text(&output.stderr).contains("32-bit"), "{}", text(&output.stderr));
}

/// The machine has 32-bit programs, and no library for them.
#[test]
fn missing_library_is_named() {
    let system = both_libraries!();
    fs::remove_dir_all(system.root.outside(Path::new("/usr/lib/keepalive"))).expect("it was installed");
    let refusal = failed(&mut keepalive(&system, &["system", "enable"]));
    assert!(refusal.contains("there are 32-bit x86 programs too"), "{refusal}");
    let output = enable_unit(&system);
    let errors = text(&output.stderr);
    assert!(errors.contains("no library for 32-bit x86 programs"), "{errors}");
    let doctor = keepalive(&system, &["doctor"]).output().expect("it starts");
    assert!(
        text(&doctor.stdout).contains("no library for 32-bit x86 programs"),
        "{doctor:?}"
    );
}

/// gcc-multilib installs the loader of x32, which few kernels run; this test uses another architecture's.
#[test]
fn loader_that_the_kernel_does_not_run_is_ignored() {
    const FOREIGN: &str = "/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1";
    let system = both_libraries!();
    if !Path::new(FOREIGN).exists() {
        skip!("there is no {FOREIGN}");
    }
    let loader = Path::new("/libx32/ld-linux-x32.so.2");
    system.root.install(Path::new(FOREIGN), loader, 0o755);
    if Command::new(FOREIGN).output().is_ok() {
        skip!("this machine runs programs for aarch64, by an emulator");
    }
    let script = "echo $LD_PRELOAD";
    let run = keepalive(&system, &["run", "-v", "/bin/sh", "-c", script])
        .output()
        .expect("it starts");
    assert!(text(&run.stderr).contains("engine preload and seccomp:"), "{run:?}");
    assert_eq!(text(&run.stdout).trim_end(), NAME);
    succeeded(&mut keepalive(&system, &["system", "enable"]));
    assert_eq!(both(&system), [POLICY_VALUES, POLICY_VALUES]);
}

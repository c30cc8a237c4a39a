//! A system on which a package has put the libraries of both kinds of programs (`make install LIBRARY32=FILE`): each
//! command serves 64-bit and 32-bit programs alike.

use super::kinds::{I386, add_i386, add_musl, i386_library};
use super::stage::{COPY, FILE, Stage, failed, succeeded};
use crate::support::process::text;
use crate::support::target::{POLICY, TREATED, UNTOUCHED, bare};
use crate::support::{find_program, library, released_keepalive, repository};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// Prints the values of both kinds of programs.
const BOTH: &str = "/sockets tcp show; /sockets32 tcp show";
/// The name that a package's libraries have in LD_PRELOAD.
const NAME: &str = "/usr/lib/keepalive/$LIB/libkeepalive.so";

/// Installs the command, and the libraries for both kinds of programs; or says why not.
fn install(stage: &Stage) -> Result<(), String> {
    let i386 = i386_library()?;
    if find_program("unshare").is_none() {
        return Err("unshare is not installed".to_owned());
    }
    for mount in ["proc", "dev"] {
        fs::create_dir(stage.root.path().join(mount)).expect("a directory of ours");
    }
    let variable = |name: &str, value: &Path| format!("{name}={}", value.display());
    let output = Command::new("make")
        .args(["--no-print-directory", "--silent", "install", "PREFIX=/usr"])
        .arg(variable("DESTDIR", stage.root.path()))
        .arg(variable("LIBDIR", &stage.directory))
        .arg(variable("COMMAND", &released_keepalive()))
        .arg(variable("LIBRARY", &library()))
        .arg(variable("LIBRARY32", &i386))
        .current_dir(repository())
        .output()
        .expect("make starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    add_i386(stage);
    Ok(())
}

/// A command there that finds the libraries by itself, by /proc.
fn keepalive(stage: &Stage, words: &[&str]) -> Command {
    const MOUNTED: &str = "mount -t proc proc \"$1/proc\" && mount --rbind /dev \"$1/dev\" && exec chroot \"$@\"";
    let mut command = bare(&find_program("unshare").expect("it was asked for"));
    command
        .args(["--mount", "/bin/sh", "-c", MOUNTED, "sh"])
        .arg(stage.root.path())
        .arg("/usr/bin/keepalive")
        .args(words)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(POLICY);
    command
}

/// What new sockets have in both kinds of programs, which must print nothing else.
#[track_caller]
fn values(command: &mut Command) -> Vec<String> {
    let printed = succeeded(command);
    let values = printed
        .lines()
        .map(|line| line.split_once(": ").expect("a name and values").1);
    values.map(str::to_owned).collect()
}

#[track_caller]
fn both(stage: &Stage) -> Vec<String> {
    values(stage.program("/bin/sh", &["-c", BOTH]).envs(POLICY))
}

/// A system with both libraries; skips a test where there can be none.
macro_rules! both_libraries {
    () => {{
        let stage = system!();
        if let Err(why) = install(&stage) {
            skip!("{why}");
        }
        stage
    }};
}

#[test]
fn system_enable_serves_64_bit_and_32_bit_programs() {
    let stage = both_libraries!();
    let told = succeeded(&mut keepalive(&stage, &["system", "enable"]));
    assert_eq!(told.matches("a program starts silently with it").count(), 2, "{told}");
    assert_eq!(stage.read(FILE), format!("/usr/$LIB/{COPY}\n"));
    assert_eq!(both(&stage), [TREATED, TREATED]);
    let status = succeeded(&mut keepalive(&stage, &["system", "status", "--json"]));
    assert_eq!(
        status.matches(r#""up_to_date":true,"served":true"#).count(),
        2,
        "{status}"
    );
    let again = succeeded(&mut keepalive(&stage, &["system", "enable"]));
    assert!(again.contains("active already"), "{again}");

    succeeded(&mut keepalive(&stage, &["system", "disable"]));
    assert_eq!(both(&stage), [UNTOUCHED, UNTOUCHED]);
    assert!(!stage.exists(FILE));
    assert!(!stage.ours().contains(&COPY.to_owned()), "{:?}", stage.ours());
}

/// The same for a root directory whose package has the libraries, by a command that has none itself.
#[test]
fn system_enable_finds_the_libraries_of_another_root() {
    let stage = both_libraries!();
    let mut outside = stage.outside(&["enable"]);
    succeeded(outside.env("KEEPALIVE_LIBRARY", "/nowhere/libkeepalive.so"));
    assert_eq!(both(&stage), [TREATED, TREATED]);
    succeeded(&mut stage.outside(&["status"]));
    succeeded(&mut stage.outside(&["disable"]));
    assert_eq!(both(&stage), [UNTOUCHED, UNTOUCHED]);
}

#[test]
fn system_enable_with_setuid_serves_32_bit_set_user_id_programs() {
    let stage = both_libraries!();
    for program in ["/sockets", "/sockets32"] {
        let program = stage.root.outside(Path::new(program));
        fs::set_permissions(program, Permissions::from_mode(0o4755)).expect("a file of ours");
    }
    let user = |stage: &Stage| {
        let mut command = Command::new("chroot");
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(POLICY);
        command
            .arg("--userspec=65534:65534")
            .arg(stage.root.path())
            .args(["/bin/sh", "-c", BOTH]);
        values(&mut command)
    };
    succeeded(&mut keepalive(&stage, &["system", "enable"]));
    assert_eq!(user(&stage), [UNTOUCHED, UNTOUCHED]);
    succeeded(&mut keepalive(&stage, &["system", "enable", "--setuid"]));
    assert_eq!(user(&stage), [TREATED, TREATED]);
    assert_eq!(stage.mode(&format!("{I386}/{COPY}")), 0o4644);
    succeeded(&mut keepalive(&stage, &["system", "disable"]));
    assert_eq!(user(&stage), [UNTOUCHED, UNTOUCHED]);
}

#[test]
fn run_serves_children_of_both_kinds() {
    let stage = both_libraries!();
    for words in [
        &["/bin/sh", "-c", BOTH][..],
        &["--engine", "preload", "/bin/sh", "-c", BOTH],
    ] {
        let words = [&["run"], words].concat();
        assert_eq!(values(&mut keepalive(&stage, &words)), [TREATED, TREATED], "{words:?}");
    }
    let shown = succeeded(&mut keepalive(
        &stage,
        &["run", "--engine", "preload", "/bin/sh", "-c", "echo $LD_PRELOAD"],
    ));
    assert_eq!(shown.trim_end(), NAME);
    // A 32-bit program gets the library too, and no supervisor is needed for it.
    let run = keepalive(&stage, &["run", "-v", "/sockets32", "tcp", "show"])
        .output()
        .expect("it starts");
    let (printed, errors) = (text(&run.stdout), text(&run.stderr));
    assert!(printed.trim_end().ends_with(TREATED), "{printed}");
    assert!(errors.contains("engine preload"), "{errors}");
}

/// musl's loader takes `$LIB` for a name.
#[test]
fn run_serves_children_of_musl_where_32_bit_programs_can_run() {
    let stage = both_libraries!();
    if let Err(why) = add_musl(&stage) {
        skip!("{why}");
    }
    let script = "/musl tcp show; /sockets tcp show; /sockets32 tcp show";
    let words = ["run", "--engine", "preload", "/bin/sh", "-c", script];
    assert_eq!(values(&mut keepalive(&stage, &words)), [TREATED, TREATED, TREATED]);
}

/// Enables keepalive for a new unit, some.service.
fn enable_unit(stage: &Stage) -> Output {
    stage.root.write(
        "/etc/systemd/system/some.service",
        "[Service]\nExecStart=/bin/sh -c :\n",
    );
    keepalive(stage, &["unit", "enable", "some"])
        .output()
        .expect("it starts")
}

#[test]
fn unit_enable_names_both_libraries() {
    let stage = both_libraries!();
    let output = enable_unit(&stage);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let drop_in = stage.read("/etc/systemd/system/some.service.d/50-keepalive.conf");
    assert!(
        drop_in.contains(&format!("Environment=\"LD_PRELOAD={NAME}\"")),
        "{drop_in}"
    );
    assert!(!text(&output.stderr).contains("32-bit"), "{}", text(&output.stderr));
}

/// Where the machine has 32-bit programs, and no library for them.
#[test]
fn what_is_missing_is_named() {
    let stage = both_libraries!();
    fs::remove_dir_all(stage.root.outside(Path::new("/usr/lib/keepalive"))).expect("it was installed");
    let refusal = failed(&mut keepalive(&stage, &["system", "enable"]));
    assert!(refusal.contains("there are 32-bit x86 programs too"), "{refusal}");
    let output = enable_unit(&stage);
    let errors = text(&output.stderr);
    assert!(errors.contains("no library for 32-bit x86 programs"), "{errors}");
    let doctor = keepalive(&stage, &["doctor"]).output().expect("it starts");
    assert!(
        text(&doctor.stdout).contains("no library for 32-bit x86 programs"),
        "{doctor:?}"
    );
}

/// gcc-multilib brings the loader of x32, which few kernels run; here it is another machine's.
#[test]
fn a_loader_that_the_kernel_does_not_run_changes_nothing() {
    const FOREIGN: &str = "/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1";
    let stage = both_libraries!();
    if !Path::new(FOREIGN).exists() {
        skip!("there is no {FOREIGN}");
    }
    let loader = Path::new("/libx32/ld-linux-x32.so.2");
    stage.root.install(Path::new(FOREIGN), loader, 0o755);
    if Command::new(FOREIGN).output().is_ok() {
        skip!("this machine runs programs for aarch64, by an emulator");
    }
    let script = "echo $LD_PRELOAD";
    let run = keepalive(&stage, &["run", "-v", "/bin/sh", "-c", script])
        .output()
        .expect("it starts");
    assert!(text(&run.stderr).contains("engine preload and seccomp:"), "{run:?}");
    assert_eq!(text(&run.stdout).trim_end(), NAME);
    succeeded(&mut keepalive(&stage, &["system", "enable"]));
    assert_eq!(both(&stage), [TREATED, TREATED]);
}

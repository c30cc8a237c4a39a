//! Systems with several kinds of programs: 64-bit and 32-bit ones, those of musl, and those of another architecture.

use super::test_system::{BACKUP, COPY, FILE, TestSystem, failed, succeeded};
use crate::support::cross::library_for;
use crate::support::process::text;
use crate::support::target::{KERNEL_DEFAULTS, Libc, POLICY, POLICY_VALUES, compile};
use crate::support::{find_program, library};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Debian's cross compiler for i386 has a loader and a C library that run on x86-64.
const I386_LIBC: &str = "/usr/i686-linux-gnu/lib";
const I386_COMPILER: &str = "i686-linux-gnu-gcc";
const AARCH64_LIBC: &str = "/usr/aarch64-linux-gnu/lib";
/// Debian's directory of such libraries.
pub const I386: &str = "/usr/lib/i386-linux-gnu";

/// Returns the library for i386, or why these tests cannot run.
pub fn i386_library() -> Result<PathBuf, String> {
    for needed in [I386_COMPILER, &format!("{I386_LIBC}/ld-linux.so.2")] {
        if find_program(needed).is_none() {
            return Err(format!("{needed} is not installed"));
        }
    }
    library_for("i586-unknown-linux-gnu")
}

/// Adds a 32-bit C library and a 32-bit program to the system.
pub fn add_i386(system: &TestSystem) {
    for file in ["ld-linux.so.2", "libc.so.6"] {
        system
            .root
            .install(&Path::new(I386_LIBC).join(file), &Path::new(I386).join(file), 0o755);
    }
    let loader = system.root.outside(Path::new("/usr/lib/ld-linux.so.2"));
    symlink("i386-linux-gnu/ld-linux.so.2", loader).expect("a link of the test");
    let program = compile(Libc::Cross(I386_COMPILER), "sockets.c", &[]);
    system.root.install(&program, Path::new("/sockets32"), 0o755);
}

/// Returns the options of a new socket in a 32-bit program of the system, which must print no messages.
#[track_caller]
fn socket32(system: &TestSystem) -> String {
    let printed = succeeded(system.program("/sockets32", &["tcp", "show"]).envs(POLICY));
    let (_, values) = printed.trim_end().split_once(": ").expect("a name and values");
    values.to_owned()
}

#[test]
fn enable_is_refused_if_loaders_of_32_bit_programs_would_print_messages() {
    let system = system!();
    if let Err(why) = i386_library() {
        skip!("{why}");
    }
    add_i386(&system);
    let refusal = system.fails(&["enable"]);
    assert!(
        refusal.contains("there are 32-bit x86 programs too (/lib/ld-linux.so.2)"),
        "{refusal}"
    );
    assert!(refusal.contains("name one for 32-bit x86 with --library"), "{refusal}");
    assert_eq!(system.keepalive_files(), [""; 0]);
    assert_eq!(
        (system.socket(), socket32(&system)),
        (KERNEL_DEFAULTS.into(), KERNEL_DEFAULTS.into())
    );
}

#[test]
fn each_architecture_gets_its_own_library() {
    let system = system!();
    let i386 = match i386_library() {
        Ok(library) => library,
        Err(why) => skip!("{why}"),
    };
    add_i386(&system);
    system.root.install(&i386, Path::new("/i386.so"), 0o644);
    let printed = system.succeeds(&["enable", "--library", "/i386.so"]);
    assert_eq!(
        printed.matches("a program starts silently with it").count(),
        2,
        "{printed}"
    );
    assert_eq!(system.read(FILE), format!("/usr/$LIB/{COPY}\n"));
    system.assert_quiet("enabled");
    assert_eq!(
        (system.socket(), socket32(&system)),
        (POLICY_VALUES.into(), POLICY_VALUES.into())
    );
    assert_eq!(system.keepalive_files(), [COPY, COPY, "ld.so.preload"]);
    let shown = system.succeeds(&["status"]);
    assert_eq!(
        shown.matches("served").count(),
        3,
        "twice, and that set-user-ID programs are not: {shown}"
    );

    // The copies exist, so the library need not be named again.
    system.succeeds(&["enable", "--setuid"]);
    system.succeeds(&["disable"]);
    assert_eq!(
        (system.socket(), socket32(&system)),
        (KERNEL_DEFAULTS.into(), KERNEL_DEFAULTS.into())
    );
    assert_eq!(system.keepalive_files(), [""; 0]);
}

/// The library of a distribution's package for this architecture is found.
#[test]
fn packaged_library_of_each_architecture_is_found() {
    let system = system!();
    let i386 = match i386_library() {
        Ok(library) => library,
        Err(why) => skip!("{why}"),
    };
    add_i386(&system);
    system
        .root
        .install(&i386, &Path::new(I386).join("libkeepalive.so"), 0o644);
    system.succeeds(&["enable"]);
    assert_eq!(
        (system.socket(), socket32(&system)),
        (POLICY_VALUES.into(), POLICY_VALUES.into())
    );
    system.succeeds(&["disable"]);
    assert_eq!(system.keepalive_files(), ["libkeepalive.so"]);
}

#[test]
fn later_added_architecture_is_reported_and_can_be_enabled() {
    let system = system!();
    let i386 = match i386_library() {
        Ok(library) => library,
        Err(why) => skip!("{why}"),
    };
    system.root.install(&i386, Path::new("/i386.so"), 0o644);
    system.succeeds(&["enable"]);
    add_i386(&system);
    let output = system.program("/sockets32", &["tcp"]).output().expect("chroot starts");
    assert!(
        text(&output.stderr).contains("wrong ELF class"),
        "what it is about: {output:?}"
    );
    let problem = system.command(&["status"]).output().expect("it starts");
    assert_eq!(problem.status.code(), Some(1));
    let errors = text(&problem.stderr);
    assert!(errors.contains("missing for 32-bit x86"), "{errors}");
    assert!(errors.contains("but it should be '/usr/$LIB/"), "{errors}");

    let printed = system.succeeds(&["enable", "--library", "/i386.so"]);
    assert!(!printed.contains("as before"), "{printed}");
    assert_eq!(socket32(&system), POLICY_VALUES);
    assert_eq!(system.read(FILE), format!("/usr/$LIB/{COPY}\n"));
    assert!(!system.exists(BACKUP), "there was nothing else in the file");
}

#[test]
fn library_for_a_missing_architecture_is_refused() {
    let system = system!();
    let i386 = match i386_library() {
        Ok(library) => library,
        Err(why) => skip!("{why}"),
    };
    system.root.install(&i386, Path::new("/i386.so"), 0o644);
    let refusal = system.fails(&["enable", "--library", "/i386.so"]);
    assert!(
        refusal.contains("it is for 32-bit x86, and no such programs of glibc are here"),
        "{refusal}"
    );
    // If it is the only library, there is none for 64-bit programs.
    let refusal = failed(system.command(&["enable"]).env("KEEPALIVE_LIBRARY", "/i386.so"));
    assert!(refusal.contains("there is no libkeepalive.so for x86-64"), "{refusal}");
    assert_eq!(system.keepalive_files(), [""; 0]);
}

/// Adds musl's loader and a program of musl, or returns why not.
pub fn add_musl(system: &TestSystem) -> Result<(), String> {
    if let Some(why) = Libc::Musl.missing() {
        return Err(why);
    }
    let loader = Path::new("/lib").join(format!("ld-musl-{}.so.1", std::env::consts::ARCH));
    let real = loader
        .canonicalize()
        .map_err(|_| format!("{} is not installed", loader.display()))?;
    system.root.install(&real, &loader, 0o755);
    let program = compile(Libc::Musl, "sockets.c", &[]);
    system.root.install(&program, Path::new("/musl"), 0o755);
    Ok(())
}

/// musl does not read the file; its programs run unchanged and without messages.
#[test]
fn programs_of_musl_are_not_set() {
    let system = system!();
    if let Err(why) = add_musl(&system) {
        skip!("{why}");
    }
    let printed = system.succeeds(&["enable"]);
    assert!(printed.contains("programs of musl"), "{printed}");
    let printed = succeeded(system.program("/musl", &["tcp", "show"]).envs(POLICY));
    assert!(printed.trim_end().ends_with(KERNEL_DEFAULTS), "{printed}");
    let shown = system.succeeds(&["status"]);
    assert!(
        shown.contains("(musl)") && shown.contains("musl's loader does not read the file"),
        "{shown}"
    );
    // With LD_PRELOAD they are set.
    let command = format!("LD_PRELOAD={} exec /musl tcp show", system.copy());
    let printed = succeeded(system.program("/bin/sh", &["-c", &command]).envs(POLICY));
    assert!(printed.trim_end().ends_with(POLICY_VALUES), "{printed}");
}

/// Most kernels do not run the loader of Debian's libc6-x32; this test uses another architecture's.
#[test]
fn enable_ignores_loaders_that_the_kernel_does_not_run() {
    let system = system!();
    if !Path::new(AARCH64_LIBC).join("ld-linux-aarch64.so.1").exists() {
        skip!("there is no C library for aarch64 in {AARCH64_LIBC}");
    }
    let lib = Path::new("/usr/lib/aarch64-linux-gnu");
    for file in ["ld-linux-aarch64.so.1", "libc.so.6"] {
        system
            .root
            .install(&Path::new(AARCH64_LIBC).join(file), &lib.join(file), 0o755);
    }
    let loader = system.root.outside(Path::new("/usr/lib/ld-linux-aarch64.so.1"));
    symlink("aarch64-linux-gnu/ld-linux-aarch64.so.1", loader).expect("a link of the test");
    let runs = system
        .program("/lib/ld-linux-aarch64.so.1", &["/lib/aarch64-linux-gnu/libc.so.6"])
        .output();
    if runs.expect("chroot starts").status.success() {
        skip!("this machine runs programs for aarch64, by an emulator");
    }
    system.succeeds(&["enable"]);
    assert_eq!(system.read(FILE), format!("{}\n", system.copy()));
    let shown = system.succeeds(&["status"]);
    assert!(shown.contains("64-bit ARM (glibc)  not run here"), "{shown}");
    // An image may run on another kernel.
    let refusal = failed(&mut system.host_command(&["enable"]));
    assert!(refusal.contains("there are 64-bit ARM programs too"), "{refusal}");
}

/// An image for another architecture is changed by reading its files.
#[test]
fn image_for_another_architecture_is_changed() {
    if !Path::new(AARCH64_LIBC).join("ld-linux-aarch64.so.1").exists() {
        skip!("there is no C library for aarch64 in {AARCH64_LIBC}");
    }
    let aarch64 = match library_for("aarch64-unknown-linux-gnu") {
        Ok(library) => library,
        Err(why) => skip!("{why}"),
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let lib = directory.path().join("usr/lib/aarch64-linux-gnu");
    for made in [&lib, &directory.path().join("etc")] {
        fs::create_dir_all(made).expect("a directory of the test");
    }
    for file in ["ld-linux-aarch64.so.1", "libc.so.6"] {
        fs::copy(Path::new(AARCH64_LIBC).join(file), lib.join(file)).expect("a file of the test");
    }
    symlink("usr/lib", directory.path().join("lib")).expect("a link of the test");
    symlink(
        "aarch64-linux-gnu/ld-linux-aarch64.so.1",
        lib.join("../ld-linux-aarch64.so.1"),
    )
    .expect("a link of the test");

    let keepalive_system = |words: &[&str]| {
        let mut command = std::process::Command::new(crate::support::released_keepalive());
        command.arg("system").args(words).arg("--root").arg(directory.path());
        command.env("KEEPALIVE_LIBRARY", library());
        command
    };
    let refusal = failed(&mut keepalive_system(&["enable"]));
    assert!(refusal.contains("no libkeepalive.so for 64-bit ARM"), "{refusal}");
    let printed = succeeded(keepalive_system(&["enable"]).arg("--library").arg(&aarch64));
    // A registered emulator may run the programs.
    let expected = [
        "NOT tried: this machine does not run such programs",
        "a program starts silently",
    ];
    assert!(expected.iter().any(|expected| printed.contains(expected)), "{printed}");
    let line = fs::read_to_string(directory.path().join("etc/ld.so.preload")).expect("it is there");
    assert_eq!(line, format!("/usr/lib/aarch64-linux-gnu/{COPY}\n"));
    succeeded(&mut keepalive_system(&["status"]));
    succeeded(&mut keepalive_system(&["disable"]));
    assert!(!directory.path().join("etc/ld.so.preload").exists());
    assert!(!lib.join(COPY).exists());
}

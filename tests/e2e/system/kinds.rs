//! Systems with several kinds of programs: 64-bit and 32-bit ones, those of musl, and those of another machine.

use super::stage::{BACKUP, COPY, FILE, Stage, failed, succeeded};
use crate::support::cross::library_for;
use crate::support::process::text;
use crate::support::target::{Libc, POLICY, TREATED, UNTOUCHED, compile};
use crate::support::{find_program, library};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Debian's cross compiler for i386 brings a loader and a C library that run here.
const I386_LIBC: &str = "/usr/i686-linux-gnu/lib";
const I386_COMPILER: &str = "i686-linux-gnu-gcc";
const AARCH64_LIBC: &str = "/usr/aarch64-linux-gnu/lib";
/// Where Debian has them on a system that is meant to run such programs.
pub const I386: &str = "/usr/lib/i386-linux-gnu";

/// The library for i386, or why these tests cannot run.
pub fn i386_library() -> Result<PathBuf, String> {
    for needed in [I386_COMPILER, &format!("{I386_LIBC}/ld-linux.so.2")] {
        if find_program(needed).is_none() {
            return Err(format!("{needed} is not installed"));
        }
    }
    library_for("i586-unknown-linux-gnu")
}

/// Adds a 32-bit C library and a 32-bit program.
pub fn add_i386(stage: &Stage) {
    for file in ["ld-linux.so.2", "libc.so.6"] {
        stage
            .root
            .install(&Path::new(I386_LIBC).join(file), &Path::new(I386).join(file), 0o755);
    }
    let loader = stage.root.outside(Path::new("/usr/lib/ld-linux.so.2"));
    symlink("i386-linux-gnu/ld-linux.so.2", loader).expect("a link of ours");
    let program = compile(Libc::Cross(I386_COMPILER), "sockets.c", &[]);
    stage.root.install(&program, Path::new("/sockets32"), 0o755);
}

/// What a new socket has in a 32-bit program there, which must say nothing else.
#[track_caller]
fn socket32(stage: &Stage) -> String {
    let printed = succeeded(stage.program("/sockets32", &["tcp", "show"]).envs(POLICY));
    let (_, values) = printed.trim_end().split_once(": ").expect("a name and values");
    values.to_owned()
}

#[test]
fn programs_that_would_complain_are_a_reason_to_refuse() {
    let stage = system!();
    if let Err(why) = i386_library() {
        skip!("{why}");
    }
    add_i386(&stage);
    let refusal = stage.refuses(&["enable"]);
    assert!(
        refusal.contains("there are 32-bit x86 programs too (/lib/ld-linux.so.2)"),
        "{refusal}"
    );
    assert!(refusal.contains("name one for 32-bit x86 with --library"), "{refusal}");
    assert_eq!(stage.ours(), [""; 0]);
    assert_eq!((stage.socket(), socket32(&stage)), (UNTOUCHED.into(), UNTOUCHED.into()));
}

#[test]
fn each_kind_gets_its_own_library() {
    let stage = system!();
    let i386 = match i386_library() {
        Ok(library) => library,
        Err(why) => skip!("{why}"),
    };
    add_i386(&stage);
    stage.root.install(&i386, Path::new("/i386.so"), 0o644);
    let told = stage.does(&["enable", "--library", "/i386.so"]);
    assert_eq!(told.matches("a program starts silently with it").count(), 2, "{told}");
    assert_eq!(stage.read(FILE), format!("/usr/$LIB/{COPY}\n"));
    stage.assert_quiet("enabled");
    assert_eq!((stage.socket(), socket32(&stage)), (TREATED.into(), TREATED.into()));
    assert_eq!(stage.ours(), [COPY, COPY, "ld.so.preload"]);
    let shown = stage.does(&["status"]);
    assert_eq!(
        shown.matches("served").count(),
        3,
        "twice, and that set-user-ID programs are not: {shown}"
    );

    // The copies are there: nobody has to name the library again.
    stage.does(&["enable", "--setuid"]);
    stage.does(&["disable"]);
    assert_eq!((stage.socket(), socket32(&stage)), (UNTOUCHED.into(), UNTOUCHED.into()));
    assert_eq!(stage.ours(), [""; 0]);
}

/// A package's library for that kind, where the distribution has it, is found.
#[test]
fn a_packaged_library_of_each_kind_is_found() {
    let stage = system!();
    let i386 = match i386_library() {
        Ok(library) => library,
        Err(why) => skip!("{why}"),
    };
    add_i386(&stage);
    stage
        .root
        .install(&i386, &Path::new(I386).join("libkeepalive.so"), 0o644);
    stage.does(&["enable"]);
    assert_eq!((stage.socket(), socket32(&stage)), (TREATED.into(), TREATED.into()));
    stage.does(&["disable"]);
    assert_eq!(stage.ours(), ["libkeepalive.so"]);
}

#[test]
fn a_kind_that_comes_later_is_noticed_and_put_right() {
    let stage = system!();
    let i386 = match i386_library() {
        Ok(library) => library,
        Err(why) => skip!("{why}"),
    };
    stage.root.install(&i386, Path::new("/i386.so"), 0o644);
    stage.does(&["enable"]);
    add_i386(&stage);
    let output = stage.program("/sockets32", &["tcp"]).output().expect("chroot starts");
    assert!(
        text(&output.stderr).contains("wrong ELF class"),
        "what it is about: {output:?}"
    );
    let problem = stage.system(&["status"]).output().expect("it starts");
    assert_eq!(problem.status.code(), Some(1));
    let errors = text(&problem.stderr);
    assert!(errors.contains("missing for 32-bit x86"), "{errors}");
    assert!(errors.contains("but it should be '/usr/$LIB/"), "{errors}");

    let told = stage.does(&["enable", "--library", "/i386.so"]);
    assert!(!told.contains("as before"), "{told}");
    assert_eq!(socket32(&stage), TREATED);
    assert_eq!(stage.read(FILE), format!("/usr/$LIB/{COPY}\n"));
    assert!(!stage.exists(BACKUP), "there was nothing else in the file");
}

#[test]
fn a_library_for_programs_that_are_not_here_is_refused() {
    let stage = system!();
    let i386 = match i386_library() {
        Ok(library) => library,
        Err(why) => skip!("{why}"),
    };
    stage.root.install(&i386, Path::new("/i386.so"), 0o644);
    let refusal = stage.refuses(&["enable", "--library", "/i386.so"]);
    assert!(
        refusal.contains("it is for 32-bit x86, and no such programs of glibc are here"),
        "{refusal}"
    );
    // And where it is the only one, 64-bit programs have none.
    let refusal = failed(stage.system(&["enable"]).env("KEEPALIVE_LIBRARY", "/i386.so"));
    assert!(refusal.contains("there is no libkeepalive.so for x86-64"), "{refusal}");
    assert_eq!(stage.ours(), [""; 0]);
}

/// Adds musl's loader and a program of musl, or returns why not.
pub fn add_musl(stage: &Stage) -> Result<(), String> {
    if let Some(why) = Libc::Musl.missing() {
        return Err(why);
    }
    let loader = Path::new("/lib").join(format!("ld-musl-{}.so.1", std::env::consts::ARCH));
    let real = loader
        .canonicalize()
        .map_err(|_| format!("{} is not installed", loader.display()))?;
    stage.root.install(&real, &loader, 0o755);
    let program = compile(Libc::Musl, "sockets.c", &[]);
    stage.root.install(&program, Path::new("/musl"), 0o755);
    Ok(())
}

/// musl does not read the file; its programs go on as they are, and silently.
#[test]
fn programs_of_musl_are_not_reached() {
    let stage = system!();
    if let Err(why) = add_musl(&stage) {
        skip!("{why}");
    }
    let told = stage.does(&["enable"]);
    assert!(told.contains("programs of musl"), "{told}");
    let printed = succeeded(stage.program("/musl", &["tcp", "show"]).envs(POLICY));
    assert!(printed.trim_end().ends_with(UNTOUCHED), "{printed}");
    let shown = stage.does(&["status"]);
    assert!(
        shown.contains("(musl)") && shown.contains("musl's loader does not read the file"),
        "{shown}"
    );
    // Under LD_PRELOAD they are.
    let command = format!("LD_PRELOAD={} exec /musl tcp show", stage.copy());
    let printed = succeeded(stage.program("/bin/sh", &["-c", &command]).envs(POLICY));
    assert!(printed.trim_end().ends_with(TREATED), "{printed}");
}

/// Debian's libc6-x32 is of that sort on most kernels; here it is another machine's.
#[test]
fn a_kind_that_the_kernel_does_not_run_is_no_reason_to_refuse() {
    let stage = system!();
    if !Path::new(AARCH64_LIBC).join("ld-linux-aarch64.so.1").exists() {
        skip!("there is no C library for aarch64 in {AARCH64_LIBC}");
    }
    let lib = Path::new("/usr/lib/aarch64-linux-gnu");
    for file in ["ld-linux-aarch64.so.1", "libc.so.6"] {
        stage
            .root
            .install(&Path::new(AARCH64_LIBC).join(file), &lib.join(file), 0o755);
    }
    let loader = stage.root.outside(Path::new("/usr/lib/ld-linux-aarch64.so.1"));
    symlink("aarch64-linux-gnu/ld-linux-aarch64.so.1", loader).expect("a link of ours");
    let runs = stage
        .program("/lib/ld-linux-aarch64.so.1", &["/lib/aarch64-linux-gnu/libc.so.6"])
        .output();
    if runs.expect("chroot starts").status.success() {
        skip!("this machine runs programs for aarch64, by an emulator");
    }
    stage.does(&["enable"]);
    assert_eq!(stage.read(FILE), format!("{}\n", stage.copy()));
    let shown = stage.does(&["status"]);
    assert!(shown.contains("64-bit ARM (glibc)  not run here"), "{shown}");
    // An image may run elsewhere.
    let refusal = failed(&mut stage.outside(&["enable"]));
    assert!(refusal.contains("there are 64-bit ARM programs too"), "{refusal}");
}

/// An image for another machine is changed by reading its files.
#[test]
fn an_image_for_another_machine_is_changed_too() {
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
        fs::create_dir_all(made).expect("a directory of ours");
    }
    for file in ["ld-linux-aarch64.so.1", "libc.so.6"] {
        fs::copy(Path::new(AARCH64_LIBC).join(file), lib.join(file)).expect("a file of ours");
    }
    symlink("usr/lib", directory.path().join("lib")).expect("a link of ours");
    symlink(
        "aarch64-linux-gnu/ld-linux-aarch64.so.1",
        lib.join("../ld-linux-aarch64.so.1"),
    )
    .expect("a link of ours");

    let system = |words: &[&str]| {
        let mut command = std::process::Command::new(crate::support::released_keepalive());
        command.arg("system").args(words).arg("--root").arg(directory.path());
        command.env("KEEPALIVE_LIBRARY", library());
        command
    };
    let refusal = failed(&mut system(&["enable"]));
    assert!(refusal.contains("no libkeepalive.so for 64-bit ARM"), "{refusal}");
    let told = succeeded(system(&["enable"]).arg("--library").arg(&aarch64));
    // An emulator that is registered with the kernel may run them after all.
    let expected = [
        "NOT tried: this machine does not run such programs",
        "a program starts silently",
    ];
    assert!(expected.iter().any(|expected| told.contains(expected)), "{told}");
    let line = fs::read_to_string(directory.path().join("etc/ld.so.preload")).expect("it is there");
    assert_eq!(line, format!("/usr/lib/aarch64-linux-gnu/{COPY}\n"));
    succeeded(&mut system(&["status"]));
    succeeded(&mut system(&["disable"]));
    assert!(!directory.path().join("etc/ld.so.preload").exists());
    assert!(!lib.join(COPY).exists());
}

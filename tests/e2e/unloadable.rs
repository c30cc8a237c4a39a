//! Programs that inherit LD_PRELOAD and cannot load the library, or do not start with it.

use crate::support::cross::library_for;
use crate::support::process::{LIMIT, install, output_within, text};
use crate::support::target::{Libc, POLICY, compile, no_config};
use crate::support::{find_program, keepalive, library};
use keepalive_sys::elf;
use std::env;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const I386: Libc = Libc::Cross("i686-linux-gnu-gcc");
/// The directory of the i386 C library in Debian's cross compiler.
const I386_DIRECTORY: &str = "/usr/i686-linux-gnu/lib";

/// Returns a command of keepalive with only the policy in the environment.
fn command(library: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(keepalive());
    command
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("KEEPALIVE_LIBRARY", library)
        .env("KEEPALIVE_CONFIG", no_config())
        .envs(POLICY)
        .args(words);
    command
}

/// Returns what a program prints about its connected socket; standard error must be empty.
#[track_caller]
fn seen(command: &mut Command) -> String {
    let output = output_within(LIMIT, command);
    assert_eq!(
        (output.status.code(), &*text(&output.stderr)),
        (Some(0), ""),
        "{command:?}"
    );
    text(&output.stdout).trim_end().to_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// Compiles a program with AddressSanitizer's runtime as a library; skips a test where that is impossible.
macro_rules! sanitized {
    () => {{
        if find_program("cc").is_none() {
            skip!("cc is not installed");
        }
        compile(
            Libc::Host,
            "sockets.c",
            &["-fsanitize=address", "-fno-sanitize=leak", "-pthread"],
        )
    }};
}

/// The target connects, and prints the options of its socket.
const WORDS: [&str; 3] = ["tcp", "connect", "show"];
/// Its output with the policy.
const SEEN: &str = "connect: 0\ntcp: 1 61 13 4 0";

#[test]
fn program_with_address_sanitizer_runs_under_the_supervisor() {
    let program = sanitized!();
    let program = path(&program);
    let words = [&["run", "--", program], &WORDS[..]].concat();
    assert_eq!(seen(&mut command(&library(), &words)), SEEN);
    let output = output_within(LIMIT, &mut command(&library(), &["run", "-v", "--", program, "tcp"]));
    let errors = text(&output.stderr);
    let begin = format!(
        "keepalive: engine seccomp: {program} loads AddressSanitizer's runtime, which must be the first library"
    );
    assert!(errors.starts_with(&begin), "{errors}");
    assert_eq!(output.status.code(), Some(0));
    let output = output_within(LIMIT, &mut command(&library(), &["doctor", "--json", "--", program]));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["engine"], "seccomp");
    let findings = report["findings"].as_array().expect("a list");
    let library = findings
        .iter()
        .find(|finding| finding["subject"] == "library")
        .expect("it is there");
    assert_eq!(library["level"], "note");
    assert!(
        library["text"].as_str().expect("text").contains("it would not start"),
        "{library}"
    );
}

#[test]
fn program_with_address_sanitizer_starts_with_the_library_as_a_child_or_on_request() {
    let program = sanitized!();
    let program = path(&program);
    let script = format!("{program} {}; exit $?", WORDS.join(" "));
    for engine in ["auto", "preload", "seccomp"] {
        let words = ["run", "--engine", engine, "--", "sh", "-c", &script];
        assert_eq!(seen(&mut command(&library(), &words)), SEEN, "{engine}");
        let words = [&["run", "--engine", engine, "--", program], &WORDS[..]].concat();
        assert_eq!(seen(&mut command(&library(), &words)), SEEN, "{engine}");
    }
    // The value that the user has set stays.
    let words = ["run", "--engine=preload", "--", "sh", "-c", "echo $ASAN_OPTIONS"];
    let options = seen(command(&library(), &words).env("ASAN_OPTIONS", "detect_leaks=0"));
    assert_eq!(options, "detect_leaks=0:verify_asan_link_order=0");
    let words = [&["run", "-v", "--", program], &WORDS[..]].concat();
    let output = output_within(
        LIMIT,
        command(&library(), &words).env("ASAN_OPTIONS", "verify_asan_link_order=0"),
    );
    assert!(
        text(&output.stderr).starts_with("keepalive: engine preload and seccomp: "),
        "{output:?}"
    );
    assert_eq!(text(&output.stdout).trim_end(), SEEN);
}

/// Runs a command in a shell for which `/etc/ld.so.preload` names the library.
fn with_ld_so_preload(words: &[&str]) -> Command {
    let script = r#"mount -t tmpfs none /mnt && mkdir /mnt/upper /mnt/work &&
        mount -t overlay none -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc &&
        cp "$1" /mnt/keepalive-system.so && echo /mnt/keepalive-system.so > /etc/ld.so.preload && shift && exec "$@""#;
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(library())
        .args(words);
    command
}

#[test]
fn system_status_reports_programs_with_address_sanitizer() {
    root!();
    let program = sanitized!();
    let program = path(&program);
    let run = |words: &[&str]| output_within(LIMIT, &mut with_ld_so_preload(words));
    let output = run(&[program, "tcp", "show"]);
    assert_ne!(output.status.code(), Some(0), "{output:?}");
    assert!(
        text(&output.stderr).contains("ASan runtime does not come first"),
        "{output:?}"
    );
    let option = "ASAN_OPTIONS=verify_asan_link_order=0";
    let output = run(&["env", option, program, "tcp", "show"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let command = keepalive();
    let output = run(&[path(&command), "system", "status"]);
    let shown = text(&output.stdout);
    assert!(
        shown.split_whitespace().collect::<Vec<_>>().join(" ").contains(option),
        "{shown}"
    );
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let output = run(&[path(&command), "system", "status", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(
        report["notes"][0].as_str().is_some_and(|note| note.contains(option)),
        "{report}"
    );
    let output = run(&[path(&command), "doctor", "--json"]);
    assert!(text(&output.stdout).contains(option), "{output:?}");
}

/// As for a program of Nix: glibc's loader at another path.
#[test]
fn loader_at_another_path_loads_the_library() {
    if let Some(why) = Libc::Host.missing() {
        skip!("{why}");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let loader = directory.path().join("ld.so");
    let system = elf::read(Path::new("/bin/sh"))
        .expect("a program")
        .expect("an ELF file");
    fs::copy(system.interpreter.expect("a dynamic program"), &loader).expect("a file of the test");
    let program = with_loader(&directory, &loader);
    let words = [&["run", "--", path(&program)], &WORDS[..]].concat();
    assert_eq!(seen(&mut command(&library(), &words)), SEEN);
    let output = output_within(
        LIMIT,
        &mut command(&library(), &["run", "-v", "--", path(&program), "tcp"]),
    );
    assert!(
        text(&output.stderr).starts_with("keepalive: engine preload and seccomp: "),
        "{output:?}"
    );
}

#[test]
fn run_chooses_the_supervisor_if_the_loader_does_not_read_ld_preload() {
    if let Some(why) = Libc::Host.missing() {
        skip!("{why}");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let loader = compile(Libc::Host, "interpreter.c", &["-static-pie", "-nostdlib"]);
    let program = with_loader(&directory, &loader);
    let output = output_within(LIMIT, &mut command(&library(), &["run", "-v", "--", path(&program)]));
    let reason = format!(
        "{} has the loader {}, which does not read LD_PRELOAD",
        program.display(),
        loader.display()
    );
    let errors = text(&output.stderr);
    // If 32-bit programs run too, only the supervisor is used.
    assert!(
        errors.contains(&reason) && !errors.contains("engine preload:"),
        "{errors}"
    );
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}

/// Compiles the target `sockets` with `loader` as PT_INTERP.
fn with_loader(directory: &TempDir, loader: &Path) -> PathBuf {
    let flag = format!("-Wl,--dynamic-linker={}", loader.display());
    let program = directory.path().join("program");
    install(&compile(Libc::Host, "sockets.c", &[&flag]), &program, 0o755);
    program
}

/// Clang's runtime has another name.
#[test]
fn address_sanitizer_of_clang_is_detected() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = directory.path().join("empty.c");
    fs::write(&source, "int main(void) { return 0; }\n").expect("a file of the test");
    let runtime = directory.path().join("libclang_rt.asan-x86_64.so");
    let program = directory.path().join("program");
    for words in [
        &[
            "-shared",
            "-Dmain=other",
            "-Wl,-soname,libclang_rt.asan-x86_64.so",
            "-o",
            path(&runtime),
        ][..],
        &["-Wl,--no-as-needed", path(&runtime), "-o", path(&program)],
    ] {
        let status = Command::new("cc").arg(&source).args(words).status().expect("cc starts");
        assert!(status.success());
    }
    let output = output_within(
        LIMIT,
        &mut command(&library(), &["doctor", "--json", "--", path(&program)]),
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["engine"], "seccomp", "{report}");
}

/// Returns a dynamic i386 program that runs here.
fn i386_program() -> Result<PathBuf, String> {
    if let Some(why) = I386.missing() {
        return Err(why);
    }
    let loader = format!("-Wl,-dynamic-linker,{I386_DIRECTORY}/ld-linux.so.2");
    let search = format!("-Wl,-rpath,{I386_DIRECTORY}");
    let program = compile(I386, "sockets.c", &["-pthread", loader.leak(), search.leak()]);
    Ok(program)
}

#[test]
fn loader_of_a_32_bit_program_prints_no_message() {
    let program = match i386_program() {
        Ok(program) => program,
        Err(why) => skip!("{why}"),
    };
    let words = [&["run", "--", path(&program)], &WORDS[..]].concat();
    assert_eq!(seen(&mut command(&library(), &words)), SEEN);
    let output = output_within(
        LIMIT,
        &mut command(&library(), &["doctor", "--json", "--", path(&program)]),
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["engine"], "seccomp");
}

/// As distributions install them: `lib/x86_64-linux-gnu` and `lib/i386-linux-gnu`.
#[test]
fn each_program_loads_the_library_for_its_architecture() {
    let program = match i386_program() {
        Ok(program) => program,
        Err(why) => skip!("{why}"),
    };
    let i386 = match library_for("i586-unknown-linux-gnu") {
        Ok(library) => library,
        Err(why) => skip!("{why}"),
    };
    if !fs::read("/lib64/ld-linux-x86-64.so.2").is_ok_and(|loader| {
        let string = b"\0lib/x86_64-linux-gnu\0";
        loader.windows(string.len()).any(|window| window == string)
    }) {
        skip!("the loader has other directories than Debian's");
    }
    let prefix = tempfile::tempdir().expect("a temporary directory");
    let place = |directory: &str| {
        let directory = prefix.path().join("lib").join(directory);
        fs::create_dir_all(&directory).expect("a directory of the test");
        directory.join("libkeepalive.so")
    };
    let (own, other) = (place("x86_64-linux-gnu"), place("i386-linux-gnu"));
    install(&library(), &own, 0o755);
    install(&i386, &other, 0o755);
    let script = format!("{} {}; exit $?", path(&program), WORDS.join(" "));
    for engine in ["preload", "auto"] {
        let words = ["run", "--engine", engine, "--", "sh", "-c", &script];
        assert_eq!(seen(&mut command(&own, &words)), SEEN, "{engine}");
    }
    let preload = seen(&mut command(
        &own,
        &["run", "--engine=preload", "--", "sh", "-c", "echo $LD_PRELOAD"],
    ));
    assert_eq!(preload, format!("{}/$LIB/libkeepalive.so", path(prefix.path())));
}

/// If 32-bit programs can run and there is no library for them, a shell gets only the supervisor.
#[test]
fn shell_that_can_start_32_bit_programs_runs_under_the_supervisor() {
    const PREPARE: &str = "set -e
mount -t tmpfs none $1; mkdir $1/upper $1/work
mount -t overlay -o lowerdir=/usr/lib,upperdir=$1/upper,workdir=$1/work none /usr/lib
ln -sf $2/ld-linux.so.2 /usr/lib/ld-linux.so.2
shift 2
exec \"$@\"";
    root!();
    let program = match i386_program() {
        Ok(program) => program,
        Err(why) => skip!("{why}"),
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = format!("{} {}; exit $?", path(&program), WORDS.join(" "));
    let inside = |words: &[&str]| -> Output {
        let mut outer = Command::new("unshare");
        let inner = command(&library(), &[]);
        outer.env_clear();
        for (name, value) in inner.get_envs() {
            outer.env(name, value.expect("it is set"));
        }
        outer.args([
            "--mount",
            "sh",
            "-c",
            PREPARE,
            "sh",
            path(directory.path()),
            I386_DIRECTORY,
        ]);
        outer.arg0("unshare").arg(keepalive()).args(words);
        output_within(LIMIT, &mut outer)
    };
    let output = inside(&["run", "--", "sh", "-c", &script]);
    assert_eq!(
        (&*text(&output.stdout), &*text(&output.stderr)),
        (&*format!("{SEEN}\n"), "")
    );
    let output = inside(&["run", "-v", "--", "sh", "-c", &script]);
    assert!(
        text(&output.stderr).starts_with("keepalive: engine seccomp: "),
        "{output:?}"
    );
}

//! Which file a command names, and the exit status where there is none that can be started: as env(1) has it, which asks
//! execvp(3).

use super::{executable, run};
use crate::support::find_program;
use crate::support::process::{LIMIT, output_within, text};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// Files of every kind that a command can name.
fn fill(directory: &Path) {
    let at = |name: &str| directory.join(name);
    for name in ["directory", "bin", "bin/both", "second"] {
        fs::create_dir(at(name)).expect("a directory");
    }
    symlink("circle", at("circle")).expect("a link");
    symlink("nowhere", at("dangling")).expect("a link");
    for name in ["text", "bin/plain"] {
        fs::write(at(name), "").expect("a file");
    }
    executable(&at("second"), "both", "#!/bin/sh\nexit 9\n");
    executable(directory, "program", "#!/bin/sh\nexit 8\n");
    executable(directory, "lost", "#!/no/such/interpreter\n");
    executable(directory, "to-directory", &format!("#!{}\n", at("directory").display()));
    executable(directory, "to-circle", &format!("#!{}\n", at("circle").display()));
}

#[test]
fn the_exit_status_is_that_of_env() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fill(directory.path());
    let long = "x".repeat(256);
    let too_long = format!("/{long}");
    let names = [
        "",
        ".",
        "..",
        "/",
        "./",
        "directory",
        "./directory",
        "./directory/",
        "./program",
        "./program/",
        "program/",
        "program",
        "./circle",
        "./circle/x",
        "./dangling",
        "./text",
        "./text/x",
        "./lost",
        "./to-directory",
        "./to-circle",
        "both",
        "plain",
        "no-such",
        " ",
        "\n",
        &long,
    ];
    let searches = [
        "/bin:/usr/bin",
        "",
        ":",
        "/nowhere",
        "text",
        "text:/bin",
        "/bin:text",
        "circle",
        "circle:/bin",
        "bin:second",
        "bin",
        "second::bin",
        "/nowhere:",
        &too_long,
    ];
    // The command itself is not to be searched for.
    let env = find_program("env").expect("one of coreutils");
    let status = |command: &mut Command, search: &str, name: &str| {
        let command = command
            .arg("--")
            .arg(name)
            .env("PATH", search)
            .current_dir(directory.path());
        let output = output_within(LIMIT, command);
        (output.status.code(), text(&output.stderr))
    };
    for search in searches {
        for name in names {
            let (expected, _) = status(&mut Command::new(&env), search, name);
            let (actual, message) = status(&mut run(), search, name);
            assert_eq!(actual, expected, "'{name}' in '{search}': {message}");
            assert!(!message.contains("os error"), "{message}");
        }
    }
    for engine in ["preload", "seccomp"] {
        let (actual, message) = status(run().args(["--engine", engine]), "/bin:/usr/bin", "");
        assert_eq!(
            (actual, &*message),
            (Some(127), "keepalive: cannot run '': no such program\n")
        );
    }
}

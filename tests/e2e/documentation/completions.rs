//! What bash, fish and zsh complete.

use crate::support::process::{install, output_within, text};
use crate::support::{find_program, repository};
use std::fs;
use std::path::Path;
use std::process::{Command, id};
use std::time::Duration;
use tempfile::TempDir;

/// A command line, of which the last word is completed; some of the completions that there are; some that there are not.
type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str]);

const CASES: [Case<'_>; 20] = [
    (
        &[""],
        &["run", "attach", "cgroup", "check", "presets"],
        &["enable", "keepalive.conf"],
    ),
    (&["c"], &["cgroup", "check"], &["run"]),
    (&["cgroup", ""], &["enable", "disable", "status"], &["run"]),
    (&["cgroup", "status", "--"], &["--json", "--help"], &["--mode"]),
    (
        &["run", "--i"],
        &["--idle", "--in-place", "--interval", "--io-uring"],
        &["--mode"],
    ),
    (
        &["run", "--mode", ""],
        &["fill", "cap", "floor", "enforce"],
        &["keepalive.conf"],
    ),
    (&["run", "--idle", "9", "--mode", "f"], &["fill", "floor"], &["cap"]),
    (
        &["run", "--preset", "aws-n"],
        &["aws-nat", "aws-nlb"],
        &["azure", "aws-elb"],
    ),
    (&["run", "--engine", ""], &["auto", "preload", "seccomp", "cgroup"], &[]),
    (&["attach", "--mode", "e"], &["enforce"], &["fill"]),
    (&["explain", "--for", ""], &["connect", "accept"], &["keepalive.conf"]),
    (&["check", "keep"], &["keepalive.conf"], &["run"]),
    (&["run", "--config", "keep"], &["keepalive.conf"], &[]),
    (&["run", "stand-"], &["stand-in"], &["keepalive.conf"]),
    (&["run", "--idle", "9", "--", "stand-"], &["stand-in"], &[]),
    // The command's own completion, and no option of ours.
    (&["run", "stand-in", ""], &["alpha", "beta"], &["keepalive.conf"]),
    (
        &["run", "--preset", "azure", "--", "stand-in", "a"],
        &["alpha"],
        &["beta"],
    ),
    (&["run", "--", "stand-in", "a"], &["alpha"], &["beta"]),
    (&["run", "--", "stand-in", "--"], &[], &["--mode", "--idle"]),
    (&["doctor", "stand-in", "b"], &["beta"], &["alpha"]),
];

/// A directory with a file, and a program that no other has, in PATH.
fn room() -> TempDir {
    let room = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, content: &str| fs::write(room.path().join(name), content).expect("a file");
    write("keepalive.conf", "");
    write("program", "#!/bin/sh\n");
    fs::create_dir(room.path().join("bin")).expect("a directory");
    install(&room.path().join("program"), &room.path().join("bin/stand-in"), 0o755);
    room
}

fn script(name: &str) -> String {
    repository().join("completions").join(name).display().to_string()
}

/// The shell with nothing of ours in its environment.
fn shell(name: &str, room: &Path) -> Command {
    let mut command = Command::new(find_program(name).expect("it was looked for"));
    command
        .current_dir(room)
        .env_clear()
        .env("PATH", format!("{}/bin:/usr/bin:/bin", room.display()))
        .env("HOME", room)
        .env("TERM", "dumb");
    command
}

/// Asserts of each case what `complete` completes in the room.
fn assert_cases(complete: impl Fn(&Path, &[&str]) -> Vec<String>) {
    let room = room();
    let mut wrong = Vec::new();
    let mut assert = |words: &[&str], there: &[&str], not_there: &[&str]| {
        let all = complete(room.path(), words);
        // What stands behind a completion, a blank or a slash, is the shell's.
        let has = |word: &str| all.iter().any(|completion| completion.trim_end() == word);
        let missing: Vec<&&str> = there.iter().filter(|word| !has(word)).collect();
        let surplus: Vec<&&str> = not_there.iter().filter(|word| has(word)).collect();
        if !missing.is_empty() || !surplus.is_empty() {
            wrong.push(format!(
                "{words:?}: missing {missing:?}, surplus {surplus:?} in {all:?}"
            ));
        }
    };
    for (words, there, not_there) in CASES {
        assert(words, there, not_there);
    }
    let pid = id().to_string();
    assert(&["list", &pid[..pid.len() - 1]], &[&pid], &["keepalive.conf"]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bash_completions_work() {
    const SCRIPT: &str = r#"
        source /usr/share/bash-completion/bash_completion
        source "$1"
        _stand_in() { COMPREPLY=($(compgen -W 'alpha beta' -- "$2")); }
        complete -F _stand_in stand-in
        # Only readline has it.
        compopt() { :; }
        shift
        COMP_WORDS=(keepalive "$@") COMP_CWORD=$# COMP_LINE="keepalive $*"
        COMP_POINT=${#COMP_LINE}
        _keepalive keepalive "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    if find_program("bash").is_none() || !Path::new("/usr/share/bash-completion/bash_completion").exists() {
        skip!("bash-completion is not installed");
    }
    let complete = |room: &Path, words: &[&str]| {
        let mut command = shell("bash", room);
        command
            .args(["--norc", "-c", SCRIPT, "bash"])
            .arg(script("keepalive.bash"))
            .args(words);
        completions(&mut command)
    };
    assert_cases(complete);
    // readline makes three words of it.
    let room = room();
    assert_eq!(complete(room.path(), &["run", "--mode", "=", "fi"]), ["fill"]);
    assert_eq!(complete(room.path(), &["run", "--engine", "="]).len(), 4);
}

#[test]
fn fish_completions_work() {
    const SCRIPT: &str = r#"
        source $argv[1]
        complete -c stand-in -f -a "alpha beta"
        complete -C "$argv[2]"
    "#;
    if find_program("fish").is_none() {
        skip!("fish is not installed");
    }
    assert_cases(|room, words| {
        let line = format!("keepalive {}", words.join(" "));
        let mut command = shell("fish", room);
        command
            .args(["--no-config", "-c", SCRIPT])
            .arg(script("keepalive.fish"))
            .arg(line);
        let lines = completions(&mut command);
        // Behind a tab is what it means.
        lines
            .iter()
            .filter_map(|line| line.split('\t').next().map(String::from))
            .collect()
    });
}

/// The shell in a terminal of its own, in which compadd prints what it adds.
#[test]
fn zsh_completions_work() {
    const INNER: &str = r#"
        PROMPT= PS2= RPROMPT=
        fpath=("$1" $fpath)
        autoload -Uz compinit
        compinit -u -D
        _stand_in() { compadd alpha beta }
        compdef _stand_in stand-in
        bindkey '^I' complete-word
        zstyle ':completion:*' insert-tab false
        compadd() {
            if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
                builtin compadd "$@"
                return $?
            fi
            local -a hits
            builtin compadd -O hits "$@"
            print -rl -- "hit:"${^hits}
            builtin compadd "$@"
        }
        compprefuncs=(begin)
        comppostfuncs=(leave)
        begin() { print }
        leave() { exit }
    "#;
    const OUTER: &str = r#"
        zmodload zsh/zpty
        zpty z zsh -f -i
        zpty -w z "source $1 $2; print ready"
        zpty -r z answer '*ready*ready*'
        zpty -w -n z "$3"$'\t'
        while zpty -r z line; do print -r -- "$line"; done
    "#;
    if find_program("zsh").is_none() {
        skip!("zsh is not installed");
    }
    assert_cases(|room, words| {
        fs::write(room.join(".inner"), INNER).expect("a file");
        let mut command = shell("zsh", room);
        command
            .args(["-f", "-c", OUTER, "zsh", ".inner"])
            .arg(repository().join("completions"))
            .arg(format!("keepalive {}", words.join(" ")));
        let lines = completions(&mut command);
        lines
            .iter()
            .filter_map(|line| Some(line.trim_end().strip_prefix("hit:")?.to_owned()))
            .collect()
    });
}

fn completions(command: &mut Command) -> Vec<String> {
    let output = output_within(Duration::from_secs(60), command);
    assert_eq!(text(&output.stderr), "", "{command:?}");
    text(&output.stdout).lines().map(String::from).collect()
}

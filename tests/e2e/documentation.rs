//! README, manual pages, docs and --help: their command lines are run, their rules checked, their options those of the
//! command; and what shells complete.

mod commands;
mod completions;
mod json;
mod lines;
pub mod links;
mod stage;

use crate::support::process::{output_within, text};
use crate::support::{find_program, keepalive, repository};
use lines::{Source, sources};
use stage::Stage;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Longer than any of the lines takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Command lines that are not run but parsed, and why.
const PARSED: [(&str, &str); 47] = [
    ("make", BUILDS),
    ("make test", "runs this test"),
    ("make test-unit", "takes minutes"),
    ("make test-e2e", "runs this test"),
    ("make lint", BUILDS),
    ("make docs", "writes into the repository"),
    ("make ci", "installs packages, and runs this test"),
    ("make bench", "takes minutes"),
    ("make plots", "takes minutes"),
    ("make advisories", "takes the network"),
    ("make test-reproducible", BUILDS),
    ("make test-suites", "takes minutes"),
    ("make test-vm", "takes minutes"),
    ("make demo", DEMO),
    ("make picture", DEMO),
    ("make image", BUILDS),
    ("make image-list", BUILDS),
    ("make package", BUILDS),
    ("make fuzz", "takes hours"),
    ("make fuzz-calls", "takes minutes"),
    (
        "sudo make install",
        "installed_and_removed runs it, below a directory of its own",
    ),
    ("sudo apt install ./keepalive_0.1.0_amd64.deb", INSTALLS),
    ("sudo rpm -U keepalive-0.1.0-1.x86_64.rpm", INSTALLS),
    (
        "skopeo copy docker-archive:target/image/keepalive.tar docker://registry.example/infrastructure/keepalive:0.1.0",
        "takes a registry",
    ),
    ("cp -r packaging/kubernetes my-kubernetes", EDITED),
    ("$EDITOR my-kubernetes/examples/cluster/*", EDITED),
    ("kubectl apply -k my-kubernetes/examples/cluster", CLUSTER),
    ("kubectl -n keepalive rollout status daemonset/keepalive", CLUSTER),
    ("kubectl -n keepalive get pods -o wide", CLUSTER),
    (
        "kubectl -n keepalive get events --field-selector reason=Unhealthy",
        CLUSTER,
    ),
    (
        "kubectl -n keepalive logs -c nri -l app.kubernetes.io/name=keepalive --prefix",
        CLUSTER,
    ),
    (
        "kubectl -n keepalive logs -l app.kubernetes.io/name=keepalive --prefix --tail=-1",
        CLUSTER,
    ),
    ("kubectl -n keepalive exec POD -- keepalive cgroup status", CLUSTER),
    (
        "kubectl -n keepalive exec POD -c nri -- keepalive nri --status",
        CLUSTER,
    ),
    ("sudo keepalive nri --status", WITH_A_RUNTIME),
    ("kubectl create namespace keepalive", CLUSTER),
    (
        "kubectl label namespace keepalive pod-security.kubernetes.io/enforce=privileged",
        CLUSTER,
    ),
    (
        "helm -n keepalive install keepalive packaging/kubernetes/chart --set image.repository=registry.example/infrastructure/keepalive",
        CLUSTER,
    ),
    ("kubectl apply -k my-kubernetes/examples/canary", CLUSTER),
    ("kubectl label node NODE keepalive.io/pool=canary", CLUSTER),
    ("kubectl delete -k my-kubernetes/examples/cluster", CLUSTER),
    (
        "sudo podman run --annotation keepalive.io/policy='idle=30s interval=10s count=4' IMAGE",
        HOOKED,
    ),
    ("sudo podman run --annotation keepalive.io/policy=off IMAGE", HOOKED),
    (
        "sudo podman run --annotation keepalive.io/policy=idle=30s IMAGE",
        HOOKED,
    ),
    ("sudo keepalive probe --pid 4242", LOGGED_IN),
    ("sudo keepalive probe --pid 4242:7", LOGGED_IN),
    ("keepalive probe --pid 4242:7", LOGGED_IN),
];
const WITH_A_RUNTIME: &str = "nri::readiness runs it";
const HOOKED: &str = "cgroup::container::oci_hook runs it";
const LOGGED_IN: &str = "probe::existing runs it";
const DEMO: &str = "nat::picture_of_the_demo_shows_a_lost_and_a_kept_connection runs it";
const BUILDS: &str = "builds what is built already";
const INSTALLS: &str = "packages installs it, in distributions of their own";
const CLUSTER: &str = "takes a cluster";
const EDITED: &str = "for what is then changed by hand";

/// Command lines that do not end by themselves, or not soon: how they are ended, and their status then.
const ENDED: [(&str, &str, i32); 8] = [
    ("keepalive probe redis.example.com:6379", INTERRUPTED, 1),
    (
        "keepalive probe --max 5m --precision 20% redis.example.com:6379",
        INTERRUPTED,
        1,
    ),
    ("keepalive attach --idle 30 --watch 4242", LEFT, 0),
    ("sudo keepalive nri", INTERRUPTED, 0),
    ("keepalive trace", INTERRUPTED, 0),
    ("sudo keepalive trace", INTERRUPTED, 0),
    ("keepalive trace --port 5432 --for 10m --json", INTERRUPTED, 0),
    ("sudo keepalive trace --port 5432 --for 10m --json", INTERRUPTED, 0),
];
/// Ctrl-C, when the command has said what it does.
const INTERRUPTED: &str = r#"rm -f said; mkfifo said
    (exec <said; read -r line; kill -INT "$(cat pid)"; cat >/dev/null) &
    sh -c 'echo $$ >pid; exec "$@"' sh LINE 2>said"#;
/// The process ends when the command has said what it has set there.
const LEFT: &str = "rm -f said; mkfifo said
    (exec <said; read -r line; kill 4242; cat >/dev/null) &
    LINE >said";

#[test]
fn every_command_line_in_the_documents_runs() {
    root!();
    python!();
    let sources = sources();
    let mut stage = match Stage::new() {
        Ok(stage) => stage,
        Err(why) => skip!("{why}"),
    };
    stage.assert_sealed();
    let mut failed = Vec::new();
    let mut number = 0;
    for source in &sources {
        for line in source.commands() {
            if PARSED.iter().any(|(parsed, _)| *parsed == line.text) {
                continue;
            }
            let ended = ENDED.iter().find(|(ended, ..)| *ended == line.text);
            let (frame, status) = ended.map_or(("LINE", 0), |(_, frame, status)| (*frame, *status));
            let output = stage.run(&frame.replace("LINE", &line.text));
            number += 1;
            if output.status.code() != Some(status) {
                failed.push(format!(
                    "{}:{}: {}\n{}\n{}{}",
                    source.name,
                    line.number,
                    line.text,
                    output.status,
                    text(&output.stdout),
                    text(&output.stderr)
                ));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(number > 50, "only {number} lines were found");
}

#[test]
fn parsed_only_command_lines_are_in_a_document_and_valid() {
    let sources = sources();
    let known: BTreeSet<String> = sources
        .iter()
        .flat_map(Source::commands)
        .map(|line| line.text)
        .collect();
    for line in PARSED
        .iter()
        .map(|(line, _)| line)
        .chain(ENDED.iter().map(|(line, ..)| line))
    {
        assert!(known.contains(*line), "no document has it any more: {line}");
    }
    for (line, why) in PARSED {
        let command = line.strip_prefix("sudo ").unwrap_or(line);
        let mut parser = parser(command);
        let output = output_within(LIMIT, parser.current_dir(repository()));
        assert!(output.status.success(), "{line} ({why}): {}", text(&output.stderr));
        if let Some((_, inner)) = command.split_once(" -- keepalive ") {
            let words: Vec<&str> = inner.split_whitespace().collect();
            commands::assert_known(&words, line);
        }
    }
}

/// What says whether a command line can be used, and does nothing of it.
fn parser(command: &str) -> Command {
    if let Some(target) = command.strip_prefix("make") {
        let mut make = Command::new("make");
        make.args(["--dry-run", "--always-make"])
            .args(target.split_whitespace());
        return make;
    }
    let mut shell = Command::new("sh");
    shell.args(["-n", "-c", command]);
    shell
}

#[test]
fn documents_mention_only_existing_commands_and_options() {
    let mut number = 0;
    for source in sources() {
        for mention in source.mentions() {
            let words: Vec<&str> = mention.text.split_whitespace().collect();
            let place = format!("{}:{}: {}", source.name, mention.number, mention.text);
            match words.as_slice() {
                ["keepalive", words @ ..] => commands::assert_known(words, &place),
                words => assert!(words.iter().all(|word| commands::is_option_of_any(word)), "{place}"),
            }
            number += 1;
        }
    }
    assert!(number > 30, "only {number} were found");
}

#[test]
fn every_rule_in_the_documents_passes_check() {
    let mut number = 0;
    for source in sources() {
        for rules in source.rules() {
            let output = check(&rules.text);
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{}:{}: {}\n{}",
                source.name,
                rules.number,
                rules.text,
                text(&output.stderr)
            );
            number += 1;
        }
    }
    assert!(number >= 4, "only {number} were found");
}

fn check(rules: &str) -> Output {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("rules"), rules).expect("a file");
    let mut command = Command::new(keepalive());
    output_within(LIMIT, command.args(["check", "rules"]).current_dir(directory.path()))
}

/// The manual pages.
fn pages() -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join("man")).expect("a directory");
    let mut pages: Vec<PathBuf> = entries
        .map(|entry| entry.expect("man").path())
        .filter(|path| path.is_file())
        .collect();
    pages.sort();
    pages
}

#[test]
fn the_manual_names_every_option_of_the_command_and_no_other() {
    for page in commands::pages() {
        let text = fs::read_to_string(repository().join(format!("man/{}.1", page.name)))
            .unwrap_or_else(|error| panic!("man/{}.1: {error}", page.name));
        let items = text.lines().filter_map(|line| line.strip_prefix(".It Fl "));
        let named: BTreeSet<String> = items
            .flat_map(|item| item.split(" , Fl "))
            .filter_map(|option| option.split(' ').next())
            .map(|option| format!("-{option}"))
            .collect();
        assert_eq!(named, page.options, "{}", page.name);
    }
}

#[test]
fn the_manual_pages_are_well_formed() {
    for needed in ["mandoc", "groff"] {
        if find_program(needed).is_none() {
            skip!("{needed} is not installed");
        }
    }
    let mut lint = Command::new("mandoc");
    let output = output_within(LIMIT, lint.args(["-T", "lint", "-W", "warning"]).args(pages()));
    assert!(output.status.success(), "{}", text(&output.stdout));
    for page in pages() {
        // Whole lines can be copied, and 80 columns hold them.
        let mut groff = Command::new("groff");
        let output = output_within(
            LIMIT,
            groff.args(["-mandoc", "-ww", "-Tascii", "-P-c", "-rLL=78n"]).arg(&page),
        );
        assert_eq!(text(&output.stderr), "", "{}", page.display());
        let shown = text(&output.stdout);
        for line in lines::of_manual(&fs::read_to_string(&page).expect("a page")) {
            assert!(
                shown.contains(&line.text),
                "{}: is broken: {}",
                page.display(),
                line.text
            );
        }
        for line in shown.lines() {
            let width = line
                .replace("_\u{8}", "")
                .chars()
                .filter(|letter| *letter != '\u{8}')
                .count();
            assert!(width <= 80 || line.contains('\u{8}'), "{}: {line}", page.display());
        }
    }
}

#[test]
fn uninstall_removes_every_installed_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let make = |target: &str| {
        let mut make = Command::new("make");
        make.args(["--silent", target, "PREFIX=/usr"])
            .arg(format!("DESTDIR={}", directory.path().display()))
            .current_dir(repository())
            .stdin(Stdio::null());
        let output = output_within(LIMIT, &mut make);
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    let files = || {
        let mut find = Command::new("find");
        let output = output_within(
            LIMIT,
            find.arg(directory.path()).args(["-type", "f", "-printf", "%P\n"]),
        );
        text(&output.stdout)
            .lines()
            .map(String::from)
            .collect::<BTreeSet<String>>()
    };
    make("install");
    let installed = files();
    for file in [
        "usr/bin/keepalive",
        "usr/lib/libkeepalive.so",
        "usr/share/man/man1/keepalive-run.1",
        "usr/share/man/man5/keepalive.conf.5",
        "usr/share/man/man7/libkeepalive.7",
        "usr/share/bash-completion/completions/keepalive",
        "usr/share/fish/vendor_completions.d/keepalive.fish",
        "usr/share/zsh/site-functions/_keepalive",
    ] {
        assert!(installed.contains(file), "{file} is missing: {installed:?}");
    }
    make("uninstall");
    assert_eq!(files(), BTreeSet::new());
}

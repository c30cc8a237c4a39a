//! The contents of the packages.

use super::{Packages, pack};
use crate::documentation::links::wrong_links;
use crate::support::process::text;
use crate::support::target::{Libc, compile};
use crate::support::{find_program, repository};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns what a command prints, which must succeed.
#[track_caller]
fn printed(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Returns mode, owner and path of each file, as `tar -tv` and `rpm -qplv` show them.
fn files(listing: &str) -> Vec<String> {
    let mut files: Vec<String> = listing
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| !words[0].starts_with('d'))
        .map(|words| {
            let owner = if words[1].contains('/') {
                words[1].to_owned()
            } else {
                format!("{}/{}", words[2], words[3])
            };
            let path = words
                .iter()
                .rev()
                .skip_while(|word| words.contains(&"->") && **word != "->");
            let path = path.copied().find(|word| *word != "->").expect("a path");
            let path = path.trim_start_matches(['.', '/']);
            format!("{} {owner} {path}", words[0])
        })
        .collect();
    files.sort();
    files
}

const FILES: [&str; 7] = [
    "lib/systemd/system/keepalive-cgroup@.service",
    "share/bash-completion/completions/keepalive",
    "share/containers/oci/hooks.d/keepalive.json",
    "share/doc/keepalive/CHANGELOG.md.gz",
    "share/doc/keepalive/copyright",
    "share/doc/keepalive/examples/keepalive.conf",
    "share/fish/vendor_completions.d/keepalive.fish",
];

/// The paths of the libraries for 64-bit and 32-bit programs by the values of ld.so's `$LIB`, and by `$LIB` itself for
/// musl. The first is the file for 32-bit programs.
const LIBRARIES: [&str; 6] = [
    "lib/libkeepalive.so",
    "$LIB/libkeepalive.so",
    "lib/i386-linux-gnu/libkeepalive.so",
    "lib/x86_64-linux-gnu/libkeepalive.so",
    "lib32/libkeepalive.so",
    "lib64/libkeepalive.so",
];

/// Returns these files, all manual pages and the libraries, as [`files`] shows them without targets of links.
fn with_common(others: &[&str]) -> Vec<String> {
    let pages = repository().join("man").read_dir().expect("the manual").flatten();
    let pages = pages.filter_map(|page| {
        let name = page.file_name().into_string().ok()?;
        let (_, section) = name.rsplit_once('.').filter(|(_, section)| section.len() == 1)?;
        Some(format!("share/man/man{section}/{name}.gz"))
    });
    let all = pages.chain(FILES.iter().chain(others).map(|&path| path.to_owned()));
    let mut files: Vec<String> = all.map(|path| format!("-rw-r--r-- root/root usr/{path}")).collect();
    files.push("-rwxr-xr-x root/root usr/bin/keepalive".to_owned());
    if cfg!(target_arch = "x86_64") {
        let [file, links @ ..] = LIBRARIES.map(|path| format!("root/root usr/lib/keepalive/{path}"));
        files.push(format!("-rw-r--r-- {file}"));
        files.extend(links.map(|link| format!("lrwxrwxrwx {link}")));
    }
    files.sort();
    files
}

#[test]
fn packages_contain_the_expected_files() {
    let packages = packages!();
    let listing = printed(
        Command::new("dpkg-deb")
            .arg("--contents")
            .arg(Packages::deb(&packages.first)),
    );
    let expected = with_common(&[
        &format!("lib/{}-linux-gnu/libkeepalive.so", std::env::consts::ARCH),
        "share/doc/keepalive/changelog.gz",
        "share/lintian/overrides/keepalive",
        "share/zsh/vendor-completions/_keepalive",
    ]);
    assert_eq!(files(&listing), expected);
    let listing = printed(Command::new("rpm").arg("-qplv").arg(Packages::rpm(&packages.first)));
    let expected = with_common(&["lib64/libkeepalive.so", "share/zsh/site-functions/_keepalive"]);
    assert_eq!(files(&listing), expected);
}

#[test]
fn lintian_reports_nothing() {
    let packages = packages!();
    if find_program("lintian").is_none() {
        skip!("lintian is not installed");
    }
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning"]);
    let output = lintian
        .arg(Packages::deb(&packages.first))
        .output()
        .expect("lintian starts");
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

/// Each value of `$LIB` leads to the library for the programs of that architecture.
#[test]
fn library_of_each_architecture_is_found_by_its_directory() {
    let packages = packages!();
    if !cfg!(target_arch = "x86_64") {
        skip!("there is no library for 32-bit programs of this machine");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let unpack = |place: &str, command: &mut Command| -> PathBuf {
        let place = directory.path().join(place);
        fs::create_dir(&place).expect("a directory of the test");
        printed(command.current_dir(&place));
        place
    };
    let deb = unpack(
        "deb",
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(Packages::deb(&packages.first))
            .arg("."),
    );
    let mut rpm = Command::new("sh");
    rpm.args(["-c", "rpm2cpio \"$1\" | cpio -idm --quiet", "sh"])
        .arg(Packages::rpm(&packages.first));
    let rpm = unpack("rpm", &mut rpm);
    let archive = super::only(&packages.first, ".tar.gz");
    let tar = unpack(
        "tar",
        Command::new("tar").args(["--strip-components=1", "-xzf"]).arg(archive),
    );
    for prefix in [deb.join("usr"), rpm.join("usr"), tar] {
        for path in LIBRARIES {
            // e_machine of the ELF header: EM_X86_64, EM_386.
            let expected = if path.contains("64") || path.contains("$LIB") {
                62
            } else {
                3
            };
            let path = prefix.join("lib/keepalive").join(path);
            let content = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(
                (&content[..4], content[18]),
                (&b"\x7fELF"[..], expected),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn links_in_the_documents_of_the_archive_are_valid() {
    let packages = packages!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let archive = super::only(&packages.first, ".tar.gz");
    let mut tar = Command::new("tar");
    tar.args(["--strip-components=1", "-xzf"]).arg(archive);
    printed(tar.arg("-C").arg(directory.path()));
    let docs = fs::read_dir(directory.path().join("docs")).expect("docs/ in the archive");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    let mut documents: Vec<_> = docs
        .filter(|path| path.extension().is_some_and(|it| it == "md"))
        .collect();
    documents.push(directory.path().join("README.md"));
    let (wrong, number) = wrong_links(&documents);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(number > 20, "only {number} links were found");
}

/// Returns the files of one directory with their checksums.
fn sums(directory: &Path) -> String {
    fs::read_to_string(directory.join("SHA256SUMS")).expect("it was built")
}

#[test]
fn packages_are_reproducible() {
    let packages = packages!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    if let Err(why) = pack(directory.path(), &[]) {
        skip!("{why}");
    }
    assert_eq!(sums(directory.path()), sums(&packages.first));
    assert_eq!(sums(directory.path()).lines().count(), 3);
}

#[test]
fn archive_works_in_any_directory() {
    let packages = packages!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let archive = super::only(&packages.first, ".tar.gz");
    printed(
        Command::new("tar")
            .arg("-xzf")
            .arg(&archive)
            .arg("-C")
            .arg(directory.path()),
    );
    let unpacked = directory
        .path()
        .read_dir()
        .expect("a directory")
        .flatten()
        .next()
        .expect("a directory")
        .path();
    let command = unpacked.join("bin/keepalive");
    let preload = || {
        let mut run = Command::new(&command);
        run.args(["run", "--engine", "preload", "sh", "-c", "echo \"$LD_PRELOAD\""])
            .env_remove("LD_PRELOAD");
        // The path as the loader expands it, on a machine that can run 32-bit programs.
        let name = printed(&mut run).trim_end().replace("$LIB", "lib64");
        Path::new(&name).canonicalize().expect("a library")
    };
    let expected = unpacked.join("lib/libkeepalive.so").canonicalize().expect("a library");
    assert_eq!(preload(), expected);
    // Another library of this name in such a place is skipped, as libkeepalive 0.3 is in /usr/lib.
    let other = compile(Libc::Host, "empty.c", &["-shared", "-fPIC"]);
    let place = unpacked.join("lib64/libkeepalive.so");
    fs::create_dir(unpacked.join("lib64")).expect("a directory of the test");
    fs::copy(other, place).expect("a file of the test");
    assert_eq!(preload(), expected);
    // The example file has no mistakes.
    printed(
        Command::new(&command)
            .arg("check")
            .arg(unpacked.join("share/doc/keepalive/examples/keepalive.conf")),
    );
}

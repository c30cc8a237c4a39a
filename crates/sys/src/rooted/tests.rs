#[expect(unreachable_pub, reason = "the end-to-end tests have it too")]
#[path = "../../../../tests/e2e/support/skip.rs"]
mod skip;

use super::*;
use crate::regular::Unfit;
use rustix::fs::{FileType, mkfifoat};
use skip::report_skip;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PUBLIC: Attributes = Attributes {
    mode: 0o644,
    owner: None,
    label: None,
};

/// A tree and a directory outside of it.
fn stage() -> (tempfile::TempDir, Root, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let outside = directory.path().join("outside");
    fs::create_dir_all(directory.path().join("tree/etc")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("file"), "outside").unwrap();
    let root = Root::open(&directory.path().join("tree")).unwrap();
    (directory, root, outside)
}

#[test]
fn links_are_followed_as_the_system_there_follows_them() {
    let (_directory, root, _) = stage();
    fs::create_dir_all(root.path().join("usr/lib/deep")).unwrap();
    fs::write(root.path().join("usr/lib/file"), "text").unwrap();
    for (link, target) in [
        ("lib", "usr/lib"),
        ("lib64", "/usr/lib"),
        ("usr/lib/deep/up", "../../../../../usr"),
        ("usr/lib/link", "/lib64/file"),
        ("dangling", "/lib/none"),
        ("circle", "circle"),
    ] {
        symlink(target, root.path().join(link)).unwrap();
    }
    for path in [
        "/lib/file",
        "/lib64/file",
        "/lib/link",
        "/lib/deep/up/lib/file",
        "lib/../../lib64/./link",
    ] {
        let place = root.find(Path::new(path)).unwrap();
        assert_eq!(place.inside(), Path::new("/usr/lib/file"), "{path}");
        assert_eq!(place.read(9).unwrap(), b"text", "{path}");
    }
    let missing = root.find(Path::new("/dangling")).unwrap();
    assert_eq!(missing.inside(), Path::new("/usr/lib/none"));
    assert_eq!(missing.outside(), root.path().join("usr/lib/none"));
    assert!(missing.about().unwrap().is_none());
    assert_eq!(root.directory(Path::new("/../..")).unwrap().inside(), Path::new("/"));
    for path in ["/none/file", "/circle", "/usr/lib/file/more", "/"] {
        assert!(root.find(Path::new(path)).is_err(), "{path}");
    }
    assert!(root.directory(Path::new("/usr/lib/file")).is_err());
}

#[test]
fn no_link_leads_out() {
    let (_directory, root, outside) = stage();
    let up = "../".repeat(20);
    let relative = format!("{up}{}", outside.strip_prefix("/").unwrap().display());
    for target in [outside.to_str().unwrap(), &relative, "/proc/self/root", "../../outside"] {
        let link = root.path().join("link");
        symlink(target, &link).unwrap();
        assert!(root.open_file(Path::new("/link/file")).is_err(), "{target}");
        assert!(root.directory(Path::new("/link")).is_err(), "{target}");
        fs::remove_file(&link).unwrap();
    }
}

/// Even in this system's own root directory, `/proc/self/root` is treated as text.
#[test]
fn magic_links_are_texts() {
    let root = Root::open(Path::new("/proc/self")).unwrap();
    assert_eq!(root.directory(Path::new("/root")).unwrap().inside(), Path::new("/"));
    assert!(root.directory(Path::new("/cwd/root")).is_err());
}

#[test]
fn writing_replaces_the_link_and_not_its_target() {
    let (_directory, root, outside) = stage();
    let place = root.find(Path::new("/etc/file")).unwrap();
    for target in [outside.join("file"), outside.join("none")] {
        symlink(&target, root.path().join("etc/file")).unwrap();
        let new = place.write_beside(b"new", PUBLIC).unwrap();
        assert_eq!(new.directory().inside(), Path::new("/etc"));
        new.rename(&place).unwrap();
        assert_eq!(fs::read(root.path().join("etc/file")).unwrap(), b"new");
        fs::remove_file(root.path().join("etc/file")).unwrap();
    }
    // A hard link to a file outside becomes a separate file.
    fs::hard_link(outside.join("file"), root.path().join("etc/file")).unwrap();
    place.write_beside(b"new", PUBLIC).unwrap().rename(&place).unwrap();
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"outside");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert!(place.unfinished().is_empty());
    // The file of an interrupted write is found.
    place.write_beside(b"new", PUBLIC).unwrap();
    assert_eq!(place.unfinished().len(), 1);
}

#[test]
fn irregular_files_are_not_opened() {
    let (_directory, root, _) = stage();
    mkfifoat(CWD, root.path().join("fifo"), Mode::RUSR).unwrap();
    let error = root.read(Path::new("/fifo"), 9).unwrap_err();
    assert_eq!(Unfit::of(&error), Some(Unfit::Type(FileType::Fifo)));
    let error = root.read(Path::new("/etc"), 9).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    let place = root.find(Path::new("/etc/link")).unwrap();
    symlink("/fifo", root.path().join("etc/link")).unwrap();
    // The link was created after the place was found.
    assert!(place.open().is_err());
}

#[test]
fn missing_directories_are_made_inside() {
    let (_directory, root, outside) = stage();
    symlink(&outside, root.path().join("etc/made")).unwrap();
    let made = root.make_directory(Path::new("/etc/made/more")).unwrap();
    let inside = outside.join("more");
    assert_eq!(made.inside(), inside);
    assert!(root.outside(&inside).is_dir());
    assert!(!inside.exists());
}

/// A directory on the way is exchanged for a link out of the tree, again and again.
#[test]
fn concurrent_changes_of_a_tree_cannot_redirect_writes() {
    let (_directory, root, outside) = stage();
    let path = root.path().to_owned();
    fs::create_dir_all(path.join("a/b")).unwrap();
    symlink(outside.parent().unwrap(), path.join("bad")).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(CWD, path.join("a"), CWD, path.join("bad"), exchange).unwrap();
            }
        });
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            let written = root.find(Path::new("/a/outside/new")).and_then(|place| {
                let new = place.write_beside(b"x", PUBLIC)?;
                new.rename(&place)
            });
            let made = root.make_directory(Path::new("/a/b/c"));
            let _ = (written, made);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let mut names: Vec<_> = fs::read_dir(&outside)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["file"]);
    assert!(!outside.parent().unwrap().join("b").exists());
}

#[test]
fn foreign_links_are_not_followed_on_request() {
    if !rustix::process::geteuid().is_root() {
        return report_skip("only root can give a directory to another user");
    }
    let (_directory, root, _) = stage();
    let root = root.made_by(0);
    assert!(root.find(Path::new("/etc/file")).is_ok());
    std::os::unix::fs::chown(root.path().join("etc"), Some(65534), None).unwrap();
    assert!(root.find(Path::new("/etc/file")).is_err());
}

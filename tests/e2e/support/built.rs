//! Finds files that were built before the tests, and refuses files that are older than their sources.

use super::repository;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

/// Returns `path`, which `command` builds. A run checks the file only once, because sources may change while tests run.
///
/// # Panics
/// If the file is missing, was built from another tree, or is older than one of the sources that cargo lists alongside
/// it.
#[track_caller]
pub fn up_to_date(path: PathBuf, command: &str) -> PathBuf {
    static CHECKED: Mutex<BTreeMap<PathBuf, Result<(), String>>> = Mutex::new(BTreeMap::new());
    let mut checked = CHECKED.lock().expect("nothing panics under this lock");
    let result = checked
        .entry(path.clone())
        .or_insert_with(|| check(&path, &repository()))
        .clone();
    drop(checked);
    if let Err(why) = result {
        panic!("{} {why}: run {command}", path.display());
    }
    path
}

fn check(path: &Path, repository: &Path) -> Result<(), String> {
    let modified = |path: &Path| -> io::Result<SystemTime> { fs::metadata(path)?.modified() };
    let built = modified(path).map_err(|_| String::from("is missing"))?;
    let list = path.with_extension("d");
    let list = fs::read_to_string(&list).map_err(|_| format!("is without {}, its list of sources", list.display()))?;
    for source in sources(&list) {
        let shown = source.strip_prefix(repository);
        let shown = shown.map_err(|_| format!("was built from {}, of another tree", source.display()))?;
        let changed = modified(&source).map_err(|_| format!("was built from {}, which is gone", shown.display()))?;
        if changed > built {
            return Err(format!("is older than {}", shown.display()));
        }
    }
    Ok(())
}

/// Returns the sources in a file of dependencies as rustc and make write it: `FILE: SOURCE…`, a backslash before a space.
fn sources(list: &str) -> Vec<PathBuf> {
    const SPACE: &str = "\u{0}";
    let line = list.lines().next().unwrap_or_default().replace("\\ ", SPACE);
    let (_, sources) = line.split_once(": ").unwrap_or_default();
    let sources = sources.split_whitespace();
    sources.map(|source| source.replace(SPACE, " ").into()).collect()
}

#[test]
fn a_file_that_is_older_than_its_sources_is_not_tested() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path();
    let [built, list, old, new] = ["built.so", "built.d", "old source.rs", "new.rs"].map(|name| root.join(name));
    let error = |tree: &Path| check(&built, tree).expect_err("it must not be tested");
    assert_eq!(error(root), "is missing");
    let now = SystemTime::now();
    for (path, age) in [(&old, 20), (&built, 10), (&new, 0)] {
        fs::write(path, "").expect("a file of the test");
        let file = fs::File::options().write(true).open(path).expect("a file of the test");
        let time = now - std::time::Duration::from_secs(age);
        file.set_modified(time).expect("a file of the test");
    }
    assert!(error(root).starts_with("is without "), "{}", error(root));
    let write = |sources: &[&Path]| {
        let sources = sources
            .iter()
            .map(|path| path.display().to_string().replace(' ', "\\ "));
        let sources = sources.collect::<Vec<_>>().join(" ");
        fs::write(&list, format!("{}: {sources}\n", built.display())).expect("a file of the test");
    };
    write(&[&old]);
    assert_eq!(check(&built, root), Ok(()));
    assert!(error(Path::new("/elsewhere")).ends_with(", of another tree"));
    write(&[&old, &new]);
    assert_eq!(error(root), "is older than new.rs");
    fs::remove_file(&new).expect("a file of the test");
    assert_eq!(error(root), "was built from new.rs, which is gone");
}

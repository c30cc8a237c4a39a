//! The image that `make image` builds, and its files.

use super::run_successfully;
use crate::support::built::up_to_date;
use crate::support::process::install;
use crate::support::repository;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// An image as a container engine loads it.
pub struct Image {
    /// The directory with the image's files.
    pub root: PathBuf,
    /// The image's configuration: the entry point, the environment, the user, the labels.
    pub config: Value,
}

/// Returns the path of the command that `make static` builds.
pub fn static_command() -> Option<PathBuf> {
    let targets = fs::read_dir(repository().join("target/static")).ok()?;
    let built = targets.flatten().map(|target| target.path().join("release/keepalive"));
    // The directory also contains programs that run during the build.
    let found = built
        .into_iter()
        .find(|path| path.is_file() && !path.starts_with(repository().join("target/static/release")))?;
    Some(up_to_date(found, "make static"))
}

/// Returns the image, built from the present sources.
pub fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        run_successfully(make().arg("image"));
        unpack(&repository().join("target/image/keepalive.tar"))
    })
}

/// Returns the command make in the repository. It must not take part in the make that runs this test.
pub fn make() -> Command {
    let mut make = Command::new("make");
    make.current_dir(repository());
    for name in [
        "MAKEFLAGS",
        "MFLAGS",
        "MAKELEVEL",
        "IMAGE",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
    ] {
        make.env_remove(name);
    }
    make
}

fn unpack(archive: &Path) -> Image {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
    if directory.exists() {
        fs::remove_dir_all(&directory).expect("a directory of the test");
    }
    let root = directory.join("root");
    fs::create_dir_all(&root).expect("a directory of the test");
    let extract =
        |archive: &Path, to: &Path| run_successfully(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(to));
    extract(archive, &directory);
    let read = |name: &str| -> Value {
        let text = fs::read_to_string(directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        serde_json::from_str(&text).expect("JSON")
    };
    let manifest = &read("manifest.json")[0];
    for layer in super::words(&manifest["Layers"]) {
        extract(&directory.join(layer), &root);
    }
    let mut config = read(manifest["Config"].as_str().expect("a name"));
    Image {
        root,
        config: config["config"].take(),
    }
}

/// Returns the files of `image`, without directories, relative to its root.
pub fn files(image: &Image) -> Vec<String> {
    let listed = run_successfully(
        Command::new("find")
            .arg(&image.root)
            .args(["-type", "f", "-printf", "%P\\n"]),
    );
    let mut files: Vec<String> = listed.lines().map(str::to_owned).collect();
    files.sort();
    files
}

/// Copies the command, so that no other build replaces it while a test runs it.
pub fn bring(image: &Image, to: &Path) {
    install(&image.root.join("usr/bin/keepalive"), to, 0o755);
}

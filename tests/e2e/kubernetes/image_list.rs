//! `make image-list`: one name for the images of several architectures.

use super::image::{make, static_command};
use super::{repository, run_successfully};
use crate::support::find_program;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Returns the JSON document with this digest in an unpacked OCI archive.
#[track_caller]
fn blob(root: &Path, digest: &Value) -> Value {
    let digest = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    read(&root.join("blobs/sha256").join(digest.expect("a digest")))
}

#[track_caller]
fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// The command of the host stands in for that of every architecture: a build for another one takes minutes.
#[test]
fn image_list_has_an_image_of_each_architecture() {
    for needed in ["make", "buildah", "tar"] {
        if find_program(needed).is_none() {
            skip!("{needed} is not installed");
        }
    }
    let Some(command) = static_command() else {
        skip!("the command is not linked statically; run make static");
    };
    let root = TempDir::new_in(repository().join("target")).expect("a temporary directory");
    run_successfully(
        make()
            .args(["image-list", "BUILD_STATIC=true"])
            .arg(format!("STATIC={}", command.display()))
            .arg(format!("IMAGE_ROOT={}", root.path().display())),
    );
    let unpacked = root.path().join("unpacked");
    fs::create_dir(&unpacked).expect("a directory of the test");
    let mut tar = Command::new("tar");
    run_successfully(
        tar.arg("-xf")
            .arg(root.path().join("keepalive-list.tar"))
            .arg("-C")
            .arg(&unpacked),
    );
    let index = read(&unpacked.join("index.json"));
    let [list] = index["manifests"].as_array().expect("a list").as_slice() else {
        panic!("{index}");
    };
    assert_eq!(
        list["annotations"]["org.opencontainers.image.ref.name"],
        env!("CARGO_PKG_VERSION")
    );
    let list = blob(&unpacked, &list["digest"]);
    let images = list["manifests"].as_array().expect("a list");
    let mut architectures = BTreeSet::new();
    for image in images {
        let config = blob(&unpacked, &blob(&unpacked, &image["digest"])["config"]["digest"]);
        // The list and the image agree: a node selects by the list.
        assert_eq!(config["architecture"], image["platform"]["architecture"], "{list}");
        assert_eq!(image["platform"]["os"], "linux");
        architectures.insert(config["architecture"].as_str().expect("a name").to_owned());
    }
    // Those of the DaemonSet's node affinity.
    let manifest = fs::read_to_string(super::packaging().join("base/daemonset.yaml")).expect("a manifest");
    for architecture in ["amd64", "arm64"] {
        assert!(
            manifest.contains(&format!("                      - {architecture}\n")),
            "{manifest}"
        );
        assert!(architectures.remove(architecture), "{architecture} is not in {list}");
    }
    assert!(architectures.is_empty(), "{architectures:?}");
    assert!(root.path().join("keepalive.tar").is_file());
}

//! packaging/kubernetes: the manifests, and the sockets of pods on a node that runs the image according to them.

/// Returns from the test where manifests cannot be built and read.
macro_rules! manifests {
    () => {
        if let Some(why) = $crate::kubernetes::missing() {
            skip!("{why}");
        }
    };
}

/// Returns from the test where a node is impossible.
macro_rules! node {
    () => {
        root!();
        manifests!();
        if let Some(why) = $crate::kubernetes::node::missing() {
            skip!("{why}");
        }
    };
}

mod chart;
mod container;
mod endpoint;
mod image;
mod image_list;
mod manifests;
mod node;
mod nri;

use crate::support::process::{LIMIT, output_within, text};
use crate::support::{find_program, repository};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Python that prints the YAML of a file as JSON.
const TO_JSON: &str = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)";

/// The base and its components, as overlays name them.
const BASE: &str = "base";
const EXISTING: &str = "components/existing";
const CGROUPFS: &str = "components/cgroupfs";
const NRI: &str = "components/nri";
const METRICS: &str = "components/metrics";
const METRICS_ENDPOINT: &str = "components/metrics-endpoint";

/// Returns why manifests cannot be built and read here, if they cannot.
fn missing() -> Option<String> {
    let Some(kubectl) = find_program("kubectl") else {
        return Some("kubectl is not installed".to_owned());
    };
    let version = output_within(LIMIT, Command::new(kubectl).args(["version", "--client"]));
    let version = text(&version.stdout);
    let has_components = version
        .lines()
        .find_map(|line| {
            line.strip_prefix("Kustomize Version: v")?
                .split('.')
                .next()?
                .parse()
                .ok()
        })
        .is_some_and(|major: u32| major >= 4);
    if !has_components {
        return Some(format!(
            "this kubectl does not support components: {}",
            version.trim_end()
        ));
    }
    (!tool("python").is_file()).then(|| "kubernetes-validate is not installed; run scripts/test-deps".to_owned())
}

/// Returns a program of the environment that scripts/test-deps creates.
fn tool(name: &str) -> PathBuf {
    repository().join("target/kubernetes-validate/bin").join(name)
}

fn packaging() -> PathBuf {
    repository().join("packaging/kubernetes")
}

/// The objects that `kubectl apply -k` would send.
struct Manifests {
    directory: TempDir,
    objects: Vec<Value>,
}

impl Manifests {
    /// Builds the base with these components, in this order.
    #[track_caller]
    fn with(components: &[&str]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let from = directory.path().canonicalize().expect("it is there");
        // Kustomize refuses absolute paths.
        let up = "../".repeat(from.components().count() - 1);
        let packaging = packaging();
        let packaging = packaging.strip_prefix("/").expect("an absolute path").display();
        let locate = |path: &&str| format!("{up}{packaging}/{path}");
        let components: Vec<String> = components.iter().map(locate).collect();
        // JSON is YAML.
        let overlay = json!({"resources": [locate(&BASE)], "components": components}).to_string();
        fs::write(directory.path().join("kustomization.yaml"), overlay).expect("a file of the test");
        let root = directory.path().to_owned();
        Self::build(&root, directory)
    }

    /// Builds a directory of packaging/kubernetes.
    #[track_caller]
    fn of(path: &str) -> Self {
        Self::build(&packaging().join(path), TempDir::new().expect("a temporary directory"))
    }

    #[track_caller]
    fn build(root: &Path, directory: TempDir) -> Self {
        let yaml = run_successfully(Command::new("kubectl").arg("kustomize").arg(root));
        Self::parse(&yaml, directory)
    }

    /// Reads the objects of a text, which is stored in this directory.
    #[track_caller]
    fn parse(yaml: &str, directory: TempDir) -> Self {
        let path = directory.path().join("built.yaml");
        fs::write(&path, yaml).expect("a file of the test");
        let json = run_successfully(Command::new(tool("python")).args(["-c", TO_JSON]).arg(path));
        let objects = serde_json::from_str(&json).expect("JSON");
        Self { directory, objects }
    }

    /// Returns the file with all objects.
    fn path(&self) -> PathBuf {
        self.directory.path().join("built.yaml")
    }

    /// Returns the objects of this kind.
    fn all(&self, kind: &str) -> Vec<&Value> {
        self.objects.iter().filter(|object| object["kind"] == kind).collect()
    }

    /// Returns the only object of this kind.
    #[track_caller]
    fn object(&self, kind: &str) -> &Value {
        let of_kind = self.all(kind);
        assert_eq!(of_kind.len(), 1, "{kind}: {:?}", self.objects);
        of_kind[0]
    }

    /// Returns the specification of the pods.
    fn pod(&self) -> &Value {
        &self.object("DaemonSet")["spec"]["template"]["spec"]
    }

    /// Returns the only container of the pod.
    fn container(&self) -> &Value {
        let containers = self.pod()["containers"].as_array().expect("a list");
        assert_eq!(containers.len(), 1, "{containers:?}");
        &containers[0]
    }
}

/// Returns a list of strings of a manifest.
#[track_caller]
fn words(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap_or_else(|| panic!("{list} is no list"));
    list.iter().map(|word| word.as_str().expect("a word")).collect()
}

/// Runs the command, which must succeed. Returns its output.
#[track_caller]
fn run_successfully(command: &mut Command) -> String {
    let output = output_within(LIMIT, command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    text(&output.stdout)
}

//! The names of containers, from the files in which their engines keep them.

use keepalive_sys::cgroup::Tree;
use keepalive_sys::regular;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 16 << 20;

/// The number of entries of a directory that are read.
const ENTRIES: usize = 10_000;

/// Where engines keep their files: these are their defaults, since only an engine itself knows where its other directories are.
const DOCKER: &str = "/var/lib/docker";
const DOCKER_CONFIGURATION: &str = "/etc/docker/daemon.json";
const STORAGE: [&str; 2] = ["/var/lib/containers/storage", "/run/containers/storage"];
const CONTAINERD: [&str; 4] = [
    "/run/containerd",
    "/run/docker/containerd/daemon",
    "/run/k3s/containerd",
    "/var/snap/microk8s/common/run/containerd",
];
/// Those of engines without root are below the home directory of their user.
const ROOTLESS_DOCKER: &str = ".local/share/docker";
const ROOTLESS_STORAGE: &str = ".local/share/containers/storage";

/// The drivers of containers/storage, each of which has its own list (`containers-storage.conf(5)`).
const DRIVERS: [&str; 4] = ["overlay", "vfs", "btrfs", "zfs"];
/// The lists; podman keeps containers that do not survive a reboot in a list of their own.
const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];

/// A directory from which files are read.
enum Place {
    /// One that belongs to root.
    System(PathBuf),
    /// One below the home directory of an ordinary user, who can put anything there.
    Home(PathBuf, &'static str),
}

impl Place {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        match self {
            Self::System(directory) => regular::read(&directory.join(path), LARGEST).ok(),
            Self::Home(home, below) => regular::read_beneath(home, &Path::new(below).join(path), LARGEST).ok(),
        }
    }

    fn parse<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        serde_json::from_slice(&self.read(path)?).ok()
    }
}

/// `config.v2.json` of Docker.
#[derive(Deserialize)]
struct DockerContainer {
    #[serde(rename = "Name")]
    name: String,
}

/// `daemon.json` of Docker.
#[derive(Deserialize)]
struct DockerConfiguration {
    #[serde(rename = "data-root")]
    data_root: PathBuf,
}

/// An element of `containers.json` of containers/storage (podman, CRI-O).
#[derive(Clone, Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

/// `config.json` of an OCI bundle, as far as it is used.
#[derive(Deserialize)]
struct OciConfiguration {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    linux: Linux,
}

#[derive(Default, Deserialize)]
struct Linux {
    #[serde(default, rename = "cgroupsPath")]
    cgroups_path: String,
}

/// The bundle of a running container of containerd.
pub(super) struct Bundle {
    pub(super) id: String,
    configuration: OciConfiguration,
}

impl Bundle {
    pub(super) fn names(&self) -> Vec<String> {
        let about = &self.configuration.annotations;
        let first = |keys: &[&str]| keys.iter().find_map(|key| about.get(*key)).map(String::as_str);
        let container = first(&["io.kubernetes.cri.container-name", "io.kubernetes.container.name"]);
        if let Some(container) = container {
            let pod = first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]);
            let namespace = first(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]);
            return kubernetes_names(container, pod, namespace);
        }
        first(&["nerdctl/name"]).map(str::to_owned).into_iter().collect()
    }

    /// Returns the directory of the cgroup, if the bundle has its path. For systemd it has the name of a unit, which
    /// contains the id.
    pub(super) fn directory(&self, tree: &Tree) -> Option<PathBuf> {
        let path = Some(&*self.configuration.linux.cgroups_path).filter(|path| path.starts_with('/'))?;
        Some(tree.directory(Path::new(path))).filter(|directory| directory != tree.mount())
    }
}

/// Returns the names of a container of Kubernetes, the most specific one first.
fn kubernetes_names(container: &str, pod: Option<&str>, namespace: Option<&str>) -> Vec<String> {
    let mut names = vec![container.to_owned()];
    if let Some(pod) = pod {
        names.insert(0, format!("{pod}/{container}"));
        if let Some(namespace) = namespace {
            names.insert(0, format!("{namespace}/{pod}/{container}"));
        }
    }
    names
}

/// Returns the names that follow from one that an engine keeps. CRI-O and cri-dockerd compose it of those of Kubernetes:
/// `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT`.
fn with_parts(name: &str) -> Vec<String> {
    let name = name.trim_start_matches('/');
    let parts: Vec<&str> = name.split('_').collect();
    let mut names = match parts[..] {
        ["k8s", container, pod, namespace, _, _] => kubernetes_names(container, Some(pod), Some(namespace)),
        _ => Vec::new(),
    };
    names.push(name.to_owned());
    names
}

/// The files of all engines. Each is read once.
pub(super) struct Files {
    docker: PathBuf,
    stored: OnceCell<Vec<Stored>>,
    bundles: OnceCell<Vec<Bundle>>,
    passwd: OnceCell<Vec<u8>>,
    /// What the storage of ordinary users contains.
    homes: BTreeMap<u32, Vec<Stored>>,
}

impl Files {
    pub(super) fn new() -> Self {
        let etc = Place::System(PathBuf::from("/"));
        let configured: Option<DockerConfiguration> = etc.parse(DOCKER_CONFIGURATION);
        Self {
            docker: configured.map_or_else(|| PathBuf::from(DOCKER), |found| found.data_root),
            stored: OnceCell::new(),
            bundles: OnceCell::new(),
            passwd: OnceCell::new(),
            homes: BTreeMap::new(),
        }
    }

    /// Returns the names of the container with this id, whose cgroup belongs to this user.
    pub(super) fn names(&mut self, id: &str, owner: u32) -> Vec<String> {
        if let Some(found) = docker_names(&Place::System(self.docker.clone()), id) {
            return found;
        }
        if let Some(bundle) = self.bundles().iter().find(|bundle| bundle.id == id) {
            let names = bundle.names();
            if !names.is_empty() {
                return names;
            }
        }
        let of = |list: &[Stored]| list.iter().find(|stored| stored.id == id).map(Stored::names);
        if let Some(names) = of(self.stored()) {
            return names;
        }
        if owner == 0 {
            return Vec::new();
        }
        let Some(home) = self.home(owner) else {
            return Vec::new();
        };
        if let Some(names) = docker_names(&Place::Home(home.clone(), ROOTLESS_DOCKER), id) {
            return names;
        }
        let list = self
            .homes
            .entry(owner)
            .or_insert_with(|| stored(&Place::Home(home, ROOTLESS_STORAGE)));
        of(list).unwrap_or_default()
    }

    /// Returns the ids of all containers of root with this name, running or not.
    pub(super) fn ids_with_name(&self, wanted: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let place = Place::System(self.docker.clone());
        for id in entries(&self.docker.join("containers")) {
            let names = docker_names(&place, &id).unwrap_or_default();
            if id == wanted || names.iter().any(|name| name == wanted) {
                found.push(id);
            }
        }
        let matching = self
            .stored()
            .iter()
            .filter(|stored| stored.id == wanted || stored.names().iter().any(|name| name == wanted));
        found.extend(matching.map(|stored| stored.id.clone()));
        found
    }

    /// Returns the bundles of containerd, which exist while the containers run.
    pub(super) fn bundles(&self) -> &[Bundle] {
        self.bundles.get_or_init(|| {
            let directories = CONTAINERD
                .iter()
                .map(|root| Path::new(root).join("io.containerd.runtime.v2.task"));
            directories.flat_map(|directory| bundles(&directory)).collect()
        })
    }

    fn stored(&self) -> &[Stored] {
        self.stored.get_or_init(|| {
            let places = STORAGE.map(|directory| Place::System(PathBuf::from(directory)));
            places.iter().flat_map(stored).collect()
        })
    }

    /// Returns the home directory of a user (`passwd(5)`).
    fn home(&self, uid: u32) -> Option<PathBuf> {
        let passwd = self
            .passwd
            .get_or_init(|| regular::read(Path::new("/etc/passwd"), LARGEST).unwrap_or_default());
        let passwd = String::from_utf8_lossy(passwd);
        let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let entry = lines.find(|fields| fields.len() > 5 && fields[2].parse() == Ok(uid))?;
        Some(PathBuf::from(entry[5])).filter(|home| home.is_absolute())
    }
}

impl Stored {
    fn names(&self) -> Vec<String> {
        self.names.iter().flat_map(|name| with_parts(name)).collect()
    }
}

fn docker_names(place: &Place, id: &str) -> Option<Vec<String>> {
    let found: DockerContainer = place.parse(&format!("containers/{id}/config.v2.json"))?;
    Some(with_parts(&found.name))
}

/// Returns the containers in a storage.
fn stored(place: &Place) -> Vec<Stored> {
    let lists = DRIVERS
        .iter()
        .flat_map(|driver| LISTS.iter().map(move |list| format!("{driver}-containers/{list}")));
    lists
        .filter_map(|path| place.parse::<Vec<Stored>>(&path))
        .flatten()
        .collect()
}

/// Returns the bundles in a directory that contains one directory for each namespace of containerd.
fn bundles(directory: &Path) -> Vec<Bundle> {
    let mut found = Vec::new();
    for namespace in entries(directory) {
        let directory = directory.join(namespace);
        let place = Place::System(directory.clone());
        for id in entries(&directory) {
            if let Some(configuration) = place.parse(&format!("{id}/config.json")) {
                found.push(Bundle { id, configuration });
            }
        }
    }
    found
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.take(ENTRIES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(files: &[(&str, &str)]) -> (tempfile::TempDir, Place) {
        let directory = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let place = Place::System(directory.path().to_owned());
        (directory, place)
    }

    #[test]
    fn docker_keeps_the_name_with_a_slash() {
        let (_directory, place) = place(&[(
            "containers/ab12/config.v2.json",
            r#"{"State":{"Running":true,"Pid":7},"ID":"ab12","Name":"/web"}"#,
        )]);
        assert_eq!(docker_names(&place, "ab12"), Some(vec![String::from("web")]));
        assert_eq!(docker_names(&place, "ab34"), None);
    }

    #[test]
    fn podman_keeps_names_in_one_list_for_each_driver() {
        let (_directory, place) = place(&[
            (
                "overlay-containers/containers.json",
                r#"[{"id":"ab12","names":["web"],"image":"x","metadata":"{}"},{"id":"ab34"}]"#,
            ),
            (
                "vfs-containers/volatile-containers.json",
                r#"[{"id":"ab56","names":["db"]}]"#,
            ),
            ("overlay-containers/volatile-containers.json", "no JSON"),
        ]);
        let found: Vec<_> = stored(&place)
            .iter()
            .map(|stored| (stored.id.clone(), stored.names()))
            .collect();
        let expected = [("ab12", vec!["web"]), ("ab34", vec![]), ("ab56", vec!["db"])];
        assert_eq!(found.len(), expected.len());
        for ((id, names), (expected_id, expected_names)) in found.iter().zip(&expected) {
            assert_eq!(
                (id.as_str(), names),
                (*expected_id, &expected_names.iter().map(ToString::to_string).collect())
            );
        }
    }

    #[test]
    fn a_user_cannot_point_to_files_elsewhere() {
        let (directory, _) = place(&[(
            "elsewhere/vfs-containers/containers.json",
            r#"[{"id":"ab12","names":["web"]}]"#,
        )]);
        let home = directory.path().join("home");
        fs::create_dir_all(home.join(".local/share/containers")).unwrap();
        let storage = home.join(ROOTLESS_STORAGE);
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &storage).unwrap();
        assert!(stored(&Place::Home(home.clone(), ROOTLESS_STORAGE)).is_empty());
        fs::remove_file(&storage).unwrap();
        fs::rename(directory.path().join("elsewhere"), &storage).unwrap();
        assert_eq!(stored(&Place::Home(home, ROOTLESS_STORAGE)).len(), 1);
    }

    #[test]
    fn names_of_kubernetes_are_found_with_pod_and_namespace() {
        let expected = ["shop/web-7d/app", "web-7d/app", "app"];
        let (directory, _) = place(&[(
            "k8s.io/ab12/config.json",
            r#"{"annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-name":"web-7d",
                "io.kubernetes.cri.sandbox-namespace":"shop"},"linux":{"cgroupsPath":"a.slice:cri-containerd:ab12"}}"#,
        )]);
        assert_eq!(bundles(directory.path())[0].names(), expected);
        let composed = with_parts("k8s_app_web-7d_shop_6a1b_0");
        assert_eq!(composed[..3], expected);
    }

    #[test]
    fn nerdctl_keeps_the_name_in_the_bundle() {
        let (directory, _) = place(&[(
            "default/ab12/config.json",
            r#"{"ociVersion":"1.0.2","annotations":{"nerdctl/name":"web"},"linux":{"cgroupsPath":"/default/ab12"}}"#,
        )]);
        let bundles = bundles(directory.path());
        assert_eq!(bundles[0].names(), ["web"]);
        assert_eq!(bundles[0].configuration.linux.cgroups_path, "/default/ab12");
    }
}

//! Containers: the cgroup of each, and the names that their engines keep for them. Everything is read from the tree of
//! cgroups and from files; no engine is asked.

mod names;
mod path;

pub use path::{engine_of, id_of, is_own_cgroup};

use crate::text::sanitize;
use crate::{Error, describe};
use keepalive_sys::cgroup::{self, Tree};
use names::Files;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The fewest digits by which an id can be abbreviated.
pub const SHORTEST_ID: usize = 4;

/// The number of containers that an error lists.
const LISTED: usize = 10;

/// A running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The id, of 64 hexadecimal digits unless the user of containerd chose another.
    pub id: String,
    /// The engine, if the path of the cgroup or a file shows it.
    pub engine: Option<&'static str>,
    /// The names, the most specific one first: `web`; of a container of Kubernetes `NAMESPACE/POD/CONTAINER`,
    /// `POD/CONTAINER` and `CONTAINER`.
    pub names: Vec<String>,
    /// The directory of the cgroup that contains all processes of the container.
    pub directory: PathBuf,
    /// The user to whom the cgroup belongs. Of a container without root it is an ordinary user.
    owner: u32,
}

impl Container {
    fn has_name(&self, wanted: &str) -> bool {
        self.id == wanted || self.names.iter().any(|name| name == wanted)
    }

    /// Returns the name, engine and beginning of the id.
    pub fn describe(&self) -> String {
        let about = [self.engine, Some(short_id(&self.id))]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        match self.names.first() {
            Some(name) => sanitize(&format!("{name} ({})", about.join(" "))),
            None => sanitize(&about.join(" ")),
        }
    }
}

/// Returns the paths of the cgroups of a process, that of cgroup v2 first; none if the process has ended. In a cgroup
/// namespace they are relative to its root.
pub fn cgroups_of_process(pid: u32) -> Vec<String> {
    /// A path has at most 4096 bytes, and there are about a dozen hierarchies.
    const LONGEST: u64 = 1 << 16;
    let mut text = Vec::new();
    let read = File::open(format!("/proc/{pid}/cgroup")).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&text);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(|line| !line.starts_with("0::"));
    let paths = lines.into_iter().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.map(str::to_owned).collect()
}

/// Returns the id of the container of a process, if the path of a cgroup contains it.
pub fn id_of_process(pid: u32) -> Option<String> {
    let paths = cgroups_of_process(pid);
    paths.iter().find_map(|path| id_of(path)).map(str::to_owned)
}

/// Returns the beginning of an id, as engines print it.
pub fn short_id(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Why not exactly one cgroup matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfound {
    /// No cgroup matches.
    None(Error),
    /// Several cgroups match.
    Several(Error),
}

impl From<Unfound> for Error {
    fn from(unfound: Unfound) -> Self {
        match unfound {
            Unfound::None(error) | Unfound::Several(error) => error,
        }
    }
}

/// Returns the containers that have a cgroup of their own, among these directories of cgroups.
pub fn running(tree: &Tree, directories: &[PathBuf]) -> Vec<Container> {
    let mut files = Files::new();
    let mut found: Vec<Container> = directories
        .iter()
        .filter_map(|directory| container(tree, directory, &mut files))
        .collect();
    // The user of containerd can choose an id that does not look like one.
    for bundle in files.bundles() {
        let Some(directory) = bundle.directory(tree) else {
            continue;
        };
        let Some(owner) = owner(&directory) else { continue };
        if found.iter().all(|known| known.directory != directory) {
            found.push(Container {
                owner,
                id: bundle.id.clone(),
                engine: Some("containerd"),
                names: bundle.names(),
                directory,
            });
        }
    }
    found
}

/// Returns the container that has exactly this cgroup.
fn container(tree: &Tree, directory: &Path, files: &mut Files) -> Option<Container> {
    let name = tree.name(directory);
    let name = name.to_str().filter(|name| is_own_cgroup(name))?;
    let id = id_of(name)?;
    let owner = owner(directory)?;
    Some(Container {
        id: id.to_owned(),
        engine: engine_of(name),
        names: files.names(id, owner),
        directory: directory.to_owned(),
        owner,
    })
}

/// Returns the owner of a directory, unless it has been removed.
fn owner(directory: &Path) -> Option<u32> {
    Some(fs::metadata(directory).ok()?.uid())
}

/// Returns the cgroup of a container that is being created, from its only process.
///
/// # Errors
/// The cgroup is not seen here; or it contains other processes, so that it is not the container's own.
pub fn directory_of_new(tree: &Tree, pid: u32) -> Result<PathBuf, Error> {
    let of_process = cgroup::of_process(tree, pid)
        .map_err(|error| Error::new(format!("cannot find the cgroup of process {pid}: {}", describe(&error))))?;
    // Some engines move the process into a cgroup below that of the container, and later ones into others.
    let is_own = |directory: &&Path| is_own_cgroup(&tree.name(directory).to_string_lossy());
    let directory = of_process.ancestors().find(is_own).unwrap_or(&of_process).to_owned();
    let (processes, hidden) = cgroup::processes(&directory);
    let others = processes.iter().filter(|other| **other != pid).count() + hidden;
    if others == 0 {
        return Ok(directory);
    }
    let name = sanitize(&tree.name(&directory).to_string_lossy());
    let error = Error::new(format!(
        "the container has no cgroup of its own: {name} also contains other processes ({others})"
    ));
    Err(error.with_hint("podman run --cgroups=disabled, and podman without root on hybrid cgroups, create none"))
}

/// Returns the running container with this name or id. An id can be abbreviated.
///
/// Containers of root take precedence over those of other users, who choose the names of theirs.
///
/// # Errors
/// No or several containers match.
pub fn find(tree: &Tree, wanted: &str) -> Result<Container, Unfound> {
    find_among(tree, &cgroup::with_all_below(tree.mount()), wanted)
}

/// As [`find`], where the directories of all cgroups are known.
///
/// # Errors
/// As [`find`].
pub fn find_among(tree: &Tree, directories: &[PathBuf], wanted: &str) -> Result<Container, Unfound> {
    choose(&running(tree, directories), wanted, || {
        !Files::new().ids_with_name(wanted).is_empty()
    })
}

/// Chooses the container. `is_known` returns whether the files of the engines contain the name.
fn choose(running: &[Container], wanted: &str, is_known: impl FnOnce() -> bool) -> Result<Container, Unfound> {
    let matching = |matches: &dyn Fn(&Container) -> bool| {
        let all = running
            .iter()
            .filter(|container| matches(container))
            .collect::<Vec<_>>();
        let of_root = all.iter().copied().filter(|container| container.owner == 0);
        let of_root = of_root.collect::<Vec<_>>();
        if of_root.is_empty() { all } else { of_root }
    };
    let mut found = matching(&|container| container.has_name(wanted));
    if found.is_empty() && is_short_id(wanted) {
        found = matching(&|container| container.id.starts_with(wanted));
    }
    let shown = sanitize(wanted);
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] if is_known() => {
            let error = Error::new(format!(
                "the container '{shown}' is not running, or has no cgroup of its own"
            ));
            Err(Unfound::None(
                error.with_hint(list(&running.iter().collect::<Vec<_>>())),
            ))
        }
        [] => {
            let error = Error::new(format!("there is no running container '{shown}'"));
            Err(Unfound::None(
                error.with_hint(list(&running.iter().collect::<Vec<_>>())),
            ))
        }
        several => {
            let error = Error::new(format!("{} running containers match '{shown}'", several.len()));
            Err(Unfound::Several(
                error.with_hint(format!("say which by its id: {}", enumerate(several))),
            ))
        }
    }
}

/// Returns whether this can be the beginning of an id.
fn is_short_id(text: &str) -> bool {
    text.len() >= SHORTEST_ID && text.bytes().all(path::is_digit)
}

fn list(running: &[&Container]) -> String {
    if running.is_empty() {
        String::from("no cgroup of a container is seen here; --pid selects the cgroup of a process")
    } else {
        format!("running containers: {}", enumerate(running))
    }
}

fn enumerate(containers: &[&Container]) -> String {
    let mut described: Vec<String> = containers.iter().map(|container| container.describe()).collect();
    described.sort();
    let more = described.len().saturating_sub(LISTED);
    described.truncate(LISTED);
    if more > 0 {
        described.push(format!("and {more} more"));
    }
    described.join(", ")
}

/// Returns whether the path of a removed cgroup was that of the container with this name or id, as far as the engine
/// still knows the name.
pub fn was_cgroup_of(path: &str, wanted: &str) -> bool {
    let Some(id) = id_of(path).filter(|_| is_own_cgroup(path)) else {
        return false;
    };
    is_short_id(wanted) && id.starts_with(wanted) || Files::new().ids_with_name(wanted).iter().any(|known| known == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(id: &str, name: &str, owner: u32) -> Container {
        Container {
            id: id.repeat(64 / id.len()),
            engine: Some("docker"),
            names: vec![name.to_owned()],
            directory: PathBuf::from("/sys/fs/cgroup"),
            owner,
        }
    }

    fn chosen(running: &[Container], wanted: &str) -> Result<String, Error> {
        let chosen = choose(running, wanted, || wanted == "stopped");
        chosen.map(|container| container.id).map_err(Error::from)
    }

    #[test]
    fn a_name_or_the_beginning_of_an_id_selects_a_container() {
        let running = [container("ab12", "web", 0), container("ab34", "db", 0)];
        for wanted in ["web", "ab12", "ab12ab1", &"ab12".repeat(16)] {
            assert_eq!(chosen(&running, wanted), Ok("ab12".repeat(16)), "{wanted}");
        }
    }

    #[test]
    fn an_ambiguous_id_is_refused_with_the_candidates() {
        let running = [container("abcd12ef", "web", 0), container("abcd34ef", "db", 0)];
        let error = chosen(&running, "abcd").unwrap_err();
        assert_eq!(error.to_string(), "2 running containers match 'abcd'");
        let hint = "say which by its id: db (docker abcd34efabcd), web (docker abcd12efabcd)";
        assert_eq!(error.hint(), Some(hint));
    }

    #[test]
    fn a_short_id_has_at_least_four_digits() {
        let running = [container("abcd12ef", "web", 0)];
        assert!(chosen(&running, "abc").is_err() && chosen(&running, "").is_err());
    }

    #[test]
    fn a_name_takes_precedence_over_the_beginning_of_an_id() {
        let running = [container("beef", "web", 0), container("1234", "beef", 0)];
        assert_eq!(chosen(&running, "beef"), Ok("1234".repeat(16)));
    }

    #[test]
    fn an_ordinary_user_cannot_take_the_name_of_a_container_of_root() {
        let running = [container("ab12", "web", 1000), container("ab34", "web", 0)];
        assert_eq!(chosen(&running, "web"), Ok("ab34".repeat(16)));
        assert_eq!(chosen(&running[..1], "web"), Ok("ab12".repeat(16)));
    }

    #[test]
    fn running_containers_are_listed_if_none_matches() {
        let running: Vec<Container> = (0..12)
            .map(|number| container("ab", &format!("web-{number:02}"), 0))
            .collect();
        let error = chosen(&running, "nothing").unwrap_err();
        assert_eq!(error.to_string(), "there is no running container 'nothing'");
        let hint = error.hint().unwrap();
        assert!(
            hint.starts_with("running containers: web-00 (docker abababababab), web-01"),
            "{hint}"
        );
        assert!(hint.ends_with("web-09 (docker abababababab), and 2 more"), "{hint}");
        let error = chosen(&[], "stopped").unwrap_err();
        assert!(error.to_string().contains("is not running"), "{error}");
    }
}

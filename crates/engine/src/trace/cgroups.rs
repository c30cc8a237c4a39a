//! The paths of cgroups by their numbers.

use keepalive_sys::cgroup::{self, Tree};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The cgroups that exist or existed while this value did.
#[derive(Debug)]
pub(super) struct Cgroups {
    tree: Option<Tree>,
    paths: HashMap<u64, String>,
    /// When the last reading began, and the time that it took.
    read: Option<(Instant, Duration)>,
}

/// The shortest time between two readings that an unknown number causes.
const PAUSE: Duration = Duration::from_millis(100);
/// These readings take at most one part of this many of the time.
const SHARE: u32 = 20;

impl Cgroups {
    pub(super) fn read() -> Self {
        let mut cgroups = Self {
            tree: Tree::find().ok(),
            paths: HashMap::new(),
            read: None,
        };
        cgroups.refresh();
        cgroups
    }

    /// Adds new cgroups. Those that no longer exist stay: their sockets may end later.
    pub(super) fn refresh(&mut self) {
        let begin = Instant::now();
        let Some(tree) = &self.tree else { return };
        for directory in cgroup::with_all_below(tree.mount()) {
            if let Ok(id) = cgroup::id(&directory) {
                let path = tree.name(&directory).to_string_lossy().into_owned();
                self.paths.insert(id, path);
            }
        }
        self.read = Some((begin, begin.elapsed()));
    }

    /// Returns the path of the cgroup with this number, if known.
    pub(super) fn path(&mut self, id: u64) -> Option<String> {
        let is_due = |(at, cost): (Instant, Duration)| at.elapsed() >= PAUSE.max(SHARE * cost);
        if !self.paths.contains_key(&id) && self.read.is_none_or(is_due) {
            self.refresh();
        }
        self.paths.get(&id).cloned()
    }
}

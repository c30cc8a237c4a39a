//! The user of a service, and the files that this user may read.

use super::statements::UnitFile;
use keepalive_sys::rooted::Root;
use std::path::{Path, PathBuf};

/// The limit of the size of passwd(5) and group(5), in bytes.
const LARGEST: u64 = 4 << 20;

/// A user with its groups; `None` for a user that exists only while the service runs.
struct User {
    uid: Option<u32>,
    gids: Vec<u32>,
}

/// Returns why the user of the service cannot read `file`, by the permission bits of the file and of the
/// directories on the way; `None` also if the user is unknown here.
pub(super) fn unreadable(unit: &UnitFile, root: &Root, file: &Path) -> Option<String> {
    let (statement, user) = user(unit, root)?;
    if user.uid == Some(0) {
        return None;
    }
    let ancestors: Vec<&Path> = file
        .ancestors()
        .skip(1)
        .filter(|path| path.parent().is_some())
        .collect();
    let directories = ancestors.into_iter().rev().map(|path| (path, 1));
    for (path, bit) in directories.chain([(file, 4)]) {
        // The directories above the target of a link are not examined.
        let about = root.find(path).ok()?.about().ok()??;
        let bits = if user.uid == Some(about.st_uid) {
            about.st_mode >> 6
        } else if user.gids.contains(&about.st_gid) {
            about.st_mode >> 3
        } else {
            about.st_mode
        };
        if bits & bit == 0 {
            let what = if bit == 4 { "read it" } else { "search that directory" };
            return Some(format!(
                "the user of {statement} cannot read {}: {} has mode {:04o}, which does not let it {what}",
                file.display(),
                root.outside(path).display(),
                about.st_mode & 0o7777
            ));
        }
    }
    None
}

/// Returns the user that the unit names, with the statement.
fn user(unit: &UnitFile, root: &Root) -> Option<(String, User)> {
    let groups = |names: &[&str]| -> Vec<u32> { names.iter().filter_map(|name| gid(root, name)).collect() };
    let named: Vec<&str> = ["Group", "SupplementaryGroups"]
        .iter()
        .flat_map(|name| unit.all(name))
        .flat_map(str::split_whitespace)
        .collect();
    if unit.says_yes("DynamicUser") {
        let gids = groups(&named);
        return Some((String::from("DynamicUser=yes"), User { uid: None, gids }));
    }
    let statement = unit.last("User")?;
    let lines = lines(root, "/etc/passwd");
    let name = statement.value.as_str();
    let entry = lines.iter().map(|line| line.split(':').collect::<Vec<_>>());
    let (uid, gid) = entry
        .filter(|fields| fields.len() > 3 && (fields[0] == name || fields[2] == name))
        .find_map(|fields| Some((fields[2].parse().ok()?, fields[3].parse().ok()?)))?;
    let mut gids = groups(&named);
    gids.push(gid);
    for line in self::lines(root, "/etc/group") {
        let fields: Vec<&str> = line.split(':').collect();
        if let [_, _, gid, members] = fields[..]
            && members.split(',').any(|member| member == name)
        {
            gids.extend(gid.parse::<u32>());
        }
    }
    Some((statement.describe(), User { uid: Some(uid), gids }))
}

fn gid(root: &Root, name: &str) -> Option<u32> {
    if let Ok(gid) = name.parse() {
        return Some(gid);
    }
    lines(root, "/etc/group").iter().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

fn lines(root: &Root, path: &str) -> Vec<String> {
    let content = root.read(&PathBuf::from(path), LARGEST).unwrap_or_default();
    String::from_utf8_lossy(&content).lines().map(str::to_owned).collect()
}

//! The file belongs to others too: their lines, its mode and its links stay.

use super::stage::{BACKUP, FILE, Stage, succeeded};
use crate::support::target::{Libc, TREATED, compile};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

/// With a library of somebody else in it.
fn with_company() -> Stage {
    let stage = Stage::new();
    let empty = compile(Libc::Host, "empty.c", &["-shared", "-fPIC"]);
    stage.root.install(&empty, Path::new("/usr/lib/other.so"), 0o644);
    stage
}

#[test]
fn other_lines_and_comments_stay_to_the_byte() {
    let _ = system!();
    let stage = with_company();
    for before in [
        "/usr/lib/other.so\n",
        "/usr/lib/other.so",
        "# no line feed",
        "\n\n \t/usr/lib/other.so:\n",
        "# about it\n/usr/lib/other.so\n\n\n\n\n",
    ] {
        stage.root.write(FILE, before);
        stage.does(&["enable"]);
        stage.assert_quiet(before);
        assert_eq!(stage.socket(), TREATED, "{before:?}");
        assert!(stage.read(FILE).starts_with(before), "{before:?}");
        assert_eq!(stage.read(BACKUP), before, "the file as it was");
        stage.does(&["disable"]);
        assert_eq!(stage.read(FILE), before);
    }
}

#[test]
fn mode_and_owner_stay() {
    let _ = system!();
    let stage = with_company();
    stage.root.write(FILE, "/usr/lib/other.so\n");
    let path = stage.root.outside(Path::new(FILE));
    fs::set_permissions(&path, Permissions::from_mode(0o664)).expect("a file of ours");
    chown(&path, Some(1), Some(2)).expect("root may do that");
    for words in [["enable"], ["disable"]] {
        stage.does(&words);
        let metadata = path.metadata().expect("it is there");
        assert_eq!(
            (metadata.mode() & 0o7777, metadata.uid(), metadata.gid()),
            (0o664, 1, 2),
            "{words:?}"
        );
    }
}

/// Services that SELinux confines may map the loader's cache, and no file with the context that those made in /etc get.
#[test]
fn the_file_has_the_selinux_context_of_the_loaders_cache() {
    const CONTEXT: &str = "security.selinux";
    let stage = system!();
    stage.root.write("/etc/ld.so.cache", "");
    let cache = stage.root.outside(Path::new("/etc/ld.so.cache"));
    let label = |path: &Path, context: &str| setxattr(path, CONTEXT, context.as_bytes(), XattrFlags::empty());
    if let Err(error) = label(&cache, "system_u:object_r:ld_so_cache_t:s0") {
        skip!("files cannot be labelled here: {error}");
    }
    let path = stage.root.outside(Path::new(FILE));
    let context = || {
        let mut value = [0; 64];
        let length = getxattr(&path, CONTEXT, &mut value).expect("it has one");
        String::from_utf8_lossy(&value[..length]).into_owned()
    };
    stage.does(&["enable"]);
    assert_eq!(context(), "system_u:object_r:ld_so_cache_t:s0");
    label(&path, "system_u:object_r:etc_runtime_t:s0").expect("a file of ours");
    let told = stage.does(&["enable"]);
    assert!(!told.contains("nothing has changed"), "{told}");
    assert_eq!(context(), "system_u:object_r:ld_so_cache_t:s0");
}

/// The link stays, and what it points to is replaced: that is where its owner keeps the file.
#[test]
fn a_link_stays_a_link() {
    let _ = system!();
    let stage = with_company();
    let link = stage.root.outside(Path::new(FILE));
    for (target, there) in [("../srv/preload", "/srv/preload"), ("/srv/preload", "/srv/preload")] {
        stage.root.write(there, "/usr/lib/other.so\n");
        symlink(target, &link).expect("a link of ours");
        stage.does(&["enable"]);
        assert_eq!(fs::read_link(&link).expect("still a link"), Path::new(target));
        assert!(stage.read(there).contains(&stage.copy()));
        assert_eq!(stage.socket(), TREATED);
        assert_eq!(stage.read("/srv/preload.before-keepalive"), "/usr/lib/other.so\n");
        assert!(stage.does(&["status"]).contains("/etc/ld.so.preload -> /srv/preload"));
        stage.does(&["disable"]);
        assert_eq!(fs::read_link(&link).expect("still a link"), Path::new(target));
        assert_eq!(stage.read(there), "/usr/lib/other.so\n");
        fs::remove_file(&link).expect("a link of ours");
    }
}

#[test]
fn a_link_to_nothing_is_given_what_it_points_to() {
    let stage = system!();
    let link = stage.root.outside(Path::new(FILE));
    stage.root.write("/srv/other", "");
    symlink("/srv/preload", &link).expect("a link of ours");
    stage.does(&["enable"]);
    assert_eq!(stage.socket(), TREATED);
    stage.does(&["disable"]);
    assert!(!stage.exists("/srv/preload"));
    assert!(link.symlink_metadata().expect("it stays").is_symlink());
}

/// A library of somebody else that is missing makes each program complain; that is not our doing, and said.
#[test]
fn complaints_about_others_stay_theirs() {
    let stage = system!();
    stage.root.write(FILE, "/usr/lib/none.so\n");
    let told = succeeded(&mut stage.outside(&["enable"]));
    assert!(told.contains("note: as before, "), "{told}");
    succeeded(&mut stage.outside(&["disable"]));
    assert_eq!(stage.read(FILE), "/usr/lib/none.so\n");
}

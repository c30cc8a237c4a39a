//! Other lines of the file, its mode and links stay.

use super::test_system::{BACKUP, FILE, TestSystem, succeeded};
use crate::support::target::{Libc, POLICY_VALUES, compile};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

/// Creates a system whose file names another library.
fn with_other_library() -> TestSystem {
    let system = TestSystem::new();
    let empty = compile(Libc::Host, "empty.c", &["-shared", "-fPIC"]);
    system.root.install(&empty, Path::new("/usr/lib/other.so"), 0o644);
    system
}

#[test]
fn other_lines_and_comments_stay_to_the_byte() {
    let _ = system!();
    let system = with_other_library();
    for before in [
        "/usr/lib/other.so\n",
        "/usr/lib/other.so",
        "# no line feed",
        "\n\n \t/usr/lib/other.so:\n",
        "# about it\n/usr/lib/other.so\n\n\n\n\n",
    ] {
        system.root.write(FILE, before);
        system.succeeds(&["enable"]);
        system.assert_quiet(before);
        assert_eq!(system.socket(), POLICY_VALUES, "{before:?}");
        assert!(system.read(FILE).starts_with(before), "{before:?}");
        assert_eq!(system.read(BACKUP), before, "the file as it was");
        system.succeeds(&["disable"]);
        assert_eq!(system.read(FILE), before);
    }
}

#[test]
fn mode_and_owner_stay() {
    let _ = system!();
    let system = with_other_library();
    system.root.write(FILE, "/usr/lib/other.so\n");
    let path = system.root.outside(Path::new(FILE));
    fs::set_permissions(&path, Permissions::from_mode(0o664)).expect("a file of the test");
    chown(&path, Some(1), Some(2)).expect("root may do that");
    for words in [["enable"], ["disable"]] {
        system.succeeds(&words);
        let metadata = path.metadata().expect("it is there");
        assert_eq!(
            (metadata.mode() & 0o7777, metadata.uid(), metadata.gid()),
            (0o664, 1, 2),
            "{words:?}"
        );
    }
}

/// Services that SELinux confines may map the loader's cache, but no files with the default context of /etc.
#[test]
fn file_has_the_selinux_context_of_the_loader_cache() {
    const CONTEXT: &str = "security.selinux";
    let system = system!();
    system.root.write("/etc/ld.so.cache", "");
    let cache = system.root.outside(Path::new("/etc/ld.so.cache"));
    let label = |path: &Path, context: &str| setxattr(path, CONTEXT, context.as_bytes(), XattrFlags::empty());
    if let Err(error) = label(&cache, "system_u:object_r:ld_so_cache_t:s0") {
        skip!("files cannot be labelled here: {error}");
    }
    let path = system.root.outside(Path::new(FILE));
    let context = || {
        let mut value = [0; 64];
        let length = getxattr(&path, CONTEXT, &mut value).expect("it has one");
        String::from_utf8_lossy(&value[..length]).into_owned()
    };
    system.succeeds(&["enable"]);
    assert_eq!(context(), "system_u:object_r:ld_so_cache_t:s0");
    label(&path, "system_u:object_r:etc_runtime_t:s0").expect("a file of the test");
    let printed = system.succeeds(&["enable"]);
    assert!(!printed.contains("nothing has changed"), "{printed}");
    assert_eq!(context(), "system_u:object_r:ld_so_cache_t:s0");
}

/// The link stays, and its target is replaced, because the owner keeps the file there.
#[test]
fn link_stays_a_link() {
    let _ = system!();
    let system = with_other_library();
    let link = system.root.outside(Path::new(FILE));
    for (target, there) in [("../srv/preload", "/srv/preload"), ("/srv/preload", "/srv/preload")] {
        system.root.write(there, "/usr/lib/other.so\n");
        symlink(target, &link).expect("a link of the test");
        system.succeeds(&["enable"]);
        assert_eq!(fs::read_link(&link).expect("still a link"), Path::new(target));
        assert!(system.read(there).contains(&system.copy()));
        assert_eq!(system.socket(), POLICY_VALUES);
        assert_eq!(system.read("/srv/preload.before-keepalive"), "/usr/lib/other.so\n");
        assert!(
            system
                .succeeds(&["status"])
                .contains("/etc/ld.so.preload -> /srv/preload")
        );
        system.succeeds(&["disable"]);
        assert_eq!(fs::read_link(&link).expect("still a link"), Path::new(target));
        assert_eq!(system.read(there), "/usr/lib/other.so\n");
        fs::remove_file(&link).expect("a link of the test");
    }
}

#[test]
fn target_of_a_dangling_link_is_created() {
    let system = system!();
    let link = system.root.outside(Path::new(FILE));
    system.root.write("/srv/other", "");
    symlink("/srv/preload", &link).expect("a link of the test");
    system.succeeds(&["enable"]);
    assert_eq!(system.socket(), POLICY_VALUES);
    system.succeeds(&["disable"]);
    assert!(!system.exists("/srv/preload"));
    assert!(link.symlink_metadata().expect("it stays").is_symlink());
}

/// A missing library of another line makes each program print a message; this is reported as a note.
#[test]
fn messages_about_other_libraries_are_reported_as_a_note() {
    let system = system!();
    system.root.write(FILE, "/usr/lib/none.so\n");
    let printed = succeeded(&mut system.host_command(&["enable"]));
    assert!(printed.contains("note: as before, "), "{printed}");
    succeeded(&mut system.host_command(&["disable"]));
    assert_eq!(system.read(FILE), "/usr/lib/none.so\n");
}

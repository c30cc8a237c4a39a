//! `keepalive system disable`: removes the library. It starts no program, so it works even if no program starts.

use super::change::{Aside, Change, read};
use super::line::{entries, without};
use super::place::{FILE, LIBRARY, OLD, file, is_there, leftovers, library_directories, lock};
use super::{Root, failed};
use crate::error::Error;
use crate::output::{WIDTH, print, wrap};
use keepalive_sys::rooted::Place;
use keepalive_sys::signal::block_interrupts;

/// Removes the line, then the copies.
///
/// # Errors
/// The reason of the failure; the line is removed, or nothing has changed.
pub(super) fn run(root: &Root) -> Result<(), Error> {
    let _mask = block_interrupts();
    let file = file(root)?;
    let lock = lock(root)?;
    let was_there = take_out(&file)?;
    let mut removed = Vec::new();
    // From here on, new programs do not need the copies.
    for place in copies(root).into_iter().chain(leftovers(root, &file)) {
        place.remove().map_err(|error| {
            failed("remove", &place.outside(), "unlink", &error)
                .hint("it is not used any more: remove it by hand, or run it again")
        })?;
        removed.push(place);
    }
    drop(lock);
    let mut text = String::new();
    text.push_str(&wrap(
        if was_there {
            "Programs that start from now on are without the library. Those that run with it keep it until they end."
        } else {
            "It was not enabled: there is no line of ours in /etc/ld.so.preload."
        },
        WIDTH,
        0,
    ));
    for place in removed {
        text.push_str(&wrap(&format!("removed  {}", place.inside().display()), WIDTH, 2));
    }
    print(&text)
}

/// Removes keepalive's entries from the file; returns whether there were any. Deletes a file that contains
/// nothing else.
fn take_out(file: &Place) -> Result<bool, Error> {
    let Some((text, attributes)) = read(file)? else {
        return Ok(false);
    };
    if !entries(&text).iter().any(super::line::Entry::is_ours) {
        return Ok(false);
    }
    let rest = without(&text);
    let mut change = Change::default();
    // The copy from before keepalive stays as it is: this one has the line of keepalive.
    let previous = file.beside(OLD);
    let done = if rest.is_empty() {
        change.remove(file, &Aside::None)
    } else {
        let aside = Aside::At {
            copy: &previous,
            is_kept: false,
        };
        change
            .stage(file, &rest, attributes)
            .and_then(|staged| change.put(&staged, &aside))
    };
    match done {
        Ok(()) => change.finish(),
        Err(error) => {
            let _ = change.roll_back();
            return Err(error);
        }
    }
    Ok(true)
}

/// Returns the existing copies of the library, in all library directories.
fn copies(root: &Root) -> Vec<Place> {
    let copies = library_directories(root)
        .into_iter()
        .map(|directory| Place::new(directory, LIBRARY));
    copies.filter(is_there).collect()
}

/// Returns the command line that helps if no program starts any more.
pub(super) fn rescue() -> String {
    format!("echo >{FILE}")
}

//! Why the newest version of a policy is not active. The command that watches the policy (`--watch`) stores it in a map,
//! which is pinned alongside the policy that stays active.

use super::Obstacle;
use super::description::now;
use super::directory::directory;
use super::entry::{established, pinned_if_there};
use super::lock::{Interrupts, lock};
use super::pins::{REFUSED, Target};
use keepalive_bpf::record;
use keepalive_sys::bpf::call::{MapKind, create_map, map_info, pin, set_value, value};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

/// A change of a policy that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The error with its place and hint, in lines, at most [`LONGEST`] bytes.
    pub message: String,
    /// When the error was first seen, in seconds since 1970-01-01.
    pub since: Option<u64>,
}

/// The longest message that is kept, in bytes. A file can have thousands of mistakes.
const LONGEST: usize = 4096;

impl Refusal {
    /// Creates the refusal that is seen now.
    pub fn new(message: &str) -> Self {
        let end = message.floor_char_boundary(LONGEST);
        let omitted = if end < message.len() { "…" } else { "" };
        Self {
            message: format!("{}{omitted}", &message[..end]),
            since: now(),
        }
    }
}

/// Stores the refusal with the active policy of `target`, or removes the one that is stored. Does nothing if that policy
/// does not have this program.
///
/// # Errors
/// The obstacle; then the previous refusal stays.
pub fn set(
    target: &Target,
    program: u32,
    refusal: Option<&Refusal>,
    interrupts: Interrupts<'_>,
) -> Result<(), Obstacle> {
    let (Some(all), Some(id)) = (directory()?, target.id) else {
        return Ok(());
    };
    let Some(_lock) = lock(&all, interrupts)? else {
        return Ok(());
    };
    let place = all.join(id.to_string());
    if established(&place)?.map(|link| link.program) != Some(program) {
        return Ok(());
    }
    let path = place.join(format!("{REFUSED}{program}"));
    let Some(refusal) = refusal else {
        return match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => Ok(result?),
        };
    };
    let text = serde_json::to_string(refusal).map_err(io::Error::other)?;
    let content = record::new(0, 0, &text);
    let size = content.len().try_into().map_err(io::Error::other)?;
    let map = create_map(MapKind::Single, "ka_refused", size, 1)?;
    set_value(&map, 0, &content)?;
    // A killed command may have left the first file.
    let new = place.join(format!("{REFUSED}new"));
    let _ = fs::remove_file(&new);
    pin(&map, &new)?;
    Ok(fs::rename(new, path)?)
}

/// Returns the refusal that is stored in `place` with the policy of this program, if any.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(place: &Path, program: u32) -> io::Result<Option<Refusal>> {
    let Some(map) = pinned_if_there(&place.join(format!("{REFUSED}{program}")))? else {
        return Ok(None);
    };
    let content = value(&map, map_info(&map)?.value_size)?;
    let text = record::read(&content).map(|record| record.text);
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

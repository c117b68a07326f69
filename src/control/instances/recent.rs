//! The instances of the last processes, whose connection IDs clients may still use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::fleet::InstanceId;

/// Reads them, the last one last. What is no list of instances is none.
pub(super) fn read(directory: &Path) -> Vec<InstanceId> {
    let text = fs::read_to_string(file(directory)).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.parse().map(InstanceId).ok())
        .take(REMEMBERED)
        .collect()
}

/// Writes them with one more; the oldest give way.
pub(super) fn write(
    directory: &Path,
    mut recent: Vec<InstanceId>,
    instance: InstanceId,
) -> io::Result<()> {
    recent.retain(|earlier| *earlier != instance);
    recent.push(instance);
    let first = recent.len().saturating_sub(REMEMBERED);
    let lines: Vec<_> = recent[first..].iter().map(InstanceId::to_string).collect();
    fs::write(file(directory), lines.join("\n"))
}

fn file(directory: &Path) -> PathBuf {
    directory.join("recent")
}

/// Far from 256, so that there is always a choice.
const REMEMBERED: usize = 64;

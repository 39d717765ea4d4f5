//! `kill`: a signal for the container's init, never for a process that merely has its pid. Takes no lock: a container
//! whose hook hangs in `start` must be killable.

use super::id::ContainerId;
use super::record::Record;
use super::status::{Status, Verb, permit};
use super::{Store, signal};
use crate::error::Result;

/// Sends a signal, given by name or number. `all` is accepted for a stopped container as well, where there is nothing
/// left to do.
pub fn kill(store: &Store, id: &ContainerId, signal: &str, all: bool) -> Result<()> {
    let signal = signal::parse(signal)?;
    let (dir, record) = store.load(id)?;
    let status = dir.status(&record)?;
    permit(if all { Verb::KillAll } else { Verb::Kill }, status, id.as_str())?;
    if status != Status::Stopped && send(&record, signal)? {
        return Ok(());
    }
    // It ended while we looked.
    permit(if all { Verb::KillAll } else { Verb::Kill }, Status::Stopped, id.as_str())
}

/// `false` when the init is gone. With a private pid namespace every other process ends with the init; without one
/// only a control group knows them, and this is the place that will ask it.
fn send(record: &Record, signal: i32) -> Result<bool> {
    match record.init.map_or(Ok(None), |init| init.hold())? {
        Some(init) => init.signal(signal),
        None => Ok(false),
    }
}

/// The same for every container whose id matches; the first error is told after all have been tried.
pub fn kill_matching(store: &Store, pattern: &str, signal: &str, all: bool) -> Result<()> {
    signal::parse(signal)?;
    let tried: Vec<Result<()>> = store.ids_matching(pattern)?.iter().map(|id| kill(store, id, signal, all)).collect();
    tried.into_iter().collect()
}

//! `pause` and `resume`: all processes of a container stand still, and go on.

use super::id::ContainerId;
use super::status::{Verb, permit};
use super::{Locked, Record, Store};
use crate::cgroups::freeze;
use crate::error::Result;

/// Freezes a created or running container; returns when no process of it runs any more.
pub fn pause(store: &Store, id: &ContainerId) -> Result {
    let (_dir, record) = permitted(store, id, Verb::Pause)?;
    freeze::freeze(&record.group)
}

/// Lets a paused container go on.
pub fn resume(store: &Store, id: &ContainerId) -> Result {
    let (_dir, record) = permitted(store, id, Verb::Resume)?;
    freeze::thaw(&record.group)
}

/// The lock keeps `start`, `delete` and the other of the two away until the end.
fn permitted(store: &Store, id: &ContainerId, verb: Verb) -> Result<(Locked, Record)> {
    let dir = store.find(id)?.lock()?;
    let record = dir.load()?;
    permit(verb, dir.status(&record)?, id.as_str())?;
    Ok((dir, record))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, PROGRAM};
    use super::*;

    #[test]
    fn without_a_cgroup_a_container_can_be_neither_paused_nor_resumed() {
        let fixture = Fixture::created(PROGRAM, |_| ());
        let error = pause(&fixture.store(), &fixture.id).unwrap_err().to_string();
        assert!(error.starts_with("cgroup not exist"), "{error}");
        assert_eq!(resume(&fixture.store(), &fixture.id).unwrap_err().to_string(), "container not paused");
    }

    #[test]
    fn a_stopped_container_is_not_paused() {
        let mut fixture = Fixture::created("exit 0", |_| ());
        fixture.init.wait(true).unwrap();
        assert_eq!(pause(&fixture.store(), &fixture.id).unwrap_err().to_string(), "container not running");
        assert_eq!(resume(&fixture.store(), &fixture.id).unwrap_err().to_string(), "container not paused");
    }
}

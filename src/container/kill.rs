//! `kill`: a signal for the container's init, or for all of its processes, never for a process that merely has a pid of
//! theirs. Takes no lock: a container whose hook hangs in `start` must be killable.

use super::id::ContainerId;
use super::record::Record;
use super::status::{Status, Verb, permit};
use super::{Store, signal};
use crate::cgroups::{self, freeze};
use crate::error::Result;

/// Sends a signal, given by name or number, with `all` to every process in the container's cgroup.
///
/// Where the container has no pid namespace of its own, its processes don't end with its init: SIGKILL then goes to all
/// of them, also when the init is gone already. A stopped container is no error with `all`: engines use it to clear
/// away what is left.
pub fn kill(store: &Store, id: &ContainerId, signal: &str, all: bool) -> Result<()> {
    // In this order: engines look for `does not exist`.
    let (dir, record) = store.load(id)?;
    let signal = signal::parse(signal)?;
    let verb = if all { Verb::KillAll } else { Verb::Kill };
    let status = dir.status(&record)?;
    let whole = all || signal == libc::SIGKILL && !record.private_pid_namespace;
    // Without an init on record nobody of the container has been in its cgroup.
    if status == Status::Stopped && whole && record.init.is_some() && send_to_all(&record, signal)? {
        return Ok(());
    }
    permit(verb, status, id.as_str())?;
    if status != Status::Stopped && send(&record, signal, whole)? {
        return Ok(());
    }
    // It ended while we looked.
    permit(verb, Status::Stopped, id.as_str())
}

/// `false` when nobody is left.
fn send(record: &Record, signal: i32, whole: bool) -> Result<bool> {
    if whole && send_to_all(record, signal)? {
        return Ok(true);
    }
    // The init alone, also of a container without a cgroup: nobody else can be found then.
    let sent = match record.init.map_or(Ok(None), |init| init.hold())? {
        Some(init) => init.signal(signal)?,
        None => false,
    };
    // A frozen process of version 1 dies when it runs again; other signals wait for `resume`.
    if sent && signal == libc::SIGKILL && freeze::is_frozen(&record.group)? {
        freeze::thaw(&record.group)?;
    }
    Ok(sent)
}

/// Everybody in the cgroup; `false` when that is nobody.
fn send_to_all(record: &Record, signal: i32) -> Result<bool> {
    match signal {
        libc::SIGKILL => cgroups::kill::kill(&record.group),
        _ => Ok(cgroups::kill::signal(&record.group, signal)? > 0),
    }
}

/// The same for every container whose id matches; the first error is told after all have been tried.
pub fn kill_matching(store: &Store, pattern: &str, signal: &str, all: bool) -> Result<()> {
    signal::parse(signal)?;
    let tried: Vec<Result<()>> = store.ids_matching(pattern)?.iter().map(|id| kill(store, id, signal, all)).collect();
    tried.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, PROGRAM, rewrite};
    use super::super::init::Init;
    use super::*;
    use crate::error::Error;
    use crate::sys::spawn::End;

    #[test]
    fn a_created_container_can_be_killed_and_then_no_more() {
        let mut fixture = Fixture::created(PROGRAM, |_| ());
        let store = fixture.store();
        kill(&store, &fixture.id, "0", false).unwrap();
        kill(&store, &fixture.id, "SIGKILL", false).unwrap();
        assert_eq!(fixture.init.wait(true).unwrap(), Some(End::Killed(9)));
        let error = kill(&store, &fixture.id, "KILL", false).unwrap_err();
        assert_eq!(error.to_string(), "container not running");
        kill(&store, &fixture.id, "KILL", true).unwrap();
    }

    #[test]
    fn the_signal_that_arrives_is_the_one_that_was_asked_for() {
        let mut fixture = Fixture::created(PROGRAM, |_| ());
        kill(&fixture.store(), &fixture.id, "RTMIN+3", false).unwrap();
        assert_eq!(fixture.init.wait(true).unwrap(), Some(End::Killed(37)));
    }

    #[test]
    fn a_process_that_took_the_pid_over_is_left_alone() {
        let mut fixture = Fixture::created(PROGRAM, |_| ());
        rewrite(&mut fixture, |_, record| {
            record.init = record.init.map(|init| Init { start_time: init.start_time + 1, ..init });
        });
        let error = kill(&fixture.store(), &fixture.id, "KILL", false).unwrap_err();
        assert_eq!(error.to_string(), "container not running");
        assert_eq!(fixture.init.wait(false).unwrap(), None);
    }

    #[test]
    fn a_bad_signal_is_named_before_anything_happens() {
        let fixture = Fixture::created(PROGRAM, |_| ());
        assert!(matches!(kill(&fixture.store(), &fixture.id, "FOO", false), Err(Error::UnknownSignal(_))));
        assert!(matches!(kill_matching(&fixture.store(), "none", "FOO", false), Err(Error::UnknownSignal(_))));
    }

    #[test]
    fn a_regular_expression_reaches_every_match() {
        let mut fixture = Fixture::created(PROGRAM, |_| ());
        kill_matching(&fixture.store(), "^db", "KILL", false).unwrap();
        assert_eq!(fixture.init.wait(false).unwrap(), None);
        kill_matching(&fixture.store(), "^w", "KILL", false).unwrap();
        assert_eq!(fixture.init.wait(true).unwrap(), Some(End::Killed(9)));
    }
}

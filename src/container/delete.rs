//! `delete`: takes a container's last traces away. Also the way that a failed `start` goes.

use std::time::Duration;

use super::dir::{Locked, StateDir};
use super::id::ContainerId;
use super::record::Record;
use super::status::{Status, Verb, permit};
use super::{Store, Warning};
use crate::cgroups::remove::{Members, remove};
use crate::cgroups::{freeze, rdt};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::process::hooks::{Kind, Place, run_hooks};

/// How long a killed init may take to go. It is gone in milliseconds unless its memory is huge or a file system hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes a stopped or created container, with `force` any: a running one is killed, a damaged one removed, and one
/// that doesn't exist is no error (engines clean up by calling this twice).
pub fn delete(store: &Store, id: &ContainerId, force: bool, warnings: &mut Vec<Warning>) -> Result<()> {
    match delete_existing(store, id, force, warnings) {
        // Maybe its `create` was killed before it had a name.
        Err(Error::NoSuchContainer { .. }) if force => store.sweep(),
        done => done,
    }
}

fn delete_existing(store: &Store, id: &ContainerId, force: bool, warnings: &mut Vec<Warning>) -> Result<()> {
    let dir = store.find(id)?;
    let dir = if force { lock_by_force(dir)? } else { dir.lock()? };
    let record = match dir.load() {
        Ok(record) => record,
        Err(error @ Error::DamagedState { .. }) if force => {
            warnings.push(Warning {
                field: Field::RUNTIME,
                text: format!("{error}; its directory is removed, and a process of it may be left"),
            });
            return dir.remove();
        }
        Err(error) => return Err(error),
    };
    permit(if force { Verb::DeleteForce } else { Verb::Delete }, dir.status(&record)?, id.as_str())?;
    // Who is in the cgroup of a container that had a pid namespace of its own, and outlived its init, came from
    // elsewhere: only force ends it.
    let members = if force || !record.private_pid_namespace { Members::Kill } else { Members::Spare };
    destroy(&dir, &record, members, warnings)
}

/// The same for every container whose id matches; the first error is told after all have been tried.
pub fn delete_matching(store: &Store, pattern: &str, force: bool, warnings: &mut Vec<Warning>) -> Result<()> {
    let tried: Vec<Result<()>> =
        store.ids_matching(pattern)?.iter().map(|id| delete(store, id, force, warnings)).collect();
    tried.into_iter().collect()
}

/// A `create` or `start` that hangs in a hook of the init holds the lock; killing the init ends it.
fn lock_by_force(dir: StateDir) -> Result<Locked> {
    match dir.try_lock()? {
        Ok(locked) => Ok(locked),
        Err(dir) => {
            // A record that can't be read has no init to kill; the lock is then waited for alone.
            if let Ok(record) = dir.load() {
                end(&record)?;
            }
            dir.lock()
        }
    }
}

/// Kills and awaits the init, if there is one.
fn end(record: &Record) -> Result<()> {
    let Some(init) = record.init.map_or(Ok(None), |init| init.hold())? else { return Ok(()) };
    if !init.signal(libc::SIGKILL)? {
        return Ok(());
    }
    // A frozen process ends when it runs again; in version 1 it would wait for that for ever.
    if freeze::is_frozen(&record.group)? {
        freeze::thaw(&record.group)?;
    }
    match init.wait_gone(PATIENCE)? {
        true => Ok(()),
        false => Err(Error::WrongStatus("container init still running".to_owned())),
    }
}

/// Ends the init, removes the cgroups and the container's directory and runs the poststop hooks. A hook that fails is a
/// warning, and the deletion goes on (runtime-spec, "Lifecycle", step 13).
pub fn destroy(dir: &Locked, record: &Record, members: Members, warnings: &mut Vec<Warning>) -> Result<()> {
    end(record)?;
    remove_cgroups(record, members, warnings)?;
    record.rdt.as_ref().map_or(Ok(()), rdt::remove)?;
    dir.remove()?;
    let state = record.state_json(Status::Stopped);
    for (index, hook) in record.poststop.iter().enumerate() {
        // One by one: a failed hook doesn't keep the next from running.
        let place = Place::Runtime { cwd: None, init: None };
        if let Err(error) = run_hooks(Kind::Poststop, std::slice::from_ref(hook), &state, place) {
            warnings.push(Warning { field: Kind::Poststop.field(index), text: with_index(error, index).to_string() });
        }
    }
    Ok(())
}

/// A `create` that was killed before it noted an init may not have got as far as to own its cgroups: whoever is in them
/// may be somebody else's, and then they stay.
fn remove_cgroups(record: &Record, members: Members, warnings: &mut Vec<Warning>) -> Result<()> {
    if record.init.is_some() {
        return remove(&record.group, members);
    }
    if let Err(error) = remove(&record.group, Members::Spare) {
        warnings.push(Warning::plain(format!("{error}; the container had no process yet, so it is left alone")));
    }
    Ok(())
}

/// The hook's number in config.json; a hook that is run alone counts as the first.
fn with_index(error: Error, number: usize) -> Error {
    match error {
        Error::Hook { kind, how, stdout, stderr, .. } => {
            Error::Hook { kind, index: number, how, stdout, stderr, field: Kind::Poststop.field(number) }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, PROGRAM, rewrite};
    use super::*;

    fn delete(fixture: &Fixture, force: bool) -> (Result<(), String>, Vec<Warning>) {
        let mut warnings = Vec::new();
        let result = super::delete(&fixture.store(), &fixture.id, force, &mut warnings);
        (result.map_err(|e| e.to_string()), warnings)
    }

    #[test]
    fn a_created_container_is_deleted_and_its_init_killed() {
        let fixture = Fixture::created(PROGRAM, |_| ());
        assert_eq!(delete(&fixture, false), (Ok(()), vec![]));
        assert!(!fixture.exists());
        assert!(!fixture.record.init.unwrap().alive().unwrap());
        assert_eq!(delete(&fixture, false).0.unwrap_err(), "container does not exist");
        assert_eq!(delete(&fixture, true), (Ok(()), vec![]));
    }

    #[test]
    fn a_running_container_needs_force() {
        let fixture = Fixture::created(PROGRAM, |_| ());
        super::super::start::start(&fixture.store(), &fixture.id, &|_| None, None, &mut Vec::new()).unwrap();
        assert_eq!(delete(&fixture, false).0.unwrap_err(), "cannot delete container web that is not stopped: running");
        assert!(fixture.exists());
        assert_eq!(delete(&fixture, true), (Ok(()), vec![]));
        assert!(!fixture.exists());
    }

    #[test]
    fn a_failed_poststop_hook_is_a_warning_and_the_next_one_runs() {
        let mut fixture = Fixture::created("exit 0", |_| ());
        rewrite(&mut fixture, |fixture, record| {
            record.poststop = vec![fixture.hook("first", 3), fixture.hook("second", 0), fixture.hook("third", 4)];
        });
        fixture.init.wait(true).unwrap();
        let (result, warnings) = delete(&fixture, false);
        result.unwrap();
        assert!(!fixture.exists());
        assert!(fixture.noted("second").contains("\"status\":\"stopped\",\"pid\":0"));
        let texts: Vec<_> = warnings.iter().map(|w| (w.field.pointer(), w.text.as_str())).collect();
        assert_eq!(texts[0].0, "/hooks/poststop/0");
        assert_eq!(texts[1].0, "/hooks/poststop/2");
        assert!(texts[1].1.starts_with("error running poststop hook #2: exit status 4"), "{texts:?}");
    }

    #[test]
    fn a_damaged_container_goes_by_force_only() {
        let fixture = Fixture::created(PROGRAM, |_| ());
        for damage in ["", "{", "{\"version\":1}"] {
            std::fs::write(fixture.root.path().join("state/web/state.json"), damage).unwrap();
            assert!(delete(&fixture, false).0.unwrap_err().contains("is damaged"));
        }
        let (result, warnings) = delete(&fixture, true);
        result.unwrap();
        assert!(warnings[0].text.contains("is damaged"), "{warnings:?}");
        assert!(!fixture.exists());
    }

    #[test]
    fn what_a_killed_create_leaves_can_be_deleted() {
        let mut fixture = Fixture::created(PROGRAM, |record| record.creating = true);
        // Its init still waits: that is for `--force`.
        assert_eq!(delete(&fixture, false).0.unwrap_err(), "cannot delete container web that is not stopped: creating");
        fixture.init.kill_group();
        fixture.init.wait(true).unwrap();
        assert_eq!(delete(&fixture, false), (Ok(()), vec![]));
        assert!(!fixture.exists());
    }

    #[test]
    fn a_container_whose_pid_was_reused_is_deleted_and_the_stranger_lives() {
        let mut fixture = Fixture::created(PROGRAM, |record| {
            record.init = record.init.map(|init| super::super::init::Init { start_time: init.start_time + 1, ..init });
        });
        assert_eq!(delete(&fixture, true), (Ok(()), vec![]));
        assert_eq!(fixture.init.wait(false).unwrap(), None);
    }

    #[test]
    fn a_regular_expression_deletes_every_match() {
        let fixture = Fixture::created(PROGRAM, |_| ());
        delete_matching(&fixture.store(), "^db", true, &mut Vec::new()).unwrap();
        assert!(fixture.exists());
        delete_matching(&fixture.store(), "e", true, &mut Vec::new()).unwrap();
        assert!(!fixture.exists());
    }
}

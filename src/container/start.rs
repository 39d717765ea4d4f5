//! `start`: lets a created container's init go on to its program, then runs the poststart hooks.

use std::path::Path;

use super::dir::{Locked, STEPS};
use super::fifo::{self, Released};
use super::id::ContainerId;
use super::init::LiveInit;
use super::record::Record;
use super::status::{Status, Verb, permit};
use super::{Store, Warning, delete, notify, oom};
use crate::cgroups::remove::Members;
use crate::error::{Error, Result};
use crate::process::hooks::{Kind, Place, run_hooks};
use crate::request::NotifyAddress;

/// Reads the step page and says what went wrong between the exec fifo and the program; `None` when the program was
/// reached. An init that was killed on the way is for this function to notice, because only the page knows.
pub type StartFault<'a> = &'a dyn Fn(&Path) -> Option<Error>;

/// Starts a created container. A failed poststart hook stops and deletes it (runtime-spec 1.3, "Lifecycle", step 9);
/// the warnings are those of that deletion.
///
/// A container whose readiness somebody waits for is waited for, and what it says goes to `notify`, else to where
/// `create` was told.
pub fn start(
    store: &Store,
    id: &ContainerId,
    fault: StartFault,
    notify: Option<NotifyAddress>,
    warnings: &mut Vec<Warning>,
) -> Result<()> {
    let dir = store.find(id)?.lock()?;
    let record = dir.load()?;
    permit(Verb::Start, dir.status(&record)?, id.as_str())?;
    if !record.has_process {
        let text = "cannot start a container without a process: its config.json has no `process`";
        return Err(Error::WrongStatus(text.to_owned()));
    }
    // Before the program runs: it may be ready at once.
    let socket = record.notify_socket.as_ref().map(|_| notify::bind(&dir)).transpose()?;
    release(&dir, &record, fault)?;
    run_poststart(&dir, &record, warnings)?;
    // Others may use the container while it makes itself ready.
    drop(dir);
    notify::wait_until_ready(socket, &record, notify, warnings)
}

/// The end of a `run`'s start: its program runs, so the poststart hooks are due.
pub fn started(store: &Store, id: &ContainerId, record: &Record, warnings: &mut Vec<Warning>) -> Result<()> {
    match record.poststart.is_empty() {
        true => Ok(()),
        false => run_poststart(&store.find(id)?.lock()?, record, warnings),
    }
}

fn run_poststart(dir: &Locked, record: &Record, warnings: &mut Vec<Warning>) -> Result<()> {
    let state = record.state_json(Status::Running);
    let place = Place::Runtime { cwd: Some(&record.bundle), init: None };
    run_hooks(Kind::Poststart, &record.poststart, &state, place)
        .or_else(|error| delete::destroy(dir, record, Members::Kill, warnings).and(Err(error)))
}

fn release(dir: &Locked, record: &Record, fault: StartFault) -> Result<()> {
    let stopped = || permit(Verb::Start, Status::Stopped, &record.id);
    let Some(init) = held(record)? else { return stopped() };
    let Some(writer) = fifo::open(dir)? else {
        // Either the init has just died, or an earlier `start` did before it could tidy up.
        return match held(record)? {
            None => stopped(),
            Some(_) => dir.remove_file(fifo::NAME).and_then(|()| permit(Verb::Start, Status::Running, &record.id)),
        };
    };
    let released = fifo::release(&writer, &init)?;
    if let Some(error) = fault(&dir.path().join(STEPS)) {
        return Err(oom::explain(error, &record.group));
    }
    if released == Released::NeverWoke {
        return Err(Error::WrongStatus("the container's init ended before it could be started".to_owned()));
    }
    dir.remove_file(fifo::NAME)?;
    dir.remove_file(STEPS)
}

fn held(record: &Record) -> Result<Option<LiveInit>> {
    record.init.map_or(Ok(None), |init| init.hold())
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use nix::fcntl::OFlag;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::stat::Mode;

    use super::super::fixture::{Fixture, PROGRAM, rewrite};
    use super::*;

    fn no_fault(_: &Path) -> Option<Error> {
        None
    }

    fn start(fixture: &Fixture, fault: StartFault) -> Result<(), String> {
        super::start(&fixture.store(), &fixture.id, fault, None, &mut Vec::new()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_created_container_runs_after_start_and_starts_only_once() {
        let fixture = Fixture::created(PROGRAM, |_| ());
        assert_eq!(fixture.status(), "created");
        start(&fixture, &no_fault).unwrap();
        assert_eq!(fixture.status(), "running");
        assert!(!fixture.root.path().join("state/web/exec.fifo").exists());
        assert_eq!(start(&fixture, &no_fault).unwrap_err(), "cannot start an already running container");
    }

    #[test]
    fn of_two_starts_at_once_exactly_one_wins() {
        let fixture = Fixture::created(PROGRAM, |_| ());
        let results = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| start(&fixture, &no_fault))).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "{results:?}");
        for refused in results.into_iter().filter_map(Result::err) {
            assert_eq!(refused, "cannot start an already running container");
        }
    }

    #[test]
    fn a_program_that_ends_at_once_was_started_all_the_same() {
        let fixture = Fixture::created("head -c1 >/dev/null; exec </dev/null true", |_| ());
        start(&fixture, &no_fault).unwrap();
    }

    #[test]
    fn what_the_step_page_says_is_the_error() {
        let fixture = Fixture::created("head -c1 >/dev/null; exit 1", |_| ());
        let fault = |page: &Path| {
            assert!(page.ends_with("state/web/steps"));
            Some(Error::WrongStatus("execve failed".into()))
        };
        assert_eq!(start(&fixture, &fault).unwrap_err(), "execve failed");
    }

    #[test]
    fn a_container_without_a_process_cannot_be_started_and_stays_created() {
        let fixture = Fixture::created(PROGRAM, |record| record.has_process = false);
        assert!(start(&fixture, &no_fault).unwrap_err().contains("`process`"));
        assert_eq!(fixture.status(), "created");
    }

    #[test]
    fn an_init_that_died_waiting_has_stopped() {
        let mut fixture = Fixture::created("exit 0", |_| ());
        fixture.init.wait(true).unwrap();
        assert_eq!(fixture.status(), "stopped");
        assert_eq!(start(&fixture, &no_fault).unwrap_err(), "cannot start a container that has stopped");
    }

    /// A reader of the fifo besides the init; while it is open POLLERR doesn't come.
    fn second_reader(fixture: &Fixture) -> OwnedFd {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        nix::fcntl::open(&fixture.root.path().join("state/web/exec.fifo"), flags, Mode::empty()).unwrap()
    }

    #[test]
    fn an_init_killed_before_it_woke_is_told_from_one_that_started() {
        let fixture = Fixture::created("exec sleep 600", |_| ());
        let reader = second_reader(&fixture);
        let error = std::thread::scope(|scope| {
            let starting = scope.spawn(|| start(&fixture, &no_fault));
            // The byte is there: `start` waits now, holding the lock, and `kill` must get through.
            let mut polled = [PollFd::new(std::os::fd::AsFd::as_fd(&reader), PollFlags::POLLIN)];
            poll(&mut polled, PollTimeout::from(20_000u16)).unwrap();
            super::super::kill::kill(&fixture.store(), &fixture.id, "KILL", false).unwrap();
            starting.join().unwrap().unwrap_err()
        });
        assert_eq!(error, "the container's init ended before it could be started");
    }

    #[test]
    fn a_forced_delete_ends_a_start_that_hangs() {
        let fixture = Fixture::created("exec sleep 600", |_| ());
        let reader = second_reader(&fixture);
        std::thread::scope(|scope| {
            let starting = scope.spawn(|| start(&fixture, &no_fault));
            let mut polled = [PollFd::new(std::os::fd::AsFd::as_fd(&reader), PollFlags::POLLIN)];
            poll(&mut polled, PollTimeout::from(20_000u16)).unwrap();
            delete::delete(&fixture.store(), &fixture.id, true, &mut Vec::new()).unwrap();
            starting.join().unwrap().unwrap_err();
        });
        assert!(!fixture.exists());
    }

    #[test]
    fn a_start_that_died_before_its_byte_wakes_nobody() {
        let fixture = Fixture::created(PROGRAM, |_| ());
        let dir = fixture.store().find(&fixture.id).unwrap();
        drop(fifo::open(&dir).unwrap().unwrap());
        assert_eq!(fixture.status(), "created");
        start(&fixture, &no_fault).unwrap();
        assert_eq!(fixture.status(), "running");
    }

    #[test]
    fn a_start_that_died_after_its_byte_is_tidied_up_by_the_next() {
        let fixture = Fixture::created("exec </dev/null sleep 600", |_| ());
        let dir = fixture.store().find(&fixture.id).unwrap();
        // The init has let go of the fifo, and nobody has removed it.
        while fifo::open(&dir).unwrap().is_some() {
            std::thread::yield_now();
        }
        assert_eq!(fixture.status(), "created");
        assert_eq!(start(&fixture, &no_fault).unwrap_err(), "cannot start an already running container");
        assert_eq!(fixture.status(), "running");
    }

    #[test]
    fn poststart_hooks_see_a_running_container() {
        let mut fixture = Fixture::created(PROGRAM, |_| ());
        rewrite(&mut fixture, |fixture, record| record.poststart = vec![fixture.hook("note", 0)]);
        start(&fixture, &no_fault).unwrap();
        let state = fixture.noted("note");
        assert!(state.contains("\"status\":\"running\""), "{state}");
        assert!(state.contains(&format!("\"pid\":{}", fixture.init.pid())), "{state}");
    }

    #[test]
    fn a_failed_poststart_hook_stops_and_deletes_the_container() {
        let mut fixture = Fixture::created(PROGRAM, |_| ());
        rewrite(&mut fixture, |fixture, record| {
            record.poststart = vec![fixture.hook("note", 4)];
            record.poststop = vec![fixture.hook("after", 5)];
        });
        let mut warnings = Vec::new();
        let error = super::start(&fixture.store(), &fixture.id, &no_fault, None, &mut warnings).unwrap_err();
        assert_eq!(error.to_string(), "error running poststart hook #0: exit status 4, stdout: said, stderr: ");
        assert!(!fixture.exists());
        assert!(!fixture.record.init.unwrap().alive().unwrap());
        assert!(fixture.noted("after").contains("\"status\":\"stopped\""));
        assert_eq!(warnings[0].field.pointer(), "/hooks/poststop/0");
    }
}

//! `start`: lets a created container's init go on to its program, then runs the poststart hooks.

use std::path::Path;

use super::dir::{Locked, STEPS};
use super::fifo::{self, Released};
use super::id::ContainerId;
use super::init::LiveInit;
use super::record::Record;
use super::status::{Status, Verb, permit};
use super::{Store, Warning, delete};
use crate::error::{Error, Result};
use crate::process::hooks::{Kind, Place, run_hooks};

/// Reads the step page and says what went wrong between the exec fifo and the program; `None` when the program was
/// reached. An init that was killed on the way is for this function to notice, because only the page knows.
pub type StartFault<'a> = &'a dyn Fn(&Path) -> Option<Error>;

/// Starts a created container. A failed poststart hook stops and deletes it (runtime-spec 1.3, "Lifecycle", step 9);
/// the warnings are those of that deletion.
pub fn start(store: &Store, id: &ContainerId, fault: StartFault, warnings: &mut Vec<Warning>) -> Result<()> {
    let dir = store.find(id)?.lock()?;
    let record = dir.load()?;
    permit(Verb::Start, dir.status(&record)?, id.as_str())?;
    if !record.has_process {
        let text = "cannot start a container without a process: its config.json has no `process`";
        return Err(Error::WrongStatus(text.to_owned()));
    }
    release(&dir, &record, fault)?;
    let state = record.state_json(Status::Running);
    let place = Place::Runtime { cwd: Some(&record.bundle) };
    run_hooks(Kind::Poststart, &record.poststart, &state, place)
        .or_else(|error| delete::destroy(dir, &record, warnings).and(Err(error)))
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
        return Err(error);
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

//! Brings one more process into a container that is there. Nothing of it is recorded: it is a member of the container's
//! cgroups and namespaces, by which every other verb finds it.
//!
//! Takes no lock: a hook of `start` may call it. A container that goes meanwhile takes the process along, or the launch fails.

use std::os::fd::IntoRawFd;
use std::path::Path;

use super::init::LiveInit;
use super::status::{Status, Verb, permit};
use super::{ContainerId, Record, Store, Warning};
use crate::error::{Doing, Error, Result};
use crate::plan::{Op, Plan};
use crate::process::Op as ProcessOp;
use crate::process::init::Injection;
use crate::process::launch::{self, Launch, Launched, Milestone, Who};
use crate::sys::wait;

/// A container that can be entered, held by its init.
pub struct Entrance {
    dir: super::dir::StateDir,
    pub record: Record,
    status: Status,
    init: LiveInit,
    pub pid: i32,
}

impl Entrance {
    /// Finds the container and takes hold of its init.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`]; [`Error::WrongStatus`] unless it is created or running, or with `ignore_paused` paused.
    pub fn open(store: &Store, id: &ContainerId, ignore_paused: bool) -> Result<Entrance> {
        let (dir, record) = store.load(id)?;
        let status = dir.status(&record)?;
        if status != Status::Paused || !ignore_paused {
            permit(Verb::Exec, status, id.as_str())?;
        }
        let stopped = || permit(Verb::Exec, Status::Stopped, id.as_str()).err();
        let held = record.init.map(|init| init.hold().map(|held| (init.pid, held))).transpose()?;
        match held {
            Some((pid, Some(init))) => Ok(Entrance { dir, record, status, init, pid }),
            _ => Err(stopped().unwrap_or_else(|| Error::NoSuchContainer { id: id.to_string() })),
        }
    }

    /// The bytes of the config.json that the container was created with.
    pub fn config(&self) -> Result<Vec<u8>> {
        self.dir.read_config()
    }

    /// Carries the plan out, down to the program. `settled` is called right before that begins. What is wrong beside the error
    /// goes to `warnings`.
    ///
    /// # Errors
    /// Nothing of the process is left then.
    pub fn launch(
        &self,
        plan: &Plan,
        injections: &[Injection],
        take_terminal: bool,
        settled: &mut dyn FnMut() -> Result,
        warnings: &mut Vec<Warning>,
    ) -> Result<Launched> {
        let init =
            self.init.pidfd().map(|fd| fd.try_clone_to_owned()).transpose().doing(|| "hold the container's init")?;
        let init = init.map(IntoRawFd::into_raw_fd);
        let mut born = None;
        let mut record = |milestone: Milestone| match milestone {
            Milestone::Born(pid) => {
                born = Some(pid);
                Ok(())
            }
            // Had somebody else got its pid meanwhile, then what was found by that number was not the container's.
            Milestone::Settled if self.gone()? => Err(self.stopped()),
            Milestone::Settled => settled(),
            Milestone::Mounted(_) => Ok(()),
        };
        let launch = Launch {
            plan,
            state: self.record.state_json(self.status),
            fifo: None,
            init,
            who: Who::Exec,
            cache: Some(self.dir.root()),
            page: None,
            injections,
            record: &mut record,
            given: Vec::new(),
            limit: None,
        };
        launch::launch(launch, take_terminal).map_err(|failure| {
            undo(plan, failure.pid, born, warnings);
            // Whatever a call had to say about it, this is the reason.
            if self.gone().unwrap_or(false) { self.stopped() } else { failure.error }
        })
    }

    fn gone(&self) -> Result<bool> {
        Ok(!self.record.init.map_or(Ok(false), |init| init.alive())?)
    }

    fn stopped(&self) -> Error {
        let refused = permit(Verb::Exec, Status::Stopped, &self.record.id);
        refused.err().unwrap_or_else(|| Error::NoSuchContainer { id: self.record.id.clone() })
    }
}

/// Whether a pid file holds this pid.
fn is_of(path: &Path, pid: Option<i32>) -> bool {
    pid.is_some_and(|pid| std::fs::read(path).is_ok_and(|text| text == pid.to_string().as_bytes()))
}

/// `pid`: the process that is still to be killed; `born`: who it was, in any case.
fn undo(plan: &Plan, pid: Option<i32>, born: Option<i32>, warnings: &mut Vec<Warning>) {
    for step in &plan.undo {
        match &step.op {
            Op::Process(ProcessOp::KillInit) => pid.into_iter().for_each(wait::kill_and_reap),
            // An older one is another process's.
            Op::Process(ProcessOp::RemovePidFile { path }) if !is_of(path, born) => {}
            Op::Process(ProcessOp::RemovePidFile { path }) => match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    warnings.push(Warning::new(step.field.clone(), format!("remove {}: {error}", path.display())));
                }
                _ => {}
            },
            _ => {}
        }
    }
}

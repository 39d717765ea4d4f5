//! Brings one more process into a container that is there. Nothing of it is recorded: it is a member of the container's
//! cgroups and namespaces, by which every other verb finds it.
//!
//! Takes no lock: a hook of `start` may call it. A container that goes meanwhile takes the process along, or the launch fails.

use std::os::fd::IntoRawFd;

use super::init::LiveInit;
use super::status::{Status, Verb, permit};
use super::{ContainerId, Record, Store, Warning};
use crate::error::{Error, Result};
use crate::plan::{Op, Plan};
use crate::process::Op as ProcessOp;
use crate::process::init::Injection;
use crate::process::launch::{self, Launch, Launched};
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

    /// Carries the plan out, down to the program. What is wrong beside the error goes to `warnings`.
    ///
    /// # Errors
    /// Nothing of the process is left then.
    pub fn launch(
        &self,
        plan: &Plan,
        injections: &[Injection],
        take_terminal: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<Launched> {
        let init = self.init.pidfd().and_then(|fd| fd.try_clone_to_owned().ok()).map(IntoRawFd::into_raw_fd);
        let launch = Launch {
            plan,
            state: self.record.state_json(self.status),
            fifo: None,
            init,
            exec: true,
            cache: Some(self.dir.root()),
            page: None,
            injections,
            record: &mut |_| Ok(()),
        };
        launch::launch(launch, take_terminal).map_err(|failure| {
            undo(plan, failure.pid, warnings);
            // Whatever a call had to say about it, this is the reason.
            let gone = !self.record.init.is_some_and(|init| init.alive().unwrap_or(true));
            match permit(Verb::Exec, Status::Stopped, &self.record.id) {
                Err(stopped) if gone => stopped,
                _ => failure.error,
            }
        })
    }
}

fn undo(plan: &Plan, pid: Option<i32>, warnings: &mut Vec<Warning>) {
    for step in &plan.undo {
        match &step.op {
            Op::Process(ProcessOp::KillInit) => pid.into_iter().for_each(wait::kill_and_reap),
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

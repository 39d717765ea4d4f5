//! `mounts`: mounts that come into a container that is there, and go out of it again. What was added is on record in the
//! container's directory, in `mounts.json`.
//!
//! Holds the container's lock while it changes anything. All is mounted and on record, or nothing is: the child that mounts
//! hands every mount over before it attaches it, takes all off again when it fails, and for one that is killed, or takes too
//! long, another does. Only who kills both the child and its caller leaves mounts that are on no record.

mod added;

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::dir::{Locked, StateDir};
use super::init::LiveInit;
use super::status::{Status, Verb, permit};
use super::{ContainerId, Record, Store, Warning};
use crate::error::{Doing, Error, Result, Violation};
use crate::fault::Call;
use crate::field::Field;
use crate::host::mountinfo;
use crate::plan::mounts::Wanted;
use crate::plan::{self, Op, Plan};
use crate::process::Op as ProcessOp;
use crate::process::init::Injection;
use crate::process::launch::{self, Announced, Failure, Launch, Launched, Milestone, Who};
use crate::sys::file::MountId;
use crate::sys::{file, mount, wait};

pub use crate::host::mountinfo::Mounted;
pub use added::{Added, Asked, Chosen, choose, cleaned};

/// What was added to a container, whether it is mounted still or not.
pub fn added(dir: &StateDir) -> Result<Vec<Added>> {
    dir.read_mounts()?.map_or_else(|| Ok(Vec::new()), |bytes| added::parse(dir.id().as_str(), &bytes))
}

/// What is mounted in a container, and of it what was added. Takes no lock.
///
/// # Errors
/// [`Error::NoSuchContainer`]; [`Error::WrongStatus`] unless it lives.
pub fn list(store: &Store, id: &ContainerId) -> Result<Vec<(Mounted, Option<Added>)>> {
    let (dir, record) = store.load(id)?;
    let status = dir.status(&record)?;
    let held = Held::new(&record, status)?;
    let added = held.look_for(added(&dir)?);
    let of = |mounted: Mounted| {
        let added = added.iter().rev().find(|added| added.is(&mounted)).cloned();
        (mounted, added)
    };
    Ok(held.mounted()?.into_iter().map(of).collect())
}

/// The init of a container that lives.
struct Held<'a> {
    record: &'a Record,
    init: LiveInit,
    pid: i32,
}

impl Held<'_> {
    /// Asks the kernel which of these are still there.
    fn look_for(&self, mut added: Vec<Added>) -> Vec<Added> {
        added.iter_mut().for_each(|added| added.gone = self.is_there(added) == Some(false));
        added
    }

    /// Whether a mount is in the container, by the number that is never given again; `None` where the kernel can't tell.
    fn is_there(&self, added: &Added) -> Option<bool> {
        self.holds(added.unique)
    }

    fn holds(&self, unique: Option<u64>) -> Option<bool> {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/mnt", self.pid)).ok()?;
        mount::is_in(namespace.as_raw_fd(), unique?)
    }

    fn new(record: &Record, status: Status) -> Result<Held<'_>> {
        permit(Verb::Mounts, status, &record.id)?;
        let held = record.init.map(|init| init.hold().map(|held| (init.pid, held))).transpose()?;
        match held {
            Some((pid, Some(init))) => Ok(Held { record, init, pid }),
            _ => Err(stopped(record)),
        }
    }

    fn mounted(&self) -> Result<Vec<Mounted>> {
        let path = format!("/proc/{}/mountinfo", self.pid);
        let read = std::fs::read(&path);
        // Had it ended, the file could be that of a process that has only got its pid.
        if gone(self.record)? {
            return Err(stopped(self.record));
        }
        read.map(|bytes| mountinfo::parse(&bytes)).map_err(|e| Error::io(format!("read {path}"), Call::Open, &e))
    }
}

fn target(wanted: &Wanted) -> &Path {
    Path::new(OsStr::from_bytes(wanted.path.to_bytes()))
}

fn end(pid: i32) {
    wait::kill_and_reap_within(pid, LAST);
}

fn gone(record: &Record) -> Result<bool> {
    Ok(!record.init.map_or(Ok(false), |init| init.alive())?)
}

fn stopped(record: &Record) -> Error {
    let refused = permit(Verb::Mounts, Status::Stopped, &record.id);
    refused.err().unwrap_or_else(|| Error::NoSuchContainer { id: record.id.clone() })
}

/// A container that can be mounted in, locked, and held by its init.
pub struct Entrance {
    dir: Locked,
    pub record: Record,
    status: Status,
    init: LiveInit,
    pub pid: i32,
    patience: Duration,
}

/// How long a child that was killed may take to end.
const LAST: Duration = Duration::from_secs(2);

impl Entrance {
    /// Waits for the container's lock. What is done in the container may take as long as `patience`: its processes may be
    /// able to stop whoever does it.
    ///
    /// # Errors
    /// As [`list`].
    pub fn open(store: &Store, id: &ContainerId, patience: Duration) -> Result<Entrance> {
        let dir = store.find(id)?.lock()?;
        let record = dir.load()?;
        let status = dir.status(&record)?;
        let Held { init, pid, .. } = Held::new(&record, status)?;
        Ok(Entrance { dir, record, status, init, pid, patience })
    }

    /// The bytes of the config.json that the container was created with.
    pub fn config(&self) -> Result<Vec<u8>> {
        self.dir.read_config()
    }

    /// What was added, and of it what is there no longer.
    pub fn added(&self) -> Result<Vec<Added>> {
        Ok(self.held()?.look_for(added(&self.dir)?))
    }

    pub fn mounted(&self) -> Result<Vec<Mounted>> {
        self.held()?.mounted()
    }

    fn held(&self) -> Result<Held<'_>> {
        Ok(Held { record: &self.record, init: self.init.try_clone()?, pid: self.pid })
    }

    /// Adds mounts, all or none: `entries` are what asked for them, as [`Added::mount`] has it, and `retreat` plans what
    /// takes them off again. What is wrong beside the error goes to `warnings`.
    pub fn add(
        &self,
        added: &plan::mounts::Added,
        entries: &[Value],
        retreat: &dyn Fn(&Plan) -> Plan,
        injections: &[Injection],
        warnings: &mut Vec<Warning>,
    ) -> Result<Launched> {
        let before = self.added()?;
        let mut record = |milestone: Milestone| match milestone {
            Milestone::Mounted(announced) => self.note(before.clone(), announced, added, entries),
            Milestone::Born(_) | Milestone::Settled => Ok(()),
        };
        self.launch(&added.plan, Vec::new(), injections, &mut record)
            .map_err(|failure| self.undo(&added.plan, failure, retreat, warnings))
    }

    /// Writes down what is mounted now. What isn't (a symbolic link that was copied, a mount that the container has taken off
    /// in this moment) is left out.
    fn note(
        &self,
        mut before: Vec<Added>,
        announced: &[Announced],
        planned: &plan::mounts::Added,
        entries: &[Value],
    ) -> Result {
        let mounted = self.mounted()?;
        before.retain(|added| mounted.iter().any(|mounted| added.is(mounted)));
        let mut noted = Vec::new();
        for Announced { slot, mount } in announced {
            let Some((_, number)) = planned.mounts.iter().find(|(held, _)| held == slot) else { continue };
            // One entry can be several mounts, of which the first holds the others.
            if noted.contains(number) {
                continue;
            }
            let known = file::mount_id(mount.as_raw_fd())
                .map_err(|trouble| Error::os("tell the mount from others", trouble))?;
            let found = mounted.iter().find(|mounted| mounted.id == known.id);
            let device = found.map(|mounted| mounted.device.clone()).unwrap_or_default();
            let mount = entries.get(*number).cloned().unwrap_or_default();
            let one = Added { id: known.id, unique: known.unique, device, gone: false, mount };
            match found {
                Some(_) => before.push(one),
                // Nobody could take it off again.
                None if self.held()?.is_there(&one) == Some(true) => {
                    let text =
                        "the container's init has another root directory by now, from which the mount can't be seen";
                    return Err(Error::WrongStatus(text.to_owned()));
                }
                None => continue,
            }
            noted.push(*number);
        }
        self.dir.save_mounts(&added::render(&before))
    }

    /// Takes mounts off, all or none, and forgets what of them is on record. Without any to take off nothing is launched.
    pub fn remove(&self, plan: Option<&Plan>, chosen: &Chosen, injections: &[Injection]) -> Result<Option<Launched>> {
        let mut left = self.added()?;
        left.retain(|added| !chosen.forgotten.contains(added));
        let save = || self.dir.save_mounts(&added::render(&left));
        let Some(plan) = plan else { return save().map(|()| None) };
        let mut record = |milestone: Milestone| match milestone {
            Milestone::Mounted(_) => self.require_gone(chosen).and_then(|()| save()),
            Milestone::Born(_) | Milestone::Settled => Ok(()),
        };
        let launched = self.launch(plan, Vec::new(), injections, &mut record);
        launched.map(Some).map_err(|failure| {
            failure.pid.into_iter().for_each(end);
            self.reason(failure.error)
        })
    }

    /// None of these mounts is there any more, once all is taken back.
    fn require_none(&self, known: &[MountId]) -> Result {
        let (held, mounted) = (self.held()?, self.mounted()?);
        let there = |known: &&MountId| match held.holds(known.unique) {
            Some(there) => there,
            None => mounted.iter().any(|mounted| mounted.id == known.id),
        };
        match known.iter().find(there) {
            Some(known) => Err(Error::WrongStatus(format!("mount {} of the container can't be taken off", known.id))),
            None => Ok(()),
        }
    }

    /// The kernel has one word for a mount that is gone and one that is locked.
    fn require_gone(&self, chosen: &Chosen) -> Result {
        let mounted = self.mounted()?;
        let there = |wanted: &&Wanted| {
            let known = chosen.forgotten.iter().find(|added| added.id == wanted.id);
            match known.and_then(|added| self.held().ok()?.is_there(added)) {
                Some(there) => there,
                None => mounted.iter().any(|mounted| mounted.id == wanted.id && mounted.target == target(wanted)),
            }
        };
        match chosen.wanted.iter().find(there) {
            Some(wanted) => {
                let why = format!(
                    "{} is mounted still: the container's mount namespace has it locked",
                    target(wanted).display()
                );
                Err(Error::Violations(vec![Violation::new(wanted.field.clone(), why)]))
            }
            None => Ok(()),
        }
    }

    fn launch(
        &self,
        plan: &Plan,
        given: Vec<Announced>,
        injections: &[Injection],
        record: &mut dyn FnMut(Milestone) -> Result,
    ) -> Result<Launched, Failure> {
        let init = self.init.pidfd().map(|fd| fd.try_clone_to_owned()).transpose();
        let init = init.doing(|| "hold the container's init")?.map(IntoRawFd::into_raw_fd);
        let launch = Launch {
            plan,
            state: self.record.state_json(self.status),
            fifo: None,
            init,
            who: Who::Mounts,
            cache: None,
            page: None,
            injections,
            record,
            given,
            limit: Some(self.patience),
        };
        let launched = launch::launch(launch, false)?;
        // It has nothing left to do, and so nothing to fail at.
        if !wait::reap_within(launched.pid, self.patience) {
            end(launched.pid);
        }
        Ok(launched)
    }

    fn undo(
        &self,
        plan: &Plan,
        failure: Failure,
        retreat: &dyn Fn(&Plan) -> Plan,
        warnings: &mut Vec<Warning>,
    ) -> Error {
        let Failure { error, pid, mounts } = failure;
        if plan.undo.iter().any(|step| matches!(step.op, Op::Process(ProcessOp::KillInit))) {
            pid.into_iter().for_each(end);
        }
        if !mounts.is_empty() && !gone(&self.record).unwrap_or(false) {
            let known: Vec<_> = mounts.iter().filter_map(|one| file::mount_id(one.mount.as_raw_fd()).ok()).collect();
            let back = self.launch(&retreat(plan), mounts, &[], &mut |milestone| match milestone {
                Milestone::Mounted(_) => self.require_none(&known),
                Milestone::Born(_) | Milestone::Settled => Ok(()),
            });
            if let Err(Failure { error, pid, .. }) = back {
                pid.into_iter().for_each(end);
                let text = format!("what was mounted before may still be: {error}");
                warnings.push(Warning::new(Field::RUNTIME, text));
            }
        }
        self.reason(error)
    }

    /// Whatever a call had to say about it: a container that has ended is the reason.
    fn reason(&self, error: Error) -> Error {
        if gone(&self.record).unwrap_or(false) { stopped(&self.record) } else { error }
    }
}

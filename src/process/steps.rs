//! The lists of a plan that the host process takes: before there is a child, and on it. A launch takes them, and a restore,
//! whose processes are criu's to make.

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::fault::{Call, Effect, Injected, Stage, Trouble};
use crate::plan::{Op, Plan, Step};
use crate::process::init::Injection;
use crate::process::report::{self, Told};
use crate::slots::Slots;
use crate::{cgroups, namespaces, process, rootfs};

/// A plan's lists, and the faults that a test asked for in them.
#[derive(Clone, Copy)]
pub struct HostSteps<'a> {
    pub plan: &'a Plan,
    pub injections: &'a [Injection],
}

impl HostSteps<'_> {
    /// The fault that a test asked for at this step; one that kills or stops is the child's alone.
    pub fn injected(&self, stage: Stage, index: usize) -> Effect {
        match self.injections.iter().find(|i| i.stage == stage && usize::from(i.step) == index) {
            Some(Injection { how: Injected::Errno(errno), .. }) => Err(Trouble::new(Call::Injected, *errno)),
            Some(_) => Err(Trouble::new(Call::Injected, Errno::EIO)),
            None => Ok(()),
        }
    }

    /// What failed, in the words of its step.
    pub fn error(&self, stage: Stage, index: usize, trouble: Trouble) -> Error {
        report::step_error(&self.told(stage, index), stage, index, trouble, "")
    }

    pub fn told(&self, stage: Stage, index: usize) -> Told {
        self.plan.steps(stage).get(index).map(Told::of).unwrap_or_default()
    }

    /// Takes every step of the host list. What it opens goes to `slots`.
    pub fn prepare(&self, slots: &mut Slots) -> Result {
        for (index, step) in self.plan.host.iter().enumerate() {
            let taken = self.injected(Stage::Host, index).and_then(|()| apply_host(step, slots));
            taken.map_err(|trouble| self.error(Stage::Host, index, trouble))?;
        }
        Ok(())
    }

    /// Takes one step on the process `pid`.
    pub fn act(&self, stage: Stage, index: usize, pid: i32, slots: &mut Slots) -> Result {
        let mut said = String::new();
        let acted = match (self.injected(stage, index), self.plan.steps(stage).get(index)) {
            (Ok(()), Some(step)) => apply_adopt(step, pid, slots, &mut said)?,
            (injected, _) => injected,
        };
        acted.map_err(|trouble| report::step_error(&self.told(stage, index), stage, index, trouble, &said))
    }
}

pub(super) fn apply_host(step: &Step, slots: &mut Slots) -> Effect {
    match &step.op {
        Op::Namespace(op) => namespaces::apply::apply_host(op, slots),
        Op::Cgroup(op) => cgroups::make::apply_host(op, slots),
        Op::Rootfs(op) => rootfs::apply::apply_host(op, slots),
        Op::Process(op) => process::apply::apply_host(op, slots),
        Op::Sync(_) => Err(Trouble::new(Call::None, Errno::EPROTO)),
    }
}

/// The outer error is one that no errno tells; `said` is what a program that was run wrote.
fn apply_adopt(step: &Step, pid: i32, slots: &mut Slots, said: &mut String) -> Result<Effect> {
    Ok(match &step.op {
        Op::Namespace(op) => namespaces::adopt::apply_adopt(op, pid, said),
        Op::Cgroup(op) => {
            return cgroups::adopt::apply_adopt(op, pid, slots).map_err(|error| error.field(step.field.clone()));
        }
        Op::Process(op) => process::adopt::apply_adopt(op, pid),
        _ => Err(Trouble::new(Call::None, Errno::EPROTO)),
    })
}

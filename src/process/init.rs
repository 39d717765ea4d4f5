//! The child's side of a launch: interprets stage one, stage two and start, and becomes the container's program.
//!
//! All of it runs after clone: no heap, no panic path, no threads, no formatting, no environment look-ups, and the only
//! ways out are execve and _exit. A failure leaves as a [`Fault`] through the control socket and the step page.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

use nix::errno::Errno;

use crate::fault::{Call, DETAIL, Effect, Fault, Injected, Stage, Trouble};
use crate::plan::{Op, Plan, Point, Step};
use crate::process::apply::{self, Outcome};
use crate::process::page::Page;
use crate::process::start_hook::{self, StartHook};
use crate::process::sync::{HANDED, Message};
use crate::process::{Announce, Op as ProcessOp, executable};
use crate::slots::{Slot, Slots};
use crate::sys::clone::{self, Side};
use crate::sys::exec::Image;
use crate::sys::seccomp::{self, Instruction};
use crate::sys::{descriptor, file, kernel, mount, path};
use crate::{cgroups, namespaces, rootfs};

/// A fault that a test asked for, at this step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    pub stage: Stage,
    pub step: u16,
    pub how: Injected,
}

/// What the child works with; all of it is allocated before clone.
pub struct Init<'a> {
    pub plan: &'a Plan,
    pub slots: Slots,
    /// The descriptors in the slots: all that the child needs of what the host has open.
    pub needed: Vec<RawFd>,
    pub page: Page,
    pub image: Image,
    pub hooks: Vec<StartHook>,
    /// The program of the seccomp filter.
    pub filter: Vec<Instruction>,
    pub injections: &'a [Injection],
    /// clone has put the child into its cgroup of version 2.
    pub in_cgroup: bool,
    /// Which of the candidates is the program.
    pub found: usize,
    pub home: Box<[u8; libc::PATH_MAX as usize]>,
    pub detail: Box<[u8; DETAIL]>,
}

impl Init<'_> {
    /// Takes every step. Ends in execve, or in _exit with 1 after a fault.
    pub fn run(&mut self) -> ! {
        // The host's own descriptors (the state root, the lock, its ends of the sockets) are none of the child's.
        descriptor::close_all_but(3 + self.plan.exec.inherited, &self.needed);
        for stage in [Stage::StageOne, Stage::StageTwo, Stage::Start] {
            let plan = self.plan;
            for (index, step) in plan.steps(stage).iter().enumerate() {
                self.page.mark(stage, index as u16, plan.ordinal(stage, index));
                match self.inject(stage, index as u16).and_then(|()| self.step(step)) {
                    Ok(Outcome::Done) => {}
                    Ok(Outcome::Warned(trouble)) => {
                        let warning = Message::Warning(Fault::new(stage, index as u16, trouble));
                        if let Some(control) = self.slots.find(Slot::CONTROL) {
                            let _ = warning.send(control);
                        }
                    }
                    Err(trouble) => self.fail(stage, index as u16, trouble),
                }
            }
        }
        // Only a container without a process has nothing to execute.
        clone::exit_now(0)
    }

    fn inject(&self, stage: Stage, step: u16) -> Effect {
        match self.injections.iter().find(|i| i.stage == stage && i.step == step) {
            None => Ok(()),
            Some(Injection { how: Injected::Errno(errno), .. }) => Err(Trouble::new(Call::Injected, *errno)),
            Some(Injection { how: Injected::Kill, .. }) => clone::die(),
            Some(Injection { how: Injected::Stop, .. }) => {
                clone::stop();
                Ok(())
            }
        }
    }

    fn fail(&mut self, stage: Stage, step: u16, trouble: Trouble) -> ! {
        let mut fault = Fault::new(stage, step, trouble);
        fault.detail = *self.detail;
        if let (Call::Fsconfig | Call::Fsmount, Some(context)) = (trouble.call, self.slots.find(Slot::REFUSED)) {
            mount::fs_messages(context, &mut fault.detail);
        }
        self.retreat();
        self.page.set_fault(&fault);
        if let Some(control) = self.slots.find(Slot::CONTROL) {
            let _ = Message::Failed(fault).send(control);
        }
        clone::exit_now(1)
    }

    /// Takes off what it has mounted in a container that is there: the host may be what is gone.
    fn retreat(&mut self) {
        for step in &self.plan.undo {
            if let Op::Rootfs(op) = &step.op {
                let _ = rootfs::apply::apply(op, &mut self.slots);
            }
        }
    }

    fn step(&mut self, step: &Step) -> Effect<Outcome> {
        match &step.op {
            Op::Namespace(namespaces::Op::Fork) => self.fork()?,
            Op::Namespace(namespaces::Op::CheckMap { ids, map }) => {
                if !namespaces::apply::has_map(*ids, map, &self.slots)? {
                    return Ok(Outcome::Warned(Trouble::new(Call::CheckMap, Errno::EINVAL)));
                }
            }
            Op::Namespace(op) => namespaces::apply::apply(op, &self.slots)?,
            Op::Cgroup(op) => cgroups::apply::apply(op, &mut self.slots, self.in_cgroup)?,
            Op::Rootfs(op) => rootfs::apply::apply(op, &mut self.slots)?,
            Op::Process(op) => return self.process_step(op),
            Op::Sync(point) => self.sync(*point)?,
        }
        Ok(Outcome::Done)
    }

    fn process_step(&mut self, op: &ProcessOp) -> Effect<Outcome> {
        match op {
            ProcessOp::Home { uid } => {
                let len = apply::find_home(&self.slots, *uid, self.home.as_mut_slice())?;
                self.image.set_home(self.home.get(..len).unwrap_or(b"/"))?;
            }
            ProcessOp::HandOver => self.hand_over()?,
            ProcessOp::AnnounceMount { mount, held } => self.announce(*mount, *held)?,
            ProcessOp::FindExecutable { .. } => self.found = executable::find(&self.plan.exec.candidates)?,
            ProcessOp::LoadFilter { flags, announce } => self.load_filter(*flags, *announce)?,
            ProcessOp::StartHook { index, .. } => {
                let hook = self.hooks.get(*index).ok_or(Trouble::new(Call::Hook, Errno::ENOENT))?;
                start_hook::apply(hook, &mut self.detail)?;
            }
            ProcessOp::Exec { .. } => {
                let missing = Trouble::new(Call::Exec, Errno::ENOENT);
                let program = self.plan.exec.candidates.get(self.found).ok_or(missing)?;
                return Err(self.image.exec(program));
            }
            op => return apply::apply(op, &mut self.slots),
        }
        Ok(Outcome::Done)
    }

    /// From here on the filter judges corten's own calls too. Until the host has the listener nobody answers those that
    /// the filter asks about: so there is one call between, which validation doesn't let a filter ask about.
    fn load_filter(&mut self, flags: u64, announce: Announce) -> Effect {
        let control = self.slots.get(Slot::CONTROL)?;
        let loaded = seccomp::load(&self.filter, flags)?;
        if announce != Announce::Nothing {
            self.slots.put(Slot::LISTENER, loaded);
        }
        match announce {
            Announce::Nothing => Ok(()),
            Announce::Number => Message::Listener(loaded).send(control),
            Announce::Descriptor => Message::Listener(-1).send_with_descriptor(control, loaded),
        }
    }

    /// Goes on in a child of the same parent. The new process waits until the host knows it.
    fn fork(&mut self) -> Effect {
        let control = self.slots.get(Slot::CONTROL)?;
        let note = self.page.forked_word().ok_or(Trouble::new(Call::Clone, Errno::EFAULT))?;
        match clone::clone_noting(libc::CLONE_PARENT as u64, note)? {
            Side::Parent(_) => clone::exit_now(0),
            // The new process speaks for itself: were it for stage one to tell, its death at this moment would leave a
            // child that waits for a host that waits for a message.
            Side::Child => {
                Message::Forked(note.load(Ordering::Acquire) as i32).send(control)?;
                self.await_go()
            }
        }
    }

    /// Sends the host a mount that isn't attached yet, and keeps it. By descriptor: whatever becomes of it, it is this one.
    fn announce(&mut self, mount: Slot, held: Slot) -> Effect {
        if kernel::lacks(kernel::NEW_MOUNT_API) {
            // What stands in the slot is the source itself.
            return Err(Trouble::new(Call::OpenTree, Errno::ENOSYS));
        }
        let fd = file::dup(self.slots.get(mount)?)?;
        self.slots.put(held, fd).into_iter().for_each(file::close);
        Message::Mount(held.0).send_with_descriptor(self.slots.get(Slot::CONTROL)?, fd)
    }

    /// Sends the host this process's namespaces and root. A kind that the kernel lacks has nothing to enter.
    fn hand_over(&self) -> Effect {
        let (control, proc) = (self.slots.get(Slot::CONTROL)?, self.slots.get(Slot::HOST_PROC)?);
        for (kind, name, flags) in HANDED {
            let fd = match path::open(proc, name, flags, 0) {
                Err(Trouble { errno: Errno::ENOENT, .. }) => continue,
                opened => opened?,
            };
            Message::Handed(kind).send_with_descriptor(control, fd)?;
            file::close(fd);
        }
        Ok(())
    }

    fn sync(&mut self, point: Point) -> Effect {
        match point {
            Point::Adopted => {
                // When clone made the user namespace the host acts at once and needn't be asked.
                if self.plan.launch.unshare_user {
                    Message::At(point).send(self.slots.get(Slot::CONTROL)?)?;
                }
                self.await_go()
            }
            Point::Located => {
                Message::At(point).send(self.slots.get(Slot::CONTROL)?)?;
                self.await_given()
            }
            Point::Mounted | Point::Noted => {
                Message::At(point).send(self.slots.get(Slot::CONTROL)?)?;
                self.await_go()
            }
            Point::Recorded => {
                Message::At(point).send(self.slots.get(Slot::CONTROL)?)?;
                self.await_go()?;
                self.slots.take(Slot::LISTENER).into_iter().for_each(file::close);
                Ok(())
            }
            Point::Ready => {
                Message::At(point).send(self.slots.get(Slot::CONTROL)?)?;
                // A host that was killed before it noted the init leaves one that nobody would ever find at the fifo.
                self.await_go()?;
                for slot in [Slot::CONTROL, Slot::LISTENER] {
                    self.slots.take(slot).into_iter().for_each(file::close);
                }
                Ok(())
            }
            Point::ExecFifo => self.await_start(),
        }
    }

    /// Waits for the host's word; ends when the host is gone.
    fn await_go(&mut self) -> Effect {
        match Message::receive(self.slots.get(Slot::CONTROL)?)? {
            Some(Message::Go) => Ok(()),
            _ => Err(Trouble::new(Call::Recvmsg, Errno::ECONNRESET)),
        }
    }

    /// Takes what the host gives until it says go on.
    fn await_given(&mut self) -> Effect {
        let control = self.slots.get(Slot::CONTROL)?;
        loop {
            match Message::receive_with_descriptor(control)? {
                (Some(Message::Given(slot)), Some(fd)) => {
                    self.slots.put(Slot(slot), fd).into_iter().for_each(file::close);
                }
                (Some(Message::Go), None) => return Ok(()),
                _ => return Err(Trouble::new(Call::Recvmsg, Errno::ECONNRESET)),
            }
        }
    }

    /// Waits for one byte from `start`. The descriptor is open for writing too, so a `start` that dies early is no end
    /// of file; it stays open until execve, whose closing it is what tells `start` that all went well.
    fn await_start(&mut self) -> Effect {
        let fifo = self.slots.get(Slot::EXEC_FIFO)?;
        let mut byte = [0];
        match descriptor::read(fifo, &mut byte)? {
            1 => Ok(()),
            _ => Err(Trouble::new(Call::Read, Errno::EPIPE)),
        }
    }
}

/// Whether a process that has stopped at this step may have come through: the last one, execve.
pub fn is_exec(plan: &Plan, stage: Stage, step: u16) -> bool {
    stage == Stage::Start && usize::from(step) + 1 == plan.start.len()
}

//! The host's side of a launch: takes the host's steps, clones the child, answers it at the points where both meet,
//! and turns whatever goes wrong into one error, with nothing left behind.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::{Error, Result, Warning};
use crate::fault::{self, Call, Effect, Fault, Stage, Trouble};
use crate::field::Field;
use crate::namespaces::Op as NamespaceOp;
use crate::namespaces::netdev::Devices;
use crate::plan::{self, Op, Plan, Point};
use crate::process::hooks::{Handed, Hook, Kind, Place, StateJson};
use crate::process::init::{self, Init, Injection};
use crate::process::page::Page;
use crate::process::prepare::Room;
use crate::process::report;
use crate::process::steps::HostSteps;
use crate::process::sync::Message;
use crate::process::{Op as ProcessOp, hooks, locate, seccomp};
use crate::slots::{Slot, Slots};
use crate::sys::clone::{self, Side};
use crate::sys::{file, pidfd, socket, wait};

pub use crate::process::milestone::{Announced, Milestone, Who};

/// What a launch is given beside the plan.
pub struct Launch<'a> {
    pub plan: &'a Plan,
    /// What hooks read; the pid is filled in.
    pub state: StateJson,
    /// The exec fifo, opened for reading and writing, when the init is to wait for `start`.
    pub fifo: Option<RawFd>,
    pub who: Who,
    /// A pidfd of the init of the container that is entered, where the kernel has such.
    pub init: Option<RawFd>,
    /// The state root, where compiled filters are kept.
    pub cache: Option<BorrowedFd<'a>>,
    /// The file behind the step page; anonymous memory without.
    pub page: Option<RawFd>,
    pub injections: &'a [Injection],
    /// Told as soon as they are there, so that nothing is left behind unknown.
    pub record: &'a mut dyn FnMut(Milestone) -> Result,
    /// Given to the child, in these slots.
    pub given: Vec<Announced>,
    /// How long it may take until there is something to say for it: others may be able to stop it.
    pub limit: Option<Duration>,
}

/// A container's init that has come as far as it was to.
#[derive(Debug)]
pub struct Launched {
    /// In the host's pid namespace.
    pub pid: i32,
    /// corten's end of the socket that gets the terminal's master, in a foreground run with a terminal.
    pub console: Option<RawFd>,
    /// The socket that the container sends its readiness to, when corten itself is to pass it on.
    pub notify: Option<UnixDatagram>,
    /// The network devices that it has got; they go back unless they are committed.
    pub devices: Devices,
    pub warnings: Vec<Warning>,
    /// Holds when each of the child's steps began.
    pub page: Page,
}

/// Why a launch failed, and the child that must go for it: the plan's `undo` is the caller's to run.
#[derive(Debug)]
pub struct Failure {
    pub error: Error,
    /// Not yet reaped; `None` when there is none to kill.
    pub pid: Option<i32>,
    /// What it may have attached.
    pub mounts: Vec<Announced>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, pid: None, mounts: Vec::new() }
    }
}

/// Runs the plan up to the exec fifo (`create`) or into the program (`run`).
///
/// `take_terminal`: corten itself gets the terminal's master, as a foreground run does.
pub fn launch(mut launch: Launch, take_terminal: bool) -> Result<Launched, Failure> {
    let mut slots = Slots::with_room(launch.plan.slots);
    for Announced { slot, mount } in std::mem::take(&mut launch.given) {
        slots.put(slot, mount.into_raw_fd());
    }
    let result = launch.prepare(&mut slots, take_terminal);
    match result {
        Ok(room) => launch.run(slots, room),
        Err(failure) => {
            slots.filled().for_each(file::close);
            Err(failure)
        }
    }
}

impl Launch<'_> {
    fn run(&mut self, slots: Slots, room: Room) -> Result<Launched, Failure> {
        let Room { page, image, hooks, filter, agent, warnings, control, console } = room;
        let theirs = slots.find(Slot::CONTROL);
        let needed = slots.filled().collect();
        let mut init = Init {
            plan: self.plan,
            slots,
            needed,
            page,
            image,
            hooks,
            filter,
            injections: self.injections,
            in_cgroup: false,
            found: 0,
            home: Box::new([0; libc::PATH_MAX as usize]),
            detail: Box::new([0; crate::fault::DETAIL]),
        };
        let cloned = self.clone(&mut init);
        let pid = match cloned {
            Ok(Side::Child) => {
                file::close(control);
                init.run()
            }
            Ok(Side::Parent(pid)) => pid,
            Err(trouble) => return Err(self.clone_error(trouble).into()),
        };
        // The child's end must close here, or its death would never be seen as the end of the conversation.
        theirs.into_iter().for_each(file::close);
        // The other descriptors in the slots were for the child alone; the fifo stays with the caller.
        let fifo = init.slots.take(Slot::EXEC_FIFO);
        init.slots.take(Slot::CONTROL);
        init.slots.filled().for_each(file::close);
        let slots = Slots::with_room(self.plan.slots);
        let mut talk = Conversation {
            launch: self,
            pid,
            reaped: false,
            control,
            page,
            slots,
            handed: Vec::new(),
            devices: Devices::default(),
            mounts: Vec::new(),
            agent,
            warnings,
        };
        let result = talk.run();
        let (pid, reaped, warnings) = (talk.pid, talk.reaped, std::mem::take(&mut talk.warnings));
        let (devices, mounts) = (std::mem::take(&mut talk.devices), std::mem::take(&mut talk.mounts));
        talk.slots.filled().for_each(file::close);
        talk.agent.into_iter().for_each(file::close);
        file::close(control);
        fifo.into_iter().for_each(file::close);
        match result {
            Ok(()) => Ok(Launched { pid, console, notify: None, devices, warnings, page }),
            // A pid that has been reaped may be a stranger's by now.
            Err(error) => Err(Failure { error, pid: (!reaped).then_some(pid), mounts }),
        }
    }

    /// Clones the child, straight into its cgroup where the kernel can (Linux 5.7); else it enters by itself.
    fn clone(&self, init: &mut Init) -> Effect<Side> {
        let flags = self.plan.launch.clone.0;
        if let Some(cgroup) = self.plan.into_cgroup.and_then(|slot| init.slots.find(slot)) {
            init.in_cgroup = true;
            match clone::clone_into(flags, cgroup) {
                Err(trouble) if trouble.errno == Errno::ENOSYS => init.in_cgroup = false,
                cloned => return cloned,
            }
        }
        clone::clone(flags)
    }

    fn clone_error(&self, trouble: Trouble) -> Error {
        let kinds = self.plan.launch.clone;
        let doing = if self.who != Who::Init {
            "clone a process into the container".to_owned()
        } else if kinds.is_empty() {
            "clone the init".to_owned()
        } else {
            format!("clone the init with new namespaces: {}", kinds.list())
        };
        Error::os(doing, trouble).field(Field::at("/linux/namespaces"))
    }

    /// Who it is that is launched, for a sentence.
    fn who(&self) -> &'static str {
        match self.who {
            Who::Init => "container init",
            Who::Exec => "exec process",
            Who::Mounts => "mounting process",
        }
    }

    pub(super) fn steps(&self) -> HostSteps<'_> {
        HostSteps { plan: self.plan, injections: self.injections }
    }

    /// The error behind a child's fault, looked up in the plan.
    fn fault_error(&self, fault: &Fault) -> Error {
        report::fault_error(&self.steps().told(fault.stage, usize::from(fault.step)), fault)
    }
}

/// Host and child, from clone to the end of the launch.
struct Conversation<'a, 'b> {
    launch: &'a mut Launch<'b>,
    /// The init, as far as it is known: with a second fork it changes once.
    pid: i32,
    reaped: bool,
    control: RawFd,
    page: Page,
    /// What the host opens for its own steps on the child.
    slots: Slots,
    /// The socket of the seccomp agent, until it has the listener.
    agent: Option<RawFd>,
    /// What the init has handed over of itself: its namespaces and its root.
    handed: Vec<Handed>,
    devices: Devices,
    mounts: Vec<Announced>,
    warnings: Vec<Warning>,
}

impl Conversation<'_, '_> {
    fn run(&mut self) -> Result {
        let plan = self.launch.plan;
        let deadline = self.launch.limit.map(|limit| Instant::now() + limit);
        // With a second fork this is stage one, and known in case that it never gets that far.
        (self.launch.record)(Milestone::Born(self.pid))?;
        if plan.adopts_at_once() {
            self.adopt()?;
        }
        loop {
            self.await_word(deadline)?;
            let (message, descriptor) = Message::receive_with_descriptor(self.control)
                .map_err(|t| Error::os(format!("hear from the {}", self.launch.who()), t))?;
            match message {
                Some(Message::Handed(kind)) => {
                    self.handed.extend(descriptor.map(|fd| Handed { file: socket::own(fd).into(), kind }))
                }
                Some(Message::At(Point::Adopted)) => self.adopt()?,
                Some(Message::At(Point::Located)) => {
                    locate::give_sources(plan, self.pid, self.control)?;
                    self.go()?;
                }
                Some(Message::At(Point::Mounted)) => self.at_mounted()?,
                Some(Message::Mount(slot)) => {
                    self.mounts.extend(descriptor.map(|fd| Announced { slot: Slot(slot), mount: socket::own(fd) }))
                }
                Some(Message::At(Point::Noted)) => {
                    (self.launch.record)(Milestone::Mounted(&self.mounts))?;
                    return self.go();
                }
                Some(Message::At(Point::Recorded)) => {
                    self.settle()?;
                    (self.launch.record)(Milestone::Settled)?;
                    self.go()?;
                }
                Some(Message::At(Point::Ready)) => {
                    self.settle()?;
                    return self.go();
                }
                Some(Message::Forked(pid)) => {
                    // Stage one has done its part; its second child is the init.
                    wait::kill_and_reap(self.pid);
                    self.pid = pid;
                    (self.launch.record)(Milestone::Born(pid))?;
                    self.go()?;
                }
                Some(Message::Listener(number)) => self.hand_listener_over(number, descriptor.map(socket::own))?,
                Some(Message::Warning(fault)) => self.warn(&fault),
                Some(Message::Failed(fault)) => return Err(self.launch.fault_error(&fault)),
                Some(_) => {}
                None => return self.silence(),
            }
        }
    }

    /// Waits for the child's next word, or end, if there is a limit to it.
    fn await_word(&self, deadline: Option<Instant>) -> Result {
        let Some(deadline) = deadline else { return Ok(()) };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match socket::await_input(self.control, left).map_err(|t| Error::os("wait for a message", t))? {
                true => return Ok(()),
                false if Instant::now() < deadline => {}
                false => return Err(self.overdue()),
            }
        }
    }

    fn overdue(&self) -> Error {
        let (stage, step) = self.page.current().unwrap_or((Stage::StageOne, 0));
        report::overdue(&self.launch.steps().told(stage, usize::from(step)))
    }

    /// Hands the listener of the child's filter to its agent. It came along, or is taken out of the child.
    fn hand_listener_over(&mut self, number: i32, sent: Option<OwnedFd>) -> Result {
        let fd = match sent {
            Some(fd) => Ok(fd),
            None => pidfd::open(self.pid).and_then(|held| pidfd::copy_descriptor(held.as_fd(), number)),
        };
        let failed = |doing, trouble| Error::os(doing, trouble).field(Field::at("/linux/seccomp/listenerPath"));
        let fd = fd.map_err(|trouble| failed("take the listener of the seccomp filter".to_owned(), trouble))?;
        let (Some(agent), Some(listener)) = (self.agent, &self.launch.plan.exec.listener) else { return Ok(()) };
        let state = match self.launch.who {
            Who::Exec | Who::Mounts => self.launch.state.clone(),
            Who::Init => StateJson { pid: self.pid, status: "creating", ..self.launch.state.clone() },
        };
        seccomp::listener::hand_over(agent, fd.as_raw_fd(), listener, self.pid, &state).map_err(|trouble| {
            failed(format!("hand the seccomp listener to its agent {}", listener.path.display()), trouble)
        })
    }

    /// The control socket has closed: the init has become its program, or is gone.
    fn silence(&mut self) -> Result {
        let plan = self.launch.plan;
        if let Some(fault) = self.page.fault() {
            return Err(self.launch.fault_error(&fault));
        }
        let (stage, step) = self.page.current().unwrap_or((Stage::StageOne, 0));
        if init::is_exec(plan, stage, step) {
            return Ok(());
        }
        if let Some(second) = self.page.forked().filter(|second| *second != self.pid) {
            wait::kill_and_reap(self.pid);
            self.pid = second;
        }
        self.reaped = true;
        let end =
            wait::wait(self.pid).map_err(|t| Error::os(format!("learn how the {} ended", self.launch.who()), t))?;
        let step = usize::from(step);
        let told = self.launch.steps().told(stage, step);
        Err(report::died(self.launch.who(), &told, stage, step, &report::render_end(end)))
    }

    fn go(&self) -> Result {
        Message::Go.send(self.control).or_else(|trouble| match trouble.errno {
            // The child is gone; what it left behind tells why.
            Errno::EPIPE | Errno::ECONNRESET => Ok(()),
            _ => Err(Error::os(format!("answer the {}", self.launch.who()), trouble)),
        })
    }

    fn adopt(&mut self) -> Result {
        let plan = self.launch.plan;
        for index in 0..plan.adopt.len() {
            if let Err(error) = self.act(Stage::Adopt, index) {
                return Err(self.own_words().unwrap_or(error));
            }
        }
        self.go()
    }

    /// What a child that is no more has left to say: it tells more than a step that didn't find it.
    fn own_words(&mut self) -> Option<Error> {
        match self.page.fault().is_some() || wait::has_ended(self.pid) {
            true => self.silence().err(),
            false => None,
        }
    }

    /// The child has set itself up.
    fn settle(&mut self) -> Result {
        let plan = self.launch.plan;
        (0..plan.ready.len()).try_for_each(|index| self.act(Stage::Ready, index))
    }

    /// Takes a step of the host's on the child.
    fn act(&mut self, stage: Stage, index: usize) -> Result {
        self.launch.steps().act(stage, index, self.pid, &mut self.slots)
    }

    /// What the host does while the child waits with its root mounted.
    fn at_mounted(&mut self) -> Result {
        let plan = self.launch.plan;
        for (number, step) in plan.mounted.iter().enumerate() {
            let steps = self.launch.steps();
            let failed = |trouble| steps.error(Stage::Mounted, number, trouble);
            steps.injected(Stage::Mounted, number).map_err(failed)?;
            match &step.op {
                Op::Process(ProcessOp::Hook { kind, index, hook }) => self.run_hook(*kind, *index, hook)?,
                Op::Namespace(NamespaceOp::MoveDevice { name, new_name }) => {
                    let moved = self.devices.move_in(name, new_name, self.pid);
                    moved.map_err(failed)?;
                }
                Op::Cgroup(_) => self.act(Stage::Mounted, number)?,
                _ => {}
            }
        }
        self.go()
    }

    fn run_hook(&self, kind: Kind, index: usize, hook: &Hook) -> Result {
        let state = StateJson { pid: self.pid, status: "creating", ..self.launch.state.clone() };
        let bundle = std::path::Path::new(&state.bundle);
        let rootfs = std::path::Path::new(&state.root);
        // `None` on kernels before 5.3.
        let held = pidfd::open(self.pid).ok();
        let pidfd = held.as_ref().map(AsFd::as_fd);
        let place = match kind {
            Kind::CreateContainer => Place::Container { init: self.pid, pidfd, rootfs, handed: &self.handed },
            _ => Place::Runtime { cwd: Some(bundle), init: pidfd },
        };
        hooks::run_one(kind, index, hook, &state, place)
    }

    fn warn(&mut self, fault: &Fault) {
        let plan = self.launch.plan;
        let Some(step) = plan.steps(fault.stage).get(usize::from(fault.step)) else { return };
        let trouble = fault.trouble();
        let text = match trouble.call {
            Call::CheckMap => "the user namespace that is joined has another map, which holds".to_owned(),
            call => format!("{}: {}: {}", plan::render(&step.op), call.name(), fault::words(trouble.errno)),
        };
        self.warnings.push(Warning::new(step.field.clone(), text));
    }
}

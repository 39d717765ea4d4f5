//! Brings a container about: its record and its files on disk around the launch of its init. What fails on the way is
//! taken down again by the plan's `undo`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::dir::STEPS;
use super::init::Init;
use super::status::Status;
use super::store::Guard;
use super::{ContainerId, Record, Store, Warning, fifo, notify, oom};
use crate::cgroups::remove::{self, Members};
use crate::cgroups::{Group, Op as CgroupOp, group, rdt, systemd};
use crate::error::{Doing, Error, Result, SystemdTrouble};
use crate::fault::Stage;
use crate::field::Field;
use crate::plan::{Op, Plan};
use crate::process::hooks::{self, Kind, Place};
use crate::process::init::Injection;
use crate::process::launch::{self, Launch, Launched, Milestone, Who};
use crate::process::page::Page;
use crate::process::{Op as ProcessOp, handover, report};
use crate::request::{Mode, Request};
use crate::sys::wait;

/// All that a creation starts from.
pub struct Creation<'a> {
    pub spec: &'a Spec,
    /// The config.json behind it.
    pub config: &'a [u8],
    pub request: &'a Request,
    pub plan: &'a Plan,
    pub injections: &'a [Injection],
}

/// Creates the container and, for `run`, starts it. On an error nothing of it is left; `warnings` gets what went wrong
/// beside that.
pub fn create(store: &mut Store, creation: &Creation, warnings: &mut Vec<Warning>) -> Result<(Record, Launched)> {
    let id = ContainerId::parse(&creation.request.id)?;
    // An id that is taken says more than the name of its unit.
    if creation.plan.group.unit.is_some() && store.find(&id).is_ok() {
        return Err(Error::AlreadyExists { id: id.to_string() });
    }
    systemd::refuse_taken(&creation.plan.group).map_err(|error| error.field(Field::at("/linux/cgroupsPath")))?;
    let mut record = creation.new_record();
    let guard = store.create(&id, &record)?;
    guard.save_config(creation.config)?;
    let mut launched = match creation.launch(&guard, &mut record) {
        Ok(launched) => launched,
        Err((error, pid)) => {
            // Somebody was faster: what there is under the unit's name is theirs.
            if matches!(error, Error::Systemd { trouble: SystemdTrouble::Taken, .. }) {
                record.group = Group::default();
            }
            // Asked before the cgroup goes.
            let error = oom::explain(error, &record.group);
            creation.undo(guard, &record, pid, warnings);
            return Err(error);
        }
    };
    let saved = !std::mem::take(&mut record.creating);
    // The pid file comes last: whoever finds it finds the container.
    let on_record = if saved { Ok(()) } else { guard.save(&record) };
    if let Err(error) = on_record.and_then(|()| handover::all(creation.request, launched.pid)) {
        creation.undo(guard, &record, Some(launched.pid), warnings);
        return Err(error);
    }
    guard.keep();
    std::mem::take(&mut launched.devices).commit();
    Ok((record, launched))
}

/// `root.path` as an absolute path.
fn rootfs(spec: &Spec, bundle: &Path) -> PathBuf {
    bundle.join(spec.root().as_ref().map(|root| root.path().as_path()).unwrap_or(Path::new("")))
}

type Failed = (Error, Option<i32>);

impl Creation<'_> {
    /// What is known before anything is made.
    pub(super) fn new_record(&self) -> Record {
        let Creation { spec, request, plan, .. } = self;
        // On record before anything is made, so that even a `create` that is killed leaves nothing that can't be found.
        let mut group = plan.group.clone();
        group::probe_missing(&mut group);
        let hooks = hooks::plan::plan_hooks(spec);
        Record {
            annotations: spec.annotations().clone().unwrap_or_default().into_iter().collect(),
            poststart: hooks.poststart,
            poststop: hooks.poststop,
            no_new_keyring: request.no_new_keyring,
            private_pid_namespace: plan.launch.private_pid(),
            group,
            rdt: plan.rdt.clone().map(rdt::without_others),
            has_process: spec.process().is_some(),
            notify_socket: request.notify_socket.as_ref().map(|notify| notify.address.as_str().to_owned()),
            terminal: spec.process().as_ref().is_some_and(|process| process.terminal().unwrap_or(false)),
            ..Record::new(&request.id, spec.version(), request.bundle.clone(), rootfs(spec, &request.bundle))
        }
    }

    fn launch(&self, guard: &Guard, record: &mut Record) -> Result<Launched, Failed> {
        let (fifo, page) = match self.request.mode {
            Mode::Create => {
                let fifo = fifo::make(guard).map_err(|error| (error, None))?;
                let page = self.make_page(guard).map_err(|error| (error, None))?;
                (Some(fifo.into_raw_fd()), Some(page))
            }
            Mode::Run { .. } | Mode::Exec { .. } | Mode::Restore { .. } => (None, None),
        };
        let notify = self.make_notify(guard).map_err(|error| (error, None))?;
        let take_terminal = record.terminal && self.request.console_socket.is_none();
        let state = record.state_json(Status::Creating);
        let mut save = |milestone: Milestone| {
            match milestone {
                Milestone::Born(pid) => record.init = Some(Init::probe(pid)?),
                // A `run` goes on into its program without another stop. Not a moment earlier: whoever takes it for running
                // may enter it, and until now it was on its way from the host's root to its own.
                Milestone::Settled => record.creating = false,
                Milestone::Mounted(_) => return Ok(()),
            }
            guard.save(record)
        };
        let cache = Some(guard.root());
        let launch = Launch {
            plan: self.plan,
            state,
            fifo,
            who: Who::Init,
            init: None,
            cache,
            page,
            injections: self.injections,
            record: &mut save,
            given: Vec::new(),
            limit: None,
        };
        match launch::launch(launch, take_terminal) {
            Ok(launched) => Ok(Launched { notify, ..launched }),
            Err(failure) => Err((failure.error, failure.pid)),
        }
    }

    /// The directory of the notify socket. The socket is made by who passes its messages on: `start`, or this `run`.
    fn make_notify(&self, guard: &Guard) -> Result<Option<UnixDatagram>> {
        match (&self.request.notify_socket, self.request.mode) {
            (None, _) => Ok(None),
            (Some(_), Mode::Create) => notify::make_directory(guard).map(|()| None),
            (Some(_), _) => notify::make_directory(guard).and_then(|()| notify::bind(guard)).map(Some),
        }
    }

    /// The file of the step page, with the last steps in words behind it.
    fn make_page(&self, guard: &Guard) -> Result<RawFd> {
        let path = guard.path().join(STEPS);
        let doing = || format!("make the step page {}", path.display());
        let open = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let mut file = open.doing(doing)?;
        let mut bytes = vec![0; Page::size(self.plan.child_steps())];
        bytes.extend(report::render_last_steps(self.plan));
        file.write_all(&bytes).doing(doing)?;
        Ok(file.into_raw_fd())
    }

    fn is_restore(&self) -> bool {
        matches!(self.request.mode, Mode::Restore { .. })
    }

    /// Takes down what there is, step by step. A step that fails doesn't stop the others.
    pub(super) fn undo(&self, guard: Guard, record: &Record, pid: Option<i32>, warnings: &mut Vec<Warning>) {
        let mut guard = Some(guard);
        for (index, step) in self.plan.undo.iter().enumerate() {
            let undone = match &step.op {
                Op::Process(ProcessOp::KillInit) => {
                    pid.into_iter().for_each(wait::kill_and_reap);
                    Ok(())
                }
                // criu makes cgroups below before there is a process.
                Op::Cgroup(CgroupOp::Remove) if record.init.is_none() && self.is_restore() => {
                    remove::remove(&record.group, Members::Spare)
                }
                // Without a process they may be somebody else's, and just that may be the error.
                Op::Cgroup(CgroupOp::Remove) if record.init.is_none() => remove::remove_unused(&record.group),
                // What the record has, which is what was not there before.
                Op::Cgroup(CgroupOp::RemoveClass { .. }) => record.rdt.as_ref().map_or(Ok(()), rdt::remove),
                Op::Cgroup(CgroupOp::Remove) => remove::remove(&record.group, Members::Kill),
                Op::Process(ProcessOp::RemoveRecord) => guard.take().map_or(Ok(()), |guard| guard.remove()),
                Op::Process(ProcessOp::Hook { kind: Kind::Poststop, hook, .. }) => {
                    let state = record.state_json(Status::Stopped);
                    let place = Place::Runtime { cwd: None, init: None };
                    hooks::run_hooks(Kind::Poststop, std::slice::from_ref(hook), &state, place)
                }
                _ => Ok(()),
            };
            let injected = self.injections.iter().any(|i| i.stage == Stage::Undo && usize::from(i.step) == index);
            let text = match undone {
                Err(error) => error.to_string(),
                Ok(()) if injected => "injected fault".to_owned(),
                Ok(()) => continue,
            };
            warnings.push(Warning::new(step.field.clone(), text));
        }
    }
}

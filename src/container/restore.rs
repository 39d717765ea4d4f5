//! Brings a dumped container back: its record and its control groups as `create` makes them, its processes and mounts by criu.
//! What fails on the way is taken down again by the plan's `undo`.

use std::fs::{File, Permissions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};

use super::checkpoint::open_or_make;
use super::create::Creation;
use super::init::Init;
use super::status::Status;
use super::store::Guard;
use super::{ContainerId, Record, Store, Warning};
use crate::cgroups::{Group, systemd};
use crate::criu::alone::{Alone, alone, hierarchies, make_root_read_only};
use crate::criu::plan::mounts::{self, Attached};
use crate::criu::plan::restore::{Into, Restore, plan_restore};
use crate::criu::plan::{NETWORK, PIDS, stdio};
use crate::criu::probe;
use crate::criu::rpc::{InheritFd, Opts, ReqType};
use crate::criu::service::{self, Point, Service, Start};
use crate::error::{Doing, Error, Result, SystemdTrouble, Violation};
use crate::fault::Stage;
use crate::field::Field;
use crate::host::cgroups::Layout;
use crate::plan::Op;
use crate::process::hooks::{self, Place, StateJson};
use crate::process::steps::HostSteps;
use crate::process::{Op as ProcessOp, console, handover};
use crate::slots::{Slot, Slots};
use crate::sys::{descriptor, file, pidfd, wait};

/// All that a restore starts from.
pub struct Restoration<'a> {
    /// The plan in it is that of a restore.
    pub creation: Creation<'a>,
    /// What the config mounts of the host's.
    pub attached: Vec<Attached>,
    /// The host's control groups.
    pub layout: &'a Layout,
    pub restore: &'a Restore,
    /// Where the images are; absolute.
    pub images: &'a Path,
    /// Where criu keeps its log; absolute.
    pub work: &'a Path,
    /// Where criu is; in `$PATH` otherwise.
    pub criu: Option<&'a Path>,
}

/// A container that runs again.
#[derive(Debug)]
pub struct Restored {
    pub record: Record,
    /// Its init, a child of corten's.
    pub pid: i32,
    /// The master of its terminal, when corten itself is to have it.
    pub terminal: Option<OwnedFd>,
}

/// Restores the container. On an error nothing of it is left; `warnings` gets what went wrong beside that.
pub fn restore(store: &mut Store, restoration: &Restoration, warnings: &mut Vec<Warning>) -> Result<Restored> {
    let Creation { request, plan, .. } = &restoration.creation;
    let id = ContainerId::parse(&request.id)?;
    if store.find(&id).is_ok() {
        return Err(Error::AlreadyExists { id: id.to_string() });
    }
    systemd::refuse_taken(&plan.group).map_err(|error| error.field(Field::at("/linux/cgroupsPath")))?;
    let images = open(restoration.images)?;
    let streams = streams(restoration.images)?;
    require_mounts(restoration)?;
    let mut record = restoration.creation.new_record();
    let guard = store.create(&id, &record)?;
    guard.save_config(restoration.creation.config)?;
    // Those of a shell that has become corten.
    let others = children();
    let mut slots = Slots::with_room(plan.slots);
    let came = Coming { restoration, guard: &guard, record: &mut record, slots: &mut slots, terminal: None }
        .come(&images, &streams);
    slots.filled().for_each(file::close);
    let done = came.and_then(|came| handover::all(request, came.0).map(|()| came));
    match done {
        Ok((pid, terminal)) => {
            guard.keep();
            Ok(Restored { record, pid, terminal })
        }
        Err(error) => {
            // criu ends what it has begun. What it had finished, or was in the middle of when it died, is ours to end: the
            // processes that it has made are corten's children.
            let recorded = record.init.filter(|init| init.alive().unwrap_or(false)).map(|init| init.pid);
            let mut made: Vec<i32> = children().into_iter().filter(|pid| !others.contains(pid)).collect();
            made.extend(recorded.filter(|pid| !made.contains(pid)));
            made.into_iter().for_each(wait::kill_and_reap);
            // Somebody was faster: what there is under the unit's name is theirs.
            if matches!(error, Error::Systemd { trouble: SystemdTrouble::Taken, .. }) {
                record.group = Group::default();
            }
            restoration.creation.undo(guard, &record, None, warnings);
            Err(error)
        }
    }
}

/// corten's children (proc_tid_children(5)); none where the kernel doesn't list them.
fn children() -> Vec<i32> {
    let pid = std::process::id();
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn open(images: &Path) -> Result<File> {
    let opened = File::open(images).doing(|| format!("open the directory {}", images.display()));
    let hint = "--image-path names the directory that `checkpoint` has filled";
    opened.map_err(|error| error.field(Field::at("--image-path")).hint(hint))
}

/// Which files stdio led to. Images that others have made may have no word of it.
fn streams(images: &Path) -> Result<Vec<String>> {
    let path = images.join(stdio::FILE);
    match std::fs::read(&path) {
        Ok(bytes) => stdio::parse(&bytes).map_err(|why| Error::WrongStatus(format!("{}: {why}", images.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).doing(|| format!("read {}", path.display())),
    }
}

/// Every mount from outside that the dumped container had must have its like, or criu would only say that some mount has none.
fn require_mounts(restoration: &Restoration) -> Result {
    let path = restoration.images.join(mounts::FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        // Others don't keep it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).doing(|| format!("read {}", path.display())),
    };
    let missing = mounts::missing(&bytes, &restoration.attached);
    let missing = missing.map_err(|why| Error::WrongStatus(format!("{}: {why}", restoration.images.display())))?;
    let violation = |name: String| {
        let why = format!(
            "the dumped container had something of the host's on {name}, and this config.json has no mount there"
        );
        Violation::new(Field::at("/mounts"), why)
            .hint("add a bind mount with this destination; its source may be another")
    };
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Error::Violations(missing.into_iter().map(violation).collect())),
    }
}

/// How many dumps ahead are looked at.
const DUMPS: usize = 64;

/// Lets a group read the images in a directory.
fn share_all(dir: &Path, gid: u32) -> std::io::Result<()> {
    share(&File::open(dir)?, gid, 0o010)?;
    for entry in std::fs::read_dir(dir)? {
        // What isn't a file of its own is none of criu's.
        let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(entry?.path());
        file.map_or(Ok(()), |file| if file.metadata()?.is_file() { share(&file, gid, 0o040) } else { Ok(()) })?;
    }
    Ok(())
}

/// Gives the file to a group, with these rights.
fn share(file: &File, gid: u32, rights: u32) -> std::io::Result<()> {
    std::os::unix::fs::fchown(file, None, Some(gid))?;
    let mode = file.metadata()?.permissions().mode() | rights;
    file.set_permissions(Permissions::from_mode(mode & 0o7777))
}

/// A restore at work.
struct Coming<'a, 'b> {
    restoration: &'a Restoration<'b>,
    guard: &'a Guard,
    record: &'a mut Record,
    slots: &'a mut Slots,
    terminal: Option<OwnedFd>,
}

impl Coming<'_, '_> {
    /// The pid, and the terminal when nobody else got it.
    fn come(mut self, images: &File, streams: &[String]) -> Result<(i32, Option<OwnedFd>)> {
        let restoration = self.restoration;
        let steps = HostSteps { plan: restoration.creation.plan, injections: restoration.creation.injections };
        steps.prepare(self.slots)?;
        self.let_read()?;
        let mut outside = self.outside()?;
        outside.extend(self.stdio(streams)?);
        let mut opts = self.opts(&outside);
        opts.images_dir_fd = images.as_raw_fd();
        let kept: Vec<BorrowedFd> = outside.iter().map(|(_, fd)| fd.as_fd()).collect();
        let start = || {
            let work = open_or_make(restoration.work, "--work-path")?;
            service::forget_log(&restoration.work.join("restore.log"))?;
            let service = Service::start(&Start { program: restoration.criu, stdio: true, kept: &kept })?;
            Ok((work, service))
        };
        let hierarchies = hierarchies(restoration.layout);
        let mounts = Alone { root: Some(&self.record.rootfs), yard: self.guard.path(), hierarchies: &hierarchies };
        // Without a mount namespace of its own a container's mounts are the host's.
        let (work, service) = match probe::has(restoration.creation.spec, LinuxNamespaceType::Mount) {
            true => {
                opts.cgroup_yard = Some(mounts.yard.to_string_lossy().into_owned());
                alone(&mounts, start)?
            }
            false => start()?,
        };
        opts.work_dir_fd = Some(work.as_raw_fd());
        // While criu waits for what it shall do.
        for index in 0..steps.plan.adopt.len() {
            steps.act(Stage::Adopt, index, service.pid(), self.slots)?;
        }
        let read_only = restoration.creation.spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false);
        let answer = service.ask(&service::request(ReqType::Restore, opts), &mut |point| match point {
            Point::SetupNamespaces(pid) => self.at_namespaces(&steps, pid),
            Point::Terminal(master) => self.give_terminal(master),
            Point::Restored(pid) if read_only => make_root_read_only(pid),
            Point::BeforeResume => self.settle(&steps),
            Point::Restored(_) | Point::Other => Ok(()),
        })?;
        let pid =
            answer.as_ref().filter(|resp| resp.success).and_then(|resp| resp.restore).map(|restored| restored.pid);
        let Some(pid) = pid else {
            let log = restoration.work.join("restore.log");
            return Err(service::failure("restore the container", answer.as_ref(), &log));
        };
        // A criu that doesn't stop at those points has left it to us.
        if self.record.creating {
            self.record.init = Some(Init::probe(pid)?);
            self.settle(&steps)?;
        }
        Ok((pid, self.terminal))
    }

    /// Before the container runs again, because it may end at once, and its control groups with it.
    fn settle(&mut self, steps: &HostSteps) -> Result {
        let pid = self.record.init.map_or(0, |init| init.pid);
        for index in 0..steps.plan.ready.len() {
            steps.act(Stage::Ready, index, pid, self.slots)?;
        }
        self.record.creating = false;
        self.guard.save(self.record)
    }

    fn opts(&self, outside: &[(String, OwnedFd)]) -> Opts {
        let restoration = self.restoration;
        let annotation = self.record.annotations.get(probe::CONFIG_ANNOTATION).map(String::as_str);
        let join = |(name, typ)| self.joined(typ).map(|path| (name, path));
        let kinds = [("ipc", LinuxNamespaceType::Ipc), ("uts", LinuxNamespaceType::Uts)];
        let into = Into {
            attached: restoration.attached.clone(),
            group: (!self.record.group.is_empty()).then_some(&self.record.group),
            joined: kinds.into_iter().filter_map(join).collect(),
            terminal: self.record.terminal,
            config_file: probe::config_file(annotation),
        };
        let mut opts = plan_restore(restoration.restore, &into, &self.record.rootfs);
        let key = |(key, fd): &(String, OwnedFd)| InheritFd { key: key.clone(), fd: fd.as_raw_fd() };
        opts.inherit_fd.extend(outside.iter().map(key));
        opts
    }

    /// The namespaces that take the place of those that weren't the dumped container's own, by criu's keys.
    fn outside(&self) -> Result<Vec<(String, OwnedFd)>> {
        let kinds = [(NETWORK, LinuxNamespaceType::Network), (PIDS, LinuxNamespaceType::Pid)];
        let paths = kinds.into_iter().filter_map(|(key, typ)| Some((key, self.joined(typ)?)));
        let open = |(key, path): (&'static str, PathBuf)| {
            let opened = File::open(&path).doing(|| format!("open the namespace {}", path.display()));
            opened
                .map(|file| (key.to_owned(), file.into()))
                .map_err(|error| error.field(Field::at("/linux/namespaces")))
        };
        paths.map(open).collect()
    }

    /// The processes read the images themselves, in their own user namespace: before their ids are mapped as the host's root
    /// without its rights, later as the container's root. So the images stay root's, and get the group of the latter.
    fn let_read(&self) -> Result {
        let Some(gid) = self.root(Linux::gid_mappings) else { return Ok(()) };
        let mut dir = self.restoration.images.to_owned();
        // Images that were written ahead lie in a chain of directories, each with a link to the one before.
        for _ in 0..DUMPS {
            match share_all(&dir, gid) {
                // Where nothing can be changed it may be readable as it is; criu tells.
                Err(error) if error.raw_os_error() != Some(libc::EROFS) => {
                    return Err(error)
                        .doing(|| format!("let the container's root read the images in {}", dir.display()));
                }
                _ => {}
            }
            match dir.join("parent").canonicalize() {
                Ok(parent) => dir = parent,
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// The host's id of the container's root, when that is another.
    fn root(&self, maps: fn(&Linux) -> &Option<Vec<LinuxIdMapping>>) -> Option<u32> {
        let maps = self.restoration.creation.spec.linux().as_ref().and_then(|linux| maps(linux).as_ref());
        let root = maps.into_iter().flatten().find(|map| map.container_id() == 0).map(LinuxIdMapping::host_id);
        root.filter(|id| *id != 0)
    }

    /// corten's own stdio, for what the container's led to: copies, because criu takes away what it is given.
    fn stdio(&self, streams: &[String]) -> Result<Vec<(String, OwnedFd)>> {
        let copy = |(number, key): (usize, &str)| {
            let own = descriptor::stdio()[number.min(2)];
            let fd = own.try_clone_to_owned().doing(|| "copy standard input or output")?;
            // It is opened anew, by the container's root; as in `create` it stays as it is where it can't change hands.
            let file = File::from(fd);
            let ordinary = file.metadata().is_ok_and(|stat| stat.is_file());
            if let Some(uid) = self.root(Linux::uid_mappings).filter(|_| ordinary && key.starts_with("file[")) {
                std::os::unix::fs::fchown(&file, Some(uid), None).ok();
            }
            Ok((key.to_owned(), file.into()))
        };
        stdio::inherited(streams).into_iter().map(copy).collect()
    }

    fn joined(&self, typ: LinuxNamespaceType) -> Option<PathBuf> {
        probe::joined_path(self.restoration.creation.spec, typ)
    }

    /// The namespaces are there, and nothing in them: the container is on record, and the host does what it does to a fresh
    /// one.
    fn at_namespaces(&mut self, steps: &HostSteps, pid: i32) -> Result {
        self.record.init = Some(Init::probe(pid)?);
        self.guard.save(self.record)?;
        let state = StateJson { pid, ..self.record.state_json(Status::Creating) };
        let held = pidfd::open(pid).ok();
        for (number, step) in steps.plan.mounted.iter().enumerate() {
            match &step.op {
                Op::Process(ProcessOp::Hook { kind, index, hook }) => {
                    steps
                        .injected(Stage::Mounted, number)
                        .map_err(|trouble| steps.error(Stage::Mounted, number, trouble))?;
                    let place = Place::Runtime { cwd: Some(&self.record.bundle), init: held.as_ref().map(AsFd::as_fd) };
                    hooks::run_one(*kind, *index, hook, &state, place)?;
                }
                _ => steps.act(Stage::Mounted, number, pid, self.slots)?,
            }
        }
        Ok(())
    }

    /// The terminal's master goes where that of a fresh container would.
    fn give_terminal(&mut self, master: OwnedFd) -> Result {
        match self.slots.take(Slot::CONSOLE) {
            Some(socket) => {
                let sent = console::send(socket, master.as_raw_fd());
                file::close(socket);
                sent.doing(|| "send the terminal").map_err(|error| error.field(Field::at("--console-socket")))
            }
            None => {
                self.terminal = Some(master);
                Ok(())
            }
        }
    }
}

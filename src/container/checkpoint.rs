//! Dumps a running container by criu, and unless it goes on deletes it: it lives in its images then.
//!
//! Holds the container's lock from the first look to the last effect.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::delete::destroy;
use super::init::LiveInit;
use super::status::{Status, Verb, permit};
use super::{ContainerId, Locked, Record, Store, Warning, processes};
use crate::cgroups::remove::Members;
use crate::criu::alone::{Alone, alone, hierarchies};
use crate::criu::plan::dump::{Dump, Seen, plan_dump};
use crate::criu::plan::mounts::{self, attached};
use crate::criu::plan::stdio::{self, Named};
use crate::criu::rpc::Features;
use crate::criu::service::{self, Service, Start};
use crate::criu::{self, probe};
use crate::error::{Doing, Error, Result, Violation};
use crate::fault::Call;
use crate::field::Field;
use crate::host::cgroups::Layout;
use crate::plan::Plan;

/// Where the images go, and how.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    pub dump: &'a Dump,
    /// Absolute; made when it is missing.
    pub images: &'a Path,
    /// Where criu keeps its log; absolute.
    pub work: &'a Path,
    /// Where criu is; in `$PATH` otherwise.
    pub criu: Option<&'a Path>,
    /// Gets a NUL byte when the pages can be asked for.
    pub status_fd: Option<RawFd>,
    /// The host's control groups.
    pub layout: &'a Layout,
}

/// A container that can be dumped, with its lock.
pub struct Subject {
    dir: Locked,
    record: Record,
    init: LiveInit,
    pid: i32,
}

impl Subject {
    /// Finds the container and takes hold of its init.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`]; [`Error::WrongStatus`] unless it is running or paused.
    pub fn open(store: &Store, id: &ContainerId) -> Result<Subject> {
        let dir = store.find(id)?.lock()?;
        let record = dir.load()?;
        permit(Verb::Checkpoint, dir.status(&record)?, id.as_str())?;
        let held = record.init.map(|init| init.hold().map(|held| (init.pid, held))).transpose()?;
        match held {
            Some((pid, Some(init))) => Ok(Subject { dir, record, init, pid }),
            _ => Err(permit(Verb::Checkpoint, Status::Stopped, id.as_str()).err().unwrap_or_else(|| gone(id))),
        }
    }

    /// The bytes of the config.json that the container was created with.
    pub fn config(&self) -> Result<Vec<u8>> {
        self.dir.read_config()
    }

    /// The bundle that it was created from: what relative paths in its config begin at.
    pub fn bundle(&self) -> &Path {
        &self.record.bundle
    }

    /// Dumps the container. `plan` is that of a `create` for its config: it tells what of the host's is in there.
    ///
    /// # Errors
    /// The container runs as before, unless criu had begun to end it. What is in `images` then is of no use.
    pub fn dump(self, spec: &Spec, plan: &Plan, target: &Target, warnings: &mut Vec<Warning>) -> Result {
        let Target { dump, images, work, criu, status_fd, layout } = *target;
        require_features(dump, criu)?;
        let images_dir = open_or_make(images, "--image-path")?;
        if let Some(parent) = dump.parent_path.as_ref().filter(|parent| !images.join(parent).is_dir()) {
            let why = format!("{} is no directory", images.join(parent).display());
            let violation = Violation::new(Field::at("--parent-path"), why);
            let hint = "it names the images of an earlier `checkpoint --pre-dump`, from those of this one";
            return Err(Error::Violations(vec![violation.hint(hint)]));
        }
        let seen = self.look(spec, plan)?;
        let (kind, mut opts) = plan_dump(dump, &seen, &self.record.rootfs);
        opts.images_dir_fd = images_dir.as_raw_fd();
        opts.status_fd = status_fd;
        if !dump.pre_dump {
            keep_streams(images, &seen.streams)?;
            keep(&images.join(mounts::FILE), &mounts::render_names(&opts.external))?;
        }
        // Still the init: what was found by its pid was the container's.
        if !self.record.init.map_or(Ok(false), |init| init.alive())? {
            return Err(permit(Verb::Checkpoint, Status::Stopped, &self.record.id)
                .err()
                .unwrap_or_else(|| gone(self.dir.id())));
        }
        warnings.extend(processes::strangers(&self.record)?.into_iter().map(stranger));
        let start = || {
            let work_dir = open_or_make(work, "--work-path")?;
            service::forget_log(&work.join("dump.log"))?;
            Ok((work_dir, Service::start(&Start { program: criu, ..Start::default() })?))
        };
        let hierarchies = hierarchies(layout);
        let mounts = Alone { root: None, yard: self.dir.path(), hierarchies: &hierarchies };
        // One that shares the host's mounts is dumped by a criu that shares them too.
        let (work_dir, service) = match probe::has(spec, LinuxNamespaceType::Mount) {
            true => {
                opts.cgroup_yard = Some(mounts.yard.to_string_lossy().into_owned());
                alone(&mounts, start)?
            }
            false => start()?,
        };
        opts.work_dir_fd = Some(work_dir.as_raw_fd());
        let answer = service.ask(&service::request(kind, opts), &mut |_| Ok(()))?;
        if !answer.as_ref().is_some_and(|resp| resp.success) {
            return Err(service::failure("dump the container", answer.as_ref(), &work.join("dump.log")));
        }
        drop(self.init);
        if dump.leave_running || dump.pre_dump {
            return Ok(());
        }
        destroy(&self.dir, &self.record, Members::Kill, warnings)
    }

    fn look(&self, spec: &Spec, plan: &Plan) -> Result<Seen> {
        let cgroup_namespace = probe::has(spec, LinuxNamespaceType::Cgroup);
        let mounts = probe::mounts(self.pid, &attached(plan), cgroup_namespace)?;
        let own = mounts.ids();
        let annotation = self.record.annotations.get(probe::CONFIG_ANNOTATION).map(String::as_str);
        Ok(Seen {
            pid: self.pid,
            joined: probe::joined(self.pid, spec)?,
            streams: probe::streams(self.pid).iter().map(|stream| stdio::name(stream, &own)).collect(),
            mounts,
            group: self.record.group.clone(),
            freezer: self.record.group.freezer().map(|place| place.own_dir()).transpose()?,
            terminal: self.record.terminal,
            iptables: service::find_program("iptables-restore").is_some(),
            config_file: probe::config_file(annotation),
        })
    }
}

/// What is said of a process that criu doesn't see.
fn stranger(pid: i32) -> Warning {
    Warning::plain(format!(
        "process {pid} is no child of the container's init, as one of `exec` is: it is not in the images"
    ))
}

fn gone(id: &ContainerId) -> Error {
    Error::NoSuchContainer { id: id.to_string() }
}

/// What criu or the kernel lacks is told before anything is stopped.
fn require_features(dump: &Dump, criu: Option<&Path>) -> Result {
    let (ahead, lazy) = (dump.pre_dump, dump.common.lazy_pages);
    if !ahead && !lazy {
        return Ok(());
    }
    let wanted = Features { mem_track: ahead.then_some(true), lazy_pages: lazy.then_some(true) };
    let has = criu::service::features(criu, wanted)?;
    let lacks = |flag: &str, what: &str| Err(Error::WrongStatus(format!("{flag}: criu, or the kernel, lacks {what}")));
    match (ahead && has.mem_track != Some(true), lazy && has.lazy_pages != Some(true)) {
        (true, _) => lacks("--pre-dump", "the tracking of memory (CONFIG_MEM_SOFT_DIRTY)"),
        (_, true) => lacks("--lazy-pages", "lazy pages (userfaultfd(2))"),
        _ => Ok(()),
    }
}

/// A directory for the images, or for the log: nobody else may read the memory of processes.
pub(super) fn open_or_make(path: &Path, flag: &'static str) -> Result<File> {
    let named = |error: Error| error.field(Field::at(flag));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.doing(|| format!("make the directory {}", path.display())).map_err(named)?;
    File::open(path).doing(|| format!("open the directory {}", path.display())).map_err(named)
}

/// Keeps beside the images which files stdio led to.
fn keep_streams(images: &Path, streams: &[Named]) -> Result {
    let mut names = [const { String::new() }; 3];
    for (name, stream) in names.iter_mut().zip(streams) {
        name.clone_from(&stream.name);
    }
    keep(&images.join(stdio::FILE), &stdio::render(&names))
}

/// Writes a file beside the images.
fn keep(path: &Path, bytes: &[u8]) -> Result {
    let doing = || format!("write {}", path.display());
    let mut options = File::options();
    let open = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = open.map_err(|error| Error::io(doing(), Call::Open, &error))?;
    file.write_all(bytes).map_err(|error| Error::io(doing(), Call::Write, &error))
}

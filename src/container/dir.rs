//! One container's directory in the state root, held by descriptor: `state.json`, `exec.fifo`, `steps`, copies of configs.
//! Nothing here follows a symbolic link, and everything is found below the descriptor, so whoever can write into the
//! directory can't lead corten out of it.
//!
//! The lock is flock(2) on the directory itself. A forked child shares it until execve (or until it closes the
//! descriptor), which is why unlocking is explicit: LOCK_UN ends the lock for all who share it.

use std::fs::File;
use std::io::{Read, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::fifo;
use super::id::ContainerId;
use super::record::Record;
use super::status::{Facts, Status, status};
use crate::cgroups::freeze;
use crate::error::{Doing, Error, Result};
use crate::fault::{Call, During};

pub const STATE: &str = "state.json";
/// The next state.json until it is whole.
pub(super) const STATE_NEXT: &str = "state.json.next";
/// The page in which the init notes its steps; laid out by `process/`, removed by `start`.
pub const STEPS: &str = "steps";
/// The config.json that the container was created with: the bundle's may be another by now.
const CONFIG: &str = "config.json";
/// What `mounts add` has added since.
const MOUNTS: &str = "mounts.json";
/// The next one until it is whole.
const MOUNTS_NEXT: &str = "mounts.json.next";
/// The parts of that config that `update` has changed since, as they are now.
const UPDATED: &str = "updated.json";
const UPDATED_NEXT: &str = "updated.json.next";
/// Directories in a container's directory are of other parts' making; nobody nests them deeper.
const DEPTH: usize = 8;

/// How a directory is opened: never through a link.
const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A container's directory, without its lock.
#[derive(Debug)]
pub struct StateDir {
    root: Arc<OwnedFd>,
    fd: OwnedFd,
    id: ContainerId,
    path: PathBuf,
}

impl StateDir {
    /// Takes over a directory that `name` names in the state root.
    pub(super) fn open(root: &Arc<OwnedFd>, root_path: &Path, id: &ContainerId, name: &str) -> nix::Result<StateDir> {
        let fd = openat(root, name, DIRECTORY | OFlag::O_RDONLY, Mode::empty())?;
        Ok(StateDir { root: root.clone(), fd, id: id.clone(), path: root_path.join(id.as_str()) })
    }

    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The directory's path, for messages and for files that a child maps or a program is told about.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state root, for what is kept for all containers.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory, for the files that other parts keep here.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Reads state.json; [`Error::DamagedState`] when it isn't there or isn't ours.
    pub fn load(&self) -> Result<Record> {
        Record::parse(self.id.as_str(), &self.read(STATE)?)
    }

    /// The bytes of the config.json that the container was created with.
    pub fn read_config(&self) -> Result<Vec<u8>> {
        self.read(CONFIG)
    }

    /// The bytes of what `mounts add` has left, if it has.
    pub(super) fn read_mounts(&self) -> Result<Option<Vec<u8>>> {
        if self.has(MOUNTS)? { self.read(MOUNTS).map(Some) } else { Ok(None) }
    }

    /// What `update` keeps; `None` when nothing was changed since `create`.
    pub fn read_updated(&self) -> Result<Option<Vec<u8>>> {
        self.has(UPDATED)?.then(|| self.read(UPDATED)).transpose()
    }

    /// Reads a file of corten's own.
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let damaged = |why: String| Error::DamagedState { id: self.id.to_string(), why };
        // O_NONBLOCK: were it a fifo, opening it must not wait for a writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut bytes = Vec::new();
        match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd).read_to_end(&mut bytes).map_err(|e| damaged(format!("{name}: {e}")))?,
            Err(Errno::ENOENT) if self.is_removed() => return Err(self.no_such()),
            Err(errno) => return Err(damaged(format!("{name}: {}", crate::fault::words(errno)))),
        };
        Ok(bytes)
    }

    /// The container's status, from this directory, /proc and the freezer of its cgroup.
    pub fn status(&self, record: &Record) -> Result<Status> {
        // Only an unfinished record needs to know whether its creator lives.
        let locked = record.creating && self.is_locked()?;
        self.status_with(record, locked)
    }

    fn status_with(&self, record: &Record, locked: bool) -> Result<Status> {
        let init_alive = record.init.map_or(Ok(false), |init| init.alive())?;
        // Nobody asks a container that is not there whether it is frozen: its cgroup may be another's by now.
        let frozen = init_alive && !record.creating && freeze::is_frozen(&record.group)?;
        Ok(status(&Facts { creating: record.creating, locked, init_alive, fifo: self.has(fifo::NAME)?, frozen }))
    }

    fn has(&self, name: &str) -> Result<bool> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            failed => failed.map(|_| true).during(Call::Stat).doing(|| format!("look for {}", self.child(name))),
        }
    }

    /// The path of a file in this directory, for messages.
    pub(super) fn child(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    fn flock(&self) -> Result<OwnedFd> {
        // A lock belongs to the open file description, so a second look needs one of its own.
        openat(&self.fd, ".", DIRECTORY | OFlag::O_RDONLY, Mode::empty())
            .during(Call::Open)
            .doing(|| format!("open {}", self.path.display()))
    }

    /// Whether somebody holds the lock. The probe takes it shared for a moment and never waits.
    fn is_locked(&self) -> Result<bool> {
        match Flock::lock(self.flock()?, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(false),
            Err((_, Errno::EWOULDBLOCK)) => Ok(true),
            Err((_, errno)) => Err(errno).during(Call::Flock).doing(|| format!("lock {}", self.path.display())),
        }
    }

    /// Waits for the lock. [`Error::NoSuchContainer`] when the container was deleted meanwhile.
    pub fn lock(self) -> Result<Locked> {
        let lock = loop {
            match Flock::lock(self.flock()?, FlockArg::LockExclusive) {
                Ok(lock) => break lock,
                Err((_, Errno::EINTR)) => continue,
                Err((_, errno)) => {
                    return Err(errno).during(Call::Flock).doing(|| format!("lock {}", self.path.display()));
                }
            }
        };
        self.locked_by(lock)
    }

    /// Takes the lock if nobody has it, else gives the directory back.
    pub fn try_lock(self) -> Result<Result<Locked, StateDir>> {
        match Flock::lock(self.flock()?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => self.locked_by(lock).map(Ok),
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(Err(self)),
            Err((_, errno)) => Err(errno).during(Call::Flock).doing(|| format!("lock {}", self.path.display())),
        }
    }

    fn locked_by(self, lock: Flock<OwnedFd>) -> Result<Locked> {
        match self.is_removed() {
            true => Err(self.no_such()),
            false => Ok(Locked { dir: self, lock }),
        }
    }

    /// An open directory without a name has no links left.
    fn is_removed(&self) -> bool {
        nix::sys::stat::fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0)
    }

    fn no_such(&self) -> Error {
        Error::NoSuchContainer { id: self.id.to_string() }
    }
}

/// A container's directory with its lock: what may be changed. Dropping it unlocks.
#[derive(Debug)]
pub struct Locked {
    dir: StateDir,
    lock: Flock<OwnedFd>,
}

impl Deref for Locked {
    type Target = StateDir;

    fn deref(&self) -> &StateDir {
        &self.dir
    }
}

impl Locked {
    /// The descriptor that carries the lock. A child that doesn't go on to execve soon should close it.
    pub fn lock_fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// The status; the lock is ours, so no `create` is at work.
    pub fn status(&self, record: &Record) -> Result<Status> {
        self.dir.status_with(record, false)
    }

    /// Keeps the config.json that the container is created with.
    pub fn save_config(&self, bytes: &[u8]) -> Result<()> {
        self.write(CONFIG, bytes)
    }

    /// Replaces what `mounts add` has left at once, as [`Locked::save`] does.
    pub(super) fn save_mounts(&self, bytes: &[u8]) -> Result<()> {
        self.write(MOUNTS_NEXT, bytes)?;
        let renamed = renameat(&self.dir.fd, MOUNTS_NEXT, &self.dir.fd, MOUNTS);
        renamed.during(Call::Rename).doing(|| format!("write {}", self.child(MOUNTS)))
    }

    /// Keeps what `update` has changed, once `settle` has succeeded: what can fail of it comes before.
    pub fn save_updated(&self, bytes: &[u8], settle: impl FnOnce() -> Result<()>) -> Result<()> {
        self.write(UPDATED_NEXT, bytes)?;
        settle()?;
        let doing = || format!("write {}", self.child(UPDATED));
        renameat(&self.dir.fd, UPDATED_NEXT, &self.dir.fd, UPDATED).during(Call::Rename).doing(doing)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let doing = || format!("write {}", self.child(name));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.dir.fd, name, flags, Mode::from_bits_truncate(0o600)).during(Call::Open).doing(doing)?;
        File::from(fd).write_all(bytes).map_err(|e| Error::io(doing(), Call::Write, &e))
    }

    /// Replaces state.json at once: readers see the old one or the new one. Nothing is synced to the disk, because
    /// no container outlives the machine.
    pub fn save(&self, record: &Record) -> Result<()> {
        let doing = || format!("write {}", self.child(STATE));
        self.write(STATE_NEXT, &record.render()?)?;
        renameat(&self.dir.fd, STATE_NEXT, &self.dir.fd, STATE).during(Call::Rename).doing(doing)
    }

    /// Removes one file; it need not be there.
    pub fn remove_file(&self, name: &str) -> Result<()> {
        match unlinkat(&self.dir.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            failed => failed.during(Call::Unlink).doing(|| format!("remove {}", self.child(name))),
        }
    }

    /// Removes the directory with everything in it. state.json goes last: what is left after a crash can still be
    /// deleted by its id. Once it is gone this does nothing, even when the id is in use again.
    pub fn remove(&self) -> Result<()> {
        match self.dir.is_removed() {
            true => Ok(()),
            false => self.remove_named(self.dir.id.as_str()),
        }
    }

    pub(super) fn remove_named(&self, name: &str) -> Result<()> {
        let doing = || format!("remove {}", self.dir.path.display());
        remove_entries(self.dir.fd.as_fd(), Some(STATE), DEPTH).during(Call::Unlink).doing(doing)?;
        self.remove_file(STATE)?;
        match unlinkat(&self.dir.root, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            failed => failed.during(Call::Unlink).doing(doing),
        }
    }
}

/// Removes what a directory holds, but for `keep`; descends by descriptor and never through a link.
fn remove_entries(dir: BorrowedFd, keep: Option<&str>, depth: usize) -> nix::Result<()> {
    let listed = Dir::openat(dir, ".", DIRECTORY | OFlag::O_RDONLY, Mode::empty())?;
    // Names first: what readdir(3) shows while entries go is not defined.
    let names = listed.into_iter().map(|e| e.map(|e| e.file_name().to_owned())).collect::<nix::Result<Vec<_>>>()?;
    for name in names {
        let bytes = name.as_bytes();
        if bytes == b"." || bytes == b".." || keep.is_some_and(|keep| keep.as_bytes() == bytes) {
            continue;
        }
        match unlinkat(dir, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => continue,
            Err(Errno::EISDIR | Errno::EPERM) if depth > 0 => {}
            Err(errno) => return Err(errno),
        }
        let inner = openat(dir, name.as_c_str(), DIRECTORY | OFlag::O_RDONLY, Mode::empty())?;
        remove_entries(inner.as_fd(), None, depth - 1)?;
        unlinkat(dir, name.as_c_str(), UnlinkatFlags::RemoveDir)?;
    }
    Ok(())
}

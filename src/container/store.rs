//! The state root: one directory a container, named by its id.
//!
//! A container appears with its first record in place and its lock held, because it is made under a name that no id
//! can have and renamed. From then on even a `create` that is killed leaves something that `delete --force` removes.

use std::ffi::OsStr;
use std::fs::{DirBuilder, Permissions};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, open, renameat, renameat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::dir::{Locked, STATE, STATE_NEXT, StateDir};
use super::id::ContainerId;
use super::record::Record;
use crate::error::{Doing, Error, Result};
use crate::fault::{Call, During};
use crate::field::Field;
use crate::sys::pidfd;

/// How many leftovers of killed `create`s with our pid are stepped over.
const NAMES: usize = 1000;

/// A state root. It comes into being with the first container: looking leaves no trace.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// `None` while there is no such directory.
    root: Option<Arc<OwnedFd>>,
}

impl Store {
    /// Opens the state root; one that doesn't exist is empty.
    pub fn open(path: &Path) -> Result<Store> {
        let path = std::path::absolute(path).doing(|| format!("find the state root {}", path.display()))?;
        match open_directory(&path) {
            Ok(fd) => Ok(Store { path, root: Some(Arc::new(fd)) }),
            Err(Errno::ENOENT) => Ok(Store { path, root: None }),
            Err(errno) => {
                let opened = Err(errno).during(Call::Open).doing(|| format!("open the state root {}", path.display()));
                opened.map_err(of_root)
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory of a new container with its first record, locked, and the state root where it is missing.
    /// [`Error::AlreadyExists`] when the id is taken.
    pub fn create(&mut self, id: &ContainerId, record: &Record) -> Result<Guard> {
        let doing = || format!("create {}", self.path.join(id.as_str()).display());
        let root = match &self.root {
            Some(root) => root.clone(),
            None => Arc::new(make_root(&self.path)?),
        };
        let (hidden, dir) = self.make_hidden(&root, id)?;
        let locked = dir.lock().inspect_err(|_| discard(&root, &hidden))?;
        let taken = match locked.save(record) {
            Ok(()) => rename_new(&root, &hidden, id.as_str()),
            Err(error) => {
                discard(&root, &hidden);
                return Err(error);
            }
        };
        if let Err(errno) = taken {
            discard(&root, &hidden);
            return match errno {
                Errno::EEXIST | Errno::ENOTEMPTY => Err(Error::AlreadyExists { id: id.to_string() }),
                errno => Err(errno).during(Call::Rename).doing(doing).map_err(of_root),
            };
        }
        self.root = Some(root);
        Ok(Guard { locked, committed: false })
    }

    /// A fresh directory under a name that is no id.
    fn make_hidden(&self, root: &Arc<OwnedFd>, id: &ContainerId) -> Result<(String, StateDir)> {
        let doing = || format!("create a directory in {}", self.path.display());
        for n in 0..NAMES {
            let name = format!("~{}.{n}", std::process::id());
            // Only corten reads these files: the init is given its descriptors.
            match mkdirat(root, name.as_str(), Mode::from_bits_truncate(0o700)) {
                Ok(()) => {
                    let opened = StateDir::open(root, &self.path, id, &name).inspect_err(|_| discard(root, &name));
                    return Ok((name, opened.during(Call::Open).doing(doing)?));
                }
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno).during(Call::Mkdir).doing(doing),
            }
        }
        Err(Errno::EEXIST).during(Call::Mkdir).doing(doing)
    }

    /// Removes what `create`s have left that were killed before their directory had its container's name. Whoever is at
    /// work lives, and holds its directory's lock.
    pub fn sweep(&self) -> Result<()> {
        for name in self.names()? {
            let Some(pid) = name.strip_prefix('~').and_then(|rest| rest.split('.').next()?.parse::<i32>().ok()) else {
                continue;
            };
            let (Some(root), Err(gone)) = (&self.root, pidfd::kill(pid, 0)) else { continue };
            // The id is of no use here, but for messages.
            let id = ContainerId::parse("swept")?;
            if gone.errno == Errno::ESRCH {
                if let Ok(Ok(left)) = StateDir::open(root, &self.path, &id, &name).map(StateDir::try_lock) {
                    left.map_or(Ok(()), |left| left.remove_named(&name))?;
                }
            }
        }
        Ok(())
    }

    /// The directory of a container; [`Error::NoSuchContainer`] when there is none.
    pub fn find(&self, id: &ContainerId) -> Result<StateDir> {
        let no_such = || Error::NoSuchContainer { id: id.to_string() };
        let root = self.root.as_ref().ok_or_else(no_such)?;
        match StateDir::open(root, &self.path, id, id.as_str()) {
            Ok(dir) => Ok(dir),
            // A file in the state root is no container, and a name that the file system can't hold isn't one either.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG) => Err(no_such()),
            Err(errno) => {
                Err(errno).during(Call::Open).doing(|| format!("open {}", self.path.join(id.as_str()).display()))
            }
        }
    }

    /// A container's directory and record, without the lock.
    pub fn load(&self, id: &ContainerId) -> Result<(StateDir, Record)> {
        let dir = self.find(id)?;
        let record = dir.load()?;
        Ok((dir, record))
    }

    /// Every container's id, in order. Containers may come and go while one reads.
    pub fn ids(&self) -> Result<Vec<ContainerId>> {
        // Whatever has no id's name is not a container's: caches, and directories not yet renamed.
        let mut ids: Vec<_> = self.names()?.into_iter().filter_map(|name| ContainerId::parse(&name).ok()).collect();
        ids.sort();
        Ok(ids)
    }

    /// The names of the directories in the state root.
    fn names(&self) -> Result<Vec<String>> {
        let Some(root) = &self.root else { return Ok(Vec::new()) };
        let doing = || format!("list {}", self.path.display());
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let listed = Dir::openat(root, ".", flags, Mode::empty()).during(Call::Open).doing(doing)?;
        let mut names = Vec::new();
        for entry in listed {
            let entry = entry.during(Call::Getdents).doing(doing)?;
            let directory = matches!(entry.file_type(), None | Some(nix::dir::Type::Directory));
            names.extend(entry.file_name().to_str().ok().filter(|_| directory).map(str::to_owned));
        }
        Ok(names)
    }

    /// The ids that a regular expression finds a match in.
    pub fn ids_matching(&self, pattern: &str) -> Result<Vec<ContainerId>> {
        let regex = regex_lite::Regex::new(pattern)
            .map_err(|e| Error::Usage(format!("--regex: {pattern:?} is no regular expression: {e}")))?;
        Ok(self.ids()?.into_iter().filter(|id| regex.is_match(id.as_str())).collect())
    }
}

fn open_directory(path: &Path) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Names the flag that chooses the state root.
fn of_root(error: Error) -> Error {
    error.field(Field::at("--root"))
}

fn make_root(path: &Path) -> Result<OwnedFd> {
    let doing = || format!("create the state root {}", path.display());
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| of_root(Error::io(doing(), Call::Mkdir, &e)))?;
    let mode = root_mode(path, std::env::var_os("XDG_RUNTIME_DIR").as_deref());
    if mode != 0o700 {
        let permissions = Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions).map_err(|e| Error::io(doing(), Call::Chmod, &e))?;
    }
    open_directory(path).during(Call::Open).doing(doing)
}

/// Below XDG_RUNTIME_DIR old files may be cleaned away unless they are sticky (XDG Base Directory Specification).
fn root_mode(path: &Path, xdg_runtime_dir: Option<&OsStr>) -> u32 {
    match xdg_runtime_dir {
        Some(dir) if !dir.is_empty() && path.starts_with(dir) => 0o1700,
        _ => 0o700,
    }
}

/// Removes a directory that has not come further than its record. By name and without a descriptor, because their lack
/// may be what went wrong; the error on its way is the one to tell.
fn discard(root: &OwnedFd, hidden: &str) {
    for name in [STATE_NEXT, STATE] {
        unlinkat(root, format!("{hidden}/{name}").as_str(), UnlinkatFlags::NoRemoveDir).ok();
    }
    unlinkat(root, hidden, UnlinkatFlags::RemoveDir).ok();
}

/// Renames without replacing anything. A file system without that flag replaces an empty directory at most, and a
/// container's directory never is one.
fn rename_new(root: &OwnedFd, from: &str, to: &str) -> nix::Result<()> {
    match renameat2(root, from, root, to, RenameFlags::RENAME_NOREPLACE) {
        Err(Errno::EINVAL | Errno::ENOSYS) => renameat(root, from, root, to),
        done => done,
    }
}

/// A container in the making: its directory goes away with the guard unless the container is committed. Where hooks
/// have to run on the way out, [`destroy`](super::delete::destroy) comes first and leaves the guard nothing to do.
#[derive(Debug)]
pub struct Guard {
    locked: Locked,
    committed: bool,
}

impl Guard {
    /// Writes the record of a finished container, and gives its lock away.
    pub fn commit(self, record: &Record) -> Result<()> {
        self.locked.save(record)?;
        self.keep();
        Ok(())
    }

    /// Gives the lock of a container away that is on record.
    pub fn keep(mut self) {
        self.committed = true;
    }
}

impl Deref for Guard {
    type Target = Locked;

    fn deref(&self) -> &Locked {
        &self.locked
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.committed {
            // The error on its way is the one to tell; what is left can be removed by `delete --force`.
            self.locked.remove().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

    use super::super::init::Init;
    use super::super::status::Status;
    use super::*;

    fn id(id: &str) -> ContainerId {
        ContainerId::parse(id).unwrap()
    }

    fn record(id: &str) -> Record {
        Record::new(id, "1.3.0", "/b".into(), "/b/rootfs".into())
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("a/root")).unwrap();
        (dir, store)
    }

    fn commit(store: &mut Store, name: &str) {
        let record = Record { creating: false, ..record(name) };
        store.create(&id(name), &record).unwrap().commit(&record).unwrap();
    }

    #[test]
    fn looking_into_a_root_that_is_not_there_makes_nothing() {
        let (dir, store) = store();
        assert!(store.ids().unwrap().is_empty());
        assert!(matches!(store.find(&id("web")), Err(Error::NoSuchContainer { .. })));
        assert!(!dir.path().join("a").exists());
    }

    #[test]
    fn the_root_is_for_its_owner_alone() {
        let (_dir, mut store) = store();
        commit(&mut store, "web");
        for path in [store.path().to_owned(), store.path().join("web")] {
            assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o7777, 0o700);
        }
        assert_eq!(std::fs::metadata(store.path().join("web/state.json")).unwrap().mode() & 0o7777, 0o600);
        let xdg = Some(OsStr::new("/run/user/7"));
        assert_eq!(root_mode(Path::new("/run/user/7/corten"), xdg), 0o1700);
        assert_eq!(root_mode(Path::new("/run/corten"), xdg), 0o700);
        assert_eq!(root_mode(Path::new("/run/corten"), Some(OsStr::new(""))), 0o700);
    }

    #[test]
    fn an_id_is_taken_from_the_first_moment_and_only_once() {
        let (_dir, mut store) = store();
        let guard = store.create(&id("web"), &record("web")).unwrap();
        let second = store.create(&id("web"), &record("web")).unwrap_err();
        assert_eq!(second.to_string(), "container with given ID already exists");
        guard.commit(&record("web")).unwrap();
        assert!(store.create(&id("web"), &record("web")).is_err());
        assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 1, "nothing is left of the second");
    }

    #[test]
    fn a_container_that_is_not_committed_leaves_nothing() {
        let (_dir, mut store) = store();
        let guard = store.create(&id("web"), &record("web")).unwrap();
        std::fs::create_dir(guard.path().join("extra")).unwrap();
        std::fs::write(guard.path().join("extra/file"), "").unwrap();
        drop(guard);
        assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_create_at_work_can_be_seen_and_one_that_died_is_stopped() {
        let (_dir, mut store) = store();
        let guard = store.create(&id("web"), &record("web")).unwrap();
        let (dir, seen) = store.load(&id("web")).unwrap();
        assert_eq!(dir.status(&seen).unwrap(), Status::Creating);
        // As if the process had been killed: the lock goes, the record stays as it was.
        guard.commit(&record("web")).unwrap();
        assert_eq!(dir.status(&seen).unwrap(), Status::Stopped);
    }

    #[test]
    fn a_reused_pid_is_a_stopped_container() {
        let (_dir, mut store) = store();
        let me = Init::probe(std::process::id() as i32).unwrap();
        let alive = Record { creating: false, init: Some(me), ..record("web") };
        store.create(&id("web"), &alive).unwrap().commit(&alive).unwrap();
        let (dir, seen) = store.load(&id("web")).unwrap();
        assert_eq!(dir.status(&seen).unwrap(), Status::Running);
        let stranger = Init { start_time: me.start_time + 1, ..me };
        let reused = Record { init: Some(stranger), ..seen };
        assert_eq!(dir.status(&reused).unwrap(), Status::Stopped);
    }

    #[test]
    fn what_a_killed_create_left_without_an_id_is_swept_and_what_lives_is_not() {
        let (_dir, mut store) = store();
        commit(&mut store, "web");
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        for pid in [ended.id(), std::process::id()] {
            std::fs::create_dir(store.path().join(format!("~{pid}.0"))).unwrap();
            std::fs::write(store.path().join(format!("~{pid}.0/state.json")), "{}").unwrap();
        }
        store.sweep().unwrap();
        let mut left: Vec<_> = std::fs::read_dir(store.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["web".into(), std::ffi::OsString::from(format!("~{}.0", std::process::id()))]);
    }

    #[test]
    fn only_one_holds_the_lock() {
        let (_dir, mut store) = store();
        commit(&mut store, "web");
        let locked = store.find(&id("web")).unwrap().lock().unwrap();
        assert!(store.find(&id("web")).unwrap().try_lock().unwrap().is_err());
        drop(locked);
        assert!(store.find(&id("web")).unwrap().try_lock().unwrap().is_ok());
    }

    #[test]
    fn unlocking_works_even_while_a_child_shares_the_descriptor() {
        let (_dir, mut store) = store();
        commit(&mut store, "web");
        let locked = store.find(&id("web")).unwrap().lock().unwrap();
        let shared = locked.lock_fd().try_clone_to_owned().unwrap();
        drop(locked);
        assert!(store.find(&id("web")).unwrap().try_lock().unwrap().is_ok());
        drop(shared);
    }

    #[test]
    fn who_waited_for_a_deleted_container_finds_none() {
        let (_dir, mut store) = store();
        commit(&mut store, "web");
        let late = store.find(&id("web")).unwrap();
        store.find(&id("web")).unwrap().lock().unwrap().remove().unwrap();
        assert!(matches!(late.load(), Err(Error::NoSuchContainer { .. })));
        // The same id again is another container.
        commit(&mut store, "web");
        assert!(matches!(late.lock(), Err(Error::NoSuchContainer { .. })));
    }

    #[test]
    fn a_guard_whose_container_is_gone_spares_the_next_of_that_id() {
        let (_dir, mut store) = store();
        let guard = store.create(&id("web"), &record("web")).unwrap();
        guard.remove().unwrap();
        commit(&mut store, "web");
        drop(guard);
        store.load(&id("web")).unwrap();
    }

    #[test]
    fn removing_never_follows_a_link() {
        let (dir, mut store) = store();
        let victim = dir.path().join("victim");
        std::fs::create_dir(&victim).unwrap();
        std::fs::write(victim.join("file"), "keep").unwrap();
        commit(&mut store, "web");
        let web = store.path().join("web");
        symlink(&victim, web.join("link")).unwrap();
        std::fs::create_dir(web.join("deep")).unwrap();
        symlink(&victim, web.join("deep/link")).unwrap();
        store.find(&id("web")).unwrap().lock().unwrap().remove().unwrap();
        assert!(!web.exists());
        assert_eq!(std::fs::read_to_string(victim.join("file")).unwrap(), "keep");
        symlink(&victim, store.path().join("linked")).unwrap();
        assert!(matches!(store.find(&id("linked")), Err(Error::NoSuchContainer { .. })));
    }

    #[test]
    fn a_state_file_that_is_a_link_or_a_fifo_is_damaged() {
        let (dir, mut store) = store();
        commit(&mut store, "web");
        let state = store.path().join("web/state.json");
        let copy = dir.path().join("copy");
        std::fs::rename(&state, &copy).unwrap();
        assert!(matches!(store.load(&id("web")), Err(Error::DamagedState { .. })), "missing");
        symlink(&copy, &state).unwrap();
        assert!(matches!(store.load(&id("web")), Err(Error::DamagedState { .. })), "a link");
        std::fs::remove_file(&state).unwrap();
        nix::unistd::mkfifo(&state, Mode::from_bits_truncate(0o600)).unwrap();
        assert!(std::fs::symlink_metadata(&state).unwrap().file_type().is_fifo());
        assert!(matches!(store.load(&id("web")), Err(Error::DamagedState { .. })), "a fifo");
    }

    #[test]
    fn ids_are_sorted_and_strangers_left_out() {
        let (_dir, mut store) = store();
        for name in ["web-2", "db", "web-1"] {
            commit(&mut store, name);
        }
        std::fs::create_dir(store.path().join("~1.0")).unwrap();
        std::fs::write(store.path().join("file"), "").unwrap();
        let names = |ids: Vec<ContainerId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(names(store.ids().unwrap()), "db web-1 web-2");
        assert_eq!(names(store.ids_matching("^web").unwrap()), "web-1 web-2");
        assert!(matches!(store.ids_matching("("), Err(Error::Usage(_))));
    }

    #[test]
    fn nothing_of_the_store_is_inherited_by_programs() {
        let (_dir, mut store) = store();
        let guard = store.create(&id("web"), &record("web")).unwrap();
        for fd in [guard.lock_fd(), guard.fd(), store.root.as_ref().unwrap().as_fd()] {
            let flags = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        }
    }
}

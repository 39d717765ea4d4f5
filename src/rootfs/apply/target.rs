//! Finding, and making, a place inside a root that an attacker may be rewriting at the same time.
//!
//! What exists is opened by openat2(RESOLVE_IN_ROOT). What is missing is made by a walk that opens one component at a
//! time with O_NOFOLLOW, reads symbolic links itself and keeps every directory on its way open: `..` goes back to a
//! directory that the walk came from, so a directory renamed meanwhile leads nowhere (CVE-2021-30465, CVE-2024-45310).

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::super::{Target, TargetKind};
use crate::fault::{Call, Effect, Trouble};
use crate::sys::{file, path};

/// How many directories deep a missing place may be.
const DEPTH: usize = 128;
/// As many symbolic links as the kernel follows (path_resolution(7)).
const LINKS: usize = 40;
const PATH_MAX: usize = libc::PATH_MAX as usize;
const NAME_MAX: usize = 255;
const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// What to make where nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
}

/// The name of a directory entry, on the stack.
pub(super) struct Name([u8; NAME_MAX + 1]);

impl Name {
    pub(super) fn new(bytes: &[u8]) -> Effect<Name> {
        let mut name = Name([0; NAME_MAX + 1]);
        match name.0.get_mut(..bytes.len()) {
            Some(place) if bytes.len() <= NAME_MAX => place.copy_from_slice(bytes),
            _ => return Err(Trouble::new(Call::Open, Errno::ENAMETOOLONG)),
        }
        Ok(name)
    }

    pub(super) fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

/// Opens (O_PATH) the place where a mount goes, and makes it if it is missing.
pub(super) fn open_target(root: RawFd, target: &Target, kind: Kind) -> Effect<RawFd> {
    if matches!(target.kind, TargetKind::Ordinary | TargetKind::Proc) {
        return open_ordinary_directory(root, &target.path);
    }
    let fd = open_or_make(root, &target.path, kind, target.follow)?;
    if target.kind == TargetKind::Usual && file::magic(fd)? == file::PROC_MAGIC {
        return Err(Trouble::new(Call::CheckTarget, Errno::EPERM));
    }
    Ok(fd)
}

/// Opens what exists (O_PATH). Without `follow` a symbolic link at the end is opened itself.
pub(super) fn open_existing(root: RawFd, at: &CStr, follow: bool) -> Effect<RawFd> {
    let flags = if follow { libc::O_PATH } else { libc::O_PATH | libc::O_NOFOLLOW };
    path::open_in_root(root, at, flags)
}

/// Opens (O_PATH) a file or directory, made if missing. Something else than `kind` that exists is left as it is.
pub(super) fn open_or_make(root: RawFd, at: &CStr, kind: Kind, follow: bool) -> Effect<RawFd> {
    match open_existing(root, at, follow) {
        Err(Trouble { errno: Errno::ENOENT, .. }) => {}
        other => return other,
    }
    let last = Last::Make { kind, follow };
    file::with_open_umask(|| Walk::start(root, at)?.run(true, &last)).map(|(fd, _)| fd)
}

/// Opens the directory that a name stands in, made if missing, and gives back the name.
pub(super) fn open_parent(root: RawFd, at: &CStr) -> Effect<(RawFd, Name)> {
    file::with_open_umask(|| Walk::start(root, at)?.run(true, &Last::Leave))
}

/// The place of a procfs or sysfs: a symbolic link on the way could lead another container's mount here, or this one's
/// elsewhere (CVE-2019-19921).
fn open_ordinary_directory(root: RawFd, at: &CStr) -> Effect<RawFd> {
    let not_ordinary = Trouble::new(Call::CheckTarget, Errno::ENOTDIR);
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    match path::openat2(root, at, flags, path::IN_ROOT | path::NO_SYMLINKS) {
        Err(Trouble { errno: Errno::ELOOP | Errno::ENOTDIR, .. }) => Err(not_ordinary),
        Err(Trouble { errno: Errno::ENOENT, .. }) => {
            let last = Last::Make { kind: Kind::Directory, follow: true };
            let (fd, _) = file::with_open_umask(|| Walk::start(root, at)?.run(false, &last))?;
            if file::fstat(fd)?.is_dir() { Ok(fd) } else { Err(not_ordinary) }
        }
        other => other,
    }
}

/// What happens at the end of a path.
enum Last {
    Make { kind: Kind, follow: bool },
    Leave,
}

struct Walk {
    /// The directories from the root to here; the first `depth` places are open.
    directories: [RawFd; DEPTH],
    depth: usize,
    /// What is left to walk.
    rest: [u8; PATH_MAX],
    start: usize,
    end: usize,
    links: usize,
}

impl Walk {
    fn start(root: RawFd, at: &CStr) -> Effect<Walk> {
        let mut walk = Walk { directories: [-1; DEPTH], depth: 0, rest: [0; PATH_MAX], start: 0, end: 0, links: 0 };
        let bytes = at.to_bytes();
        match walk.rest.get_mut(..bytes.len()) {
            Some(place) => place.copy_from_slice(bytes),
            None => return Err(Trouble::new(Call::Open, Errno::ENAMETOOLONG)),
        }
        walk.end = bytes.len();
        walk.push(file::dup(root)?)?;
        Ok(walk)
    }

    fn push(&mut self, directory: RawFd) -> Effect {
        match self.directories.get_mut(self.depth) {
            Some(place) => *place = directory,
            None => return Err(Trouble::new(Call::Open, Errno::ENAMETOOLONG)),
        }
        self.depth += 1;
        Ok(())
    }

    /// Closes the deepest directory, but never the root.
    fn pop(&mut self) {
        if self.depth > 1 {
            self.depth -= 1;
            if let Some(fd) = self.directories.get(self.depth) {
                file::close(*fd);
            }
        }
    }

    fn here(&self) -> Effect<RawFd> {
        let last = self.depth.checked_sub(1).and_then(|last| self.directories.get(last));
        last.copied().ok_or(Trouble::new(Call::Open, Errno::EBADF))
    }

    /// The next component and whether it is the last; `None` at the end.
    fn next(&mut self) -> Option<(Effect<Name>, bool)> {
        let rest = self.rest.get(self.start..self.end)?;
        let skipped = rest.iter().position(|&byte| byte != b'/')?;
        let rest = rest.get(skipped..)?;
        let len = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
        let name = rest.get(..len)?;
        let last = rest.get(len..)?.iter().all(|&byte| byte == b'/');
        let name = Name::new(name);
        self.start += skipped + len;
        Some((name, last))
    }

    /// Puts the content of a symbolic link in front of what is left.
    fn splice(&mut self, link: RawFd) -> Effect {
        self.links += 1;
        if self.links > LINKS {
            return Err(Trouble::new(Call::Open, Errno::ELOOP));
        }
        let too_long = Trouble::new(Call::Readlink, Errno::ENAMETOOLONG);
        let mut text = [0; PATH_MAX];
        let content = file::readlinkat(link, c"", &mut text)?;
        let (len, absolute) = (content.len(), content.first() == Some(&b'/'));
        let rest = self.rest.get(self.start..self.end).ok_or(too_long)?;
        text.get_mut(len..).and_then(|tail| tail.get_mut(..rest.len())).ok_or(too_long)?.copy_from_slice(rest);
        self.end = len + rest.len();
        self.start = 0;
        self.rest = text;
        while absolute && self.depth > 1 {
            self.pop();
        }
        Ok(())
    }

    /// Walks to the end. The name is that of the last component, where it was left alone.
    fn run(mut self, symlinks: bool, last_of_path: &Last) -> Effect<(RawFd, Name)> {
        let mut races = 0;
        while let Some((name, last)) = self.next() {
            let name = name?;
            match name.as_cstr().to_bytes() {
                b"." => continue,
                b".." => {
                    self.pop();
                    continue;
                }
                _ => {}
            }
            let here = self.here()?;
            let (kind, follow) = match last_of_path {
                Last::Leave if last => return Ok((self.keep_last(), name)),
                Last::Make { kind, follow } if last => (*kind, *follow),
                _ => (Kind::Directory, true),
            };
            let fd = loop {
                match path::open(here, name.as_cstr(), libc::O_PATH | libc::O_NOFOLLOW, 0) {
                    Err(Trouble { errno: Errno::ENOENT, .. }) if races < LINKS => {
                        races += 1;
                        make(here, name.as_cstr(), kind)?;
                    }
                    other => break other?,
                }
            };
            let stat = file::fstat(fd)?;
            if stat.is_symlink() && (follow || !last) {
                if !symlinks {
                    return Err(Trouble::new(Call::CheckTarget, Errno::ENOTDIR));
                }
                self.splice(fd)?;
                file::close(fd);
            } else if last {
                self.close_all();
                return Ok((fd, name));
            } else if stat.is_dir() {
                self.push(fd)?;
            } else {
                return Err(Trouble::new(Call::Open, Errno::ENOTDIR));
            }
        }
        let nameless = Name::new(b".")?;
        Ok((self.keep_last(), nameless))
    }

    /// Gives away the deepest directory and closes the rest.
    fn keep_last(&mut self) -> RawFd {
        let here = self.here().unwrap_or(-1);
        self.depth = self.depth.saturating_sub(1);
        self.close_all();
        here
    }

    fn close_all(&mut self) {
        for fd in self.directories.iter().take(self.depth) {
            file::close(*fd);
        }
        self.depth = 0;
    }
}

/// Makes an entry, unless somebody else has just done so: what is there then is looked at like anything else.
fn make(directory: RawFd, name: &CStr, kind: Kind) -> Effect {
    let made = match kind {
        Kind::Directory => file::mkdirat(directory, name, DIRECTORY_MODE),
        Kind::File => file::mknodat(directory, name, libc::S_IFREG | FILE_MODE, 0),
    };
    match made {
        Err(Trouble { errno: Errno::EEXIST, .. }) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn open_dir(at: &Path) -> RawFd {
        let at = CString::new(at.to_str().unwrap()).unwrap();
        path::open(path::CWD, &at, libc::O_PATH | libc::O_DIRECTORY, 0).unwrap()
    }

    fn usual(at: &str) -> Target {
        Target { path: CString::new(at).unwrap(), follow: true, kind: TargetKind::Usual }
    }

    #[test]
    fn a_missing_target_is_made_inside_the_root_whatever_the_links_say() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("var")).unwrap();
        symlink("../../../../run", root.join("var/run")).unwrap();
        symlink("/gone/deep", root.join("dangling")).unwrap();
        let fd = open_dir(&root);
        for (at, kind) in [("/var/run/x/y", Kind::Directory), ("/dangling", Kind::File), ("/a/../b/c", Kind::Directory)]
        {
            file::close(open_target(fd, &usual(at), kind).unwrap());
        }
        assert!(root.join("run/x/y").is_dir());
        assert!(root.join("gone/deep").is_file());
        assert!(root.join("b/c").is_dir());
        assert!(!outer.path().join("run").exists());
        file::close(fd);
    }

    #[test]
    fn links_that_go_round_end_in_an_error() {
        let root = tempfile::tempdir().unwrap();
        symlink("b/x", root.path().join("a")).unwrap();
        symlink("a/x", root.path().join("b")).unwrap();
        let fd = open_dir(root.path());
        assert_eq!(open_target(fd, &usual("/a/c"), Kind::File).unwrap_err().errno, Errno::ELOOP);
        assert_eq!(open_parent(fd, c"/a/c").err().unwrap().errno, Errno::ELOOP);
        file::close(fd);
    }

    #[test]
    fn the_place_of_a_procfs_must_be_an_ordinary_directory() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("real")).unwrap();
        symlink("real", root.path().join("proc")).unwrap();
        symlink("gone", root.path().join("dangling")).unwrap();
        fs::write(root.path().join("sys"), "").unwrap();
        let fd = open_dir(root.path());
        let ordinary = |at: &str| Target { kind: TargetKind::Ordinary, ..usual(at) };
        for at in ["/proc", "/sys", "/dangling", "/proc/x", "/dangling/x"] {
            let trouble = open_target(fd, &ordinary(at), Kind::Directory).unwrap_err();
            assert_eq!(trouble, Trouble::new(Call::CheckTarget, Errno::ENOTDIR), "{at}");
        }
        file::close(open_target(fd, &ordinary("/new/proc"), Kind::Directory).unwrap());
        assert!(root.path().join("new/proc").is_dir());
        file::close(fd);
    }

    #[test]
    fn a_usual_mount_never_lands_inside_a_procfs() {
        let fd = open_dir(Path::new("/"));
        let trouble = open_target(fd, &usual("/proc/self"), Kind::Directory).unwrap_err();
        assert_eq!(trouble, Trouble::new(Call::CheckTarget, Errno::EPERM));
        file::close(fd);
    }

    #[test]
    fn a_walk_leaves_no_descriptor_open() {
        let root = tempfile::tempdir().unwrap();
        symlink("q/w", root.path().join("link")).unwrap();
        let fd = open_dir(root.path());
        for i in 0..4096 {
            let at = format!("/d{}/link/../e{i}", i % 7);
            let (parent, name) = open_parent(fd, &CString::new(at).unwrap()).unwrap();
            assert_eq!(name.as_cstr().to_bytes(), format!("e{i}").as_bytes());
            file::close(parent);
        }
        file::close(fd);
    }
}

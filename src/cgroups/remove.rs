//! Removes a container's cgroups, with all that was made in them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::group::{Group, Place};
use super::tree::{Descent, is_gone};
use super::{kill, members, systemd};
use crate::error::{Error, Result, SystemdTrouble};
use crate::fault::{Call, Trouble};

/// How long a cgroup may stay busy. A process that has just been killed leaves its cgroup when it has let go of its
/// memory, which takes milliseconds, or when a hung file system lets it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same where nobody was killed: all that there is to wait for is the end of who is ending.
const PATIENCE_WITH_OTHERS: Duration = Duration::from_secs(2);
/// The first wait between two tries; each is twice as long as the one before. Version 1 has no event for the end of
/// the last process.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// How many of those who keep a cgroup are named.
const NAMED: usize = 5;

/// What becomes of processes that are still in the cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// They are the container's, and end with it.
    Kill,
    /// They may be anybody's: they are waited for, as the last of the container may be just dying, and then left alone.
    Spare,
}

/// Removes every cgroup of the container, by way of systemd where they are a unit's; those that aren't there are none to
/// remove.
///
/// # Errors
/// The first that stays; it is told who keeps it. The others have been removed.
pub fn remove(group: &Group, members: Members) -> Result {
    let stopped = match (&group.unit, members) {
        (None, _) => Ok(()),
        (Some(unit), Members::Kill) => {
            // Before systemd asks them kindly and waits.
            kill::kill(group)?;
            systemd::stop(unit, members)
        }
        // A scope that is empty ends by itself; in one that isn't systemd would kill.
        (Some(_), Members::Spare) if group.places.iter().any(members::is_inhabited) => Ok(()),
        (Some(unit), Members::Spare) => systemd::stop(unit, members),
    };
    let removed = remove_places(group, members);
    match stopped {
        // A scope ends with its cgroup, whether its manager can be asked or not: a user's own may be gone by now.
        Err(Error::Systemd { trouble: SystemdTrouble::Unreachable, .. }) if removed.is_ok() => Ok(()),
        stopped => stopped.and(removed),
    }
}

fn remove_places(group: &Group, members: Members) -> Result {
    let deadline = Instant::now()
        + match members {
            Members::Kill => PATIENCE,
            Members::Spare => PATIENCE_WITH_OTHERS,
        };
    let mut wait = FIRST_WAIT;
    let mut left = group.places.iter().map(|place| Ok((place, place.own_dir()?))).collect::<Result<Vec<_>>>()?;
    loop {
        let mut trouble = None;
        left.retain(|(place, dir)| match remove_tree(dir) {
            Ok(()) => {
                remove_above(place);
                false
            }
            Err(errno) => {
                trouble.get_or_insert(errno);
                true
            }
        });
        let (Some((_, dir)), Some(errno)) = (left.first(), trouble) else { return Ok(()) };
        // Killed again each time: what forks or makes cgroups while they go is not faster than that.
        let killed = if members == Members::Kill { kill::kill(group) } else { Ok(false) };
        if !may_pass(errno) || Instant::now() >= deadline {
            return killed.and(Err(kept(dir, errno)));
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Removes the cgroups of a container that nobody has ever been in. They go if they are empty; one with processes or
/// with cgroups in it is somebody else's, and stays.
pub fn remove_unused(group: &Group) -> Result {
    for place in &group.places {
        match rmdir(&place.own_dir()?) {
            Ok(()) => remove_above(place),
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(kept(&place.dir(), errno)),
        }
    }
    Ok(())
}

/// The cgroups above that came into being with the container. Others may have moved in; then they are theirs now.
fn remove_above(place: &Place) {
    for above in place.path.ancestors().skip(1).take(usize::from(place.made)) {
        if above == Path::new("") || std::fs::remove_dir(place.mount.join(above)).is_err() {
            break;
        }
    }
}

/// rmdir, from the leaves up. Most containers make no cgroups, so the cgroup itself is tried first. EBUSY when somebody
/// is still in one of them; those that are empty have gone then.
fn remove_tree(top: &Path) -> nix::Result<()> {
    match rmdir(top) {
        Err(Errno::EBUSY) => {}
        done => return done,
    }
    let mut descent = match Descent::begin(top) {
        Err(errno) if is_gone(errno) => return Ok(()),
        begun => begun?,
    };
    loop {
        match descent.take_next() {
            Some(name) => match unlink(&descent, &name) {
                Err(Errno::EBUSY) => {
                    descent.enter(name)?;
                }
                done => done?,
            },
            None => match descent.leave()? {
                Some(name) => match unlink(&descent, &name) {
                    Err(Errno::EBUSY) => {}
                    done => done?,
                },
                None => return rmdir(top),
            },
        }
    }
}

fn unlink(descent: &Descent, name: &std::ffi::CStr) -> nix::Result<()> {
    use nix::unistd::{UnlinkatFlags, unlinkat};
    busy(unlinkat(descent.here(), name, UnlinkatFlags::RemoveDir))
}

fn rmdir(dir: &Path) -> nix::Result<()> {
    use nix::unistd::{UnlinkatFlags, unlinkat};
    busy(unlinkat(nix::fcntl::AT_FDCWD, dir, UnlinkatFlags::RemoveDir))
}

/// What is gone needs no removal. Other file systems say ENOTEMPTY for the EBUSY of a cgroup.
fn busy(removed: nix::Result<()>) -> nix::Result<()> {
    match removed {
        Err(errno) if is_gone(errno) => Ok(()),
        Err(Errno::ENOTEMPTY) => Err(Errno::EBUSY),
        other => other,
    }
}

/// ELOOP and ESTALE: the tree changed while it was gone through.
fn may_pass(errno: Errno) -> bool {
    matches!(errno, Errno::EBUSY | Errno::ELOOP | Errno::ESTALE)
}

/// Names the cgroup and who keeps it.
fn kept(dir: &Path, errno: Errno) -> Error {
    let pids = members::pids_below(dir).unwrap_or_default();
    let mut names: Vec<String> = pids.iter().take(NAMED).map(|pid| name(*pid)).collect();
    if pids.len() > NAMED {
        names.push(format!("{} more", pids.len() - NAMED));
    }
    let who = match (errno, names.as_slice()) {
        (Errno::EBUSY, []) => {
            " (kept by a process that has ended and isn't gone, or that can't be seen from here)".into()
        }
        (Errno::EBUSY, names) => format!(" (kept by {})", names.join(", ")),
        _ => String::new(),
    };
    let doing = format!("remove the cgroup {}{who}", dir.display());
    Error::os(doing, Trouble::new(Call::Rmdir, errno)).hint(
        "cgroup.procs there lists who is still in it; `corten delete --force` kills processes that outlived the container",
    )
}

fn name(pid: i32) -> String {
    let comm = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/comm"))).unwrap_or_default();
    format!("process {pid} {:?}", comm.trim_end())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cgroups::Version;

    fn group(root: &Path, path: &str, made: u16) -> Group {
        let place =
            Place { version: Version::V1, controllers: Vec::new(), mount: root.to_owned(), path: path.into(), made };
        Group { places: vec![place], unit: None }
    }

    #[test]
    fn a_tree_goes_from_its_leaves_up_with_what_was_made_above_it() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["a/b/web/x/y", "a/b/web/z", "a/other"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        remove(&group(root.path(), "a/b/web", 2), Members::Kill).unwrap();
        assert!(!root.path().join("a/b").exists());
        // Somebody else is in `a`.
        assert!(root.path().join("a/other").exists());
        remove(&group(root.path(), "a/b/web", 2), Members::Spare).unwrap();
    }

    #[test]
    fn what_was_never_used_goes_only_when_it_is_empty() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["web/theirs", "db"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        remove_unused(&group(root.path(), "web", 0)).unwrap();
        remove_unused(&group(root.path(), "db", 0)).unwrap();
        remove_unused(&group(root.path(), "none", 0)).unwrap();
        assert!(root.path().join("web/theirs").exists() && !root.path().join("db").exists());
    }

    #[test]
    fn the_root_of_a_hierarchy_is_never_removed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("theirs")).unwrap();
        for path in ["", ".", ".."] {
            assert!(remove(&group(root.path(), path, 0), Members::Kill).is_err());
            assert!(remove_unused(&group(root.path(), path, 0)).is_err());
        }
        assert!(root.path().join("theirs").exists());
    }

    #[test]
    fn who_keeps_a_cgroup_is_named() {
        let root = tempfile::tempdir().unwrap();
        let me = std::process::id();
        fs::write(root.path().join("cgroup.procs"), format!("{me}\n")).unwrap();
        let text = kept(root.path(), Errno::EBUSY).to_string();
        assert!(text.contains(&format!("kept by process {me} \"")) && text.contains("busy"), "{text}");
    }
}

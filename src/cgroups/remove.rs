//! Removes a container's cgroups, with all that was made in them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::group::{Group, Place};
use super::systemd;
use crate::error::{Error, Result, SystemdTrouble};
use crate::fault::{Call, Trouble};

/// How long a cgroup may stay busy. A process that has just been killed leaves its cgroup when it has let go of its
/// memory, which takes milliseconds, or when a hung file system lets it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first wait between two tries; each is twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Removes every cgroup of the container, by way of systemd where they are a unit's; those that aren't there are none to
/// remove. The first failure is told when
/// all have been tried.
pub fn remove(group: &Group) -> Result {
    let stopped = group.unit.as_ref().map_or(Ok(()), systemd::stop);
    let mut first = Ok(());
    for place in &group.places {
        let removed = remove_place(place);
        first = first.and(removed);
    }
    match stopped {
        // A scope ends with its cgroup, whether its manager can be asked or not: a user's own may be gone by now.
        Err(Error::Systemd { trouble: SystemdTrouble::Unreachable, .. }) if first.is_ok() => first,
        stopped => stopped.and(first),
    }
}

fn remove_place(place: &Place) -> Result {
    let dir = place.dir();
    let deadline = Instant::now() + PATIENCE;
    let mut wait = FIRST_WAIT;
    loop {
        match remove_tree(&dir) {
            Ok(()) => break,
            Err(Errno::EBUSY) if Instant::now() < deadline => {
                std::thread::sleep(wait);
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            Err(errno) => {
                let error = Error::os(format!("remove the cgroup {}", dir.display()), Trouble::new(Call::Rmdir, errno));
                return Err(error.hint("a process that is still in it keeps it: cgroup.procs there lists them"));
            }
        }
    }
    // Others may have moved in above; then it is theirs now.
    for above in place.path.ancestors().skip(1).take(usize::from(place.made)) {
        if above == Path::new("") || fs::remove_dir(place.mount.join(above)).is_err() {
            break;
        }
    }
    Ok(())
}

/// rmdir, from the leaves up. Most containers make no cgroups, so the cgroup itself is tried first.
fn remove_tree(dir: &Path) -> Result<(), Errno> {
    match rmdir(dir) {
        Err(Errno::EBUSY) => {}
        done => return done,
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    rmdir(dir)
}

fn rmdir(dir: &Path) -> Result<(), Errno> {
    match fs::remove_dir(dir) {
        Ok(()) => Ok(()),
        Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)) {
            Errno::ENOENT => Ok(()),
            errno => Err(errno),
        },
    }
}

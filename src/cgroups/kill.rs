//! Signals for every process of a container, by its cgroup. No process outside of it is ever signalled: each is held by
//! a pidfd and then looked for in the cgroup once more, so that a pid that was reused meanwhile belongs to nobody here.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;

use super::group::{Group, Version};
use super::members::{self, listed};
use super::{file, freeze, tree};
use crate::error::{Doing, Result};
use crate::fault::{Call, During, Effect, Trouble};
use crate::sys::{pidfd, wait};

/// How many processes are held at a time: a table of descriptors has room for 1024 on many machines.
const HELD: usize = 256;
/// How often the members are gone through until no new one is found. While they are frozen twice is enough; children
/// of those that couldn't be frozen need more.
const ROUNDS: usize = 100;

/// Sends a signal to every member once; the number of processes that it reached. None without a cgroup.
pub fn signal(group: &Group, signal: i32) -> Result<usize> {
    let Some(place) = group.members() else { return Ok(0) };
    let mut pass = Pass::new(signal);
    pass.run(&place.own_dir()?)?;
    Ok(pass.reached.len())
}

/// Kills every member, and all that they could still make; `false` when there was none. They are not waited for.
///
/// One write to `cgroup.kill` does it where there is one (version 2, Linux 5.14). Else nobody can fork while the cgroup
/// is frozen.
pub fn kill(group: &Group) -> Result<bool> {
    let Some(place) = group.members() else { return Ok(false) };
    let dir = place.own_dir()?;
    let members = members::pids_below(&dir)?;
    if members.is_empty() {
        return Ok(false);
    }
    // Who kills itself or stands still in the middle finishes nothing.
    let inside = members.contains(&wait::own_pid());
    let at_once = !inside && kill_at_once(group)?;
    let mut pass = Pass::new(libc::SIGKILL);
    if !(at_once && place.version == Version::V2) {
        // On a hybrid host the cgroup of version 2 has killed them already, but for those that were moved out of it.
        let mut settled = at_once && pass.run(&dir)? && !pass.run(&dir)?;
        if !settled && !inside {
            // What can't be frozen is killed all the same, only with less certainty about its children.
            let _ = freeze::freeze(group);
        }
        for _ in 0..ROUNDS {
            if settled {
                break;
            }
            settled = !pass.run(&dir)?;
        }
    }
    freeze::thaw_all(group)?;
    Ok(true)
}

/// `false` where the kernel has no `cgroup.kill`, or the cgroup can't be killed so, as a threaded one.
fn kill_at_once(group: &Group) -> Result<bool> {
    let Some(place) = group.unified() else { return Ok(false) };
    let file = place.own_dir()?.join("cgroup.kill");
    match file::write(&file, b"1") {
        Ok(()) => Ok(true),
        Err(trouble) if tree::is_gone(trouble.errno) || trouble.errno == Errno::EOPNOTSUPP => Ok(false),
        Err(trouble) => Err(trouble).doing(|| format!("write {}", file.display())),
    }
}

/// Goes through the members, as often as it is told to.
struct Pass {
    signal: i32,
    own: i32,
    reached: BTreeSet<i32>,
    refused: Option<Trouble>,
}

impl Pass {
    fn new(signal: i32) -> Pass {
        Pass { signal, own: wait::own_pid(), reached: BTreeSet::new(), refused: None }
    }

    /// Signals every member; whether there was one that no pass before has reached. A process that can't be signalled
    /// doesn't keep the others from it; it is the error.
    fn run(&mut self, dir: &Path) -> Result<bool> {
        let before = self.reached.len();
        let walked = tree::walk(dir, &mut |here| self.signal_in(here));
        walked.during(Call::Read).doing(|| format!("read who is in the cgroup {}", dir.display()))?;
        match self.refused.take() {
            Some(trouble) => {
                Err(trouble).doing(|| format!("send signal {} to who is in the cgroup {}", self.signal, dir.display()))
            }
            None => Ok(self.reached.len() > before),
        }
    }

    fn signal_in(&mut self, cgroup: BorrowedFd) -> nix::Result<()> {
        // 0 is a process of another pid namespace, 1 is never a container's.
        let pids: Vec<i32> = listed(cgroup)?.into_iter().filter(|pid| *pid > 1 && *pid != self.own).collect();
        for some in pids.chunks(HELD) {
            let held: Vec<(i32, Option<OwnedFd>)> = some.iter().filter_map(|pid| hold(*pid)).collect();
            let still: BTreeSet<i32> = listed(cgroup)?.into_iter().collect();
            for (pid, pidfd) in held.into_iter().filter(|(pid, _)| still.contains(pid)) {
                let sent: Effect = match &pidfd {
                    Some(pidfd) => pidfd::send_signal(pidfd.as_fd(), self.signal),
                    None => pidfd::kill(pid, self.signal),
                };
                match sent {
                    Ok(()) => {
                        self.reached.insert(pid);
                    }
                    Err(trouble) if trouble.errno == Errno::ESRCH => {}
                    Err(trouble) => self.refused = Some(trouble),
                }
            }
        }
        Ok(())
    }
}

/// `None` when it has ended; without a descriptor on kernels before 5.3, or when there is no room for one.
fn hold(pid: i32) -> Option<(i32, Option<OwnedFd>)> {
    match pidfd::open(pid) {
        Ok(fd) => Some((pid, Some(fd))),
        Err(trouble) if trouble.errno == Errno::ESRCH => None,
        Err(_) => Some((pid, None)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Child, Command};

    use super::*;
    use crate::cgroups::Place;

    /// A cgroup of plain files: what is listed there is what is signalled.
    fn group(root: &Path, version: Version) -> Group {
        let place = Place { version, controllers: Vec::new(), mount: root.to_owned(), path: "web".into(), made: 0 };
        fs::create_dir_all(place.dir().join("below")).unwrap();
        Group { places: vec![place], unit: None }
    }

    struct Sleeper(Child);

    impl Sleeper {
        fn new() -> Sleeper {
            Sleeper(Command::new("sleep").arg("600").spawn().unwrap())
        }

        fn signal(&mut self) -> Option<i32> {
            use std::os::unix::process::ExitStatusExt;
            self.0.wait().unwrap().signal()
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }

    #[test]
    fn a_signal_reaches_the_members_and_nobody_else() {
        let root = tempfile::tempdir().unwrap();
        let group = group(root.path(), Version::V2);
        let (mut above, mut below, mut other) = (Sleeper::new(), Sleeper::new(), Sleeper::new());
        // Neither pid 1 nor oneself, whatever is listed.
        let me = std::process::id();
        fs::write(root.path().join("web/cgroup.procs"), format!("0\n1\n{me}\n{}\n", above.0.id())).unwrap();
        fs::write(root.path().join("web/below/cgroup.procs"), format!("{}\n", below.0.id())).unwrap();
        assert_eq!(signal(&group, libc::SIGTERM).unwrap(), 2);
        assert_eq!((above.signal(), below.signal()), (Some(libc::SIGTERM), Some(libc::SIGTERM)));
        assert!(other.0.try_wait().unwrap().is_none());
    }

    #[test]
    fn without_a_cgroup_nobody_is_signalled() {
        assert_eq!(signal(&Group::default(), libc::SIGKILL).unwrap(), 0);
        assert!(!kill(&Group::default()).unwrap());
        let root = tempfile::tempdir().unwrap();
        let mut rooted = group(root.path(), Version::V1);
        rooted.places[0].path = "".into();
        assert!(signal(&rooted, libc::SIGKILL).is_err() && kill(&rooted).is_err());
    }

    #[test]
    fn members_are_killed_one_by_one_where_there_is_no_way_at_once() {
        let root = tempfile::tempdir().unwrap();
        let group = group(root.path(), Version::V1);
        let mut member = Sleeper::new();
        fs::write(root.path().join("web/below/cgroup.procs"), format!("{}\n", member.0.id())).unwrap();
        assert!(kill(&group).unwrap());
        assert_eq!(member.signal(), Some(libc::SIGKILL));
    }
}

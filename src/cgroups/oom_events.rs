//! When the kernel kills in a container for want of memory, as something that can be waited for.
//!
//! Version 1 signals an eventfd (kernel documentation, cgroup-v1/memory, "OOM Control"). Of version 2 `memory.events` tells
//! its change by poll(2), and counts.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::file;
use super::group::{Group, Version};
use crate::error::{Doing, Error, Result};
use crate::fault::{Call, Trouble};

/// How long a removed cgroup of version 1 may take to say so, in milliseconds: it waits for the end of all looks at it.
const REMOVAL_MS: u16 = 200;

/// A container's cgroup that is being watched.
pub enum Watch {
    V1 {
        signalled: EventFd,
        /// A file that is there as long as the cgroup.
        control: PathBuf,
    },
    V2 {
        events: File,
        /// Kills that were counted already.
        seen: u64,
    },
}

impl Watch {
    /// Begins to watch; `None` without a memory controller.
    pub fn open(group: &Group) -> Result<Option<Watch>> {
        let Some(place) = group.find("memory") else { return Ok(None) };
        let dir = place.dir();
        let opened = match place.version {
            Version::V1 => open_v1(dir.join("cgroup.event_control"), dir.join("memory.oom_control")),
            Version::V2 => open_v2(dir.join("memory.events")),
        };
        match opened {
            Ok(watch) => Ok(Some(watch)),
            // A kernel may lack the interface, and a caller without privileges may lack the controller.
            Err(trouble) if matches!(trouble.errno, Errno::ENOENT | Errno::ENODEV) => Ok(None),
            Err(trouble) => {
                let error = Error::os(format!("watch {} for OOM kills", dir.display()), trouble);
                Err(error.hint("`corten events --stats` works without"))
            }
        }
    }

    /// What to wait for.
    pub fn watch(&self) -> PollFd<'_> {
        match self {
            Watch::V1 { signalled, .. } => PollFd::new(signalled.as_fd(), PollFlags::POLLIN),
            Watch::V2 { events, .. } => PollFd::new(events.as_fd(), PollFlags::POLLPRI),
        }
    }

    /// How often it happened since the last call; never waits as long as the cgroup exists.
    pub fn take(&mut self) -> Result<Taken> {
        match self {
            Watch::V1 { signalled, control } => take_v1(signalled, control),
            Watch::V2 { events, seen } => take_v2(events, seen),
        }
        .doing(|| "read how often the kernel has killed for want of memory")
    }
}

/// What has happened in a watched cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// OOM kills since the last look.
    pub kills: u64,
    /// The cgroup is gone; waiting for it any longer would return at once for ever.
    pub gone: bool,
}

fn open_v1(control: PathBuf, oom_control: PathBuf) -> Result<Watch, Trouble> {
    let trouble = |call, errno| Trouble::new(call, errno);
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let signalled = EventFd::from_flags(flags).map_err(|errno| trouble(Call::None, errno))?;
    let oom = File::open(oom_control).map_err(|error| trouble(Call::Open, errno_of(&error)))?;
    // The kernel looks both descriptors up during the write and keeps what it needs.
    file::write(&control, format!("{} {}", signalled.as_fd().as_raw_fd(), oom.as_raw_fd()).as_bytes())?;
    Ok(Watch::V1 { signalled, control })
}

fn open_v2(path: PathBuf) -> Result<Watch, Trouble> {
    let events = File::open(path).map_err(|error| Trouble::new(Call::Open, errno_of(&error)))?;
    // Only changes after a read are told.
    let seen = read_kills(&events)?.unwrap_or(0);
    Ok(Watch::V2 { events, seen })
}

fn take_v1(signalled: &EventFd, control: &PathBuf) -> Result<Taken, Trouble> {
    let mut kills = read_count(signalled)?;
    // The removal of the cgroup signals too, once.
    if kills > 0 && !control.exists() {
        // One kill is told apart from the removal by waiting for the latter, which the kernel puts off a little.
        if kills == 1 {
            let _ = poll(&mut [PollFd::new(signalled.as_fd(), PollFlags::POLLIN)], PollTimeout::from(REMOVAL_MS));
            kills += read_count(signalled)?;
        }
        return Ok(Taken { kills: kills - 1, gone: true });
    }
    Ok(Taken { kills, gone: false })
}

fn read_count(signalled: &EventFd) -> Result<u64, Trouble> {
    match signalled.read() {
        Ok(count) => Ok(count),
        Err(Errno::EAGAIN) => Ok(0),
        Err(errno) => Err(Trouble::new(Call::Read, errno)),
    }
}

fn take_v2(events: &File, seen: &mut u64) -> Result<Taken, Trouble> {
    match read_kills(events)? {
        Some(now) => {
            let kills = now.saturating_sub(*seen);
            *seen = now;
            Ok(Taken { kills, gone: false })
        }
        None => Ok(Taken { kills: 0, gone: true }),
    }
}

/// The count in `memory.events`, of all cgroups below too; `None` when the cgroup is gone.
fn read_kills(events: &File) -> Result<Option<u64>, Trouble> {
    let mut text = [0; 1024];
    match events.read_at(&mut text, 0) {
        Ok(length) => {
            let text = String::from_utf8_lossy(&text[..length]);
            let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
            Ok(Some(kills.unwrap_or(0)))
        }
        Err(error) if errno_of(&error) == Errno::ENODEV => Ok(None),
        Err(error) => Err(Trouble::new(Call::Read, errno_of(&error))),
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::Place;

    #[test]
    fn kills_of_version_2_are_told_once() {
        let root = tempfile::tempdir().unwrap();
        let place = Place {
            version: Version::V2,
            controllers: vec!["memory".into()],
            mount: root.path().to_owned(),
            path: "web".into(),
            made: 0,
        };
        let group = Group { places: vec![place], unit: None };
        assert!(Watch::open(&group).unwrap().is_none(), "there is no such file");
        let file = root.path().join("web/memory.events");
        std::fs::create_dir(root.path().join("web")).unwrap();
        std::fs::write(&file, "low 0\nmax 9\noom 4\noom_kill 2\noom_group_kill 0\n").unwrap();
        let mut watch = Watch::open(&group).unwrap().unwrap();
        assert_eq!(watch.take().unwrap(), Taken { kills: 0, gone: false });
        std::fs::write(&file, "oom_kill 5\n").unwrap();
        assert_eq!(watch.take().unwrap(), Taken { kills: 3, gone: false });
        assert_eq!(watch.take().unwrap(), Taken { kills: 0, gone: false });
    }

    #[test]
    fn a_removed_cgroup_of_version_1_signals_once_more() {
        let root = tempfile::tempdir().unwrap();
        let (flags, control) = (EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK, root.path().join("control"));
        std::fs::write(&control, "").unwrap();
        let mut watch = Watch::V1 { signalled: EventFd::from_flags(flags).unwrap(), control: control.clone() };
        let signal = |watch: &Watch, times| match watch {
            Watch::V1 { signalled, .. } => signalled.write(times).map(drop).unwrap(),
            Watch::V2 { .. } => panic!("another version"),
        };
        assert_eq!(watch.take().unwrap(), Taken { kills: 0, gone: false });
        signal(&watch, 2);
        assert_eq!(watch.take().unwrap(), Taken { kills: 2, gone: false });
        std::fs::remove_file(&control).unwrap();
        signal(&watch, 1);
        assert_eq!(watch.take().unwrap(), Taken { kills: 0, gone: true });
        signal(&watch, 2);
        assert_eq!(watch.take().unwrap(), Taken { kills: 1, gone: true });
    }

    #[test]
    fn without_a_memory_controller_there_is_nothing_to_watch() {
        assert!(Watch::open(&Group::default()).unwrap().is_none());
    }
}

//! Stops and resumes all processes of a container at once: the freezer controller of version 1
//! (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst), `cgroup.freeze` of version 2 since Linux 5.2
//! (Documentation/admin-guide/cgroup-v2.rst). Cgroups below the container's own freeze with it in both.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::group::{Group, Place, Version};
use super::{file, tree};
use crate::error::{Doing, Error, Result};
use crate::fault::{Call, During, Trouble};

/// How long a cgroup may take to freeze. A process freezes when it next leaves the kernel or sleeps there in a way that
/// a signal could end, which is at once unless it waits for a disk or a network file system.
const PATIENCE: Duration = Duration::from_secs(5);
/// Version 1 has no event for the end of freezing. The first wait between two looks, and the longest.
const FIRST_WAIT: Duration = Duration::from_micros(50);
const LONGEST_WAIT: Duration = Duration::from_millis(10);
/// After so many looks the processes of version 1 run again for a moment: new ones that came in while it froze, as
/// children of those not yet frozen, can keep it at FREEZING for ever.
const LOOKS: u32 = 10;

const STATE: &str = "freezer.state";

/// Freezes the container, and returns when none of its processes runs any more.
///
/// # Errors
/// [`Error::WrongStatus`] `cgroup not exist` without a cgroup that can freeze it. When it doesn't freeze in time, it has
/// been thawed again.
pub fn freeze(group: &Group) -> Result {
    let place = freezer(group)?;
    let dir = place.own_dir()?;
    let frozen = match place.version {
        Version::V1 => freeze_v1(&dir),
        Version::V2 => freeze_v2(&dir),
    };
    frozen.or_else(|trouble| {
        if is_missing(trouble) {
            return Err(missing(&format!("{} has none", place.dir().display())));
        }
        let thawed = if thaw(group).is_ok() { ", and it runs again" } else { ", and it couldn't be thawed again" };
        let late = if trouble.errno == Errno::ETIMEDOUT { " within 5 s" } else { "" };
        let doing = format!("freeze the cgroup {}{late}{thawed}", dir.display());
        Err(Error::os(doing, trouble).hint("a process that waits for a disk or for the network can't be frozen"))
    })
}

/// Lets the container's processes run. Cgroups below that the container itself has frozen stay frozen.
pub fn thaw(group: &Group) -> Result {
    let place = freezer(group)?;
    let dir = place.own_dir()?;
    let (name, value): (_, &[u8]) = match place.version {
        Version::V1 => (STATE, b"THAWED"),
        Version::V2 => ("cgroup.freeze", b"0"),
    };
    match file::write(&dir.join(name), value) {
        Err(trouble) if is_missing(trouble) => Err(missing(&format!("{} has none", dir.display()))),
        thawed => thawed.doing(|| format!("thaw the cgroup {}", dir.display())),
    }
}

/// Lets everything in the container's freezer of version 1 run, whoever froze it: a frozen process of version 1 dies
/// only when it is thawed. In version 2 it dies frozen, so there is nothing to do.
pub(super) fn thaw_all(group: &Group) -> Result {
    let Some(place) = group.freezer().filter(|place| place.version == Version::V1) else { return Ok(()) };
    let dir = place.own_dir()?;
    let thawed = tree::walk(&dir, &mut |here| match file::write_at(here, c"freezer.state", b"THAWED") {
        Err(errno) if !tree::is_gone(errno) => Err(errno),
        _ => Ok(()),
    });
    thawed.during(Call::Write).doing(|| format!("thaw the cgroup {}", dir.display()))
}

/// Whether the container's own cgroup was told to freeze; one above it, that others have frozen, doesn't count. One
/// small read. `false` without a cgroup that could.
pub fn is_frozen(group: &Group) -> Result<bool> {
    let Some(place) = group.freezer() else { return Ok(false) };
    let file = place.dir().join(match place.version {
        Version::V1 => "freezer.self_freezing",
        Version::V2 => "cgroup.freeze",
    });
    match file::read(&file) {
        Ok(text) => Ok(text.trim_end() == "1"),
        Err(trouble) if is_missing(trouble) => Ok(false),
        Err(trouble) => Err(trouble).doing(|| format!("read {}", file.display())),
    }
}

/// Whether processes that enter this cgroup would freeze at once, because of it or of one above it.
pub(super) fn would_freeze(dir: &Path, version: Version) -> Result<bool, Trouble> {
    let read = |name: &str| match file::read(&dir.join(name)) {
        Err(trouble) if is_missing(trouble) => Ok(String::new()),
        read => read,
    };
    match version {
        Version::V1 => read(STATE).map(|text| !matches!(text.trim_end(), "" | "THAWED")),
        Version::V2 => read("cgroup.events").map(|text| says_frozen(&text)),
    }
}

fn freezer(group: &Group) -> Result<&Place> {
    group.freezer().ok_or_else(|| missing("the container has no control group"))
}

/// In the words of runc, which its users look for.
fn missing(why: &str) -> Error {
    Error::WrongStatus(format!(
        "cgroup not exist: it takes the freezer controller of version 1 or cgroup.freeze of version 2 (Linux 5.2), and {why}"
    ))
}

fn is_missing(trouble: Trouble) -> bool {
    tree::is_gone(trouble.errno)
}

fn freeze_v1(dir: &Path) -> Result<(), Trouble> {
    let state = dir.join(STATE);
    let deadline = Instant::now() + PATIENCE;
    let mut wait = FIRST_WAIT;
    for look in 1.. {
        // Written again at every look, as the kernel's documentation asks of who sees FREEZING.
        file::write(&state, b"FROZEN")?;
        if file::read(&state)?.trim_end() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() > deadline {
            break;
        }
        if look % LOOKS == 0 {
            file::write(&state, b"THAWED")?;
            wait = FIRST_WAIT;
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    Err(Trouble::new(Call::Write, Errno::ETIMEDOUT))
}

fn freeze_v2(dir: &Path) -> Result<(), Trouble> {
    // Opened first: the kernel reports a change to who has read what was before it.
    let events = File::open(dir.join("cgroup.events"))
        .map_err(|error| Trouble::new(Call::Open, Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))))?;
    file::write(&dir.join("cgroup.freeze"), b"1")?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if says_frozen(&read_again(&events).during(Call::Read)?) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Trouble::new(Call::Poll, Errno::ETIMEDOUT));
        }
        let mut polled = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        match poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            failed => failed.during(Call::Poll).map(drop)?,
        }
    }
}

/// The file from its beginning, which also readies it for the next event.
fn read_again(file: &File) -> nix::Result<String> {
    use std::os::unix::fs::FileExt;
    let mut buffer = [0; 256];
    let read = file.read_at(&mut buffer, 0).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
    Ok(String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).into_owned())
}

fn says_frozen(events: &str) -> bool {
    events.lines().any(|line| line == "frozen 1")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn group(root: &Path, version: Version) -> Group {
        let controllers = if version == Version::V1 { vec!["freezer".to_owned()] } else { Vec::new() };
        let place = Place { version, controllers, mount: root.to_owned(), path: "web".into(), made: 0 };
        Group { places: vec![place], unit: None }
    }

    #[test]
    fn the_events_of_version_2_tell_when_all_are_frozen() {
        assert!(says_frozen("populated 1\nfrozen 1\n"));
        assert!(!says_frozen("populated 1\nfrozen 0\n"));
        assert!(!says_frozen("populated 1\n"));
    }

    #[test]
    fn a_container_is_frozen_when_its_own_cgroup_was_told_so() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("web");
        let (v1, v2) = (group(root.path(), Version::V1), group(root.path(), Version::V2));
        assert_eq!((is_frozen(&v1).unwrap(), is_frozen(&v2).unwrap()), (false, false));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("freezer.self_freezing"), "1\n").unwrap();
        fs::write(dir.join("cgroup.freeze"), "0\n").unwrap();
        assert_eq!((is_frozen(&v1).unwrap(), is_frozen(&v2).unwrap()), (true, false));
        assert!(!is_frozen(&Group::default()).unwrap());
    }

    #[test]
    fn without_a_freezer_the_words_are_those_that_users_know() {
        let root = tempfile::tempdir().unwrap();
        let gone = group(root.path(), Version::V1);
        for result in [freeze(&Group::default()), thaw(&Group::default()), freeze(&gone), thaw(&gone)] {
            let text = result.unwrap_err().to_string();
            assert!(text.starts_with("cgroup not exist: ") && text.contains("freezer"), "{text}");
        }
    }

    #[test]
    fn a_cgroup_that_would_freeze_who_enters_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let would = |version| would_freeze(root.path(), version).unwrap();
        // Not a hierarchy with a freezer.
        assert!(!would(Version::V1) && !would(Version::V2));
        for (state, expected) in [("THAWED\n", false), ("FREEZING\n", true), ("FROZEN\n", true)] {
            fs::write(root.path().join(STATE), state).unwrap();
            assert_eq!(would(Version::V1), expected, "{state}");
        }
        fs::write(root.path().join("cgroup.events"), "populated 0\nfrozen 1\n").unwrap();
        assert!(would(Version::V2));
    }
}

//! Resource control of the CPU's cache and memory bandwidth (Intel RDT, AMD QoS): the class of service that a container is
//! in, and its group for monitoring, in the file system resctrl (Documentation/arch/x86/resctrl.rst; runtime-spec,
//! config-linux.md, "IntelRdt"). Runs in the host process.

mod schema;
mod stats;
mod tree;

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

pub use schema::{Line, merge, parse};
pub use stats::{IntelRdt, probe};

use crate::error::{Doing, Result};
use crate::fault::{Call, Effect, Trouble};
use tree::Tree;

/// A container's place in resctrl.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rdt {
    /// Where resctrl is mounted; absolute.
    pub mount: PathBuf,
    /// The class of service, a directory in it; empty for the default class, which is the mount itself.
    pub class: String,
    /// The class is named for the container: it comes and goes with it.
    pub own: bool,
    /// The group for monitoring in the class, named for the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<String>,
    /// The tree is a test's, an ordinary directory.
    #[serde(default)]
    pub pretended: bool,
}

impl Rdt {
    /// The directory of the class.
    pub fn dir(&self) -> PathBuf {
        self.mount.join(&self.class)
    }

    fn monitor_dir(&self) -> Option<PathBuf> {
        self.monitor.as_ref().map(|name| self.dir().join("mon_groups").join(name))
    }

    fn tree(&self) -> Tree {
        Tree { pretended: self.pretended }
    }
}

/// Where resctrl is mounted; `None` where it isn't.
pub fn probe_mount() -> Option<PathBuf> {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let of = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        kind.starts_with("resctrl ").then(|| place.split(' ').nth(4).map(PathBuf::from)).flatten()
    };
    mountinfo.lines().find_map(of)
}

/// Makes the class with these lines of `schemata`, and the group for monitoring. A class that is there must be as asked for.
///
/// # Errors
/// ENOENT when the class isn't there and nothing says what it would be; EEXIST when it is there and is another, or should be
/// the container's own.
pub fn make(rdt: &Rdt, schemata: &[String]) -> Effect {
    let (dir, tree) = (rdt.dir(), rdt.tree());
    let made = match tree.is_group(&dir) {
        true if rdt.own => return Err(Trouble::new(Call::CheckClass, Errno::EEXIST)),
        true => {
            let given: Option<Vec<Line>> = schemata.iter().map(|line| parse(line).pop()).collect();
            let here = parse(&tree.read(&dir.join("schemata")).unwrap_or_default());
            // A line that makes no sense is none that the class has.
            if !given.is_some_and(|given| given.iter().all(|line| line.is_in(&here))) {
                return Err(Trouble::new(Call::CheckClass, Errno::EEXIST));
            }
            false
        }
        false if !rdt.own && schemata.is_empty() => return Err(Trouble::new(Call::CheckClass, Errno::ENOENT)),
        false => {
            tree.make_group(&dir)?;
            true
        }
    };
    let settled = match made && !schemata.is_empty() {
        true => write_schemata(rdt, schemata),
        false => Ok(()),
    };
    let settled = settled.and_then(|()| rdt.monitor_dir().map_or(Ok(()), |dir| tree.make_group(&dir)));
    if made && settled.is_err() {
        // The error on its way is the one to tell.
        tree.remove_group(&dir).ok();
    }
    settled
}

/// Writes lines of a class's `schemata`, in one write: the kernel takes all of them or none.
pub fn write_schemata(rdt: &Rdt, schemata: &[String]) -> Effect {
    rdt.tree().write(&rdt.dir().join("schemata"), format!("{}\n", schemata.join("\n")).as_bytes())
}

/// The lines of a class's `schemata` as they are; none when it can't be read.
pub fn read_schemata(rdt: &Rdt) -> Vec<String> {
    let text = rdt.tree().read(&rdt.dir().join("schemata")).unwrap_or_default();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// Puts a process in: what it forks later is in there as well. A group for monitoring takes those of its class only.
pub fn enter(rdt: &Rdt, pid: i32) -> Effect {
    let put = |dir: &Path| rdt.tree().write(&dir.join("tasks"), pid.to_string().as_bytes());
    put(&rdt.dir())?;
    rdt.monitor_dir().map_or(Ok(()), |dir| put(&dir))
}

/// Removes what is the container's own. Processes that are left fall to the class above (the kernel's rule).
pub fn remove(rdt: &Rdt) -> Result {
    let own = rdt.own.then(|| rdt.dir());
    for dir in rdt.monitor_dir().into_iter().chain(own) {
        rdt.tree().remove_group(&dir).doing(|| format!("remove the resctrl group {}", dir.display()))?;
    }
    Ok(())
}

/// The place as the container may remove it: a class or a group of its name that is there before it was made is somebody
/// else's, and stays.
pub fn without_others(mut rdt: Rdt) -> Rdt {
    let tree = rdt.tree();
    rdt.own &= !tree.is_group(&rdt.dir());
    if rdt.monitor_dir().is_some_and(|dir| tree.is_group(&dir)) {
        rdt.monitor = None;
    }
    rdt
}

/// What the kernel itself has to say of the last write: `info/last_cmd_status`, without its `ok`.
pub fn last_words(rdt: &Rdt) -> Option<String> {
    let text = rdt.tree().read(&rdt.mount.join("info/last_cmd_status")).ok()?;
    let text = text.trim();
    (!text.is_empty() && text != "ok").then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn rdt(mount: &Path, class: &str, own: bool) -> Rdt {
        Rdt { mount: mount.to_owned(), class: class.to_owned(), own, monitor: None, pretended: true }
    }

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| line.to_string()).collect()
    }

    #[test]
    fn a_class_of_its_own_comes_and_goes_with_the_container() {
        let mount = tempfile::tempdir().unwrap();
        let own = Rdt { monitor: Some("web".into()), ..rdt(mount.path(), "web", true) };
        make(&own, &lines(&["L3:0=f;1=f0", "MB:0=20"])).unwrap();
        enter(&own, 42).unwrap();
        let text = |name: &str| fs::read_to_string(mount.path().join(name)).unwrap();
        assert_eq!(text("web/schemata"), "L3:0=f;1=f0\nMB:0=20\n");
        assert_eq!((text("web/tasks"), text("web/mon_groups/web/tasks")), ("42".into(), "42".into()));
        assert_eq!(make(&own, &[]).unwrap_err(), Trouble::new(Call::CheckClass, Errno::EEXIST), "somebody else's");
        remove(&own).unwrap();
        assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
        remove(&own).unwrap();
    }

    #[test]
    fn a_class_that_is_there_is_joined_as_it_is_and_stays() {
        let mount = tempfile::tempdir().unwrap();
        let shared = rdt(mount.path(), "gold", false);
        assert_eq!(make(&shared, &[]).unwrap_err(), Trouble::new(Call::CheckClass, Errno::ENOENT));
        // Who says what it is may make it.
        make(&shared, &lines(&["L3:0=0f;1=ff"])).unwrap();
        make(&shared, &[]).unwrap();
        make(&shared, &lines(&["L3:1=ff"])).unwrap();
        let other = make(&shared, &lines(&["L3:0=1"])).unwrap_err();
        assert_eq!(other, Trouble::new(Call::CheckClass, Errno::EEXIST));
        let watched = Rdt { monitor: Some("web".into()), ..shared };
        make(&watched, &[]).unwrap();
        remove(&watched).unwrap();
        assert!(mount.path().join("gold/schemata").exists() && !mount.path().join("gold/mon_groups/web").exists());
    }

    #[test]
    fn what_was_there_before_is_not_the_containers_to_remove() {
        let mount = tempfile::tempdir().unwrap();
        let own = Rdt { monitor: Some("web".into()), ..rdt(mount.path(), "web", true) };
        assert_eq!(without_others(own.clone()), own);
        make(&own, &[]).unwrap();
        let others = without_others(own.clone());
        assert_eq!((others.own, others.monitor.as_deref()), (false, None));
        remove(&others).unwrap();
        assert!(mount.path().join("web/mon_groups/web/tasks").exists());
        assert!(make(&rdt(mount.path(), "web", false), &lines(&["L3:0"])).is_err(), "no line at all");
    }

    #[test]
    fn a_class_that_can_t_be_settled_is_not_left() {
        let mount = tempfile::tempdir().unwrap();
        let own = Rdt { monitor: Some("a/b/c".into()), ..rdt(mount.path(), "web", true) };
        assert!(make(&own, &lines(&["L3:0=f"])).is_err());
        assert!(!mount.path().join("web").exists());
    }

    #[test]
    fn the_kernels_own_words_are_told() {
        let mount = tempfile::tempdir().unwrap();
        let own = rdt(mount.path(), "web", true);
        assert_eq!(last_words(&own), None);
        fs::create_dir(mount.path().join("info")).unwrap();
        for (text, told) in [("ok\n", None), ("Mask f00 out of range\n", Some("Mask f00 out of range"))] {
            fs::write(mount.path().join("info/last_cmd_status"), text).unwrap();
            assert_eq!(last_words(&own).as_deref(), told);
        }
    }
}

//! Which mounts of a container come from outside of it. criu keeps the content of the others itself; of these it keeps a
//! name, and the restore says what is mounted under that name. Pure.
//!
//! The names are the places that config.json gives: the dump and the restore know them from the steps of the same plan, so a
//! container can be restored from a bundle whose sources lie elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;

use crate::host::mountinfo::Mounted;
use crate::plan::{Op, Plan};
use crate::rootfs;

/// The file beside the images that has the names.
pub const FILE: &str = "mounts.json";

/// Something of the host's that the plan puts into the root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Absolute, as config.json has it but cleaned: a symbolic link may have led elsewhere.
    pub target: String,
    /// Absolute, on the host.
    pub source: String,
}

/// What the plan attaches, in its order.
pub fn attached(plan: &Plan) -> Vec<Attached> {
    let text = |text: &CStr| text.to_string_lossy().into_owned();
    let of = |op: &Op| match op {
        Op::Rootfs(rootfs::Op::AttachTree(tree)) => {
            Some(Attached { target: text(&tree.target.path), source: text(&tree.source) })
        }
        Op::Rootfs(rootfs::Op::BindDevice { path, .. }) => Some(Attached { target: text(path), source: text(path) }),
        // Over a file lies the container's /dev/null, which may be a device of the host's.
        Op::Rootfs(rootfs::Op::MaskPath { path, .. }) => {
            Some(Attached { target: text(path), source: "/dev/null".to_owned() })
        }
        _ => None,
    };
    plan.stage_two.iter().filter_map(|step| of(&step.op)).collect()
}

/// Types that criu mounts anew by itself, though their file system may be the host's own.
const ANEW: [&str; 6] = ["cgroup", "cgroup2", "devpts", "mqueue", "proc", "sysfs"];

/// The container's mounts, and what it takes to judge them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mounts {
    pub own: Vec<Mounted>,
    /// The file systems that the host has mounted, by their devices.
    pub host: BTreeSet<String>,
    /// Which mount, by its id, stands at the target of something that the plan attaches: found by looking.
    pub found: BTreeMap<u64, String>,
    /// The container has a cgroup namespace. Without one a mount of type cgroup is a piece of the host's.
    pub cgroup_namespace: bool,
}

impl Mounts {
    /// The ids of the container's mounts.
    pub fn ids(&self) -> BTreeSet<u64> {
        self.own.iter().map(|mount| mount.id).collect()
    }

    /// For a dump: the place of every mount from outside, and the name it is kept under.
    pub fn external(&self) -> Vec<String> {
        let root = self.own.iter().find(|mount| mount.target.as_os_str() == "/").map(|mount| mount.device.as_str());
        let outside = |mount: &Mounted| {
            let anew = ANEW.contains(&mount.fstype.as_str());
            let piece = mount.fstype == "cgroup" && !self.cgroup_namespace && mount.root.as_os_str() != "/";
            let hosts = self.host.contains(&mount.device) && Some(mount.device.as_str()) != root;
            piece || hosts && !anew
        };
        let mut list = Vec::new();
        for mount in self.own.iter().filter(|mount| mount.target.as_os_str() != "/") {
            let point = mount.target.to_string_lossy();
            match self.found.get(&mount.id) {
                // A file that is masked by the container's own /dev/null is nothing from outside.
                Some(name) if self.host.contains(&mount.device) => list.push(format!("mnt[{point}]:{name}")),
                None if outside(mount) => list.push(format!("mnt[{point}]:{point}")),
                _ => {}
            }
        }
        list
    }
}

/// The names in a list of [`Mounts::external`], as the file has them.
pub fn render_names(external: &[String]) -> Vec<u8> {
    let name = |entry: &String| entry.split_once("]:").map(|(_, name)| name.to_owned());
    let names: Vec<String> = external.iter().filter(|entry| entry.starts_with("mnt[")).filter_map(name).collect();
    // A list of strings always serialises.
    serde_json::to_vec(&names).unwrap_or_default()
}

/// The names in the file that nothing is attached under; the error says why they can't be read.
pub fn missing(bytes: &[u8], attached: &[Attached]) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = serde_json::from_slice(bytes).map_err(|error| format!("{FILE}: {error}"))?;
    names.retain(|name| !attached.iter().any(|one| one.target == *name));
    Ok(names)
}

/// For a restore: what is mounted under each name.
pub fn sources(attached: &[Attached]) -> Vec<String> {
    let mut list: Vec<_> = attached.iter().map(|one| format!("mnt[{}]:{}", one.target, one.source)).collect();
    // In images of runc's that is the name of every masked file.
    list.push("mnt[/dev/null]:/dev/null".to_owned());
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(id: u64, device: &str, root: &str, target: &str, fstype: &str) -> Mounted {
        let line = format!("{id} 0 {device} {root} {target} rw - {fstype} none rw");
        crate::host::mountinfo::parse(line.as_bytes()).remove(0)
    }

    fn mounts() -> Mounts {
        Mounts {
            own: vec![
                mount(1, "8:1", "/bundle/rootfs", "/", "ext4"),
                mount(2, "0:50", "/", "/proc", "proc"),
                mount(3, "0:51", "/", "/dev", "tmpfs"),
                mount(4, "8:1", "/srv/data", "/data", "ext4"),
                mount(5, "0:51", "/null", "/proc/kcore", "tmpfs"),
                mount(6, "0:5", "/tty", "/dev/tty", "devtmpfs"),
                mount(7, "0:20", "/", "/sys", "sysfs"),
                mount(8, "0:30", "/web", "/sys/fs/cgroup/pids", "cgroup"),
                mount(9, "0:31", "/run/x", "/run/late", "tmpfs"),
            ],
            host: ["8:1", "0:5", "0:20", "0:30", "0:31"].map(str::to_owned).into(),
            found: [(4, "/data".to_owned()), (5, "/proc/kcore".to_owned()), (6, "/dev/tty".to_owned())].into(),
            cgroup_namespace: true,
        }
    }

    #[test]
    fn what_the_config_binds_is_external_even_on_the_roots_own_file_system() {
        let external = mounts().external();
        assert_eq!(external, ["mnt[/data]:/data", "mnt[/dev/tty]:/dev/tty", "mnt[/run/late]:/run/late"]);
    }

    #[test]
    fn a_link_on_the_way_shows_in_the_place_and_not_in_the_name() {
        let mut mounts = mounts();
        mounts.own[3].target = "/mnt/real".into();
        assert!(mounts.external().contains(&"mnt[/mnt/real]:/data".to_owned()));
    }

    #[test]
    fn a_piece_of_the_hosts_cgroups_is_external_without_a_cgroup_namespace() {
        let mounts = Mounts { cgroup_namespace: false, ..mounts() };
        assert!(mounts.external().contains(&"mnt[/sys/fs/cgroup/pids]:/sys/fs/cgroup/pids".to_owned()));
    }

    #[test]
    fn a_mount_that_nothing_takes_the_place_of_is_found_by_its_name() {
        let file = render_names(&["mnt[/mnt/real]:/data".into(), "mnt[/x]:/x".into(), "net[7]:extRootNetNS".into()]);
        let attached = [Attached { target: "/data".into(), source: "/other".into() }];
        assert_eq!(missing(&file, &attached).unwrap(), ["/x"]);
        assert!(missing(b"{", &attached).unwrap_err().starts_with("mounts.json: "));
    }

    #[test]
    fn a_restore_names_the_sources() {
        let attached = [Attached { target: "/data".into(), source: "/other/data".into() }];
        assert_eq!(sources(&attached), ["mnt[/data]:/other/data", "mnt[/dev/null]:/dev/null"]);
    }
}

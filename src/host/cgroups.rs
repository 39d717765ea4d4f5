//! Which hierarchies of control groups the host has, and where in them the caller is: from mountinfo and
//! /proc/self/cgroup (cgroups(7)). Directories with the names of controllers say nothing; the type of the mounted file
//! system does.

use std::path::{Path, PathBuf};

use super::mountinfo::path;

/// The hierarchies that the caller can reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The mounted hierarchies of version 1, the named ones among them, in the kernel's order.
    pub v1: Vec<Hierarchy>,
    /// The hierarchy of version 2, where it is mounted.
    pub unified: Option<Unified>,
}

/// A hierarchy of version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// `cpu` and `cpuacct`, or `name=systemd`.
    pub controllers: Vec<String>,
    pub mount: PathBuf,
    /// The caller's own cgroup, relative to the mount; empty for the mount itself.
    pub own: PathBuf,
    /// How the hierarchy is mounted, beside its controllers: `xattr`. A mount with others gets these nonetheless, and the
    /// kernel's log a line about it.
    pub options: Vec<String>,
}

/// The hierarchy of version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unified {
    pub mount: PathBuf,
    /// The caller's own cgroup, relative to the mount.
    pub own: PathBuf,
    /// What cgroup.controllers of the mount's root lists: those that no hierarchy of version 1 has taken.
    pub controllers: Vec<String>,
    /// How the hierarchy is mounted: `nsdelegate`. In the initial cgroup namespace a mount with others changes the
    /// whole machine's.
    pub options: Vec<String>,
}

/// Options of a hierarchy of version 1 that a second mount has to repeat (cgroup1_show_options in the kernel). The
/// release agent isn't one: no namespace may set it (CVE-2022-0492).
const OPTIONS_V1: [&str; 4] = ["cpuset_v2_mode", "favordynmods", "noprefix", "xattr"];
/// The same for version 2 (admin-guide/cgroup-v2.rst, "Mounting").
const OPTIONS_V2: [&str; 6] = [
    "favordynmods",
    "memory_hugetlb_accounting",
    "memory_localevents",
    "memory_recursiveprot",
    "nsdelegate",
    "pids_localevents",
];

impl Hierarchy {
    /// The name of its directory: the one that the host has given it, if that names the same controllers (perhaps in
    /// another order), else the controllers. A named hierarchy has its name alone.
    pub fn name(&self) -> String {
        let plain: Vec<&str> = self.controllers.iter().map(|name| name.trim_start_matches("name=")).collect();
        let given = self.mount.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut sorted: Vec<&str> = given.split(',').collect();
        let mut controllers = plain.clone();
        sorted.sort_unstable();
        controllers.sort_unstable();
        if sorted == controllers { given.to_owned() } else { plain.join(",") }
    }
}

impl Layout {
    /// Reads the layout. A host without procfs or without control groups has an empty one.
    pub fn probe() -> Layout {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mut layout = Layout::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        if let Some(unified) = &mut layout.unified {
            let controllers = std::fs::read_to_string(unified.mount.join("cgroup.controllers")).unwrap_or_default();
            unified.controllers = controllers.split_whitespace().map(str::to_owned).collect();
        }
        layout
    }

    /// The layout in the text of mountinfo and of /proc/self/cgroup, without the controllers of version 2.
    fn parse(mountinfo: &str, cgroup: &str) -> Layout {
        let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
        let mut layout = Layout::default();
        for line in cgroup.lines() {
            // hierarchy-ID:controller-list:path
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(own)) = (parts.next(), parts.next()) else { continue };
            let own = Path::new(own.strip_suffix(" (deleted)").unwrap_or(own));
            if controllers.is_empty() {
                let found = pick(&mounts, own, |mount| mount.fstype == "cgroup2");
                layout.unified = found.map(|(mount, own)| Unified {
                    mount: mount.path.clone(),
                    own,
                    controllers: Vec::new(),
                    options: mount.options_in(&OPTIONS_V2),
                });
                continue;
            }
            let controllers: Vec<String> = controllers.split(',').map(str::to_owned).collect();
            let has_all = |mount: &Mount| controllers.iter().all(|name| mount.options.split(',').any(|o| o == name));
            if let Some((mount, own)) = pick(&mounts, own, |mount| mount.fstype == "cgroup" && has_all(mount)) {
                let options = mount.options_in(&OPTIONS_V1);
                layout.v1.push(Hierarchy { controllers, mount: mount.path.clone(), own, options });
            }
        }
        layout
    }

    /// Whether all controllers are those of version 2.
    pub fn is_unified(&self) -> bool {
        self.v1.is_empty() && self.unified.is_some()
    }

    /// The hierarchy of version 1 that has this controller.
    pub fn v1(&self, controller: &str) -> Option<&Hierarchy> {
        self.v1.iter().find(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
    }

    /// Whether some hierarchy has this controller.
    pub fn has(&self, controller: &str) -> bool {
        let in_unified = |unified: &Unified| unified.controllers.iter().any(|name| name == controller);
        self.v1(controller).is_some() || self.unified.as_ref().is_some_and(in_unified)
    }

    /// For tests: a host with version 2 alone and every controller, whose caller is in `/init.scope`.
    pub fn fixture_unified() -> Layout {
        let controllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];
        Layout {
            v1: Vec::new(),
            unified: Some(Unified {
                mount: PathBuf::from("/sys/fs/cgroup"),
                own: PathBuf::from("init.scope"),
                controllers: controllers.map(str::to_owned).to_vec(),
                options: vec!["nsdelegate".to_owned(), "memory_recursiveprot".to_owned()],
            }),
        }
    }

    /// For tests: a host with every controller of version 1, `cpu` and `cpuacct` together, and no version 2.
    pub fn fixture_v1() -> Layout {
        let names = [
            "cpuset",
            "cpu,cpuacct",
            "blkio",
            "memory",
            "devices",
            "freezer",
            "net_cls,net_prio",
            "perf_event",
            "hugetlb",
            "pids",
            "rdma",
            "misc",
            "name=systemd",
        ];
        let hierarchy = |name: &&str| Hierarchy {
            controllers: name.split(',').map(str::to_owned).collect(),
            mount: Path::new("/sys/fs/cgroup").join(name.trim_start_matches("name=")),
            own: PathBuf::new(),
            options: if *name == "name=systemd" { vec!["xattr".to_owned()] } else { Vec::new() },
        };
        Layout { v1: names.iter().map(hierarchy).collect(), unified: None }
    }

    /// For tests: a host whose controllers are those of version 1 but for `hugetlb`, which version 2 has.
    pub fn fixture_hybrid() -> Layout {
        let mut layout = Layout::fixture_v1();
        layout.v1.retain(|hierarchy| hierarchy.controllers != ["hugetlb"]);
        let mount = PathBuf::from("/sys/fs/cgroup/unified");
        let controllers = vec!["hugetlb".to_owned()];
        layout.unified =
            Some(Unified { mount, own: PathBuf::new(), controllers, options: vec!["nsdelegate".to_owned()] });
        layout
    }
}

/// What counts of a line of mountinfo (proc_pid_mountinfo(5)).
struct Mount<'a> {
    root: PathBuf,
    path: PathBuf,
    fstype: &'a str,
    /// Of the super block.
    options: &'a str,
}

impl Mount<'_> {
    fn parse(line: &str) -> Option<Mount<'_>> {
        // Lines of other file systems are most, so they are told first.
        let (place, what) = line.split_once(" - ")?;
        let mut what = what.split(' ');
        let fstype = what.next().filter(|fstype| fstype.starts_with("cgroup"))?;
        let options = what.nth(1)?;
        let mut place = place.split(' ').skip(3);
        Some(Mount { root: path(place.next()?.as_bytes()), path: path(place.next()?.as_bytes()), fstype, options })
    }

    /// Those of its options that are in the list.
    fn options_in(&self, list: &[&str]) -> Vec<String> {
        self.options.split(',').filter(|option| list.contains(option)).map(str::to_owned).collect()
    }
}

/// The first mount that shows the cgroup `own`, and where it shows it; else the first that there is, with its root.
fn pick<'m>(mounts: &'m [Mount<'m>], own: &Path, is_it: impl Fn(&Mount) -> bool) -> Option<(&'m Mount<'m>, PathBuf)> {
    let candidates = || mounts.iter().filter(|mount| is_it(mount));
    let shown = |mount: &'m Mount<'m>| Some((mount, own.strip_prefix(&mount.root).ok()?.to_owned()));
    // With a cgroup namespace around it a cgroup can lie outside, as `/..`; then the mount's root stands for it.
    let outside = own.components().any(|part| part == std::path::Component::ParentDir);
    let found = if outside { None } else { candidates().find_map(shown) };
    found.or_else(|| candidates().next().map(|mount| (mount, PathBuf::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
22 1 0:20 / /proc rw,nosuid - proc proc rw
30 25 0:26 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
31 25 0:27 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
32 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
33 25 0:29 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory
34 25 0:30 / /sys/fs/cgroup/net_cls rw,nosuid - tmpfs tmpfs rw
";
    const OWN: &str =
        "4:memory:/user.slice/a b\n3:cpu,cpuacct:/\n2:net_cls:/\n1:name=systemd:/user.slice\n0::/user.slice\n";

    #[test]
    fn a_hybrid_host_is_told_by_the_types_of_its_mounts() {
        let layout = Layout::parse(HYBRID, OWN);
        let v1: Vec<_> = layout.v1.iter().map(|h| (h.controllers.join(","), h.mount.clone(), h.own.clone())).collect();
        let path = PathBuf::from;
        assert_eq!(
            v1,
            [
                ("memory".to_owned(), path("/sys/fs/cgroup/memory"), path("user.slice/a b")),
                ("cpu,cpuacct".to_owned(), path("/sys/fs/cgroup/cpu,cpuacct"), path("")),
                ("name=systemd".to_owned(), path("/sys/fs/cgroup/systemd"), path("user.slice")),
            ],
            "net_cls has a directory and no hierarchy"
        );
        let unified = layout.unified.unwrap();
        assert_eq!((unified.mount, unified.own), (path("/sys/fs/cgroup/unified"), path("user.slice")));
        assert_eq!(
            (unified.options, &layout.v1[2].options),
            (vec!["nsdelegate".to_owned()], &vec!["xattr".to_owned()])
        );
    }

    #[test]
    fn a_hierarchy_has_the_name_that_the_host_gave_it_if_it_says_what_is_in_it() {
        let name = |controllers: &[&str], mount: &str| {
            let controllers = controllers.iter().map(|name| name.to_string()).collect();
            Hierarchy { controllers, mount: mount.into(), own: PathBuf::new(), options: Vec::new() }.name()
        };
        assert_eq!(name(&["cpuacct", "cpu"], "/sys/fs/cgroup/cpu,cpuacct"), "cpu,cpuacct");
        assert_eq!(name(&["cpu", "cpuacct"], "/mnt/x"), "cpu,cpuacct");
        assert_eq!(name(&["name=systemd"], "/sys/fs/cgroup/systemd"), "systemd");
        assert_eq!(name(&["name=elogind"], "/sys/fs/cgroup/x"), "elogind");
    }

    #[test]
    fn the_release_agent_is_no_option_that_another_mount_repeats() {
        let mountinfo = "31 25 0:27 / /c rw - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd\n";
        assert_eq!(Layout::parse(mountinfo, "1:name=systemd:/\n").v1[0].options, ["xattr"]);
    }

    #[test]
    fn a_mount_of_a_part_of_a_hierarchy_shows_paths_below_its_root() {
        let mountinfo = "31 25 0:27 /docker/abc /sys/fs/cgroup\\040x ro - cgroup2 cgroup rw\n";
        let unified = Layout::parse(mountinfo, "0::/docker/abc/sub\n").unified.unwrap();
        assert_eq!((unified.mount, unified.own), (PathBuf::from("/sys/fs/cgroup x"), PathBuf::from("sub")));
    }

    #[test]
    fn a_cgroup_outside_of_the_namespace_counts_as_the_mounts_root() {
        let mountinfo = "31 25 0:27 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let unified = Layout::parse(mountinfo, "0::/../x\n").unified.unwrap();
        assert_eq!(unified.own, PathBuf::new());
    }

    #[test]
    fn of_several_mounts_of_one_hierarchy_the_one_that_shows_the_caller_counts() {
        let mountinfo =
            "31 25 0:27 /other /a rw - cgroup cgroup rw,memory\n32 25 0:27 / /b rw - cgroup cgroup rw,memory\n";
        let layout = Layout::parse(mountinfo, "4:memory:/me\n");
        assert_eq!((&layout.v1[0].mount, &layout.v1[0].own), (&PathBuf::from("/b"), &PathBuf::from("me")));
    }

    #[test]
    fn a_controller_is_found_in_the_version_that_has_it() {
        let hybrid = Layout::fixture_hybrid();
        assert!(hybrid.has("hugetlb") && hybrid.v1("hugetlb").is_none() && hybrid.v1("cpuacct").is_some());
        assert!(Layout::fixture_unified().is_unified() && !hybrid.is_unified() && !Layout::default().has("memory"));
    }
}

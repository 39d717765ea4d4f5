//! Why a step of this domain failed, and the next step for the user. On the host, while the cgroups are still there: what
//! they hold says most.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::geteuid;

use super::file::read;
use super::make::inhabitants;
use super::{Make, Op, Open, rdt};
use crate::fault::{Call, Trouble};

/// What the kernel's errno doesn't say; engines match some of these words.
pub fn reason(op: &Op, trouble: Trouble) -> Option<String> {
    match op {
        Op::Make(make) if trouble == Trouble::new(Call::CheckCgroup, Errno::EBUSY) => {
            let count = inhabitants(&make.mount.join(&make.path)).unwrap_or_default();
            Some(format!("container's cgroup is not empty: {count} process(es) found"))
        }
        Op::Make(_) if trouble == Trouble::new(Call::CheckCgroup, Errno::EAGAIN) => {
            Some("container's cgroup unexpectedly frozen".to_owned())
        }
        Op::Make(_) if is_forbidden(trouble) && !geteuid().is_root() => Some(
            "unable to apply cgroup configuration: permission denied (rootless needs no limits + no cgrouppath when no \
             permission is granted for cgroups)"
                .to_owned(),
        ),
        Op::MakeClass { rdt, .. } if trouble == Trouble::new(Call::CheckClass, Errno::EEXIST) => Some(match rdt.own {
            true => "there is a class of that name already, and it is somebody else's".to_owned(),
            false => "the class is there, and its schemata are others".to_owned(),
        }),
        Op::MakeClass { rdt, .. } | Op::EnterClass { rdt } => rdt::last_words(rdt),
        Op::Write { file, value } if trouble.errno == Errno::EBUSY => {
            let file = path_of(file.to_bytes());
            let [usage, peak] = match name_of(&file) {
                "memory.limit_in_bytes" => ["memory.usage_in_bytes", "memory.max_usage_in_bytes"],
                "memory.memsw.limit_in_bytes" => ["memory.memsw.usage_in_bytes", "memory.memsw.max_usage_in_bytes"],
                "memory.max" => ["memory.current", "memory.peak"],
                _ => return None,
            };
            let held = |name: &str| read(&file.with_file_name(name)).map_or_else(|_| "?".into(), |t| t.trim().to_owned());
            let (value, usage, peak) = (value.to_string_lossy(), held(usage), held(peak));
            Some(format!("unable to set memory limit to {value} (current usage: {usage}, peak usage: {peak})"))
        }
        _ => None,
    }
}

/// The next step for the user.
pub fn hint(op: &Op, trouble: Trouble) -> Option<&'static str> {
    match op {
        Op::Make(make) => make_hint(make, trouble),
        Op::Write { file, .. } | Op::WriteIfPresent { file, .. } | Op::OpenLimit { file, .. } => {
            file_hint(&path_of(file.to_bytes()), trouble)
        }
        // The first names what all of them are.
        Op::WriteFirst { choices } => {
            choices.first().and_then(|(file, _)| file_hint(&path_of(file.to_bytes()), trouble))
        }
        Op::WriteLate { name, .. } => file_hint(Path::new(name), trouble),
        Op::MakeClass { rdt, .. } => class_hint(rdt, trouble),
        Op::Open(open) => open_hint(open, trouble.errno),
        Op::Enter { hierarchy, .. } => enter_hint(hierarchy, trouble.errno),
        _ => None,
    }
}

fn is_forbidden(trouble: Trouble) -> bool {
    matches!(trouble.errno, Errno::EACCES | Errno::EPERM | Errno::EROFS)
}

fn path_of(file: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(file))
}

fn name_of(file: &Path) -> &str {
    file.file_name().and_then(OsStr::to_str).unwrap_or_default()
}

/// Without privileges a part of the tree must be handed over by whoever owns it.
const DELEGATE: &str = "the caller may write only in a part of the tree that was delegated to it: systemd does that with `Delegate=yes`, \
     for one command by `systemd-run --user --scope -p Delegate=yes`";

fn make_hint(make: &Make, trouble: Trouble) -> Option<&'static str> {
    match trouble.errno {
        Errno::EAGAIN if trouble.call == Call::CheckCgroup => {
            Some("thaw that cgroup, or the one above it that is frozen; or choose another linux.cgroupsPath")
        }
        Errno::EBUSY => Some("somebody else is in that cgroup: choose another linux.cgroupsPath"),
        Errno::EROFS => Some("the hierarchy is mounted read-only"),
        Errno::EACCES | Errno::EPERM if !geteuid().is_root() => Some(DELEGATE),
        Errno::EAGAIN => Some("cgroup.max.depth or cgroup.max.descendants of a cgroup above is reached"),
        Errno::ENOSPC | Errno::ENOMEM => {
            Some("the kernel has no room for more cgroups: /proc/cgroups counts them, removed ones may linger")
        }
        Errno::ENOENT if make.fill_cpuset => Some("the hierarchy must be mounted with the option cpuset, not noprefix"),
        _ => None,
    }
}

fn class_hint(rdt: &rdt::Rdt, trouble: Trouble) -> Option<&'static str> {
    match trouble.errno {
        Errno::ENOENT if trouble.call == Call::CheckClass => {
            Some("closID alone names a class that is there: make it first, or say what it is by schemata")
        }
        Errno::EEXIST if rdt.own => Some("choose another id, or name the class by closID to share it"),
        Errno::EEXIST => Some("leave the schemata away to join the class as it is, or choose another closID"),
        Errno::ENOSPC => Some("the CPU has no class of service left: see num_closids below /sys/fs/resctrl/info"),
        _ => None,
    }
}

fn open_hint(open: &Open, errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::ENOENT if open.below.is_some() => Some("--cgroup names a cgroup that exists, below the container's own"),
        Errno::EBUSY => Some(
            "the container's cgroup hands controllers down and may have no processes: name one below it with --cgroup",
        ),
        Errno::EACCES | Errno::EPERM if !geteuid().is_root() => Some(DELEGATE),
        _ => None,
    }
}

fn enter_hint(hierarchy: &str, errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::ENOSPC if hierarchy.contains("cpuset") => Some("the cpuset is empty: set cpu.cpus and cpu.mems"),
        Errno::EINVAL if hierarchy.contains("cpu") => Some(
            "a real-time process needs a cgroup with a budget: set cpu.realtimeRuntime, or start corten with an ordinary policy",
        ),
        Errno::EBUSY | Errno::EOPNOTSUPP => Some(
            "a cgroup that hands controllers down, or a threaded one, takes no processes: choose another linux.cgroupsPath",
        ),
        _ => None,
    }
}

fn file_hint(file: &Path, trouble: Trouble) -> Option<&'static str> {
    let name = name_of(file);
    if trouble.call == Call::Open && trouble.errno == Errno::ENOENT && is_not_handed_down(file, name) {
        return Some(
            "the cgroup above doesn't hand this controller down: see cgroup.subtree_control there; one with processes in it can't (cgroups(7))",
        );
    }
    if is_forbidden(trouble) && !geteuid().is_root() {
        return Some(DELEGATE);
    }
    let fits = |rule: &&Rule| rule.errnos.contains(&trouble.errno) && rule.names.iter().any(|n| name.starts_with(n));
    RULES.iter().find(fits).map(|rule| rule.hint)
}

/// Whether a cgroup of version 2 lacks the controller that a file belongs to.
fn is_not_handed_down(file: &Path, name: &str) -> bool {
    let controller = name.split('.').next().unwrap_or_default();
    let controllers = read(&file.with_file_name("cgroup.controllers"));
    controllers.is_ok_and(|list| controller != "cgroup" && !list.split_whitespace().any(|word| word == controller))
}

/// What a file answers with, by the beginning of its name.
struct Rule {
    errnos: &'static [Errno],
    names: &'static [&'static str],
    hint: &'static str,
}

const fn rule(errnos: &'static [Errno], names: &'static [&'static str], hint: &'static str) -> Rule {
    Rule { errnos, names, hint }
}

const ABSENT: &[Errno] = &[Errno::ENOENT];
const REFUSED: &[Errno] = &[Errno::EINVAL, Errno::ERANGE];

/// The first that fits counts.
#[rustfmt::skip]
static RULES: [Rule; 26] = [
    rule(ABSENT, &["memory.memsw", "memory.swap"], "this kernel doesn't count swap: leave memory.swap away, or boot with swapaccount=1"),
    rule(ABSENT, &["blkio.leaf_weight"], "kernels since 5.0 know no leaf weight: it went with the scheduler CFQ"),
    rule(ABSENT, &["blkio.weight", "blkio.bfq"], "kernels since 5.0 weigh block I/O by the scheduler BFQ alone: `modprobe bfq`"),
    rule(ABSENT, &["io.bfq", "io.weight"], "weights take the scheduler BFQ (`modprobe bfq`) or a kernel with CONFIG_BLK_CGROUP_IOCOST"),
    rule(ABSENT, &["blkio.throttle", "io.max"], "limits of block I/O take a kernel with CONFIG_BLK_DEV_THROTTLING"),
    rule(ABSENT, &["hugetlb."], "this kernel has no pages of this size: /sys/kernel/mm/hugepages lists those that it has"),
    rule(ABSENT, &["cpu.idle"], "cpu.idle takes Linux 5.15"),
    rule(ABSENT, &["cpu.cfs_burst_us", "cpu.max.burst"], "cpu.burst takes Linux 5.14"),
    rule(ABSENT, &["cpu.rt_"], "real-time budgets take a kernel with CONFIG_RT_GROUP_SCHED"),
    rule(ABSENT, &["cpu.cfs_", "cpu.max"], "quotas take a kernel with CONFIG_CFS_BANDWIDTH"),
    rule(ABSENT, &[""], "this kernel has no such file: the names that it has are in the cgroup's directory"),
    rule(&[Errno::EBUSY], &["memory."], "the container uses more than that and the kernel can't reclaim it: choose a larger limit"),
    rule(&[Errno::EINVAL], &["memory.limit_in_bytes"], "the memory limit may not exceed that of memory and swap together: give memory.swap too"),
    rule(&[Errno::EINVAL], &["memory.memsw"], "the limit of memory and swap together may not be below memory.limit"),
    rule(REFUSED, &["memory.swappiness"], "kernels take 0 to 200, those before 5.8 0 to 100"),
    rule(REFUSED, &["cpu.cfs_burst_us", "cpu.max.burst"], "the burst may not exceed the quota"),
    rule(REFUSED, &["cpu.cfs_", "cpu.max"], "quota and period take 1000 to 1000000 microseconds; the quota may not be below the burst, nor quota / period above that of the cgroup above"),
    rule(REFUSED, &["cpu.shares", "cpu.weight"], "an idle cgroup has no weight: set cpu.idle to 0"),
    rule(&[Errno::EINVAL, Errno::EBUSY], &["cpu.rt_"], "the runtime may exceed neither the period nor what the cgroup above has left in its cpu.rt_runtime_us, which is 0 unless somebody sets it"),
    rule(&[Errno::EINVAL, Errno::ERANGE, Errno::EACCES, Errno::ENODEV], &["cpuset."], "the numbers must be online and in the cgroup above: see cpuset.effective_cpus or cpuset.cpus.effective there, and the same for mems"),
    rule(&[Errno::ENOSPC, Errno::EBUSY], &["cpuset."], "a cpuset with processes can't be emptied, nor lose what the cgroups below it have"),
    rule(&[Errno::EOPNOTSUPP], &["blkio.bfq", "blkio.weight", "io."], "the device isn't scheduled by BFQ: see /sys/block/*/queue/scheduler"),
    rule(&[Errno::ENODEV, Errno::ENXIO], &["blkio.", "io."], "major and minor must be those of a whole disk, not of a partition: `lsblk` shows them"),
    rule(&[Errno::EINVAL], &["pids.max"], "the kernel takes 0 to 4194304"),
    rule(&[Errno::EINVAL, Errno::ENODEV], &["rdma."], "the key is the name of a device below /sys/class/infiniband"),
    rule(&[Errno::EINVAL, Errno::ENODEV], &["net_prio."], "the interface must exist in the network namespace that corten is called in"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slot;
    use std::ffi::CString;
    use std::fs;

    fn write(file: &Path, value: &str) -> Op {
        let c_string = |text: &str| CString::new(text).unwrap();
        Op::Write { file: c_string(file.to_str().unwrap()), value: c_string(value) }
    }

    fn open(errno: Errno) -> Trouble {
        Trouble::new(Call::Open, errno)
    }

    #[test]
    fn a_limit_below_what_is_in_use_says_how_much_that_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("memory.usage_in_bytes"), "5000\n").unwrap();
        let op = write(&dir.path().join("memory.limit_in_bytes"), "4096");
        let busy = Trouble::new(Call::Write, Errno::EBUSY);
        let words = "unable to set memory limit to 4096 (current usage: 5000, peak usage: ?)";
        assert_eq!(reason(&op, busy).as_deref(), Some(words));
        assert!(hint(&op, busy).is_some_and(|hint| hint.contains("larger limit")));
        assert_eq!(reason(&op, Trouble::new(Call::Write, Errno::EINVAL)), None);
    }

    #[test]
    fn a_cgroup_with_strangers_says_how_many() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("web")).unwrap();
        fs::write(dir.path().join("web/cgroup.procs"), "17\n18\n").unwrap();
        let make = Make {
            version: crate::cgroups::Version::V2,
            hierarchy: "unified".into(),
            mount: dir.path().to_owned(),
            path: "web".into(),
            slot: Slot(20),
            enable: Vec::new(),
            fill_cpuset: false,
            optional: false,
        };
        let found = reason(&Op::Make(Box::new(make)), Trouble::new(Call::CheckCgroup, Errno::EBUSY));
        assert_eq!(found.as_deref(), Some("container's cgroup is not empty: 2 process(es) found"));
    }

    #[test]
    fn a_controller_that_is_not_handed_down_is_told_from_a_file_that_no_kernel_has() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpu pids\n").unwrap();
        let of = |name: &str| hint(&write(&dir.path().join(name), "1"), open(Errno::ENOENT)).unwrap_or_default();
        assert!(of("memory.max").contains("subtree_control"));
        assert!(of("cpu.max.burst").contains("5.14"));
        assert!(of("cpu.nonsense").contains("no such file"));
        assert!(of("cgroup.nonsense").contains("no such file"));
    }

    #[test]
    fn the_file_decides_what_a_refused_value_means() {
        let of = |name: &str, errno| {
            hint(&write(&Path::new("/nonexistent").join(name), "1"), Trouble::new(Call::Write, errno))
        };
        for (name, errno, words) in [
            ("cpu.weight", Errno::EINVAL, "idle"),
            ("cpu.max", Errno::EINVAL, "microseconds"),
            ("cpu.max.burst", Errno::EINVAL, "quota"),
            ("cpuset.cpus", Errno::EACCES, "online"),
            ("io.max", Errno::ENODEV, "lsblk"),
            ("blkio.bfq.weight_device", Errno::EOPNOTSUPP, "BFQ"),
        ] {
            assert!(of(name, errno).is_some_and(|hint| hint.contains(words)), "{name}");
        }
        assert_eq!(of("memory.high", Errno::EIO), None);
    }
}

//! Steps as sentences, and the next step for a user whose step failed. Host side only: this allocates.

use std::ffi::CStr;

use nix::errno::Errno;

use super::options::{Attributes, propagation_name};
use super::{Filesystem, Finish, Node, Op, TargetKind};
use crate::fault::{Call, Trouble};

/// The step as a sentence: `bind /data on /mnt/x`.
pub fn render(op: &Op) -> String {
    match op {
        Op::OpenHostProc => "find this process in the host's /proc".into(),
        Op::Propagate(flags) => format!("make / {}", propagation_name(*flags)),
        Op::PrivateParent(root) => format!("make the mount below {} private", show(&root.path)),
        Op::AttachRoot(root) => format!("bind the rootfs {} on itself", show(&root.path)),
        Op::OpenRoot(root) => format!("open the rootfs {}", show(&root.path)),
        Op::OpenInitRoot { .. } => "open the root directory of the container's init".to_owned(),
        Op::OpenOwnRoot => "open the container's root directory".to_owned(),
        Op::MakePlace { target, .. } => format!("make the place {} in the rootfs if it is missing", show(&target.path)),
        Op::TakeTree(tree) => match tree.device {
            Some(node) => format!("take device {} of the host ({})", show(&tree.source), show_node(node)),
            None => format!("bind {} on {}", show(&tree.source), show(&tree.destination)),
        },
        Op::MakeIdNamespace(ids) => format!("make the id mappings for the mount on {}", show(&ids.destination)),
        Op::OpenIdNamespace { path, .. } => format!("open the user namespace {}", show(path)),
        Op::LockTree(lock) => format!("keep the flags of {} locked", show(&lock.source)),
        Op::MapIds { destination, recursive, .. } => {
            let below = if *recursive { " and the mounts below it" } else { "" };
            format!("map the ids of the mount on {}{below}", show(destination))
        }
        Op::AttachTree(attachment) => format!(
            "attach {} at {}{}",
            show(&attachment.source),
            show(&attachment.target.path),
            show_finish(&attachment.finish, Vec::new())
        ),
        Op::MountFilesystem(fs) => {
            let (source, place) = (show_source(fs), show(&fs.target.path));
            format!("mount {}{source} on {place}{}", show(&fs.fstype), show_finish(&fs.finish, show_data(&fs.data)))
        }
        Op::MakeFilesystem { filesystem: fs, .. } => format!(
            "make {}{} for {}{}",
            show(&fs.fstype),
            show_source(fs),
            show(&fs.target.path),
            show_finish(&fs.finish, show_data(&fs.data))
        ),
        Op::FindMount(place) => format!("find the mount on {}", show(&place.path)),
        Op::DetachMount { destination, .. } => format!("unmount {}", show(destination)),
        Op::Remount(remount) => {
            format!("remount {}{}", show(&remount.target.path), show_finish(&remount.finish, show_data(&remount.data)))
        }
        Op::LabelQueues { path, label } => format!("give {} the SELinux label {}", show(path), show(label)),
        Op::MakeDevice(device) => format!("make device {} ({})", show(&device.path), show_node(device.node)),
        Op::BindDevice { path, .. } => format!("bind device {}", show(path)),
        Op::BindConsole => "bind the terminal on /dev/console".into(),
        Op::Symlink(link) => format!("link {} to {}", show(&link.path), show(&link.content)),
        Op::OpenProc => "open the container's /proc".into(),
        Op::HideHostFilesystems => "unmount or cover the host's procfs and sysfs".into(),
        Op::PivotRoot => "pivot_root into the rootfs".into(),
        Op::MoveRoot => "move the rootfs over / and chroot into it".into(),
        Op::Chroot => "chroot into the rootfs".into(),
        Op::LeaveNamespace { .. } => "make the mounts in a copy of the caller's mount namespace".into(),
        Op::DetachRoot => "take a detached copy of the finished rootfs".into(),
        Op::ReturnNamespace { .. } => "return to the caller's mount namespace, into the detached rootfs".into(),
        Op::PropagateRoot(flags) => format!("make the rootfs {}", propagation_name(*flags)),
        Op::ReadOnlyMount { destination, .. } => format!("make the mount on {} read-only", show(destination)),
        Op::ReadOnlyRoot => "make the rootfs read-only".into(),
        Op::ReadOnlyPath { path } => format!("make {} read-only", show(path)),
        Op::MaskPath { path, label: None, .. } => format!("mask {}", show(path)),
        Op::MaskPath { path, label: Some(label), .. } => {
            format!("mask {} (context={})", show(path), show(&label.label))
        }
    }
}

fn show(text: &CStr) -> std::borrow::Cow<'_, str> {
    text.to_string_lossy()
}

/// ` from /dev/vda`; nothing for a source that is only a name.
fn show_source(fs: &Filesystem) -> String {
    match fs.source.to_bytes() {
        [b'/', ..] => format!(" from {}", show(&fs.source)),
        _ => String::new(),
    }
}

fn show_node(node: Node) -> String {
    match node.kind {
        libc::S_IFIFO => "p".into(),
        libc::S_IFBLK => format!("b {}:{}", node.major, node.minor),
        _ => format!("c {}:{}", node.major, node.minor),
    }
}

fn show_data(data: &[super::Datum]) -> Vec<String> {
    let show_datum = |datum: &super::Datum| match &datum.value {
        Some(value) => format!("{}={}", show(&datum.key), show(value)),
        None => show(&datum.key).into_owned(),
    };
    // A read-only superblock is said already, by the mount's own flag.
    data.iter().filter(|datum| datum.key.as_c_str() != c"ro").map(show_datum).collect()
}

const ATTRIBUTES: [(u64, &str, &str); 8] = [
    (libc::MOUNT_ATTR_RDONLY, "ro", "rw"),
    (libc::MOUNT_ATTR_NOSUID, "nosuid", "suid"),
    (libc::MOUNT_ATTR_NODEV, "nodev", "dev"),
    (libc::MOUNT_ATTR_NOEXEC, "noexec", "exec"),
    (libc::MOUNT_ATTR_NODIRATIME, "nodiratime", "diratime"),
    (libc::MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow", "symfollow"),
    (libc::MOUNT_ATTR_NOATIME, "noatime", ""),
    (libc::MOUNT_ATTR_STRICTATIME, "strictatime", ""),
];

fn show_attributes(attributes: Attributes, prefix: &str, words: &mut Vec<String>) {
    for (flag, on, off) in ATTRIBUTES {
        if attributes.set & flag != 0 {
            words.push(format!("{prefix}{on}"));
        } else if attributes.clear & flag != 0 && !off.is_empty() {
            words.push(format!("{prefix}{off}"));
        }
    }
}

/// What mount(8) would print in brackets.
fn show_finish(finish: &Finish, data: Vec<String>) -> String {
    let mut words = Vec::new();
    show_attributes(finish.attributes, "", &mut words);
    show_attributes(finish.recursive, "r", &mut words);
    words.extend(finish.propagation.iter().map(|flags| propagation_name(*flags).to_owned()));
    words.extend(data);
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(",")) }
}

/// What a user can do about a failed step; `None` where the errno says it all.
pub fn hint(op: &Op, trouble: Trouble) -> Option<&'static str> {
    use Errno::*;
    let Trouble { call, errno } = trouble;
    if call == Call::Openat2 && errno == ENOSYS {
        return Some(
            "corten needs Linux 5.6 or newer: without openat2 a path inside a rootfs can't be resolved safely",
        );
    }
    match (op, errno) {
        (Op::LeaveNamespace { .. } | Op::ReturnNamespace { .. }, EPERM) => Some(
            "mounts without a mount namespace take CAP_SYS_ADMIN and CAP_SYS_CHROOT over the caller's: add {\"type\": \"mount\"} to linux.namespaces",
        ),
        (Op::DetachRoot, ENOSYS) => Some(
            "mounts without a mount namespace take Linux 5.2 or newer: add {\"type\": \"mount\"} to linux.namespaces",
        ),
        (Op::AttachRoot(_) | Op::OpenRoot(_), ELOOP | ENOTDIR) => {
            Some("root.path must name a real directory, without a symbolic link on the way from the bundle")
        }
        (Op::AttachRoot(_), EACCES) => Some(
            "the container's user can't search a directory on the way to the rootfs; in a user namespace every one needs x for others",
        ),
        (Op::AttachRoot(_) | Op::OpenRoot(_), ENOENT) => Some(
            "a relative root.path begins at the bundle directory; `corten spec --with-rootfs` makes a root file system to start from",
        ),
        (Op::TakeTree(tree), ENOENT) if tree.device.is_some() => {
            Some("a user namespace can't make devices, so the host's own is bound: it must exist on the host")
        }
        (Op::TakeTree(tree), ENXIO) if tree.device.is_some() => {
            Some("the host has another file there; in a user namespace devices are bound from the host")
        }
        (Op::TakeTree(tree), ENOENT) if tree.cgroup.is_some() => Some(CGROUP_GONE),
        (Op::TakeTree(_), ENOENT) => Some("the source of a bind mount must exist on the host first"),
        (Op::TakeTree(_), EINVAL) => Some(
            "the source has mounts below it that a user namespace locks (use rbind), or it stands on an unbindable mount",
        ),
        (Op::MapIds { .. }, EINVAL) => Some(
            "this file system doesn't support idmapped mounts on this kernel: `findmnt -no FSTYPE -T SOURCE` says which it is",
        ),
        (Op::MapIds { .. }, ENOSYS) => Some("idmapped mounts need Linux 5.12 or newer"),
        (Op::MapIds { .. } | Op::MakeIdNamespace(_), EPERM) => {
            Some("idmapped mounts need root in the user namespace that owns the file system")
        }
        (Op::MountFilesystem(fs), _) => filesystem_hint(fs, trouble),
        (Op::AttachTree(attachment), ENOSYS) if attachment.live && call == Call::MountSetattr => Some(
            "without mount_setattr(2) (Linux 5.12) the flags of a bind and how it propagates can only be changed once it is mounted, in sight of the container's processes: have it in config.json, or mount a new file system",
        ),
        (Op::AttachTree(_), EROFS) if matches!(call, Call::Mkdir | Call::Mknod) => Some(
            "the target doesn't exist, and the file system that it would be made on is read-only (root.readonly): choose one that exists, or make it in the image",
        ),
        (Op::AttachTree(attachment), _) => match (attachment.target.kind, call, errno) {
            (TargetKind::Proc, Call::CheckFilesystem, _) => Some("only a procfs may be mounted on /proc"),
            (_, Call::CheckTarget, ENOTDIR) => {
                Some("a directory can only be bound on a directory, and a file on a file")
            }
            (_, Call::CheckTarget, _) => Some("the target is inside /proc, where only a few files may be covered"),
            (_, Call::MountSetattr | Call::Mount, EPERM) => Some(
                "the source's mount has flags (ro, nosuid, nodev, noexec, atime) that a user namespace may not clear",
            ),
            _ => None,
        },
        (Op::FindMount(_), EBUSY) if call == Call::CheckMount => Some(
            "something else is mounted over it, or in its place, by the container itself: that has to be unmounted first, in there",
        ),
        (Op::FindMount(_), ENOENT | ELOOP | ENOTDIR) => {
            Some("the container has moved it, or what leads to it, at this moment: try again")
        }
        (Op::DetachMount { .. }, EINVAL | EBUSY | EPERM) => Some(
            "it came from another user namespace, in one piece with what it is mounted on, and can only go with that (mount_namespaces(7)), or the container mounts on it without a pause",
        ),
        (Op::DetachMount { .. }, EACCES) => {
            Some("the container's root may not search the directory that is mounted, which it would have to here")
        }
        (Op::FindMount(_), ENOSYS) => Some("telling one mount from another takes Linux 5.8"),
        (Op::MakeFilesystem { filesystem, .. }, _) => filesystem_hint(filesystem, trouble),
        (Op::Remount(_), ENOENT) => Some("a remount changes what an earlier mount has put there"),
        (Op::Remount(_), EINVAL) if call == Call::Fsconfig => {
            Some("the file system refuses an option, or can't change it while it is mounted")
        }
        (Op::Remount(_), EPERM) => Some("the mount has flags that a user namespace may not clear"),
        (Op::Remount(_), EINVAL) => Some("there is no mount on exactly this path"),
        (Op::MakeDevice(_), EEXIST) => {
            Some("another file has this path already; remove it from the rootfs or from linux.devices")
        }
        (Op::MakeDevice(_), ENOTDIR) => Some("a file stands where the device's directory should be"),
        (Op::MakeDevice(_), EPERM) => Some("making a device needs CAP_MKNOD in the initial user namespace"),
        (Op::MaskPath { .. } | Op::ReadOnlyPath { .. }, ELOOP) => {
            Some("/proc and /sys must be ordinary directories, not symbolic links")
        }
        (Op::MaskPath { .. }, _) if call == Call::CheckDevice => {
            Some("/dev/null of the container isn't the null device (c 1:3), so files can't be masked with it")
        }
        (Op::PivotRoot, EINVAL) => Some("the rootfs of an initramfs can't be pivoted away: try --no-pivot"),
        _ => None,
    }
}

/// What is wrong, where the errno alone doesn't say it; engines match these words.
pub fn reason(op: &Op, trouble: Trouble) -> Option<&'static str> {
    match (op, trouble.errno) {
        (Op::AttachRoot(_) | Op::OpenRoot(_), Errno::ELOOP | Errno::ENOTDIR) => {
            Some("invalid rootfs: not an absolute path, or a symlink")
        }
        (Op::MountFilesystem(fs), _) if trouble.call == Call::CheckTarget => match fs.fstype.to_bytes() {
            b"proc" | b"sysfs" => Some("must be mounted on ordinary directory"),
            _ => None,
        },
        (Op::DetachMount { .. }, Errno::EINVAL | Errno::EBUSY | Errno::EPERM) => Some("it is locked, or in use"),
        _ => None,
    }
}

const CGROUP_GONE: &str = "the container's cgroup is gone, or the container joins a mount namespace that doesn't show the host's control groups";

fn filesystem_hint(fs: &Filesystem, trouble: Trouble) -> Option<&'static str> {
    match (fs.fstype.to_bytes(), trouble.call, trouble.errno) {
        (b"proc" | b"sysfs", Call::CheckTarget, _) => {
            Some("the place of a procfs or sysfs may be no file, and no symbolic link may be on the way to it")
        }
        (_, Call::CheckTarget, _) => Some("the target is inside /proc, where only a few files may be covered"),
        (b"mqueue", _, Errno::EPERM | Errno::EACCES) => {
            Some("mqueue needs an ipc namespace that belongs to the container's user namespace")
        }
        (b"proc", _, Errno::EPERM) => Some(
            "in a user namespace proc needs a pid namespace of its own, and a host /proc with nothing mounted over it",
        ),
        (b"sysfs", _, Errno::EPERM) => Some("in a user namespace sysfs needs a network namespace of its own"),
        (_, Call::Write | Call::Mkdir | Call::Symlink | Call::Mknod, Errno::ENOSPC) if fs.copy_up => Some(
            "tmpcopyup copies what the image has at this place, and the tmpfs is too small: raise its size= or nr_inodes=",
        ),
        (b"cgroup" | b"cgroup2", Call::OpenTree | Call::Open, Errno::ENOENT) => Some(CGROUP_GONE),
        (_, _, Errno::ENODEV) => {
            Some("this kernel doesn't know the file system type: /proc/filesystems lists the known ones")
        }
        (_, Call::Fsconfig | Call::Mount, Errno::EINVAL) => Some(
            "the file system refuses one of the mount's options: what is none of mount(8)'s own is passed on to it",
        ),
        (_, Call::Fsconfig | Call::Mount, Errno::ENOENT) => {
            Some("the source, or a path in the options (lowerdir=, upperdir=, workdir=), doesn't exist on the host")
        }
        (_, Call::Fsopen | Call::Fsconfig | Call::Mount, Errno::EPERM) => Some(
            "this file system type takes CAP_SYS_ADMIN in the initial user namespace; a user namespace mounts tmpfs, proc, sysfs, devpts, mqueue, cgroup2, overlay and fuse",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::{Device, Root};

    #[test]
    fn a_step_is_a_sentence() {
        let device = Device {
            path: c"/dev/null".into(),
            node: Node { kind: libc::S_IFCHR, major: 1, minor: 3 },
            mode: 0o666,
            uid: 0,
            gid: 0,
        };
        assert_eq!(render(&Op::MakeDevice(Box::new(device))), "make device /dev/null (c 1:3)");
        assert_eq!(render(&Op::PivotRoot), "pivot_root into the rootfs");
        assert_eq!(render(&Op::Propagate(libc::MS_SLAVE | libc::MS_REC)), "make / rslave");
    }

    #[test]
    fn a_symlinked_rootfs_is_named_as_engines_expect() {
        let op = Op::AttachRoot(Root { bundle: None, path: c"/r".into() });
        let reason = reason(&op, Trouble::new(Call::Openat2, Errno::ELOOP)).unwrap();
        assert!(reason.contains("invalid rootfs: not an absolute path, or a symlink"));
    }
}

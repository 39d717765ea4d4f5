//! The container's root file system: what is mounted, made, masked and entered, as data and as effects.
//!
//! [`plan`] is pure: it turns config.json into ordered [`Op`]s. [`apply`] carries them out; most of it runs after clone
//! in the container's init, where there is no heap to use and nothing may panic, so every string that a call needs is
//! built in the plan. Everything inside the root may be an attacker's, also while it is looked at (SECURITY.md).

pub mod apply;
pub mod options;
pub mod plan;
mod render;

use std::ffi::CString;

use crate::slots::Slot;
use options::{Attributes, Propagation};

pub use render::{hint, reason, render};

/// One effect on the container's root file system.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Take a handle on the host's /proc and on this process's descriptors in it.
    OpenHostProc,
    /// Set how mounts of "/" propagate in the new mount namespace.
    Propagate(Propagation),
    /// Keep mounts on the rootfs from propagating to the host: its parent mount becomes private.
    PrivateParent(Root),
    /// `exec`, host: take a handle on the root directory of the container's init, where there is no mount namespace that
    /// leads to it. `file` is below the host's /proc.
    OpenInitRoot { file: CString },
    /// `exec`: take a handle on the root directory, which is the container's since its mount namespace was joined.
    OpenOwnRoot,
    /// Bind the rootfs on its own path, so that it is a mount that can become the root.
    AttachRoot(Root),
    /// Open the rootfs without mounting anything (no mount namespace).
    OpenRoot(Root),
    /// Host, before a restore: make the place of a mount where it is missing; for a file if `source` is one.
    MakePlace { target: Target, source: Option<CString> },
    /// Take a copy of a mount tree, or of a device, into a slot.
    TakeTree(Box<Tree>),
    /// Make a user namespace that carries the id mappings of an idmapped mount.
    MakeIdNamespace(Box<IdNamespace>),
    /// Open the user namespace whose mappings an idmapped mount uses.
    OpenIdNamespace { path: CString, slot: Slot },
    /// Give a taken tree the id mappings of a user namespace.
    MapIds { tree: Slot, namespace: Slot, recursive: bool, destination: CString },
    /// Take a tree that was taken on the host once more, from the container's own mount namespace: there its flags are
    /// locked (mount_namespaces(7)).
    LockTree(Box<Lock>),
    /// Attach a taken tree inside the root.
    AttachTree(Box<Attachment>),
    /// Mount a new file system inside the root.
    MountFilesystem(Box<Filesystem>),
    /// Make a new file system and leave its mount detached in a slot, for a container that runs.
    MakeFilesystem { filesystem: Box<Filesystem>, slot: Slot },
    /// Take a handle on a mount of the container: what is on top at its place must be this one.
    FindMount(Box<Place>),
    /// Take a mount off, with all that is mounted on it and below. `lenient`: it may not be there, or no longer.
    DetachMount { mount: Slot, destination: CString, lenient: bool },
    /// Give the root directory of a message queue's file system an SELinux label: its one superblock is there before it
    /// is mounted, and refuses a label as an option.
    LabelQueues { path: CString, label: CString },
    /// Change the flags of what is mounted at a place inside the root.
    Remount(Box<Remount>),
    /// Make a device file inside the root.
    MakeDevice(Box<Device>),
    /// Attach a device of the host, taken into a slot, inside the root.
    BindDevice { tree: Slot, path: CString },
    /// Attach the container's end of its terminal, which stands in [`Slot::TERMINAL`], on /dev/console.
    BindConsole,
    /// Make a symbolic link inside the root, unless the name is taken.
    Symlink(Box<Symlink>),
    /// Take a handle on the container's own /proc, if it has one.
    OpenProc,
    /// Unmount or cover every procfs and sysfs of the host, which `--no-pivot` would leave within reach.
    HideHostFilesystems,
    /// Make the rootfs the root mount and let the host's go.
    PivotRoot,
    /// Move the rootfs over "/" and chroot into it (`--no-pivot`).
    MoveRoot,
    /// chroot into the rootfs, where there is no mount namespace.
    Chroot,
    /// Keep the caller's mount namespace in a slot, and go on in a copy of it that lasts as long as the set-up.
    LeaveNamespace { caller: Slot },
    /// Take a detached copy of the finished root with all that is mounted below: [`Slot::ROOTFS`] is that from here on.
    DetachRoot,
    /// Go back to the caller's mount namespace, and into the detached root.
    ReturnNamespace { caller: Slot },
    /// Set how mounts of the container's root propagate.
    PropagateRoot(Propagation),
    /// Make a mount read-only that had to stay writable until now.
    ReadOnlyMount { mount: Slot, destination: CString },
    /// Make the root mount read-only.
    ReadOnlyRoot,
    /// Make a path inside the root read-only, if it exists.
    ReadOnlyPath { path: CString },
    /// Hide a path inside the root, if it exists. `null` keeps the container's verified /dev/null between steps.
    MaskPath { path: CString, null: Slot, label: Option<Box<MaskLabel>> },
}

/// The data of the empty file system behind masked directories, which has room for nothing but its root.
pub const MASK_DATA: &str = "nr_inodes=1,nr_blocks=1,mode=755";

/// The SELinux label of the file system behind masked directories: with the host's own the program couldn't even list
/// them.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskLabel {
    pub label: CString,
    /// With the rest of the data, as mount(2) takes it.
    pub joined: CString,
}

/// Where the rootfs is on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Root {
    /// The bundle, for a relative path; symbolic links on the way to it are the caller's own.
    pub bundle: Option<CString>,
    /// `root.path`; no part of it may be a symbolic link.
    pub path: CString,
}

/// A mount tree to take: the source of a bind mount.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// Absolute path on the host.
    pub source: CString,
    /// Where it will be attached, inside the container; only for people.
    pub destination: CString,
    pub recursive: bool,
    /// Follow a symbolic link at the end of `source`.
    pub follow: bool,
    /// Stop propagation towards the host (the tree is taken outside the container's mount namespace).
    pub slave: bool,
    /// The source must be this device.
    pub device: Option<Node>,
    /// The source is a cgroup.
    pub cgroup: Option<Cgroup>,
    pub slot: Slot,
}

/// A taken tree that a user namespace may not be able to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Lock {
    pub tree: Slot,
    /// The source as the host finds it in the container's mount namespace.
    pub here: Slot,
    /// As in [`Tree`].
    pub source: CString,
    pub recursive: bool,
    pub follow: bool,
}

/// A cgroup to bind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cgroup {
    /// The caller's own, where the container is if it could have none of its own.
    pub otherwise: Option<CString>,
}

/// What a device file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// S_IFCHR, S_IFBLK or S_IFIFO.
    pub kind: u32,
    /// 0 for a FIFO.
    pub major: u32,
    pub minor: u32,
}

/// Id mappings for an idmapped mount.
#[derive(Clone, Debug, PartialEq)]
pub struct IdNamespace {
    pub uids: Vec<IdLine>,
    pub gids: Vec<IdLine>,
    pub destination: CString,
    pub slot: Slot,
}

/// `length` ids from `inside` on (in the file system) are shown as the ids from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdLine {
    pub inside: u32,
    pub outside: u32,
    pub length: u32,
}

/// Where a mount of the container is, and which it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Absolute path inside the container, without symbolic links.
    pub path: CString,
    /// As in /proc/PID/mountinfo.
    pub id: u64,
    /// `None` before Linux 6.8, or where it isn't known: then `id` decides.
    pub unique: Option<u64>,
    pub slot: Slot,
}

/// A place inside the root.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Absolute path inside the container, without `.` and `..`.
    pub path: CString,
    /// Follow a symbolic link at the end of the path (inside the root).
    pub follow: bool,
    pub kind: TargetKind,
}

/// What a mount may be put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// Anything that isn't inside a procfs.
    Usual,
    /// One of the files in /proc that may be covered.
    InProc,
    /// The place of a procfs or sysfs: a directory with no symbolic link on the way (CVE-2019-19921).
    Ordinary,
    /// /proc itself, for a bind mount: as ordinary, and what is put there must be the root of a procfs (CVE-2019-16884).
    Proc,
}

/// What to do with a mount once it is where it belongs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finish {
    pub attributes: Attributes,
    pub recursive: Attributes,
    pub propagation: Vec<Propagation>,
    /// Keep a descriptor of the mount for a later step.
    pub keep: Option<Slot>,
}

/// A taken tree and where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    pub tree: Slot,
    /// As in [`Tree`].
    pub source: CString,
    pub recursive: bool,
    /// As in [`Tree`], for kernels that can only do it once the tree is attached.
    pub slave: bool,
    pub target: Target,
    pub finish: Finish,
    /// A source that is a symbolic link is made anew rather than mounted.
    pub copy_symlink: bool,
    /// The container's processes are there already: nothing that protects the host may come after the mount itself.
    pub live: bool,
}

/// A new file system and where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Filesystem {
    pub fstype: CString,
    pub source: CString,
    pub target: Target,
    /// For fsconfig(2), in order; superblock flags come first.
    pub data: Vec<Datum>,
    /// The same for mount(2), joined with commas, without the superblock flags.
    pub joined: CString,
    /// MS_ flags of the superblock for mount(2).
    pub flags: u64,
    /// The same without `gid=`, where a mapped root may find that group unmapped (devpts).
    pub without_gid: Option<CString>,
    /// Take over the mode of an existing target directory (a tmpfs without `mode=`).
    pub inherit_mode: bool,
    /// Fill it with what stands in the target directory.
    pub copy_up: bool,
    /// What is bound where this type may not be mounted.
    pub stand_in: Option<StandIn>,
    /// A user namespace with the id mappings of the mount.
    pub idmap: Option<Slot>,
    pub finish: Finish,
}

/// A directory of the host in place of a new mount.
#[derive(Clone, Debug, PartialEq)]
pub enum StandIn {
    /// The host's sysfs with what is mounted below, read-only whatever the config says.
    Sysfs,
    /// The host's message queues, which are the container's where it has no ipc namespace of its own.
    MessageQueues,
    /// The container's cgroup, with the flags of the mount.
    Cgroup { dir: CString, cgroup: Cgroup },
}

/// A key and value for fsconfig(2).
#[derive(Clone, Debug, PartialEq)]
pub struct Datum {
    pub key: CString,
    pub value: Option<CString>,
}

/// A change of what is mounted already.
#[derive(Clone, Debug, PartialEq)]
pub struct Remount {
    pub target: Target,
    /// What changes in the file system itself, in the forms of [`Filesystem`].
    pub data: Vec<Datum>,
    pub joined: CString,
    pub flags: u64,
    pub finish: Finish,
}

/// A device file.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    pub path: CString,
    pub node: Node,
    /// Permission bits.
    pub mode: u32,
    /// Container ids.
    pub uid: u32,
    pub gid: u32,
}

/// A symbolic link.
#[derive(Clone, Debug, PartialEq)]
pub struct Symlink {
    pub path: CString,
    pub content: CString,
    /// Put it in the place of another file of that name.
    pub replace: bool,
    /// Only if the host's /proc has a file of this name.
    pub if_in_proc: Option<CString>,
}

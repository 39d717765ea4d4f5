//! A mount of type cgroup or cgroup2 becomes its steps. Pure.
//!
//! What the container sees there follows the host and the cgroup namespace:
//!
//! | | with a cgroup namespace | without |
//! |---|---|---|
//! | version 2 alone | cgroup2, whose root is the namespace's | the host's whole tree: /proc/self/cgroup holds there |
//! | version 1, hybrid | a tmpfs with a mount for each hierarchy, each the namespace's | the same with the container's own cgroups |
//!
//! Without a namespace nothing is mounted anew: the kernel would take a second mount's options for the whole machine,
//! and at 9 ms a mount.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Mount};

use super::super::options::{Data, Options};
use super::super::{Attachment, Cgroup, Datum, Filesystem, Op, StandIn, Symlink, Target, TargetKind, Tree};
use super::Planner;
use crate::error::{Violation, Warning};
use crate::field::Field;
use crate::plan::Step;

/// The container's cgroup in one hierarchy, as far as mounting needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupDir {
    /// The directory's name in the container, where each hierarchy has its own: `cpu,cpuacct`, `systemd`, `unified`.
    pub name: String,
    /// Version 2.
    pub unified: bool,
    /// The options that a mount of the hierarchy takes: `cpu` and `cpuacct`, `name=systemd`, `nsdelegate`.
    pub options: Vec<String>,
    /// Where the host has mounted it; absolute.
    pub mount: PathBuf,
    /// The container's cgroup; absolute.
    pub dir: PathBuf,
    /// The caller's, where the container is if it could have none of its own.
    pub otherwise: Option<PathBuf>,
}

/// Nothing in a cgroup is a program or a device.
const HARMLESS: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

/// What a mount of control groups takes as data, beside the names of controllers: how the host has mounted them decides.
const OF_CGROUPS: [&str; 12] = [
    "all",
    "clone_children",
    "cpuset_v2_mode",
    "favordynmods",
    "memory_hugetlb_accounting",
    "memory_localevents",
    "memory_recursiveprot",
    "name",
    "none",
    "noprefix",
    "nsdelegate",
    "xattr",
];

impl Planner<'_> {
    pub(super) fn plan_cgroup(&mut self, index: usize, mount: &Mount, mut options: Options, target: Target) {
        self.refuse_data_of_cgroup(index, &options);
        let field = Field::item("/mounts", index, "");
        let mapped = |ids: &Option<Vec<_>>| ids.as_ref().is_some_and(|ids| !ids.is_empty());
        if options.idmap.is_some() || mapped(mount.uid_mappings()) || mapped(mount.gid_mappings()) {
            let why = "control groups have no id mappings: who owns a cgroup is who may use it";
            self.violate(Violation::new(field, why).hint("drop idmap, uidMappings and gidMappings from this mount"));
            return;
        }
        options.attributes.set |= HARMLESS & !options.attributes.clear;
        let dirs = self.cgroups;
        match dirs {
            [only] if only.unified => self.plan_unified(index, only, options, target),
            _ => self.plan_hierarchies(index, dirs, options, target),
        }
    }

    fn refuse_data_of_cgroup(&mut self, index: usize, options: &Options) {
        let field = Field::item("/mounts", index, "/options");
        for (option, data) in &options.data {
            let key = data.key.as_str();
            let of_hierarchy = |dir: &CgroupDir| dir.options.iter().any(|option| option == key);
            if OF_CGROUPS.contains(&key) || self.cgroups.iter().any(of_hierarchy) {
                let text = format!("{key:?} has no effect: the host has mounted its control groups already");
                self.plan.warnings.push(Warning::new(field.index(*option), text));
                continue;
            }
            let why = format!("control groups have no mount option {key:?}");
            self.violate(Violation::new(field.index(*option), why).hint("remove the option, or correct its spelling"));
        }
        for name in &options.superblock {
            let text = format!("{name:?} has no effect: the host has mounted its control groups already");
            self.plan.warnings.push(Warning::new(field.clone(), text));
        }
    }

    /// Version 2 alone.
    fn plan_unified(&mut self, index: usize, dir: &CgroupDir, mut options: Options, target: Target) {
        if self.has_cgroup_namespace() {
            self.note_writable(index, &options);
            return self.plan_own_root(index, dir, &options, target);
        }
        // Of the whole tree the container must not change what is its caller's and not its own: for one without
        // privileges that is all that belongs to his user id (CVE-2023-25809).
        if self.host.rootless() && !is_read_only(&options) {
            options.attributes.set |= libc::MOUNT_ATTR_RDONLY;
            options.attributes.clear &= !libc::MOUNT_ATTR_RDONLY;
            let text = "is mounted read-only: without a cgroup namespace the container sees all control groups, those \
                of its caller among them; add {\"type\": \"cgroup\"} to linux.namespaces to have it write to its own";
            self.plan.warnings.push(Warning::new(Field::item("/mounts", index, ""), text));
        }
        self.plan_shown(index, &dir.mount, None, &options, target);
    }

    /// Version 1, with version 2 beside it or not. The hierarchies are mounted inside a tmpfs, which becomes read-only
    /// when all are.
    fn plan_hierarchies(&mut self, index: usize, dirs: &[CgroupDir], options: Options, target: Target) {
        let field = Field::item("/mounts", index, "");
        if dirs.is_empty() {
            let text = "stays empty: this host has no control groups mounted";
            self.plan.warnings.push(Warning::new(field.clone(), text));
        }
        self.plan_frame(index, &options, &target);
        let in_namespace = self.has_cgroup_namespace();
        for dir in dirs {
            let Some(path) = self.below(index, &target, &dir.name) else { return };
            let place = Target { path, follow: false, kind: TargetKind::Usual };
            if in_namespace {
                self.plan_own_root(index, dir, &options, place);
            } else {
                self.plan_shown(index, &dir.dir, dir.otherwise.as_deref(), &options, place);
            }
        }
        // Controllers that share a hierarchy are looked for by each one's name.
        for dir in dirs {
            for name in dir.name.split(',').filter(|name| *name != dir.name) {
                let (Some(path), Some(content)) = (self.below(index, &target, name), self.c_string(&dir.name, &field))
                else {
                    return;
                };
                let link = Symlink { path, content, replace: false, if_in_proc: None };
                self.plan.mount.push(Step::new(Op::Symlink(Box::new(link)), field.clone()));
            }
        }
        if in_namespace && dirs.iter().any(|dir| dir.unified) {
            self.note_writable(index, &options);
        }
    }

    /// The tmpfs around the hierarchies.
    fn plan_frame(&mut self, index: usize, options: &Options, target: &Target) {
        let mode = Data { key: "mode".to_owned(), value: Some("755".to_owned()) };
        let mut of_tmpfs = Options { data: vec![(0, mode)], superblock: Vec::new(), ..options.clone() };
        of_tmpfs.attributes.set |= HARMLESS;
        of_tmpfs.attributes.clear &= !HARMLESS;
        let Some((data, joined, _)) = self.filesystem_data(index, "tmpfs", &of_tmpfs) else { return };
        let finish = self.finish(index, &of_tmpfs, target, "tmpfs");
        let tmpfs = Filesystem {
            fstype: c"tmpfs".into(),
            source: c"tmpfs".into(),
            target: target.clone(),
            data,
            joined,
            flags: 0,
            without_gid: None,
            inherit_mode: false,
            copy_up: false,
            stand_in: None,
            idmap: None,
            finish,
        };
        let field = Field::item("/mounts", index, "");
        self.plan.mount.push(Step::new(Op::MountFilesystem(Box::new(tmpfs)), field));
    }

    /// A hierarchy whose root is that of the container's cgroup namespace. A read-only mount leaves the file system
    /// writable, as it is the host's too. Who may not mount it gets the container's cgroup bound, which looks the same.
    fn plan_own_root(&mut self, index: usize, dir: &CgroupDir, options: &Options, target: Target) {
        let field = Field::item("/mounts", index, "");
        let mut data = Vec::new();
        for option in &dir.options {
            let (key, value) =
                option.split_once('=').map_or((option.as_str(), None), |(key, value)| (key, Some(value)));
            let Some(key) = self.c_string(key, &field) else { return };
            let value = value.and_then(|value| self.c_string(value, &field));
            data.push(Datum { key, value });
        }
        let (Some(joined), Some(own)) = (self.c_string(dir.options.join(","), &field), self.c_string(&dir.dir, &field))
        else {
            return;
        };
        let otherwise = dir.otherwise.as_ref().and_then(|dir| self.c_string(dir, &field));
        let finish = self.finish(index, options, &target, "");
        let filesystem = Filesystem {
            fstype: if dir.unified { c"cgroup2".into() } else { c"cgroup".into() },
            source: c"cgroup".into(),
            target,
            data,
            joined,
            flags: 0,
            without_gid: None,
            inherit_mode: false,
            copy_up: false,
            stand_in: Some(StandIn::Cgroup { dir: own, cgroup: Cgroup { otherwise } }),
            idmap: None,
            finish,
        };
        self.plan.mount.push(Step::new(Op::MountFilesystem(Box::new(filesystem)), field));
    }

    /// A directory of the host's mount. It is taken inside, when the container's cgroup exists whoever has made it.
    fn plan_shown(&mut self, index: usize, dir: &Path, otherwise: Option<&Path>, options: &Options, target: Target) {
        let field = Field::item("/mounts", index, "");
        let Some(source) = self.c_string(dir, &field) else { return };
        let otherwise = otherwise.and_then(|dir| self.c_string(dir, &field));
        let slot = self.slots.take();
        let tree = Tree {
            source: source.clone(),
            destination: target.path.clone(),
            recursive: false,
            follow: false,
            slave: false,
            device: None,
            cgroup: Some(Cgroup { otherwise }),
            slot,
        };
        let finish = self.finish(index, options, &target, "");
        let attachment =
            Attachment { tree: slot, source, recursive: false, slave: false, target, finish, copy_symlink: false };
        self.plan.mount.push(Step::new(Op::TakeTree(Box::new(tree)), field.clone()));
        self.plan.mount.push(Step::new(Op::AttachTree(Box::new(attachment)), field));
    }

    fn has_cgroup_namespace(&self) -> bool {
        self.namespace(LinuxNamespaceType::Cgroup).is_some()
    }

    /// Remembers a mount that lets the container make cgroups of version 2.
    fn note_writable(&mut self, index: usize, options: &Options) {
        if !is_read_only(options) {
            self.plan.writable_cgroup = Some(Field::item("/mounts", index, ""));
        }
    }

    fn below(&mut self, index: usize, target: &Target, name: &str) -> Option<CString> {
        let path = [target.path.to_bytes(), b"/", name.as_bytes()].concat();
        self.c_string(OsString::from_vec(path), &Field::item("/mounts", index, "/destination"))
    }
}

fn is_read_only(options: &Options) -> bool {
    (options.attributes.set | options.recursive.set) & libc::MOUNT_ATTR_RDONLY != 0
}

//! One entry of `mounts` becomes its steps. Pure.

use std::ffi::CString;
use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Mount};

use super::super::options::{self, Data, Options};
use super::super::{Attachment, Datum, Filesystem, Finish, Lock, Op, Remount, StandIn, Target, TargetKind, Tree};
use super::Planner;
use crate::error::{Violation, Warning};
use crate::field::Field;
use crate::plan::Step;

/// What may be covered inside /proc: the files that lxcfs provides, and two more that engines cover.
const COVERABLE_IN_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Types whose superblock is shared, or filled by others: for these `ro` is a flag of the mount alone.
const WRITABLE_SUPERBLOCK: [&str; 6] = ["tmpfs", "ramfs", "proc", "sysfs", "mqueue", "devpts"];

/// What a tmpfs takes and a bind mount hasn't got. Configs that were written for a runtime that ignores data of bind
/// mounts have these; any other data is more likely a misspelt option, and that could be one that restricts.
const OF_TMPFS: [&str; 6] = ["gid", "mode", "nr_blocks", "nr_inodes", "size", "uid"];

/// Stands for the type of a file system that is mounted already: it has its label, and `ro` goes for the mount alone.
const UNLABELLED: &str = "proc";

/// The MS_ flag of a superblock option, for mount(2).
const SUPERBLOCK_FLAGS: [(&str, u64); 5] = [
    ("dirsync", libc::MS_DIRSYNC),
    ("iversion", libc::MS_I_VERSION),
    ("lazytime", libc::MS_LAZYTIME),
    ("mand", libc::MS_MANDLOCK),
    ("sync", libc::MS_SYNCHRONOUS),
];

/// Whether a mount is a bind mount: the type says so, or an option.
pub(super) fn is_bind(mount: &Mount, options: &Options) -> bool {
    options.bind.is_some() || mount.typ().as_deref() == Some("bind")
}

impl Planner<'_> {
    /// Mounts in the order of the config.
    pub(super) fn plan_mounts(&mut self) {
        let spec = self.spec;
        for (index, mount) in spec.mounts().iter().flatten().enumerate() {
            let options = options::parse(mount.options().as_deref().unwrap_or_default());
            let bind = is_bind(mount, &options);
            let Some(target) = self.target(index, mount, &options, bind) else { continue };
            if options.copy_up && (bind || mount.typ().as_deref() != Some("tmpfs")) {
                let why = "tmpcopyup fills a new tmpfs; this mount is none";
                self.violate(Violation::new(Field::item("/mounts", index, "/options"), why));
            }
            if options.remount && self.live.is_some() {
                let why = "a container that is there gets new mounts, and none that it has is changed: that couldn't be taken back";
                let hint = "give the new mount all its options at once";
                self.violate(Violation::new(Field::item("/mounts", index, "/options"), why).hint(hint));
            } else if options.remount {
                self.plan_remount(index, bind, options, target);
            } else if bind {
                self.plan_bind(index, mount, options, target);
            } else if matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2")) {
                self.plan_cgroup(index, mount, options, target);
            } else {
                self.plan_filesystem(index, mount, options, target);
            }
        }
    }

    fn target(&mut self, index: usize, mount: &Mount, options: &Options, bind: bool) -> Option<Target> {
        let field = Field::item("/mounts", index, "/destination");
        let path = self.inside(mount.destination(), &field)?;
        let text = path.to_string_lossy().into_owned();
        let fstype = mount.typ().as_deref().unwrap_or_default();
        let in_proc = text.starts_with("/proc/");
        let kind = match (text.as_str(), fstype) {
            ("/", _) => {
                self.violate(Violation::new(field, "must not be \"/\"").hint("the root is set with root.path"));
                return None;
            }
            (_, "proc" | "sysfs") if !bind => TargetKind::Ordinary,
            ("/proc", _) if bind || options.remount => TargetKind::Proc,
            ("/proc", _) => {
                let why = format!("\"/proc\" cannot be mounted because it is not of type proc but {fstype:?}");
                self.violate(Violation::new(field, why));
                return None;
            }
            _ if in_proc && (COVERABLE_IN_PROC.contains(&text.as_str()) || options.remount) => TargetKind::InProc,
            _ if in_proc => {
                self.violate(Violation::new(field, format!("{text:?} cannot be mounted because it is inside /proc")));
                return None;
            }
            _ => TargetKind::Usual,
        };
        Some(Target { path, follow: !options.target_nofollow, kind })
    }

    /// With `bind` only the mount changes, else the file system too, if there is something to change in it.
    fn plan_remount(&mut self, index: usize, bind: bool, options: Options, target: Target) {
        if bind {
            self.refuse_data_of_bind(index, &options);
        }
        let has_data = !bind && (!options.data.is_empty() || !options.superblock.is_empty());
        let data = if has_data { self.filesystem_data(index, UNLABELLED, &options) } else { None };
        let (data, joined, _) = data.unwrap_or_default();
        let finish = Finish {
            attributes: options.attributes,
            recursive: options.recursive,
            propagation: options.propagation.clone(),
            keep: None,
        };
        let flags = superblock_flags(&options, UNLABELLED);
        let op = Op::Remount(Box::new(Remount { target, data, joined, flags, finish }));
        self.plan.mount.push(Step::new(op, Field::item("/mounts", index, "")));
    }

    /// Where content still has to be made after the mount, read-only comes last.
    pub(super) fn finish(&mut self, index: usize, options: &Options, target: &Target, fstype: &str) -> Finish {
        let mut finish = Finish {
            attributes: options.attributes,
            recursive: options.recursive,
            propagation: options.propagation.clone(),
            keep: None,
        };
        let later = fstype == "tmpfs" || target.path.as_bytes() == b"/dev";
        if later && (finish.attributes.set | finish.recursive.set) & libc::MOUNT_ATTR_RDONLY != 0 {
            let slot = self.slots.take();
            finish.attributes.set &= !libc::MOUNT_ATTR_RDONLY;
            finish.recursive.set &= !libc::MOUNT_ATTR_RDONLY;
            finish.keep = Some(slot);
            let op = Op::ReadOnlyMount { mount: slot, destination: target.path.clone() };
            self.plan.finish.push(Step::new(op, Field::item("/mounts", index, "")));
        }
        finish
    }

    /// A bind mount shows a file system that is configured already.
    fn refuse_data_of_bind(&mut self, index: usize, options: &Options) {
        for (option, data) in &options.data {
            let value = data.value.as_deref().map(|value| format!("={value}")).unwrap_or_default();
            let text = format!("{:?}", format!("{}{value}", data.key));
            let field = Field::item("/mounts", index, "/options").index(*option);
            if !value.is_empty() && OF_TMPFS.contains(&data.key.as_str()) {
                let text = format!("{text} has no effect on a bind mount: its file system is configured already");
                self.plan.warnings.push(Warning::new(field, text));
                continue;
            }
            let why = format!("bind mounts cannot have any filesystem-specific options applied: {text}");
            self.violate(Violation::new(field, why).hint("remove the option, or correct its spelling"));
        }
    }

    fn plan_bind(&mut self, index: usize, mount: &Mount, options: Options, target: Target) {
        let field = Field::item("/mounts", index, "");
        let source_field = Field::item("/mounts", index, "/source");
        self.refuse_data_of_bind(index, &options);
        let Some(source) = mount.source().as_deref().filter(|source| !source.as_os_str().is_empty()) else {
            self.violate(Violation::new(source_field, "is required for a bind mount"));
            return;
        };
        let Some(source) = self.outside(source, &source_field) else { return };
        let idmap = self.plan_idmap(index, mount, &options);
        let early = self.takes_sources_early() || idmap.is_some();
        let recursive = options.bind == Some(true);
        let slot = self.slots.take();
        let tree = Tree {
            source: source.clone(),
            destination: target.path.clone(),
            recursive,
            follow: !(options.source_nofollow || options.copy_symlink),
            slave: early && !self.shares_with_host(),
            device: None,
            cgroup: None,
            slot,
        };
        let take = Step::new(Op::TakeTree(Box::new(tree)), source_field);
        if early { &mut self.plan.host } else { &mut self.plan.mount }.push(take);
        if let Some(idmap) = &idmap {
            let op = Op::MapIds {
                tree: slot,
                namespace: idmap.namespace,
                recursive: idmap.recursive,
                destination: target.path.clone(),
            };
            self.plan.host.push(Step::new(op, field.clone()));
        }
        if early && self.in_user_namespace() && idmap.is_none() && !changes_atime(&options) {
            let here = self.slots.take();
            let follow = !(options.source_nofollow || options.copy_symlink);
            let lock = Lock { tree: slot, here, source: source.clone(), recursive, follow };
            self.plan.mount.push(Step::new(Op::LockTree(Box::new(lock)), Field::item("/mounts", index, "/source")));
        }
        let finish = self.finish(index, &options, &target, "");
        let copy_symlink = options.copy_symlink;
        let slave = early && !self.shares_with_host();
        let live = self.live.is_some();
        let attachment = Attachment { tree: slot, source, recursive, slave, target, finish, copy_symlink, live };
        self.plan.mount.push(Step::new(Op::AttachTree(Box::new(attachment)), field));
    }

    fn plan_filesystem(&mut self, index: usize, mount: &Mount, options: Options, target: Target) {
        let field = Field::item("/mounts", index, "");
        let Some(fstype) = mount.typ().as_deref().filter(|fstype| !matches!(*fstype, "" | "none")) else {
            let why = "is required, unless the options have bind or rbind";
            self.violate(Violation::new(Field::item("/mounts", index, "/type"), why));
            return;
        };
        let source = mount.source().as_deref().filter(|source| !source.as_os_str().is_empty());
        let source = source.unwrap_or(Path::new(fstype));
        let (Some(source), Some(fstype_text)) = (
            self.c_string(source, &Field::item("/mounts", index, "/source")),
            self.c_string(fstype, &Field::item("/mounts", index, "/type")),
        ) else {
            return;
        };
        let idmap = self.plan_idmap(index, mount, &options).map(|idmap| idmap.namespace);
        let Some((data, joined, without_gid)) = self.filesystem_data(index, fstype, &options) else { return };
        let finish = self.finish(index, &options, &target, fstype);
        let is_tmpfs = fstype == "tmpfs";
        let queues = if fstype == "mqueue" { self.label_of_queues(&target) } else { None };
        let shares = |kind| !matches!(self.namespace(kind), Some(None));
        let stand_in = match fstype {
            // In a container that runs these paths are its own.
            _ if !self.in_user_namespace() || self.live.is_some() => None,
            "sysfs" if shares(LinuxNamespaceType::Network) => Some(StandIn::Sysfs),
            "mqueue" if shares(LinuxNamespaceType::Ipc) => Some(StandIn::MessageQueues),
            _ => None,
        };
        let filesystem = Filesystem {
            fstype: fstype_text,
            source,
            target,
            inherit_mode: is_tmpfs && !data.iter().any(|datum| datum.key.as_c_str() == c"mode"),
            copy_up: is_tmpfs && options.copy_up,
            stand_in,
            flags: superblock_flags(&options, fstype),
            data,
            joined,
            without_gid,
            idmap,
            finish,
        };
        self.plan.mount.push(Step::new(Op::MountFilesystem(Box::new(filesystem)), field));
        self.plan.mount.extend(queues);
    }

    fn label_of_queues(&mut self, target: &Target) -> Option<Step> {
        let field = Field::at("/linux/mountLabel");
        let label = self.c_string(self.mount_label()?, &field)?;
        Some(Step::new(Op::LabelQueues { path: target.path.clone(), label }, field))
    }

    /// The data of a file system in three forms: for fsconfig(2), for mount(2), and that without its `gid=`.
    pub(super) fn filesystem_data(
        &mut self,
        index: usize,
        fstype: &str,
        options: &Options,
    ) -> Option<(Vec<Datum>, CString, Option<CString>)> {
        let field = Field::item("/mounts", index, "/options");
        let mut items: Vec<Data> = options.data.iter().flat_map(|(_, data)| split_data(data)).collect();
        let label = self.mount_label().unwrap_or_default().to_owned();
        let labelled = !matches!(fstype, "proc" | "sysfs" | "mqueue");
        if labelled && !label.is_empty() && !items.iter().any(|data| data.key == "context") {
            items.push(Data { key: "context".into(), value: Some(label) });
        }
        let joined = self.c_string(join(&items, |_| true), &field)?;
        let tolerant = self.in_user_namespace() && fstype == "devpts" && items.iter().any(|data| data.key == "gid");
        let without_gid = match tolerant {
            true => Some(self.c_string(join(&items, |data| data.key != "gid"), &field)?),
            false => None,
        };
        // iversion is no key of fsconfig(2): file systems that have it know it as data.
        let flags = options.superblock.iter().filter(|name| **name != "iversion").map(|name| (*name).to_owned());
        let read_only = read_only_superblock(options, fstype).then(|| "ro".to_owned());
        let mut data = Vec::new();
        for key in read_only.into_iter().chain(flags) {
            data.push(Datum { key: self.c_string(key, &field)?, value: None });
        }
        for Data { key, value } in items {
            let value = match value {
                Some(value) => Some(self.c_string(value.trim_matches('"'), &field)?),
                None => None,
            };
            data.push(Datum { key: self.c_string(key, &field)?, value });
        }
        Some((data, joined, without_gid))
    }
}

/// Whether a bind is to have other access times than its source: locked, they couldn't be changed. (The default that the
/// kernel has anyway may be asked for.)
fn changes_atime(options: &Options) -> bool {
    let times = libc::MOUNT_ATTR__ATIME | libc::MOUNT_ATTR_NODIRATIME;
    let (one, below) = (options.attributes, options.recursive);
    (one.set | below.set | below.clear) & times != 0 || one.clear & libc::MOUNT_ATTR_NODIRATIME != 0
}

fn read_only_superblock(options: &Options, fstype: &str) -> bool {
    options.attributes.set & libc::MOUNT_ATTR_RDONLY != 0 && !WRITABLE_SUPERBLOCK.contains(&fstype)
}

fn superblock_flags(options: &Options, fstype: &str) -> u64 {
    let named = SUPERBLOCK_FLAGS.iter().filter(|(name, _)| options.superblock.contains(name));
    let mut flags = named.fold(0, |flags, (_, flag)| flags | flag);
    if options.silent {
        flags |= libc::MS_SILENT;
    }
    if read_only_superblock(options, fstype) {
        flags |= libc::MS_RDONLY;
    }
    flags
}

/// One string of the config may hold several options joined with commas, as mount(2) takes them. A comma in quotes (an
/// SELinux context) or after a backslash (an overlay's directory) belongs to the value.
fn split_data(data: &Data) -> Vec<Data> {
    let text = match &data.value {
        Some(value) => format!("{}={value}", data.key),
        None => data.key.clone(),
    };
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(|c: char| {
        let separates = c == ',' && !quoted && !escaped;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        separates
    });
    parts
        .filter(|part| !part.is_empty())
        .map(|part| match part.split_once('=') {
            Some((key, value)) => Data { key: key.into(), value: Some(value.into()) },
            None => Data { key: part.into(), value: None },
        })
        .collect()
}

fn join(items: &[Data], keep: impl Fn(&Data) -> bool) -> String {
    let show = |data: &Data| match &data.value {
        // mount(2) splits at commas; quotes keep an SELinux context together.
        Some(value) if data.key.ends_with("context") => format!("{}=\"{}\"", data.key, value.trim_matches('"')),
        Some(value) => format!("{}={value}", data.key),
        None => data.key.clone(),
    };
    items.iter().filter(|data| keep(data)).map(show).collect::<Vec<_>>().join(",")
}

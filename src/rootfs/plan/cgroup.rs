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
            stand_in: self.live.is_none().then_some(StandIn::Cgroup { dir: own, cgroup: Cgroup { otherwise } }),
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
            slave: self.live.is_some(),
            device: None,
            cgroup: Some(Cgroup { otherwise }),
            slot,
        };
        let finish = self.finish(index, options, &target, "");
        let (recursive, slave, copy_symlink, live) = (false, false, false, self.live.is_some());
        let attachment = Attachment { tree: slot, source, recursive, slave, target, finish, copy_symlink, live };
        let take = Step::new(Op::TakeTree(Box::new(tree)), field.clone());
        if self.live.is_some() && self.takes_sources_early() { &mut self.plan.host } else { &mut self.plan.mount }
            .push(take);
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{RootfsPlan, plan_rootfs};
    use super::*;
    use crate::host::Host;
    use crate::plan;
    use crate::request::{Mode, Request};
    use crate::slots::SlotCounter;

    fn dir(name: &str, unified: bool, options: &[&str]) -> CgroupDir {
        let mount = if name.is_empty() { "/sys/fs/cgroup".into() } else { Path::new("/sys/fs/cgroup").join(name) };
        CgroupDir {
            name: if name.is_empty() { "unified".to_owned() } else { name.to_owned() },
            unified,
            options: options.iter().map(|option| option.to_string()).collect(),
            dir: mount.join("corten/web"),
            mount,
            otherwise: None,
        }
    }

    fn hybrid() -> Vec<CgroupDir> {
        vec![
            dir("cpu,cpuacct", false, &["cpu", "cpuacct"]),
            dir("systemd", false, &["name=systemd", "xattr"]),
            dir("unified", true, &["nsdelegate"]),
        ]
    }

    fn unified() -> Vec<CgroupDir> {
        vec![dir("", true, &["nsdelegate"])]
    }

    fn plan_on(
        dirs: &[CgroupDir],
        host: &Host,
        namespaces: &[&str],
        mount: Value,
    ) -> Result<RootfsPlan, Vec<Violation>> {
        let namespaces: Vec<_> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
        let config = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "mounts": [mount],
            "linux": {"namespaces": namespaces}
        });
        let spec = serde_json::from_value(config).unwrap();
        plan_rootfs(&spec, host, &Request::new("web", "/bundle", Mode::Create), dirs, &mut SlotCounter::default())
    }

    fn cgroup(options: &[&str]) -> Value {
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options})
    }

    fn of_mount(steps: &[Step]) -> Vec<String> {
        let asked = steps.iter().filter(|step| step.field.pointer() == "/mounts/0");
        let line = |step: &Step| plan::render(&step.op);
        asked.map(line).collect()
    }

    fn filesystems(plan: &RootfsPlan) -> Vec<&Filesystem> {
        let filesystem = |step| match step {
            &Step { op: plan::Op::Rootfs(Op::MountFilesystem(ref fs)), .. } => Some(&**fs),
            _ => None,
        };
        plan.mount.iter().filter_map(filesystem).collect()
    }

    #[test]
    fn without_a_cgroup_namespace_each_hierarchy_shows_the_container_s_own_cgroup() {
        let plan = plan_on(&hybrid(), &Host::fixture(), &["mount"], cgroup(&["ro", "relatime", "rprivate"])).unwrap();
        assert_eq!(
            of_mount(&plan.mount),
            [
                "mount tmpfs on /sys/fs/cgroup (nosuid,nodev,noexec,rprivate,mode=755)",
                "bind /sys/fs/cgroup/cpu,cpuacct/corten/web on /sys/fs/cgroup/cpu,cpuacct",
                "attach /sys/fs/cgroup/cpu,cpuacct/corten/web at /sys/fs/cgroup/cpu,cpuacct (ro,nosuid,nodev,noexec,rprivate)",
                "bind /sys/fs/cgroup/systemd/corten/web on /sys/fs/cgroup/systemd",
                "attach /sys/fs/cgroup/systemd/corten/web at /sys/fs/cgroup/systemd (ro,nosuid,nodev,noexec,rprivate)",
                "bind /sys/fs/cgroup/unified/corten/web on /sys/fs/cgroup/unified",
                "attach /sys/fs/cgroup/unified/corten/web at /sys/fs/cgroup/unified (ro,nosuid,nodev,noexec,rprivate)",
                "link /sys/fs/cgroup/cpu to cpu,cpuacct",
                "link /sys/fs/cgroup/cpuacct to cpu,cpuacct",
            ]
        );
        assert_eq!(of_mount(&plan.finish), ["make the mount on /sys/fs/cgroup read-only"], "when all is in it");
        assert_eq!(plan.writable_cgroup, None);
    }

    #[test]
    fn in_a_cgroup_namespace_each_hierarchy_is_mounted_anew_with_the_container_s_cgroup_in_reserve() {
        let namespaces = ["mount", "cgroup", "user"];
        let plan = plan_on(&hybrid(), &Host::fixture(), &namespaces, cgroup(&["exec"])).unwrap();
        assert_eq!(
            of_mount(&plan.mount),
            [
                "mount tmpfs on /sys/fs/cgroup (nosuid,nodev,noexec,mode=755)",
                "mount cgroup on /sys/fs/cgroup/cpu,cpuacct (nosuid,nodev,exec,cpu,cpuacct)",
                "mount cgroup on /sys/fs/cgroup/systemd (nosuid,nodev,exec,name=systemd,xattr)",
                "mount cgroup2 on /sys/fs/cgroup/unified (nosuid,nodev,exec,nsdelegate)",
                "link /sys/fs/cgroup/cpu to cpu,cpuacct",
                "link /sys/fs/cgroup/cpuacct to cpu,cpuacct",
            ]
        );
        assert_eq!(of_mount(&plan.finish), [""; 0], "writable, as asked");
        assert_eq!(plan.writable_cgroup, Some(Field::item("/mounts", 0, "")));
        let systemd = filesystems(&plan)[2];
        assert_eq!(systemd.joined.as_c_str(), c"name=systemd,xattr", "for mount(2)");
        let reserve = c"/sys/fs/cgroup/systemd/corten/web".into();
        assert_eq!(systemd.stand_in, Some(StandIn::Cgroup { dir: reserve, cgroup: Cgroup::default() }));
    }

    #[test]
    fn read_only_is_the_mount_and_never_the_file_system_that_the_host_has_too() {
        for dirs in [hybrid(), unified()] {
            let plan = plan_on(&dirs, &Host::fixture(), &["mount", "cgroup"], cgroup(&["ro"])).unwrap();
            for fs in filesystems(&plan).iter().filter(|fs| fs.fstype.as_c_str() != c"tmpfs") {
                assert_eq!(fs.flags, 0, "{fs:?}");
                assert!(fs.data.iter().all(|datum| datum.key.as_c_str() != c"ro"), "{fs:?}");
                assert!(fs.finish.attributes.set & libc::MOUNT_ATTR_RDONLY != 0, "{fs:?}");
            }
            assert_eq!(plan.writable_cgroup, None);
        }
    }

    #[test]
    fn version_2_alone_is_mounted_directly() {
        let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup2", "options": ["ro", "nosuid"]});
        let line = |namespaces: &[&str]| {
            of_mount(&plan_on(&unified(), &Host::fixture(), namespaces, mount.clone()).unwrap().mount)
        };
        assert_eq!(line(&["mount", "cgroup"]), ["mount cgroup2 on /sys/fs/cgroup (ro,nosuid,nodev,noexec,nsdelegate)"]);
        assert_eq!(
            line(&["mount"]),
            [
                "bind /sys/fs/cgroup on /sys/fs/cgroup",
                "attach /sys/fs/cgroup at /sys/fs/cgroup (ro,nosuid,nodev,noexec)"
            ]
        );
    }

    #[test]
    fn a_caller_without_privileges_never_lends_the_whole_tree_for_writing() {
        let host = Host { euid: 1000, egid: 1000, ..Host::fixture() };
        for options in [&[][..], &["rw"]] {
            let plan = plan_on(&unified(), &host, &["mount", "user"], cgroup(options)).unwrap();
            assert!(of_mount(&plan.mount)[1].ends_with("(ro,nosuid,nodev,noexec)"), "{:?}", of_mount(&plan.mount));
            assert!(plan.warnings[0].to_string().starts_with("mounts[0]: is mounted read-only"), "{:?}", plan.warnings);
        }
        let plan = plan_on(&unified(), &host, &["mount", "user"], cgroup(&["ro"])).unwrap();
        assert!(plan.warnings.is_empty(), "nothing is changed");
        let plan = plan_on(&unified(), &host, &["mount", "user", "cgroup"], cgroup(&["rw"])).unwrap();
        assert!(plan.warnings.is_empty() && plan.writable_cgroup.is_some(), "its own it may write to");
    }

    #[test]
    fn where_the_container_may_have_no_cgroup_of_its_own_the_caller_s_is_shown() {
        let mut dirs = hybrid();
        dirs[0].otherwise = Some("/sys/fs/cgroup/cpu,cpuacct/user".into());
        let plan = plan_on(&dirs, &Host::fixture(), &["mount"], cgroup(&["ro"])).unwrap();
        let otherwise = plan.mount.iter().find_map(|step| match &step.op {
            plan::Op::Rootfs(Op::TakeTree(tree)) => tree.cgroup.clone(),
            _ => None,
        });
        assert_eq!(otherwise.unwrap().otherwise.as_deref(), Some(c"/sys/fs/cgroup/cpu,cpuacct/user"));
    }

    #[test]
    fn a_host_without_control_groups_has_an_empty_place_for_them() {
        let plan = plan_on(&[], &Host::fixture(), &["mount"], cgroup(&["ro"])).unwrap();
        assert_eq!(of_mount(&plan.mount), ["mount tmpfs on /sys/fs/cgroup (nosuid,nodev,noexec,mode=755)"]);
        assert!(plan.warnings[0].text.contains("no control groups mounted"));
    }

    #[test]
    fn options_that_the_host_has_decided_are_told_and_misspelt_ones_refused() {
        let plan = plan_on(&hybrid(), &Host::fixture(), &["mount"], cgroup(&["nsdelegate", "cpu", "sync"])).unwrap();
        let warnings: Vec<_> = plan.warnings.iter().map(Warning::to_string).collect();
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[1].starts_with("mounts[0].options[1]: \"cpu\" has no effect"), "{warnings:?}");
        let refused = plan_on(&unified(), &Host::fixture(), &["mount"], cgroup(&["nosiud"])).unwrap_err();
        assert_eq!(refused[0].to_string(), "mounts[0].options[0]: control groups have no mount option \"nosiud\"");
        let mapped = plan_on(&unified(), &Host::fixture(), &["mount", "user"], cgroup(&["idmap"])).unwrap_err();
        assert!(mapped[0].why.contains("no id mappings"), "{mapped:?}");
    }
}

//! config.json, the command line and the host's facts become the rootfs steps. Pure: nothing here touches a file.
//!
//! The order of the steps is what keeps a container in: propagation is cut before anything is mounted, devices and
//! links are made by descriptor before the root is entered, and what is read-only or masked becomes so last, when
//! nothing has to be created any more.

mod cgroup;
mod device;
pub mod entry;
mod idmap;
pub mod live;
mod mount;
mod notify;

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Spec};

pub use cgroup::CgroupDir;

use super::options;
use super::{MASK_DATA, MaskLabel, Op, Root};
use crate::error::{Violation, Warning};
use crate::field::Field;
use crate::host::Host;
use crate::plan::{self, Step};
use crate::request::Request;
use crate::slots::SlotCounter;

/// The steps that make, enter and finish the root file system, by where they run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RootfsPlan {
    /// On the host, before clone.
    pub host: Vec<Step>,
    /// Inside, up to where the hooks of the runtime run.
    pub mount: Vec<Step>,
    /// The change of the root.
    pub enter: Vec<Step>,
    /// What becomes read-only or masked. Writes to /proc/sys have to be done before.
    pub finish: Vec<Step>,
    /// The mount by which a container with a cgroup namespace can make cgroups of version 2.
    pub writable_cgroup: Option<Field>,
    pub warnings: Vec<Warning>,
}

/// What planning reads and what it has made so far.
struct Planner<'a> {
    spec: &'a Spec,
    host: &'a Host,
    request: &'a Request,
    cgroups: &'a [CgroupDir],
    /// The init of a container that is there, in the host's pid namespace: its mounts are added to it.
    live: Option<i32>,
    slots: &'a mut SlotCounter,
    plan: RootfsPlan,
    violations: Vec<Violation>,
}

/// Plans the root file system of a container. `cgroups`: where it is in each hierarchy that the host has mounted.
///
/// # Errors
/// Everything that config.json asks for and that can't be: options that a bind mount doesn't have, id mappings that
/// are incomplete, mounts in a user namespace without a mount namespace.
pub fn plan_rootfs(
    spec: &Spec,
    host: &Host,
    request: &Request,
    cgroups: &[CgroupDir],
    slots: &mut SlotCounter,
) -> Result<RootfsPlan, Vec<Violation>> {
    let mut planner = Planner {
        spec,
        host,
        request,
        cgroups,
        live: None,
        slots,
        plan: RootfsPlan::default(),
        violations: Vec::new(),
    };
    let label = spec.linux().as_ref().and_then(|linux| linux.mount_label().as_ref());
    if label.is_some() && planner.mount_label().is_none() {
        let text = "has no effect: SELinux isn't active on this host, and files have no labels";
        planner.plan.warnings.push(Warning::new(Field::at("/linux/mountLabel"), text));
    }
    if planner.namespace(LinuxNamespaceType::Mount).is_some() {
        planner.plan_mounted_root();
    } else {
        planner.plan_inherited_root();
    }
    if planner.violations.is_empty() { Ok(planner.plan) } else { Err(planner.violations) }
}

/// Propagation of "/" while the container's mounts are made. A slave still sees what the host mounts later and tells
/// it nothing; anything that shares is what the config asked for.
fn propagation_of_host_root(configured: Option<u64>) -> u64 {
    match configured {
        Some(flags) if flags & libc::MS_SHARED != 0 => flags,
        Some(flags) if flags & libc::MS_PRIVATE != 0 => libc::MS_PRIVATE | libc::MS_REC,
        _ => libc::MS_SLAVE | libc::MS_REC,
    }
}

impl Planner<'_> {
    fn violate(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    /// The configured namespace of this type: its path, or `Some(None)` for a new one.
    fn namespace(&self, wanted: LinuxNamespaceType) -> Option<Option<&Path>> {
        let namespaces = self.spec.linux().as_ref()?.namespaces().as_ref()?;
        let namespace = namespaces.iter().find(|namespace| namespace.typ() == wanted)?;
        Some(namespace.path().as_deref().filter(|path| !path.as_os_str().is_empty()))
    }

    /// What files are labelled with, where the host has labels.
    fn mount_label<'a>(&self) -> Option<&'a str>
    where
        Self: 'a,
    {
        self.spec.linux().as_ref()?.mount_label().as_deref().filter(|_| self.host.lsms.selinux())
    }

    fn in_user_namespace(&self) -> bool {
        self.namespace(LinuxNamespaceType::User).is_some()
    }

    /// Whether sources are taken on the host: the mapped root of a user namespace may not reach them. A caller without
    /// privileges can't take them there, and reaches as much inside. A container that runs has the host's files out of its
    /// reach.
    fn takes_sources_early(&self) -> bool {
        (self.in_user_namespace() || self.live.is_some()) && self.host.euid == 0
    }

    /// Converts to a C string, or records why not.
    fn c_string(&mut self, text: impl AsRef<OsStr>, field: &Field) -> Option<CString> {
        match CString::new(text.as_ref().as_bytes()) {
            Ok(text) => Some(text),
            Err(_) => {
                self.violate(Violation::new(field.clone(), "must not contain a NUL character"));
                None
            }
        }
    }

    /// An absolute path inside the container without `.` and `..`; relative ones start at "/" (config.md, "Mounts").
    fn inside(&mut self, path: &Path, field: &Field) -> Option<CString> {
        self.c_string(clean(path), field)
    }

    /// An absolute path on the host; relative ones start at the bundle.
    fn outside(&mut self, path: &Path, field: &Field) -> Option<CString> {
        let path: PathBuf = self.request.bundle.join(path).components().collect();
        self.c_string(path, field)
    }

    fn root(&mut self) -> Option<Root> {
        let field = Field::at("/root/path");
        let Some(root) = self.spec.root() else {
            self.violate(Violation::new(Field::at("/root"), "is required"));
            return None;
        };
        let path = root.path();
        if path.as_os_str().is_empty() {
            self.violate(Violation::new(field, "must not be empty"));
            return None;
        }
        let bundle = match path.is_absolute() {
            true => None,
            false => {
                let bundle = self.request.bundle.clone();
                Some(self.c_string(bundle, &Field::at("--bundle"))?)
            }
        };
        Some(Root { bundle, path: self.c_string(path, &field)? })
    }

    fn propagation(&mut self) -> Option<u64> {
        let spec = self.spec;
        let name = spec.linux().as_ref()?.rootfs_propagation().as_deref().filter(|name| !name.is_empty())?;
        let field = Field::at("/linux/rootfsPropagation");
        let Some(flags) = options::propagation(name) else {
            self.violate(
                Violation::new(field, format!("rootfsPropagation={name} is not supported"))
                    .hint("use shared, slave, private or unbindable, or their recursive forms rshared, rslave, …"),
            );
            return None;
        };
        if self.request.no_pivot && flags & libc::MS_PRIVATE != 0 {
            self.violate(Violation::new(field, "rootfsPropagation of [r]private is not safe without pivot_root"));
        }
        Some(flags)
    }

    fn plan_mounted_root(&mut self) {
        let propagation = self.propagation();
        let root = self.root();
        let propagation_field = match propagation {
            Some(_) => Field::at("/linux/rootfsPropagation"),
            None => Field::RUNTIME,
        };
        let of_host = propagation_of_host_root(propagation);
        self.plan.mount.push(Step::new(Op::OpenHostProc, Field::RUNTIME));
        self.plan.mount.push(Step::new(Op::Propagate(of_host), propagation_field.clone()));
        let before_root = self.plan.mount.len();
        if let Some(root) = root {
            if of_host & libc::MS_SHARED != 0 {
                self.plan.mount.push(Step::new(Op::PrivateParent(root.clone()), propagation_field.clone()));
            }
            self.plan.mount.push(Step::new(Op::AttachRoot(root), Field::at("/root/path")));
        }
        self.plan_mounts();
        let locks = |step: &&Step| matches!(step.op, plan::Op::Rootfs(Op::LockTree(_)));
        if let Some(first) = self.plan.mount.iter().find(locks) {
            let wait = Step::new(plan::Point::Located, first.field.clone());
            self.plan.mount.insert(before_root, wait);
        }
        self.plan_notify();
        self.plan_devices();
        self.plan.mount.push(Step::new(Op::OpenProc, Field::RUNTIME));
        self.plan_enter();
        if let Some(flags) = propagation {
            self.plan.enter.push(Step::new(Op::PropagateRoot(flags), propagation_field));
        }
        self.plan_finish();
    }

    fn plan_enter(&mut self) {
        if self.request.no_pivot {
            let field = Field::at("--no-pivot");
            self.plan.enter.push(Step::new(Op::HideHostFilesystems, field.clone()));
            self.plan.enter.push(Step::new(Op::MoveRoot, field));
        } else {
            self.plan.enter.push(Step::new(Op::PivotRoot, Field::at("/root/path")));
        }
    }

    fn plan_finish(&mut self) {
        let spec = self.spec;
        if spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false) {
            self.plan.finish.push(Step::new(Op::ReadOnlyRoot, Field::at("/root/readonly")));
        }
        let Some(linux) = spec.linux() else { return };
        for (i, path) in linux.readonly_paths().iter().flatten().enumerate() {
            let field = Field::item("/linux/readonlyPaths", i, "");
            if let Some(path) = self.inside(Path::new(path), &field) {
                self.plan.finish.push(Step::new(Op::ReadOnlyPath { path }, field));
            }
        }
        let null = self.slots.take();
        let label = self.mount_label().and_then(|label| self.mask_label(label));
        for (i, path) in linux.masked_paths().iter().flatten().enumerate() {
            let field = Field::item("/linux/maskedPaths", i, "");
            if let Some(path) = self.inside(Path::new(path), &field) {
                self.plan.finish.push(Step::new(Op::MaskPath { path, null, label: label.clone() }, field));
            }
        }
    }

    fn mask_label(&mut self, label: &str) -> Option<Box<MaskLabel>> {
        let field = Field::at("/linux/mountLabel");
        let joined = self.c_string(format!("{MASK_DATA},context=\"{label}\""), &field)?;
        Some(Box::new(MaskLabel { label: self.c_string(label, &field)?, joined }))
    }

    /// Without a mount namespace of its own the container has its caller's. Made there, its mounts would be the host's; so
    /// they are made in a namespace for the time of set-up, and what the container takes along is a detached copy of the
    /// finished tree, which is its root and in no namespace.
    fn plan_inherited_root(&mut self) {
        let spec = self.spec;
        let mounts = spec.mounts().iter().flatten().next().is_some();
        let read_only = spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false);
        self.refuse_without_namespace(mounts, read_only);
        let Some(root) = self.root() else { return };
        let field = Field::at("/root/path");
        self.plan.mount.push(Step::new(Op::OpenHostProc, Field::RUNTIME));
        if !mounts && !read_only {
            self.plan.mount.push(Step::new(Op::OpenRoot(root), field.clone()));
            self.plan.mount.push(Step::new(Op::OpenProc, Field::RUNTIME));
            self.plan.enter.push(Step::new(Op::Chroot, field));
            return;
        }
        let reason = Field::at(if mounts { "/mounts" } else { "/root/readonly" });
        let caller = self.slots.take();
        self.plan.mount.push(Step::new(Op::LeaveNamespace { caller }, reason.clone()));
        self.plan.mount.push(Step::new(Op::Propagate(propagation_of_host_root(None)), Field::RUNTIME));
        self.plan.mount.push(Step::new(Op::AttachRoot(root), field.clone()));
        self.plan_mounts();
        self.plan_devices();
        self.plan.mount.push(Step::new(Op::OpenProc, Field::RUNTIME));
        self.plan.enter.push(Step::new(Op::Chroot, field.clone()));
        self.plan_finish();
        self.plan.finish.push(Step::new(Op::DetachRoot, field));
        self.plan.finish.push(Step::new(Op::ReturnNamespace { caller }, reason));
    }

    /// What can't be without a mount namespace. The way back into the caller's takes rights over it, which a container with
    /// a user namespace doesn't have. For masked and read-only paths engines expect the refusal.
    fn refuse_without_namespace(&mut self, mounts: bool, read_only: bool) {
        let spec = self.spec;
        let stays = self.in_user_namespace();
        let hint = "add {\"type\": \"mount\"} to linux.namespaces";
        let mut refuse = |asked: bool, field: Field, why: &str| {
            if asked {
                self.violations.push(Violation::new(field, why).hint(hint));
            }
        };
        let linux = spec.linux().as_ref();
        let asks = |paths: Option<&Option<Vec<String>>>| paths.into_iter().flatten().any(|list| !list.is_empty());
        let restrict = "unable to restrict sys entries without a private MNT namespace";
        refuse(
            mounts && stays,
            Field::at("/mounts"),
            "in a user namespace mounts need a mount namespace of the container's own",
        );
        refuse(asks(linux.map(|linux| linux.masked_paths())), Field::at("/linux/maskedPaths"), restrict);
        refuse(asks(linux.map(|linux| linux.readonly_paths())), Field::at("/linux/readonlyPaths"), restrict);
        refuse(
            read_only && stays,
            Field::at("/root/readonly"),
            "in a user namespace a read-only root needs a mount namespace of the container's own",
        );
        // In no namespace a path has no beginning: AppArmor takes every file for a disconnected one, and rules for /proc and /sys
        // don't match.
        let profile = spec.process().as_ref().and_then(|process| process.apparmor_profile().as_deref());
        refuse(
            (mounts || read_only) && profile.is_some_and(|profile| profile != "unconfined"),
            Field::at("/process/apparmorProfile"),
            "the rules of a profile don't hold for mounts that are in no mount namespace",
        );
        for (index, mount) in spec.mounts().iter().flatten().enumerate() {
            // The copy leaves out what is unbindable, and what is shared would be with others than the container.
            let options = mount.options().iter().flatten();
            let names = ["shared", "rshared", "unbindable", "runbindable"];
            refuse(
                options.into_iter().any(|option| names.contains(&option.as_str())),
                Field::item("/mounts", index, "/options"),
                "shared and unbindable need a mount namespace of the container's own",
            );
        }
        refuse(
            linux.and_then(|linux| linux.rootfs_propagation().as_deref()).is_some_and(|name| !name.is_empty()),
            Field::at("/linux/rootfsPropagation"),
            "propagation needs a mount namespace of the container's own",
        );
    }
}

/// The path without `.`, `..`, doubled and trailing slashes, starting at "/".
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests;

//! The container's devices and the links beside them (runtime specification, config-linux.md, "Default Devices"). Pure.

use std::ffi::{CStr, CString};
use std::path::Path;

use oci_spec::runtime::LinuxDeviceType;

use super::super::{Device, Node, Op, Symlink, Tree};
use super::{Planner, clean};
use crate::error::Violation;
use crate::field::Field;
use crate::plan::Step;

/// Path, major and minor number of the devices that every container has; all are character devices of mode 0666.
const DEFAULT_DEVICES: [(&CStr, u32, u32); 6] = [
    (c"/dev/null", 1, 3),
    (c"/dev/zero", 1, 5),
    (c"/dev/full", 1, 7),
    (c"/dev/random", 1, 8),
    (c"/dev/urandom", 1, 9),
    (c"/dev/tty", 5, 0),
];

/// Path, content, whether it takes the place of another file, and the file in the host's /proc that it depends on.
const LINKS: [(&CStr, &CStr, bool, Option<&CStr>); 6] = [
    (c"/dev/ptmx", c"pts/ptmx", true, None),
    (c"/dev/fd", c"/proc/self/fd", false, None),
    (c"/dev/stdin", c"/proc/self/fd/0", false, None),
    (c"/dev/stdout", c"/proc/self/fd/1", false, None),
    (c"/dev/stderr", c"/proc/self/fd/2", false, None),
    (c"/dev/core", c"/proc/kcore", false, Some(c"kcore")),
];

const DEFAULT_MODE: u32 = 0o666;

impl Planner<'_> {
    /// Devices in the order of the config, the defaults first. A /dev that is a bind mount is somebody else's and stays
    /// as it is.
    pub(super) fn plan_devices(&mut self) {
        let foreign_dev = self.dev_is_bound();
        let configured = self.configured_devices();
        if !foreign_dev {
            for (path, major, minor) in DEFAULT_DEVICES {
                if configured.iter().any(|(device, _)| device.path.as_c_str() == path) {
                    continue;
                }
                let node = Node { kind: libc::S_IFCHR, major, minor };
                let device = Device { path: path.into(), node, mode: DEFAULT_MODE, uid: 0, gid: 0 };
                self.plan_device(device, Field::RUNTIME);
            }
        }
        for (device, field) in configured {
            if !(foreign_dev && device.path.to_bytes().starts_with(b"/dev/")) {
                self.plan_device(device, field);
            }
        }
        if !foreign_dev {
            for (path, content, replace, if_in_proc) in LINKS {
                let link = Symlink {
                    path: path.into(),
                    content: content.into(),
                    replace,
                    if_in_proc: if_in_proc.map(CString::from),
                };
                self.plan.mount.push(Step::new(Op::Symlink(Box::new(link)), Field::RUNTIME));
            }
        }
    }

    fn dev_is_bound(&self) -> bool {
        self.spec.mounts().iter().flatten().any(|mount| {
            let options = super::super::options::parse(mount.options().as_deref().unwrap_or_default());
            clean(mount.destination()) == Path::new("/dev") && super::mount::is_bind(mount, &options)
        })
    }

    fn configured_devices(&mut self) -> Vec<(Device, Field)> {
        let spec = self.spec;
        let mut devices = Vec::new();
        for (i, device) in spec.linux().iter().filter_map(|l| l.devices().as_ref()).flatten().enumerate() {
            let field = Field::item("/linux/devices", i, "");
            let kind = match device.typ() {
                LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
                LinuxDeviceType::B => libc::S_IFBLK,
                LinuxDeviceType::P => libc::S_IFIFO,
                LinuxDeviceType::A => {
                    let why = "\"a\" is no type of a device file: use c, b, u or p";
                    self.violate(Violation::new(Field::item("/linux/devices", i, "/type"), why));
                    continue;
                }
            };
            // The numbers of a FIFO mean nothing, whatever they are.
            let numbers = match kind {
                libc::S_IFIFO => (Ok(0), Ok(0)),
                _ => (u32::try_from(device.major()), u32::try_from(device.minor())),
            };
            let (Ok(major), Ok(minor)) = numbers else {
                self.violate(Violation::new(field, "major and minor must be numbers from 0 on"));
                continue;
            };
            let path_field = Field::item("/linux/devices", i, "/path");
            if clean(device.path()) == Path::new("/") {
                self.violate(Violation::new(path_field, "must name a file"));
                continue;
            }
            let Some(path) = self.inside(device.path(), &path_field) else { continue };
            let mode = device.file_mode().unwrap_or(DEFAULT_MODE) & 0o7777;
            let (uid, gid) = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
            devices.push((Device { path, node: Node { kind, major, minor }, mode, uid, gid }, field));
        }
        devices
    }

    /// Nobody in a user namespace can make a device that works, so there it is the host's, bound.
    fn plan_device(&mut self, device: Device, field: Field) {
        let needs_host = self.in_user_namespace() || self.host.rootless();
        if !needs_host || device.node.kind == libc::S_IFIFO {
            self.plan.mount.push(Step::new(Op::MakeDevice(Box::new(device)), field));
            return;
        }
        let slot = self.slots.take();
        let tree = Tree {
            source: device.path.clone(),
            destination: device.path.clone(),
            recursive: false,
            follow: true,
            slave: self.takes_sources_early(),
            device: Some(device.node),
            cgroup: None,
            slot,
        };
        let take = Step::new(Op::TakeTree(Box::new(tree)), field.clone());
        if self.takes_sources_early() { &mut self.plan.host } else { &mut self.plan.mount }.push(take);
        self.plan.mount.push(Step::new(Op::BindDevice { tree: slot, path: device.path }, field));
    }
}

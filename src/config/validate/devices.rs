//! `linux.devices`: device nodes in the container (config-linux.md, "Devices", and mknod(2)).

use std::collections::HashMap;

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};

use super::Findings;
use crate::field::Field;

/// The kernel's device numbers have 12 bits of major and 20 of minor.
const HIGHEST_MAJOR: i64 = (1 << 12) - 1;
const HIGHEST_MINOR: i64 = (1 << 20) - 1;
/// The bits of a mode: permissions and, as some engines pass it on from stat(2), the type of the file.
const MODE_BITS: u32 = 0o177_777;

pub(super) fn check(linux: &Linux, found: &mut Findings) {
    let devices = linux.devices().as_deref().unwrap_or_default();
    let mut first: HashMap<&std::path::Path, usize> = HashMap::new();
    for (i, device) in devices.iter().enumerate() {
        let at = Field::item("/linux/devices", i, "");
        rules(device, &at, found);
        match first.get(device.path().as_path()) {
            Some(&j) if devices[j] != *device => {
                let why = format!(
                    "{:?} stands already in devices[{j}], with other properties",
                    device.path().to_string_lossy()
                );
                found.refuse(at.key("path"), why, "keep one of the two entries");
            }
            Some(_) => {}
            None => {
                first.insert(device.path(), i);
            }
        }
    }
}

fn rules(device: &LinuxDevice, at: &Field, found: &mut Findings) {
    let path = device.path().to_string_lossy();
    if path.is_empty() {
        found.refuse(at.key("path"), "is required", "write the path from the container's root, for example /dev/fuse");
    } else if !path.starts_with('/') {
        let why = format!("must be an absolute path, not {path:?}");
        found.refuse(at.key("path"), why, "write the path from the container's root, for example /dev/fuse");
    }
    if device.typ() == LinuxDeviceType::A {
        found.refuse(
            at.key("type"),
            "must be c, b, u or p: \"a\" only fits a rule of resources.devices",
            "see mknod(1)",
        );
    }
    // A named pipe has no number, so whatever stands there is ignored.
    if device.typ() != LinuxDeviceType::P {
        for (name, number, highest) in
            [("major", device.major(), HIGHEST_MAJOR), ("minor", device.minor(), HIGHEST_MINOR)]
        {
            if !(0..=highest).contains(&number) {
                let why = format!("must be from 0 to {highest}, not {number}");
                found.refuse(at.key(name), why, "`stat -c '%Hr %Lr'` shows the numbers of a device");
            }
            if number == 0 {
                found.require(at.key(name));
            }
        }
    }
    if let Some(mode) = device.file_mode().filter(|mode| mode & !MODE_BITS != 0) {
        let why = format!("must be a file mode, not 0{mode:o} ({mode})");
        found.refuse(at.key("fileMode"), why, "JSON has no octal numbers: 0666 is 438");
    }
}

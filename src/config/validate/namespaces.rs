//! `linux.namespaces`, and what only makes sense in a namespace of the container's own.

use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::{Facts, Findings, Origin};
use crate::field::Field;

/// The kernel's limit for host and domain names, in bytes (__NEW_UTS_LEN).
const LONGEST_NAME: usize = 64;

/// The type in the words of the spec.
pub(super) fn word(typ: LinuxNamespaceType) -> &'static str {
    match typ {
        LinuxNamespaceType::Mount => "mount",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "network",
        LinuxNamespaceType::Time => "time",
    }
}

pub(super) fn check(facts: &Facts, linux: &Linux, found: &mut Findings) {
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    let mut first = [None; 8];
    for (i, namespace) in namespaces.iter().enumerate() {
        let at = Field::item("/linux/namespaces", i, "");
        let word = word(namespace.typ());
        // Eight types are known, so a table with room for eight never fills up before a duplicate shows.
        match first.iter().position(|seen| *seen == Some(word)) {
            Some(_) => found.refuse(
                at.key("type"),
                format!("duplicated ns: the type {word} stands more than once"),
                "keep one entry for each type",
            ),
            None => {
                if let Some(free) = first.iter_mut().find(|seen| seen.is_none()) {
                    *free = Some(word);
                }
            }
        }
        if let Some(path) = namespace.path().as_deref().filter(|path| !path.is_absolute()) {
            let why = format!("must be an absolute path, not {:?}", path.to_string_lossy());
            found.refuse(at.key("path"), why, "name the namespace as seen by the caller, for example /proc/PID/ns/net");
        }
    }
    paths_inside(facts, linux, found);
    time_offsets(facts, linux, found);
    net_devices(facts, linux, found);
}

/// The names of the host: they stand outside the `linux` section and need a namespace all the same.
pub(super) fn names(facts: &Facts, found: &mut Findings) {
    let names = [("hostname", facts.spec.hostname()), ("domainname", facts.spec.domainname())];
    for (property, name) in names {
        let Some(name) = name else { continue };
        let at = Field::RUNTIME.key(property);
        if facts.shares(LinuxNamespaceType::Uts) {
            let why = format!("unable to set {property} without a private UTS namespace");
            found.refuse(at.clone(), why, "add {\"type\": \"uts\"} to linux.namespaces");
        }
        if name.len() > LONGEST_NAME {
            let why = format!("must have at most {LONGEST_NAME} bytes, not {}", name.len());
            found.refuse(at, why, "the kernel stores no longer name");
        }
    }
}

/// Masks and read-only paths would be mounted over the caller's own tree.
fn paths_inside(facts: &Facts, linux: &Linux, found: &mut Findings) {
    let lists = [("/linux/maskedPaths", linux.masked_paths()), ("/linux/readonlyPaths", linux.readonly_paths())];
    for (at, paths) in lists {
        let Some(paths) = paths.as_ref().filter(|paths| !paths.is_empty()) else { continue };
        if facts.shares(LinuxNamespaceType::Mount) {
            let why = "unable to restrict sys entries without a private MNT namespace";
            found.refuse(Field::at(at), why, "add {\"type\": \"mount\"} to linux.namespaces");
        }
        let covers_all = |path: &String| at == "/linux/maskedPaths" && Path::new(path) == Path::new("/");
        if let Some(i) = paths.iter().position(covers_all) {
            let hint = "name the files and directories to hide; linux.readonlyPaths and root.readonly take the root";
            found.refuse(Field::at(at).index(i), "must not be \"/\": nothing can cover the root itself", hint);
        }
        for (i, path) in paths.iter().enumerate().filter(|(_, path)| !Path::new(path).is_absolute()) {
            let why = format!("must be an absolute path, not {path:?}");
            found.refuse(Field::at(at).index(i), why, "write the path from the container's root");
        }
    }
}

fn time_offsets(facts: &Facts, linux: &Linux, found: &mut Findings) {
    let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else { return };
    let at = Field::at("/linux/timeOffsets");
    if facts.origin(LinuxNamespaceType::Time) != Origin::New {
        let why = "unable to set time offsets without a new time namespace";
        found.refuse(
            at.clone(),
            why,
            "add {\"type\": \"time\"} without a path: an existing namespace keeps its offsets",
        );
    }
    for (clock, offset) in offsets {
        if !matches!(clock.as_str(), "boottime" | "monotonic") {
            let hint = "only boottime and monotonic can be shifted, see time_namespaces(7)";
            found.refuse(at.key(clock), format!("{clock:?} is no clock of a time namespace"), hint);
        }
        if let Some(nanosecs) = offset.nanosecs().filter(|nanosecs| *nanosecs >= 1_000_000_000) {
            let why = format!("must be below 1000000000, not {nanosecs}");
            found.refuse(at.key(clock).key("nanosecs"), why, "put whole seconds into secs");
        }
    }
}

fn net_devices(facts: &Facts, linux: &Linux, found: &mut Findings) {
    let Some(devices) = linux.net_devices().as_ref().filter(|devices| !devices.is_empty()) else { return };
    let at = Field::at("/linux/netDevices");
    if facts.shares(LinuxNamespaceType::Network) {
        let why = "unable to move network devices without a private NET namespace";
        found.refuse(at.clone(), why, "add {\"type\": \"network\"} to linux.namespaces");
    }
    if facts.host.rootless() {
        let hint = "moving a device takes CAP_NET_ADMIN in the initial user namespace";
        found.refuse(at.clone(), "network devices are not supported for rootless containers", hint);
    }
    let mut inside: Vec<(&str, &str)> = Vec::new();
    for (outside, device) in devices {
        if found.is_full() {
            return;
        }
        let name = device.name().as_deref().filter(|name| !name.is_empty());
        let (shown, field) =
            name.map_or((outside.as_str(), at.key(outside)), |name| (name, at.key(outside).key("name")));
        for (name, field) in [(outside.as_str(), at.key(outside)), (shown, field)] {
            if !is_device_name(name) && !found.violations.iter().any(|violation| violation.field == field) {
                let hint = "1 to 15 bytes, without blanks, slashes and colons";
                found.refuse(field, format!("{name:?} is no name of a network device"), hint);
            }
        }
        inside.push((shown, outside));
    }
    inside.sort_unstable();
    for pair in inside.windows(2).filter(|pair| pair[0].0 == pair[1].0 && !pair[0].0.contains('%')) {
        let why = format!("the name {:?} is already that of {:?}", pair[1].0, pair[0].1);
        found.refuse(at.key(pair[1].1), why, "give each device a name of its own in the container");
    }
}

/// The kernel's rule (dev_valid_name), IFNAMSIZ being 16.
fn is_device_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 16
        && !matches!(name, "." | "..")
        && !name.bytes().any(|b| matches!(b, b'/' | b':') || b.is_ascii_whitespace() || b == 0x0b)
}

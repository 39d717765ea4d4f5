//! `mounts`: where something may be mounted. Which options fit which mount is the business of `rootfs`, which has the
//! table of options.

use std::path::{Component, Path};

use oci_spec::runtime::Mount;

use super::{Facts, Findings};
use crate::field::Field;

/// What may be mounted below /proc: files that lxcfs emulates. Anything else could shadow what corten itself reads and
/// writes there, such as the label of the next program (CVE-2019-16884).
const BELOW_PROC: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Many times what engines write. The kernel's own limit is 100,000 mounts in a namespace (fs.mount-max), and one entry
/// here can become thirty mounts: control groups of version 1.
const MOST_MOUNTS: usize = 4096;

pub(super) fn check(facts: &Facts, found: &mut Findings) {
    let mounts = facts.spec.mounts().as_deref().unwrap_or_default();
    if mounts.len() > MOST_MOUNTS {
        let why = format!("has {} mounts; corten makes {MOST_MOUNTS} at most", mounts.len());
        found.refuse(Field::at("/mounts"), why, "mount directories instead of single files");
    }
    for (i, mount) in mounts.iter().enumerate() {
        rules(mount, &Field::item("/mounts", i, ""), found);
    }
}

fn rules(mount: &Mount, at: &Field, found: &mut Findings) {
    let destination = cleaned(mount.destination());
    if mount.destination().as_os_str().is_empty() {
        found.refuse(at.key("destination"), "must not be empty", "write the path from the container's root");
    } else if destination == "/" {
        let why = "cannot mount on /: that is the root file system itself";
        found.refuse(at.key("destination"), why, "set root.path to what should be the root");
    }
    let has = |names: &[&str]| mount.options().iter().flatten().any(|option| names.contains(&option.as_str()));
    let typ = mount.typ().as_deref().unwrap_or_default();
    let bind = typ == "bind" || has(&["bind", "rbind"]);
    // The source is what decides for a bind on /proc itself, and that is looked at when it is mounted.
    if destination == "/proc" && !bind && !matches!(typ, "proc" | "") {
        let why = format!("\"/proc\" cannot be mounted because it is not of type proc, but {typ}");
        found.refuse(at.key("destination"), why, "corten writes labels and limits there, so it must be the real one");
    }
    if destination.starts_with("/proc/") && !BELOW_PROC.contains(&destination.as_str()) {
        let why = format!("{destination:?} cannot be mounted because it is inside /proc");
        let hint = format!(
            "only files that lxcfs provides may be: {}; use linux.maskedPaths to hide others",
            BELOW_PROC.join(", ")
        );
        found.refuse(at.key("destination"), why, hint);
    }
    if has(&["remount"]) {
        return;
    }
    if bind && mount.source().as_ref().is_none_or(|source| source.as_os_str().is_empty()) {
        found.refuse(at.key("source"), "is required for a bind mount", "name the file or directory to be bound");
    }
    if !bind && typ.is_empty() && !changes_propagation(mount) {
        let hint = "name a file system, or add the option bind or rbind";
        found.refuse(at.key("type"), "is required for all but bind mounts", hint);
    }
}

fn changes_propagation(mount: &Mount) -> bool {
    let kinds = ["private", "shared", "slave", "unbindable"];
    mount.options().iter().flatten().any(|option| kinds.contains(&option.strip_prefix('r').unwrap_or(option)))
}

/// The destination as a path from the root without `.`, `..` and doubled slashes. Links are not looked at.
fn cleaned(path: &Path) -> String {
    let mut parts: Vec<std::borrow::Cow<'_, str>> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy()),
            Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_cleaned_before_it_is_judged() {
        for (path, clean) in
            [("/", "/"), ("//", "/"), (".", "/"), ("/a/..", "/"), ("/../..", "/"), ("proc/./x//y", "/proc/x/y")]
        {
            assert_eq!(cleaned(Path::new(path)), clean, "{path}");
        }
    }
}

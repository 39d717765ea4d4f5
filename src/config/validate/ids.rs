//! `linux.uidMappings` and `gidMappings`: what user_namespaces(7) lets one write into uid_map and gid_map.

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};

use super::{Facts, Findings, Origin};
use crate::field::Field;

/// Lines that the kernel takes since Linux 4.15.
pub(super) const MOST_LINES: usize = 340;

/// Bytes that one write to a map may have: less than a page. The text goes to the kernel in one piece, and a length that
/// is cut to 16 bits on the way would let foreign bytes in (CVE-2021-43784).
const MOST_BYTES: usize = if cfg!(target_arch = "x86_64") { 4095 } else { 65535 };

/// Whether a mapping covers the id of the container.
pub(super) fn is_mapped(mappings: &[LinuxIdMapping], id: u32) -> bool {
    mappings.iter().any(|m| id.checked_sub(m.container_id()).is_some_and(|offset| offset < m.size()))
}

pub(super) fn check(facts: &Facts, linux: &Linux, found: &mut Findings) {
    let lists =
        [("uid", "/linux/uidMappings", linux.uid_mappings()), ("gid", "/linux/gidMappings", linux.gid_mappings())];
    let origin = facts.origin(LinuxNamespaceType::User);
    for (kind, at, mappings) in lists {
        let mappings = mappings.as_deref().unwrap_or_default();
        if mappings.is_empty() && origin == Origin::New {
            let why = format!("user namespaces enabled, but no {kind} mappings found");
            let hint =
                format!("add linux.{kind}Mappings, for example {{\"containerID\": 0, \"hostID\": 1000, \"size\": 1}}");
            found.refuse(Field::at(at), why, hint);
        }
        if !mappings.is_empty() && origin == Origin::Caller {
            let why = format!("{kind} mappings specified, but user namespaces are not enabled");
            found.refuse(Field::at(at), why, "add {\"type\": \"user\"} to linux.namespaces, or remove the mappings");
        }
        rules(mappings, &Field::at(at), found);
    }
    for (i, mount) in facts.spec.mounts().iter().flatten().enumerate() {
        for (name, mappings) in [("uidMappings", mount.uid_mappings()), ("gidMappings", mount.gid_mappings())] {
            if let Some(mappings) = mappings {
                rules(mappings, &Field::item("/mounts", i, "").key(name), found);
            }
        }
    }
}

/// What one map must be in itself.
fn rules(mappings: &[LinuxIdMapping], at: &Field, found: &mut Findings) {
    for (i, mapping) in mappings.iter().enumerate() {
        let at = at.index(i);
        if mapping.size() == 0 {
            found.refuse(at.key("size"), "must not be 0", "remove the mapping, or say how many ids it covers");
        }
        for (side, start) in [("containerID", mapping.container_id()), ("hostID", mapping.host_id())] {
            // 4294967295 is no id: as -1 it means "unchanged".
            if start.checked_add(mapping.size()).is_none() {
                let why = format!("{} ids from {start} on reach beyond 32 bits", mapping.size());
                found.refuse(at.key(side), why, "the highest id is 4294967294");
            }
            if start == 0 {
                found.require(at.key(side));
            }
        }
    }
    no_overlap(mappings, "containerID", LinuxIdMapping::container_id, at, found);
    no_overlap(mappings, "hostID", LinuxIdMapping::host_id, at, found);
    if mappings.len() > MOST_LINES {
        let why = format!("has {} mappings; the kernel takes {MOST_LINES}", mappings.len());
        found.refuse(at.clone(), why, "merge ranges that follow each other");
    }
    let bytes: usize =
        mappings.iter().map(|m| format!("{} {} {}\n", m.container_id(), m.host_id(), m.size()).len()).sum();
    if bytes > MOST_BYTES {
        let why = format!("makes a map of {bytes} bytes; the kernel takes {MOST_BYTES}");
        found.refuse(at.clone(), why, "merge ranges that follow each other");
    }
}

fn no_overlap(
    mappings: &[LinuxIdMapping],
    side: &str,
    start: fn(&LinuxIdMapping) -> u32,
    at: &Field,
    found: &mut Findings,
) {
    let mut order: Vec<usize> = (0..mappings.len()).filter(|&i| mappings[i].size() > 0).collect();
    order.sort_by_key(|&i| (start(&mappings[i]), i));
    // The range that reaches furthest among those seen.
    let mut furthest: Option<(u64, usize)> = None;
    for i in order {
        let first = u64::from(start(&mappings[i]));
        if let Some((_, other)) = furthest.filter(|(end, _)| first < *end) {
            let (earlier, later) = (i.min(other), i.max(other));
            let why = format!("overlaps mapping {earlier}: both cover the id {first}");
            found.refuse(at.index(later).key(side), why, "each id may be mapped once");
        }
        let end = first + u64::from(mappings[i].size());
        if furthest.is_none_or(|(furthest, _)| end > furthest) {
            furthest = Some((end, i));
        }
    }
}

//! Idmapped mounts: which mappings a mount gets, and from where. Pure.
//!
//! In a mount's mappings `containerID` is the id in the file system and `hostID` the id that the mount shows on the
//! host; a container in a user namespace sees what its own map makes of that.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Mount};

use super::super::options::Options;
use super::super::{IdLine, IdNamespace, Op};
use super::Planner;
use crate::error::Violation;
use crate::field::Field;
use crate::plan::Step;
use crate::slots::Slot;

/// A user namespace in a slot, and whether the mounts below are mapped too.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdMap {
    pub(super) namespace: Slot,
    pub(super) recursive: bool,
}

impl Planner<'_> {
    /// Plans the user namespace for an idmapped mount; `None` if the mount isn't one, or can't be.
    pub(super) fn plan_idmap(&mut self, index: usize, mount: &Mount, options: &Options) -> Option<IdMap> {
        let uids = mount.uid_mappings().as_deref().unwrap_or_default();
        let gids = mount.gid_mappings().as_deref().unwrap_or_default();
        if options.idmap.is_none() && uids.is_empty() && gids.is_empty() {
            return None;
        }
        let field = Field::item("/mounts", index, "");
        if self.host.rootless() {
            self.violate(
                Violation::new(field, "an idmapped mount needs root in the initial user namespace")
                    .hint("run corten as root, or drop idmap, uidMappings and gidMappings from this mount"),
            );
            return None;
        }
        let recursive = options.idmap.as_ref().is_some_and(|option| option.recursive);
        let written = options.idmap.as_ref().and_then(|option| option.mappings.as_deref());
        let lines = match (uids.is_empty(), gids.is_empty(), written) {
            (true, true, Some(written)) => self.written_mappings(&field, written)?,
            (true, true, None) => return self.mappings_of_container(field, mount, recursive),
            (false, false, _) => (lines(uids), lines(gids)),
            (true, ..) => return self.refuse(Field::item("/mounts", index, "/uidMappings"), "gidMappings"),
            (_, true, _) => return self.refuse(Field::item("/mounts", index, "/gidMappings"), "uidMappings"),
        };
        self.make_namespace(field, mount.destination(), lines, recursive)
    }

    fn refuse(&mut self, field: Field, other: &str) -> Option<IdMap> {
        self.violate(Violation::new(field, format!("is required together with {other}")));
        None
    }

    fn make_namespace(
        &mut self,
        field: Field,
        destination: &Path,
        (uids, gids): (Vec<IdLine>, Vec<IdLine>),
        recursive: bool,
    ) -> Option<IdMap> {
        if uids.is_empty() || gids.is_empty() {
            self.violate(Violation::new(field, "an idmapped mount needs mappings for users and for groups"));
            return None;
        }
        if uids.iter().chain(&gids).any(|line| line.length == 0) {
            self.violate(Violation::new(field, "the size of an id mapping must not be 0"));
            return None;
        }
        let destination = self.inside(destination, &field)?;
        let slot = self.slots.take();
        let op = Op::MakeIdNamespace(Box::new(IdNamespace { uids, gids, destination, slot }));
        self.plan.host.push(Step::new(op, field));
        Some(IdMap { namespace: slot, recursive })
    }

    /// Without mappings of its own the mount takes those of the container's user namespace.
    fn mappings_of_container(&mut self, field: Field, mount: &Mount, recursive: bool) -> Option<IdMap> {
        let own = self.live.map(|init| PathBuf::from(format!("/proc/{init}/ns/user")));
        match self.namespace(LinuxNamespaceType::User).map(|path| own.or(path.map(Path::to_owned))) {
            None => {
                self.violate(
                    Violation::new(field, "idmap needs uidMappings and gidMappings, or a user namespace")
                        .hint("give the mount uidMappings and gidMappings"),
                );
                None
            }
            Some(Some(path)) => {
                let path = self.c_string(path, &field)?;
                let slot = self.slots.take();
                self.plan.host.push(Step::new(Op::OpenIdNamespace { path, slot }, field));
                Some(IdMap { namespace: slot, recursive })
            }
            Some(None) => {
                let (uids, gids) = self.container_mappings();
                self.make_namespace(field, mount.destination(), (lines(&uids), lines(&gids)), recursive)
            }
        }
    }

    fn container_mappings(&self) -> (Vec<LinuxIdMapping>, Vec<LinuxIdMapping>) {
        let linux = self.spec.linux().as_ref();
        let uids = linux.and_then(|linux| linux.uid_mappings().clone()).unwrap_or_default();
        let gids = linux.and_then(|linux| linux.gid_mappings().clone()).unwrap_or_default();
        (uids, gids)
    }

    /// `uids=0-1-10#10-11-10;gids=0-1-10`: in each triplet the id in the file system, the id on the host, the length.
    /// After `@` the second id is one of the container's. What isn't given comes from the container's own mappings.
    fn written_mappings(&mut self, field: &Field, text: &str) -> Option<(Vec<IdLine>, Vec<IdLine>)> {
        let (container_uids, container_gids) = self.container_mappings();
        let mut uids = lines(&container_uids);
        let mut gids = lines(&container_gids);
        for part in text.split(';').filter(|part| !part.is_empty()) {
            let parsed = match part.split_once('=') {
                Some(("uids", list)) => parse_triplets(list, &container_uids).map(|parsed| uids = parsed),
                Some(("gids", list)) => parse_triplets(list, &container_gids).map(|parsed| gids = parsed),
                _ => Err(format!("unknown part {part:?} in an idmap option")),
            };
            if let Err(why) = parsed {
                self.violate(Violation::new(field.clone(), why).hint("write idmap=uids=0-1000-10;gids=0-1000-10"));
                return None;
            }
        }
        Some((uids, gids))
    }
}

fn lines(mappings: &[LinuxIdMapping]) -> Vec<IdLine> {
    let line = |mapping: &LinuxIdMapping| IdLine {
        inside: mapping.container_id(),
        outside: mapping.host_id(),
        length: mapping.size(),
    };
    mappings.iter().map(line).collect()
}

fn parse_triplets(list: &str, container: &[LinuxIdMapping]) -> Result<Vec<IdLine>, String> {
    list.split('#')
        .map(|triplet| {
            let (text, relative) = match triplet.strip_prefix('@') {
                Some(text) => (text, true),
                None => (triplet, false),
            };
            let numbers: Option<Vec<u32>> = text.split('-').map(|number| number.parse().ok()).collect();
            let Some(&[inside, outside, length]) = numbers.as_deref() else {
                return Err(format!("{triplet:?} is no id mapping: it must be three numbers joined with \"-\""));
            };
            let outside = if relative {
                host_id(outside, length, container)
                    .ok_or_else(|| format!("{triplet:?} isn't inside the mappings of the container's user namespace"))?
            } else {
                outside
            };
            Ok(IdLine { inside, outside, length })
        })
        .collect()
}

/// The host id of a range of container ids that lies in one mapping.
fn host_id(id: u32, length: u32, mappings: &[LinuxIdMapping]) -> Option<u32> {
    mappings.iter().find_map(|mapping| {
        let offset = id.checked_sub(mapping.container_id())?;
        let end = offset.checked_add(length)?;
        (end <= mapping.size()).then(|| mapping.host_id().checked_add(offset)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxIdMappingBuilder;
    use proptest::prelude::*;

    fn mapping(container_id: u32, host_id: u32, size: u32) -> LinuxIdMapping {
        LinuxIdMappingBuilder::default().container_id(container_id).host_id(host_id).size(size).build().unwrap()
    }

    #[test]
    fn triplets_are_read_in_order() {
        let parsed = parse_triplets("0-1-10#10-11-10", &[]).unwrap();
        assert_eq!(
            parsed,
            [IdLine { inside: 0, outside: 1, length: 10 }, IdLine { inside: 10, outside: 11, length: 10 }]
        );
    }

    #[test]
    fn a_relative_triplet_goes_through_the_containers_mapping() {
        let container = [mapping(0, 100_000, 1000)];
        assert_eq!(
            parse_triplets("@5-1-10", &container).unwrap(),
            [IdLine { inside: 5, outside: 100_001, length: 10 }]
        );
        assert!(parse_triplets("@0-999-2", &container).unwrap_err().contains("isn't inside"));
    }

    #[test]
    fn a_torn_triplet_is_refused() {
        for text in ["", "0-1", "a-b-c", "0-1-2-3", "0-1--1", "0-1-4294967296"] {
            assert!(parse_triplets(text, &[]).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_mappings_never_panics(text in ".*", id: u32, length: u32) {
            let container = [mapping(u32::MAX, u32::MAX, u32::MAX), mapping(0, 1, u32::MAX)];
            let _ = parse_triplets(&text, &container);
            let _ = host_id(id, length, &container);
        }
    }
}

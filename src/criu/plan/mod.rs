//! What criu is asked for. Pure: from config.json, the command line and what was seen of the container to the options of one
//! request. Descriptors are put in by who has them (`container/`).

pub mod dump;
pub mod mounts;
pub mod restore;
pub mod stdio;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};

use super::rpc::{self, CgMode, CgroupRoot};
use crate::cgroups::{Group, Place, Version};
use crate::error::Violation;
use crate::field::Field;

/// The key under which a dump names a network namespace that isn't the container's own, and under which a restore is given
/// one in its place. runc has the same.
pub const NETWORK: &str = "extRootNetNS";
/// The same for a pid namespace.
pub const PIDS: &str = "extRootPidNS";

/// What `--empty-ns` may leave empty: `network` is all that criu knows.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyNs {
    Network,
}

impl EmptyNs {
    /// The bit of clone(2).
    fn flag(self) -> u32 {
        match self {
            EmptyNs::Network => libc::CLONE_NEWNET as u32,
        }
    }
}

/// `--manage-cgroups-mode`.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManageCgroups {
    /// Make those of the container's own that are missing, with their limits
    #[default]
    Soft,
    /// As soft, and set the limits of those that are there
    Full,
    /// As full, and fail if one is there
    Strict,
    /// Leave them alone: every process is in the container's own cgroup
    Ignore,
}

impl ManageCgroups {
    fn mode(self) -> i32 {
        let mode = match self {
            ManageCgroups::Soft => CgMode::Soft,
            ManageCgroups::Full => CgMode::Full,
            ManageCgroups::Strict => CgMode::Strict,
            ManageCgroups::Ignore => CgMode::Ignore,
        };
        mode as i32
    }
}

/// `--network-lock`: how criu keeps packets out of a network while it is dumped.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkLock {
    /// By the program iptables-restore
    Iptables,
    /// By a library of criu's
    Nftables,
    /// Not at all: only for a container without connections
    Skip,
}

impl NetworkLock {
    fn method(self) -> i32 {
        let method = match self {
            NetworkLock::Iptables => rpc::NetworkLock::Iptables,
            NetworkLock::Nftables => rpc::NetworkLock::Nftables,
            NetworkLock::Skip => rpc::NetworkLock::Skip,
        };
        method as i32
    }
}

/// What the command line says of a dump and of a restore alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Common {
    pub tcp_established: bool,
    pub ext_unix_sk: bool,
    pub shell_job: bool,
    pub file_locks: bool,
    pub lazy_pages: bool,
    pub auto_dedup: bool,
    pub manage_cgroups: ManageCgroups,
    pub empty_ns: Vec<EmptyNs>,
}

/// Where criu finds the container's cgroup in each hierarchy. What is below it belongs to the container: a dump keeps that, and
/// a restore makes it anew below the cgroup that the container has then.
fn cgroup_roots(group: &Group) -> Vec<CgroupRoot> {
    let of = |place: &Place| {
        let path = format!("/{}", place.path.display());
        let names = match place.version {
            // A dump looks for the hierarchy, a restore for each of its controllers.
            Version::V1 if place.controllers.len() > 1 => {
                place.controllers.iter().cloned().chain([place.controllers.join(",")]).collect()
            }
            Version::V1 => place.controllers.clone(),
            Version::V2 => vec![String::new()],
        };
        names.into_iter().map(move |name| CgroupRoot { ctrl: Some(name), path: path.clone() })
    };
    group.places.iter().flat_map(of).collect()
}

/// Namespaces that the config joins and a restore can't: criu would make new ones. And mounts that are in no namespace at
/// all (a container without a mount namespace has them so): criu finds mounts by their namespace.
pub fn refuse_joined(spec: &Spec) -> Vec<Violation> {
    let kinds = || spec.linux().iter().flat_map(|linux| linux.namespaces()).flatten();
    let inherits = !kinds().any(|namespace| namespace.typ() == LinuxNamespaceType::Mount);
    let mounts = spec.mounts().iter().flatten().next().is_some();
    let read_only = spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false);
    let field = if mounts { "/mounts" } else { "/root/readonly" };
    let detached = (inherits && (mounts || read_only)).then(|| {
        let why = "criu can neither dump nor restore the mounts of a container without a mount namespace";
        Violation::new(Field::at(field), why).hint("add {\"type\": \"mount\"} to linux.namespaces")
    });
    let namespaces = spec.linux().iter().flat_map(|linux| linux.namespaces()).flatten().enumerate();
    let refuse = |(index, namespace): (usize, &LinuxNamespace)| {
        namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty())?;
        let kind = match namespace.typ() {
            LinuxNamespaceType::User => "user",
            LinuxNamespaceType::Mount => "mount",
            LinuxNamespaceType::Time => "time",
            LinuxNamespaceType::Cgroup => "cgroup",
            _ => return None,
        };
        let why =
            format!("a {kind} namespace of somebody else's can't be joined by a restore: criu would make a new one");
        let hint = "network, pid, ipc and uts namespaces can be joined";
        Some(Violation::new(Field::item("/linux/namespaces", index, "/path"), why).hint(hint))
    };
    namespaces.filter_map(refuse).chain(detached).collect()
}

/// `Some(true)` for what is asked for: what isn't is left to criu's configuration files.
fn asked(flag: bool) -> Option<bool> {
    flag.then_some(true)
}

fn empty_ns(list: &[EmptyNs]) -> Option<u32> {
    let flags = list.iter().fold(0, |flags, namespace| flags | namespace.flag());
    (flags != 0).then_some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn only_namespaces_that_criu_can_join_may_be_joined() {
        let joined = |kind: &str| {
            let spec: Spec = serde_json::from_value(json!({
                "ociVersion": "1.3.0",
                "linux": {"namespaces": [{"type": "mount"}, {"type": kind, "path": "/proc/7/ns/x"}]},
            }))
            .unwrap();
            refuse_joined(&spec).iter().map(|found| found.field.pointer().to_owned()).collect::<Vec<_>>()
        };
        let fields = |document| {
            let spec: Spec = serde_json::from_value(document).unwrap();
            refuse_joined(&spec).iter().map(|found| found.field.pointer().to_owned()).collect::<Vec<_>>()
        };
        let without = |more: Value| {
            let mut document = json!({"ociVersion": "1.3.0", "root": {"path": "r"}, "linux": {"namespaces": []}});
            document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            document
        };
        assert_eq!(fields(without(json!({"mounts": [{"destination": "/d"}]}))), ["/mounts"]);
        assert_eq!(fields(without(json!({"root": {"path": "r", "readonly": true}}))), ["/root/readonly"]);
        assert!(fields(without(json!({}))).is_empty());
        for kind in ["network", "pid", "ipc", "uts"] {
            assert!(joined(kind).is_empty(), "{kind}");
        }
        for kind in ["user", "time", "cgroup"] {
            assert_eq!(joined(kind), ["/linux/namespaces/1/path"], "{kind}");
        }
    }
}

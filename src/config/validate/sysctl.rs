//! `linux.sysctl`: only settings that belong to a namespace of the container. Any other would change the host.

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::{Facts, Findings};
use crate::field::Field;

/// Settings of an ipc namespace (ipc_namespaces(7)).
const OF_IPC: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn check(facts: &Facts, linux: &Linux, found: &mut Findings) {
    for name in linux.sysctl().iter().flat_map(|sysctl| sysctl.keys()) {
        if let Err((why, hint)) = rule(facts, name) {
            found.refuse(Field::at("/linux/sysctl").key(name), why, hint);
        }
    }
}

/// The name with dots between its parts, whichever way it is written. As in sysctl(8) the first separator decides:
/// after a slash, dots belong to a part (`net/ipv4/conf/eth0.1/forwarding`) and come out as slashes.
pub fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name.chars().map(swapped).collect(),
        _ => name.to_owned(),
    }
}

/// The path below `/proc/sys` of a name in either spelling.
pub fn path(name: &str) -> String {
    dotted(name).chars().map(swapped).collect()
}

fn swapped(c: char) -> char {
    match c {
        '.' => '/',
        '/' => '.',
        c => c,
    }
}

fn rule(facts: &Facts, name: &str) -> Result<(), (String, &'static str)> {
    if path(name).split('/').any(|part| matches!(part, "" | "." | "..")) {
        let why = format!("sysctl {name:?} is not allowed: it has an empty part or leads out of /proc/sys");
        return Err((why, "write the name as sysctl(8) shows it, for example net.ipv4.ip_forward"));
    }
    let dotted = dotted(name);
    let in_namespace = |typ: LinuxNamespaceType, why: &str, hint| {
        if facts.shares(typ) {
            Err((format!("sysctl {name:?} is not allowed in the host's {why}"), hint))
        } else {
            Ok(())
        }
    };
    match dotted.as_str() {
        "kernel.hostname" => Err((
            "sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \"hostname\" field".to_owned(),
            "set hostname at the top of config.json",
        )),
        "kernel.domainname" if facts.spec.domainname().is_some() => Err((
            "sysctl \"kernel.domainname\" is not allowed as it conflicts with the OCI \"domainname\" field".to_owned(),
            "keep one of the two",
        )),
        "kernel.domainname" => {
            in_namespace(LinuxNamespaceType::Uts, "uts namespace", "add {\"type\": \"uts\"} to linux.namespaces")
        }
        name if OF_IPC.contains(&name) || name.starts_with("fs.mqueue.") => {
            in_namespace(LinuxNamespaceType::Ipc, "ipc namespace", "add {\"type\": \"ipc\"} to linux.namespaces")
        }
        name if name.starts_with("net.") => in_namespace(
            LinuxNamespaceType::Network,
            "network namespace",
            "add {\"type\": \"network\"} to linux.namespaces",
        ),
        name if name.starts_with("user.") => {
            in_namespace(LinuxNamespaceType::User, "user namespace", "add {\"type\": \"user\"} to linux.namespaces")
        }
        _ => Err((
            format!("sysctl {name:?} is not in a separate kernel namespace"),
            "only net.*, fs.mqueue.*, user.*, kernel.domainname and the kernel.msg*, sem and shm* of ipc belong to a container; set others on the host",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_the_same_file() {
        for (name, dots, file) in [
            ("net.ipv4.ip_forward", "net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.1/rp_filter", "net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
            ("net.ipv4.conf.eth0/1.rp_filter", "net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
        ] {
            assert_eq!((dotted(name).as_str(), path(name).as_str()), (dots, file));
        }
    }
}

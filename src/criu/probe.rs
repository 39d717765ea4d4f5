//! Looks at a container that is going to be dumped: its mounts, the namespaces it has joined, where its stdio leads. Its
//! processes run meanwhile and may be hostile: paths are looked up by descriptor inside its root, and nothing is changed.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::plan::dump::{Joined, JoinedKind};
use super::plan::mounts::{Attached, Mounts};
use super::plan::stdio::Stream;
use crate::error::{Doing, Result};
use crate::host::mountinfo;
use crate::sys::{path, socket};

/// The mounts of the process `pid`, and which of them stand where the plan has put something.
pub fn mounts(pid: i32, attached: &[Attached], cgroup_namespace: bool) -> Result<Mounts> {
    let read = |whose: &str| {
        let file = format!("/proc/{whose}/mountinfo");
        fs::read_to_string(&file).map(|text| mountinfo::parse(text.as_bytes())).doing(|| format!("read {file}"))
    };
    let own = read(&pid.to_string())?;
    let host = read("self")?.into_iter().map(|mount| mount.device).collect();
    let root = File::open(format!("/proc/{pid}/root")).doing(|| "open the container's root")?;
    let mut found = BTreeMap::new();
    for one in attached {
        if let Some(id) = mount_at(root.as_fd().as_raw_fd(), &one.target, &own) {
            found.insert(id, one.target.clone());
        }
    }
    Ok(Mounts { own, host, found, cgroup_namespace })
}

/// The mount that begins at this place of the container, if one does: the container may have taken it away, or put another
/// over it, which then is what the place shows.
fn mount_at(root: i32, target: &str, own: &[mountinfo::Mounted]) -> Option<u64> {
    let target = CString::new(target).ok()?;
    let place: OwnedFd = socket::own(path::open_in_root(root, &target, libc::O_PATH).ok()?);
    let id = mount_id(&format!("/proc/self/fdinfo/{}", place.as_raw_fd()))?;
    let shown = fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd())).ok()?;
    own.iter().find(|mount| mount.id == id && mount.target == shown).map(|mount| mount.id)
}

/// The line `mnt_id:` of a file below fdinfo (proc_pid_fdinfo(5)).
fn mount_id(file: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

/// stdin, stdout and stderr of the process.
pub fn streams(pid: i32) -> [Stream; 3] {
    [0, 1, 2].map(|number| {
        let file = format!("/proc/{pid}/fd/{number}");
        let Ok(link) = fs::read_link(&file) else { return Stream::default() };
        let stat = fs::metadata(&file).ok();
        Stream {
            link: link.to_string_lossy().into_owned(),
            mount: mount_id(&format!("/proc/{pid}/fdinfo/{number}")),
            inode: stat.as_ref().map_or(0, MetadataExt::ino),
            device: stat.as_ref().map_or(0, MetadataExt::dev),
            character: stat.filter(|stat| stat.file_type().is_char_device()).map(|stat| stat.rdev()),
        }
    })
}

/// The network and pid namespaces that the config joins by path: these stay outside of a dump.
pub fn joined(pid: i32, spec: &Spec) -> Result<Vec<Joined>> {
    let mut found = Vec::new();
    for (kind, typ, name) in
        [(JoinedKind::Network, LinuxNamespaceType::Network, "net"), (JoinedKind::Pid, LinuxNamespaceType::Pid, "pid")]
    {
        if joined_path(spec, typ).is_some() {
            let file = format!("/proc/{pid}/ns/{name}");
            let inode = fs::metadata(&file).doing(|| format!("look at {file}"))?.ino();
            found.push(Joined { kind, inode });
        }
    }
    Ok(found)
}

/// Whether the config names a namespace of this type, new or joined.
pub fn has(spec: &Spec, typ: LinuxNamespaceType) -> bool {
    let mut namespaces = spec.linux().iter().flat_map(|linux| linux.namespaces()).flatten();
    namespaces.any(|namespace| namespace.typ() == typ)
}

/// The path of a namespace that the config joins.
pub fn joined_path(spec: &Spec, typ: LinuxNamespaceType) -> Option<PathBuf> {
    let mut namespaces = spec.linux().iter().flat_map(|linux| linux.namespaces()).flatten();
    let path = namespaces.find(|namespace| namespace.typ() == typ)?.path().clone();
    path.filter(|path| !path.as_os_str().is_empty())
}

/// criu's own configuration file for containers: the one that an annotation names, else the first of these that is there.
pub fn config_file(annotation: Option<&str>) -> Option<PathBuf> {
    const FILES: [&str; 2] = ["/etc/criu/corten.conf", "/etc/criu/runc.conf"];
    match annotation.filter(|path| !path.is_empty()) {
        Some(path) => Some(PathBuf::from(path)),
        None => FILES.iter().map(Path::new).find(|path| path.exists()).map(Path::to_owned),
    }
}

/// The annotation of a config that names criu's configuration file.
pub const CONFIG_ANNOTATION: &str = "org.criu.config";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_where_it_begins_and_nowhere_below() {
        let own = mountinfo::parse(&fs::read("/proc/self/mountinfo").unwrap());
        let root = File::open("/").unwrap();
        let at = |place: &str| mount_at(root.as_raw_fd(), place, &own);
        let proc = own.iter().rfind(|mount| mount.target.as_os_str() == "/proc").unwrap();
        assert_eq!(at("/proc"), Some(proc.id));
        assert_eq!(at("/proc/sys/kernel/../../../proc"), Some(proc.id));
        assert_eq!(at("/proc/self"), None, "inside of a mount");
        assert_eq!(at("/nowhere"), None);
    }

    #[test]
    fn the_streams_of_a_process_are_seen() {
        let child = std::process::Command::new("sleep")
            .arg("600")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn();
        let mut child = child.unwrap();
        let [stdin, stdout, _] = streams(child.id() as i32);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(stdin.link.starts_with("pipe:["), "{stdin:?}");
        assert_eq!((stdout.link.as_str(), stdout.character), ("/dev/null", Some(libc::makedev(1, 3))));
        assert!(stdout.mount.is_some() && stdout.inode > 0);
    }

    #[test]
    fn an_annotation_names_the_configuration_file() {
        assert_eq!(config_file(Some("/my/criu.conf")), Some("/my/criu.conf".into()));
        assert_eq!(config_file(Some("")), config_file(None));
    }
}

//! The request for a restore. Pure.

use std::path::{Path, PathBuf};

use super::mounts::{Attached, sources};
use super::{Common, asked, cgroup_roots, empty_ns};
use crate::cgroups::Group;
use crate::criu::rpc::{JoinNamespace, Opts};

/// What the command line says of a restore.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restore {
    pub common: Common,
    /// TCP connections of the images come back as closed ones.
    pub tcp_close: bool,
    /// `apparmor:NAME` or `selinux:LABEL`: what the processes run under, in place of what they were dumped with.
    pub lsm_profile: Option<String>,
    /// The SELinux context of mounts, in place of what they were dumped with.
    pub lsm_mount_context: Option<String>,
}

/// Where the container comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Into<'a> {
    pub attached: Vec<Attached>,
    pub group: Option<&'a Group>,
    /// Namespaces that are joined: criu's name of the kind, and the path.
    pub joined: Vec<(&'static str, PathBuf)>,
    pub terminal: bool,
    pub config_file: Option<PathBuf>,
}

/// How the restore is asked for; the descriptors are still missing.
pub fn plan_restore(restore: &Restore, into: &Into, root: &Path) -> Opts {
    let Common { tcp_established, ext_unix_sk, shell_job, file_locks, lazy_pages, auto_dedup, .. } = restore.common;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let join = |(ns, path): &(&str, PathBuf)| JoinNamespace { ns: (*ns).to_owned(), ns_file: text(path) };
    Opts {
        root: Some(text(root)),
        // corten, or who adopts its orphans, is the parent as of any container.
        rst_sibling: Some(true),
        evasive_devices: Some(true),
        tcp_established: asked(tcp_established),
        tcp_close: asked(restore.tcp_close),
        ext_unix_sk: asked(ext_unix_sk),
        shell_job: asked(shell_job),
        file_locks: asked(file_locks),
        lazy_pages: asked(lazy_pages),
        auto_dedup: asked(auto_dedup),
        empty_ns: empty_ns(&restore.common.empty_ns),
        manage_cgroups_mode: Some(restore.common.manage_cgroups.mode()),
        cg_root: into.group.map(cgroup_roots).unwrap_or_default(),
        orphan_pts_master: asked(into.terminal),
        ext_masters: Some(true),
        ext_sharing: Some(true),
        external: sources(&into.attached),
        join_ns: into.joined.iter().map(join).collect(),
        lsm_profile: restore.lsm_profile.clone(),
        lsm_mount_context: restore.lsm_mount_context.clone(),
        log_level: Some(4),
        log_file: Some("restore.log".to_owned()),
        notify_scripts: Some(true),
        config_file: into.config_file.as_deref().map(text),
        ..Opts::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ManageCgroups;
    use super::*;
    use crate::cgroups::{Place, Version};

    fn place(version: Version, controllers: &[&str]) -> Place {
        let controllers = controllers.iter().map(|name| (*name).to_owned()).collect();
        Place { version, controllers, mount: "/m".into(), path: "a/web".into(), made: 0 }
    }

    #[test]
    fn the_cgroups_of_the_new_container_are_the_roots() {
        let places = vec![place(Version::V1, &["cpu", "cpuacct"]), place(Version::V2, &["memory"])];
        let group = Group { places, unit: None };
        let into = Into { group: Some(&group), ..Into::default() };
        let opts = plan_restore(&Restore::default(), &into, Path::new("/r"));
        let roots: Vec<_> =
            opts.cg_root.iter().map(|root| (root.ctrl.as_deref().unwrap(), root.path.as_str())).collect();
        let names = ["cpu", "cpuacct", "cpu,cpuacct", ""];
        assert_eq!(roots, names.map(|name| (name, "/a/web")));
        assert_eq!((opts.rst_sibling, opts.manage_cgroups_mode), (Some(true), Some(3)));
    }

    #[test]
    fn every_flag_has_its_option() {
        let restore = Restore {
            common: Common {
                tcp_established: true,
                ext_unix_sk: true,
                shell_job: true,
                file_locks: true,
                lazy_pages: true,
                auto_dedup: true,
                manage_cgroups: ManageCgroups::Ignore,
                empty_ns: Vec::new(),
            },
            tcp_close: true,
            lsm_profile: Some("apparmor:web".into()),
            lsm_mount_context: Some("system_u:object_r:x_t:s0".into()),
        };
        let into = Into { joined: vec![("ipc", "/proc/7/ns/ipc".into())], terminal: true, ..Into::default() };
        let opts = plan_restore(&restore, &into, Path::new("/r"));
        let flags = [
            opts.tcp_established,
            opts.tcp_close,
            opts.ext_unix_sk,
            opts.shell_job,
            opts.file_locks,
            opts.lazy_pages,
            opts.auto_dedup,
            opts.orphan_pts_master,
        ];
        assert!(flags.iter().all(|flag| *flag == Some(true)), "{flags:?}");
        assert_eq!(opts.manage_cgroups_mode, Some(0));
        assert_eq!(opts.lsm_profile.as_deref(), Some("apparmor:web"));
        assert_eq!(opts.lsm_mount_context.as_deref(), Some("system_u:object_r:x_t:s0"));
        assert_eq!(opts.join_ns[0].ns_file, "/proc/7/ns/ipc");
    }
}

//! The request for a dump. Pure.

use std::path::{Path, PathBuf};

use super::mounts::Mounts;
use super::stdio::Named;
use super::{Common, NETWORK, NetworkLock, PIDS, asked, cgroup_roots, empty_ns};
use crate::cgroups::Group;
use crate::criu::rpc::{Opts, PageServerInfo, ReqType};

/// What the command line says of a dump.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dump {
    pub common: Common,
    pub leave_running: bool,
    /// Only the memory, and the container goes on: the next dump has less to write.
    pub pre_dump: bool,
    /// The images of an earlier one, relative to these.
    pub parent_path: Option<String>,
    pub tcp_skip_in_flight: bool,
    pub link_remap: bool,
    /// Address and port of a server that takes the pages.
    pub page_server: Option<(String, u16)>,
    /// Chosen by what the host has when not given.
    pub network_lock: Option<NetworkLock>,
}

/// A namespace that the container has joined rather than made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    pub kind: JoinedKind,
    pub inode: u64,
}

/// The kinds that criu can leave outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinedKind {
    Network,
    Pid,
}

/// What was seen of the container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Its init, in corten's pid namespace.
    pub pid: i32,
    pub mounts: Mounts,
    pub joined: Vec<Joined>,
    pub streams: Vec<Named>,
    pub group: Group,
    /// The cgroup that freezes it; absolute.
    pub freezer: Option<PathBuf>,
    /// It has a terminal, whose other end is corten's caller's.
    pub terminal: bool,
    /// The host has the program iptables-restore, by which criu locks a network unless it is told otherwise.
    pub iptables: bool,
    /// criu's own configuration file for this.
    pub config_file: Option<PathBuf>,
}

/// What is asked for, and how; the descriptors are still missing.
pub fn plan_dump(dump: &Dump, seen: &Seen, root: &Path) -> (ReqType, Opts) {
    let Common { tcp_established, ext_unix_sk, shell_job, file_locks, lazy_pages, auto_dedup, .. } = dump.common;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut external = seen.mounts.external();
    external.extend(seen.joined.iter().map(|joined| match joined.kind {
        JoinedKind::Network => format!("net[{}]:{NETWORK}", joined.inode),
        JoinedKind::Pid => format!("pid[{}]:{PIDS}", joined.inode),
    }));
    for stream in seen.streams.iter().filter(|stream| stream.external) {
        if !external.contains(&stream.name) {
            external.push(stream.name.clone());
        }
    }
    let opts = Opts {
        pid: Some(seen.pid),
        root: Some(text(root)),
        leave_running: asked(dump.leave_running),
        tcp_established: asked(tcp_established),
        tcp_skip_in_flight: asked(dump.tcp_skip_in_flight),
        ext_unix_sk: asked(ext_unix_sk),
        shell_job: asked(shell_job),
        file_locks: asked(file_locks),
        link_remap: asked(dump.link_remap),
        auto_dedup: asked(auto_dedup),
        lazy_pages: asked(lazy_pages),
        // What a later dump compares with.
        track_mem: asked(dump.pre_dump || dump.parent_path.is_some()),
        parent_img: dump.parent_path.clone(),
        ps: dump
            .page_server
            .as_ref()
            .map(|(address, port)| PageServerInfo { address: Some(address.clone()), port: Some(i32::from(*port)) }),
        empty_ns: empty_ns(&dump.common.empty_ns),
        manage_cgroups_mode: Some(dump.common.manage_cgroups.mode()),
        cg_root: cgroup_roots(&seen.group),
        freeze_cgroup: seen.freezer.as_deref().map(text),
        orphan_pts_master: asked(seen.terminal),
        // A bind mount may get what is mounted at its source later, and tells nobody.
        ext_masters: Some(true),
        ext_sharing: Some(true),
        external,
        network_lock: dump.network_lock.or((!seen.iptables).then_some(NetworkLock::Nftables)).map(NetworkLock::method),
        log_level: Some(4),
        log_file: Some("dump.log".to_owned()),
        notify_scripts: Some(true),
        config_file: seen.config_file.as_deref().map(text),
        ..Opts::default()
    };
    (if dump.pre_dump { ReqType::PreDump } else { ReqType::Dump }, opts)
}

#[cfg(test)]
mod tests {
    use super::super::{EmptyNs, ManageCgroups};
    use super::*;

    fn seen() -> Seen {
        Seen {
            pid: 300,
            joined: vec![Joined { kind: JoinedKind::Network, inode: 17 }, Joined { kind: JoinedKind::Pid, inode: 18 }],
            streams: vec![
                Named { name: "pipe:[1]".into(), external: false },
                Named { name: "file[a:b]".into(), external: true },
                Named { name: "file[a:b]".into(), external: true },
            ],
            freezer: Some("/sys/fs/cgroup/freezer/web".into()),
            iptables: true,
            ..Seen::default()
        }
    }

    #[test]
    fn without_flags_nothing_is_asked_for_that_the_container_needs_not() {
        let (kind, opts) = plan_dump(&Dump::default(), &seen(), Path::new("/b/rootfs"));
        assert_eq!(kind, ReqType::Dump);
        let expected = Opts {
            pid: Some(300),
            root: Some("/b/rootfs".into()),
            manage_cgroups_mode: Some(3),
            freeze_cgroup: Some("/sys/fs/cgroup/freezer/web".into()),
            ext_masters: Some(true),
            ext_sharing: Some(true),
            external: vec!["net[17]:extRootNetNS".into(), "pid[18]:extRootPidNS".into(), "file[a:b]".into()],
            log_level: Some(4),
            log_file: Some("dump.log".into()),
            notify_scripts: Some(true),
            ..Opts::default()
        };
        assert_eq!(opts, expected);
    }

    #[test]
    fn every_flag_has_its_option() {
        let dump = Dump {
            common: Common {
                tcp_established: true,
                ext_unix_sk: true,
                shell_job: true,
                file_locks: true,
                lazy_pages: true,
                auto_dedup: true,
                manage_cgroups: ManageCgroups::Strict,
                empty_ns: vec![EmptyNs::Network],
            },
            leave_running: true,
            pre_dump: false,
            parent_path: Some("../first".into()),
            tcp_skip_in_flight: true,
            link_remap: true,
            page_server: Some(("10.0.0.1".into(), 9999)),
            network_lock: Some(NetworkLock::Skip),
        };
        let seen = Seen { terminal: true, config_file: Some("/etc/criu/runc.conf".into()), ..seen() };
        let (_, opts) = plan_dump(&dump, &seen, Path::new("/r"));
        let flags = [
            opts.tcp_established,
            opts.ext_unix_sk,
            opts.shell_job,
            opts.file_locks,
            opts.lazy_pages,
            opts.auto_dedup,
            opts.leave_running,
            opts.tcp_skip_in_flight,
            opts.link_remap,
            opts.orphan_pts_master,
            opts.track_mem,
        ];
        assert!(flags.iter().all(|flag| *flag == Some(true)), "{flags:?}");
        assert_eq!(opts.manage_cgroups_mode, Some(5));
        assert_eq!((opts.empty_ns, opts.network_lock), (Some(0x4000_0000), Some(3)));
        assert_eq!(opts.parent_img.as_deref(), Some("../first"));
        assert_eq!(opts.ps, Some(PageServerInfo { address: Some("10.0.0.1".into()), port: Some(9999) }));
        assert_eq!(opts.config_file.as_deref(), Some("/etc/criu/runc.conf"));
    }

    #[test]
    fn a_dump_ahead_tracks_memory() {
        let dump = Dump { pre_dump: true, ..Dump::default() };
        let (kind, opts) = plan_dump(&dump, &Seen { iptables: false, ..seen() }, Path::new("/r"));
        assert_eq!(opts.network_lock, Some(2), "without the program a library does it");
        assert_eq!((kind, opts.track_mem, opts.leave_running), (ReqType::PreDump, Some(true), None));
    }
}

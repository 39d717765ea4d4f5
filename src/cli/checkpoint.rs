//! The flags of `checkpoint` and `restore`: those of runc, which are criu's.

use std::path::PathBuf;

use clap::Args;

use crate::criu::plan::dump::Dump;
use crate::criu::plan::restore::Restore;
use crate::criu::plan::{Common, EmptyNs, ManageCgroups, NetworkLock};

/// What `checkpoint` and `restore` have in common.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct CriuArgs {
    /// The directory of the images
    #[arg(long, value_name = "DIR", default_value = "checkpoint")]
    pub image_path: PathBuf,

    /// Where criu keeps its log; the directory of the images when not given
    #[arg(long, value_name = "DIR")]
    pub work_path: Option<PathBuf>,

    /// Keep TCP connections
    #[arg(long)]
    pub tcp_established: bool,

    /// Keep the container's end of unix sockets that lead out of it
    #[arg(long)]
    pub ext_unix_sk: bool,

    /// Its session began outside of the container, as that of a shell's job
    #[arg(long)]
    pub shell_job: bool,

    /// Fetch the pages of memory when they are used (userfaultfd)
    #[arg(long)]
    pub lazy_pages: bool,

    /// Keep file locks; safe only when nobody else uses the files
    #[arg(long)]
    pub file_locks: bool,

    /// What becomes of the limits of its control groups
    #[arg(long, value_enum, value_name = "MODE", default_value = "soft")]
    pub manage_cgroups_mode: ManageCgroups,

    /// A namespace whose content isn't kept; may be given several times
    #[arg(long, value_enum, value_name = "NAMESPACE", action = clap::ArgAction::Append)]
    pub empty_ns: Vec<EmptyNs>,

    /// Drop pages of earlier images that a later one has too
    #[arg(long)]
    pub auto_dedup: bool,
}

impl CriuArgs {
    fn common(&self) -> Common {
        Common {
            tcp_established: self.tcp_established,
            ext_unix_sk: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            lazy_pages: self.lazy_pages,
            auto_dedup: self.auto_dedup,
            manage_cgroups: self.manage_cgroups_mode,
            empty_ns: self.empty_ns.clone(),
        }
    }

    /// Where the log is.
    pub fn work(&self) -> &PathBuf {
        self.work_path.as_ref().unwrap_or(&self.image_path)
    }
}

#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct CheckpointArgs {
    /// The container
    #[arg(value_name = "ID")]
    pub id: String,

    #[command(flatten)]
    pub criu: CriuArgs,

    /// The images of an earlier --pre-dump, relative to those of this one
    #[arg(long, value_name = "DIR")]
    pub parent_path: Option<PathBuf>,

    /// The container goes on; it ends otherwise, and is deleted
    #[arg(long)]
    pub leave_running: bool,

    /// Leave out TCP connections that are just being made
    #[arg(long)]
    pub tcp_skip_in_flight: bool,

    /// Keep open files that have been removed
    #[arg(long)]
    pub link_remap: bool,

    /// With --lazy-pages: gets a NUL byte when the pages can be asked for
    #[arg(long, value_name = "FD")]
    pub status_fd: Option<i32>,

    /// Send the pages to a server
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = page_server)]
    pub page_server: Option<(String, u16)>,

    /// How packets are kept out of its network meanwhile; iptables where the host has it, else nftables
    #[arg(long, value_enum, value_name = "METHOD")]
    pub network_lock: Option<NetworkLock>,

    /// Write only the memory, ahead of a dump; the container goes on
    #[arg(long)]
    pub pre_dump: bool,
}

impl CheckpointArgs {
    pub fn dump(&self) -> Dump {
        Dump {
            common: self.criu.common(),
            leave_running: self.leave_running,
            pre_dump: self.pre_dump,
            parent_path: self.parent_path.as_ref().map(|path| path.to_string_lossy().into_owned()),
            tcp_skip_in_flight: self.tcp_skip_in_flight,
            link_remap: self.link_remap,
            page_server: self.page_server.clone(),
            network_lock: self.network_lock,
        }
    }
}

#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct RestoreArgs {
    /// A name for the container, unique under the state root
    #[arg(value_name = "ID")]
    pub id: String,

    /// The bundle: a directory with config.json and the root file system
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub bundle: PathBuf,

    #[command(flatten)]
    pub criu: CriuArgs,

    /// Let the TCP connections of the images come back as closed ones
    #[arg(long)]
    pub tcp_close: bool,

    /// Leave the container running and return
    #[arg(short, long)]
    pub detach: bool,

    /// A unix socket that receives the master end of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,

    /// Write the pid of the container's first process to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// Don't become the reaper of the container's orphans
    #[arg(long)]
    pub no_subreaper: bool,

    /// criu enters the root by itself, so there is nothing to choose
    #[arg(long, hide = true)]
    pub no_pivot: bool,

    /// What the processes run under in place of what they were dumped with: apparmor:NAME or selinux:LABEL
    #[arg(long, value_name = "PROFILE")]
    pub lsm_profile: Option<String>,

    /// The SELinux context of mounts in place of that which they were dumped with
    #[arg(long, value_name = "CONTEXT")]
    pub lsm_mount_context: Option<String>,
}

impl RestoreArgs {
    pub fn restore(&self) -> Restore {
        Restore {
            common: self.criu.common(),
            tcp_close: self.tcp_close,
            lsm_profile: self.lsm_profile.clone(),
            lsm_mount_context: self.lsm_mount_context.clone(),
        }
    }
}

/// `ADDRESS:PORT`; the address may have colons of its own.
fn page_server(text: &str) -> Result<(String, u16), String> {
    let refuse = || format!("{text:?} is no page server: it is ADDRESS:PORT");
    let (address, port) = text.rsplit_once(':').ok_or_else(refuse)?;
    match port.parse() {
        Ok(port) if !address.is_empty() && port > 0 => Ok((address.to_owned(), port)),
        _ => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Parsed, Verb, parse};
    use super::*;

    fn typed(line: &str) -> Verb {
        match parse(line.split(' ').map(Into::into)) {
            Ok(Parsed::Run(invocation)) => invocation.verb,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn engines_call_forms_are_understood() {
        let line = "checkpoint --image-path /i --work-path /w --leave-running --tcp-established --manage-cgroups-mode full web";
        let Verb::Checkpoint(args) = typed(line) else { panic!() };
        assert_eq!((&args.criu.image_path, args.criu.work()), (&"/i".into(), &"/w".into()));
        let dump = args.dump();
        assert!(dump.leave_running && dump.common.tcp_established);
        assert_eq!(dump.common.manage_cgroups, ManageCgroups::Full);
        let line = "restore --image-path /i --bundle /b -no-subreaper --detach --pid-file /p --console-socket /c web";
        let Verb::Restore(args) = typed(line) else { panic!() };
        assert!(args.detach && args.no_subreaper);
        assert_eq!((args.id.as_str(), args.criu.work()), ("web", &"/i".into()));
        assert_eq!((args.pid_file, args.console_socket), (Some("/p".into()), Some("/c".into())));
    }

    #[test]
    fn a_probe_for_a_flag_hears_that_it_needs_a_value() {
        // Podman asks so whether pods can be restored.
        let error = parse(["restore", "--lsm-mount-context"].map(OsString::from)).unwrap_err().error.to_string();
        assert!(error.contains("flag needs an argument"), "{error}");
    }

    #[test]
    fn a_page_server_has_an_address_and_a_port() {
        let Verb::Checkpoint(args) = typed("checkpoint --page-server 10.0.0.1:27 web") else { panic!() };
        assert_eq!(args.page_server, Some(("10.0.0.1".into(), 27)));
        assert_eq!(page_server("::1:27"), Ok(("::1".into(), 27)));
        for wrong in ["27", ":27", "a:", "a:x", "a:0", "a:70000"] {
            assert!(page_server(wrong).is_err(), "{wrong}");
        }
    }
}

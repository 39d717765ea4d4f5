//! The flags of `create` and `run`.

use std::path::PathBuf;

use clap::Args;

/// What `create` and `run` have in common.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct LaunchArgs {
    /// A name for the container, unique under the state root
    #[arg(value_name = "ID")]
    pub id: String,

    /// The bundle: a directory with config.json and the root file system
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub bundle: PathBuf,

    /// Read this file in place of config.json; a relative path begins at the bundle
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// A unix socket that receives the master end of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,

    /// A unix socket that receives a pidfd of the container's first process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,

    /// Write the pid of the container's first process to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// Enter the root by MS_MOVE and chroot: for a root file system on an initial ramdisk
    #[arg(long)]
    pub no_pivot: bool,

    /// Keep the caller's session keyring instead of joining a new one
    #[arg(long)]
    pub no_new_keyring: bool,

    /// Pass this many descriptors beyond stdio and LISTEN_FDS to the container
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub preserve_fds: u32,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct CreateArgs {
    #[command(flatten)]
    pub launch: LaunchArgs,

    /// `create` never waits for the container, so there is nothing to reap
    #[arg(long, hide = true)]
    pub no_subreaper: bool,

    /// `create` always leaves the container behind
    #[arg(short, long, hide = true)]
    pub detach: bool,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct RunArgs {
    #[command(flatten)]
    pub launch: LaunchArgs,

    /// Leave the container running and return
    #[arg(short, long)]
    pub detach: bool,

    /// Don't delete the container when it has ended
    #[arg(long)]
    pub keep: bool,

    /// Don't become the reaper of the container's orphans
    #[arg(long)]
    pub no_subreaper: bool,
}

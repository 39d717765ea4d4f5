//! What the command line adds to config.json: plain values that planning reads and never changes.

use std::path::PathBuf;

/// Whether the init waits at the exec fifo (`create`) or goes on at once (`run`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Create,
    /// `run`; `detach` leaves the container behind, else corten stays until it ends.
    Run {
        detach: bool,
        keep: bool,
    },
}

/// One call of `create` or `run`.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: String,
    /// Absolute path of the bundle directory.
    pub bundle: PathBuf,
    pub mode: Mode,
    pub pid_file: Option<PathBuf>,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    /// MS_MOVE and chroot in place of pivot_root.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Descriptors after stdio and LISTEN_FDS that the container's process keeps.
    pub preserve_fds: u32,
    /// How many sockets the caller's LISTEN_FDS announces; 0 without socket activation.
    pub listen_fds: u32,
    /// The caller's LISTEN_FDNAMES.
    pub listen_fd_names: Option<String>,
    /// The caller's NOTIFY_SOCKET.
    pub notify_socket: Option<PathBuf>,
    pub no_subreaper: bool,
    /// Rows and columns of the caller's terminal, for a foreground run whose config has no consoleSize.
    pub terminal_size: Option<(u16, u16)>,
}

impl Request {
    /// A call without any flag.
    pub fn new(id: &str, bundle: impl Into<PathBuf>, mode: Mode) -> Request {
        Request {
            id: id.to_owned(),
            bundle: bundle.into(),
            mode,
            pid_file: None,
            console_socket: None,
            pidfd_socket: None,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            listen_fds: 0,
            listen_fd_names: None,
            notify_socket: None,
            no_subreaper: false,
            terminal_size: None,
        }
    }
}

/// How many sockets the environment announces by socket activation (sd_listen_fds(3)).
pub fn listen_fds() -> u32 {
    std::env::var("LISTEN_FDS").ok().and_then(|n| n.parse().ok()).unwrap_or(0)
}

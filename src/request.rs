//! What the command line adds to config.json: plain values that planning reads and never changes.

use std::ffi::OsStr;
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
    /// `exec`: one more process in a container that is there; else as `Run`.
    Exec {
        detach: bool,
    },
    /// `restore`: criu makes the processes, so none of them enters anything by itself; else as `Run`.
    Restore {
        detach: bool,
    },
}

impl Mode {
    /// Whether corten leaves the process behind rather than staying until it ends.
    pub fn leaves(self) -> bool {
        match self {
            Mode::Create => true,
            Mode::Run { detach, .. } | Mode::Exec { detach } | Mode::Restore { detach } => detach,
        }
    }
}

/// Who makes the control groups.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// corten itself, in the file system.
    #[default]
    Cgroupfs,
    /// systemd, asked over D-Bus.
    Systemd,
    /// Nobody.
    Disabled,
}

/// The file system that resource control of the CPU has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resctrl {
    /// Where it is mounted; absolute.
    pub mount: PathBuf,
    /// It is a test's tree of ordinary directories.
    pub pretended: bool,
}

/// One call of `create`, `run`, `exec` or `restore`.
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
    /// Where the container's readiness goes (sd_notify(3)), if the caller wants to know of it.
    pub notify_socket: Option<NotifySocket>,
    pub cgroup_driver: CgroupDriver,
    /// Where resctrl is, if the config asks for it.
    pub resctrl: Option<Resctrl>,
    /// A control group that the caller may not make, and that nothing in the config needs, is done without.
    pub rootless: bool,
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
            cgroup_driver: CgroupDriver::Cgroupfs,
            resctrl: None,
            rootless: false,
            no_subreaper: false,
            terminal_size: None,
        }
    }
}

/// How many sockets the environment announces to this process by socket activation (sd_listen_fds(3)). One that names
/// another process has only been inherited: its descriptors may be anything.
pub fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u32>().ok());
    match number("LISTEN_PID") == Some(std::process::id()) {
        true => number("LISTEN_FDS").unwrap_or(0),
        false => 0,
    }
}

/// The two ends of the way that a container's messages to its service manager take. The container never gets at the
/// caller's own socket: it has one of its own, and corten passes on what comes out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifySocket {
    pub address: NotifyAddress,
    /// The directory on the host that holds the container's socket; absolute.
    pub dir: PathBuf,
}

impl NotifySocket {
    /// Where the directory is in the container.
    pub const DIR: &str = "/run/notify";
    /// The socket in the directory.
    pub const NAME: &str = "notify.sock";

    /// What the container's process finds in its NOTIFY_SOCKET.
    pub fn inside() -> String {
        format!("{}/{}", Self::DIR, Self::NAME)
    }
}

/// The caller's NOTIFY_SOCKET: an absolute path, or `@name` for the abstract name space (unix(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyAddress(String);

impl NotifyAddress {
    /// Bytes that fit into `sun_path` with the NUL behind them.
    const MAX: usize = 107;

    /// Takes a value of NOTIFY_SOCKET; the error says what it must be.
    pub fn parse(value: &OsStr) -> Result<NotifyAddress, &'static str> {
        let text = value.to_str().ok_or("must be UTF-8")?;
        match text.as_bytes() {
            [b'/' | b'@', _, ..] if text.len() <= Self::MAX => Ok(NotifyAddress(text.to_owned())),
            [b'/' | b'@', _, ..] => Err("must not be longer than 107 bytes"),
            _ => Err("must be an absolute path, or a name after @"),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn only_absolute_and_abstract_addresses_are_taken() {
        let parse = |text: &str| NotifyAddress::parse(OsStr::new(text));
        for text in ["/run/systemd/notify", "@notify", &format!("/{}", "x".repeat(106))] {
            assert_eq!(parse(text).unwrap().as_str(), text);
        }
        for text in ["", "/", "@", "run/notify", "./notify", "vsock:2:1234"] {
            assert!(parse(text).unwrap_err().contains("absolute path"), "{text}");
        }
        assert!(parse(&format!("/{}", "x".repeat(107))).unwrap_err().contains("107"));
        assert!(NotifyAddress::parse(OsStr::from_bytes(b"/\xff")).is_err());
    }
}

//! The flags that every verb has, and what they mean on this host.
//!
//! The one look at the host is the default state root, which differs for a caller without privileges.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use nix::errno::Errno;

use crate::error::Error;
use crate::fault::{Injected, Stage};
use crate::host::{self, Host};
use crate::log;
use crate::request::CgroupDriver;
use crate::sys::kernel;

/// The flags as they are typed.
#[derive(Args, Debug)]
struct Flags {
    /// Where the state of containers is kept: /run/corten, or corten in $XDG_RUNTIME_DIR for a caller without privileges
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// Append the log to this file in place of stderr
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// The form of the log
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    log_format: log::Format,

    /// What is logged: this level and everything graver
    #[arg(long, value_enum, value_name = "LEVEL")]
    log_level: Option<log::Level>,

    /// Log everything
    #[arg(long)]
    debug: bool,

    /// Let systemd make the control groups: the same as --cgroup-manager systemd
    #[arg(long)]
    systemd_cgroup: bool,

    /// Who makes the control groups
    #[arg(long, value_enum, value_name = "MANAGER")]
    cgroup_manager: Option<CgroupDriver>,

    /// Go on without the control groups that the caller may not make
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    rootless: Rootless,

    /// Where criu is, for `checkpoint` and `restore`; looked for in $PATH otherwise
    #[arg(long, value_name = "PATH")]
    criu: Option<PathBuf>,

    /// For tests: let a step fail, as STAGE:STEP[:ERRNO], STAGE:STEP:kill or STAGE:STEP:stop
    #[arg(long, value_name = "STAGE:STEP[:ERRNO|:kill|:stop]", hide = true)]
    fault: Vec<FaultPoint>,

    /// For tests: how long what mounts in a container may take
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 20_000, hide = true)]
    patience: u64,

    /// For tests: do without these calls, as an old kernel makes one do
    #[arg(long, value_name = "CALLS", value_enum, value_delimiter = ',', hide = true)]
    pretend_kernel_lacks: Vec<KernelCall>,

    /// For tests: take this directory for the file system resctrl
    #[arg(long, value_name = "DIR", hide = true)]
    pretend_resctrl: Option<PathBuf>,

    /// Print the version
    #[arg(short = 'v', long, visible_short_alias = 'V')]
    version: bool,

    /// Print help
    #[arg(short, long)]
    help: bool,
}

/// The definition of corten without its verbs.
pub fn definition() -> Command {
    let command = Command::new("corten")
        .no_binary_name(true)
        .args_override_self(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .override_usage("corten [OPTIONS] COMMAND [COMMAND OPTIONS] [ARGUMENTS]");
    // Last, because the struct's own doc comment would stand there otherwise.
    Flags::augment_args(command)
        .about("A low-level OCI container runtime: compiles config.json to a plan you can read, and runs the plan")
}

/// What holds for a command whatever its verb.
#[derive(Clone, Debug, PartialEq)]
pub struct Globals {
    /// The state root, absolute, never `/`.
    pub root: PathBuf,
    /// The mode to make the state root with. The sticky bit keeps a cleaner of `$XDG_RUNTIME_DIR` away from it
    /// (XDG Base Directory Specification).
    pub root_mode: u32,
    pub log: log::Settings,
    /// Who makes the control groups; `--systemd-cgroup` is `Systemd`.
    pub cgroup_driver: CgroupDriver,
    pub rootless: Rootless,
    /// The program criu; looked for in `$PATH` otherwise.
    pub criu: Option<PathBuf>,
    /// Steps that shall fail (tests).
    pub fault: Vec<FaultPoint>,
    /// How long what mounts in a container may take.
    pub patience: Duration,
    /// Calls that corten shall not use (tests of the ways around them).
    pub pretend_kernel_lacks: Vec<KernelCall>,
    /// What stands for the file system resctrl (tests).
    pub pretend_resctrl: Option<PathBuf>,
}

impl Globals {
    pub(super) fn from_matches(matches: &ArgMatches) -> Result<Globals, Error> {
        let flags = Flags::from_arg_matches(matches).map_err(|error| super::refusal::render(&error))?;
        let (root, root_mode) =
            state_root(flags.root.as_deref(), std::env::var_os("XDG_RUNTIME_DIR"), host::probe_rootless)?;
        Ok(Globals {
            root,
            root_mode,
            log: log::Settings {
                file: flags.log,
                format: flags.log_format,
                level: level(flags.log_level, flags.debug),
            },
            cgroup_driver: match (flags.cgroup_manager, flags.systemd_cgroup) {
                (Some(driver), _) => driver,
                (None, true) => CgroupDriver::Systemd,
                (None, false) => CgroupDriver::Cgroupfs,
            },
            rootless: flags.rootless,
            criu: flags.criu,
            fault: flags.fault,
            patience: Duration::from_millis(flags.patience),
            pretend_kernel_lacks: flags.pretend_kernel_lacks,
            pretend_resctrl: flags.pretend_resctrl,
        })
    }
}

fn level(level: Option<log::Level>, debug: bool) -> log::Level {
    if debug { log::Level::Debug } else { level.unwrap_or(log::Level::Info) }
}

/// The state root and the mode to make it with. `/` is refused because `delete` removes what is below the root.
fn state_root(
    given: Option<&Path>,
    runtime_dir: Option<OsString>,
    rootless: impl FnOnce() -> bool,
) -> Result<(PathBuf, u32), Error> {
    if let Some(given) = given {
        let root = std::path::absolute(given)
            .map_err(|error| Error::io("find the working directory", crate::fault::Call::Getcwd, &error))?;
        if plain(&root) == Path::new("/") {
            return Err(Error::Usage("--root argument should not be set to /".into()));
        }
        return Ok((root, 0o700));
    }
    match runtime_dir.map(PathBuf::from) {
        // The XDG specification has relative paths ignored.
        Some(dir) if dir.is_absolute() && rootless() => Ok((dir.join("corten"), 0o1700)),
        _ => Ok((PathBuf::from("/run/corten"), 0o700)),
    }
}

/// A path without `.` and `..`, by its letters alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            component => plain.push(component),
        }
    }
    plain
}

/// Whether missing permission on control groups is passed over.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rootless {
    // Engines written in Go print booleans in this way only.
    True,
    False,
    /// When the caller isn't the initial user namespace's root.
    Auto,
}

impl Rootless {
    /// The answer for this host.
    pub fn applies(self, host: &Host) -> bool {
        match self {
            Rootless::True => true,
            Rootless::False => false,
            Rootless::Auto => host.rootless(),
        }
    }
}

impl Globals {
    /// The calls to do without, as the bits of [`kernel`].
    pub fn kernel_gaps(&self) -> u32 {
        let bit = |call: &KernelCall| match call {
            KernelCall::NewMountApi => kernel::NEW_MOUNT_API,
            KernelCall::MountSetattr => kernel::MOUNT_SETATTR,
            KernelCall::Openat2 => kernel::OPENAT2,
            KernelCall::Clone3 => kernel::CLONE3,
            KernelCall::CloseRange => kernel::CLOSE_RANGE,
            KernelCall::Pidfd => kernel::PIDFD,
            KernelCall::IntoCgroup => kernel::INTO_CGROUP,
            KernelCall::Memfd => kernel::MEMFD,
        };
        self.pretend_kernel_lacks.iter().map(bit).fold(0, |gaps, gap| gaps | gap)
    }
}

/// A family of calls with a way around them.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub enum KernelCall {
    /// fsopen, fsmount, open_tree, move_mount.
    NewMountApi,
    MountSetattr,
    #[value(name = "openat2")]
    Openat2,
    #[value(name = "clone3")]
    Clone3,
    CloseRange,
    Pidfd,
    /// CLONE_INTO_CGROUP.
    IntoCgroup,
    /// memfd_create for the copy of corten's own program.
    Memfd,
}

/// A step that shall fail, for tests: `stage_two:3`, `stage_two:3:EBUSY`, `host:0:kill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPoint {
    pub stage: Stage,
    /// Counted from 0 in the stage's list.
    pub step: u16,
    pub how: Injected,
}

impl FromStr for FaultPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<FaultPoint, String> {
        let mut parts = text.split(':');
        let stage = parts.next().unwrap_or_default();
        let stage = Stage::ALL
            .into_iter()
            .find(|known| known.name() == stage)
            .ok_or_else(|| format!("the stages are {}", Stage::ALL.map(Stage::name).join(", ")))?;
        let step = parts.next().and_then(|step| step.parse().ok()).ok_or("a step is a number from 0")?;
        let how = match parts.next() {
            None => Injected::Errno(Errno::EIO),
            Some("kill") => Injected::Kill,
            Some("stop") => Injected::Stop,
            Some(errno) => Injected::Errno(errno_of(errno).ok_or("an errno is a name such as EBUSY, or a number")?),
        };
        match parts.next() {
            None => Ok(FaultPoint { stage, step, how }),
            Some(_) => Err("there are three parts at most".into()),
        }
    }
}

/// errno(3) by name or by number; Linux numbers them from 1 to 133.
fn errno_of(text: &str) -> Option<Errno> {
    let known = (1..=133).map(Errno::from_raw).filter(|errno| *errno != Errno::UnknownErrno);
    match text.parse::<i32>() {
        Ok(number) => known.into_iter().find(|errno| *errno as i32 == number),
        Err(_) => known.into_iter().find(|errno| format!("{errno:?}") == text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(given: Option<&str>, runtime_dir: Option<&str>, rootless: bool) -> Result<(PathBuf, u32), Error> {
        state_root(given.map(Path::new), runtime_dir.map(OsString::from), || rootless)
    }

    #[test]
    fn the_state_root_of_an_unprivileged_caller_is_in_the_runtime_directory_and_sticky() {
        assert_eq!(root(None, Some("/run/user/1000"), true).unwrap(), ("/run/user/1000/corten".into(), 0o1700));
        assert_eq!(root(None, Some("/run/user/0"), false).unwrap(), ("/run/corten".into(), 0o700));
        assert_eq!(root(None, None, true).unwrap(), ("/run/corten".into(), 0o700));
        assert_eq!(root(None, Some("relative"), true).unwrap(), ("/run/corten".into(), 0o700));
        assert_eq!(root(Some("/x"), Some("/run/user/1000"), true).unwrap(), ("/x".into(), 0o700));
    }

    #[test]
    fn the_state_root_can_not_be_the_root_however_it_is_spelled() {
        for spelling in ["/", "//", "/.", "/tmp/..", "/../"] {
            let error = root(Some(spelling), None, false).unwrap_err();
            assert_eq!(error.to_string(), "--root argument should not be set to /", "{spelling}");
        }
        assert!(root(Some("relative"), None, false).unwrap().0.is_absolute());
    }

    #[test]
    fn a_fault_point_names_a_stage_a_step_and_how_it_fails() {
        let point = |text: &str| text.parse::<FaultPoint>();
        let busy = FaultPoint { stage: Stage::StageTwo, step: 3, how: Injected::Errno(Errno::EBUSY) };
        assert_eq!(point("stage_two:3:EBUSY"), Ok(busy));
        assert_eq!(point("stage_two:3:16"), Ok(busy));
        assert_eq!(point("host:0").unwrap().how, Injected::Errno(Errno::EIO));
        assert_eq!(point("undo:12:kill").unwrap().how, Injected::Kill);
        assert_eq!(point("stage_two:1:stop").unwrap().how, Injected::Stop);
        for wrong in ["", "host", "host:x", "host:-1", "host:1:EFOO", "host:1:0", "host:1:kill:x", "stage:1"] {
            assert!(point(wrong).is_err(), "{wrong}");
        }
    }
}

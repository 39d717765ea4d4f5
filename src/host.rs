//! Facts about the host that planning depends on, probed once. Planning reads a `Host` and never the host itself, so
//! a test can plan for a machine that it doesn't run on.

pub mod cgroups;
pub mod lsm;
pub mod mountinfo;

use nix::unistd;

use self::cgroups::Layout;
use self::lsm::Lsms;
use crate::sys::capability;

/// What the machine and the calling process offer.
#[derive(Clone, Debug)]
pub struct Host {
    /// Effective user id of the caller.
    pub euid: u32,
    pub egid: u32,
    /// The caller runs in a user namespace of its own (not the initial one).
    pub in_user_namespace: bool,
    /// The caller's bounding set, one bit a capability.
    pub bounding: u64,
    /// The caller's effective set.
    pub effective: u64,
    /// The highest capability that the kernel knows.
    pub last_capability: u8,
    /// The hierarchies of control groups.
    pub cgroups: Layout,
    /// systemd has booted the host, so that there is a manager to ask.
    pub systemd: bool,
    /// The security modules, looked for when they are first asked for.
    pub lsms: Lsms,
}

impl Host {
    /// Reads the facts.
    pub fn probe() -> Host {
        let capabilities = capability::probe();
        Host {
            euid: unistd::geteuid().as_raw(),
            egid: unistd::getegid().as_raw(),
            in_user_namespace: probe_user_namespace(),
            bounding: capabilities.bounding,
            effective: capabilities.effective,
            last_capability: capabilities.last,
            cgroups: Layout::probe(),
            // sd_booted(3)
            systemd: std::path::Path::new("/run/systemd/system").is_dir(),
            lsms: Lsms::default(),
        }
    }

    /// A machine for tests: root on a current kernel with every capability, cgroup v2, and every
    /// security module that a config has labels for.
    pub fn fixture() -> Host {
        Host {
            euid: 0,
            egid: 0,
            in_user_namespace: false,
            bounding: (1 << 41) - 1,
            effective: (1 << 41) - 1,
            last_capability: 40,
            cgroups: Layout::fixture_unified(),
            systemd: true,
            lsms: Lsms::fixture(true, true),
        }
    }

    /// Whether the caller may look into its children whatever they are (ptrace(2), CAP_SYS_PTRACE): into an undumpable one
    /// only in the initial user namespace.
    pub fn may_trace(&self) -> bool {
        const CAP_SYS_PTRACE: u64 = 1 << 19;
        !self.rootless() && self.effective & CAP_SYS_PTRACE != 0
    }

    /// Whether the caller lacks the initial user namespace's root: then ids need newuidmap, devices are bound, and
    /// limits that only the real root may raise stay as they are.
    pub fn rootless(&self) -> bool {
        self.euid != 0 || self.in_user_namespace
    }
}

/// [`Host::rootless`] alone, for what needs no other fact.
pub fn probe_rootless() -> bool {
    !unistd::geteuid().is_root() || probe_user_namespace()
}

/// The initial user namespace maps all 32-bit ids to themselves (user_namespaces(7)).
fn probe_user_namespace() -> bool {
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else { return false };
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

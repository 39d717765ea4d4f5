//! Which system calls the running kernel lacks, or an outer seccomp filter hides. The wrappers in this folder ask here
//! before they call, so that a test can pretend an old kernel and drive every way around a missing call.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};

/// open_tree, move_mount, fsopen, fsconfig, fsmount (Linux 5.2).
pub const NEW_MOUNT_API: u32 = 1 << 0;
/// mount_setattr (Linux 5.12).
pub const MOUNT_SETATTR: u32 = 1 << 1;
/// openat2 (Linux 5.6). corten has no way around it: without it, a path inside a root can't be resolved safely.
pub const OPENAT2: u32 = 1 << 2;
/// clone3 (Linux 5.3).
pub const CLONE3: u32 = 1 << 3;
/// close_range (Linux 5.9; CLOSE_RANGE_CLOEXEC 5.11).
pub const CLOSE_RANGE: u32 = 1 << 4;
/// pidfd_open and pidfd_send_signal (Linux 5.3).
pub const PIDFD: u32 = 1 << 5;
/// clone3's CLONE_INTO_CGROUP (Linux 5.7).
pub const INTO_CGROUP: u32 = 1 << 6;
/// memfd_create for corten's own program (sysctl vm.memfd_noexec, Linux 6.3, can forbid it).
pub const MEMFD: u32 = 1 << 7;

static GAPS: AtomicU32 = AtomicU32::new(0);
static PROBED: AtomicBool = AtomicBool::new(false);

/// Makes the wrappers answer ENOSYS for these calls from now on, in this process and in what it clones.
pub fn pretend_lacks(gaps: u32) {
    GAPS.fetch_or(gaps, Ordering::Relaxed);
}

/// Whether any of these calls is missing, as far as has been found out.
pub fn lacks(gaps: u32) -> bool {
    GAPS.load(Ordering::Relaxed) & gaps != 0
}

/// ENOSYS where the call is known to be missing.
pub(super) fn require(gap: u32, call: Call) -> Effect {
    if lacks(gap) { Err(Trouble::new(call, Errno::ENOSYS)) } else { Ok(()) }
}

/// Finds out once whether the mount calls exist. They are called with arguments that every kernel refuses before it
/// looks at privileges: EINVAL says that a call is there, ENOSYS (or a seccomp filter's EPERM) that it isn't.
pub fn probe_mount_calls() {
    if PROBED.swap(true, Ordering::Relaxed) {
        return;
    }
    if !super::mount::open_tree_exists() {
        pretend_lacks(NEW_MOUNT_API);
    }
    if !super::mount::mount_setattr_exists() {
        pretend_lacks(MOUNT_SETATTR);
    }
}

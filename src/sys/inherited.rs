//! What a process inherits and had better not: descriptors that its caller left open, and a disposition of SIGCHLD that
//! would have the kernel reap its children unseen.

use crate::sys::descriptor;

/// Closes every descriptor beyond stdio and the first `kept` after it.
pub fn close(kept: u32) {
    descriptor::close_from(kept.saturating_add(3));
}

/// A caller that ignores SIGCHLD makes its children ignore it too, and waiting for a child would then never tell how it
/// ended (waitpid(2)).
pub fn reap_children() {
    super::wait::default_signal(libc::SIGCHLD);
}

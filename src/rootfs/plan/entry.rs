//! How a process that comes later gets the container's root directory. Pure.

use std::ffi::CString;

use crate::field::Field;
use crate::plan::Step;
use crate::rootfs::Op;

/// What the root file system contributes to the plan of an `exec`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RootEntry {
    /// Before clone.
    pub host: Vec<Step>,
    /// In the child, once it has joined the container's namespaces.
    pub enter: Vec<Step>,
}

/// Plans the way to the root. With a mount namespace of the container's own its root is the root of that; where it shares its
/// caller's (`shares_mounts`), only its init knows it.
pub fn plan_root(init: i32, shares_mounts: bool) -> RootEntry {
    let at = Field::at("/root/path");
    if !shares_mounts {
        return RootEntry { host: Vec::new(), enter: vec![Step::new(Op::OpenOwnRoot, at)] };
    }
    let file = CString::new(format!("{init}/root")).unwrap_or_default();
    RootEntry { host: vec![Step::new(Op::OpenInitRoot { file }, at.clone())], enter: vec![Step::new(Op::Chroot, at)] }
}

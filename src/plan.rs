//! The plan: what corten is going to do, as data.
//!
//! config.json, the command line and facts about the host go through pure functions and come out as ordered lists of
//! [`Step`]s. Running a container is interpreting those lists (`process/`). The order of the steps is the security
//! property of a runtime, so it stands here where a test can read it, and nowhere else.

use crate::field::Field;
use crate::slots::SlotCounter;
use crate::{cgroups, namespaces, process, rootfs};

/// One effect that a user would understand as a sentence, and the field that asked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub op: Op,
    pub field: Field,
}

impl Step {
    pub fn new(op: impl Into<Op>, field: Field) -> Step {
        Step { op: op.into(), field }
    }
}

/// An effect, by the domain that knows how to apply it.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Namespace(namespaces::Op),
    Cgroup(cgroups::Op),
    Rootfs(rootfs::Op),
    Process(process::Op),
    /// Host and child wait for each other here.
    Sync(Point),
}

/// Where host and child wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Point {
    /// The child waits until the host has written its id maps (user_namespaces(7)) and adopted it.
    Adopted,
    /// The root file system is mounted and not yet entered: the host runs the hooks that belong here.
    Mounted,
    /// Everything is set up; for `create` the host records the container and leaves.
    Ready,
    /// The init waits for a byte in the exec fifo.
    ExecFifo,
}

impl From<namespaces::Op> for Op {
    fn from(op: namespaces::Op) -> Op {
        Op::Namespace(op)
    }
}
impl From<cgroups::Op> for Op {
    fn from(op: cgroups::Op) -> Op {
        Op::Cgroup(op)
    }
}
impl From<rootfs::Op> for Op {
    fn from(op: rootfs::Op) -> Op {
        Op::Rootfs(op)
    }
}
impl From<process::Op> for Op {
    fn from(op: process::Op) -> Op {
        Op::Process(op)
    }
}
impl From<Point> for Op {
    fn from(point: Point) -> Op {
        Op::Sync(point)
    }
}

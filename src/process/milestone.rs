//! What a launch is of, and how far it has come: what it tells whoever keeps the record.

use std::os::fd::OwnedFd;

use crate::slots::Slot;

/// What is launched. Of all but the init `state` is that of the container, which is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Init,
    /// One more process of the container.
    Exec,
    /// What mounts something in it.
    Mounts,
}

/// A mount that the child has come to attach.
#[derive(Debug)]
pub struct Announced {
    pub slot: Slot,
    pub mount: OwnedFd,
}

/// How far a launch has come, for who keeps the record.
#[derive(Clone, Copy, Debug)]
pub enum Milestone<'a> {
    /// There is a process, in the host's pid namespace: stage one, and with a second fork once more the init itself.
    Born(i32),
    /// It has set itself up, and goes on into its program with the next word: until now it may have been anywhere.
    Settled,
    /// These mounts are there.
    Mounted(&'a [Announced]),
}

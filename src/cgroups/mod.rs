//! Control groups: where a container's cgroups are in each hierarchy, what is written there, and the verbs that need
//! them. Our own code on cgroupfs of both versions; systemd's part stands in `systemd/`.

pub mod adopt;
pub mod apply;
pub mod file;
pub mod group;
pub mod make;
pub mod members;
pub mod plan;
pub mod remove;
pub mod systemd;

use std::ffi::CString;
use std::path::PathBuf;

pub use group::{Group, Place, Version};

use crate::slots::Slot;

/// An effect on control groups. Where it runs is the list it stands in.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Host: make the cgroup with all that is missing above it, and open what the child needs to enter it: `tasks` of a
    /// hierarchy of version 1, the directory of version 2.
    Make(Box<Make>),
    /// Host, on the child: have systemd start the unit that the child is in, and wait until it is there.
    StartUnit(Box<systemd::StartUnit>),
    /// Host, on the child: move it to the cgroup of a hierarchy where it isn't there yet.
    Move(Box<Move>),
    /// Host: write a value to a file of the container's cgroup.
    Write { file: CString, value: CString },
    /// Host: open a file of the container's cgroup for a value that the child writes.
    OpenLimit { file: CString, slot: Slot },
    /// Child: enter the cgroup of a hierarchy.
    Enter { slot: Slot, version: Version, hierarchy: String },
    /// Child: run on every CPU that the cgroup has, whatever the caller's own affinity was.
    ResetAffinity,
    /// Child: write a limit that its own set-up must not meet.
    WriteLate { slot: Slot, name: String, value: CString },
    /// Host, after a failure: remove the cgroups, with all that the container has made in them.
    Remove,
}

/// What it takes to make a cgroup.
#[derive(Clone, Debug, PartialEq)]
pub struct Make {
    pub version: Version,
    /// As they are named in /proc/self/cgroup, for a sentence.
    pub hierarchy: String,
    /// Where the hierarchy is mounted; absolute.
    pub mount: PathBuf,
    /// The cgroup, relative to the mount.
    pub path: PathBuf,
    /// Filled with what lets a child enter.
    pub slot: Slot,
    /// Version 2: the controllers that the cgroup shall have.
    pub enable: Vec<String>,
    /// Version 1: `cpuset.cpus` and `cpuset.mems` must not be empty before anyone can enter.
    pub fill_cpuset: bool,
    /// The caller may lack the permission, and nothing in the config needs the cgroup.
    pub optional: bool,
}

/// What it takes to move another process to a cgroup.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// As /proc/self/cgroup names it, for a sentence.
    pub hierarchy: String,
    /// Where the hierarchy is mounted; absolute.
    pub mount: PathBuf,
    /// The cgroup, relative to the mount.
    pub path: PathBuf,
    /// `cpuset.cpus` and `cpuset.mems` must not be empty before anyone can enter.
    pub fill_cpuset: bool,
    /// Somebody else was to put the process there: should it be elsewhere, then the cgroup isn't the one that was planned.
    pub must_be_there: bool,
}

/// The step as a sentence.
pub fn render(op: &Op) -> String {
    let text = |text: &CString| text.to_string_lossy().into_owned();
    match op {
        Op::Make(make) => {
            let optional = if make.optional { ", if that is permitted" } else { "" };
            format!("make the cgroup {}{optional}", make.mount.join(&make.path).display())
        }
        Op::StartUnit(start) => format!("start {} of {} with the child in it", start.unit.name, start.unit.slice),
        Op::Move(step) if step.must_be_there => format!("find the child in {}", step.mount.join(&step.path).display()),
        Op::Move(step) => format!("move the child to {}", step.mount.join(&step.path).display()),
        Op::Write { file, value } => format!("write {:?} to {}", text(value).trim_end(), text(file)),
        Op::OpenLimit { file, .. } => format!("open {}", text(file)),
        Op::Enter { hierarchy, .. } => format!("enter the cgroup of {hierarchy}"),
        Op::ResetAffinity => "run on all CPUs of the cgroup".to_owned(),
        Op::WriteLate { name, value, .. } => format!("write {:?} to {name}", text(value).trim_end()),
        Op::Remove => "remove the cgroups".to_owned(),
    }
}

//! Control groups: where a container's cgroups are in each hierarchy, what is written there, and the verbs that need
//! them. Our own code on cgroupfs of both versions; systemd's part stands in `systemd/`.

pub mod adopt;
pub mod apply;
pub mod current;
pub mod delegate;
pub mod devices;
pub mod file;
pub mod freeze;
pub mod group;
pub mod kill;
pub mod make;
pub mod members;
pub mod merged;
pub mod oom;
pub mod oom_events;
mod open;
pub mod plan;
pub mod rdt;
pub mod reason;
pub mod remove;
pub mod stats;
pub mod systemd;
pub mod tree;
pub mod update;

use std::ffi::CString;
use std::path::PathBuf;

pub use group::{Group, Place, Version};

use crate::slots::Slot;
use plan::devices::Rules;
use plan::program::Program;

/// An effect on control groups. Where it runs is the list it stands in.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Host: make the cgroup with all that is missing above it, and open what the child needs to enter it: `tasks` of a
    /// hierarchy of version 1, the directory of version 2.
    Make(Box<Make>),
    /// Host: the same for a cgroup that is there, which one more process enters.
    Open(Box<Open>),
    /// Host, on the child: have systemd start the unit that the child is in, and wait until it is there.
    StartUnit(Box<systemd::StartUnit>),
    /// Host, on the child: move it to the cgroup of a hierarchy where it isn't there yet.
    Move(Box<Move>),
    /// Host: write a value to a file of the container's cgroup.
    Write { file: CString, value: CString },
    /// Host: the same for the first of these files that the kernel has.
    WriteFirst { choices: Vec<(CString, CString)> },
    /// Host: write a value that a missing file stands for as well.
    WriteIfPresent { file: CString, value: CString },
    /// Host: give the cgroup of version 2, with the files by which cgroups are made below it, to the container's user.
    Delegate { dir: CString, uid: u32, optional: bool },
    /// Host: open a file of the container's cgroup for a value that the child writes.
    OpenLimit { file: CString, slot: Slot },
    /// Host, version 1: add an exception to the cgroup's default for devices, by devices.allow or devices.deny.
    RuleDevice {
        slot: Slot,
        allow: bool,
        /// `c 1:3 rwm`
        value: CString,
        /// The cgroup above may not have it; then it isn't had here either.
        optional: bool,
        /// The file is closed after it.
        last: bool,
    },
    /// Host, version 2: have the kernel ask a program about devices.
    AttachDevices(Box<DeviceProgram>),
    /// Child: enter the cgroup of a hierarchy.
    Enter { slot: Slot, version: Version, hierarchy: String },
    /// Child: run on every CPU that the cgroup has, whatever the caller's own affinity was.
    ResetAffinity,
    /// Child: write a limit that its own set-up must not meet.
    WriteLate { slot: Slot, name: String, value: CString },
    /// Host, while the child waits: make the class of service with these lines, or find it so.
    MakeClass { rdt: rdt::Rdt, schemata: Vec<String> },
    /// Host, on the child: put it into its class of service.
    EnterClass { rdt: rdt::Rdt },
    /// Host, after a failure: remove what is the container's own in resctrl.
    RemoveClass { rdt: rdt::Rdt },
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

/// What it takes to open a container's cgroup, or one below it.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    pub version: Version,
    /// As /proc/self/cgroup names it, for a sentence.
    pub hierarchy: String,
    /// Where the hierarchy is mounted; absolute.
    pub mount: PathBuf,
    /// The container's cgroup, relative to the mount.
    pub path: PathBuf,
    /// The one that is meant, relative to that; `None` for the container's own.
    pub below: Option<PathBuf>,
    /// The container's init: where the container's own cgroup may have no processes, its one is taken.
    pub init: i32,
    /// `create` may have gone without the cgroup: see [`Make::optional`].
    pub optional: bool,
    /// Filled with what lets a child enter.
    pub slot: Slot,
}

/// A cgroup of version 2, and what may be done with devices in it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceProgram {
    /// The cgroup's directory; absolute.
    pub dir: CString,
    /// What the program says, for a sentence.
    pub rules: Rules,
    pub program: Program,
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
        Op::Open(open) => {
            let below = open.below.as_deref().map(|below| format!("/{}", below.display())).unwrap_or_default();
            format!("open the cgroup {}{below}", open.mount.join(&open.path).display())
        }
        Op::StartUnit(start) => format!("start {} of {} with the child in it", start.unit.name, start.unit.slice),
        Op::Move(step) if step.must_be_there => format!("find the child in {}", step.mount.join(&step.path).display()),
        Op::Move(step) => format!("move the child to {}", step.mount.join(&step.path).display()),
        Op::Write { file, value } => format!("write {:?} to {}", text(value).trim_end(), text(file)),
        Op::WriteFirst { choices } => {
            let choices = choices.iter().map(|(file, value)| format!("{:?} to {}", text(value), text(file)));
            format!("write {}", choices.collect::<Vec<_>>().join(", or if there is none "))
        }
        Op::WriteIfPresent { file, value } => format!("write {:?} to {}, if there is one", text(value), text(file)),
        Op::Delegate { dir, uid, .. } => format!("give the cgroup {} to user {uid}", text(dir)),
        Op::OpenLimit { file, .. } => format!("open {}", text(file)),
        Op::RuleDevice { allow, value, optional, .. } => {
            let optional = if *optional { ", if the cgroup above has it" } else { "" };
            format!("{} device {}{optional}", if *allow { "allow" } else { "deny" }, text(value))
        }
        Op::AttachDevices(devices) => format!("rule devices in {}: {}", text(&devices.dir), devices.rules),
        Op::Enter { hierarchy, .. } => format!("enter the cgroup of {hierarchy}"),
        Op::ResetAffinity => "run on all CPUs of the cgroup".to_owned(),
        Op::WriteLate { name, value, .. } => format!("write {:?} to {name}", text(value).trim_end()),
        Op::MakeClass { rdt, schemata } => {
            let lines = if schemata.is_empty() { String::new() } else { format!(": {}", schemata.join("; ")) };
            let found = if rdt.own || schemata.is_empty() { "" } else { ", or find it so" };
            let verb = if rdt.own || !schemata.is_empty() { "make" } else { "find" };
            format!("{verb} the class of service {}{found}{lines}", rdt.dir().display())
        }
        Op::EnterClass { rdt } => format!("enter the class of service {}", rdt.dir().display()),
        Op::RemoveClass { rdt } => format!("leave the class of service {}", rdt.dir().display()),
        Op::Remove => "remove the cgroups".to_owned(),
    }
}

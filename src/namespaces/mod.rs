//! The eight kinds of namespaces, how a container gets each, and the identity maps of a user namespace.

pub mod adopt;
pub mod apply;
pub mod idmap;
pub mod netdev;
pub mod plan;

use std::ffi::CString;

use crate::slots::Slot;

/// A kind of namespace (namespaces(7)), in the order of the kernel's own documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Cgroup,
    Ipc,
    Mount,
    Network,
    Pid,
    Time,
    User,
    Uts,
}

impl Kind {
    pub const ALL: [Kind; 8] =
        [Kind::Cgroup, Kind::Ipc, Kind::Mount, Kind::Network, Kind::Pid, Kind::Time, Kind::User, Kind::Uts];

    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cgroup => "cgroup",
            Kind::Ipc => "ipc",
            Kind::Mount => "mount",
            Kind::Network => "network",
            Kind::Pid => "pid",
            Kind::Time => "time",
            Kind::User => "user",
            Kind::Uts => "uts",
        }
    }

    /// Its CLONE_NEW* flag.
    pub fn flag(self) -> u64 {
        let flag = match self {
            Kind::Cgroup => libc::CLONE_NEWCGROUP,
            Kind::Ipc => libc::CLONE_NEWIPC,
            Kind::Mount => libc::CLONE_NEWNS,
            Kind::Network => libc::CLONE_NEWNET,
            Kind::Pid => libc::CLONE_NEWPID,
            Kind::Time => libc::CLONE_NEWTIME,
            Kind::User => libc::CLONE_NEWUSER,
            Kind::Uts => libc::CLONE_NEWUTS,
        };
        flag as u64
    }

    /// The kind behind a CLONE_NEW* flag.
    pub fn from_flag(flag: u64) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.flag() == flag)
    }

    /// The file in /proc/PID/ns.
    pub fn proc_name(self) -> &'static str {
        match self {
            Kind::Mount => "mnt",
            Kind::Network => "net",
            other => other.name(),
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// A set of kinds, as the bits that clone and unshare take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(pub u64);

impl Kinds {
    pub fn contains(self, kind: Kind) -> bool {
        self.0 & kind.flag() != 0
    }

    pub fn insert(&mut self, kind: Kind) {
        self.0 |= kind.flag();
    }

    pub fn remove(&mut self, kind: Kind) {
        self.0 &= !kind.flag();
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |&kind| self.contains(kind))
    }

    /// `pid, mount, uts` for a sentence.
    pub fn list(self) -> String {
        let names: Vec<_> = self.iter().map(Kind::name).collect();
        names.join(", ")
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Kinds {
        let mut set = Kinds::default();
        kinds.into_iter().for_each(|kind| set.insert(kind));
        set
    }
}

/// Which of the two identity maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    User,
    Group,
}

impl IdKind {
    fn name(self) -> &'static str {
        match self {
            IdKind::User => "user",
            IdKind::Group => "group",
        }
    }
}

/// An effect on namespaces. Where it runs is the list it stands in.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Host: open the namespace file and check that it is of this kind.
    Open { kind: Kind, path: CString, slot: Slot },
    /// Host, on the child: write `deny` to its setgroups file, which an unprivileged gid map needs (CVE-2014-8989).
    DenySetgroups,
    /// Host, on the child: write an identity map, by newuidmap/newgidmap when the caller may not write it itself.
    Map { ids: IdKind, map: idmap::Map, by_helper: bool },
    /// Join the opened namespace.
    Join { kind: Kind, slot: Slot },
    /// Host: have the child born in the pid namespace of the container whose init stands in [`Slot::INIT`], so that no
    /// second fork is needed. The file is for kernels before 5.8, below the host's /proc.
    BearInPid { files: [(Kind, CString); 1] },
    /// Join these namespaces of the container whose init stands in [`Slot::INIT`], all at once; by their files, one by one
    /// in this order, where the kernel can't.
    JoinInit { kinds: Kinds, files: Vec<(Kind, CString)> },
    /// Host: open a namespace of the container whose init stands in [`Slot::INIT`]. `file` is below the host's /proc.
    /// `apart`: it must not be corten's own.
    OpenInit { kind: Kind, file: CString, slot: Slot, apart: bool },
    /// Make new namespaces for the caller (for pid and time: for its children).
    Unshare { kinds: Kinds },
    /// Become this id of the user namespace, with all capabilities in it.
    Become { uid: u32, gid: u32 },
    /// Become the root of the joined user namespace, whose map is known only inside: id 0, or the first one that is mapped.
    BecomeItsRoot,
    /// Compare the joined user namespace's map with the config's. The namespace's holds in any case.
    CheckMap { ids: IdKind, map: idmap::Map },
    /// Shift the clocks of the new time namespace; text as in time_namespaces(7).
    TimeOffsets { text: CString },
    /// Enter the time namespace that `Unshare` made for the children.
    EnterTime,
    /// Host, while the child waits: move a network device of the host into the container, under its name in there.
    MoveDevice { name: String, new_name: String },
    /// Bring the loopback interface of the new network namespace up.
    LoopbackUp,
    /// Go on in a child of the same parent: only a child is a member of a pid namespace that was joined or unshared.
    Fork,
}

/// The step as a sentence.
pub fn render(op: &Op) -> String {
    match op {
        Op::Open { kind, path, .. } => format!("open {} namespace {}", kind.name(), path.to_string_lossy()),
        Op::DenySetgroups => "deny setgroups in the user namespace".to_owned(),
        Op::Map { ids, map, by_helper } => {
            let by = if *by_helper { " with new{u,g}idmap" } else { "" };
            format!("map {} ids {}{by}", ids.name(), map.words())
        }
        Op::Join { kind, .. } => format!("join the {} namespace", kind.name()),
        Op::BearInPid { .. } => "have the child born in the container's pid namespace".to_owned(),
        Op::JoinInit { kinds, .. } => format!("join the container's namespaces: {}", kinds.list()),
        Op::OpenInit { kind, .. } => format!("open the container's {} namespace", kind.name()),
        Op::Unshare { kinds } => format!("make new namespaces: {}", kinds.list()),
        Op::Become { uid, gid } => format!("become uid {uid} gid {gid} of the user namespace"),
        Op::BecomeItsRoot => "become root of the user namespace".to_owned(),
        Op::CheckMap { ids, map } => format!("compare the {} ids with {}", ids.name(), map.words()),
        Op::TimeOffsets { text } => format!("shift clocks: {}", text.to_string_lossy().trim().replace('\n', ", ")),
        Op::EnterTime => "enter the time namespace".to_owned(),
        Op::MoveDevice { name, new_name } if name == new_name => {
            format!("move network device {name} into the container")
        }
        Op::MoveDevice { name, new_name } => format!("move network device {name} into the container as {new_name}"),
        Op::LoopbackUp => "bring the loopback interface up".to_owned(),
        Op::Fork => "fork into the pid namespace".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_flag_and_has_a_flag_of_its_own() {
        let mut all = Kinds::default();
        for kind in Kind::ALL {
            assert_eq!(Kind::from_flag(kind.flag()), Some(kind));
            assert!(!all.contains(kind));
            all.insert(kind);
        }
        assert_eq!(all.iter().count(), 8);
    }
}

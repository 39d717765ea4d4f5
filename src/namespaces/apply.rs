//! The effects of this domain on the host before clone, and in stage one after clone. What the host does to the fresh
//! child stands in `adopt.rs`.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::namespaces::idmap::{Map, Range};
use crate::namespaces::{IdKind, Kind, Kinds, Op};
use crate::slots::{Slot, Slots};
use crate::sys::{descriptor, file, identity, namespace, path, property, wait};

/// Host, before clone.
pub fn apply_host(op: &Op, slots: &mut Slots) -> Effect {
    match op {
        Op::Open { kind, path, slot } => {
            // Whatever stands there is opened before it can be looked at: a fifo must not wait for its other end, and a
            // terminal must not become corten's own.
            let fd = path::open(libc::AT_FDCWD, path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0)?;
            slots.put(*slot, fd);
            check_kind(fd, *kind)
        }
        Op::OpenInit { kind, file, slot, apart } => open_init(*kind, file, *slot, *apart, slots),
        Op::BearInPid { files } => join_init(Kinds(Kind::Pid.flag()), files, slots),
        _ => Err(misplaced()),
    }
}

/// Opens a namespace of the container's init, which must still be there afterwards: else the file may have been that of a
/// process that has only got its pid.
fn open_init(kind: Kind, file: &CStr, slot: Slot, apart: bool, slots: &mut Slots) -> Effect {
    let proc = slots.get(Slot::HOST_PROC)?;
    let fd = path::open(proc, file, libc::O_RDONLY, 0)?;
    slots.put(slot, fd);
    slots.find(Slot::INIT).map_or(Ok(()), wait::check_pidfd)?;
    check_kind(fd, kind)?;
    if apart {
        // The only kind that is asked so.
        let own = path::open(proc, c"self/ns/mnt", libc::O_RDONLY, 0)?;
        let (theirs, ours) = (file::fstat(fd)?, file::fstat(own)?);
        file::close(own);
        if (theirs.dev, theirs.ino) == (ours.dev, ours.ino) {
            return Err(Trouble::new(Call::CheckNamespace, Errno::EBUSY));
        }
    }
    Ok(())
}

/// Refuses a file that is no namespace, or one of another kind. nsfs answers for itself, so a file that only looks
/// like a namespace can't pass (runtime-tools linux_ns_path_type).
fn check_kind(fd: RawFd, kind: Kind) -> Effect {
    let wrong = Err(Trouble::new(Call::CheckNamespace, Errno::EINVAL));
    if file::magic(fd)? != namespace::NSFS_MAGIC {
        return wrong;
    }
    if namespace::kind_of(fd)? == kind.flag() { Ok(()) } else { wrong }
}

/// In the child, after clone: no heap, no panic. `Op::Fork` is the interpreter's.
pub fn apply(op: &Op, slots: &Slots) -> Effect {
    match op {
        Op::Join { kind, slot } => namespace::join(slots.get(*slot)?, kind.flag()),
        Op::JoinInit { kinds, files } => join_init(*kinds, files, slots),
        Op::Unshare { kinds } => namespace::unshare(kinds.0),
        Op::Become { uid, gid } => {
            identity::set_gid(*gid)?;
            identity::set_uid(*uid)
        }
        Op::BecomeItsRoot => {
            let root = |ids| lines(ids, slots, root_of);
            let (uid, gid) = (root(IdKind::User)?, root(IdKind::Group)?);
            identity::set_gid(gid)?;
            identity::set_uid(uid)
        }
        Op::TimeOffsets { text } => {
            // The change of user has made the process undumpable, and its /proc files the real root's.
            property::set_dumpable(true)?;
            let fd = path::open(slots.get(Slot::HOST_PROC)?, c"self/timens_offsets", libc::O_WRONLY, 0)?;
            let result = descriptor::write(fd, text.to_bytes());
            file::close(fd);
            property::set_dumpable(false)?;
            result
        }
        Op::EnterTime => {
            // setns with one's own time_for_children moves the caller itself, so that no second fork is needed
            // (time_namespaces(7), timens_install in the kernel).
            let proc = slots.get(Slot::HOST_PROC)?;
            let fd = path::open(proc, c"self/ns/time_for_children", libc::O_RDONLY, 0)?;
            let result = namespace::join(fd, Kind::Time.flag());
            file::close(fd);
            result
        }
        Op::LoopbackUp => namespace::interface_up(b"lo"),
        _ => Err(misplaced()),
    }
}

/// Joins namespaces of a container's init. By its pidfd the kernel joins all or none, and never those of a process that
/// has only got the pid (setns(2), Linux 5.8).
fn join_init(kinds: Kinds, files: &[(Kind, CString)], slots: &Slots) -> Effect {
    if kinds.is_empty() {
        return Ok(());
    }
    let Some(init) = slots.find(Slot::INIT) else { return join_files(files, slots) };
    match namespace::join(init, kinds.0) {
        // Before, a descriptor that is no namespace's was refused.
        // Before, a descriptor that is no namespace's was refused. The files were the init's if it lives still.
        Err(Trouble { errno: Errno::EINVAL, .. }) => join_files(files, slots).and_then(|()| wait::check_pidfd(init)),
        joined => joined,
    }
}

/// All are opened before the first is joined: with the user or the mount namespace the right to that may go.
fn join_files(files: &[(Kind, CString)], slots: &Slots) -> Effect {
    let proc = slots.get(Slot::HOST_PROC)?;
    let mut opened = [-1; Kind::ALL.len()];
    let mut joined = Ok(());
    for ((_, file), place) in files.iter().zip(&mut opened) {
        match path::open(proc, file, libc::O_RDONLY, 0) {
            Ok(fd) => *place = fd,
            Err(trouble) => joined = joined.and(Err(trouble)),
        }
    }
    for ((kind, _), fd) in files.iter().zip(opened) {
        joined = joined.and_then(|()| namespace::join(fd, kind.flag()));
    }
    opened.iter().filter(|fd| **fd >= 0).for_each(|fd| file::close(*fd));
    joined
}

/// Whether the caller's user namespace has this map, in whichever order its lines are. The kernel writes the outer ids as
/// the namespace's parent counts them.
pub fn has_map(ids: IdKind, map: &Map, slots: &Slots) -> Effect<bool> {
    lines(ids, slots, |lines| {
        let mut count = 0;
        let known = lines.all(|line| {
            count += 1;
            map.0.contains(&line)
        });
        known && count == map.0.len()
    })
}

/// Id 0 where it is mapped, else the first id that is.
fn root_of(lines: &mut Lines) -> u32 {
    let mut first = None;
    for line in lines {
        if line.container == 0 {
            return 0;
        }
        first = first.or(Some(line.container));
    }
    first.unwrap_or(0)
}

/// Reads a map of the caller's user namespace.
fn lines<T>(ids: IdKind, slots: &Slots, read: impl FnOnce(&mut Lines) -> T) -> Effect<T> {
    /// 340 lines of three numbers with ten digits each.
    const ROOM: usize = 340 * 33;
    let name = match ids {
        IdKind::User => c"self/uid_map",
        IdKind::Group => c"self/gid_map",
    };
    let fd = path::open(slots.get(Slot::HOST_PROC)?, name, libc::O_RDONLY, 0)?;
    let mut text = [0; ROOM];
    let len = descriptor::read(fd, &mut text)?;
    file::close(fd);
    Ok(read(&mut Lines(text.get(..len).unwrap_or_default())))
}

/// The lines of a map that are still to be read.
struct Lines<'a>(&'a [u8]);

impl Lines<'_> {
    fn number(&mut self) -> Option<u32> {
        let start = self.0.iter().position(u8::is_ascii_digit)?;
        let rest = self.0.get(start..)?;
        let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, rest) = rest.split_at_checked(end)?;
        self.0 = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

impl Iterator for Lines<'_> {
    type Item = Range;

    fn next(&mut self) -> Option<Range> {
        Some(Range { container: self.number()?, host: self.number()?, size: self.number()? })
    }
}

/// A step in a list where it can't be applied: a bug of planning, told as EPROTO rather than by a panic.
fn misplaced() -> Trouble {
    Trouble::new(Call::None, Errno::EPROTO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(text: &str) -> u32 {
        root_of(&mut Lines(text.as_bytes()))
    }

    #[test]
    fn root_is_id_0_wherever_it_stands_and_else_the_first_that_is_mapped() {
        assert_eq!(root("         0     100000      65536\n"), 0);
        assert_eq!(root("       5       1000          1\n         0     100000          1\n"), 0);
        assert_eq!(root("       5       1000          1\n         9     100000          1\n"), 5);
        assert_eq!(root(""), 0);
    }

    #[test]
    fn a_torn_line_is_none() {
        let all: Vec<_> = Lines(b"0 1 2\n3 4").collect();
        assert_eq!(all, [Range { container: 0, host: 1, size: 2 }]);
        assert_eq!(Lines(b"0 1 99999999999").next(), None);
    }
}

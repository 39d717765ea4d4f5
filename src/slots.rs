//! Numbered places for file descriptors that only exist when a plan runs.
//!
//! A [`Step`](crate::plan::Step) is made before any effect, so it can't hold a descriptor: it names a [`Slot`], and an
//! earlier step fills that slot. All room is allocated before clone; the child inherits the table with its
//! descriptors and goes on using it without touching the heap.

use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};

/// The number of a place in [`Slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u16);

impl Slot {
    /// The container's root directory (O_PATH), from `rootfs` on.
    pub const ROOTFS: Slot = Slot(0);
    /// `/proc` of the host, checked to be a procfs (O_PATH); closed before the container's program runs.
    pub const HOST_PROC: Slot = Slot(1);
    /// Where the terminal's master is sent: the console socket, or corten's own end in a foreground run.
    pub const CONSOLE: Slot = Slot(2);
    /// The read end of the exec fifo.
    pub const EXEC_FIFO: Slot = Slot(3);
    /// The control socket's end in the child.
    pub const CONTROL: Slot = Slot(4);
    /// The directory `/proc/self/fd` of the child, from which mount(2) can name a descriptor on old kernels.
    pub const SELF_FD: Slot = Slot(5);
    /// The shared read-only tmpfs behind masked directories.
    pub const MASK: Slot = Slot(6);
    /// The working directory, once it is entered and until it is checked.
    pub const CWD: Slot = Slot(7);
    /// The container's own procfs, checked.
    pub const PROC: Slot = Slot(8);
    /// The container's end of its terminal, until it is bound on /dev/console.
    pub const TERMINAL: Slot = Slot(9);
    /// The context of a file system that couldn't be mounted: the kernel has written there what it didn't like.
    pub const REFUSED: Slot = Slot(10);
    /// The listener of a seccomp filter that notifies, until the host has it.
    pub const LISTENER: Slot = Slot(11);
    /// Host: the socket of the agent that is to get the listener.
    pub const AGENT: Slot = Slot(12);
    /// The working directory, once it is checked.
    pub const CHECKED_CWD: Slot = Slot(13);
    /// A pidfd of the init of the container that an `exec` enters.
    pub const INIT: Slot = Slot(14);
    /// The first number that a planner may hand out.
    pub const FIRST_FREE: u16 = 16;
}

/// Hands out slot numbers while a plan is made.
#[derive(Debug)]
pub struct SlotCounter(u16);

impl Default for SlotCounter {
    fn default() -> Self {
        SlotCounter(Slot::FIRST_FREE)
    }
}

impl SlotCounter {
    /// The next free slot. A config would need 65,000 mounts and devices to run out; the last number is then shared, and
    /// the plan that comes of it refused.
    pub fn take(&mut self) -> Slot {
        let slot = Slot(self.0);
        self.0 = self.0.saturating_add(1);
        slot
    }

    /// How many slots the plan needs.
    pub fn len(&self) -> usize {
        self.0 as usize
    }

    pub fn is_empty(&self) -> bool {
        false
    }
}

/// The table itself. `-1` is an empty place.
#[derive(Debug)]
pub struct Slots(Vec<RawFd>);

impl Slots {
    pub fn with_room(len: usize) -> Slots {
        Slots(vec![-1; len.max(Slot::FIRST_FREE as usize)])
    }

    /// The descriptor in a slot; EBADF when no step has filled it.
    pub fn get(&self, slot: Slot) -> Effect<RawFd> {
        match self.0.get(slot.0 as usize) {
            Some(&fd) if fd >= 0 => Ok(fd),
            _ => Err(Trouble::new(Call::None, Errno::EBADF)),
        }
    }

    /// The descriptor in a slot, if there is one.
    pub fn find(&self, slot: Slot) -> Option<RawFd> {
        self.get(slot).ok()
    }

    /// Puts a descriptor into a slot and gives back the one that stood there.
    pub fn put(&mut self, slot: Slot, fd: RawFd) -> Option<RawFd> {
        let place = self.0.get_mut(slot.0 as usize)?;
        let before = std::mem::replace(place, fd);
        (before >= 0).then_some(before)
    }

    /// Empties a slot; the caller owns the descriptor.
    pub fn take(&mut self, slot: Slot) -> Option<RawFd> {
        self.put(slot, -1)
    }

    /// Empties every slot but these: their descriptors have been closed.
    pub fn forget_but(&mut self, keep: &[Slot]) {
        for (number, place) in self.0.iter_mut().enumerate() {
            if !keep.iter().any(|slot| slot.0 as usize == number) {
                *place = -1;
            }
        }
    }

    /// Every descriptor in the table.
    pub fn filled(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.0.iter().copied().filter(|&fd| fd >= 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_slot_is_a_bad_descriptor_and_not_a_panic() {
        let mut slots = Slots::with_room(20);
        assert_eq!(slots.get(Slot(19)).unwrap_err().errno, Errno::EBADF);
        assert_eq!(slots.get(Slot(999)).unwrap_err().errno, Errno::EBADF);
        assert_eq!(slots.put(Slot(19), 7), None);
        assert_eq!(slots.get(Slot(19)), Ok(7));
        assert_eq!(slots.take(Slot(19)), Some(7));
        assert_eq!(slots.find(Slot(19)), None);
    }
}

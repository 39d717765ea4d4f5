//! The step page: memory that the host process, the init and `start` share.
//!
//! The init marks each step before it takes it, with the time. So when the kernel kills it (out of memory, a seccomp
//! filter), whoever looks knows at which step; and a fault that comes after `create` has left has a place where `start`
//! finds it. For `create` the page is the file `steps` in the container's directory, for `run` anonymous memory.
//!
//! Layout, native byte order: a magic word, the current step, whether there is a fault, the page's size, the pid of the
//! second child, the fault, one time stamp a step.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::fault::{Effect, Fault, Stage};
use crate::sys::shared::{Shared, wall_clock};

const MAGIC: u32 = 0x636f_7274;
const AT_MAGIC: usize = 0;
const AT_CURRENT: usize = 4;
const AT_FAULT_FLAG: usize = 8;
/// The page's size in bytes: what the host keeps in the same file begins there.
const AT_SIZE: usize = 12;
/// The pid of the second child, where there is one, written by the kernel as it is made.
const AT_FORKED: usize = 16;
const AT_FAULT: usize = 20;
/// The fault's room, rounded up to the alignment of a time stamp.
const AT_TIMES: usize = (AT_FAULT + Fault::SIZE).next_multiple_of(8);

/// What the current word says before the first step.
const NOT_YET: u32 = u32::MAX;

/// A mapped step page.
#[derive(Clone, Copy, Debug)]
pub struct Page(Shared);

impl Page {
    /// Bytes for a plan whose child takes `steps` steps.
    pub fn size(steps: usize) -> usize {
        AT_TIMES + steps * size_of::<u64>()
    }

    /// Maps a fresh page: the file `fd`, already of this size, or anonymous memory.
    pub fn create(fd: Option<RawFd>, steps: usize) -> Effect<Page> {
        let page = Page(Shared::map(fd, Page::size(steps), true)?);
        page.store(AT_MAGIC, MAGIC);
        page.store(AT_CURRENT, NOT_YET);
        page.store(AT_FAULT_FLAG, 0);
        page.store(AT_FORKED, 0);
        page.store(AT_SIZE, Page::size(steps) as u32);
        Ok(page)
    }

    /// Notes that `step` of `stage` begins; `ordinal` is its number among all of the child's steps.
    pub fn mark(&self, stage: Stage, step: u16, ordinal: usize) {
        self.0.write(AT_TIMES + ordinal * size_of::<u64>(), &wall_clock().to_ne_bytes());
        self.store(AT_CURRENT, (stage as u32) << 16 | u32::from(step));
    }

    /// The step that was begun last.
    pub fn current(&self) -> Option<(Stage, u16)> {
        step_of(self.load(AT_CURRENT))
    }

    /// When a step began, in nanoseconds of the wall clock; 0 when it didn't.
    pub fn time(&self, ordinal: usize) -> u64 {
        let mut bytes = [0; 8];
        self.0.read(AT_TIMES + ordinal * size_of::<u64>(), &mut bytes);
        u64::from_ne_bytes(bytes)
    }

    /// Where the second fork notes its child's pid.
    pub fn forked_word(&self) -> Option<&AtomicU32> {
        self.0.word(AT_FORKED)
    }

    /// The pid of the second child in the host's pid namespace, as soon as there is one.
    pub fn forked(&self) -> Option<i32> {
        match self.load(AT_FORKED) {
            0 => None,
            pid => Some(pid as i32),
        }
    }

    /// Leaves a fault for whoever looks after the init is gone.
    pub fn set_fault(&self, fault: &Fault) {
        self.0.write(AT_FAULT, &fault.to_bytes());
        self.store(AT_FAULT_FLAG, 1);
    }

    pub fn fault(&self) -> Option<Fault> {
        if self.load(AT_FAULT_FLAG) != 1 {
            return None;
        }
        let mut bytes = [0; Fault::SIZE];
        self.0.read(AT_FAULT, &mut bytes);
        Fault::from_bytes(&bytes)
    }

    fn store(&self, offset: usize, value: u32) {
        if let Some(word) = self.0.word(offset) {
            word.store(value, Ordering::Release);
        }
    }

    fn load(&self, offset: usize) -> u32 {
        self.0.word(offset).map_or(0, |word| word.load(Ordering::Acquire))
    }
}

fn step_of(word: u32) -> Option<(Stage, u16)> {
    match word {
        NOT_YET => None,
        word => Some((Stage::from_u8((word >> 16) as u8)?, word as u16)),
    }
}

/// The bytes of a step page whose init is gone, as its file has them. Nothing in them is taken on trust.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    /// `None` for a file that is none.
    pub fn new(file: &'a [u8]) -> Option<Left<'a>> {
        let left = Left(file);
        (file.len() >= AT_TIMES && left.load(AT_MAGIC) == MAGIC).then_some(left)
    }

    /// What the host has put behind the page.
    pub fn tail(&self) -> Option<&'a [u8]> {
        self.0.get(self.load(AT_SIZE) as usize..)
    }

    /// The step that was begun last.
    pub fn current(&self) -> Option<(Stage, u16)> {
        step_of(self.load(AT_CURRENT))
    }

    pub fn fault(&self) -> Option<Fault> {
        if self.load(AT_FAULT_FLAG) != 1 {
            return None;
        }
        Fault::from_bytes(self.0.get(AT_FAULT..)?.first_chunk()?)
    }

    fn load(&self, offset: usize) -> u32 {
        self.0.get(offset..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::fault::{Call, Trouble};

    #[test]
    fn a_page_tells_the_last_step_and_the_fault() {
        let page = Page::create(None, 3).unwrap();
        assert!(page.current().is_none() && page.fault().is_none());
        page.mark(Stage::StageTwo, 7, 1);
        assert_eq!(page.current(), Some((Stage::StageTwo, 7)));
        assert!(page.time(1) > 0 && page.time(0) == 0);
        page.set_fault(&Fault::new(Stage::StageTwo, 7, Trouble::new(Call::Mount, Errno::EPERM)));
        assert_eq!(page.fault().unwrap().trouble(), Trouble::new(Call::Mount, Errno::EPERM));
    }

    #[test]
    fn a_file_that_is_no_whole_page_tells_nothing() {
        let mut file = vec![0; AT_TIMES];
        assert!(Left::new(&file).is_none(), "no magic word");
        file[..4].copy_from_slice(&MAGIC.to_ne_bytes());
        assert!(Left::new(&file[..AT_TIMES - 1]).is_none(), "too short");
        let left = |file: &[u8]| Left::new(file).map(|left| (left.tail().map(<[u8]>::len), left.fault().is_some()));
        assert_eq!(left(&file), Some((Some(AT_TIMES), false)));
        // A size beyond the file, and a fault of a stage that doesn't exist.
        file[AT_SIZE..AT_SIZE + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
        file[AT_FAULT_FLAG] = 1;
        file[AT_FAULT] = 99;
        assert_eq!(left(&file), Some((None, false)));
    }

    #[test]
    fn a_step_without_room_for_its_time_harms_nothing() {
        let page = Page::create(None, 1).unwrap();
        page.mark(Stage::Start, 2, 100_000);
        assert_eq!(page.current(), Some((Stage::Start, 2)));
        assert_eq!(page.time(100_000), 0);
    }
}

//! Compiled filters, kept in the state root: to compile what docker asks for takes 18 ms, to read it 0.05.
//!
//! An entry is named by the hash of its key and holds the key, all of it, so that two filters can't be taken for each other
//! whatever their hashes are. It is believed only if it is a regular file of the caller's that nobody else may write, and
//! whole: anything else is as good as not there, and is written anew. The directory has a name that no container's id can
//! be, and keeps a bounded number of entries.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::program::Program;
use crate::fault::{Call, During, Effect, Trouble};

/// The directory in the state root.
pub const DIR: &str = "~seccomp";
/// How many filters are kept: engines have a handful of profiles, and the state root is memory.
pub const ROOM: usize = 64;
/// No entry is larger than this, in bytes; a profile that is isn't kept.
const LARGEST: u64 = 1 << 20;

const MAGIC: [u8; 8] = *b"corten\0\x01";
/// Magic, checksum, length of the key, length of the program.
const HEADER: usize = 8 + 8 + 4 + 4;

/// An entry as bytes.
pub fn render(key: &[u8], program: &Program) -> Vec<u8> {
    let program = program.to_bytes();
    let mut entry = Vec::with_capacity(HEADER + key.len() + program.len());
    entry.extend(MAGIC);
    entry.extend(checksum(key, &program).to_ne_bytes());
    entry.extend((key.len() as u32).to_ne_bytes());
    entry.extend((program.len() as u32).to_ne_bytes());
    entry.extend(key);
    entry.extend(program);
    entry
}

/// The program of an entry with this key; `None` if it is of another key, torn, bent, or no program.
pub fn parse(entry: &[u8], key: &[u8]) -> Option<Program> {
    let (magic, rest) = entry.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let (of_key, rest) = rest.split_first_chunk::<4>()?;
    let (of_program, rest) = rest.split_first_chunk::<4>()?;
    let (of_key, of_program) = (u32::from_ne_bytes(*of_key) as usize, u32::from_ne_bytes(*of_program) as usize);
    if *magic != MAGIC || rest.len() != of_key.checked_add(of_program)? {
        return None;
    }
    let (its_key, program) = rest.split_at_checked(of_key)?;
    if its_key != key || checksum(key, program) != u64::from_ne_bytes(*sum) {
        return None;
    }
    Program::from_bytes(program)
}

/// Against what a disk or a crash does, not against an attacker: who may write here is root already.
fn checksum(key: &[u8], program: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.write(program);
    hasher.finish()
}

fn name(key: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    format!("{:016x}", hasher.finish())
}

/// The kept program of this key. Nothing that goes wrong is more than a miss.
pub fn find(root: BorrowedFd, key: &[u8]) -> Option<Program> {
    let dir = open(root).ok()?;
    // O_NONBLOCK: were it a fifo, opening it must not wait for a writer.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(&dir, name(key).as_str(), flags, Mode::empty()).ok()?);
    let facts = file.metadata().ok()?;
    let ours = facts.is_file() && facts.uid() == geteuid().as_raw() && facts.mode() & 0o077 == 0 && facts.nlink() == 1;
    if !ours || facts.len() > LARGEST {
        return None;
    }
    let mut entry = vec![0; facts.len() as usize];
    file.read_exact(&mut entry).ok()?;
    parse(&entry, key)
}

/// The directory, if it is one and the caller's alone.
fn open(root: BorrowedFd) -> Effect<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let dir = openat(root, DIR, flags, Mode::empty()).during(Call::Open)?;
    let facts = nix::sys::stat::fstat(&dir).during(Call::Fstat)?;
    match facts.st_uid == geteuid().as_raw() && facts.st_mode & 0o077 == 0 {
        true => Ok(dir),
        false => Err(Trouble::new(Call::Open, Errno::EPERM)),
    }
}

/// Keeps a program; what stood under its name is replaced at once, so that nobody ever reads half of it.
pub fn keep(root: BorrowedFd, key: &[u8], program: &Program) -> Effect {
    let entry = render(key, program);
    if entry.len() as u64 > LARGEST {
        return Ok(());
    }
    match mkdirat(root, DIR, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(Trouble::new(Call::Mkdir, errno)),
    }
    let dir = open(root)?;
    make_room(&dir)?;
    let next = format!("next.{}", std::process::id());
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    // What stands there is of a corten that was killed, with this pid.
    let made = match openat(&dir, next.as_str(), flags, mode) {
        Err(Errno::EEXIST) => {
            unlinkat(&dir, next.as_str(), UnlinkatFlags::NoRemoveDir).during(Call::Unlink)?;
            openat(&dir, next.as_str(), flags, mode)
        }
        made => made,
    };
    let io =
        |error: std::io::Error| Trouble::new(Call::Write, Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)));
    let written = File::from(made.during(Call::Open)?).write_all(&entry).map_err(io);
    let kept = written.and_then(|()| renameat(&dir, next.as_str(), &dir, name(key).as_str()).during(Call::Rename));
    kept.inspect_err(|_| {
        let _ = unlinkat(&dir, next.as_str(), UnlinkatFlags::NoRemoveDir);
    })
}

/// Lets the oldest entries go until there is room for one more.
fn make_room(dir: &OwnedFd) -> Effect {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let listed = Dir::openat(dir.as_fd(), ".", flags, Mode::empty()).during(Call::Open)?;
    let mut entries = Vec::new();
    for item in listed {
        let item = item.during(Call::Getdents)?;
        let name = item.file_name().to_owned();
        if name.as_c_str() == c"." || name.as_c_str() == c".." {
            continue;
        }
        if let Ok(facts) = fstatat(dir, name.as_c_str(), nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW) {
            entries.push(((facts.st_mtime, facts.st_mtime_nsec), name));
        }
    }
    entries.sort();
    for (_, name) in entries.iter().take((entries.len() + 1).saturating_sub(ROOM)) {
        match unlinkat(dir, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            // Somebody else makes room too; a directory was never ours.
            Ok(()) | Err(Errno::ENOENT | Errno::EISDIR | Errno::EPERM) => {}
            Err(errno) => return Err(Trouble::new(Call::Unlink, errno)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::super::program::{LOAD, RETURN};
    use super::*;
    use crate::sys::seccomp::Instruction;

    fn program(action: u32) -> Program {
        let load = Instruction { code: LOAD, jt: 0, jf: 0, k: 0 };
        Program::new(vec![load, Instruction { code: RETURN, jt: 0, jf: 0, k: action }]).unwrap()
    }

    fn root() -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        let root = File::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn a_kept_program_is_found_under_its_key_alone() {
        let (_dir, root) = root();
        assert_eq!(find(root.as_fd(), b"one"), None);
        keep(root.as_fd(), b"one", &program(1)).unwrap();
        keep(root.as_fd(), b"two", &program(2)).unwrap();
        assert_eq!(find(root.as_fd(), b"one"), Some(program(1)));
        assert_eq!(find(root.as_fd(), b"two"), Some(program(2)));
        assert_eq!(find(root.as_fd(), b"three"), None);
        keep(root.as_fd(), b"one", &program(3)).unwrap();
        assert_eq!(find(root.as_fd(), b"one"), Some(program(3)));
    }

    #[test]
    fn a_torn_or_bent_entry_is_none() {
        let whole = render(b"key", &program(7));
        assert_eq!(parse(&whole, b"key"), Some(program(7)));
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length], b"key"), None, "{length}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bent = whole.clone();
                bent[at] ^= 1 << bit;
                assert_eq!(parse(&bent, b"key"), None, "byte {at}, bit {bit}");
            }
        }
        assert_eq!(parse(&[whole.clone(), vec![0]].concat(), b"key"), None);
        assert_eq!(parse(&whole, b"kez"), None);
    }

    #[test]
    fn an_entry_that_others_may_have_written_is_not_believed() {
        let (dir, root) = root();
        keep(root.as_fd(), b"key", &program(1)).unwrap();
        let entry: PathBuf = dir.path().join(DIR).join(name(b"key"));
        assert_eq!(std::fs::metadata(&entry).unwrap().mode() & 0o7777, 0o600);
        let found = || find(root.as_fd(), b"key").is_some();
        let set_mode = |path: &std::path::Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set_mode(&entry, 0o620);
        assert!(!found(), "its group could write");
        set_mode(&entry, 0o600);
        assert!(found());
        set_mode(entry.parent().unwrap(), 0o770);
        assert!(!found(), "others could put another in its place");
        set_mode(entry.parent().unwrap(), 0o700);
        std::fs::hard_link(&entry, dir.path().join("second")).unwrap();
        assert!(!found(), "it has another name");
        std::fs::rename(dir.path().join("second"), dir.path().join("elsewhere")).unwrap();
        std::fs::remove_file(&entry).unwrap();
        symlink(dir.path().join("elsewhere"), &entry).unwrap();
        assert!(!found(), "it is a link");
        keep(root.as_fd(), b"key", &program(1)).unwrap();
        assert!(found() && !entry.is_symlink(), "it is written anew");
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let (dir, root) = root();
        for number in 0..ROOM as u32 + 9 {
            keep(root.as_fd(), &number.to_ne_bytes(), &program(number)).unwrap();
        }
        assert_eq!(std::fs::read_dir(dir.path().join(DIR)).unwrap().count(), ROOM);
        let newest = ROOM as u32 + 8;
        assert_eq!(find(root.as_fd(), &newest.to_ne_bytes()), Some(program(newest)));
    }

    #[test]
    fn what_a_killed_writer_left_is_no_obstacle() {
        let (dir, root) = root();
        keep(root.as_fd(), b"one", &program(1)).unwrap();
        std::fs::write(dir.path().join(DIR).join(format!("next.{}", std::process::id())), "half").unwrap();
        keep(root.as_fd(), b"two", &program(2)).unwrap();
        assert_eq!(find(root.as_fd(), b"two"), Some(program(2)));
    }
}

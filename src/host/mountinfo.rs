//! The mounts that a process sees: its mountinfo, taken apart. Pure.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Another mount may get it once this one is gone.
    pub id: u64,
    /// The mount that it is mounted on; one that isn't listed for the root.
    pub parent: u64,
    /// `major:minor` of the file system.
    pub device: String,
    /// What of the file system is shown.
    pub root: PathBuf,
    /// Absolute, as the process sees it whose mountinfo it is.
    pub target: PathBuf,
    /// Of the mount.
    pub options: Vec<String>,
    /// `shared`, `slave`, `unbindable`; private where it is empty.
    pub propagation: Vec<String>,
    pub fstype: String,
    pub source: String,
    /// Of the file system.
    pub superblock: Vec<String>,
}

/// Reads a mountinfo. Each mount comes before what is mounted on it, which the kernel's own order (by the age of mounts, since
/// Linux 6.8) doesn't promise. A line that can't be read is left out.
pub fn parse(text: &[u8]) -> Vec<Mounted> {
    let mut waiting: Vec<Mounted> = text.split(|byte| *byte == b'\n').filter_map(line).collect();
    let mut mounts: Vec<Mounted> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let ids: HashSet<u64> = waiting.iter().map(|mounted| mounted.id).collect();
        let (on_others, mut next): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|mounted| mounted.parent != mounted.id && ids.contains(&mounted.parent));
        // Mounts that are mounted on each other are none of the kernel's.
        waiting = if next.is_empty() { Vec::new() } else { on_others };
        mounts.append(&mut next);
    }
    mounts
}

/// What is on top at a place.
pub fn top<'m>(mounts: &'m [Mounted], target: &Path) -> Option<&'m Mounted> {
    mounts.iter().rev().find(|mounted| mounted.target == target)
}

fn line(line: &[u8]) -> Option<Mounted> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = words.iter().skip(6).position(|word| *word == b"-")? + 6;
    let text = |word: &[u8]| String::from_utf8_lossy(&unescape(word)).into_owned();
    let list = |word: &[u8]| text(word).split(',').map(str::to_owned).collect::<Vec<_>>();
    let propagation = words.get(6..dash)?.iter().filter_map(|word| {
        let name = word.split(|byte| *byte == b':').next()?;
        match name {
            b"shared" => Some("shared"),
            b"master" => Some("slave"),
            b"unbindable" => Some("unbindable"),
            _ => None,
        }
    });
    Some(Mounted {
        id: text(words.first()?).parse().ok()?,
        parent: text(words.get(1)?).parse().ok()?,
        device: text(words.get(2)?),
        root: path(words.get(3)?),
        target: path(words.get(4)?),
        options: list(words.get(5)?),
        propagation: propagation.map(str::to_owned).collect(),
        fstype: text(words.get(dash + 1)?),
        source: text(words.get(dash + 2)?),
        superblock: words.get(dash + 3).map(|word| list(word)).unwrap_or_default(),
    })
}

/// A path in one of its words.
pub fn path(word: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(word)))
}

/// Octal escapes (`\040`) as bytes.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, after @ ..] = rest {
        let code = after.get(..3).filter(|_| *first == b'\\').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use proptest::prelude::*;

    const LINE: &[u8] =
        b"36 35 98:0 /mnt1 /mnt/with\\040a\\134b rw,noatime,idmapped shared:7 master:1 - ext3 /dev/root rw,errors=continue";

    #[test]
    fn a_line_is_taken_apart() {
        let all = parse(&[LINE, b"\ntorn 1\n"].concat());
        assert_eq!(all.len(), 1);
        let mounted = &all[0];
        assert_eq!((mounted.id, mounted.device.as_str()), (36, "98:0"));
        assert_eq!(
            (mounted.root.as_path(), mounted.target.as_path()),
            (Path::new("/mnt1"), Path::new("/mnt/with a\\b"))
        );
        assert_eq!(mounted.options, ["rw", "noatime", "idmapped"]);
        assert_eq!(mounted.propagation, ["shared", "slave"]);
        assert_eq!((mounted.fstype.as_str(), mounted.source.as_str()), ("ext3", "/dev/root"));
        assert_eq!(mounted.superblock, ["rw", "errors=continue"]);
    }

    #[test]
    fn what_is_mounted_on_another_comes_after_it() {
        let text =
            b"5 9 0:1 / /dev/null rw - tmpfs none rw\n9 1 0:2 / /dev rw - tmpfs none rw\n1 0 0:3 / / rw - ext4 x rw\n\
            6 9 0:4 / /dev rw - tmpfs none rw\n7 8 0:1 / /x rw - t t rw\n8 7 0:1 / /x rw - t t rw\n";
        let mounts = parse(text);
        assert_eq!(mounts.iter().map(|mounted| mounted.id).collect::<Vec<_>>(), [1, 9, 5, 6]);
        assert_eq!(top(&mounts, Path::new("/dev")).unwrap().id, 6);
    }

    #[test]
    fn a_path_that_is_no_utf_8_stays_what_it_is() {
        let line = b"1 2 0:5 / /\xff\xfe rw - tmpfs none rw";
        assert_eq!(parse(line)[0].target.as_os_str().as_bytes(), b"/\xff\xfe");
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_read_or_left_out(bytes: Vec<u8>, cut in 0..LINE.len()) {
            parse(&bytes);
            parse(&LINE[..cut]);
        }
    }
}

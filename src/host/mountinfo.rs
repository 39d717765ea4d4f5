//! The mounts of a process, as proc_pid_mountinfo(5) lists them. Pure: text to lines.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The kernel's number for it, unique among those that are mounted now.
    pub id: u64,
    /// The file system's device, as `major:minor`.
    pub device: String,
    /// Which directory or file of the file system is mounted.
    pub root: PathBuf,
    /// Where, as the process sees it.
    pub point: PathBuf,
    pub fstype: String,
}

/// Every mount in the text, in its order: of two at one place the later is on top.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Mount> {
    let (place, what) = line.split_once(" - ")?;
    let mut place = place.split(' ');
    let id = place.next()?.parse().ok()?;
    let device = place.nth(1)?.to_owned();
    let (root, point) = (unescape(place.next()?), unescape(place.next()?));
    Some(Mount { id, device, root, point, fstype: what.split(' ').next()?.to_owned() })
}

/// Octal escapes of blanks and backslashes, as mountinfo has them.
pub fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_or_without_optional_fields() {
        let text = "36 35 98:0 /mnt1 /mnt2\\040x rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n\
                    37 36 0:5 / /dev rw - tmpfs tmpfs rw\nno mount\n";
        let [first, second] = parse(text).try_into().unwrap();
        assert_eq!((first.id, first.device.as_str(), first.fstype.as_str()), (36, "98:0", "ext3"));
        assert_eq!((first.root, first.point), ("/mnt1".into(), "/mnt2 x".into()));
        assert_eq!((second.id, second.point, second.fstype.as_str()), (37, "/dev".into(), "tmpfs"));
    }

    #[test]
    fn an_escape_that_is_none_stays_as_it_is() {
        assert_eq!(unescape("/a\\134b\\04"), PathBuf::from("/a\\b\\04"));
    }
}

//! stdin, stdout and stderr of a container that is dumped: which of them lead out of it, and under which names criu finds
//! another end for them on the restore. The names are kept beside the images in `descriptors.json`, a list of three, as runc
//! and crun keep them. Pure.

use std::collections::BTreeSet;

/// The file beside the images.
pub const FILE: &str = "descriptors.json";

/// One of the three, as it was seen in /proc/PID/fd and fdinfo (proc_pid_fd(5)).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stream {
    /// What the link says: a path, or `pipe:[INODE]`. Empty when it is closed.
    pub link: String,
    /// The mount that the file lies on; `None` for what lies on none.
    pub mount: Option<u64>,
    pub inode: u64,
    /// Of the file system.
    pub device: u64,
    /// Of a character device, the device's number.
    pub character: Option<u64>,
}

/// The name that criu knows the stream by, and whether it must be told that it lies outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    pub name: String,
    pub external: bool,
}

/// Names a stream. `own` are the mounts of the container: a file on another one is no file of its.
pub fn name(stream: &Stream, own: &BTreeSet<u64>) -> Named {
    let outside = stream.mount.is_some_and(|mount| !own.contains(&mount)) && stream.link.starts_with('/');
    match (outside, stream.character, stream.mount) {
        // criu knows terminals by device and file system, as it has them in stat(2).
        (true, Some(device), _) if is_terminal(&stream.link) => {
            Named { name: format!("tty[{device:x}:{:x}]", stream.device), external: true }
        }
        (true, _, Some(mount)) => Named { name: format!("file[{mount:x}:{:x}]", stream.inode), external: true },
        _ => Named { name: stream.link.clone(), external: false },
    }
}

fn is_terminal(link: &str) -> bool {
    link.starts_with("/dev/pts/") || link.starts_with("/dev/tty") || link == "/dev/console"
}

/// The bytes of the file.
pub fn render(names: &[String; 3]) -> Vec<u8> {
    // A list of strings always serialises.
    serde_json::to_vec(names).unwrap_or_default()
}

/// The names in the file; the error says why they can't be read.
pub fn parse(bytes: &[u8]) -> Result<Vec<String>, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("{FILE}: {error}"))
}

/// Which of stdin, stdout and stderr take the place of which files: those that led out. A file that two of the three shared
/// is restored as one.
pub fn inherited(names: &[String]) -> Vec<(usize, &str)> {
    let leads_out = |name: &str| ["pipe:[", "socket:[", "file[", "tty["].iter().any(|kind| name.starts_with(kind));
    let mut found: Vec<(usize, &str)> = Vec::new();
    for (number, name) in names.iter().take(3).enumerate() {
        if leads_out(name) && !found.iter().any(|(_, known)| known == name) {
            found.push((number, name));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(link: &str, mount: u64) -> Stream {
        Stream { link: link.into(), mount: Some(mount), inode: 255, device: 0x17, character: None }
    }

    #[test]
    fn pipes_keep_their_names_and_files_of_the_container_too() {
        let own = BTreeSet::from([40, 41]);
        let pipe = Named { name: "pipe:[77]".into(), external: false };
        assert_eq!(name(&stream("pipe:[77]", 14), &own), pipe, "a pipe lies on a mount that nobody has");
        assert_eq!(name(&stream("/dev/null", 41), &own), Named { name: "/dev/null".into(), external: false });
        assert_eq!(name(&Stream::default(), &own), Named { name: String::new(), external: false });
    }

    #[test]
    fn a_file_of_outside_is_named_by_mount_and_inode() {
        let own = BTreeSet::from([40]);
        assert_eq!(name(&stream("/var/log/web", 26), &own), Named { name: "file[1a:ff]".into(), external: true });
        let null = Stream { character: Some(0x103), ..stream("/dev/null", 26) };
        assert_eq!(name(&null, &own).name, "file[1a:ff]");
        let tty = Stream { character: Some(0x8802), ..stream("/dev/pts/2", 26) };
        assert_eq!(name(&tty, &own), Named { name: "tty[8802:17]".into(), external: true });
    }

    #[test]
    fn what_led_out_is_inherited_once_and_what_did_not_is_not() {
        let names = ["/dev/null", "pipe:[5]", "pipe:[5]"].map(str::to_owned);
        assert_eq!(inherited(&names), [(1, "pipe:[5]")]);
        assert_eq!(parse(&render(&names)).unwrap(), names);
        let names = ["file[1:2]", "socket:[8]", "tty[8802:17]"].map(str::to_owned);
        assert_eq!(inherited(&names).iter().map(|found| found.0).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(parse(b"{}").unwrap_err().starts_with("descriptors.json: "));
        assert!(inherited(&["pipe:[1]".into(), "a".into(), "b".into(), "pipe:[9]".into()]).len() == 1);
    }
}

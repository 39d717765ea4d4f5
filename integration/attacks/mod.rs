//! Attacks: a hostile root file system, also one that changes while it is looked at, and container programs that go for
//! the runtime itself. Each test names the CVE whose recipe it is; `docs/cve.md` is the list.

pub mod descriptors;
pub mod entering;
pub mod executable;
pub mod links;
pub mod procfs;
pub mod races;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{BundleBuilder, Lines, Sandbox, SocketServer};

/// What may be asked of a file without changing it: type and mode, owner, links, size, time of change, and content.
type Snapshot = BTreeMap<PathBuf, (u32, u32, u32, u64, u64, (i64, i64), Vec<u8>)>;

fn snapshot(top: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = match meta.file_type() {
            kind if kind.is_file() => fs::read(&path).unwrap(),
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
            _ => Vec::new(),
        };
        if meta.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|item| item.unwrap().path()));
        }
        // The time of the last change of anything: nobody can set it back.
        let changed = (meta.ctime(), meta.ctime_nsec());
        found.insert(path, (meta.mode(), meta.uid(), meta.gid(), meta.nlink(), meta.size(), changed, content));
    }
    found
}

/// A directory of the host, and what it must still be afterwards. It holds the names that attacks lead to.
pub struct Victim {
    top: PathBuf,
    before: Snapshot,
}

/// What the victim's files hold; no container may read it.
pub const UNTOUCHED: &str = "untouched";

impl Victim {
    pub fn new(sb: &Sandbox) -> Victim {
        let accounts = format!("root:x:0:0:{UNTOUCHED}:/from/the/host:/bin/sh\n");
        let files = [
            ("file", UNTOUCHED),
            ("passwd", &accounts),
            ("dir/", ""),
            ("full/secret", UNTOUCHED),
            ("full/null", UNTOUCHED),
            ("full/sub/file", UNTOUCHED),
        ];
        let top = sb.tree(&format!("victim-{}", sb.number()), &files);
        let before = snapshot(&top);
        Victim { top, before }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.top.join(name)
    }

    #[track_caller]
    pub fn assert_untouched(&self) {
        assert_eq!(snapshot(&self.top), self.before, "something was changed on the host");
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!table.contains(self.top.to_str().unwrap()), "something was mounted on the host");
    }
}

fn relative(levels: usize, to: &Path) -> PathBuf {
    PathBuf::from("../".repeat(levels)).join(to.strip_prefix("/").unwrap())
}

/// A config that mounts nothing on /dev, so that the image's own /dev is used.
fn own_dev(sb: &Sandbox) -> BundleBuilder<'_> {
    ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"].iter().fold(sb.bundle(), |b, at| b.without_mount(at))
}

fn on_a_console(sb: &Sandbox, bundle: BundleBuilder<'_>) -> Option<Value> {
    let server = SocketServer::new(sb);
    let bundle = bundle.set("/process/terminal", true).tool(["json"]).build();
    let id = sb.id();
    let call = sb.call(["create", "--console-socket"]).arg(server.path()).arg("--bundle").arg(&bundle.dir).arg(&id);
    let output = call.output();
    if output.code != 0 {
        assert_eq!(output.code, 1, "{output:?}");
        return None;
    }
    let master = server.receive().fds.remove(0);
    sb.call(["start", &id]).output().ok();
    let line = Lines::new(master).next_line()?;
    sb.call(["delete", "--force", &id]).output().ok();
    serde_json::from_str(&line).ok()
}

fn devpts() -> Value {
    json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "mode=0620"]})
}

//! Bundles for tests: a root file system with the static toolbox in it, and a config that a closure may change.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::sandbox::Sandbox;

/// A bundle on disk.
pub struct Bundle {
    pub dir: PathBuf,
}

impl Bundle {
    /// A path below the root file system, as the host sees it.
    pub fn in_rootfs(&self, path: &str) -> PathBuf {
        self.dir.join("rootfs").join(path.trim_start_matches('/'))
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.join("config.json")
    }
}

/// The arguments that run tools of the toolbox inside: `tool(["exit", "3"])`.
pub fn tool<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    let mut args = vec!["/bin/probe", "probe", "--"];
    args.extend(words);
    json!(args)
}

/// Builds a bundle: the toolbox's JSON report as the program unless told otherwise.
pub struct BundleBuilder<'a> {
    sandbox: &'a Sandbox,
    bundle: Bundle,
    config: Value,
}

/// Applets that a busybox root gets as links.
const APPLETS: &[&str] =
    &["cat", "echo", "env", "grep", "id", "ls", "sh", "sleep", "stat", "stty", "true", "tty", "uname"];

impl<'a> BundleBuilder<'a> {
    pub(super) fn new(sandbox: &'a Sandbox) -> BundleBuilder<'a> {
        let dir = sandbox.path(&format!("bundle-{}", sandbox.number()));
        let rootfs = dir.join("rootfs");
        for name in ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp"] {
            fs::create_dir_all(rootfs.join(name)).expect("make the root file system");
        }
        fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("open tmp");
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/home/web:/bin/sh\n")
            .expect("write passwd");
        fs::hard_link(sandbox.probe_binary(), rootfs.join("bin/probe")).expect("link the toolbox");
        let mut builder = BundleBuilder { sandbox, bundle: Bundle { dir }, config: default_config() };
        if !nix::unistd::geteuid().is_root() {
            builder = builder.own_user_namespace();
        }
        builder
    }

    /// Runs tools of the toolbox in place of the report.
    pub fn tool<'w>(mut self, words: impl IntoIterator<Item = &'w str>) -> Self {
        self.config["process"]["args"] = tool(words);
        self
    }

    pub fn args<'w>(mut self, words: impl IntoIterator<Item = &'w str>) -> Self {
        self.config["process"]["args"] = json!(words.into_iter().collect::<Vec<_>>());
        self
    }

    /// Changes the config.
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self
    }

    /// Sets one property by JSON pointer; objects on the way are made.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut place = &mut self.config;
        for key in pointer.split('/').skip(1) {
            place = match key.parse::<usize>() {
                Ok(index) if place.is_array() => &mut place[index],
                _ => &mut place[key],
            };
        }
        *place = value.into();
        self
    }

    /// Adds a mount at the end.
    pub fn mount(mut self, mount: Value) -> Self {
        push(&mut self.config["mounts"], mount);
        self
    }

    /// Adds a bind mount at the end.
    pub fn bind(self, source: &Path, destination: &str, options: &[&str]) -> Self {
        let mut all = vec!["bind"];
        all.extend(options);
        self.mount(json!({"destination": destination, "type": "bind", "source": source, "options": all}))
    }

    /// Adds a namespace, or gives an existing one a path.
    pub fn namespace(mut self, kind: &str, path: Option<&str>) -> Self {
        self = self.without_namespace(kind);
        let namespace = path.map_or_else(|| json!({"type": kind}), |path| json!({"type": kind, "path": path}));
        push(&mut self.config["linux"]["namespaces"], namespace);
        self
    }

    pub fn without_namespace(mut self, kind: &str) -> Self {
        if let Some(all) = self.config["linux"]["namespaces"].as_array_mut() {
            all.retain(|namespace| namespace["type"] != kind);
        }
        self
    }

    /// Drops the mount on this destination.
    pub fn without_mount(mut self, destination: &str) -> Self {
        if let Some(all) = self.config["mounts"].as_array_mut() {
            all.retain(|mount| mount["destination"] != destination);
        }
        self
    }

    /// Gives all five capability sets these names.
    pub fn capabilities(self, names: &[&str]) -> Self {
        let sets = json!({"bounding": names, "effective": names, "permitted": names, "inheritable": [], "ambient": []});
        self.set("/process/capabilities", sets)
    }

    /// A new user namespace that maps container ids 0..65536 to host ids from 100000 on; the directories of the root
    /// file system belong to its root, so that mount targets can be made. (The toolbox is one file for all bundles.)
    pub fn user_namespace(self) -> Self {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        let bundle = self.owned_by(100_000).namespace("user", None);
        bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// Gives the directories of the root file system to this user and group of the host.
    pub fn owned_by(self, id: u32) -> Self {
        self.sandbox.needs_root();
        let rootfs = self.bundle.in_rootfs("");
        let below = fs::read_dir(&rootfs).expect("read the root").flatten().map(|item| item.path());
        for dir in below.chain([rootfs.clone()]).filter(|path| path.is_dir() && !path.is_symlink()) {
            std::os::unix::fs::chown(dir, Some(id), Some(id)).expect("chown");
        }
        self
    }

    /// What makes the default config one for an ordinary user: a user namespace in which he is root, and his
    /// subordinate ids are the ids from 1 on.
    fn own_user_namespace(self) -> Self {
        let map = |file: &str, own: u32| {
            let (first, size) = subordinate_ids(file);
            json!([{"containerID": 0, "hostID": own, "size": 1}, {"containerID": 1, "hostID": first, "size": size}])
        };
        let uids = map("/etc/subuid", nix::unistd::geteuid().as_raw());
        let gids = map("/etc/subgid", nix::unistd::getegid().as_raw());
        self.namespace("user", None).set("/linux/uidMappings", uids).set("/linux/gidMappings", gids)
    }

    /// Adds a hook of a kind.
    pub fn hook(mut self, kind: &str, hook: Value) -> Self {
        push(&mut self.config["hooks"][kind], hook);
        self
    }

    /// A path below the root file system so far, as the host sees it.
    pub fn in_rootfs(&self, path: &str) -> PathBuf {
        self.bundle.in_rootfs(path)
    }

    /// A file in the root file system.
    pub fn file(self, path: &str, text: &str) -> Self {
        let path = self.bundle.in_rootfs(path);
        fs::create_dir_all(path.parent().expect("a file has a parent")).expect("make a directory");
        fs::write(path, text).expect("write a file");
        self
    }

    /// A directory in the root file system.
    pub fn dir(self, path: &str) -> Self {
        fs::create_dir_all(self.bundle.in_rootfs(path)).expect("make a directory");
        self
    }

    /// A symlink in the root file system, in place of what stands there.
    pub fn symlink(self, path: &str, target: impl AsRef<Path>) -> Self {
        let path = self.bundle.in_rootfs(path);
        let _ = fs::remove_dir_all(&path);
        let _ = fs::remove_file(&path);
        fs::create_dir_all(path.parent().expect("a link has a parent")).expect("make a directory");
        symlink(target, path).expect("make a symlink");
        self
    }

    /// Adds busybox with a few applets in /bin; skips the test where the machine has no static busybox.
    pub fn busybox(self) -> Self {
        self.sandbox.needs_program("/usr/bin/busybox", "busybox-static");
        let bin = self.bundle.in_rootfs("bin");
        fs::copy("/usr/bin/busybox", bin.join("busybox")).expect("copy busybox");
        for applet in APPLETS {
            symlink("busybox", bin.join(applet)).expect("link an applet");
        }
        self
    }

    /// Writes the bundle. Skips the test where the machine can't make the user namespace that it takes; an idmapped mount
    /// takes one as well.
    pub fn build(self) -> Bundle {
        let text = format!("{:#}\n", self.config);
        if ["\"type\": \"user\"", "uidMappings", "\"idmap", "\"ridmap"].iter().any(|word| text.contains(word)) {
            self.sandbox.needs_user_namespaces();
        }
        self.write(&text)
    }

    /// Writes the bundle with this text as config.json.
    pub fn write(self, config: &str) -> Bundle {
        fs::write(self.bundle.config_path(), config).expect("write config.json");
        self.bundle
    }

    /// The config so far.
    pub fn config(&self) -> &Value {
        &self.config
    }
}

/// The caller's first range in /etc/subuid or /etc/subgid (subuid(5)), as first id and count; without one the test is
/// skipped.
fn subordinate_ids(file: &str) -> (u32, u32) {
    let names = [std::env::var("USER").unwrap_or_default(), nix::unistd::geteuid().to_string()];
    let text = fs::read_to_string(file).unwrap_or_default();
    let range = |line: &str| {
        let mut words = line.split(':');
        let owner = words.next()?;
        let (first, count) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        names.iter().any(|name| name == owner).then_some((first, count))
    };
    text.lines().find_map(range).unwrap_or_else(|| super::skip(format!("the caller has no range in {file}")))
}

fn push(array: &mut Value, item: Value) {
    match array.as_array_mut() {
        Some(items) => items.push(item),
        None => *array = json!([item]),
    }
}

/// The smallest config that makes a whole container: five namespaces, the usual mounts, three capabilities.
fn default_config() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/probe", "probe", "--json"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs"},
        "hostname": "corten-test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]
        }
    })
}

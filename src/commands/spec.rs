//! `corten spec`: a config.json to start from, and on request a root file system that it can run.
//!
//! Keys stand in the order in which people read a config, and it is the order that other runtimes write, so that two
//! files can be compared line by line.

use std::fs;
use std::io::Write;
use std::path::Path;

use nix::sys::statfs;
use serde::Serialize;

use crate::cli::{Globals, SpecArgs};
use crate::config::effective::{Facts, Ordered, effective};
use crate::container::update::updated_config;
use crate::container::{ContainerId, Record, Store};
use crate::error::{Doing, Error, Result};
use crate::fault::Call;
use crate::toolbox::bundle;

/// What decides between the forms of the file.
#[derive(Clone, Copy, Debug)]
struct Wishes {
    /// The caller's ids when there are no privileges to be had.
    rootless: Option<(u32, u32)>,
    /// corten is the program, in a root file system made by [`bundle::make_rootfs`].
    with_rootfs: bool,
    /// The host has the unified hierarchy only: then a cgroup namespace hides the rest of the tree.
    unified: bool,
}

/// Writes the file; never over another one.
pub fn run(globals: &Globals, args: SpecArgs) -> Result<i32> {
    match &args.from {
        Some(_) if args.rootless || args.with_rootfs => {
            let text =
                "--from is the config of a container that is there: --rootless and --with-rootfs are for a new one";
            Err(Error::Usage(text.to_owned()))
        }
        Some(id) => put(&args, &render_from(globals, id)?),
        None => make(args),
    }
}

/// The same for a new container.
pub fn make(args: SpecArgs) -> Result<i32> {
    let wishes = Wishes {
        rootless: args.rootless.then(|| (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())),
        with_rootfs: args.with_rootfs,
        unified: probe_unified(),
    };
    let content = render_spec(wishes).doing(|| "write config.json")?;
    let rootfs = args.bundle.join("rootfs");
    if args.with_rootfs {
        fs::create_dir_all(&args.bundle).doing(|| format!("make the bundle {}", args.bundle.display()))?;
        refuse_existing(&rootfs)?;
    }
    put(&args, &content)?;
    if args.with_rootfs {
        bundle::make_rootfs(&rootfs).doing(|| format!("make the root file system {}", rootfs.display()))?;
    }
    Ok(0)
}

fn put(args: &SpecArgs, content: &[u8]) -> Result<i32> {
    let name = args.file.as_deref().unwrap_or(Path::new("config.json"));
    match name == Path::new("-") {
        true => super::print(content)?,
        false => write_new(&args.bundle.join(name), name, content)?,
    }
    Ok(0)
}

/// The config of a container with the limits that it has now, and with what it left open.
fn render_from(globals: &Globals, id: &str) -> Result<Vec<u8>> {
    let (dir, record) = Store::open(&globals.root)?.load(&ContainerId::parse(id)?)?;
    let config = updated_config(&dir)?;
    let facts = Facts { rootfs: record.rootfs.to_string_lossy().into_owned(), cgroups_path: cgroups_path(&record) };
    render(&Ordered(&effective(config, &facts))).doing(|| "write config.json")
}

/// What stands for an absent `linux.cgroupsPath`: the container's id, as a relative path or as the name of a scope.
fn cgroups_path(record: &Record) -> Option<String> {
    let Some(unit) = &record.group.unit else {
        return (!record.group.is_empty()).then(|| record.id.clone());
    };
    let name = unit.name.strip_prefix("corten-")?.strip_suffix(".scope")?;
    Some(format!("{}:corten:{name}", unit.slice))
}

fn exists(name: &Path) -> Error {
    Error::Usage(format!("File {} exists. Remove it first", name.display()))
}

fn refuse_existing(path: &Path) -> Result {
    match path.symlink_metadata() {
        Ok(_) => Err(exists(path)),
        Err(_) => Ok(()),
    }
}

fn write_new(path: &Path, name: &Path, content: &[u8]) -> Result {
    let mut file = fs::File::create_new(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(name),
        _ => Error::io(format!("make {}", path.display()), Call::Open, &error),
    })?;
    file.write_all(content).map_err(|error| Error::io(format!("write {}", path.display()), Call::Write, &error))
}

fn probe_unified() -> bool {
    statfs::statfs("/sys/fs/cgroup").is_ok_and(|fs| fs.filesystem_type() == statfs::CGROUP2_SUPER_MAGIC)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    oci_version: &'static str,
    process: Process,
    root: Root,
    hostname: &'static str,
    mounts: Vec<Mount>,
    linux: Linux,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    terminal: bool,
    user: User,
    args: &'static [&'static str],
    env: [&'static str; 2],
    cwd: &'static str,
    capabilities: Capabilities,
    rlimits: [Rlimit; 1],
    no_new_privileges: bool,
}

#[derive(Serialize)]
struct User {
    uid: u32,
    gid: u32,
}

/// Few: what a shell and a small server need.
const CAPABILITIES: &[&str] = &["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

#[derive(Serialize)]
struct Capabilities {
    bounding: &'static [&'static str],
    effective: &'static [&'static str],
    permitted: &'static [&'static str],
}

#[derive(Serialize)]
struct Rlimit {
    #[serde(rename = "type")]
    kind: &'static str,
    hard: u64,
    soft: u64,
}

#[derive(Serialize)]
struct Root {
    path: &'static str,
    readonly: bool,
}

#[derive(Serialize)]
struct Mount {
    destination: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    source: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    options: &'static [&'static str],
}

const fn mount(
    destination: &'static str,
    kind: &'static str,
    source: &'static str,
    options: &'static [&'static str],
) -> Mount {
    Mount { destination, kind, source, options }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid_mappings: Option<[Mapping; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gid_mappings: Option<[Mapping; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Resources>,
    namespaces: Vec<Namespace>,
    masked_paths: &'static [&'static str],
    readonly_paths: &'static [&'static str],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    #[serde(rename = "containerID")]
    container_id: u32,
    #[serde(rename = "hostID")]
    host_id: u32,
    size: u32,
}

#[derive(Serialize)]
struct Resources {
    devices: [Device; 1],
}

#[derive(Serialize)]
struct Device {
    allow: bool,
    access: &'static str,
}

#[derive(Serialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: &'static str,
}

const NO_DEVICES: [Device; 1] = [Device { allow: false, access: "rwm" }];
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];
const READONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn mounts(rootless: bool) -> Vec<Mount> {
    // Group 5 (tty) has no mapping when there is a single one.
    let pts: &[&str] = match rootless {
        true => &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        false => &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    };
    // A sysfs can only be mounted by the owner of the network namespace, which stays the host's.
    let sys = match rootless {
        true => mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]),
        false => mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    };
    vec![
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", pts),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        sys,
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ]
}

fn linux(wishes: Wishes) -> Linux {
    let map = |host_id| [Mapping { container_id: 0, host_id, size: 1 }];
    let rootless = wishes.rootless.is_some();
    let kinds = [
        ("pid", true),
        ("network", !rootless),
        ("ipc", true),
        ("uts", true),
        ("mount", true),
        ("user", rootless),
        ("cgroup", wishes.unified),
    ];
    Linux {
        uid_mappings: wishes.rootless.map(|(uid, _)| map(uid)),
        gid_mappings: wishes.rootless.map(|(_, gid)| map(gid)),
        resources: (!rootless).then_some(Resources { devices: NO_DEVICES }),
        namespaces: kinds.into_iter().filter(|(_, wanted)| *wanted).map(|(kind, _)| Namespace { kind }).collect(),
        masked_paths: MASKED,
        readonly_paths: READONLY,
    }
}

fn config(wishes: Wishes) -> Config {
    Config {
        oci_version: super::version::SPEC,
        process: Process {
            terminal: !wishes.with_rootfs,
            user: User { uid: 0, gid: 0 },
            args: if wishes.with_rootfs { &["/bin/corten", "probe"] } else { &["sh"] },
            env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            cwd: "/",
            capabilities: Capabilities { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
            rlimits: [Rlimit { kind: "RLIMIT_NOFILE", hard: 1024, soft: 1024 }],
            no_new_privileges: true,
        },
        root: Root { path: "rootfs", readonly: true },
        hostname: "corten",
        mounts: mounts(wishes.rootless.is_some()),
        linux: linux(wishes),
    }
}

/// The file's bytes: indented by tabs.
fn render_spec(wishes: Wishes) -> std::io::Result<Vec<u8>> {
    render(&config(wishes))
}

fn render(config: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    config.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PLAIN: Wishes = Wishes { rootless: None, with_rootfs: false, unified: false };

    fn value(wishes: Wishes) -> serde_json::Value {
        serde_json::from_slice(&render_spec(wishes).unwrap()).unwrap()
    }

    fn namespaces(wishes: Wishes) -> Vec<String> {
        let value = value(wishes);
        let list = value["linux"]["namespaces"].as_array().unwrap();
        list.iter().map(|namespace| namespace["type"].as_str().unwrap().to_owned()).collect()
    }

    fn args(bundle: &Path) -> SpecArgs {
        SpecArgs { bundle: bundle.to_owned(), file: None, from: None, rootless: false, with_rootfs: false }
    }

    #[test]
    fn the_file_is_a_valid_config_whose_keys_stand_in_reading_order() {
        let bytes = render_spec(PLAIN).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(
            text.starts_with("{\n\t\"ociVersion\": \"1.3.0\",\n\t\"process\": {\n\t\t\"terminal\": true,\n"),
            "{text}"
        );
        let keys = ["\"process\"", "\"root\"", "\"hostname\": \"corten\"", "\"mounts\"", "\"linux\""];
        let places: Vec<usize> = keys.iter().map(|key| text.find(key).unwrap()).collect();
        assert!(places.is_sorted());
        let spec: oci_spec::runtime::Spec = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(spec.mounts().as_ref().unwrap().len(), 7);
        assert_eq!(spec.process().as_ref().unwrap().args().as_ref().unwrap(), &["sh"]);
        assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(true));
    }

    #[test]
    fn the_host_s_hierarchy_decides_about_the_cgroup_namespace() {
        assert_eq!(namespaces(PLAIN), ["pid", "network", "ipc", "uts", "mount"]);
        assert_eq!(namespaces(Wishes { unified: true, ..PLAIN }), ["pid", "network", "ipc", "uts", "mount", "cgroup"]);
    }

    #[test]
    fn a_rootless_config_asks_for_nothing_that_takes_privileges() {
        let wishes = Wishes { rootless: Some((1000, 100)), ..PLAIN };
        assert_eq!(namespaces(wishes), ["pid", "ipc", "uts", "mount", "user"]);
        let value = value(wishes);
        assert_eq!(value["linux"]["uidMappings"][0]["hostID"], 1000);
        assert_eq!(value["linux"]["gidMappings"][0]["hostID"], 100);
        assert_eq!(value["linux"]["gidMappings"][0]["size"], 1);
        assert!(value["linux"].get("resources").is_none());
        let mounts = value["mounts"].as_array().unwrap();
        let at = |destination: &str| mounts.iter().find(|mount| mount["destination"] == destination).unwrap();
        assert_eq!(at("/sys")["type"], "none");
        assert_eq!(at("/sys")["options"][0], "rbind");
        assert!(!at("/dev/pts")["options"].to_string().contains("gid=5"));
    }

    #[test]
    fn an_existing_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        make(args(dir.path())).unwrap();
        let before = fs::read(dir.path().join("config.json")).unwrap();
        let error = make(SpecArgs { rootless: true, ..args(dir.path()) }).unwrap_err();
        assert_eq!(error.to_string(), "File config.json exists. Remove it first");
        assert_eq!(fs::read(dir.path().join("config.json")).unwrap(), before);
    }

    #[test]
    fn with_rootfs_makes_a_bundle_that_needs_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("new/web");
        make(SpecArgs { with_rootfs: true, ..args(&bundle) }).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
        assert_eq!(value["process"]["args"], serde_json::json!(["/bin/corten", "probe"]));
        assert_eq!((&value["process"]["terminal"], &value["root"]["readonly"]), (&false.into(), &true.into()));
        let program = fs::metadata(bundle.join("rootfs/bin/corten")).unwrap();
        assert_eq!(program.permissions().mode() & 0o7777, 0o755);
        assert_eq!(program.len(), fs::metadata("/proc/self/exe").unwrap().len());
        assert_eq!(fs::metadata(bundle.join("rootfs/tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
        for dir in ["proc", "sys", "dev", "etc/passwd"] {
            assert!(bundle.join("rootfs").join(dir).exists(), "{dir}");
        }
    }

    #[test]
    fn an_existing_rootfs_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("rootfs")).unwrap();
        let error = make(SpecArgs { with_rootfs: true, ..args(dir.path()) }).unwrap_err();
        assert!(error.to_string().ends_with("rootfs exists. Remove it first"), "{error}");
        assert!(!dir.path().join("config.json").exists());
    }
}

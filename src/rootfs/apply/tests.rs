//! Whole plans carried out in throw-away namespaces, as root.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{apply, apply_host};
use crate::host::Host;
use crate::plan::{Op, Step};
use crate::request::{Mode, Request};
use crate::rootfs::options::Attributes;
use crate::rootfs::plan::{CgroupDir, RootfsPlan, plan_rootfs};
use crate::rootfs::{Attachment, Finish, Target, TargetKind, hint, reason, render};
use crate::slots::{Slot, SlotCounter, Slots};
use crate::sys::fork_test::{allocations, in_namespaces, is_root, may_map, mounts, open_descriptors};
use crate::sys::{file, kernel};

const NAMESPACES: i32 = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC;

/// A bundle in a temporary directory, and the config that is planned for it.
struct Bundle {
    dir: tempfile::TempDir,
    config: Value,
    no_pivot: bool,
    first_id: Option<u32>,
    gaps: u32,
    namespaces: i32,
    host: Host,
    cgroups: Vec<CgroupDir>,
}

impl Bundle {
    fn new() -> Bundle {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for at in ["proc", "sys", "bin", "etc", "tmp"] {
            fs::create_dir_all(dir.path().join("rootfs").join(at)).unwrap();
        }
        fs::write(dir.path().join("rootfs/bin/busybox"), "a program").unwrap();
        let config = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                 "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                 "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
                {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                 "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs",
                 "options": ["nosuid", "noexec", "nodev", "ro"]}
            ],
            "linux": {
                "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "mount"}],
                "maskedPaths": ["/proc/kcore", "/proc/acpi", "/proc/scsi", "/proc/keys", "/sys/firmware", "/nowhere/x"],
                "readonlyPaths": ["/proc/sys", "/proc/irq", "/proc/sysrq-trigger", "/nowhere"]
            }
        });
        Bundle {
            dir,
            config,
            no_pivot: false,
            first_id: None,
            gaps: 0,
            namespaces: NAMESPACES,
            host: Host::fixture(),
            cgroups: Vec::new(),
        }
    }

    fn in_user_namespace() -> Bundle {
        let mut bundle = Bundle::new();
        bundle.first_id = Some(100_000);
        bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        for kind in ["uidMappings", "gidMappings"] {
            bundle.config["linux"][kind] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        }
        bundle.chown_rootfs();
        bundle
    }

    fn chown_rootfs(&self) {
        let mut todo = vec![self.rootfs()];
        while let Some(at) = todo.pop() {
            std::os::unix::fs::lchown(&at, Some(100_000), Some(100_000)).unwrap();
            if at.is_dir() && !at.is_symlink() {
                todo.extend(fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    }

    fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn mount(&mut self, mount: Value) -> &mut Bundle {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
        self
    }

    fn plan(&self, slots: &mut SlotCounter) -> RootfsPlan {
        let spec = serde_json::from_value(self.config.clone()).unwrap();
        let request = Request { no_pivot: self.no_pivot, ..Request::new("c", self.dir.path(), Mode::Create) };
        plan_rootfs(&spec, &self.host, &request, &self.cgroups, slots).unwrap()
    }

    /// Builds and enters the root, then calls `check` in it. `ok` is what a check returns that found nothing wrong.
    fn run(&self, check: impl FnOnce(&Slots) -> String) -> String {
        let mut counter = SlotCounter::default();
        let plan = self.plan(&mut counter);
        let mut slots = Slots::with_room(counter.len());
        if let Err(text) = carry_out(&plan.host, &mut slots, apply_host) {
            return text;
        }
        let result = in_namespaces(self.namespaces, self.first_id, || {
            kernel::pretend_lacks(self.gaps);
            for list in [&plan.mount, &plan.enter, &plan.finish] {
                if let Err(text) = carry_out(list, &mut slots, apply) {
                    return text;
                }
            }
            check(&slots)
        });
        for fd in slots.filled() {
            crate::sys::file::close(fd);
        }
        result
    }
}

fn carry_out(
    steps: &[Step],
    slots: &mut Slots,
    apply: fn(&crate::rootfs::Op, &mut Slots) -> crate::fault::Effect,
) -> Result<(), String> {
    for step in steps {
        // Nobody gives the tree of a bind here: it stays as the host has taken it.
        let Op::Rootfs(op) = &step.op else { continue };
        apply(op, slots).map_err(|trouble| {
            let hint = reason(op, trouble).or(hint(op, trouble)).unwrap_or_default();
            format!("{}: {}: {}: {} [{hint}]", step.field, render(op), trouble.call.name(), trouble.errno)
        })?;
    }
    Ok(())
}

fn mount_at(at: &str) -> [String; 4] {
    mounts().into_iter().rfind(|mount| mount[0] == at).unwrap_or_else(|| panic!("nothing is mounted on {at}"))
}

fn assert_has(at: &str, options: &[&str]) {
    let mount = mount_at(at);
    for option in options {
        assert!(mount[1].split(',').any(|has| has == *option), "{at} lacks {option}: {mount:?}");
    }
}

/// What every container's root looks like from inside.
fn check_docker_like(_: &Slots) -> String {
    assert_eq!(fs::read_to_string("/bin/busybox").unwrap(), "a program");
    assert_eq!(std::env::current_dir().unwrap(), Path::new("/"));
    assert_has("/proc", &["rw", "nosuid", "noexec", "nodev"]);
    assert_has("/sys", &["ro", "nosuid", "noexec", "nodev"]);
    assert_has("/dev/shm", &["rw", "nosuid", "noexec", "nodev"]);
    assert_has("/proc/sys", &["ro", "nosuid", "noexec", "nodev"]);
    assert_eq!(mount_at("/dev/pts")[3], "devpts");
    assert_eq!(mount_at("/dev/mqueue")[3], "mqueue");
    for (name, rdev) in [("null", (1, 3)), ("zero", (1, 5)), ("full", (1, 7)), ("tty", (5, 0)), ("urandom", (1, 9))] {
        let stat = fs::symlink_metadata(format!("/dev/{name}")).unwrap();
        assert!(stat.file_type().is_char_device());
        assert_eq!((libc::major(stat.rdev()), libc::minor(stat.rdev())), rdev, "{name}");
        assert_eq!(stat.mode() & 0o777, 0o666, "{name}");
    }
    for (link, content) in
        [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx")]
    {
        assert_eq!(fs::read_link(format!("/dev/{link}")).unwrap(), Path::new(content));
    }
    assert_eq!(fs::metadata("/dev").unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata("/dev/shm").unwrap().mode() & 0o7777, 0o1777);
    // Masked and read-only.
    assert!(fs::metadata("/proc/keys").unwrap().file_type().is_char_device());
    for at in ["/proc/acpi", "/sys/firmware"] {
        if Path::new(at).exists() {
            assert_eq!(fs::read_dir(at).unwrap().count(), 0, "{at}");
            assert_has(at, &["ro"]);
        }
    }
    assert!(fs::write("/proc/sys/kernel/domainname", "x").is_err());
    // Nothing of the host is left.
    assert!(mounts().iter().all(|mount| !mount[0].contains("rootfs")));
    assert!(!Path::new("/work").exists() && !Path::new("/home").exists());
    "ok".into()
}

#[test]
fn a_docker_like_root_is_built_and_entered() {
    if is_root("a_docker_like_root_is_built_and_entered") {
        assert_eq!(Bundle::new().run(check_docker_like), "ok");
    }
}

#[test]
fn a_docker_like_root_is_built_in_a_user_namespace() {
    if may_map("a_docker_like_root_is_built_in_a_user_namespace") {
        assert_eq!(Bundle::in_user_namespace().run(check_docker_like), "ok");
    }
}

#[test]
fn a_kernel_without_the_new_mount_calls_builds_the_same_root() {
    if is_root("a_kernel_without_the_new_mount_calls_builds_the_same_root") {
        for gaps in [kernel::NEW_MOUNT_API | kernel::MOUNT_SETATTR, kernel::MOUNT_SETATTR] {
            let mut bundle = Bundle::new();
            bundle.gaps = gaps;
            bundle.mount(json!({"destination": "/data", "source": "rootfs/etc", "options": ["bind", "ro", "nosuid"]}));
            let result = bundle.run(|slots| {
                assert_has("/data", &["ro", "nosuid"]);
                check_docker_like(slots)
            });
            assert_eq!(result, "ok", "{gaps:b}");
        }
    }
}

#[test]
fn without_pivot_the_root_is_entered_all_the_same() {
    if is_root("without_pivot_the_root_is_entered_all_the_same") {
        let mut bundle = Bundle::new();
        bundle.no_pivot = true;
        let result = bundle.run(|_| {
            assert_eq!(fs::read_to_string("/bin/busybox").unwrap(), "a program");
            assert_has("/proc/sys", &["ro"]);
            assert!(!Path::new("/work").exists());
            "ok".into()
        });
        assert_eq!(result, "ok");
    }
}

#[test]
fn without_pivot_nothing_of_the_hosts_procfs_is_mounted_any_more() {
    if !is_root("without_pivot_nothing_of_the_hosts_procfs_is_mounted_any_more") {
        return;
    }
    let mut bundle = Bundle::new();
    bundle.no_pivot = true;
    let mut counter = SlotCounter::default();
    let plan = bundle.plan(&mut counter);
    let mut slots = Slots::with_room(counter.len());
    let rootfs = bundle.rootfs();
    let result = in_namespaces(NAMESPACES, None, || {
        if let Err(text) = carry_out(&plan.mount, &mut slots, apply) {
            return text;
        }
        if let Err(text) = carry_out(&plan.enter[..1], &mut slots, apply) {
            return text;
        }
        assert!(fs::read_dir("/proc").unwrap().next().is_none());
        assert!(fs::read_dir("/sys").unwrap().next().is_none());
        assert!(rootfs.join("proc/self").exists());
        "ok".into()
    });
    assert_eq!(result, "ok");
}

#[test]
fn a_read_only_root_and_a_read_only_dev_are_filled_first() {
    if is_root("a_read_only_root_and_a_read_only_dev_are_filled_first") {
        let mut bundle = Bundle::new();
        bundle.config["root"]["readonly"] = json!(true);
        bundle.config["mounts"][1]["options"] = json!(["nosuid", "ro", "mode=755"]);
        let result = bundle.run(|_| {
            assert!(fs::write("/x", "").is_err());
            assert!(fs::write("/dev/x", "").is_err());
            fs::write("/dev/shm/x", "").unwrap();
            fs::write("/dev/null", "x").unwrap();
            assert_has("/", &["ro"]);
            assert_has("/dev", &["ro", "nosuid"]);
            "ok".into()
        });
        assert_eq!(result, "ok");
    }
}

#[test]
fn binds_of_files_and_directories_get_their_targets_flags_and_propagation() {
    if !is_root("binds_of_files_and_directories_get_their_targets_flags_and_propagation") {
        return;
    }
    let mut bundle = Bundle::new();
    fs::create_dir(bundle.at("data")).unwrap();
    fs::write(bundle.at("data/file"), "content").unwrap();
    symlink("/tmp/in-root", bundle.rootfs().join("link")).unwrap();
    bundle
        .mount(json!({"destination": "/new/dir", "type": "bind", "source": "data", "options": ["ro", "rslave"]}))
        .mount(json!({"destination": "/link/file", "source": "data/file", "options": ["bind", "nodev", "shared"]}))
        .mount(json!({"destination": "/rro", "source": "data", "options": ["rbind", "rro", "rnosuid", "noatime"]}))
        .mount(json!({"destination": "/rro", "type": "none", "options": ["remount", "nodev"]}));
    let result = bundle.run(|_| {
        assert_eq!(fs::read_to_string("/new/dir/file").unwrap(), "content");
        assert!(fs::write("/new/dir/file", "x").is_err());
        assert_eq!(fs::read_to_string("/tmp/in-root/file").unwrap(), "content");
        assert_has("/tmp/in-root/file", &["rw", "nodev"]);
        assert!(mount_at("/tmp/in-root/file")[2].contains("shared:"));
        assert_has("/rro", &["ro", "nosuid", "noatime", "nodev"]);
        "ok".into()
    });
    assert_eq!(result, "ok");
    assert_eq!(fs::read_to_string(bundle.at("data/file")).unwrap(), "content");
}

#[test]
fn idmapped_binds_show_the_ids_of_the_mapping() {
    if !may_map("idmapped_binds_show_the_ids_of_the_mapping") {
        return;
    }
    let owner = |at: &str| {
        let stat = fs::metadata(at).unwrap();
        (stat.uid(), stat.gid())
    };
    let maps = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
    let mut bundle = Bundle::new();
    fs::write(bundle.at("data"), "").unwrap();
    bundle
        .mount(json!({"destination": "/a", "source": "data", "options": ["bind"],
                      "uidMappings": maps, "gidMappings": maps}))
        .mount(json!({"destination": "/b", "source": "data", "options": ["rbind", "ridmap=uids=0-7-1;gids=0-8-1"]}));
    let result = bundle.run(|_| {
        assert_eq!((owner("/a"), owner("/b")), ((5000, 5000), (7, 8)));
        "ok".into()
    });
    assert_eq!(result, "ok");

    let mut bundle = Bundle::in_user_namespace();
    fs::write(bundle.at("data"), "").unwrap();
    bundle
        .mount(json!({"destination": "/plain", "source": "data", "options": ["bind"]}))
        .mount(json!({"destination": "/mapped", "source": "data", "options": ["bind", "idmap"]}))
        .mount(
            json!({"destination": "/other", "source": "data", "options": ["bind", "idmap=uids=@0-3-1;gids=@0-4-1"]}),
        );
    let result = bundle.run(|_| {
        assert_eq!((owner("/plain"), owner("/mapped"), owner("/other")), ((65534, 65534), (0, 0), (3, 4)));
        "ok".into()
    });
    assert_eq!(result, "ok");
}

#[test]
fn a_tmpfs_inherits_mode_and_content_of_what_it_covers() {
    if !is_root("a_tmpfs_inherits_mode_and_content_of_what_it_covers") {
        return;
    }
    for gaps in [0, kernel::NEW_MOUNT_API | kernel::MOUNT_SETATTR] {
        let mut bundle = Bundle::new();
        bundle.gaps = gaps;
        fs::create_dir_all(bundle.rootfs().join("var/deep")).unwrap();
        fs::write(bundle.rootfs().join("var/deep/file"), "content").unwrap();
        symlink("/etc/passwd", bundle.rootfs().join("var/link")).unwrap();
        fs::set_permissions(bundle.rootfs().join("var"), fs::Permissions::from_mode(0o1770)).unwrap();
        bundle.mount(json!({"destination": "/var", "type": "tmpfs", "options": ["tmpcopyup", "ro", "size=1m"]}));
        let result = bundle.run(|_| {
            assert_eq!(fs::read_to_string("/var/deep/file").unwrap(), "content");
            assert_eq!(fs::read_link("/var/link").unwrap(), Path::new("/etc/passwd"));
            assert_eq!(fs::metadata("/var").unwrap().mode() & 0o7777, 0o1770);
            assert_has("/var", &["ro"]);
            "ok".into()
        });
        assert_eq!(result, "ok");
    }
}

#[test]
fn symlinked_sources_are_followed_bound_or_copied_as_the_options_say() {
    if !is_root("symlinked_sources_are_followed_bound_or_copied_as_the_options_say") {
        return;
    }
    let mut bundle = Bundle::new();
    fs::write(bundle.at("file"), "content").unwrap();
    symlink("file", bundle.at("link")).unwrap();
    symlink("/etc/target", bundle.rootfs().join("covered")).unwrap();
    bundle
        .mount(json!({"destination": "/followed", "source": "link", "options": ["bind"]}))
        .mount(json!({"destination": "/copied", "source": "link", "options": ["bind", "copy-symlink"]}))
        .mount(json!({"destination": "/bound", "source": "link", "options": ["bind", "src-nofollow"]}))
        .mount(json!({"destination": "/covered", "source": "file", "options": ["bind", "dest-nofollow"]}));
    let result = bundle.run(|_| {
        assert_eq!(fs::read_to_string("/followed").unwrap(), "content");
        assert_eq!(fs::read_link("/copied").unwrap(), Path::new("file"));
        assert_eq!(fs::read_link("/bound").unwrap(), Path::new("file"));
        assert_eq!(fs::read_to_string("/covered").unwrap(), "content");
        assert!(!Path::new("/etc/target").exists());
        "ok".into()
    });
    assert_eq!(result, "ok");
}

#[test]
fn hostile_links_in_the_rootfs_lead_nowhere() {
    if !is_root("hostile_links_in_the_rootfs_lead_nowhere") {
        return;
    }
    // CVE-2019-19921: /proc as a symbolic link.
    let bundle = Bundle::new();
    fs::remove_dir(bundle.rootfs().join("proc")).unwrap();
    symlink("../victim", bundle.rootfs().join("proc")).unwrap();
    fs::create_dir(bundle.at("victim")).unwrap();
    let result = bundle.run(|_| "ok".into());
    assert!(result.contains("must be mounted on ordinary directory"), "{result}");
    assert_eq!(fs::read_dir(bundle.at("victim")).unwrap().count(), 0);

    // CVE-2026-41579: /dev as a symbolic link out of the rootfs, and no mount on it.
    for content in ["../victim", "VICTIM"] {
        let mut bundle = Bundle::new();
        let victim = bundle.at("victim");
        fs::create_dir(&victim).unwrap();
        let content = if content == "VICTIM" { victim.clone() } else { content.into() };
        symlink(content, bundle.rootfs().join("dev")).unwrap();
        bundle.config["mounts"].as_array_mut().unwrap().truncate(1);
        bundle.config["linux"]["maskedPaths"] = json!([]);
        bundle.run(|_| "ok".into());
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    }

    // CVE-2025-31133: /dev/null as a symbolic link while paths are masked.
    let mut bundle = Bundle::new();
    fs::create_dir(bundle.rootfs().join("dev")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", bundle.rootfs().join("dev/null")).unwrap();
    bundle.config["mounts"].as_array_mut().unwrap().truncate(1);
    let result = bundle.run(|_| "ok".into());
    assert!(result.contains("/dev/null"), "{result}");

    // CVE-2023-28642: /sys as a symbolic link while paths in it are masked.
    let mut bundle = Bundle::new();
    fs::remove_dir(bundle.rootfs().join("sys")).unwrap();
    symlink("/etc", bundle.rootfs().join("sys")).unwrap();
    bundle.config["mounts"].as_array_mut().unwrap().truncate(5);
    let result = bundle.run(|_| "ok".into());
    assert!(result.contains("mask /sys/firmware"), "{result}");
}

#[test]
fn a_symlinked_rootfs_is_refused() {
    if !is_root("a_symlinked_rootfs_is_refused") {
        return;
    }
    let mut bundle = Bundle::new();
    symlink("rootfs", bundle.at("alias")).unwrap();
    bundle.config["root"]["path"] = json!("alias");
    let result = bundle.run(|_| "ok".into());
    assert!(result.contains("invalid rootfs: not an absolute path, or a symlink"), "{result}");
}

#[test]
fn a_rootfs_that_the_mapped_root_cannot_reach_is_explained() {
    if may_map("a_rootfs_that_the_mapped_root_cannot_reach_is_explained") {
        let bundle = Bundle::in_user_namespace();
        fs::set_permissions(bundle.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let result = bundle.run(|_| "ok".into());
        assert!(result.contains("root.path") && result.contains("needs x for others"), "{result}");
    }
}

#[test]
fn devices_are_made_as_configured_and_never_over_another_file() {
    if !is_root("devices_are_made_as_configured_and_never_over_another_file") {
        return;
    }
    let mut bundle = Bundle::new();
    bundle.config["linux"]["devices"] = json!([
        {"path": "/dev/deep/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/pipe", "type": "p", "major": 8, "minor": 666},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600}
    ]);
    let result = bundle.run(|_| {
        let stat = fs::metadata("/dev/deep/fuse").unwrap();
        assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o777), (3, 4, 0o640));
        assert!(fs::metadata("/pipe").unwrap().file_type().is_fifo());
        assert_eq!(fs::metadata("/dev/null").unwrap().mode() & 0o777, 0o600);
        "ok".into()
    });
    assert_eq!(result, "ok");

    fs::write(bundle.rootfs().join("block"), "").unwrap();
    bundle.config["linux"]["devices"] = json!([{"path": "/block", "type": "b", "major": 8, "minor": 0}]);
    let result = bundle.run(|_| "ok".into());
    assert!(result.contains("linux.devices[0]: make device /block (b 8:0)"), "{result}");
}

#[test]
fn propagation_of_the_root_is_what_the_config_says() {
    if !is_root("propagation_of_the_root_is_what_the_config_says") {
        return;
    }
    for (name, mark) in
        [("shared", "shared:"), ("slave", ""), ("private", ""), ("unbindable", "unbindable"), ("rshared", "shared:")]
    {
        for gaps in [0, kernel::NEW_MOUNT_API | kernel::MOUNT_SETATTR] {
            let mut bundle = Bundle::new();
            bundle.gaps = gaps;
            bundle.config["linux"]["rootfsPropagation"] = json!(name);
            let result = bundle.run(|_| {
                let has = mount_at("/")[2].clone();
                assert!(if mark.is_empty() { !has.contains("shared:") } else { has.contains(mark) }, "{name}: {has}");
                "ok".into()
            });
            assert_eq!(result, "ok", "{name}");
        }
    }
}

#[test]
fn nothing_that_is_mounted_reaches_the_host() {
    if !may_map("nothing_that_is_mounted_reaches_the_host") {
        return;
    }
    let old = kernel::NEW_MOUNT_API | kernel::MOUNT_SETATTR;
    for (user, gaps, propagation, no_pivot) in [
        (false, 0, None, false),
        (false, old, None, false),
        (false, 0, Some("rshared"), false),
        (false, old, Some("shared"), false),
        (false, 0, None, true),
        (true, 0, None, false),
        (true, kernel::MOUNT_SETATTR, None, false),
    ] {
        let mut bundle = if user { Bundle::in_user_namespace() } else { Bundle::new() };
        fs::create_dir(bundle.at("data")).unwrap();
        bundle.mount(json!({"destination": "/data", "source": "data", "options": ["rbind", "rprivate"]}));
        bundle.config["linux"]["rootfsPropagation"] = propagation.map_or(Value::Null, |name| json!(name));
        (bundle.gaps, bundle.no_pivot) = (gaps, no_pivot);
        // A host on which everything is shared, as systemd makes it.
        let result = in_namespaces(libc::CLONE_NEWNS, None, || {
            crate::sys::mount::mount(None, c"/", None, libc::MS_SHARED | libc::MS_REC, None).unwrap();
            let before = mounts();
            let result = bundle.run(|_| {
                crate::sys::mount::mount(Some(c"x"), c"/data", Some(c"tmpfs"), 0, None).unwrap();
                "ok".into()
            });
            assert_eq!(mounts(), before);
            result
        });
        assert_eq!(result, "ok", "{user} {gaps:b} {propagation:?} {no_pivot}");
    }
}

#[test]
fn a_shared_volume_reaches_the_host_when_the_config_asks_for_it() {
    if !is_root("a_shared_volume_reaches_the_host_when_the_config_asks_for_it") {
        return;
    }
    let mut bundle = Bundle::new();
    fs::create_dir_all(bundle.at("data/sub")).unwrap();
    bundle.mount(json!({"destination": "/data", "source": "data", "options": ["rbind", "rshared"]}));
    bundle.config["linux"]["rootfsPropagation"] = json!("rshared");
    let sub = bundle.at("data/sub");
    let result = in_namespaces(libc::CLONE_NEWNS, None, || {
        crate::sys::mount::mount(None, c"/", None, libc::MS_SHARED | libc::MS_REC, None).unwrap();
        // As engines have it, the rootfs is a mount: the parent that becomes private isn't the volume's.
        let rootfs = std::ffi::CString::new(bundle.rootfs().to_str().unwrap()).unwrap();
        crate::sys::mount::mount(Some(&rootfs), &rootfs, None, libc::MS_BIND, None).unwrap();
        let result = bundle.run(|_| {
            crate::sys::mount::mount(Some(c"x"), c"/data/sub", Some(c"tmpfs"), 0, None).unwrap();
            "ok".into()
        });
        assert_eq!(mount_at(sub.to_str().unwrap())[3], "tmpfs");
        result
    });
    assert_eq!(result, "ok");
}

#[test]
fn no_step_inside_touches_the_heap() {
    if !is_root("no_step_inside_touches_the_heap") {
        return;
    }
    for (gaps, no_pivot) in [(0, false), (0, true), (kernel::NEW_MOUNT_API | kernel::MOUNT_SETATTR, false)] {
        let mut bundle = Bundle::new();
        bundle.no_pivot = no_pivot;
        fs::create_dir_all(bundle.rootfs().join("var/deep")).unwrap();
        fs::write(bundle.rootfs().join("var/deep/file"), "content").unwrap();
        symlink("../gone", bundle.rootfs().join("etc/link")).unwrap();
        bundle
            .mount(json!({"destination": "/var", "type": "tmpfs", "options": ["tmpcopyup"]}))
            .mount(json!({"destination": "/etc/link/x", "source": "/etc", "options": ["bind", "ro", "rslave"]}));
        let mut counter = SlotCounter::default();
        let plan = bundle.plan(&mut counter);
        let mut slots = Slots::with_room(counter.len());
        let result = in_namespaces(NAMESPACES, None, || {
            kernel::pretend_lacks(gaps);
            for step in plan.mount.iter().chain(&plan.enter).chain(&plan.finish) {
                let Op::Rootfs(op) = &step.op else { continue };
                let before = allocations();
                let applied = apply(op, &mut slots);
                let made = allocations() - before;
                if made != 0 || applied.is_err() {
                    return format!("{made} allocations, {applied:?}: {}", render(op));
                }
            }
            "ok".into()
        });
        assert_eq!(result, "ok");
    }
}

/// CVE-2021-30465, CVE-2024-45310: a volume shared with another container changes while targets are made in it.
#[test]
fn a_target_that_changes_places_with_a_link_never_leads_out() {
    if !is_root("a_target_that_changes_places_with_a_link_never_leads_out") {
        return;
    }
    let mut bundle = Bundle::new();
    let victim = bundle.at("victim");
    fs::create_dir_all(&victim).unwrap();
    fs::create_dir_all(bundle.rootfs().join("vol/dir")).unwrap();
    symlink(&victim, bundle.rootfs().join("vol/link")).unwrap();
    bundle.mount(json!({"destination": "/vol/dir/a/b", "source": "/etc", "options": ["bind"]}));
    bundle.mount(json!({"destination": "/vol/dir/c", "source": "/etc/passwd", "options": ["bind"]}));
    let (dir, link) = (bundle.rootfs().join("vol/dir"), bundle.rootfs().join("vol/link"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, &dir, nix::fcntl::AT_FDCWD, &link, flags).unwrap();
            }
        });
        for _ in 0..40 {
            let victim = victim.clone();
            bundle.run(move |_| victim.display().to_string());
            assert_eq!(fs::read_dir(bundle.at("victim")).unwrap().count(), 0);
            let _ = fs::remove_dir_all(bundle.rootfs().join("vol/dir/a"));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_missing_source_names_its_field_and_a_bad_pair_says_why() {
    if !is_root("a_missing_source_names_its_field_and_a_bad_pair_says_why") {
        return;
    }
    let mut bundle = Bundle::new();
    bundle.mount(json!({"destination": "/data", "source": "/nonexistent/src", "options": ["bind"]}));
    let result = bundle.run(|_| "ok".into());
    assert!(result.starts_with("mounts[6].source: bind /nonexistent/src on /data: open_tree: ENOENT"), "{result}");
    let mut bundle = Bundle::new();
    fs::write(bundle.rootfs().join("file"), "").unwrap();
    bundle.mount(json!({"destination": "/file", "source": "/etc", "options": ["bind"]}));
    let result = bundle.run(|_| "ok".into());
    assert!(result.contains("a file on a file"), "{result}");
}

#[test]
fn the_containers_proc_is_kept_and_every_other_descriptor_closed() {
    if !is_root("the_containers_proc_is_kept_and_every_other_descriptor_closed") {
        return;
    }
    for gaps in [0, kernel::NEW_MOUNT_API | kernel::MOUNT_SETATTR] {
        let bundle = Bundle::new();
        fs::create_dir(bundle.rootfs().join("var")).unwrap();
        let mut counter = SlotCounter::default();
        let plan = bundle.plan(&mut counter);
        let mut slots = Slots::with_room(counter.len());
        let result = in_namespaces(NAMESPACES, None, || {
            kernel::pretend_lacks(gaps);
            let before = open_descriptors();
            for list in [&plan.mount, &plan.enter, &plan.finish] {
                if let Err(text) = carry_out(list, &mut slots, apply) {
                    return text;
                }
            }
            assert_eq!(open_descriptors() - before, slots.filled().count());
            assert_eq!(file::magic(slots.get(Slot::PROC).unwrap()), Ok(file::PROC_MAGIC));
            let root = file::fstat(slots.get(Slot::ROOTFS).unwrap()).unwrap();
            let slash = fs::metadata("/").unwrap();
            assert_eq!((root.dev, root.ino), (slash.dev(), slash.ino()));
            "ok".into()
        });
        assert_eq!(result, "ok");
    }
}

#[test]
fn a_user_namespace_without_a_network_of_its_own_gets_the_hosts_sysfs_read_only() {
    if !may_map("a_user_namespace_without_a_network_of_its_own_gets_the_hosts_sysfs_read_only") {
        return;
    }
    for gaps in [0, kernel::NEW_MOUNT_API | kernel::MOUNT_SETATTR] {
        let mut bundle = Bundle::in_user_namespace();
        bundle.gaps = gaps;
        bundle.namespaces &= !libc::CLONE_NEWNET;
        bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "network");
        let result = bundle.run(|_| {
            assert_has("/sys", &["ro", "nosuid", "nodev", "noexec"]);
            assert!(Path::new("/sys/kernel").exists());
            "ok".into()
        });
        assert_eq!(result, "ok", "{gaps:b}");
    }
}

#[test]
fn a_user_namespace_works_without_pivot_and_without_the_new_mount_calls() {
    if !may_map("a_user_namespace_works_without_pivot_and_without_the_new_mount_calls") {
        return;
    }
    for (gaps, no_pivot) in [(0, true), (kernel::NEW_MOUNT_API | kernel::MOUNT_SETATTR, false)] {
        let mut bundle = Bundle::in_user_namespace();
        fs::write(bundle.at("file"), "content").unwrap();
        bundle.mount(json!({"destination": "/file", "source": "file", "options": ["bind", "ro"]}));
        (bundle.gaps, bundle.no_pivot) = (gaps, no_pivot);
        let result = bundle.run(|_| {
            assert_eq!(fs::read_to_string("/file").unwrap(), "content");
            assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
            assert!(!Path::new("/work").exists());
            "ok".into()
        });
        assert_eq!(result, "ok", "{gaps:b} {no_pivot}");
    }
}

#[test]
fn a_caller_without_privileges_takes_its_sources_inside() {
    if !may_map("a_caller_without_privileges_takes_its_sources_inside") {
        return;
    }
    for gaps in [0, kernel::MOUNT_SETATTR, kernel::NEW_MOUNT_API | kernel::MOUNT_SETATTR] {
        let mut bundle = Bundle::in_user_namespace();
        (bundle.host.euid, bundle.gaps) = (1000, gaps);
        fs::write(bundle.at("file"), "content").unwrap();
        bundle.mount(json!({"destination": "/file", "source": "file", "options": ["bind", "ro", "nodev"]}));
        let result = bundle.run(|slots| {
            assert_has("/file", &["ro", "nodev"]);
            check_docker_like(slots)
        });
        assert_eq!(result, "ok", "{gaps:b}");
    }
}

#[test]
fn without_openat2_there_is_no_container_and_the_hint_says_why() {
    if is_root("without_openat2_there_is_no_container_and_the_hint_says_why") {
        let mut bundle = Bundle::new();
        bundle.gaps = kernel::OPENAT2;
        let result = bundle.run(|_| "ok".into());
        assert!(result.contains("root.path") && result.contains("needs Linux 5.6"), "{result}");
    }
}

#[test]
fn a_user_namespace_keeps_the_locked_flags_of_its_sources() {
    if !may_map("a_user_namespace_keeps_the_locked_flags_of_its_sources") {
        return;
    }
    for (options, expected) in [
        (json!(["bind", "ro"]), "ok"),
        (json!(["bind", "relatime", "nodev"]), "ok"),
        (json!(["bind", "rw", "exec"]), "a user namespace may not clear"),
    ] {
        for gaps in [0, kernel::MOUNT_SETATTR] {
            let mut bundle = Bundle::in_user_namespace();
            (bundle.host.euid, bundle.gaps) = (1000, gaps);
            fs::create_dir(bundle.at("data")).unwrap();
            let data = std::ffi::CString::new(bundle.at("data").to_str().unwrap()).unwrap();
            bundle.mount(json!({"destination": "/data", "source": "data", "options": options}));
            let result = in_namespaces(libc::CLONE_NEWNS, None, || {
                let flags = libc::MS_NOEXEC | libc::MS_NOSUID | libc::MS_NOATIME | libc::MS_RDONLY;
                crate::sys::mount::mount(None, c"/", None, libc::MS_PRIVATE | libc::MS_REC, None).unwrap();
                crate::sys::mount::mount(Some(c"x"), &data, Some(c"tmpfs"), flags, None).unwrap();
                bundle.run(|_| {
                    assert_has("/data", &["ro", "nosuid", "noexec", "noatime"]);
                    "ok".into()
                })
            });
            assert!(result.contains(expected), "{options} {gaps:b}: {result}");
        }
    }
}

#[test]
fn an_unmapped_tty_group_is_left_out_of_devpts() {
    if may_map("an_unmapped_tty_group_is_left_out_of_devpts") {
        for gaps in [0, kernel::NEW_MOUNT_API | kernel::MOUNT_SETATTR] {
            let mut bundle = Bundle::in_user_namespace();
            bundle.gaps = gaps;
            bundle.config["mounts"][2]["options"] = json!(["newinstance", "ptmxmode=0666", "gid=70000"]);
            assert_eq!(bundle.run(|_| mount_at("/dev/pts")[3].clone()), "devpts");
        }
    }
}

#[test]
fn only_a_procfs_can_be_bound_on_proc() {
    if !is_root("only_a_procfs_can_be_bound_on_proc") {
        return;
    }
    let mut bundle = Bundle::new();
    bundle.config["mounts"][0] = json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]});
    assert_eq!(bundle.run(|slots| slots.get(Slot::PROC).map(|_| "ok").unwrap_or("no proc").into()), "ok");
    for source in ["rootfs/etc", "/proc/sys"] {
        bundle.config["mounts"][0]["source"] = json!(source);
        let result = bundle.run(|_| "ok".into());
        assert!(result.contains("only a procfs may be mounted on /proc"), "{result}");
    }
}

#[test]
fn an_old_kernel_cuts_the_hosts_trees_off_after_it_has_attached_them() {
    if !may_map("an_old_kernel_cuts_the_hosts_trees_off_after_it_has_attached_them") {
        return;
    }
    let mut bundle = Bundle::in_user_namespace();
    bundle.gaps = kernel::MOUNT_SETATTR;
    fs::create_dir(bundle.at("data")).unwrap();
    bundle.mount(json!({"destination": "/data", "source": "data", "options": ["rbind", "ro", "relatime"]}));
    let result = bundle.run(|_| {
        assert_has("/data", &["ro"]);
        assert!(!mount_at("/data")[2].contains("shared:"));
        assert!(!mount_at("/dev/null")[2].contains("shared:"));
        "ok".into()
    });
    assert_eq!(result, "ok");
}

#[test]
fn a_new_file_system_can_be_idmapped() {
    if !may_map("a_new_file_system_can_be_idmapped") {
        return;
    }
    let maps = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
    let mut bundle = Bundle::new();
    bundle.mount(json!({"destination": "/t", "type": "tmpfs", "uidMappings": maps, "gidMappings": maps}));
    assert_eq!(bundle.run(|_| fs::metadata("/t").unwrap().uid().to_string()), "5000");
}

#[test]
fn a_chroot_is_all_there_is_without_a_mount_namespace() {
    if !is_root("a_chroot_is_all_there_is_without_a_mount_namespace") {
        return;
    }
    let mut bundle = Bundle::new();
    bundle.config["mounts"] = json!([]);
    bundle.config["linux"] = json!({"namespaces": []});
    bundle.namespaces = 0;
    let before = mounts().len();
    let result = bundle.run(|_| fs::read_to_string("/bin/busybox").unwrap());
    assert_eq!(result, "a program");
    assert!(mounts().len() <= before);
    assert!(!bundle.rootfs().join("dev").exists());
}

/// Of a cgroup namespace that isn't its own a user namespace can't mount control groups: the container's cgroup is bound
/// in their place, with the same flags, or the caller's where it has none.
#[test]
fn control_groups_that_a_user_namespace_may_not_mount_are_bound() {
    const NAME: &str = "control_groups_that_a_user_namespace_may_not_mount_are_bound";
    let layout = crate::host::cgroups::Layout::probe();
    let Some(unified) = layout.unified.filter(|_| is_root(NAME) && may_map(NAME)) else { return };
    /// rmdir is all that removes a cgroup, whose files can't be unlinked; also when an assertion fails.
    struct Cgroup(std::path::PathBuf);
    impl Drop for Cgroup {
        fn drop(&mut self) {
            let _ = fs::remove_dir(&self.0);
        }
    }
    let own = tempfile::Builder::new().prefix("corten-mounts-").tempdir_in(&unified.mount).unwrap().keep();
    let _cgroup = Cgroup(own.clone());
    for (gaps, gone) in [(0, false), (0, true), (kernel::NEW_MOUNT_API | kernel::MOUNT_SETATTR, true)] {
        let mut bundle = Bundle::in_user_namespace();
        bundle.gaps = gaps;
        bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        bundle.mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro", "relatime"]}));
        bundle.cgroups = vec![CgroupDir {
            name: "unified".into(),
            unified: true,
            options: unified.options.clone(),
            mount: unified.mount.clone(),
            dir: if gone { own.join("gone") } else { own.clone() },
            otherwise: gone.then(|| own.clone()),
        }];
        let name = own.file_name().unwrap().to_str().unwrap();
        let result = bundle.run(|_| {
            assert!(fs::metadata("/sys/fs/cgroup/cgroup.procs").is_ok());
            let made = fs::create_dir("/sys/fs/cgroup/new").unwrap_err();
            assert_eq!(made.raw_os_error(), Some(libc::EROFS));
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            let line = mounts.lines().find(|line| line.contains(" /sys/fs/cgroup ")).unwrap().to_owned();
            assert!(line.contains(name) && line.contains(" ro,nosuid,nodev,noexec,relatime"), "{line}");
            "ok".into()
        });
        assert_eq!(result, "ok", "gaps {gaps}, gone {gone}");
    }
    fs::remove_dir(own).unwrap();
}

/// Whoever is in the container already could use it in between.
#[test]
fn a_mount_that_can_t_be_protected_is_never_there() {
    if !is_root("a_mount_that_can_t_be_protected_is_never_there") {
        return;
    }
    /// None of the kernel's, so that it refuses the call.
    const NO_FLAG: u64 = 1 << 40;
    let dir = tempfile::tempdir().unwrap();
    for name in ["source", "root", "root/target"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let path = |name: &str| std::ffi::CString::new(dir.path().join(name).to_str().unwrap()).unwrap();
    let result = in_namespaces(libc::CLONE_NEWNS, None, || {
        let mut counter = SlotCounter::default();
        let tree = counter.take();
        let mut slots = Slots::with_room(counter.len());
        slots.put(tree, crate::sys::mount::open_tree(libc::AT_FDCWD, &path("source"), true, true).unwrap());
        let root = crate::sys::path::open(libc::AT_FDCWD, &path("root"), libc::O_PATH, 0).unwrap();
        slots.put(Slot::ROOTFS, root);
        let recursive = Attributes { set: NO_FLAG, clear: 0 };
        let target = Target { path: c"/target".into(), follow: true, kind: TargetKind::Usual };
        let attachment = Attachment {
            tree,
            source: path("source"),
            recursive: true,
            slave: false,
            target,
            finish: Finish { recursive, ..Finish::default() },
            copy_symlink: false,
            live: true,
        };
        let before = mounts();
        let attached = apply(&crate::rootfs::Op::AttachTree(Box::new(attachment)), &mut slots);
        assert_eq!(attached.unwrap_err().call, crate::fault::Call::MountSetattr);
        assert_eq!(mounts(), before);
        "ok".into()
    });
    assert_eq!(result, "ok");
}

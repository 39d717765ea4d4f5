//! A hostile root file system: links where directories should be, links that change while they are looked at, and
//! programs that go for the runtime itself. Each test names the CVE whose recipe it is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::{Value, json};

use crate::harness::{BundleBuilder, Case, Lines, Sandbox, SocketServer, cases, skip};

pub const CASES: &[Case] = cases![anyone:
    a_dev_that_is_a_link_gets_no_devices_outside,
    a_proc_that_is_a_link_to_another_container_s_is_refused,
    a_null_device_that_is_a_link_masks_nothing_else,
    a_console_that_is_a_link_stays_inside,
    a_devpts_that_is_a_link_stays_inside,
    a_mount_target_can_t_lead_out,
    a_mount_target_that_changes_meanwhile_can_t_lead_out,
    a_missing_target_under_a_changing_parent_is_made_inside,
    a_masked_link_masks_nothing_outside,
    a_working_directory_that_is_a_link_stays_inside,
    accounts_are_read_inside_only,
    an_account_file_that_blocks_does_not_hang,
    a_program_that_is_a_link_is_the_container_s,
    the_runtime_s_own_program_can_t_be_written,
    the_runtime_s_own_program_can_t_be_given_away,
    a_setup_time_init_can_t_be_traced_into,
    a_device_path_that_leads_out_is_made_inside,
    a_huge_id_map_is_a_clear_error,
];

/// A directory of the host with one file, and what it must still be afterwards.
struct Victim(PathBuf);

impl Victim {
    fn new(sb: &Sandbox) -> Victim {
        Victim(sb.tree(&format!("victim-{}", sb.number()), &[("file", "untouched"), ("dir/", "")]))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    #[track_caller]
    fn assert_untouched(&self) {
        let mut names: Vec<_> = fs::read_dir(&self.0).unwrap().map(|item| item.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["dir", "file"], "something was made on the host");
        assert_eq!(fs::read_to_string(self.path("file")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(self.path("dir")).unwrap().count(), 0, "something was made on the host");
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!table.contains(self.0.to_str().unwrap()), "something was mounted on the host");
    }
}

/// A config that mounts nothing on /dev, so that the image's own /dev is used.
fn own_dev(sb: &Sandbox) -> BundleBuilder<'_> {
    ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"].iter().fold(sb.bundle(), |b, at| b.without_mount(at))
}

fn relative(levels: usize, to: &Path) -> PathBuf {
    PathBuf::from("../".repeat(levels)).join(to.strip_prefix("/").unwrap())
}

/// CVE-2026-41579, CVE-2026-47766.
fn a_dev_that_is_a_link_gets_no_devices_outside(sb: &Sandbox) {
    sb.only_corten("must not fall for CVE-2026-41579; Debian's runc 1.1.5 does");
    let victim = Victim::new(sb);
    let targets = [victim.path("dir"), relative(12, &victim.path("dir")), PathBuf::from("../../../victim-1/dir")];
    for target in targets {
        let bundle = own_dev(sb).symlink("/dev", &target).tool(["true"]).build();
        let output = sb.run(&bundle);
        assert!(output.code <= 1, "{output:?}");
        victim.assert_untouched();
        sb.assert_nothing_left();
    }
}

/// CVE-2019-19921, CVE-2023-27561.
fn a_proc_that_is_a_link_to_another_container_s_is_refused(sb: &Sandbox) {
    let victim = Victim::new(sb);
    for target in [victim.path("dir"), relative(12, &victim.path("dir")), PathBuf::from("/tmp"), PathBuf::from("proc2")]
    {
        for link in ["/proc", "/sys"] {
            let bundle = sb.bundle().dir("/proc2").symlink(link, &target).build();
            sb.run(&bundle).fails();
            victim.assert_untouched();
            sb.assert_nothing_left();
        }
    }
}

/// CVE-2025-31133: a mask is a bind of /dev/null, so /dev/null must be the real one.
fn a_null_device_that_is_a_link_masks_nothing_else(sb: &Sandbox) {
    sb.only_corten("must not fall for CVE-2025-31133; Debian's runc 1.1.5 does");
    let victim = Victim::new(sb);
    for target in [victim.path("file"), PathBuf::from("/proc/sys/kernel/msgmax"), PathBuf::from("/etc/other")] {
        let bundle =
            own_dev(sb).symlink("/dev/null", &target).file("/etc/secret", "secret").file("/etc/other", "other");
        let bundle = bundle.set("/linux/maskedPaths", json!(["/etc/secret"]));
        let tools = ["try", "cat", "/etc/secret", ";", "try", "write", "/etc/secret", "x", ";", "stat", "/etc/secret"];
        let output = sb.run(&bundle.tool(tools).build());
        if output.code == 0 {
            assert!(output.stdout.contains("char ") && output.stdout.contains(" 1:3 "), "{output:?}");
            assert!(!output.stdout.contains("secret\n") && !output.stdout.contains("untouched"), "{output:?}");
        }
        victim.assert_untouched();
        sb.assert_nothing_left();
    }
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

/// CVE-2025-52565.
fn a_console_that_is_a_link_stays_inside(sb: &Sandbox) {
    let victim = Victim::new(sb);
    for target in [victim.path("file"), victim.path("new"), PathBuf::from("/proc/sys/kernel/msgmax")] {
        let bundle = own_dev(sb).mount(devpts()).symlink("/dev/console", &target);
        on_a_console(sb, bundle);
        victim.assert_untouched();
        sb.assert_nothing_left();
    }
}

fn a_devpts_that_is_a_link_stays_inside(sb: &Sandbox) {
    let victim = Victim::new(sb);
    let bundle = own_dev(sb).mount(devpts()).symlink("/dev/pts", victim.path("dir"));
    on_a_console(sb, bundle);
    victim.assert_untouched();
    sb.assert_nothing_left();
}

/// CVE-2019-18837.
fn a_mount_target_can_t_lead_out(sb: &Sandbox) {
    let victim = Victim::new(sb);
    let source = sb.tree("source", &[("file", "mounted")]);
    let ways = [
        ("/link", victim.path("dir"), "/link"),
        ("/link", victim.path("dir"), "/link/sub/deep"),
        ("/a/link", relative(12, &victim.path("dir")), "/a/link/sub"),
        ("/a/b/link", PathBuf::from("../../.."), "/a/b/link/../../../../victim-1/dir"),
        ("/link", PathBuf::from("/proc/1/root").join(victim.path("dir").strip_prefix("/").unwrap()), "/link/x"),
    ];
    for (link, target, destination) in ways {
        let bundle = sb.bundle().symlink(link, &target).bind(&source, destination, &[]).tool(["true"]).build();
        let output = sb.run(&bundle);
        assert!(output.code <= 1, "{output:?}");
        victim.assert_untouched();
        sb.assert_nothing_left();
    }
}

/// Exchanges two names over and over until dropped.
struct Swapper {
    stop: std::sync::Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Swapper {
    fn start(a: PathBuf, b: PathBuf) -> Swapper {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let swap = move || {
            let mut count = 0;
            while !flag.load(Ordering::Relaxed) {
                let _ = renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_EXCHANGE);
                count += 1;
                if count % 64 == 0 {
                    std::thread::yield_now();
                }
            }
            count
        };
        Swapper { stop, thread: Some(std::thread::spawn(swap)) }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs a few dozen containers while a directory of the root file system is exchanged with a link to the victim.
fn race(sb: &Sandbox, destination: &str) {
    sb.only_corten("is asked to survive the race");
    let victim = Victim::new(sb);
    let source = sb.tree("source", &[("file", "mounted")]);
    let bundle = sb.bundle().dir("/a/dir/sub").bind(&source, destination, &[]).tool(["true"]).build();
    let (dir, link) = (bundle.in_rootfs("/a/dir"), bundle.in_rootfs("/a/link"));
    symlink(victim.path("dir"), &link).unwrap();
    let swapper = Swapper::start(dir, link);
    for _ in 0..60 {
        let output = sb.run(&bundle);
        assert!(output.code <= 1, "{output:?}");
    }
    drop(swapper);
    victim.assert_untouched();
    sb.assert_nothing_left();
}

/// CVE-2021-30465.
fn a_mount_target_that_changes_meanwhile_can_t_lead_out(sb: &Sandbox) {
    race(sb, "/a/dir/sub");
}

/// CVE-2024-45310.
fn a_missing_target_under_a_changing_parent_is_made_inside(sb: &Sandbox) {
    race(sb, "/a/dir/new/deep");
}

/// CVE-2023-28642 and the like.
fn a_masked_link_masks_nothing_outside(sb: &Sandbox) {
    let victim = Victim::new(sb);
    let bundle = sb.bundle().symlink("/secret", victim.path("file")).symlink("/ro", victim.path("dir"));
    let bundle = bundle.set("/linux/maskedPaths", json!(["/secret"])).set("/linux/readonlyPaths", json!(["/ro"]));
    let output = sb.run(&bundle.tool(["true"]).build());
    assert!(output.code <= 1, "{output:?}");
    victim.assert_untouched();
    sb.assert_nothing_left();
}

fn a_working_directory_that_is_a_link_stays_inside(sb: &Sandbox) {
    let victim = Victim::new(sb);
    for target in [victim.path("new"), relative(12, &victim.path("new")), PathBuf::from("/proc/self/cwd")] {
        let bundle = sb.bundle().symlink("/here", &target).set("/process/cwd", "/here").tool(["pwd"]).build();
        let output = sb.run(&bundle);
        assert!(output.code <= 1, "{output:?}");
        victim.assert_untouched();
        sb.assert_nothing_left();
    }
}

fn accounts_are_read_inside_only(sb: &Sandbox) {
    let host = sb.tree("host", &[("passwd", "root:x:0:0:root:/from/the/host:/bin/sh\n")]);
    for target in [host.join("passwd"), relative(12, &host.join("passwd"))] {
        let report = sb.probe(&sb.bundle().symlink("/etc/passwd", target).build());
        assert!(!report["env"].to_string().contains("/from/the/host"), "{}", report["env"]);
    }
}

fn an_account_file_that_blocks_does_not_hang(sb: &Sandbox) {
    sb.only_corten("opens no fifo of the image");
    let bundle = sb.bundle().tool(["true"]).build();
    let passwd = bundle.in_rootfs("/etc/passwd");
    fs::remove_file(&passwd).unwrap();
    nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    let output = sb.run(&bundle);
    assert!(output.code <= 1, "{output:?}");
    sb.assert_nothing_left();
}

fn a_program_that_is_a_link_is_the_container_s(sb: &Sandbox) {
    let bundle = sb.bundle().symlink("/bin/tool", "/usr/bin/id").args(["/bin/tool"]).build();
    sb.run(&bundle).fails();
    sb.assert_nothing_left();
}

/// CVE-2019-5736: the container's program is the runtime itself, and it writes to it.
fn the_runtime_s_own_program_can_t_be_written(sb: &Sandbox) {
    sb.only_corten("is its own toolbox");
    let program = sb.shared_runtime();
    let before = fs::metadata(&program).unwrap();
    let tools = ["/proc/self/exe", "probe", "--", "try", "append", "/proc/self/exe", "pwned"];
    let output = sb.run_with(&sb.bundle().args(tools).build(), |call| call.shared());
    assert!(output.code <= 1, "{output:?}");
    let after = fs::metadata(&program).unwrap();
    fs::set_permissions(&program, before.permissions()).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert_eq!(before.permissions(), after.permissions(), "{output:?}");
    assert!(!output.stdout.contains("ok"), "{output:?}");
}

/// The other half of CVE-2019-5736: with the real root's user, its mode and owner are open to the container.
fn the_runtime_s_own_program_can_t_be_given_away(_: &Sandbox) {
    skip("the sealed executable is not built yet: a container of the real root can change the binary's mode");
}

/// CVE-2016-9962: while it waits for `start`, the init still has descriptors of the host: another process of the
/// container's user namespace must not open them.
fn a_setup_time_init_can_t_be_traced_into(sb: &Sandbox) {
    let container = sb.create(&sb.bundle().user_namespace().tool(["pause"]).build());
    let pid = container.pid();
    let path = |kind: &str| format!("/proc/{pid}/ns/{kind}");
    let spy = sb.bundle().user_namespace().set("/hostname", "").namespace("user", Some(&path("user")));
    let spy = spy.namespace("pid", Some(&path("pid"))).capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
    let output = sb.run(&spy.tool(["try", "ls", "/proc/1/fd", ";", "try", "readlink", "/proc/1/cwd"]).build());
    assert_eq!(output.ok().lines(), ["EACCES", "EACCES"], "the waiting init can be looked into");
}

fn a_device_path_that_leads_out_is_made_inside(sb: &Sandbox) {
    sb.only_corten("must not fall for it");
    let victim = Victim::new(sb);
    for path in ["/link/null", "/dev/../../../victim-1/dir/null", "/link"] {
        let device = json!([{"path": path, "type": "c", "major": 1, "minor": 3}]);
        let bundle =
            sb.bundle().symlink("/link", victim.path("dir")).set("/linux/devices", device).tool(["true"]).build();
        let output = sb.run(&bundle);
        assert!(output.code <= 1, "{output:?}");
        victim.assert_untouched();
        sb.assert_nothing_left();
    }
}

/// CVE-2021-43784.
fn a_huge_id_map_is_a_clear_error(sb: &Sandbox) {
    let map: Vec<Value> =
        (0..5000u32).map(|n| json!({"containerID": n * 10, "hostID": 100_000 + n * 10, "size": 10})).collect();
    let bundle =
        sb.bundle().namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let output = sb.run(&bundle.build());
    output.fails();
    sb.assert_nothing_left();
    if sb.flavour() == crate::harness::Flavour::Corten {
        output.fails_with(&["linux.uidMappings"]);
    }
}

//! Names that change while they are looked at: an attacker exchanges a directory or file of the root file system with
//! links to the victim, without a pause, while containers are made. A race that is lost once is a way out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::json;

use super::{UNTOUCHED, Victim, devpts, on_a_console, own_dev, relative};
use crate::harness::{Bundle, BundleBuilder, Case, Sandbox, cases, scaled};

pub const CASES: &[Case] = cases![anyone:
    a_dev_that_changes_meanwhile_gets_no_devices_outside,
    a_proc_or_sys_that_changes_meanwhile_can_t_lead_out,
    a_null_device_that_changes_meanwhile_masks_or_fails,
    a_console_that_changes_meanwhile_stays_inside,
    a_devpts_that_changes_meanwhile_stays_inside,
    a_mount_target_that_changes_meanwhile_can_t_lead_out,
    a_file_as_a_target_that_changes_meanwhile_can_t_lead_out,
    a_missing_target_under_a_changing_parent_is_made_inside,
    a_masked_path_under_a_changing_parent_hides_nothing_outside,
    a_read_only_path_under_a_changing_parent_freezes_nothing_outside,
    a_working_directory_under_a_changing_parent_is_made_inside,
    a_device_under_a_changing_parent_is_made_inside,
    what_a_tmpfs_copies_up_is_the_container_s_however_it_changes,
    accounts_that_change_meanwhile_are_read_inside_only,
    a_program_that_changes_meanwhile_is_the_container_s,
    a_container_that_renames_in_a_shared_volume_leads_no_other_out,
];

/// Exchanges two names over and over until dropped, then asserts that it did.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Swapper {
    fn start(a: PathBuf, b: PathBuf) -> Swapper {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let swap = move || {
            let (mut tries, mut swaps) = (0u64, 0u64);
            while !flag.load(Ordering::Relaxed) {
                swaps += u64::from(renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_EXCHANGE).is_ok());
                tries += 1;
                if tries % 64 == 0 {
                    std::thread::yield_now();
                }
            }
            swaps
        };
        Swapper { stop, thread: Some(std::thread::spawn(swap)) }
    }

    /// How often the names were exchanged.
    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(0, |thread| thread.join().unwrap_or(0))
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// How many containers one race takes.
const ROUNDS: usize = 60;

/// Runs containers while `path` of the root file system is exchanged with links to the victim's `at`: an absolute one and
/// a relative one. What a container prints must not hold what stands in the victim's files, nor any of `hidden`.
fn race(sb: &Sandbox, bundle: &Bundle, victim: &Victim, path: &str, at: &str, hidden: &[&str]) {
    race_with(bundle, victim, path, at, || {
        let output = sb.run(bundle);
        // 127 and 126 can't be: the program is always there, or `run` fails with 1.
        assert!(output.code <= 1, "{output:?}");
        for word in hidden.iter().chain(&[UNTOUCHED, "/from/the/host"]) {
            assert!(!output.stdout.contains(word), "{word} was read: {output:?}");
        }
        output.code == 0
    });
    sb.assert_nothing_left();
}

/// The same with another way to make a container, which tells whether it came to be.
pub fn race_with(bundle: &Bundle, victim: &Victim, path: &str, at: &str, mut make: impl FnMut() -> bool) {
    let place = bundle.in_rootfs(path);
    let links = ["absolute-link", "relative-link"].map(|name| bundle.in_rootfs(name));
    symlink(victim.path(at), &links[0]).unwrap();
    symlink(relative(12, &victim.path(at)), &links[1]).unwrap();
    // It must work while nobody is in its way, or the race would be about nothing.
    assert!(make(), "without an attacker it fails too");
    let [absolute, relative] = links;
    let swappers = [Swapper::start(place.clone(), absolute), Swapper::start(place, relative)];
    let rounds = scaled(ROUNDS);
    let made = (0..rounds).filter(|_| make()).count();
    let swaps: u64 = swappers.into_iter().map(Swapper::end).sum();
    assert!(swaps > rounds as u64, "the attacker was asleep: {swaps} exchanges in {rounds} containers, {made} made");
    victim.assert_untouched();
}

fn own_null(sb: &Sandbox, bundle: &Bundle) {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    sb.needs_root();
    let null = bundle.in_rootfs("/dev/null");
    mknod(&null, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).unwrap();
}

/// CVE-2026-41579, CVE-2026-47766.
fn a_dev_that_changes_meanwhile_gets_no_devices_outside(sb: &Sandbox) {
    sb.only_corten("is asked to survive the race");
    for at in ["dir", "full"] {
        let victim = Victim::new(sb);
        let bundle = own_dev(sb).tool(["true"]).build();
        race(sb, &bundle, &victim, "/dev", at, &[]);
    }
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2025-54867.
fn a_proc_or_sys_that_changes_meanwhile_can_t_lead_out(sb: &Sandbox) {
    sb.only_corten("is asked to survive the race");
    for path in ["/proc", "/sys"] {
        let victim = Victim::new(sb);
        let bundle = sb.bundle().set("/linux/sysctl", json!({"kernel.msgmax": "65432"})).tool(["true"]).build();
        race(sb, &bundle, &victim, path, "dir", &[]);
    }
}

/// CVE-2025-31133: whatever /dev/null is at that moment, the secret is hidden, or there is no container.
fn a_null_device_that_changes_meanwhile_masks_or_fails(sb: &Sandbox) {
    sb.only_corten("is asked to survive the race");
    let victim = Victim::new(sb);
    let bundle = own_dev(sb).file("/etc/secret", "the secret").file("/etc/more", "the secret");
    let masked = json!(["/etc/secret", "/etc/more", "/proc/acpi", "/proc/keys", "/proc/nothing"]);
    let tools = ["try", "cat", "/etc/secret", ";", "try", "cat", "/etc/more", ";", "try", "write", "/etc/more", "x"];
    let bundle = bundle.set("/linux/maskedPaths", masked).tool(tools).build();
    own_null(sb, &bundle);
    race(sb, &bundle, &victim, "/dev/null", "file", &["the secret"]);
    assert_eq!(fs::read_to_string(bundle.in_rootfs("/etc/more")).unwrap(), "the secret");
}

fn race_on_a_console(sb: &Sandbox, path: &str, at: &str, change: impl Fn(BundleBuilder<'_>) -> BundleBuilder<'_>) {
    sb.only_corten("is asked to survive the race");
    let victim = Victim::new(sb);
    let builder = || change(own_dev(sb).mount(devpts()));
    let bundle = builder().build();
    race_with(&bundle, &victim, path, at, || {
        let again = builder().set("/root/path", bundle.in_rootfs("").to_str().unwrap());
        on_a_console(sb, again).is_some()
    });
    sb.assert_nothing_left();
}

/// CVE-2025-52565.
fn a_console_that_changes_meanwhile_stays_inside(sb: &Sandbox) {
    race_on_a_console(sb, "/dev/console", "file", |bundle| bundle.file("/dev/console", ""));
}

/// CVE-2025-52565: the other end.
fn a_devpts_that_changes_meanwhile_stays_inside(sb: &Sandbox) {
    race_on_a_console(sb, "/dev/pts", "dir", |bundle| bundle.dir("/dev/pts"));
}

/// CVE-2021-30465: the target's parent, and the target itself.
fn a_mount_target_that_changes_meanwhile_can_t_lead_out(sb: &Sandbox) {
    sb.only_corten("is asked to survive the race");
    let source = sb.tree("source", &[("file", "mounted")]);
    for destination in ["/a/dir/sub", "/a/dir"] {
        let victim = Victim::new(sb);
        let bundle = sb.bundle().dir("/a/dir/sub").bind(&source, destination, &[]).tool(["true"]).build();
        race(sb, &bundle, &victim, "/a/dir", "full", &[]);
    }
}

/// CVE-2021-30465.
fn a_file_as_a_target_that_changes_meanwhile_can_t_lead_out(sb: &Sandbox) {
    sb.only_corten("is asked to survive the race");
    let victim = Victim::new(sb);
    let source = sb.tree("source", &[("file", "mounted")]).join("file");
    let bundle = sb.bundle().file("/a/file", "").bind(&source, "/a/file", &["ro"]).tool(["true"]).build();
    race(sb, &bundle, &victim, "/a/file", "file", &[]);
}

/// CVE-2024-45310: no directory and no empty file is made on the host.
fn a_missing_target_under_a_changing_parent_is_made_inside(sb: &Sandbox) {
    sb.only_corten("is asked to survive the race");
    let source = sb.tree("source", &[("file", "mounted")]);
    for (number, source) in [source.clone(), source.join("file")].iter().enumerate() {
        let victim = Victim::new(sb);
        let bundle = sb.bundle().dir("/a/dir").bind(source, &format!("/a/dir/new-{number}/deep"), &[]);
        let bundle = bundle.tool(["true"]).build();
        let made = bundle.in_rootfs(&format!("/a/dir/new-{number}"));
        race_with(&bundle, &victim, "/a/dir", "dir", || {
            // It is to be missing each time.
            let _ = fs::remove_dir_all(&made);
            let output = sb.run(&bundle);
            assert!(output.code <= 1, "{output:?}");
            output.code == 0
        });
        sb.assert_nothing_left();
    }
}

/// CVE-2023-28642 and the like.
fn a_masked_path_under_a_changing_parent_hides_nothing_outside(sb: &Sandbox) {
    sb.only_corten("is asked to survive the race");
    let victim = Victim::new(sb);
    let bundle = sb.bundle().file("/a/dir/secret", "the secret").dir("/a/dir/sub");
    let bundle = bundle.set("/linux/maskedPaths", json!(["/a/dir/secret", "/a/dir/sub"]));
    race(sb, &bundle.tool(["true"]).build(), &victim, "/a/dir", "full", &[]);
}

fn a_read_only_path_under_a_changing_parent_freezes_nothing_outside(sb: &Sandbox) {
    sb.only_corten("is asked to survive the race");
    let victim = Victim::new(sb);
    let bundle = sb.bundle().dir("/a/dir/sub").set("/linux/readonlyPaths", json!(["/a/dir/sub", "/a/dir"]));
    race(sb, &bundle.tool(["true"]).build(), &victim, "/a/dir", "full", &[]);
    fs::write(victim.path("dir/new"), "x").expect("the host's directory can still be written");
}

fn a_working_directory_under_a_changing_parent_is_made_inside(sb: &Sandbox) {
    sb.only_corten("is asked to survive the race");
    let victim = Victim::new(sb);
    let bundle = sb.bundle().dir("/a/dir").set("/process/cwd", "/a/dir/new/deep");
    race(sb, &bundle.tool(["true"]).build(), &victim, "/a/dir", "dir", &[]);
}

fn a_device_under_a_changing_parent_is_made_inside(sb: &Sandbox) {
    // In a user namespace the host's device of the same path is bound, and there is none.
    sb.needs_root();
    sb.only_corten("is asked to survive the race");
    let victim = Victim::new(sb);
    let device = |path: &str| json!({"path": path, "type": "c", "major": 1, "minor": 3, "fileMode": 0o666});
    let devices = json!([device("/a/dir/null"), device("/a/dir/new/null"), device("/a/dir/sub/null")]);
    let bundle = sb.bundle().dir("/a/dir/sub").set("/linux/devices", devices);
    race(sb, &bundle.tool(["true"]).build(), &victim, "/a/dir", "full", &[]);
}

fn what_a_tmpfs_copies_up_is_the_container_s_however_it_changes(sb: &Sandbox) {
    sb.only_corten("is asked to survive the race");
    let victim = Victim::new(sb);
    let options = ["tmpcopyup", "mode=755"];
    let tmpfs = |at: &str| json!({"destination": at, "type": "tmpfs", "source": "tmpfs", "options": options});
    let bundle = sb.bundle().file("/a/dir/sub/file", "inside").mount(tmpfs("/a/dir/sub")).mount(tmpfs("/a/dir"));
    let tools = ["try", "cat", "/a/dir/sub/file", ";", "try", "cat", "/a/dir/secret"];
    race(sb, &bundle.tool(tools).build(), &victim, "/a/dir", "full", &[]);
}

fn accounts_that_change_meanwhile_are_read_inside_only(sb: &Sandbox) {
    sb.only_corten("is asked to survive the race");
    let victim = Victim::new(sb);
    race(sb, &sb.bundle().tool(["env"]).build(), &victim, "/etc/passwd", "passwd", &[]);
}

fn a_program_that_changes_meanwhile_is_the_container_s(sb: &Sandbox) {
    sb.only_corten("is asked to survive the race");
    // Were the host's file executed, it would be a script that leaves a file behind.
    let victim = Victim::new(sb);
    let bundle = sb.bundle().args(["/bin/tool", "probe", "--", "true"]).build();
    fs::hard_link(sb.probe_binary(), bundle.in_rootfs("/bin/tool")).unwrap();
    race(sb, &bundle, &victim, "/bin/tool", "file", &[]);
}

/// CVE-2021-30465 as it was found: two containers share a volume, and one of them does the renames.
fn a_container_that_renames_in_a_shared_volume_leads_no_other_out(sb: &Sandbox) {
    sb.only_corten("is asked to survive the race");
    let victim = Victim::new(sb);
    let volume = sb.tree("volume", &[("dir/sub/file", "shared")]);
    let source = sb.tree("source", &[("file", "mounted")]);
    symlink(victim.path("full"), volume.join("absolute-link")).unwrap();
    symlink(relative(12, &victim.path("full")), volume.join("relative-link")).unwrap();
    let attacker = |link: &str| {
        let tools = ["swap", "/volume/dir", link, "/volume/stop"];
        let bundle = sb.bundle().bind(&volume, "/volume", &[]).tool(tools).build();
        let (mut running, id) = sb.run_in_background(&bundle, &[]);
        running.lines.expect_line("ready");
        (running, id)
    };
    let attackers = ["/volume/absolute-link", "/volume/relative-link"].map(attacker);
    let bundle = sb.bundle().bind(&volume, "/volume", &[]).bind(&source, "/volume/dir/sub", &[]);
    let bundle = bundle.bind(&source, "/volume/dir/new", &[]).tool(["true"]).build();
    for _ in 0..scaled(ROUNDS) {
        let output = sb.run(&bundle);
        assert!(output.code <= 1, "{output:?}");
    }
    fs::write(volume.join("stop"), "").unwrap();
    for (mut running, _) in attackers {
        let swaps: u64 = running.lines.next_line().unwrap().parse().unwrap();
        assert!(swaps > scaled(ROUNDS) as u64, "the attacker was asleep: {swaps}");
        assert_eq!(running.wait(), 0);
    }
    victim.assert_untouched();
    sb.assert_nothing_left();
}

//! Control groups are gone when a container is: deep, wide and hostile trees, containers in great number, and a
//! `create` that is killed at any moment.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::fcntl::{OFlag, openat};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, mkdirat};

use crate::harness::cgroups::{cgroups_named, members_of};
use crate::harness::{Case, Pidfd, Sandbox, cases, scaled};
use crate::killing::{hierarchy, wait_until};

pub const CASES: &[Case] = cases![
    cgroups_made_inside_go_with_the_container,
    a_tree_deeper_than_any_path_is_removed,
    a_wide_tree_is_removed,
    names_are_bytes,
    a_container_in_its_own_sub_cgroups_is_deleted_by_force,
    what_was_frozen_below_is_deleted_by_force,
    who_keeps_making_cgroups_does_not_stop_a_forced_delete,
    threads_in_cgroups_of_their_own_do_not_stop_a_forced_delete,
    a_create_killed_at_any_moment_leaves_no_cgroup,
    many_in_a_row_leave_no_cgroup,
    many_at_once_leave_no_cgroup,
];

fn waiting(sb: &Sandbox) -> crate::harness::Bundle {
    sb.bundle().tool(["pause"]).build()
}

fn cgroups_made_inside_go_with_the_container(sb: &Sandbox) {
    let container = sb.started(&waiting(sb));
    let made = cgroups_named(&container.id);
    assert!(!made.is_empty());
    for dir in made {
        fs::create_dir_all(dir.join("a/b/c")).unwrap();
        fs::create_dir(dir.join("d")).unwrap();
    }
    container.stop();
    container.verb("delete").ok();
    assert_eq!(cgroups_named(&container.id), [] as [PathBuf; 0]);
    sb.assert_nothing_left();
}

fn a_tree_deeper_than_any_path_is_removed(sb: &Sandbox) {
    const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
    let container = sb.started(&waiting(sb));
    let mut here = nix::fcntl::open(&members_of(container.pid()), DIRECTORY, Mode::empty()).unwrap();
    // 3000 times 8 bytes are six times the longest path, and three times a table of descriptors.
    let mut depth = 0;
    for _ in 0..3000 {
        if mkdirat(&here, "deeper--", Mode::S_IRWXU).is_err() {
            break;
        }
        here = openat(&here, "deeper--", DIRECTORY, Mode::empty()).unwrap();
        depth += 1;
    }
    drop(here);
    assert!(depth >= 10, "only {depth} deep");
    sb.call(["delete", "--force"]).arg(&container.id).output().ok();
    assert_eq!(cgroups_named(&container.id), [] as [PathBuf; 0]);
}

fn a_wide_tree_is_removed(sb: &Sandbox) {
    let container = sb.started(&waiting(sb));
    let dir = members_of(container.pid());
    for number in 0..2000 {
        fs::create_dir(dir.join(format!("wide-{number}"))).unwrap();
    }
    sb.call(["delete", "--force"]).arg(&container.id).output().ok();
    assert_eq!(cgroups_named(&container.id), [] as [PathBuf; 0]);
}

fn names_are_bytes(sb: &Sandbox) {
    use std::os::unix::ffi::OsStrExt;
    let container = sb.started(&waiting(sb));
    let dir = members_of(container.pid());
    for name in [&b"\xff\xfe"[..], b" ", b"-rf", b"...", b"a\tb", &[b'x'; 200]] {
        fs::create_dir(dir.join(std::ffi::OsStr::from_bytes(name))).unwrap();
    }
    sb.call(["delete", "--force"]).arg(&container.id).output().ok();
    assert_eq!(cgroups_named(&container.id), [] as [PathBuf; 0]);
}

/// A container of the host's pid namespace with children, each moved into a cgroup of its own.
fn spread<'a>(sb: &'a Sandbox, below: &[&str]) -> (crate::harness::Bundle, String, PathBuf, &'a Sandbox) {
    let count = below.len().to_string();
    let bundle = sb.bundle().without_namespace("pid").tool(["spawn", &count, ";", "pause"]).build();
    let id = sb.id();
    sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(&id).output().ok();
    sb.call(["start"]).arg(&id).output().ok();
    let dir = members_of(sb.call(["state"]).arg(&id).output().json()["pid"].as_i64().unwrap() as i32);
    let members = || fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    wait_until("the children are there", || members().lines().count() == below.len() + 1);
    let pid = sb.call(["state"]).arg(&id).output().json()["pid"].to_string();
    let children: Vec<String> = members().lines().filter(|line| *line != pid).map(str::to_owned).collect();
    for (name, child) in below.iter().zip(children) {
        fs::create_dir_all(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("cgroup.procs"), child).unwrap();
    }
    (bundle, id, dir, sb)
}

fn a_container_in_its_own_sub_cgroups_is_deleted_by_force(sb: &Sandbox) {
    let (_bundle, id, _, _) = spread(sb, &["a", "a/b/c", "d"]);
    sb.call(["delete", "--force"]).arg(&id).output().ok();
    assert_eq!(cgroups_named(&id), [] as [PathBuf; 0]);
    sb.assert_nothing_left();
}

fn what_was_frozen_below_is_deleted_by_force(sb: &Sandbox) {
    let (_bundle, id, dir, _) = spread(sb, &["a", "a/b"]);
    let (file, value) = match dir.join("freezer.state").exists() {
        true => ("freezer.state", "FROZEN"),
        false => ("cgroup.freeze", "1"),
    };
    fs::write(dir.join("a/b").join(file), value).unwrap();
    fs::write(dir.join("a").join(file), value).unwrap();
    sb.call(["delete", "--force"]).arg(&id).output().ok();
    assert_eq!(cgroups_named(&id), [] as [PathBuf; 0]);
    sb.assert_nothing_left();
}

fn who_keeps_making_cgroups_does_not_stop_a_forced_delete(sb: &Sandbox) {
    sb.needs_program("/usr/bin/busybox", "busybox-static");
    sb.needs_cgroupfs();
    let dir = hierarchy();
    // The container has its own cgroup writable, makes cgroups in it as fast as it can, and moves into them.
    let script = "n=0; while true; do n=$((n+1)); busybox mkdir /cg/s$n /cg/s$n/t; \
                  sh -c \"echo \\$\\$ >/cg/s$n/t/cgroup.procs; sleep 1\" & echo up >/tmp/up; done";
    let id = sb.id();
    let own = dir.join(&id);
    fs::create_dir(&own).unwrap();
    let bundle = sb
        .bundle()
        .busybox()
        .dir("/cg")
        .bind(&own, "/cg", &["rw"])
        .without_namespace("pid")
        .set("/linux/cgroupsPath", format!("/{id}"))
        .args(["/bin/sh", "-c", script])
        .build();
    sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(&id).output().ok();
    sb.call(["start"]).arg(&id).output().ok();
    wait_until("it has made some", || own.join("s20").exists());
    sb.call(["delete", "--force"]).arg(&id).output().ok();
    assert_eq!(cgroups_named(&id), [] as [PathBuf; 0]);
    sb.assert_nothing_left();
}

fn threads_in_cgroups_of_their_own_do_not_stop_a_forced_delete(sb: &Sandbox) {
    let container = sb.started(&waiting(sb));
    let unified = cgroups_named(&container.id).into_iter().find(|dir| dir.join("cgroup.type").exists());
    let Some(dir) = unified else { crate::harness::skip("threaded cgroups are of version 2") };
    fs::create_dir_all(dir.join("threads/inner")).unwrap();
    for below in ["threads", "threads/inner"] {
        if fs::write(dir.join(below).join("cgroup.type"), "threaded").is_err() {
            crate::harness::skip("this hierarchy can't have threaded cgroups here");
        }
    }
    fs::write(dir.join("threads/inner/cgroup.threads"), container.pid().to_string()).unwrap();
    sb.call(["delete", "--force"]).arg(&container.id).output().ok();
    assert_eq!(cgroups_named(&container.id), [] as [PathBuf; 0]);
    sb.assert_nothing_left();
}

fn a_create_killed_at_any_moment_leaves_no_cgroup(sb: &Sandbox) {
    let bundle = waiting(sb);
    // How long a whole one takes, so that the moments are spread over it.
    let begun = Instant::now();
    let container = sb.create(&bundle);
    let whole = begun.elapsed();
    container.stop();
    container.verb("delete").ok();
    const MOMENTS: u32 = 60;
    for moment in 0..MOMENTS {
        let id = sb.id();
        let mut running = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(&id).spawn();
        let pidfd = Pidfd::open(running.pid()).unwrap();
        // The moment itself: a time is what is tested.
        pidfd.wait(whole * moment / MOMENTS);
        running.signal(Signal::SIGKILL);
        running.wait();
        sb.call(["delete", "--force"]).arg(&id).output().ok();
        assert_eq!(cgroups_named(&id), [] as [PathBuf; 0], "killed at {moment}/{MOMENTS} of {whole:?}");
    }
    sb.assert_nothing_left();
}

fn many_in_a_row_leave_no_cgroup(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["true"]).without_namespace("network").build();
    let before = count_cgroups("row");
    let count = scaled(1000);
    let failed = AtomicBool::new(false);
    // Two at a time, as the machine has at least so many processors; each row is in a row.
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (bundle, failed, root) = (&bundle, &failed, sb.state_root());
            scope.spawn(move || {
                for number in 0..count / 2 {
                    let id = format!("ct-row-{}-{half}-{number}", std::process::id());
                    let verb = |words: &[&str]| quiet(&root, words, &bundle.dir, &id);
                    if !(verb(&["create", "--bundle"]) && verb(&["start"]) && verb(&["delete", "--force"])) {
                        failed.store(true, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
    assert!(!failed.load(Ordering::Relaxed), "a verb failed; its words are above");
    assert_eq!(count_cgroups("row"), before);
    sb.assert_nothing_left();
}

fn many_at_once_leave_no_cgroup(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["pause"]).without_namespace("network").build();
    let ids: Vec<String> = (0..scaled(200)).map(|number| format!("ct-once-{}-{number}", std::process::id())).collect();
    let before = count_cgroups("once");
    let root = sb.state_root();
    let all = |words: &[&str]| ids.iter().all(|id| quiet(&root, words, &bundle.dir, id));
    assert!(all(&["create", "--bundle"]) && all(&["start"]));
    assert!(count_cgroups("once") >= before + ids.len());
    assert!(all(&["delete", "--force"]));
    assert_eq!(count_cgroups("once"), before);
    sb.assert_nothing_left();
}

/// One verb without the harness's files, which would be thousands.
fn quiet(root: &Path, words: &[&str], bundle: &Path, id: &str) -> bool {
    let mut command = std::process::Command::new(crate::harness::runtime_path());
    command.arg("--root").arg(root).args(crate::harness::flags_of_all_calls()).args(words);
    if words.contains(&"--bundle") {
        command.arg(bundle);
    }
    let null = || std::process::Stdio::null();
    command.arg(id).env_clear().stdin(null()).stdout(null()).status().is_ok_and(|status| status.success())
}

/// The cgroups of one of these tests, in all hierarchies.
fn count_cgroups(kind: &str) -> usize {
    cgroups_named(&format!("ct-{kind}-{}-", std::process::id())).len()
}

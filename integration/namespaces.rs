//! Namespaces: each new, each shared, each joined by path; id maps, clocks, the loopback interface.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Case, Sandbox, cases, skip};

pub const CASES: &[Case] = cases![
    every_new_namespace_is_another_than_the_host_s,
    an_unlisted_namespace_is_the_host_s,
    mounts_without_a_mount_namespace_are_the_containers_alone_and_gone_with_it,
    mounts_without_a_mount_namespace_are_there_for_hooks_and_later_processes,
    what_has_no_mount_namespace_mounts_nothing_more,
    mounts_without_a_mount_namespace_are_refused_in_a_user_namespace,
    every_namespace_can_be_joined_by_path,
    a_mount_namespace_can_be_joined_by_path,
    all_namespaces_of_another_container_can_be_joined_at_once,
    a_path_to_another_type_is_refused,
    a_path_to_nothing_is_refused,
    a_path_to_an_ordinary_file_is_refused,
    a_path_to_a_fifo_is_refused_at_once,
    a_pid_namespace_whose_init_is_gone_is_refused,
    an_init_in_a_joined_pid_namespace_that_dies_early_is_told,
    the_init_of_a_pid_namespace_is_number_one,
    loopback_is_up,
    a_user_namespace_maps_ids,
    message_queues_belong_to_the_user_namespace_s_root,
    an_id_map_may_have_many_lines,
    a_user_namespace_without_other_namespaces_of_its_own_works,
    a_mapped_user_can_be_any_mapped_id,
    an_unmapped_user_is_refused,
    a_user_namespace_path_brings_its_maps,
    maps_beside_the_path_of_a_user_namespace_must_be_its_own,
    a_joined_user_namespace_without_id_0_is_entered_as_its_first_id,
    clocks_have_offsets,
    offsets_are_exact_to_the_nanosecond,
    offsets_need_a_new_time_namespace,
    a_joined_time_namespace_keeps_its_clocks,
    an_ordinary_user_runs_a_container,
    an_ordinary_user_gets_no_further_groups,
    an_ordinary_user_maps_the_ids_that_the_machine_gave_him,
    an_ordinary_user_maps_no_ids_of_others,
];

/// config.json's name of a namespace, and the kernel's.
const KINDS: &[(&str, &str)] = &[
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("network", "net"),
    ("pid", "pid"),
    ("user", "user"),
    ("uts", "uts"),
    ("time", "time"),
];

fn of_process(pid: impl std::fmt::Display, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().to_string_lossy().into_owned()
}

/// The kinds that the runtime under test knows: older ones have no time namespaces.
fn known(sb: &Sandbox) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let time = sb.flavour() == crate::harness::Flavour::Corten;
    KINDS.iter().filter(move |(kind, _)| time || *kind != "time")
}

fn every_new_namespace_is_another_than_the_host_s(sb: &Sandbox) {
    for (kind, name) in known(sb) {
        let mut bundle = sb.bundle().namespace(kind, None);
        if *kind == "user" {
            bundle = bundle.user_namespace();
        }
        let report = sb.probe(&bundle.build());
        assert_ne!(report["namespaces"][name], of_process("self", name), "{kind}");
    }
}

fn an_unlisted_namespace_is_the_host_s(sb: &Sandbox) {
    // Others refuse that, or make their mounts on the host.
    let mount = sb.flavour() == crate::harness::Flavour::Corten;
    for (kind, name) in known(sb).filter(|(kind, _)| mount || *kind != "mount") {
        let mut bundle = sb.bundle().without_namespace(kind);
        match *kind {
            "uts" => bundle = bundle.set("/hostname", ""),
            "ipc" => bundle = bundle.without_mount("/dev/mqueue"),
            _ => {}
        }
        let report = sb.probe(&bundle.build());
        assert_eq!(report["namespaces"][name], of_process("self", name), "{kind}");
    }
}

/// The mounts of this sandbox that the machine sees; other tests make theirs meanwhile.
fn mounts_of_the_machine(sb: &Sandbox) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let dir = sb.dir().to_str().unwrap();
    text.lines().filter(|line| line.contains(dir)).map(str::to_owned).collect()
}

fn mounts_without_a_mount_namespace_are_the_containers_alone_and_gone_with_it(sb: &Sandbox) {
    sb.only_corten("keeps such mounts from the host");
    let source = sb.tree("source", &[("file", "of the host\n"), ("deep/er", "below\n")]);
    let inner = sb.tree("inner", &[("file", "in the mount\n")]);
    let bundle = sb
        .bundle()
        .without_namespace("mount")
        .bind(&source, "/data", &["ro"])
        .bind(&inner, "/data/deep", &[])
        .mount(json!({"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]}))
        .set("/root/readonly", true)
        .tool(["cat", "/data/file", ";", "pause"])
        .build();
    let before = mounts_of_the_machine(sb);
    let container = sb.create(&bundle);
    assert_eq!(mounts_of_the_machine(sb), before, "created");
    assert_eq!(of_process(container.pid(), "mnt"), of_process("self", "mnt"));
    container.start();
    assert_eq!(container.status(), "running");
    assert_eq!(of_process(container.pid(), "mnt"), of_process("self", "mnt"));
    assert_eq!(mounts_of_the_machine(sb), before, "running");
    let words = ["cat", "/data/file", ";", "cat", "/data/deep/file", ";", "try", "append", "/data/file", "x", ";"];
    let more =
        ["write", "/scratch/new", "x", ";", "cat", "/scratch/new", ";", "echo", ";", "try", "write", "/new", "x", ";"];
    let exec = sb.call(["exec", &container.id, "/bin/probe", "probe", "--"]).args(words).args(more);
    let output = exec.args(["cat", "/proc/self/mountinfo"]).output();
    assert_eq!(output.ok().lines(), ["of the host", "in the mount", "EROFS", "x", "EROFS"]);
    let refused = sb.call(["mounts", "add", "--mount", "type=tmpfs,destination=/scratch", &container.id]).output();
    refused.fails_with(&["mount namespace"]);
    container.stop();
    container.verb("delete").ok();
    assert_eq!(mounts_of_the_machine(sb), before, "gone");
    assert_eq!(fs::read_dir(bundle.in_rootfs("/scratch")).unwrap().count(), 0, "written to the tmpfs alone");
    sb.assert_nothing_left();
}

fn mounts_without_a_mount_namespace_are_there_for_hooks_and_later_processes(sb: &Sandbox) {
    sb.only_corten("keeps such mounts from the host");
    let source = sb.tree("source", &[("file", "mounted\n")]);
    let inside = json!({"path": "/bin/probe", "args": ["probe", "probe", "--", "cat", "/data/file"]});
    let bundle = sb
        .bundle()
        .without_namespace("mount")
        .bind(&source, "/data", &[])
        .set("/process/cwd", "/data")
        .hook("startContainer", inside)
        .tool(["cat", "file"])
        .build();
    let before = mounts_of_the_machine(sb);
    let output = sb.run(&bundle);
    assert_eq!(output.ok().lines().last(), Some(&"mounted"), "the working directory is in a mount");
    let report = sb.probe(&sb.bundle().without_namespace("mount").build());
    assert_eq!(report["devices"]["null"]["minor"], 3);
    assert_eq!(report["pid"], 1, "its own /proc is mounted");
    assert_eq!(mounts_of_the_machine(sb), before);
    sb.assert_nothing_left();
}

/// Its root is in no mount namespace: mount(2) finds nothing there to mount on, whatever the rights.
fn what_has_no_mount_namespace_mounts_nothing_more(sb: &Sandbox) {
    sb.only_corten("keeps such mounts from the host");
    let script =
        "mount -t tmpfs none /inner 2>/dev/null || echo refused; mount --bind / /inner 2>/dev/null || echo refused";
    let bundle = || {
        let rights = ["CAP_SYS_ADMIN"];
        sb.bundle().busybox().capabilities(&rights).dir("/inner").args(["/bin/sh", "-c", script])
    };
    assert_eq!(sb.run(&bundle().build()).ok().lines(), [""; 0], "in a namespace of its own it may");
    let before = mounts_of_the_machine(sb);
    assert_eq!(sb.run(&bundle().without_namespace("mount").build()).ok().lines(), ["refused", "refused"]);
    assert_eq!(mounts_of_the_machine(sb), before);
}

fn mounts_without_a_mount_namespace_are_refused_in_a_user_namespace(sb: &Sandbox) {
    sb.only_corten("keeps such mounts from the host");
    let bundle = sb.bundle().user_namespace().without_namespace("mount").set("/root/readonly", true).build();
    sb.run(&bundle).fails_with(&["mounts", "root.readonly", "in a user namespace", "{\"type\": \"mount\"}"]);
    sb.assert_nothing_left();
}

fn every_namespace_can_be_joined_by_path(sb: &Sandbox) {
    let mut donor = sb.bundle().namespace("cgroup", None).tool(["pause"]);
    if sb.flavour() == crate::harness::Flavour::Corten {
        donor = donor.namespace("time", None);
    }
    let donor = sb.started(&donor.build());
    let pid = donor.pid();
    for (kind, name) in known(sb).filter(|(kind, _)| !matches!(*kind, "mount" | "user")) {
        let path = format!("/proc/{pid}/ns/{name}");
        let mut bundle = sb.bundle().namespace(kind, Some(&path));
        if *kind == "uts" {
            bundle = bundle.set("/hostname", "");
        }
        let report = sb.probe(&bundle.build());
        assert_eq!(report["namespaces"][name], of_process(pid, name), "{kind}");
        if *kind == "pid" {
            assert_ne!(report["pid"], 1);
        }
    }
}

fn a_mount_namespace_can_be_joined_by_path(sb: &Sandbox) {
    sb.only_corten("is asked for this: the root file system is the joined namespace's");
    let bundle = sb.bundle().tool(["pause"]).build();
    let donor = sb.started(&bundle);
    let path = format!("/proc/{}/ns/mnt", donor.pid());
    let joined = sb.bundle().namespace("mount", Some(&path)).set("/mounts", json!([])).build();
    let output = sb.run(&joined);
    if output.code == 0 {
        assert_eq!(output.json()["namespaces"]["mnt"], of_process(donor.pid(), "mnt"));
    } else {
        // The bundle's root can't be seen from there, and saying so is as good.
        output.fails();
        assert_eq!(donor.status(), "running");
    }
}

fn all_namespaces_of_another_container_can_be_joined_at_once(sb: &Sandbox) {
    let donor = sb.started(&sb.bundle().user_namespace().tool(["pause"]).build());
    let pid = donor.pid();
    let mut bundle = sb.bundle().user_namespace().set("/hostname", "");
    for (kind, name) in [("user", "user"), ("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        bundle = bundle.namespace(kind, Some(&format!("/proc/{pid}/ns/{name}")));
    }
    let report = sb.probe(&bundle.build());
    for name in ["user", "pid", "net", "ipc", "uts"] {
        assert_eq!(report["namespaces"][name], of_process(pid, name), "{name}");
    }
    assert_eq!(report["user"]["uid"], 0);
    assert_eq!(report["uidMappings"], json!([[0, 100_000, 65_536]]));
}

fn a_path_to_another_type_is_refused(sb: &Sandbox) {
    for (kind, name) in [("uts", "ipc"), ("ipc", "uts"), ("network", "pid"), ("pid", "net"), ("user", "mnt")] {
        let bundle = sb.bundle().set("/hostname", "").namespace(kind, Some(&format!("/proc/self/ns/{name}"))).build();
        let output = sb.run(&bundle);
        output.fails();
        if sb.flavour() == crate::harness::Flavour::Corten {
            output.fails_with(&["linux.namespaces["]);
        }
        sb.assert_nothing_left();
    }
}

fn a_path_to_nothing_is_refused(sb: &Sandbox) {
    let output = sb.run(&sb.bundle().namespace("network", Some("/no/such/namespace")).build());
    output.fails_with(&["/no/such/namespace"]);
    sb.assert_nothing_left();
}

fn a_path_to_an_ordinary_file_is_refused(sb: &Sandbox) {
    let file = sb.path("file");
    fs::write(&file, "").unwrap();
    sb.run(&sb.bundle().namespace("ipc", file.to_str()).build()).fails();
    sb.assert_nothing_left();
}

fn a_path_to_a_fifo_is_refused_at_once(sb: &Sandbox) {
    sb.only_corten("opens a namespace without waiting for the other end of a fifo");
    let fifo = sb.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let link = sb.path("link");
    std::os::unix::fs::symlink(&fifo, &link).unwrap();
    for path in [&fifo, &link] {
        sb.run(&sb.bundle().namespace("ipc", path.to_str()).build()).fails_with(&["linux.namespaces["]);
    }
    sb.assert_nothing_left();
}

fn a_pid_namespace_whose_init_is_gone_is_refused(sb: &Sandbox) {
    let donor = sb.started(&sb.bundle().tool(["pause"]).build());
    // The descriptor keeps the namespace, and the path, when its processes are gone.
    let kept = fs::File::open(format!("/proc/{}/ns/pid", donor.pid())).unwrap();
    donor.stop();
    donor.verb("delete").ok();
    let path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&kept));
    sb.run(&sb.bundle().namespace("pid", Some(&path)).build()).fails();
    sb.assert_nothing_left();
}

fn an_init_in_a_joined_pid_namespace_that_dies_early_is_told(sb: &Sandbox) {
    sb.only_corten("can be made to fail");
    let donor = sb.started(&sb.bundle().tool(["pause"]).build());
    let path = format!("/proc/{}/ns/pid", donor.pid());
    let bundle = sb.bundle().namespace("pid", Some(&path)).build();
    for step in 0..4 {
        let call =
            sb.call(["create", "--bundle"]).arg(&bundle.dir).global(&["--fault", &format!("stage_two:{step}:kill")]);
        call.arg(sb.id()).output().fails_with(&["SIGSEGV"]);
    }
    assert_eq!(donor.status(), "running");
    assert_eq!(sb.states().len(), 1);
}

fn the_init_of_a_pid_namespace_is_number_one(sb: &Sandbox) {
    let report = sb.probe(&sb.bundle().build());
    assert_eq!((&report["pid"], &report["ppid"]), (&json!(1), &json!(0)));
    assert_eq!(report["procs"], json!([1]));
}

fn loopback_is_up(sb: &Sandbox) {
    let report = sb.probe(&sb.bundle().build());
    assert_eq!(report["interfaces"], json!({"lo": true}));
}

fn message_queues_belong_to_the_user_namespace_s_root(sb: &Sandbox) {
    sb.only_corten("(and newer runtimes) make the ipc namespace as that root");
    let words = ["stat", "/dev/mqueue", ";", "chmod", "1770", "/dev/mqueue"];
    let output = sb.run(&sb.bundle().user_namespace().capabilities(&["CAP_FOWNER"]).tool(words).build());
    assert!(output.ok().stdout.starts_with("dir 1777 0 0 "), "{}", output.stdout);
}

fn a_user_namespace_maps_ids(sb: &Sandbox) {
    let report = sb.probe(&sb.bundle().user_namespace().build());
    assert_eq!(report["user"]["uids"], json!([0, 0, 0]));
    assert_eq!(report["uidMappings"], json!([[0, 100_000, 65_536]]));
    assert_eq!(report["gidMappings"], json!([[0, 100_000, 65_536]]));
    assert_eq!(report["setgroups"], "allow");
    // The kernel gives a new user namespace's first process everything; config.json takes it away again.
    assert_eq!(report["capabilities"]["effective"], json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"]));
}

fn an_id_map_may_have_many_lines(sb: &Sandbox) {
    // 340 lines are the kernel's limit, and all of them must fit into one page of text.
    for (count, host, size) in [(2u32, 100_000, 10), (5, 100_000, 10), (6, 100_000, 10), (340, 1000, 1)] {
        let line = |n: u32| json!({"containerID": n * size, "hostID": host + n * size, "size": size});
        let map: Vec<Value> = (0..count).map(line).collect();
        let bundle = sb.bundle().namespace("user", None);
        let bundle = bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map).build();
        let report = sb.probe(&bundle);
        assert_eq!(report["uidMappings"].as_array().unwrap().len(), count as usize);
        let last = (count - 1) * size;
        assert_eq!(report["gidMappings"][count as usize - 1], json!([last, host + last, size]));
    }
}

fn a_user_namespace_without_other_namespaces_of_its_own_works(sb: &Sandbox) {
    let mut bundle =
        sb.bundle().user_namespace().without_mount("/sys").without_mount("/dev/mqueue").set("/hostname", "");
    for kind in ["network", "ipc", "uts"] {
        bundle = bundle.without_namespace(kind);
    }
    let report = sb.probe(&bundle.build());
    assert_eq!(report["namespaces"]["net"], of_process("self", "net"));
    assert_ne!(report["namespaces"]["user"], of_process("self", "user"));
}

fn a_mapped_user_can_be_any_mapped_id(sb: &Sandbox) {
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 65_535]});
    let report = sb.probe(&sb.bundle().user_namespace().set("/process/user", user).build());
    assert_eq!(report["user"]["uids"], json!([1000, 1000, 1000]));
    assert_eq!(report["user"]["gids"], json!([1001, 1001, 1001]));
    assert_eq!(report["user"]["additionalGids"], json!([5, 65_535]));
}

fn an_unmapped_user_is_refused(sb: &Sandbox) {
    let output = sb.run(&sb.bundle().user_namespace().set("/process/user/uid", 70_000).build());
    output.fails();
    sb.assert_nothing_left();
    if sb.flavour() == crate::harness::Flavour::Corten {
        output.fails_with(&["process.user.uid"]);
    }
}

fn a_user_namespace_path_brings_its_maps(sb: &Sandbox) {
    sb.only_corten("joins a user namespace without a copy of its maps in the config");
    let donor = sb.started(&sb.bundle().user_namespace().tool(["pause"]).build());
    let path = format!("/proc/{}/ns/user", donor.pid());
    let report = sb.probe(&sb.bundle().namespace("user", Some(&path)).build());
    assert_eq!(report["namespaces"]["user"], of_process(donor.pid(), "user"));
    assert_eq!(report["uidMappings"], json!([[0, 100_000, 65_536]]));
}

/// Engines give a pod's maps along with its path.
fn maps_beside_the_path_of_a_user_namespace_must_be_its_own(sb: &Sandbox) {
    sb.only_corten("compares them");
    let donor = sb.started(&sb.bundle().user_namespace().tool(["pause"]).build());
    let path = format!("/proc/{}/ns/user", donor.pid());
    let with = |host: u32, size: u32| {
        let map = json!([{"containerID": 0, "hostID": host, "size": size}]);
        let bundle = sb.bundle().namespace("user", Some(&path)).set("/linux/uidMappings", map.clone());
        sb.run(&bundle.set("/linux/gidMappings", map).build())
    };
    let same = with(100_000, 65_536);
    assert_eq!((same.ok().stderr.as_str(), &same.json()["uidMappings"]), ("", &json!([[0, 100_000, 65_536]])));
    for (host, size) in [(200_000, 65_536), (100_000, 65_535)] {
        let other = with(host, size);
        assert_eq!(other.ok().json()["uidMappings"], json!([[0, 100_000, 65_536]]));
        for field in ["linux.uidMappings", "linux.gidMappings"] {
            assert!(other.stderr.contains(field), "{field}: {}", other.stderr);
        }
    }
}

fn a_joined_user_namespace_without_id_0_is_entered_as_its_first_id(sb: &Sandbox) {
    sb.only_corten("asks the namespace for its ids");
    let map = json!([{"containerID": 7, "hostID": 100_007, "size": 10}]);
    let user = json!({"uid": 9, "gid": 9});
    let donor = sb.bundle().user_namespace().set("/process/user", user.clone()).tool(["pause"]);
    // Nobody can make anything in the directories of the root: id 0 isn't mapped.
    let donor = donor.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map).set("/mounts", json!([]));
    let donor = sb.started(&donor.owned_by(100_007).build());
    let path = format!("/proc/{}/ns/user", donor.pid());
    let bundle = sb.bundle().namespace("user", Some(&path)).set("/process/user", user).set("/mounts", json!([]));
    let report = sb.run(&bundle.tool(["stat", "/"]).owned_by(100_007).build());
    assert!(report.ok().stdout.starts_with("dir 0755 7 7 "), "{}", report.stdout);
}

fn clocks_have_offsets(sb: &Sandbox) {
    sb.only_corten("has time namespaces");
    let before = corten::sys::inspect::clock_seconds(libc::CLOCK_BOOTTIME).unwrap();
    let offsets = json!({"boottime": {"secs": 5_000_000, "nanosecs": 5}, "monotonic": {"secs": 1_000_000}});
    let report = sb.probe(&sb.bundle().namespace("time", None).set("/linux/timeOffsets", offsets).build());
    let boottime = report["boottime"].as_i64().unwrap();
    assert!((before + 5_000_000..before + 5_000_600).contains(&boottime), "{boottime}");
    assert!(report["monotonic"].as_i64().unwrap() >= 1_000_000);
}

fn offsets_are_exact_to_the_nanosecond(sb: &Sandbox) {
    sb.only_corten("has time namespaces");
    let offsets =
        json!({"boottime": {"secs": 5_000_000, "nanosecs": 5}, "monotonic": {"secs": 7, "nanosecs": 999_999_999}});
    let bundle = sb.bundle().namespace("time", None).set("/linux/timeOffsets", offsets);
    let output = sb.run(&bundle.tool(["cat", "/proc/self/timens_offsets"]).build());
    let words: Vec<&str> = output.ok().stdout.split_whitespace().collect();
    assert_eq!(words, ["monotonic", "7", "999999999", "boottime", "5000000", "5"]);
}

fn offsets_need_a_new_time_namespace(sb: &Sandbox) {
    sb.only_corten("has time namespaces");
    let offsets = json!({"boottime": {"secs": 1}});
    sb.run(&sb.bundle().set("/linux/timeOffsets", offsets).build()).fails_with(&["linux.timeOffsets"]);
    sb.assert_nothing_left();
}

fn a_joined_time_namespace_keeps_its_clocks(sb: &Sandbox) {
    sb.only_corten("has time namespaces");
    let offsets = json!({"boottime": {"secs": 7_000_000}});
    let donor = sb.bundle().namespace("time", None).set("/linux/timeOffsets", offsets).tool(["pause"]).build();
    let donor = sb.started(&donor);
    let path = format!("/proc/{}/ns/time", donor.pid());
    let report = sb.probe(&sb.bundle().namespace("time", Some(&path)).build());
    assert!(report["boottime"].as_i64().unwrap() >= 7_000_000);
}

/// A bundle that uid 1000 may run without any helper program: one id mapped, nothing that needs a second one.
pub fn rootless(sb: &Sandbox) -> crate::harness::BundleBuilder<'_> {
    let map = |host: u32| json!([{"containerID": 0, "hostID": host, "size": 1}]);
    let devpts = json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]});
    let bundle = sb.bundle().namespace("user", None).without_mount("/dev/pts").mount(devpts);
    bundle.set("/linux/uidMappings", map(1000)).set("/linux/gidMappings", map(1000))
}

/// A `run` by uid 1000 with a state root of its own.
pub fn run_as_ordinary_user(sb: &Sandbox, bundle: &crate::harness::Bundle) -> crate::harness::Output {
    run_as_ordinary_user_with(sb, bundle, &[])
}

/// The same with flags in front of the verb.
pub fn run_as_ordinary_user_with(
    sb: &Sandbox,
    bundle: &crate::harness::Bundle,
    globals: &[&str],
) -> crate::harness::Output {
    sb.needs_program("/usr/bin/setpriv", "util-linux");
    let home = sb.tree("user", &[]);
    std::os::unix::fs::chown(&home, Some(1000), Some(1000)).unwrap();
    let call = sb
        .call(["run", "--bundle"])
        .bare()
        .shared()
        .global(&["--root"])
        .global(&[home.join("state").to_str().unwrap()])
        .global(globals);
    let call = call.under(&["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]);
    call.env("XDG_RUNTIME_DIR", &home).env("HOME", &home).arg(&bundle.dir).arg(sb.id()).output()
}

fn an_ordinary_user_runs_a_container(sb: &Sandbox) {
    if fs::read_to_string("/proc/sys/kernel/unprivileged_userns_clone").is_ok_and(|s| s.trim() == "0") {
        skip("the machine allows no unprivileged user namespaces");
    }
    let output = run_as_ordinary_user(sb, &rootless(sb).build());
    let report = output.ok().json();
    assert_eq!(report["user"]["uid"], 0);
    assert_eq!(report["uidMappings"], json!([[0, 1000, 1]]));
    assert_eq!(report["setgroups"], "deny");
}

fn an_ordinary_user_gets_no_further_groups(sb: &Sandbox) {
    let bundle = rootless(sb).set("/process/user/additionalGids", json!([0])).build();
    let output = run_as_ordinary_user(sb, &bundle);
    assert_ne!(output.code, 0, "{output:?}");
    if sb.flavour() == crate::harness::Flavour::Corten {
        output.fails_with(&["process.user.additionalGids"]);
    }
}

/// A machine whose /etc/subuid and /etc/subgid give uid 1000 the ids from 200,000 on, for one call: the files are bound
/// over the real ones in a mount namespace of its own.
fn run_with_subordinate_ids(sb: &Sandbox, first: u32) -> crate::harness::Output {
    sb.needs_program("/usr/bin/newuidmap", "uidmap");
    sb.needs_program("/usr/bin/setpriv", "util-linux");
    let etc = sb.tree(
        "etc",
        &[
            ("subuid", "1000:200000:65536\n"),
            ("subgid", "1000:200000:65536\n"),
            ("passwd", "root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n"),
        ],
    );
    let map = json!([
        {"containerID": 0, "hostID": 1000, "size": 1},
        {"containerID": 1, "hostID": first, "size": 65_535},
    ]);
    let bundle = sb.bundle().namespace("user", None).set("/process/user/additionalGids", json!([5, 27]));
    let bundle = bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map).build();
    let home = sb.tree("user", &[]);
    std::os::unix::fs::chown(&home, Some(1000), Some(1000)).unwrap();
    let binds: String = ["subuid", "subgid", "passwd"]
        .iter()
        .map(|name| {
            format!("[ -e /etc/{name} ] || : >/etc/{name}; mount --bind {}/{name} /etc/{name} && ", etc.display())
        })
        .collect();
    let script = format!("{binds} exec setpriv --reuid=1000 --regid=1000 --clear-groups \"$@\"");
    let call = sb.call(["run", "--bundle"]).bare().shared().global(&["--root", home.join("state").to_str().unwrap()]);
    let call = call.under(&["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
    call.env("XDG_RUNTIME_DIR", &home).env("HOME", &home).arg(&bundle.dir).arg(sb.id()).output()
}

fn an_ordinary_user_maps_the_ids_that_the_machine_gave_him(sb: &Sandbox) {
    let output = run_with_subordinate_ids(sb, 200_000);
    let report = output.ok().json();
    assert_eq!(report["uidMappings"], json!([[0, 1000, 1], [1, 200_000, 65_535]]));
    assert_eq!(report["gidMappings"], json!([[0, 1000, 1], [1, 200_000, 65_535]]));
    // newgidmap is privileged, so nothing has to be given up for the map.
    assert_eq!(report["setgroups"], "allow");
    assert_eq!(report["user"]["additionalGids"], json!([5, 27]));
}

fn an_ordinary_user_maps_no_ids_of_others(sb: &Sandbox) {
    let output = run_with_subordinate_ids(sb, 300_000);
    assert_ne!(output.code, 0, "{output:?}");
    if sb.flavour() == crate::harness::Flavour::Corten {
        output.fails_with(&["linux.uidMappings"]);
    }
}

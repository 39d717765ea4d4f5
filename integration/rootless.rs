//! What an ordinary user's containers have that root's have too: limits, where the machine delegates a cgroup to him.
//! Every other file whose tests are for anyone runs as that user as well (`integration/vm/`, the lane `uml-rootless`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;

use crate::harness::{BundleBuilder, Case, Container, Sandbox, cases, mount_at, skip, words};

pub const CASES: &[Case] = cases![anyone:
    a_limit_holds,
    a_container_is_in_a_cgroup_of_its_own,
    a_container_without_limits_needs_no_cgroup,
    missing_permission_is_passed_over_where_that_is_asked_for,
    a_written_spec_runs_as_it_is,
    a_single_id_is_enough_for_the_usual_mounts,
    without_a_network_namespace_the_host_s_sysfs_is_shown_read_only,
    without_an_ipc_namespace_of_its_own_a_message_queue_is_no_obstacle,
    further_groups_of_a_single_id_are_refused,
    without_newuidmap_the_error_says_what_to_install,
    newuidmap_says_itself_what_it_refuses,
    limits_that_nobody_may_raise_are_told,
    a_user_namespace_of_his_own_can_be_joined,
    his_state_root_outlives_a_clean_up_of_old_files,
    a_checkpoint_takes_root,
];

/// Skips for root, to whom none of this happens.
fn needs_ordinary_user() {
    if nix::unistd::geteuid().is_root() {
        skip("it is about an ordinary user");
    }
}

/// A bundle in which only the caller's own ids are mapped, which he may do by himself.
fn single_id(sb: &Sandbox) -> BundleBuilder<'_> {
    let map = |host: u32| json!([{"containerID": 0, "hostID": host, "size": 1}]);
    let bundle = sb.bundle().set("/linux/uidMappings", map(nix::unistd::geteuid().as_raw()));
    bundle.set("/linux/gidMappings", map(nix::unistd::getegid().as_raw()))
}

fn a_checkpoint_takes_root(sb: &Sandbox) {
    needs_ordinary_user();
    sb.only_corten("says so");
    let bundle = sb.bundle().tool(["pause"]).build();
    let container = sb.started(&bundle);
    let images = sb.path("images");
    let dump = sb.call(["checkpoint", "--image-path"]).arg(&images).arg(&container.id).output();
    dump.fails_with(&["a checkpoint takes root: criu can't do it for an ordinary user"]);
    let restore = sb.call(["restore", "--image-path"]).arg(&images).arg("--bundle").arg(&bundle.dir).arg(sb.id());
    restore.output().fails_with(&["a restore takes root"]);
    assert_eq!(container.status(), "running");
}

fn a_written_spec_runs_as_it_is(sb: &Sandbox) {
    needs_ordinary_user();
    sb.only_corten("brings a root file system");
    let dir = sb.path("written");
    sb.call(["spec", "--rootless", "--with-rootfs", "--bundle"]).arg(&dir).output().ok();
    let output = sb.call(["run", "--bundle"]).arg(&dir).arg(sb.id()).output();
    assert!(output.ok().stdout.contains("uid"), "{output:?}");
}

/// devpts with a group that isn't mapped, devices that can't be made, and setgroups given up for the map (CVE-2014-8989).
fn a_single_id_is_enough_for_the_usual_mounts(sb: &Sandbox) {
    needs_ordinary_user();
    let report = sb.probe(&single_id(sb).build());
    assert_eq!(report["setgroups"], "deny");
    assert_eq!(report["uidMappings"].as_array().unwrap().len(), 1);
    for (at, kind) in [("/dev/pts", "devpts"), ("/dev/mqueue", "mqueue"), ("/sys", "sysfs"), ("/proc", "proc")] {
        assert_eq!(mount_at(&report, at)["type"], kind, "{at}");
    }
    // A device of the host, bound.
    mount_at(&report, "/dev/null");
    let words = ["write", "/dev/null", "x", ";", "stat", "/dev/null"];
    assert!(sb.run(&single_id(sb).tool(words).build()).ok().stdout.starts_with("char "));
}

fn without_a_network_namespace_the_host_s_sysfs_is_shown_read_only(sb: &Sandbox) {
    needs_ordinary_user();
    let report = sb.probe(&sb.bundle().without_namespace("network").build());
    let sys = mount_at(&report, "/sys");
    assert_eq!(sys["type"], "sysfs");
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(words(&sys["options"]).iter().any(|option| option == flag), "{flag}: {sys}");
    }
}

fn without_an_ipc_namespace_of_its_own_a_message_queue_is_no_obstacle(sb: &Sandbox) {
    needs_ordinary_user();
    if !std::path::Path::new("/dev/mqueue").exists() {
        skip("this machine shows its message queues nowhere (/dev/mqueue)");
    }
    let output = sb.run(&sb.bundle().without_namespace("ipc").tool(["stat", "/dev/mqueue"]).build());
    assert!(output.ok().stdout.starts_with("dir "), "{output:?}");
}

fn further_groups_of_a_single_id_are_refused(sb: &Sandbox) {
    needs_ordinary_user();
    let bundle = single_id(sb).set("/process/user/additionalGids", json!([0])).build();
    sb.run(&bundle).fails_with(&["process.user.additionalGids"]);
    sb.assert_nothing_left();
}

fn without_newuidmap_the_error_says_what_to_install(sb: &Sandbox) {
    needs_ordinary_user();
    sb.only_corten("explains it");
    let output = sb.run_with(&sb.bundle().build(), |call| call.env("PATH", "/nowhere"));
    output.fails_with(&["linux.uidMappings", "No such file or directory", "install the package uidmap"]);
    sb.assert_nothing_left();
}

fn newuidmap_says_itself_what_it_refuses(sb: &Sandbox) {
    needs_ordinary_user();
    sb.only_corten("passes it on");
    let own = nix::unistd::geteuid().as_raw();
    let map = json!([{"containerID": 0, "hostID": own, "size": 1}, {"containerID": 1, "hostID": 7, "size": 1}]);
    let output = sb.run(&sb.bundle().set("/linux/uidMappings", map).build());
    output.fails_with(&["linux.uidMappings", "newuidmap: ", "[7-8)", "/etc/subuid", "NAME:100000:65536"]);
    sb.assert_nothing_left();
}

fn limits_that_nobody_may_raise_are_told(sb: &Sandbox) {
    needs_ordinary_user();
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    let limit = |n: u64| json!([{"type": "RLIMIT_NOFILE", "soft": n, "hard": n}]);
    sb.run(&sb.bundle().set("/process/rlimits", limit(hard - 1)).build()).ok();
    let output = sb.run(&sb.bundle().set("/process/rlimits", limit(hard + 1)).build());
    output.fails_with(&["process.rlimits[0]", "RLIMIT_NOFILE", "CAP_SYS_RESOURCE"]);
    sb.run(&sb.bundle().set("/process/oomScoreAdj", 500).build()).ok();
    sb.run(&sb.bundle().set("/process/oomScoreAdj", -500).build()).fails_with(&["process.oomScoreAdj"]);
    sb.assert_nothing_left();
}

fn a_user_namespace_of_his_own_can_be_joined(sb: &Sandbox) {
    needs_ordinary_user();
    sb.only_corten("compares the maps");
    let donor = sb.started(&sb.bundle().tool(["pause"]).build());
    let path = |name: &str| format!("/proc/{}/ns/{name}", donor.pid());
    // With the maps that the config has for a namespace of its own, and without.
    let with = sb.bundle().namespace("user", Some(&path("user")));
    let without = sb.bundle().namespace("user", Some(&path("user"))).edit(|config| {
        let linux = config["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
    });
    let all = [("pid", "pid"), ("network", "net"), ("ipc", "ipc")];
    let more = all.iter().fold(sb.bundle(), |bundle, (kind, name)| bundle.namespace(kind, Some(&path(name))));
    for bundle in [with, without, more.namespace("user", Some(&path("user")))] {
        let output = sb.run(&bundle.build());
        let report = output.ok().json();
        assert_eq!((output.stderr.as_str(), &report["user"]["uid"]), ("", &json!(0)));
        let joined = fs::read_link(path("user")).unwrap();
        assert_eq!(report["namespaces"]["user"], joined.to_str().unwrap());
    }
}

/// What cleans old files out of XDG_RUNTIME_DIR spares those with the sticky bit (the XDG base directory specification).
fn his_state_root_outlives_a_clean_up_of_old_files(sb: &Sandbox) {
    needs_ordinary_user();
    let home = sb.tree("home", &[]);
    let call = sb.call(["run", "--bundle"]).bare().env("XDG_RUNTIME_DIR", &home).env("HOME", &home);
    call.arg(&sb.bundle().build().dir).arg(sb.id()).output().ok();
    let mode = fs::metadata(home.join("corten")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o1700);
}

/// The directory of a container's cgroup that has the files of pids.
fn pids_cgroup(container: &Container) -> PathBuf {
    let lines = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    let line = |wanted: &str| {
        lines.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|name| name == wanted).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    match line("pids") {
        Some(path) => PathBuf::from("/sys/fs/cgroup/pids").join(path),
        None => PathBuf::from("/sys/fs/cgroup").join(line("").expect("every process is in a cgroup")),
    }
}

/// Skips for an ordinary user to whom nobody has delegated a cgroup: he can make none beside his own.
fn needs_delegation() {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let above = PathBuf::from("/sys/fs/cgroup").join(own);
    let may = |dir: &std::path::Path| nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).is_ok();
    if !nix::unistd::geteuid().is_root() && !above.parent().is_some_and(may) {
        skip("no cgroup is delegated to this user");
    }
}

fn a_limit_holds(sb: &Sandbox) {
    needs_delegation();
    let bundle = sb.bundle().set("/linux/resources", json!({"pids": {"limit": 23}})).tool(["pause"]).build();
    let container = sb.started(&bundle);
    let max = fs::read_to_string(pids_cgroup(&container).join("pids.max")).unwrap();
    assert_eq!(max.trim(), "23");
    container.stop();
    container.verb("delete").ok();
    sb.assert_nothing_left();
}

fn a_container_is_in_a_cgroup_of_its_own(sb: &Sandbox) {
    needs_delegation();
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let group = pids_cgroup(&container);
    let inside: Vec<i32> =
        fs::read_to_string(group.join("cgroup.procs")).unwrap().lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(inside, [container.pid()]);
    sb.call(["delete", "--force"]).arg(&container.id).output().ok();
    assert!(!group.exists(), "{} is still there", group.display());
}

fn a_container_without_limits_needs_no_cgroup(sb: &Sandbox) {
    sb.only_corten("has --cgroup-manager disabled");
    let bundle = sb.bundle().tool(["exit", "3"]).build();
    let output = sb.run_with(&bundle, |call| call.global(&["--cgroup-manager", "disabled"]));
    assert_eq!(output.code, 3, "{output:?}");
}

/// A cgroup that can't be made is no obstacle to whom nobody has given one, unless he says that he has all rights.
fn missing_permission_is_passed_over_where_that_is_asked_for(sb: &Sandbox) {
    sb.only_corten("can be held to it");
    sb.needs_root();
    sb.needs_user_namespaces();
    let bundle = crate::namespaces::rootless(sb).tool(["exit", "3"]).build();
    for (word, code) in [("auto", 3), ("true", 3), ("false", 1)] {
        let output = crate::namespaces::run_as_ordinary_user_with(sb, &bundle, &["--rootless", word]);
        assert_eq!(output.code, code, "{word}: {output:?}");
        if code == 1 {
            output.fails_with(&["permission denied"]);
        }
    }
}

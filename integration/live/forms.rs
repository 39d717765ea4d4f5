//! What can be added, to which container, and how it is listed.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::mount::MsFlags;
use serde_json::json;

use super::{add, add_list, added, at, places, remove, strong, tmpfs};
use crate::exec::{exec, waiting};
use crate::harness::{Case, Sandbox, cases, words};

pub const CASES: &[Case] = cases![anyone:
    a_bind_shows_its_source_and_a_read_only_one_can_t_be_written,
    a_file_is_bound_on_a_file_that_is_made_for_it,
    every_flag_of_a_mount_holds,
    flags_hold_for_mounts_below_where_that_is_asked,
    what_the_host_mounts_later_arrives_where_that_is_asked,
    an_idmapped_mount_shows_the_mapped_owner,
    the_container_s_own_map_is_what_idmap_means,
    a_tmpfs_has_its_options_and_what_it_copies_up,
    file_systems_of_the_kernel_are_those_of_the_container,
    a_symbolic_link_can_be_copied,
    a_target_may_be_below_another_of_the_same_list,
    cruns_file_is_read_and_a_relative_source_begins_at_the_bundle,
    all_or_none_is_mounted,
    a_created_container_has_its_mounts_when_it_starts,
    an_ordinary_user_s_container_gets_mounts_when_its_program_runs,
    a_paused_container_gets_mounts,
    a_stopped_container_and_an_unknown_one_are_refused,
    a_missing_target_on_a_read_only_root_is_told_with_a_way_out,
    a_container_without_mounts_of_its_own_is_refused,
    a_container_in_the_host_s_mount_namespace_is_refused,
    who_has_joined_the_mounts_of_another_shares_what_is_added,
    a_mount_that_the_init_can_t_see_is_refused,
    what_can_t_be_is_told_with_its_place,
    flags_of_the_host_stay_locked_in_a_user_namespace,
    the_list_tells_what_was_added,
    nothing_of_it_appears_on_the_host,
    what_is_shared_with_the_host_reaches_it_where_the_config_says_so,
    without_mount_setattr_nothing_is_protected_too_late,
];

fn a_bind_shows_its_source_and_a_read_only_one_can_t_be_written(sb: &Sandbox) {
    let source = sb.tree("source", &[("file", "of the host")]);
    let container = waiting(sb);
    let bind = |target: &str, rest: &str| format!("type=bind,source={},target={target}{rest}", source.display());
    add(sb, &container.id, &[&bind("/rw", ""), &bind("/deep/ly/ro", ",ro")]).ok();
    let tools = ["cat", "/rw/file", ";", "try", "write", "/deep/ly/ro/new", "x", ";", "try", "write", "/rw/new", "x"];
    let output = exec(sb, &container.id, &[], &tools);
    assert_eq!(output.ok().stdout.replace("of the host", ""), "EROFS\nok\n");
    assert!(source.join("new").exists());
    // The init sees the same.
    assert!(places(&container).contains(&"/deep/ly/ro".to_owned()));
}

fn a_file_is_bound_on_a_file_that_is_made_for_it(sb: &Sandbox) {
    let source = sb.tree("source", &[("file", "of the host")]).join("file");
    let container = waiting(sb);
    add(sb, &container.id, &[&format!("source={},target=/etc/new/conf,ro", source.display())]).ok();
    assert_eq!(exec(sb, &container.id, &[], &["cat", "/etc/new/conf"]).ok().stdout, "of the host");
    let refused = add(sb, &container.id, &[&format!("source={},target=/tmp", source.display())]);
    refused.fails_with(&["--mount", "Not a directory", "a file on a file"]);
}

fn every_flag_of_a_mount_holds(sb: &Sandbox) {
    let source = sb.tree("source", &[("file", "")]);
    let container = waiting(sb);
    // Access times are locked for who has no rights over the host's mounts, as in `create`.
    let flags = match nix::unistd::geteuid().is_root() {
        true => "nosuid,nodev,noexec,noatime,nodiratime,nosymfollow",
        false => "nosuid,nodev,noexec,nosymfollow",
    };
    add(sb, &container.id, &[&format!("source={},target=/m,{flags}", source.display())]).ok();
    let options = words(&at(sb, &container.id, "/m").unwrap()["options"]);
    for flag in flags.split(',') {
        assert!(options.contains(&flag.to_owned()), "{flag}: {options:?}");
    }
}

/// A directory with another one mounted below it.
fn with_a_mount_below(sb: &Sandbox) -> std::path::PathBuf {
    sb.needs_root();
    let (top, other) = (sb.tree("top", &[("sub/", "")]), sb.tree("other", &[("file", "below")]));
    sb.mount(other.to_str().unwrap(), &top.join("sub"), None, MsFlags::MS_BIND, "");
    top
}

fn flags_hold_for_mounts_below_where_that_is_asked(sb: &Sandbox) {
    let top = with_a_mount_below(sb);
    let container = waiting(sb);
    let bind = |target: &str, options: &[&str]| json!({"destination": target, "type": "bind", "source": top, "options": options});
    let list = json!([bind("/alone", &["bind"]), bind("/ro", &["rbind", "ro"]), bind("/rro", &["rbind", "rro"])]);
    add_list(sb, &container.id, list).ok();
    let tools = ["ls", "/alone/sub", ";", "try", "write", "/ro/sub/x", "", ";", "try", "write", "/rro/sub/x", ""];
    assert_eq!(exec(sb, &container.id, &[], &tools).ok().stdout, "ok\nEROFS\n");
}

fn what_the_host_mounts_later_arrives_where_that_is_asked(sb: &Sandbox) {
    sb.needs_root();
    let top = sb.tmpfs("shared");
    nix::mount::mount(None::<&str>, &top, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    fs::create_dir(top.join("sub")).unwrap();
    let container = waiting(sb);
    let bind = |target: &str, how: &str| format!("source={},target={target},{how}", top.display());
    add(sb, &container.id, &[&bind("/slave", "rslave"), &bind("/private", "rprivate")]).ok();
    let other = sb.tree("other", &[("file", "later")]);
    sb.mount(other.to_str().unwrap(), &top.join("sub"), None, MsFlags::MS_BIND, "");
    let tools = ["try", "cat", "/private/sub/file", ";", "cat", "/slave/sub/file"];
    assert_eq!(exec(sb, &container.id, &[], &tools).ok().stdout, "ENOENT\nlater");
    assert_eq!(words(&at(sb, &container.id, "/slave").unwrap()["propagation"]), ["slave"]);
}

fn an_idmapped_mount_shows_the_mapped_owner(sb: &Sandbox) {
    sb.needs_root();
    sb.needs_user_namespaces();
    let source = sb.tree("source", &[("file", "")]);
    let container = waiting(sb);
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
    let bind = json!([{"destination": "/m", "type": "bind", "source": source, "uidMappings": map, "gidMappings": map}]);
    add_list(sb, &container.id, bind).ok();
    assert!(exec(sb, &container.id, &[], &["stat", "/m/file"]).ok().stdout.contains(" 5000 5000 "));
    let written = format!("source={},target=/w,idmap=uids=0-7000-10;gids=0-7000-10", source.display());
    add(sb, &container.id, &[&written]).ok();
    assert!(exec(sb, &container.id, &[], &["stat", "/w/file"]).ok().stdout.contains(" 7000 7000 "));
}

fn the_container_s_own_map_is_what_idmap_means(sb: &Sandbox) {
    sb.needs_root();
    let source = sb.tree("source", &[("file", "")]);
    let container = sb.started(&sb.bundle().user_namespace().tool(["pause"]).build());
    let bind = |target: &str, how: &str| format!("source={},target={target},{how}", source.display());
    add(sb, &container.id, &[&bind("/plain", "rbind"), &bind("/one", "idmap"), &bind("/all", "ridmap")]).ok();
    let output = exec(sb, &container.id, &[], &["stat", "/plain/file", "/one/file", "/all/file"]);
    let owners: Vec<_> = output.ok().lines().iter().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect();
    assert_eq!(owners, ["65534", "0", "0"]);
    exec(sb, &container.id, &[], &["write", "/one/new", ""]).ok();
    assert_eq!(fs::metadata(source.join("new")).unwrap().uid(), 0);
}

fn a_tmpfs_has_its_options_and_what_it_copies_up(sb: &Sandbox) {
    let bundle = sb.bundle().file("/opt/file", "of the image").tool(["pause"]).build();
    let container = sb.started(&bundle);
    add(sb, &container.id, &["type=tmpfs,target=/opt,tmpcopyup,ro", "type=tmpfs,target=/t,size=64k,mode=0701"]).ok();
    let tools = ["cat", "/opt/file", ";", "try", "write", "/opt/x", "", ";", "stat", "/t"];
    let output = exec(sb, &container.id, &[], &tools);
    let text = output.ok().stdout.replace("of the image", "");
    assert!(text.starts_with("EROFS\ndir 0701 "), "{text}");
    assert!(words(&at(sb, &container.id, "/t").unwrap()["superblock"]).contains(&"size=64k".to_owned()));
}

fn file_systems_of_the_kernel_are_those_of_the_container(sb: &Sandbox) {
    let container = waiting(sb);
    let list = json!([{"destination": "/p", "type": "proc"}, {"destination": "/s", "type": "sysfs", "options": ["ro"]},
        {"destination": "/q", "type": "mqueue"}]);
    add_list(sb, &container.id, list).ok();
    let output = exec(sb, &container.id, &[], &["ls", "/p/1/ns", ";", "ls", "/s/class/net"]);
    assert_eq!(output.ok().lines().last(), Some(&"lo"), "its own network: {}", output.stdout);
    let ours = exec(sb, &container.id, &[], &["cat", "/p/1/comm", ";", "cat", "/proc/1/comm"]);
    assert_eq!(ours.ok().lines()[0], ours.lines()[1]);
    assert_eq!(added(sb, &container.id), ["/p", "/s", "/q"]);
}

fn a_symbolic_link_can_be_copied(sb: &Sandbox) {
    let source = sb.tree("source", &[]);
    std::os::unix::fs::symlink("../elsewhere", source.join("link")).unwrap();
    let container = waiting(sb);
    add(sb, &container.id, &[&format!("source={},target=/tmp/new,copy-symlink", source.join("link").display())]).ok();
    assert_eq!(exec(sb, &container.id, &[], &["readlink", "/tmp/new"]).ok().stdout, "../elsewhere\n");
    assert!(added(sb, &container.id).is_empty(), "a link is no mount");
}

fn a_target_may_be_below_another_of_the_same_list(sb: &Sandbox) {
    let source = sb.tree("source", &[("file", "")]);
    let container = waiting(sb);
    add(sb, &container.id, &["type=tmpfs,target=/t", &format!("source={},target=/t/a/b", source.display())]).ok();
    assert_eq!(exec(sb, &container.id, &[], &["ls", "/t/a/b"]).ok().stdout, "file\n");
    assert_eq!(added(sb, &container.id), ["/t", "/t/a/b"]);
}

fn cruns_file_is_read_and_a_relative_source_begins_at_the_bundle(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["pause"]).build();
    fs::create_dir(bundle.dir.join("data")).unwrap();
    let container = sb.started(&bundle);
    let file = sb.path("mounts.json");
    let list = json!([{"destination": "/m", "type": "bind", "source": "data", "options": ["bind", "ro"]}]);
    fs::write(&file, list.to_string()).unwrap();
    sb.call(["mounts", "add", &container.id]).arg(&file).output().ok();
    let mount = at(sb, &container.id, "/m").unwrap();
    assert_eq!(mount["source"], bundle.dir.join("data").to_str().unwrap());
    sb.call(["mounts", "remove", &container.id]).arg(&file).output().ok();
    assert!(at(sb, &container.id, "/m").is_none());
}

fn all_or_none_is_mounted(sb: &Sandbox) {
    let container = waiting(sb);
    let before = places(&container);
    // The third one fails when the others are mounted: its target is a file.
    let list = json!([tmpfs("/a"), tmpfs("/b"), tmpfs("/bin/probe")]);
    add_list(sb, &container.id, list).fails_with(&["[2]", "Not a directory"]);
    assert_eq!(places(&container), before);
    assert!(added(sb, &container.id).is_empty());
}

fn a_created_container_has_its_mounts_when_it_starts(sb: &Sandbox) {
    sb.needs_root();
    let source = sb.tree("source", &[("file", "for the start")]);
    for user_namespace in [false, true] {
        let bundle = sb.bundle().tool(["cat", "/m/file"]);
        let bundle = if user_namespace { bundle.user_namespace() } else { bundle };
        let container = sb.create(&bundle.build());
        add(sb, &container.id, &[&format!("source={},target=/m,ro", source.display())]).ok();
        assert_eq!(container.status(), "created");
        container.start();
        container.wait();
        assert_eq!(container.output(), "for the start");
    }
}

fn an_ordinary_user_s_container_gets_mounts_when_its_program_runs(sb: &Sandbox) {
    if nix::unistd::geteuid().is_root() {
        crate::harness::skip("it is about an ordinary user");
    }
    let container = sb.create(&sb.bundle().tool(["pause"]).build());
    let early = add(sb, &container.id, &["type=tmpfs,target=/m"]);
    early.fails_with(&["linux.namespaces", "not before `start`"]);
    container.start();
    crate::killing::wait_until("its program runs", || add(sb, &container.id, &["type=tmpfs,target=/m"]).code == 0);
    remove(sb, &container.id, &["/m"]).ok();
}

fn a_paused_container_gets_mounts(sb: &Sandbox) {
    sb.needs_root();
    let container = waiting(sb);
    container.verb("pause").ok();
    add(sb, &container.id, &["type=tmpfs,target=/m"]).ok();
    remove(sb, &container.id, &["/m"]).ok();
    add(sb, &container.id, &["type=tmpfs,target=/m"]).ok();
    assert_eq!(container.status(), "paused");
    container.verb("resume").ok();
    assert_eq!(exec(sb, &container.id, &[], &["ls", "/m"]).ok().stdout, "");
}

fn a_stopped_container_and_an_unknown_one_are_refused(sb: &Sandbox) {
    let container = waiting(sb);
    container.stop();
    add(sb, &container.id, &["type=tmpfs,target=/m"]).fails_with(&["container not running"]);
    remove(sb, &container.id, &["/m"]).fails_with(&["container not running"]);
    sb.call(["mounts", "list", &container.id]).output().fails_with(&["container not running"]);
    add(sb, "nobody", &["type=tmpfs,target=/m"]).fails_with(&["container does not exist"]);
}

fn a_missing_target_on_a_read_only_root_is_told_with_a_way_out(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().set("/root/readonly", true).tool(["pause"]).build());
    let missing = add(sb, &container.id, &["type=tmpfs,target=/missing"]);
    missing.fails_with(&["--mount", "Read-only file system", "root.readonly", "choose one that exists"]);
    add(sb, &container.id, &["type=tmpfs,target=/tmp", "type=tmpfs,target=/tmp/made"]).ok();
}

/// The mounts of the suite's own namespace that have to do with this sandbox.
fn on_the_host(sb: &Sandbox) -> Vec<String> {
    let (text, dir) = (fs::read_to_string("/proc/self/mountinfo").unwrap(), sb.dir().display().to_string());
    text.lines().filter(|line| line.contains(&dir)).map(str::to_owned).collect()
}

/// A tmpfs that is known by its source.
fn named(sb: &Sandbox, target: &str) -> String {
    format!("type=tmpfs,source={},target={target}", sb.dir().display())
}

fn a_container_without_mounts_of_its_own_is_refused(sb: &Sandbox) {
    sb.needs_root();
    let bundle = sb.bundle().without_namespace("mount").set("/mounts", json!([])).tool(["pause"]);
    let container = sb.started(&bundle.build());
    let before = on_the_host(sb);
    for output in [add(sb, &container.id, &[&named(sb, "/tmp")]), remove(sb, &container.id, &["--any", "/proc"])] {
        output.fails_with(&["linux.namespaces", "would be the host's"]);
    }
    assert_eq!(on_the_host(sb), before);
}

fn a_container_in_the_host_s_mount_namespace_is_refused(sb: &Sandbox) {
    sb.needs_root();
    let container = waiting(sb);
    let own = std::process::id();
    let config = sb.state_root().join(&container.id).join("config.json");
    let mut json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&config).unwrap()).unwrap();
    json["linux"]["namespaces"] = json!([{"type": "mount", "path": format!("/proc/{own}/ns/mnt")}]);
    // The init is one of the host's mount namespace now, as far as the record goes.
    let state = sb.state_root().join(&container.id).join("state.json");
    let mut record: serde_json::Value = serde_json::from_str(&fs::read_to_string(&state).unwrap()).unwrap();
    let stat = fs::read_to_string(format!("/proc/{own}/stat")).unwrap();
    let started: u64 = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
    let kept = record["init"].clone();
    record["init"] = json!({"pid": own, "start_time": started});
    fs::write(&config, json.to_string()).unwrap();
    fs::write(&state, record.to_string()).unwrap();
    let before = on_the_host(sb);
    add(sb, &container.id, &[&named(sb, "/tmp")]).fails_with(&["would be the host's"]);
    assert_eq!(on_the_host(sb), before);
    record["init"] = kept;
    fs::write(&state, record.to_string()).unwrap();
}

fn who_has_joined_the_mounts_of_another_shares_what_is_added(sb: &Sandbox) {
    sb.needs_root();
    let donor = waiting(sb);
    let path = format!("/proc/{}/ns/mnt", donor.pid());
    // The donor's root is its own; the bundle is found from there.
    let config =
        sb.bundle().namespace("mount", Some(&path)).tool(["pause"]).set("/root/path", "/").set("/mounts", json!([]));
    let created = sb.call(["create", "--bundle"]).arg(&config.build().dir).arg("joined").output();
    if created.code != 0 {
        crate::harness::skip(format!("joining another's mounts fails: {}", created.stderr));
    }
    sb.call(["start", "joined"]).output().ok();
    let output = add(sb, "joined", &["type=tmpfs,target=/shared"]);
    assert!(output.ok().stderr.contains("others, who see the same mounts"), "{}", output.stderr);
    assert!(places(&donor).contains(&"/shared".to_owned()));
    remove(sb, "joined", &["/shared"]).ok();
    sb.call(["delete", "--force", "joined"]).output().ok();
}

/// An init that changes its root, as that of a system in a container may.
fn a_mount_that_the_init_can_t_see_is_refused(sb: &Sandbox) {
    sb.needs_root();
    let bundle = sb.bundle().busybox().capabilities(&["CAP_SYS_CHROOT"]).dir("/new/bin").dir("/new/proc");
    fs::hard_link(sb.probe_binary(), bundle.in_rootfs("/new/bin/probe")).unwrap();
    let script = "echo moved; exec busybox chroot /new /bin/probe probe -- echo there ';' pause";
    let container = sb.started(&bundle.args(["sh", "-c", script]).build());
    crate::killing::wait_until("the init has its new root", || container.output().contains("there"));
    let before = fs::read_to_string(format!("/proc/{}/mountinfo", container.pid())).unwrap();
    let refused = add(sb, &container.id, &["type=tmpfs,target=/m"]);
    if refused.code == 0 {
        // Who can't tell leaves it out of the record.
        crate::harness::skip("this kernel can't tell where a mount is (before Linux 6.11)");
    }
    refused.fails_with(&["another root directory"]);
    assert_eq!(fs::read_to_string(format!("/proc/{}/mountinfo", container.pid())).unwrap(), before);
    assert_eq!(
        exec(sb, &container.id, &[], &["statfs", "/m"]).ok().stdout,
        exec(sb, &container.id, &[], &["statfs", "/"]).stdout
    );
}

fn what_can_t_be_is_told_with_its_place(sb: &Sandbox) {
    let container = waiting(sb);
    let file = sb.path("m.json");
    for (text, fragments) in [
        ("{}", &["m.json", "must be an array"][..]),
        ("[\n{\"destination\": 7}]", &["[0].destination", "m.json line 2"]),
        (
            "[{\"destination\": \"/a\",\n\"type\": \"bind\"}]",
            &["[0].source", "is required for a bind mount", "m.json line 1"],
        ),
        ("[{\"destination\": \"/\", \"type\": \"tmpfs\"}]", &["[0].destination", "root file system"]),
        ("[{\"destination\": \"/proc/kcore\", \"type\": \"tmpfs\"}]", &["inside /proc"]),
        (
            "[{\"destination\": \"/a\", \"type\": \"bind\",\n\"source\": \"/nonexist\"}]",
            &["[0].source", "No such file", "m.json line 2"],
        ),
        (
            "[{\"destination\": \"/proc\", \"options\": [\"remount\", \"ro\"]}]",
            &["[0].options", "couldn't be taken back"],
        ),
        (
            "[{\"destination\": \"/a\", \"type\": \"bind\", \"source\": \"/etc\", \"options\": [\"nosiud\"]}]",
            &["options[0]", "nosiud"],
        ),
    ] {
        fs::write(&file, text).unwrap();
        let output = sb.call(["mounts", "add", &container.id]).arg(&file).output();
        output.fails_with(fragments);
    }
    add(sb, &container.id, &["type=tmpfs,target=/a,sizze=1m"]).fails_with(&["--mount", "sizze"]);
    sb.call(["mounts", "add", &container.id]).output().fails_with(&["takes one file, or any number of --mount"]);
    assert!(added(sb, &container.id).is_empty());
}

fn flags_of_the_host_stay_locked_in_a_user_namespace(sb: &Sandbox) {
    sb.needs_root();
    let source = sb.tree("source", &[("file", "host")]);
    sb.mount(source.to_str().unwrap(), &source, None, MsFlags::MS_BIND, "");
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    nix::mount::mount(None::<&str>, &source, None::<&str>, flags, None::<&str>).unwrap();
    let container = sb.started(&strong(sb.bundle().user_namespace()).build());
    let bind = |target: &str| format!("source={},target={target}", source.display());
    add(sb, &container.id, &[&bind("/m")]).ok();
    // A mount that isn't locked can be made writable, which shows that the tools would do it.
    let plain = sb.tree("plain", &[("file", "")]);
    add(sb, &container.id, &[&format!("source={},target=/plain,ro", plain.display())]).ok();
    let caps = ["--cap", "CAP_SYS_ADMIN"];
    let tools = ["try", "thaw", "/m", ";", "try", "remount", "/m", ";", "try", "thaw", "/plain"];
    assert_eq!(exec(sb, &container.id, &caps, &tools).ok().stdout, "EPERM\nEPERM\nok\n");
    let refused = add(sb, &container.id, &[&format!("{},rw", bind("/n"))]);
    refused.fails_with(&["--mount", "may not clear"]);
    let options = words(&at(sb, &container.id, "/m").unwrap()["options"]);
    assert!(["ro", "nosuid", "nodev"].iter().all(|flag| options.contains(&flag.to_string())), "{options:?}");
}

fn the_list_tells_what_was_added(sb: &Sandbox) {
    let source = sb.tree("source", &[("file", "")]);
    let container = waiting(sb);
    let own = sb.call(["mounts", "list", &container.id]).output();
    assert!(own.ok().lines()[0].starts_with("TARGET"), "{}", own.stdout);
    assert!(!own.stdout.contains("yes"));
    add(sb, &container.id, &[&format!("source={},target=/m,ro", source.display())]).ok();
    let table = sb.call(["mounts", "list", &container.id]).output();
    let row = table.ok().lines().into_iter().find(|row| row.starts_with("/m ")).unwrap().to_owned();
    assert!(row.contains(source.to_str().unwrap()) && row.ends_with("yes"), "{row}");
    let mount = at(sb, &container.id, "/m").unwrap();
    assert_eq!((&mount["added"], &mount["asked"]["type"]), (&json!(true), &json!("bind")));
    assert_eq!(at(sb, &container.id, "/proc").unwrap()["added"], false);
    sb.call(["mounts", "list", "--format", "xml", &container.id]).output().fails_with(&["invalid format option"]);
}

fn nothing_of_it_appears_on_the_host(sb: &Sandbox) {
    sb.needs_root();
    let shared = sb.tmpfs("shared");
    nix::mount::mount(None::<&str>, &shared, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    let before = on_the_host(sb);
    let container = waiting(sb);
    // Neither the mount itself nor what is mounted on it inside.
    add(sb, &container.id, &[&format!("source={},target=/m", shared.display())]).ok();
    add(sb, &container.id, &[&named(sb, "/m/inside")]).ok();
    assert_eq!(on_the_host(sb), before);
}

fn what_is_shared_with_the_host_reaches_it_where_the_config_says_so(sb: &Sandbox) {
    sb.needs_root();
    let shared = sb.tmpfs("shared");
    nix::mount::mount(None::<&str>, &shared, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    let container = sb.started(&sb.bundle().set("/linux/rootfsPropagation", "rshared").tool(["pause"]).build());
    add(sb, &container.id, &[&format!("source={},target=/m,rshared", shared.display())]).ok();
    add(sb, &container.id, &["type=tmpfs,target=/m/inside"]).ok();
    let inside = shared.join("inside").display().to_string();
    let arrived = || on_the_host(sb).iter().any(|line| line.contains(&inside));
    assert!(arrived());
    remove(sb, &container.id, &["/m/inside"]).ok();
    assert!(!arrived());
}

fn without_mount_setattr_nothing_is_protected_too_late(sb: &Sandbox) {
    sb.needs_root();
    let source = sb.tree("source", &[("file", "")]);
    let container = waiting(sb);
    let before = places(&container);
    let lacking = |mount: &str, what: &str| {
        let call = sb.call(["mounts", "add", &container.id, "--mount", mount]);
        call.global(&["--pretend-kernel-lacks", what]).output()
    };
    for options in ["ro", "rro", "rslave", "bind"] {
        for (from, to) in [("", "/m"), ("/file", "/etc/file")] {
            let refused = lacking(&format!("source={}{from},target={to},{options}", source.display()), "mount_setattr");
            refused.fails_with(&["--mount", "mount_setattr", "Linux 5.12", "config.json"]);
        }
    }
    assert_eq!(places(&container), before);
    lacking("type=tmpfs,target=/t,ro,nosuid", "mount_setattr").ok();
    lacking("type=proc,target=/p", "mount_setattr").ok();
    assert_eq!(exec(sb, &container.id, &[], &["try", "write", "/t/x", ""]).ok().stdout, "EROFS\n");
    let refused = lacking("type=tmpfs,target=/n", "new_mount_api");
    refused.fails_with(&["--mount", "Function not implemented", "seccomp filter around corten"]);
    remove(sb, &container.id, &["/t", "/p"]).ok();
}

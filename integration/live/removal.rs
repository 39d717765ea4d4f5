//! What is taken off again: only what was added, whatever the container does with its mounts meanwhile.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::{add, added, at, places, remove, strong};
use crate::exec::{exec, waiting};
use crate::harness::{Case, Container, Sandbox, cases, skip};

pub const CASES: &[Case] = cases![anyone:
    what_was_added_goes_and_a_second_time_there_is_nothing,
    of_two_at_one_place_the_last_goes_first,
    a_file_on_a_file_and_what_is_mounted_below_go_as_well,
    a_list_names_the_places_and_a_line_what_is_wrong,
    a_mount_of_the_config_stays_unless_it_is_asked_for,
    what_the_container_has_mounted_over_it_is_not_taken_off,
    one_that_the_container_has_moved_is_found,
    one_that_the_container_has_unmounted_is_forgotten,
    all_or_none_goes,
    what_is_nested_stacked_or_named_twice_goes_at_once,
    with_any_a_stale_record_is_in_nobody_s_way,
    what_the_container_s_root_may_not_search_goes_as_well,
    a_file_of_the_host_has_no_say_in_what_is_meant,
    what_is_locked_stays_and_is_said_to,
    a_deleted_container_takes_its_mounts_along,
];

/// A container that may mount, in a user namespace where that takes one.
fn mounting(sb: &Sandbox) -> Container<'_> {
    sb.started(&strong(sb.bundle().dir("/m").dir("/other")).build())
}

/// Has the container itself use its rights.
#[track_caller]
fn within(sb: &Sandbox, container: &Container, tools: &[&str]) {
    exec(sb, &container.id, &["--cap", "CAP_SYS_ADMIN"], tools).ok();
}

fn what_was_added_goes_and_a_second_time_there_is_nothing(sb: &Sandbox) {
    let container = waiting(sb);
    let before = places(&container);
    add(sb, &container.id, &["type=tmpfs,target=/a", "type=tmpfs,target=/b"]).ok();
    remove(sb, &container.id, &["/b", "/./a/"]).ok();
    assert_eq!(places(&container), before);
    remove(sb, &container.id, &["/a"]).fails_with(&["TARGET", "nothing is mounted on /a"]);
    remove(sb, &container.id, &["/nowhere"]).fails_with(&["nothing is mounted on /nowhere", "mounts list"]);
}

fn of_two_at_one_place_the_last_goes_first(sb: &Sandbox) {
    let container = waiting(sb);
    let (one, two) = (sb.tree("one", &[("one", "")]), sb.tree("two", &[("two", "")]));
    for source in [&one, &two] {
        add(sb, &container.id, &[&format!("source={},target=/m", source.display())]).ok();
    }
    let shown = || exec(sb, &container.id, &[], &["ls", "/m"]).ok().stdout.clone();
    assert_eq!(shown(), "two\n");
    remove(sb, &container.id, &["/m"]).ok();
    assert_eq!(shown(), "one\n");
    remove(sb, &container.id, &["/m"]).ok();
    assert_eq!(shown(), "");
}

fn a_file_on_a_file_and_what_is_mounted_below_go_as_well(sb: &Sandbox) {
    let container = waiting(sb);
    let before = places(&container);
    let file = sb.tree("source", &[("file", "")]).join("file");
    let bind = format!("source={},target=/etc/passwd", file.display());
    add(sb, &container.id, &[&bind, "type=tmpfs,target=/a", "type=tmpfs,target=/a/b"]).ok();
    remove(sb, &container.id, &["/etc/passwd"]).ok();
    remove(sb, &container.id, &["/a"]).ok();
    assert_eq!(places(&container), before);
    assert!(added(sb, &container.id).is_empty());
}

fn a_list_names_the_places_and_a_line_what_is_wrong(sb: &Sandbox) {
    let container = waiting(sb);
    add(sb, &container.id, &["type=tmpfs,target=/a", "type=tmpfs,target=/b"]).ok();
    let file = sb.path("m.json");
    fs::write(&file, "[{\"destination\": \"/a\"},\n{\"destination\": \"/c\"}]").unwrap();
    let output = sb.call(["mounts", "remove", &container.id]).arg(&file).output();
    output.fails_with(&["[1].destination", "nothing is mounted on /c", "m.json line 2"]);
    assert_eq!(added(sb, &container.id), ["/a", "/b"]);
    let list = json!([{"destination": "/b"}, {"destination": "/a"}]).to_string();
    sb.call(["mounts", "remove", &container.id, "-"]).input(&list).output().ok();
    assert!(added(sb, &container.id).is_empty());
    remove(sb, &container.id, &["a"]).fails_with(&["JSON specification file a not found"]);
    remove(sb, &container.id, &["a", "b"]).fails_with(&["TARGET", "absolute path in the container"]);
}

fn a_mount_of_the_config_stays_unless_it_is_asked_for(sb: &Sandbox) {
    let container = waiting(sb);
    remove(sb, &container.id, &["/dev/shm"]).fails_with(&["was not added", "--any"]);
    assert!(at(sb, &container.id, "/dev/shm").is_some());
    remove(sb, &container.id, &["--any", "/dev/shm"]).ok();
    assert!(at(sb, &container.id, "/dev/shm").is_none());
    remove(sb, &container.id, &["--any", "/"]).fails_with(&["can't be unmounted"]);
}

fn what_the_container_has_mounted_over_it_is_not_taken_off(sb: &Sandbox) {
    let container = mounting(sb);
    add(sb, &container.id, &["type=tmpfs,target=/m"]).ok();
    within(sb, &container, &["mount", "cover", "/m", "tmpfs"]);
    let before = places(&container);
    remove(sb, &container.id, &["/m"]).fails_with(&["TARGET", "/m", "mounted over it"]);
    assert_eq!(places(&container), before);
    within(sb, &container, &["umount", "/m"]);
    remove(sb, &container.id, &["/m"]).ok();
    assert!(at(sb, &container.id, "/m").is_none());
}

fn one_that_the_container_has_moved_is_found(sb: &Sandbox) {
    let container = sb.started(&strong(sb.bundle().busybox().dir("/m").dir("/other")).build());
    let before = places(&container);
    for name in ["/m", "/other"] {
        add(sb, &container.id, &["type=tmpfs,target=/m"]).ok();
        let call = sb.call([
            "exec",
            "--cap",
            "CAP_SYS_ADMIN",
            &container.id,
            "/bin/busybox",
            "mount",
            "--move",
            "/m",
            "/other",
        ]);
        call.output().ok();
        // What is in its place now isn't it.
        within(sb, &container, &["mount", "own", "/m", "tmpfs"]);
        assert_eq!(added(sb, &container.id), ["/other"]);
        remove(sb, &container.id, &[name]).ok();
        within(sb, &container, &["umount", "/m"]);
        assert_eq!(places(&container), before);
    }
}

fn one_that_the_container_has_unmounted_is_forgotten(sb: &Sandbox) {
    let container = mounting(sb);
    let before = places(&container);
    add(sb, &container.id, &["type=tmpfs,target=/m"]).ok();
    let record = fs::read_to_string(sb.state_root().join(&container.id).join("mounts.json")).unwrap();
    if !record.contains("\"unique\"") {
        skip("this kernel gives the numbers of mounts again (before Linux 6.8)");
    }
    within(sb, &container, &["umount", "/m"]);
    assert!(added(sb, &container.id).is_empty());
    // What it has mounted there itself is its own.
    within(sb, &container, &["mount", "own", "/m", "tmpfs"]);
    let output = remove(sb, &container.id, &["/m"]);
    assert!(output.ok().stderr.contains("unmounted /m already"), "{}", output.stderr);
    assert_eq!(places(&container).len(), before.len() + 1);
    remove(sb, &container.id, &["/m"]).fails_with(&["was not added"]);
}

fn all_or_none_goes(sb: &Sandbox) {
    let container = mounting(sb);
    add(sb, &container.id, &["type=tmpfs,target=/a", "type=tmpfs,target=/m"]).ok();
    within(sb, &container, &["mount", "cover", "/m", "tmpfs"]);
    let before = places(&container);
    remove(sb, &container.id, &["/a", "/m"]).fails();
    assert_eq!(places(&container), before);
    assert_eq!(added(sb, &container.id), ["/a", "/m"]);
}

fn a_deleted_container_takes_its_mounts_along(sb: &Sandbox) {
    let source = sb.tree("source", &[("file", "")]);
    let container = waiting(sb);
    add(sb, &container.id, &[&format!("source={},target=/m", source.display())]).ok();
    container.stop();
    sb.call(["delete", &container.id]).output().ok();
    assert!(source.join("file").exists());
    sb.assert_nothing_left();
}

fn what_is_nested_stacked_or_named_twice_goes_at_once(sb: &Sandbox) {
    let container = waiting(sb);
    let before = places(&container);
    let all = ["type=tmpfs,target=/t", "type=tmpfs,target=/t/b", "type=tmpfs,target=/m", "type=tmpfs,target=/m"];
    for targets in [["/t", "/t/b", "/m", "/m"], ["/m", "/t/b", "/t", "/m"]] {
        add(sb, &container.id, &all).ok();
        remove(sb, &container.id, &targets).ok();
        assert_eq!(places(&container), before);
        assert!(added(sb, &container.id).is_empty());
    }
    // One at a place that something is mounted over afterwards.
    add(sb, &container.id, &["type=tmpfs,target=/t/b"]).ok();
    add(sb, &container.id, &["type=tmpfs,target=/t"]).ok();
    remove(sb, &container.id, &["/t/b", "/t"]).ok();
    assert_eq!(places(&container), before);
    remove(sb, &container.id, &["--any", "/dev/shm", "/dev/./shm"]).ok();
    assert_eq!(places(&container).len(), before.len() - 1);
}

fn with_any_a_stale_record_is_in_nobody_s_way(sb: &Sandbox) {
    let container = mounting(sb);
    let before = places(&container);
    add(sb, &container.id, &["type=tmpfs,target=/m"]).ok();
    within(sb, &container, &["umount", "/m"]);
    within(sb, &container, &["mount", "own", "/m", "tmpfs"]);
    remove(sb, &container.id, &["--any", "/m"]).ok();
    assert_eq!(places(&container), before);
    remove(sb, &container.id, &["/m"]).fails_with(&["nothing is mounted"]);
}

fn what_the_container_s_root_may_not_search_goes_as_well(sb: &Sandbox) {
    sb.needs_root();
    let secret = sb.tree("secret", &[("file", "")]);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
    let container = sb.started(&sb.bundle().user_namespace().tool(["pause"]).build());
    let before = places(&container);
    let bind = format!("source={},target=/m", secret.display());
    add(sb, &container.id, &[&bind]).ok();
    remove(sb, &container.id, &["/m"]).ok();
    assert_eq!(places(&container), before);
    // The second one fails, and the first is taken back.
    add(sb, &container.id, &[&bind, "type=tmpfs,target=/bin/probe/below"]).fails();
    assert_eq!(places(&container), before);
}

/// What a user namespace gets in one piece stays in one.
fn what_is_locked_stays_and_is_said_to(sb: &Sandbox) {
    sb.needs_root();
    let below = sb.tmpfs("tree");
    fs::create_dir(below.join("sub")).unwrap();
    sb.mount("sub", &below.join("sub"), Some("tmpfs"), nix::mount::MsFlags::empty(), "");
    let container = sb.started(&strong(sb.bundle().user_namespace()).build());
    add(sb, &container.id, &[&format!("source={},target=/m,rbind", below.display())]).ok();
    let before = places(&container);
    remove(sb, &container.id, &["--any", "/m/sub"]).fails_with(&["TARGET", "/m/sub", "locked"]);
    assert_eq!(places(&container), before);
    remove(sb, &container.id, &["/m"]).ok();
    assert_eq!(places(&container).len(), before.len() - 2);
}

fn a_file_of_the_host_has_no_say_in_what_is_meant(sb: &Sandbox) {
    let list = sb.path("list.json");
    fs::write(&list, "[{\"destination\": \"/a\"}]").unwrap();
    let list = list.to_str().unwrap();
    let bundle = sb.bundle().mount(json!({"destination": list, "type": "tmpfs", "source": "tmpfs"}));
    let container = sb.started(&bundle.tool(["pause"]).build());
    add(sb, &container.id, &["type=tmpfs,target=/a"]).ok();
    remove(sb, &container.id, &[list]).fails_with(&["TARGET", "was not added"]);
    assert_eq!(added(sb, &container.id), ["/a"]);
    remove(sb, &container.id, &["--any", list]).ok();
    // Nothing is there any more.
    remove(sb, &container.id, &[list]).ok();
    assert!(added(sb, &container.id).is_empty());
}

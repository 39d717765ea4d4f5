//! Idmapped mounts: who owns what is seen and made through one, from inside and from the host, in a user namespace and
//! without; what can't be mapped.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::mount::MsFlags;
use serde_json::{Value, json};

use crate::harness::{Case, Flavour, Sandbox, cases, skip};

pub const CASES: &[Case] = cases![
    what_is_made_through_the_mount_belongs_to_the_mapped_owner,
    an_id_outside_of_the_mount_s_map_makes_nothing,
    a_read_only_mapped_mount_is_both,
    a_directory_with_mounts_below_can_be_mapped_alone,
    mounts_below_are_mapped_in_a_user_namespace_too,
    the_map_of_a_joined_user_namespace_is_asked_of_it,
    a_new_file_system_can_be_mapped,
    the_source_s_own_mount_stays_as_it_is,
    a_file_system_that_can_not_be_mapped_is_told,
    a_kernel_without_mount_setattr_is_told,
];

fn only_with_idmapped_mounts(sb: &Sandbox) {
    if sb.flavour() != Flavour::Corten {
        skip("only corten maps every mount");
    }
}

/// A bind whose ids 0 to 9 in the file system are 5000 to 5009 in the mount.
fn mapped(source: &Path, destination: &str, options: &[&str]) -> Value {
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
    json!({"destination": destination, "type": "bind", "source": source, "options": options,
        "uidMappings": map, "gidMappings": map})
}

fn owner(path: impl AsRef<Path>) -> (u32, u32) {
    let meta = fs::metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

fn open_to_all(dir: &Path) {
    fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
}

fn what_is_made_through_the_mount_belongs_to_the_mapped_owner(sb: &Sandbox) {
    only_with_idmapped_mounts(sb);
    let source = sb.tree("source", &[]);
    open_to_all(&source);
    let bundle = sb.bundle().mount(mapped(&source, "/m", &["bind"]));
    let bundle = bundle.set("/process/user", json!({"uid": 5003, "gid": 5004}));
    let output = sb.run(&bundle.tool(["write", "/m/new", "x", ";", "stat", "/m/new"]).build());
    assert!(output.ok().stdout.contains(" 5003 5004 "), "{}", output.stdout);
    assert_eq!(owner(source.join("new")), (3, 4));
}

fn an_id_outside_of_the_mount_s_map_makes_nothing(sb: &Sandbox) {
    only_with_idmapped_mounts(sb);
    let source = sb.tree("source", &[]);
    open_to_all(&source);
    let bundle = sb.bundle().mount(mapped(&source, "/m", &["bind"]));
    let bundle = bundle.set("/process/user", json!({"uid": 77, "gid": 77}));
    let output = sb.run(&bundle.tool(["try", "write", "/m/new", "x"]).build());
    assert_eq!(output.ok().stdout, "EOVERFLOW\n");
    assert!(!source.join("new").exists());
}

fn a_read_only_mapped_mount_is_both(sb: &Sandbox) {
    only_with_idmapped_mounts(sb);
    let source = sb.tree("source", &[("file", "")]);
    let tools = ["stat", "/m/file", ";", "try", "write", "/m/file", "x"];
    let output = sb.run(&sb.bundle().mount(mapped(&source, "/m", &["bind", "ro"])).tool(tools).build());
    let lines = output.ok().lines();
    assert!(lines[0].contains(" 5000 5000 "), "{lines:?}");
    assert_eq!(lines[1], "EROFS");
}

/// A directory with another one mounted below it, both of the sandbox's own file system.
fn with_a_mount_below(sb: &Sandbox) -> std::path::PathBuf {
    let (top, other) = (sb.tree("top", &[("file", ""), ("sub/", "")]), sb.tree("other", &[("file", "")]));
    sb.mount(other.to_str().unwrap(), &top.join("sub"), None, MsFlags::MS_BIND, "");
    top
}

fn a_directory_with_mounts_below_can_be_mapped_alone(sb: &Sandbox) {
    only_with_idmapped_mounts(sb);
    let top = with_a_mount_below(sb);
    let bundle = sb.bundle().user_namespace().bind(&top, "/m", &["idmap"]);
    let output = sb.run(&bundle.tool(["stat", "/m/file", ";", "ls", "/m/sub"]).build());
    let lines = output.ok().lines();
    assert!(lines[0].starts_with("file 0644 0 0 "), "{lines:?}");
    // What is mounted on the host isn't part of it.
    assert_eq!(lines.len(), 1, "{lines:?}");
}

fn mounts_below_are_mapped_in_a_user_namespace_too(sb: &Sandbox) {
    only_with_idmapped_mounts(sb);
    let top = with_a_mount_below(sb);
    let bind = |to: &str, option: &str| json!({"destination": to, "type": "bind", "source": top, "options": ["rbind", option]});
    let bundle = sb.bundle().user_namespace().mount(bind("/one", "idmap")).mount(bind("/all", "ridmap"));
    let output = sb.run(&bundle.tool(["stat", "/one/file", "/one/sub/file", "/all/sub/file"]).build());
    let lines = output.ok().lines();
    let owners: Vec<String> =
        lines.iter().map(|line| line.split(' ').skip(2).take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(owners, ["0 0", "65534 65534", "0 0"]);
}

fn the_map_of_a_joined_user_namespace_is_asked_of_it(sb: &Sandbox) {
    only_with_idmapped_mounts(sb);
    let source = sb.tree("source", &[("file", "")]);
    let donor = sb.started(&sb.bundle().user_namespace().tool(["pause"]).build());
    let path = format!("/proc/{}/ns/user", donor.pid());
    // With the maps in the config and without.
    let without = sb.bundle().owned_by(100_000).namespace("user", Some(&path));
    let with = sb.bundle().user_namespace().namespace("user", Some(&path));
    for (name, bundle) in [("a", without), ("b", with)] {
        let new = format!("/m/{name}");
        let bundle = bundle.bind(&source, "/m", &["idmap"]).tool(["stat", "/m/file", ";", "write", &new, ""]);
        let output = sb.run(&bundle.build());
        assert!(output.ok().stdout.starts_with("file 0644 0 0 "), "{}", output.stdout);
        assert_eq!(owner(source.join(name)), (0, 0));
    }
}

fn a_new_file_system_can_be_mapped(sb: &Sandbox) {
    only_with_idmapped_mounts(sb);
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
    let mount =
        json!({"destination": "/m", "type": "tmpfs", "source": "tmpfs", "uidMappings": map, "gidMappings": map});
    let output = sb.run(&sb.bundle().mount(mount).tool(["stat", "/m"]).build());
    match output.code {
        0 => assert!(output.stdout.contains(" 5000 5000 "), "{}", output.stdout),
        // A tmpfs takes a map since Linux 6.3.
        _ => output.fails_with(&["mounts[6]", "Invalid argument"]),
    }
}

fn the_source_s_own_mount_stays_as_it_is(sb: &Sandbox) {
    only_with_idmapped_mounts(sb);
    let source = sb.tree("source", &[("file", "")]);
    let plain = json!({"destination": "/plain", "type": "bind", "source": source, "options": ["bind"]});
    let bundle = sb.bundle().mount(mapped(&source, "/m", &["bind"])).mount(plain);
    let output = sb.run(&bundle.tool(["stat", "/m/file", "/plain/file"]).build());
    let lines = output.ok().lines();
    assert!(lines[0].contains(" 5000 5000 ") && lines[1].contains(" 0 0 "), "{lines:?}");
    assert_eq!(owner(source.join("file")), (0, 0));
}

fn a_file_system_that_can_not_be_mapped_is_told(sb: &Sandbox) {
    only_with_idmapped_mounts(sb);
    let output = sb.run(&sb.bundle().mount(mapped("/sys/kernel".as_ref(), "/m", &["bind"])).build());
    output.fails_with(&["mounts[6]", "mount_setattr", "doesn't support idmapped mounts", "findmnt"]);
    sb.assert_nothing_left();
}

fn a_kernel_without_mount_setattr_is_told(sb: &Sandbox) {
    only_with_idmapped_mounts(sb);
    let source = sb.tree("source", &[]);
    let bundle = sb.bundle().mount(mapped(&source, "/m", &["bind"])).build();
    let output = sb.run_with(&bundle, |call| call.global(&["--pretend-kernel-lacks", "mount_setattr"]));
    output.fails_with(&["mounts[6]", "Linux 5.12"]);
    sb.assert_nothing_left();
}

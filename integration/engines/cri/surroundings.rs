//! What a container sees: its root, mounts, devices, and what it may do.

use std::fs;

use serde_json::{Value, json};

use super::{Pod, security};
use crate::containerd::{PRIVILEGED, privileged};
use crate::scenario::{Scenario, World, scenarios, skip};

pub const SCENARIOS: &[Scenario] = scenarios![
    a_read_only_root_refuses_writes,
    a_directory_of_the_hosts_is_shared,
    a_directory_can_be_shared_read_only,
    a_mount_on_the_host_comes_along_when_asked,
    without_capabilities_nothing_may_be_done,
    a_capability_can_be_added,
    the_default_seccomp_profile_is_in_force,
    the_seccomp_profile_can_be_left_away,
    a_seccomp_profile_of_the_users_is_in_force,
    privileges_cannot_be_gained_when_asked,
    paths_are_masked_and_read_only_as_asked,
    a_device_can_be_handed_in,
    a_device_can_be_handed_in_to_be_read,
    a_device_that_was_not_handed_in_is_refused,
    a_privileged_container_may_do_all,
    a_control_group_namespace_hides_the_path,
];

fn output(name: &str, more: Value, script: &str) -> String {
    Pod::start(name).output(name, more, script)
}

fn a_read_only_root_refuses_writes(_: &World) {
    let context = security(json!({"readonly_rootfs": true}));
    let said = output("readonly", context, "touch /new 2>&1; echo ok >/dev/shm/new && cat /dev/shm/new");
    assert!(said.contains("Read-only file system") && said.ends_with("ok"), "{said}");
}

fn shared(more: Value) -> Value {
    fs::create_dir_all("/var/tmp/shared").expect("a directory");
    let mut mount = json!({"container_path": "/data", "host_path": "/var/tmp/shared"});
    super::merge(&mut mount, more);
    json!({"mounts": [mount]})
}

fn a_directory_of_the_hosts_is_shared(_: &World) {
    output("shared", shared(json!({})), "echo from inside >/data/file");
    assert_eq!(fs::read_to_string("/var/tmp/shared/file").expect("the file"), "from inside\n");
}

fn a_directory_can_be_shared_read_only(_: &World) {
    let said =
        output("ro", shared(json!({"readonly": true})), "touch /data/new 2>&1; grep ' /data ' /proc/self/mounts");
    assert!(said.contains("Read-only file system") && said.contains(" ro,"), "{said}");
}

/// `HostToContainer` of Kubernetes (CRI's PROPAGATION_HOST_TO_CONTAINER).
fn a_mount_on_the_host_comes_along_when_asked(_: &World) {
    let place = "/var/tmp/propagated";
    fs::create_dir_all(place).expect("a directory");
    let sh = |line: &str| crate::call::call(&["sh", "-c", line]).good();
    sh(&format!("mount --bind {place} {place} && mount --make-shared {place} && mkdir -p {place}/below"));
    let pod = Pod::start("propagated");
    let mounts = json!({"mounts": [{"container_path": "/data", "host_path": place, "propagation": 1}]});
    let container = pod.run("propagated", mounts, "echo ready; sleep 100");
    container.until_it_says("ready");
    sh(&format!("mount -t tmpfs late {place}/below && echo late >{place}/below/file"));
    let said = container.exec(&["--sync"], "cat /data/below/file");
    sh(&format!("umount {place}/below && umount {place}"));
    assert_eq!(said.good(), "late");
}

fn without_capabilities_nothing_may_be_done(_: &World) {
    let context = security(json!({"capabilities": {"drop_capabilities": ["ALL"]}}));
    let said = output("nocaps", context, "grep -E '^Cap(Prm|Eff|Bnd):' /proc/self/status; chown 1 /tmp 2>&1; true");
    assert_eq!(said.matches("0000000000000000").count(), 3, "{said}");
    assert!(said.contains("Operation not permitted"), "{said}");
}

fn a_capability_can_be_added(_: &World) {
    let context = security(json!({"capabilities": {"add_capabilities": ["NET_ADMIN"], "drop_capabilities": ["ALL"]}}));
    let said = output("onecap", context, "grep ^CapEff: /proc/self/status");
    assert_eq!(said, "CapEff:\t0000000000001000");
}

/// Turning off address space randomization is a personality(2) that the profile closes.
const RANDOMIZATION: &str = "grep ^Seccomp: /proc/self/status; /usr/bin/setarch -R echo open 2>&1 || echo closed";

fn the_default_seccomp_profile_is_in_force(_: &World) {
    let said = output("seccomp", security(json!({"seccomp": {"profile_type": 0}})), RANDOMIZATION);
    assert!(said.contains("Seccomp:\t2") && said.contains("closed"), "{said}");
}

fn the_seccomp_profile_can_be_left_away(_: &World) {
    let said = output("unconfined", security(json!({"seccomp": {"profile_type": 1}})), RANDOMIZATION);
    assert!(said.contains("Seccomp:\t0") && said.contains("open"), "{said}");
}

fn a_seccomp_profile_of_the_users_is_in_force(_: &World) {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]});
    fs::write("/var/tmp/profile.json", profile.to_string()).expect("a profile");
    let context = json!({"seccomp": {"profile_type": 2, "localhost_ref": "/var/tmp/profile.json"}});
    let said = output("own", security(context), "mkdir /tmp/new 2>&1; grep ^Seccomp: /proc/self/status");
    assert!(said.contains("Function not implemented") && said.contains("Seccomp:\t2"), "{said}");
}

fn privileges_cannot_be_gained_when_asked(_: &World) {
    let script = "grep ^NoNewPrivs: /proc/self/status";
    let pod = Pod::start("gain");
    assert_eq!(pod.output("gain1", security(json!({"no_new_privs": true})), script), "NoNewPrivs:\t1");
    assert_eq!(pod.output("gain2", security(json!({"no_new_privs": false})), script), "NoNewPrivs:\t0");
}

fn paths_are_masked_and_read_only_as_asked(_: &World) {
    let context =
        json!({"masked_paths": ["/proc/keys", "/etc/group", "/usr"], "readonly_paths": ["/proc/sys", "/root"]});
    let script = "wc -c </proc/keys; wc -c </etc/group; ls /usr | wc -l; touch /root/new 2>&1; echo 1 >/proc/sys/kernel/panic; true";
    let pod = Pod::start("masked");
    let container = pod.run("masked", security(context), script);
    assert_eq!(container.ended(), 0);
    let said = container.logs();
    assert!(said.starts_with("0\n0\n0\n") && said.matches("Read-only file system").count() == 2, "{said}");
}

fn device(host: &str, permissions: &str) -> Value {
    json!({"devices": [{"container_path": "/dev/thing", "host_path": host, "permissions": permissions}]})
}

fn a_device_can_be_handed_in(_: &World) {
    let script = "echo x 2>&1 >/dev/thing; ls -l /dev/thing | awk '{ print $1, $5, $6 }'";
    let pod = Pod::start("device");
    let container = pod.run("device", device("/dev/full", "rw"), script);
    container.ended();
    let said = container.logs();
    assert!(said.contains("No space left") && said.contains("1, 7"), "{said}");
}

fn a_device_can_be_handed_in_to_be_read(_: &World) {
    let script = "(: </dev/thing) && echo opened; (: >/dev/thing) 2>&1 || echo refused";
    let pod = Pod::start("reader");
    let said = pod.output("reader", device("/dev/fuse", "r"), script);
    assert!(
        said.starts_with("opened\n") && said.contains("Operation not permitted") && said.ends_with("refused"),
        "{said}"
    );
    let said = pod.output("writer", device("/dev/fuse", "rw"), script);
    assert_eq!(said, "opened");
}

fn a_device_that_was_not_handed_in_is_refused(_: &World) {
    // The node can be made (CAP_MKNOD), and not be opened.
    let context = security(json!({"capabilities": {"add_capabilities": ["MKNOD"]}}));
    let said = output("kmsg", context, "mknod /kmsg c 1 11 && cat /kmsg 2>&1 | head -n 1");
    assert!(said.contains("Operation not permitted"), "{said}");
}

fn a_privileged_container_may_do_all(_: &World) {
    let options = json!({"network": super::NODE, "pid": super::CONTAINER});
    let pod = Pod::with("privileged", security(json!({"privileged": true, "namespace_options": options})));
    assert_eq!(pod.output("privileged", security(json!({"privileged": true})), PRIVILEGED), privileged());
}

fn a_control_group_namespace_hides_the_path(_: &World) {
    let script = "cut -d: -f3 /proc/self/cgroup | sort -u; ls /sys/fs/cgroup | wc -l";
    let said = output("cgroupns", json!({}), script);
    let version_two = fs::exists("/sys/fs/cgroup/cgroup.controllers").expect("a directory");
    if !version_two {
        skip("with version 1 of control groups the engine makes no namespace for them");
    }
    assert!(said.starts_with("/\n"), "{said}");
}

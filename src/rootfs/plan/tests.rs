//! Plans as text, without root.

use serde_json::{Value, json};

use super::*;
use crate::plan;
use crate::request::Mode;

fn request() -> Request {
    Request::new("c", "/bundle", Mode::Create)
}

fn config(mounts: Value) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "mounts": mounts,
        "linux": {"namespaces": [{"type": "mount"}]}
    })
}

fn plan_with(config: &Value, host: &Host, request: &Request) -> Result<RootfsPlan, Vec<Violation>> {
    let spec = serde_json::from_value(config.clone()).unwrap();
    plan_rootfs(&spec, host, request, &[], &mut SlotCounter::default())
}

fn plan(config: &Value) -> Result<RootfsPlan, Vec<Violation>> {
    plan_with(config, &Host::fixture(), &request())
}

fn lines(steps: &[Step]) -> Vec<String> {
    let line = |step: &Step| format!("{} | {}", step.field.pointer(), plan::render(&step.op));
    steps.iter().map(line).collect()
}

fn violation(config: &Value) -> String {
    plan(config).unwrap_err().iter().map(Violation::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn the_order_of_a_docker_like_plan_is_this() {
    let mut config = config(json!([
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        {"destination": "/etc/hosts", "type": "bind", "source": "/var/lib/hosts", "options": ["rbind", "rprivate"]}
    ]));
    config["root"]["readonly"] = json!(true);
    config["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    config["linux"]["maskedPaths"] = json!(["/proc/kcore", "/proc/acpi"]);
    config["linux"]["devices"] = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]);
    let plan = plan(&config).unwrap();
    assert!(plan.host.is_empty());
    assert_eq!(
        lines(&plan.mount),
        [
            " | find this process in the host's /proc",
            " | make / rslave",
            "/root/path | bind the rootfs rootfs on itself",
            "/mounts/0 | mount proc on /proc (nosuid,nodev,noexec)",
            "/mounts/1 | mount tmpfs on /dev (nosuid,strictatime,mode=755)",
            "/mounts/2 | mount sysfs on /sys (ro,nosuid,nodev,noexec)",
            "/mounts/3 | mount tmpfs on /sys/fs/cgroup (nosuid,nodev,noexec,mode=755)",
            "/mounts/4/source | bind /var/lib/hosts on /etc/hosts",
            "/mounts/4 | attach /var/lib/hosts at /etc/hosts (rprivate)",
            " | make device /dev/null (c 1:3)",
            " | make device /dev/zero (c 1:5)",
            " | make device /dev/full (c 1:7)",
            " | make device /dev/random (c 1:8)",
            " | make device /dev/urandom (c 1:9)",
            " | make device /dev/tty (c 5:0)",
            "/linux/devices/0 | make device /dev/fuse (c 10:229)",
            " | link /dev/ptmx to pts/ptmx",
            " | link /dev/fd to /proc/self/fd",
            " | link /dev/stdin to /proc/self/fd/0",
            " | link /dev/stdout to /proc/self/fd/1",
            " | link /dev/stderr to /proc/self/fd/2",
            " | link /dev/core to /proc/kcore",
            " | open the container's /proc",
        ]
    );
    assert_eq!(lines(&plan.enter), ["/root/path | pivot_root into the rootfs"]);
    assert_eq!(
        lines(&plan.finish),
        [
            "/mounts/3 | make the mount on /sys/fs/cgroup read-only",
            "/root/readonly | make the rootfs read-only",
            "/linux/readonlyPaths/0 | make /proc/sys read-only",
            "/linux/maskedPaths/0 | mask /proc/kcore",
            "/linux/maskedPaths/1 | mask /proc/acpi",
        ]
    );
}

#[test]
fn a_read_only_tmpfs_becomes_so_last() {
    let plan = plan(&config(json!([{"destination": "/dev", "type": "tmpfs", "options": ["ro", "nosuid"]}]))).unwrap();
    assert!(lines(&plan.mount).contains(&"/mounts/0 | mount tmpfs on /dev (nosuid)".to_owned()));
    assert_eq!(lines(&plan.finish), ["/mounts/0 | make the mount on /dev read-only"]);
}

#[test]
fn a_user_namespace_takes_sources_and_devices_on_the_host() {
    let mut config = config(json!([
        {"destination": "data", "source": "./data", "options": ["bind"]},
        {"destination": "/mapped", "source": "/src", "options": ["rbind", "ridmap"]}
    ]));
    config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "user"}]);
    for kind in ["uidMappings", "gidMappings"] {
        config["linux"][kind] = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    }
    let plan = plan(&config).unwrap();
    let host = lines(&plan.host);
    assert_eq!(
        host[..5],
        [
            "/mounts/0/source | bind /bundle/data on /data",
            "/mounts/1 | make the id mappings for the mount on /mapped",
            "/mounts/1/source | bind /src on /mapped",
            "/mounts/1 | map the ids of the mount on /mapped and the mounts below it",
            " | take device /dev/null of the host (c 1:3)",
        ]
    );
    let inside = lines(&plan.mount);
    assert!(inside.contains(&" | bind device /dev/null".to_owned()));
    let of_data: Vec<_> = inside.iter().filter(|line| line.starts_with("/mounts/0")).collect();
    assert_eq!(
        of_data,
        [
            "/mounts/0/source | have the host find the sources of bind mounts here",
            "/mounts/0/source | keep the flags of /bundle/data locked",
            "/mounts/0 | attach /bundle/data at /data",
        ]
    );
    assert!(inside[2].contains("have the host find"), "before the root covers what stands at its place: {inside:?}");
    assert!(!lines(&plan.mount).iter().any(|line| line.contains("make device")));
    let rootless = Host { euid: 1000, ..Host::fixture() };
    config["mounts"].as_array_mut().unwrap().pop();
    let plan = plan_with(&config, &rootless, &request()).unwrap();
    assert!(plan.host.is_empty(), "a caller without privileges opens its sources inside");
}

#[test]
fn no_pivot_hides_the_hosts_filesystems_before_it_moves_the_root() {
    let request = Request { no_pivot: true, ..request() };
    let mut config = config(json!([]));
    let plan = plan_with(&config, &Host::fixture(), &request).unwrap();
    assert_eq!(
        lines(&plan.enter),
        [
            "--no-pivot | unmount or cover the host's procfs and sysfs",
            "--no-pivot | move the rootfs over / and chroot into it"
        ]
    );
    config["linux"]["rootfsPropagation"] = json!("rprivate");
    let violations = plan_with(&config, &Host::fixture(), &request).unwrap_err();
    assert!(violations[0].why.contains("not safe without pivot_root"));
}

#[test]
fn shared_propagation_makes_the_parent_private_and_the_root_shared() {
    let mut config = config(json!([]));
    config["linux"]["rootfsPropagation"] = json!("rshared");
    let plan = plan(&config).unwrap();
    assert_eq!(
        lines(&plan.mount)[1..3].to_vec(),
        ["/linux/rootfsPropagation | make / rshared", "/linux/rootfsPropagation | make the mount below rootfs private"]
    );
    assert_eq!(lines(&plan.enter)[1], "/linux/rootfsPropagation | make the rootfs rshared");
}

#[test]
fn an_option_that_a_bind_mount_cannot_have_is_named() {
    let text = violation(&config(json!([
        {"destination": "/a", "source": "/b", "options": ["bind", "ro", "nosuidd", "mode", "fd=3"]}
    ])));
    assert!(text.contains("mounts[0].options[2]: bind mounts cannot have any filesystem-specific options applied"));
    assert!(text.contains("nosuidd") && text.contains("\"mode\"") && text.contains("fd=3"), "{text}");
}

#[test]
fn every_violation_is_reported_and_not_just_the_first() {
    let mut config = config(json!([
        {"destination": "/", "type": "tmpfs"},
        {"destination": "/proc", "type": "tmpfs"},
        {"destination": "/proc/sys/kernel", "source": "/x", "options": ["bind"]},
        {"destination": "/x", "source": "/x"},
        {"destination": "/y", "options": ["bind"]},
        {"destination": "/z", "source": "/z", "options": ["bind", "idmap"]},
        {"destination": "/w", "source": "/w", "options": ["bind"], "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}
    ]));
    config["linux"]["rootfsPropagation"] = json!("rslaved");
    let fields: Vec<String> = plan(&config).unwrap_err().iter().map(|violation| violation.field.to_string()).collect();
    assert_eq!(
        fields,
        [
            "linux.rootfsPropagation",
            "mounts[0].destination",
            "mounts[1].destination",
            "mounts[2].destination",
            "mounts[3].type",
            "mounts[4].source",
            "mounts[5]",
            "mounts[6].gidMappings"
        ]
    );
}

#[test]
fn without_a_mount_namespace_and_mounts_there_is_a_chroot_and_nothing_else() {
    let mut config = config(json!([]));
    config["linux"] = json!({"namespaces": []});
    let bare = plan(&config).unwrap();
    assert_eq!(lines(&bare.enter), ["/root/path | chroot into the rootfs"]);
    assert!(bare.finish.is_empty());
    config["linux"]["maskedPaths"] = json!(["/proc/kcore"]);
    let text = violation(&config);
    assert!(text.contains("unable to restrict sys entries without a private MNT namespace"), "{text}");
}

#[test]
fn without_a_mount_namespace_mounts_are_made_in_one_that_is_left_again() {
    let mut config = config(json!([{"destination": "/data", "type": "tmpfs"}]));
    config["linux"] = json!({"namespaces": []});
    config["root"]["readonly"] = json!(true);
    let made = plan(&config).unwrap();
    assert_eq!(
        lines(&made.mount)[..4],
        [
            " | find this process in the host's /proc",
            "/mounts | make the mounts in a copy of the caller's mount namespace",
            " | make / rslave",
            "/root/path | bind the rootfs rootfs on itself",
        ]
    );
    assert_eq!(lines(&made.enter), ["/root/path | chroot into the rootfs"]);
    assert_eq!(
        lines(&made.finish),
        [
            "/root/readonly | make the rootfs read-only",
            "/root/path | take a detached copy of the finished rootfs",
            "/mounts | return to the caller's mount namespace, into the detached rootfs",
        ]
    );
    config["linux"]["namespaces"] = json!([{"type": "user"}]);
    let violations = plan(&config).unwrap_err();
    let fields: Vec<String> = violations.iter().map(|violation| violation.field.to_string()).collect();
    assert_eq!(fields, ["mounts", "root.readonly"]);
    assert!(violations.iter().all(|violation| !violation.hint.is_empty()), "{violations:?}");
}

#[test]
fn what_needs_a_mount_namespace_is_refused_without_one() {
    let with = |options: Value, profile: &str| {
        let mut config = config(json!([{"destination": "/data", "type": "tmpfs", "options": options}]));
        config["linux"] = json!({"namespaces": []});
        config["process"] = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}, "apparmorProfile": profile});
        let found = plan(&config).err().unwrap_or_default();
        found.iter().map(|violation| violation.field.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(with(json!(["nosuid"]), "unconfined"), [""; 0]);
    assert_eq!(with(json!([]), "docker-default"), ["process.apparmorProfile"]);
    for option in ["shared", "rshared", "unbindable", "runbindable"] {
        assert_eq!(with(json!(["ro", option]), "unconfined"), ["mounts[0].options"], "{option}");
    }
}

#[test]
fn a_bound_dev_keeps_what_the_host_put_there() {
    let mut config = config(json!([{"destination": "/dev/", "type": "bind", "source": "/dev", "options": ["rbind"]}]));
    config["linux"]["devices"] = json!([
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
        {"path": "/srv/pipe", "type": "p"}
    ]);
    let steps = lines(&plan(&config).unwrap().mount);
    assert!(!steps.iter().any(|line| line.contains("/dev/null") || line.contains("link") || line.contains("fuse")));
    assert!(steps.contains(&"/linux/devices/1 | make device /srv/pipe (p)".to_owned()));
}

#[test]
fn data_is_given_to_the_kernel_piece_by_piece() {
    let mut config = config(json!([
        {"destination": "/t", "type": "tmpfs", "options": ["size=1m,mode=700", "sync", "context=\"a:b:c1,c2\""]},
        {"destination": "/e", "type": "ext4", "source": "/dev/vdb", "options": ["ro", "noatime"]}
    ]));
    config["linux"]["mountLabel"] = json!("u:r:t:s0");
    let steps = lines(&plan(&config).unwrap().mount);
    assert!(
        steps.contains(&"/mounts/0 | mount tmpfs on /t (sync,size=1m,mode=700,context=a:b:c1,c2)".to_owned()),
        "{steps:?}"
    );
    assert!(
        steps.contains(&"/mounts/1 | mount ext4 from /dev/vdb on /e (ro,noatime,context=u:r:t:s0)".to_owned()),
        "{steps:?}"
    );
}

#[test]
fn the_default_config_of_every_engine_can_be_planned() {
    // What the engines ask for most: the options of their default mounts.
    for options in [
        json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        json!(["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        json!(["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ] {
        plan(&config(json!([{"destination": "/m", "type": "tmpfs", "options": options}]))).unwrap();
    }
}

#[test]
fn the_notify_socket_goes_on_top_of_the_config_s_mounts() {
    let address = crate::request::NotifyAddress::parse("/run/systemd/notify".as_ref()).unwrap();
    let dir = "/run/corten/c/notify".into();
    let request = Request { notify_socket: Some(crate::request::NotifySocket { address, dir }), ..request() };
    let mut config = config(json!([{"destination": "/run", "type": "tmpfs"}]));
    let plan = plan_with(&config, &Host::fixture(), &request).unwrap();
    let attach = "NOTIFY_SOCKET | attach /run/corten/c/notify at /run/notify (ro,nosuid,nodev,noexec)";
    let take = "NOTIFY_SOCKET | bind /run/corten/c/notify on /run/notify";
    assert_eq!(lines(&plan.mount)[3..6], ["/mounts/0 | mount tmpfs on /run", take, attach]);

    config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "user"}]);
    let plan = plan_with(&config, &Host::fixture(), &request).unwrap();
    assert_eq!(lines(&plan.host)[0], take, "the mapped root may not reach the state root");
    assert_eq!(lines(&plan.mount)[4], attach);
}

#[test]
fn a_mount_label_has_no_effect_without_selinux() {
    use crate::host::lsm::Lsms;
    let mut config = config(json!([{"destination": "/t", "type": "tmpfs"}]));
    config["linux"]["mountLabel"] = json!("u:r:t:s0");
    let on = |selinux| {
        let host = Host { lsms: Lsms::fixture(false, selinux), ..Host::fixture() };
        let plan = plan_with(&config, &host, &request()).unwrap();
        let warnings: Vec<_> = plan.warnings.iter().map(ToString::to_string).collect();
        (lines(&plan.mount).iter().any(|line| line.contains("context=u:r:t:s0")), warnings)
    };
    assert_eq!(on(true), (true, vec![]));
    let (labelled, warnings) = on(false);
    assert!(!labelled && warnings[0].starts_with("linux.mountLabel: has no effect"), "{warnings:?}");
}

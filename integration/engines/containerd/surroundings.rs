//! What a container sees: its root, mounts, devices, namespaces, and what it may do.

use std::fs;

use super::{Task, run};
use crate::scenario::{Scenario, World, scenarios};

pub const SCENARIOS: &[Scenario] = scenarios![
    a_read_only_root_refuses_writes,
    a_directory_of_the_hosts_is_shared,
    a_directory_can_be_shared_read_only,
    a_tmpfs_has_its_size,
    without_capabilities_nothing_may_be_done,
    a_capability_can_be_added,
    the_default_seccomp_profile_is_in_force,
    without_asking_there_is_no_seccomp_filter,
    privileges_cannot_be_gained_unless_asked,
    the_kernels_secrets_are_masked,
    the_hosts_network_is_shared_when_asked,
    another_tasks_namespaces_are_joined,
    without_a_network_there_is_loopback,
    a_device_can_be_handed_in,
    a_device_that_was_not_handed_in_is_refused,
    a_privileged_container_may_do_all,
    a_user_namespace_is_the_containers_own,
    a_root_can_be_entered_without_a_pivot,
    propagation_is_as_asked,
];

fn a_read_only_root_refuses_writes(world: &World) {
    let said = run(world, &["--read-only"], "touch /new 2>&1; echo ok >/dev/shm/new && cat /dev/shm/new").good();
    assert!(said.contains("Read-only file system") && said.ends_with("ok"), "{said}");
}

fn a_directory_of_the_hosts_is_shared(world: &World) {
    fs::create_dir_all("/var/tmp/shared").expect("a directory");
    run(world, &["--mount", "type=bind,src=/var/tmp/shared,dst=/data,options=rbind"], "echo from inside >/data/file")
        .good();
    assert_eq!(fs::read_to_string("/var/tmp/shared/file").expect("the file"), "from inside\n");
}

fn a_directory_can_be_shared_read_only(world: &World) {
    fs::create_dir_all("/var/tmp/shared").expect("a directory");
    let flags = ["--mount", "type=bind,src=/var/tmp/shared,dst=/data,options=rbind:ro"];
    let said = run(world, &flags, "touch /data/new 2>&1; grep ' /data ' /proc/self/mounts").good();
    assert!(said.contains("Read-only file system") && said.contains(" ro,"), "{said}");
}

fn a_tmpfs_has_its_size(world: &World) {
    let flags = ["--mount", "type=tmpfs,src=tmpfs,dst=/scratch,options=size=4m:mode=700"];
    let said = run(world, &flags, "df -k /scratch | tail -n 1; stat -c %a /scratch").good();
    assert!(said.contains("tmpfs") && said.contains("4096") && said.ends_with("700"), "{said}");
}

fn effective(said: &str) -> u64 {
    let line = said.lines().find_map(|line| line.strip_prefix("CapEff:\t"));
    u64::from_str_radix(line.unwrap_or_else(|| panic!("no capabilities: {said}")), 16).expect("a mask")
}

fn without_capabilities_nothing_may_be_done(world: &World) {
    let script = "grep ^CapEff: /proc/self/status; chown 1 /tmp 2>&1";
    let said = run(world, &["--cap-drop", "CAP_CHOWN"], script).bad();
    assert_eq!(effective(&said.stdout) & 1, 0, "{said}");
    assert!(said.stdout.contains("Operation not permitted"), "{said}");
}

fn a_capability_can_be_added(world: &World) {
    let said = run(world, &["--cap-add", "CAP_NET_ADMIN"], "grep ^CapEff: /proc/self/status").good();
    let without = run(world, &[], "grep ^CapEff: /proc/self/status").good();
    assert_eq!(effective(&said) ^ effective(&without), 1 << 12, "{said} and {without}");
}

/// Turning off address space randomization is a personality(2) that the profile closes.
fn the_default_seccomp_profile_is_in_force(world: &World) {
    let script = "grep ^Seccomp: /proc/self/status; /usr/bin/setarch -R echo open 2>&1 || echo closed";
    let said = run(world, &["--seccomp"], script).good();
    assert!(said.contains("Seccomp:\t2") && said.contains("closed"), "{said}");
    let said = run(world, &[], script).good();
    assert!(said.contains("open"), "{said}");
}

fn without_asking_there_is_no_seccomp_filter(world: &World) {
    assert_eq!(run(world, &[], "grep ^Seccomp: /proc/self/status").good(), "Seccomp:\t0");
}

fn privileges_cannot_be_gained_unless_asked(world: &World) {
    let script = "grep ^NoNewPrivs: /proc/self/status";
    assert_eq!(run(world, &[], script).good(), "NoNewPrivs:\t1");
    assert_eq!(run(world, &["--allow-new-privs"], script).good(), "NoNewPrivs:\t0");
}

fn the_kernels_secrets_are_masked(world: &World) {
    let said = run(world, &[], "wc -c </proc/keys; echo 1 >/proc/sys/kernel/panic; true");
    assert_eq!(said.stdout.lines().next(), Some("0"), "{said}");
    assert!(said.stderr.contains("Read-only file system"), "{said}");
}

fn own(name: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace").display().to_string()
}

fn the_hosts_network_is_shared_when_asked(world: &World) {
    let link = "readlink /proc/self/ns/net";
    assert_eq!(run(world, &["--net-host"], link).good(), own("net"));
    assert_ne!(run(world, &[], link).good(), own("net"));
}

fn another_tasks_namespaces_are_joined(world: &World) {
    let one = Task::start(world, "one", &[], "sleep 100");
    let pid = one.pid();
    let names = [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")];
    let words: Vec<String> = names.iter().map(|(long, short)| format!("{long}:/proc/{pid}/ns/{short}")).collect();
    let flags: Vec<&str> = words.iter().flat_map(|word| ["--with-ns", word.as_str()]).collect();
    let links = "for n in pid net ipc uts; do readlink /proc/self/ns/$n; done";
    assert_eq!(run(world, &flags, links).good(), one.exec(&[], links).good());
}

fn without_a_network_there_is_loopback(world: &World) {
    let said = run(world, &[], "ls /sys/class/net; ip -o link show lo").good();
    assert!(said.starts_with("lo\n") && said.contains("LOOPBACK,UP"), "{said}");
}

fn a_device_can_be_handed_in(world: &World) {
    let script = "echo x 2>&1 >/dev/fuse; ls -l /dev/fuse | awk '{ print $1, $5, $6 }'";
    let said = run(world, &["--device", "/dev/fuse"], script);
    let said = format!("{}{}", said.stdout, said.stderr);
    // The kernel's own answer to whoever writes into a /dev/fuse that is no file system yet.
    assert!(said.contains("crw") && said.contains("10, 229") && !said.contains("open"), "{said}");
}

fn a_device_that_was_not_handed_in_is_refused(world: &World) {
    // The node can be made (CAP_MKNOD), and not be opened.
    let said = run(world, &["--cap-add", "CAP_MKNOD"], "mknod /kmsg c 1 11 && cat /kmsg 2>&1 | head -n 1").good();
    assert!(said.contains("Operation not permitted"), "{said}");
}

/// It may do what this machine's root may, no more: containerd asks for the capabilities that it has itself.
fn a_privileged_container_may_do_all(world: &World) {
    assert_eq!(run(world, &["--privileged"], PRIVILEGED).good(), privileged());
}

/// Sees a device that no other container has, mounts, writes where it is read-only for others; its filter and capabilities.
pub const PRIVILEGED: &str = "test -c /dev/fuse && mount -t tmpfs none /tmp && test -w /proc/sys/kernel/panic && \
    grep -E '^(Seccomp|CapEff):' /proc/self/status";

/// What it has to print.
pub fn privileged() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("proc");
    let capabilities = status.lines().find(|line| line.starts_with("CapEff:")).expect("capabilities");
    format!("{capabilities}\nSeccomp:\t0")
}

fn a_user_namespace_is_the_containers_own(world: &World) {
    let flags = ["--uidmap", "0:200000:5000", "--gidmap", "0:300000:5000"];
    let task = Task::start(world, "mapped", &flags, "id -u; cat /proc/self/uid_map; touch /tmp/mine; sleep 100");
    task.until_it_says("200000");
    assert!(task.logs().starts_with("0\n"), "{}", task.logs());
    let status = fs::read_to_string(format!("/proc/{}/status", task.pid())).expect("its process");
    assert!(status.contains("Uid:\t200000\t") && status.contains("Gid:\t300000\t"), "{status}");
    assert_eq!(task.exec(&[], "stat -c %u:%g /tmp/mine; id -u").good(), "0:0\n0");
}

/// `--no-pivot`, for hosts in an initial ramdisk. That the container runs is all that can be seen from inside.
fn a_root_can_be_entered_without_a_pivot(world: &World) {
    assert_eq!(run(world, &["--no-pivot"], "ls /proc/1/root/bin/sh").good(), "/proc/1/root/bin/sh");
}

fn propagation_is_as_asked(world: &World) {
    let script = "grep ' / / ' /proc/self/mountinfo | grep -c master";
    assert_eq!(run(world, &["--rootfs-propagation", "private"], script).ends_with(1).stdout, "0\n");
    let script = "awk '$5 == \"/\" { print }' /proc/self/mountinfo";
    let shared = run(world, &["--rootfs-propagation", "shared", "--cap-add", "CAP_SYS_ADMIN"], script).good();
    assert!(shared.contains(" shared:"), "{shared}");
}

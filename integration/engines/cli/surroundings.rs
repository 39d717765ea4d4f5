//! What a container sees: its root, mounts, devices, namespaces, and what it may do.

use super::IMAGE;
use crate::scenario::{Scenario, World, scenarios};

pub const SCENARIOS: &[Scenario] = scenarios![
    a_read_only_root_refuses_writes,
    a_directory_of_the_hosts_is_shared,
    a_directory_can_be_shared_read_only,
    a_volume_outlives_its_container,
    a_tmpfs_has_its_size,
    without_capabilities_nothing_may_be_done,
    a_capability_can_be_added,
    the_engines_seccomp_profile_is_in_force,
    the_seccomp_profile_can_be_left_away,
    privileges_cannot_be_gained_when_asked,
    the_kernels_secrets_are_masked,
    an_init_reaps_orphans,
    the_hosts_namespaces_are_shared_when_asked,
    another_containers_namespaces_are_shared,
    without_a_network_there_is_loopback,
    a_network_has_an_address,
    a_sysctl_is_the_containers,
    a_device_can_be_handed_in,
    a_device_that_was_not_handed_in_is_refused,
    a_privileged_container_sees_all_devices,
    a_control_group_namespace_hides_the_path,
];

fn a_read_only_root_refuses_writes(world: &World) {
    let said = world.run(&["--read-only"], "touch /new 2>&1; echo ok >/dev/shm/new && cat /dev/shm/new").good();
    assert!(said.contains("Read-only file system") && said.ends_with("ok"), "{said}");
}

fn a_directory_of_the_hosts_is_shared(world: &World) {
    std::fs::create_dir_all("/var/tmp/shared").expect("a directory");
    world.run(&["-v", "/var/tmp/shared:/data"], "echo from inside >/data/file").good();
    assert_eq!(std::fs::read_to_string("/var/tmp/shared/file").expect("the file"), "from inside\n");
}

fn a_directory_can_be_shared_read_only(world: &World) {
    std::fs::create_dir_all("/var/tmp/shared").expect("a directory");
    let said =
        world.run(&["-v", "/var/tmp/shared:/data:ro"], "touch /data/new 2>&1; grep ' /data ' /proc/self/mounts").good();
    assert!(said.contains("Read-only file system") && said.contains(" ro,"), "{said}");
}

fn a_volume_outlives_its_container(world: &World) {
    world.run(&["-v", "keep:/data"], "echo kept >/data/file").good();
    let said = world.run(&["-v", "keep:/data"], "cat /data/file");
    world.cli(&["volume", "rm", "keep"]).good();
    assert_eq!(said.good(), "kept");
}

fn a_tmpfs_has_its_size(world: &World) {
    let said =
        world.run(&["--tmpfs", "/scratch:size=4m,mode=700"], "df -k /scratch | tail -n 1; stat -c %a /scratch").good();
    assert!(said.contains("tmpfs") && said.contains("4096") && said.ends_with("700"), "{said}");
}

fn without_capabilities_nothing_may_be_done(world: &World) {
    let said =
        world.run(&["--cap-drop", "ALL"], "grep -E '^Cap(Prm|Eff|Bnd):' /proc/self/status; chown 1 /tmp 2>&1").bad();
    assert_eq!(said.stdout.matches("0000000000000000").count(), 3, "{said}");
    assert!(said.stdout.contains("Operation not permitted"), "{said}");
}

fn a_capability_can_be_added(world: &World) {
    let said = world.run(&["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"], "grep ^CapEff: /proc/self/status").good();
    assert_eq!(said, "CapEff:\t0000000000001000");
}

/// Turning off address space randomization is a personality(2) that the profiles of both engines close.
fn the_engines_seccomp_profile_is_in_force(world: &World) {
    let script = "grep ^Seccomp: /proc/self/status; /usr/bin/setarch -R echo open 2>&1 || echo closed";
    let said = world.run(&[], script).good();
    assert!(said.contains("Seccomp:\t2") && said.contains("closed"), "{said}");
    let said = world.run(&["--security-opt", "seccomp=unconfined"], script).good();
    assert!(said.contains("open"), "{said}");
}

fn the_seccomp_profile_can_be_left_away(world: &World) {
    let said = world.run(&["--security-opt", "seccomp=unconfined"], "grep ^Seccomp: /proc/self/status").good();
    assert_eq!(said, "Seccomp:\t0");
}

fn privileges_cannot_be_gained_when_asked(world: &World) {
    let said = world.run(&["--security-opt", "no-new-privileges"], "grep ^NoNewPrivs: /proc/self/status").good();
    assert_eq!(said, "NoNewPrivs:\t1");
}

fn the_kernels_secrets_are_masked(world: &World) {
    let said = world.run(&[], "wc -c </proc/keys; echo 1 >/proc/sys/kernel/panic; true");
    assert_eq!(said.stdout.lines().next(), Some("0"), "{said}");
    assert!(said.stderr.contains("Read-only file system"), "{said}");
}

fn an_init_reaps_orphans(world: &World) {
    // The inner shell leaves its child to pid 1, and waits for the child's end through the pipe that it holds open.
    let script = "sh -c 'sleep 0.1 & exit' | cat; i=0; while ps -o stat | grep -q Z; do [ $((i+=1)) -lt 100 ] || exit 1; done; cat /proc/1/comm";
    let first = world.run(&["--init"], script).good();
    assert!(first.contains("init") || first.contains("catatonit"), "{first}");
}

fn the_hosts_namespaces_are_shared_when_asked(world: &World) {
    for (flag, name) in [("--pid", "pid"), ("--network", "net"), ("--ipc", "ipc"), ("--uts", "uts")] {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace").display().to_string();
        let link = format!("readlink /proc/self/ns/{name}");
        assert_eq!(world.run(&[flag, "host"], &link).good(), own, "{name}");
        assert_ne!(world.run(&[], &link).good(), own, "{name} without the flag");
    }
}

fn another_containers_namespaces_are_shared(world: &World) {
    let one = world.start("one", &["--ipc", "shareable"], "sleep 100");
    let flags = ["--pid", "container:one", "--network", "container:one", "--ipc", "container:one"];
    let links = "for n in pid net ipc; do readlink /proc/self/ns/$n; done";
    assert_eq!(world.run(&flags, links).good(), one.exec(&[], links).good());
}

fn without_a_network_there_is_loopback(world: &World) {
    let said = world.run(&["--network", "none"], "ls /sys/class/net; ip -o link show lo").good();
    assert!(said.starts_with("lo\n") && said.contains("LOOPBACK,UP"), "{said}");
}

fn a_network_has_an_address(world: &World) {
    let said = world.run(&[], "ip -4 -o address show eth0").good();
    assert!(said.contains("inet "), "{said}");
}

fn a_sysctl_is_the_containers(world: &World) {
    let said = world
        .run(
            &["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=12345"],
            "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax",
        )
        .good();
    assert_eq!(said, "1\n12345");
}

fn a_device_can_be_handed_in(world: &World) {
    let said = world.run(
        &["--device", "/dev/full:/dev/thing:rw"],
        "echo x 2>&1 >/dev/thing; ls -l /dev/thing | awk '{ print $1, $5, $6 }'",
    );
    let said = format!("{}{}", said.stdout, said.stderr);
    assert!(said.contains("No space left") && said.contains("1, 7"), "{said}");
}

fn a_device_that_was_not_handed_in_is_refused(world: &World) {
    // The node can be made (CAP_MKNOD; by an ordinary user it can't), and not be opened.
    let said = world.run(&["--cap-add", "MKNOD"], "(mknod /kmsg c 1 11 && cat /kmsg) 2>&1 | head -n 1").good();
    assert!(said.contains("Operation not permitted"), "{said}");
}

/// Asks for every capability of the engine: one that this machine's root lacks is refused by every runtime.
fn a_privileged_container_sees_all_devices(world: &World) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default().trim();
    let lacks = u64::from_str_radix(bounding, 16).is_ok_and(|set| set >> 24 & 1 == 0);
    if lacks && world.is_docker() {
        crate::scenario::skip("this machine's root has no CAP_SYS_RESOURCE, which the engine asks for");
    }
    let said = world
        .cli(&[
            "run",
            "--rm",
            "--privileged",
            IMAGE,
            "sh",
            "-c",
            "test -c /dev/fuse && grep ^Seccomp: /proc/self/status",
        ])
        .good();
    assert_eq!(said, "Seccomp:\t0");
}

fn a_control_group_namespace_hides_the_path(world: &World) {
    let said = world.run(&["--cgroupns", "private"], "cut -d: -f3 /proc/self/cgroup | sort -u").good();
    assert_eq!(said, "/");
}

//! Mounts, devices, control groups and networks as Docker alone asks for them.

use std::fs;

use crate::call::call;
use crate::scenario::{Scenario, World, scenarios, until};

pub const SCENARIOS: &[Scenario] = scenarios![
    mounts_of_the_host_come_in_by_rslave,
    mounts_of_the_container_go_out_by_rshared,
    a_read_only_mount_is_so_in_depth,
    a_part_of_a_volume_is_mounted,
    a_mount_of_tmpfs_has_its_mode,
    a_new_volume_holds_what_the_image_has,
    a_rule_opens_a_device,
    a_control_group_of_ones_own_is_the_parent,
    paths_can_be_left_unmasked,
    a_profile_of_ones_own_is_in_force,
    without_ipc_there_is_no_shared_memory,
    containers_find_each_other_by_name,
    a_port_is_published,
    a_network_comes_while_it_runs,
    an_init_of_dockers_is_the_first_process,
];

/// A shared mount, with another one below it; both are gone with this.
struct Shared(&'static str);

impl Shared {
    fn new(place: &'static str) -> Shared {
        fs::create_dir_all(place).expect("a directory");
        call(&["mount", "-t", "tmpfs", "shared", place]).good();
        let shared = Shared(place);
        call(&["mount", "--make-shared", place]).good();
        fs::create_dir(format!("{place}/below")).expect("a directory");
        shared
    }

    fn mount_below(&self) {
        call(&["mount", "-t", "tmpfs", "below", &format!("{}/below", self.0)]).good();
        fs::write(format!("{}/below/file", self.0), "below\n").expect("a file");
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        call(&["umount", "-R", "-l", self.0]);
    }
}

fn mounts_of_the_host_come_in_by_rslave(world: &World) {
    let shared = Shared::new("/var/tmp/in");
    let flags = ["--mount", "type=bind,src=/var/tmp/in,dst=/data,bind-propagation=rslave"];
    let container = world.start("slave", &flags, "sleep 100");
    shared.mount_below();
    assert_eq!(container.exec(&[], "cat /data/below/file").good(), "below");
}

fn mounts_of_the_container_go_out_by_rshared(world: &World) {
    let _shared = Shared::new("/var/tmp/out");
    let flags = ["--cap-add", "SYS_ADMIN", "-v", "/var/tmp/out:/data:rshared"];
    let container = world.start("peer", &flags, "sleep 100");
    container.exec(&[], "mount -t tmpfs below /data/below && echo out >/data/below/file").good();
    assert_eq!(fs::read_to_string("/var/tmp/out/below/file").expect("the file"), "out\n");
}

/// Since version 25, when the runtime's `features` name `rro`.
fn a_read_only_mount_is_so_in_depth(world: &World) {
    let shared = Shared::new("/var/tmp/deep");
    shared.mount_below();
    let script = "touch /data/new 2>&1; touch /data/below/new 2>&1; cat /data/below/file";
    let said = world.run(&["-v", "/var/tmp/deep:/data:ro"], script).good();
    assert!(said.matches("Read-only file system").count() == 2 && said.ends_with("below"), "{said}");
    let flags = ["--mount", "type=bind,src=/var/tmp/deep,dst=/data,readonly,bind-recursive=writable"];
    let said = world.run(&flags, script).good();
    assert!(said.matches("Read-only file system").count() == 1 && said.ends_with("below"), "{said}");
}

fn a_part_of_a_volume_is_mounted(world: &World) {
    world.run(&["-v", "whole:/data"], "mkdir -p /data/part && echo part >/data/part/file").good();
    let said = world.run(&["--mount", "type=volume,src=whole,dst=/part,volume-subpath=part"], "cat /part/file");
    world.cli(&["volume", "rm", "whole"]).good();
    assert_eq!(said.good(), "part");
}

fn a_mount_of_tmpfs_has_its_mode(world: &World) {
    let flags = ["--mount", "type=tmpfs,dst=/scratch,tmpfs-size=2097152,tmpfs-mode=1750"];
    let said = world.run(&flags, "df -k /scratch | tail -n 1 | awk '{ print $2 }'; stat -c %a /scratch").good();
    assert_eq!(said, "2048\n1750");
}

fn a_new_volume_holds_what_the_image_has(world: &World) {
    let said = world.run(&["-v", "/etc"], "cat /etc/group | head -n 1; grep -c ' /etc ' /proc/self/mounts").good();
    assert_eq!(said, "root:x:0:\n1");
}

fn a_rule_opens_a_device(world: &World) {
    let script = "mknod /dev/own c 10 229 && (exec 3<>/dev/own) 2>&1 && echo open";
    let said = world.run(&["--cap-add", "MKNOD"], script).bad();
    assert!(said.stdout.contains("Operation not permitted"), "{said}");
    let said = world.run(&["--cap-add", "MKNOD", "--device-cgroup-rule", "c 10:229 rwm"], script).good();
    assert_eq!(said, "open");
}

fn a_control_group_of_ones_own_is_the_parent(world: &World) {
    let container = world.start("child", &["--cgroup-parent", "/own/parent", "-m", "64m"], "sleep 100");
    let path = fs::read_to_string(format!("/proc/{}/cgroup", container.inspect(".State.Pid"))).expect("its groups");
    let place = format!("/own/parent/{}", container.inspect(".Id"));
    assert!(path.lines().any(|line| line.ends_with(&place)), "{path}");
}

fn paths_can_be_left_unmasked(world: &World) {
    let script = "grep -c ' /proc/' /proc/self/mounts; true";
    assert_ne!(world.run(&[], script).good(), "0");
    assert_eq!(world.run(&["--security-opt", "systempaths=unconfined"], script).good(), "0");
}

fn a_profile_of_ones_own_is_in_force(world: &World) {
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":85}]}"#;
    fs::write("/var/tmp/profile.json", profile).expect("a profile");
    let said = world.run(&["--security-opt", "seccomp=/var/tmp/profile.json"], "mkdir /tmp/new 2>&1").bad();
    assert!(said.stdout.contains("Interrupted system call should be restarted"), "{said}");
}

fn without_ipc_there_is_no_shared_memory(world: &World) {
    let said = world.run(&["--ipc", "none"], "grep -c ' /dev/shm ' /proc/self/mounts").bad();
    assert_eq!(said.stdout, "0\n");
}

/// Docker's own name server listens in the container's network: a hook of the runtime has to have brought that to it.
fn containers_find_each_other_by_name(world: &World) {
    world.cli(&["network", "create", "near"]).good();
    let served = {
        let _server = world.start("server", &["--network", "near"], "echo page >/tmp/index.html; httpd -f -h /tmp");
        let script = "for i in $(seq 100); do wget -q -O - http://server/ && break; sleep 0.05; done";
        world.run(&["--network", "near"], script)
    };
    world.cli(&["network", "rm", "near"]).good();
    assert_eq!(served.good(), "page");
}

fn a_port_is_published(world: &World) {
    let flags = ["-p", "127.0.0.1:8765:80"];
    let _container = world.start("published", &flags, "echo page >/tmp/index.html; httpd -f -h /tmp");
    until("the page is there", 10, || {
        call(&["busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8765/"]).stdout == "page\n"
    });
}

fn a_network_comes_while_it_runs(world: &World) {
    world.cli(&["network", "create", "late"]).good();
    let (before, with, after) = {
        let container = world.start("joiner", &[], "sleep 100");
        let links = || container.exec(&[], "ls /sys/class/net").good();
        let before = links();
        world.cli(&["network", "connect", "late", "joiner"]).good();
        let with = links();
        world.cli(&["network", "disconnect", "late", "joiner"]).good();
        (before, with, links())
    };
    world.cli(&["network", "rm", "late"]).good();
    assert_eq!((before.as_str(), with.as_str()), ("eth0\nlo", "eth0\neth1\nlo"));
    assert_eq!(before, after);
}

fn an_init_of_dockers_is_the_first_process(world: &World) {
    let container =
        world.start("initial", &["--init"], "trap 'exit 7' TERM; echo ready; while true; do sleep 0.05; done");
    container.until_it_says("ready");
    assert_eq!(container.exec(&[], "cat /proc/1/comm").good(), "docker-init");
    container.call(&["stop", "-t", "20"]).good();
    assert_eq!(container.inspect(".State.ExitCode"), "7", "the signal goes through it");
}

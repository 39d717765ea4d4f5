//! What a pod is: namespaces and a place in the network that its containers share.

use std::fs;

use serde_json::{Value, json};

use super::{CONTAINER, NODE, POD, Pod, TARGET, crictl, security};
use crate::call::call;
use crate::scenario::{Scenario, World, scenarios, until};

pub const SCENARIOS: &[Scenario] = scenarios![
    containers_of_a_pod_share_its_namespaces,
    a_pods_processes_can_see_each_other,
    a_container_joins_the_processes_of_another,
    the_hosts_namespaces_are_shared_when_asked,
    a_pod_has_an_address,
    pods_reach_each_other,
    a_pod_has_a_hostname,
    a_pods_name_servers_are_the_containers,
    memory_is_shared_in_a_pod,
    a_sysctl_is_the_pods,
    a_user_namespace_is_the_pods,
    a_stopped_pod_ends_its_containers,
    twenty_five_pods_run_at_once,
    nothing_of_a_removed_pod_is_left,
];

fn links(names: &str) -> String {
    format!("for n in {names}; do readlink /proc/self/ns/$n; done")
}

fn containers_of_a_pod_share_its_namespaces(_: &World) {
    let pod = Pod::with("pea", json!({}));
    let (one, two) = (pod.run("pea1", json!({}), "sleep 100"), pod.run("pea2", json!({}), "sleep 100"));
    let of = |names: &str| (one.exec(&[], &links(names)).good(), two.exec(&[], &links(names)).good());
    let (first, second) = of("net ipc uts");
    assert_eq!(first, second);
    let (first, second) = of("mnt pid");
    assert!(first.lines().zip(second.lines()).all(|(first, second)| first != second), "{first} and {second}");
}

fn a_pods_processes_can_see_each_other(_: &World) {
    let pod = Pod::with("seen", security(json!({"namespace_options": {"pid": POD, "network": NODE}})));
    let one = pod.run("seen1", json!({}), "exec sleep 4321");
    let two = pod.run("seen2", json!({}), "exec sleep 1234");
    let said = two.exec(&[], "ps -o pid,args").good();
    assert!(said.contains("1 sleep 1000000") && said.contains("sleep 4321") && said.contains("sleep 1234"), "{said}");
    two.exec(&[], "kill $(ps -o pid,args | awk '/[s]leep 4321/ { print $1 }')").good();
    assert_eq!(one.ended(), 143);
}

/// What `kubectl debug --target` asks for.
fn a_container_joins_the_processes_of_another(_: &World) {
    let pod = Pod::start("target");
    let one = pod.run("target1", json!({}), "exec sleep 4321");
    let options = json!({"namespace_options": {"pid": TARGET, "target_id": one.id}});
    let said = pod.output("target2", security(options), "ps -o pid,args");
    assert!(said.contains("1 sleep 4321"), "{said}");
}

fn the_hosts_namespaces_are_shared_when_asked(_: &World) {
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace").display().to_string();
    let host: Vec<String> = ["net", "pid", "ipc"].map(own).into();
    let pod = Pod::with("host", security(json!({"namespace_options": {"network": NODE, "pid": NODE, "ipc": NODE}})));
    assert_eq!(pod.output("host", json!({}), &links("net pid ipc")).lines().collect::<Vec<_>>(), host);
}

fn address(pod: &Pod) -> String {
    pod.inspect()["status"]["network"]["ip"].as_str().expect("an address").to_owned()
}

fn a_pod_has_an_address(_: &World) {
    let pod = Pod::with("addressed", json!({}));
    let address = address(&pod);
    let said = pod.output("addressed", json!({}), "ip -4 -o address show eth0; ip -o link show lo");
    assert!(said.contains(&format!("inet {address}/")) && said.contains("LOOPBACK,UP"), "{said}");
}

fn pods_reach_each_other(_: &World) {
    let (one, two) = (Pod::with("caller", json!({})), Pod::with("called", json!({})));
    let _server = two.run("called", json!({}), "while true; do echo answer | nc -l -p 7000; done");
    let script = format!(
        "i=0; until nc {} 7000 </dev/null 2>/dev/null || [ $((i+=1)) -gt 100 ]; do sleep 0.05; done",
        address(&two)
    );
    assert_eq!(one.output("caller", json!({}), &script), "answer");
}

fn a_pod_has_a_hostname(_: &World) {
    let pod = Pod::with("ship", json!({"hostname": "ship"}));
    assert_eq!(pod.output("ship", json!({}), "hostname; cat /etc/hostname"), "ship\nship");
}

fn a_pods_name_servers_are_the_containers(_: &World) {
    let dns = json!({"dns_config": {"servers": ["10.88.0.53"], "searches": ["pods.example"]},
        "linux": {"security_context": {"namespace_options": {"network": NODE}}}});
    let said = Pod::with("dns", dns).output("dns", json!({}), "cat /etc/resolv.conf");
    assert!(said.contains("nameserver 10.88.0.53") && said.contains("search pods.example"), "{said}");
}

fn memory_is_shared_in_a_pod(_: &World) {
    let pod = Pod::start("shm");
    pod.output("shm1", json!({}), "echo shared >/dev/shm/file");
    assert_eq!(pod.output("shm2", json!({}), "cat /dev/shm/file"), "shared");
}

fn a_sysctl_is_the_pods(_: &World) {
    let sysctls = json!({"linux": {"sysctls": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "12345"}}});
    let said = Pod::with("sysctl", sysctls).output(
        "sysctl",
        json!({}),
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax",
    );
    assert_eq!(said, "1\n12345");
}

fn a_user_namespace_is_the_pods(_: &World) {
    let ids = json!([{"container_id": 0, "host_id": 200_000, "length": 65536}]);
    let options =
        json!({"namespace_options": {"pid": CONTAINER, "userns_options": {"mode": POD, "uids": ids, "gids": ids}}});
    let pod = Pod::with("mapped", security(options));
    let container = pod.run("mapped", json!({}), "id -u; cat /proc/self/uid_map; touch /tmp/mine; sleep 100");
    container.until_it_says("200000");
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).expect("its process");
    assert!(status.contains("Uid:\t200000\t") && status.contains("Gid:\t200000\t"), "{status}");
    assert_eq!(container.exec(&["-s"], "stat -c %u:%g /tmp/mine").good(), "0:0");
}

fn a_stopped_pod_ends_its_containers(_: &World) {
    let pod = Pod::start("ends");
    let container = pod.run("ends", json!({}), "trap '' TERM; sleep 100");
    let (init, pause) = (container.pid(), pod.inspect()["info"]["pid"].to_string());
    crictl(&["stopp", &pod.id]).good();
    assert_eq!(pod.inspect()["status"]["state"], "SANDBOX_NOTREADY");
    for pid in [init, pause] {
        assert!(!fs::exists(format!("/proc/{pid}")).expect("proc"), "{pid} is there");
    }
    assert_eq!(container.ended(), 137);
}

fn twenty_five_pods_run_at_once(_: &World) {
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..25)
            .map(|n| {
                scope.spawn(move || {
                    let pod = Pod::start(&format!("crowd{n}"));
                    let container = pod.run(&format!("crowd{n}"), json!({}), "echo here; sleep 100");
                    (pod, container)
                })
            })
            .collect();
        let all: Vec<_> = started.into_iter().map(|thread| thread.join().expect("a pod")).collect();
        let list = crictl(&["ps", "--quiet", "--state", "running", "--name", "crowd"]).good();
        assert_eq!(list.lines().count(), 25, "{list}");
        all.iter().for_each(|(_, container)| container.until_it_says("here"));
        for one in all {
            scope.spawn(move || drop(one));
        }
    });
    let left = crictl(&["pods", "--quiet", "--name", "crowd"]).good();
    assert_eq!(left, "");
}

/// Mounts, control groups, processes and names in the network of a hundred pods would be a full machine by the evening.
fn nothing_of_a_removed_pod_is_left(_: &World) {
    let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("mountinfo").lines().count();
    let groups = || call(&["find", "/sys/fs/cgroup", "-type", "d"]).good();
    let states =
        || call(&["find", "/run/containerd/runc", "/run/netns", "-maxdepth", "2", "-not", "-path", "*/~*"]).good();
    let all = || (mounts(), groups(), states());
    let once = || {
        let limits: Value = super::resources(json!({"memory_limit_in_bytes": 64 << 20}));
        drop(Pod::with("left", json!({})).run("left", limits, "sleep 100"));
    };
    // The first one brings what all share.
    once();
    let before = all();
    once();
    until("all is as before", 10, || all() == before);
}

//! Stopping, statistics, and a daemon that goes and comes back.

use serde_json::{Value, json};

use super::{Pod, crictl, resources};
use crate::call::call;
use crate::containerd::daemon;
use crate::scenario::{Scenario, World, scenarios, skip, until};

pub const SCENARIOS: &[Scenario] = scenarios![
    stop_lets_the_program_end_by_itself,
    stop_kills_after_its_time,
    stop_sends_the_images_signal,
    a_running_container_is_not_removed_without_force,
    a_container_is_made_anew_in_its_pod,
    statistics_of_a_container_tell_what_is_used,
    statistics_of_a_pod_tell_what_is_used,
    logs_are_followed,
    a_daemon_that_is_killed_loses_nothing,
    a_container_that_ends_meanwhile_is_noticed,
    a_checkpoint_is_exported,
];

fn stop_lets_the_program_end_by_itself(_: &World) {
    let pod = Pod::start("life1");
    let container = pod.run("life1", json!({}), "trap 'exit 3' TERM; echo ready; while true; do sleep 0.05; done");
    container.until_it_says("ready");
    crictl(&["stop", "--timeout", "20", &container.id]).good();
    assert_eq!(container.ended(), 3);
}

fn stop_kills_after_its_time(_: &World) {
    let pod = Pod::start("life2");
    let container = pod.run("life2", json!({}), "trap '' TERM; echo ready; while true; do sleep 0.05; done");
    container.until_it_says("ready");
    crictl(&["stop", "--timeout", "1", &container.id]).good();
    assert_eq!(container.ended(), 137);
}

/// Without a STOPSIGNAL of the image's that is TERM; a child of a shell that ends by it must not be left.
fn stop_sends_the_images_signal(_: &World) {
    let pod = Pod::start("life3");
    let script = "trap 'echo got TERM; exit 0' TERM; sleep 4242 & echo ready; while true; do sleep 0.05; done";
    let container = pod.run("life3", json!({}), script);
    container.until_it_says("ready");
    crictl(&["stop", "--timeout", "20", &container.id]).good();
    assert!(container.logs().contains("got TERM"), "{}", container.logs());
    call(&["pgrep", "-f", "^sleep 4242$"]).ends_with(1);
}

fn a_running_container_is_not_removed_without_force(_: &World) {
    let pod = Pod::start("life4");
    let container = pod.run("life4", json!({}), "sleep 100");
    crictl(&["rm", &container.id]).bad();
    let pid = container.pid();
    crictl(&["rm", "--force", &container.id]).good();
    crictl(&["inspect", &container.id]).bad();
    assert!(!std::fs::exists(format!("/proc/{pid}")).expect("proc"), "its process is there");
}

/// What a kubelet does after a crash: a second attempt beside the rest of the first one.
fn a_container_is_made_anew_in_its_pod(_: &World) {
    let pod = Pod::start("life5");
    let attempt = |n: u32| json!({"metadata": {"name": "again", "attempt": n}});
    assert_eq!(pod.run("again", attempt(0), "exit 1").ended(), 1);
    assert_eq!(pod.output("again", attempt(1), "echo better"), "better");
}

/// A number in the answer of `stats`, at the end of this path.
fn number(said: &Value, path: &str) -> u64 {
    let value = said.pointer(path).unwrap_or_else(|| panic!("no {path}: {said}"));
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("no number at {path}: {said}"))
}

fn statistics_of_a_container_tell_what_is_used(_: &World) {
    let pod = Pod::start("life6");
    let limits = resources(json!({"memory_limit_in_bytes": 64 << 20}));
    let container = pod.run("life6", limits, "i=0; while [ $((i+=1)) -lt 20000 ]; do :; done; echo done; sleep 100");
    container.until_it_says("done");
    let said = crictl(&["stats", "--output", "json", "--id", &container.id]).good();
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert!((1..64 << 20).contains(&number(&said, "/stats/0/memory/workingSetBytes/value")), "{said}");
    assert!(number(&said, "/stats/0/cpu/usageCoreNanoSeconds/value") > 0, "{said}");
}

fn statistics_of_a_pod_tell_what_is_used(_: &World) {
    let pod = Pod::start("life7");
    let container = pod.run("life7", json!({}), "echo ready; sleep 100");
    container.until_it_says("ready");
    let said = crictl(&["statsp", "--output", "json", "--id", &pod.id]).good();
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert!(number(&said, "/stats/0/linux/process/processCount/value") >= 1, "{said}");
    assert!(number(&said, "/stats/0/linux/memory/workingSetBytes/value") > 0, "{said}");
}

fn logs_are_followed(_: &World) {
    let pod = Pod::start("life8");
    let container = pod.run("life8", json!({}), "echo first; sleep 0.5; echo second");
    assert_eq!(crictl(&["logs", "--follow", &container.id]).stdout, "first\nsecond\n");
    assert_eq!(crictl(&["logs", "--tail", "1", &container.id]).stdout, "second\n");
}

/// The shims keep the pod; the new daemon finds it, and the runtime's state is what it was.
fn a_daemon_that_is_killed_loses_nothing(_: &World) {
    let pod = Pod::start("life9");
    let container = pod.run("life9", json!({}), "i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done");
    container.until_it_says("3\n");
    let before = (pod.inspect()["info"]["pid"].clone(), container.pid());
    daemon::restart();
    // The plugin answers a little later than the daemon.
    until("CRI answers", 20, || crictl(&["info"]).code == 0);
    assert_eq!((pod.inspect()["info"]["pid"].clone(), container.pid()), before);
    assert_eq!(pod.inspect()["status"]["state"], "SANDBOX_READY");
    let seen = container.logs();
    until("its log goes on", 10, || container.logs().len() > seen.len());
    assert_eq!(container.exec(&["--sync"], "echo inside").good(), "inside");
    assert_eq!(pod.output("later", json!({}), "echo beside"), "beside");
    crictl(&["stop", "--timeout", "0", &container.id]).good();
    assert_eq!(container.ended(), 137);
}

fn a_container_that_ends_meanwhile_is_noticed(_: &World) {
    let pod = Pod::start("life10");
    let container = pod.run("life10", json!({}), "echo ready; while ! test -e /tmp/go; do sleep 0.05; done; exit 8");
    container.until_it_says("ready");
    let pid = container.pid();
    daemon::kill();
    std::fs::write(format!("/proc/{pid}/root/tmp/go"), "").expect("a file in the container");
    until("it has ended", 10, || !std::fs::exists(format!("/proc/{pid}/root/tmp")).expect("proc"));
    daemon::spawn();
    until("CRI answers", 20, || crictl(&["info"]).code == 0);
    container.ended();
    assert_eq!(pod.inspect()["status"]["state"], "SANDBOX_READY");
}

fn a_checkpoint_is_exported(_: &World) {
    if call(&["criu", "check"]).code != 0 {
        skip("criu can't work here: `criu check` fails on this kernel");
    }
    let pod = Pod::start("life11");
    let container = pod.run("life11", json!({}), "i=0; while true; do i=$((i+1)); echo $i; sleep 0.1; done");
    container.until_it_says("3\n");
    let said = crictl(&["checkpoint", "--export", "/var/tmp/checkpoint.tar", &container.id]);
    if said.stderr.contains("CheckpointContainer not implemented") || said.stderr.contains("Unimplemented") {
        skip("containerd of this version has no checkpoints for CRI");
    }
    said.good();
    let list = call(&["tar", "-tf", "/var/tmp/checkpoint.tar"]).good();
    assert!(list.contains("inventory.img"), "{list}");
}

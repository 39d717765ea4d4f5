//! What the daemon's configuration can ask of a runtime, and devices that a vendor describes.

use std::fs;

use serde_json::{Value, json};

use super::{NODE, Pod, crictl, security};
use crate::call::call;
use crate::scenario::{Scenario, World, scenarios};

pub const SCENARIOS: &[Scenario] = scenarios![
    the_options_of_a_runtime_reach_it,
    annotations_are_handed_on_when_asked,
    a_base_specification_is_what_it_starts_from,
    a_handler_that_is_not_configured_is_refused,
    a_vendors_device_brings_its_hooks_and_mounts,
];

/// In MACHINE, with every option of the shim's that makes it call the runtime in another way.
const ELSEWHERE: &str = "elsewhere";

fn elsewhere(name: &str, more: Value) -> Pod {
    let mut config = security(json!({"namespace_options": {"network": NODE, "pid": super::CONTAINER}}));
    super::merge(&mut config, more);
    Pod::on(ELSEWHERE, name, config)
}

fn state(world: &World, id: &str) -> Value {
    let said = call(&[&world.path, "--root", "/run/elsewhere/k8s.io", "state", id]).good();
    serde_json::from_str(&said).expect("a state")
}

/// A state root of its own is seen here. With it come the wishes for no pivot_root(2) and for the caller's session keyring, of which
/// only that pods run is.
fn the_options_of_a_runtime_reach_it(world: &World) {
    let pod = elsewhere("options", json!({}));
    let container = pod.run("options", json!({}), "ls / && sleep 100");
    container.until_it_says("bin");
    for id in [&pod.id, &container.id] {
        assert_eq!(state(world, id)["status"], "running", "{id}");
    }
    assert_eq!(container.exec(&["--sync"], "echo inside").good(), "inside");
    let left = || fs::read_dir("/run/elsewhere/k8s.io").expect("the state root").flatten();
    let ids: Vec<String> = vec![pod.id.clone(), container.id.clone()];
    drop(pod);
    assert!(!left().any(|item| ids.iter().any(|id| item.file_name() == **id)), "states are left");
}

fn annotations_are_handed_on_when_asked(world: &World) {
    let pod = elsewhere("noted", json!({"annotations": {"org.example.colour": "rust", "com.example.other": "no"}}));
    let container = pod.run("noted", json!({"annotations": {"org.example.shade": "dark"}}), "sleep 100");
    let (pod, container) = (state(world, &pod.id), state(world, &container.id));
    assert_eq!(pod["annotations"]["org.example.colour"], "rust", "{pod}");
    assert!(pod["annotations"]["com.example.other"].is_null(), "{pod}");
    assert_eq!(container["annotations"]["org.example.shade"], "dark", "{container}");
}

/// The file is what `ctr oci spec` prints, with a limit in it that CRI has no word for.
fn a_base_specification_is_what_it_starts_from(_: &World) {
    assert_eq!(elsewhere("based", json!({})).output("based", json!({}), "ulimit -Sn; ulimit -Hn"), "100\n200");
}

fn a_handler_that_is_not_configured_is_refused(_: &World) {
    let pod = json!({"metadata": {"name": "nobody", "uid": "nobody", "namespace": "default"}, "linux": {}});
    fs::write("/var/tmp/nobody.json", pod.to_string()).expect("a file");
    crictl(&["runp", "--runtime", "nobody", "/var/tmp/nobody.json"]).bad().says("nobody");
}

/// Container Device Interface: what drivers of graphics cards use. The hook runs with the container's mounts, before its root is.
fn a_vendors_device_brings_its_hooks_and_mounts(_: &World) {
    fs::create_dir_all("/var/tmp/cdi").expect("a directory");
    fs::create_dir_all("/etc/cdi").expect("a directory");
    fs::write("/var/tmp/cdi/library", "of the vendor").expect("a file");
    let edits = json!({"env": ["THING=one"],
        "deviceNodes": [{"path": "/dev/thing", "hostPath": "/dev/full", "permissions": "rw"}],
        "mounts": [{"hostPath": "/var/tmp/cdi", "containerPath": "/cdi", "options": ["ro", "bind"]}],
        "hooks": [{"hookName": "createContainer", "path": "/usr/bin/tee", "args": ["tee", "/var/tmp/cdi/hooked"]}]});
    let vendor = json!({"cdiVersion": "0.5.0", "kind": "example.com/thing", "devices": [{"name": "one", "containerEdits": edits}]});
    fs::write("/etc/cdi/example.json", vendor.to_string()).expect("a description");
    let pod = Pod::start("vendor");
    let config = json!({"CDI_devices": [{"name": "example.com/thing=one"}]});
    let said =
        pod.output("vendor", config, "echo $THING; cat /cdi/library; echo; ls -l /dev/thing | awk '{ print $5, $6 }'");
    assert_eq!(said, "one\nof the vendor\n1, 7");
    let state = fs::read_to_string("/var/tmp/cdi/hooked").expect("what the hook read");
    let state: Value = serde_json::from_str(&state).expect("a state");
    assert!(state["pid"].as_i64().is_some_and(|pid| pid > 0) && state["bundle"].is_string(), "{state}");
}

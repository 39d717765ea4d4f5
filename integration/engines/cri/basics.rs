//! A program runs, with the identity and the surroundings asked for, and its end comes back.

use serde_json::json;

use super::{HANDLER, Pod, crictl, security};
use crate::call::call;
use crate::scenario::{Scenario, World, scenarios};

pub const SCENARIOS: &[Scenario] = scenarios![
    a_container_says_hello_into_its_log,
    stdout_and_stderr_are_two,
    an_end_comes_with_its_code_and_reason,
    the_runtimes_own_words_reach_the_user,
    the_environment_reaches_the_program,
    a_working_directory_is_entered,
    a_user_by_number_has_these_ids,
    a_user_by_name_has_its_groups,
    a_created_container_waits_for_its_start,
    a_pod_names_its_runtime,
    the_runtime_is_the_one_that_runs,
];

/// Where the shim has the runtime keep the containers of CRI.
const STATE: &str = "/run/containerd/runc/k8s.io";

fn a_container_says_hello_into_its_log(_: &World) {
    assert_eq!(Pod::start("hello").output("hello", json!({}), "echo hello"), "hello");
}

fn stdout_and_stderr_are_two(_: &World) {
    let pod = Pod::start("streams");
    let container = pod.run("streams", json!({}), "echo out; echo err >&2");
    container.ended();
    let output = crictl(&["logs", &container.id]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
}

fn an_end_comes_with_its_code_and_reason(_: &World) {
    let pod = Pod::start("codes");
    let container = pod.run("good", json!({}), "exit 0");
    assert_eq!((container.ended(), container.status("reason").as_str()), (0, "Completed"));
    let container = pod.run("bad", json!({}), "exit 42");
    assert_eq!((container.ended(), container.status("reason").as_str()), (42, "Error"));
}

/// What a kubelet shows as a container's `message` is the runtime's sentence.
fn the_runtimes_own_words_reach_the_user(_: &World) {
    let pod = Pod::start("words");
    let container = pod.create_words("words", json!({}), &["/no/such/program"]);
    let said = crictl(&["start", &container.id]).bad();
    let words = "exec: \"/no/such/program\": stat /no/such/program: no such file or directory";
    assert!(said.stderr.replace('\\', "").contains(words), "{said}");
    let message = container.status("message");
    assert!(message.contains("OCI runtime create failed: ") && message.contains(words), "{message}");
    assert_eq!((container.status("state").as_str(), container.ended()), ("CONTAINER_EXITED", 128));
}

fn the_environment_reaches_the_program(_: &World) {
    let envs = json!({"envs": [{"key": "COLOUR", "value": "rust"}, {"key": "EMPTY", "value": ""}]});
    assert_eq!(Pod::start("env").output("env", envs, "echo $COLOUR${EMPTY-unset}"), "rust");
}

fn a_working_directory_is_entered(_: &World) {
    let pod = Pod::start("cwd");
    assert_eq!(pod.output("cwd", json!({"working_dir": "/var/tmp"}), "pwd"), "/var/tmp");
    assert_eq!(pod.output("made", json!({"working_dir": "/made/for/this"}), "pwd"), "/made/for/this");
}

fn a_user_by_number_has_these_ids(_: &World) {
    let context =
        json!({"run_as_user": {"value": 1234}, "run_as_group": {"value": 4321}, "supplemental_groups": [555, 777]});
    assert_eq!(Pod::start("user").output("user", security(context), "id -u; id -g; id -G"), "1234\n4321\n4321 555 777");
}

fn a_user_by_name_has_its_groups(_: &World) {
    let context = json!({"run_as_username": "alice"});
    assert_eq!(Pod::start("name").output("name", security(context), "id -u; id -G"), "1000\n1000 63");
}

fn a_created_container_waits_for_its_start(_: &World) {
    let pod = Pod::start("waits");
    let container = pod.create("waits", json!({}), "echo now");
    assert_eq!(container.status("state"), "CONTAINER_CREATED");
    crictl(&["start", &container.id]).good();
    assert_eq!((container.ended(), container.logs().as_str()), (0, "now\n"));
}

fn a_pod_names_its_runtime(world: &World) {
    let pod = Pod::start("named");
    let inspect = pod.inspect();
    assert_eq!(inspect["status"]["runtimeHandler"], HANDLER, "{inspect}");
    assert_eq!(inspect["info"]["runtimeOptions"]["binary_name"], world.path, "{inspect}");
    let container = pod.run("named", json!({}), "sleep 100");
    let list = crictl(&["ps", "--pod", &pod.id, "--output", "json"]).good();
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(
        (&list["containers"][0]["id"], &list["containers"][0]["state"]),
        (&json!(container.id), &json!("CONTAINER_RUNNING"))
    );
}

/// A test of the tests: the engine must not run another runtime.
fn the_runtime_is_the_one_that_runs(world: &World) {
    let pod = Pod::start("who");
    let container = pod.run("who", json!({}), "sleep 100");
    let list = call(&[&world.path, "--root", STATE, "list", "-q"]).good();
    for id in [&pod.id, &container.id] {
        assert!(list.lines().any(|line| line == id), "{} doesn't know {id}: {list}", world.path);
    }
}

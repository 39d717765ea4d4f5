//! A program runs, with the identity and the surroundings asked for, and its end comes back.

use std::fs;

use serde_json::Value;

use super::{IMAGE, Task, ctr, fresh, making, run, run_words};
use crate::call::call;
use crate::scenario::{Scenario, World, scenarios};

pub const SCENARIOS: &[Scenario] = scenarios![
    a_container_says_hello,
    an_exit_code_comes_back,
    a_program_that_is_not_there_is_an_error,
    a_file_that_cannot_run_is_an_error,
    the_runtimes_own_words_reach_the_user,
    a_runtime_that_is_not_there_is_an_error,
    the_environment_reaches_the_program,
    a_working_directory_is_entered,
    a_user_by_number_has_these_ids,
    a_user_by_name_has_its_groups,
    the_hostname_is_the_containers,
    a_root_file_system_needs_no_image,
    a_specification_of_the_users_is_run,
    an_annotation_is_in_the_runtimes_state,
    the_runtime_is_the_one_that_runs,
];

/// Where the shim has the runtime keep the containers of `ctr`.
const STATE: &str = "/run/containerd/runc/default";

fn a_container_says_hello(world: &World) {
    assert_eq!(run(world, &[], "echo hello").good(), "hello");
}

fn an_exit_code_comes_back(world: &World) {
    run(world, &[], "exit 42").ends_with(42);
}

fn a_program_that_is_not_there_is_an_error(world: &World) {
    run_words(world, &[], &["/no/such/program"]).ends_with(1).says("/no/such/program");
}

fn a_file_that_cannot_run_is_an_error(world: &World) {
    run_words(world, &[], &["/etc/passwd"]).ends_with(1).says("/etc/passwd").says("permission denied");
}

/// What the runtime writes into its log when it is called by hand is what `ctr` prints.
fn the_runtimes_own_words_reach_the_user(world: &World) {
    let bundle = bundle(world, "wrong", |config| config["process"]["args"] = serde_json::json!(["/no/such/program"]));
    let log = format!("{bundle}/log.json");
    let by_hand = ["--root", "/var/tmp/by-hand", "--log", &log, "--log-format", "json", "create", "--bundle", &bundle];
    call(&[&[world.path.as_str()], &by_hand[..], &["wrong"]].concat()).bad();
    let log = fs::read_to_string(log).expect("the runtime's log");
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    let errors: Vec<Value> = lines.filter(|line| line["level"] == "error").collect();
    let words = errors.last().and_then(|line| line["msg"].as_str()).expect("an error");
    let said = call(&[&making(world, &["run"])[..], &["--rm", IMAGE, "wrong", "/no/such/program"]].concat());
    said.bad().says(&format!("OCI runtime create failed: {words}: unknown"));
}

fn a_runtime_that_is_not_there_is_an_error(_: &World) {
    let name = fresh();
    let words = ["run", "--rm", "--runc-binary", "/no/such/runtime", IMAGE, &name, "true"];
    ctr(&words).bad().says("/no/such/runtime");
}

fn the_environment_reaches_the_program(world: &World) {
    let flags = ["--env", "COLOUR=rust", "--env", "EMPTY="];
    assert_eq!(run(world, &flags, "echo $COLOUR${EMPTY-unset}").good(), "rust");
}

fn a_working_directory_is_entered(world: &World) {
    assert_eq!(run(world, &["--cwd", "/var/tmp"], "pwd").good(), "/var/tmp");
}

fn a_user_by_number_has_these_ids(world: &World) {
    assert_eq!(run(world, &["--user", "1234:4321"], "id -u; id -g").good(), "1234\n4321");
}

fn a_user_by_name_has_its_groups(world: &World) {
    assert_eq!(run(world, &["--user", "alice"], "id -u; id -G").good(), "1000\n1000 63");
}

fn the_hostname_is_the_containers(world: &World) {
    assert_eq!(run(world, &["--hostname", "ship"], "hostname; cat /proc/sys/kernel/hostname").good(), "ship\nship");
}

fn a_root_file_system_needs_no_image(world: &World) {
    let (tree, name) = (tree(), fresh());
    let words = ["--rm", "--rootfs", &tree, &name, "echo", "from a folder"];
    assert_eq!(call(&[&making(world, &["run"])[..], &words].concat()).good(), "from a folder");
}

/// With `--config` nothing comes from containerd: the file is what the runtime gets.
fn a_specification_of_the_users_is_run(world: &World) {
    let bundle = bundle(world, "own", |config| {
        config["process"]["args"] = serde_json::json!(["sh", "-c", "echo $OWN; hostname; id -u"]);
        config["process"]["env"] = serde_json::json!(["OWN=spec", "PATH=/bin"]);
        config["process"]["user"] = serde_json::json!({"uid": 7, "gid": 7});
        config["hostname"] = "specified".into();
    });
    let (config, name) = (format!("{bundle}/config.json"), fresh());
    let output = call(&[&making(world, &["run"])[..], &["--rm", "--config", &config, &name]].concat());
    assert_eq!(output.good(), "spec\nspecified\n7");
}

fn an_annotation_is_in_the_runtimes_state(world: &World) {
    let task = Task::start(world, "noted", &["--annotation", "org.example.colour=rust"], "sleep 100");
    let state = call(&[&world.path, "--root", STATE, "state", task.name]).good();
    let state: Value = serde_json::from_str(&state).expect("a state");
    assert_eq!(state["annotations"]["org.example.colour"], "rust", "{state}");
    assert_eq!((state["status"].as_str(), state["pid"].to_string()), (Some("running"), task.pid()), "{state}");
}

/// A test of the tests: the engine must not run another runtime.
fn the_runtime_is_the_one_that_runs(world: &World) {
    let task = Task::start(world, "who", &[], "sleep 100");
    let list = call(&[&world.path, "--root", STATE, "list", "-q"]).good();
    assert!(list.lines().any(|line| line == task.name), "{} doesn't know it: {list}", world.path);
    drop(task);
    let list = call(&[&world.path, "--root", STATE, "list", "-q"]).good();
    assert!(!list.contains("who"), "{list}");
}

/// The image as a folder.
fn tree() -> String {
    let tree = "/var/tmp/tree";
    fs::create_dir_all(tree).expect("a directory");
    call(&["tar", "-xf", "/usr/share/engines/image.tar", "-C", tree]).good();
    tree.to_owned()
}

/// A bundle with the config that the runtime's own `spec` writes, changed, and without a terminal.
fn bundle(world: &World, name: &str, change: impl FnOnce(&mut Value)) -> String {
    let bundle = format!("/var/tmp/bundle-{name}");
    let _ = fs::remove_dir_all(&bundle);
    fs::create_dir_all(&bundle).expect("a directory");
    call(&[&world.path, "spec", "--bundle", &bundle]).good();
    let path = format!("{bundle}/config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).expect("a config")).expect("JSON");
    config["process"]["terminal"] = false.into();
    // This machine's root may not raise it.
    config["process"]["rlimits"] = serde_json::json!([]);
    config["root"] = serde_json::json!({"path": tree(), "readonly": true});
    change(&mut config);
    fs::write(path, config.to_string()).expect("a config");
    bundle
}

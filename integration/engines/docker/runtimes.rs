//! Which runtime is called: by default, by name, and beside another.

use std::fs;

use super::STATE;
use crate::call::call;
use crate::cli::IMAGE;
use crate::scenario::{Scenario, World, scenarios};

pub const SCENARIOS: &[Scenario] = scenarios![
    the_runtime_is_the_one_that_runs,
    a_runtime_is_chosen_by_its_name,
    a_runtime_that_is_not_registered_is_refused,
    runtimes_run_beside_each_other,
    the_runtime_is_asked_what_it_can,
    the_runtimes_words_arrive_unchanged,
    an_annotation_reaches_the_runtime,
];

/// A test of the tests: the engine must not fall back to another runtime.
fn the_runtime_is_the_one_that_runs(world: &World) {
    let container = world.start("who", &[], "sleep 100");
    let id = container.inspect(".Id");
    let list = call(&[world.path.as_str(), "--root", STATE, "list", "-q"]).good();
    assert!(list.lines().any(|line| line == id), "{} doesn't know {id}: {list}", world.path);
    let state = call(&[world.path.as_str(), "--root", STATE, "state", &id]).good();
    let state: serde_json::Value = serde_json::from_str(&state).expect("a state");
    assert_eq!(
        (state["status"].as_str(), state["pid"].to_string()),
        (Some("running"), container.inspect(".State.Pid"))
    );
}

fn a_runtime_is_chosen_by_its_name(world: &World) {
    let container = world.start("chosen", &["--runtime", &world.runtime], "sleep 100");
    assert_eq!(container.inspect(".HostConfig.Runtime"), world.runtime);
    assert_eq!(container.exec(&[], "echo in").good(), "in");
    let known = world.cli(&["info", "--format", "{{range $name, $_ := .Runtimes}}{{$name}} {{end}}"]).good();
    assert!(known.split(' ').any(|name| name == world.runtime), "{known}");
}

fn a_runtime_that_is_not_registered_is_refused(world: &World) {
    world.cli(&["run", "--rm", "--runtime", "nobodys", IMAGE, "true"]).ends_with(125).says("nobodys");
}

/// Three containers of three runtimes at once, in one state root, and none of them is touched by what is done with another.
fn runtimes_run_beside_each_other(world: &World) {
    let flags = |name| ["--runtime", name];
    let one = world.start("one", &[], "sleep 100");
    let two = world.start("two", &flags("other"), "sleep 100");
    let three = world.start("three", &flags("traced"), "sleep 100");
    for container in [&one, &two, &three] {
        assert_eq!(container.exec(&[], "echo in").good(), "in");
    }
    two.call(&["kill"]).good();
    two.call(&["wait"]).good();
    three.call(&["pause"]).good();
    assert_eq!((one.status(), two.status(), three.status()), ("running".into(), "exited".into(), "paused".into()));
    three.call(&["unpause"]).good();
    assert_eq!(one.exec(&[], "echo still").good(), "still");
    let asked = fs::read_to_string("/var/log/engines/traced.log").expect("what the runtime was asked");
    let id = three.inspect(".Id");
    for verb in [" create ", " start ", " exec ", " pause ", " resume "] {
        assert!(asked.lines().any(|line| line.contains(verb) && line.contains(&id)), "no{verb}of {id}: {asked}");
    }
    // Each answers for its own alone.
    let answers = |path: &str, id: &str| call(&[path, "--root", STATE, "state", id]).code == 0;
    assert!(answers(&world.path, &id));
    assert_eq!(answers("/usr/sbin/runc", &id), world.runtime == "runc");
}

/// dockerd asks for `features` of every runtime, and shows what it was told.
fn the_runtime_is_asked_what_it_can(world: &World) {
    let all: serde_json::Value =
        serde_json::from_str(&world.cli(&["info", "--format", "{{json .Runtimes}}"]).good()).expect("runtimes");
    let told = &all[&world.runtime]["status"]["org.opencontainers.runtime-spec.features"];
    let told: serde_json::Value = serde_json::from_str(told.as_str().unwrap_or_default()).expect("features");
    let own: serde_json::Value =
        serde_json::from_str(&call(&[world.path.as_str(), "features"]).good()).expect("features");
    assert_eq!(told["ociVersionMax"], own["ociVersionMax"], "{all}");
    assert_eq!(told["linux"]["namespaces"], own["linux"]["namespaces"], "{all}");
}

/// The message in the runtime's log is a part of what the user reads, to the letter.
fn the_runtimes_words_arrive_unchanged(world: &World) {
    let cases: [&[&str]; 4] = [
        &["/no/such/program"],
        &["-v", "/var/tmp:/etc/passwd", "true"],
        &["--sysctl", "net.ipv4.no_such_thing=1", "true"],
        &["--user", "alice", "/etc/passwd"],
    ];
    for words in cases {
        let (program, flags) = words.split_last().expect("a program");
        let _ = fs::remove_file("/var/tmp/words");
        let output = world.cli(&[&["run", "--rm", "--runtime", "traced"], flags, &[IMAGE, *program]].concat()).bad();
        let Ok(log) = fs::read_to_string("/var/tmp/words") else { panic!("the runtime didn't fail: {output}") };
        let last = log.lines().rfind(|line| line.contains("\"error\"")).unwrap_or_default();
        let entry: serde_json::Value = serde_json::from_str(last).expect("an entry of the log");
        let message = entry["msg"].as_str().unwrap_or_default().trim();
        assert!(!message.is_empty() && output.stderr.contains(message), "{message:?} isn't in: {output}");
    }
}

fn an_annotation_reaches_the_runtime(world: &World) {
    let container = world.start("noted", &["--annotation", "org.example.colour=rust"], "sleep 100");
    let state = call(&[world.path.as_str(), "--root", STATE, "state", &container.inspect(".Id")]).good();
    let state: serde_json::Value = serde_json::from_str(&state).expect("a state");
    assert_eq!(state["annotations"]["org.example.colour"], "rust", "{state}");
}

//! A program runs, with the identity and the surroundings asked for, and its end comes back.

use super::IMAGE;
use crate::scenario::{Scenario, World, scenarios};

pub const SCENARIOS: &[Scenario] = scenarios![
    a_container_says_hello,
    an_exit_code_comes_back,
    a_signal_is_128_and_its_number,
    a_program_that_is_not_there_is_127,
    a_file_that_cannot_run_is_126,
    the_runtimes_own_words_reach_the_user,
    the_environment_reaches_the_program,
    a_working_directory_is_entered,
    one_that_is_not_there_is_made_or_refused,
    a_user_by_number_has_these_ids,
    a_user_by_name_has_its_groups_and_home,
    a_group_can_be_added,
    the_hostname_is_the_containers,
    a_container_is_created_and_started_later,
    the_engine_names_its_runtime,
];

fn a_container_says_hello(world: &World) {
    assert_eq!(world.run(&[], "echo hello").good(), "hello");
}

fn an_exit_code_comes_back(world: &World) {
    world.run(&[], "exit 42").ends_with(42);
}

fn a_signal_is_128_and_its_number(world: &World) {
    world.cli(&["run", "--rm", "--init", IMAGE, "sh", "-c", "kill -KILL $$"]).ends_with(137);
}

fn a_program_that_is_not_there_is_127(world: &World) {
    world.cli(&["run", "--rm", IMAGE, "/no/such/program"]).ends_with(127).says("/no/such/program");
}

fn a_file_that_cannot_run_is_126(world: &World) {
    world.cli(&["run", "--rm", IMAGE, "/etc/passwd"]).ends_with(126).says("/etc/passwd");
}

/// What the runtime writes into its log is what the engine shows: the reason, word by word.
fn the_runtimes_own_words_reach_the_user(world: &World) {
    let output = world.cli(&["run", "--rm", IMAGE, "/no/such/program"]).bad();
    let words = ["exec:", "/no/such/program", "no such file or directory"];
    for word in words {
        assert!(output.stderr.to_lowercase().contains(word), "no word of {word:?}: {output}");
    }
}

fn the_environment_reaches_the_program(world: &World) {
    assert_eq!(world.run(&["-e", "COLOUR=rust", "-e", "EMPTY="], "echo $COLOUR${EMPTY-unset}").good(), "rust");
}

fn a_working_directory_is_entered(world: &World) {
    assert_eq!(world.run(&["-w", "/var/tmp"], "pwd").good(), "/var/tmp");
}

/// Docker makes it, Podman refuses: neither leaves that to the runtime.
fn one_that_is_not_there_is_made_or_refused(world: &World) {
    let output = world.run(&["-w", "/made/for/this"], "pwd");
    if world.is_docker() {
        assert_eq!(output.good(), "/made/for/this");
    } else {
        output.ends_with(126).says("/made/for/this");
    }
}

fn a_user_by_number_has_these_ids(world: &World) {
    assert_eq!(world.run(&["-u", "1234:4321"], "id -u; id -g").good(), "1234\n4321");
}

fn a_user_by_name_has_its_groups_and_home(world: &World) {
    assert_eq!(world.run(&["-u", "alice"], "id -u; id -G; echo $HOME").good(), "1000\n1000 63\n/tmp");
}

fn a_group_can_be_added(world: &World) {
    let groups = world.run(&["-u", "alice", "--group-add", "777"], "id -G").good();
    assert!(groups.split(' ').any(|group| group == "777"), "{groups}");
}

fn the_hostname_is_the_containers(world: &World) {
    assert_eq!(world.run(&["--hostname", "ship"], "hostname; cat /proc/sys/kernel/hostname").good(), "ship\nship");
}

fn a_container_is_created_and_started_later(world: &World) {
    world.cli(&["create", "--name", "later", IMAGE, "echo", "now"]).good();
    let status = world.inspect("later", ".State.Status");
    let output = world.cli(&["start", "-a", "later"]);
    world.cli(&["rm", "later"]).good();
    assert_eq!((status.as_str(), output.good().as_str()), ("created", "now"));
}

fn the_engine_names_its_runtime(world: &World) {
    let field = if world.is_docker() { ".HostConfig.Runtime" } else { ".OCIRuntime" };
    let container = world.start("named", &[], "sleep 100");
    assert_eq!(container.inspect(field), world.runtime);
    assert_eq!(container.status(), "running");
}

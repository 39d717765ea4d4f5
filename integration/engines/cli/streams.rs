//! Terminals, pipes and logs.

use super::IMAGE;
use crate::scenario::{Scenario, World, scenarios};

pub const SCENARIOS: &[Scenario] = scenarios![
    a_terminal_is_the_programs_stdin_and_stdout,
    a_terminal_has_a_size,
    without_a_terminal_there_is_none,
    stdin_reaches_the_program_to_its_end,
    more_than_a_pipe_holds_comes_through,
    stdout_and_stderr_are_two,
    logs_are_kept_and_followed,
];

fn a_terminal_is_the_programs_stdin_and_stdout(world: &World) {
    let output =
        world.cli_on_terminal(&["run", "--rm", "-it", IMAGE, "sh", "-c", "tty; test -t 0 -a -t 1 && echo yes"], "");
    let said = output.good();
    assert!(said.contains("/dev/pts/0") && said.contains("yes"), "{said}");
}

fn a_terminal_has_a_size(world: &World) {
    let inner = [
        world.program,
        "run",
        "--rm",
        "-it",
        IMAGE,
        "sh",
        "-c",
        "i=0; until stty size | grep '33 111' || [ $((i+=1)) -gt 200 ]; do sleep 0.05; done",
    ];
    let line = format!("stty rows 33 cols 111; exec {}", inner.map(crate::call::quoted).join(" "));
    let said = crate::call::call_on_terminal(&["sh", "-c", &line], "").good();
    assert!(said.contains("33 111"), "{said}");
}

fn without_a_terminal_there_is_none(world: &World) {
    assert_eq!(world.run(&[], "test -t 0 || test -t 1 || echo none").good(), "none");
}

fn stdin_reaches_the_program_to_its_end(world: &World) {
    let text = "line\n".repeat(20_000);
    let output = world.cli_with(&["run", "--rm", "-i", IMAGE, "wc", "-c"], &text).good();
    assert_eq!(output, text.len().to_string());
}

fn more_than_a_pipe_holds_comes_through(world: &World) {
    let output = world.run(&[], "yes 0123456789abcde | head -c 262144").good();
    assert_eq!(output.len(), 262_144 - 1, "the last newline is cut off");
}

fn stdout_and_stderr_are_two(world: &World) {
    let output = world.run(&[], "echo out; echo err >&2");
    assert_eq!(output.stdout, "out\n");
    assert!(output.stderr.contains("err") && !output.stderr.contains("out"), "{output}");
}

fn logs_are_kept_and_followed(world: &World) {
    let container = world.start("logged", &[], "echo first; echo second >&2; sleep 0.5; echo third");
    let followed = container.call(&["logs", "-f"]);
    assert_eq!(followed.stdout, "first\nthird\n");
    let kept = world.cli(&["logs", "--tail", "1", "logged"]);
    assert_eq!(kept.stdout, "third\n", "{kept}");
}

//! Terminals and pipes.

use super::{IMAGE, Task, fresh, making, run};
use crate::call::{call, call_on_terminal, quoted};
use crate::scenario::{Scenario, World, scenarios};

pub const SCENARIOS: &[Scenario] = scenarios![
    a_terminal_is_the_programs_stdin_and_stdout,
    a_terminal_has_a_size,
    without_a_terminal_there_is_none,
    stdin_reaches_the_program_to_its_end,
    a_megabyte_comes_through,
    stdout_and_stderr_are_two,
    a_log_is_kept_in_a_file,
    without_streams_it_runs_as_well,
];

fn a_terminal_is_the_programs_stdin_and_stdout(world: &World) {
    let name = fresh();
    let words = ["--rm", "--tty", IMAGE, &name, "sh", "-c", "tty; test -t 0 -a -t 1 && echo yes; exit 9"];
    let said = call_on_terminal(&[&making(world, &["run"])[..], &words].concat(), "").ends_with(9).stdout;
    assert!(said.contains("/dev/pts/0") && said.contains("yes"), "{said}");
}

fn a_terminal_has_a_size(world: &World) {
    let name = fresh();
    // The size is set once the task runs, and without one busybox knows no answer: the program asks until it has one.
    let script = "i=0; until stty -a | grep 'rows 33; columns 111' || [ $((i+=1)) -gt 200 ]; do sleep 0.05; done";
    let words = [&making(world, &["run"])[..], &["--rm", "--tty", IMAGE, &name, "sh", "-c", script]].concat();
    let words: Vec<String> = words.into_iter().map(quoted).collect();
    let line = format!("stty rows 33 cols 111; exec {}", words.join(" "));
    let said = call_on_terminal(&["sh", "-c", &line], "").good();
    assert!(said.contains("rows 33; columns 111"), "{said}");
}

fn without_a_terminal_there_is_none(world: &World) {
    assert_eq!(run(world, &[], "test -t 0 || test -t 1 || echo none").good(), "none");
}

/// The writer waits until the program is there: `ctr` forgets an end of its stdin that comes before the task is made, because
/// only then it knows whose stdin to close (containerd's cmd/ctr/commands/tasks: `stdinCloser`).
fn stdin_reaches_the_program_to_its_end(world: &World) {
    std::fs::create_dir_all("/var/tmp/stdin").expect("a directory");
    let text = "line\n".repeat(20_000);
    std::fs::write("/var/tmp/stdin/text", &text).expect("a file");
    let name = fresh();
    let flags = ["--rm", "--mount", "type=bind,src=/var/tmp/stdin,dst=/ready,options=rbind", IMAGE, &name];
    let words = [&making(world, &["run"])[..], &flags, &["sh", "-c", "touch /ready/now; wc -c"]].concat();
    let words: Vec<String> = words.into_iter().map(quoted).collect();
    let feed = "until [ -e /var/tmp/stdin/now ]; do sleep 0.05; done; cat /var/tmp/stdin/text";
    let line = format!("{} < <({feed})", words.join(" "));
    let said = call(&["bash", "-c", &line]);
    let _ = std::fs::remove_file("/var/tmp/stdin/now");
    assert_eq!(said.good(), text.len().to_string());
}

fn a_megabyte_comes_through(world: &World) {
    let output = run(world, &[], "yes 0123456789abcde | head -c 1048576").good();
    assert_eq!(output.len(), 1_048_576 - 1, "the last newline is cut off");
}

fn stdout_and_stderr_are_two(world: &World) {
    let output = run(world, &[], "echo out; echo err >&2");
    assert_eq!(output.stdout, "out\n");
    assert!(output.stderr.contains("err") && !output.stderr.contains("out"), "{output}");
}

fn a_log_is_kept_in_a_file(world: &World) {
    let task = Task::start(world, "logged", &[], "echo first; echo second >&2");
    assert_eq!(task.ended(), "0");
    crate::scenario::until("both are there", 10, || {
        task.logs().contains("first\n") && task.logs().contains("second\n")
    });
}

fn without_streams_it_runs_as_well(world: &World) {
    let output = run(world, &["--null-io"], "echo nobody hears; exit 6").ends_with(6);
    assert_eq!(output.stdout, "");
}

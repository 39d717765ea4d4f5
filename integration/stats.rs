//! `stats`: what containers use, for people: a table that can be read, numbers that are true, and an end.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::events::place;
use crate::harness::{Case, Lines, Pty, Sandbox, cases};

pub const CASES: &[Case] = cases![
    every_running_container_has_a_row,
    a_busy_container_shows_its_share_of_cpu,
    json_is_an_array_a_table,
    a_live_table_goes_on_until_it_is_told_to_end,
    a_live_table_ends_with_the_containers_that_were_named,
    a_container_that_ends_disappears,
    on_a_terminal_a_table_takes_the_place_of_the_last,
    without_containers_there_is_a_header,
    a_container_that_does_not_run_is_refused,
];

const HEADER: &str = "ID STATUS CPU % MEM USAGE / LIMIT MEM % PIDS IO READ / WRITE";

/// With one space between words.
fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn every_running_container_has_a_row(sb: &Sandbox) {
    sb.only_corten("has stats");
    let bundle = sb.bundle().tool(["pause"]).build();
    let (first, second, stopped) = (sb.started(&bundle), sb.create(&bundle), sb.started(&bundle));
    stopped.stop();
    let output = sb.call(["stats", "--no-stream"]).output();
    let lines = output.ok().lines();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert_eq!(squeezed(lines[0]), HEADER);
    assert!(squeezed(lines[1]).starts_with(&format!("{} running ", first.id)), "{lines:#?}");
    assert!(squeezed(lines[2]).starts_with(&format!("{} created ", second.id)), "{lines:#?}");
    // Numbers end where their heading ends.
    let end_of = |line: &str, word: &str| line.find(word).map(|at| at + word.len());
    assert_eq!(end_of(lines[0], "CPU %"), end_of(lines[1], "%"), "{lines:#?}");
    let named = sb.call(["stats", "--no-stream", &second.id]).output();
    assert_eq!(named.ok().lines().len(), 2);
    assert!(named.stdout.contains(&second.id), "{named:?}");
}

fn a_busy_container_shows_its_share_of_cpu(sb: &Sandbox) {
    sb.only_corten("has stats");
    let busy = sb.started(&sb.bundle().tool(["burn", "600000"]).build());
    let idle = sb.started(&sb.bundle().tool(["pause"]).build());
    let rows = sb.call(["stats", "--no-stream", "--json", &busy.id, &idle.id]).output().json();
    let of = |id: &str| rows.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone();
    // On a machine with other work it gets a part of a CPU; one thread can't get more than one.
    let share = of(&busy.id)["cpuPercent"].as_f64().unwrap();
    assert!((5.0..130.0).contains(&share), "{rows}");
    assert!(of(&idle.id)["cpuPercent"].as_f64().unwrap() < share, "{rows}");
    if place(idle.pid(), "memory").is_some() {
        let (used, limit) = (&of(&idle.id)["memoryUsage"], &of(&idle.id)["memoryLimit"]);
        assert!(used.as_u64() > Some(0) && used.as_u64() < limit.as_u64(), "{rows}");
    }
    assert_eq!(of(&idle.id)["pids"], 1);
}

fn json_is_an_array_a_table(sb: &Sandbox) {
    sb.only_corten("has stats");
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let mut stats = sb.call(["stats", "--json", &container.id]).spawn();
    for _ in 0..2 {
        let rows: Value = serde_json::from_str(&stats.lines.next_line().expect("a line")).unwrap();
        let keys: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
        let expected = "cpuPercent id ioRead ioWrite memoryLimit memoryPercent memoryUsage pids pidsLimit status";
        assert_eq!(keys, expected.split(' ').collect::<Vec<_>>());
        assert_eq!(rows[0]["id"], container.id.as_str());
        assert_eq!(rows.as_array().unwrap().len(), 1);
    }
    stats.signal(Signal::SIGTERM);
    assert_eq!(stats.wait(), 0, "{}", stats.stderr());
}

fn a_live_table_goes_on_until_it_is_told_to_end(sb: &Sandbox) {
    sb.only_corten("has stats");
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let mut stats = sb.call(["stats"]).spawn();
    assert_eq!(squeezed(&stats.lines.next_line().unwrap()), HEADER);
    // Away from a terminal the header stands there once, so that rows can be counted.
    for _ in 0..2 {
        assert!(stats.lines.next_line().unwrap().starts_with(&container.id));
    }
    stats.signal(Signal::SIGINT);
    assert_eq!(stats.wait(), 0, "{}", stats.stderr());
    assert_eq!(stats.stderr(), "");
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let mut stats = sb.call(["stats"]).stdout(writer).spawn();
    drop(reader);
    assert_eq!(stats.wait(), 0, "{}", stats.stderr());
}

fn a_live_table_ends_with_the_containers_that_were_named(sb: &Sandbox) {
    sb.only_corten("has stats");
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let mut stats = sb.call(["stats", &container.id]).spawn();
    stats.lines.next_line().unwrap();
    assert!(stats.lines.next_line().unwrap().starts_with(&container.id));
    container.stop();
    while stats.lines.next_line().is_some() {}
    assert_eq!(stats.wait(), 0, "{}", stats.stderr());
}

fn a_container_that_ends_disappears(sb: &Sandbox) {
    sb.only_corten("has stats");
    let bundle = sb.bundle().tool(["pause"]).build();
    let (stays, goes) = (sb.started(&bundle), sb.started(&bundle));
    let mut stats = sb.call(["stats", "--json"]).spawn();
    let mut ids = || -> Vec<String> {
        let rows: Value = serde_json::from_str(&stats.lines.next_line().unwrap()).unwrap();
        rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(), [stays.id.clone(), goes.id.clone()]);
    goes.stop();
    goes.verb("delete").ok();
    // The table that was being made may still have it.
    let after: Vec<_> = (0..2).map(|_| ids()).collect();
    assert_eq!(after[1], [stays.id.clone()], "{after:?}");
}

fn on_a_terminal_a_table_takes_the_place_of_the_last(sb: &Sandbox) {
    sb.only_corten("has stats");
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let pty = Pty::open();
    pty.resize(24, 40);
    let mut stats = sb.call(["stats", &container.id]).stdout(pty.peer()).spawn();
    let mut lines: Lines = pty.lines();
    let first: Vec<String> = (0..2).map(|_| lines.next_line().unwrap()).collect();
    assert!(first[0].starts_with("ID") && first[1].starts_with(&container.id), "{first:?}");
    // Cut to the terminal's forty columns, with what clears the rest of the line behind.
    assert!(first.iter().all(|line| line.ends_with("\x1b[K") && line.len() <= 40 + "\x1b[K".len()), "{first:?}");
    assert!(lines.next_line().unwrap().starts_with("\x1b[J\x1b[2AID"));
    stats.signal(Signal::SIGINT);
    assert_eq!(stats.wait(), 0, "{}", stats.stderr());
}

fn without_containers_there_is_a_header(sb: &Sandbox) {
    sb.only_corten("has stats");
    assert_eq!(squeezed(&sb.call(["stats", "--no-stream"]).output().ok().stdout), HEADER);
    assert_eq!(sb.call(["stats", "--no-stream", "--json"]).output().ok().stdout, "[]\n");
}

fn a_container_that_does_not_run_is_refused(sb: &Sandbox) {
    sb.only_corten("has stats");
    let bundle = sb.bundle().tool(["pause"]).build();
    let (runs, stopped) = (sb.started(&bundle), sb.started(&bundle));
    stopped.stop();
    let both = sb.call(["stats", "--no-stream", &runs.id, "ct-nobody"]).output();
    both.fails_with(&["ct-nobody: container does not exist"]);
    let output = sb.call(["stats", &runs.id, &stopped.id]).output();
    output.fails_with(&[&format!("container with id {} is not running", stopped.id)]);
    sb.call(["stats", "a/b"]).output().fails_with(&["invalid container ID format"]);
}

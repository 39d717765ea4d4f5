//! `mounts` that fails, or dies, at every one of its steps: all is as before.

use nix::sys::signal::Signal;

use super::{added, places, remove};
use crate::exec::waiting;
use crate::harness::{Case, Container, Sandbox, cases, scaled};
use crate::killing::wait_until;

pub const CASES: &[Case] = cases![anyone:
    an_add_that_fails_at_a_step_is_told_and_leaves_nothing,
    an_add_that_dies_at_a_step_leaves_nothing,
    the_same_in_a_user_namespace,
    a_removal_that_fails_or_dies_at_a_step_leaves_what_it_says,
    who_stops_what_mounts_holds_nothing_up,
    an_add_that_is_killed_at_any_moment_leaves_all_or_nothing,
    a_container_that_ends_meanwhile_is_no_hang,
];

const IN_THE_CHILD: [&str; 2] = ["stage_one", "stage_two"];

/// One of each: a file system that takes the pid namespace, a bind, a file, a tmpfs that becomes read-only last.
fn all(sb: &Sandbox) -> Vec<String> {
    let source = sb.tree(&format!("source-{}", sb.number()), &[("file", "")]);
    let source = source.display();
    vec![
        "type=tmpfs,target=/t,ro".to_owned(),
        format!("source={source},target=/t/b,ro,rslave"),
        format!("source={source}/file,target=/etc/file"),
        "type=proc,target=/p".to_owned(),
    ]
}

const TARGETS: [&str; 3] = ["/t", "/etc/file", "/p"];

/// Has an `add` fail at one step after the other, until there is none of that number; how many there were.
fn fail_all(sb: &Sandbox, container: &Container, list: &str, how: &str) -> usize {
    let before = places(container);
    let mounts = all(sb);
    for step in 0.. {
        let point = format!("{list}:{step}{how}");
        let flags = mounts.iter().flat_map(|mount| ["--mount", mount]);
        let output = sb.call(["mounts", "add", &container.id]).args(flags).global(&["--fault", &point]).output();
        if output.code == 0 {
            remove(sb, &container.id, &TARGETS).ok();
            assert_eq!(places(container), before);
            return step;
        }
        assert_eq!(output.code, 1, "{point}: {}", output.stderr);
        let words = if how.is_empty() { "injected fault" } else { "mounting process was killed by" };
        assert!(output.stderr.contains(words), "{point}: {}", output.stderr);
        assert!(!output.stderr.contains("may still be"), "{point}: {}", output.stderr);
        assert_eq!(places(container), before, "{point}");
        assert!(added(sb, &container.id).is_empty(), "{point}");
        assert!(step < 100, "{list} has no end");
    }
    unreachable!("the numbers end")
}

fn an_add_that_fails_at_a_step_is_told_and_leaves_nothing(sb: &Sandbox) {
    let container = waiting(sb);
    for list in ["host", "stage_one", "stage_two"] {
        assert!(fail_all(sb, &container, list, "") > 0, "{list} has no step");
    }
    assert_eq!(container.status(), "running");
}

fn an_add_that_dies_at_a_step_leaves_nothing(sb: &Sandbox) {
    let container = waiting(sb);
    for list in IN_THE_CHILD {
        assert!(fail_all(sb, &container, list, ":kill") > 0, "{list} has no step");
    }
    assert_eq!(container.status(), "running");
}

fn the_same_in_a_user_namespace(sb: &Sandbox) {
    sb.needs_root();
    let container = sb.started(&sb.bundle().user_namespace().tool(["pause"]).build());
    for list in IN_THE_CHILD {
        for how in ["", ":kill"] {
            assert!(fail_all(sb, &container, list, how) > 0, "{list} has no step");
        }
    }
}

fn a_removal_that_fails_or_dies_at_a_step_leaves_what_it_says(sb: &Sandbox) {
    let container = waiting(sb);
    let none = places(&container).len();
    for (list, how) in
        [("host", ""), ("stage_one", ""), ("stage_two", ""), ("stage_one", ":kill"), ("stage_two", ":kill")]
    {
        for step in 0.. {
            super::add(sb, &container.id, &["type=tmpfs,target=/a", "type=tmpfs,target=/b"]).ok();
            let point = format!("{list}:{step}{how}");
            let call = sb.call(["mounts", "remove", &container.id, "/a", "/b"]).global(&["--fault", &point]);
            let output = call.output();
            if output.code == 0 {
                break;
            }
            // All are found before the first one goes; after that nothing is left that could fail but by this flag.
            let left = added(sb, &container.id);
            let goes = ["unmount ", "written the mounts down"].iter().any(|step| output.stderr.contains(step));
            assert!(goes || left == ["/a", "/b"], "{point}: {left:?}: {}", output.stderr);
            assert_eq!(places(&container).len(), none + left.len(), "{point}");
            left.iter().for_each(|target| {
                remove(sb, &container.id, &[target]).ok();
            });
            assert!(step < 100, "{list} has no end");
        }
    }
    assert_eq!(places(&container).len(), none);
}

/// As processes of the container can that see it: in its pid namespace, with its user. The lock is let go in the end.
fn who_stops_what_mounts_holds_nothing_up(sb: &Sandbox) {
    let container = waiting(sb);
    let before = places(&container);
    let mounts = all(sb);
    let patience = ["--patience", "300"];
    for step in 0.. {
        let point = format!("stage_two:{step}:stop");
        let flags = mounts.iter().flat_map(|mount| ["--mount", mount]);
        let call = sb.call(["mounts", "add", &container.id]).args(flags).global(&patience);
        let output = call.global(&["--fault", &point]).output();
        if output.code == 0 {
            remove(sb, &container.id, &TARGETS).ok();
            break;
        }
        output.fails_with(&["timed out", "may have stopped"]);
        assert!(!output.stderr.contains("may still be"), "{point}: {}", output.stderr);
        assert_eq!(places(&container), before, "{point}");
        assert!(step > 0 || added(sb, &container.id).is_empty(), "{point}");
        assert!(step < 100, "there is no end");
    }
    super::add(sb, &container.id, &["type=tmpfs,target=/a"]).ok();
    let call = sb.call(["mounts", "remove", &container.id, "/a"]).global(&patience);
    call.global(&["--fault", "stage_two:1:stop"]).output().fails_with(&["timed out"]);
    remove(sb, &container.id, &["/a"]).ok();
    assert_eq!(places(&container), before);
}

/// Whoever is at work when its caller is killed takes off what it has mounted, unless all is on record.
fn an_add_that_is_killed_at_any_moment_leaves_all_or_nothing(sb: &Sandbox) {
    let container = waiting(sb);
    let before = places(&container);
    let mounts =
        ["--mount", "type=tmpfs,target=/a", "--mount", "type=tmpfs,target=/b", "--mount", "type=tmpfs,target=/c"];
    let begun = std::time::Instant::now();
    sb.call(["mounts", "add", &container.id]).args(mounts).output().ok();
    let whole = begun.elapsed();
    remove(sb, &container.id, &["/a", "/b", "/c"]).ok();
    let others = sb.processes();
    let rounds = scaled(60) as u32;
    for round in 0..rounds {
        let running = sb.call(["mounts", "add", &container.id]).args(mounts).own_group().spawn();
        let moment = std::time::Instant::now() + whole * (2 * round) / rounds;
        while std::time::Instant::now() < moment {
            std::thread::yield_now();
        }
        match round % 2 {
            0 => running.signal(Signal::SIGKILL),
            // As by ctrl-c at a terminal, which means all of its processes.
            _ => drop(nix::sys::signal::killpg(nix::unistd::Pid::from_raw(running.pid()), Signal::SIGINT)),
        }
        drop(running);
        wait_until("nobody mounts any more", || sb.processes().iter().all(|pid| others.contains(pid)));
        let there = added(sb, &container.id);
        assert!(there.is_empty() || there == ["/a", "/b", "/c"], "{there:?}");
        assert_eq!(places(&container).len(), before.len() + there.len());
        if !there.is_empty() {
            remove(sb, &container.id, &["/a", "/b", "/c"]).ok();
        }
    }
}

fn a_container_that_ends_meanwhile_is_no_hang(sb: &Sandbox) {
    for _ in 0..scaled(10) {
        let container = waiting(sb);
        let mounts = ["--mount", "type=tmpfs,target=/a", "--mount", "type=proc,target=/p"];
        let mut calls: Vec<_> =
            (0..3).map(|_| sb.call(["mounts", "add", &container.id]).args(mounts).spawn()).collect();
        container.stop();
        for call in &mut calls {
            let code = call.wait();
            assert!(code == 0 || call.stderr().contains("container not running"), "{code}: {}", call.stderr());
        }
        sb.call(["delete", &container.id]).output().ok();
    }
    sb.assert_nothing_left();
}

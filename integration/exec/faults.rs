//! `exec` that fails, or dies, at every one of its steps: the container stays as it is, and nothing is left in it.

use nix::sys::signal::Signal;
use serde_json::json;

use super::{exec, waiting};
use crate::harness::{Case, Container, Sandbox, cases, scaled};
use crate::killing::wait_until;

pub const CASES: &[Case] = cases![anyone:
    every_failing_step_is_told_and_leaves_nothing,
    every_death_at_a_step_is_noticed_and_leaves_nothing,
    an_exec_that_is_killed_at_any_moment_leaves_no_orphan,
    a_container_that_ends_meanwhile_is_no_hang,
];

/// The lists of an `exec`, and those that the new process itself interprets.
const LISTS: [&str; 5] = ["host", "stage_one", "stage_two", "ready", "start"];
const IN_THE_CHILD: [&str; 3] = ["stage_one", "stage_two", "start"];

/// Who is in the container, by ps.
fn inside(sb: &Sandbox, container: &Container) -> usize {
    sb.call(["ps", "--format", "json", &container.id]).output().ok().json().as_array().map_or(0, Vec::len)
}

/// Has the steps fail one after the other, until there is none of that number; how many there were.
fn fail_all(sb: &Sandbox, container: &Container, list: &str, how: &str) -> usize {
    let pid = sb.path("fault.pid");
    let pid = pid.to_str().unwrap();
    for step in 0.. {
        let point = format!("{list}:{step}{how}");
        let call = sb.call(["exec", "--pid-file", pid, &container.id, "/bin/probe", "probe", "--", "true"]);
        let output = call.global(&["--fault", &point]).output();
        if output.code == 0 {
            std::fs::remove_file(pid).unwrap();
            return step;
        }
        // From its last step on a death is the program's own, and the pid file was written before.
        if list == "start" && [137, 139].contains(&output.code) {
            std::fs::remove_file(pid).unwrap();
            continue;
        }
        assert_eq!(output.code, 255, "{point}: {}", output.stderr);
        if how.is_empty() {
            assert!(output.stderr.contains("injected fault"), "{point}: {}", output.stderr);
        }
        assert!(!std::path::Path::new(pid).exists(), "{point}: the pid file is left");
        wait_until("the process is gone", || inside(sb, container) == 1);
        assert!(step < 200, "{list} has no end");
    }
    unreachable!("the numbers end")
}

fn rich(sb: &Sandbox) -> Container<'_> {
    let bundle = sb.bundle().tool(["pause"]).namespace("cgroup", None).set("/process/oomScoreAdj", 200);
    let bundle = bundle
        .set("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]))
        .set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 1}))
        .set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    sb.started(&bundle.build())
}

fn every_failing_step_is_told_and_leaves_nothing(sb: &Sandbox) {
    sb.only_corten("has faults");
    let container = rich(sb);
    for list in LISTS {
        assert!(fail_all(sb, &container, list, "") > 0, "{list} has no step");
    }
    assert_eq!(container.status(), "running");
}

fn every_death_at_a_step_is_noticed_and_leaves_nothing(sb: &Sandbox) {
    sb.only_corten("has faults");
    let container = rich(sb);
    for list in IN_THE_CHILD {
        assert!(fail_all(sb, &container, list, ":kill") > 0, "{list} has no step");
    }
    assert_eq!(container.status(), "running");
}

/// Whoever is in a pid namespace and isn't reaped keeps its init from ending.
fn an_exec_that_is_killed_at_any_moment_leaves_no_orphan(sb: &Sandbox) {
    let container = waiting(sb);
    // From the shortest to twice what a whole one takes, so that every moment has its turn.
    let begun = std::time::Instant::now();
    exec(sb, &container.id, &[], &["true"]).ok();
    let whole = begun.elapsed();
    let rounds = scaled(60) as u32;
    for round in 0..rounds {
        let call = sb.call(["exec", &container.id, "/bin/probe", "probe", "--", "true"]).own_group();
        let running = call.spawn();
        let moment = std::time::Instant::now() + whole * (2 * round) / rounds;
        while std::time::Instant::now() < moment {
            std::thread::yield_now();
        }
        running.signal(Signal::SIGKILL);
        drop(running);
    }
    wait_until("all have gone", || inside(sb, &container) == 1);
    container.stop();
    sb.call(["delete", &container.id]).output().ok();
    sb.assert_nothing_left();
}

fn a_container_that_ends_meanwhile_is_no_hang(sb: &Sandbox) {
    for _ in 0..scaled(10) {
        let container = waiting(sb);
        let calls: Vec<_> =
            (0..3).map(|_| sb.call(["exec", &container.id, "/bin/probe", "probe", "--", "pause"]).spawn()).collect();
        container.stop();
        for mut call in calls {
            let code = call.wait();
            assert!([137, 255].contains(&code), "{code}");
        }
        sb.call(["delete", &container.id]).output().ok();
    }
}

//! `run`: the container as one command. Exit codes, signals, standard streams, and what stays afterwards.

use nix::sys::signal::Signal;

use crate::harness::{Case, Lines, Pidfd, Sandbox, SocketServer, cases};

pub const CASES: &[Case] = cases![anyone:
    the_exit_code_is_the_container_s,
    a_death_by_signal_is_128_and_its_number,
    an_init_that_dies_of_its_own_signal_counts_too,
    signals_are_forwarded,
    a_finished_container_leaves_nothing,
    keep_leaves_the_stopped_container,
    detach_leaves_the_running_container,
    a_detached_container_writes_where_its_caller_wrote,
    stdin_goes_through_to_its_last_byte,
    stdout_and_stderr_stay_apart,
    a_reader_that_leaves_does_not_hang_the_runtime,
    no_subreaper_changes_nothing_for_the_container,
    a_run_that_fails_leaves_nothing,
    create_and_run_take_the_same_flags,
    orphans_are_the_init_s_children,
];

fn the_exit_code_is_the_container_s(sb: &Sandbox) {
    for code in ["0", "1", "7", "126", "255"] {
        let output = sb.run(&sb.bundle().tool(["exit", code]).build());
        assert_eq!(output.code.to_string(), code, "{output:?}");
    }
}

fn a_death_by_signal_is_128_and_its_number(sb: &Sandbox) {
    let (mut running, id) = sb.run_in_background(&sb.bundle().tool(["pause"]).build(), &[]);
    running.lines.expect_line("ready");
    sb.call(["kill"]).args([&id, "KILL"]).output().ok();
    assert_eq!(running.wait(), 137);
    sb.assert_nothing_left();
}

fn an_init_that_dies_of_its_own_signal_counts_too(sb: &Sandbox) {
    sb.needs_root();
    // Only outside a pid namespace of its own does an init get a signal's default action from itself.
    let bundle = sb.bundle().without_namespace("pid").tool(["kill-self", "TERM"]).build();
    assert_eq!(sb.run(&bundle).code, 143);
}

fn signals_are_forwarded(sb: &Sandbox) {
    let (mut running, _) = sb.run_in_background(&sb.bundle().tool(["signal-echo", "5"]).build(), &[]);
    running.lines.expect_line("ready");
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGALRM] {
        running.signal(signal);
        // A runtime written in Go forwards its own scheduler's SIGURG too.
        let told = std::iter::from_fn(|| running.lines.next_line()).find(|line| line != "SIGURG");
        assert_eq!(told.as_deref(), Some(signal.as_str()));
    }
    running.signal(Signal::SIGTERM);
    running.lines.expect_line("SIGTERM");
    assert_eq!(running.wait(), 5);
}

fn a_finished_container_leaves_nothing(sb: &Sandbox) {
    sb.run(&sb.bundle().tool(["true"]).build()).ok();
    sb.assert_nothing_left();
}

fn keep_leaves_the_stopped_container(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["exit", "4"]).build();
    let output = sb.run_with(&bundle, |call| call.arg("--keep"));
    assert_eq!(output.code, 4, "{output:?}");
    let kept = sb.states();
    assert_eq!(kept.len(), 1);
    assert_eq!(sb.call(["state", &kept[0]]).output().json()["status"], "stopped");
    sb.call(["delete", &kept[0]]).output().ok();
}

fn detach_leaves_the_running_container(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["pause"]).build();
    let pid_file = sb.path("pid");
    let output = sb.run_with(&bundle, |call| call.arg("--detach").arg("--pid-file").arg(&pid_file));
    output.ok();
    let state = sb.call(["state", &sb.states()[0]]).output().json();
    assert_eq!(state["status"], "running");
    assert_eq!(std::fs::read_to_string(pid_file).unwrap(), state["pid"].to_string());
}

fn a_detached_container_writes_where_its_caller_wrote(sb: &Sandbox) {
    let (mut running, _) = sb.run_in_background(&sb.bundle().tool(["echo", "hello", ";", "pause"]).build(), &["-d"]);
    assert_eq!(running.wait(), 0);
    running.lines.expect_line("hello");
    running.lines.expect_line("ready");
}

fn stdin_goes_through_to_its_last_byte(sb: &Sandbox) {
    let text: String = (0..200_000).map(|n| char::from(b' ' + (n % 95) as u8)).collect();
    let output = sb.run_with(&sb.bundle().tool(["cat-stdin"]).build(), |call| call.input(&text));
    assert!(output.ok().stdout == text, "{} of {} bytes came back", output.stdout.len(), text.len());
}

fn stdout_and_stderr_stay_apart(sb: &Sandbox) {
    let output = sb.run(&sb.bundle().tool(["echo", "one", ";", "stderr", "two"]).build());
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("one\n", "two\n"));
}

fn a_reader_that_leaves_does_not_hang_the_runtime(sb: &Sandbox) {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    drop(reader);
    let output = sb.run_with(&sb.bundle().tool(["echo", "nobody listens"]).build(), |call| call.stdout(writer));
    // The toolbox sees a broken pipe and fails; what counts is that the call came back.
    assert!(output.code <= 1 || output.code == 141, "{output:?}");
}

fn no_subreaper_changes_nothing_for_the_container(sb: &Sandbox) {
    let output = sb.run_with(&sb.bundle().tool(["exit", "6"]).build(), |call| call.arg("--no-subreaper"));
    assert_eq!(output.code, 6, "{output:?}");
}

fn a_run_that_fails_leaves_nothing(sb: &Sandbox) {
    let pid_file = sb.path("pid");
    let bundle = sb.bundle().args(["/no/such/program"]).build();
    sb.run_with(&bundle, |call| call.arg("--pid-file").arg(&pid_file)).fails();
    sb.assert_nothing_left();
}

/// What each flag does in full is tested where it belongs; here, that both verbs have it.
fn create_and_run_take_the_same_flags(sb: &Sandbox) {
    sb.only_corten("has --pidfd-socket");
    let bundle = sb.bundle().set("/process/terminal", true).tool(["json", ";", "pause"]).build();
    for verb in [&["create"][..], &["run", "--detach"]] {
        let (console, pidfd, file) = (SocketServer::new(sb), SocketServer::new(sb), sb.path("pid-of-both"));
        let id = sb.id();
        let call = sb.call(verb.iter().copied()).arg("--bundle").arg(&bundle.dir).arg("--pid-file").arg(&file);
        let call = call.arg("--console-socket").arg(console.path()).arg("--pidfd-socket").arg(pidfd.path());
        let flags = ["--no-pivot", "--no-new-keyring", "--preserve-fds", "2", &id];
        let call = call.args(flags).log("text").global(&["--debug"]);
        let output = call.fds("3</etc/passwd 4</etc/group 5</dev/null").output();
        output.ok();
        if verb[0] == "create" {
            sb.call(["start", &id]).output().ok();
        }
        let pid = sb.call(["state", &id]).output().json()["pid"].as_i64().unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), pid.to_string(), "{verb:?}");
        let held = Pidfd::from_fd(pidfd.receive().fds.remove(0));
        assert_eq!(i64::from(held.pid()), pid, "{verb:?}");
        let line = Lines::new(console.receive().fds.remove(0)).next_line().unwrap();
        let report: serde_json::Value = serde_json::from_str(&line).unwrap();
        let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
        assert_eq!(open, ["0", "1", "2", "3", "4"], "{verb:?}");
        assert!(!report["keyring"].as_str().unwrap_or_default().starts_with("_ses.ct-"), "{verb:?}: {line}");
        assert!(!output.log.contains("pivot_root into") && output.log.contains("chroot into it"), "{}", output.log);
        sb.call(["delete", "--force", &id]).output().ok();
    }
}

fn orphans_are_the_init_s_children(sb: &Sandbox) {
    let output = sb.run(&sb.bundle().tool(["orphan", "2", ";", "json"]).build());
    assert_eq!(output.ok().json_last()["procs"].as_array().unwrap().len(), 3);
}

//! What the process of an `exec` is and has, what becomes of its exit code, and what is refused.

use std::fs::{self, File};
use std::io::Write;

use serde_json::{Value, json};

use super::{exec, fails_with, said, seen, waiting};
use crate::harness::{Case, Lines, Pidfd, Pty, Sandbox, SocketServer, cases, words};

pub const CASES: &[Case] = cases![anyone:
    without_flags_it_is_as_the_container_s_process,
    every_flag_changes_its_property,
    a_capability_is_added_and_never_inheritable,
    a_file_describes_the_whole_process,
    what_a_file_leaves_out_confines_it_as_the_container,
    a_mistake_in_a_file_is_told_with_its_line,
    a_mistake_in_a_flag_is_told_with_the_flag,
    the_filter_of_the_container_holds,
    the_home_is_that_of_the_user,
    the_exit_code_is_the_program_s,
    a_program_that_can_t_be_run_is_named_and_is_255,
    a_working_directory_must_be_there_and_inside,
    standard_input_and_output_are_the_caller_s,
    kept_descriptors_arrive_and_no_others,
    a_detached_process_goes_on_and_is_known_by_its_pid_file,
    a_pidfd_arrives_over_its_socket,
    a_signal_to_exec_is_the_program_s,
    a_terminal_is_handed_over_a_console_socket,
    a_terminal_is_lent_by_the_caller,
    a_terminal_without_a_receiver_is_refused,
    cpus_are_those_that_exec_is_given,
    the_log_has_one_object,
];

fn environment(report: &Value) -> Vec<String> {
    let mut all = words(&report["env"]);
    if let Some(map) = report["env"].as_object() {
        all = map.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    }
    all.sort();
    all
}

fn without_flags_it_is_as_the_container_s_process(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["json", ";", "pause"]).set("/process/cwd", "/tmp").set("/process/oomScoreAdj", 300);
    let bundle = bundle
        .set("/process/user", json!({"uid": 7, "gid": 8, "umask": 63}))
        .set("/process/env", json!(["PATH=/bin", "A=1"]))
        .set("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]))
        .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6}))
        .set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 2}))
        .build();
    let container = sb.started(&bundle);
    let inits = said(&container);
    let report = seen(sb, &container.id, &[]);
    for property in [
        "user",
        "env",
        "cwd",
        "capabilities",
        "noNewPrivileges",
        "rlimits",
        "oomScoreAdj",
        "ioPriority",
        "scheduler",
        "keyring",
        "hostname",
        "signals",
        "terminals",
        "seccomp",
        "personality",
    ] {
        assert_eq!(report[property], inits[property], "{property}");
    }
    assert_eq!(report["session"], report["pid"], "it leads a session of its own");
}

fn every_flag_changes_its_property(sb: &Sandbox) {
    sb.needs_root();
    let container = waiting(sb);
    let flags = ["--cwd", "/tmp", "-e", "A=1", "--env", "B=x=y", "--user", "5:6", "-g", "7", "--additional-gids", "8"];
    let report = seen(sb, &container.id, &flags);
    assert_eq!(report["cwd"], "/tmp");
    assert_eq!((&report["user"]["uid"], &report["user"]["gid"]), (&json!(5), &json!(6)));
    assert_eq!(report["user"]["additionalGids"], json!([7, 8]));
    let env = environment(&report);
    assert!(["A=1", "B=x=y", "PATH=/bin"].iter().all(|var| env.iter().any(|given| given == var)), "{env:?}");
    let bundle = sb.bundle().tool(["pause"]).set("/process/noNewPrivileges", false).build();
    let container = sb.started(&bundle);
    assert_eq!(seen(sb, &container.id, &[])["noNewPrivileges"], false);
    assert_eq!(seen(sb, &container.id, &["--no-new-privs"])["noNewPrivileges"], true);
}

/// CVE-2022-29162.
fn a_capability_is_added_and_never_inheritable(sb: &Sandbox) {
    let container = waiting(sb);
    let report = seen(sb, &container.id, &["--cap", "CAP_NET_ADMIN", "-c", "CHOWN"]);
    let has = |set: &str, name: &str| words(&report["capabilities"][set]).iter().any(|known| known == name);
    for set in ["bounding", "effective", "permitted"] {
        for name in ["CAP_NET_ADMIN", "CAP_CHOWN", "CAP_KILL"] {
            assert!(has(set, name), "{name} in {set}: {}", report["capabilities"]);
        }
    }
    assert_eq!(report["capabilities"]["inheritable"], json!([]));
    assert_eq!(report["capabilities"]["ambient"], json!([]));
    sb.only_corten("names it");
    fails_with(
        &exec(sb, &container.id, &["--cap", "CAP_FLY"], &["true"]),
        &["--cap", "unknown capability \"CAP_FLY\""],
    );
}

/// A file for `--process`, as engines write it.
fn file(sb: &Sandbox, change: impl FnOnce(&mut Value)) -> String {
    let mut process = json!({
        "terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["/bin/probe", "probe", "--json"],
        "env": ["PATH=/bin", "FROM=file"], "cwd": "/tmp",
    });
    change(&mut process);
    let path = sb.path(&format!("process-{}.json", sb.number()));
    fs::write(&path, format!("{process:#}")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn by_file(sb: &Sandbox, id: &str, file: &str) -> crate::harness::Output {
    sb.call(["exec", "--process", file, id]).output()
}

fn a_file_describes_the_whole_process(sb: &Sandbox) {
    let container = waiting(sb);
    let path = file(sb, |process| {
        process["user"] = json!({"uid": 3, "gid": 4, "umask": 18});
        process["capabilities"] = json!({"bounding": ["CAP_CHOWN"]});
        process["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
        process["oomScoreAdj"] = json!(500);
    });
    let report = by_file(sb, &container.id, &path).ok().json();
    assert_eq!((&report["user"]["uid"], &report["user"]["gid"]), (&json!(3), &json!(4)));
    assert_eq!((&report["cwd"], &report["oomScoreAdj"]), (&json!("/tmp"), &json!(500)));
    assert_eq!(environment(&report), ["FROM=file", "HOME=/", "PATH=/bin"]);
    assert_eq!(report["capabilities"]["bounding"], json!(["CAP_CHOWN"]));
}

fn what_a_file_leaves_out_confines_it_as_the_container(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["pause"]).set("/process/oomScoreAdj", 400);
    let bundle = bundle.set("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}])).build();
    let container = sb.started(&bundle);
    let report = by_file(sb, &container.id, &file(sb, |_| ())).ok().json();
    let three = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"]);
    assert_eq!(report["capabilities"]["bounding"], three);
    assert_eq!(
        (&report["noNewPrivileges"], &report["oomScoreAdj"]),
        (&json!(true), &json!("400".parse::<i64>().unwrap()))
    );
    assert_eq!(report["rlimits"]["RLIMIT_CORE"]["hard"], 0);
}

fn a_mistake_in_a_file_is_told_with_its_line(sb: &Sandbox) {
    sb.only_corten("names lines");
    let container = waiting(sb);
    let path = file(sb, |process| process["cwd"] = json!("tmp"));
    let name = path.rsplit('/').next().unwrap();
    let line = |words: &str| {
        let text = fs::read_to_string(&path).unwrap();
        format!("{name} line {}", text.lines().position(|line| line.contains(words)).unwrap() + 1)
    };
    fails_with(&by_file(sb, &container.id, &path), &["cwd: Cwd must be an absolute path", &line("\"cwd\"")]);
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("\"tmp\"", "\"/none\"")).unwrap();
    fails_with(&by_file(sb, &container.id, &path), &["cwd: enter working directory /none", &line("\"cwd\"")]);
    let odd = file(sb, |process| process["args"] = json!("sh"));
    fails_with(&by_file(sb, &container.id, &odd), &["args: must be an array"]);
    fails_with(&by_file(sb, &container.id, "/none.json"), &["/none.json not found"]);
}

fn a_mistake_in_a_flag_is_told_with_the_flag(sb: &Sandbox) {
    sb.only_corten("names flags");
    let container = waiting(sb);
    let call = |flags: &[&str]| exec(sb, &container.id, flags, &["true"]);
    fails_with(&call(&["--cwd", "tmp"]), &["--cwd: Cwd must be an absolute path"]);
    fails_with(&call(&["--env", "A"]), &["--env", "invalid environment variable: missing '='"]);
    fails_with(&call(&["--cwd", "/none"]), &["--cwd: enter working directory /none"]);
    fails_with(&call(&["--apparmor", "a b\nc"]), &["--apparmor"]);
    // CVE-2026-30892: what is no number is no user, and above all not user 0.
    for user in ["1x", "root", "-1", "1:"] {
        let output = sb.call(["exec", &format!("--user={user}"), &container.id, "/bin/probe"]).output();
        output.fails_with(&["-user", "no id"]);
    }
    let output = sb.call(["exec", &container.id]).output();
    fails_with(&output, &["exec args cannot be empty"]);
}

fn the_filter_of_the_container_holds(sb: &Sandbox) {
    for no_new_privileges in [true, false] {
        let bundle = sb.bundle().tool(["pause"]).set("/process/noNewPrivileges", no_new_privileges);
        let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]});
        let container = sb.started(&bundle.set("/linux/seccomp", filter).build());
        let output = exec(sb, &container.id, &[], &["try", "mkdir", "/tmp/x"]);
        assert_eq!(output.ok().stdout, "EOPNOTSUPP\n");
        assert_eq!(seen(sb, &container.id, &[])["seccomp"], 2);
    }
}

fn the_home_is_that_of_the_user(sb: &Sandbox) {
    let container = waiting(sb);
    for (user, home) in [("0", "HOME=/root"), ("1000", "HOME=/home/web"), ("77", "HOME=/")] {
        let env = environment(&seen(sb, &container.id, &["--user", user]));
        assert!(env.iter().any(|var| var == home), "{user}: {env:?}");
    }
}

fn the_exit_code_is_the_program_s(sb: &Sandbox) {
    let container = waiting(sb);
    for (tools, code) in [(&["exit", "0"], 0), (&["exit", "7"], 7), (&["exit", "255"], 255)] {
        assert_eq!(exec(sb, &container.id, &[], tools).code, code);
    }
    assert_eq!(exec(sb, &container.id, &[], &["kill-self", "KILL"]).code, 137);
    assert_eq!(exec(sb, &container.id, &[], &["kill-self", "TERM"]).code, 143);
    assert_eq!(container.status(), "running");
}

fn a_program_that_can_t_be_run_is_named_and_is_255(sb: &Sandbox) {
    let container = waiting(sb);
    let call = |program: &str| sb.call(["exec", &container.id, program]).output();
    fails_with(&call("nonexist"), &["exec: \"nonexist\": executable file not found in $PATH"]);
    fails_with(&call("/nonexist"), &["exec: \"/nonexist\": stat /nonexist: no such file or directory"]);
    fails_with(&call("/etc"), &["exec: \"/etc\": is a directory"]);
    fails_with(&call("/etc/passwd"), &["permission denied"]);
    fails_with(&call(""), &["executable file not found in $PATH"]);
    assert_eq!(sb.call(["ps", "--format", "json", &container.id]).output().json().as_array().unwrap().len(), 1);
}

/// CVE-2024-21626.
fn a_working_directory_must_be_there_and_inside(sb: &Sandbox) {
    let container = waiting(sb);
    let host = sb.tree("host", &[("secret", "x")]);
    let redirections: String = (3..10).map(|fd| format!("{fd}<{} ", host.display())).collect();
    for fd in 3..=20 {
        let cwd = format!("/proc/self/fd/{fd}");
        let call = sb.call(["exec", "--cwd", &cwd, &container.id, "/bin/probe", "probe", "--", "ls", "."]);
        fails_with(&call.fds(&redirections).output(), &[]);
        let call = sb.call([
            "exec",
            "--preserve-fds",
            "7",
            "--cwd",
            &cwd,
            &container.id,
            "/bin/probe",
            "probe",
            "--",
            "ls",
            ".",
        ]);
        let output = call.fds(&redirections).output();
        assert!(!output.stdout.contains("secret"), "{output:?}");
        fails_with(&output, &[]);
    }
}

fn standard_input_and_output_are_the_caller_s(sb: &Sandbox) {
    let bundle = sb.bundle().busybox().args(["sleep", "6000"]).build();
    let container = sb.started(&bundle);
    let output = sb.call(["exec", &container.id, "cat"]).input("through\n").output();
    assert_eq!(output.ok().stdout, "through\n");
    let output = sb.call(["exec", &container.id, "sh", "-c", "echo out; echo err >&2"]).output();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
}

fn kept_descriptors_arrive_and_no_others(sb: &Sandbox) {
    let container = waiting(sb);
    let open = |flags: &[&str]| {
        let call = sb.call(["exec"]).args(flags).args([&container.id, "/bin/probe", "probe", "--", "json"]);
        let report = call.fds("3</etc/passwd 4</etc/group 5</dev/null").output().ok().json();
        let mut fds: Vec<String> = report["fds"].as_object().unwrap().keys().cloned().collect();
        fds.sort();
        fds
    };
    assert_eq!(open(&[]), ["0", "1", "2"]);
    assert_eq!(open(&["--preserve-fds", "2"]), ["0", "1", "2", "3", "4"]);
    let call = sb.call(["exec", "--preserve-fds", "4", &container.id, "/bin/probe"]);
    fails_with(&call.fds("3</etc/passwd").output(), &[]);
}

fn a_detached_process_goes_on_and_is_known_by_its_pid_file(sb: &Sandbox) {
    let container = waiting(sb);
    let file = sb.path("more.pid");
    let call = sb.call(["exec", "--detach", "--pid-file"]).arg(&file);
    call.args([&container.id, "/bin/probe", "probe", "--", "pause"]).output().ok();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
    let pid: i64 = text.parse().unwrap();
    let pids = sb.call(["ps", "--format", "json", &container.id]).output().json();
    assert!(pids.as_array().unwrap().contains(&json!(pid)), "{pids}");
    let held = Pidfd::open(pid as i32).expect("it runs");
    container.stop();
    assert!(held.wait(crate::harness::LIMIT), "it ends with the container");
    // One that never ran leaves no file.
    let other = waiting(sb);
    let none = sb.path("none.pid");
    let call = sb.call(["exec", "--detach", "--pid-file"]).arg(&none);
    fails_with(&call.args([other.id.as_str(), "/nonexist"]).output(), &[]);
    assert!(!none.exists());
}

fn a_pidfd_arrives_over_its_socket(sb: &Sandbox) {
    let container = waiting(sb);
    let server = SocketServer::new(sb);
    let call = sb.call(["exec", "--detach", "--pidfd-socket"]).arg(server.path());
    call.args([&container.id, "/bin/probe", "probe", "--", "pause"]).output().ok();
    let held = Pidfd::from_fd(server.receive().fds.remove(0));
    assert_ne!(held.pid(), container.pid());
    container.stop();
    assert!(held.wait(crate::harness::LIMIT));
}

fn a_signal_to_exec_is_the_program_s(sb: &Sandbox) {
    let container = waiting(sb);
    let mut running =
        sb.call(["exec", &container.id, "/bin/probe", "probe", "--", "signal-echo", "9"]).own_group().spawn();
    running.lines.expect_line("ready");
    running.signal(nix::sys::signal::Signal::SIGUSR1);
    running.lines.expect_line("SIGUSR1");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.lines.expect_line("SIGTERM");
    assert_eq!(running.wait(), 9);
    assert_eq!(container.status(), "running");
}

fn a_terminal_is_handed_over_a_console_socket(sb: &Sandbox) {
    let container = waiting(sb);
    let server = SocketServer::new(sb);
    let path = file(sb, |process| {
        process["terminal"] = json!(true);
        process["consoleSize"] = json!({"height": 41, "width": 133});
        process["args"] = json!(["/bin/probe", "probe", "--", "winsize", ";", "tty", ";", "read-line"]);
    });
    let call = sb.call(["exec", "--detach", "--process", &path, "--console-socket"]).arg(server.path());
    call.arg(&container.id).output().ok();
    let mut received = server.receive();
    assert_eq!((received.messages, received.fds.len()), (1, 1));
    let master = received.fds.remove(0);
    let mut keyboard = File::from(master.try_clone().unwrap());
    let mut lines = Lines::new(master);
    lines.expect_line("41 133");
    lines.expect_line("/dev/pts/0");
    keyboard.write_all(b"typed\n").unwrap();
    lines.expect_line("got typed");
}

fn a_terminal_is_lent_by_the_caller(sb: &Sandbox) {
    sb.needs_program("/usr/bin/setsid", "util-linux");
    let container = waiting(sb);
    let pty = Pty::open();
    pty.resize(30, 90);
    let call = sb.call([
        "exec",
        "-t",
        &container.id,
        "/bin/probe",
        "probe",
        "--",
        "winsize",
        ";",
        "read-line",
        ";",
        "exit",
        "5",
    ]);
    let call = call.under(&["setsid", "--ctty", "--wait"]).stdin(pty.peer()).stdout(pty.peer());
    let mut running = call.spawn();
    let mut lines = pty.lines();
    lines.expect_line("30 90");
    pty.type_in("from the keyboard\n");
    lines.expect_line("got from the keyboard");
    assert_eq!(running.wait(), 5);
}

fn a_terminal_without_a_receiver_is_refused(sb: &Sandbox) {
    let container = waiting(sb);
    let detached = exec(sb, &container.id, &["-t", "--detach"], &["true"]);
    fails_with(&detached, &["without setting console socket"]);
    let server = SocketServer::new(sb);
    let useless = sb.call(["exec", "--console-socket"]).arg(server.path()).args([&container.id, "/bin/probe"]).output();
    fails_with(&useless, &["cannot use console socket"]);
}

fn cpus_are_those_that_exec_is_given(sb: &Sandbox) {
    sb.only_corten("is asked for this");
    let allowed = |output: &crate::harness::Output| {
        let line = output.stdout.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.unwrap_or_else(|| panic!("{output:?}")).trim().to_owned()
    };
    let container = waiting(sb);
    let call = |affinity: Value| {
        let path = file(sb, |process| {
            process["args"] = json!(["/bin/probe", "probe", "--", "cat", "/proc/self/status"]);
            process["execCPUAffinity"] = affinity;
        });
        by_file(sb, &container.id, &path)
    };
    let all = allowed(&exec(sb, &container.id, &[], &["cat", "/proc/self/status"]));
    assert_eq!(allowed(call(json!({"final": "0"})).ok()), "0");
    assert_eq!(allowed(call(json!({"initial": "0"})).ok()), all, "the cgroup's, once it is in there");
    assert_eq!(allowed(call(json!({"initial": "0", "final": "0"})).ok()), "0");
    if crate::harness::by_systemd() {
        return;
    }
    // Nothing widens the initial ones again where there is no cgroup to come into; the config's own count as well.
    let bundle = sb.bundle().tool(["pause"]).set("/process/execCPUAffinity", json!({"initial": "0"})).build();
    let free = sb.create_with(&bundle, |call| call.global(&["--cgroup-manager", "disabled"]));
    free.start();
    assert_eq!(allowed(&exec(sb, &free.id, &[], &["cat", "/proc/self/status"])), "0");
}

fn the_log_has_one_object(sb: &Sandbox) {
    sb.only_corten("logs so");
    let container = waiting(sb);
    let output = sb.call(["exec", &container.id, "nonexist"]).log("json").output();
    assert_eq!(output.code, 255);
    let logged: Value = serde_json::from_str(&output.log).unwrap();
    assert!(logged["msg"].as_str().unwrap().contains("executable file not found in $PATH"), "{logged}");
    let unknown = sb.call(["exec", "none", "sh"]).log("json").output();
    assert!(unknown.log.contains("container does not exist"), "{}", unknown.log);
}

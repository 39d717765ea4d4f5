//! create, start, state, kill, delete, list: what they do, what they refuse, and the words in which they say it.
//! The fragments are those that engines look for.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::{Case, Pidfd, Sandbox, SocketServer, cases};

pub const CASES: &[Case] = cases![anyone:
    a_container_goes_through_its_whole_life,
    nothing_of_the_program_runs_before_start,
    state_tells_what_engines_decode,
    the_pid_file_holds_the_number_alone,
    a_pid_file_that_cant_be_written_fails_the_create,
    the_bundle_is_the_current_directory_by_default,
    another_name_for_the_config_is_taken,
    a_second_create_is_refused_and_the_first_lives_on,
    every_verb_says_that_an_unknown_container_does_not_exist,
    a_forced_delete_of_nothing_succeeds,
    ids_that_are_no_ids_are_refused,
    a_created_container_can_be_deleted,
    a_running_container_is_not_deleted_without_force,
    a_forced_delete_ends_the_container,
    a_container_starts_once,
    a_stopped_container_does_not_start,
    a_signal_to_a_stopped_container_is_refused,
    a_signal_to_all_of_a_stopped_container_is_fine,
    a_created_container_can_be_killed,
    signals_have_many_spellings,
    kill_sends_term_by_default,
    an_unknown_signal_is_named,
    kill_and_delete_take_a_regex,
    list_shows_every_container,
    list_of_nothing_is_empty,
    an_init_killed_from_outside_is_stopped,
    a_container_without_a_pid_namespace_lives_and_dies,
    the_pidfd_socket_gets_the_init,
    a_missing_config_is_named,
    a_missing_bundle_is_an_error,
    wrong_command_lines_are_refused,
    long_flags_take_one_dash,
    the_root_of_the_machine_is_no_state_root,
];

fn a_container_goes_through_its_whole_life(sb: &Sandbox) {
    let container = sb.create(&sb.bundle().tool(["pause"]).build());
    assert_eq!(container.status(), "created");
    container.start();
    assert_eq!(container.status(), "running");
    container.stop();
    assert_eq!(container.status(), "stopped");
    container.verb("delete").ok();
    container.verb("state").fails_with(&["does not exist"]);
    sb.assert_nothing_left();
}

fn nothing_of_the_program_runs_before_start(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["write", "/tmp/ran", "yes"]).build();
    let container = sb.create(&bundle);
    assert!(!bundle.in_rootfs("/tmp/ran").exists());
    container.start();
    container.wait();
    assert_eq!(fs::read_to_string(bundle.in_rootfs("/tmp/ran")).unwrap(), "yes");
}

fn state_tells_what_engines_decode(sb: &Sandbox) {
    let bundle =
        sb.bundle().tool(["pause"]).set("/annotations", json!({"org.example.key": "value", "empty": ""})).build();
    let container = sb.create(&bundle);
    let state = container.state();
    assert_eq!(state["id"], container.id.as_str());
    assert_eq!(state["bundle"], bundle.dir.to_str().unwrap());
    assert_eq!(state["rootfs"], bundle.in_rootfs("").to_str().unwrap().trim_end_matches('/'));
    assert_eq!(state["annotations"], json!({"org.example.key": "value", "empty": ""}));
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."));
    assert!(state["owner"].is_string());
    let created = state["created"].as_str().unwrap();
    time::OffsetDateTime::parse(created, &time::format_description::well_known::Rfc3339).expect("created is RFC 3339");
    let comm = fs::read_to_string(format!("/proc/{}/comm", state["pid"])).unwrap();
    assert!(!comm.is_empty());
    container.stop();
    assert_eq!(container.state()["pid"], 0);
}

fn the_pid_file_holds_the_number_alone(sb: &Sandbox) {
    let file = sb.path("pid");
    let container = sb.create_with(&sb.bundle().tool(["pause"]).build(), |call| call.arg("--pid-file").arg(&file));
    assert_eq!(fs::read_to_string(&file).unwrap(), container.pid().to_string());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
}

fn a_pid_file_that_cant_be_written_fails_the_create(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["pause"]).build();
    let call = sb.call(["create", "--pid-file", "/proc/no-such-dir/pid", "--bundle"]).arg(&bundle.dir);
    call.arg(sb.id()).output().fails();
    sb.assert_nothing_left();
}

fn the_bundle_is_the_current_directory_by_default(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["exit", "9"]).build();
    let output = sb.call(["run"]).arg(sb.id()).current_dir(&bundle.dir).output();
    assert_eq!(output.code, 9, "{output:?}");
}

fn another_name_for_the_config_is_taken(sb: &Sandbox) {
    sb.only_corten("has create --config");
    let bundle = sb.bundle().tool(["exit", "9"]).build();
    let other = sb.path("other.json");
    fs::rename(bundle.config_path(), &other).unwrap();
    let output = sb.run_with(&bundle, |call| call.arg("--config").arg(&other));
    assert_eq!(output.code, 9, "{output:?}");
    // A relative name begins at the bundle, wherever the caller stands.
    fs::rename(&other, bundle.dir.join("third.json")).unwrap();
    let output = sb.run_with(&bundle, |call| call.arg("--config").arg("third.json"));
    assert_eq!(output.code, 9, "{output:?}");
}

fn a_second_create_is_refused_and_the_first_lives_on(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["pause"]).build();
    let container = sb.create(&bundle);
    let second = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(&container.id).output();
    second.fails_with(&["container with given ID already exists"]);
    assert_eq!(container.status(), "created");
    container.start();
    assert_eq!(container.status(), "running");
}

fn every_verb_says_that_an_unknown_container_does_not_exist(sb: &Sandbox) {
    for verb in ["state", "start", "kill", "delete"] {
        sb.call([verb, "ct-nobody"]).output().fails_with(&["container does not exist"]);
    }
}

fn a_forced_delete_of_nothing_succeeds(sb: &Sandbox) {
    sb.call(["delete", "--force", "ct-nobody"]).output().ok();
}

fn ids_that_are_no_ids_are_refused(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["pause"]).build();
    for id in ["a/b", "..", ".", "", "a b", "../up", "a\nb"] {
        let output = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(id).output();
        assert_eq!(output.code, 1, "{id:?}: {output:?}");
    }
    sb.assert_nothing_left();
    sb.only_corten("has these words");
    sb.call(["create", "--bundle"]).arg(&bundle.dir).arg("a/b").output().fails_with(&["invalid container ID format"]);
    sb.call(["create", "--bundle"]).arg(&bundle.dir).arg("").output().fails_with(&["container id cannot be empty"]);
}

fn a_created_container_can_be_deleted(sb: &Sandbox) {
    let container = sb.create(&sb.bundle().tool(["pause"]).build());
    container.verb("delete").ok();
    container.wait();
    sb.assert_nothing_left();
}

fn a_running_container_is_not_deleted_without_force(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    container.verb("delete").fails_with(&["cannot delete container", "that is not stopped: running"]);
    assert_eq!(container.status(), "running");
}

fn a_forced_delete_ends_the_container(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().tool(["spawn", "3", ";", "pause"]).build());
    sb.call(["delete", "--force"]).arg(&container.id).output().ok();
    container.wait();
    sb.assert_nothing_left();
}

fn a_container_starts_once(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    container.verb("start").fails_with(&["cannot start an already running container"]);
}

fn a_stopped_container_does_not_start(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().tool(["true"]).build());
    container.wait();
    container.verb("start").fails_with(&["cannot start a container that has stopped"]);
}

fn a_signal_to_a_stopped_container_is_refused(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().tool(["true"]).build());
    container.wait();
    container.kill("KILL").fails_with(&["container not running"]);
}

fn a_signal_to_all_of_a_stopped_container_is_fine(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().tool(["true"]).build());
    container.wait();
    sb.call(["kill", "--all"]).arg(&container.id).arg("KILL").output().ok();
}

fn a_created_container_can_be_killed(sb: &Sandbox) {
    let container = sb.create(&sb.bundle().tool(["pause"]).build());
    container.stop();
    assert_eq!(container.status(), "stopped");
}

fn signals_have_many_spellings(sb: &Sandbox) {
    let (mut running, id) = sb.run_in_background(&sb.bundle().tool(["signal-echo", "33"]).build(), &[]);
    running.lines.expect_line("ready");
    for spelling in ["USR1", "SIGUSR1", "usr1", "sigusr1", "SigUsr1", "10"] {
        sb.call(["kill"]).args([&id, spelling]).output().ok();
        // A runtime written in Go may forward its own scheduler's SIGURG.
        let told = std::iter::from_fn(|| running.lines.next_line()).find(|line| line != "SIGURG");
        assert_eq!(told.as_deref(), Some("SIGUSR1"), "{spelling}");
    }
    for (spelling, name) in [("HUP", "SIGHUP"), ("2", "SIGINT"), ("WINCH", "SIGWINCH"), ("cont", "SIGCONT")] {
        sb.call(["kill"]).args([&id, spelling]).output().ok();
        running.lines.expect_line(name);
    }
    sb.call(["kill"]).args([&id, "15"]).output().ok();
    assert_eq!(running.wait(), 33);
}

fn kill_sends_term_by_default(sb: &Sandbox) {
    let (mut running, id) = sb.run_in_background(&sb.bundle().tool(["signal-echo", "21"]).build(), &[]);
    running.lines.expect_line("ready");
    sb.call(["kill"]).arg(&id).output().ok();
    running.lines.expect_line("SIGTERM");
    assert_eq!(running.wait(), 21);
}

fn an_unknown_signal_is_named(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    for signal in ["FOO", "SIGFOO", "-1", "4711"] {
        let output = container.kill(signal);
        assert_eq!(output.code, 1, "{output:?}");
    }
    container.kill("FOO").fails_with(&["unknown signal \"FOO\""]);
    assert_eq!(container.status(), "running");
}

fn kill_and_delete_take_a_regex(sb: &Sandbox) {
    sb.only_corten("has --regex");
    let bundle = sb.bundle().tool(["pause"]).build();
    let (a, b) = (sb.started(&bundle), sb.started(&bundle));
    let pattern = format!("^({}|{})$", a.id, b.id);
    sb.call(["kill", "--regex", &pattern, "KILL"]).output().ok();
    a.wait();
    b.wait();
    sb.call(["delete", "--regex", &pattern]).output().ok();
    sb.assert_nothing_left();
    let output = sb.call(["delete", "--regex", "("]).output();
    assert_eq!(output.code, 1, "{output:?}");
}

fn list_shows_every_container(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["pause"]).build();
    let (a, b) = (sb.create(&bundle), sb.started(&bundle));
    let table = sb.call(["list"]).output();
    let header: Vec<&str> = table.ok().lines()[0].split_whitespace().collect();
    assert_eq!(header, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert_eq!(table.lines().len(), 3, "{}", table.stdout);

    let json = sb.call(["list", "--format=json"]).output().json();
    let find = |id: &str| json.as_array().unwrap().iter().find(|c| c["id"] == id).cloned().unwrap_or(Value::Null);
    assert_eq!((&find(&a.id)["status"], &find(&b.id)["status"]), (&json!("created"), &json!("running")));
    assert_eq!(find(&b.id)["pid"], b.pid());
    let caller = std::process::Command::new("id").arg("-un").output().unwrap().stdout;
    assert_eq!(find(&b.id)["owner"], String::from_utf8_lossy(&caller).trim());
    assert_eq!(find(&b.id)["bundle"], bundle.dir.to_str().unwrap());

    let quiet = sb.call(["list", "--quiet"]).output();
    let mut ids = [a.id.as_str(), b.id.as_str()];
    ids.sort_unstable();
    let mut shown = quiet.lines();
    shown.sort_unstable();
    assert_eq!(shown, ids);
    sb.call(["list", "--format", "yaml"]).output().fails_with(&["invalid format option"]);
}

fn list_of_nothing_is_empty(sb: &Sandbox) {
    assert_eq!(sb.call(["list", "-f", "json"]).output().ok().json(), Value::Null);
    assert_eq!(sb.call(["list", "-q"]).output().ok().stdout, "");
}

fn an_init_killed_from_outside_is_stopped(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let pid = nix::unistd::Pid::from_raw(container.pid());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    container.wait();
    assert_eq!(container.status(), "stopped");
    container.verb("delete").ok();
    sb.assert_nothing_left();
}

fn a_container_without_a_pid_namespace_lives_and_dies(sb: &Sandbox) {
    sb.needs_root();
    let container = sb.started(&sb.bundle().without_namespace("pid").tool(["pause"]).build());
    assert_eq!(container.status(), "running");
    sb.call(["delete", "--force"]).arg(&container.id).output().ok();
    container.wait();
    sb.assert_nothing_left();
}

fn the_pidfd_socket_gets_the_init(sb: &Sandbox) {
    sb.only_corten("has --pidfd-socket");
    let server = SocketServer::new(sb);
    let bundle = sb.bundle().tool(["pause"]).build();
    let container = sb.create_with(&bundle, |call| call.arg("--pidfd-socket").arg(server.path()));
    let mut received = server.receive();
    assert_eq!((received.messages, received.fds.len()), (1, 1));
    assert!((1..4096).contains(&received.payload.len()));
    let pidfd = Pidfd::from_fd(received.fds.remove(0));
    assert_eq!(pidfd.pid(), container.pid());
}

fn a_missing_config_is_named(sb: &Sandbox) {
    let bundle = sb.bundle().build();
    fs::remove_file(bundle.config_path()).unwrap();
    sb.run(&bundle).fails_with(&["JSON specification file", "config.json not found"]);
    sb.assert_nothing_left();
}

fn a_missing_bundle_is_an_error(sb: &Sandbox) {
    let output = sb.call(["create", "--bundle", "/no/such/bundle"]).arg(sb.id()).output();
    assert!(output.fails().to_lowercase().contains("no such file or directory"), "{output:?}");
    assert!(output.stderr.contains("/no/such/bundle"), "{output:?}");
    sb.assert_nothing_left();
}

fn wrong_command_lines_are_refused(sb: &Sandbox) {
    for words in [&["create"][..], &["state"], &["start", "a", "b"], &["delete"]] {
        let output = sb.call(words.iter().copied()).output();
        assert_eq!(output.code, 1, "{output:?}");
    }
    let output = sb.call(["state", "--no-such-flag", "x"]).output();
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("no-such-flag"), "{output:?}");
    let output = sb.call(["no-such-command"]).output();
    assert_eq!(output.code, 3, "{output:?}");
    assert!(output.stderr.contains("No help topic for 'no-such-command'"), "{output:?}");
    sb.call(["state"]).output().fails_with(&["\"state\" requires exactly 1 argument"]);
}

fn long_flags_take_one_dash(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["pause"]).build();
    let id = sb.id();
    let pid_file = sb.path("pid");
    let call = sb.call(["create", "-bundle"]).arg(&bundle.dir).arg("-pid-file").arg(&pid_file).arg("-no-new-keyring");
    call.arg(&id).output().ok();
    assert!(pid_file.exists());
    sb.call(["delete", "-force"]).arg(&id).output().ok();
}

fn the_root_of_the_machine_is_no_state_root(sb: &Sandbox) {
    sb.only_corten("refuses --root /");
    let output = sb.call(["--root", "/", "list"]).bare().output();
    output.fails_with(&["--root argument should not be set to /"]);
}

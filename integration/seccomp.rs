//! Filters at work: what a container's program gets for a system call that its profile has a word on, and who answers for
//! the calls that an agent decides. What a filter says of every call is judged without a container, in
//! `seccomp_verdicts.rs`.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use crate::harness::{BundleBuilder, Case, LIMIT, Sandbox, SocketServer, cases};

pub const CASES: &[Case] = cases![anyone:
    each_action_does_what_it_says,
    each_operator_compares_as_it_says,
    conditions_hold_together_and_two_on_one_argument_are_a_choice,
    docker_s_profile_is_in_force_whatever_the_process_may,
    a_call_newer_than_the_profile_is_told_apart_from_a_forbidden_one,
    an_architecture_that_the_profile_lacks_is_closed,
    an_architecture_that_the_profile_has_is_open,
    the_default_has_its_own_errno,
    a_profile_that_forbids_getcwd_is_no_obstacle,
    a_profile_that_forbids_faccessat2_is_no_obstacle,
    small_limits_are_no_obstacle,
    hooks_in_the_container_run_under_the_filter,
    flags_are_taken_and_an_unknown_one_is_refused,
    two_rules_that_contradict_are_told_with_their_place,
    no_profile_is_no_filter,
    a_filter_is_compiled_once,
    an_entry_of_the_cache_that_is_not_whole_is_made_anew,
    an_agent_answers_for_the_container,
    an_agent_answers_while_the_container_is_set_up,
    an_agent_that_is_not_there_is_told,
    a_call_that_the_agent_could_not_answer_is_refused,
];

/// A profile that says something about these calls and allows the rest.
fn but(syscalls: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls})
}

/// Docker's default profile, as Docker wrote it.
fn docker() -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/fixtures/recorded/docker-28-hello.json");
    let config: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    config["linux"]["seccomp"].clone()
}

/// What each of these calls, in words, comes to in a container with the profile.
fn outcomes(sb: &Sandbox, bundle: BundleBuilder<'_>, seccomp: &Value, calls: &[String]) -> Vec<String> {
    let tools: Vec<String> = calls.iter().map(|call| format!("try syscall {call}")).collect();
    let words: Vec<&str> = tools.iter().flat_map(|tool| tool.split(' ').chain([";"])).collect();
    let output = sb.run(&bundle.set("/linux/seccomp", seccomp.clone()).tool(words).build());
    output.ok().lines().into_iter().map(str::to_owned).collect()
}

fn outcome(sb: &Sandbox, seccomp: &Value, call: impl ToString) -> String {
    outcomes(sb, sb.bundle(), seccomp, &[call.to_string()]).remove(0)
}

fn each_action_does_what_it_says(sb: &Sandbox) {
    for (rule, expected) in [
        (json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 28}), "ENOSPC"),
        (json!({"action": "SCMP_ACT_ERRNO"}), "EPERM"),
        (json!({"action": "SCMP_ACT_KILL"}), "SIGSYS"),
        (json!({"action": "SCMP_ACT_KILL_THREAD"}), "SIGSYS"),
        (json!({"action": "SCMP_ACT_KILL_PROCESS"}), "SIGSYS"),
        (json!({"action": "SCMP_ACT_TRAP"}), "SIGSYS"),
        // Nobody traces it.
        (json!({"action": "SCMP_ACT_TRACE", "errnoRet": 7}), "ENOSYS"),
        (json!({"action": "SCMP_ACT_LOG"}), "ok"),
        (json!({"action": "SCMP_ACT_ALLOW"}), "ok"),
    ] {
        let mut rule = rule;
        rule["names"] = json!(["getppid"]);
        assert_eq!(outcome(sb, &but(json!([rule])), libc::SYS_getppid), expected, "{rule}");
    }
    sb.assert_nothing_left();
}

/// getpriority(PRIO_PROCESS, who) succeeds for 0 and says ESRCH to a process that isn't there, unless the filter says ENOSPC.
fn each_operator_compares_as_it_says(sb: &Sandbox) {
    for (operator, value, second, refused) in [
        ("SCMP_CMP_EQ", 70_000u64, 0, [false, true, false]),
        ("SCMP_CMP_NE", 70_000, 0, [true, false, true]),
        ("SCMP_CMP_LT", 70_000, 0, [true, false, false]),
        ("SCMP_CMP_LE", 70_000, 0, [true, true, false]),
        ("SCMP_CMP_GT", 70_000, 0, [false, false, true]),
        ("SCMP_CMP_GE", 70_000, 0, [false, true, true]),
        ("SCMP_CMP_MASKED_EQ", 1, 1, [true, false, true]),
    ] {
        let argument = json!({"index": 1, "value": value, "valueTwo": second, "op": operator});
        let rule = json!({"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": [argument]});
        let calls = [69_999, 70_000, 70_001].map(|who| format!("{} 0 {who}", libc::SYS_getpriority));
        let outcomes = outcomes(sb, sb.bundle(), &but(json!([rule])), &calls);
        let refusals: Vec<bool> = outcomes.iter().map(|outcome| outcome == "ENOSPC").collect();
        assert_eq!(refusals, refused, "{operator}: {outcomes:?}");
    }
}

fn conditions_hold_together_and_two_on_one_argument_are_a_choice(sb: &Sandbox) {
    let equal = |index: u32, value: u64| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    let refusals = |args: Value| {
        let rule = json!({"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": args});
        let calls = ["0 5", "1 5", "0 6"].map(|args| format!("{} {args}", libc::SYS_getpriority));
        let outcomes = outcomes(sb, sb.bundle(), &but(json!([rule])), &calls);
        outcomes.iter().map(|outcome| outcome == "ENOSPC").collect::<Vec<_>>()
    };
    assert_eq!(refusals(json!([equal(0, 0), equal(1, 5)])), [true, false, false]);
    assert_eq!(refusals(json!([equal(1, 5), equal(1, 6)])), [true, true, true]);
    assert_eq!(refusals(json!([equal(1, 7), equal(1, 6)])), [false, false, true]);
}

fn docker_s_profile_is_in_force_whatever_the_process_may(sb: &Sandbox) {
    let forbidden = [
        libc::SYS_keyctl.to_string(),
        libc::SYS_kexec_load.to_string(),
        format!("{} {}", libc::SYS_unshare, libc::CLONE_NEWUSER),
        libc::SYS_mount.to_string(),
    ];
    let all = ["CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID"];
    for (no_new_privileges, capabilities, uid) in [
        (true, &all[..], 0),
        (false, &all[..], 0),
        (true, &[], 0),
        (false, &[], 0),
        (true, &[], 1000),
        (false, &[], 1000),
    ] {
        let bundle = || {
            let bundle = sb.bundle().set("/process/noNewPrivileges", no_new_privileges).capabilities(capabilities);
            bundle.set("/process/user", json!({"uid": uid, "gid": uid}))
        };
        let what = format!("noNewPrivileges {no_new_privileges}, {capabilities:?}, uid {uid}");
        assert_eq!(outcomes(sb, bundle(), &docker(), &forbidden), ["EPERM"; 4], "{what}");
        let with = bundle().set("/linux/seccomp", docker()).tool(["cat", "/proc/self/status"]).build();
        let status = sb.run(&with).ok().stdout.clone();
        assert!(status.contains("Seccomp:\t2\n"), "{what}: {status}");
        if let Some(filters) = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:\t")) {
            assert_eq!(filters.trim(), own_filters_and(1), "{what}");
        }
    }
    sb.assert_nothing_left();
}

/// How many filters a container's program has if corten adds this many to the suite's own.
fn own_filters_and(more: u32) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let own = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:\t"));
    (own.map_or(0, |own| own.trim().parse::<u32>().unwrap()) + more).to_string()
}

fn a_call_newer_than_the_profile_is_told_apart_from_a_forbidden_one(sb: &Sandbox) {
    let calls = [libc::SYS_keyctl.to_string(), "4000".to_owned()];
    assert_eq!(outcomes(sb, sb.bundle(), &docker(), &calls), ["EPERM", "ENOSYS"]);
    // Who lets everything through lets this through as well; the kernel says the same.
    assert_eq!(outcome(sb, &but(json!([])), 4000), "ENOSYS");
}

/// x32 has the kernel's number for x86_64, and a bit in its calls.
fn an_architecture_that_the_profile_lacks_is_closed(sb: &Sandbox) {
    if cfg!(not(target_arch = "x86_64")) {
        crate::harness::skip("there is no second architecture to be called from a program of this one");
    }
    assert_eq!(outcome(sb, &but(json!([])), 0x4000_0000 + libc::SYS_getppid), "SIGSYS");
}

/// Where the kernel can't be called in that way, it says so itself.
fn an_architecture_that_the_profile_has_is_open(sb: &Sandbox) {
    if cfg!(not(target_arch = "x86_64")) {
        crate::harness::skip("there is no second architecture to be called from a program of this one");
    }
    let mut profile = but(json!([{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]));
    profile["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"]);
    assert_eq!(outcome(sb, &profile, 0x4000_0000 + libc::SYS_getppid), "ENOSPC", "the rule holds there too");
    let other = outcome(sb, &profile, 0x4000_0000 + libc::SYS_getuid);
    assert!(["ok", "ENOSYS"].contains(&other.as_str()), "{other}");
}

fn the_default_has_its_own_errno(sb: &Sandbox) {
    let mut profile = docker();
    profile["defaultErrnoRet"] = json!(libc::EOPNOTSUPP);
    assert_eq!(outcome(sb, &profile, libc::SYS_kexec_load), "EOPNOTSUPP");
    assert_eq!(outcome(sb, &docker(), libc::SYS_kexec_load), "EPERM");
}

fn a_profile_that_forbids_getcwd_is_no_obstacle(sb: &Sandbox) {
    let profile = but(json!([{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}]));
    for no_new_privileges in [true, false] {
        let bundle = sb.bundle().set("/process/noNewPrivileges", no_new_privileges).set("/process/cwd", "/tmp");
        let call = format!("{} 0 0", libc::SYS_getcwd);
        assert_eq!(outcomes(sb, bundle, &profile, &[call]), ["EPERM"]);
    }
}

/// Without noNewPrivileges the program is looked for under the filter. Profiles that name a call newer than faccessat2 and
/// not that one give it their default, EPERM: that of runtime-tools does.
fn a_profile_that_forbids_faccessat2_is_no_obstacle(sb: &Sandbox) {
    for forbidden in [&["faccessat2"][..], &["faccessat2", "access", "faccessat"]] {
        let profile = but(json!([{"names": forbidden, "action": "SCMP_ACT_ERRNO"}]));
        let bundle = sb.bundle().set("/process/noNewPrivileges", false);
        assert_eq!(outcomes(sb, bundle, &profile, &[libc::SYS_faccessat2.to_string()]), ["EPERM"]);
    }
}

fn small_limits_are_no_obstacle(sb: &Sandbox) {
    let limit = 64 << 20;
    for limits in ["RLIMIT_AS", "RLIMIT_DATA"] {
        let limits = json!([{"type": limits, "soft": limit, "hard": limit}]);
        let bundle = sb.bundle().set("/process/rlimits", limits);
        assert_eq!(outcomes(sb, bundle, &docker(), &[libc::SYS_keyctl.to_string()]), ["EPERM"]);
    }
}

fn hooks_in_the_container_run_under_the_filter(sb: &Sandbox) {
    let call = libc::SYS_keyctl.to_string();
    for no_new_privileges in [true, false] {
        let hook = json!({"path": "/bin/probe", "args": ["probe", "probe", "--", "syscall", call]});
        let bundle = sb.bundle().set("/process/noNewPrivileges", no_new_privileges).hook("startContainer", hook);
        let bundle = bundle.set("/linux/seccomp", docker()).tool(["true"]).build();
        sb.run(&bundle).fails_with(&["startContainer hook #0", "Operation not permitted"]);
        sb.assert_nothing_left();
    }
}

fn flags_are_taken_and_an_unknown_one_is_refused(sb: &Sandbox) {
    let with = |flags: Value| {
        let mut profile = but(json!([{"names": ["getppid"], "action": "SCMP_ACT_ERRNO"}]));
        profile["flags"] = flags;
        profile
    };
    for flag in ["LOG", "SPEC_ALLOW", "TSYNC", "WAIT_KILLABLE_RECV"] {
        let flags = json!([format!("SECCOMP_FILTER_FLAG_{flag}")]);
        assert_eq!(outcome(sb, &with(flags), libc::SYS_getppid), "EPERM", "{flag}");
    }
    let bundle = sb.bundle().set("/linux/seccomp", with(json!(["SECCOMP_FILTER_FLAG_NEW"]))).build();
    sb.run(&bundle).fails_with(&["linux.seccomp.flags[0]"]);
}

fn two_rules_that_contradict_are_told_with_their_place(sb: &Sandbox) {
    sb.only_corten("names the entry");
    let rule = |action: &str| json!({"names": ["getpriority"], "action": action, "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]});
    let profile = but(json!([rule("SCMP_ACT_ERRNO"), rule("SCMP_ACT_LOG")]));
    let bundle = sb.bundle().set("/linux/seccomp", profile).build();
    sb.run(&bundle).fails_with(&["linux.seccomp", "syscalls[1] (getpriority)", "hint:"]);
    sb.assert_nothing_left();
}

fn no_profile_is_no_filter(sb: &Sandbox) {
    for nothing in [json!(null), json!({}), json!({"defaultAction": "", "syscalls": []})] {
        let bundle = sb.bundle().set("/linux/seccomp", nothing).tool(["cat", "/proc/self/status"]).build();
        let status = sb.run(&bundle).ok().stdout.clone();
        if let Some(filters) = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:\t")) {
            assert_eq!(filters.trim(), own_filters_and(0));
        }
    }
}

/// The one file in the cache of the sandbox's state root.
fn entry(sb: &Sandbox) -> PathBuf {
    let mut all: Vec<_> = fs::read_dir(sb.state_root().join("~seccomp")).unwrap().flatten().collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0).path()
}

fn a_filter_is_compiled_once(sb: &Sandbox) {
    sb.only_corten("keeps filters in this form");
    let refused = || assert_eq!(outcome(sb, &docker(), libc::SYS_keyctl), "EPERM");
    refused();
    let first = fs::metadata(entry(sb)).unwrap();
    assert_eq!(first.mode() & 0o7777, 0o600);
    refused();
    let second = fs::metadata(entry(sb)).unwrap();
    assert_eq!((first.ino(), first.ctime_nsec()), (second.ino(), second.ctime_nsec()), "it was written again");
    assert_eq!(sb.call(["list", "--quiet"]).output().ok().stdout, "", "the cache is no container");
}

fn an_entry_of_the_cache_that_is_not_whole_is_made_anew(sb: &Sandbox) {
    sb.only_corten("keeps filters in this form");
    let refused = || assert_eq!(outcome(sb, &docker(), libc::SYS_keyctl), "EPERM");
    refused();
    let path = entry(sb);
    let whole = fs::read(&path).unwrap();
    let bend = |at: usize| {
        let mut bent = whole.clone();
        bent[at] ^= 0x10;
        bent
    };
    // An entry of another profile, that allows all, in this one's place.
    let other = sb.state_root().join("other");
    fs::rename(&path, &other).unwrap();
    assert_eq!(outcome(sb, &but(json!([])), libc::SYS_getppid), "ok");
    let foreign = fs::read(entry(sb)).unwrap();
    fs::remove_file(entry(sb)).unwrap();
    fs::rename(&other, &path).unwrap();
    for broken in [vec![], whole[..whole.len() / 2].to_vec(), bend(whole.len() - 5), bend(20), foreign] {
        fs::write(&path, &broken).unwrap();
        refused();
        assert_eq!(fs::read(&path).unwrap(), whole, "it isn't made anew");
    }
    for (mode, what) in [(0o666, "others could have written it"), (0o600, "it is fine")] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        refused();
        assert_eq!(fs::metadata(&path).unwrap().ino() == before, mode == 0o600, "{what}");
    }
}

/// A filter that asks about these calls, with the agent's socket.
fn asking(server: &SocketServer, calls: &[&str]) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": server.path(), "listenerMetadata": "opaque",
        "syscalls": [{"names": calls, "action": "SCMP_ACT_NOTIFY"}]})
}

// seccomp_unotify(2), linux/seccomp.h.
nix::ioctl_readwrite!(receive_notification, b'!', 0, libc::seccomp_notif);
nix::ioctl_readwrite!(send_response, b'!', 1, libc::seccomp_notif_resp);

/// Answers every notification until nobody is left whom the filter is for: with this errno, or to go on. The result is how
/// many there were.
fn serve(listener: OwnedFd, errno: Option<Errno>) -> usize {
    let mut answered = 0;
    while asks(&listener) {
        // SAFETY: plain numbers, for which zeroes are valid.
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the structure is the kernel's and lives through the call.
        if unsafe { receive_notification(listener.as_raw_fd(), &mut asked) }.is_err() {
            // Whoever asked has ended since.
            continue;
        }
        let flags = if errno.is_none() { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 } else { 0 };
        let error = errno.map_or(0, |errno| -(errno as i32));
        let mut answer = libc::seccomp_notif_resp { id: asked.id, val: 0, error, flags };
        // SAFETY: as above.
        let _ = unsafe { send_response(listener.as_raw_fd(), &mut answer) };
        answered += 1;
    }
    answered
}

/// Waits for a notification; false when the last process has ended that the filter was for. The difference must be known
/// before one asks: kernels before 6.11 would wait for ever.
fn asks(listener: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(LIMIT).expect("a limit that poll takes");
    assert!(poll(&mut polled, timeout).expect("poll the listener") > 0, "the listener stays open");
    polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
}

/// An agent that takes one listener with its state, and serves it.
fn agent(server: SocketServer, errno: Option<Errno>) -> JoinHandle<(Value, usize)> {
    std::thread::spawn(move || {
        let mut received = server.receive_first();
        let state = serde_json::from_slice(&received.payload).unwrap();
        (state, serve(received.fds.remove(0), errno))
    })
}

fn an_agent_answers_for_the_container(sb: &Sandbox) {
    for no_new_privileges in [true, false] {
        let server = SocketServer::new(sb);
        let seccomp = asking(&server, &["getppid"]);
        let agent = agent(server, Some(Errno::ENOSPC));
        let bundle = sb.bundle().set("/process/noNewPrivileges", no_new_privileges).set("/linux/seccomp", seccomp);
        let bundle = bundle.set("/annotations", json!({"org.example.key": "value"}));
        let call = libc::SYS_getppid.to_string();
        let container = sb.create(&bundle.tool(["try", "syscall", &call]).build());
        let pid = container.pid();
        container.start();
        container.wait();
        assert_eq!(container.output(), "ENOSPC\n");
        let (state, answered) = agent.join().unwrap();
        assert_eq!(answered, 1);
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!((&state["pid"], &state["metadata"]), (&json!(pid), &json!("opaque")), "{state}");
        assert_eq!((&state["state"]["id"], &state["state"]["pid"]), (&json!(container.id), &json!(pid)));
        assert_eq!(state["state"]["status"], "creating");
        assert_eq!(state["state"]["annotations"]["org.example.key"], "value");
        container.verb("delete").ok();
        sb.assert_nothing_left();
    }
}

/// The calls that corten's own child makes under the filter are asked about too.
fn an_agent_answers_while_the_container_is_set_up(sb: &Sandbox) {
    let calls =
        ["setresuid", "capset", "chdir", "fchdir", "prctl", "close", "read", "rt_sigaction", "execve", "openat2"];
    for no_new_privileges in [true, false] {
        let server = SocketServer::new(sb);
        let seccomp = asking(&server, &calls);
        let agent = agent(server, None);
        let bundle = sb.bundle().set("/process/noNewPrivileges", no_new_privileges).set("/linux/seccomp", seccomp);
        let bundle = bundle.set("/process/user", json!({"uid": 1000, "gid": 1000})).tool(["echo", "done"]).build();
        assert_eq!(sb.run(&bundle).ok().stdout, "done\n");
        let (_, answered) = agent.join().unwrap();
        assert!(answered > 1, "only {answered} calls were asked about");
        sb.assert_nothing_left();
    }
}

fn an_agent_that_is_not_there_is_told(sb: &Sandbox) {
    sb.only_corten("names the field");
    let seccomp = {
        let server = SocketServer::new(sb);
        asking(&server, &["getppid"])
    };
    let bundle = sb.bundle().set("/linux/seccomp", seccomp).build();
    sb.run(&bundle).fails_with(&["linux.seccomp.listenerPath", "connect", "hint:"]);
    sb.assert_nothing_left();
}

fn a_call_that_the_agent_could_not_answer_is_refused(sb: &Sandbox) {
    let server = SocketServer::new(sb);
    let bundle = sb.bundle().set("/linux/seccomp", asking(&server, &["mkdir", "write"])).build();
    sb.run(&bundle).fails_with(&["SCMP_ACT_NOTIFY cannot be used for the write syscall"]);
    let everything = json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": server.path()});
    let bundle = sb.bundle().set("/linux/seccomp", everything).build();
    sb.run(&bundle).fails_with(&["SCMP_ACT_NOTIFY cannot be used as default action"]);
    sb.assert_nothing_left();
}

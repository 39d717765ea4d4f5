//! Descriptors of the host: none reaches a container, by number, by working directory, or through another process's
//! /proc (CVE-2024-21626, CVE-2016-9962).

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Case, Sandbox, cases, scaled, words};

pub const CASES: &[Case] = cases![anyone:
    no_descriptor_is_a_working_directory,
    no_descriptor_that_is_handed_down_is_a_working_directory,
    descriptors_of_the_caller_stay_outside,
    a_waiting_init_holds_nothing_of_its_caller,
    a_setup_time_init_can_t_be_traced_into,
    who_watches_from_inside_sees_nothing_of_a_create,
];

/// Redirections that open directories of the host in corten: 3 to 9, more than a shell can name at once.
fn host_directories(dir: &Path) -> String {
    (3..10).map(|fd| format!("{fd}<{} ", dir.display())).collect()
}

/// CVE-2024-21626: /proc/self/fd/N of whatever corten has open or was left by its caller.
fn no_descriptor_is_a_working_directory(sb: &Sandbox) {
    sb.only_corten("must not fall for CVE-2024-21626; Debian's runc 1.1.5 does");
    let host = sb.tree("host", &[("secret", "x")]);
    let redirections = host_directories(&host);
    for fd in 3..=40 {
        for path in [format!("/proc/self/fd/{fd}"), format!("/proc/self/fd/{fd}/../../..")] {
            let bundle = sb.bundle().set("/process/cwd", path).tool(["ls", "."]).build();
            sb.run_with(&bundle, |call| call.fds(&redirections)).fails();
            let call = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(sb.id());
            call.fds(&redirections).output().fails();
        }
    }
    sb.assert_nothing_left();
}

/// One that the container is to have is a descriptor to it, and still no place to stand in.
fn no_descriptor_that_is_handed_down_is_a_working_directory(sb: &Sandbox) {
    sb.only_corten("is asked for this");
    let host = sb.tree("host", &[("secret", "x")]);
    for fd in 3..6 {
        let bundle = sb.bundle().set("/process/cwd", format!("/proc/self/fd/{fd}")).tool(["ls", "."]).build();
        let output = sb.run_with(&bundle, |call| call.fds(&host_directories(&host)).args(["--preserve-fds", "3"]));
        assert!(!output.stdout.contains("secret"), "{output:?}");
        output.fails();
    }
    sb.assert_nothing_left();
}

fn open_in(report: &Value) -> Vec<String> {
    report["fds"].as_object().unwrap().keys().cloned().collect()
}

/// CVE-2024-21626: none without `--preserve-fds`, and with it exactly those.
fn descriptors_of_the_caller_stay_outside(sb: &Sandbox) {
    sb.only_corten("closes all of them");
    let redirections = host_directories(&sb.tree("host", &[("secret", "x")]));
    for kept in 0..=7u32 {
        let bundle = sb.bundle().build();
        let number = kept.to_string();
        let flags = ["--preserve-fds", &number];
        let expected: Vec<String> = (0..3 + kept).map(|fd| fd.to_string()).collect();
        let output = sb.run_with(&bundle, |call| call.fds(&redirections).args(flags));
        assert_eq!(open_in(&output.ok().json()), expected);
        let container = sb.create_with(&bundle, |call| call.fds(&redirections).args(flags));
        container.start();
        assert_eq!(open_in(&container.report()), expected);
        container.verb("delete").ok();
    }
}

/// CVE-2016-9962: seen from the host, stdio, the fifo that it waits at, and what it was to keep.
fn a_waiting_init_holds_nothing_of_its_caller(sb: &Sandbox) {
    sb.needs_root();
    sb.only_corten("is asked for this");
    let host = sb.tree("host", &[("secret", "x")]);
    for kept in [0usize, 2] {
        let number = kept.to_string();
        let bundle = sb.bundle().tool(["true"]).build();
        let container =
            sb.create_with(&bundle, |call| call.fds(&host_directories(&host)).args(["--preserve-fds", &number]));
        let open = fs::read_dir(format!("/proc/{}/fd", container.pid())).unwrap().flatten();
        let beyond = open.filter(|fd| fd.file_name().to_string_lossy().parse::<i32>().unwrap() > 2);
        let names: Vec<_> = beyond.map(|fd| fs::read_link(fd.path()).unwrap().to_string_lossy().into_owned()).collect();
        let of_the_host = names.iter().filter(|name| Path::new(name) == host).count();
        let fifos = names.iter().filter(|name| name.ends_with("/exec.fifo")).count();
        assert_eq!((of_the_host, fifos, names.len()), (kept, 1, kept + 1), "{names:?}");
    }
}

/// CVE-2016-9962: while it waits for `start`, the init still has descriptors of the host: another process of the
/// container's user namespace must not open them.
fn a_setup_time_init_can_t_be_traced_into(sb: &Sandbox) {
    let container = sb.create(&sb.bundle().user_namespace().tool(["pause"]).build());
    let pid = container.pid();
    let path = |kind: &str| format!("/proc/{pid}/ns/{kind}");
    let spy = sb.bundle().user_namespace().set("/hostname", "").namespace("user", Some(&path("user")));
    let spy = spy.namespace("pid", Some(&path("pid"))).capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
    let output = sb.run(&spy.tool(["try", "ls", "/proc/1/fd", ";", "try", "readlink", "/proc/1/cwd"]).build());
    assert_eq!(output.ok().lines(), ["EACCES", "EACCES"], "the waiting init can be looked into");
}

/// CVE-2016-9962 as a race: a process of the same user and pid namespace looks into every init from its first moment on.
/// None of them is started, so whatever is seen is of the set-up.
fn who_watches_from_inside_sees_nothing_of_a_create(sb: &Sandbox) {
    sb.only_corten("is its own toolbox");
    sb.needs_root();
    let bundle =
        sb.bundle().user_namespace().capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
    let bundle = bundle.tool(["prowl", "/tmp/stop", "/bin/probe"]).build();
    let (mut prowler, id) = sb.run_in_background(&bundle, &[]);
    prowler.lines.expect_line("ready");
    let pid = sb.call(["state", &id]).output().ok().json()["pid"].as_i64().unwrap();
    let path = |kind: &str| format!("/proc/{pid}/ns/{kind}");
    let joined = sb.bundle().user_namespace().set("/hostname", "").namespace("user", Some(&path("user")));
    let joined = joined.namespace("pid", Some(&path("pid"))).tool(["true"]).build();
    for _ in 0..scaled(100) {
        let container = sb.create(&joined);
        sb.call(["delete", "--force", &container.id]).output().ok();
    }
    fs::write(bundle.in_rootfs("/tmp/stop"), "").unwrap();
    let loot: Value = serde_json::from_str(&prowler.lines.next_line().unwrap()).unwrap();
    assert_eq!(prowler.wait(), 0);
    for kind in ["programs", "changed", "descriptors", "directories"] {
        assert_eq!(words(&loot[kind]), [] as [String; 0], "{kind}: {loot}");
    }
    assert_eq!(loot["traced"], 0, "{loot}");
    sb.assert_nothing_left();
}

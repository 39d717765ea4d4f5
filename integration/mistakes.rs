//! What people get wrong, and what they read then: the property, its line, the call, the errno in words, and a next step.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::{Bundle, Case, Output, Sandbox, by_systemd, cases, tool};

pub const CASES: &[Case] = cases![
    every_mistake_in_a_config_is_explained,
    a_program_that_is_there_and_does_not_run_is_not_called_missing,
    the_kernel_s_own_words_about_a_mount_are_passed_on,
    a_failed_hook_comes_with_a_next_step_where_there_is_one,
    mistakes_around_the_bundle_are_explained,
    an_ordinary_user_learns_what_is_missing,
    one_mistake_is_warned_of_once,
];

type Edit = fn(&mut Value);

/// (what was done, the edit, what the user must read)
const MISTAKES: &[(&str, Edit, &[&str])] = &[
    ("no such root", |c| c["root"]["path"] = json!("nope"), &["root.path: ", "No such file", "spec --with-rootfs"]),
    ("root is a file", |c| c["root"]["path"] = json!("rootfs/file"), &["root.path: ", "real directory"]),
    (
        "no such source",
        |c| bind(c, "/no/such", "/data"),
        &["mounts[6].source: ", "bind /no/such on /data: open_tree: No such file", "must exist on the host"],
    ),
    (
        "a file on a directory",
        |c| bind(c, "/etc/passwd", "/dir"),
        &["mounts[6]: ", "/etc/passwd at /dir", "Not a directory", "a file on a file"],
    ),
    ("a directory on a file", |c| bind(c, "/etc", "/file"), &["mounts[6]: ", "Not a directory", "a file on a file"]),
    (
        "below a file",
        |c| bind(c, "/etc", "/file/x"),
        &["mounts[6]: ", "/file/x", "Not a directory", "a file on a file"],
    ),
    (
        "unknown type",
        |c| mount(c, "nofs", "x", "/data", json!([])),
        &["mounts[6]: mount nofs on /data: fsopen: No such device", "/proc/filesystems"],
    ),
    (
        "a disk that isn't there",
        // Two, because Linux before 6.5 minds that there is only one before it looks for it.
        |c| mount(c, "overlay", "overlay", "/data", json!(["lowerdir=/no/lower:/no/other"])),
        &["mounts[6]: mount overlay", "No such file", "lowerdir="],
    ),
    (
        "a target below a read-only mount",
        |c| bind(c, "/etc", "/sys/no/such"),
        &["mounts[6]: ", "mkdirat: Read-only file system", "make it in the image"],
    ),
    (
        "tmpcopyup into too small a tmpfs",
        |c| mount(c, "tmpfs", "tmpfs", "/bin", json!(["size=8k", "tmpcopyup"])),
        &["mounts[6]: ", "No space left on device", "raise its size="],
    ),
    (
        "cwd is a file",
        |c| c["process"]["cwd"] = json!("/file"),
        &["process.cwd: ", "Not a directory", "must be a directory"],
    ),
    (
        "no such sysctl",
        |c| sysctl(c, "net.ipv4.nosuch", "1"),
        &["linux.sysctl[\"net.ipv4.nosuch\"]: ", "No such file", "no such sysctl"],
    ),
    (
        "a bad value for a sysctl",
        |c| sysctl(c, "net.ipv4.ip_forward", "yes"),
        &["linux.sysctl[\"net.ipv4.ip_forward\"]: ", "write: Invalid argument", "doesn't take this value"],
    ),
    (
        "more files than the kernel has",
        |c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 99_999_999_999u64}]),
        &["process.rlimits[0]: ", "RLIMIT_NOFILE", "prlimit64: Operation not permitted", "fs.nr_open"],
    ),
    (
        "another namespace's file",
        |c| c["linux"]["namespaces"][1]["path"] = json!("/proc/self/ns/uts"),
        &["linux.namespaces[1].path: ", "Invalid argument", "must be a namespace of this type"],
    ),
    (
        "a namespace that is gone",
        |c| c["linux"]["namespaces"][1]["path"] = json!("/run/netns/no-such"),
        &["linux.namespaces[1].path: ", "No such file", "has ended"],
    ),
    (
        "a device where a file is",
        |c| device(c, "/file"),
        &["linux.devices[0]: make device /file (c 1:3)", "File exists", "remove it from the rootfs"],
    ),
    ("a device below a file", |c| device(c, "/file/null"), &["linux.devices[0]: ", "Not a directory", "a file stands"]),
    (
        "a node that isn't there",
        |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "77"}),
        &["linux.memoryPolicy: ", "set_mempolicy: Invalid argument", "has_memory"],
    ),
    (
        "a clock below zero",
        |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
            c["linux"]["timeOffsets"] = json!({"boottime": {"secs": -999_999_999}});
        },
        &["linux.timeOffsets: ", "Numerical result out of range", "below zero"],
    ),
    (
        "inheritable beyond bounding",
        |c| c["process"]["capabilities"] = json!({"bounding": ["CAP_KILL"], "inheritable": ["CAP_CHOWN"]}),
        &["process.capabilities: ", "capset: Operation not permitted", "must be in bounding too"],
    ),
    (
        "no program",
        |c| c["process"]["args"] = json!(["nonexist"]),
        &["exec: \"nonexist\": executable file not found in $PATH", "PATH in process.env"],
    ),
    (
        "a directory as program",
        |c| c["process"]["args"] = json!(["/dir"]),
        &["exec: \"/dir\": is a directory", "not its directory"],
    ),
    (
        "a text as program",
        |c| c["process"]["args"] = json!(["/file"]),
        &["exec: \"/file\": permission denied", "executable for process.user"],
    ),
];

fn mount(config: &mut Value, kind: &str, source: &str, destination: &str, options: Value) {
    let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
    config["mounts"].as_array_mut().unwrap().push(mount);
}

fn bind(config: &mut Value, source: &str, destination: &str) {
    mount(config, "bind", source, destination, json!(["rbind"]));
}

fn sysctl(config: &mut Value, name: &str, value: &str) {
    config["linux"]["sysctl"] = json!({name: value});
}

fn device(config: &mut Value, path: &str) {
    config["linux"]["devices"] = json!([{"path": path, "type": "c", "major": 1, "minor": 3}]);
}

/// A bundle with a file and a directory to stumble over.
fn bundle(sb: &Sandbox, edit: impl FnOnce(&mut Value)) -> Bundle {
    let bundle = sb.bundle().tool(["true"]).edit(edit).build();
    fs::create_dir(bundle.in_rootfs("dir")).unwrap();
    fs::write(bundle.in_rootfs("file"), "text\n").unwrap();
    bundle
}

/// What of `expected` the user doesn't read.
fn missing(what: &str, output: &Output, expected: &[&str]) -> Vec<String> {
    let text = &output.stderr;
    let lacks = expected.iter().filter(|fragment| !text.contains(**fragment));
    let mut wrong: Vec<_> =
        lacks.map(|fragment| format!("{what}: {fragment:?} isn't in {}", text.trim_end())).collect();
    if output.code != 1 {
        wrong.push(format!("{what}: exit code {}", output.code));
    }
    wrong
}

fn every_mistake_in_a_config_is_explained(sb: &Sandbox) {
    sb.only_corten("says all that");
    let mut wrong = Vec::new();
    // A kernel without memory policies has one thing to say about them, and no node to be wrong about.
    let tellable = |what: &str| what != "a node that isn't there" || sb.has_memory_policies();
    for (what, edit, expected) in MISTAKES.iter().filter(|(what, ..)| tellable(what)) {
        let output = sb.run(&bundle(sb, edit));
        wrong.extend(missing(what, &output, expected));
        wrong.extend(missing(what, &output, &["config.json line ", "  hint: "]));
        sb.assert_nothing_left();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn a_program_that_is_there_and_does_not_run_is_not_called_missing(sb: &Sandbox) {
    sb.only_corten("tells them apart");
    let mut elf = fs::read(sb.probe_binary()).unwrap()[..4096].to_vec();
    // e_machine: 0xb7 is AArch64, 0x3e x86-64.
    elf[18] = if elf[18] == 0xb7 { 0x3e } else { 0xb7 };
    let (interpreter, format) = (["no such file or directory", "#! line"], ["exec format error", "another machine"]);
    for (content, expected) in [
        (b"#!/bin/no-such-shell\n".as_slice(), interpreter),
        (b"#!/bin/probe\r\n", interpreter),
        (b"echo no interpreter line\n", format),
        (&elf, format),
        (b"", format),
    ] {
        let bundle = bundle(sb, |config| config["process"]["args"] = json!(["/program"]));
        let program = bundle.in_rootfs("program");
        fs::write(&program, content).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let what = String::from_utf8_lossy(&content[..content.len().min(20)]).into_owned();
        let run = sb.run_with(&bundle, |call| call.log("json"));
        assert_eq!(missing(&what, &run, &expected), [""; 0]);
        assert!(!run.stderr.contains("must be in the root file system"), "{what}: {}", run.stderr);
        let object: Value = serde_json::from_str(&run.log).unwrap();
        assert_eq!(object["call"], "execve", "{what}: {object}");
        // `start` reads the same from what the init left.
        let container = sb.create(&bundle);
        let start = sb.call(["start"]).arg(&container.id).output();
        assert_eq!(missing(&what, &start, &expected), [""; 0]);
        sb.call(["delete", "--force"]).arg(&container.id).output().ok();
    }
}

fn the_kernel_s_own_words_about_a_mount_are_passed_on(sb: &Sandbox) {
    sb.only_corten("reads them");
    for (option, words) in
        [("size=banana", "tmpfs: Bad value for 'size'"), ("banana", "tmpfs: Unknown parameter 'banana'")]
    {
        let bundle = bundle(sb, |config| mount(config, "tmpfs", "tmpfs", "/data", json!([option])));
        sb.run(&bundle).fails_with(&["mounts[6]: ", "fsconfig: Invalid argument: ", words]);
        // Without the new mount calls there are no such words, and the rest of the message stays.
        let output = sb.run_with(&bundle, |call| call.global(&["--pretend-kernel-lacks", "new_mount_api"]));
        output.fails_with(&["mounts[6]: ", "mount: Invalid argument", "refuses one of the mount's options"]);
    }
}

fn a_failed_hook_comes_with_a_next_step_where_there_is_one(sb: &Sandbox) {
    sb.only_corten("gives one");
    let hook = |kind: &str, hook: Value| sb.run(&bundle(sb, |config| config["hooks"] = json!({kind: [hook]})));
    hook("prestart", json!({"path": "/no/hook"})).fails_with(&[
        "prestart hook #0",
        "/no/hook: execve: No such file",
        "exist on the host",
    ]);
    hook("createContainer", json!({"path": "/etc/passwd"}))
        .fails_with(&["createContainer hook #0", "must be executable"]);
    hook("startContainer", json!({"path": "/no/hook"}))
        .fails_with(&["startContainer hook #0", "looked up in the container"]);
    let late = json!({"path": "/bin/sleep", "args": ["sleep", "20"], "timeout": 1});
    hook("createRuntime", late).fails_with(&["createRuntime hook #0: timed out after 1 s", "`timeout` is in seconds"]);
    let talker = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo said; echo why >&2; exit 3"]});
    let output = hook("createRuntime", talker);
    output.fails_with(&["createRuntime hook #0: exit status 3, stdout: said, stderr: why"]);
    assert!(!output.stderr.contains("hint"), "the hook has said why: {}", output.stderr);
}

fn mistakes_around_the_bundle_are_explained(sb: &Sandbox) {
    sb.only_corten("explains them");
    let bundle = bundle(sb, |_| ());
    let create = |flags: &[&str]| sb.call(["create", "--bundle"]).arg(&bundle.dir).args(flags).arg(sb.id()).output();
    create(&["--pid-file", "/no/such/pid"])
        .fails_with(&["/no/such/pid: openat: No such file", "directory of the pid file"]);
    create(&["--pid-file", "/etc"]).fails_with(&["/etc: renameat: Is a directory", "must name a file"]);
    create(&["--preserve-fds", "9"]).fails_with(&["--preserve-fds", "Bad file descriptor", "LISTEN_FDS"]);
    create(&["--preserve-fds", "4294967295"]).fails_with(&["--preserve-fds", "Bad file descriptor"]);
    create(&["--config", "other.json"]).fails_with(&["other.json not found", "begins at the bundle directory"]);
    create(&["--bundle", "/no/such"]).fails_with(&["chdir /no/such: No such file", "directory that holds config.json"]);
    for (socket, expected) in [("/no/socket", "must listen"), ("/etc/passwd", "nobody listens there")] {
        create(&["--pidfd-socket", socket]).fails_with(&[socket, "connect: ", expected]);
    }
    create(&["--pidfd-socket", &format!("/{}", "x".repeat(120))]).fails_with(&["Invalid argument", "107 bytes"]);
    let long = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg("x".repeat(300)).output();
    // systemd's limit for the name of a unit is met before that of the file system.
    let too_long = if by_systemd() { "255 are the most" } else { "File name too long" };
    long.fails_with(&[too_long, "a shorter id"]);
    let file = sb.call(["list"]).global(&["--root", "/etc/passwd"]).output();
    file.fails_with(&["open the state root /etc/passwd: ", "--root must be a directory"]);
    let log = sb.call(["list"]).global(&["--log", "/no/such/log"]).output();
    log.fails_with(&["open the log file /no/such/log: ", "directory of the log file"]);
    sb.assert_nothing_left();
}

fn an_ordinary_user_learns_what_is_missing(sb: &Sandbox) {
    sb.only_corten("says what");
    sb.needs_program("/usr/bin/setpriv", "util-linux");
    let home = sb.tree("home", &[]);
    nix::unistd::chown(&home, Some(4711.into()), Some(4711.into())).unwrap();
    let run = |edit: Edit, root: &str| {
        let bundle = bundle(sb, edit);
        let call = sb.call(["run", "--bundle"]).shared().arg(&bundle.dir).global(&["--root", root]).arg(sb.id());
        call.under(&["setpriv", "--reuid=4711", "--regid=4711", "--clear-groups"]).output()
    };
    let own = home.join("state");
    let own = own.to_str().unwrap();
    run(|_| (), "/run/no-such-state").fails_with(&[
        "create the state root /run/no-such-state",
        "Permission denied",
        "XDG_RUNTIME_DIR",
    ]);
    run(|_| (), own).fails_with(&[
        "clone3: Operation not permitted",
        "must ask for a user namespace",
        "spec --rootless",
    ]);
    let foreign: Edit = |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        (config["linux"]["uidMappings"], config["linux"]["gidMappings"]) = (map.clone(), map);
    };
    let output = run(foreign, own);
    let map = if std::path::Path::new("/usr/bin/newuidmap").exists() { "/etc/subuid" } else { "package uidmap" };
    output.fails_with(&["linux.uidMappings: ", map]);
    sb.assert_nothing_left();
}

fn one_mistake_is_warned_of_once(sb: &Sandbox) {
    sb.only_corten("warns so");
    let sets = json!({"bounding": ["CAP_CHOWN"], "permitted": [], "effective": [], "inheritable": [], "ambient": ["CAP_CHOWN"]});
    for capabilities in [sets, Value::Null] {
        let bundle = sb.bundle().set("/process/args", tool(["true"])).edit(|config| {
            config["process"]["capabilities"] = capabilities.clone();
            if capabilities.is_null() {
                config["process"].as_object_mut().unwrap().remove("capabilities");
            }
        });
        let bundle = bundle.build();
        let output = sb.run(&bundle);
        assert_eq!(output.ok().stderr.lines().count(), 1, "{}", output.stderr);
        let check = sb.call(["check", "--bundle"]).arg(&bundle.dir).output();
        assert_eq!(check.ok().stdout.matches("warning: ").count(), 1, "{}", check.stdout);
    }
}

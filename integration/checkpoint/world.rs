//! What is around a container's processes and has to be there again: mounts, namespaces, terminals, sockets, files.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

use nix::mount::MsFlags;
use serde_json::{Value, json};

use super::{Counting, checkpoint, counting_bundle, criu, restoring};
use crate::harness::{Case, Lines, Pty, Sandbox, SocketServer, cases, mount_at, pipe, skip};
use crate::killing::wait_until;
use crate::labels::{Profile, needs_apparmor};

pub const CASES: &[Case] = cases![
    mounts_and_their_content_come_back,
    a_root_that_hears_of_the_hosts_mounts_does_so_again,
    what_is_masked_and_read_only_stays_so,
    a_container_with_a_user_namespace_comes_back_in_one,
    a_cgroup_namespace_and_its_mount_come_back,
    namespaces_of_others_stay_outside,
    an_empty_network_is_restored_by_a_hook,
    a_terminal_is_handed_over_a_console_socket_again,
    a_foreground_restore_lends_its_terminal,
    stdio_that_leads_to_files_leads_to_them_again,
    without_a_mount_namespace_criu_finds_no_proc,
    rights_and_limits_are_those_of_before,
    a_restored_program_runs_under_the_profile_that_is_asked_for,
];

fn report(sb: &Sandbox, id: &str) -> Value {
    sb.call(["exec", id, "/bin/probe", "probe", "--", "json"]).output().ok().json()
}

fn read(sb: &Sandbox, id: &str, path: &str) -> String {
    let output = sb.call(["exec", id, "/bin/probe", "probe", "--", "cat", path]).output();
    output.ok().stdout.trim_end().to_owned()
}

fn pid(sb: &Sandbox, id: &str) -> i32 {
    sb.call(["state", id]).output().ok().json()["pid"].as_i64().unwrap() as i32
}

fn mounts_and_their_content_come_back(sb: &Sandbox) {
    let (dir, file) = (sb.tree("data", &[("a", "of the host")]), sb.path("hosts"));
    fs::write(&file, "127.0.0.1 localhost").unwrap();
    let scratch =
        json!({"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=750"]});
    let bundle = counting_bundle(sb)
        .bind(&dir, "/data", &["rbind", "ro", "nosuid"])
        .bind(&file, "/etc/hosts", &["rbind"])
        .mount(scratch)
        .bind(&dir, "/scratch/below", &["rbind"])
        .build();
    let container = Counting::run(sb, &bundle, &[]);
    let tools = ["write", "/scratch/kept", "content"];
    sb.call(["exec", &container.id, "/bin/probe", "probe", "--"]).args(tools).output().ok();
    let before = report(sb, &container.id);
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    let mut restored = Counting::restore(sb, &bundle, container.id.clone(), &sb.path("images"), &[]);
    restored.say("one", 1);
    let after = report(sb, &restored.id);
    for (destination, file) in [("/data", "/data/a"), ("/scratch", "/scratch/kept"), ("/etc/hosts", "/etc/hosts")] {
        let (was, is) = (mount_at(&before, destination), mount_at(&after, destination));
        assert_eq!((&was["type"], &was["options"]), (&is["type"], &is["options"]), "{destination}");
        assert!(!read(sb, &restored.id, file).is_empty(), "{file}");
    }
    assert_eq!(read(sb, &restored.id, "/scratch/kept"), "content");
    assert_eq!(read(sb, &restored.id, "/scratch/below/a"), "of the host");
    let points = |report: &Value| {
        let mounts = report["mounts"].as_array().unwrap();
        let mut all: Vec<_> = mounts.iter().map(|mount| mount["destination"].as_str().unwrap().to_owned()).collect();
        all.sort();
        all
    };
    assert_eq!(points(&after), points(&before), "no mount more, no mount less");
}

/// Docker makes its own directory a shared mount: the roots of its containers are slaves of what is mounted there.
fn a_root_that_hears_of_the_hosts_mounts_does_so_again(sb: &Sandbox) {
    let bundle = counting_bundle(sb).build();
    let root = bundle.in_rootfs("");
    sb.mount(&root.display().to_string(), &root, None, MsFlags::MS_BIND, "");
    nix::mount::mount(None::<&str>, &root, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    let mounts = || {
        let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
        all.lines().filter(|line| line.contains(root.to_str().unwrap())).count()
    };
    let before = mounts();
    let container = Counting::run(sb, &bundle, &[]);
    let master = |id: &str| mount_at(&report(sb, id), "/")["propagation"].clone();
    let was = master(&container.id);
    assert!(was.to_string().contains("master:"), "{was}");
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    let mut restored = Counting::restore(sb, &bundle, container.id.clone(), &sb.path("images"), &[]);
    restored.say("one", 1);
    assert_eq!(master(&restored.id), was);
    assert_eq!(mounts(), before, "what was mounted for criu didn't reach the host");
}

fn what_is_masked_and_read_only_stays_so(sb: &Sandbox) {
    let bundle = counting_bundle(sb)
        .set("/root/readonly", true)
        .set("/linux/maskedPaths", json!(["/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/scsi"]))
        .set("/linux/readonlyPaths", json!(["/proc/sys", "/proc/bus"]))
        .build();
    let container = Counting::run(sb, &bundle, &[]);
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    let mut restored = Counting::restore(sb, &bundle, container.id.clone(), &sb.path("images"), &[]);
    restored.say("one", 1);
    let tools = [
        "try",
        "write",
        "/proc/sys/kernel/domainname",
        "x",
        ";",
        "try",
        "write",
        "/new",
        "x",
        ";",
        "cat",
        "/proc/keys",
    ];
    let output = sb.call(["exec", &restored.id, "/bin/probe", "probe", "--"]).args(tools).output();
    assert_eq!(output.ok().lines(), ["EROFS", "EROFS"], "and the masked file is empty");
}

fn a_container_with_a_user_namespace_comes_back_in_one(sb: &Sandbox) {
    let bundle = counting_bundle(sb).user_namespace().build();
    let mut container = Counting::run(sb, &bundle, &[]);
    container.say("one", 1);
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    let mut restored = Counting::restore(sb, &bundle, container.id.clone(), &sb.path("images"), &[]);
    restored.say("two", 2);
    let map = fs::read_to_string(format!("/proc/{}/uid_map", pid(sb, &restored.id))).unwrap();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    let seen = report(sb, &restored.id);
    assert_eq!(seen["user"]["uid"], 0);
}

fn a_cgroup_namespace_and_its_mount_come_back(sb: &Sandbox) {
    let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]});
    for namespace in [true, false] {
        let mut bundle = counting_bundle(sb).mount(mount.clone());
        if namespace {
            bundle = bundle.namespace("cgroup", None);
        }
        let bundle = bundle.build();
        let container = Counting::run(sb, &bundle, &[]);
        let images = sb.path(if namespace { "own" } else { "hosts" });
        let inside = |id: &str| report(sb, id)["cgroups"].clone();
        let before = inside(&container.id);
        checkpoint(sb, &container.id, &images, &[]).ok();
        let mut restored = Counting::restore(sb, &bundle, container.id.clone(), &images, &[]);
        restored.say("one", 1);
        assert_eq!(inside(&restored.id), before, "a namespace of its own: {namespace}");
        sb.call(["delete", "--force", &restored.id]).output().ok();
    }
}

/// A process in namespaces of its own, which is there as long as this is.
struct Holder(Child);

impl Holder {
    fn new() -> Holder {
        let mut child = Command::new("unshare")
            .args(["--net", "--uts", "--ipc", "sh", "-c", "echo ready; read end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        assert_eq!(line, "ready\n");
        Holder(child)
    }

    fn path(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.0.id())
    }

    fn inode(path: &str) -> u64 {
        fs::metadata(path).unwrap().ino()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

fn namespaces_of_others_stay_outside(sb: &Sandbox) {
    criu(sb);
    let joining = |holder: &Holder| {
        let bundle = counting_bundle(sb).namespace("network", Some(&holder.path("net")));
        let bundle = bundle.namespace("ipc", Some(&holder.path("ipc"))).namespace("uts", Some(&holder.path("uts")));
        bundle.edit(|config| drop(config.as_object_mut().unwrap().remove("hostname"))).build()
    };
    let (first, second) = (Holder::new(), Holder::new());
    let mut container = Counting::run(sb, &joining(&first), &[]);
    container.say("one", 1);
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    let mut restored = Counting::restore(sb, &joining(&second), container.id.clone(), &sb.path("images"), &[]);
    restored.say("two", 2);
    let init = pid(sb, &restored.id);
    for kind in ["net", "ipc", "uts"] {
        let is = Holder::inode(&format!("/proc/{init}/ns/{kind}"));
        assert_eq!(is, Holder::inode(&second.path(kind)), "{kind}");
    }
}

fn an_empty_network_is_restored_by_a_hook(sb: &Sandbox) {
    let seen = sb.path("seen");
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", format!("touch {}", seen.display())]});
    let bundle = counting_bundle(sb).hook("createRuntime", hook).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    container.say("one", 1);
    fs::remove_file(&seen).unwrap();
    checkpoint(sb, &container.id, &sb.path("images"), &["--empty-ns", "network"]).ok();
    let flags = ["--empty-ns", "network"];
    let mut restored = Counting::restore(sb, &bundle, container.id.clone(), &sb.path("images"), &flags);
    restored.say("two", 2);
    assert!(seen.exists(), "the hook that would have filled it has run");
    let refused = checkpoint(sb, &restored.id, &sb.path("wrong"), &["--empty-ns", "pid"]);
    refused.fails_with(&["empty-ns", "network"]);
}

fn a_terminal_is_handed_over_a_console_socket_again(sb: &Sandbox) {
    criu(sb);
    let bundle = counting_bundle(sb).set("/process/terminal", true).build();
    let server = SocketServer::new(sb);
    let container = sb.create_with(&bundle, |call| call.arg("--console-socket").arg(server.path()));
    let master = server.receive().fds.remove(0);
    container.start();
    let say = |master: &OwnedFd, word: &str, number: u32| {
        File::from(master.try_clone().unwrap()).write_all(format!("{word}\n").as_bytes()).unwrap();
        Lines::new(master.try_clone().unwrap()).expect_line(&format!("{number} {word}"));
    };
    say(&master, "one", 1);
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    let server = SocketServer::new(sb);
    let socket = server.path().to_str().unwrap().to_owned();
    let restored = restoring(sb, &bundle, &sb.path("images"), &["--detach", "--console-socket", &socket]);
    restored.arg(&container.id).output().ok();
    let mut received = server.receive();
    assert_eq!((received.messages, received.fds.len()), (1, 1));
    let again = received.fds.remove(0);
    assert!(nix::unistd::isatty(&again).unwrap());
    say(&again, "two", 2);
    let without = restoring(sb, &bundle, &sb.path("images"), &["--detach"]).arg(sb.id()).output();
    without.fails_with(&["console"]);
}

fn a_foreground_restore_lends_its_terminal(sb: &Sandbox) {
    criu(sb);
    let bundle = counting_bundle(sb).set("/process/terminal", true).build();
    let server = SocketServer::new(sb);
    let container = sb.create_with(&bundle, |call| call.arg("--console-socket").arg(server.path()));
    let _master = server.receive();
    container.start();
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    let pty = Pty::open();
    let call = restoring(sb, &bundle, &sb.path("images"), &[]).arg(&container.id).stdin(pty.peer()).stdout(pty.peer());
    let mut running = call.spawn();
    let mut lines = pty.lines();
    wait_until("it is back", || sb.call(["state", &container.id]).output().stdout.contains("running"));
    pty.type_in("one\n");
    lines.expect_line("1 one");
    pty.type_in("\x04");
    assert_eq!(running.wait(), 0, "{}", running.stderr());
}

fn stdio_that_leads_to_files_leads_to_them_again(sb: &Sandbox) {
    criu(sb);
    let bundle = counting_bundle(sb).build();
    let (id, file) = (sb.id(), sb.path("file"));
    let (stdin, mut ours) = pipe();
    let call = sb.call(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id);
    call.stdin(stdin).stdout(File::create(&file).unwrap()).output().ok();
    let say = |end: &OwnedFd, text: &str| File::from(end.try_clone().unwrap()).write_all(text.as_bytes()).unwrap();
    say(&ours, "one\n");
    wait_until("it has answered", || fs::read_to_string(&file).unwrap().contains("1 one"));
    checkpoint(sb, &id, &sb.path("images"), &[]).ok();
    let restore = |out: File, stdin: OwnedFd| {
        restoring(sb, &bundle, &sb.path("images"), &["--detach"]).arg(&id).stdin(stdin).stdout(out).output()
    };
    let other = restore(File::create(sb.path("other")).unwrap(), pipe().0);
    other.fails_with(&["hint: a file is another than on the dump", "1<>FILE"]);
    let stdin;
    (stdin, ours) = pipe();
    restore(File::options().read(true).write(true).open(&file).unwrap(), stdin).ok();
    say(&ours, "two\n");
    wait_until("it goes on behind that", || fs::read_to_string(&file).unwrap() == "ready\n1 one\n2 two\n");
}

/// criu looks at the container's /proc from inside of it, and without a mount namespace there is only the host's.
fn without_a_mount_namespace_criu_finds_no_proc(sb: &Sandbox) {
    let bundle = counting_bundle(sb).without_namespace("mount").set("/mounts", json!([])).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    container.say("one", 1);
    let dumped = checkpoint(sb, &container.id, &sb.path("images"), &[]);
    dumped.fails_with(&["dump the container: criu: ", "/proc"]);
    container.say("two", 2);
}

fn rights_and_limits_are_those_of_before(sb: &Sandbox) {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let effective = text.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    if u64::from_str_radix(effective, 16).unwrap() & 1 << 24 == 0 {
        skip("criu reads limits of other users with CAP_SYS_RESOURCE, which the machine hasn't");
    }
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["chroot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]});
    let bundle = counting_bundle(sb)
        .set("/process/user", json!({"uid": 5, "gid": 6, "additionalGids": [7]}))
        .set("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]))
        .set("/process/oomScoreAdj", 300)
        .set("/linux/seccomp", filter)
        .build();
    let container = Counting::run(sb, &bundle, &[]);
    let status = |id: &str| {
        let text = fs::read_to_string(format!("/proc/{}/status", pid(sb, id))).unwrap();
        let keys = ["Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:"];
        let wanted = |line: &&str| keys.iter().any(|key| line.starts_with(key));
        text.lines().filter(wanted).map(|line| line.trim_end().to_owned()).collect::<Vec<_>>()
    };
    let before = status(&container.id);
    assert!(before.contains(&"Seccomp:\t2".to_owned()), "{before:?}");
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    let mut restored = Counting::restore(sb, &bundle, container.id.clone(), &sb.path("images"), &[]);
    restored.say("one", 1);
    assert_eq!(status(&restored.id), before);
    let limits = fs::read_to_string(format!("/proc/{}/limits", pid(sb, &restored.id))).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    let adjusted = fs::read_to_string(format!("/proc/{}/oom_score_adj", pid(sb, &restored.id))).unwrap();
    assert_eq!(adjusted.trim(), "300");
}

fn a_restored_program_runs_under_the_profile_that_is_asked_for(sb: &Sandbox) {
    criu(sb);
    needs_apparmor(sb);
    let (first, second) = (Profile::load(), Profile::load());
    let bundle = counting_bundle(sb).set("/process/apparmorProfile", first.name.as_str()).build();
    let container = Counting::run(sb, &bundle, &[]);
    let profile = |id: &str| fs::read_to_string(format!("/proc/{}/attr/current", pid(sb, id))).unwrap();
    assert_eq!(profile(&container.id).trim(), first.current());
    checkpoint(sb, &container.id, &sb.path("images"), &["--leave-running"]).ok();
    let mut same = Counting::restore(sb, &bundle, sb.id(), &sb.path("images"), &[]);
    same.say("one", 1);
    assert_eq!(profile(&same.id).trim(), first.current());
    let asked = format!("apparmor:{}", second.name);
    let mut other = Counting::restore(sb, &bundle, sb.id(), &sb.path("images"), &["--lsm-profile", &asked]);
    other.say("one", 1);
    assert_eq!(profile(&other.id).trim(), second.current());
    for id in [container.id, same.id, other.id] {
        sb.call(["delete", "--force", &id]).output().ok();
    }
}

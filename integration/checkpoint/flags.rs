//! Flags that criu is told: what fails without them says so, and what they ask for happens.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::{Counting, checkpoint, counting_bundle, criu, restoring};
use crate::harness::{Bundle, Case, LIMIT, Lines, Pidfd, Pty, Sandbox, cases, pipe, skip, wait_readable};
use crate::killing::wait_until;

pub const CASES: &[Case] = cases![
    a_connection_is_kept_when_that_is_asked_for,
    a_connection_in_the_making_can_be_left_out,
    a_lock_is_kept_when_that_is_asked_for,
    a_unix_socket_that_leads_out_needs_a_flag,
    a_removed_file_is_kept_when_that_is_asked_for,
    a_shells_job_is_dumped_as_one,
    memory_written_ahead_is_not_written_again,
    pages_go_to_a_server,
    pages_are_fetched_when_they_are_used,
    the_log_is_where_it_is_asked_for,
    a_configuration_file_of_crius_is_heeded,
    flags_that_make_no_sense_are_refused,
];

/// Runs a script under a shell, until it has printed `begun`.
fn shell(sb: &Sandbox, script: &str) -> (Bundle, String) {
    criu(sb);
    let bundle = sb.bundle().busybox().args(["/bin/sh", "-c", script]).build();
    let (id, (output, stdout)) = (sb.id(), pipe());
    sb.call(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id).stdout(stdout).output().ok();
    Lines::new(output).expect_line("begun");
    (bundle, id)
}

/// Restored, it answers to SIGUSR1 on its standard output.
fn answers(sb: &Sandbox, bundle: &Bundle, id: &str, flags: &[&str], line: &str) {
    let (output, stdout) = pipe();
    let call = restoring(sb, bundle, &sb.path("images"), flags).arg("--detach").arg(id);
    call.stdout(stdout).output().ok();
    sb.call(["kill", id, "USR1"]).output().ok();
    Lines::new(output).expect_line(line);
}

/// Waits for the signal for ever, and then prints what the command in it prints.
fn on_signal(command: &str) -> String {
    format!("trap '{command}' USR1; echo begun; while true; do read x </proc/self/fd/9; done")
}

fn a_connection_is_kept_when_that_is_asked_for(sb: &Sandbox) {
    // Both ends are the container's own; what is written to the one comes out of the other.
    let listens = "while ! grep -q ' 0A ' /proc/net/tcp /proc/net/tcp6; do true; done";
    let script = format!(
        "mkfifo /tmp/in /tmp/never; exec 9<>/tmp/never 8<>/tmp/in; busybox nc -l -p 7777 >/tmp/out <&9 & {listens}; \
         busybox nc 127.0.0.1 7777 </tmp/in & while ! grep -q ' 01 ' /proc/net/tcp; do true; done; {}",
        on_signal("echo hello >&8; while ! grep hello /tmp/out; do true; done")
    );
    let (bundle, id) = shell(sb, &script);
    let refused = checkpoint(sb, &id, &sb.path("refused"), &[]);
    refused.fails_with(&["dump the container: criu: ", "hint: the container has TCP connections: --tcp-established"]);
    assert_eq!(sb.call(["state", &id]).output().json()["status"], "running");
    checkpoint(sb, &id, &sb.path("images"), &["--tcp-established", "--network-lock", "nftables"]).ok();
    answers(sb, &bundle, &id, &["--tcp-established"], "hello");
    sb.call(["delete", "--force", &id]).output().ok();
    // criu wants the open files as they were.
    fs::write(bundle.in_rootfs("/tmp/out"), "").unwrap();
    let call = restoring(sb, &bundle, &sb.path("images"), &["--tcp-close", "--detach"]).arg(&id);
    call.stdout(pipe().1).output().ok();
    let pid = sb.call(["state", &id]).output().json()["pid"].clone();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    assert!(!table.contains(" 01 "), "{table}");
}

fn a_connection_in_the_making_can_be_left_out(sb: &Sandbox) {
    let bundle = counting_bundle(sb).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    container.say("one", 1);
    checkpoint(sb, &container.id, &sb.path("images"), &["--tcp-skip-in-flight"]).ok();
    Counting::restore(sb, &bundle, container.id.clone(), &sb.path("images"), &[]).say("two", 2);
}

fn a_lock_is_kept_when_that_is_asked_for(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["lock", "/tmp/lock", ";", "count-lines"]).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    let refused = checkpoint(sb, &container.id, &sb.path("refused"), &[]);
    refused.fails_with(&["hint: the container holds file locks: --file-locks"]);
    container.say("one", 1);
    checkpoint(sb, &container.id, &sb.path("images"), &["--file-locks"]).ok();
    let locked = || {
        let file = fs::File::open(bundle.in_rootfs("/tmp/lock")).unwrap();
        Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
    };
    assert!(!locked());
    let flags = ["--file-locks"];
    let mut restored = Counting::restore(sb, &bundle, container.id.clone(), &sb.path("images"), &flags);
    restored.say("two", 2);
    assert!(locked());
}

fn a_unix_socket_that_leads_out_needs_a_flag(sb: &Sandbox) {
    criu(sb);
    let dir = sb.tree("log", &[]);
    let server = UnixDatagram::bind(dir.join("socket")).unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    // criu sees sockets of the container's own network alone, and finds the other end by the path that it has bound.
    let socket = dir.join("socket").to_str().unwrap().to_owned();
    let bundle = sb.bundle().without_namespace("network").without_mount("/sys").tool(["send-lines", &socket]);
    let bundle = bundle.bind(&dir, dir.to_str().unwrap(), &["rbind"]).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    let sent = |container: &mut Counting, word: &str| {
        container.tell(word);
        let mut buffer = [0; 64];
        let size = server.recv(&mut buffer).unwrap();
        assert_eq!(String::from_utf8_lossy(&buffer[..size]), word);
    };
    sent(&mut container, "one");
    let refused = checkpoint(sb, &container.id, &sb.path("refused"), &[]);
    refused.fails_with(&["hint: a unix socket leads out of the container: --ext-unix-sk"]);
    let flags = ["--ext-unix-sk"];
    checkpoint(sb, &container.id, &sb.path("images"), &flags).ok();
    let mut restored = Counting::restore(sb, &bundle, container.id.clone(), &sb.path("images"), &flags);
    sent(&mut restored, "two");
}

fn a_removed_file_is_kept_when_that_is_asked_for(sb: &Sandbox) {
    let script = "mkfifo /tmp/never; exec 9<>/tmp/never; echo content >/root/a; ln /root/a /root/b; \
        exec 7</root/a; rm /root/a; ";
    let (bundle, id) = shell(sb, &format!("{script}{}", on_signal("cat <&7")));
    let refused = checkpoint(sb, &id, &sb.path("refused"), &[]);
    refused.fails_with(&["--link-remap keeps it"]);
    checkpoint(sb, &id, &sb.path("images"), &["--link-remap"]).ok();
    answers(sb, &bundle, &id, &[], "content");
}

/// On a terminal of the caller's. A container's session is its own, so nothing fails without the flag; that it is passed on is a
/// test of the plan.
fn a_shells_job_is_dumped_as_one(sb: &Sandbox) {
    criu(sb);
    let bundle = counting_bundle(sb).build();
    let (id, pty) = (sb.id(), Pty::open());
    let call = sb.call(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id);
    call.stdin(pty.peer()).stdout(pty.peer()).output().ok();
    let mut lines = pty.lines();
    lines.expect_line("ready");
    pty.type_in("one\n");
    lines.expect_line("1 one");
    checkpoint(sb, &id, &sb.path("images"), &["--shell-job"]).ok();
    let again = Pty::open();
    let call = restoring(sb, &bundle, &sb.path("images"), &["--shell-job", "--detach"]).arg(&id);
    call.stdin(again.peer()).stdout(again.peer()).output().ok();
    again.type_in("two\n");
    again.lines().expect_line("2 two");
}

/// How many bytes of memory are in the images.
fn pages(sb: &Sandbox, images: &str) -> u64 {
    let files = fs::read_dir(sb.path(images)).unwrap().flatten();
    let pages = files.filter(|file| file.file_name().to_string_lossy().starts_with("pages-"));
    pages.map(|file| file.metadata().unwrap().len()).sum()
}

fn memory_written_ahead_is_not_written_again(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["eat", "16", ";", "count-lines"]).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    container.say("one", 1);
    let without = checkpoint(sb, &container.id, &sb.path("wrong"), &["--parent-path", "../nowhere"]);
    without.fails_with(&["--parent-path: ", "is no directory"]);
    let ahead = checkpoint(sb, &container.id, &sb.path("ahead"), &["--pre-dump"]);
    if ahead.stderr.contains("lacks the tracking of memory") {
        skip("this kernel has no memory tracking (CONFIG_MEM_SOFT_DIRTY)");
    }
    ahead.ok();
    container.say("two", 2);
    let flags = ["--parent-path", "../ahead", "--auto-dedup"];
    checkpoint(sb, &container.id, &sb.path("images"), &flags).ok();
    assert!(pages(sb, "images") < 8 << 20, "{} bytes", pages(sb, "images"));
    Counting::restore(sb, &bundle, container.id.clone(), &sb.path("images"), &["--auto-dedup"]).say("three", 3);
}

/// criu beside corten, ended with the test.
struct Helper(Child);

impl Helper {
    fn new(sb: &Sandbox, words: &[&str]) -> Helper {
        let mut command = Command::new(criu(sb));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Helper(command.spawn().unwrap())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A port of the loopback device that nobody has just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn listens(port: u16) -> bool {
    let wanted = format!(":{port:04X} 00000000:0000 0A");
    fs::read_to_string("/proc/net/tcp").unwrap().lines().any(|line| line.contains(&wanted))
}

fn pages_go_to_a_server(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["eat", "4", ";", "count-lines"]).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    container.say("one", 1);
    let (port, images) = (free_port(), sb.path("images"));
    fs::create_dir(&images).unwrap();
    let words = ["page-server", "--images-dir", images.to_str().unwrap(), "--address", "127.0.0.1", "--port"];
    let server = Helper::new(sb, &[&words[..], &[&port.to_string()]].concat());
    wait_until("the server listens", || listens(port));
    let address = format!("127.0.0.1:{port}");
    checkpoint(sb, &container.id, &sb.path("rest"), &["--page-server", &address]).ok();
    drop(server);
    assert!(pages(sb, "images") > 4 << 20 && pages(sb, "rest") == 0);
    // Images and pages belong together.
    for file in fs::read_dir(sb.path("rest")).unwrap().flatten() {
        let to = images.join(file.file_name());
        if !to.exists() {
            fs::copy(file.path(), to).unwrap();
        }
    }
    Counting::restore(sb, &bundle, container.id.clone(), &images, &[]).say("two", 2);
}

fn pages_are_fetched_when_they_are_used(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["eat", "4", ";", "count-lines"]).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    container.say("one", 1);
    let (port, images) = (free_port(), sb.path("images"));
    let status = sb.path("status");
    mkfifo(&status, Mode::S_IRWXU).unwrap();
    let ready = fs::File::options().read(true).write(true).open(&status).unwrap();
    let address = format!("127.0.0.1:{port}");
    let call = sb.call(["checkpoint", "--lazy-pages", "--page-server", &address, "--status-fd", "3"]);
    let call = call.global(&["--criu", criu(sb)]).arg("--image-path").arg(&images).arg(&container.id);
    let mut dumping = call.fds(&format!("3>{}", status.display())).spawn();
    let mut byte = [1];
    let end = Pidfd::open(dumping.pid()).expect("the dump");
    wait_until("the pages can be asked for, or not at all", || {
        wait_readable(&ready, Duration::ZERO) || end.wait(Duration::ZERO)
    });
    if !wait_readable(&ready, Duration::ZERO) {
        let code = dumping.wait();
        let said = dumping.stderr();
        match said.contains("lacks lazy pages") {
            true => skip("this kernel has no lazy pages (userfaultfd)"),
            false => panic!("exit code {code}: {said}"),
        }
    }
    assert_eq!((nix::unistd::read(&ready, &mut byte), byte), (Ok(1), [0]));
    let work = sb.tree("work", &[]);
    let (images, dir) = (images.to_str().unwrap(), work.to_str().unwrap());
    let words =
        ["lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", &port.to_string(), "-D", images, "-W", dir];
    let _daemon = Helper::new(sb, &words);
    wait_until("the daemon listens", || work.join("lazy-pages.socket").exists());
    let flags = ["--lazy-pages", "--work-path", dir];
    let mut restored = Counting::restore(sb, &bundle, sb.id(), &sb.path("images"), &flags);
    restored.say("two", 2);
    assert_eq!(dumping.wait(), 0, "{}", dumping.stderr());
}

fn the_log_is_where_it_is_asked_for(sb: &Sandbox) {
    let bundle = counting_bundle(sb).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    container.say("one", 1);
    let work = sb.path("work");
    let flags = ["--work-path", work.to_str().unwrap()];
    checkpoint(sb, &container.id, &sb.path("images"), &flags).ok();
    assert!(work.join("dump.log").exists() && !sb.path("images/dump.log").exists());
    Counting::restore(sb, &bundle, container.id.clone(), &sb.path("images"), &flags).say("two", 2);
    assert!(work.join("restore.log").exists() && !sb.path("images/restore.log").exists());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&sb.path("images")), 0o700);
    let open = fs::read_dir(sb.path("images")).unwrap().flatten().filter(|file| mode(&file.path()) & 0o077 != 0);
    assert_eq!(open.count(), 0, "nobody else reads the memory of processes");
}

fn a_configuration_file_of_crius_is_heeded(sb: &Sandbox) {
    let file = sb.path("criu.conf");
    fs::write(&file, "log-file other.log\n").unwrap();
    let bundle = counting_bundle(sb).set("/annotations/org.criu.config", file.to_str().unwrap()).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    container.say("one", 1);
    checkpoint(sb, &container.id, &sb.path("images"), &["--leave-running"]).ok();
    assert!(sb.path("images/other.log").exists());
}

fn flags_that_make_no_sense_are_refused(sb: &Sandbox) {
    sb.only_corten("says so");
    let refused = |flags: &[&str], fragments: &[&str]| {
        let call = sb.call(["checkpoint", "--image-path"]).arg(sb.path("images")).args(flags);
        call.arg("ct-nobody").output().fails_with(fragments);
    };
    refused(&["--parent-path", "/absolute"], &["--parent-path: must be relative to --image-path"]);
    refused(&["--status-fd", "77"], &["--status-fd: descriptor 77 isn't open"]);
    refused(&["--page-server", "localhost"], &["page-server", "ADDRESS:PORT"]);
    refused(&["--manage-cgroups-mode", "loose"], &["manage-cgroups-mode"]);
    assert!(!sb.path("images").exists());
    let probe = sb.call(["restore", "--lsm-mount-context"]).bare().output();
    assert!(probe.stderr.contains("flag needs an argument"), "{}", probe.stderr);
}
